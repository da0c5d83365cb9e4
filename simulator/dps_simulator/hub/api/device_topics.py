"""The names that devices and modules use towards their hub over MQTT: user name and topics.

Source: Microsoft documentation, iot-mqtt-connect-to-iot-hub, and what the Python device SDK sends and expects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, quote

#: Topic filters that every client can subscribe to.
METHODS_FILTER = "$iothub/methods/POST/#"
TWIN_ANSWERS_FILTER = "$iothub/twin/res/#"
DESIRED_FILTER = "$iothub/twin/PATCH/properties/desired/#"

#: Topics that every client can publish to: operation and topic.
REQUESTS = (
    ("twin get", re.compile(r"\$iothub/twin/GET/\?\$rid=([^&/#+]+)(?:&.*)?")),
    ("twin reported", re.compile(r"\$iothub/twin/PATCH/properties/reported/\?\$rid=([^&/#+]+)(?:&.*)?")),
    ("method", re.compile(r"\$iothub/methods/res/(-?[0-9]{1,9})/\?\$rid=([^&/#+]+)(?:&.*)?")),
)

#: Bytes of such a topic. That of an answer repeats the request ID and says more, and MQTT gives it 65,535 bytes
#: (simulator-only).
MAX_REQUEST_TOPIC = 65_000

#: Characters of a model ID (documented: azure-docs, concepts-digital-twin, for identifiers of interfaces).
MAX_MODEL_ID = 128

_API_VERSION = re.compile(r"20\d\d-\d\d-\d\d(-preview)?")


@dataclass(frozen=True, slots=True)
class ClientName:
    """Who is at the other end: a device, or one of its modules.

    Attributes:
        device_id: the device.
        module_id: empty for the device itself.
    """

    device_id: str
    module_id: str = ""

    @classmethod
    def parse(cls, client_id: str) -> ClientName | None:
        """Read an MQTT client ID, ``{device}`` or ``{device}/{module}``; ``None`` when it is neither."""
        device_id, slash, module_id = client_id.partition("/")
        if not device_id or (slash and not module_id) or "/" in module_id:
            return None
        return cls(device_id, module_id)

    @property
    def _base(self) -> str:
        module = f"/modules/{self.module_id}" if self.module_id else ""
        return f"devices/{self.device_id}{module}"

    @property
    def telemetry_topic(self) -> str:
        """Where telemetry goes, without the property bag."""
        return f"{self._base}/messages/events"

    @property
    def devicebound_filter(self) -> str:
        """The filter for messages from the cloud, empty for modules, which get none."""
        return "" if self.module_id else f"{self._base}/messages/devicebound/#"

    @property
    def inputs_filter(self) -> str:
        """The filter for what other modules of an edge device send, empty for devices."""
        return f"{self._base}/inputs/#" if self.module_id else ""

    def telemetry_bag(self, topic: str) -> str | None:
        """The property bag of a telemetry topic, ``None`` for any other topic."""
        base = self.telemetry_topic
        return topic[len(base) + 1 :] if topic == base or topic.startswith(f"{base}/") else None

    def devicebound_topic(self, bag: str) -> str:
        """Where a message from the cloud is published."""
        return f"{self._base}/messages/devicebound/{bag}"


class UserNameError(ValueError):
    """The user name does not fit.

    Attributes:
        names_other_client: whether it is well-formed, but for another client ID.
        names_other_host: whether it is well-formed, but for another hub.
    """

    def __init__(self, text: str, *, names_other_client: bool = False, names_other_host: bool = False) -> None:
        super().__init__(text)
        self.names_other_client = names_other_client
        self.names_other_host = names_other_host


def check_user_name(user_name: str | None, client_id: str, hub: str) -> None:
    """Check ``{host}/{client ID}[/][?api-version=…]``.

    Raises:
        UserNameError: it is malformed, or for somebody else.
    """
    host, slash, rest = (user_name or "").partition("/")
    if not host or not slash or not rest:
        raise UserNameError(f"the user name is {user_name!r:.300}; expected {{host}}/{{device ID}}/?api-version=…")
    if host.lower() != hub:
        raise UserNameError(f"the user name is for the host {host!r:.260}, not for {hub}", names_other_host=True)
    tail = rest.removeprefix(client_id).removeprefix("/")
    if not rest.startswith(client_id) or (tail and not tail.startswith("?")):
        raise UserNameError(
            f"the client ID {client_id!r:.140} is not the device ID in {rest!r:.140}", names_other_client=True
        )
    version = parse_qs(tail[1:]).get("api-version", [""])[0]
    if version and not _API_VERSION.fullmatch(version):
        raise UserNameError(f"api-version {version!r:.80} is not supported by this simulator")


def model_of(user_name: str | None) -> str:
    """The model ID that the device announces in its user name (``model-id``), empty for none.

    Source: Microsoft documentation, iot-develop concepts-convention. That one which is too long or is not printable
    counts as none is inferred.
    """
    _, _, parameters = (user_name or "").partition("?")
    model = parse_qs(parameters).get("model-id", [""])[0]
    return model if len(model) <= MAX_MODEL_ID and model.isprintable() else ""


def request_in(topic: str) -> tuple[str, re.Match[str] | None]:
    """What a topic asks for, and the match of its row of :data:`REQUESTS`; nothing and ``None`` when it is no request.

    One that is too long to be answered is none.
    """
    if len(topic.encode("utf-8", "surrogatepass")) <= MAX_REQUEST_TOPIC:
        for operation, pattern in REQUESTS:
            match = pattern.fullmatch(topic)
            if match is not None:
                return operation, match
    return "", None


def method_topic(name: str, request: str) -> str:
    """Where the call of a direct method is published."""
    return f"$iothub/methods/POST/{quote(name, safe='')}/?$rid={request}"


def twin_answer_topic(status: int, request: str, version: int | None = None) -> str:
    """Where the answer to a twin request is published."""
    return f"$iothub/twin/res/{status}/?$rid={request}{'' if version is None else f'&$version={version}'}"


def desired_topic(version: int) -> str:
    """The topic on which a device gets changed desired properties.

    Arguments:
        version: ``$version`` of the desired properties after the change.
    """
    return f"$iothub/twin/PATCH/properties/desired/?$version={version}"
