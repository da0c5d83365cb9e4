"""Symmetric keys as clients give them: base64 of 16 to 64 bytes."""

from __future__ import annotations

import base64
import re

#: Bytes that a key may have. Source: Microsoft documentation, iot-dps concepts-symmetric-key-attestation.
KEY_SIZES = range(16, 65)

# not b64decode(validate=True): what it takes is another thing in another version of Python
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def problem(key: object) -> str:
    """What is wrong with a key, as the rest of a sentence that does not repeat it; empty when nothing is."""
    if not isinstance(key, str) or not _BASE64.fullmatch(key):
        return "is not base64."
    size = len(base64.b64decode(key))
    if size not in KEY_SIZES:
        return f"has {size} bytes; it must have {KEY_SIZES.start} to {KEY_SIZES.stop - 1} before base64."
    return ""
