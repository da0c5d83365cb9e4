"""What views say: errors in words, secrets masked, and JSON that somebody typed."""

import base64

import pytest

from helpers.masking import masked
from helpers.views.json_text import JsonTextError, json_object
from helpers.views.message import reason, status_html

KEY = base64.b64encode(bytes(range(64))).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"SharedAccessKey={KEY}",
        f'{{"primaryKey": "{KEY}"}}',
        "sr=a&sig=abcdefghijklmnop%2Bq%3D&se=1",
        f"the key {KEY} is wrong",
        "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----",
    ],
)
def test_keys_are_masked(text):
    shown = masked(text)
    assert "****" in shown or "(a private key)" in shown
    for secret in (KEY, KEY[:20], "abcdefghijklmnop", "AAAA"):
        assert secret not in shown


def test_what_is_no_key_stays():
    thumbprint = "AB" * 32
    assert masked(f"kitchen-thermostat {thumbprint}") == f"kitchen-thermostat {thumbprint}"


def test_a_message_is_escaped_and_read_out():
    html = status_html("a <b>\nc")
    assert "a &lt;b&gt;<br>c" in html
    assert 'role="status"' in html
    assert 'aria-live="polite"' in html
    assert "></div>" in status_html("")


def test_an_error_is_told_with_its_innermost_reason():
    outer = ValueError("Unexpected failure")
    outer.__cause__ = OSError("401\nmore")
    assert reason(outer) == "ValueError: Unexpected failure (401)"
    outer.__cause__ = OSError("failure")
    assert reason(outer) == "ValueError: Unexpected failure"
    assert reason(ValueError()) == "ValueError: no text"
    round_about = ValueError("a")
    round_about.__cause__ = round_about
    assert reason(round_about) == "ValueError: a"


def test_a_json_object_is_read():
    assert json_object('{"a": {"b": 1.5}, "c": null}', field="F") == {"a": {"b": 1.5}, "c": None}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        ("  \n", "it is empty"),
        ("{'a': 1}", "double quotes"),
        ('{"a": True}', "true, false and null"),
        ('{"a": 1,}', "no comma"),
        ('{"a": 1', "where it ends"),
        ('{\n"a" 1}', "line 2, column 5, at '1}'"),
        ("[1]", "F is a list"),
        ('"x"', "F is text in quotes"),
        ("7", "F is a number"),
        ("true", "true or false"),
        ("null", "F is null"),
        ('{"a": NaN}', "NaN is no JSON value"),
        ('{"a.b": 1}', "'a.b'"),
        ('{"a": {"$b": 1}}', "no dot"),
        ('{"": 1}', "needs a character"),
        ("[" * 15_000 + "]" * 15_000, "nested too deeply"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "nested too deeply"),
        ('{"a":' * 65 + "1" + "}" * 65, "nested too deeply"),
        ("x" * 40_000, "40000 characters"),
    ],
    ids=lambda value: value[:20],
)
def test_what_is_wrong_with_json_is_said(text, says):
    with pytest.raises(JsonTextError) as refused:
        json_object(text, field="F")
    assert says in str(refused.value)
