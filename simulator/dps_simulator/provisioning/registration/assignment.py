"""Assignment: a device that may register is put into a hub, and taken out of the one where it was.

Everything is decided before anything is changed, and the old hub comes last: a new hub that refuses a device must not
cost it its old one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dps_simulator.common.hub_links import HubLink
from dps_simulator.common.identifiers import lookup_key
from dps_simulator.common.ports import DeviceCredentials, Document, LinkedHub
from dps_simulator.errors.table import Dps, ServiceError
from dps_simulator.provisioning.enrollments.book import Enrollment

from .allocation import CUSTOM, STATIC, allocate
from .custom_allocation import AllocationAnswer
from .linked_hubs import LinkedHubs
from .reprovisioning import DATA_RESET, INITIAL_ASSIGNMENT, REPROVISIONING, TwinAction, policy_of, told_substatus


@dataclass(frozen=True, slots=True)
class Assigned:
    """Where a device is now.

    Attributes:
        target: ``host`` and ``deviceId``, to be remembered for the next time.
        substatus: how it came there.
    """

    target: dict[str, str]
    substatus: str


class Assignments:
    """Puts devices into hubs.

    Arguments:
        hubs: tells the hubs that exist and are linked now.
        links: how they are linked. Of a hub that it does not know, the defaults hold.
    """

    def __init__(self, hubs: Callable[[], Sequence[LinkedHub]], links: LinkedHubs) -> None:
        self._hubs = hubs
        self._links = links

    def links(self) -> list[HubLink]:
        """The links of all hubs that exist and are linked."""
        return self._links_of(lookup_key(hub.host) for hub in self._hubs())

    def assign(
        self,
        enrollment: Enrollment,
        credentials: DeviceCredentials,
        *,
        registration_id: str,
        api_version: str,
        earlier: dict[str, str] | None,
        answer: AllocationAnswer | None,
    ) -> Assigned:
        """Put a device into its hub.

        Arguments:
            enrollment: where it belongs.
            credentials: with what it shall get into the hub.
            registration_id: its registration ID.
            api_version: the version with which it registered.
            earlier: where it was put before, ``None`` for the first time.
            answer: what the webhook decided, for an enrollment with custom allocation.

        Raises:
            ServiceError: there is no hub for it, or the hub does not take it. Nothing has happened then.
        """
        hubs = {lookup_key(hub.host): hub for hub in self._hubs()}
        policy = policy_of(enrollment, api_version)
        stays = earlier is not None and not policy.update_hub_assignment
        if earlier is not None and stays:
            target = earlier
        else:
            host = self._choose(enrollment, registration_id, hubs) if answer is None else answer.host
            target = {"host": host, "deviceId": enrollment.device_id or registration_id}
        hub, device = hubs.get(lookup_key(target["host"])), target["deviceId"]
        if hub is None:
            raise ServiceError(Dps.HUB_NOT_FOUND, reason=f"{target['host']} is not linked to the service any more")
        given = None if answer is None or stays else answer.initial_twin
        initial = given or _initial_twin(enrollment)
        moves = earlier is not None and earlier != target
        old_hub = hubs.get(lookup_key(earlier["host"])) if earlier is not None and moves else None
        # a device that is already there, made by hand or by an earlier registration, keeps its twin
        twin: Mapping[str, Any] | None = given or (None if hub.has_device(device) else initial)
        substatus = INITIAL_ASSIGNMENT
        if earlier is not None:
            # documented: the twin that a webhook gives overrides the settings for migration
            migrates = policy.migrate_device_data and given is None
            rule = REPROVISIONING[policy.update_hub_assignment, migrates, moves]
            substatus = told_substatus(rule.substatus, api_version)
            if rule.twin is TwinAction.RESET:
                twin = initial
            elif rule.twin is TwinAction.MOVE:
                twin = None if old_hub is None else old_hub.twin_content(earlier["deviceId"])
                if twin is None:
                    # what cannot be moved, because the hub or the device is gone, begins anew
                    twin, substatus = initial, DATA_RESET
        hub.provision_device(device, credentials, iot_edge=enrollment.is_iot_edge, initial_twin=twin)
        if earlier is not None and old_hub is not None:
            old_hub.remove_device(earlier["deviceId"])
        return Assigned({"host": hub.host, "deviceId": device}, substatus)

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
