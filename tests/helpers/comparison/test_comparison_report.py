"""The report says each difference once, with examples, and is not written when something private would stand in it."""

import json

import pytest
from test_differences import answer

from helpers.comparison.differences import compare
from helpers.comparison.report import ReportError, private, save

PASSED = {"00_start_here": {"azure": "passed", "simulator": "failed"}}
KEY = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="


def calls():
    names = [f"GET /{number}" for number in range(5)]
    return compare("00", [answer(name, status=201) for name in names], [answer(name) for name in names]) + compare(
        "11", [answer("GET /same")], [answer("GET /same")]
    )


def test_a_difference_of_many_calls_is_one_line(tmp_path):
    file = save(calls(), tmp_path / "report", PASSED, [])
    text = file.read_text(encoding="utf-8")
    assert "6 calls were compared; 1 were answered alike, 5 not." in text
    assert text.count("**status**") == 1
    assert "Azure `201`, the simulator `200`" in text
    assert text.count("  - 00: `<dps>`") == 3
    assert "and 2 more" in text
    assert "- 11: `<dps>` `https GET /same`" in text
    assert "| 00_start_here | passed | failed |" in text
    document = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    assert len(document["calls"]) == 6
    assert document["outcomes"] == PASSED
    assert "azure-iot-device" in document["facts"]


@pytest.mark.parametrize(
    "secret",
    [
        f"SharedAccessKey={KEY}",
        f"HostName=a;SharedAccessKey={KEY}",
        KEY,
        "SharedAccessSignature sr=a&sig=abcdefgh12345678&se=1",
        "11111111-2222-3333-4444-555555555555",
        "contoso-hub-9.azure-devices.net",
        "A1" * 20,
        "a1" * 32,
        "-----BEGIN PRIVATE KEY-----\nMIIabc",
        "my-own-thing",
    ],
)
@pytest.mark.parametrize("place", ["body", "operation", "service"])
def test_nothing_private_is_written(tmp_path, secret, place):
    put = {"body": {"a": secret}} if place == "body" else {place: f"GET /{secret}"}
    with pytest.raises(ReportError) as failure:
        save(compare("00", [answer(**put)], [answer()]), tmp_path / "report", PASSED, ["", "my-own-thing"])
    assert secret not in str(failure.value)
    assert not (tmp_path / "report").exists()


def test_what_is_no_secret_is_none():
    assert private("<hub> <guid> thermostat-001 /enrollments/query <base64 of 32 bytes>") == []
