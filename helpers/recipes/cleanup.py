"""How what the notebooks made goes away again: enrollments, devices, CA certificates, and settings of the service.

Nothing is removed on Azure that this workspace did not make. Settings of the provisioning service, which some notebooks
change (which hubs are linked, with what weight, and the allocation policy), are noted before that, and
:func:`restore` brings them back; other hubs are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceNotFoundError

from helpers import workspace
from helpers.masking import MaskedError
from helpers.problems import status_of
from helpers.workspace import Document

#: Kinds of things that a workspace claims, as people call them.
ENROLLMENT, GROUP, AUTHORITY = "individual enrollment", "enrollment group", "CA certificate"
#: Names of documents: the hubs that notebooks share, and how the service was before they changed it.
HUBS, BEFORE = "fleet.hubs", "fleet.before"
#: What the notebooks ask of a service: both hubs alike, and devices spread evenly.
WEIGHT, POLICY = 1, "Hashed"


class LessonError(MaskedError):
    """Something on the target is in the way; the text says what and how to go on."""


def check_ours(dps: Any, kind: str, identifier: str) -> None:
    """Refuse to remove what somebody else made. On the simulator everything may be removed.

    Arguments:
        dps: the target.
        kind: :data:`ENROLLMENT`, :data:`GROUP` or :data:`AUTHORITY`.
        identifier: registration ID, or name of the group or certificate.

    Raises:
        LessonError: this is Azure, and the workspace has not claimed it.
    """
    if dps.is_simulator or (kind, identifier) in workspace.claimed(dps):
        return
    article = "a" if kind == AUTHORITY else "an"
    raise LessonError(
        f"On {dps.provisioning_host} there is already {article} {kind} {identifier!r}, which this workspace did not "
        "make. Choose another name in the parameters of this notebook, or delete it yourself if it is not needed."
    )


def registration(service: Any, registration_id: str) -> Mapping[str, Any] | None:
    """What DPS knows of a device's registration.

    Arguments:
        service: the client of the enrollments.
        registration_id: of the device.

    Returns:
        The record with the members of the REST API, such as ``assignedHub``, ``deviceId`` and ``status``; ``None``
        when the device never registered.
    """
    try:
        record: Mapping[str, Any] = service.device_registration_state.get(registration_id)
    except ResourceNotFoundError:
        return None
    return record


def forget_registration(dps: Any, service: Any, registration_id: str) -> None:
    """Remove a device from the hub that DPS put it into, and then the record of its registration; the enrollment stays.

    A device in a hub that the target does not have is left alone. Nothing there is fine.

    Arguments:
        dps: the target.
        service: its client of the enrollments.
        registration_id: of the device.
    """
    record = registration(service, registration_id)
    if record is None:
        return
    hub, device_id = record.get("assignedHub"), record.get("deviceId")
    if hub in dps.hubs and device_id:
        delete_device(dps, str(hub), str(device_id))
    with suppress(ResourceNotFoundError):
        service.device_registration_state.delete(registration_id)


def forget_our_registration(dps: Any, service: Any, registration_id: str, kind: str, enrollment: str) -> None:
    """The same, unless somebody else made the enrollment that the device came in through.

    Arguments:
        dps: the target.
        service: its client of the enrollments.
        registration_id: of the device.
        kind: :data:`ENROLLMENT` or :data:`GROUP`.
        enrollment: registration ID of the enrollment, or name of the group.

    Raises:
        LessonError: on Azure, somebody else made it.
    """
    if registration(service, registration_id) is not None:
        check_ours(dps, kind, enrollment)
        forget_registration(dps, service, registration_id)


def device_exists(dps: Any, hub: str, device_id: str) -> bool:
    """Ask the registry of a hub for a device.

    Arguments:
        dps: the target.
        hub: host name of the hub.
        device_id: case counts.

    Raises:
        TargetError: the target does not have the hub.
        HttpOperationError: the hub refused for another reason than that there is no such device.
    """
    try:
        dps.registry(hub).get_device(device_id)
    except Exception as problem:
        if status_of(problem) == 404:
            return False
        raise
    return True


def delete_device(dps: Any, hub: str, device_id: str) -> None:
    """Remove a device from a hub, whatever its ETag; not there is fine.

    Arguments:
        dps: the target.
        hub: host name of the hub.
        device_id: case counts.

    Raises:
        TargetError: the target does not have the hub.
        HttpOperationError: the hub refused for another reason than that there is no such device.
    """
    # asking first would double the time that a fleet takes
    try:
        dps.registry(hub).delete_device(device_id)
    except Exception as problem:
        if status_of(problem) != 404:
            raise


def remove_enrollment(dps: Any, service: Any, registration_id: str, *, again: bool = False) -> None:
    """Remove an individual enrollment with its device; nothing there is fine.

    Arguments:
        dps: the target.
        service: its client of the enrollments.
        registration_id: names the enrollment.
        again: it is about to be made again, so it stays noted as something that this workspace made.

    Raises:
        LessonError: on Azure, it was made by somebody else.
    """
    _remove(dps, service, ENROLLMENT, registration_id, again=again)


def remove_group(dps: Any, service: Any, group_id: str, *, again: bool = False) -> None:
    """Remove an enrollment group with the devices of its members; nothing there is fine.

    Arguments:
        dps: the target.
        service: its client of the enrollments.
        group_id: names the group.
        again: it is about to be made again, so it stays noted as something that this workspace made.

    Raises:
        LessonError: on Azure, it was made by somebody else.
    """
    _remove(dps, service, GROUP, group_id, again=again)


def _remove(dps: Any, service: Any, kind: str, identifier: str, *, again: bool) -> None:
    client = service.enrollment if kind == ENROLLMENT else service.enrollment_group
    try:
        client.get(identifier)
    except ResourceNotFoundError:
        pass
    else:
        check_ours(dps, kind, identifier)
        devices = [identifier]
        if kind == GROUP:
            devices = [str(record["registrationId"]) for record in service.device_registration_state.query(identifier)]
        for registration_id in devices:
            forget_registration(dps, service, registration_id)
        client.delete(identifier)
    note = workspace.claim if again else workspace.release
    note(dps, kind, identifier)


def remove_fleet(dps: Any, service: Any, group_id: str) -> None:
    """The same as :func:`remove_group` for many devices: two requests less for each, over one connection to each hub.

    Deleting a group takes its registration records along, so only the devices are left to be deleted one by one.

    Arguments:
        dps: the target.
        service: its client of the enrollments.
        group_id: names the group.

    Raises:
        LessonError: on Azure, it was made by somebody else.
    """
    try:
        records = list(service.device_registration_state.query(group_id))
        service.enrollment_group.get(group_id)
    except ResourceNotFoundError:
        workspace.release(dps, GROUP, group_id)
        return
    check_ours(dps, GROUP, group_id)
    # the records go with it
    service.enrollment_group.delete(group_id)
    for hub in dps.hubs:
        with _one_connection(dps.registry(hub)):
            for record in records:
                if record.get("assignedHub") == hub:
                    delete_device(dps, hub, str(record["deviceId"]))
    workspace.release(dps, GROUP, group_id)


def enrollments_of(dps: Any, service: Any) -> tuple[list[str], list[str]]:
    """What this workspace made and is still there.

    Returns:
        Registration IDs of individual enrollments, and names of enrollment groups, both sorted.
    """
    found: dict[str, list[str]] = {ENROLLMENT: [], GROUP: []}
    clients = {ENROLLMENT: service.enrollment, GROUP: service.enrollment_group}
    for kind, identifier in workspace.claimed(dps):
        if kind in clients:
            with suppress(ResourceNotFoundError):
                clients[kind].get(identifier)
                found[kind].append(identifier)
    return sorted(found[ENROLLMENT]), sorted(found[GROUP])


def records_of(service: Any, enrollments: Iterable[str], groups: Iterable[str]) -> list[Mapping[str, Any]]:
    """The registration records of devices, as in :func:`registration`.

    Arguments:
        service: the client of the enrollments.
        enrollments: registration IDs of individual enrollments; those that never registered have no record.
        groups: names of enrollment groups, of which all members are taken.
    """
    records = [registration(service, registration_id) for registration_id in enrollments]
    for group_id in groups:
        records += service.device_registration_state.query(group_id)
    return [record for record in records if record is not None]


def authority(dps: Any, name: str) -> Any | None:
    """An uploaded CA certificate.

    Arguments:
        dps: the target.
        name: what it was uploaded as, which need not be the name in it.

    Returns:
        A ``CertificateResponse`` of azure-mgmt-iothubprovisioningservices; ``None`` when there is none.

    Raises:
        TargetError: on Azure, when the settings do not name subscription and resource group.
    """
    try:
        return authorities(dps).get(**authority_address(dps, name))
    except ResourceNotFoundError:
        return None


def delete_authority(dps: Any, name: str) -> None:
    """Delete an uploaded CA certificate, whoever uploaded it; nothing there is fine.

    Arguments:
        dps: the target.
        name: what it was uploaded as.

    Raises:
        HttpResponseError: among others with status 412, when somebody changed it meanwhile.
    """
    found = authority(dps, name)
    if found is not None:
        unchanged = MatchConditions.IfNotModified
        authorities(dps).delete(etag=found.etag, match_condition=unchanged, **authority_address(dps, name))


def remove_authority(dps: Any, name: str) -> None:
    """Delete an uploaded CA certificate, and take the claim on it back; nothing there is fine.

    Arguments:
        dps: the target.
        name: what it was uploaded as.

    Raises:
        LessonError: on Azure, it was uploaded by somebody else.
    """
    if authority(dps, name) is not None:
        check_ours(dps, AUTHORITY, name)
        delete_authority(dps, name)
    workspace.release(dps, AUTHORITY, name)


def authorities_of(dps: Any) -> list[str]:
    """CA certificates that this workspace uploaded and that are still there.

    The management plane is asked only when there is something to ask about: on Azure it needs a login of its own.
    """
    names = sorted(identifier for kind, identifier in workspace.claimed(dps) if kind == AUTHORITY)
    return [name for name in names if authority(dps, name) is not None]


def service_resource(dps: Any) -> tuple[Any, dict[str, str], Any]:
    """The provisioning service as the management plane has it.

    Returns:
        The client's operations on provisioning services, the keyword arguments that name ours to each of them, and the
        ``ProvisioningServiceDescription`` as it is now.

    Raises:
        TargetError: on Azure, when the settings do not name subscription and resource group.
    """
    manager = dps.management_client().iot_dps_resource
    where = {"resource_group_name": dps.resource_group, "provisioning_service_name": dps.service_name}
    return manager, where, manager.get(**where)


def links_of(resource: Any) -> dict[str, Any]:
    """The linked hubs of a provisioning service.

    Arguments:
        resource: as :func:`service_resource` returns it last.

    Returns:
        Its ``IotHubDefinitionDescription`` by the hub's host name in small letters, in the order of the service.
    """
    return {str(link.name).lower(): link for link in resource.properties.iot_hubs or []}


def remember(dps: Any, hubs: Sequence[str]) -> Document:
    """Note how the service treats these hubs, before a notebook changes it. What was noted earlier stays.

    Arguments:
        dps: the target.
        hubs: host names.

    Returns:
        What is noted: ``hubs``, ``links`` (:func:`link_settings` by host name, of those that are linked) and the
        allocation ``policy``.
    """
    noted = workspace.load(BEFORE, dps)
    if noted is None:
        _, _, resource = service_resource(dps)
        links = links_of(resource)
        noted = {
            "hubs": list(hubs),
            "links": {hub: link_settings(links[hub]) for hub in hubs if hub in links},
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
        wanted[hub] = links.get(hub) or new_link(dps, hub, resource.location)
        wanted[hub].allocation_weight = settings["weight"]
        wanted[hub].apply_allocation_policy = settings["applies"]
    resource.properties.iot_hubs = [wanted[hub] for hub in sorted(wanted, key=lambda hub: _place(hub, links))]
    resource.properties.allocation_policy = noted["policy"]
    manager.begin_create_or_update(iot_dps_description=resource, **where).result()
    workspace.forget(BEFORE, dps)
    workspace.forget(HUBS, dps)
    return tuple(sorted(wanted))


def authorities(dps: Any) -> Any:
    """The operations on CA certificates of the management client, ``dps_certificate``.

    Raises:
        TargetError: on Azure, when the settings do not name subscription and resource group.
    """
    return dps.management_client().dps_certificate


def authority_address(dps: Any, name: str) -> dict[str, str]:
    """The keyword arguments that name a CA certificate to every one of :func:`authorities`.

    Arguments:
        dps: the target.
        name: what it is uploaded as.
    """
    return {
        "certificate_name": name,
        "resource_group_name": dps.resource_group,
        "provisioning_service_name": dps.service_name,
    }


def link_settings(link: Any) -> Document:
    """What can be set for a linked hub; what the service leaves out has its default.

    Arguments:
        link: as in :func:`links_of`.

    Returns:
        ``weight`` (1 to 1,000), and as ``applies`` whether the policy of the service sends devices there.
    """
    weight, applies = link.allocation_weight, link.apply_allocation_policy
    return {"weight": WEIGHT if weight is None else weight, "applies": True if applies is None else applies}


def new_link(dps: Any, hub: str, location: str) -> Any:
    """A link to a hub, as the management plane takes it.

    Arguments:
        dps: the target, which knows the hub's connection string.
        hub: host name.
        location: region of Azure, e.g. ``westeurope``; that of the service does.

    Raises:
        TargetError: the target does not have the hub.
    """
    # only who manages needs it, and it takes a moment to import
    from azure.mgmt.iothubprovisioningservices.models import IotHubDefinitionDescription  # noqa: PLC0415

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
