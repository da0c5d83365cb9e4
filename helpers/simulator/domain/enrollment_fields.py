"""The fields of an enrollment: what a client may write, and in which order answers show them.

Nulls vanish, except that of ``provisioningStatus``; no defaults are filled in; fields that only the service writes are
ignored on input, so that what was read can be written back. Unknown fields are ignored as well (inferred).

Source: recorded answers of the service (2023-05-19) and the published API description 2021-10-01.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import Dps, ErrorKind, ServiceError, described
from . import identifiers, symmetric_keys
from .ports import Document

#: Bytes of a key that the service makes. The recordings hide theirs; inferred from keys shown in the documentation.
GENERATED_KEY_SIZE = 64
#: Longer texts in an enrollment are refused.
MAX_TEXT_LENGTH = 2_048

SYMMETRIC_KEY = "symmetricKey"
STATUSES = ("enabled", "disabled")
ALLOCATION_POLICIES = ("hashed", "geoLatency", "static", "custom")


@dataclass(frozen=True, slots=True)
class EnrollmentKind:
    """What tells individual enrollments and enrollment groups apart.

    Attributes:
        name: ``individual`` or ``group``.
        label: how texts call it.
        id_field: the field with the identifier.
        item_type: value of the header ``x-ms-item-type``.
        collection: where the store keeps them.
        query_name: what may stand after ``FROM`` in a query.
        not_found: error when there is none with the identifier.
        exists: error when there already is one.
    """

    name: str
    label: str
    id_field: str
    item_type: str
    collection: str
    query_name: str
    not_found: ErrorKind
    exists: ErrorKind


INDIVIDUAL = EnrollmentKind(
    "individual",
    "individual enrollment",
    "registrationId",
    "Enrollment",
    "enrollment",
    "enrollments",
    Dps.ENROLLMENT_NOT_FOUND,
    Dps.ENROLLMENT_EXISTS,
)
GROUP = EnrollmentKind(
    "group",
    "enrollment group",
    "enrollmentGroupId",
    "EnrollmentGroup",
    "enrollmentGroup",
    "enrollmentGroups",
    Dps.GROUP_NOT_FOUND,
    Dps.GROUP_EXISTS,
)
KINDS = {kind.name: kind for kind in (INDIVIDUAL, GROUP)}


@dataclass(frozen=True, slots=True)
class Situation:
    """What a field's check may look at besides the value.

    Attributes:
        kind: individual enrollment or group.
        linked_hub_hosts: host names of the hubs that are linked to the service.
        stored: the enrollment that is replaced, ``None`` for a new one.
    """

    kind: EnrollmentKind
    linked_hub_hosts: Sequence[str]
    stored: Mapping[str, Any] | None = field(repr=False)


def invalid(field: str, value: object, expected: str) -> ServiceError:
    """The error for a wrong value. Not for keys: it repeats the value."""
    shown = f"{value!r:.160}" if isinstance(value, str) else described(value)
    return ServiceError(Dps.INVALID_BODY, f"{field} is {shown}; it must be {expected}.")


def _object(field: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        # the value is not repeated: a key may stand in the wrong place
        raise ServiceError(Dps.INVALID_BODY, f"{field} is {described(value)}; it must be a JSON object.")
    return value


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > MAX_TEXT_LENGTH:
        raise invalid(field, value, f"a text of 1 to {MAX_TEXT_LENGTH} characters")
    return value


def _flag(field: str, value: Any, default: bool) -> bool:
    if value is None:
        return default
    if not isinstance(value, bool):
        raise invalid(field, value, "true or false")
    return value


def _choice(field: str, value: Any, choices: Sequence[str]) -> str:
    # enumerations ignore case on input. Source: azure-sdk-for-python issue 35368 ("Hashed")
    for choice in choices:
        if isinstance(value, str) and value.lower() == choice.lower():
            return choice
    raise invalid(field, value, f"one of {', '.join(choices)}")


def _device_id(field: str, value: Any, _: Situation) -> str:
    return identifiers.device_id(value, field=field)


def _any_object(field: str, value: Any, _: Situation) -> Document:
    return dict(_object(field, value))


def _capabilities(field: str, value: Any, _: Situation) -> Document:
    return {"iotEdge": _flag(f"{field}.iotEdge", _object(field, value).get("iotEdge"), False)}


def _hub_host(field: str, value: Any, situation: Situation) -> str:
    host = _text(field, value)
    if identifiers.lookup_key(host) not in {identifiers.lookup_key(linked) for linked in situation.linked_hub_hosts}:
        linked = ", ".join(situation.linked_hub_hosts) or "none"
        raise invalid(field, host, f"a hub that is linked to the provisioning service (linked: {linked})")
    return host


def _hub_hosts(field: str, value: Any, situation: Situation) -> list[str] | None:
    if not isinstance(value, list):
        raise invalid(field, value, "a list of host names")
    hosts = [_hub_host(f"{field}[{index}]", host, situation) for index, host in enumerate(value)]
    if len({identifiers.lookup_key(host) for host in hosts}) != len(hosts):
        raise invalid(field, ", ".join(hosts), "a list without repetitions")
    return hosts or None


def _initial_twin(field: str, value: Any, _: Situation) -> Document:
    twin = _object(field, value)
    # the content comes back as it was sent; its limits are the hub's, and checked there when the device is made
    if twin.get("tags") is not None:
        _object(f"{field}.tags", twin["tags"])
    if twin.get("properties") is not None:
        properties = _object(f"{field}.properties", twin["properties"])
        if properties.get("desired") is not None:
            _object(f"{field}.properties.desired", properties["desired"])
    return dict(twin)


def _reprovision_policy(field: str, value: Any, _: Situation) -> Document:
    policy = _object(field, value)
    return {
        name: _flag(f"{field}.{name}", policy.get(name), True) for name in ("updateHubAssignment", "migrateDeviceData")
    }


def _allocation_policy(field: str, value: Any, _: Situation) -> str:
    return _choice(field, value, ALLOCATION_POLICIES)


def _custom_allocation(field: str, value: Any, _: Situation) -> Document:
    definition = _object(field, value)
    return {name: _text(f"{field}.{name}", definition.get(name)) for name in ("webhookUrl", "apiVersion")}


def _attestation(field: str, value: Any, situation: Situation) -> Document:
    mechanism = _object(field, value)
    kind = _choice(f"{field}.type", mechanism.get("type"), (SYMMETRIC_KEY, "x509", "tpm", "none"))
    if kind == "tpm" and situation.kind is GROUP:
        raise invalid(f"{field}.type", kind, "symmetricKey or x509: enrollment groups know no TPM attestation")
    if kind != SYMMETRIC_KEY:
        raise ServiceError(
            Dps.NOT_SUPPORTED, f"{field}.type {kind!r} is not supported by this simulator; use {SYMMETRIC_KEY!r}."
        )
    for other in ("x509", "tpm"):
        if mechanism.get(other) is not None:
            raise ServiceError(Dps.INVALID_BODY, f"{field} has the type symmetricKey and must not contain {other!r}.")
    given = mechanism.get(SYMMETRIC_KEY)
    keys = {} if given is None else _object(f"{field}.{SYMMETRIC_KEY}", given)
    stored = (situation.stored or {}).get(field, {}).get(SYMMETRIC_KEY, {})
    return {
        "type": kind,
        SYMMETRIC_KEY: {
            name: _key(f"{field}.{SYMMETRIC_KEY}.{name}", keys.get(name), stored.get(name))
            for name in ("primaryKey", "secondaryKey")
        },
    }


def _key(field: str, given: Any, stored: str | None) -> str:
    """A key as it is to be stored: the given one, else the one from before, else a new one."""
    if given is None or given == "":
        return stored or base64.b64encode(secrets.token_bytes(GENERATED_KEY_SIZE)).decode("ascii")
    problem = symmetric_keys.problem(given)
    if problem:
        raise ServiceError(Dps.INVALID_BODY, f"{field} {problem}")
    return str(given)


Check = Callable[[str, Any, Situation], Any]

#: Every field in the order of the answers, with the check of what a client writes; ``None`` when only the service does.
FIELDS: Mapping[str, Check | None] = {
    "registrationId": None,
    "enrollmentGroupId": None,
    "deviceId": _device_id,
    "registrationState": None,
    "optionalDeviceInformation": _any_object,
    "attestation": _attestation,
    "capabilities": _capabilities,
    "iotHubHostName": _hub_host,
    "initialTwin": _initial_twin,
    "etag": None,
    "provisioningStatus": None,
    "reprovisionPolicy": _reprovision_policy,
    "createdDateTimeUtc": None,
    "lastUpdatedDateTimeUtc": None,
    "allocationPolicy": _allocation_policy,
    "iotHubs": _hub_hosts,
    "customAllocationDefinition": _custom_allocation,
}
#: Fields of individual enrollments that groups do not have.
INDIVIDUAL_ONLY = frozenset({"deviceId", "optionalDeviceInformation"})


def read_fields(body: object, identifier: str, situation: Situation) -> Document:
    """Check the body of a write and take from it what is to be stored.

    Arguments:
        body: parsed JSON.
        identifier: the identifier in the address, which the body must repeat.
        situation: kind, linked hubs and the enrollment that is replaced.

    Raises:
        ServiceError: a field is wrong or missing; names the field and the value.
    """
    if not isinstance(body, Mapping):
        raise ServiceError(Dps.INVALID_BODY, f"The body must be a JSON object with an {situation.kind.label}.")
    id_field = situation.kind.id_field
    given = identifiers.registration_id(body.get(id_field), field=id_field)
    if identifiers.lookup_key(given) != identifiers.lookup_key(identifier):
        raise ServiceError(
            Dps.INVALID_BODY,
            f"{id_field} in the body is {given!r}, in the address {identifier!r:.160}; they must agree.",
        )
    if body.get("attestation") is None:
        raise ServiceError(Dps.INVALID_BODY, "attestation is missing.")
    fields: Document = {id_field: given}
    for name, check in FIELDS.items():
        value = body.get(name)
        if check is None or value is None or (name in INDIVIDUAL_ONLY and situation.kind is GROUP):
            continue
        checked = check(name, value, situation)
        if checked is not None:
            fields[name] = checked
    # recorded: an explicit null stays null; without the field the API description's default holds (inferred)
    status = body.get("provisioningStatus", STATUSES[0])
    fields["provisioningStatus"] = None if status is None else _choice("provisioningStatus", status, STATUSES)
    _check_allocation(fields)
    return fields


def _check_allocation(fields: Mapping[str, Any]) -> None:
    policy, hubs = fields.get("allocationPolicy"), fields.get("iotHubs")
    if hubs and policy is None:
        # Source: azure-sdk-for-python issue 35368 (the fact and the code; the text is ours)
        raise ServiceError(Dps.INVALID_BODY, "allocationPolicy must be given together with iotHubs.")
    if hubs and "iotHubHostName" in fields:
        raise ServiceError(Dps.INVALID_BODY, "iotHubHostName and iotHubs exclude each other; give iotHubs.")
    if policy == "static" and hubs and len(hubs) > 1:
        raise invalid("iotHubs", ", ".join(hubs), "one hub, because allocationPolicy is static")
    if policy == "custom" and "customAllocationDefinition" not in fields:
        raise ServiceError(Dps.INVALID_BODY, "customAllocationDefinition is missing; allocationPolicy custom needs it.")
