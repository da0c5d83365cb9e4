import json
from datetime import datetime, timedelta, timezone

import pytest

from dps_simulator.common.clock import ManualClock, SystemClock
from dps_simulator.common.trace import Trace, redact
from dps_simulator.errors import table as errors
from dps_simulator.errors.masking import mask
from dps_simulator.errors.table import (
    Dps,
    Hub,
    Provenance,
    ResourceManager,
    ServiceError,
    Transport,
    ascii_json,
    dps_body,
    hub_body,
    table,
)
from dps_simulator.errors.timestamps import azure_timestamp


def record(trace, **changes):
    facts = {
        "service": "hub",
        "host": "h",
        "direction": "in",
        "protocol": "mqtt",
        "operation": "connect",
        "device": "d",
    }
    trace.record(**{**facts, **changes})


def test_events_are_numbered_bounded_and_never_renumbered():
    trace = Trace(ManualClock(), capacity=3)
    for number in range(5):
        record(trace, detail={"n": number})
    assert [event.sequence for event in trace.events()] == [3, 4, 5]
    assert [event.sequence for event in trace.events(after=4)] == [5]
    assert len(trace.events(limit=1)) == 1
    trace.clear()
    record(trace)
    assert [event.sequence for event in trace.events()] == [6]
    assert trace.last_sequence == 6
    assert trace.events()[0].to_json()["time"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "secret",
    [
        {"symmetricKey": {"primaryKey": "c2VjcmV0LXNlY3JldC1zZWNyZXQ="}},
        "SharedAccessSignature sr=x&sig=c2VjcmV0LXNlY3JldC1zZWNyZXQ=&se=1",
        "HostName=h;SharedAccessKeyName=n;SharedAccessKey=c2VjcmV0LXNlY3JldC1zZWNyZXQ=",
        ["-----BEGIN PRIVATE KEY-----\nc2VjcmV0LXNlY3JldC1zZWNyZXQ=\n-----END PRIVATE KEY-----"],
        b"SharedAccessKey=c2VjcmV0LXNlY3JldC1zZWNyZXQ=",
        {"Authorization": "SharedAccessSignature c2VjcmV0LXNlY3JldC1zZWNyZXQ="},
    ],
)
def test_secrets_are_masked_wherever_they_stand(secret):
    assert "c2VjcmV0LXNlY3JldC1" not in str(redact(secret))


def test_other_values_stay_and_long_ones_are_cut():
    assert redact({"deviceId": "x", "n": 1, "none": None}) == {"deviceId": "x", "n": 1, "none": None}
    assert len(redact("x" * 5_000)) < 2_100
    assert mask("short") == "****"
    assert mask("a-long-secret-1234") == "****1234"


def test_every_error_says_where_it_comes_from_and_its_code_fits_its_status():
    for owner in (Dps, Hub, ResourceManager, Transport):
        rows = table(owner)
        assert len(rows) > 5
        assert len({kind.name for kind in rows.values()}) == len(rows)
        for kind in rows.values():
            assert kind.code // 1000 == kind.status
            assert kind.message
            assert kind.source != "-" or kind.provenance is Provenance.SIMULATOR_ONLY
            if kind.code % 1000 >= 900:
                assert kind.provenance is Provenance.SIMULATOR_ONLY


def test_an_error_carries_the_most_precise_text_that_was_given():
    assert ServiceError(Dps.ENROLLMENT_NOT_FOUND).message == "Enrollment not found."
    error = ServiceError(Hub.DEVICE_NOT_FOUND, "The device 'x' is not registered.", reason="internal")
    assert str(error) == "404001 The device 'x' is not registered."
    assert "internal" not in str(error)


def test_bodies_have_the_shape_of_their_service():
    now = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=timezone.utc)
    error = ServiceError(Dps.ENROLLMENT_EXISTS)
    body = dps_body(error, now)
    assert body["errorCode"] == body["code"] == 409201
    assert body["trackingId"] == error.tracking_id
    assert body["timestampUtc"] == "2026-01-02T03:04:05.6Z"
    hub = hub_body(ServiceError(Hub.DEVICE_EXISTS), now)
    assert hub["Message"] == "ErrorCode:DeviceAlreadyExists;Conflict"
    assert "TimeStamp:01/02/2026 03:04:05" in str(hub["ExceptionMessage"])


def test_json_is_ascii_for_clients_that_decode_it_so():
    assert ascii_json({"name": "Gerät"}) == b'{"name":"Ger\\u00e4t"}'


def test_clocks():
    clock = ManualClock()
    before = clock.now()
    clock.advance(1.5)
    assert clock.now() - before == timedelta(seconds=1.5)
    assert SystemClock().now().tzinfo is timezone.utc
    assert azure_timestamp(datetime(2026, 1, 1, tzinfo=timezone.utc)) == "2026-01-01T00:00:00Z"
    assert errors.Provenance.RECORDED.value == "recorded"


@pytest.mark.parametrize(
    "large",
    [
        [{}] * 300_000,
        [""] * 300_000,
        list(range(300_000)),
        {"k" * 90_000 + str(number): 1 for number in range(3)},
        {f"name-{number}": "x" * 5_000 for number in range(1_000)},
        {"outer": [{"inner": ["y" * 100] * 100}] * 100},
        b"z" * 300_000,
    ],
    ids=["objects", "empty texts", "numbers", "long names", "texts", "nested", "bytes"],
)
def test_a_large_message_takes_little_room(large):
    kept = redact({"body": large, "reason": "why"})
    assert len(json.dumps(kept)) < 60_000
    assert "…" in str(kept)


def test_what_is_nested_too_deep_is_left_out():
    deep = nested = []
    for number in range(100):
        nested.append([] if number % 2 else {"a": []})
        nested = nested[0]["a"] if isinstance(nested[0], dict) else nested[0]
    assert "…" in str(redact(deep))


@pytest.mark.parametrize("secret", [["c2VjcmV0"], {"value": "c2VjcmV0"}, 5, "c2VjcmV0"])
def test_whatever_stands_under_the_name_of_a_secret_is_masked(secret):
    assert redact({"primaryKey": secret, "password": None}) == {"primaryKey": "****", "password": None}


def test_secrets_in_json_that_was_not_parsed_are_masked():
    body = b'{"keys": {"PrimaryKey" : "c2VjcmV0LXNlY3JldC1zZWNyZXQ=", "other": "kept", "secondaryKey": "c2VjcmV0LXNlY'
    shown = redact(body)
    assert "c2VjcmV0LXNl" not in shown
    assert "kept" in shown


def test_the_key_in_the_address_of_a_function_is_masked():
    shown = redact({"webhookUrl": "https://example.test/api/allocate?code=c2VjcmV0LXNlY3JldC1zZWNyZXQ=&clientId=x"})
    assert "c2VjcmV0LXNl" not in shown["webhookUrl"]
    assert shown["webhookUrl"].startswith("https://example.test/api/allocate?code=****")


def test_an_error_that_repeats_a_wrong_value_masks_the_secret_in_it():
    given = "HostName=h;SharedAccessKeyName=n;SharedAccessKey=c2VjcmV0LXNlY3JldC1zZWNyZXQ="
    error = ServiceError(Dps.INVALID_BODY, f"iotHubs[0] is {given!r}.", reason=given)
    assert "c2VjcmV0LXNl" not in error.message + error.reason + str(error) + repr(error)
    assert "HostName=h" in error.message


def test_a_large_body_does_not_push_out_the_reason():
    trace = Trace(ManualClock())
    record(trace, detail={"body": ["x" * 1_000] * 1_000, "reason": "why", "password": "secret"})
    detail = trace.events()[0].detail
    assert (detail["reason"], detail["password"], detail["body"][-1]) == ("why", "****", "…")
