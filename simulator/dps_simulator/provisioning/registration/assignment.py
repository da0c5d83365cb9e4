"""Assignment: a device that may register is put into a hub, and taken out of the one where it was.

Everything is decided before anything is changed, and the old hub comes last: a new hub that refuses a device must not
cost it its old one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

from dps_simulator.common.hub_links import HubLink
from dps_simulator.common.ports import DeviceCredentials, Document, LinkedHub, Storage
from dps_simulator.errors.table import Dps, ServiceError
from dps_simulator.provisioning.enrollments.book import Enrollment

from .allocation import CUSTOM, STATIC, allocate
from .linked_hubs import LinkedHubs
from .record import AllocationAnswer, Place
from .reprovisioning import DATA_RESET, INITIAL_ASSIGNMENT, REPROVISIONING, TwinAction, policy_of, told_substatus


class Assigned(NamedTuple):
    """Where a device is now.

    Attributes:
        place: hub and device ID, to be remembered for the next time.
        substatus: how it came there, in the words of the device API, e.g. ``initialAssignment``.
    """

    place: Place
    substatus: str


class Assignments:
    """Puts devices into hubs.

    Arguments:
        hubs: tells the hubs that exist and are linked now.
        links: how they are linked. Of a hub that it does not know, the defaults hold.
        storage: where everything is kept, the hubs as well.
    """

    def __init__(self, hubs: Callable[[], Sequence[LinkedHub]], links: LinkedHubs, storage: Storage) -> None:
        self._hubs = hubs
        self._links = links
        self._storage = storage

    def links(self) -> list[HubLink]:
        """The links of all hubs that exist and are linked."""
        return self._links_of(hub.host for hub in self._hubs())

    def assign(
        self,
        enrollment: Enrollment,
        credentials: DeviceCredentials,
        *,
        registration_id: str,
        api_version: str,
        earlier: Place | None,
        answer: AllocationAnswer | None,
    ) -> Assigned:
        """Put a device into its hub.

        Arguments:
            enrollment: the enrollment that the device belongs to.
            credentials: with what it shall get into the hub.
            registration_id: its registration ID, its device ID where the enrollment names none.
            api_version: the version with which it registered.
            earlier: where it was put before, ``None`` for the first time.
            answer: what the webhook decided, for an enrollment with custom allocation.

        Raises:
            ServiceError: there is no hub for it, or the hub does not take it. Nothing has happened then.
        """
        hubs = {hub.host: hub for hub in self._hubs()}
        policy = policy_of(enrollment, api_version)
        stays = earlier is not None and not policy.update_hub_assignment
        if earlier is not None and stays:
            place = earlier
        else:
            host = self._choose(enrollment, registration_id, hubs) if answer is None else answer.host
            place = Place(host, enrollment.device_id or registration_id)
        hub = hubs.get(place.host)
        if hub is None:
            raise ServiceError(Dps.HUB_NOT_FOUND, reason=f"{place.host} is not linked to the service any more")
        given = None if answer is None or stays else answer.initial_twin
        twin: Mapping[str, Any] = given or _initial_twin(enrollment)
        moves = earlier is not None and earlier != place
        old_hub = hubs.get(earlier.host) if earlier is not None and moves else None
        # a device that is already there, made by hand or by an earlier registration, keeps its twin
        reset = given is not None
        substatus = INITIAL_ASSIGNMENT
        if earlier is not None:
            # documented: the twin that a webhook gives overrides the settings for migration
            migrates = policy.migrate_device_data and given is None
            rule = REPROVISIONING[policy.update_hub_assignment, migrates, moves]
            substatus = told_substatus(rule.substatus, api_version)
            reset = reset or rule.twin is not TwinAction.KEEP
            if rule.twin is TwinAction.MOVE:
                moved = None if old_hub is None else old_hub.twin_content(earlier.device_id)
                if moved is None:
                    # what cannot be moved, because the hub or the device is gone, begins anew
                    substatus = DATA_RESET
                else:
                    twin = moved
        # an assignment that fails half way must leave both hubs as they were; a single one sees to that itself
        with nullcontext() if old_hub is None else self._storage.transaction():
            hub.provision_device(
                place.device_id, credentials, iot_edge=enrollment.is_iot_edge, initial_twin=twin, reset=reset
            )
            if earlier is not None and old_hub is not None:
                old_hub.remove_device(earlier.device_id)
        return Assigned(place, substatus)

    def _choose(self, enrollment: Enrollment, registration_id: str, hosts: Iterable[str]) -> str:
        # an enrollment with the old field names one hub, as a static one does
        policy = enrollment.allocation_policy or (STATIC if enrollment.document.get("iotHubHostName") else None)
        policy = policy or self._links.allocation_policy
        return allocate(policy, registration_id, enrollment.hub_hosts, self._links_of(hosts))

    def _links_of(self, hosts: Iterable[str]) -> list[HubLink]:
        known = {link.host: link for link in self._links.all()}
        return [known.get(host) or HubLink(host) for host in hosts]


def asks_webhook(enrollment: Enrollment) -> bool:
    """Whether a webhook decides where the enrollment's devices go. Disabled ones go nowhere."""
    return enrollment.allocation_policy == CUSTOM and not enrollment.is_disabled


def _initial_twin(enrollment: Enrollment) -> Document:
    """The initial twin with all its parts, so that hubs need not know how it was written."""
    twin = enrollment.initial_twin or {}
    desired = (twin.get("properties") or {}).get("desired")
    return {"tags": twin.get("tags") or {}, "properties": {"desired": desired or {}}}
