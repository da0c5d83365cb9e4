"""The provisioning service as one object: enrollments, registrations and the attestation between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..clock import Clock
from . import identifiers
from .attestation import SymmetricKeyEvidence, Verdict, attest_symmetric_key
from .enrollment_fields import INDIVIDUAL, EnrollmentKind
from .enrollments import Enrollments
from .ports import Document, LinkedHub, Storage
from .registration import Pace, Registrations


class ProvisioningService:
    """A device provisioning service.

    Arguments:
        storage: where enrollments and registrations are kept.
        clock: the time.
        id_scope: the service's ID scope, e.g. ``0ne00000A01``.
        hubs: tells the hubs that are linked now.
        pace: how long registering takes.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        clock: Clock,
        id_scope: str,
        hubs: Callable[[], Sequence[LinkedHub]],
        pace: Pace | None = None,
    ) -> None:
        self.id_scope = id_scope
        self._storage = storage
        self._clock = clock
        self.enrollments = Enrollments(storage, clock, lambda: [hub.host for hub in hubs()])
        self.registrations = Registrations(storage, clock, self.enrollments, hubs, pace or Pace(), id_scope)

    @property
    def pace(self) -> Pace:
        """How long registering takes. Set it to change what happens from the next registration on."""
        return self.registrations.pace

    @pace.setter
    def pace(self, pace: Pace) -> None:
        self.registrations.pace = pace

    def is_own_scope(self, id_scope: str) -> bool:
        """Whether the ID scope is that of this service; case does not count (one SDK writes it in lower case)."""
        return identifiers.lookup_key(id_scope) == identifiers.lookup_key(self.id_scope)

    def attest(self, registration_id: str, evidence: SymmetricKeyEvidence, *, check_expiry: bool = True) -> Verdict:
        """Judge a device by its evidence.

        Arguments:
            registration_id: as the device presents it.
            evidence: what the device shows.
            check_expiry: false for a device that already registered over the same connection.
        """
        return attest_symmetric_key(
            registration_id,
            evidence,
            id_scope=self.id_scope,
            now=self._clock.now().timestamp() if check_expiry else None,
            individual=self.enrollments.individuals.find(registration_id),
            groups=self.enrollments.groups.all(),
        )

    def show_enrollment(self, kind: EnrollmentKind, identifier: str) -> Document:
        """An enrollment as GET answers it: without keys, individual ones with the state of their registration.

        Raises:
            ServiceError: there is none.
        """
        enrollment = self.enrollments.of(kind).get(identifier)
        state = self.registrations.state_of(enrollment) if kind is INDIVIDUAL else None
        return enrollment.to_json(registration_state=state)

    def clear(self) -> None:
        """Forget all enrollments and registrations."""
        with self._storage.transaction():
            self.enrollments.clear()
            self.registrations.clear()
