"""What the notebooks of a track make, as recipes: made here when the notebook that makes it did not run.

The SDK calls are those of the notebooks. Nothing is removed on Azure that this workspace did not make.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.iot.device import ProvisioningDeviceClient

from helpers import workspace
from helpers.credentials import Secret, derive_device_key
from helpers.target import registry as registries
from helpers.workspace import Document

from . import cleanup
from .cleanup import ENROLLMENT, GROUP
from .recipe import TrackRecipe, boot, enroll_with_key

ENROLLMENTS, REGISTRATIONS = "symmetric_key.enrollments", "symmetric_key.registrations"
#: The desired temperature that an enrollment gives to the twin of a new device.
INITIAL_TEMPERATURE = 21


def individual_enrollment(registration_id: str, device_id: str) -> Document:
    """The individual enrollment of the symmetric-key track, as the notebook writes it.

    Arguments:
        registration_id: of the device.
        device_id: what the hub calls it; empty: as the registration ID.
    """
    return {
        "registrationId": registration_id,
        "deviceId": device_id or registration_id,
        "attestation": {"type": "symmetricKey"},
        "initialTwin": {
            "tags": {"room": "kitchen"},
            "properties": {"desired": {"targetTemperature": INITIAL_TEMPERATURE}},
        },
    }


def enrollment_group(group_id: str) -> Document:
    """The enrollment group of the symmetric-key track, as the notebook writes it."""
    return {
        "enrollmentGroupId": group_id,
        "attestation": {"type": "symmetricKey"},
        "initialTwin": {"properties": {"desired": {"targetTemperature": INITIAL_TEMPERATURE}}},
    }


def register_device(dps: Any, registration_id: str, key: Secret) -> Any:
    """Boot a device that proves itself with a symmetric key.

    Arguments:
        dps: the target.
        registration_id: of the device.
        key: its own; that of a group's member is derived.

    Returns:
        The state it was registered with, among others ``assigned_hub`` and ``device_id``.

    Raises:
        ClientError: DPS refused, or was not reached; :func:`helpers.diagnosis.explain` knows more.
    """
    create = ProvisioningDeviceClient.create_from_symmetric_key
    return boot(dps, create, registration_id=registration_id, symmetric_key=key.reveal())


class FirstDevice(TrackRecipe):
    """The device of the first notebook, which cleans up after itself."""

    READY = ("Enrolled: {registration_id}",)
    REMOVED = ("Nothing is enrolled as {registration_id}.",)

    def make(self, dps: Any, names: Mapping[str, str]) -> Document:
        """Enroll the device, with keys that DPS makes.

        Returns:
            ``registration_id`` and its primary ``key``.
        """
        registration_id = names["registration_id"]
        key = enroll_with_key(dps, dps.service_client(), ENROLLMENT, registration_id)
        return {"registration_id": registration_id, "key": key}

    def remove(self, dps: Any, names: Mapping[str, str]) -> None:
        """Remove the enrollment and the device, and note that both will be made."""
        cleanup.remove_enrollment(dps, dps.service_client(), names["registration_id"], again=True)


class SymmetricKeyEnrollments(TrackRecipe):
    """One individual enrollment and one enrollment group, and the key of one member."""

    READY = (
        "Enrolled: {registration_id}, individually",
        "Enrolled: {member_id}, as a member of the group {group_id}",
    )
    REMOVED = ("Nothing is enrolled as {registration_id}.", "There is no enrollment group {group_id}.")

    def find(self, dps: Any, stored: Document | None, names: Mapping[str, str]) -> Document | None:
        """What was kept, when DPS still has both enrollments under these names and keys."""
        if stored is None or _names_of(stored) != _expected_names(names):
            return None
        service = dps.service_client()
        try:
            individual = service.enrollment.get_attestation_mechanism(names["registration_id"])
            group = service.enrollment_group.get_attestation_mechanism(names["group_id"])
        except ResourceNotFoundError:
            return None
        same = (
            _primary(individual) == stored["individual"]["key"]
            and _primary(group) == stored["group"]["key"]
            and derive_device_key(_primary(group), names["member_id"]) == stored["member"]["key"]
        )
        return stored if same else None

    def make(self, dps: Any, names: Mapping[str, str]) -> Document:
        """Create both enrollments, with keys that DPS makes.

        Returns:
            ``individual``, ``group`` and ``member``, each with its name and ``key``; that of the member is derived.
        """
        service = dps.service_client()
        registration_id, group_id, member_id = names["registration_id"], names["group_id"], names["member_id"]
        workspace.claim(dps, ENROLLMENT, registration_id)
        individual = service.enrollment.create_or_update(
            registration_id, individual_enrollment(registration_id, names["device_id"])
        )
        workspace.claim(dps, GROUP, group_id)
        group = service.enrollment_group.create_or_update(group_id, enrollment_group(group_id))
        group_key = _primary(group["attestation"])
        return {
            "individual": {
                "registration_id": registration_id,
                "device_id": names["device_id"] or registration_id,
                "key": _primary(individual["attestation"]),
            },
            "group": {"group_id": group_id, "key": group_key},
            "member": {"registration_id": member_id, "key": derive_device_key(group_key, member_id)},
        }

    def remove(self, dps: Any, names: Mapping[str, str]) -> None:
        """Remove both enrollments and their devices, and note that both will be made."""
        service = dps.service_client()
        cleanup.remove_enrollment(dps, service, names["registration_id"], again=True)
        cleanup.remove_group(dps, service, names["group_id"], again=True)


class SymmetricKeyRegistrations(TrackRecipe):
    """The two devices, registered: each in a hub, with the twin that its enrollment gave it."""

    READY = ("Registered: {registration_id}", "Registered: {member_id}")
    REMOVED = ("Not registered yet: {registration_id}", "Not registered yet: {member_id}")

    def find(self, dps: Any, stored: Document | None, names: Mapping[str, str]) -> Document | None:
        """What was kept, when both devices are still in their hubs; their twins start from the enrollment again."""
        enrolled = workspace.found(ENROLLMENTS, dps, names)
        if stored is None or enrolled is None:
            return None
        for each in ("individual", "member"):
            device = stored[each]
            if device["registration_id"] != enrolled[each]["registration_id"] or device["key"] != enrolled[each]["key"]:
                return None
            if device["hub"] not in dps.hubs or not cleanup.device_exists(dps, device["hub"], device["device_id"]):
                return None
            _reset_twin(dps, device["hub"], device["device_id"])
        return stored

    def make(self, dps: Any, names: Mapping[str, str]) -> Document:
        """Boot both devices; enroll them first when nobody did.

        Returns:
            ``individual`` and ``member``, each with ``registration_id``, ``key``, ``hub`` (host name), ``device_id``.
        """
        enrolled = workspace.made(ENROLLMENTS, dps, names)
        document: Document = {}
        for each in ("individual", "member"):
            device = enrolled[each]
            state = register_device(dps, device["registration_id"], device["key"])
            document[each] = {
                "registration_id": device["registration_id"],
                "key": device["key"],
                "hub": state.assigned_hub,
                "device_id": state.device_id,
            }
        return document

    def remove(self, dps: Any, names: Mapping[str, str]) -> None:
        """Remove the registrations and the devices, not the enrollments."""
        service = dps.service_client()
        cleanup.forget_our_registration(dps, service, names["registration_id"], ENROLLMENT, names["registration_id"])
        cleanup.forget_our_registration(dps, service, names["member_id"], GROUP, names["group_id"])


def _primary(attestation: Mapping[str, Any]) -> Secret:
    return Secret(str(attestation["symmetricKey"]["primaryKey"]))


def _names_of(document: Document) -> list[str]:
    try:
        return [
            document["individual"]["registration_id"],
            document["individual"]["device_id"],
            document["group"]["group_id"],
            document["member"]["registration_id"],
        ]
    except (KeyError, TypeError):
        return []


def _expected_names(names: Mapping[str, str]) -> list[str]:
    registration_id = names["registration_id"]
    return [registration_id, names["device_id"] or registration_id, names["group_id"], names["member_id"]]


def _reset_twin(dps: Any, hub: str, device_id: str) -> None:
    """Put the desired temperature back to what the enrollment says, when an earlier run changed it."""
    registry = dps.registry(hub)
    desired = registry.get_twin(device_id).properties.desired or {}
    if desired.get("targetTemperature") != INITIAL_TEMPERATURE:
        registry.update_twin(device_id, registries.twin_patch(desired={"targetTemperature": INITIAL_TEMPERATURE}))
