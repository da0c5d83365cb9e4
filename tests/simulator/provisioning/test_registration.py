import itertools
import re

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from provisioning_parts import (
    GROWN,
    HUB_1,
    HUB_2,
    INITIAL,
    MIGRATE,
    NEVER,
    PRIMARY_KEY,
    RESET,
    FakeHub,
    Provisioning,
    derived_key,
    symmetric_key,
)
from thoroughness import examples

from dps_simulator.common.hub_links import HubLink
from dps_simulator.errors.table import Dps, Hub, ServiceError
from dps_simulator.process.store import Store
from dps_simulator.provisioning.enrollments.kinds import INDIVIDUAL
from dps_simulator.provisioning.registration import operations as overtaken
from dps_simulator.provisioning.registration.reprovisioning import REPROVISIONING, TwinAction
from dps_simulator.provisioning.registration.states import TRANSITIONS, Event, OperationStatus, Pace, Status


@pytest.fixture
def make():
    made = []

    def build(*args, **kwargs):
        made.append(Provisioning(*args, **kwargs))
        return made[-1]

    yield build
    for parts in made:
        parts.store.close()


def fails(call, kind):
    with pytest.raises(ServiceError) as error:
        call()
    assert error.value.kind is kind
    return error.value


# --- the tables ---------------------------------------------------------------------------------------------------


def test_the_machine_knows_every_event_of_a_registration_that_is_being_assigned():
    assert {event for status, event in TRANSITIONS if status is Status.ASSIGNING} == set(Event)


def test_only_registering_leaves_a_final_state():
    finals = set(Status) - {Status.ASSIGNING}
    assert {(status, event) for status, event in TRANSITIONS if status in finals} == {
        (status, Event.REGISTER) for status in finals
    }


def test_there_is_a_reprovisioning_rule_for_everything_that_can_happen():
    possible = {key for key in itertools.product([True, False], repeat=3) if key[0] or not key[2]}
    assert set(REPROVISIONING) == possible
    assert all(rule.twin is not TwinAction.MOVE for key, rule in REPROVISIONING.items() if not key[2])


@pytest.mark.parametrize("text", ["azure", "instant", "polls=0", "polls=1000"])
def test_paces(text):
    assert str(Pace.parse(text)) == text


@pytest.mark.parametrize("text", ["", "fast", "polls", "polls=", "polls=-1", "polls=1001", "polls=1e9", "Azure"])
def test_wrong_paces(text):
    with pytest.raises(ValueError, match=re.escape(f"The pace is {text!r}; it must be azure, instant or polls=n")):
        Pace.parse(text)


# --- paces --------------------------------------------------------------------------------------------------------


def test_pace_azure(make):
    parts = make("azure")
    parts.enroll()
    first = parts.register()
    assert (first.http_status, first.retry_after) == (202, 3)
    assert first.to_json() == {"operationId": first.operation_id, "status": "assigning"}
    assert re.fullmatch(r"5\.[0-9a-f]{16}\.[0-9a-f-]{36}", first.operation_id)
    parts.clock.advance(0.29)
    pending = parts.registrations.poll("device-1", first.operation_id)
    assert (pending.http_status, pending.retry_after) == (202, 3)
    assert pending.to_json()["registrationState"] == {"registrationId": "device-1", "status": "assigning"}
    assert not parts.hub.devices
    parts.clock.advance(5)
    done = parts.registrations.poll("DEVICE-1", first.operation_id)
    assert (done.http_status, done.retry_after) == (200, None)
    state = done.to_json()["registrationState"]
    etag = state.pop("etag")
    assert etag
    # the assignment took 0.3 s, whenever somebody asked
    assert list(state.items()) == [
        ("registrationId", "device-1"),
        ("createdDateTimeUtc", "2026-01-01T00:00:00Z"),
        ("assignedHub", HUB_1),
        ("deviceId", "device-1"),
        ("status", "assigned"),
        ("substatus", "initialAssignment"),
        ("lastUpdatedDateTimeUtc", "2026-01-01T00:00:00.3Z"),
    ]
    assert parts.registrations.get("device-1")["etag"] == etag
    assert parts.registrations.poll("device-1", first.operation_id) == done


def test_pace_instant(make):
    parts = make("instant")
    parts.enroll()
    done = parts.register()
    assert (done.http_status, done.status, done.retry_after) == (200, Status.ASSIGNED, None)
    assert done.state["assignedHub"] == HUB_1
    assert parts.registrations.poll("device-1", done.operation_id) == done


@pytest.mark.parametrize("polls", [0, 2])
def test_pace_polls(make, polls):
    parts = make(f"polls={polls}")
    parts.enroll()
    first = parts.register()
    assert (first.http_status, first.retry_after) == (202, 0)
    for _ in range(polls):
        assert parts.registrations.poll("device-1", first.operation_id).http_status == 202
    assert parts.registrations.poll("device-1", first.operation_id).status is Status.ASSIGNED


def test_the_pace_can_be_changed(make):
    parts = make("azure")
    parts.enroll()
    assert parts.register().status is Status.ASSIGNING
    parts.service.pace = Pace.parse("instant")
    assert parts.service.pace == Pace("instant")
    assert parts.register().status is Status.ASSIGNED


@pytest.mark.parametrize("read", ["find", "query", "state_of", "settle"])
def test_every_reader_sees_a_finished_registration(make, read):
    parts = make("azure")
    group = parts.enroll_group()
    parts.enroll()
    parts.register()
    parts.register("member", group)
    assert parts.registrations.get("device-1")["status"] == "assigning"
    parts.clock.advance(1)
    if read == "find":
        assert parts.registrations.find("member")["status"] == "assigned"
    elif read == "query":
        states = [parts.registrations.shown(d) for d in parts.registrations.query("GROUP-1").documents]
        assert [state["status"] for state in states] == ["assigned"]
    elif read == "state_of":
        assert parts.service.show_enrollment(INDIVIDUAL, "device-1")["registrationState"]["status"] == "assigned"
    else:
        parts.registrations.settle()
    assert set(parts.hub.devices) == {"device-1", "member"}


def test_an_unfinished_registration_survives_a_restart(make, tmp_path):
    before = make("azure", store=Store(tmp_path))
    before.enroll()
    operation = before.register().operation_id
    before.store.close()
    after = make("azure", store=Store(tmp_path), clock=before.clock)
    after.clock.advance(1)
    assert after.registrations.poll("device-1", operation).state["status"] == "assigned"
    assert "device-1" in after.hub.devices


# --- what ends up in the hub --------------------------------------------------------------------------------------


def test_an_individual_device(make):
    parts = make()
    parts.enroll(deviceId="Device@X", capabilities={"iotEdge": True}, initialTwin={"tags": None, "properties": None})
    assert parts.register().state["deviceId"] == "Device@X"
    device = parts.hub.devices["Device@X"]
    assert device["credentials"].primary_key == PRIMARY_KEY
    assert device["iot_edge"]
    assert device["twin"] == {"tags": {}, "properties": {"desired": {}}}


def test_a_device_of_a_group_gets_derived_keys_in_its_spelling(make):
    parts = make()
    group = parts.enroll_group(initialTwin=INITIAL)
    state = parts.register("Sensor-A", group).state
    assert state["registrationId"] == state["deviceId"] == "Sensor-A"
    device = parts.hub.devices["Sensor-A"]
    assert device["credentials"].primary_key == derived_key(PRIMARY_KEY, "Sensor-A")
    assert device["twin"] == INITIAL
    # the same device in another spelling stays the same device
    assert parts.register("sensor-a", group).state["deviceId"] == "Sensor-A"
    assert list(parts.hub.devices) == ["Sensor-A"]
    assert parts.hub.devices["Sensor-A"]["credentials"].primary_key == derived_key(PRIMARY_KEY, "sensor-a")


def test_a_device_that_is_already_in_the_hub_keeps_its_twin(make):
    parts = make()
    parts.hub.devices["device-1"] = {"twin": GROWN}
    parts.enroll(initialTwin=INITIAL)
    assert parts.register().state["substatus"] == "initialAssignment"
    assert parts.hub.devices["device-1"]["twin"] == GROWN
    assert parts.hub.devices["device-1"]["credentials"].primary_key == PRIMARY_KEY


# --- endings without a hub ----------------------------------------------------------------------------------------


def test_a_disabled_enrollment(make):
    parts = make("azure")
    parts.enroll(provisioningStatus="disabled")
    operation = parts.register().operation_id
    parts.clock.advance(1)
    done = parts.registrations.poll("device-1", operation)
    assert (done.http_status, done.status) == (200, Status.DISABLED)
    assert set(done.state) == {"registrationId", "createdDateTimeUtc", "status", "lastUpdatedDateTimeUtc", "etag"}
    assert parts.registrations.get("device-1")["status"] == "disabled"
    assert not parts.hub.devices
    parts.enroll(if_match="*")
    parts.register()
    parts.clock.advance(1)
    assert parts.registrations.get("device-1")["status"] == "assigned"


def test_disabling_while_a_device_is_being_assigned(make):
    parts = make("polls=0")
    parts.enroll()
    operation = parts.register().operation_id
    parts.enroll(if_match="*", provisioningStatus="disabled")
    assert parts.registrations.poll("device-1", operation).status is Status.DISABLED


@pytest.mark.parametrize(
    ("hubs", "fields", "kind"),
    [
        ([], {}, Dps.NO_HUB),
        ([HUB_1], {"deviceId": "refused-1"}, Hub.ARGUMENT_INVALID),
    ],
)
def test_failures(make, hubs, fields, kind):
    parts = make(hubs=hubs)
    parts.enroll(**fields)
    failed = parts.register()
    assert (failed.http_status, failed.status) == (200, Status.FAILED)
    assert failed.state["errorCode"] == kind.code
    assert failed.state["errorMessage"]
    assert list(failed.state)[-4:] == ["errorCode", "errorMessage", "lastUpdatedDateTimeUtc", "etag"]
    assert parts.registrations.get("device-1") == failed.state


def test_the_only_hub_of_the_enrollment_is_gone(make):
    parts = make(hubs=[HUB_1, HUB_2])
    parts.enroll(allocationPolicy="static", iotHubs=[HUB_2])
    del parts.hubs[1]
    assert parts.register().state["errorCode"] == Dps.HUB_NOT_FOUND.code


# --- registering again --------------------------------------------------------------------------------------------


def registered(make, policy, **fields):
    parts = make(hubs=[HUB_1, HUB_2])
    fields = {"initialTwin": INITIAL, "allocationPolicy": "static", "reprovisionPolicy": policy, **fields}
    parts.enroll(iotHubs=[HUB_1], **fields)
    assert parts.register().state["assignedHub"] == HUB_1
    parts.hubs[0].devices["device-1"]["twin"] = GROWN

    def again(hub):
        parts.enroll(if_match="*", iotHubs=[hub], **fields)
        parts.clock.advance(10)
        return parts.register().state

    return parts, again


@pytest.mark.parametrize(
    ("policy", "hub", "substatus", "where", "twin"),
    [
        (None, HUB_1, "reprovisionedToInitialAssignment", 0, GROWN),
        (MIGRATE, HUB_1, "reprovisionedToInitialAssignment", 0, GROWN),
        (None, HUB_2, "deviceDataMigrated", 1, GROWN),
        (MIGRATE, HUB_2, "deviceDataMigrated", 1, GROWN),
        (RESET, HUB_1, "deviceDataReset", 0, INITIAL),
        (RESET, HUB_2, "deviceDataReset", 1, INITIAL),
        (NEVER, HUB_1, "reprovisionedToInitialAssignment", 0, GROWN),
        (NEVER, HUB_2, "reprovisionedToInitialAssignment", 0, GROWN),
        (
            {"updateHubAssignment": False, "migrateDeviceData": True},
            HUB_2,
            "reprovisionedToInitialAssignment",
            0,
            GROWN,
        ),
    ],
)
def test_reprovisioning(make, policy, hub, substatus, where, twin):
    parts, again = registered(make, policy)
    before = parts.registrations.get("device-1")
    state = again(hub)
    assert (state["substatus"], state["assignedHub"]) == (substatus, parts.hubs[where].host)
    assert parts.hubs[where].devices["device-1"]["twin"] == twin
    assert not parts.hubs[1 - where].devices
    assert state["createdDateTimeUtc"] == before["createdDateTimeUtc"]
    assert state["lastUpdatedDateTimeUtc"] != before["lastUpdatedDateTimeUtc"]
    assert state["etag"] != before["etag"]


def test_a_twin_that_is_gone_cannot_move(make):
    parts, again = registered(make, MIGRATE)
    parts.hubs[0].devices.clear()
    assert again(HUB_2)["substatus"] == "deviceDataReset"
    assert parts.hubs[1].devices["device-1"]["twin"] == INITIAL


def test_a_hub_that_is_gone(make):
    parts, again = registered(make, MIGRATE)
    del parts.hubs[0]
    assert again(HUB_2)["substatus"] == "deviceDataReset"
    assert parts.hubs[0].devices["device-1"]["twin"] == INITIAL


def test_a_device_that_never_moves_and_whose_hub_is_gone(make):
    parts, again = registered(make, NEVER)
    del parts.hubs[0]
    state = again(HUB_2)
    assert (state["status"], state["errorCode"]) == ("failed", Dps.HUB_NOT_FOUND.code)


def test_a_device_that_was_removed_from_its_hub_comes_back(make):
    parts, again = registered(make, MIGRATE)
    parts.hubs[0].devices.clear()
    assert again(HUB_1)["substatus"] == "reprovisionedToInitialAssignment"
    assert parts.hubs[0].devices["device-1"]["twin"] == INITIAL


def test_a_new_hub_that_refuses_does_not_cost_the_old_one(make):
    parts, again = registered(make, RESET)
    parts.enroll(if_match="*", deviceId="refused-1", reprovisionPolicy=RESET)
    assert parts.register().status is Status.FAILED
    assert "device-1" in parts.hubs[0].devices
    # afterwards the device is still known to be where it was
    assert again(HUB_2)["substatus"] == "deviceDataReset"
    assert not parts.hubs[0].devices


def test_a_new_device_id_replaces_the_old_device(make):
    parts = make()
    parts.enroll(deviceId="old")
    parts.register()
    parts.hub.devices["old"]["twin"] = GROWN
    parts.enroll(if_match="*", deviceId="new")
    assert parts.register().state["substatus"] == "deviceDataMigrated"
    assert list(parts.hub.devices) == ["new"]
    assert parts.hub.devices["new"]["twin"] == GROWN


class StrictHub(FakeHub):
    """Remembers in which order it was asked, and may refuse."""

    def __init__(self, host, log):
        super().__init__(host)
        self.log = log
        self.refuses = False

    def provision_device(self, device_id, *arguments, **fields):
        self.log.append(("provision", self.host))
        if self.refuses:
            raise ServiceError(Hub.ARGUMENT_INVALID, "the hub did not like it")
        super().provision_device(device_id, *arguments, **fields)

    def remove_device(self, device_id):
        self.log.append(("remove", self.host))
        return super().remove_device(device_id)


@pytest.mark.parametrize("policy", [MIGRATE, RESET])
def test_the_old_device_goes_last_and_only_when_the_new_hub_took_it(make, policy):
    parts, again = registered(make, policy)
    log = []
    old, new = StrictHub(HUB_1, log), StrictHub(HUB_2, log)
    old.devices = parts.hubs[0].devices
    parts.hubs[:] = [old, new]
    new.refuses = True
    assert again(HUB_2)["errorMessage"] == "the hub did not like it"
    assert log == [("provision", HUB_2)]
    assert old.devices["device-1"]["twin"] == GROWN
    new.refuses = False
    assert again(HUB_2)["status"] == "assigned"
    assert log[1:] == [("provision", HUB_2), ("remove", HUB_1)]
    assert (bool(old.devices), bool(new.devices)) == (False, True)


def test_a_device_in_a_hub_that_was_unlinked_stays_there(make):
    parts, again = registered(make, MIGRATE)
    unlinked = parts.hubs.pop(0)
    assert again(HUB_2)["assignedHub"] == HUB_2
    assert unlinked.devices["device-1"]["twin"] == GROWN
    # linked again, it is not touched either: the device is elsewhere by now
    parts.hubs.insert(0, unlinked)
    assert parts.register().state["substatus"] == "reprovisionedToInitialAssignment"
    assert "device-1" in unlinked.devices


@pytest.mark.parametrize("policy", [NEVER, {"updateHubAssignment": False, "migrateDeviceData": True}])
def test_a_device_that_may_not_move_and_whose_hub_is_gone(make, policy):
    parts, again = registered(make, policy)
    del parts.hubs[0]
    state = again(HUB_2)
    assert (state["errorCode"], state["errorMessage"]) == (401001, "iothub not found")
    assert not parts.hubs[0].devices


@pytest.mark.parametrize(
    ("version", "policy", "stays"),
    [
        ("2018-04-01", None, True),
        ("2017-11-15", None, True),
        ("2017-08-31-preview", None, True),
        ("2018-09-01-preview", None, False),
        ("2019-03-31", None, False),
        ("", None, False),
        # whatever the enrollment says goes before the age of the client
        ("2018-04-01", MIGRATE, False),
        ("2021-10-01", NEVER, True),
    ],
)
def test_devices_from_before_reprovisioning_stay_where_they_are(make, version, policy, stays):
    parts = make(hubs=[HUB_1, HUB_2])
    fields = {"allocationPolicy": "static", "reprovisionPolicy": policy}
    parts.enroll(iotHubs=[HUB_1], **fields)
    parts.register(api_version=version)
    parts.enroll(if_match="*", iotHubs=[HUB_2], **fields)
    state = parts.register(api_version=version).state
    assert state["assignedHub"] == (HUB_1 if stays else HUB_2)
    kept = "reprovisionedToInitialAssignment" if version == "2021-10-01" else "initialAssignment"
    assert state["substatus"] == (kept if stays else "deviceDataMigrated")


@pytest.mark.parametrize(
    ("version", "substatus"),
    [
        ("2017-11-15", "initialAssignment"),
        ("2018-09-01-preview", "initialAssignment"),
        ("2019-03-31", "initialAssignment"),
        ("2019-04-15", "reprovisionedToInitialAssignment"),
        ("2021-06-01", "reprovisionedToInitialAssignment"),
        ("", "reprovisionedToInitialAssignment"),
    ],
)
def test_what_a_device_that_stays_is_told_depends_on_its_version(make, version, substatus):
    parts = make()
    parts.enroll()
    parts.register(api_version=version)
    assert parts.register(api_version=version).state["substatus"] == substatus


def test_the_policy_of_the_service_holds_where_the_enrollment_has_none(make):
    parts = make(hubs=[HUB_1, HUB_2])
    parts.service.links.put(HubLink(HUB_1, latency=50))
    parts.service.links.put(HubLink(HUB_2, latency=5))
    group = parts.enroll_group()
    nearest = parts.enroll_group("nearest", allocationPolicy="geoLatency")
    names = [f"device-{number}" for number in range(40)]

    def where(enrollment):
        return {parts.register(name, enrollment).state["assignedHub"] for name in names}

    assert where(group) == {HUB_1, HUB_2}
    parts.service.links.allocation_policy = "geoLatency"
    assert where(group) == {HUB_2}
    parts.service.links.allocation_policy = "static"
    assert where(group) == {HUB_1}
    # an enrollment's own policy goes before it
    assert where(nearest) == {HUB_2}


def test_the_one_hub_of_the_old_field_is_named_as_a_static_one(make):
    parts = make(hubs=[HUB_1, HUB_2])
    parts.service.links.put(HubLink(HUB_2, apply_allocation_policy=False))
    parts.enroll(iotHubHostName=HUB_2)
    assert parts.register().state["assignedHub"] == HUB_2
    parts.enroll("device-2")
    assert parts.register("device-2").state["assignedHub"] == HUB_1


def test_an_operation_that_was_overtaken_ends_as_the_newer_one(make):
    parts = make("azure")
    parts.enroll()
    first = parts.register().operation_id
    parts.clock.advance(0.2)
    second = parts.register().operation_id
    parts.clock.advance(0.2)
    assert parts.registrations.poll("device-1", first).status is Status.ASSIGNING
    parts.clock.advance(0.2)
    result = parts.registrations.poll("device-1", first)
    assert result.state == parts.registrations.poll("device-1", second).state
    # a third one does not change what the others ended with
    parts.register()
    assert parts.registrations.poll("device-1", first) == result


# --- operations ---------------------------------------------------------------------------------------------------


def test_operations_of_others_and_of_nobody(make):
    parts = make()
    parts.enroll()
    parts.enroll("device-2")
    operation = parts.register().operation_id
    parts.register("device-2")
    for registration_id, operation_id in (("device-2", operation), ("device-1", "5.x"), ("device-3", operation)):
        error = fails(lambda r=registration_id, o=operation_id: parts.registrations.poll(r, o), Dps.OPERATION_NOT_FOUND)
        assert "has no operation" in error.reason


def test_old_operations_are_forgotten(make):
    parts = make()
    parts.enroll()
    operation = parts.register().operation_id
    parts.clock.advance(24 * 3600 - 1)
    parts.register()
    parts.registrations.poll("device-1", operation)
    parts.clock.advance(2)
    parts.register()
    fails(lambda: parts.registrations.poll("device-1", operation), Dps.OPERATION_NOT_FOUND)
    assert parts.registrations.get("device-1")["status"] == "assigned"


@pytest.mark.parametrize("at_once", [1, 5])
def test_there_are_never_too_many_operations(make, monkeypatch, at_once):
    monkeypatch.setattr(overtaken, "MAX_OPERATIONS", 20)
    monkeypatch.setattr(overtaken, "_PRUNED_AT_ONCE", at_once)
    parts = make()
    parts.enroll()
    parts.enroll("device-2")
    for _ in range(18):
        newest = parts.register().operation_id
    parts.register("device-2")
    # operations that went away with their registration make the count too high, which is found out
    parts.registrations.delete("device-2")
    for _ in range(10):
        newest = parts.register().operation_id
        assert parts.store.collection("operation").count() <= 20
    parts.registrations.poll("device-1", newest)


def answered(parts, device, webhook_payload):
    """Register a device whose webhook sends it something; returns the operation."""
    operation = parts.register(device).operation_id
    (pending,) = parts.registrations.pending_allocations(10)
    assert parts.registrations.decide(pending, {"iotHubHostName": HUB_1, "payload": webhook_payload}) == ""
    return operation


def test_what_webhooks_send_is_kept_once_and_the_rest_bounded_in_bytes(make, monkeypatch):
    # half of 64 KiB in letters that take six bytes as JSON: about what an answer can weigh at most
    payload = {"text": "\u00e9" * 32_000}
    monkeypatch.setattr(overtaken, "MAX_OPERATION_BYTES", 1_000_000)
    definition = {"webhookUrl": "https://functions.example.test/api/allocate", "apiVersion": "2021-10-01"}
    parts = make("azure")
    operations = parts.store.collection("operation")
    devices = [f"device-{number}" for number in range(3)]
    newest = {}
    for device in devices:
        parts.enroll(device, allocationPolicy="custom", customAllocationDefinition=definition)
        newest[device] = answered(parts, device, payload)
    for device, operation in newest.items():
        for _ in range(3):  # a device that lost the answer asks again
            assert parts.registrations.poll(device, operation).state["payload"] == payload
    assert operations.size() == 0
    # one device does it over and over
    older = [answered(parts, "device-0", payload) for _ in range(12)]
    assert operations.size() < 1_000_000
    fails(lambda: parts.registrations.poll("device-0", newest["device-0"]), Dps.OPERATION_NOT_FOUND)
    for operation in older[-4:]:
        assert parts.registrations.poll("device-0", operation).state["payload"] == payload
    # no device that still asks suffers from it, also after a restart
    parts = make("azure", store=parts.store, clock=parts.clock)
    for device in devices[1:]:
        assert parts.registrations.poll(device, newest[device]).state["payload"] == payload
    answered(parts, "device-0", payload)
    assert operations.size() < 1_000_000


def test_a_device_gets_its_answer_however_many_others_register(make, monkeypatch):
    monkeypatch.setattr(overtaken, "MAX_OPERATIONS", 5)
    parts = make("azure")
    operations = {}
    for number in range(20):
        parts.enroll(f"device-{number}")
        operations[f"device-{number}"] = parts.register(f"device-{number}").operation_id
    parts.clock.advance(1)
    for device, operation in operations.items():
        assert parts.registrations.poll(device, operation).status is Status.ASSIGNED


# --- reading and forgetting ---------------------------------------------------------------------------------------


def test_a_device_that_never_registered(make):
    parts = make()
    fails(lambda: parts.registrations.get("device-1"), Dps.REGISTRATION_NOT_FOUND)
    fails(lambda: parts.registrations.delete("device-1"), Dps.REGISTRATION_NOT_FOUND)
    parts.enroll("Device-1")
    shown = parts.service.show_enrollment(INDIVIDUAL, "device-1")
    assert shown["registrationState"] == {"registrationId": "Device-1", "status": "unassigned"}


def test_deleting_a_registration(make):
    parts = make("azure")
    parts.enroll()
    operation = parts.register().operation_id
    etag = parts.registrations.get("device-1")["etag"]
    parts.clock.advance(1)
    fails(lambda: parts.registrations.delete("device-1", etag), Dps.PRECONDITION_FAILED)
    parts.registrations.delete("DEVICE-1", parts.registrations.get("device-1")["etag"])
    fails(lambda: parts.registrations.get("device-1"), Dps.REGISTRATION_NOT_FOUND)
    fails(lambda: parts.registrations.poll("device-1", operation), Dps.OPERATION_NOT_FOUND)
    assert "device-1" in parts.hub.devices
    # registering again is a first registration
    parts.register()
    parts.clock.advance(1)
    assert parts.registrations.get("device-1")["substatus"] == "initialAssignment"


def test_deleting_an_enrollment_deletes_its_registrations_and_no_device(make):
    parts = make("azure")
    group = parts.enroll_group()
    parts.enroll()
    parts.register()
    for number in range(3):
        parts.register(f"member-{number}", group)
    parts.clock.advance(1)
    parts.registrations.settle()
    pending = parts.register("member-9", group).operation_id
    assert len(parts.registrations.query("group-1").documents) == 4
    parts.individuals.delete("device-1")
    assert parts.registrations.find("device-1") is None
    parts.groups.delete("group-1")
    fails(lambda: parts.registrations.query("group-1"), Dps.GROUP_NOT_FOUND)
    fails(lambda: parts.registrations.poll("member-9", pending), Dps.OPERATION_NOT_FOUND)
    parts.clock.advance(1)
    assert parts.registrations.find("member-9") is None
    assert set(parts.hub.devices) == {"device-1", "member-0", "member-1", "member-2"}
    for collection in ("registration", "operation", "dueRegistration"):
        assert parts.store.collection(collection).count() == 0


def test_a_device_that_gets_an_enrollment_of_its_own_leaves_its_group(make):
    parts = make()
    group = parts.enroll_group()
    parts.register("device-1", group)
    individual = parts.enroll()
    assert parts.service.show_enrollment(INDIVIDUAL, "device-1")["registrationState"]["status"] == "unassigned"
    # an enrollment that its device never used deletes nothing
    parts.individuals.delete("device-1")
    assert parts.registrations.find("device-1")
    individual = parts.enroll()
    parts.register("device-1", individual)
    assert not parts.registrations.query("group-1").documents
    parts.groups.delete("group-1")
    assert parts.registrations.find("device-1")
    parts.individuals.delete("device-1")
    assert parts.registrations.find("device-1") is None


def test_a_registration_whose_record_vanished_does_no_harm(make):
    parts = make("azure")
    parts.enroll()
    parts.register()
    parts.store.collection("registration").clear()
    parts.clock.advance(1)
    parts.registrations.settle()
    assert not parts.hub.devices


def test_an_enrollment_that_vanished_fails_the_registration(make):
    parts = make("azure")
    parts.enroll()
    parts.register()
    parts.service.enrollments.clear()
    parts.clock.advance(1)
    assert parts.registrations.get("device-1")["errorCode"] == Dps.ENROLLMENT_NOT_FOUND.code


def test_forgetting_everything(make):
    parts = make()
    parts.enroll()
    parts.enroll_group()
    overtaken_by_the_next = parts.register().operation_id
    parts.register()
    parts.service.clear()
    assert parts.individuals.count() == parts.groups.count() == 0
    assert parts.registrations.find("device-1") is None
    parts.enroll()
    parts.register()
    fails(lambda: parts.registrations.poll("device-1", overtaken_by_the_next), Dps.OPERATION_NOT_FOUND)


def test_an_answer_without_state():
    status = OperationStatus("5.a.b", Status.FAILED)
    assert (status.http_status, status.to_json()) == (200, {"operationId": "5.a.b", "status": "failed"})


# --- against a model ----------------------------------------------------------------------------------------------

IDS = st.sampled_from(["a", "b"])


class RegistrationMachine(RuleBasedStateMachine):
    """Enroll, update, disable, delete, register and poll in any order, compared with a few dictionaries."""

    @initialize(pace=st.sampled_from(["azure", "instant", "polls=1"]))
    def start(self, pace):
        self.parts = Provisioning(pace)
        self.enabled = {}
        self.operations = {}
        self.devices = set()

    @rule(name=IDS, disabled=st.booleans())
    def enroll_or_update(self, name, disabled):
        status = "disabled" if disabled else "enabled"
        self.parts.enroll(name, if_match="*" if name in self.enabled else None, provisioningStatus=status)
        self.enabled[name] = not disabled

    @rule(name=IDS)
    def delete(self, name):
        if name not in self.enabled:
            fails(lambda: self.parts.individuals.delete(name), Dps.ENROLLMENT_NOT_FOUND)
            return
        self.collect()
        self.parts.individuals.delete(name)
        del self.enabled[name]
        operation = self.operations.pop(name, None)
        if operation:
            fails(lambda: self.parts.registrations.poll(name, operation), Dps.OPERATION_NOT_FOUND)

    @precondition(lambda self: self.enabled)
    @rule(data=st.data())
    def register(self, data):
        name = data.draw(st.sampled_from(sorted(self.enabled)))
        self.operations[name] = self.parts.register(name).operation_id
        self.collect()

    @precondition(lambda self: self.operations)
    @rule(data=st.data())
    def poll_until_done(self, data):
        name = data.draw(st.sampled_from(sorted(self.operations)))
        before = self.parts.registrations.get(name)["status"]
        for _ in range(3):
            self.parts.clock.advance(0.2)
            answer = self.parts.registrations.poll(name, self.operations[name])
        assert answer.http_status == 200
        if before == "assigning":
            assert answer.status.value == ("assigned" if self.enabled[name] else "disabled")
        self.collect()
        assert answer.status is not Status.ASSIGNED or name in self.devices

    @rule()
    def names_that_never_registered_are_unknown(self):
        for name in {"a", "b"} - set(self.operations):
            assert self.parts.registrations.find(name) is None

    def collect(self):
        """Devices only ever appear: nothing in this model removes one from the hub."""
        assert self.devices <= set(self.parts.hub.devices)
        self.devices = set(self.parts.hub.devices)

    def teardown(self):
        if hasattr(self, "parts"):
            for name in self.devices:
                assert self.parts.hub.devices[name]["credentials"].primary_key == PRIMARY_KEY
            self.parts.store.close()


TestRegistrationMachine = RegistrationMachine.TestCase
TestRegistrationMachine.settings = settings(max_examples=examples(40), stateful_step_count=20, deadline=None)


def test_rolled_keys_reach_the_hub_at_the_next_registration(make):
    parts = make()
    parts.enroll()
    parts.register()
    new = "bmV3IGtleSBvZiB0aGUgZW5yb2xsbWVudA=="
    parts.enroll(if_match="*", attestation=symmetric_key(new, new))
    assert parts.hub.devices["device-1"]["credentials"].primary_key == PRIMARY_KEY
    parts.register()
    assert parts.hub.devices["device-1"]["credentials"].primary_key == new
