"""Attestation: whether the evidence that a device shows fits an enrollment.

Pure: no storage, no protocol, no time of its own.

An individual enrollment for the registration ID decides alone. Without one, every enrollment group with a symmetric
key is tried, because a device does not name its group: the group's key signs nothing itself, only the key that is
derived from it for the registration ID.

Source: Microsoft documentation, iot-dps concepts-symmetric-key-attestation; that all groups are tried, and the
spelling of the registration ID first as presented and then in lower case, is inferred.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dps_simulator.common.identifiers import RegistrationId, lookup_key
from dps_simulator.common.ports import DeviceCredentials
from dps_simulator.credentials.chains import Finding
from dps_simulator.credentials.symmetric_keys import SymmetricKey
from dps_simulator.errors.table import Dps, ServiceError
from dps_simulator.provisioning.enrollments.attestation_fields import SYMMETRIC_KEY, X509
from dps_simulator.provisioning.enrollments.book import Enrollment
from dps_simulator.provisioning.enrollments.kinds import INDIVIDUAL

#: Bytes of a key that the service makes for a TPM, as in Microsoft's sample server (TSS.MSR).
TPM_KEY_SIZE = 32


@dataclass(frozen=True, slots=True, repr=False)
class SymmetricKeyEvidence:
    """A token that was signed with a symmetric key.

    Attributes:
        resource: the segments of what the token is for.
        expiry: Unix time from which on it is worthless.
        is_signed_by: whether a key made the signature.
    """

    resource: tuple[str, ...]
    expiry: int
    is_signed_by: Callable[[bytes], bool]


class Verdict(NamedTuple):
    """What attestation found.

    Attributes:
        enrollment: the enrollment that the device belongs to, ``None`` when it was refused.
        registration_id: the ID in the spelling that the key was derived for.
        reason: why the device was refused, or which key fitted. For the trace; the device is not told.
        finding: the reason as a word that programs can rely on, for certificates and TPMs.
        leaf_thumbprint: SHA-256 of the certificate with which the device proved itself, empty without one.
        tpm_keys: endorsement key and storage root key of the TPM with which it did, base64; ``None`` without one.
    """

    enrollment: Enrollment | None
    registration_id: str
    reason: str
    finding: str = ""
    leaf_thumbprint: str = ""
    tpm_keys: tuple[str, str] | None = None


def device_credentials(
    enrollment: Enrollment, registration_id: str, leaf_thumbprint: str = "", endorsement_key: str = ""
) -> DeviceCredentials:
    """With what the device then authenticates to its hub: the same with which it registers.

    With certificates these are ``selfSigned`` devices, for individual enrollments and for groups alike (source: the
    Python SDK's own end-to-end tests). An individual enrollment gives both its certificates, so that one can be
    replaced while the other works; of a group's device there is only the one that it showed. That they are SHA-256
    thumbprints is inferred.

    A device with a TPM gets a new key, which the service then sends to that TPM alone (source: Microsoft documentation,
    iot-dps about-iot-dps, "rolling the keys", and the SDKs, which want a key in every answer). The hub has two keys for
    every device; that nobody knows the second one is inferred.

    Arguments:
        enrollment: where the device belongs.
        registration_id: in the spelling that its key was derived for.
        leaf_thumbprint: SHA-256 of the certificate that it showed.
        endorsement_key: that of the TPM with which it proved itself, base64.

    Raises:
        ServiceError: the enrollment meanwhile asks for certificates or for a TPM, and the device showed none of that.
    """
    if enrollment.is_for_tpm:
        if endorsement_key != enrollment.endorsement_key:
            raise ServiceError(
                Dps.UNAUTHORIZED_DEVICE,
                reason=f"{enrollment.kind.label} {enrollment.identifier!r} asks for another TPM by now",
            )
        return DeviceCredentials(type="sas", primary_key=_new_key(), secondary_key=_new_key())
    if enrollment.attestation_type == X509:
        thumbprints = enrollment.thumbprints if enrollment.kind is INDIVIDUAL else (leaf_thumbprint,)
        if not thumbprints[0]:
            raise ServiceError(
                Dps.INVALID_CERTIFICATE,
                reason=f"{enrollment.kind.label} {enrollment.identifier!r} asks for certificates by now",
            )
        return DeviceCredentials(
            type="selfSigned", primary_thumbprint=thumbprints[0], secondary_thumbprint=thumbprints[-1]
        )
    primary, secondary = _device_keys(enrollment, registration_id)
    return DeviceCredentials(type="sas", primary_key=primary.text, secondary_key=secondary.text)


def attest_symmetric_key(
    registration_id: RegistrationId,
    evidence: SymmetricKeyEvidence,
    *,
    id_scope: str,
    now: float | None,
    individual: Enrollment | None,
    groups: Iterable[Enrollment],
) -> Verdict:
    """Judge a device that shows a token.

    Arguments:
        registration_id: the ID that the device gives, in its spelling.
        evidence: the token, taken apart; nothing of it is checked yet.
        id_scope: the service's ID scope, part of what the token must be for.
        now: the present Unix time in seconds, ``None`` when the expiry was checked before.
        individual: the individual enrollment for the registration ID.
        groups: the enrollment groups whose keys are tried where there is no individual enrollment.
    """
    shown = "/".join(evidence.resource)
    if lookup_key(shown) != lookup_key(f"{id_scope}/registrations/{registration_id}"):
        expected = f"{id_scope}/registrations/{registration_id}"
        return Verdict(None, registration_id, f"the token is for {shown!r:.300}, not for {expected!r}")
    if now is not None and evidence.expiry <= now:
        return Verdict(None, registration_id, f"the token expired {now - evidence.expiry:.0f} s ago")
    if individual is not None:
        return _judge_individual(registration_id, evidence, individual, groups)
    return _judge_groups(registration_id, evidence, [group for group in groups if group.keys])


def _judge_individual(
    registration_id: RegistrationId,
    evidence: SymmetricKeyEvidence,
    individual: Enrollment,
    groups: Iterable[Enrollment],
) -> Verdict:
    name = f"individual enrollment {individual.identifier!r}"
    if individual.attestation_type != SYMMETRIC_KEY:
        reason = f"{name} decides alone; it is for {individual.attestation_type}, and the device shows a token"
        return Verdict(None, registration_id, reason, Finding.ATTESTATION_MISMATCH.value)
    if _matches(individual, registration_id, evidence):
        return Verdict(individual, individual.identifier, f"a key of {name}")
    hint = _group_key_hint(groups, registration_id, evidence)
    reason = f"{name} decides alone, and neither of its keys signed the token{hint}"
    return Verdict(None, registration_id, reason)


def _judge_groups(
    registration_id: RegistrationId, evidence: SymmetricKeyEvidence, groups: Sequence[Enrollment]
) -> Verdict:
    for group in groups:
        for spelling in _spellings(registration_id):
            if _matches(group, spelling, evidence):
                return Verdict(group, spelling, f"a key derived from enrollment group {group.identifier!r}")
    reason = (
        f"there is no individual enrollment {registration_id!r}, and no key derived from one of the "
        f"{len(groups)} enrollment groups with a symmetric key signed the token"
    )
    for group in groups:
        if any(evidence.is_signed_by(key.data) for key in group.keys):
            reason = (
                f"the signature is that of the key of enrollment group {group.identifier!r} itself; "
                "derive the device key from it first"
            )
    return Verdict(None, registration_id, reason)


def _spellings(registration_id: RegistrationId) -> Iterator[str]:
    yield registration_id
    if registration_id != registration_id.key:
        yield registration_id.key


def _new_key() -> str:
    return SymmetricKey.new(TPM_KEY_SIZE).text


def _device_keys(enrollment: Enrollment, registration_id: str) -> Sequence[SymmetricKey]:
    """The keys of a device through those of its enrollment."""
    if enrollment.kind is INDIVIDUAL:
        return enrollment.keys
    return [key.derive(registration_id) for key in enrollment.keys]


def _matches(enrollment: Enrollment, registration_id: str, evidence: SymmetricKeyEvidence) -> bool:
    primary, secondary = _device_keys(enrollment, registration_id)
    return evidence.is_signed_by(primary.data) or evidence.is_signed_by(secondary.data)


def _group_key_hint(
    groups: Iterable[Enrollment], registration_id: RegistrationId, evidence: SymmetricKeyEvidence
) -> str:
    for group in groups:
        if group.keys and any(_matches(group, spelling, evidence) for spelling in _spellings(registration_id)):
            return f" (a key derived from enrollment group {group.identifier!r} did)"
    return ""
