"""Registrations as they are kept: typed, readable for ever, and read and written no more than needed."""

from types import SimpleNamespace

import pytest
from provisioning_parts import HUB_1, ID_SCOPE, Provisioning

from dps_simulator.common.webhooks import PendingAllocation
from dps_simulator.errors.table import Dps
from dps_simulator.provisioning.api.registration import DeviceIdentity, DeviceOperations, Refusals
from dps_simulator.provisioning.registration.record import (
    AllocationAnswer,
    Failure,
    Place,
    RegisteredTpm,
    Registration,
    RegistrationState,
)
from dps_simulator.provisioning.registration.states import Status

STATE = RegistrationState("Device-1", "2026-01-01T00:00:00Z", Status.ASSIGNING, "2026-01-02T00:00:00Z", "abc")
#: What the first version of a registration had.
OLDEST = {
    "enrollmentKind": "individual",
    "enrollmentKey": "device-1",
    "keySpelling": "Device-1",
    "assignment": None,
    "polls": 2,
    "due": None,
    "state": STATE.to_json(),
}


def registration(**fields):
    given = {"enrollment_kind": "individual", "enrollment_key": "device-1", "key_spelling": "Device-1"}
    return Registration(**{**given, "operation": "5.1", "state": STATE, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tpm": RegisteredTpm("ek", "srk", "key"), "leaf_thumbprint": "AB", "registered": 5.5, "polls": 3, "due": 6.5},
        {"allocation": Failure(400000, "no"), "waiting": True, "reason": "because"},
        {"allocation": AllocationAnswer("hub", {"tags": {}}, {}), "payload": [1], "api_version": "2021-06-01"},
        {"place": Place("hub", "d")},
    ],
)
def test_a_registration_comes_back_as_it_was(fields):
    kept = registration(**fields)
    assert Registration.from_document(kept.to_document()) == kept


@pytest.mark.parametrize(
    "facts",
    [
        {"place": Place("hub", "d"), "substatus": "initialAssignment", "payload": {}},
        {"failure": Failure(401001, "iothub not found")},
    ],
)
def test_what_answers_show_comes_back_in_order(facts):
    state = RegistrationState("d", "c", Status.ASSIGNED, "u", "e", **facts)
    shown = state.to_json()
    assert RegistrationState.from_document(shown) == state
    order = "registrationId createdDateTimeUtc assignedHub deviceId status substatus errorCode errorMessage "
    order += "lastUpdatedDateTimeUtc etag payload"
    assert list(shown) == [name for name in order.split() if name in shown]


def test_a_registration_of_the_first_version_can_be_read():
    assert Registration.from_document(OLDEST) == registration(operation="", polls=2)


def test_no_key_shows_in_the_text_of_a_record():
    assert "secret" not in repr(registration(tpm=RegisteredTpm("ek", "srk", "secret"), payload="secret"))


def test_why_a_webhook_failed_is_kept_until_the_last_poll():
    parts = Provisioning("polls=2")
    definition = {"webhookUrl": "https://functions.example.test/api/allocate", "apiVersion": "2021-10-01"}
    parts.enroll(allocationPolicy="custom", customAllocationDefinition=definition)
    operation = parts.register().operation_id
    assert parts.registrations.decide(PendingAllocation("device-1", operation), {})
    for _ in range(2):
        assert parts.registrations.poll("device-1", operation).status is Status.ASSIGNING
    assert "lacks iotHubHostName" in parts.registrations.poll("device-1", operation).state["errorMessage"]


# --- no more than needed --------------------------------------------------------------------------------------------


@pytest.fixture
def statements():
    """Gives the collections that a function reads, and how many statements it runs."""

    def count(parts, function):
        run = []
        parts.store._connection.set_trace_callback(run.append)
        function()
        parts.store._connection.set_trace_callback(None)
        read = [one.split("collection = '")[1].split("'")[0] for one in run if one.startswith("SELECT")]
        return read, len(run)

    return count


def test_a_first_registration_reads_what_it_needs(statements):
    parts = Provisioning()
    enrollment = parts.enroll()
    assert statements(parts, lambda: parts.register(enrollment=enrollment)) == (["registration"], 4)


def test_what_is_due_is_asked_only_when_something_may_be(statements):
    parts = Provisioning("azure")
    enrollment = parts.enroll()
    look = lambda: parts.registrations.find("device-1")  # noqa: E731
    assert statements(parts, look)[0] == ["registration"]
    parts.register(enrollment=enrollment)
    assert statements(parts, look)[0] == ["registration"]
    parts.clock.advance(1)
    assert statements(parts, look)[0] == ["dueRegistration", "registration", "enrollment", "registration"]
    # once more, for what was settled could have been undone
    assert statements(parts, look)[0] == ["dueRegistration", "registration"]
    assert statements(parts, look)[0] == ["registration"]


def undone(parts, change):
    """Let a change happen that is not kept."""

    class UndoneError(Exception):
        pass

    def run():
        with parts.store.transaction():
            change()
            raise UndoneError

    with pytest.raises(UndoneError):
        run()


def test_what_was_undone_is_due_again():
    parts = Provisioning("azure")
    parts.enroll()
    parts.register()
    parts.clock.advance(1)

    def settle_and_look():
        parts.registrations.settle()
        # what is left is asked for, and must not be remembered
        parts.registrations.settle()
        parts.hub.devices.clear()

    def delete_and_look():
        parts.registrations.delete("device-1")
        settle_and_look()

    for change in (settle_and_look, delete_and_look):
        undone(parts, change)
    assert parts.registrations.find("device-1")["status"] == "assigned"
    assert list(parts.hub.devices) == ["device-1"]


def test_more_that_are_due_than_are_read_at_once(monkeypatch):
    monkeypatch.setattr("dps_simulator.provisioning.registration.due.MAX_PAGE_SIZE", 2)
    parts = Provisioning("azure")
    group = parts.enroll_group()
    for number in (0, 1, 2, 3, 0, 1):
        parts.register(f"device-{number}", group)
        parts.clock.advance(0.03)
    # the first two begin later now, and the others' time has come as soon as these go
    parts.clock.advance(0.22)
    parts.registrations.settle()
    assert not parts.hub.devices
    for number in (0, 1):
        parts.registrations.delete(f"device-{number}")
    parts.registrations.settle()
    assert list(parts.hub.devices) == ["device-2", "device-3"]


def test_a_restart_with_some_that_are_due(statements):
    parts = Provisioning("azure")
    parts.enroll()
    parts.register()
    again = Provisioning("azure", store=parts.store, clock=parts.clock)
    assert statements(again, lambda: again.registrations.find("device-1"))[0] == ["registration"]
    again.clock.advance(1)
    assert again.registrations.find("device-1")["assignedHub"] == HUB_1


def test_overtaken_operations_are_looked_at_only_when_one_may_be_too_old(statements):
    parts = Provisioning()
    enrollment = parts.enroll()
    again = lambda: parts.register(enrollment=enrollment)  # noqa: E731
    again()
    operations = []
    for number in range(4):
        looks = statements(parts, lambda: operations.append(again().operation_id))[0].count("operation")
        # two are enough to know when the oldest is too old
        assert looks == (number < 2)
    parts.clock.advance(24 * 3600 + 1)
    assert statements(parts, again)[0].count("operation") == 1
    kept = parts.store.collection("operation")
    left = kept.count()
    again()
    again()
    assert (left, kept.count()) == (3, 2)


def test_operations_that_were_not_forgotten_after_all_are_looked_at_in_time():
    parts = Provisioning()
    older, newer = parts.enroll("older"), parts.enroll("newer")
    for enrollment in (older, older, older):
        parts.register("older", enrollment)
    parts.clock.advance(3600)
    for _ in range(3):
        parts.register("newer", newer)

    def change():
        parts.registrations.delete("older")
        parts.register("newer", newer)

    undone(parts, change)
    parts.clock.advance(23 * 3600 + 1)
    parts.register("newer", newer)
    assert {kept.body["registration"] for kept in parts.store.collection("operation").page(limit=9)} == {"newer"}


def test_the_enrollment_of_a_device_is_read_once(statements, monkeypatch):
    parts = Provisioning()
    parts.enroll()
    operations = DeviceOperations(
        parts.service, Refusals(Dps.UNAUTHORIZED_DEVICE, Dps.INVALID_CERTIFICATE, Dps.INTERNAL)
    )
    device = DeviceIdentity(ID_SCOPE, "device-1", "2021-06-01", token=parts.token())
    checked = []
    monkeypatch.setattr(
        "dps_simulator.common.identifiers.REGISTRATION_ID",
        SimpleNamespace(fullmatch=lambda text: checked.append(text) or True),
    )
    read, count = statements(parts, lambda: operations.register(device, {"registrationId": "device-1"}))
    assert (read, count) == (["enrollment", "registration"], 5)
    assert checked == ["device-1"]
