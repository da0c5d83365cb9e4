"""Activation blobs: a secret, wrapped so that only one TPM can take it in.

A blob is six sized fields one after the other, each a big-endian 16-bit size and so many bytes:

1. a credential (TPM2B_ID_OBJECT): the inner key, sealed for the endorsement key and bound to the storage root key,
2. what opens it (TPM2B_ENCRYPTED_SECRET), encrypted for the endorsement key,
3. the secret (TPM2B_PRIVATE), wrapped with the inner key and then for the storage root key,
4. what opens the outer wrapping (TPM2B_ENCRYPTED_SECRET), encrypted for the storage root key,
5. what the secret is (TPM2B_PUBLIC): an HMAC key with SHA-256,
6. for which address it is (TPM2B_DATA), encrypted with the inner key.

Source: TPM 2.0 Library, Part 1 "Architecture": sections on KDFa, credential protection and duplication; the order of
the fields and the size of the inner key: the SDKs for C, Node, C# and Rust, which read them. That field 5 names the
policy "may be duplicated", and field 6, which no SDK decrypts, follows Microsoft's sample server (TSS.MSR). No blob of
the real service was ever published, so what clients do not look at may differ there.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

try:
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
except ModuleNotFoundError:  # pragma: no cover - depends on what is installed
    # cryptography moved it in version 47
    from cryptography.hazmat.primitives.ciphers.modes import CFB

from .tpm_keys import TpmPublicKey

#: Sizes that a secret can have: more than a block of its hash does not fit into an HMAC key of a TPM.
SECRET_SIZES = range(1, 65)
#: Longest address, in bytes. Simulator-only; a host name, two words and an ID are shorter.
MAX_ADDRESS_SIZE = 512

_AES_BLOCK_SIZE = 16
_TPM_ALG_HMAC, _TPM_ALG_KEYEDHASH, _TPM_ALG_SHA256 = 0x0005, 0x0008, 0x000B
_TPM_CC_DUPLICATE, _TPM_CC_POLICY_COMMAND_CODE = 0x0000014B, 0x0000016C
_SIGN, _NO_DA, _USER_WITH_AUTH = 0x00040000, 0x00000400, 0x00000040
_HASH_SIZE = 32
#: Bytes of the inner key. Several SDKs can import with AES-128 only.
_INNER_KEY_SIZE = 16

#: Digest of the policy that allows TPM2_Duplicate and nothing else.
DUPLICATION_POLICY = hashlib.sha256(
    bytes(_HASH_SIZE) + struct.pack(">II", _TPM_CC_POLICY_COMMAND_CODE, _TPM_CC_DUPLICATE)
).digest()


class TpmBlobError(Exception):
    """A secret cannot be wrapped. The text never contains it."""


def make_blob(endorsement: TpmPublicKey, storage_root: TpmPublicKey, secret: bytes, address: bytes = b"") -> bytes:
    """Wrap a secret for the TPM that has both keys.

    Arguments:
        endorsement: the key of the TPM for which the inner key is sealed.
        storage_root: the key of the TPM under which the secret will lie there.
        secret: becomes an HMAC key inside the TPM.
        address: what the secret is for, at most 512 bytes; no SDK reads it.

    Raises:
        TpmBlobError: the secret or the address has a wrong size, or a key cannot encrypt.
    """
    if len(secret) not in SECRET_SIZES:
        raise TpmBlobError(
            f"The secret has {len(secret)} bytes; it must have {SECRET_SIZES.start} to {SECRET_SIZES.stop - 1}."
        )
    if len(address) > MAX_ADDRESS_SIZE:
        raise TpmBlobError(f"The address has {len(address)} bytes; at most {MAX_ADDRESS_SIZE} are allowed.")
    inner_key = secrets.token_bytes(_INNER_KEY_SIZE)
    public, sensitive = _hmac_key(secret)
    name = _name(public)
    # the hash covers the sized sensitive area, and comes first
    inner = _aes_cfb(inner_key, _sized(hashlib.sha256(_sized(sensitive) + name).digest()) + _sized(sensitive))
    duplicate, seed_for_storage_root = _wrap(storage_root, "DUPLICATE", name, inner)
    credential, seed_for_endorsement = _wrap(endorsement, "IDENTITY", storage_root.name, _sized(inner_key))
    fields = (
        credential,
        seed_for_endorsement,
        duplicate,
        seed_for_storage_root,
        public,
        _aes_cfb(inner_key, address),
    )
    return b"".join(map(_sized, fields))


def _hmac_key(secret: bytes) -> tuple[bytes, bytes]:
    """Public (TPMT_PUBLIC) and sensitive (TPMT_SENSITIVE) area of an HMAC key with an empty password."""
    obfuscation = secrets.token_bytes(_HASH_SIZE)
    public = (
        struct.pack(">HHI", _TPM_ALG_KEYEDHASH, _TPM_ALG_SHA256, _SIGN | _NO_DA | _USER_WITH_AUTH)
        + _sized(DUPLICATION_POLICY)
        + struct.pack(">HH", _TPM_ALG_HMAC, _TPM_ALG_SHA256)
        + _sized(hashlib.sha256(obfuscation + secret).digest())
    )
    no_password = b""
    sensitive = struct.pack(">H", _TPM_ALG_KEYEDHASH) + _sized(no_password) + _sized(obfuscation) + _sized(secret)
    return public, sensitive


def _wrap(parent: TpmPublicKey, label: str, name: bytes, content: bytes) -> tuple[bytes, bytes]:
    """Protect something for the holder of a storage key, bound to a name; also gives the encrypted seed."""
    seed = secrets.token_bytes(_HASH_SIZE)
    encrypted = _aes_cfb(_kdfa(seed, "STORAGE", name, parent.symmetric_bits), content)
    mac = hmac.digest(_kdfa(seed, "INTEGRITY", b"", 8 * _HASH_SIZE), encrypted + name, "sha256")
    # the label's final zero belongs to it
    scheme = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label.encode("ascii") + b"\0")
    try:
        encrypted_seed = parent.public_key.encrypt(seed, scheme)
    except ValueError as error:
        raise TpmBlobError(f"A key of the TPM cannot encrypt ({error}); its modulus is none of RSA.") from error
    return _sized(mac) + encrypted, encrypted_seed


def _kdfa(key: bytes, label: str, context: bytes, bits: int) -> bytes:
    """The key derivation of the TPM specification, with SHA-256 and one context; up to 256 bits, so of one block."""
    counter = 1
    block = hmac.digest(
        key, struct.pack(">I", counter) + label.encode("ascii") + b"\0" + context + struct.pack(">I", bits), "sha256"
    )
    return block[: bits // 8]


def _aes_cfb(key: bytes, content: bytes) -> bytes:
    # an initial vector of zeros is safe here: every key encrypts one wrapping
    encryptor = Cipher(algorithms.AES(key), CFB(bytes(_AES_BLOCK_SIZE))).encryptor()
    return encryptor.update(content) + encryptor.finalize()


def _name(public: bytes) -> bytes:
    return struct.pack(">H", _TPM_ALG_SHA256) + hashlib.sha256(public).digest()


def _sized(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content
