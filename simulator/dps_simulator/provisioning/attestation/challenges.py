"""Challenges: the keys that devices with a TPM were given to prove that the TPM is theirs.

The service makes a key and sends it so that only the enrolled TPM can read it; a token that is signed with it proves
that the TPM is there. The newest challenge of a registration ID counts. They are kept with the rest of the state, so
a device that was challenged before a restart can answer after it.

Source: Microsoft documentation, iot-dps concepts-tpm-attestation ("nonce challenge", to be answered "within a limited
period"); how long that is, and that a newer challenge replaces the older one, are inferred.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field

from dps_simulator.common.clock import Clock
from dps_simulator.common.ports import Storage
from dps_simulator.credentials.tpm_keys import SecretForTpm, TpmPublicKey
from dps_simulator.provisioning.enrollments.book import Enrollment, EnrollmentBook

from .symmetric_key import TPM_KEY_SIZE

#: How long the key of a challenge is good. Inferred: as long as the tokens of the SDKs.
LIFETIME_SECONDS = 3_600


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge that was given.

    Attributes:
        endorsement_key: base64 of the key that the device showed then.
        storage_root_key: base64 of the storage root key that it showed then.
        key: the secret inside the challenge, which only the TPM can have read.
        expires: from when on it is worthless, Unix time in seconds.
    """

    endorsement_key: str
    storage_root_key: str
    key: bytes = field(repr=False)
    expires: float


class TpmChallenges:
    """The newest challenge of every device that asked for one.

    Arguments:
        storage: the store, in whose collections they outlive this process.
        clock: gives the present time (aware, in UTC).
        individuals: whose devices are challenged; with a deleted or changed endorsement key goes the challenge.
        id_scope: part of the address that the key is for.
    """

    def __init__(self, storage: Storage, clock: Clock, individuals: EnrollmentBook, id_scope: str) -> None:
        self._challenges = storage.collection("tpm challenge")
        self._clock = clock
        self._id_scope = id_scope
        individuals.when_deleted(lambda enrollment: self._forget(enrollment.key))
        individuals.when_replaced(self._enrollment_replaced)

    def issue(self, enrollment: Enrollment, endorsement: TpmPublicKey, storage_root: TpmPublicKey) -> SecretForTpm:
        """Challenge a device; an earlier challenge is worthless from now on.

        Arguments:
            enrollment: the individual enrollment that has this endorsement key.
            endorsement: the endorsement key that the device shows, for which the challenge is encrypted.
            storage_root: the storage root key that it shows, to which the challenge is bound.
        """
        key = secrets.token_bytes(TPM_KEY_SIZE)
        self._challenges.put(
            enrollment.key,
            {
                "endorsementKey": endorsement.text,
                "storageRootKey": storage_root.text,
                "key": base64.b64encode(key).decode("ascii"),
                "expires": self._clock.now().timestamp() + LIFETIME_SECONDS,
            },
        )
        address = f"{self._id_scope}/registrations/{enrollment.identifier}"
        return SecretForTpm(endorsement, storage_root, key, address)

    def find(self, enrollment: Enrollment) -> Challenge | None:
        """The newest challenge, perhaps expired; ``None`` when there was none."""
        stored = self._challenges.get(enrollment.key)
        if stored is None:
            return None
        latest = self._clock.now().timestamp() + LIFETIME_SECONDS
        if stored["expires"] > latest:
            # where the clock was set back, it lasts no longer than a new one would
            stored["expires"] = latest
            self._challenges.put(enrollment.key, stored)
        return Challenge(
            stored["endorsementKey"], stored["storageRootKey"], base64.b64decode(stored["key"]), stored["expires"]
        )

    def clear(self) -> None:
        """Forget all of them, as a reset of the simulator does: devices have to ask for new ones."""
        self._challenges.clear()

    def _enrollment_replaced(self, before: Enrollment, after: Enrollment) -> None:
        if before.endorsement_key != after.endorsement_key:
            self._forget(before.key)

    def _forget(self, key: str) -> None:
        self._challenges.delete(key)
