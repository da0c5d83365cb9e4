"""The exercises of the first notebook and of the symmetric-key track: right answers, usual mistakes, nonsense."""

import base64
import hashlib
import hmac

import pytest

from helpers.credentials import Secret, derive_device_key, new_key
from helpers.exercises import start, symmetric_key

NONSENSE = [None, 7, "x", [], [1], {}, {"x": object()}, True, object(), len, b"x", {"deviceId": []}]
# with this one, the key of the member has a + or a / in it
RAW = bytes(range(1, 65))
GROUP = Secret(base64.b64encode(RAW).decode())
TEXT = GROUP.reveal().encode()
MEMBER = "thermostat-102"


def names(answer):
    symmetric_key.connection(answer, registration_id="reg", device_id="Dev", hub="hub-1.test", id_scope="0ne00000A01")


CHECKS = {
    "your DPS": start.your_dps,
    "factory settings": start.factory_settings,
    "derived key": lambda answer: symmetric_key.derived_key(answer, GROUP),
    "hall": symmetric_key.hall,
    "lock": symmetric_key.lock,
    "new name": symmetric_key.new_name,
    "connection": names,
    "refusals": symmetric_key.refusals,
    "firmware": lambda answer: symmetric_key.firmware(lambda: {"desired": answer, "reported": {"firmware": answer}}),
    "wish": lambda answer: symmetric_key.wish(lambda: {"desired": {"targetTemperature": answer}}, lambda: answer),
    "no twin": lambda answer: symmetric_key.firmware(lambda: answer),
    "nor there": lambda answer: symmetric_key.wish(lambda: answer, lambda: answer),
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_nonsense_gets_a_hint_and_raises_nothing(said, check):
    for nonsense in NONSENSE:
        assert said(check, nonsense) != "solved"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("ID scope", "solved"),
        (" id_SCOPE ", "solved"),
        ("", "What tells them apart?"),
        ("registration ID", "tells its devices apart"),
        ("Device ID", "name in its hub"),
        ("hub", "Which hub it is"),
        ("attestation", "proves who it is"),
        ("enrollment", "lies in your DPS"),
        ("0ne00000A01", "That is the value"),
        ("something", "one of the six names"),
    ],
)
def test_whose_dps(said, answer, says):
    assert says in said(start.your_dps, answer)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("acdf", "solved"),
        ("F, D, C, A", "solved"),
        ("", "Write the letters"),
        ("acdfz", "letters a to g"),
        ("acdfg", "Never g"),
        ("abcdf", "Not b"),
        ("acdef", "Not e"),
        ("acd", "missing"),
    ],
)
def test_what_the_factory_writes(said, answer, says):
    assert says in said(start.factory_settings, answer)


def made(key, text, method=hashlib.sha256):
    return hmac.new(key, text.encode(), method).digest()


def coded(digest):
    return base64.b64encode(digest).decode()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (derive_device_key(GROUP, MEMBER), "solved"),
        (derive_device_key(GROUP, MEMBER).reveal(), "solved"),
        (Secret(""), "Copy the cell of step 3"),
        (None, "A key is text"),
        (GROUP, "key of the group itself"),
        (Secret(coded(made(TEXT, MEMBER))), "Decode it first"),
        (Secret(made(RAW, MEMBER).hex().upper()), "in hex"),
        (Secret(str(made(RAW, MEMBER))), "Write them in base64"),
        (Secret(base64.urlsafe_b64encode(made(RAW, MEMBER)).decode()), "base64 for addresses"),
        (Secret(coded(made(RAW, MEMBER)).rstrip("=")), "stands an '='"),
        (Secret(coded(made(RAW, MEMBER.upper()))), "to the letter"),
        (Secret(coded(made(RAW, MEMBER + " "))), "to the letter"),
        (Secret(coded(made(RAW, "thermostats"))), "for another name"),
        (Secret(coded(made(RAW, MEMBER, hashlib.sha1))), "another hash"),
        (Secret(coded(made(RAW, MEMBER, hashlib.sha512))), "another hash"),
        (Secret(coded(hmac.new(MEMBER.encode(), RAW, hashlib.sha256).digest())), "changed places"),
        (Secret("guess"), "only the text"),
    ],
    ids=range(17),
)
def test_the_key_of_a_member(said, answer, says):
    assert says in said(symmetric_key.derived_key, answer, GROUP, others=("thermostats",))


def test_no_key_is_printed(capsys):
    key = new_key()
    symmetric_key.derived_key(key, GROUP)
    symmetric_key.derived_key(GROUP, GROUP)
    shown = capsys.readouterr().out
    assert key.reveal() not in shown
    assert GROUP.reveal() not in shown


RIGHT = {
    "registrationId": "thermostat-103",
    "deviceId": "hall-thermostat",
    "attestation": {"type": "symmetricKey"},
    "initialTwin": {"properties": {"desired": {"targetTemperature": 19}}},
}


def without(name):
    return {field: value for field, value in RIGHT.items() if field != name}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (RIGHT, "solved"),
        (None, "is a dictionary"),
        ({}, "Copy `enrollment`"),
        ({**RIGHT, "registrationId": "hall-thermostat", "deviceId": "thermostat-103"}, "changed places"),
        ({**RIGHT, "registrationId": "Thermostat-103"}, "small letters"),
        (without("registrationId"), "registrationId must be"),
        (without("deviceId"), "deviceId, the hub would"),
        ({**RIGHT, "deviceId": "hall"}, "deviceId must be"),
        (without("attestation"), "attestation is missing"),
        ({**RIGHT, "attestation": {"type": "x509"}}, "of the type"),
        ({**RIGHT, "initialTwin": {"properties": {"reported": {"targetTemperature": 19}}}}, "*desired*"),
        ({**RIGHT, "initialTwin": {"tags": {"targetTemperature": 19}}}, "A tag is a note"),
        ({**RIGHT, "initialTwin": {"desired": {"targetTemperature": 19}}}, "wrong place"),
        ({**RIGHT, "initialTwin": {"targetTemperature": 19}}, "wrong place"),
        ({**without("initialTwin"), "targetTemperature": 19}, "wrong place"),
        (without("initialTwin"), "Where is the temperature"),
        ({**RIGHT, "initialTwin": {"properties": {"desired": {"targetTemperature": "19"}}}}, "is text"),
        ({**RIGHT, "initialTwin": {"properties": {"desired": {"targetTemperature": 21}}}}, "of the hall is 19"),
    ],
    ids=range(18),
)
def test_an_enrollment_for_the_hall(said, answer, says):
    assert says in said(symmetric_key.hall, answer)


def locked(found, keys, **changes):
    return {**found, "attestation": keys, "provisioningStatus": "disabled", **changes}


def right(enrollments, name):
    found = enrollments.get(name)
    keys = enrollments.get_attestation_mechanism(name)
    enrollments.create_or_update(name, locked(found, keys), if_match=found["etag"])


def without_etag(enrollments, name):
    enrollments.create_or_update(name, locked(enrollments.get(name), {}))


def wrong_etag(enrollments, name):
    enrollments.create_or_update(name, {}, if_match="old")


def deletes(enrollments, name):
    enrollments.delete(name)


def nothing(enrollments, name):
    return None


def only_reads(enrollments, name):
    return enrollments.get(name)


def capital(enrollments, name):
    found = enrollments.get(name)
    enrollments.create_or_update(name, locked(found, {}, provisioningStatus="Disabled"), if_match=found["etag"])


def enabled(enrollments, name):
    found = enrollments.get(name)
    enrollments.create_or_update(name, found, if_match="*")


def no_keys(enrollments, name):
    found = enrollments.get(name)
    enrollments.create_or_update(name, {**found, "provisioningStatus": "disabled"}, if_match=found["etag"])


def forgets(enrollments, name):
    keys = enrollments.get_attestation_mechanism(name)
    enrollments.create_or_update(name, locked({"registrationId": name}, keys), if_match="*")


def nonsense(enrollments, name):
    enrollments.create_or_update(name, 7, if_match="*")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (right, "solved"),
        (None, "must be a function"),
        (without_etag, "if_match=found"),
        (wrong_etag, "raised ValueError: 412"),
        (deletes, "It deletes"),
        (nothing, "Nothing was asked"),
        (only_reads, "sends nothing"),
        (capital, "small letters"),
        (enabled, "must be 'disabled'"),
        (no_keys, "The keys are missing"),
        (forgets, "got lost"),
        (nonsense, "must be 'disabled'"),
        (lambda: None, "raised TypeError"),
    ],
)
def test_locking_a_device_out(said, answer, says):
    assert says in said(symmetric_key.lock, answer)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (" Enrollment", "solved"),
        ("", "Which of the three"),
        ("registration record", "a note of what happened"),
        ("device", "cannot choose it"),
        ("the hub", "as DPS says"),
        ("elsewhere", "Write enrollment"),
    ],
)
def test_where_a_name_is_changed(said, answer, says):
    assert says in said(symmetric_key.new_name, answer)


@pytest.mark.parametrize(
    ("host", "name", "says"),
    [
        ("hub-1.test", "Dev", "solved"),
        ("", "", "What did DPS tell"),
        ("hub-1.test", "reg", "registration ID, its name at DPS"),
        ("0ne00000A01", "Dev", "ID scope is for DPS"),
        ("global.azure-devices-provisioning.test", "Dev", "address of DPS"),
        ("https://hub-1.test", "Dev", "without https"),
        ("", "Dev", "host name is missing"),
        ("hub-1.test", "", "device ID is missing"),
        ("hub-1.test", "dev", "capital and small"),
        ("hub-2.test", "Dev", "not the hub"),
        ("hub-1.test", "other", "Both stand in"),
    ],
)
def test_on_to_the_hub(said, host, name, says):
    assert says in said(names, {"hostname": host, "device_id": name})


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("bd", "solved"),
        ("D, b", "solved"),
        ("", "Two of the four"),
        ("bdz", "letters a to d"),
        ("abd", "Device a"),
        ("bcd", "Device c"),
        ("d", "does not open the door for another"),
        ("b", "step 6"),
    ],
)
def test_who_is_refused(said, answer, says):
    assert says in said(symmetric_key.refusals, answer)


def closed():
    raise ConnectionError("closed")


@pytest.mark.parametrize(
    ("twin", "says"),
    [
        ({"reported": {"firmware": "1.0"}}, "solved"),
        ({"reported": {}}, "did the same"),
        ({"desired": {"firmware": "1.0"}}, "under *desired*"),
        ({"reported": {"firmware": 1.0}}, "of another type"),
        ({"reported": {"firmware": "2"}}, "should be '1.0'"),
        ({"reported": {"Firmware": "1.0"}}, "small letters"),
        ({"reported": {"reported": {"firmware": "1.0"}}}, "nested too deeply"),
    ],
)
def test_reporting_the_firmware(said, twin, says):
    assert says in said(symmetric_key.firmware, lambda: twin)
    assert "did the same" in said(symmetric_key.firmware, closed)


@pytest.mark.parametrize(
    ("twin", "other", "says"),
    [
        ({"desired": {"targetTemperature": 18}}, {}, "solved"),
        ({"desired": {"targetTemperature": 21}}, {}, "update_twin"),
        ({"reported": {"targetTemperature": 18}}, {}, "*reported*"),
        ({}, {"desired": {"targetTemperature": 18}}, "Now the kitchen"),
        ({"desired": {"targetTemperature": "18"}}, {}, "without quotes"),
        ({"desired": {"desired": {"targetTemperature": 18}}}, {}, "nested too deeply"),
    ],
)
def test_asking_for_another_temperature(said, twin, other, says):
    assert says in said(symmetric_key.wish, lambda: twin, lambda: other)
