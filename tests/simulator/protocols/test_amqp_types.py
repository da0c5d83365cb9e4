import struct
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thoroughness import examples

from dps_simulator.protocols.amqp.encoding import encoded
from dps_simulator.protocols.amqp.errors import AmqpProtocolError
from dps_simulator.protocols.amqp.types import (
    MAX_DEPTH,
    Array,
    Byte,
    Char,
    Decimal,
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
    symbols,
)


def whole(kind, low, high):
    return st.integers(low, high).map(kind)


ASCII = st.text(st.characters(max_codepoint=127), max_size=300)
SCALARS = {
    type(None): st.none(),
    bool: st.booleans(),
    UByte: whole(UByte, 0, 2**8 - 1),
    UShort: whole(UShort, 0, 2**16 - 1),
    UInt: whole(UInt, 0, 2**32 - 1),
    ULong: whole(ULong, 0, 2**64 - 1),
    Byte: whole(Byte, -(2**7), 2**7 - 1),
    Short: whole(Short, -(2**15), 2**15 - 1),
    Int: whole(Int, -(2**31), 2**31 - 1),
    int: st.integers(-(2**63), 2**63 - 1),
    Timestamp: whole(Timestamp, -(2**63), 2**63 - 1),
    Float: st.floats(width=32, allow_nan=False).map(Float),
    float: st.floats(allow_nan=False),
    Char: st.characters(codec="utf-8").map(Char),
    UUID: st.uuids(),
    bytes: st.binary(max_size=300),
    str: st.text(st.characters(codec="utf-8"), max_size=300),
    Symbol: ASCII.map(Symbol),
}
DECIMALS = st.sampled_from([4, 8, 16]).flatmap(lambda size: st.binary(min_size=size, max_size=size)).map(Decimal)
ANY_SCALAR = st.one_of(DECIMALS, *SCALARS.values())
KEYS = st.one_of(SCALARS[str], SCALARS[Symbol], SCALARS[UInt])


def array(kind):
    descriptors = st.one_of(st.none(), SCALARS[Symbol], SCALARS[ULong])
    items = st.lists(SCALARS[kind], max_size=5).map(tuple)
    return st.builds(Array, st.just(kind), items, descriptors)


ARRAYS = st.sampled_from(list(SCALARS)).flatmap(array)
VALUES = st.recursive(
    st.one_of(ANY_SCALAR, ARRAYS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(KEYS, inner, max_size=5),
        st.builds(Described, st.one_of(SCALARS[ULong], SCALARS[Symbol]), inner),
        st.lists(st.lists(inner, max_size=3), max_size=3).map(lambda items: Array(list, tuple(items))),
        st.lists(st.dictionaries(KEYS, inner, max_size=3), max_size=3).map(lambda items: Array(dict, tuple(items))),
        st.lists(ARRAYS, max_size=3).map(lambda items: Array(Array, tuple(items))),
    ),
    max_leaves=12,
)


def shape(value):
    """A value with its types, as Python takes 1, True and UInt(1) for the same."""
    if isinstance(value, Described):
        return "described", shape(value.descriptor), shape(value.value)
    if isinstance(value, Array):
        return "array", value.kind, shape(value.descriptor), tuple(map(shape, value.items))
    if isinstance(value, list):
        return list, tuple(map(shape, value))
    if isinstance(value, dict):
        return dict, tuple((shape(key), shape(each)) for key, each in value.items())
    return type(value), value


@given(VALUES)
@settings(max_examples=examples(150), deadline=None)
def test_values_come_back_with_their_types(value):
    data = encoded(value)
    back, end = decode(data)
    assert end == len(data)
    assert shape(back) == shape(value)
    assert encoded(back) == data


@given(st.binary(max_size=200))
@settings(max_examples=examples(400), deadline=None)
def test_random_bytes_are_a_value_or_the_error_of_the_protocol(data):
    try:
        value, end = decode(data)
    except AmqpProtocolError:
        return
    assert 0 < end <= len(data)
    encoded(value)


@given(VALUES, st.data())
@settings(max_examples=examples(100), deadline=None)
def test_what_is_cut_off_is_no_value(value, data):
    whole_value = encoded(value)
    end = data.draw(st.integers(0, len(whole_value) - 1))
    with pytest.raises(AmqpProtocolError):
        decode(whole_value[:end])


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\x56\x01", True),
        (b"\x56\x00", False),
        (b"\x43", UInt(0)),
        (b"\x44", ULong(0)),
        (b"\x54\xff", Int(-1)),
        (b"\x55\x80", -128),
        (b"\x45", []),
        (b"\xd0\x00\x00\x00\x05\x00\x00\x00\x01\x41", [True]),
        (b"\xd1\x00\x00\x00\x04\x00\x00\x00\x00", {}),
        (b"\xe0\x02\x02\x41", Array(bool, (True, True))),
        (b"\xe0\x02\x01\x45", Array(list, ([],))),
    ],
)
def test_every_way_to_write_a_value_is_read(data, value):
    assert shape(decode(data)[0]) == shape(value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "middle"),
        (b"\x70\x00", "middle"),
        (b"\xa1\x05ab", "5 bytes should follow"),
        (b"\xb1\xff\xff\xff\xffab", "should follow"),
        (b"\xa1\x01\xff", "utf-8"),
        (b"\xa3\x01\xff", "ascii"),
        (b"\x56\x02", "0 or 1"),
        (b"\x73\x00\x00\xd8\x00", "no Unicode character"),
        (b"\x73\x00\x11\x00\x00", "no Unicode character"),
        (b"\x3f", "code of no type"),
        (b"\xd0\x00\x00\x00\xff\x00\x00\x00\x01", "should follow"),
        (b"\xc0\x02\x05\x41", "5 items do not fit"),
        (b"\xc0\x04\x01\x41\x41\x41", "the items take"),
        (b"\xc1\x02\x01\x41", "without a value"),
        (b"\xc1\x03\x02\x45\x41", "as a key"),
        (b"\xe0\x02\x01\x3f", "in an array"),
        (b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40", "do not fit"),
        (b"\xe0\x03\x09\x50\x01", "do not fit"),
        (b"\xc0\x02\x01" * (MAX_DEPTH + 1) + b"\x45", "deep"),
        (b"\x00" * (MAX_DEPTH + 2), "deep"),
    ],
)
def test_what_is_no_value_is_told(data, words):
    with pytest.raises(AmqpProtocolError, match=words):
        decode(data)


def test_arrays_in_arrays_have_a_limit_as_well():
    data = b"\x50\x07"
    for _ in range(MAX_DEPTH + 1):
        data = b"\xf0" + struct.pack(">II", len(data) + 4, 1) + data
    with pytest.raises(AmqpProtocolError, match="deep"):
        decode(data)


@pytest.mark.parametrize(
    "value",
    [
        UByte(256),
        UInt(-1),
        UInt(2**32),
        2**63,
        object(),
        {1, 2},
        Array(UByte, (1,)),
        Array(object, ()),
        Array(Decimal, (Decimal(bytes(4)), Decimal(bytes(8)))),
        Byte(200),
    ],
)
def test_what_no_type_can_hold_is_not_written(value):
    with pytest.raises(ValueError):  # noqa: PT011  (the words differ)
        encoded(value)


def test_an_array_of_symbols():
    assert decode(encoded(symbols("PLAIN", "EXTERNAL")))[0] == Array(Symbol, ("PLAIN", "EXTERNAL"))


def test_decimals_in_an_array():
    value = Array(Decimal, (Decimal(bytes(8)), Decimal(bytes(range(8)))))
    assert shape(decode(encoded(value))[0]) == shape(value)
    assert shape(decode(encoded(Array(Decimal, ())))[0]) == shape(Array(Decimal, ()))


def test_described_arrays_in_an_array():
    inner = Array(UByte, (UByte(1), UByte(2)), Symbol("pair"))
    value = Array(Array, (inner, Array(list, ([UInt(1)], []), ULong(3))))
    assert shape(decode(encoded(value))[0]) == shape(value)
    assert shape(decode(encoded(inner))[0]) == shape(inner)


@pytest.mark.parametrize("value", [b"x" * 256, "x" * 300, Symbol("x" * 256), [True] * 256, {UInt(0): "x" * 255}])
def test_what_is_long_has_longer_heads(value):
    assert shape(decode(encoded(value))[0]) == shape(value)
