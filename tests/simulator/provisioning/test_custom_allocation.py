import json
import re

import pytest
from provisioning_parts import GROWN, HUB_1, HUB_2, INITIAL, MIGRATE, NEVER, PRIMARY_KEY, RESET, Provisioning

from dps_simulator.errors.table import Dps, ServiceError
from dps_simulator.process.store import Store
from dps_simulator.provisioning.registration.custom_allocation import (
    AllocationAnswer,
    failed_with_status,
    masked_url,
    read_answer,
)
from dps_simulator.provisioning.registration.states import Pace, Status

SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
URL = f"https://functions.example.test/api/allocate?code={SECRET}"
CUSTOM = {"allocationPolicy": "custom", "customAllocationDefinition": {"webhookUrl": URL, "apiVersion": "2021-10-01"}}


@pytest.fixture
def make():
    made = []

    def build(*args, hubs=(HUB_1, HUB_2), **kwargs):
        made.append(Provisioning(*args, hubs=hubs, **kwargs))
        return made[-1]

    yield build
    for parts in made:
        parts.store.close()


def waiting(parts):
    return parts.registrations.pending_allocations(100)


def call(parts):
    (pending,) = waiting(parts)
    return parts.registrations.allocation_call(pending)


def decide(parts, answer):
    (pending,) = waiting(parts)
    return parts.registrations.decide(pending, answer)


def assert_nothing_waits(parts):
    assert waiting(parts) == []
    assert parts.store.collection("pendingAllocation").count() == 0


# --- the request --------------------------------------------------------------------------------------------------


def test_the_request_for_an_individual_enrollment(make):
    parts = make()
    parts.enroll(
        deviceId="Device@1", capabilities={"iotEdge": True}, initialTwin=INITIAL, reprovisionPolicy=MIGRATE, **CUSTOM
    )
    assert parts.register(payload={"model": "T1"}).status is Status.ASSIGNING
    asked = call(parts)
    assert asked.url == URL
    assert asked.registration_id == "device-1"
    enrollment = asked.document["individualEnrollment"]
    etag = enrollment.pop("etag")
    assert re.fullmatch(r'"[0-9a-f-]{36}"', etag)
    assert asked.document == {
        "individualEnrollment": {
            "registrationId": "device-1",
            "deviceId": "Device@1",
            "attestation": {"type": "symmetricKey"},
            "capabilities": {"iotEdge": True},
            "initialTwin": INITIAL,
            "provisioningStatus": "enabled",
            "reprovisionPolicy": MIGRATE,
            "createdDateTimeUtc": "2026-01-01T00:00:00Z",
            "lastUpdatedDateTimeUtc": "2026-01-01T00:00:00Z",
            "allocationPolicy": "custom",
            "customAllocationDefinition": {
                "webhookUrl": "https://functions.example.test/api/allocate?****",
                "apiVersion": "2021-10-01",
            },
        },
        "deviceRuntimeContext": {"registrationId": "device-1", "symmetricKey": {}, "payload": {"model": "T1"}},
        "linkedHubs": [HUB_1, HUB_2],
    }
    text = json.dumps(asked.document)
    assert SECRET not in text
    assert PRIMARY_KEY not in text
    assert SECRET not in repr(asked)


def test_the_request_for_a_group_names_its_hubs_and_where_the_device_is(make):
    parts = make()
    group = parts.enroll_group(iotHubs=[HUB_2], **CUSTOM)
    parts.register("Sensor-A", group)
    asked = call(parts)
    assert asked.document["enrollmentGroup"]["enrollmentGroupId"] == "group-1"
    assert asked.document["enrollmentGroup"]["iotHubs"] == asked.document["linkedHubs"] == [HUB_2]
    assert asked.document["deviceRuntimeContext"] == {"registrationId": "Sensor-A", "symmetricKey": {}}
    decide(parts, {"iotHubHostName": HUB_2})
    parts.register("sensor-a", group)
    assert call(parts).document["deviceRuntimeContext"] == {
        "registrationId": "Sensor-A",
        "currentIotHubHostName": HUB_2,
        "currentDeviceId": "Sensor-A",
        "symmetricKey": {},
    }


@pytest.mark.parametrize(
    ("evidence", "name"),
    [({"leaf_thumbprint": "AB" * 32}, "x509"), ({"tpm_keys": ("EK", "SRK")}, "tpm"), ({}, "symmetricKey")],
)
def test_the_request_tells_how_the_device_proved_itself(make, evidence, name):
    parts = make()
    parts.enroll(**CUSTOM)
    parts.register(**evidence)
    assert call(parts).document["deviceRuntimeContext"] == {"registrationId": "device-1", name: {}}


@pytest.mark.parametrize("payload", [0, False, "", [], {}, "text"])
def test_any_payload_reaches_the_webhook(make, payload):
    parts = make()
    parts.enroll(**CUSTOM)
    parts.register(payload=payload)
    assert call(parts).document["deviceRuntimeContext"]["payload"] == payload


def test_an_address_is_masked_as_the_service_does():
    assert masked_url(URL) == "https://functions.example.test/api/allocate?****"
    assert masked_url("https://functions.example.test/api") == "https://functions.example.test/api"


# --- the answer ---------------------------------------------------------------------------------------------------


def test_an_answer_is_read_whatever_the_case_of_its_names():
    assert read_answer({"iotHubHostname": HUB_1.upper(), "more": 1}, [HUB_1]) == AllocationAnswer(HUB_1)
    assert read_answer({"IOTHUBHOSTNAME": HUB_1, "InitialTwin": {"tags": {"a": 1}}, "Payload": {}}, [HUB_1]) == (
        AllocationAnswer(HUB_1, {"tags": {"a": 1}, "properties": {"desired": {}}}, {})
    )
    nothing = {"iotHubHostName": HUB_1, "initialTwin": None, "payload": None}
    assert read_answer(nothing, [HUB_1]) == AllocationAnswer(HUB_1)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "the webhook answered None; it must answer a JSON object"),
        ([HUB_1], "the webhook answered an array"),
        (HUB_1, "the webhook answered a text"),
        ({}, "lacks iotHubHostName"),
        ({"iotHubHostName": None}, "lacks iotHubHostName"),
        (
            {"iotHubHostName": "other.azure-devices.test"},
            f"'other.azure-devices.test'; it must be one of the linkedHubs: {HUB_1}",
        ),
        ({"iotHubHostName": ""}, "iotHubHostName is ''"),
        ({"iotHubHostName": 7}, "iotHubHostName is 7"),
        ({"iotHubHostName": [HUB_1]}, "iotHubHostName is an array"),
        ({"iotHubHostName": HUB_1, "payload": "text"}, "payload is a text; it must be a JSON object"),
        ({"iotHubHostName": HUB_1, "payload": [1]}, "payload is an array"),
        ({"iotHubHostName": HUB_1, "initialTwin": 5}, "initialTwin is 5; it must be a JSON object"),
        ({"iotHubHostName": HUB_1, "initialTwin": {"tags": []}}, "initialTwin.tags is an array"),
        ({"iotHubHostName": HUB_1, "initialTwin": {"properties": 1}}, "initialTwin.properties is 1"),
        ({"iotHubHostName": HUB_1, "initialTwin": {"properties": {"desired": "x"}}}, "properties.desired is a text"),
    ],
)
def test_answers_that_cannot_be_used(answer, said):
    with pytest.raises(ServiceError) as error:
        read_answer(answer, [HUB_1])
    assert error.value.kind is Dps.CUSTOM_ALLOCATION_FAILED
    assert error.value.message.startswith("Custom allocation failed: ")
    assert said in error.value.message


def test_the_recorded_text_for_a_status():
    error = failed_with_status(500)
    assert (error.kind.code, error.message) == (400207, "Custom allocation failed with status code: 500")


# --- the registration ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pace", "retry_after"), [("instant", 1), ("azure", 3), ("polls=0", 1)])
def test_a_registration_waits_for_its_webhook(make, pace, retry_after):
    parts = make(pace)
    parts.enroll(**CUSTOM)
    first = parts.register()
    assert (first.http_status, first.retry_after, first.state) == (202, retry_after, None)
    for _ in range(3):
        parts.clock.advance(60)
        pending = parts.registrations.poll("device-1", first.operation_id)
        assert (pending.http_status, pending.retry_after) == (202, retry_after)
    assert parts.registrations.get("device-1")["status"] == "assigning"
    assert decide(parts, {"iotHubHostName": HUB_2, "payload": {"hello": "device"}}) == ""
    done = parts.registrations.poll("device-1", first.operation_id)
    assert done.status is Status.ASSIGNED
    assert list(done.state)[-1] == "payload"
    assert (done.state["assignedHub"], done.state["payload"]) == (HUB_2, {"hello": "device"})
    assert done.state["lastUpdatedDateTimeUtc"] == "2026-01-01T00:03:00Z"
    assert set(parts.hubs[1].devices) == {"device-1"}
    assert_nothing_waits(parts)


def test_polls_are_counted_all_the_same(make):
    parts = make("polls=2")
    parts.enroll(**CUSTOM)
    operation = parts.register().operation_id
    decide(parts, {"iotHubHostName": HUB_1})
    assert_nothing_waits(parts)
    for expected in (202, 202, 200):
        assert parts.registrations.poll("device-1", operation).http_status == expected
    # and an answer that comes after them counts at once
    operation = parts.register().operation_id
    for _ in range(4):
        assert parts.registrations.poll("device-1", operation).http_status == 202
    decide(parts, {"iotHubHostName": HUB_1})
    assert parts.registrations.poll("device-1", operation).http_status == 200


def test_no_payload_comes_back_without_a_webhook(make):
    parts = make()
    parts.enroll()
    assert "payload" not in parts.register(payload={"model": "T1"}).state
    assert parts.store.collection("registration").get("device-1")["payload"] is None


def test_whoever_wants_to_know_is_told_once_it_is_stored(make):
    parts = make()
    told = []
    parts.registrations.when_allocation_pending(lambda: told.append(len(waiting(parts))))
    parts.enroll(**CUSTOM)

    def fail():
        with parts.store.transaction():
            parts.register()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert told == []
    parts.register()
    assert told == [1]
    parts.registrations.delete("device-1")
    assert told == [1, 0]
    parts.service.clear()
    assert told == [1, 0, 0]


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (failed_with_status(404), 400207, "Custom allocation failed with status code: 404"),
        ({"iotHubHostName": "other.azure-devices.test"}, 400207, "it must be one of the linkedHubs"),
        ({}, 400207, "lacks iotHubHostName"),
    ],
)
def test_a_bad_answer_fails_the_registration(make, answer, code, said):
    parts = make()
    parts.enroll(**CUSTOM)
    operation = parts.register().operation_id
    problem = decide(parts, answer)
    assert said in problem
    failed = parts.registrations.poll("device-1", operation)
    assert (failed.http_status, failed.status) == (200, Status.FAILED)
    assert (failed.state["errorCode"], failed.state["errorMessage"]) == (code, problem)
    assert not any(hub.devices for hub in parts.hubs)
    assert_nothing_waits(parts)


def test_a_failed_call_leaves_the_device_where_it_was(make):
    parts = make()
    parts.enroll(**CUSTOM)
    parts.register()
    decide(parts, {"iotHubHostName": HUB_1})
    parts.hubs[0].devices["device-1"]["twin"] = GROWN
    parts.register()
    decide(parts, failed_with_status(500))
    assert parts.hubs[0].devices["device-1"]["twin"] == GROWN
    parts.register()
    decide(parts, {"iotHubHostName": HUB_2})
    assert parts.registrations.get("device-1")["substatus"] == "deviceDataMigrated"
    assert parts.hubs[1].devices["device-1"]["twin"] == GROWN
    assert not parts.hubs[0].devices


def test_no_hub_can_be_chosen(make):
    parts = make()
    parts.enroll(iotHubs=[HUB_2], **CUSTOM)
    parts.register()
    del parts.hubs[1]
    assert call(parts) is None
    assert parts.registrations.get("device-1")["errorCode"] == Dps.HUB_NOT_FOUND.code
    parts.hubs.clear()
    parts.register()
    assert call(parts) is None
    assert parts.registrations.get("device-1")["errorCode"] == Dps.NO_HUB.code
    assert_nothing_waits(parts)


def test_a_hub_that_is_unlinked_before_the_device_is_assigned(make):
    parts = make("polls=1")
    parts.enroll(**CUSTOM)
    operation = parts.register().operation_id
    decide(parts, {"iotHubHostName": HUB_2})
    del parts.hubs[1]
    parts.registrations.poll("device-1", operation)
    failed = parts.registrations.poll("device-1", operation)
    assert failed.state["errorCode"] == Dps.HUB_NOT_FOUND.code


@pytest.mark.parametrize("version", ["2018-04-01", "2017-11-15", "1", ""])
def test_an_api_version_that_is_too_old(make, version):
    parts = make()
    definition = {"webhookUrl": URL, "apiVersion": version or "0"}
    parts.enroll(allocationPolicy="custom", customAllocationDefinition=definition)
    parts.register()
    assert call(parts) is None
    message = parts.registrations.get("device-1")["errorMessage"]
    assert "the oldest one is 2018-09-01-preview" in message
    assert SECRET not in message


@pytest.mark.parametrize("version", ["2018-09-01-preview", "2019-03-31", "2021-10-01"])
def test_api_versions_that_can_be_asked(make, version):
    parts = make()
    parts.enroll(allocationPolicy="custom", customAllocationDefinition={"webhookUrl": URL, "apiVersion": version})
    parts.register()
    assert call(parts) is not None


# --- twins --------------------------------------------------------------------------------------------------------

GIVEN = {"tags": {"from": "webhook"}, "properties": {"desired": {"state": "ready"}}}


def assigned(parts, host, **answer):
    parts.register()
    decide(parts, {"iotHubHostName": host, **answer})
    return parts.registrations.get("device-1")


@pytest.mark.parametrize("policy", [None, MIGRATE, RESET])
@pytest.mark.parametrize("to", [0, 1])
def test_the_twin_of_the_webhook_wins(make, policy, to):
    parts = make()
    parts.enroll(initialTwin=INITIAL, reprovisionPolicy=policy, **CUSTOM)
    assert assigned(parts, HUB_1, initialTwin=GIVEN)["substatus"] == "initialAssignment"
    assert parts.hubs[0].devices["device-1"]["twin"] == GIVEN
    parts.hubs[0].devices["device-1"]["twin"] = GROWN
    other = {"tags": {}, "properties": {"desired": {"state": "moved"}}}
    assert assigned(parts, [HUB_1, HUB_2][to], initialTwin=other)["substatus"] == "deviceDataReset"
    assert parts.hubs[to].devices["device-1"]["twin"] == other
    assert not parts.hubs[1 - to].devices


def test_without_a_twin_of_the_webhook_the_policy_holds(make):
    parts = make()
    parts.enroll(initialTwin=INITIAL, **CUSTOM)
    assigned(parts, HUB_1)
    assert parts.hubs[0].devices["device-1"]["twin"] == INITIAL
    parts.hubs[0].devices["device-1"]["twin"] = GROWN
    assert assigned(parts, HUB_1)["substatus"] == "reprovisionedToInitialAssignment"
    assert assigned(parts, HUB_2)["substatus"] == "deviceDataMigrated"
    assert parts.hubs[1].devices["device-1"]["twin"] == GROWN


def test_under_never_the_webhook_is_asked_and_changes_nothing(make):
    parts = make()
    parts.enroll(reprovisionPolicy=NEVER, **CUSTOM)
    assigned(parts, HUB_1)
    parts.hubs[0].devices["device-1"]["twin"] = GROWN
    state = assigned(parts, HUB_2, initialTwin=GIVEN, payload={"seen": 2})
    assert (state["assignedHub"], state["payload"]) == (HUB_1, {"seen": 2})
    assert parts.hubs[0].devices["device-1"]["twin"] == GROWN
    assert not parts.hubs[1].devices


def test_a_twin_that_the_hub_refuses(make):
    parts = make()
    parts.enroll(deviceId="refused-1", **CUSTOM)
    assert assigned(parts, HUB_1, initialTwin=GIVEN)["errorMessage"] == "the hub did not like it"


# --- what may happen meanwhile ------------------------------------------------------------------------------------


def test_a_newer_registration_overtakes(make):
    parts = make()
    parts.enroll(**CUSTOM)
    first = parts.register(payload={"n": 1}).operation_id
    (old,) = waiting(parts)
    second = parts.register(payload={"n": 2}).operation_id
    (new,) = waiting(parts)
    assert (old.operation_id, new.operation_id) == (first, second)
    assert parts.registrations.allocation_call(old) is None
    assert parts.registrations.decide(old, {"iotHubHostName": HUB_1}) == ""
    assert parts.registrations.get("device-1")["status"] == "assigning"
    assert call(parts).document["deviceRuntimeContext"]["payload"] == {"n": 2}
    decide(parts, {"iotHubHostName": HUB_2})
    for operation in (first, second):
        assert parts.registrations.poll("device-1", operation).state["assignedHub"] == HUB_2
    # an answer that comes twice changes nothing either
    before = parts.registrations.get("device-1")
    assert parts.registrations.decide(new, {"iotHubHostName": HUB_1}) == ""
    assert parts.registrations.get("device-1") == before


def test_whatever_is_deleted_waits_no_more(make):
    parts = make()
    parts.enroll(**CUSTOM)
    group = parts.enroll_group(**CUSTOM)
    for forget in (
        lambda: parts.registrations.delete("device-1"),
        lambda: parts.individuals.delete("device-1"),
    ):
        parts.register()
        (pending,) = waiting(parts)
        forget()
        assert_nothing_waits(parts)
        assert parts.registrations.allocation_call(pending) is None
        assert parts.registrations.decide(pending, {"iotHubHostName": HUB_1}) == ""
        assert parts.registrations.find("device-1") is None
    parts.register("member", group)
    parts.groups.delete("group-1")
    assert_nothing_waits(parts)
    parts.enroll(**CUSTOM)
    parts.register()
    parts.service.clear()
    assert_nothing_waits(parts)
    assert not any(hub.devices for hub in parts.hubs)


def test_an_enrollment_that_vanished(make):
    parts = make()
    parts.enroll(**CUSTOM)
    parts.register()
    parts.service.enrollments.clear()
    assert "not found" in decide(parts, {"iotHubHostName": HUB_1}).lower()
    assert parts.registrations.get("device-1")["errorCode"] == Dps.ENROLLMENT_NOT_FOUND.code


def test_a_disabled_enrollment_asks_nobody(make):
    parts = make()
    parts.enroll(provisioningStatus="disabled", **CUSTOM)
    assert parts.register().status is Status.DISABLED
    assert_nothing_waits(parts)
    parts.enroll(if_match="*", **CUSTOM)
    parts.register()
    parts.enroll(if_match="*", provisioningStatus="disabled", **CUSTOM)
    assert call(parts) is None
    assert parts.registrations.get("device-1")["status"] == "disabled"
    assert_nothing_waits(parts)


@pytest.mark.parametrize("asked_before", [True, False])
def test_an_enrollment_that_stops_asking(make, asked_before):
    parts = make()
    parts.enroll(**CUSTOM)
    parts.register()
    if asked_before:
        assert call(parts) is not None
        parts.enroll(if_match="*", allocationPolicy="static", iotHubs=[HUB_2])
        decide(parts, {"iotHubHostName": HUB_2})
    else:
        parts.enroll(if_match="*", allocationPolicy="static", iotHubs=[HUB_2])
        assert call(parts) is None
    assert parts.registrations.get("device-1")["assignedHub"] == HUB_2
    assert_nothing_waits(parts)


@pytest.mark.parametrize("pace", ["azure", "polls=0"])
def test_an_enrollment_that_begins_to_ask(make, pace):
    parts = make(pace)
    parts.enroll()
    operation = parts.register(payload={"kept": True}).operation_id
    parts.enroll(if_match="*", **CUSTOM)
    parts.clock.advance(1)
    assert parts.registrations.poll("device-1", operation).http_status == 202
    assert call(parts).document["deviceRuntimeContext"]["payload"] == {"kept": True}
    assert parts.store.collection("dueRegistration").count() == 0
    decide(parts, {"iotHubHostName": HUB_2})
    assert parts.registrations.poll("device-1", operation).state["assignedHub"] == HUB_2


def test_who_waits_is_still_there_after_a_restart(make, tmp_path):
    before = make(store=Store(tmp_path))
    before.enroll(**CUSTOM)
    before.enroll("device-2", **CUSTOM)
    operation = before.register(payload={"n": 1}).operation_id
    before.register("device-2")
    before.store.close()
    after = make(store=Store(tmp_path), clock=before.clock)
    assert [pending.registration for pending in after.registrations.pending_allocations(1)] == ["device-1"]
    pending = waiting(after)[0]
    assert after.registrations.allocation_call(pending).document["deviceRuntimeContext"]["payload"] == {"n": 1}
    after.registrations.decide(pending, {"iotHubHostName": HUB_1})
    assert after.registrations.poll("device-1", operation).status is Status.ASSIGNED
    assert [pending.registration for pending in waiting(after)] == ["device-2"]


def test_the_pace_may_change_while_somebody_waits(make):
    parts = make("azure")
    parts.enroll(**CUSTOM)
    operation = parts.register().operation_id
    parts.service.pace = Pace.parse("instant")
    assert parts.registrations.poll("device-1", operation).retry_after == 1
