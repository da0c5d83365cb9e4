"""What the notebooks on fleets need beside their lesson, and what they make, as recipes.

They change settings of the provisioning service itself: which hubs are linked, with what weight, and the allocation
policy. How these were before is noted first, and :func:`restore` brings it back; other hubs are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.mgmt.iothubprovisioningservices.models import IotHubDefinitionDescription

from helpers import workspace
from helpers.workspace import Document

from . import symmetric_key as lessons
from .symmetric_key import ENROLLMENT, GROUP

HUBS, FLEET, KETTLES = "fleet.hubs", "fleet.group", "fleet.kettles"
#: How the service was before the notebooks changed it.
BEFORE = "fleet.before"
#: What the notebooks ask of a service: both hubs alike, and devices spread evenly.
WEIGHT, POLICY = 1, "Hashed"
#: Where the second device of the second notebook comes from: a name made of the first one's.
CHIP = "-chip"


def service_resource(dps: Any) -> tuple[Any, dict[str, str], Any]:
    """The management operations on provisioning services, the arguments that name ours, and what it is now."""
    manager = dps.management_client().iot_dps_resource
    where = {"resource_group_name": dps.resource_group, "provisioning_service_name": dps.service_name}
    return manager, where, manager.get(**where)


def links_of(resource: Any) -> dict[str, Any]:
    """The links of a provisioning service by the hub's host name."""
    return {str(link.name).lower(): link for link in resource.properties.iot_hubs or []}


def remember(dps: Any, hubs: Sequence[str]) -> Document:
    """Note how the service treats these hubs, before a notebook changes it. What was noted earlier stays."""
    noted = workspace.load(BEFORE, dps)
    if noted is None:
        _, _, resource = service_resource(dps)
        links = links_of(resource)
        noted = {
            "hubs": list(hubs),
            "links": {hub: _settings(links[hub]) for hub in hubs if hub in links},
            # the client makes a member of an enumeration of it
            "policy": str(resource.properties["allocationPolicy"] or POLICY),
        }
        workspace.save(BEFORE, dps, noted)
    return noted


def restore(dps: Any) -> tuple[str, ...]:
    """Bring the service back to what was noted: unlink what a notebook linked, link what it unlinked, undo the rest.

    Nothing noted, nothing done. Devices in the hubs stay.

    Returns:
        Host names of the linked hubs, sorted; none when nothing was noted.
    """
    noted = workspace.load(BEFORE, dps)
    if noted is None:
        return ()
    manager, where, resource = service_resource(dps)
    links = links_of(resource)
    # before a hub is unlinked: saying how far away a hub is links it
    dps.set_latencies({hub: None for hub in noted["hubs"] if hub in links})
    wanted: dict[str, Any] = {hub: link for hub, link in links.items() if hub not in noted["hubs"]}
    for hub, settings in noted["links"].items():
        if hub not in links and hub not in dps.hubs:
            # it does not exist any more, or is not ours to link
            continue
        wanted[hub] = links.get(hub) or _new_link(dps, hub, resource.location)
        wanted[hub].allocation_weight = settings["weight"]
        wanted[hub].apply_allocation_policy = settings["applies"]
    resource.properties.iot_hubs = [wanted[hub] for hub in sorted(wanted, key=lambda hub: _place(hub, links))]
    resource.properties.allocation_policy = noted["policy"]
    manager.begin_create_or_update(iot_dps_description=resource, **where).result()
    workspace.forget(BEFORE, dps)
    workspace.forget(HUBS, dps)
    return tuple(sorted(wanted))


def remove_fleet(dps: Any, service: Any, group_id: str) -> None:
    """Remove an enrollment group, then the devices that came in through it; nothing there is fine."""
    try:
        records = list(service.device_registration_state.query(group_id))
        service.enrollment_group.get(group_id)
    except ResourceNotFoundError:
        workspace.release(dps, GROUP, group_id)
        return
    lessons.check_ours(dps, GROUP, group_id)
    # the records go with it
    service.enrollment_group.delete(group_id)
    for hub in dps.hubs:
        with _one_connection(dps.registry(hub)):
            for record in records:
                if record.get("assignedHub") == hub:
                    _delete_if_there(dps, hub, str(record["deviceId"]))
    workspace.release(dps, GROUP, group_id)


class FleetHubs:
    """Two linked hubs that get the same share of the devices."""

    def find(self, dps: Any, stored: Document | None, names: Mapping[str, str]) -> Document | None:
        """What was kept, when both hubs are linked alike and the policy of the service spreads devices over them."""
        if stored is None or workspace.load(BEFORE, dps) is None:
            return None
        _, _, resource = service_resource(dps)
        links = links_of(resource)
        alike = all(hub in links and _settings(links[hub]) == _ALIKE for hub in stored["hubs"])
        known = set(stored["hubs"]) <= set(dps.hubs)
        return stored if alike and known and resource.properties["allocationPolicy"] == POLICY else None

    def make(self, dps: Any, names: Mapping[str, str]) -> Document:
        """Link both hubs."""
        hubs = dps.need_hubs(2)
        noted = remember(dps, hubs)
        manager, where, resource = service_resource(dps)
        links = links_of(resource)
        for hub in hubs:
            links.setdefault(hub, _new_link(dps, hub, resource.location))
            links[hub].allocation_weight, links[hub].apply_allocation_policy = WEIGHT, True
        resource.properties.iot_hubs = list(links.values())
        resource.properties.allocation_policy = POLICY
        manager.begin_create_or_update(iot_dps_description=resource, **where).result()
        return {"hubs": list(hubs), "linked_before": sorted(noted["links"])}

    def remove(self, dps: Any, names: Mapping[str, str]) -> None:
        """Bring the service back to what it was, and note that it will be changed."""
        restore(dps)
        remember(dps, dps.need_hubs(2))

    def ready(self, names: Mapping[str, str]) -> list[str]:
        """One line."""
        return ["Two hubs are linked, and get the same share of the devices."]

    def removed(self, names: Mapping[str, str]) -> list[str]:
        """One line."""
        return ["The settings of the service are noted, to be put back in the end."]


class Fleet:
    """An enrollment group, for as many devices as the notebook boots."""

    def find(self, dps: Any, stored: Document | None, names: Mapping[str, str]) -> Document | None:
        """Never there: the notebook always makes it anew."""
        return None

    def make(self, dps: Any, names: Mapping[str, str]) -> Document:
        """Create the group."""
        group_id = names["group_id"]
        workspace.claim(dps, GROUP, group_id)
        group = dps.service_client().enrollment_group.create_or_update(
            group_id, {"enrollmentGroupId": group_id, "attestation": {"type": "symmetricKey"}}
        )
        return {"group_id": group_id, "key": group["attestation"]["symmetricKey"]["primaryKey"]}

    def remove(self, dps: Any, names: Mapping[str, str]) -> None:
        """Remove the group with its devices, and note that it will be made."""
        remove_fleet(dps, dps.service_client(), names["group_id"])
        workspace.claim(dps, GROUP, names["group_id"])

    def ready(self, names: Mapping[str, str]) -> list[str]:
        """One line."""
        return [f"Enrolled: the group {names['group_id']}"]

    def removed(self, names: Mapping[str, str]) -> list[str]:
        """One line."""
        return [f"There is no enrollment group {names['group_id']}."]


class Kettles:
    """The devices that are moved and retired: two enrolled individually, one in a group."""

    def find(self, dps: Any, stored: Document | None, names: Mapping[str, str]) -> Document | None:
        """Never there: the notebook always makes them anew."""
        return None

    def make(self, dps: Any, names: Mapping[str, str]) -> Document:
        """Enroll the first one; the others join in their own steps."""
        registration_id = names["registration_id"]
        enrollment = {"registrationId": registration_id, "attestation": {"type": "symmetricKey"}}
        made = dps.service_client().enrollment.create_or_update(registration_id, enrollment)
        return {"registration_id": registration_id, "key": made["attestation"]["symmetricKey"]["primaryKey"]}

    def remove(self, dps: Any, names: Mapping[str, str]) -> None:
        """Remove enrollments and devices, also devices whose enrollment is gone already, and note what will be made."""
        service = dps.service_client()
        individual = [names["registration_id"], names["registration_id"] + CHIP, names["member_id"]]
        ours = {name for kind, name in workspace.claimed(dps) if kind == ENROLLMENT}
        lessons.remove_group(dps, service, names["group_id"])
        for registration_id in individual:
            lessons.remove_enrollment(dps, service, registration_id)
            if dps.is_simulator or registration_id in ours:
                for hub in dps.hubs:
                    _delete_if_there(dps, hub, registration_id)
            workspace.claim(dps, ENROLLMENT, registration_id)
        workspace.claim(dps, GROUP, names["group_id"])

    def ready(self, names: Mapping[str, str]) -> list[str]:
        """One line."""
        return [f"Enrolled: {names['registration_id']}, individually"]

    def removed(self, names: Mapping[str, str]) -> list[str]:
        """One line for each enrollment."""
        return [
            f"Nothing is enrolled as {names['registration_id']}.",
            f"There is no enrollment group {names['group_id']}.",
        ]


_ALIKE = {"weight": WEIGHT, "applies": True}


def _settings(link: Any) -> Document:
    """How a hub is linked; what the service leaves out has its default."""
    weight, applies = link.allocation_weight, link.apply_allocation_policy
    return {"weight": WEIGHT if weight is None else weight, "applies": True if applies is None else applies}


def _new_link(dps: Any, hub: str, location: str) -> Any:
    connection = dps.hub_connection_string(hub).reveal()
    return IotHubDefinitionDescription(connection_string=connection, location=location)


def _place(hub: str, links: Mapping[str, Any]) -> int:
    """Links keep their order; new ones come last."""
    names = list(links)
    return names.index(hub) if hub in links else len(names)


@contextmanager
def _one_connection(registry: Any) -> Iterator[None]:
    """Do not connect anew for every request, as the official manager does unless it is told; a fleet takes many."""
    protocol = getattr(registry, "protocol", None)
    if protocol is None:
        yield
        return
    protocol.config.keep_alive = True
    try:
        yield
    finally:
        protocol.config.keep_alive = False


def _delete_if_there(dps: Any, hub: str, device_id: str) -> None:
    # asking first would double the time that a fleet takes
    try:
        dps.registry(hub).delete_device(device_id)
    except Exception as problem:
        if lessons.status_of(problem) != 404:
            raise
