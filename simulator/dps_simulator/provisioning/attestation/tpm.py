"""TPM attestation: whether a device has the TPM that an individual enrollment names.

Pure. Two steps: a device that shows the public keys of its TPM gets a challenge; one that shows a token proves with it
that its TPM read the challenge.

Source: Microsoft documentation, iot-dps concepts-tpm-attestation (the steps) and concepts-service (TPMs in individual
enrollments only); the SDKs for C, Node, C# and Rust for what is sent when. That the storage root key of an enrollment
is not compared: these SDKs' sources and the description of the device API, which names it as optional. That a token
belongs to the keys for which its challenge was made is inferred.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from enum import StrEnum

from dps_simulator.common.identifiers import RegistrationId, lookup_key
from dps_simulator.credentials.tpm_keys import TpmKeys
from dps_simulator.errors.table import Dps, ServiceError
from dps_simulator.provisioning.enrollments.book import Enrollment, EnrollmentBook

from .challenges import Challenge, TpmChallenges
from .symmetric_key import SymmetricKeyEvidence, Verdict


class TpmFinding(StrEnum):
    """What is wrong with the evidence of a device with a TPM, as a word that programs can rely on. Simulator-only."""

    ENDORSEMENT_KEY_MISMATCH = "endorsementKeyMismatch"
    STORAGE_ROOT_KEY_MISSING = "storageRootKeyMissing"
    STORAGE_ROOT_KEY_MISMATCH = "storageRootKeyMismatch"
    CHALLENGE_MISSING = "challengeMissing"
    CHALLENGE_EXPIRED = "challengeExpired"
    SIGNATURE_INVALID = "signatureInvalid"
    TOKEN_EXPIRED = "tokenExpired"  # noqa: S105  (a finding, no password)
    RESOURCE_MISMATCH = "resourceMismatch"
    ATTESTATION_MISMATCH = "attestationMismatch"


@dataclass(frozen=True, slots=True)
class TpmEvidence:
    """A token that a TPM should have signed.

    Attributes:
        token: the token that the device sends, taken apart; nothing of it is checked yet.
        keys: the public keys of the TPM, if the request repeats them; one SDK leaves them out.
    """

    token: SymmetricKeyEvidence
    keys: TpmKeys | None = None


def identify_tpm(
    registration_id: RegistrationId, keys: TpmKeys | None, individual: Enrollment | None, individuals: EnrollmentBook
) -> Verdict:
    """Judge whether a device shows the endorsement key that is enrolled for its registration ID.

    That proves nothing yet, as these keys are public: it says who is to be challenged.

    Arguments:
        registration_id: the ID that the device gives, in its spelling.
        keys: the public keys that it shows; ``None`` where it had shown them before.
        individual: the individual enrollment for the registration ID.
        individuals: all individual enrollments, to find the TPM under another registration ID.

    Raises:
        ServiceError: there is no individual enrollment.
    """
    if individual is None:
        elsewhere = None if keys is None else individuals.with_endorsement_key(keys.endorsement.text)
        hint = (
            "enroll the device by the endorsement key of its TPM; enrollment groups know no TPM attestation"
            if elsewhere is None
            else f"the TPM is enrolled, but under the registration ID {elsewhere.identifier!r}; register under that"
        )
        raise ServiceError(
            Dps.ENROLLMENT_NOT_FOUND, reason=f"There is no individual enrollment {registration_id!r}: {hint}."
        )
    name = f"individual enrollment {individual.identifier!r}"
    if not individual.is_for_tpm:
        reason = (
            f"The {name} is for {individual.attestation_type}, and the device registers with a TPM; "
            "register with what is enrolled, or enroll the TPM."
        )
        return _refused(individual, TpmFinding.ATTESTATION_MISMATCH, reason)
    if keys is not None and keys.endorsement.text != individual.endorsement_key:
        enrolled = hashlib.sha256(base64.b64decode(individual.endorsement_key)).hexdigest()
        reason = (
            f"The {name} is for another TPM: the SHA-256 of the enrolled endorsement key is {enrolled}, "
            f"that of the device's is {keys.endorsement.digest}; if this is the right device, enroll the key that its "
            "TPM has now."
        )
        return _refused(individual, TpmFinding.ENDORSEMENT_KEY_MISMATCH, reason)
    return Verdict(individual, individual.identifier, f"the endorsement key of {name}")


def attest_tpm(
    registration_id: RegistrationId,
    evidence: TpmEvidence,
    *,
    id_scope: str,
    now: float,
    individual: Enrollment | None,
    individuals: EnrollmentBook,
    challenges: TpmChallenges,
) -> Verdict:
    """Judge a device that shows a token signed by its TPM.

    Arguments:
        registration_id: the ID that the device gives, in its spelling.
        evidence: the token, and perhaps the keys.
        id_scope: the service's ID scope, part of what the token must be for.
        now: the present Unix time, in seconds.
        individual: the individual enrollment for the registration ID.
        individuals: all individual enrollments, to find the TPM under another registration ID.
        challenges: the challenges that were given.

    Raises:
        ServiceError: there is no individual enrollment.
    """
    identified = identify_tpm(registration_id, evidence.keys, individual, individuals)
    enrollment, token = identified.enrollment, evidence.token
    if enrollment is None:
        return identified
    expected, shown = f"{id_scope}/registrations/{registration_id}", "/".join(token.resource)
    if lookup_key(shown) != lookup_key(expected):
        reason = f"The token is for {shown!r:.300}, not for {expected!r}; let the TPM sign a token for that."
        return _refused(enrollment, TpmFinding.RESOURCE_MISMATCH, reason)
    if token.expiry <= now:
        late = f"The token expired {now - token.expiry:.0f} s ago"
        reason = f"{late}; set the device's clock, and let the TPM sign a new one."
        return _refused(enrollment, TpmFinding.TOKEN_EXPIRED, reason)
    return _judge_answer(evidence, enrollment, challenges.find(enrollment), now)


def _judge_answer(evidence: TpmEvidence, individual: Enrollment, challenge: Challenge | None, now: float) -> Verdict:
    name = f"individual enrollment {individual.identifier!r}"
    again = "register without a token first, and sign with the key of the challenge that you then get"
    if challenge is None:
        reason = f"The {name} is for a TPM, and the device shows a token although it was given no challenge; {again}."
        return _refused(individual, TpmFinding.CHALLENGE_MISSING, reason)
    if challenge.expires <= now:
        reason = f"The challenge of {name} expired {now - challenge.expires:.0f} s ago; {again}."
        return _refused(individual, TpmFinding.CHALLENGE_EXPIRED, reason)
    storage_root = evidence.keys.storage_root if evidence.keys is not None else None
    if storage_root is not None and storage_root.text != challenge.storage_root_key:
        reason = (
            f"The challenge of {name} was made for another storage root key than the device shows now, so its TPM was "
            f"cleared in between; {again}."
        )
        return _refused(individual, TpmFinding.STORAGE_ROOT_KEY_MISMATCH, reason)
    if not evidence.token.is_signed_by(challenge.key):
        reason = f"The key of the newest challenge of {name} did not sign the token; {again}. "
        reason += "Only one program at a time can register a device."
        return _refused(individual, TpmFinding.SIGNATURE_INVALID, reason)
    keys = (challenge.endorsement_key, challenge.storage_root_key)
    reason = f"the TPM of {name} signed the token"
    return Verdict(individual, individual.identifier, reason, tpm_keys=keys)


def _refused(individual: Enrollment, finding: TpmFinding, reason: str) -> Verdict:
    return Verdict(None, individual.identifier, reason, finding.value)
