"""Only masked WebSocket frames are accepted: RFC 6455, section 5.1, has a server close the connection on any other.

aiohttp reads both kinds. So the headers of frames are looked at on their way to it. They also tell how much of a
message waits for its rest, which may come in many frames.

Source: RFC 6455, sections 5.2 (frames), 5.4 (fragments) and 5.5 (control frames, which may come in between).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

#: In the first byte of a frame: whether it is the last one of its message, and whether it is a control frame.
_FINAL, _CONTROL = 0x80, 0x08
#: In the second byte of a frame: whether the payload is masked, and its length or how many bytes have it.
_MASKED, _LENGTH = 0x80, 0x7F
_BYTES_OF_LENGTH = {126: 2, 127: 8}
_MASK_SIZE = 4
#: The beginning of a frame that no reader accepts: reserved bits are set. The answer is a close with the code 1002.
_NOT_ACCEPTED = b"\xf0\x80"


class FrameReader(Protocol):
    """What aiohttp reads frames with."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes; whether nothing more is wanted, and what is left of them then."""

    def feed_eof(self) -> None:
        """Nothing more comes."""


class MaskedFrames:
    """Passes bytes on to a reader until a frame begins that is not masked.

    Arguments:
        reader: gets the bytes.
        unfinished: is told how many bytes have arrived of a message that is not complete.
    """

    def __init__(self, reader: FrameReader, unfinished: Callable[[int], None]) -> None:
        self._reader = reader
        self._tell = unfinished
        self._header = b""
        self._held = b""
        self._rest = 0
        self._first_byte = 0
        # of the frames before this one that belong to the same message, and with this one
        self._before = self._unfinished = 0

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes from the client."""
        data, self._held = self._held + data, b""
        position = 0
        while position < len(data):
            if self._rest:
                step = min(self._rest, len(data) - position)
                self._rest -= step
                position += step
                self._count(step)
                continue
            self._header += data[position : position + 1]
            position += 1
            if len(self._header) < 2:
                continue
            if not self._header[1] & _MASKED:
                return self._reader.feed_data(data[: position - 2] + _NOT_ACCEPTED)
            self._measure()
        if len(self._header) == 1:
            # not handed on before it is known what follows
            data, self._held, self._header = data[:-1], self._header, b""
        self._tell(self._unfinished)
        return self._reader.feed_data(data)

    def feed_eof(self) -> None:
        """Nothing more comes."""
        self._reader.feed_eof()

    def _measure(self) -> None:
        """Once the header is complete, skip what follows it."""
        length = self._header[1] & _LENGTH
        extended = _BYTES_OF_LENGTH.get(length, 0)
        if len(self._header) == 2 + extended:
            self._first_byte = self._header[0]
            self._rest = _MASK_SIZE + (int.from_bytes(self._header[2:], "big") if extended else length)
            self._header = b""

    def _count(self, step: int) -> None:
        """Add bytes of a frame; with its last one it is complete, and with the last frame its message."""
        self._unfinished += step
        if self._rest:
            return
        if self._first_byte & _CONTROL:
            self._unfinished = self._before
        else:
            self._before = self._unfinished = 0 if self._first_byte & _FINAL else self._unfinished
