import base64
import pickle

import pytest

from helpers.credentials import (
    CredentialsError,
    Secret,
    decode_key,
    derive_device_key,
    mask,
    new_key,
    parse_connection_string,
    sas_token,
)

# Microsoft's own example, "How to provision devices using symmetric key enrollment groups"
GROUP_KEY = "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=="
MEMBER = "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6"
MEMBER_KEY = "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc="
# The Azure CLI's unit test of its tokens
TOKEN_KEY = "+XLy+MVZ+aTeOnVzN2kLeB16O+kSxmz6g3rS6fAf6rw="
CONNECTION = f"HostName=mydps.azure-devices-provisioning.net;SharedAccessKeyName=owner;SharedAccessKey={TOKEN_KEY}"


def test_a_derived_key_is_the_one_in_microsofts_example():
    assert derive_device_key(GROUP_KEY, MEMBER).reveal() == MEMBER_KEY
    assert derive_device_key(Secret(GROUP_KEY), MEMBER) == Secret(MEMBER_KEY)


@pytest.mark.parametrize(
    ("resource", "policy", "signature"),
    [
        (
            "iot-hub-for-test.azure-devices.net/devices/iot-device-for-test",
            "",
            "SIumZ1ACqqPJZ2okHDlW9MSYKykEpqsQY3z6FMOICd4%3D",
        ),
        ("iot-hub-for-test.azure-devices.net", "iothubowner", "770sPjjYxRYpNz8%2FhEN7XR5XU5KDGYGTinSP8YyeTXw%3D"),
    ],
)
def test_a_token_is_the_one_in_the_azure_clis_tests(resource, policy, signature):
    token = sas_token(resource, TOKEN_KEY, policy=policy, expiry=1471940363).reveal()
    assert f"&sig={signature}&se=1471940363" in token
    assert token.startswith("SharedAccessSignature sr=iot-hub-for-test.azure-devices.net")
    assert token.endswith(f"&skn={policy}" if policy else "&se=1471940363")


def test_a_token_is_valid_for_an_hour_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr("helpers.credentials.time.time", lambda: 1_000.0)
    assert "&se=4600" in sas_token("host", TOKEN_KEY).reveal()
    assert "&se=1010" in sas_token("host", TOKEN_KEY, seconds=10).reveal()


def test_nothing_to_derive_or_sign_is_refused():
    with pytest.raises(CredentialsError, match="registration ID"):
        derive_device_key(GROUP_KEY, "")
    with pytest.raises(CredentialsError, match="resource"):
        sas_token("", TOKEN_KEY)


@pytest.mark.parametrize(
    "registration_id", ["", " ", "pump-1\n", " pump-1", "pump 1", "pümp", "pump_", "a" * 129, None, 7]
)
def test_no_key_is_derived_for_an_id_that_cannot_be(registration_id):
    with pytest.raises(CredentialsError, match="registration ID, and this one cannot exist: it "):
        derive_device_key(GROUP_KEY, registration_id)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"resource": None}, "of type NoneType"),
        ({"resource": "hub.test/devices/a\n"}, "line break"),
        ({"policy": "owner\n"}, "line break"),
        ({"policy": "a&se=1"}, "'&'"),
        ({"seconds": "60"}, "not str"),
        ({"expiry": 1.5}, "not float"),
    ],
)
def test_no_token_is_made_that_no_service_takes(options, says):
    with pytest.raises(CredentialsError, match=says):
        sas_token(**{"resource": "hub.test", "key": TOKEN_KEY, **options})


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (f"HostName=a.b;SharedAccessKey={TOKEN_KEY}", "connection string"),
        (f"SharedAccessSignature sr=a&sig={TOKEN_KEY}", "token"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA", "PEM"),
        (TOKEN_KEY.replace("+", "%2B").replace("=", "%3D"), "percent-encoded"),
        (TOKEN_KEY.replace("+", "-").replace("/", "_"), "- or _"),
        (None, "not as NoneType"),
        (b"AAAA", "not as bytes"),
    ],
)
def test_what_is_no_key_is_called_by_its_name(key, says):
    with pytest.raises(CredentialsError, match=says) as problem:
        decode_key(key)
    assert TOKEN_KEY[5:15] not in str(problem.value)


def test_the_line_break_behind_a_key_is_no_part_of_it():
    assert decode_key(f" {TOKEN_KEY}\r\n") == decode_key(TOKEN_KEY)


def test_a_secret_shows_its_last_characters_only():
    secret = Secret(MEMBER_KEY)
    assert str(secret) == "****ermc"
    assert repr(secret) == "Secret(****ermc)"
    assert f"{secret}" == "****ermc"
    assert str([secret]) == "[Secret(****ermc)]"
    assert secret.reveal() == MEMBER_KEY
    assert mask("short") == "****"
    assert secret == Secret(MEMBER_KEY)
    assert secret != Secret(GROUP_KEY)
    assert secret != MEMBER_KEY
    assert len({secret, Secret(MEMBER_KEY)}) == 1


def test_a_secret_is_text_and_is_not_pickled():
    with pytest.raises(TypeError, match="not bytes"):
        Secret(b"x")
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(Secret("x"))


def test_new_keys_have_64_bytes_and_differ():
    assert len(decode_key(new_key())) == 64
    assert new_key() != new_key()


@pytest.mark.parametrize(("key", "says"), [("not base64!", "base64"), ("AAAA", "3 bytes"), ("A" * 88, "66 bytes")])
def test_an_unusable_key_is_refused_without_quoting_it(key, says):
    with pytest.raises(CredentialsError, match=says) as problem:
        decode_key(key)
    assert key not in str(problem.value)
    assert base64.b64encode(b"x") not in str(problem.value).encode()


def test_a_connection_string_is_taken_apart():
    for text in (CONNECTION, f" '{CONNECTION};' ", ";".join(reversed(CONNECTION.split(";")))):
        found = parse_connection_string(text)
        assert (found.host, found.policy) == ("mydps.azure-devices-provisioning.net", "owner")
        assert found.key.reveal() == TOKEN_KEY
        assert found.text().reveal() == CONNECTION
        assert TOKEN_KEY not in repr(found)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "lacks HostName and SharedAccessKeyName and SharedAccessKey"),
        ("HostName=a.b", "lacks SharedAccessKeyName and SharedAccessKey"),
        (CONNECTION + ";HostName=x", "HostName twice"),
        (CONNECTION.replace("HostName=", "HostName=https://"), "bare host name"),
        (CONNECTION + ";DeviceId=a", "belongs to one device"),
        (CONNECTION + ";Other=a", "none of HostName"),
        (CONNECTION + ";word", "without '='"),
        (CONNECTION[:-5], "SharedAccessKey: This key is not valid base64"),
        ("x" * 5000, "longer than 4096"),
    ],
)
def test_a_wrong_connection_string_is_refused_by_name_without_its_key(text, says):
    with pytest.raises(CredentialsError, match="MY_SETTING") as problem:
        parse_connection_string(text, of="MY_SETTING")
    assert says in str(problem.value)
    assert TOKEN_KEY[:10] not in str(problem.value)
