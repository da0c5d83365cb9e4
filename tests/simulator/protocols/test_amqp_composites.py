"""Composites from any values: they are read as what they are, or refused; what was read can be written again."""

import contextlib
import struct

import pytest
from amqp_client import begin, flow, frame, opening, receiver, sender, transfer
from amqp_server import Server
from amqp_values import VALUES
from hypothesis import given, settings
from hypothesis import strategies as st
from thoroughness import examples

from dps_simulator.protocols.amqp import composites
from dps_simulator.protocols.amqp.composites import decode_composite, encode_composite, read_composite
from dps_simulator.protocols.amqp.encoding import encoded
from dps_simulator.protocols.amqp.errors import AmqpProtocolError, Condition
from dps_simulator.protocols.amqp.frames import FrameDecoder
from dps_simulator.protocols.amqp.messages import Header, Message, Properties, decode_message
from dps_simulator.protocols.amqp.performatives import Accepted, Detach, Disposition, Error, Rejected, Source, Target
from dps_simulator.protocols.amqp.types import Described, Symbol, Timestamp, UByte, UInt, ULong, UShort, decode

CODES = sorted(code for code in composites._BY_DESCRIPTOR if isinstance(code, int))
NAMES = sorted(name for name in composites._BY_DESCRIPTOR if isinstance(name, str))
#: Values that stand in fields of the standard, beside any others.
LIKELY = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([UInt(0), UInt(2**32 - 1), UShort(7), UByte(1), ULong(2**64 - 1), Timestamp(-(2**63))]),
    st.text(max_size=5),
    st.sampled_from([Symbol("s"), b"bytes", {}, {Symbol("k"): "v"}, "ü"]),
    st.sampled_from([Described(ULong(0x24), []), Described(ULong(0x28), ["a"]), Described(ULong(0x1D), [Symbol("c")])]),
)
FIELDS = st.lists(st.one_of(LIKELY, LIKELY, VALUES), max_size=15)


def test_all_of_the_standard_are_known():
    transport, sasl = range(0x10, 0x19), range(0x40, 0x45)
    assert [*transport, 0x1D, *range(0x23, 0x2A), *sasl, 0x70, 0x73] == CODES
    assert len(NAMES) == len(CODES)


def read(value):
    """A composite or nothing, the same by both ways."""
    data = encoded(value)
    try:
        found = read_composite(decode(data)[0])
    except AmqpProtocolError as error:
        refused = str(error)
    else:
        again, end = decode_composite(data + b"payload")
        assert (again, end) == (found, len(data))
        return found
    with pytest.raises(AmqpProtocolError) as caught:
        decode_composite(data)
    assert str(caught.value) == refused
    return None


@given(st.sampled_from([*map(ULong, CODES), *map(Symbol, NAMES)]), FIELDS)
@settings(max_examples=examples(600), deadline=None)
def test_any_values_are_a_composite_or_refused(descriptor, items):
    found = read(Described(descriptor, items))
    if found is not None:
        out = bytearray()
        encode_composite(out, found)
        back, end = decode_composite(bytes(out))
        assert (back, end) == (found, len(out))


@given(VALUES)
@settings(max_examples=examples(100), deadline=None)
def test_any_value_is_no_composite(value):
    if not isinstance(value, Described):
        with pytest.raises(AmqpProtocolError, match="described list"):
            read_composite(value)


@pytest.mark.parametrize("code", CODES)
def test_fields_that_are_missing_or_too_many(code):
    layout = composites._BY_DESCRIPTOR[code]
    for name in layout.mandatory:
        with pytest.raises(AmqpProtocolError, match="is missing") as caught:
            read_composite(Described(ULong(code), []))
        assert str(caught.value).startswith(layout.mandatory[0].replace("_", "-"))
        assert caught.value.condition is Condition.INVALID_FIELD
        assert name in layout.kind.__dataclass_fields__
    with pytest.raises(AmqpProtocolError, match="at most"):
        read_composite(Described(ULong(code), [None] * (len(layout.reads) + 1)))


# --- frames that are spoilt -------------------------------------------------------------------------------------------

RICH = b"".join(
    (
        begin(),
        sender("a", properties={Symbol("p"): "v"}, desired_capabilities=("one", "two"), unsettled={b"tag": None}),
        receiver(
            "b",
            source=Source(
                address="b",
                filter={Symbol("f"): Described(Symbol("selector"), "x")},
                default_outcome=Rejected(error=Error(condition="c")),
                outcomes=("amqp:accepted:list",),
            ),
            target=Target(address="t", dynamic_node_properties={Symbol("n"): UInt(1)}),
        ),
        flow(),
        transfer(b"\x00\x53\x75\xa0\x01x", rcv_settle_mode=0),
        frame(Disposition(role=True, first=0, last=3, settled=True, state=Accepted())),
        frame(Detach(handle=0, closed=True)),
    )
)


@given(st.data())
@settings(max_examples=examples(400), deadline=None)
def test_spoilt_frames_never_fail_otherwise(data):
    """Also where what they say is repeated to the client."""
    spoilt = bytearray(RICH)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(spoilt) - 1))
        spoilt[place] = data.draw(st.one_of(st.integers(0, 255), st.just(spoilt[place] ^ 1)))
    server = Server()
    server.take(opening())
    with contextlib.suppress(AmqpProtocolError):
        server.take(bytes(spoilt))
    assert server.connection.unfinished <= len(spoilt)


@given(st.sampled_from(CODES), FIELDS, st.data())
@settings(max_examples=examples(200), deadline=None)
def test_frames_that_are_cut_off_wait_or_are_refused(code, items, data):
    body = encoded(Described(ULong(code), items))
    whole = struct.pack(">IBBH", len(body) + 8, 2, 0, 0) + body
    decoder = FrameDecoder()
    decoder.feed(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert decoder.frame() is None
    # a frame that says that it ends before it does
    cut = body[: data.draw(st.integers(0, len(body) - 1))]
    decoder.clear()
    decoder.feed(struct.pack(">IBBH", len(cut) + 8, 2, 0, 0) + cut)
    if cut:
        with pytest.raises(AmqpProtocolError):
            decoder.frame()
    else:
        assert decoder.frame().performative is None


# --- messages ---------------------------------------------------------------------------------------------------------

MESSAGE = Message(
    header=Header(durable=True, ttl=5),
    annotations={"x-opt-a": "b"},
    properties=Properties(message_id="1", creation_time=5, user_id=b"u", content_type="text/plain"),
    application_properties={"a": "b", "n": 1},
    data=b"body",
).encoded()


@given(st.data())
@settings(max_examples=examples(400), deadline=None)
def test_a_spoilt_message_is_a_message_or_refused(data):
    spoilt = bytearray(MESSAGE)
    for _ in range(data.draw(st.integers(1, 3))):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(AmqpProtocolError):
        decode_message(bytes(spoilt[: data.draw(st.integers(0, len(spoilt)))]))


@given(st.binary(max_size=100))
@settings(max_examples=examples(200), deadline=None)
def test_random_bytes_are_a_message_or_refused(data):
    with contextlib.suppress(AmqpProtocolError):
        decode_message(data)


@pytest.mark.parametrize("moment", [True, ULong(2**63), ULong(2**64 - 1), 1.5, "now"])
def test_a_moment_is_one_that_can_be_written(moment):
    with pytest.raises(AmqpProtocolError, match="creation-time of Properties"):
        read_composite(Described(ULong(0x73), [None] * 9 + [moment]))
