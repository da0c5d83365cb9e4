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
        "failures.freezers": ("helpers.recipes.failures", "Freezers"),
        "first_device": ("helpers.recipes.symmetric_key", "FirstDevice"),
        "fleet.group": ("helpers.recipes.fleet", "Fleet"),
        "fleet.hubs": ("helpers.recipes.fleet", "FleetHubs"),
        "fleet.kettles": ("helpers.recipes.fleet", "Kettles"),
        "symmetric_key.enrollments": ("helpers.recipes.symmetric_key", "SymmetricKeyEnrollments"),
        "symmetric_key.registrations": ("helpers.recipes.symmetric_key", "SymmetricKeyRegistrations"),
        "tpm.enrollments": ("helpers.recipes.tpm", "TpmEnrollments"),
        "tpm.registrations": ("helpers.recipes.tpm", "TpmRegistrations"),
        "x509.enrollments": ("helpers.recipes.x509", "X509Enrollments"),
        "x509.registrations": ("helpers.recipes.x509", "X509Registrations"),
    }
)
