"""Where the recipes of the workspace are: every one by the name of its document.

The list is complete as it stands here. Nothing has to be imported before a recipe is known, and only the module of the
recipe that is needed gets imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: Module and class of a recipe, by the name of its document.
RECIPES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "failures.freezers": ("helpers.failure_lessons", "Freezers"),
        "first_device": ("helpers.lessons", "FirstDevice"),
        "fleet.group": ("helpers.fleet_lessons", "Fleet"),
        "fleet.hubs": ("helpers.fleet_lessons", "FleetHubs"),
        "fleet.kettles": ("helpers.fleet_lessons", "Kettles"),
        "symmetric_key.enrollments": ("helpers.lessons", "SymmetricKeyEnrollments"),
        "symmetric_key.registrations": ("helpers.lessons", "SymmetricKeyRegistrations"),
        "tpm.enrollments": ("helpers.tpm_lessons", "TpmEnrollments"),
        "tpm.registrations": ("helpers.tpm_lessons", "TpmRegistrations"),
        "x509.enrollments": ("helpers.x509_lessons", "X509Enrollments"),
        "x509.registrations": ("helpers.x509_lessons", "X509Registrations"),
    }
)
