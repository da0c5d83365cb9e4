import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dps_simulator.wire.json_body import MAX_DEPTH, load_json


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "line 1"),
        (b"\xff", "UTF-8 at byte 0"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b"[-Infinity]", "not a JSON number"),
        (b"1e999", "too large"),
        (b"[" * 65 + b"]" * 65, "deeper than 64"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "deeper than 64"),
        (b"[" * 100_000, "deeper than 64"),
        (b'"\\ud800"', "half of a surrogate pair"),
        (b'[{"a": ["\\uDfff?"]}]', "half of a surrogate pair"),
        (b'{"\\ud800": 1}', "half of a surrogate pair"),
        (b'"\xed\xa0\x80"', "half of a surrogate pair"),
        ('"\ud800"'.encode("utf-16", "surrogatepass"), "half of a surrogate pair"),
    ],
)
def test_what_cannot_be_stored_is_refused(body, text):
    with pytest.raises(ValueError, match=text):
        load_json(body)


def test_both_halves_of_a_pair_are_one_character():
    assert load_json(b'["\\ud83d\\ude00"]') == ["\N{GRINNING FACE}"]


def test_the_deepest_allowed_nesting():
    depth = MAX_DEPTH - 1
    assert load_json(b"[" * depth + b"1.5" + b"]" * depth)


@given(st.binary(max_size=40))
def test_random_bytes_are_json_or_a_value_error(body):
    try:
        value = load_json(body)
    except ValueError:
        return
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
