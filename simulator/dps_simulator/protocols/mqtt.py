"""MQTT 3.1.1 control packets: bytes to packets and packets to bytes.

Source: OASIS standard MQTT 3.1.1, chapters 2 and 3; the numbers in brackets are its conformance statements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Union

#: Largest packet that is accepted by default: a message of 256 KiB (the limit of an IoT hub) and the longest topic.
MAX_PACKET_SIZE = 262_144 + 65_536 + 16
#: Largest "remaining length" that four bytes can express (2.2.3).
MAX_REMAINING_LENGTH = 268_435_455
#: Name and level that stand for MQTT 3.1.1 in CONNECT (3.1.2.1, 3.1.2.2).
PROTOCOL_NAME = "MQTT"
PROTOCOL_LEVEL = 4
#: SUBACK return code of a filter that was not granted (3.9.3).
SUBSCRIPTION_REFUSED = 0x80


class MqttProtocolError(Exception):
    """The peer broke MQTT 3.1.1; the text says what was wrong with which value. The connection is to be closed."""


@dataclass(frozen=True, slots=True)
class Will:
    """The message that is published for a client whose connection ends without DISCONNECT."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int
    retain: bool


@dataclass(frozen=True, slots=True)
class Connect:
    """CONNECT. ``keep_alive`` is in seconds, 0 switches it off. The password stays out of ``repr``."""

    protocol_name: str
    protocol_level: int
    clean_session: bool
    keep_alive: int
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    will: Will | None = None


class Publish(NamedTuple):
    """PUBLISH. ``packet_id`` is ``None`` for QoS 0."""

    topic: str
    payload: bytes
    qos: int = 0
    packet_id: int | None = None
    duplicate: bool = False
    retain: bool = False

    def __repr__(self) -> str:
        # what devices and services tell each other is theirs
        return f"Publish({self.topic!r}, {len(self.payload)} bytes, qos={self.qos}, packet_id={self.packet_id})"


@dataclass(frozen=True, slots=True)
class PublishAcknowledged:
    """PUBACK."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """SUBSCRIBE: topic filters, each with the QoS that is asked for."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """UNSUBSCRIBE."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PingRequest:
    """PINGREQ."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """DISCONNECT: the client ends the connection in good order."""


# typing.Union because ``X | Y`` on classes is evaluated here, and mypy wants one spelling for an alias
Packet = Union[Connect, Publish, PublishAcknowledged, Subscribe, Unsubscribe, PingRequest, Disconnect]  # noqa: UP007


def topic_matches(topic_filter: str, topic: str) -> bool:
    """Whether a topic name matches a topic filter.

    ``+`` stands for one level, a last ``#`` for any number of levels, also none. Topics that begin with ``$`` match
    only filters that spell out the first level.

    Source: chapter 4.7.
    """
    if topic.startswith("$") and topic_filter[:1] in {"+", "#"}:
        return False
    wanted, given = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        given = given[: len(wanted)]
    # a loop, as every message that is sent takes this way
    for level, name in zip(wanted, given, strict=False):
        if level not in ("+", name):
            return False
    return len(wanted) == len(given)


class PacketDecoder:
    """Cuts a stream of bytes from a client into packets, and holds it to MQTT 3.1.1.

    Packets in front of a broken one are not lost: :meth:`feed` returns them, and the next call raises. Once it has
    raised, every further call raises the same error.

    Arguments:
        max_packet_size: a packet longer than this, header included, is refused before it is received in full.

    Attributes:
        error: what is wrong with the stream, also while the call that raises it is still to come.
        unfinished: what has arrived of a packet whose rest is still to come.
    """

    def __init__(self, max_packet_size: int = MAX_PACKET_SIZE) -> None:
        self._max_packet_size = max_packet_size
        self.unfinished = bytearray()
        self.error: MqttProtocolError | None = None

    def feed(self, data: bytes) -> list[Packet]:
        """Take bytes in any portions; return the packets that they complete.

        Raises:
            MqttProtocolError: when no packet precedes what is wrong.
        """
        packets: list[Packet] = []
        if self.error is None:
            buffer = self.unfinished
            buffer += data
            start, size = 0, len(buffer)
            try:
                while start < size:
                    header = _read_header(buffer, start, self._max_packet_size)
                    if header is None or header[3] > size:
                        break
                    parse, flags, body, end = header
                    packets.append(parse(flags, _Reader(bytes(buffer[body:end]))))
                    start = end
            except MqttProtocolError as error:
                self.error = error
                start = size
            del buffer[:start]
        if self.error is not None and not packets:
            raise self.error
        return packets


_Parse = Callable[[int, "_Reader"], Packet]


def _read_header(buffer: bytearray, start: int, max_packet_size: int) -> tuple[_Parse, int, int, int] | None:
    """The packet's parser and flags, where its body begins and ends; ``None`` while the header is incomplete."""
    kind, flags = buffer[start] >> 4, buffer[start] & 0x0F
    if kind in _REFUSED_KINDS:
        raise MqttProtocolError(f"packet type {kind}: {_REFUSED_KINDS[kind]}")
    name, parse, expected_flags = _KINDS[kind]
    if expected_flags is not None and flags != expected_flags:  # [MQTT-2.2.2-2]
        raise MqttProtocolError(f"{name} has the reserved flags {flags:#06b}; they must be {expected_flags:#06b}")
    length = 0
    for place in range(4):
        position = start + 1 + place
        if position >= len(buffer):
            return None
        length |= (buffer[position] & 0x7F) << (7 * place)
        if not buffer[position] & 0x80:
            break
    else:
        raise MqttProtocolError(f"{name} has a remaining length of more than four bytes")
    body = position + 1
    size = body - start + length
    if size > max_packet_size:
        raise MqttProtocolError(f"{name} of {size} bytes exceeds the limit of {max_packet_size} bytes")
    return parse, flags, body, body + length


class _Reader:
    """Reads the fields of one packet's body in order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def at_end(self) -> bool:
        """Whether every byte was read."""
        return self._position == len(self._data)

    def take(self, count: int, what: str) -> bytes:
        """The next ``count`` bytes."""
        end = self._position + count
        if end > len(self._data):
            raise MqttProtocolError(
                f"{what} needs {count} bytes, the packet has {len(self._data) - self._position} left"
            )
        piece = self._data[self._position : end]
        self._position = end
        return piece

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self._data[self._position :]

    def number(self, what: str) -> int:
        """Two bytes, most significant first (1.5.2)."""
        return int.from_bytes(self.take(2, what), "big")

    def binary(self, what: str) -> bytes:
        """Bytes behind their two-byte length."""
        return self.take(self.number(f"the length of {what}"), what)

    def text(self, what: str) -> str:
        """UTF-8 behind its two-byte length (1.5.3)."""
        begin = self._position + 2
        end = begin + int.from_bytes(self._data[self._position : begin], "big")
        if end > len(self._data):
            self.binary(what)  # says what is missing
        self._position = end
        try:
            text = self._data[begin:end].decode()
        except UnicodeDecodeError as error:  # [MQTT-1.5.3-1]
            # not "from error": it would carry the bytes, which may be a password, into a log
            raise MqttProtocolError(f"{what} is not valid UTF-8 ({error.reason} at byte {error.start})") from None
        if "\0" in text:  # [MQTT-1.5.3-2]
            raise MqttProtocolError(f"{what} contains the character U+0000")
        return text

    def packet_id(self, name: str) -> int:
        """A packet identifier, which is never 0 [MQTT-2.3.1-1]."""
        packet_id = int.from_bytes(self.take(2, f"the packet identifier of {name}"), "big")
        if packet_id == 0:
            raise MqttProtocolError(f"{name} has the packet identifier 0; it must be from 1 to 65535")
        return packet_id

    def finish(self, name: str) -> None:
        """Nothing may be left."""
        left = len(self._data) - self._position
        if left:
            raise MqttProtocolError(f"{name} has {left} bytes too many")


def _parse_connect(_flags: int, reader: _Reader) -> Connect:
    name = reader.text("the protocol name")
    level = reader.take(1, "the protocol level")[0]
    if (name, level) != (PROTOCOL_NAME, PROTOCOL_LEVEL):
        # Another version's packet has another layout behind this point; the session answers that it is not supported.
        return Connect(name, level, clean_session=False, keep_alive=0, client_id="")
    flags = reader.take(1, "the connect flags")[0]
    has_will, will_qos, will_retain = bool(flags & 0x04), flags >> 3 & 0x03, bool(flags & 0x20)
    has_password, has_username = bool(flags & 0x40), bool(flags & 0x80)
    if flags & 0x01:  # [MQTT-3.1.2-3]
        raise MqttProtocolError(f"CONNECT has the flags {flags:#010b}; the last bit is reserved and must be 0")
    if will_qos == 3:  # [MQTT-3.1.2-14]
        raise MqttProtocolError("CONNECT asks for QoS 3 for its will; it must be 0, 1 or 2")
    if not has_will and (will_qos or will_retain):  # [MQTT-3.1.2-11]
        raise MqttProtocolError("CONNECT has no will, but flags that describe one")
    if has_password and not has_username:  # [MQTT-3.1.2-22]
        raise MqttProtocolError("CONNECT has a password without a user name")
    keep_alive = reader.number("the keep alive time")
    client_id = reader.text("the client identifier")
    will = None
    if has_will:
        will_topic = _check_topic_name(reader.text("the will topic"), "the will topic")
        will = Will(will_topic, reader.binary("the will message"), will_qos, will_retain)
    username = reader.text("the user name") if has_username else None
    password = reader.text("the password") if has_password else None
    reader.finish("CONNECT")
    return Connect(name, level, bool(flags & 0x02), keep_alive, client_id, username, password, will)


def _parse_publish(flags: int, reader: _Reader) -> Publish:
    duplicate, qos, retain = bool(flags & 0x08), flags >> 1 & 0x03, bool(flags & 0x01)
    if qos == 2:
        raise MqttProtocolError("PUBLISH asks for QoS 2; this simulator, like Azure IoT, supports QoS 0 and 1")
    if qos == 3:  # [MQTT-3.3.1-4]
        raise MqttProtocolError("PUBLISH asks for QoS 3; it must be 0 or 1")
    if duplicate and qos == 0:  # [MQTT-3.3.1-2]
        raise MqttProtocolError("PUBLISH with QoS 0 has the DUP flag set")
    topic = _check_topic_name(reader.text("the topic name"), "the topic name")
    packet_id = reader.packet_id("PUBLISH") if qos else None
    return Publish(topic, reader.rest(), qos, packet_id, duplicate, retain)


def _parse_puback(_flags: int, reader: _Reader) -> PublishAcknowledged:
    # 0 passes: the C# SDK answers every message with PUBACK, also one of QoS 0, which has no packet identifier
    packet = PublishAcknowledged(reader.number("the packet identifier of PUBACK"))
    reader.finish("PUBACK")
    return packet


def _parse_subscribe(_flags: int, reader: _Reader) -> Subscribe:
    packet_id = reader.packet_id("SUBSCRIBE")
    filters: list[tuple[str, int]] = []
    while not reader.at_end:
        topic_filter = _check_topic_filter(reader.text("the topic filter"))
        qos = reader.take(1, "the requested QoS")[0]
        if qos > 2:  # [MQTT-3.8.3-4]
            raise MqttProtocolError(f"SUBSCRIBE asks for QoS {qos}; it must be 0, 1 or 2")
        filters.append((topic_filter, qos))
    if not filters:  # [MQTT-3.8.3-3]
        raise MqttProtocolError("SUBSCRIBE has no topic filter")
    return Subscribe(packet_id, tuple(filters))


def _parse_unsubscribe(_flags: int, reader: _Reader) -> Unsubscribe:
    packet_id = reader.packet_id("UNSUBSCRIBE")
    filters: list[str] = []
    while not reader.at_end:
        filters.append(_check_topic_filter(reader.text("the topic filter")))
    if not filters:  # [MQTT-3.10.3-2]
        raise MqttProtocolError("UNSUBSCRIBE has no topic filter")
    return Unsubscribe(packet_id, tuple(filters))


def _parse_pingreq(_flags: int, reader: _Reader) -> PingRequest:
    reader.finish("PINGREQ")
    return PingRequest()


def _parse_disconnect(_flags: int, reader: _Reader) -> Disconnect:
    reader.finish("DISCONNECT")
    return Disconnect()


def _check_topic_name(topic: str, what: str) -> str:
    if not topic:  # [MQTT-4.7.3-1]
        raise MqttProtocolError(f"{what} is empty")
    if "+" in topic or "#" in topic:  # [MQTT-3.3.2-2]
        raise MqttProtocolError(f"{what} {_shorten(topic)!r} contains a wildcard (+ or #)")
    return topic


def _check_topic_filter(topic_filter: str) -> str:
    if not topic_filter:  # [MQTT-4.7.3-1]
        raise MqttProtocolError("the topic filter is empty")
    levels = topic_filter.split("/")
    for number, level in enumerate(levels, start=1):
        if "#" in level and (level != "#" or number < len(levels)):  # [MQTT-4.7.1-2]
            raise MqttProtocolError(f"the topic filter {_shorten(topic_filter)!r} has # not as its last level")
        if "+" in level and level != "+":  # [MQTT-4.7.1-3]
            raise MqttProtocolError(f"the topic filter {_shorten(topic_filter)!r} has + beside other characters")
    return topic_filter


def _shorten(text: str, limit: int = 100) -> str:
    return text if len(text) <= limit else text[:limit] + "…"


#: What a client may send: name, parser and the only allowed flags (``None``: the parser looks at them).
_KINDS: Mapping[int, tuple[str, _Parse, int | None]] = {
    1: ("CONNECT", _parse_connect, 0b0000),
    3: ("PUBLISH", _parse_publish, None),
    4: ("PUBACK", _parse_puback, 0b0000),
    8: ("SUBSCRIBE", _parse_subscribe, 0b0010),
    10: ("UNSUBSCRIBE", _parse_unsubscribe, 0b0010),
    12: ("PINGREQ", _parse_pingreq, 0b0000),
    14: ("DISCONNECT", _parse_disconnect, 0b0000),
}
_NO_QOS_2 = "belongs to QoS 2; this simulator, like Azure IoT, supports QoS 0 and 1"
#: What a client may not send, and why.
_REFUSED_KINDS: Mapping[int, str] = {
    0: "reserved in MQTT 3.1.1",
    2: "CONNACK is sent by servers only",
    5: f"PUBREC {_NO_QOS_2}",
    6: f"PUBREL {_NO_QOS_2}",
    7: f"PUBCOMP {_NO_QOS_2}",
    9: "SUBACK is sent by servers only",
    11: "UNSUBACK is sent by servers only",
    13: "PINGRESP is sent by servers only",
    15: "reserved in MQTT 3.1.1",
}


_SUBACK_CODES = frozenset({0, 1, 2, SUBSCRIPTION_REFUSED})


def encode_connack(return_code: int) -> bytes:
    """CONNACK; "session present" is never set.

    Raises:
        ValueError: the return code is not from 0 to 5 (3.2.2.3).
    """
    if not 0 <= return_code <= 5:
        raise ValueError(f"CONNACK return code {return_code} is not from 0 to 5")
    return bytes((0x20, 2, 0, return_code))


def encode_publish(message: Publish) -> bytes:
    """PUBLISH.

    Raises:
        ValueError: the message cannot be expressed: bad topic, QoS 2, packet identifier missing or too much.
    """
    try:
        topic = _check_topic_name(message.topic, "the topic name").encode()
    except MqttProtocolError as error:
        raise ValueError(str(error)) from None
    if "\0" in message.topic or len(topic) > 0xFFFF:
        raise ValueError(f"the topic name {_shorten(message.topic)!r} contains U+0000 or is longer than 65535 bytes")
    if message.qos not in (0, 1):
        raise ValueError(f"QoS {message.qos} is not supported; it must be 0 or 1")
    if message.duplicate and not message.qos:
        raise ValueError("a message with QoS 0 cannot be a duplicate")
    body = bytearray(len(topic).to_bytes(2, "big") + topic)
    if message.qos:
        if message.packet_id is None:
            raise ValueError("a message with QoS 1 needs a packet identifier")
        body += _packet_id(message.packet_id)
    elif message.packet_id is not None:
        raise ValueError("a message with QoS 0 has no packet identifier")
    body += message.payload
    flags = message.duplicate << 3 | message.qos << 1 | message.retain
    return bytes((0x30 | flags,)) + _remaining_length(len(body)) + body


def encode_puback(packet_id: int) -> bytes:
    """PUBACK."""
    return b"\x40\x02" + _packet_id(packet_id)


def encode_suback(packet_id: int, return_codes: Sequence[int]) -> bytes:
    """SUBACK.

    Raises:
        ValueError: no return code, or one that is not 0, 1, 2 or 0x80 (3.9.3).
    """
    if not return_codes or not _SUBACK_CODES.issuperset(return_codes):
        raise ValueError(f"SUBACK return codes {list(return_codes)} are not each 0, 1, 2 or 128")
    return b"\x90" + _remaining_length(2 + len(return_codes)) + _packet_id(packet_id) + bytes(return_codes)


def encode_unsuback(packet_id: int) -> bytes:
    """UNSUBACK."""
    return b"\xb0\x02" + _packet_id(packet_id)


def encode_pingresp() -> bytes:
    """PINGRESP."""
    return b"\xd0\x00"


def _packet_id(packet_id: int) -> bytes:
    if not 1 <= packet_id <= 0xFFFF:
        raise ValueError(f"packet identifier {packet_id} is not from 1 to 65535")
    return packet_id.to_bytes(2, "big")


def _remaining_length(length: int) -> bytes:
    if length > MAX_REMAINING_LENGTH:
        raise ValueError(f"a packet body of {length} bytes is longer than {MAX_REMAINING_LENGTH} bytes")
    encoded = bytearray()
    while True:
        length, digit = length >> 7, length & 0x7F
        encoded.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(encoded)
