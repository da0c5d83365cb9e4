"""Keys inside the embedded TPM, and how they are wrapped when they leave or enter it.

Source: TPM 2.0 Library, Part 1 "Architecture", sections 11.4.10 (KDFa), 22 to 24 (protected storage, duplication,
credentials) and Annex B.4 (RSA OAEP); Part 2 "Structures", section 12 (TPMT_PUBLIC, TPMT_SENSITIVE).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, replace
from functools import cached_property

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from helpers.tpm.response_codes import ResponseCode
from helpers.tpm.structures import Algorithm, Attribute, PublicArea, sized, u16, u32

from .arguments import Bytes, RefusedError, refuse

DIGEST_SIZE = 32
RSA_BITS = 2_048
#: Sizes that a structure of each kind may have, as in swtpm.
MAX_PRIVATE = 1_024
MAX_SENSITIVE_DATA = 128
MAX_ENCRYPTED_SECRET = 256
MAX_DIGEST = 64
MAX_HMAC_KEY = 64

_EXPONENT = 65_537
_RSA_SCHEMES = range(0x14, 0x18)
_IV_SIZE = 16
_ALL_ATTRIBUTES = sum(Attribute)
_FIXED = Attribute.FIXED_TPM | Attribute.FIXED_PARENT
_STORAGE = Attribute.RESTRICTED | Attribute.DECRYPT


# --- public halves ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Public(PublicArea):
    """A TPMT_PUBLIC of one of the two kinds that this TPM knows: RSA storage keys and HMAC keys.

    Attributes:
        symmetric_bits: size in bits of the AES key with which a storage key protects others, 0 for none.
        scheme: of signing, ``Algorithm.NULL`` when the command chooses.
        unique: modulus of an RSA key, or what binds an HMAC key to its public half.
    """

    symmetric_bits: int
    scheme: int
    unique: bytes

    def with_unique(self, unique: bytes) -> Public:
        """The key of a template: the same public half with this modulus, or other value, for :attr:`unique`."""
        area = self.area[: len(self.area) - len(sized(self.unique))] + sized(unique)
        return replace(self, area=area, unique=unique)

    @property
    def is_storage_key(self) -> bool:
        """Whether other keys can be stored under it."""
        return self.algorithm == Algorithm.RSA and self.has(_STORAGE) and not self.has(Attribute.SIGN)

    def has(self, attributes: int) -> bool:
        """Whether all of these attributes are set."""
        return self.attributes & attributes == attributes


def parse_public(reader: Bytes) -> Public:
    """Read a TPMT_PUBLIC.

    Raises:
        RefusedError: it is none, or of a kind that this TPM does not know.
    """
    before = reader.remaining
    algorithm = reader.number(2)
    refuse(algorithm not in (Algorithm.RSA, Algorithm.KEYEDHASH), ResponseCode.TYPE)
    refuse(reader.number(2) != Algorithm.SHA256, ResponseCode.HASH)
    attributes = reader.number(4)
    refuse(attributes & ~_ALL_ATTRIBUTES, ResponseCode.RESERVED_BITS)
    policy = reader.buffer(MAX_DIGEST)
    if algorithm == Algorithm.RSA:
        bits, scheme = _rsa_parameters(reader)
        unique = reader.buffer(RSA_BITS // 8)
    else:
        bits, scheme = 0, _hmac_scheme(reader)
        unique = reader.buffer(MAX_DIGEST)
    area = reader.since(before)
    return Public(area, algorithm, Algorithm.SHA256, attributes, policy, bits, scheme, unique)


def whole_public(area: bytes) -> Public:
    """Read a TPMT_PUBLIC that nothing follows.

    Raises:
        RefusedError: it is none, or of a kind that this TPM does not know.
    """
    reader = Bytes(area)
    public = parse_public(reader)
    reader.finish()
    return public


def check_policy(public: Public) -> None:
    """Make sure that a policy is a digest, or none.

    Raises:
        RefusedError: it is not.
    """
    refuse(len(public.policy) not in (0, DIGEST_SIZE), ResponseCode.SIZE)


def _rsa_parameters(reader: Bytes) -> tuple[int, int]:
    symmetric_bits = reader.symmetric()
    scheme = reader.number(2)
    if scheme != Algorithm.NULL:
        # the others are for signing and for plain encryption, which this TPM does not do
        raise RefusedError(ResponseCode.SCHEME if scheme in _RSA_SCHEMES else ResponseCode.VALUE)
    refuse(reader.number(2) != RSA_BITS, ResponseCode.VALUE)
    refuse(reader.number(4) not in (0, _EXPONENT), ResponseCode.RANGE)
    return symmetric_bits, scheme


def _hmac_scheme(reader: Bytes) -> int:
    scheme = reader.number(2)
    refuse(scheme not in (Algorithm.HMAC, Algorithm.NULL), ResponseCode.VALUE)
    refuse(scheme == Algorithm.HMAC and reader.number(2) != Algorithm.SHA256, ResponseCode.HASH)
    return scheme


def check_primary(public: Public) -> None:
    """Make sure that a template describes a storage key that this TPM can make.

    Raises:
        RefusedError: it does not.
    """
    check_policy(public)
    fixed = public.attributes & _FIXED
    refuse(public.algorithm != Algorithm.RSA, ResponseCode.TYPE)
    refuse(not public.is_storage_key, ResponseCode.ATTRIBUTES)
    refuse(fixed not in (0, _FIXED) or not public.has(Attribute.SENSITIVE_DATA_ORIGIN), ResponseCode.ATTRIBUTES)
    refuse(fixed and public.has(Attribute.ENCRYPTED_DUPLICATION), ResponseCode.ATTRIBUTES)
    refuse(not public.symmetric_bits, ResponseCode.SYMMETRIC)


def check_imported(public: Public) -> None:
    """Make sure that a key from elsewhere is an HMAC key, and no key that says it never left a TPM.

    Raises:
        RefusedError: it is not.
    """
    refuse(public.attributes & _FIXED, ResponseCode.ATTRIBUTES)
    refuse(public.algorithm != Algorithm.KEYEDHASH, ResponseCode.TYPE)


def check_scheme(public: Public) -> None:
    """Make sure that an HMAC key has the scheme that its attributes ask for.

    Raises:
        RefusedError: it has not.
    """
    signs, decrypts = public.has(Attribute.SIGN), public.has(Attribute.DECRYPT)
    refuse(public.has(Attribute.RESTRICTED) and signs == decrypts, ResponseCode.ATTRIBUTES)
    # with both or neither the command chooses; a key that only decrypts would need XOR, which this TPM has not
    if public.scheme != (Algorithm.NULL if signs == decrypts else Algorithm.HMAC) or (decrypts and not signs):
        raise RefusedError(ResponseCode.SCHEME)


# --- private halves ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Sensitive:
    """A TPMT_SENSITIVE: what must not leave the TPM unprotected.

    Attributes:
        algorithm: kind of key.
        auth: its password.
        seed: what a storage key protects others with, or what hides an HMAC key in its public half.
        key: an HMAC key, or an RSA key in DER.
    """

    algorithm: int
    auth: bytes
    seed: bytes
    key: bytes

    def marshal(self) -> bytes:
        """The bytes of a TPM2B_SENSITIVE, their size in front."""
        return sized(u16(self.algorithm) + sized(self.auth) + sized(self.seed) + sized(self.key))

    @property
    def password(self) -> bytes:
        """The password, without the zeros that some pad it with."""
        return self.auth.rstrip(b"\0")


def parse_sensitive(data: bytes) -> Sensitive:
    """Read a TPM2B_SENSITIVE of an HMAC key.

    Raises:
        RefusedError: it is none.
    """
    outer = Bytes(data)
    reader = Bytes(outer.buffer(MAX_PRIVATE))
    outer.finish()
    algorithm = reader.number(2)
    refuse(algorithm != Algorithm.KEYEDHASH, ResponseCode.TYPE)
    sensitive = Sensitive(
        algorithm, reader.buffer(MAX_DIGEST), reader.buffer(MAX_DIGEST), reader.buffer(MAX_SENSITIVE_DATA)
    )
    reader.finish()
    return sensitive


def check_private_half(sensitive: Sensitive) -> None:
    """Make sure that the private half of an HMAC key has sizes that a key can have.

    Raises:
        RefusedError: it has not.
    """
    refuse(len(sensitive.auth) > DIGEST_SIZE, ResponseCode.SIZE)
    refuse(len(sensitive.seed) != DIGEST_SIZE or len(sensitive.key) > MAX_HMAC_KEY, ResponseCode.KEY_SIZE)


def check_binding(public: Public, sensitive: Sensitive) -> None:
    """Make sure that the halves of an HMAC key belong together.

    Raises:
        RefusedError: they do not.
    """
    if not hmac.compare_digest(public.unique, hashlib.sha256(sensitive.seed + sensitive.key).digest()):
        raise RefusedError(ResponseCode.BINDING)


# --- whole keys -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class SoftObject:
    """A key inside the TPM.

    Attributes:
        public: its public half.
        sensitive: its private half.
        parent: the qualified name of the key that it is stored under; of a primary key the handle of the hierarchy.
    """

    public: Public
    sensitive: Sensitive
    parent: bytes

    @cached_property
    def qualified_name(self) -> bytes:
        """The name that also tells all keys above it."""
        return u16(Algorithm.SHA256) + hashlib.sha256(self.parent + self.public.name).digest()

    @cached_property
    def _rsa_key(self) -> rsa.RSAPrivateKey:
        return load_rsa_key(self.sensitive.key)

    def decrypt_seed(self, secret: bytes, label: bytes) -> bytes:
        """Decrypt a seed that was encrypted for this storage key.

        Arguments:
            secret: the encrypted seed.
            label: what it is for, so that one for another purpose cannot be passed off.

        Raises:
            RefusedError: it was encrypted for another key, or changed.
        """
        refuse(len(secret) != RSA_BITS // 8, ResponseCode.SIZE)
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label + b"\0")
        try:
            seed = self._rsa_key.decrypt(secret, oaep)
        except ValueError:
            # the code of swtpm; the specification leaves it open
            raise RefusedError(ResponseCode.FAILURE) from None
        refuse(len(seed) > DIGEST_SIZE, ResponseCode.VALUE)
        return seed

    def wrap_child(self, public: Public, sensitive: Sensitive) -> bytes:
        """The private half of a key, encrypted so that only this storage key of this TPM can read it (TPM2B_PRIVATE).

        Arguments:
            public: the other half, to which the result is bound.
            sensitive: the private half.
        """
        seed, iv = self.sensitive.seed, secrets.token_bytes(_IV_SIZE)
        key = kdfa(seed, b"STORAGE", public.name, b"", self.public.symmetric_bits)
        body = sized(iv) + aes_cfb(key, sensitive.marshal(), iv)
        return sized(_integrity(seed, body, public.name)) + body

    def unwrap_child(self, public: Public, private: bytes) -> Sensitive:
        """The reverse of :meth:`wrap_child`.

        Raises:
            RefusedError: it was made by another TPM, for another key, or changed.
        """
        seed = self.sensitive.seed
        body = _checked(seed, private, public.name)
        reader = Bytes(body)
        iv, encrypted = reader.buffer(_IV_SIZE), reader.rest()
        key = kdfa(seed, b"STORAGE", public.name, b"", self.public.symmetric_bits)
        return parse_sensitive(aes_cfb(key, encrypted, iv, decrypt=True))


def make_rsa_key() -> tuple[bytes, bytes]:
    """A new RSA key: its modulus and its DER."""
    key = rsa.generate_private_key(_EXPONENT, RSA_BITS)
    der = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return key.public_key().public_numbers().n.to_bytes(RSA_BITS // 8, "big"), der


def load_rsa_key(der: bytes) -> rsa.RSAPrivateKey:
    """Load an RSA key that this TPM made, so without the slow check whether it is one.

    Raises:
        ValueError: it cannot be read.
    """
    key = serialization.load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("The key is not of the kind RSA.")
    return key


# --- wrapping ---------------------------------------------------------------------------------------------------


def unwrap(seed: bytes, bits: int, name: bytes, wrapped: bytes) -> bytes:
    """Take off an outer wrapping, as credentials and duplicates have it.

    Arguments:
        seed: the decrypted seed that came with it.
        bits: size of the AES key of the storage key it was made for.
        name: of the key that it is bound to.
        wrapped: HMAC, then the encrypted bytes.

    Raises:
        RefusedError: it was changed, or is bound to another key.
    """
    encrypted = _checked(seed, wrapped, name)
    return aes_cfb(kdfa(seed, b"STORAGE", name, b"", bits), encrypted, bytes(_IV_SIZE), decrypt=True)


def unwrap_inner(key: bytes, name: bytes, wrapped: bytes) -> bytes:
    """Take off an inner wrapping, as duplicates have it: the same key that a credential carries.

    Raises:
        RefusedError: it was changed, or is bound to another key.
    """
    reader = Bytes(aes_cfb(key, wrapped, bytes(_IV_SIZE), decrypt=True))
    digest, sensitive = reader.buffer(MAX_DIGEST), reader.rest()
    refuse(not hmac.compare_digest(digest, hashlib.sha256(sensitive + name).digest()), ResponseCode.INTEGRITY)
    return sensitive


def kdfa(key: bytes, label: bytes, context_u: bytes, context_v: bytes, bits: int) -> bytes:
    """Derive a key: HMAC in counter mode."""
    derived = b""
    counter = 0
    while len(derived) * 8 < bits:
        counter += 1
        message = u32(counter) + label + b"\0" + context_u + context_v + u32(bits)
        derived += hmac.digest(key, message, "sha256")
    return derived[: bits // 8]


def aes_cfb(key: bytes, data: bytes, iv: bytes, *, decrypt: bool = False) -> bytes:
    """AES in CFB mode, the mode of all wrappings here."""
    cipher = Cipher(algorithms.AES(key), CFB(iv))
    context = cipher.decryptor() if decrypt else cipher.encryptor()
    return context.update(data) + context.finalize()


def _integrity(seed: bytes, body: bytes, name: bytes) -> bytes:
    return hmac.digest(kdfa(seed, b"INTEGRITY", b"", b"", DIGEST_SIZE * 8), body + name, "sha256")


def _checked(seed: bytes, wrapped: bytes, name: bytes) -> bytes:
    reader = Bytes(wrapped)
    integrity, body = reader.buffer(MAX_DIGEST), reader.rest()
    refuse(not hmac.compare_digest(integrity, _integrity(seed, body, name)), ResponseCode.INTEGRITY)
    return body
