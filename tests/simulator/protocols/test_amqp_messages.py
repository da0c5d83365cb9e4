import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thoroughness import examples

from dps_simulator.protocols.amqp.composites import encode_composite, read_composite
from dps_simulator.protocols.amqp.encoding import encoded
from dps_simulator.protocols.amqp.errors import AmqpProtocolError, Condition
from dps_simulator.protocols.amqp.frames import Frame, FrameDecoder, put_frame, put_heartbeat
from dps_simulator.protocols.amqp.messages import Header, Message, Properties, decode_message
from dps_simulator.protocols.amqp.performatives import (
    Accepted,
    Attach,
    Begin,
    Disposition,
    Error,
    Open,
    Rejected,
    SaslChallenge,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    SaslResponse,
    Source,
    Transfer,
)
from dps_simulator.protocols.amqp.types import Array, Described, Symbol, Timestamp, UInt, ULong, decode


def written(value):
    out = bytearray()
    encode_composite(out, value)
    return bytes(out)


def read(data):
    return read_composite(decode(data)[0])


# --- composites -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        Open(container_id="c", hostname="h", idle_time_out=60_000, properties={Symbol("a"): "b"}),
        Begin(next_outgoing_id=1, incoming_window=2, outgoing_window=3),
        Attach(name="n", handle=7, role=True, source=Source(address="a", outcomes=("amqp:accepted:list",))),
        Attach(name="n", handle=0, role=False, target=Described(ULong(0x30), [])),
        Transfer(handle=1, delivery_id=300, delivery_tag=b"t", more=True, settled=False),
        Disposition(role=True, first=1, state=Rejected(error=Error(condition="amqp:not-found", description="no"))),
        Disposition(role=False, first=1, last=4_000_000_000, settled=True, state=Accepted()),
        SaslMechanisms(sasl_server_mechanisms=("PLAIN", "TPM")),
    ],
)
def test_composites_come_back(value):
    assert read(written(value)) == value


def test_what_says_nothing_is_left_out():
    assert written(Accepted()) == b"\x00\x53\x24\x45"
    assert written(Open(container_id="c")) == b"\x00\x53\x10\xc0\x04\x01\xa1\x01c"


def test_names_stand_for_numbers():
    value = Described(Symbol("amqp:accepted:list"), [])
    assert read(encoded(value)) == Accepted()


def test_a_single_mechanism_may_stand_for_itself():
    value = Described(ULong(0x40), [Symbol("PLAIN")])
    assert read(encoded(value)).sasl_server_mechanisms == ("PLAIN",)


@pytest.mark.parametrize(
    ("value", "words", "condition"),
    [
        (UInt(1), "described list", Condition.DECODE_ERROR),
        (Described(ULong(0x99), []), "nothing that is known", Condition.DECODE_ERROR),
        (Described([], []), "nothing that is known", Condition.DECODE_ERROR),
        (Described(ULong(0x18), {}), "not a list", Condition.DECODE_ERROR),
        (Described(ULong(0x18), [None] * 2), "at most 1 fields", Condition.DECODE_ERROR),
        (Described(ULong(0x10), []), "container-id of Open is missing", Condition.INVALID_FIELD),
        (Described(ULong(0x10), [UInt(7)]), "container-id of Open is a value of UInt", Condition.INVALID_FIELD),
        (Described(ULong(0x11), [None, True, UInt(1), UInt(1)]), "next-outgoing-id", Condition.INVALID_FIELD),
        (Described(ULong(0x11), [None, ULong(2**40), UInt(1), UInt(1)]), "next-outgoing-id", Condition.INVALID_FIELD),
        (Described(ULong(0x14), [UInt(0), None, "tag"]), "delivery-tag", Condition.INVALID_FIELD),
        (Described(ULong(0x12), ["n", UInt(0), True, None, None, "s"]), "source", Condition.INVALID_FIELD),
        (
            Described(ULong(0x15), [True, UInt(0), None, None, Described(ULong(0x18), [])]),
            "state",
            Condition.INVALID_FIELD,
        ),
        (Described(ULong(0x40), [Array(UInt, (UInt(1),))]), "sasl-server-mechanisms", Condition.INVALID_FIELD),
    ],
)
def test_what_is_wrong_with_a_composite(value, words, condition):
    with pytest.raises(AmqpProtocolError, match=words) as caught:
        read_composite(value)
    assert caught.value.condition is condition


def test_nothing_secret_is_shown():
    said = [
        SaslInit(mechanism="PLAIN", initial_response=b"\0user\0password"),
        SaslResponse(response=b"password"),
        SaslChallenge(challenge=b"password"),
        SaslOutcome(code=0, additional_data=b"password"),
        Frame(0, 0, None, b"password"),
        Message(properties=Properties(message_id="1"), data=b"password"),
    ]
    assert "password" not in repr(said)


# --- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xff\xff\xff\x02\x00\x00\x00", "at most 65536"),
        (b"\x00\x00\x00\x07\x02\x00\x00\x00", "7 bytes"),
        (b"\x00\x00\x00\x08\x01\x00\x00\x00", "begins at 4"),
        (b"\x00\x00\x00\x08\x03\x00\x00\x00", "begins at 12"),
        (b"\x00\x00\x00\x08\x02\x07\x00\x00", "the kind 7"),
        (b"\x00\x00\x00\x09\x02\x00\x00\x00\x40", "described list"),
    ],
)
def test_what_is_no_frame(data, words):
    decoder = FrameDecoder()
    decoder.feed(data)
    with pytest.raises(AmqpProtocolError, match=words):
        decoder.frame()


def test_a_longer_head_is_skipped():
    out = bytearray()
    put_frame(out, Accepted(), b"payload", channel=3)
    longer = b"\x00\x00\x00" + bytes((len(out) + 4,)) + b"\x03" + bytes(out[5:8]) + b"more" + bytes(out[8:])
    decoder = FrameDecoder()
    decoder.feed(longer)
    assert decoder.frame() == Frame(0, 3, Accepted(), b"payload")


def test_a_heartbeat_says_nothing():
    out = bytearray()
    put_heartbeat(out)
    decoder = FrameDecoder()
    decoder.feed(bytes(out))
    assert decoder.frame() == Frame(0, 0, None, b"")
    assert decoder.frame() is None


@given(st.binary(max_size=120))
@settings(max_examples=examples(300), deadline=None)
def test_random_bytes_are_frames_or_the_error_of_the_protocol(data):
    decoder = FrameDecoder()
    decoder.feed(data)
    try:
        while decoder.frame() is not None:
            pass
    except AmqpProtocolError:
        pass


# --- messages ---------------------------------------------------------------------------------------------------------


def test_all_sections_come_back():
    message = Message(
        header=Header(durable=True, ttl=5_000, delivery_count=2),
        delivery_annotations={"x-opt-a": 1},
        annotations={"x-opt-enqueued-time": Timestamp(1_700_000_000_000)},
        properties=Properties(message_id="1", correlation_id=ULong(7), absolute_expiry_time=5, to="/devices/d"),
        application_properties={"a": "b", "n": 7},
        data=b"body",
    )
    back = decode_message(message.encoded())
    assert (back.header, back.properties) == (message.header, message.properties)
    assert (back.delivery_annotations, back.annotations) == (message.delivery_annotations, message.annotations)
    assert (back.application_properties, back.data, back.parts) == ({"a": "b", "n": 7}, b"body", (b"body",))


def test_a_body_is_bytes_a_value_or_sequences():
    assert decode_message(Message(value="text").encoded()).value == "text"
    data = b"\x00\x53\x75\xa0\x01a" * 2
    assert (decode_message(data).data, decode_message(data).parts) == (b"aa", (b"a", b"a"))
    assert decode_message(encoded(Described(Symbol("amqp:amqp-sequence:list"), [1])) * 2).value == [[1], [1]]
    footer = encoded(Described(ULong(0x78), {}))
    assert decode_message(Message(data=b"").encoded() + footer).data == b""


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x40", "made of sections"),
        (encoded(Described(ULong(0x79), None)), "made of sections"),
        (encoded(Described("amqp:nothing", None)), "made of sections"),
        (encoded(Described(ULong(0x74), {})) * 2, "0x74 of a message follows 0x74"),
        (encoded(Described(ULong(0x75), b"")) + encoded(Described(ULong(0x74), {})), "0x74 of a message follows 0x75"),
        (encoded(Described(ULong(0x75), "text")), "0x75 of a message is a str"),
        (encoded(Described(ULong(0x73), [True] * 14)), "at most 13 fields"),
        (b"\x00\x53", "middle"),
    ],
)
def test_what_is_no_message(data, words):
    with pytest.raises(AmqpProtocolError, match=words):
        decode_message(data)
