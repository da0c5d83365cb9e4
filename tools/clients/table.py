"""Clients and features: the rows and columns of docs/clients.md, and what holds where no test tried anything.

A test says what it tried by ``@pytest.mark.tried(client, feature, ...)``, in the names of this module. To add a client,
add a row; to add what it can do, mark the test that shows it, and remove the cell that said otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: What a cell says when the simulator answers as the published API has it, and nobody ran that client here.
BY_CONTRACT = "by contract"
#: What a cell says when a test of this project runs that client.
WORKS = "**works**"

#: Features of a device by the name that tests use, with the heading of their column.
OF_DEVICES = {
    "key": "symmetric key",
    "group key": "key of a group",
    "certificate": "certificate",
    "group certificate": "certificate of a group",
    "TPM": "TPM",
    "telemetry": "telemetry",
    "messages": "messages to it",
    "twin": "twin",
    "methods": "direct methods",
}
#: The same of whoever manages devices.
OF_SERVICES = {
    "enrollments": "enrollments",
    "registrations": "registration records",
    "resource": "CA certificates, linked hubs",
    "registry": "devices and twins of a hub",
    "calls": "calling methods",
    "sending": "messages to devices",
    "reading": "reading telemetry",
}


@dataclass(frozen=True)
class Client:
    """A row.

    Attributes:
        name: as the tests and the document call it.
        otherwise: what every cell says that neither a test nor ``instead`` fills; empty: there is none.
        instead: what to use instead, or why it does not work, by feature.
    """

    name: str
    otherwise: str = ""
    instead: Mapping[str, str] = field(default_factory=dict)


_HUB = ("telemetry", "messages", "twin", "methods")
_USE_MQTT = "use MQTT"
_OVER_MQTT = dict.fromkeys(_HUB, _USE_MQTT)
#: What HTTPS does not carry.
_NOT_OVER_HTTPS = dict.fromkeys(("twin", "methods"), "use MQTT or AMQP")
_TPM_OVER_HTTPS = {"TPM": "use HTTPS"}
_TPM_ELSEWHERE = {"TPM": "use HTTPS or AMQP"}
_OWN_TPM_CLIENT = {"TPM": "use `helpers.tpm`"}

DEVICES = (
    Client("Python SDK, MQTT", instead=_OWN_TPM_CLIENT),
    Client("Python SDK, MQTT over WebSockets", instead=_OWN_TPM_CLIENT),
    Client("Node SDK, MQTT", instead=_TPM_ELSEWHERE),
    Client("Node SDK, MQTT over WebSockets", instead=_TPM_ELSEWHERE),
    Client("Node SDK, AMQP"),
    Client("Node SDK, AMQP over WebSockets"),
    Client("Node SDK, HTTPS", instead=_NOT_OVER_HTTPS),
    Client("C SDK, MQTT", BY_CONTRACT, _TPM_ELSEWHERE),
    Client("C SDK, AMQP", BY_CONTRACT),
    Client("C SDK, HTTPS", BY_CONTRACT, _NOT_OVER_HTTPS),
    Client("Java SDK, MQTT", BY_CONTRACT, _TPM_ELSEWHERE),
    Client("Java SDK, AMQP", BY_CONTRACT),
    Client("Java SDK, HTTPS", BY_CONTRACT, _NOT_OVER_HTTPS),
    Client("C# SDK, MQTT", BY_CONTRACT, _TPM_ELSEWHERE),
    Client("C# SDK, AMQP", BY_CONTRACT),
    Client("C# SDK, HTTPS", BY_CONTRACT, _NOT_OVER_HTTPS),
    Client("HTTPS without an SDK", BY_CONTRACT, _OVER_MQTT),
    Client("paho-mqtt", instead=_TPM_OVER_HTTPS),
    Client(
        "curl, mosquitto_pub, mosquitto_sub",
        instead={"TPM": "use `helpers.tpm`", "twin": "use paho-mqtt", "methods": "use paho-mqtt"},
    ),
    Client("C firmware", instead={**_TPM_OVER_HTTPS, "methods": "add its topics"}),
    Client("MicroPython", instead={**_TPM_OVER_HTTPS, "methods": "add its topics"}),
)
SERVICES = (
    Client("Python SDKs"),
    Client("Node SDKs", BY_CONTRACT),
    Client("C#, Java SDKs", BY_CONTRACT),
    Client("Azure CLI", BY_CONTRACT, {"resource": "use Python", "reading": "use `azure-eventhub`"}),
)
