"""How a request body is packed, RFC 9110, section 8.4, and what it is when it is unpacked.

Done here and not while the body arrives, because only the whole body shows that nothing of it is missing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

#: What can be unpacked, with the other name of gzip (RFC 9110, section 8.4.1.3).
_SUPPORTED = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
#: What is packed, too, and cannot be unpacked here. Other words in the header are no codings: some clients name a
#: character set there, and mean what the body is without it.
_UNSUPPORTED = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz", "exi", "pack200-gzip", "aes128gcm"})
#: For the header ``Accept-Encoding`` of an answer that refuses a coding, RFC 9110, section 15.5.16.
ACCEPTED = "gzip, deflate, identity"
#: More often nobody packs a body.
_MOST = 2


class UnsupportedCodingError(ValueError):
    """A body is packed in a way that cannot be unpacked here; the text says how."""


class BrokenBodyError(ValueError):
    """A body is not what the header says; the text says what is wrong and repeats nothing of it."""


class LargeBodyError(ValueError):
    """A body is too large when it is unpacked."""


def codings(values: Iterable[str]) -> tuple[str, ...]:
    """The codings of a body in the order in which they were applied.

    Arguments:
        values: of all headers ``Content-Encoding``.

    Raises:
        UnsupportedCodingError: one of them is known to pack, and cannot be unpacked here; or there are too many.
    """
    names = [name.strip().lower() for value in values for name in value.split(",")]
    for name in names:
        if name in _UNSUPPORTED:
            raise UnsupportedCodingError(
                f"The content coding {name!r} is not supported by this simulator; use {ACCEPTED}."
            )
    found = tuple(_SUPPORTED[name] for name in names if name in _SUPPORTED)
    if len(found) > _MOST:
        raise UnsupportedCodingError(f"The body is packed {len(found)} times; at most {_MOST} are supported.")
    return found


def unpacked(body: bytes, applied: Iterable[str], limit: int) -> bytes:
    """The body without its codings. What is empty is not packed.

    Arguments:
        body: as it arrived, whole.
        applied: of :func:`codings`.
        limit: bytes that it may have, after every step.

    Raises:
        BrokenBodyError: it is no such body, is cut off, or more stands behind it.
        LargeBodyError: it is larger than the limit.
    """
    for name in reversed(tuple(applied)):
        if body:
            body = _gunzipped(body, limit) if name == "gzip" else _inflated(body, limit)
    return body


def _gunzipped(body: bytes, limit: int) -> bytes:
    parts = bytearray()
    # RFC 1952, section 2.2: members one after the other
    while body:
        part, body = _one(body, 16 + zlib.MAX_WBITS, "gzip", limit - len(parts))
        parts += part
    return bytes(parts)


def _inflated(body: bytes, limit: int) -> bytes:
    # in the format of zlib; some clients leave out what is around the data. Told apart as by its first byte.
    has_header = body[0] & 0x0F == zlib.DEFLATED and len(body) > 1 and int.from_bytes(body[:2], "big") % 31 == 0
    part, rest = _one(body, zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS, "deflate", limit)
    if rest:
        raise BrokenBodyError("more stands behind the end of its 'deflate' data")
    return part


def _one(body: bytes, window: int, name: str, limit: int) -> tuple[bytes, bytes]:
    """What the first stream of a body unpacks to, and what stands behind it."""
    unpacker = zlib.decompressobj(window)
    try:
        # one byte more tells what is too large, whatever it would grow to
        part = unpacker.decompress(body, limit + 1)
    except zlib.error:
        raise BrokenBodyError(f"it is not what its content coding {name!r} says") from None
    if len(part) > limit:
        raise LargeBodyError
    if not unpacker.eof:
        raise BrokenBodyError(f"its {name!r} data is cut off")
    return part, unpacker.unused_data
