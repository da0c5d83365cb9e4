"""The provisioning service as one object: enrollments, registrations and the attestation between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dps_simulator.common.clock import Clock
from dps_simulator.common.identifiers import RegistrationId, lookup_key
from dps_simulator.common.ports import Document, LinkedHub, Storage
from dps_simulator.common.throttling import Throttle
from dps_simulator.credentials.evidence import X509Evidence
from dps_simulator.credentials.tpm_keys import TpmKeys
from dps_simulator.provisioning.attestation.authorities import CertificateAuthorities
from dps_simulator.provisioning.attestation.challenges import TpmChallenges
from dps_simulator.provisioning.attestation.symmetric_key import SymmetricKeyEvidence, Verdict, attest_symmetric_key
from dps_simulator.provisioning.attestation.tpm import TpmEvidence, attest_tpm, identify_tpm
from dps_simulator.provisioning.attestation.x509 import X509Attestation
from dps_simulator.provisioning.enrollments.book import Enrollment, Enrollments
from dps_simulator.provisioning.enrollments.kinds import INDIVIDUAL, EnrollmentKind
from dps_simulator.provisioning.registration.linked_hubs import LinkedHubs
from dps_simulator.provisioning.registration.registrations import Registrations
from dps_simulator.provisioning.registration.states import Pace


class ProvisioningService:
    """A device provisioning service.

    Arguments:
        storage: the store, in whose collections enrollments and registrations outlive this process.
        clock: gives the present time (aware, in UTC).
        id_scope: the service's ID scope, e.g. ``0ne00000A01``.
        hubs: tells the hubs that exist and are linked now.
        pace: how long registering takes: as on Azure, not at all, or so many polls.
        links: how the hubs are linked; ``None`` for links of its own, in which nothing is said about any hub.
        throttle: the limits of the service; ``None`` for none.
        authorities: the uploaded CA certificates, where others know them as well; ``None`` for those of the storage.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        clock: Clock,
        id_scope: str,
        hubs: Callable[[], Sequence[LinkedHub]],
        pace: Pace | None = None,
        links: LinkedHubs | None = None,
        throttle: Throttle | None = None,
        authorities: CertificateAuthorities | None = None,
    ) -> None:
        self.id_scope = id_scope
        self._scope_key = lookup_key(id_scope)
        self.links = links or LinkedHubs(storage)
        self.throttle = throttle or Throttle(clock)
        self._storage = storage
        self._clock = clock
        self.authorities = authorities or CertificateAuthorities(storage, clock)
        self.enrollments = Enrollments(
            storage,
            clock,
            linked_hub_hosts=lambda: [hub.host for hub in hubs()],
            authority_names=lambda: [authority.name for authority in self.authorities.all()],
        )
        self.enrollments.individuals.when_created(self._make_room_for_individual)
        self.enrollments.groups.when_created(self._make_room_for_group)
        self.challenges = TpmChallenges(storage, clock, self.enrollments.individuals, id_scope)
        self.registrations = Registrations(storage, clock, self.enrollments, hubs, pace or Pace(), id_scope, self.links)

    @property
    def pace(self) -> Pace:
        """How long registering takes. Set it to change what happens from the next registration on."""
        return self.registrations.pace

    @pace.setter
    def pace(self, pace: Pace) -> None:
        self.registrations.pace = pace

    def _make_room_for_individual(self, _: Enrollment) -> None:
        self.throttle.claim("individual_enrollments", self.enrollments.individuals.count)

    def _make_room_for_group(self, group: Enrollment) -> None:
        name = "symmetric_key_enrollment_groups" if group.keys else "x509_enrollment_groups"
        kind = group.attestation_type
        self.throttle.claim(
            name, lambda: sum(other.attestation_type == kind for other in self.enrollments.groups.all())
        )

    def is_own_scope(self, id_scope: str) -> bool:
        """Whether the ID scope is that of this service; case does not count (one SDK writes it in lower case)."""
        return lookup_key(id_scope) == self._scope_key

    def individual(self, registration_id: RegistrationId) -> Enrollment | None:
        """The individual enrollment for the registration ID, which :meth:`attest` wants to know."""
        return self.enrollments.individuals.with_key(registration_id.key)

    def identify_tpm(self, registration_id: RegistrationId, keys: TpmKeys) -> Verdict:
        """Judge whether the TPM that a device shows is the enrolled one; that it has it, a challenge must prove.

        Raises:
            ServiceError: there is no individual enrollment for the registration ID.
        """
        return identify_tpm(registration_id, keys, self.individual(registration_id), self.enrollments.individuals)

    def attest(
        self,
        registration_id: RegistrationId,
        evidence: SymmetricKeyEvidence | X509Evidence | TpmEvidence,
        individual: Enrollment | None,
        *,
        check_expiry: bool = True,
    ) -> Verdict:
        """Judge a device by its evidence. A token alone may be signed by a TPM, too: its enrollment tells.

        Arguments:
            registration_id: the ID that the device gives, in its spelling.
            evidence: what the device shows as proof: a token, certificates, or what its TPM signed.
            individual: the individual enrollment for the registration ID, ``None`` when there is none.
            check_expiry: false for a token with which the device already registered over the same connection.

        Raises:
            ServiceError: a device shows a TPM, and there is no individual enrollment for it.
        """
        now = self._clock.now()
        if isinstance(evidence, X509Evidence):
            return X509Attestation(
                registration_id, evidence, now, self.enrollments.individuals, self.enrollments.groups, self.authorities
            ).verdict(individual)
        if isinstance(evidence, SymmetricKeyEvidence) and individual is not None and individual.is_for_tpm:
            evidence = TpmEvidence(evidence)
        if isinstance(evidence, TpmEvidence):
            return attest_tpm(
                registration_id,
                evidence,
                id_scope=self.id_scope,
                now=now.timestamp(),
                individual=individual,
                individuals=self.enrollments.individuals,
                challenges=self.challenges,
            )
        return attest_symmetric_key(
            registration_id,
            evidence,
            id_scope=self.id_scope,
            now=now.timestamp() if check_expiry else None,
            individual=individual,
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
        """Forget all enrollments, challenges, registrations and CA certificates."""
        with self._storage.transaction():
            self.authorities.clear()
            self.enrollments.clear()
            self.challenges.clear()
            self.registrations.clear()
