"""Makes challenges as DPS does, from the specification alone, to test those who open them.

Source: TPM 2.0 Library, Part 1 "Architecture", sections 23 (duplication) and 24 (credentials).
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, fields

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

ID_KEY_ATTRIBUTES = 0x00040440
HMAC_SHA256_SCHEME = bytes.fromhex("0005 000b")
KEYED_HASH = bytes.fromhex("0008")
NULL_SCHEME = bytes.fromhex("0010")
#: TPM2_PolicyCommandCode(TPM2_Duplicate)
DUPLICATION_POLICY = hashlib.sha256(bytes(32) + bytes.fromhex("0000016c 0000014b")).digest()


def two_bytes(data):
    return len(data).to_bytes(2, "big") + data


@dataclass
class Blob:
    """The six parts, without their sizes."""

    credential_blob: bytes
    secret: bytes
    duplicate: bytes
    encrypted_seed: bytes
    id_key_public: bytes
    encrypted_uri: bytes

    def __bytes__(self):
        return b"".join(two_bytes(getattr(self, field.name)) for field in fields(self))


class Parent:
    """The public half of an RSA-2048 storage key: what the service knows of it."""

    def __init__(self, public):
        self.area = base64.b64decode(public)[2:]
        modulus = int.from_bytes(self.area[-256:], "big")
        self.key = rsa.RSAPublicNumbers(65537, modulus).public_key()
        self.name = name_of(self.area)

    def wrap(self, label, name, content):
        """Encrypted for this key and bound to a name; with the encrypted seed."""
        seed = secrets.token_bytes(32)
        encrypted = cfb(derived(seed, b"STORAGE", name, 16), content)
        integrity = hmac.digest(derived(seed, b"INTEGRITY", b"", 32), encrypted + name, "sha256")
        return two_bytes(integrity) + encrypted, self.encrypt(label, seed)

    def encrypt(self, label, seed):
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label + b"\0")
        return self.key.encrypt(seed, oaep)


def name_of(area):
    return b"\0\x0b" + hashlib.sha256(area).digest()


def derived(key, label, context, size):
    """KDFa is the counter mode of NIST SP 800-108."""
    kdf = KBKDFHMAC(
        algorithm=hashes.SHA256(),
        mode=Mode.CounterMode,
        length=size,
        rlen=4,
        llen=4,
        location=CounterLocation.BeforeFixed,
        label=label,
        context=context,
        fixed=None,
    )
    return kdf.derive(key)


def cfb(key, data):
    encryptor = Cipher(algorithms.AES(key), CFB(bytes(16))).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def make_blob(
    device,
    key,
    *,
    uri=b"",
    auth=b"",
    policy=DUPLICATION_POLICY,
    attributes=ID_KEY_ATTRIBUTES,
    scheme=HMAC_SHA256_SCHEME,
    hiding=None,
    unique=None,
    inner_key=None,
    inner_digest=None,
    with_outer=True,
    kind=KEYED_HASH,
    kind_of_sensitive=None,
    behind_sensitive=b"",
):
    """The challenge that puts a key into a device; everything that the SDKs leave open can be varied."""
    endorsement, storage = Parent(device.endorsement_key), Parent(device.storage_root_key)
    inner_key = secrets.token_bytes(16) if inner_key is None else inner_key
    hiding = secrets.token_bytes(32) if hiding is None else hiding
    unique = hashlib.sha256(hiding + key).digest() if unique is None else unique
    public = kind + b"\0\x0b" + attributes.to_bytes(4, "big") + two_bytes(policy) + scheme + two_bytes(unique)
    name = name_of(public)
    sensitive = two_bytes((kind_of_sensitive or kind) + two_bytes(auth) + two_bytes(hiding) + two_bytes(key))
    sensitive += behind_sensitive
    digest = hashlib.sha256(sensitive + name).digest() if inner_digest is None else inner_digest
    content = cfb(inner_key, two_bytes(digest) + sensitive)
    duplicate, seed = storage.wrap(b"DUPLICATE", name, content) if with_outer else (content, b"")
    credential, secret = endorsement.wrap(b"IDENTITY", storage.name, two_bytes(inner_key))
    return Blob(credential, secret, duplicate, seed, public, cfb(inner_key, uri) if uri else b"")


def made_for(device, key, **choices):
    """The same, as the bytes that go over the wire."""
    return bytes(make_blob(device, key, **choices))
