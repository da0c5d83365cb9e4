"""What the recipes of the tracks have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from helpers import workspace
from helpers.workspace import Recipe

from .cleanup import ENROLLMENT


class TrackRecipe(Recipe):
    """A recipe whose lines for people are templates: the names of the notebook stand in them in braces.

    Attributes:
        READY: what to print when everything is there.
        REMOVED: what to print when nothing of it is there.
    """

    READY: ClassVar[tuple[str, ...]]
    REMOVED: ClassVar[tuple[str, ...]]

    def ready(self, names: Mapping[str, str]) -> list[str]:
        """The lines of :attr:`READY`."""
        return [line.format_map(names) for line in self.READY]

    def removed(self, names: Mapping[str, str]) -> list[str]:
        """The lines of :attr:`REMOVED`."""
        return [line.format_map(names) for line in self.REMOVED]


def enroll_with_key(dps: Any, service: Any, kind: str, identifier: str) -> str:
    """Create an enrollment with keys that the service makes, and note that it is ours.

    Arguments:
        dps: the target.
        service: its client of the enrollments.
        kind: :data:`~helpers.recipes.cleanup.ENROLLMENT` or :data:`~helpers.recipes.cleanup.GROUP`.
        identifier: registration ID, or name of the group.

    Returns:
        The primary key, in base64.
    """
    of_one = kind == ENROLLMENT
    client, name = (service.enrollment, "registrationId") if of_one else (service.enrollment_group, "enrollmentGroupId")
    workspace.claim(dps, kind, identifier)
    made = client.create_or_update(identifier, {name: identifier, "attestation": {"type": "symmetricKey"}})
    return str(made["attestation"]["symmetricKey"]["primaryKey"])


def boot(dps: Any, create: Callable[..., Any], **proof: Any) -> Any:
    """Register a device with DPS.

    Arguments:
        dps: the target.
        create: makes a client for DPS, such as ``ProvisioningDeviceClient.create_from_symmetric_key``.
        proof: its registration ID, and what it proves itself with, as ``create`` takes them.

    Returns:
        The state it was registered with; the client raises for every other end than "assigned".
    """
    where = {"provisioning_host": dps.provisioning_host, "id_scope": dps.id_scope}
    return create(**where, **proof, **dps.device_options).register().registration_state
