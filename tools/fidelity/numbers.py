"""The numbers by which the simulator decides, taken from where they are used, each with where it comes from.

The limits that can be switched on stand in :mod:`dps_simulator.common.throttling`; they are published, every one.
"""

from __future__ import annotations

from dataclasses import dataclass

from dps_simulator.common import hub_links, identifiers, paging
from dps_simulator.common import webhooks as asked
from dps_simulator.common.trace import CAPACITY
from dps_simulator.common.trace import MAX_BYTES as TRACE_BYTES
from dps_simulator.credentials import chains, evidence
from dps_simulator.errors.table import Provenance
from dps_simulator.hub import (
    cloud_to_device,
    faults,
    hub_queries,
    modules,
    query,
    query_summary,
    registry_bulk,
    telemetry,
    twins,
)
from dps_simulator.hub.api import device_methods as hub_device_methods
from dps_simulator.hub.api import methods as hub_methods
from dps_simulator.protocols import mqtt, mqtt_session
from dps_simulator.provisioning.api import registration as dps_registration
from dps_simulator.provisioning.attestation import (
    authorities as certificate_authorities,
)
from dps_simulator.provisioning.attestation import (
    challenges as tpm_challenges,
)
from dps_simulator.provisioning.enrollments import attestation_fields, bulk
from dps_simulator.provisioning.registration import due, operations
from dps_simulator.provisioning.registration import registrations as registration
from dps_simulator.server import accepting, accounts, arriving, http_adapter, newcomers, sniffer
from dps_simulator.server import webhooks as webhook_client
from dps_simulator.settings.settings import MAX_HUBS, Settings
from dps_simulator.wire import faults as service_faults

_RECORDED = Provenance.RECORDED
_DOCUMENTED = Provenance.DOCUMENTED
_INFERRED = Provenance.INFERRED
_SIMULATOR = Provenance.SIMULATOR_ONLY

_DPS = "iot-dps limits"
_QUOTAS = "iot-hub-devguide-quotas-throttling"
_TWINS = "iot-hub-devguide-device-twins"
_CLOUD_TO_DEVICE = "iot-hub-devguide-messages-c2d"
_METHODS = "iot-hub-devguide-direct-methods"
_IDENTITIES = "iot-hub-devguide-identity-registry"


@dataclass(frozen=True, slots=True)
class Number:
    """One number.

    Attributes:
        meaning: what it decides.
        value: with its unit.
        provenance: where it comes from.
        source: the page or recording, empty for what is only here.
    """

    meaning: str
    value: str
    provenance: Provenance
    source: str = ""


def _size(count: int) -> str:
    """A number of bytes as people say it."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit and count % unit == 0:
            return f"{count // unit} {name}"
    return f"{count:,} bytes"


def _count(count: float) -> str:
    return f"{count:,}"


def _seconds(seconds: float) -> str:
    hours = seconds / 3_600
    if hours >= 1 and hours.is_integer():
        return f"{hours:.0f} h"
    return f"{seconds:g} s"


NUMBERS: tuple[Number, ...] = (
    Number("`Retry-After` of a registration under way", _seconds(registration.RETRY_AFTER), _RECORDED, "captures"),
    Number(
        "time until a device is assigned, pace `azure`",
        _seconds(due.ASSIGNMENT_SECONDS),
        _RECORDED,
        "2023-05-19: 0.29 s between creation and last update",
    ),
    Number("items of a page of the service API", _count(paging.DEFAULT_PAGE_SIZE), _RECORDED, "2023-05-19"),
    Number("body of a registration", _size(dps_registration.MAX_BODY_SIZE), _DOCUMENTED, _DPS),
    Number("CA certificates", _count(certificate_authorities.MAX_AUTHORITIES), _DOCUMENTED, _DPS),
    Number(
        "characters of a registration ID", _count(identifiers.MAX_ID_LENGTH), _DOCUMENTED, "iot-dps concepts-service"
    ),
    Number(
        "items of a bulk operation on enrollments", _count(bulk.MAX_ITEMS), _DOCUMENTED, "API description 2021-10-01"
    ),
    Number(
        "weight of a linked hub",
        f"{hub_links.LOWEST_WEIGHT} to {hub_links.HIGHEST_WEIGHT:,}",
        _DOCUMENTED,
        "API description of the resource provider",
    ),
    Number(
        "devices of a bulk operation", _count(registry_bulk.MAX_OPERATIONS), _DOCUMENTED, "API description 2021-04-12"
    ),
    Number("devices of a list, rows of a page", _count(hub_queries.MAX_PAGE), _DOCUMENTED, _IDENTITIES),
    Number("modules of a device", _count(modules.MAX_MODULES), _DOCUMENTED, _IDENTITIES),
    Number("tags of a twin", _size(twins.MAX_TAGS_SIZE), _DOCUMENTED, _TWINS),
    Number("desired or reported properties", _size(twins.MAX_PROPERTIES_SIZE), _DOCUMENTED, _TWINS),
    Number("levels in a twin", _count(twins.MAX_DEPTH), _DOCUMENTED, _TWINS),
    Number("a key in a twin", _size(twins.MAX_KEY_SIZE), _DOCUMENTED, _TWINS),
    Number("a text in a twin", _size(twins.MAX_STRING_SIZE), _DOCUMENTED, _TWINS),
    Number("a message from a device", _size(telemetry.MAX_MESSAGE_SIZE), _DOCUMENTED, _QUOTAS),
    Number("a message to a device", _size(cloud_to_device.MAX_SIZE), _DOCUMENTED, _QUOTAS),
    Number("messages that wait for a device", _count(cloud_to_device.MAX_WAITING), _DOCUMENTED, _CLOUD_TO_DEVICE),
    Number("how long they wait", _seconds(cloud_to_device.TIME_TO_LIVE.total_seconds()), _DOCUMENTED, _CLOUD_TO_DEVICE),
    Number("deliveries of one of them", _count(cloud_to_device.MAX_DELIVERIES), _DOCUMENTED, _CLOUD_TO_DEVICE),
    Number("payload of a direct method", _size(hub_device_methods.MAX_METHOD_PAYLOAD), _DOCUMENTED, _METHODS),
    Number(
        "time-out of a direct method, if none is asked for",
        _seconds(hub_methods.DEFAULT_RESPONSE_TIMEOUT),
        _DOCUMENTED,
        _METHODS,
    ),
    Number("bytes of a key that the service makes", _count(attestation_fields.GENERATED_KEY_SIZE), _INFERRED),
    Number("largest page of the service API", _count(paging.MAX_PAGE_SIZE), _INFERRED),
    Number("time to answer the challenge of a TPM", _seconds(tpm_challenges.LIFETIME_SECONDS), _INFERRED),
    Number("bits of an RSA key below which it is weak", _count(chains.MIN_RSA_BITS), _INFERRED),
    Number(
        "how long an operation can be asked for that a newer one of its device overtook",
        _seconds(operations.OPERATION_SECONDS),
        _SIMULATOR,
    ),
    Number("such operations that are remembered", _count(operations.MAX_OPERATIONS), _SIMULATOR),
    Number("bytes of them", _size(operations.MAX_OPERATION_BYTES), _SIMULATOR),
    Number("certificates that a device may show", _count(evidence.MAX_CERTIFICATES), _SIMULATOR),
    Number("certificates from a device to its authority", _count(chains.MAX_PATH), _SIMULATOR),
    Number("time-out of a webhook, unless set", _seconds(Settings().webhook_timeout), _SIMULATOR),
    Number("answer of a webhook", _size(asked.MAX_ANSWER_SIZE), _SIMULATOR),
    Number("webhooks asked at once", _count(webhook_client.MAX_CALLS), _SIMULATOR),
    Number("hubs of a simulator", _count(MAX_HUBS), _SIMULATOR),
    Number("messages from devices that a hub keeps", _count(telemetry.MAX_MESSAGES), _SIMULATOR),
    Number("bytes of them", _size(telemetry.MAX_BYTES), _SIMULATOR),
    Number("direct methods that wait for one device", _count(hub_device_methods.MAX_WAITING_METHODS), _SIMULATOR),
    Number("size after which a page of the service API ends", _size(paging.MAX_PAGE_BYTES), _SIMULATOR),
    Number("text of a query", _size(query.MAX_LENGTH), _SIMULATOR),
    Number("conditions of a query inside each other", _count(query.MAX_NESTING), _SIMULATOR),
    Number("columns of a query, and of GROUP BY", _count(query.MAX_COLUMNS), _SIMULATOR),
    Number("size after which a page of a query ends", _size(hub_queries.MAX_PAGE_SIZE), _SIMULATOR),
    Number("what GROUP BY names, in all groups of a query", _size(query_summary.MAX_GROUPS_SIZE), _SIMULATOR),
    Number("characters of JSON for each byte of a part of a twin", _count(twins.MAX_WEIGHTLESS), _SIMULATOR),
    Number("delay of a fault, and its duration", f"{faults.MAX_DELAY} s, {_seconds(faults.MAX_DURATION)}", _SIMULATOR),
    Number("an MQTT packet", _size(mqtt.MAX_PACKET_SIZE), _SIMULATOR),
    Number("MQTT subscriptions of a connection", _count(mqtt_session.MAX_SUBSCRIPTIONS), _SIMULATOR),
    Number("MQTT messages that wait for PUBACK", _count(mqtt_session.MAX_IN_FLIGHT), _SIMULATOR),
    Number("body of an HTTP request", _size(http_adapter.MAX_BODY), _SIMULATOR),
    Number("messages in the trace", _count(CAPACITY), _SIMULATOR),
    Number("memory that they take, about", _size(TRACE_BYTES), _SIMULATOR),
    Number("TLS handshakes in progress; more wait in line", _count(newcomers.MAX_HANDSHAKES), _SIMULATOR),
    Number("memory of clients that are not through with it, about", _size(newcomers.MAX_WEIGHT), _SIMULATOR),
    Number("bytes of incomplete requests and packets together", _size(arriving.MAX_ARRIVING), _SIMULATOR),
    Number("bytes of certificate chains, wills and requests being served", _size(accounts.MAX_KEPT), _SIMULATOR),
    Number("bytes that wait for clients that do not read", _size(accounts.MAX_BACKLOG), _SIMULATOR),
    Number("the same of one client", _size(sniffer.MAX_UNSENT), _SIMULATOR),
    Number("a message of a WebSocket", _size(http_adapter.MAX_MESSAGE), _SIMULATOR),
    Number("bytes of MQTT packets that a fault delays", _size(service_faults.MAX_DELAYED), _SIMULATOR),
    Number("open files that connections leave for the rest", _count(accepting.RESERVE), _SIMULATOR),
)
