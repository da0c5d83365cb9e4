"""What the notebooks on fleets make, as recipes.

They change settings of the provisioning service itself; :func:`helpers.recipes.cleanup.restore` brings these back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helpers import workspace
from helpers.workspace import Document

from . import cleanup
from .cleanup import BEFORE, ENROLLMENT, GROUP, POLICY, WEIGHT
from .recipe import TrackRecipe, enroll_with_key

FLEET, KETTLES = "fleet.group", "fleet.kettles"
#: Where the second device of the second notebook comes from: a name made of the first one's.
CHIP = "-chip"


class FleetHubs(TrackRecipe):
    """Two linked hubs that get the same share of the devices."""

    READY = ("Two hubs are linked, and get the same share of the devices.",)
    REMOVED = ("The settings of the service are noted, to be put back in the end.",)

    def find(self, dps: Any, stored: Document | None, names: Mapping[str, str]) -> Document | None:
        """What was kept, when both hubs are linked alike and the policy of the service spreads devices over them."""
        if stored is None or workspace.load(BEFORE, dps) is None:
            return None
        _, _, resource = cleanup.service_resource(dps)
        links = cleanup.links_of(resource)
        alike = all(hub in links and cleanup.link_settings(links[hub]) == _ALIKE for hub in stored["hubs"])
        known = set(stored["hubs"]) <= set(dps.hubs)
        return stored if alike and known and resource.properties["allocationPolicy"] == POLICY else None

    def make(self, dps: Any, names: Mapping[str, str]) -> Document:
        """Link two hubs with the same weight, and let the service spread devices by hash.

        Returns:
            ``hubs``, and ``linked_before``: the ones among them that were linked already. Both are host names.

        Raises:
            TargetError: on Azure, when the settings name fewer hubs.
        """
        hubs = dps.need_hubs(2)
        noted = cleanup.remember(dps, hubs)
        manager, where, resource = cleanup.service_resource(dps)
        links = cleanup.links_of(resource)
        for hub in hubs:
            links.setdefault(hub, cleanup.new_link(dps, hub, resource.location))
            links[hub].allocation_weight, links[hub].apply_allocation_policy = WEIGHT, True
        resource.properties.iot_hubs = list(links.values())
        resource.properties.allocation_policy = POLICY
        manager.begin_create_or_update(iot_dps_description=resource, **where).result()
        return {"hubs": list(hubs), "linked_before": sorted(noted["links"])}

    def remove(self, dps: Any, names: Mapping[str, str]) -> None:
        """Bring the service back to what it was, and note that it will be changed."""
        cleanup.restore(dps)
        cleanup.remember(dps, dps.need_hubs(2))


class Fleet(TrackRecipe):
    """An enrollment group, for as many devices as the notebook boots."""

    READY = ("Enrolled: the group {group_id}",)
    REMOVED = ("There is no enrollment group {group_id}.",)

    def make(self, dps: Any, names: Mapping[str, str]) -> Document:
        """Create the group, with keys that DPS makes.

        Returns:
            ``group_id`` and its primary ``key``.
        """
        group_id = names["group_id"]
        return {"group_id": group_id, "key": enroll_with_key(dps, dps.service_client(), GROUP, group_id)}

    def remove(self, dps: Any, names: Mapping[str, str]) -> None:
        """Remove the group with its devices, and note that it will be made."""
        cleanup.remove_fleet(dps, dps.service_client(), names["group_id"])
        workspace.claim(dps, GROUP, names["group_id"])


class Kettles(TrackRecipe):
    """The devices that are moved and retired: two enrolled individually, one in a group."""

    READY = ("Enrolled: {registration_id}, individually",)
    REMOVED = ("Nothing is enrolled as {registration_id}.", "There is no enrollment group {group_id}.")

    def make(self, dps: Any, names: Mapping[str, str]) -> Document:
        """Enroll the first one; the others join in their own steps.

        Returns:
            ``registration_id`` and its primary ``key``.
        """
        registration_id = names["registration_id"]
        key = enroll_with_key(dps, dps.service_client(), ENROLLMENT, registration_id)
        return {"registration_id": registration_id, "key": key}

    def remove(self, dps: Any, names: Mapping[str, str]) -> None:
        """Remove enrollments and devices, also devices whose enrollment is gone already, and note what will be made."""
        service = dps.service_client()
        individual = [names["registration_id"], names["registration_id"] + CHIP, names["member_id"]]
        ours = {name for kind, name in workspace.claimed(dps) if kind == ENROLLMENT}
        cleanup.remove_group(dps, service, names["group_id"], again=True)
        for registration_id in individual:
            cleanup.remove_enrollment(dps, service, registration_id, again=True)
            if dps.is_simulator or registration_id in ours:
                for hub in dps.hubs:
                    cleanup.delete_device(dps, hub, registration_id)


_ALIKE = {"weight": WEIGHT, "applies": True}
