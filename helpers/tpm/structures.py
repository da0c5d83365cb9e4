"""The bytes that a TPM understands: numbers, sized buffers, and the public halves of keys.

Everything is big-endian. A *TPM2B* is a buffer with its size (two bytes) in front; a *TPMT_PUBLIC* describes a key,
and a *TPM2B_PUBLIC* is that with its size.

Source: TPM 2.0 Library, Part 2 "Structures"; the templates are those of the TCG EK Credential Profile 2.0 (template
L-1) and of the Azure SDKs for C and Node, which leave ``unique`` empty.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum

from .errors import TpmProtocolError

TPM_SE_POLICY = 0x01
TPM_CAP_TPM_PROPERTIES = 0x00000006
TPM_PT_INPUT_BUFFER = 0x0000010D

#: Where the keys are kept for good. The first two are reserved by the TCG for this purpose, the third is what the
#: Azure SDKs take for the key that DPS sends.
EK_HANDLE = 0x81010001
SRK_HANDLE = 0x81000001
ID_KEY_HANDLE = 0x81000100

#: Largest command and response of a TPM that is not a server's. A size beyond it is an error, not a reason to wait.
MAX_MESSAGE_SIZE = 4_096


class Algorithm(IntEnum):
    """Algorithms and kinds of keys (TPM_ALG)."""

    RSA = 0x0001
    HMAC = 0x0005
    AES = 0x0006
    KEYEDHASH = 0x0008
    SHA256 = 0x000B
    NULL = 0x0010
    CFB = 0x0043


class Tag(IntEnum):
    """How a message begins: without or with authorizations (TPM_ST)."""

    NO_SESSIONS = 0x8001
    SESSIONS = 0x8002


class Handle(IntEnum):
    """Handles that every TPM has: hierarchies, nothing, and the one that stands for a password (TPM_RH, TPM_RS_PW)."""

    OWNER = 0x40000001
    NULL = 0x40000007
    PASSWORD = 0x40000009
    LOCKOUT = 0x4000000A
    ENDORSEMENT = 0x4000000B
    PLATFORM = 0x4000000C


class Attribute(IntEnum):
    """What a key may be used for, one bit each (TPMA_OBJECT)."""

    FIXED_TPM = 0x00000002
    ST_CLEAR = 0x00000004
    FIXED_PARENT = 0x00000010
    SENSITIVE_DATA_ORIGIN = 0x00000020
    USER_WITH_AUTH = 0x00000040
    ADMIN_WITH_POLICY = 0x00000080
    NO_DA = 0x00000400
    ENCRYPTED_DUPLICATION = 0x00000800
    RESTRICTED = 0x00010000
    DECRYPT = 0x00020000
    SIGN = 0x00040000


class CommandCode(IntEnum):
    """The commands that attestation needs, by their names in the specification (TPM_CC)."""

    EvictControl = 0x120
    CreatePrimary = 0x131
    SequenceComplete = 0x13E
    Startup = 0x144
    ActivateCredential = 0x147
    PolicySecret = 0x151
    HMAC = 0x155
    Import = 0x156
    Load = 0x157
    HMAC_Start = 0x15B
    SequenceUpdate = 0x15C
    FlushContext = 0x165
    ReadPublic = 0x173
    StartAuthSession = 0x176
    GetCapability = 0x17A
    GetRandom = 0x17B


def u16(number: int) -> bytes:
    """A number from 0 to 65,535 as two bytes, most significant first."""
    return struct.pack(">H", number)


def u32(number: int) -> bytes:
    """A number below 2**32 as four bytes, most significant first."""
    return struct.pack(">I", number)


def sized(data: bytes) -> bytes:
    """A TPM2B: the size, then the bytes."""
    return u16(len(data)) + data


class Reader:
    """Takes a message apart from its beginning.

    Arguments:
        data: the bytes.
        what: how errors call them, e.g. ``the response to TPM2_Load``.
    """

    def __init__(self, data: bytes, what: str = "The message") -> None:
        self._data = data
        self._position = 0
        self._what = what

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._position

    def take(self, count: int) -> bytes:
        """The next bytes.

        Raises:
            TpmProtocolError: there are fewer; the text says where.
        """
        if count > self.remaining:
            raise TpmProtocolError(
                f"{self._what} ends too early: {count} bytes should follow byte {self._position}, "
                f"and {self.remaining} do."
            )
        self._position += count
        return self._data[self._position - count : self._position]

    def u8(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """The next two bytes as a number."""
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        """The next four bytes as a number."""
        return int.from_bytes(self.take(4), "big")

    def sized(self) -> bytes:
        """The content of a TPM2B."""
        return self.take(self.u16())

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.take(self.remaining)

    def finish(self) -> None:
        """Make sure that nothing is left.

        Raises:
            TpmProtocolError: there is.
        """
        if self.remaining:
            raise TpmProtocolError(f"{self._what} has {self.remaining} bytes more than it should.")


#: PolicySecret(endorsement): the EK may be used by whoever may use the endorsement hierarchy.
EK_POLICY = hashlib.sha256(
    hashlib.sha256(bytes(32) + u32(CommandCode.PolicySecret) + u32(Handle.ENDORSEMENT)).digest()
).digest()


def _storage_key_template(attributes: int, policy: bytes) -> bytes:
    """A TPMT_PUBLIC for an RSA-2048 key under which other keys can be stored; AES-128-CFB protects them."""
    return (
        u16(Algorithm.RSA)
        + u16(Algorithm.SHA256)
        + u32(attributes)
        + sized(policy)
        + u16(Algorithm.AES)
        + u16(128)
        + u16(Algorithm.CFB)
        + u16(Algorithm.NULL)
        + u16(2048)
        + u32(0)  # the exponent: zero stands for 65537
        + sized(b"")  # unique: another value here makes another key
    )


#: What both keys are: made by the TPM, bound to it and to their place, and good for nothing but keeping other keys.
_STORAGE_KEY = (
    Attribute.FIXED_TPM
    | Attribute.FIXED_PARENT
    | Attribute.SENSITIVE_DATA_ORIGIN
    | Attribute.RESTRICTED
    | Attribute.DECRYPT
)
EK_TEMPLATE = _storage_key_template(_STORAGE_KEY | Attribute.ADMIN_WITH_POLICY, EK_POLICY)
SRK_TEMPLATE = _storage_key_template(_STORAGE_KEY | Attribute.USER_WITH_AUTH | Attribute.NO_DA, b"")


@dataclass(frozen=True)
class PublicArea:
    """The public half of a key, as far as it is the same for every kind of key.

    Attributes:
        area: the TPMT_PUBLIC.
        algorithm: kind of key, e.g. ``Algorithm.RSA``.
        name_algorithm: hash of its name, e.g. ``Algorithm.SHA256``.
        attributes: what it may be used for (TPMA_OBJECT).
        policy: digest of the policy that its use asks for, empty for none.
    """

    area: bytes
    algorithm: int
    name_algorithm: int
    attributes: int
    policy: bytes

    @classmethod
    def parse(cls, public: bytes) -> PublicArea:
        """Read a TPM2B_PUBLIC.

        Raises:
            TpmProtocolError: it is none.
        """
        outer = Reader(public, "The public key")
        area = outer.sized()
        outer.finish()
        reader = Reader(area, "The public key")
        return cls(area, reader.u16(), reader.u16(), reader.u32(), reader.sized())

    @property
    def name(self) -> bytes:
        """The key's name, which binds things to this very key: the hash of its public half, its algorithm in front.

        Raises:
            TpmProtocolError: it is not SHA-256.
        """
        if self.name_algorithm != Algorithm.SHA256:
            raise TpmProtocolError(f"The key's name algorithm is 0x{self.name_algorithm:04X}; only SHA-256 is known.")
        return u16(Algorithm.SHA256) + hashlib.sha256(self.area).digest()
