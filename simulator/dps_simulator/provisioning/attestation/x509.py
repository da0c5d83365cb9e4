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
from datetime import datetime

from dps_simulator.common.identifiers import RegistrationId, lookup_key
from dps_simulator.credentials.certificates import Certificate
from dps_simulator.credentials.chains import Finding, Path, build_path, judge_leaf, judge_path
from dps_simulator.credentials.evidence import X509Evidence
from dps_simulator.provisioning.enrollments.attestation_fields import X509
from dps_simulator.provisioning.enrollments.book import Enrollment, EnrollmentBook

from .authorities import CertificateAuthorities
from .symmetric_key import Verdict


def attest_x509(
    registration_id: RegistrationId,
    evidence: X509Evidence,
    *,
    now: datetime,
    individual: Enrollment | None,
    individuals: EnrollmentBook,
    groups: EnrollmentBook,
    authorities: CertificateAuthorities,
) -> Verdict:
    """Judge a device that shows certificates.

    Arguments:
        registration_id: the ID that the device gives, in its spelling.
        evidence: the certificates of the TLS handshake, the device's own first.
        now: the time at which they have to be valid (aware, in UTC).
        individual: the individual enrollment for the registration ID.
        individuals: all individual enrollments, to tell when the certificate is enrolled under another ID.
        groups: all enrollment groups, of which the one whose authority is nearest counts.
        authorities: the uploaded CA certificates, to which groups may refer.
    """
    leaf = evidence.leaf
    if leaf.common_name is None:
        return _refused(
            registration_id,
            Finding.COMMON_NAME_MISSING,
            f"the device's certificate ({leaf.subject_name!r:.200}) has no common name; that must be the "
            f"registration ID, {registration_id!r}",
        )
    if lookup_key(leaf.common_name) != registration_id.key:
        return _refused(
            registration_id,
            Finding.COMMON_NAME_MISMATCH,
            f"the common name of the device's certificate is {leaf.common_name!r:.200}, its registration ID is "
            f"{registration_id!r}; they must agree",
        )
    if individual is not None:
        return _judge_individual(registration_id, leaf, now, individual)
    return _judge_group(registration_id, evidence, now, individuals, groups, authorities)


def _refused(registration_id: RegistrationId, finding: Finding, reason: str) -> Verdict:
    return Verdict(None, registration_id, reason, finding.value)


def _judge_individual(
    registration_id: RegistrationId, leaf: Certificate, now: datetime, individual: Enrollment
) -> Verdict:
    name = f"individual enrollment {individual.identifier!r}"
    if individual.attestation_type != X509:
        return _refused(
            registration_id,
            Finding.ATTESTATION_MISMATCH,
            f"{name} decides alone; it is for {individual.attestation_type}, and the device shows a certificate",
        )
    if leaf.sha256_thumbprint not in individual.thumbprints:
        enrolled = " and ".join(individual.thumbprints)
        return _refused(
            registration_id,
            Finding.UNKNOWN_CERTIFICATE,
            f"{name} decides alone, and the device's certificate is another one: its SHA-256 thumbprint is "
            f"{leaf.sha256_thumbprint}, enrolled is {enrolled}",
        )
    problem = judge_leaf(leaf, now)
    if problem is not None:
        return _refused(registration_id, problem.finding, f"{name} knows the certificate, but {problem.text}")
    slot = individual.slot_of(leaf.sha256_thumbprint)
    return Verdict(
        individual,
        individual.identifier,
        f"the {slot} certificate of {name}",
        leaf_thumbprint=leaf.sha256_thumbprint,
    )


def _judge_group(
    registration_id: RegistrationId,
    evidence: X509Evidence,
    now: datetime,
    individuals: EnrollmentBook,
    groups: EnrollmentBook,
    authorities: CertificateAuthorities,
) -> Verdict:
    verified = authorities.verified()
    path = build_path(evidence.chain, verified, now)
    found = _first_group(path.certificates[1:], groups, authorities)
    if found is None:
        return _nobody_knows(registration_id, evidence, now, path, individuals, groups, authorities)
    place, group = found
    place += 1
    name = f"enrollment group {group.identifier!r}"
    anchor = next(
        (above for above in range(place, len(path.certificates)) if path.certificates[above] in verified), None
    )
    if anchor is None:
        if path.problem is not None and path.problem.finding is Finding.NOT_SUPPORTED:
            return _refused(registration_id, path.problem.finding, f"{name} knows the chain, but {path.problem.text}")
        return _not_verified(registration_id, group, path.certificates[place], path)
    problem = judge_path(path.certificates[: anchor + 1], now)
    if problem is not None:
        return _refused(registration_id, problem.finding, f"{name} knows the chain, but {problem.text}")
    remark = "; the chain is not in order, which works here and not everywhere" if path.out_of_order else ""
    return Verdict(
        group,
        str(evidence.leaf.common_name),
        f"the certificate {path.certificates[place].subject_name!r:.200} of {name}, verified by "
        f"{path.certificates[anchor].subject_name!r:.200}{remark}",
        leaf_thumbprint=evidence.leaf.sha256_thumbprint,
    )


def _not_verified(registration_id: RegistrationId, group: Enrollment, own: Certificate, path: Path) -> Verdict:
    """Neither the certificate that a group knows nor one above it is verified."""
    above = "" if own.is_self_issued else ", nor is one above it in the chain that the device shows"
    if path.missing_issuer:
        above += f" (which ends below {path.missing_issuer!r:.200})"
    return _refused(
        registration_id,
        Finding.AUTHORITY_NOT_VERIFIED,
        f"enrollment group {group.identifier!r} knows the certificate {own.subject_name!r:.200}, but it is not "
        f"verified{above}; upload it, or its root, to the provisioning service and prove that you hold its private key",
    )


def _first_group(
    above: Iterable[Certificate], groups: EnrollmentBook, authorities: CertificateAuthorities
) -> tuple[int, Enrollment] | None:
    """The first of the certificates that a group knows, and that group; the oldest one where several do."""
    for place, certificate in enumerate(above):
        group = groups.with_thumbprint(certificate.sha256_thumbprint)
        uploaded = (authority for authority in authorities.all() if authority.certificate == certificate)
        while group is None and (authority := next(uploaded, None)) is not None:
            group = groups.with_authority(authority.name)
        if group is not None:
            return place, group
    return None


def _nobody_knows(
    registration_id: RegistrationId,
    evidence: X509Evidence,
    now: datetime,
    path: Path,
    individuals: EnrollmentBook,
    groups: EnrollmentBook,
    authorities: CertificateAuthorities,
) -> Verdict:
    """Say why no enrollment fits, as precisely as can be."""
    leaf = evidence.leaf
    none = f"there is no individual enrollment {registration_id!r}"
    elsewhere = individuals.with_thumbprint(leaf.sha256_thumbprint)
    if elsewhere is not None:
        return _refused(
            registration_id,
            Finding.ENROLLED_ELSEWHERE,
            f"{none}; the device's certificate is enrolled, but under the registration ID {elsewhere.identifier!r}",
        )
    if path.problem is not None:
        return _refused(registration_id, path.problem.finding, f"{none}, and {path.problem.text}")
    top = path.certificates[-1]
    if leaf.is_self_issued and leaf.is_authority:
        return _refused(
            registration_id,
            Finding.AUTHORITY_USED_AS_DEVICE,
            f"{none}, and the device uses the certificate of an authority ({leaf.subject_name!r:.200}) as its own; "
            "give every device a certificate of its own, which the authority signs",
        )
    if leaf.is_self_issued:
        return _refused(
            registration_id,
            Finding.UNKNOWN_CERTIFICATE,
            f"{none}, and the device's certificate is self-signed, so it belongs to no enrollment group either "
            f"(SHA-256 thumbprint {leaf.sha256_thumbprint})",
        )
    if path.missing_issuer:
        return _issuer_missing(registration_id, evidence, now, path, groups, authorities)
    return _refused(
        registration_id,
        Finding.UNKNOWN_AUTHORITY,
        f"{none}, and no enrollment group has a certificate of the chain, which ends at {top.subject_name!r:.200}",
    )


def _issuer_missing(
    registration_id: RegistrationId,
    evidence: X509Evidence,
    now: datetime,
    path: Path,
    groups: EnrollmentBook,
    authorities: CertificateAuthorities,
) -> Verdict:
    """The device does not show the certificate above the last one of its chain."""
    known_above = [
        (group, certificate)
        for group in groups.all()
        for certificate in _certificates_named(path.missing_issuer, group, authorities)
    ]
    verified = authorities.verified()
    for group, certificate in known_above:
        # showing it would only lead to the next refusal
        longer = build_path((*evidence.chain, certificate), verified, now)
        if certificate in longer.certificates and not any(each in verified for each in longer.certificates):
            return _not_verified(registration_id, group, certificate, longer)
    shown = "only its own certificate" if len(evidence.chain) == 1 else f"{len(evidence.chain)} certificates"
    known = (
        "an enrollment group has a certificate of that name, but the device has to show it, too"
        if known_above
        else "the device has to show the certificate of that name, too"
    )
    return _refused(
        registration_id,
        Finding.INTERMEDIATE_MISSING,
        f"there is no individual enrollment {registration_id!r}, and the device shows {shown}: the chain ends at "
        f"{path.certificates[-1].subject_name!r:.200}, whose issuer is {path.missing_issuer!r:.200}; {known}",
    )


def _certificates_named(subject: str, group: Enrollment, authorities: CertificateAuthorities) -> list[Certificate]:
    """The certificates with this subject that a group knows, its own or those that it refers to."""
    own = [Certificate.from_der(base64.b64decode(text)) for text in group.certificates_named(subject)]
    found = (authorities.find(name) for name in group.authority_names)
    uploaded = [authority.certificate for authority in found if authority is not None]
    return own + [certificate for certificate in uploaded if certificate.subject_name == subject]
