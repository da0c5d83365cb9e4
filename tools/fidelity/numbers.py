"""The numbers by which the simulator decides, taken from where they are used, each with where it comes from.

The limits that can be switched on stand in :mod:`dps_simulator.common.throttling`; they are published, every one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from dps_simulator.common import hub_links, identifiers, paging, trace, webhooks
from dps_simulator.credentials import chains, evidence
from dps_simulator.errors.table import Provenance
from dps_simulator.hub import (
    cloud_to_device,
    event_readers,
    faults,
    feedback,
    hub_queries,
    message_locks,
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
from dps_simulator.provisioning.attestation import authorities, challenges
from dps_simulator.provisioning.enrollments import attestation_fields, bulk
from dps_simulator.provisioning.registration import due, operations, registrations
from dps_simulator.server import accepting, accounts, arriving, http_adapter, newcomers, sniffer
from dps_simulator.server import webhooks as webhook_client
from dps_simulator.settings.settings import MAX_HUBS, Settings
from dps_simulator.wire import faults as service_faults

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
        source: the page or recording, empty for what is only here.
        provenance: where it comes from.
    """

    meaning: str
    value: str
    source: str = ""
    provenance: Provenance = field(kw_only=True)


_recorded = partial(Number, provenance=Provenance.RECORDED)
_documented = partial(Number, provenance=Provenance.DOCUMENTED)
_inferred = partial(Number, provenance=Provenance.INFERRED)
_own = partial(Number, provenance=Provenance.SIMULATOR_ONLY)


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
    _recorded("`Retry-After` of a registration under way", _seconds(registrations.RETRY_AFTER), "captures"),
    _recorded(
        "time until a device is assigned, pace `azure`",
        _seconds(due.ASSIGNMENT_SECONDS),
        "2023-05-19: 0.29 s between creation and last update",
    ),
    _recorded("items of a page of the service API", _count(paging.DEFAULT_PAGE_SIZE), "2023-05-19"),
    _documented("body of a registration", _size(dps_registration.MAX_BODY_SIZE), _DPS),
    _documented("CA certificates", _count(authorities.MAX_AUTHORITIES), _DPS),
    _documented("characters of a registration ID", _count(identifiers.MAX_ID_LENGTH), "iot-dps concepts-service"),
    _documented("items of a bulk operation on enrollments", _count(bulk.MAX_ITEMS), "API description 2021-10-01"),
    _documented(
        "weight of a linked hub",
        f"{hub_links.LOWEST_WEIGHT} to {hub_links.HIGHEST_WEIGHT:,}",
        "API description of the resource provider",
    ),
    _documented("devices of a bulk operation", _count(registry_bulk.MAX_OPERATIONS), "API description 2021-04-12"),
    _documented("devices of a list, rows of a page", _count(hub_queries.MAX_PAGE), _IDENTITIES),
    _documented("modules of a device", _count(modules.MAX_MODULES), _IDENTITIES),
    _documented("tags of a twin", _size(twins.MAX_TAGS_SIZE), _TWINS),
    _documented("desired or reported properties", _size(twins.MAX_PROPERTIES_SIZE), _TWINS),
    _documented("levels in a twin", _count(twins.MAX_DEPTH), _TWINS),
    _documented("a key in a twin", _size(twins.MAX_KEY_SIZE), _TWINS),
    _documented("a text in a twin", _size(twins.MAX_STRING_SIZE), _TWINS),
    _documented("a message from a device", _size(telemetry.MAX_MESSAGE_SIZE), _QUOTAS),
    _documented("a message to a device", _size(cloud_to_device.MAX_SIZE), _QUOTAS),
    _documented("messages that wait for a device", _count(cloud_to_device.MAX_WAITING), _CLOUD_TO_DEVICE),
    _documented("how long they wait", _seconds(cloud_to_device.TIME_TO_LIVE.total_seconds()), _CLOUD_TO_DEVICE),
    _documented("deliveries of one of them", _count(cloud_to_device.MAX_DELIVERIES), _CLOUD_TO_DEVICE),
    _documented(
        "how long one is kept for the device that received it over HTTPS",
        _seconds(message_locks.LOCK_TIMEOUT.total_seconds()),
        _CLOUD_TO_DEVICE,
    ),
    _documented("records of feedback in a batch", _count(feedback.BATCH), _CLOUD_TO_DEVICE),
    _documented(
        "how long feedback waits for more of it", _seconds(feedback.BATCH_DELAY.total_seconds()), _CLOUD_TO_DEVICE
    ),
    _documented(
        "how long feedback is kept, if nobody takes it",
        _seconds(feedback.TIME_TO_LIVE.total_seconds()),
        _CLOUD_TO_DEVICE,
    ),
    _documented("deliveries of feedback", _count(feedback.MAX_DELIVERIES), _CLOUD_TO_DEVICE),
    _documented("partitions of a hub", _count(telemetry.PARTITIONS), "iot-hub-devguide-messages-read-builtin"),
    _documented("readers of a partition", _count(event_readers.MAX_READERS), "event-hubs-quotas"),
    _documented("payload of a direct method", _size(hub_device_methods.MAX_METHOD_PAYLOAD), _METHODS),
    _documented(
        "time-out of a direct method, if none is asked for", _seconds(hub_methods.DEFAULT_RESPONSE_TIMEOUT), _METHODS
    ),
    _inferred("bytes of a key that the service makes", _count(attestation_fields.GENERATED_KEY_SIZE)),
    _inferred("largest page of the service API", _count(paging.MAX_PAGE_SIZE)),
    _inferred("time to answer the challenge of a TPM", _seconds(challenges.LIFETIME_SECONDS)),
    _inferred("bits of an RSA key below which it is weak", _count(chains.MIN_RSA_BITS)),
    _own(
        "how long an operation can be asked for that a newer one of its device overtook",
        _seconds(operations.OPERATION_SECONDS),
    ),
    _own("such operations that are remembered", _count(operations.MAX_OPERATIONS)),
    _own("bytes of them", _size(operations.MAX_OPERATION_BYTES)),
    _own("certificates that a device may show", _count(evidence.MAX_CERTIFICATES)),
    _own("certificates from a device to its authority", _count(chains.MAX_PATH)),
    _own("time-out of a webhook, unless set", _seconds(Settings().webhook_timeout)),
    _own("answer of a webhook", _size(webhooks.MAX_ANSWER_SIZE)),
    _own("webhooks asked at once", _count(webhook_client.MAX_CALLS)),
    _own("hubs of a simulator", _count(MAX_HUBS)),
    _own("messages from devices that a hub keeps", _count(telemetry.MAX_MESSAGES)),
    _own("bytes of them", _size(telemetry.MAX_BYTES)),
    _own("records of feedback that a hub keeps", _count(feedback.MAX_RECORDS)),
    _own("messages of a batch over HTTPS", _count(telemetry.MAX_BATCH)),
    _own("direct methods that wait for one device", _count(hub_device_methods.MAX_WAITING_METHODS)),
    _own("size after which a page of the service API ends", _size(paging.MAX_PAGE_BYTES)),
    _own("text of a query", _size(query.MAX_LENGTH)),
    _own("conditions of a query inside each other", _count(query.MAX_NESTING)),
    _own("columns of a query, and of GROUP BY", _count(query.MAX_COLUMNS)),
    _own("size after which a page of a query ends", _size(hub_queries.MAX_PAGE_SIZE)),
    _own("what GROUP BY names, in all groups of a query", _size(query_summary.MAX_GROUPS_SIZE)),
    _own("characters of JSON for each byte of a part of a twin", _count(twins.MAX_WEIGHTLESS)),
    _own("delay of a fault, and its duration", f"{faults.MAX_DELAY} s, {_seconds(faults.MAX_DURATION)}"),
    _own("an MQTT packet", _size(mqtt.MAX_PACKET_SIZE)),
    _own("MQTT subscriptions of a connection", _count(mqtt_session.MAX_SUBSCRIPTIONS)),
    _own("MQTT messages that wait for PUBACK", _count(mqtt_session.MAX_IN_FLIGHT)),
    _own("body of an HTTP request", _size(http_adapter.MAX_BODY)),
    _own("messages in the trace", _count(trace.CAPACITY)),
    _own("memory that they take, about", _size(trace.MAX_BYTES)),
    _own("TLS handshakes in progress; more wait in line", _count(newcomers.MAX_HANDSHAKES)),
    _own("memory of clients that are not through with it, about", _size(newcomers.MAX_WEIGHT)),
    _own("bytes of incomplete requests and packets together", _size(arriving.MAX_ARRIVING)),
    _own("bytes of certificate chains, wills and requests being served", _size(accounts.MAX_KEPT)),
    _own("bytes that wait for clients that do not read", _size(accounts.MAX_BACKLOG)),
    _own("the same of one client", _size(sniffer.MAX_UNSENT)),
    _own("a message of a WebSocket", _size(http_adapter.MAX_MESSAGE)),
    _own("bytes of MQTT packets that a fault delays", _size(service_faults.MAX_DELAYED)),
    _own("open files that connections leave for the rest", _count(accepting.RESERVE)),
)
