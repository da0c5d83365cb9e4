"""What the notebooks make, and how it goes away: every recipe of the workspace by the name of its document."""

from __future__ import annotations

from helpers.workspace import Recipe

from . import cleanup, failures, fleet, symmetric_key, tpm, x509

#: The recipes of the notebooks; :func:`helpers.workspace.register` adds your own.
RECIPES: dict[str, Recipe] = {
    failures.FREEZERS: failures.Freezers(),
    "first_device": symmetric_key.FirstDevice(),
    fleet.FLEET: fleet.Fleet(),
    cleanup.HUBS: fleet.FleetHubs(),
    fleet.KETTLES: fleet.Kettles(),
    symmetric_key.ENROLLMENTS: symmetric_key.SymmetricKeyEnrollments(),
    symmetric_key.REGISTRATIONS: symmetric_key.SymmetricKeyRegistrations(),
    tpm.ENROLLMENTS: tpm.TpmEnrollments(),
    tpm.REGISTRATIONS: tpm.TpmRegistrations(),
    x509.ENROLLMENTS: x509.X509Enrollments(),
    x509.REGISTRATIONS: x509.X509Registrations(),
}
