from __future__ import annotations

import struct
import time

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dps_simulator.protocols import mqtt
from dps_simulator.protocols.mqtt import (
    Connect,
    Disconnect,
    MqttProtocolError,
    Packet,
    PacketDecoder,
    PingRequest,
    Publish,
    PublishAcknowledged,
    Subscribe,
    Unsubscribe,
    Will,
)


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(raw)) + raw


def packet(first: int, body: bytes = b"") -> bytes:
    length, encoded = len(body), b""
    while True:
        length, digit = length >> 7, length & 0x7F
        encoded += bytes((digit | (0x80 if length else 0),))
        if not length:
            return bytes((first,)) + encoded + body


def connect(
    flags: int = 0, rest: bytes = b"", *, name: str | bytes = "MQTT", level: int = 4, client: str | bytes = "dev"
) -> bytes:
    return packet(0x10, text(name) + bytes((level, flags)) + struct.pack(">H", 60) + text(client) + rest)


def decode(data: bytes) -> list[Packet]:
    return PacketDecoder().feed(data)


# what decodes


def test_connect_with_everything() -> None:
    flags = 0x80 | 0x40 | 0x20 | 0x08 | 0x04 | 0x02
    raw = connect(flags, text("will/topic") + text(b"\xff\x00") + text("user") + text("pässword"))
    assert decode(raw) == [
        Connect("MQTT", 4, True, 60, "dev", "user", "pässword", Will("will/topic", b"\xff\x00", 1, True))
    ]


def test_connect_with_nothing() -> None:
    assert decode(connect(client="")) == [Connect("MQTT", 4, False, 60, "", None, None, None)]


def test_connect_with_empty_username_and_password_is_not_connect_without() -> None:
    (parsed,) = decode(connect(0xC0, text("") + text("")))
    assert isinstance(parsed, Connect)
    assert (parsed.username, parsed.password) == ("", "")


@pytest.mark.parametrize(("name", "level"), [("MQIsdp", 3), ("MQTT", 5), ("MQTT", 0x84), ("mqtt", 4), ("", 4)])
def test_connect_of_another_version_decodes_up_to_the_level(name: str, level: int) -> None:
    raw = packet(0x10, text(name) + bytes((level,)) + b"\xff another layout")
    assert decode(raw) == [Connect(name, level, False, 0, "")]


def test_the_password_is_not_in_repr() -> None:
    (parsed,) = decode(connect(0xC0, text("user") + text("SharedAccessSignature sr=x")))
    assert "SharedAccess" not in repr(parsed)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (packet(0x30, text("a/b") + b"hi"), Publish("a/b", b"hi")),
        (packet(0x31, text("$dps/x/?$rid=1")), Publish("$dps/x/?$rid=1", b"", retain=True)),
        (packet(0x32, text("t") + b"\x00\x07x"), Publish("t", b"x", 1, 7)),
        (packet(0x3B, text("t") + b"\xff\xffx"), Publish("t", b"x", 1, 65535, True, True)),
        (packet(0x40, b"\x01\x02"), PublishAcknowledged(258)),
        (packet(0x82, b"\x00\x01" + text("a/#") + b"\x01"), Subscribe(1, (("a/#", 1),))),
        (
            packet(0x82, b"\x00\x01" + text("+/b") + b"\x00" + text("#") + b"\x02" + text("/") + b"\x01"),
            Subscribe(1, (("+/b", 0), ("#", 2), ("/", 1))),
        ),
        (packet(0xA2, b"\x00\x09" + text("a") + text("b/+/c")), Unsubscribe(9, ("a", "b/+/c"))),
        (packet(0xC0), PingRequest()),
        (packet(0xE0), Disconnect()),
        (b"\xc0\x80\x00", PingRequest()),  # a length in more bytes than needed is legal in 3.1.1
    ],
)
def test_packets(raw: bytes, expected: Packet) -> None:
    assert decode(raw) == [expected]


def test_a_byte_order_mark_is_kept() -> None:  # [MQTT-1.5.3-3]
    (parsed,) = decode(packet(0x30, text("\ufefft")))
    assert isinstance(parsed, Publish)
    assert parsed.topic == "\ufefft"


# what is refused


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\x00\x00", "packet type 0: reserved"),
        (b"\xf0\x00", "packet type 15: reserved"),
        (b"\x20", "CONNACK is sent by servers"),
        (b"\x90", "SUBACK is sent by servers"),
        (b"\xb0", "UNSUBACK is sent by servers"),
        (b"\xd0", "PINGRESP is sent by servers"),
        (b"\x50", "PUBREC belongs to QoS 2"),
        (b"\x62", "PUBREL belongs to QoS 2"),
        (b"\x70", "PUBCOMP belongs to QoS 2"),
        (b"\x11", "CONNECT has the reserved flags 0b0001"),
        (b"\x42", "PUBACK has the reserved flags"),
        (b"\x80", "SUBSCRIBE has the reserved flags 0b0000; they must be 0b0010"),
        (b"\xa0", "UNSUBSCRIBE has the reserved flags"),
        (b"\xc1", "PINGREQ has the reserved flags"),
        (b"\xe8", "DISCONNECT has the reserved flags"),
        (b"\x30\xff\xff\xff\xff", "remaining length of more than four bytes"),
        (b"\x30\xff\xff\xff\x7f", "PUBLISH of 268435460 bytes exceeds the limit"),
        (connect(0x01), "last bit is reserved"),
        (connect(0x04 | 0x18, text("t") + text("m")), "QoS 3 for its will"),
        (connect(0x08), "has no will"),
        (connect(0x20), "has no will"),
        (connect(0x40, text("secret")), "password without a user name"),
        (connect(0x04, text("") + text("m")), "the will topic is empty"),
        (connect(0x04, text("a/#") + text("m")), "the will topic 'a/#' contains a wildcard"),
        (connect(0x80), "the length of the user name needs 2 bytes, the packet has 0 left"),
        (connect(0x80, b"\x00\x05abc"), "the user name needs 5 bytes, the packet has 3 left"),
        (connect(0, b"x"), "CONNECT has 1 bytes too many"),
        (connect(client=b"\xff"), "the client identifier is not valid UTF-8"),
        (connect(client=b"\xed\xa0\x80"), "the client identifier is not valid UTF-8"),
        (connect(client="a\0b"), "the client identifier contains the character U+0000"),
        (connect(0xC0, text("user") + text(b"\xfe\xfe")), "the password is not valid UTF-8"),
        (packet(0x10, text("MQTT")), "the protocol level needs 1 bytes"),
        (packet(0x34, text("t") + b"\x00\x01"), "PUBLISH asks for QoS 2; this simulator"),
        (packet(0x36, text("t") + b"\x00\x01"), "PUBLISH asks for QoS 3"),
        (packet(0x38, text("t")), "QoS 0 has the DUP flag"),
        (packet(0x30, text("")), "the topic name is empty"),
        (packet(0x30, text("a/+")), "the topic name 'a/+' contains a wildcard"),
        (packet(0x30, text("a#")), "contains a wildcard"),
        (packet(0x30, text("a\0")), "U+0000"),
        (packet(0x32, text("t") + b"\x00\x00"), "PUBLISH has the packet identifier 0"),
        (packet(0x32, text("t") + b"\x01"), "the packet identifier of PUBLISH needs 2 bytes"),
        (packet(0x40, b"\x00\x01x"), "PUBACK has 1 bytes too many"),
        (packet(0x82, b"\x00\x01"), "SUBSCRIBE has no topic filter"),
        (packet(0x82, b"\x00\x00" + text("a") + b"\x00"), "SUBSCRIBE has the packet identifier 0"),
        (packet(0x82, b"\x00\x01" + text("a") + b"\x03"), "SUBSCRIBE asks for QoS 3"),
        (packet(0x82, b"\x00\x01" + text("a") + b"\x81"), "SUBSCRIBE asks for QoS 129"),
        (packet(0x82, b"\x00\x01" + text("a")), "the requested QoS needs 1 bytes"),
        (packet(0x82, b"\x00\x01" + text("") + b"\x00"), "the topic filter is empty"),
        (packet(0x82, b"\x00\x01" + text("a/#/b") + b"\x00"), "'a/#/b' has # not as its last level"),
        (packet(0x82, b"\x00\x01" + text("a#") + b"\x00"), "'a#' has # not as its last level"),
        (packet(0x82, b"\x00\x01" + text("a+/b") + b"\x00"), "'a+/b' has + beside other"),
        (packet(0xA2, b"\x00\x01"), "UNSUBSCRIBE has no topic filter"),
        (packet(0xA2, b"\x00\x01" + text("")), "the topic filter is empty"),
        (packet(0xC0, b"x"), "PINGREQ has 1 bytes too many"),
        (packet(0xE0, b"xy"), "DISCONNECT has 2 bytes too many"),
    ],
)
def test_refused(raw: bytes, said: str) -> None:
    with pytest.raises(MqttProtocolError) as caught:
        decode(raw)
    assert said in str(caught.value)


def test_an_error_about_the_password_does_not_carry_it() -> None:
    with pytest.raises(MqttProtocolError) as caught:
        decode(connect(0xC0, text("user") + text(b"hunter2\xff")))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_long_topic_is_cut_in_the_error() -> None:
    with pytest.raises(MqttProtocolError) as caught:
        decode(packet(0x30, text("x" * 60_000 + "#")))
    assert len(str(caught.value)) < 200


def test_size_limit_counts_the_whole_packet() -> None:
    raw = packet(0x30, text("t") + b"x" * 200)
    assert len(PacketDecoder(len(raw)).feed(raw)) == 1
    with pytest.raises(MqttProtocolError, match=f"of {len(raw)} bytes exceeds the limit of {len(raw) - 1} bytes"):
        PacketDecoder(len(raw) - 1).feed(raw[:3])  # known before the body arrives


def test_the_default_limit_lets_the_largest_hub_message_pass() -> None:
    assert len(decode(packet(0x32, text("t" * 65_535) + b"\x00\x01" + b"x" * 262_144))) == 1


def test_packets_before_the_broken_one_are_returned_and_the_error_stays() -> None:
    decoder = PacketDecoder()
    assert decoder.feed(packet(0xC0) + packet(0xE0) + b"\xf0" + packet(0xC0)) == [PingRequest(), Disconnect()]
    with pytest.raises(MqttProtocolError) as first:
        decoder.feed(b"")
    with pytest.raises(MqttProtocolError) as second:
        decoder.feed(packet(0xC0))
    assert first.value is second.value


# properties

topics = st.text(st.characters(exclude_characters="+#\0", exclude_categories=["Cs"]), min_size=1, max_size=30)
identifiers = st.integers(1, 0xFFFF)
publishes = st.one_of(
    st.builds(Publish, topics, st.binary(max_size=300), st.just(0), st.none(), st.just(False), st.booleans()),
    st.builds(Publish, topics, st.binary(max_size=300), st.just(1), identifiers, st.booleans(), st.booleans()),
)
streams = st.lists(
    st.one_of(
        publishes.map(mqtt.encode_publish),
        identifiers.map(mqtt.encode_puback),
        st.just(connect(0x80, text("user"))),
        st.sampled_from([packet(0xC0), packet(0xE0), packet(0x82, b"\x00\x01" + text("a/#") + b"\x01")]),
        st.binary(max_size=6),  # breaks the stream, nearly always
    ),
    max_size=8,
).map(b"".join)


def outcome(portions: list[bytes]) -> tuple[list[Packet], str]:
    decoder, packets = PacketDecoder(), []
    try:
        for portion in [*portions, b""]:
            packets += decoder.feed(portion)
    except MqttProtocolError as error:
        return packets, str(error)
    return packets, ""


@given(streams, st.data())
def test_any_split_gives_the_same_packets_and_error(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    portions = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = outcome([stream])
    assert outcome(portions) == whole
    assert outcome([stream[i : i + 1] for i in range(len(stream))]) == whole


@given(st.binary(max_size=200))
def test_random_bytes_decode_or_raise(data: bytes) -> None:
    outcome([data])


@given(st.sampled_from([0x10, 0x30, 0x32, 0x40, 0x82, 0xA2, 0xC0, 0xE0]), st.binary(max_size=120))
def test_random_bodies_decode_or_raise(first: int, body: bytes) -> None:
    packets, error = outcome([packet(first, body)])
    assert (len(packets) == 1) != bool(error)


@given(publishes)
def test_publish_round_trip(message: Publish) -> None:
    assert decode(mqtt.encode_publish(message)) == [message]


@given(identifiers)
def test_puback_round_trip(packet_id: int) -> None:
    assert decode(mqtt.encode_puback(packet_id)) == [PublishAcknowledged(packet_id)]


@pytest.mark.parametrize("size", [0, 100, 124, 125, 16_380, 16_381, 200_000])
def test_publish_round_trip_around_the_steps_of_the_length_field(size: int) -> None:
    message = Publish("t", bytes(size))
    assert decode(mqtt.encode_publish(message)) == [message]


def test_byte_by_byte_takes_time_in_proportion() -> None:
    def seconds(size: int) -> float:
        decoder, raw = PacketDecoder(), packet(0x30, text("t") + bytes(size))
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            for position in range(len(raw)):
                decoder.feed(raw[position : position + 1])
            best = min(best, time.process_time() - start)
        return best

    # of the processor's time, which others do not take away; quadratic would be 64 times as long, and this is 8 times
    assert seconds(64_000) < 36 * seconds(8_000)


def test_many_small_packets_in_one_portion() -> None:
    assert len(decode(packet(0xC0) * 100_000)) == 100_000


# encoders


def test_encoded_answers() -> None:
    assert mqtt.encode_connack(5) == b"\x20\x02\x00\x05"
    assert mqtt.encode_suback(10, [0, 1, 0x80]) == b"\x90\x05\x00\x0a\x00\x01\x80"
    assert mqtt.encode_unsuback(0x1234) == b"\xb0\x02\x12\x34"
    assert mqtt.encode_pingresp() == b"\xd0\x00"


@pytest.mark.parametrize(
    ("encode", "said"),
    [
        (lambda: mqtt.encode_connack(6), "6 is not from 0 to 5"),
        (lambda: mqtt.encode_connack(-1), "-1 is not from 0 to 5"),
        (lambda: mqtt.encode_puback(0), "packet identifier 0"),
        (lambda: mqtt.encode_unsuback(65_536), "packet identifier 65536"),
        (lambda: mqtt.encode_suback(1, []), "are not each"),
        (lambda: mqtt.encode_suback(1, [3]), "are not each"),
        (lambda: mqtt.encode_publish(Publish("", b"")), "is empty"),
        (lambda: mqtt.encode_publish(Publish("a/#", b"")), "wildcard"),
        (lambda: mqtt.encode_publish(Publish("a\0", b"")), r"U\+0000"),
        (lambda: mqtt.encode_publish(Publish("a" * 65_536, b"")), "longer than 65535"),
        (lambda: mqtt.encode_publish(Publish("a", b"", 2, 1)), "QoS 2"),
        (lambda: mqtt.encode_publish(Publish("a", b"", 1)), "needs a packet identifier"),
        (lambda: mqtt.encode_publish(Publish("a", b"", 0, 1)), "has no packet identifier"),
        (lambda: mqtt.encode_publish(Publish("a", b"", duplicate=True)), "duplicate"),
    ],
)
def test_what_cannot_be_encoded(encode: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        encode()  # type: ignore[operator]


def test_a_packet_too_long_for_the_length_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "MAX_REMAINING_LENGTH", 10)
    assert mqtt.encode_publish(Publish("t", b"1234567"))
    with pytest.raises(ValueError, match="11 bytes is longer than 10"):
        mqtt.encode_publish(Publish("t", b"12345678"))


# matching


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
        ("sport/tennis/player1/#", "sport/tennis/player2", False),
        ("sport/#", "sport", True),
        ("sport/#", "sports", False),
        ("#", "a/b/c", True),
        ("#", "/", True),
        ("#", "$SYS/x", False),
        ("+/monitor", "$SYS/monitor", False),
        ("$SYS/#", "$SYS/monitor/x", True),
        ("$SYS/+", "$SYS/monitor", True),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("sport/tennis/+", "sport/tennis/a/b", False),
        ("a/b", "A/b", False),
        ("a/b/#", "a", False),
        ("$dps/registrations/res/#", "$dps/registrations/res/202/?$rid=1&retry-after=3", True),
        ("devices/d/messages/devicebound/#", "devices/d/messages/devicebound/a=b", True),
    ],
)
def test_topic_matches(topic_filter: str, topic: str, expected: bool) -> None:
    assert mqtt.topic_matches(topic_filter, topic) is expected


filters = st.lists(st.sampled_from(["a", "b", "", "+", "$a"]), min_size=1, max_size=4).flatmap(
    lambda levels: st.sampled_from(["/".join(levels), "/".join([*levels, "#"]), "#"])
)


@given(filters.filter(bool), st.lists(st.sampled_from(["a", "b", "", "$a"]), min_size=1, max_size=5).map("/".join))
def test_topic_matches_as_paho_does(topic_filter: str, topic: str) -> None:
    if topic:
        assert mqtt.topic_matches(topic_filter, topic) is paho.topic_matches_sub(topic_filter, topic)


# paho as the oracle of what clients send


class Wire:
    """Stands in for paho's socket and keeps what it sends."""

    def __init__(self) -> None:
        self.sent = bytearray()

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)

    def close(self) -> None:
        pass

    def fileno(self) -> int:
        return -1


def sent_by_paho(act: object, **options: object) -> list[Packet]:
    client = paho.Client("device-1", **options)
    wire = Wire()
    client._sock = wire
    act(client)  # type: ignore[operator]
    client.loop_write()
    client._sock = None
    return decode(bytes(wire.sent))


def test_connect_of_paho() -> None:
    def act(client: paho.Client) -> None:
        client.username_pw_set("scope/registrations/device-1", "SharedAccessSignature sr=ü")
        client.will_set("devices/device-1/messages/events/", b"gone", qos=1, retain=True)
        client._send_connect(1740)

    will = Will("devices/device-1/messages/events/", b"gone", 1, True)
    assert sent_by_paho(act, clean_session=False) == [
        Connect("MQTT", 4, False, 1740, "device-1", "scope/registrations/device-1", "SharedAccessSignature sr=ü", will)
    ]
    assert sent_by_paho(lambda client: client._send_connect(0), clean_session=True) == [
        Connect("MQTT", 4, True, 0, "device-1")
    ]


def test_connect_of_paho_in_other_versions() -> None:
    assert sent_by_paho(lambda c: c._send_connect(60), protocol=paho.MQTTv31) == [Connect("MQIsdp", 3, False, 0, "")]

    def act(client: paho.Client) -> None:
        client._clean_start = True  # connect() would set it
        client._send_connect(60)

    assert sent_by_paho(act, protocol=paho.MQTTv5) == [Connect("MQTT", 5, False, 0, "")]


def test_other_packets_of_paho() -> None:
    def act(client: paho.Client) -> None:
        client.subscribe([("$dps/registrations/res/#", 1), ("a/+", 0)])
        client.publish("t/0", b"zero")
        client.publish("t/1", "eins", qos=1)
        client.unsubscribe(["a/+", "b"])
        client._send_puback(9)
        client._send_pingreq()
        client.disconnect()

    assert sent_by_paho(act) == [
        Subscribe(1, (("$dps/registrations/res/#", 1), ("a/+", 0))),
        Publish("t/0", b"zero"),
        Publish("t/1", b"eins", 1, 3),
        Unsubscribe(4, ("a/+", "b")),
        PublishAcknowledged(9),
        PingRequest(),
        Disconnect(),
    ]


def test_qos_2_of_paho_is_refused() -> None:
    with pytest.raises(MqttProtocolError, match="QoS 2"):
        sent_by_paho(lambda client: client.publish("t", b"", qos=2))


def test_an_acknowledgement_of_a_message_without_identifier_is_tolerated():
    assert PacketDecoder().feed(packet(0x40, b"\x00\x00")) == [PublishAcknowledged(0)]
