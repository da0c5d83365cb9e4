"""Frames of AMQP 1.0 and the header before them: bytes to frames and frames to bytes.

Source: OASIS standard AMQP 1.0, part 2, sections 2.2 (header) and 2.3 (frames).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .composites import Composite, encode_composite, read_composite
from .errors import AmqpProtocolError
from .types import decode

#: Bytes of the largest frame that is taken from a client, before and after ``open``: IoT hubs take as much.
MAX_FRAME_SIZE = 65_536
#: Bytes of the largest frame that every client takes.
MIN_MAX_FRAME_SIZE = 512
#: What a connection begins with.
AMQP_HEADER = b"AMQP\x00\x01\x00\x00"
SASL_HEADER = b"AMQP\x03\x01\x00\x00"
#: Kinds of frames.
AMQP_FRAME, SASL_FRAME = 0, 1
_HEAD = 8


class Frame(NamedTuple):
    """One frame.

    Attributes:
        kind: :data:`AMQP_FRAME` or :data:`SASL_FRAME`.
        channel: which session it belongs to.
        performative: what it says, ``None`` for a frame that only shows that somebody is there.
        payload: what a transfer carries.
    """

    kind: int
    channel: int
    performative: Any
    payload: bytes

    def __repr__(self) -> str:
        return f"Frame({self.kind}, {self.channel}, {self.performative!r}, {len(self.payload)} bytes)"


class FrameDecoder:
    """Cuts bytes into headers and frames.

    Arguments:
        max_frame_size: bytes of the largest frame that is taken.
    """

    def __init__(self, max_frame_size: int = MAX_FRAME_SIZE) -> None:
        self._max_frame_size = max_frame_size
        self._buffer = bytearray()

    @property
    def unfinished(self) -> int:
        """Bytes that have arrived and were not read."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._buffer += data

    def clear(self) -> None:
        """Forget what has not been read."""
        self._buffer.clear()

    def header(self) -> bytes | None:
        """The eight bytes at the beginning, ``None`` until they have come.

        Raises:
            AmqpProtocolError: they are not those of AMQP; said as soon as a byte is another.
        """
        if not self._buffer.startswith(b"AMQP"[: len(self._buffer)]):
            raise AmqpProtocolError(f"a connection begins with AMQP, not with {bytes(self._buffer[:_HEAD])!r}")
        if len(self._buffer) < _HEAD:
            return None
        header = bytes(self._buffer[:_HEAD])
        del self._buffer[:_HEAD]
        return header

    def frame(self) -> Frame | None:
        """The next frame, ``None`` until all of it has come.

        Raises:
            AmqpProtocolError: it is too large, or is none.
        """
        buffer = self._buffer
        if len(buffer) < _HEAD:
            return None
        size = int.from_bytes(buffer[:4], "big")
        if size > self._max_frame_size:
            raise AmqpProtocolError(f"a frame has {size} bytes, at most {self._max_frame_size} are allowed")
        start = buffer[4] * 4
        if size < _HEAD or not _HEAD <= start <= size:
            raise AmqpProtocolError(f"a frame has {size} bytes and says that its body begins at {start}")
        if len(buffer) < size:
            return None
        kind, channel = buffer[5], int.from_bytes(buffer[6:8], "big")
        body = bytes(buffer[start:size])
        del buffer[:size]
        if kind not in (AMQP_FRAME, SASL_FRAME):
            raise AmqpProtocolError(f"a frame has the kind {kind}; AMQP has 0, and 1 for SASL")
        if not body:
            return Frame(kind, channel, None, b"")
        value, end = decode(body)
        return Frame(kind, channel, read_composite(value), body[end:])


def put_frame(
    out: bytearray, performative: Composite, payload: bytes = b"", *, channel: int = 0, kind: int = AMQP_FRAME
) -> None:
    """Append a frame."""
    start = len(out)
    out += b"\x00\x00\x00\x00\x02" + bytes((kind,)) + channel.to_bytes(2, "big")
    try:
        encode_composite(out, performative)
    except Exception:
        del out[start:]  # half a frame would spoil those after it
        raise
    out += payload
    out[start : start + 4] = (len(out) - start).to_bytes(4, "big")


def put_heartbeat(out: bytearray) -> None:
    """Append a frame that only says that somebody is here."""
    out += b"\x00\x00\x00\x08\x02\x00\x00\x00"
