"""The fields of an enrollment: what a client may write, and in which order answers show them.

Nulls vanish, except that of ``provisioningStatus``; no defaults are filled in; fields that only the service writes are
ignored on input, so that what was read can be written back. Unknown fields are ignored as well (inferred).

Source: recorded answers of the service (2023-05-19) and the published API description 2021-10-01.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dps_simulator.common import identifiers
from dps_simulator.common.field_checks import (
    checked_choice,
    checked_flag,
    checked_object,
    checked_text,
    invalid,
    wrong_body,
)
from dps_simulator.common.identifiers import RegistrationId
from dps_simulator.common.ports import Document

from .attestation_fields import checked_attestation
from .kinds import GROUP, Situation

STATUSES = ("enabled", "disabled")
ALLOCATION_POLICIES = ("hashed", "geoLatency", "static", "custom")


def _device_id(field: str, value: Any, _: Situation) -> str:
    return identifiers.device_id(value, field=field)


def _any_object(field: str, value: Any, _: Situation) -> Document:
    return dict(checked_object(field, value))


def _capabilities(field: str, value: Any, _: Situation) -> Document:
    return {"iotEdge": checked_flag(f"{field}.iotEdge", checked_object(field, value).get("iotEdge"), False)}


def _hub_host(field: str, value: Any, situation: Situation) -> str:
    host = checked_text(field, value)
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
    twin = checked_object(field, value)
    # the content comes back as it was sent; its limits are the hub's, and checked there when the device is made
    if twin.get("tags") is not None:
        checked_object(f"{field}.tags", twin["tags"])
    if twin.get("properties") is not None:
        properties = checked_object(f"{field}.properties", twin["properties"])
        if properties.get("desired") is not None:
            checked_object(f"{field}.properties.desired", properties["desired"])
    return dict(twin)


def _reprovision_policy(field: str, value: Any, _: Situation) -> Document:
    policy = checked_object(field, value)
    return {
        name: checked_flag(f"{field}.{name}", policy.get(name), True)
        for name in ("updateHubAssignment", "migrateDeviceData")
    }


def _allocation_policy(field: str, value: Any, _: Situation) -> str:
    return checked_choice(field, value, ALLOCATION_POLICIES)


def _custom_allocation(field: str, value: Any, _: Situation) -> Document:
    definition = checked_object(field, value)
    return {name: checked_text(f"{field}.{name}", definition.get(name)) for name in ("webhookUrl", "apiVersion")}


Check = Callable[[str, Any, Situation], Any]

#: Every field in the order of the answers, with the check of what a client writes; ``None`` when only the service does.
FIELDS: Mapping[str, Check | None] = {
    "registrationId": None,
    "enrollmentGroupId": None,
    "deviceId": _device_id,
    "registrationState": None,
    "optionalDeviceInformation": _any_object,
    "attestation": checked_attestation,
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


def read_fields(body: object, identifier: RegistrationId, situation: Situation) -> Document:
    """Check the body of a write and take from it what is to be stored.

    Arguments:
        body: the request's body, parsed from JSON; of whatever type.
        identifier: the identifier in the address, which the body must repeat.
        situation: kind, linked hubs and the enrollment that is replaced.

    Raises:
        ServiceError: a field is wrong or missing; names the field and the value.
    """
    if not isinstance(body, Mapping):
        raise wrong_body(f"The body must be a JSON object with an {situation.kind.label}.")
    id_field = situation.kind.id_field
    given = RegistrationId(body.get(id_field), field=id_field)
    if given.key != identifier.key:
        raise wrong_body(f"{id_field} in the body is {given!r}, in the address {identifier!r:.160}; they must agree.")
    if body.get("attestation") is None:
        raise wrong_body("attestation is missing.")
    fields: Document = {id_field: str(given)}
    for name, check in FIELDS.items():
        value = body.get(name)
        if check is None or value is None or (name in INDIVIDUAL_ONLY and situation.kind is GROUP):
            continue
        checked = check(name, value, situation)
        if checked is not None:
            fields[name] = checked
    # recorded: an explicit null stays null; without the field the API description's default holds (inferred)
    status = body.get("provisioningStatus", STATUSES[0])
    fields["provisioningStatus"] = None if status is None else checked_choice("provisioningStatus", status, STATUSES)
    _check_allocation(fields)
    return fields


def _check_allocation(fields: Mapping[str, Any]) -> None:
    policy, hubs = fields.get("allocationPolicy"), fields.get("iotHubs")
    if hubs and policy is None:
        # Source: azure-sdk-for-python issue 35368 (the fact and the code; the text is ours)
        raise wrong_body("allocationPolicy must be given together with iotHubs.")
    if hubs and "iotHubHostName" in fields:
        raise wrong_body("iotHubHostName and iotHubs exclude each other; give iotHubs.")
    if policy == "static" and hubs and len(hubs) > 1:
        raise invalid("iotHubs", ", ".join(hubs), "one hub, because allocationPolicy is static")
    if policy == "custom" and "customAllocationDefinition" not in fields:
        raise wrong_body("customAllocationDefinition is missing; allocationPolicy custom needs it.")
