import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dps_simulator.credentials.sas import MAX_TOKEN_LENGTH, SasError, SharedAccessSignature, decode_key, sign
from dps_simulator.credentials.symmetric_keys import SymmetricKey

KEY = b"a symmetric key of thirty-two b."
RESOURCES = [
    pytest.param("0ne00000A01%2Fregistrations%2FDev%3AA-1", id="python"),
    pytest.param("0ne00000A01/registrations/Dev:A-1", id="node and java, not encoded"),
    pytest.param("0ne00000A01%2fregistrations%2fDev%3aA-1", id="c, lower-case digits"),
    pytest.param("0ne00000a01%2Fregistrations%2Fdev%3Aa-1", id="rust, lower-case resource"),
]


# Public vectors: the first two are signatures from the tests of the Azure CLI extension, the third from the Node SDK.
@pytest.mark.parametrize(
    ("key", "resource", "expiry", "policy", "signature"),
    [
        (
            "+XLy+MVZ+aTeOnVzN2kLeB16O+kSxmz6g3rS6fAf6rw=",
            "iot-hub-for-test.azure-devices.net%2Fdevices%2Fiot-device-for-test",
            1471940363,
            None,
            "SIumZ1ACqqPJZ2okHDlW9MSYKykEpqsQY3z6FMOICd4%3D",
        ),
        (
            "+XLy+MVZ+aTeOnVzN2kLeB16O+kSxmz6g3rS6fAf6rw=",
            "iot-hub-for-test.azure-devices.net",
            1471940363,
            "iothubowner",
            "770sPjjYxRYpNz8%2FhEN7XR5XU5KDGYGTinSP8YyeTXw%3D",
        ),
        ("cGFzc3dvcmQ=", "uri", 12345, None, "kcWxXAK2OAaAoq2oCkaGzX2NMqDB8nCyNuq2fPYCDhk%3D"),
    ],
)
def test_published_signatures_are_made_and_accepted(key, resource, expiry, policy, signature):
    text = sign(resource, decode_key(key), expiry, policy)
    assert f"sig={signature}&" in text
    assert SharedAccessSignature.parse(text).is_signed_by(decode_key(key))


# Microsoft's documentation of group enrollments, and the tests of the Azure CLI extension (a key longer than a block).
VECTORS = [
    (
        "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==",
        "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6",
        "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=",
    ),
    (
        (
            "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAibym9HQP9vxCGF5dVc1QQsAGe021"
            "aUGJzNol1/gycBx3jFsTpwmWbISRwnFvflWd0w2Mc44FAAZNaJOAAxwZvG8GvyLlHh6fGKdh+mSBL4iLH2bZ4Ry22cB3CJVjXmdGoz9Y/j3/"
            "NwLndBxQC+baNvzvyVQZ4/A2YL7vzIIj2ik4y+ve9ir7U0GbNdnxskqK1KFIITVVtkTIYyyFTIR0BySjPrRIDj7r7Mh5uF9HBppGKQCBoVSV"
            "V8dI91lNazmSdpGWyqCkO7iM4VvUMv2HT/ym53aYlUrau+Qq87Tu+uQipWYgRdF11KDfcpMHqqzBQQ1NpOJVhrsTrhyJzO7KNw=="
        ),
        "myarbitrarydeviceId",
        "cT/EXZvsplPEpT//p98Pc6sKh8mY3kYgSxavHwMkl7w=",
    ),
]


@pytest.mark.parametrize(("group_key", "registration_id", "expected"), VECTORS)
def test_published_derived_keys(group_key, registration_id, expected):
    assert SymmetricKey.of(group_key).derive(registration_id).text == expected


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("order", ["sr sig se", "sr sig se skn", "sr sig skn se", "se skn sig sr"])
@pytest.mark.parametrize("policy", ["", "registration"])
def test_every_spelling_of_the_sdks(resource, order, policy):
    signature = dict(part.split("=", 1) for part in sign(resource, KEY, 1700000000).split(" ")[1].split("&"))["sig"]
    values = {"sr": resource, "sig": signature, "se": "1700000000", "skn": policy}
    text = "SharedAccessSignature " + "&".join(f"{name}={values[name]}" for name in order.split())
    token = SharedAccessSignature.parse(text)
    assert token.is_signed_by(KEY)
    assert tuple(map(str.lower, token.resource_parts())) == ("0ne00000a01", "registrations", "dev:a-1")
    assert token.key_name == (policy if policy and "skn" in order else None)
    assert token.expiry == 1700000000


def test_a_signature_whose_slash_is_not_encoded():
    # urllib's quote leaves "/" alone, which one service client relies on
    for expiry in range(1000, 1200):
        text = sign("host", KEY, expiry)
        if "%2F" in text:
            assert SharedAccessSignature.parse(text.replace("%2F", "/")).is_signed_by(KEY)
            return
    pytest.fail("no signature contained a slash")


def test_the_literal_texts_are_signed():
    text = sign("a%2Fb", KEY, 12)
    assert not SharedAccessSignature.parse(text.replace("a%2Fb", "a/b")).is_signed_by(KEY)
    assert not SharedAccessSignature.parse(text.replace("se=12", "se=012")).is_signed_by(KEY)
    assert not SharedAccessSignature.parse(text).is_signed_by(KEY + b"x")
    assert SharedAccessSignature.parse(text.replace("Shared", "shared")).is_signed_by(KEY)


@pytest.mark.parametrize(
    ("resource", "parts"),
    [
        ("https%3A%2F%2Fhost%2F", ("host",)),
        ("host:443", ("host:443",)),
        ("host%3a443%2fdevices%2fa", ("host:443", "devices", "a")),
        ("host/devices/a+b", ("host", "devices", "a+b")),
        ("amqps://host/devices/a/", ("host", "devices", "a")),
    ],
)
def test_parts_of_the_resource(resource, parts):
    assert SharedAccessSignature(resource, b"", 1).resource_parts() == parts


def test_expiry():
    token = SharedAccessSignature.parse(sign("host", KEY, 100))
    assert not token.is_expired(99.9)
    assert token.is_expired(100)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "begin"),
        ("Bearer abc", "begin"),
        ("SharedAccessSignature", "begin"),
        ("SharedAccessSignature ", "empty"),
        ("SharedAccessSignature sr=a&sig=YQ%3D%3D", "lacks se"),
        ("SharedAccessSignature sr=&sig=&se=", "lacks sr and sig and se"),
        ("SharedAccessSignature sr=a&sig=YQ%3D%3D&se=soon", "whole number"),
        ("SharedAccessSignature sr=a&sig=YQ%3D%3D&se=1.5", "but '1.5'"),
        ("SharedAccessSignature sr=a&sig=YQ%3D%3D&se=" + "9" * 19, "whole number"),
        ("SharedAccessSignature sr=a&sig=?&se=1", "not base64"),
        ("SharedAccessSignature sr=a&sig=abc&se=1", "not base64"),
        ("SharedAccessSignature sr=a&sr=b&sig=YQ%3D%3D&se=1", "sr twice"),
        ("SharedAccessSignature sr=a&sig&se=1", "without '='"),
        ("SharedAccessSignature sr=a b&sig=YQ%3D%3D&se=1", "space"),
        ("SharedAccessSignature sr=ä&sig=YQ%3D%3D&se=1", "ASCII"),
        ("SharedAccessSignature sr=%ff&sig=YQ%3D%3D&se=1", "UTF-8"),
        ("SharedAccessSignature sr=" + "a" * MAX_TOKEN_LENGTH, "characters"),
    ],
)
def test_malformed_tokens(text, part):
    with pytest.raises(SasError, match=part):
        SharedAccessSignature.parse(text)


def test_no_signature_is_shown():
    signature = quote(base64.b64encode(b"secret signature"), safe="")
    token = SharedAccessSignature.parse(f"SharedAccessSignature sr=a&sig={signature}&se=1")
    assert "secret" not in repr(token)
    assert signature[:8] not in repr(token)
    for text in (
        f"SharedAccessSignature sr=a&se=1sig={signature}",
        f"SharedAccessSignature sr=a&sig=?{signature}&se=1",
    ):
        with pytest.raises(SasError) as error:
            SharedAccessSignature.parse(text)
        assert signature[:8] not in str(error.value)


@pytest.mark.parametrize("resource", ["a&b", "", "a b", "ä"])
def test_a_resource_that_cannot_be_signed(resource):
    with pytest.raises(SasError, match="printable"):
        sign(resource, KEY, 1)


def test_a_negative_expiry():
    with pytest.raises(SasError, match="negative"):
        sign("a", KEY, -1)


@pytest.mark.parametrize("text", ["", "abc", "ab=c", "abcd=", "a_b-", "YQ==\n", " YQ=="])
def test_keys_are_decoded_strictly(text):
    with pytest.raises(SasError) as error:
        decode_key(text)
    assert not text.strip() or text not in str(error.value)


@given(st.text() | st.text(alphabet="srigekn=&%+/ABab01").map("SharedAccessSignature ".__add__))
def test_any_text_is_a_token_or_an_error(text):
    try:
        token = SharedAccessSignature.parse(text)
    except SasError:
        return
    token.is_signed_by(KEY)
    assert token.resource_parts()
    assert repr(token)


@given(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1).map(lambda text: quote(text, safe="/:")),
    st.binary(min_size=1, max_size=64),
    st.integers(0, 10**17),
    st.none() | st.text(min_size=1, max_size=20),
)
def test_signing_and_parsing_are_inverse(resource, key, expiry, policy):
    token = SharedAccessSignature.parse(sign(resource, key, expiry, policy))
    assert (token.resource, token.expiry, token.key_name) == (resource, expiry, policy)
    assert token.is_signed_by(key)
