"""What two clients of Microsoft write is read here, and they read what is written here.

``azure-eventhub`` has AMQP in Python, and all of it can be called; ``uamqp``, in C, has messages.
"""

import struct
from uuid import UUID

import pytest
from azure.eventhub._pyamqp import _decode as theirs_in
from azure.eventhub._pyamqp import _encode as theirs_out
from azure.eventhub._pyamqp import endpoints, error, outcomes
from azure.eventhub._pyamqp import message as their_message
from azure.eventhub._pyamqp import performatives as their
from azure.eventhub._pyamqp.types import TYPE, VALUE, AMQPTypes
from hypothesis import given, settings
from hypothesis import strategies as st
from thoroughness import examples

from dps_simulator.protocols.amqp.encoding import encoded
from dps_simulator.protocols.amqp.frames import FrameDecoder, put_frame
from dps_simulator.protocols.amqp.messages import Header, Message, Properties, decode_message
from dps_simulator.protocols.amqp.performatives import (
    Accepted,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Modified,
    Open,
    Received,
    Rejected,
    Released,
    SaslChallenge,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    SaslResponse,
    Source,
    Target,
    Transfer,
)
from dps_simulator.protocols.amqp.types import (
    Array,
    Byte,
    Described,
    Float,
    Int,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
    decode,
)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=300)
ASCII = st.text(st.characters(max_codepoint=127), max_size=300)


def number(bits, *, signed=False):
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


#: What they call a type, values of it, and the class that it has here.
TYPES = {
    AMQPTypes.null: (st.none(), type(None)),
    AMQPTypes.boolean: (st.booleans(), bool),
    AMQPTypes.ubyte: (number(8), UByte),
    AMQPTypes.byte: (number(8, signed=True), Byte),
    AMQPTypes.ushort: (number(16), UShort),
    AMQPTypes.short: (number(16, signed=True), Short),
    AMQPTypes.uint: (number(32), UInt),
    AMQPTypes.int: (number(32, signed=True), Int),
    AMQPTypes.ulong: (number(64), ULong),
    AMQPTypes.long: (number(64, signed=True), int),
    AMQPTypes.float: (st.floats(width=32, allow_nan=False), Float),
    AMQPTypes.double: (st.floats(allow_nan=False), float),
    AMQPTypes.timestamp: (number(64, signed=True), Timestamp),
    AMQPTypes.uuid: (st.uuids(), UUID),
    AMQPTypes.binary: (st.binary(max_size=300), bytes),
    AMQPTypes.string: (TEXTS, str),
    AMQPTypes.symbol: (ASCII, Symbol),
}
TYPED = st.sampled_from(list(TYPES)).flatmap(
    lambda name: TYPES[name][0].map(lambda value: (name, TYPES[name][1], value))
)
#: Nulls and booleans have no width of their own in their arrays, and come out wrong.
ARRAYS = st.sampled_from([name for name in TYPES if name not in (AMQPTypes.null, AMQPTypes.boolean)]).flatmap(
    lambda name: st.tuples(st.just(name), st.lists(TYPES[name][0], max_size=4))
)


def they_write(value):
    out = bytearray()
    theirs_out.encode_value(out, value)
    return bytes(out)


def they_read(data):
    rest, value = theirs_in._DECODE_BY_CONSTRUCTOR[data[0]](memoryview(data)[1:])
    assert not rest
    return value


def mine(kind, value):
    return value if value is None or kind in (bool, bytes, UUID) else kind(value)


def plain(value):
    """As they read it: texts are bytes, arrays lists."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (Array, list)):
        return [plain(each) for each in (value.items if isinstance(value, Array) else value)]
    if isinstance(value, dict):
        return {plain(key): plain(each) for key, each in value.items()}
    return value


# --- values -----------------------------------------------------------------------------------------------------------


@given(TYPED)
@settings(max_examples=examples(300), deadline=None)
def test_values_go_both_ways(typed):
    name, kind, value = typed
    back, _ = decode(they_write({TYPE: name, VALUE: value}))
    assert (type(back), back) == (kind, value)
    assert they_read(encoded(mine(kind, value))) == plain(value)


@given(st.lists(TYPED, max_size=5))
@settings(max_examples=examples(100), deadline=None)
def test_lists_and_maps_go_both_ways(items):
    values = [mine(kind, value) for _, kind, value in items]
    written = [{TYPE: name, VALUE: value} for name, _, value in items]
    back, _ = decode(they_write({TYPE: AMQPTypes.list, VALUE: written}))
    assert [(type(each), each) for each in back] == [(type(each), each) for each in values]
    assert they_read(encoded(values)) == plain(values)
    keys = [f"k{index}" for index in range(len(items))]
    pairs = [({TYPE: AMQPTypes.symbol, VALUE: key}, value) for key, value in zip(keys, written, strict=True)]
    mapping = dict(zip(map(Symbol, keys), values, strict=True))
    assert decode(they_write({TYPE: AMQPTypes.map, VALUE: pairs}))[0] == mapping
    assert they_read(encoded(mapping)) == plain(mapping)


@given(ARRAYS)
@settings(max_examples=examples(150), deadline=None)
def test_arrays_go_both_ways(array):
    name, values = array
    kind = TYPES[name][1]
    back, _ = decode(they_write({TYPE: AMQPTypes.array, VALUE: [{TYPE: name, VALUE: value} for value in values]}))
    items = tuple(mine(kind, value) for value in values)
    # they write an empty array without the type of its items, and read none that has one
    assert back == (Array(kind, items) if items else Array(type(None), ()))
    if items:
        assert they_read(encoded(Array(kind, items))) == plain(list(items))


def test_described_values_go_both_ways():
    told = ({TYPE: AMQPTypes.symbol, VALUE: "a:filter"}, {TYPE: AMQPTypes.string, VALUE: "x > 3"})
    value = Described(Symbol("a:filter"), "x > 3")
    assert decode(they_write({TYPE: AMQPTypes.described, VALUE: told}))[0] == value
    assert they_read(encoded(value)) == b"x > 3"


# --- frames -----------------------------------------------------------------------------------------------------------

SOURCE = endpoints.Source(
    address="a",
    durable=0,
    expiry_policy=b"session-end",
    timeout=5,
    dynamic=False,
    dynamic_node_properties=None,
    distribution_mode=None,
    filters=None,
    default_outcome=None,
    outcomes=None,
    capabilities=None,
)
TARGET = endpoints.Target(
    address="b",
    durable=0,
    expiry_policy=b"session-end",
    timeout=0,
    dynamic=False,
    dynamic_node_properties=None,
    capabilities=None,
)
#: Frames as they write them, and what they are here.
WRITTEN = [
    (
        their.OpenFrame("c", "h", 65_536, 255, 60_000, None, None, None, ["one", "two"], {"product": "p"}),
        Open(
            container_id="c",
            hostname="h",
            max_frame_size=65_536,
            channel_max=255,
            idle_time_out=60_000,
            desired_capabilities=("one", "two"),
            properties={Symbol("product"): "p"},
        ),
    ),
    (
        their.BeginFrame(None, 7, 65_536, 65_536, 4_294_967_295, None, None, None),
        Begin(next_outgoing_id=7, incoming_window=65_536, outgoing_window=65_536),
    ),
    (
        their.AttachFrame("n", 1, True, 1, 0, SOURCE, TARGET, None, False, None, 1_048_576, None, None, None),
        Attach(
            name="n",
            handle=1,
            role=True,
            snd_settle_mode=1,
            source=Source(address="a", timeout=5),
            target=Target(address="b"),
            max_message_size=1_048_576,
        ),
    ),
    (
        their.FlowFrame(1, 100, 2, 200, 3, 4, 300, None, True, None, None),
        Flow(
            next_incoming_id=1,
            incoming_window=100,
            next_outgoing_id=2,
            outgoing_window=200,
            handle=3,
            delivery_count=4,
            link_credit=300,
            drain=True,
        ),
    ),
    (
        their.TransferFrame(0, 5, b"tag", 0, False, False, None, None, None, None, None, b"payload"),
        Transfer(handle=0, delivery_id=5, delivery_tag=b"tag", message_format=0, settled=False),
    ),
    *(
        (
            their.DispositionFrame(True, 1, 2, True, state, None),
            Disposition(role=True, first=1, last=2, settled=True, state=here),
        )
        for state, here in (
            (outcomes.Accepted(), Accepted()),
            (outcomes.Released(), Released()),
            (outcomes.Modified(True, False, None), Modified(delivery_failed=True)),
            (outcomes.Received(1, 2), Received(section_number=1, section_offset=2)),
            (
                outcomes.Rejected(error.AMQPError("amqp:not-found", "no", None)),
                Rejected(error=Error(condition="amqp:not-found", description="no")),
            ),
        )
    ),
    (their.DetachFrame(1, True, None), Detach(handle=1, closed=True)),
    (their.EndFrame(None), End()),
    (
        their.CloseFrame(error.AMQPError("amqp:not-found", "no", None)),
        Close(error=Error(condition="amqp:not-found", description="no")),
    ),
    (their.SASLMechanism(["PLAIN", "MSSBCBS"]), SaslMechanisms(sasl_server_mechanisms=("PLAIN", "MSSBCBS"))),
    (
        their.SASLInit("PLAIN", b"\0u\0p", "h"),
        SaslInit(mechanism="PLAIN", initial_response=b"\0u\0p", hostname="h"),
    ),
    (their.SASLChallenge(b"?"), SaslChallenge(challenge=b"?")),
    (their.SASLResponse(b"!"), SaslResponse(response=b"!")),
    (their.SASLOutcome(0, b"x"), SaslOutcome(code=0, additional_data=b"x")),
]


def kind_of(pair):
    return type(pair[1]).__name__


@pytest.mark.parametrize(("written", "here"), WRITTEN, ids=map(kind_of, WRITTEN))
def test_frames_that_they_write(written, here):
    head, body = theirs_out.encode_frame(written)
    decoder = FrameDecoder()
    decoder.feed(head + struct.pack(">H", 3) + body)
    read = decoder.frame()
    assert (read.performative, read.channel) == (here, 3)
    assert read.payload == (b"payload" if isinstance(here, Transfer) else b"")


def told(value):
    """As they see what they have read: a list of fields for a composite, bytes for a text."""
    return value[next(iter(value))] if isinstance(value, dict) and len(value) == 1 else value


@pytest.mark.parametrize(("written", "here"), WRITTEN, ids=map(kind_of, WRITTEN))
def test_frames_that_they_read(written, here):
    out = bytearray()
    put_frame(out, here, b"payload" if isinstance(here, Transfer) else b"")
    code, fields = theirs_in.decode_frame(memoryview(bytes(out[8:])))
    assert code == written._code
    # they take each field by its place: every one of them must be there
    assert len(fields) == len(written)
    for definition, value, field in zip(written._definition, written, fields, strict=True):
        if definition is None:
            assert bytes(field) == b"payload"
        else:
            assert_read(field, value, definition)


def assert_read(field, value, definition):
    """They read a field as it was meant; a default may be left out."""
    if value is None or (field is None and value in (definition.default, 0)):
        assert field is None or field in (False, []), definition.name
    elif isinstance(value, tuple):
        inner = told(field)
        assert len(inner) == len(value)
        for part, its_value, its_definition in zip(inner, value, value._definition, strict=True):
            assert_read(part, its_value, its_definition)
    else:
        assert field == plain(value), definition.name


@pytest.mark.parametrize(
    "said",
    [
        Close(),
        End(),
        Detach(handle=0),
        Open(container_id="c"),
        Flow(incoming_window=1, next_outgoing_id=1, outgoing_window=1),
    ],
)
def test_a_frame_that_says_little_has_all_its_fields(said):
    """Their client takes fields by number and would fail at one that was left out."""
    out = bytearray()
    put_frame(out, said)
    _, fields = theirs_in.decode_frame(memoryview(bytes(out[8:])))
    assert len(fields) == len(type(said).__dataclass_fields__)


# --- messages ---------------------------------------------------------------------------------------------------------


def their_bytes(**sections):
    return bytes(theirs_out.encode_payload(bytearray(), their_message.Message(**sections)))


def test_a_message_that_they_write():
    read = decode_message(
        their_bytes(
            header=their_message.Header(durable=True, priority=3, ttl=1_000),
            message_annotations={"x-opt-a": "b"},
            properties=their_message.Properties(message_id="1", user_id=b"u", to="t", content_type="text/plain"),
            application_properties={"k": "v", "n": 5, "t": True},
            data=[b"one", b"two"],
        )
    )
    assert read.header == Header(durable=True, priority=3, ttl=1_000)
    assert read.properties == Properties(message_id="1", user_id=b"u", to="t", content_type="text/plain")
    assert read.annotations == {"x-opt-a": "b"}
    assert {str(key): value for key, value in read.application_properties.items()} == {"k": "v", "n": 5, "t": True}
    assert (read.data, read.parts) == (b"onetwo", (b"one", b"two"))


def test_delivery_annotations_that_they_write_last_are_overlooked():
    """As Event Hubs does, says a remark in their code."""
    data = their_bytes(data=[b"x"], delivery_annotations={"x-opt-a": "b"})
    assert data.index(b"x-opt-a") > data.index(b"\x53\x75")
    read = decode_message(data)
    assert (read.data, read.delivery_annotations) == (b"x", None)


def test_a_message_that_they_read():
    message = Message(
        header=Header(durable=True, ttl=1_000, delivery_count=2),
        delivery_annotations={"x-opt-d": 1},
        annotations={"x-opt-enqueued-time": Timestamp(1_700_000_000_000)},
        properties=Properties(message_id="1", correlation_id=ULong(2), content_type="text/plain", creation_time=7),
        application_properties={"k": "v", "n": 5},
        data=b"body",
    )
    read = theirs_in.decode_payload(memoryview(message.encoded()))
    assert (read.header.durable, read.header.ttl, read.header.delivery_count) == (True, 1_000, 2)
    assert (read.properties.message_id, read.properties.correlation_id) == (b"1", 2)
    assert (read.properties.content_type, read.properties.creation_time) == (b"text/plain", 7)
    assert read.message_annotations == {b"x-opt-enqueued-time": 1_700_000_000_000}
    assert read.application_properties == {b"k": b"v", b"n": 5}
    assert [bytes(piece) for piece in read.data] == [b"body"]
    assert theirs_in.decode_payload(memoryview(Message(value="text").encoded())).value == b"text"


# --- in C -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def uamqp():
    """There are no wheels of it for some platforms, and none for the newest Python."""
    return pytest.importorskip("uamqp")


#: Values as it has them, and what they are here and for it when it reads them.
IN_C = {
    "AMQPSymbol": (["s", "x" * 300], Symbol),
    "AMQPuByte": ([0, 255], UByte),
    "AMQPByte": ([-128, 127], Byte),
    "AMQPuShort": ([0, 65_535], UShort),
    "AMQPShort": ([-32_768, 32_767], Short),
    "AMQPuInt": ([0, 255, 256, 2**32 - 1], UInt),
    "AMQPInt": ([-(2**31), -128, 127, 2**31 - 1], Int),
    "AMQPuLong": ([0, 255, 256, 2**63], ULong),
    "AMQPLong": ([-(2**63), -128, 127, 2**63 - 1], int),
}


@pytest.mark.parametrize("name", IN_C)
def test_values_go_both_ways_in_c(uamqp, name):
    values, kind = IN_C[name]
    body_type = uamqp.MessageBodyType.Value
    for value in values:
        written = getattr(uamqp.types, name)(value)
        read = decode_message(bytes(uamqp.Message(body=written, body_type=body_type).encode_message()))
        assert (type(read.value), read.value) == (kind, value)
        assert uamqp.Message.decode_from_bytes(Message(value=read.value).encoded()).get_data() == plain(read.value)


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        2.5,
        "text",
        "x" * 300,
        b"bytes",
        UUID(int=7),
        [Int(1), "a", [True]],
        {"k": Int(1), "m": {"n": "o"}},
        Array(Symbol, (Symbol("a"), Symbol("b"))),
        Array(UInt, (UInt(0), UInt(2**32 - 1))),
        Timestamp(1_767_225_600_000),
    ],
    ids=repr,
)
def test_values_are_read_in_c(uamqp, value):
    assert uamqp.Message.decode_from_bytes(Message(value=value).encoded()).get_data() == plain(value)


def test_compound_values_of_c(uamqp):
    array = uamqp.types.AMQPArray([uamqp.types.AMQPSymbol("a"), uamqp.types.AMQPSymbol("b")])
    described = uamqp.types.AMQPDescribed("d", 5)
    written = {"a": array, "d": described, "l": [1, "x"], "u": UUID(int=7)}
    message = uamqp.Message(body=written, body_type=uamqp.MessageBodyType.Value)
    assert decode_message(bytes(message.encode_message())).value == {
        "a": Array(Symbol, (Symbol("a"), Symbol("b"))),
        "d": Described("d", 5),
        "l": [1, "x"],
        "u": UUID(int=7),
    }


def test_messages_go_both_ways_in_c(uamqp):
    message = uamqp.Message(
        b"body",
        properties=uamqp.message.MessageProperties(
            message_id="1",
            correlation_id="2",
            to="t",
            user_id=b"u",
            content_type="text/plain",
            content_encoding="utf-8",
        ),
        header=uamqp.message.MessageHeader(),
        application_properties={b"a": "b", b"n": 5},
        annotations={b"x-opt": "c"},
    )
    message.header.durable = True
    message.header.time_to_live = 5_000
    read = decode_message(bytes(message.encode_message()))
    assert read.header == Header(durable=True, ttl=5_000)
    assert read.properties == Properties(
        message_id="1",
        correlation_id="2",
        to="t",
        user_id=b"u",
        content_type="text/plain",
        content_encoding="utf-8",
    )
    assert (read.application_properties, read.annotations) == ({"a": "b", "n": 5}, {"x-opt": "c"})
    assert read.data == b"body"
    back = uamqp.Message.decode_from_bytes(read.encoded())
    assert b"".join(back.get_data()) == b"body"
    assert (back.properties.message_id, back.properties.to, back.properties.user_id) == (b"1", b"t", b"u")
    assert (back.properties.content_type, back.properties.content_encoding) == (b"text/plain", b"utf-8")
    assert (back.header.durable, back.header.time_to_live) == (True, 5_000)
    assert back.application_properties == {b"a": b"b", b"n": 5}
    assert back.annotations == {b"x-opt": b"c"}
