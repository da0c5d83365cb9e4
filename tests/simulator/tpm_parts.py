"""A TPM on paper: its two keys, and what it does with a blob, written from the specification's side of the reader."""

import base64
import hashlib
import hmac
import struct
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from dps_simulator.credentials.tpm_keys import TpmPublicKey

EK_ATTRIBUTES, SRK_ATTRIBUTES = 0x000300B2, 0x00030472
EK_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
#: The key in Microsoft's documentation (quick-enroll-device-tpm).
DOCUMENTED_EK = (
    "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAxsj2gUScTk1UjuioeTlfGYZrrimExB+b"
    "ScH75adUMRIi2UOMxG1kw4y+9RW/IVoMl4e620VxZad0ARX2gUqVjYO7KPVt3dyKhZS3dkcvfBisBhP1XH9B33VqHG9SHnbnQXdBUaCgKAfxome8"
    "UmBKfe+naTsE5fkvjb/do3/dD6l4sGBwFCnKRdln4XpM03zLpoHFao8zOwt8l/uP3qUIxmCYv9A7m69Ms+5/pCkTu/rK4mRDsfhZ0QLfbzVI6zQF"
    "OKF/rwsfBtFeWlWtcuJMKlXdD8TXWElTzgh7JS4qhFzreL0c1mI0GCj+Aws0usZh7dLIVPnlgZcBhgy1SSDQMQ=="
)


def sized(data):
    return struct.pack(">H", len(data)) + data


def public_area(
    modulus,
    *,
    kind=1,
    name_algorithm=0x000B,
    attributes=EK_ATTRIBUTES,
    policy=EK_POLICY,
    cipher=(6, 128, 0x43),
    scheme=0x10,
    bits=2048,
    exponent=0,
):
    """A TPMT_PUBLIC."""
    return (
        struct.pack(">HHI", kind, name_algorithm, attributes)
        + sized(policy)
        + struct.pack(">HHHHHI", *cipher, scheme, bits, exponent)
        + sized(modulus)
    )


@lru_cache
def private_key(number):
    """The same few keys for all tests: making one takes long."""
    del number
    return rsa.generate_private_key(65_537, 2048)


def modulus(number=0):
    return private_key(number).public_key().public_numbers().n.to_bytes(256, "big")


def endorsement(number=0, **changes):
    """A TPM2B_PUBLIC of an endorsement key."""
    return sized(public_area(modulus(number), **changes))


def storage_root(number=1, **changes):
    """A TPM2B_PUBLIC of a storage root key."""
    return endorsement(number, **{"attributes": SRK_ATTRIBUTES, "policy": b"", **changes})


def text(public):
    return base64.b64encode(public).decode()


def take_apart(blob):
    """The fields of a blob."""
    fields = []
    while blob:
        size = int.from_bytes(blob[:2], "big")
        assert len(blob) >= size + 2
        fields.append(blob[2 : size + 2])
        blob = blob[size + 2 :]
    return fields


@dataclass
class PaperTpm:
    """Opens blobs with the private keys of these numbers."""

    endorsement_number: int = 0
    storage_number: int = 1
    key: bytes = b""
    address: bytes = b""
    changes: tuple = ()

    @property
    def endorsement(self):
        return endorsement(self.endorsement_number, **dict(self.changes))

    @property
    def storage_root(self):
        return storage_root(self.storage_number, **dict(self.changes))

    def keys(self, **changes):
        """The object ``tpm`` of a request."""
        return {"endorsementKey": text(self.endorsement), "storageRootKey": text(self.storage_root), **changes}

    def attestation(self):
        return {"type": "tpm", "tpm": {"endorsementKey": text(self.endorsement)}}

    def activate(self, blob):
        """Open a blob; raises or fails when a hash, a size or an attribute is not what a TPM asks for."""
        credential, secret, duplicate, encrypted_seed, public, address = take_apart(blob)
        storage_name = TpmPublicKey.parse(self.storage_root).name
        bits = TpmPublicKey.parse(self.endorsement).symmetric_bits
        seed = self._decrypt(self.endorsement_number, b"IDENTITY\0", secret)
        (inner_key,) = take_apart(self._unwrap(seed, storage_name, credential, bits))
        assert len(inner_key) == 16
        name = b"\x00\x0b" + hashlib.sha256(public).digest()
        seed = self._decrypt(self.storage_number, b"DUPLICATE\0", encrypted_seed)
        inner = aes_decrypt(inner_key, self._unwrap(seed, name, duplicate, bits))
        integrity, sensitive = take_apart(inner)
        assert integrity == hashlib.sha256(sized(sensitive) + name).digest()
        assert sensitive[:2] == b"\x00\x08"
        password, obfuscation, self.key = take_apart(sensitive[2:])
        assert password == b""
        assert len(obfuscation) == 32
        assert public[:8] == bytes.fromhex("0008000b00040440")
        policy, rest = public[10:42], public[42:]
        assert public[8:10] == b"\x00\x20"
        assert policy.hex() == "bef56b8c1cc84e11edd717528d2cd99356bd2bbf8f015209c3f84aeeaba8e8a2"
        assert rest[:4] == bytes.fromhex("0005000b")
        assert take_apart(rest[4:]) == [hashlib.sha256(obfuscation + self.key).digest()]
        self.address = aes_decrypt(inner_key, address)
        return self.key

    def token(self, resource, expiry, key_name="registration"):
        """A token, signed with the key that was activated last."""
        signature = hmac.digest(self.key, f"{resource}\n{expiry}".encode(), "sha256")
        sig = quote(base64.b64encode(signature), safe="")
        return f"SharedAccessSignature sr={resource}&sig={sig}&se={expiry}&skn={key_name}"

    @staticmethod
    def _decrypt(number, label, encrypted):
        scheme = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label)
        return private_key(number).decrypt(encrypted, scheme)

    @staticmethod
    def _unwrap(seed, name, wrapped, bits):
        (mac,) = take_apart(wrapped[:34])
        encrypted = wrapped[34:]
        integrity_key = derive(seed, b"INTEGRITY", b"", 256)
        if mac != hmac.digest(integrity_key, encrypted + name, "sha256"):
            raise ValueError("the integrity is wrong")
        return aes_decrypt(derive(seed, b"STORAGE", name, bits), encrypted)


def derive(key, label, context, bits):
    block = hmac.digest(key, b"\0\0\0\1" + label + b"\0" + context + struct.pack(">I", bits), "sha256")
    return block[: bits // 8]


def aes_decrypt(key, data):
    decryptor = Cipher(algorithms.AES(key), CFB(bytes(16))).decryptor()
    return decryptor.update(data) + decryptor.finalize()
