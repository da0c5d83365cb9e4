from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dps_simulator.protocols.mqtt import (
    Connect,
    Disconnect,
    MqttProtocolError,
    Packet,
    PacketDecoder,
    Publish,
    PublishAcknowledged,
    Subscribe,
    Unsubscribe,
    Will,
    encode_puback,
    encode_publish,
)
from dps_simulator.protocols.mqtt_session import (
    TRANSITIONS,
    Input,
    MqttSession,
    MqttStateError,
    SessionEvent,
    SessionState,
)

PINGREQ, PINGRESP, DISCONNECT = b"\xc0\x00", b"\xd0\x00", b"\xe0\x00"
CONNACK_0 = b"\x20\x02\x00\x00"


def events_of(session: MqttSession, data: bytes, now: float = 0.0) -> list[SessionEvent]:
    """All events up to the first that needs an answer before the next can come."""
    session.receive(data, now)
    events: list[SessionEvent] = []
    while (event := session.next_event()) is not None:
        events.append(event)
    return events


def text(value: str) -> bytes:
    return struct.pack(">H", len(value.encode())) + value.encode()


def connect(
    client: str = "dev", *, keep_alive: int = 60, name: str = "MQTT", level: int = 4, will: bool = False
) -> bytes:
    body = text(name) + bytes((level, 0x04 if will else 0)) + struct.pack(">H", keep_alive) + text(client)
    body += text("will") + text("gone") if will else b""
    return bytes((0x10, len(body))) + body


def subscribe(packet_id: int, *filters: tuple[str, int]) -> bytes:
    body = struct.pack(">H", packet_id) + b"".join(text(name) + bytes((qos,)) for name, qos in filters)
    return bytes((0x82, len(body))) + body


def unsubscribe(packet_id: int, *filters: str) -> bytes:
    body = struct.pack(">H", packet_id) + b"".join(text(name) for name in filters)
    return bytes((0xA2, len(body))) + body


def connected(keep_alive: int = 60, **options: int) -> MqttSession:
    session = MqttSession(0.0, **options)
    events_of(session, connect(keep_alive=keep_alive), 0.0)
    session.accept()
    assert session.data_to_send() == CONNACK_0
    return session


def subscribed(*filters: tuple[str, int], **options: int) -> MqttSession:
    session = connected(**options)
    events_of(session, subscribe(1, *filters), 0.0)
    session.grant(1, [1] * len(filters))
    session.data_to_send()
    return session


# the table


def test_every_state_is_reachable_and_can_close() -> None:
    assert set(TRANSITIONS.values()) | {SessionState.AWAITING_CONNECT} == set(SessionState)
    for state in SessionState:
        assert TRANSITIONS[state, Input.CLOSE] is SessionState.CLOSED


def test_only_a_connect_packet_opens_and_nothing_leaves_closed() -> None:
    packets = {given for given in Input if given.value.isupper()}
    assert {given for state, given in TRANSITIONS if state is SessionState.AWAITING_CONNECT} & packets == {
        Input.CONNECT
    }
    assert {given for state, given in TRANSITIONS if state is SessionState.CLOSED} == {Input.CLOSE}
    assert {given for state, given in TRANSITIONS if state is SessionState.CONNECTED} >= packets - {Input.CONNECT}


# CONNECT


def test_accept() -> None:
    session = MqttSession(0.0)
    assert session.state == SessionState.AWAITING_CONNECT
    assert (session.connect, session.will) == (None, None)
    assert events_of(session, connect(will=True), 1.0) == [Connect("MQTT", 4, False, 60, "dev", will=WILL)]
    assert session.state == SessionState.CONNECTING
    assert session.data_to_send() == b""
    session.accept()
    assert session.state == SessionState.CONNECTED
    assert session.data_to_send() == CONNACK_0
    assert session.data_to_send() == b""
    assert session.will == WILL
    assert session.connect is not None
    assert session.refusal is None


WILL = Will("will", b"gone", 0, False)


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
def test_refuse(code: int) -> None:
    session = MqttSession(0.0)
    events_of(session, connect(), 0.0)
    session.refuse(code)
    assert session.data_to_send() == bytes((0x20, 2, 0, code))
    assert (session.state, session.refusal, session.deadline) == (SessionState.CLOSED, code, None)
    assert events_of(session, PINGREQ + b"\xff garbage", 0.0) == []  # [MQTT-3.1.4-5]
    assert not session.ended_cleanly


@pytest.mark.parametrize("code", [0, 6, -1])
def test_refuse_takes_only_refusals(code: int) -> None:
    session = MqttSession(0.0)
    events_of(session, connect(), 0.0)
    with pytest.raises(ValueError, match=f"return code {code} is not from 1 to 5"):
        session.refuse(code)
    session.accept()


@pytest.mark.parametrize(("name", "level"), [("MQIsdp", 3), ("MQTT", 5), ("MQTT", 0x84), ("HTTP", 4)])
def test_other_versions_are_refused(name: str, level: int) -> None:
    session = MqttSession(0.0)
    assert events_of(session, connect(name=name, level=level) + PINGREQ, 0.0) == []
    assert session.data_to_send() == b"\x20\x02\x00\x01"
    assert (session.state, session.refusal) == (SessionState.CLOSED, 1)


def test_an_empty_client_identifier_is_refused() -> None:
    session = MqttSession(0.0)
    assert events_of(session, connect(""), 0.0) == []
    assert session.data_to_send() == b"\x20\x02\x00\x02"
    assert (session.state, session.refusal) == (SessionState.CLOSED, 2)


def test_a_long_client_identifier_is_fine() -> None:
    session = MqttSession(0.0)
    body = text("MQTT") + b"\x04\x00\x00\x3c" + text("d" * 300)
    (event,) = events_of(session, b"\x10" + bytes((len(body) & 0x7F | 0x80, len(body) >> 7)) + body, 0.0)
    assert isinstance(event, Connect)
    assert len(event.client_id) == 300


def test_packets_behind_connect_wait_for_its_answer() -> None:  # clients need not wait for CONNACK
    session = MqttSession(0.0)
    stream = connect() + subscribe(1, ("a", 1)) + PINGREQ
    assert [type(event) for event in events_of(session, stream, 0.0)] == [Connect]
    assert events_of(session, encode_publish(Publish("t", b"x")), 0.0) == []
    assert session.data_to_send() == b""
    session.accept()
    assert events_of(session, b"", 0.0) == [Subscribe(1, (("a", 1),)), Publish("t", b"x")]
    assert session.data_to_send() == CONNACK_0 + PINGRESP


def test_what_waits_for_the_answer_to_connect_is_bounded() -> None:
    session = MqttSession(0.0, max_packet_size=1_000)
    events_of(session, connect(), 0.0)
    for _ in range(501):
        assert events_of(session, PINGREQ, 0.0) == []
    assert events_of(session, PINGREQ, 0.0) == []  # nothing more is taken in
    # what it weighs is told: a packet takes more than its two bytes
    assert session.unfinished > 50_000
    session.accept()
    assert session.unfinished == 0
    with pytest.raises(MqttProtocolError, match="more than 1000 bytes before its CONNECT was answered"):
        events_of(session, b"", 0.0)


# protocol errors


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (PINGREQ, "PINGREQ"),
        (DISCONNECT, "DISCONNECT"),
        (encode_publish(Publish("t", b"")), "PUBLISH"),
        (encode_puback(1), "PUBACK"),
        (subscribe(1, ("a", 0)), "SUBSCRIBE"),
        (unsubscribe(1, "a"), "UNSUBSCRIBE"),
    ],
)
def test_the_first_packet_must_be_connect(raw: bytes, name: str) -> None:
    session = MqttSession(0.0)
    with pytest.raises(MqttProtocolError, match=f"the first packet is {name}; it must be CONNECT"):
        events_of(session, raw, 0.0)
    assert session.state is SessionState.CLOSED


def test_a_second_connect() -> None:
    session = connected()
    with pytest.raises(MqttProtocolError, match="CONNECT is sent a second time") as first:
        events_of(session, connect(), 0.0)
    with pytest.raises(MqttProtocolError) as second:
        events_of(session, PINGREQ, 0.0)
    assert first.value is second.value
    assert (session.state, session.deadline) == (SessionState.CLOSED, None)


def test_a_second_connect_before_the_first_is_answered() -> None:
    session = MqttSession(0.0)
    assert len(events_of(session, connect() + connect(), 0.0)) == 1
    session.accept()
    with pytest.raises(MqttProtocolError, match="second time"):
        events_of(session, b"", 0.0)


def test_nothing_follows_disconnect() -> None:
    session = connected()
    session.receive(DISCONNECT + PINGREQ, 0.0)
    assert session.next_event() == Disconnect()
    assert session.ended_cleanly
    with pytest.raises(MqttProtocolError, match="PINGREQ follows DISCONNECT"):
        events_of(session, b"", 0.0)
    assert session.ended_cleanly


def test_events_before_a_broken_packet_come_first_and_can_be_answered() -> None:
    session = connected()
    session.receive(subscribe(3, ("a", 1)) + b"\xf0\x00", 0.0)
    assert session.next_event() == Subscribe(3, (("a", 1),))
    session.grant(3, [1])
    with pytest.raises(MqttProtocolError, match="packet type 15"):
        events_of(session, b"", 0.0)
    assert session.data_to_send() == b"\x90\x03\x00\x03\x01"


def test_a_broken_packet_behind_connect_waits_too() -> None:
    session = MqttSession(0.0)
    assert len(events_of(session, connect() + b"\xf0\x00", 0.0)) == 1
    assert events_of(session, b"", 0.0) == []
    assert events_of(session, PINGREQ, 0.0) == []
    session.accept()
    with pytest.raises(MqttProtocolError, match="packet type 15"):
        events_of(session, b"", 0.0)


@pytest.mark.parametrize("second", [subscribe(5, ("b", 0)), unsubscribe(5, "b")])
@pytest.mark.parametrize("first", [subscribe(5, ("a", 0)), unsubscribe(5, "a")])
def test_a_packet_identifier_is_not_reused_before_the_answer(first: bytes, second: bytes) -> None:
    session = connected()
    assert len(events_of(session, first, 0.0)) == 1
    with pytest.raises(MqttProtocolError, match="reuses the packet identifier 5"):
        events_of(session, second, 0.0)


# steps at the wrong time


def test_steps_before_connect_and_after_the_end() -> None:
    session = MqttSession(0.0)
    for step in (session.accept, lambda: session.refuse(5), lambda: session.publish("t", b"")):
        with pytest.raises(MqttStateError, match="awaiting CONNECT"):
            step()
    session = connected()
    session.close()
    session.close()
    message = Publish("t", b"", 1, 1)
    for step in (session.accept, lambda: session.acknowledge(message), lambda: session.publish("t", b"")):
        with pytest.raises(MqttStateError, match="closed"):
            step()
    assert session.data_to_send() == b""


def test_an_answer_needs_a_question() -> None:
    session = connected()
    with pytest.raises(MqttStateError, match="no SUBSCRIBE with packet identifier 7"):
        session.grant(7, [0])
    with pytest.raises(MqttStateError, match="no UNSUBSCRIBE with packet identifier 7"):
        session.unsubscribed(7)


# PING, PUBLISH from the client


def test_ping_is_answered_by_itself() -> None:
    session = connected()
    assert events_of(session, PINGREQ + PINGREQ, 0.0) == []
    assert session.data_to_send() == PINGRESP * 2


def test_every_packet_can_be_answered_before_a_disconnect_in_the_same_portion_closes() -> None:
    session = connected()
    session.receive(encode_publish(Publish("t", b"", 1, 7)) + DISCONNECT, 0.0)
    message = session.next_event()
    assert isinstance(message, Publish)
    session.acknowledge(message)
    assert session.data_to_send() == encode_puback(7)
    assert session.next_event() == Disconnect()
    assert session.next_event() is None


def test_acknowledge() -> None:
    session = connected()
    (zero, one) = events_of(
        session, encode_publish(Publish("t", b"")) + encode_publish(Publish("t", b"", 1, 0x1234, duplicate=True)), 0.0
    )
    assert isinstance(zero, Publish)
    assert isinstance(one, Publish)
    session.acknowledge(zero)
    assert session.data_to_send() == b""
    session.acknowledge(one)
    assert session.data_to_send() == b"\x40\x02\x12\x34"


# subscriptions


def test_grant_keeps_what_was_granted_and_never_more_than_asked() -> None:
    session = connected()
    events_of(session, subscribe(9, ("a/#", 2), ("b", 0), ("c", 1), ("d", 1)), 0.0)
    session.grant(9, [1, 1, 0, 0x80])
    assert session.data_to_send() == b"\x90\x06\x00\x09\x01\x00\x00\x80"
    assert session.subscriptions == {"a/#": 1, "b": 0, "c": 0}
    assert session.granted_qos("a/x") == 1
    assert session.granted_qos("b") == 0
    assert session.granted_qos("d") is None


def test_the_highest_granted_qos_counts() -> None:
    session = subscribed(("a/#", 0), ("a/+", 1))
    assert session.granted_qos("a/x") == 1
    assert session.granted_qos("a/x/y") == 0


def test_subscribing_again_replaces() -> None:
    session = subscribed(("a", 1))
    events_of(session, subscribe(2, ("a", 0)), 0.0)
    session.grant(2, [1])
    assert session.subscriptions == {"a": 0}


@pytest.mark.parametrize("codes", [[], [1], [1, 1, 1], [1, 2], [1, -1], [1, 0x81]])
def test_grant_takes_one_valid_code_per_filter(codes: list[int]) -> None:
    session = connected()
    events_of(session, subscribe(1, ("a", 1), ("b", 1)), 0.0)
    with pytest.raises(ValueError, match="are not 2 times 0, 1 or 128"):
        session.grant(1, codes)
    session.grant(1, [1, 1])


def test_subscriptions_are_bounded() -> None:
    session = subscribed(("a", 1), ("b", 1), max_subscriptions=2)
    events_of(session, subscribe(2, ("c", 1), ("a", 0)), 0.0)
    session.grant(2, [1, 1])
    assert session.data_to_send() == b"\x90\x04\x00\x02\x80\x00"
    assert session.subscriptions == {"a": 0, "b": 1}


def test_unsubscribe() -> None:
    session = subscribed(("a", 1), ("b", 1))
    assert events_of(session, unsubscribe(4, "a", "unknown"), 0.0) == [Unsubscribe(4, ("a", "unknown"))]
    assert session.granted_qos("a") == 1
    session.unsubscribed(4)
    assert session.data_to_send() == b"\xb0\x02\x00\x04"
    assert session.subscriptions == {"b": 1}


# PUBLISH to the client


def sent(session: MqttSession) -> list[Packet]:
    return PacketDecoder().feed(session.data_to_send())


@pytest.mark.parametrize(("granted", "asked", "expected"), [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 1)])
def test_publish_takes_the_lower_qos(granted: int, asked: int, expected: int) -> None:
    session = subscribed(("t", granted))
    assert session.publish("t", b"x", asked) == (1 if expected else None)
    assert sent(session) == [Publish("t", b"x", expected, 1 if expected else None)]


def test_publish_tells_the_packet_identifier() -> None:
    session = connected()
    assert session.publish("t", b"x", 1) == 1
    assert session.publish("t", b"y") is None
    assert sent(session) == [Publish("t", b"x", 1, 1), Publish("t", b"y")]


def test_puback_frees_and_unknown_ones_do_no_harm() -> None:
    session = subscribed(("t", 1))
    session.publish("t", b"", 1)
    session.publish("t", b"", 1)
    assert session.in_flight == 2
    assert events_of(session, encode_puback(1) + encode_puback(1) + encode_puback(99), 0.0) == [
        PublishAcknowledged(1),
        PublishAcknowledged(1),
        PublishAcknowledged(99),
    ]
    assert session.in_flight == 1


def test_packet_identifiers_go_round_and_skip_what_is_in_flight() -> None:
    session = subscribed(("t", 1))
    session.publish("t", b"", 1)
    session._last_packet_id = 65_534  # as after as many messages
    session.publish("t", b"", 1)
    session.data_to_send()
    session.publish("t", b"", 1)
    assert sent(session) == [Publish("t", b"", 1, 2)]


def test_a_client_that_never_acknowledges_is_given_up() -> None:
    session = subscribed(("t", 1), max_in_flight=3)
    for _ in range(3):
        session.publish("t", b"", 1)
    session.publish("t", b"", 0)
    with pytest.raises(MqttProtocolError, match="3 messages wait for PUBACK"):
        session.publish("t", b"", 1)
    assert session.state is SessionState.CLOSED
    assert len(sent(session)) == 4
    with pytest.raises(MqttProtocolError):
        events_of(session, b"", 0.0)


@pytest.mark.parametrize(("topic", "qos"), [("", 0), ("a/#", 1), ("t", 2), ("t" * 70_000, 0)])
def test_a_message_that_cannot_be_sent_changes_nothing(topic: str, qos: int) -> None:
    session = connected()
    with pytest.raises(ValueError, match=r"topic|QoS"):
        session.publish(topic, b"", qos)
    assert (session.in_flight, session.data_to_send(), session.state) == (0, b"", SessionState.CONNECTED)


# time


def test_connect_must_arrive_and_be_answered_in_time() -> None:
    session = MqttSession(100.0, connect_timeout=20.0)
    assert session.deadline == 120.0
    assert not session.expired(119.9)
    assert session.expired(120.0)
    events_of(session, connect()[:5], 115.0)
    assert session.deadline == 120.0
    events_of(session, connect()[5:], 116.0)
    assert session.deadline == 120.0
    session.accept()
    assert session.deadline == 116.0 + 90.0


def test_keep_alive_counts_from_the_last_packet() -> None:
    session = connected(keep_alive=10)
    assert session.deadline == 15.0
    events_of(session, PINGREQ[:1], 5.0)
    assert session.deadline == 15.0
    events_of(session, PINGREQ[1:], 6.0)
    assert session.deadline == 21.0
    session.publish("t", b"")
    assert session.deadline == 21.0


def test_packets_that_wait_for_the_answer_count_for_keep_alive() -> None:
    session = MqttSession(0.0)
    events_of(session, connect(keep_alive=10), 1.0)
    events_of(session, PINGREQ, 8.0)
    session.accept()
    assert session.deadline == 23.0


def test_keep_alive_0_never_expires() -> None:
    session = connected(keep_alive=0)
    assert session.deadline is None
    assert not session.expired(1e9)


def test_nothing_expires_after_the_end() -> None:
    session = connected()
    events_of(session, DISCONNECT, 0.0)
    assert session.deadline is None
    session = connected()
    session.close()
    assert session.deadline is None


def test_the_will_is_gone_after_disconnect_only() -> None:
    session = MqttSession(0.0)
    events_of(session, connect(will=True), 0.0)
    session.accept()
    session.close()
    assert session.will == WILL
    session = MqttSession(0.0)
    events_of(session, connect(will=True), 0.0)
    session.accept()
    events_of(session, DISCONNECT, 0.0)
    assert session.will is None


# properties


def play(session: MqttSession, portions: list[bytes]) -> tuple[list[object], str]:
    """Act as a server would; return all events and the error's text."""
    seen: list[object] = []
    try:
        for portion in portions:
            session.receive(portion, 0.0)
            while (event := session.next_event()) is not None:
                seen.append(event)
                if isinstance(event, Connect):
                    session.accept()
                elif isinstance(event, Subscribe):
                    session.grant(event.packet_id, [1] * len(event.filters))
                elif isinstance(event, Unsubscribe):
                    session.unsubscribed(event.packet_id)
                elif isinstance(event, Publish):
                    session.acknowledge(event)
    except MqttProtocolError as error:
        return seen, str(error)
    return seen, ""


packets = st.one_of(
    st.sampled_from(
        [
            connect(),
            connect(will=True),
            connect(level=3),
            PINGREQ,
            DISCONNECT,
            subscribe(1, ("a", 1)),
            unsubscribe(1, "a"),
            encode_puback(3),
            encode_publish(Publish("t", b"x", 1, 5)),
        ]
    ),
    st.binary(max_size=4),
)


@given(st.booleans(), st.lists(packets, max_size=8), st.data())
def test_any_split_gives_the_same_events(opened: bool, parts: list[bytes], data: st.DataObject) -> None:
    stream = (connect() if opened else b"") + b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    portions = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole, split = MqttSession(0.0), MqttSession(0.0)
    assert play(whole, [stream]) == play(split, [*portions, b""])
    assert whole.data_to_send() == split.data_to_send()
    assert whole.state is split.state


@given(st.booleans(), st.lists(st.binary(max_size=40), max_size=6))
def test_random_bytes_give_events_or_raise(opened: bool, portions: list[bytes]) -> None:
    session = MqttSession(0.0)
    _events, error = play(session, [connect(), *portions] if opened else portions)
    if error:
        assert session.state is SessionState.CLOSED


def test_what_is_missing_its_rest_is_counted():
    session = MqttSession(0.0)
    for number, byte in enumerate(b"\x10\x05\x00\x04MQ", 1):
        session.receive(bytes((byte,)), 0.0)
        assert session.unfinished == number
    session.receive(b"T", 0.0)
    assert session.unfinished == 0
