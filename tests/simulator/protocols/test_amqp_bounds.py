"""What few bytes can ask for: memory and time are bounded by what has come, whatever it says."""

import gc
import struct
import tracemalloc

import pytest
from amqp_client import frame, opening, receiver, sender
from amqp_server import Server

from dps_simulator.protocols.amqp.connections import LINK_BYTES, SESSION_BYTES
from dps_simulator.protocols.amqp.encoding import encoded
from dps_simulator.protocols.amqp.errors import AmqpProtocolError, Condition
from dps_simulator.protocols.amqp.frames import MAX_FRAME_SIZE, FrameDecoder
from dps_simulator.protocols.amqp.messages import decode_message
from dps_simulator.protocols.amqp.performatives import Attach, Close, Detach, End, Source, Target
from dps_simulator.protocols.amqp.types import MAX_DEPTH, MAX_EMPTY_ITEMS, Array, Described, Symbol, ULong, decode

#: Bytes of memory that a byte of a value may take: an empty list takes one byte, and about so much with its place.
WEIGHT = 130


def listed(items):
    body = b"".join(items)
    return b"\xd0" + struct.pack(">II", len(body) + 4, len(items)) + body


def array(constructor, items):
    body = constructor + b"".join(items)
    return b"\xf0" + struct.pack(">II", len(body) + 4, len(items)) + body


def repeated(item, size=MAX_FRAME_SIZE):
    return [item] * (size // len(item))


HEAVY = {
    "empty lists": listed(repeated(b"\x45")),
    "empty maps": listed(repeated(b"\xc1\x01\x00")),
    "described nulls": listed(repeated(b"\x00\x40\x40")),
    "numbers": listed(repeated(b"\x43")),
    "small numbers": listed(repeated(b"\x52\x07")),
    "empty texts": listed(repeated(b"\xa1\x00")),
    "arrays of nulls": listed(repeated(bytes((0xE0, 2, MAX_EMPTY_ITEMS, 0x40)))),
    "arrays of empty lists": listed(repeated(bytes((0xE0, 2, MAX_EMPTY_ITEMS, 0x45)))),
    "arrays of nulls in an array": array(b"\xe0", repeated(bytes((2, MAX_EMPTY_ITEMS, 0x40)))),
    "arrays of empty lists in an array": array(b"\xe0", repeated(bytes((2, MAX_EMPTY_ITEMS, 0x45)))),
    "empty lists in an array": array(b"\xc0", repeated(b"\x01\x00")),
    "deep lists": b"".join(b"\xd0" + struct.pack(">II", 0, 1) for _ in range(MAX_DEPTH - 1)) + b"\x45",
    "keys": b"\xd1"
    + struct.pack(">II", 4 + 4 * 10_000, 20_000)
    + b"".join(b"\x60" + struct.pack(">H", number) + b"\x40" for number in range(10_000)),
}


@pytest.mark.parametrize("data", HEAVY.values(), ids=HEAVY)
def test_what_a_value_takes_is_bounded_by_its_bytes(data):
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        try:
            decode(data)
        except AmqpProtocolError:
            assert data is HEAVY["deep lists"]
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < WEIGHT * len(data) + 10_000


@pytest.mark.parametrize(
    "data",
    [
        b"\xd0\x00\x00\x00\x05\xff\xff\xff\xff\x40",
        b"\xd1\x00\x00\x00\x05\xff\xff\xff\xfe\x40",
        b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40",
        b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x45",
        b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x50",
        b"\xf0\xff\xff\xff\xff\xff\xff\xff\xff\x50",
        b"\xf0\x00\x00\x00\x07\xff\xff\xff\xff\x00\x44\x40",
        b"\xb0\xff\xff\xff\xffx",
        b"\xe0\x02\xff\x41",
        bytes((0xE0, 2, MAX_EMPTY_ITEMS + 1, 0x45)),
    ],
)
def test_counts_that_nothing_follows(data):
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(AmqpProtocolError, match=r"fit|follow"):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] - before < 20_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("code", [0x40, 0x41, 0x42, 0x43, 0x44, 0x45])
def test_items_that_take_no_bytes(code):
    value, end = decode(bytes((0xE0, 2, MAX_EMPTY_ITEMS, code)))
    assert (len(value.items), end) == (MAX_EMPTY_ITEMS, 4)
    assert decode(encoded(value))[0] == value


@pytest.mark.parametrize(
    "deep",
    [
        b"\x00" * 5_000,
        b"\xc0\x02\x01" * 5_000,
        b"\x00\x53\x10" * 5_000,
        b"\xe0\xff\x01\x00" * 5_000,
        b"\xf0\x00\x00\xff\xff\x00\x00\x00\x01" * 5_000,
        b"\xc1\xff\x02\x40" * 5_000,
    ],
)
def test_a_deep_value_ends_no_stack(deep):
    with pytest.raises(AmqpProtocolError):
        decode(deep)


# with random keys of 16 bytes a client could choose thousands for which the same place in a dictionary is meant
@pytest.mark.parametrize(
    "key",
    [b"\x98" + bytes(16), b"\xe0\x02\x00\x40", b"\x00\x44\x40", b"\x45", b"\xc1\x01\x00"],
    ids=lambda key: key[:1],
)
def test_keys_that_cost_too_much_to_find(key):
    body = key + b"\x40"
    with pytest.raises(AmqpProtocolError, match="as a key"):
        decode(b"\xc1" + bytes((len(body) + 1, 2)) + body)


def test_many_sections_of_a_message():
    sections = encoded(Described(ULong(0x76), [])) * 20_000
    assert decode_message(sections).value == [[]] * 20_000
    pieces = encoded(Described(ULong(0x75), b"x")) * 20_000
    assert decode_message(pieces).data == b"x" * 20_000


@pytest.mark.parametrize(
    "descriptor", [ULong(0x10), Symbol("amqp:open:list"), Described(ULong(1), ULong(2)), None, [1]]
)
def test_a_descriptor_may_be_anything(descriptor):
    """And only two kinds are known."""
    data = encoded(Described(descriptor, ["c"]))
    decoder = FrameDecoder()
    decoder.feed(struct.pack(">IBBH", len(data) + 8, 2, 0, 0) + data)
    if isinstance(descriptor, (int, str)):
        assert decoder.frame().performative.container_id == "c"
    else:
        with pytest.raises(AmqpProtocolError, match="the descriptor of nothing"):
            decoder.frame()


def test_a_symbol_is_ascii_also_where_a_client_sends_a_text():
    described = Described(ULong(0x12), ["n", ULong(0), False, None, None, Described(ULong(0x28), ["a", None, "ü"])])
    data = encoded(described)
    server = Server().open()
    text, (close,) = server.fails(struct.pack(">IBBH", len(data) + 8, 2, 0, 0) + data)
    assert text == "expiry-policy of Source is a value of str, which does not fit"
    assert close.error.condition == Condition.INVALID_FIELD


@pytest.mark.parametrize("items", ["ü", Array(str, ("ü",)), Array(bytes, (b"a",)), [Symbol("a")]])
def test_capabilities_are_symbols(items):
    data = encoded(Described(ULong(0x10), ["c", None, None, None, None, items]))
    decoder = FrameDecoder()
    decoder.feed(struct.pack(">IBBH", len(data) + 8, 2, 0, 0) + data)
    with pytest.raises(AmqpProtocolError, match="outgoing-locales"):
        decoder.frame()


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_a_link_counts_with_what_was_said_about_it():
    server = Server().open(sender("a"))
    plain = server.connection.kept
    assert SESSION_BYTES + LINK_BYTES < plain < SESSION_BYTES + 2 * LINK_BYTES
    server.take(frame(Detach(handle=0)))
    server.accept_links = False
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        heavy = {Symbol("k"): [[] for _ in range(50_000)]}
        server.take(frame(Attach(name="h", handle=0, role=False, target=Target(address="a"), properties=heavy)))
        del heavy
        server.events.clear()
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken / 2 < server.connection.kept < taken * 2
    server.take(frame(End()))
    assert server.connection.kept == 0


@pytest.mark.parametrize("last", [Detach(handle=1), End(), Close()])
def test_what_is_kept_is_given_back(last):
    server = Server().open()
    before = server.connection.kept
    source = Source(address=["a"] * 500, filter={Symbol("f"): Described(Symbol("selector"), "x" * 5_000)})
    server.take(receiver("b", source=source))
    assert server.connection.kept > before + LINK_BYTES + 5_000
    server.take(frame(last))
    assert server.connection.kept == {Detach: before}.get(type(last), 0)


def test_nothing_of_an_opening_is_kept():
    server = Server()
    server.take(opening(properties={"k": "v" * 60_000}))
    server.events.clear()
    gc.collect()
    assert not [
        text
        for each in gc.get_objects()
        if type(each) is dict
        for text in each.values()
        if type(text) is str and text == "v" * 60_000
    ]
