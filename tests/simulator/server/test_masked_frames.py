"""What is counted of WebSocket messages while they arrive."""

from __future__ import annotations

import pytest

from dps_simulator.server.masked_frames import MaskedFrames


class Reader:
    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        self.data += b"the end"


def frame(first: int, size: int) -> bytes:
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([first]) + length + bytes(4 + size)


WHOLE, BEGIN, MIDDLE, END, PING = 0x82, 0x02, 0x00, 0x80, 0x89


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_bytes_of_a_message_count_until_it_is_complete(step: int) -> None:
    counted: list[int] = []
    reader = Reader()
    frames = MaskedFrames(reader, counted.append)
    for sent, left in (
        (frame(WHOLE, 5), 0),
        (frame(PING, 3), 0),
        (frame(BEGIN, 200), 204),
        (frame(PING, 3), 204),
        (frame(MIDDLE, 0), 208),
        (frame(END, 1), 0),
        (frame(WHOLE, 30_000)[:-1], 30_003),
    ):
        before = len(reader.data)
        for start in range(0, len(sent), step):
            frames.feed_data(sent[start : start + step])
        assert counted[-1] == left
        assert reader.data[before:] == sent
    frames.feed_eof()
    assert reader.data.endswith(b"the end")
