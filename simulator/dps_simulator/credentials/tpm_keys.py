"""Public keys of a TPM as clients give them: base64 of a TPM2B_PUBLIC.

A TPM is known by two of its keys. The endorsement key (EK) is the chip's identity, made by its manufacturer; the
storage root key (SRK) belongs to whoever owns the machine now. The service encrypts for both, so only keys that can be
encrypted to are accepted: RSA with 2048 bits that decrypts what its TPM itself made (restricted, decrypt).

Source: TPM 2.0 Library, Part 2 "Structures" (TPM2B_PUBLIC, TPMA_OBJECT); the templates are those of the device SDKs.
What else the real service checks is not known: attributes and policies of other manufacturers are accepted here
(inferred), other kinds of keys than RSA-2048 are not (inferred as well).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from dps_simulator.errors.table import Dps, ServiceError, described

from .symmetric_keys import decoded

#: Longer texts are refused unread. A key of 2048 bits has about 424 characters, a certificate pasted instead 2,000.
MAX_TEXT_SIZE = 16_384
KEY_BITS = 2048
DEFAULT_EXPONENT = 65_537

_TPM_ALG_AES, _TPM_ALG_CFB, _TPM_ALG_NULL, _TPM_ALG_SHA256 = 0x0006, 0x0043, 0x0010, 0x000B
_TPM_ALG_RSA = 0x0001
_KINDS = {_TPM_ALG_RSA: "RSA", 0x0008: "keyed hash", 0x0023: "ECC", 0x0025: "symmetric"}
_HASHES = {0x0004: "SHA-1", _TPM_ALG_SHA256: "SHA-256", 0x000C: "SHA-384", 0x000D: "SHA-512"}
_AES_BITS = (128, 192, 256)

_USER_WITH_AUTH, _ADMIN_WITH_POLICY, _NO_DA = 0x00000040, 0x00000080, 0x00000400
_RESTRICTED, _DECRYPT, _SIGN = 0x00010000, 0x00020000, 0x00040000

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]{0,40})")
_DER_SEQUENCE = 0x30


@dataclass(frozen=True, slots=True)
class KeyRole:
    """What a key of the TPM is for.

    Attributes:
        name: how error texts call it, e.g. ``endorsement key``.
        handle: where TPMs of IoT devices keep it.
    """

    name: str
    handle: int

    @property
    def advice(self) -> str:
        """How the key is read out with tpm2-tools, as a sentence for whoever gave something else."""
        return (
            f"Paste base64 of the TPM2B_PUBLIC of the TPM's {self.name}, size in front: "
            f"tpm2_readpublic -c 0x{self.handle:08x} -o key.pub && base64 -w0 key.pub"
        )


ENDORSEMENT = KeyRole("endorsement key", 0x81010001)
STORAGE_ROOT = KeyRole("storage root key", 0x81000001)


@dataclass(frozen=True, slots=True)
class TpmPublicKey:
    """An endorsement key or a storage root key. Two are equal when their encodings are.

    Attributes:
        encoded: the bytes of the TPM2B_PUBLIC, its size in front.
        attributes: what the key may be used for (TPMA_OBJECT).
        policy: digest of the policy that its use asks for, empty for none.
        symmetric_bits: size of the AES keys that protect what is stored under it.
        public_key: RSA with 2048 bits, to encrypt for the TPM.
    """

    encoded: bytes
    attributes: int = field(compare=False)
    policy: bytes = field(compare=False)
    symmetric_bits: int = field(compare=False)
    public_key: rsa.RSAPublicKey = field(compare=False, repr=False)

    @classmethod
    def parse(cls, encoded: bytes) -> TpmPublicKey:
        """Read a TPM2B_PUBLIC.

        Raises:
            ValueError: it is none, or no key that a service can encrypt to; the rest of a sentence.
        """
        area = _Reader(_content(encoded))
        kind, name_algorithm, attributes = area.u16(), area.u16(), area.u32()
        policy = area.sized()
        if kind != _TPM_ALG_RSA:
            raise ValueError(f"is a key of the kind {_named(kind, _KINDS)}; this simulator encrypts for RSA keys only")
        if name_algorithm != _TPM_ALG_SHA256:
            raise ValueError(f"has a name by {_named(name_algorithm, _HASHES)}; it must be SHA-256")
        if attributes & _SIGN or not attributes & _DECRYPT:
            raise ValueError(
                "is a key for signing, such as an attestation key; a service can encrypt to keys for decryption only"
            )
        if not attributes & _RESTRICTED:
            raise ValueError("is a key for decrypting anything; it must be a restricted one, under which keys are kept")
        symmetric_bits = _symmetric_bits(area)
        bits, exponent, modulus = area.u16(), area.u32(), area.sized()
        area.finish()
        if bits != KEY_BITS:
            raise ValueError(f"is an RSA key of {bits} bits; it must have {KEY_BITS}")
        return cls(encoded, attributes, policy, symmetric_bits, _rsa_key(modulus, exponent))

    @property
    def name(self) -> bytes:
        """The key's name, to which secrets are bound: the hash of its public area, the algorithm in front."""
        return _TPM_ALG_SHA256.to_bytes(2, "big") + hashlib.sha256(self.encoded[2:]).digest()

    @property
    def text(self) -> str:
        """Base64 of the TPM2B_PUBLIC, as enrollments have it."""
        return base64.b64encode(self.encoded).decode("ascii")

    @property
    def digest(self) -> str:
        """SHA-256 of the encoding, hexadecimal: short enough to compare two keys by eye."""
        return hashlib.sha256(self.encoded).hexdigest()


@dataclass(frozen=True, slots=True)
class TpmKeys:
    """The keys by which a device's TPM is known.

    Attributes:
        endorsement: its endorsement key, which is its identity.
        storage_root: its storage root key; ``None`` where a device left it out.
    """

    endorsement: TpmPublicKey
    storage_root: TpmPublicKey | None = None


@dataclass(frozen=True, slots=True)
class SecretForTpm:
    """A key that one TPM may learn, and nobody else.

    Attributes:
        endorsement: the TPM's endorsement key.
        storage_root: its storage root key.
        key: the secret, 1 to 64 bytes.
        address: what it is for, e.g. ``contoso-hub-1.azure-devices.test/devices/pump-101``.
    """

    endorsement: TpmPublicKey
    storage_root: TpmPublicKey
    key: bytes = field(repr=False)
    address: str


def read_tpm_key(name: str, text: object, role: KeyRole) -> TpmPublicKey:
    """Read a key that a client wrote.

    Arguments:
        name: how the error calls the field that the client wrote.
        text: the value of the field, base64 of a TPM2B_PUBLIC; of whatever type.
        role: which of the two keys belongs there.

    Raises:
        ServiceError: it is missing or something else; says what and what to paste, and never repeats it.
    """
    problem = "is missing"
    if text is not None and text != "":
        try:
            key = TpmPublicKey.parse(_decoded(text))
            _check_role(key, role)
        except ValueError as error:
            problem = str(error)
        else:
            return key
    raise ServiceError(Dps.INVALID_BODY, f"{name} {problem}. {role.advice}")


def _check_role(key: TpmPublicKey, role: KeyRole) -> None:
    """Tell the two keys apart as far as their templates do.

    Raises:
        ValueError: it is the other one.
    """
    by_password = bool(key.attributes & _USER_WITH_AUTH)
    if role is ENDORSEMENT and by_password and key.attributes & _NO_DA and not key.policy:
        raise ValueError("is a storage root key: its attributes let everybody with its password use it")
    if role is STORAGE_ROOT and not by_password and key.attributes & _ADMIN_WITH_POLICY and key.policy:
        raise ValueError("is an endorsement key: its attributes ask for a policy instead of a password")


# --- texts --------------------------------------------------------------------------------------------------------


def _decoded(text: object) -> bytes:
    """The bytes that a text stands for.

    Raises:
        ValueError: it is no base64, or of something else.
    """
    if not isinstance(text, str):
        raise ValueError(f"is {described(text)}; it must be a text")
    if len(text) > MAX_TEXT_SIZE:
        raise ValueError(f"has {len(text)} characters; at most {MAX_TEXT_SIZE} are allowed")
    _refuse_pem(text)
    # base64 comes in lines from some programs
    content = decoded("".join(text.split()))
    if content is None:
        raise ValueError("is not base64 (letters, digits, + and /, padded with = to a multiple of 4)")
    if content.startswith(b"-----BEGIN"):
        _refuse_pem(content.decode("latin-1"))
    if content[:1] == bytes([_DER_SEQUENCE]):
        _refuse_der(content)
    return content


def _refuse_pem(text: str) -> None:
    label = _PEM.search(text)
    if label is None:
        return
    if "PRIVATE KEY" in label[1]:
        raise ValueError("is a private key, which nobody should ever see; the key of a TPM never leaves it")
    if "CERTIFICATE" in label[1]:
        raise ValueError("is a certificate (PEM); it must be the public key as the TPM gives it")
    raise ValueError("is PEM; it must be the public key as the TPM gives it")


def _refuse_der(content: bytes) -> NoReturn:
    """Say what it is that begins like a sequence of ASN.1; a TPM2B_PUBLIC that does would be much longer.

    Raises:
        ValueError: always.
    """
    readers: Mapping[str, Callable[[bytes], object]] = {
        "is a certificate (DER)": x509.load_der_x509_certificate,
        "is a DER SubjectPublicKeyInfo, the format of OpenSSL": load_der_public_key,
    }
    for what, read in readers.items():
        try:
            read(content)
        except (ValueError, UnsupportedAlgorithm):
            continue
        raise ValueError(f"{what}; it must be the public key as the TPM gives it")
    raise ValueError("is ASN.1 (DER) of another kind; it must be the public key as the TPM gives it")


# --- bytes --------------------------------------------------------------------------------------------------------


class _Reader:
    """Takes a TPMT_PUBLIC apart."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    def take(self, count: int) -> bytes:
        taken = self._content[self._position : self._position + count]
        if len(taken) < count:
            raise ValueError("ends within one of its parts: it is damaged, or no TPM2B_PUBLIC")
        self._position += count
        return taken

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def sized(self) -> bytes:
        return self.take(self.u16())

    def finish(self) -> None:
        left = len(self._content) - self._position
        if left:
            raise ValueError(f"has {left} bytes after the modulus: it is damaged, or no TPM2B_PUBLIC")


def _content(encoded: bytes) -> bytes:
    """What is in a TPM2B_PUBLIC, without the size in front."""
    if len(encoded) < 4:
        raise ValueError(f"has {len(encoded)} bytes, which is far too short for a TPM2B_PUBLIC")
    size, left = int.from_bytes(encoded[:2], "big"), len(encoded) - 2
    if size != left and size in _KINDS and int.from_bytes(encoded[2:4], "big") in _HASHES:
        raise ValueError("is a TPMT_PUBLIC: the two bytes in front that give its size are missing")
    if size > left:
        raise ValueError(f"is cut off: {size} bytes should follow its size, and {left} do")
    if size < left:
        raise ValueError(f"has {left - size} bytes after its end, or is no TPM2B_PUBLIC")
    return encoded[2:]


def _symmetric_bits(area: _Reader) -> int:
    """Read with which cipher the key protects what is stored under it, and its empty scheme."""
    cipher = area.u16()
    if cipher != _TPM_ALG_AES:
        raise ValueError(f"protects what is under it with the cipher 0x{cipher:04x}; it must be AES")
    bits, mode, scheme = area.u16(), area.u16(), area.u16()
    if bits not in _AES_BITS or mode != _TPM_ALG_CFB:
        raise ValueError(f"protects what is under it with AES-{bits} in the mode 0x{mode:04x}; it must be AES-128-CFB")
    if scheme != _TPM_ALG_NULL:
        raise ValueError(f"has the scheme 0x{scheme:04x}; keys for storage have none")
    return bits


def _rsa_key(modulus: bytes, exponent: int) -> rsa.RSAPublicKey:
    number = int.from_bytes(modulus, "big")
    if not number:
        raise ValueError("is a template: its modulus is empty; the TPM makes the key from it")
    # an even number would only be found out when something is encrypted
    if len(modulus) != KEY_BITS // 8 or number.bit_length() != KEY_BITS or not number % 2:
        raise ValueError(f"has a modulus that no RSA key of {KEY_BITS} bits can have: it is damaged")
    try:
        return rsa.RSAPublicNumbers(exponent or DEFAULT_EXPONENT, number).public_key()
    except ValueError as error:
        raise ValueError(f"has the exponent {exponent}, which no RSA key can have: it is damaged") from error


def _named(number: int, names: Mapping[int, str]) -> str:
    return names.get(number, f"0x{number:04x}")
