"""Values of AMQP for property tests."""

from uuid import UUID

from hypothesis import strategies as st

from dps_simulator.protocols.amqp.types import (
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
