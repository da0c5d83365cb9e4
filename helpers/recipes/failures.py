"""What the notebook on failures needs before anything can fail: freezers that are enrolled and would work.

One of them has an enrollment of its own, one belongs to a group with keys, and one to a group with certificates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helpers import workspace
from helpers.certificates import authority as certificates
from helpers.workspace import Document

from . import cleanup, x509
from .cleanup import AUTHORITY, ENROLLMENT, GROUP
from .recipe import TrackRecipe, enroll_with_key

FREEZERS, FILES = "failures.freezers", "failures"
ROOT_NAME, LINE_NAME = "Contoso Freezers Root", "Contoso Freezers Line 1"
#: What is added to the names of the notebook for the group with certificates, and for its device.
WITH_CERTIFICATE = "-certified"


class Freezers(TrackRecipe):
    """Enrollments for the devices that fail, and the certificates of one of them."""

    READY = (
        "Enrolled: {registration_id}, individually, with a key",
        "Enrolled: the group {group_id}, with a key",
        f"Enrolled: the group {{group_id}}{WITH_CERTIFICATE}, with certificates",
    )
    REMOVED = (
        "Nothing is enrolled as {registration_id}.",
        f"There is no enrollment group {{group_id}}, nor {{group_id}}{WITH_CERTIFICATE}.",
    )

    def make(self, dps: Any, names: Mapping[str, str]) -> Document:
        """Create an enrollment, two groups and a CA certificate; the certificates and their keys lie in the folder.

        Returns:
            ``registration_id`` with its ``key``, ``group_key``, and ``certified_id``, the device with a certificate.
        """
        service = dps.service_client()
        registration_id, group_id = names["registration_id"], names["group_id"]
        line_id, device_id = group_id + WITH_CERTIFICATE, names["member_id"] + WITH_CERTIFICATE
        key = enroll_with_key(dps, service, ENROLLMENT, registration_id)
        group_key = enroll_with_key(dps, service, GROUP, group_id)
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
            "key": key,
            "group_key": group_key,
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
