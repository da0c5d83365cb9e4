"""Symmetric keys: base64 of 16 to 64 bytes as clients give them, decoded once."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

#: Bytes that a key may have. Source: Microsoft documentation, iot-dps concepts-symmetric-key-attestation.
KEY_SIZES = range(16, 65)

# not b64decode(validate=True): what it takes is another thing in another version of Python
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


@dataclass(frozen=True, slots=True)
class SymmetricKey:
    """A key.

    Attributes:
        data: its bytes, 16 to 64 of them.
        text: the same in base64, as it was written.
    """

    data: bytes = field(repr=False)
    text: str = field(repr=False)

    @classmethod
    def of(cls, text: str) -> SymmetricKey:
        """The key that a text stands for, which was checked before."""
        return cls(base64.b64decode(text), text)

    @classmethod
    def from_bytes(cls, data: bytes) -> SymmetricKey:
        """The key with these bytes, of which there may be 16 to 64; nothing is checked."""
        return cls(data, base64.b64encode(data).decode("ascii"))

    @classmethod
    def new(cls, size: int) -> SymmetricKey:
        """A key of so many bytes that nobody knows yet."""
        return cls.from_bytes(secrets.token_bytes(size))

    def derive(self, registration_id: str) -> SymmetricKey:
        """The key of one device of the group that has this key: HMAC-SHA256 of the registration ID under it."""
        return self.from_bytes(hmac.digest(self.data, registration_id.encode(), hashlib.sha256))


def decoded(text: str) -> bytes | None:
    """The bytes that a text stands for, of any number, or ``None`` when it is not base64."""
    return base64.b64decode(text) if _BASE64.fullmatch(text) else None


def problem(key: object) -> str:
    """What is wrong with a key, as the rest of a sentence that does not repeat it; empty when nothing is."""
    data = decoded(key) if isinstance(key, str) else None
    if data is None:
        return "is not base64."
    if len(data) not in KEY_SIZES:
        return f"has {len(data)} bytes; it must have {KEY_SIZES.start} to {KEY_SIZES.stop - 1} before base64."
    return ""
