"""X.509 attestation: whether the certificates that a device shows fit an enrollment.

Pure, except that it looks enrollments up. TLS already proved that the device holds the private key of its
certificate; here is judged whose certificate that is.

The common name of the device's certificate is its registration ID. An individual enrollment for that ID decides alone.
Without one, the path from the certificate to its root is walked upwards, and the first certificate that an enrollment
group knows decides, even when that group is disabled. The group's certificate must be verified, or lead up to one that
is: otherwise anybody could enroll somebody else's intermediate certificate.

Source: Microsoft documentation, iot-dps concepts-x509-attestation ("DPS device chain requirements", "DPS order of
operations with certificates") and how-to-verify-certificates. Inferred: that a verified certificate, which the service
has, need not be shown again; that validity, purpose and strength of an individually enrolled certificate count.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from dps_simulator.common.identifiers import RegistrationId, lookup_key
from dps_simulator.credentials.certificates import Certificate
from dps_simulator.credentials.chains import Finding, Path, build_path, judge_leaf, judge_path
from dps_simulator.credentials.evidence import X509Evidence
from dps_simulator.provisioning.enrollments.attestation_fields import X509
from dps_simulator.provisioning.enrollments.book import Enrollment, EnrollmentBook

from .authorities import CertificateAuthorities
from .symmetric_key import Verdict


@dataclass(slots=True)
class X509Attestation:
    """Judges one device that shows certificates.

    Attributes:
        registration_id: as the device presents it.
        evidence: the certificates.
        now: the time, for their validity.
        individuals: all individual enrollments.
        groups: all enrollment groups.
        authorities: the uploaded CA certificates.
    """

    registration_id: RegistrationId
    evidence: X509Evidence
    now: datetime
    individuals: EnrollmentBook
    groups: EnrollmentBook
    authorities: CertificateAuthorities

    def verdict(self, individual: Enrollment | None) -> Verdict:
        """What comes of it.

        Arguments:
            individual: the individual enrollment for the registration ID, ``None`` when there is none.
        """
        leaf, registration_id = self.evidence.leaf, self.registration_id
        if leaf.common_name is None:
            return self._refused(
                Finding.COMMON_NAME_MISSING,
                f"the device's certificate ({leaf.subject_name!r:.200}) has no common name; that must be the "
                f"registration ID, {registration_id!r}",
            )
        if lookup_key(leaf.common_name) != registration_id.key:
            return self._refused(
                Finding.COMMON_NAME_MISMATCH,
                f"the common name of the device's certificate is {leaf.common_name!r:.200}, its registration ID is "
                f"{registration_id!r}; they must agree",
            )
        return self._judge_group() if individual is None else self._judge_individual(individual)

    def _refused(self, finding: Finding, reason: str) -> Verdict:
        return Verdict(None, self.registration_id, reason, finding.value)

    def _judge_individual(self, individual: Enrollment) -> Verdict:
        name, leaf = f"individual enrollment {individual.identifier!r}", self.evidence.leaf
        if individual.attestation_type != X509:
            return self._refused(
                Finding.ATTESTATION_MISMATCH,
                f"{name} decides alone; it is for {individual.attestation_type}, and the device shows a certificate",
            )
        if leaf.sha256_thumbprint not in individual.thumbprints:
            enrolled = " and ".join(individual.thumbprints)
            return self._refused(
                Finding.UNKNOWN_CERTIFICATE,
                f"{name} decides alone, and the device's certificate is another one: its SHA-256 thumbprint is "
                f"{leaf.sha256_thumbprint}, enrolled is {enrolled}",
            )
        problem = judge_leaf(leaf, self.now)
        if problem is not None:
            return self._refused(problem.finding, f"{name} knows the certificate, but {problem.text}")
        slot = individual.slot_of(leaf.sha256_thumbprint)
        reason = f"the {slot} certificate of {name}"
        return Verdict(individual, individual.identifier, reason, leaf_thumbprint=leaf.sha256_thumbprint)

    def _judge_group(self) -> Verdict:
        verified = self.authorities.verified()
        path = build_path(self.evidence.chain, verified, self.now)
        found = self._first_group(path.certificates[1:])
        if found is None:
            return self._nobody_knows(path)
        place, group = found[0] + 1, found[1]
        own, name = path.certificates[place], f"enrollment group {group.identifier!r}"
        anchor = next((above for above in path.certificates[place:] if above in verified), None)
        if anchor is None:
            if path.problem is not None and path.problem.finding is Finding.NOT_SUPPORTED:
                return self._refused(path.problem.finding, f"{name} knows the chain, but {path.problem.text}")
            return self._not_verified(group, own, path)
        problem = judge_path(path.certificates[: path.certificates.index(anchor, place) + 1], self.now)
        if problem is not None:
            return self._refused(problem.finding, f"{name} knows the chain, but {problem.text}")
        remark = "; the chain is not in order, which works here and not everywhere" if path.out_of_order else ""
        return Verdict(
            group,
            str(self.evidence.leaf.common_name),
            f"the certificate {own.subject_name!r:.200} of {name}, verified by {anchor.subject_name!r:.200}{remark}",
            leaf_thumbprint=self.evidence.leaf.sha256_thumbprint,
        )

    def _not_verified(self, group: Enrollment, own: Certificate, path: Path) -> Verdict:
        """Neither the certificate that a group knows nor one above it is verified."""
        above = "" if own.is_self_issued else ", nor is one above it in the chain that the device shows"
        if path.missing_issuer:
            above += f" (which ends below {path.missing_issuer!r:.200})"
        return self._refused(
            Finding.AUTHORITY_NOT_VERIFIED,
            f"enrollment group {group.identifier!r} knows the certificate {own.subject_name!r:.200}, but it is not "
            f"verified{above}; upload it, or its root, to the provisioning service and prove that you hold its "
            "private key",
        )

    def _first_group(self, above: Iterable[Certificate]) -> tuple[int, Enrollment] | None:
        """The first of the certificates that a group knows, and that group; the oldest one where several do."""
        for place, certificate in enumerate(above):
            group = self.groups.with_thumbprint(certificate.sha256_thumbprint)
            uploaded = (authority for authority in self.authorities.all() if authority.certificate == certificate)
            while group is None and (authority := next(uploaded, None)) is not None:
                group = self.groups.with_authority(authority.name)
            if group is not None:
                return place, group
        return None

    def _nobody_knows(self, path: Path) -> Verdict:
        """Say why no enrollment fits, as precisely as can be."""
        leaf, none = self.evidence.leaf, f"there is no individual enrollment {self.registration_id!r}"
        elsewhere = self.individuals.with_thumbprint(leaf.sha256_thumbprint)
        if elsewhere is not None:
            under = f"the device's certificate is enrolled, but under the registration ID {elsewhere.identifier!r}"
            return self._refused(Finding.ENROLLED_ELSEWHERE, f"{none}; {under}")
        if path.problem is not None:
            return self._refused(path.problem.finding, f"{none}, and {path.problem.text}")
        if leaf.is_self_issued and leaf.is_authority:
            return self._refused(
                Finding.AUTHORITY_USED_AS_DEVICE,
                f"{none}, and the device uses the certificate of an authority ({leaf.subject_name!r:.200}) as its own; "
                "give every device a certificate of its own, which the authority signs",
            )
        if leaf.is_self_issued:
            return self._refused(
                Finding.UNKNOWN_CERTIFICATE,
                f"{none}, and the device's certificate is self-signed, so it belongs to no enrollment group either "
                f"(SHA-256 thumbprint {leaf.sha256_thumbprint})",
            )
        if path.missing_issuer:
            return self._issuer_missing(none, path)
        top = path.certificates[-1].subject_name
        reason = f"{none}, and no enrollment group has a certificate of the chain, which ends at {top!r:.200}"
        return self._refused(Finding.UNKNOWN_AUTHORITY, reason)

    def _issuer_missing(self, none: str, path: Path) -> Verdict:
        """The device does not show the certificate above the last one of its chain."""
        chain, verified, issuer = self.evidence.chain, self.authorities.verified(), path.missing_issuer
        known = "the device has to show the certificate of that name, too"
        for group in self.groups.all():
            for certificate in self._certificates_named(issuer, group):
                known = "an enrollment group has a certificate of that name, but the device has to show it, too"
                # showing it would only lead to the next refusal
                longer = build_path((*chain, certificate), verified, self.now)
                if certificate in longer.certificates and not any(each in verified for each in longer.certificates):
                    return self._not_verified(group, certificate, longer)
        shown = "only its own certificate" if len(chain) == 1 else f"{len(chain)} certificates"
        return self._refused(
            Finding.INTERMEDIATE_MISSING,
            f"{none}, and the device shows {shown}: the chain ends at {path.certificates[-1].subject_name!r:.200}, "
            f"whose issuer is {issuer!r:.200}; {known}",
        )

    def _certificates_named(self, subject: str, group: Enrollment) -> list[Certificate]:
        """The certificates with this subject that a group knows, its own or those that it refers to."""
        own = [Certificate.from_der(base64.b64decode(text)) for text in group.certificates_named(subject)]
        found = (self.authorities.find(name) for name in group.authority_names)
        uploaded = [authority.certificate for authority in found if authority is not None]
        return own + [certificate for certificate in uploaded if certificate.subject_name == subject]
