"""The encoder that is made once writes what that of Python writes."""

import json
import math
from json import encoder

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dps_simulator.errors.compact_json import compact_encoder

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.integers() | st.none() | st.booleans(), inner, max_size=3)
        | st.tuples(inner)
    ),
    max_leaves=8,
)
PARTS = compact_encoder()


@given(VALUES)
def test_a_value_is_written_as_python_writes_it(value):
    assert "".join(PARTS(value, 0)) == json.dumps(value, separators=(",", ":"))


def made_in_c(*_):
    raise TypeError("another signature")


def made_otherwise(*_):
    return lambda value, level: ("{ }",)


@pytest.mark.parametrize("made", [None, made_in_c, made_otherwise], ids=["none", "refused", "another form"])
def test_where_python_has_no_such_encoder_its_own_class_writes(monkeypatch, made):
    monkeypatch.setattr(encoder, "c_make_encoder", made)
    parts = compact_encoder(sorted)
    monkeypatch.undo()
    assert "".join(parts({"Gerät": {2, 1}}, 0)) == '{"Ger\\u00e4t":[1,2]}'


@pytest.mark.parametrize("default", [None, lambda value: value.other])
def test_what_cannot_be_written_raises(default):
    with pytest.raises((TypeError, AttributeError)):
        "".join(compact_encoder(default)({"a": object()}, 0))
    circle = []
    circle.append(circle)
    with pytest.raises(RecursionError):
        "".join(PARTS(circle, 0))
    assert "".join(PARTS([math.inf], 0)) == "[Infinity]"
