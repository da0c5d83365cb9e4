"""What the notebook on failures needs before anything can fail: freezers that are enrolled and would work.

One of them has an enrollment of its own, one belongs to a group with keys, and one to a group with certificates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helpers import workspace
from helpers.certificates import authority as certificates
from helpers.workspace import Document, Recipe

from . import cleanup, x509
from .cleanup import AUTHORITY, ENROLLMENT, GROUP

FREEZERS, FILES = "failures.freezers", "failures"
ROOT_NAME, LINE_NAME = "Contoso Freezers Root", "Contoso Freezers Line 1"
#: What is added to the names of the notebook for the group with certificates, and for its device.
WITH_CERTIFICATE = "-certified"


class Freezers(Recipe):
    """Enrollments for the devices that fail, and the certificates of one of them."""

    def make(self, dps: Any, names: Mapping[str, str]) -> Document:
        """Create the enrollments, and the certificates in their folder."""
        service = dps.service_client()
        registration_id, group_id = names["registration_id"], names["group_id"]
        line_id, device_id = group_id + WITH_CERTIFICATE, names["member_id"] + WITH_CERTIFICATE
        keys = {"attestation": {"type": "symmetricKey"}}
        workspace.claim(dps, ENROLLMENT, registration_id)
        single = service.enrollment.create_or_update(registration_id, {"registrationId": registration_id, **keys})
        workspace.claim(dps, GROUP, group_id)
        group = service.enrollment_group.create_or_update(group_id, {"enrollmentGroupId": group_id, **keys})
        root = certificates.create_root(ROOT_NAME)
        line = root.issue_intermediate(LINE_NAME)
        for each in (root, line, line.issue_device(device_id)):
            each.save(workspace.folder(FILES, dps))
        workspace.claim(dps, AUTHORITY, names["authority_name"])
        x509.upload_authority(dps, names["authority_name"], root)
        workspace.claim(dps, GROUP, line_id)
        service.enrollment_group.create_or_update(line_id, x509.enrollment_group(line_id, line.certificate))
        return {
            "registration_id": registration_id,
            "key": single["attestation"]["symmetricKey"]["primaryKey"],
            "group_key": group["attestation"]["symmetricKey"]["primaryKey"],
            "certified_id": device_id,
        }

    def remove(self, dps: Any, names: Mapping[str, str]) -> None:
        """Remove enrollments, devices, CA certificate and files."""
        service = dps.service_client()
        cleanup.remove_enrollment(dps, service, names["registration_id"])
        for group_id in (names["group_id"], names["group_id"] + WITH_CERTIFICATE):
            cleanup.remove_group(dps, service, group_id)
        cleanup.remove_authority(dps, names["authority_name"])
        workspace.empty_folder(FILES, dps)

    def ready(self, names: Mapping[str, str]) -> list[str]:
        """One line for each enrollment."""
        return [
            f"Enrolled: {names['registration_id']}, individually, with a key",
            f"Enrolled: the group {names['group_id']}, with a key",
            f"Enrolled: the group {names['group_id']}{WITH_CERTIFICATE}, with certificates",
        ]

    def removed(self, names: Mapping[str, str]) -> list[str]:
        """One line for each enrollment."""
        return [
            f"Nothing is enrolled as {names['registration_id']}.",
            f"There is no enrollment group {names['group_id']}, nor {names['group_id']}{WITH_CERTIFICATE}.",
        ]
