"""Collects a client's greeting, so that TLS need not begin before it is complete.

What TLS keeps for a connection is large, and a client that says some bytes and no more would have it for nothing.

Source: RFC 8446, sections 4 (handshake messages), 4.1.2 (ClientHello) and 5.1 (records).
"""

from __future__ import annotations

#: Bytes of a record's header: type, version, length.
_HEADER_SIZE = 5
#: How a record with handshake messages begins: its type, and the first half of a version that is always 3.something.
_RECORD_BEGINNING = b"\x16\x03"
#: Type of the message ClientHello.
_CLIENT_HELLO = 1
#: Bytes of a message's header: type, length.
_MESSAGE_HEADER_SIZE = 4
#: Bytes of a greeting, headers included. Common ones have 200 to 2,000; a longer one is not waited for.
MAX_GREETING = 16_384


class Greeting:
    """The first bytes of one connection.

    Attributes:
        received: all of them.
    """

    __slots__ = ("_message_header", "_message_size", "_next", "received")

    def __init__(self) -> None:
        self.received = bytearray()
        # where the next record begins; what is known of the message that the records before it carry
        self._next = 0
        self._message_header = b""
        self._message_size = 0

    def receive(self, data: bytes) -> bool:
        """Take bytes; tells whether there is no use in waiting for more of the greeting.

        So it is when the greeting is complete, and as soon as it can be none any more: then TLS says what is wrong.
        """
        self.received += data
        while True:
            if not _RECORD_BEGINNING.startswith(self.received[self._next : self._next + len(_RECORD_BEGINNING)]):
                return True
            begin = self._next + _HEADER_SIZE
            if len(self.received) < begin:
                return False
            end = begin + int.from_bytes(self.received[begin - 2 : begin], "big")
            # a record without content is not allowed here, and one that is longer than a greeting belongs to none
            if not begin < end <= MAX_GREETING:
                return True
            if len(self.received) < end:
                return False
            self._next = end
            self._message_size += end - begin
            self._message_header += self.received[
                begin : min(end, begin + _MESSAGE_HEADER_SIZE - len(self._message_header))
            ]
            if self._message_is_over():
                return True

    def _message_is_over(self) -> bool:
        """Whether the message has arrived, is no greeting, or is too long for one."""
        if self._message_header[0] != _CLIENT_HELLO:
            return True
        if len(self._message_header) < _MESSAGE_HEADER_SIZE:
            return False
        size = _MESSAGE_HEADER_SIZE + int.from_bytes(self._message_header[1:], "big")
        return self._message_size >= size or size > MAX_GREETING
