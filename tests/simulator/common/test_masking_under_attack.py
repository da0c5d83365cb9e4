"""Keys in every spelling that one can think of never survive, on neither side; what is none stays readable."""

import base64
import json
from html import escape
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dps_simulator.errors.masking import mask_in_name, mask_in_text
from helpers.masking import masked
from helpers.runner import leaks

SIDES = (mask_in_text, mask_in_name, masked, leaks.masked)
NAMES = (
    *("SharedAccessKey", "primaryKey", "PRIMARY_KEY", "Secondary Key", "secondary-key", "authenticationKey", "sig"),
    *("AccountKey", "AZURE_IOT_PRIMARY_KEY", "AZURE_IOTHUB_KEY", "AZURE_CLIENT_SECRET", "x-functions-key"),
)
SPELLINGS = (
    *("{n}={k}", "{n} = {k}", "{n}='{k}'", '{n}="{k}"', "{n}: {k}", "{n}:{k}", "{n} => '{k}'", "{n} := {k}"),
    *("{n}={k};HostName=h", "a;{n}={k}", "{n}: '{k}'", '{n}: "{k}"', "{n}: >-\n  {k}", "{n}: !!str {k}"),
    *(
        '{{"{n}": "{k}"}}',
        '{{"{n} ": "{k}"}}',
        "{{'{n} ': '{k}'}}",
        "{{'{n}': b'{k}'}}",
        "{n}=b'{k}'",
        "('{n}', '{k}')",
    ),
    *(
        "['{n}'] = '{k}'",
        "<{n}>{k}</{n}>",
        "<td>{n}</td><td>{k}</td>",
        "--{n} {k}",
        "export {n}={k}",
        '{{"{n}": ["{k}"]}}',
    ),
)
ESCAPES = {
    "as it is": str,
    "percent": lambda text: quote(text, safe=""),
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "JSON": json.dumps,
    "JSON twice": lambda text: json.dumps(json.dumps(text)),
    "HTML": escape,
    "repr": repr,
    "bytes": lambda text: repr(text.encode()),
    "signs of Python": lambda text: text.replace("=", "\\x3d"),
    "signs of JSON": lambda text: text.replace("=", "\\u003d").replace(":", "\\u003a"),
    "signs of HTML": lambda text: text.replace("=", "&#61;").replace(":", "&#x3a;"),
}


def survivors(key, text):
    """The pieces of a key, in either alphabet and percent-encoded, that a text still holds; the last four may stay."""
    body = key.rstrip("=")
    pieces = {body[begin : begin + 10] for begin in range(len(body) - 10)}
    return [piece for piece in pieces if piece in text or quote(piece, safe="") in text]


def keys():
    def random_enough(key):
        return all(any(map(kind, key)) for kind in (str.islower, str.isupper, str.isdigit))

    sizes = st.sampled_from((32, 64))
    raw = sizes.flatmap(lambda size: st.binary(min_size=size, max_size=size))
    encodings = st.sampled_from((base64.b64encode, base64.urlsafe_b64encode))
    made = st.builds(lambda encode, value: encode(value).decode(), encodings, raw)
    return made.filter(lambda key: random_enough(key[:20]) and len(set(key)) > 20)


@given(keys())
@settings(max_examples=2, deadline=None)
def test_no_key_with_a_name_survives(key):
    # every name in every spelling; escapes change what stands around a name and in it, which the first five are for
    for number, name in enumerate(NAMES):
        for spelling in SPELLINGS:
            for how, escaped in ESCAPES.items() if number < 5 else [("as it is", str)]:
                text = escaped(spelling.format(n=name, k=key))
                for side in SIDES:
                    assert not survivors(key, side(text)), (side.__module__, how, text, side(text))


@given(keys())
@settings(max_examples=15, deadline=None)
def test_no_key_without_a_name_survives_in_an_output(key):
    for text in (key, f"the key {key}.", f"['{key}']", f"<b>{key}</b>"):
        assert not survivors(key, masked(text)), text
        assert leaks.secrets(text) or "." in text
    assert leaks.secrets(f"primaryKey: {key}")
    assert leaks.secrets(masked(f"primaryKey: {key} and {key}")) == []


KEY = base64.b64encode(bytes(range(100, 164))).decode()
BODY = "MHcCAQEEIPq3b0JtT1uZ6yqk8vVZr1c5lYh2oQ0a5y9Qm4yLr0W7oAoGCCqGSM49AwEHoUQDQgAE7b1f"
PEM = f"-----BEGIN EC PRIVATE KEY-----\n{BODY}\n{BODY[::-1]}\n-----END EC PRIVATE KEY-----\n"


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    "spelled",
    [
        *(str, repr, json.dumps, quote, quote_plus, lambda text: json.dumps(json.dumps(text))),
        *(lambda text: text[:-60], lambda text: text.replace("\n", "\r\n"), lambda text: text.replace("\n", " ")),
        *(lambda text: text.replace("\n", "\n> "), lambda text: text.replace(" EC ", " ENCRYPTED ")),
        *(
            lambda text: text.replace(" EC ", " "),
            lambda text: text.replace("\n", ""),
            lambda text: repr(text.encode()),
        ),
        *(lambda text: text.replace(" ", "\n"), lambda text: BODY, lambda text: text.split("\n", 1)[1]),
    ],
)
def test_no_private_key_survives_in_any_wrapping(side, spelled):
    text = f"before {spelled(PEM)} behind"
    shown = side(text)
    assert not survivors(BODY, shown), shown
    assert shown.startswith("before ")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: SharedAccessSignature sr=h&sig={quote(KEY, safe='')}&se=1&skn=device",
        f"SharedAccessSignature sr=h&se=1&sig={quote(KEY, safe='')}",
        f"Authorization: Bearer {KEY}",
        f"authorization: Basic {KEY}",
        f"Authorization: {KEY}",
        f"-H 'Authorization: Bearer {KEY}'",
        f"{{'Authorization': 'SharedAccessSignature sr=h&sig={quote(KEY, safe='')}&se=1'}}",
        f"HostName=h;DeviceId=d;SharedAccessKey={KEY[:50]}",
        f"HostName=h;DeviceId=d;SharedAccessKey={KEY[:44]}\n{KEY[44:]}",
        f"token eyJhbGciOiJub25lIn0.{KEY.rstrip('=').replace('+', '-').replace('/', '_')}.{'aB3' * 9}",
    ],
)
def test_no_header_and_no_token_shows_its_secret(side, text):
    assert not survivors(KEY, side(text)), side(text)
    assert not survivors(KEY[44:], side(text)), side(text)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    "text",
    [
        "HostName=contoso.azure-devices.test;SharedAccessKeyName=owner",
        "ETag: \"MTU3MDUzODYyMjQ5\", etag='AAAAAAAAAAE='",
        f"thumbprint: {'AB12' * 10}, {'0F' * 32}",
        "operation 5.83f48f9565afb5c1.981ae540-a902-4bd1-8bf8-93cbc71bda27",
        "-----BEGIN CERTIFICATE-----\nMIIBfjCCASSgAwIBAgIUckj\n-----END CERTIFICATE-----",
        "the bearer certificates and the basic questions",
        "Primary key: This key has 3 bytes",
        "policyKey is 'swap'; it must be 'primaryKey' or 'secondaryKey'",
        "primaryKey=****abcd;sig=****",
        "SharedAccessKey=…",
        "https://learn.microsoft.com/azure/iot-dps/concepts-symmetric-key-attestation",
        "registration ID thermostat-001 in 0ne00000A01, key name registration",
        # of a picture
        "7ekeyuqJeoxe3t7uSMQERHppYKCAgFA7Nu3Tzg7O4vg4GBx4cIFcenSpRo/Fy5cEMHBwcLZ2VkcPXpUaVlycrIAIAoKCmrMcO/ePWFrayuOHj0q",
        "endorsementKey: AToAAQALAAMAsgAgg3GXZ0SEs",
    ],
)
def test_what_is_harmless_stays(side, text):
    assert side(text) == text
