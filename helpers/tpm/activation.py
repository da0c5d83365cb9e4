"""The challenge that DPS sends to a TPM, and later the hub key: six sized parts, one after the other.

Who can open what: the first two parts need the endorsement key, and together they give a key of 16 bytes. The third and
fourth part need the storage root key and that key of 16 bytes; what comes out is a secret that goes into the TPM and
stays there. The fifth describes the secret in public.

Source: the SDKs for Node (``_activateIdentityKey``) and C (``insert_key_in_tpm``), which read it, and the TPM 2.0
Library, Part 3 (TPM2_ActivateCredential, TPM2_Import).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from .errors import ActivationError, TpmProtocolError
from .structures import Reader

#: The parts in their order, with what is inside.
FIELDS = {
    "credential_blob": "a key of 16 bytes, sealed for this TPM and its storage root key",
    "secret": "what opens the first part, encrypted for the endorsement key",
    "duplicate": "the new secret, wrapped twice: with the key of 16 bytes and for the storage root key",
    "encrypted_seed": "what opens the outer wrapping of the third part, encrypted for the storage root key",
    "id_key_public": "the public description of the new secret: an HMAC key with SHA-256",
    "encrypted_uri": "the address the secret is for; no SDK reads it",
}
#: A challenge has about 800 bytes.
MAX_SIZE = 4_096


@dataclass(frozen=True, repr=False)
class ActivationBlob:
    """A challenge, taken apart.

    Attributes:
        credential_blob: TPM2B_ID_OBJECT.
        secret: TPM2B_ENCRYPTED_SECRET for the endorsement key.
        duplicate: TPM2B_PRIVATE.
        encrypted_seed: TPM2B_ENCRYPTED_SECRET for the storage root key.
        id_key_public: TPM2B_PUBLIC, here without its size.
        encrypted_uri: TPM2B_DATA.
    """

    credential_blob: bytes
    secret: bytes
    duplicate: bytes
    encrypted_seed: bytes
    id_key_public: bytes
    encrypted_uri: bytes

    @classmethod
    def parse(cls, blob: bytes) -> ActivationBlob:
        """Take a challenge apart.

        Raises:
            ActivationError: it is not made of six sized parts.
        """
        if len(blob) > MAX_SIZE:
            raise ActivationError(f"The challenge has {len(blob)} bytes; it cannot have more than {MAX_SIZE}.")
        reader = Reader(blob, "The challenge")
        parts: dict[str, bytes] = {}
        for name in FIELDS:
            try:
                parts[name] = reader.sized()
            except TpmProtocolError as error:
                raise ActivationError(
                    f"The challenge ends within its part {len(parts) + 1} of {len(FIELDS)}, {name}: "
                    f"it was cut off on the way. {error} Register again.",
                    name,
                ) from error
        try:
            reader.finish()
        except TpmProtocolError as error:
            raise ActivationError(f"{error} It is not one of DPS, or it was changed on the way.") from error
        return cls(**parts)

    def sizes(self) -> dict[str, int]:
        """The size of each part in bytes."""
        return {field.name: len(getattr(self, field.name)) for field in fields(self)}

    def __repr__(self) -> str:
        return f"ActivationBlob({', '.join(f'{name}: {size} bytes' for name, size in self.sizes().items())})"
