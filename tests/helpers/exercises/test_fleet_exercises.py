import types

import pytest
from azure.core.exceptions import ResourceNotFoundError

from helpers.exercises import fleets

HUBS = ("contoso-hub-1.azure-devices.test", "contoso-hub-2.azure-devices.test")
FIRST, SECOND = HUBS
NONSENSE = [None, 7, "x", [], [1], {}, {"x": object()}, True, object(), len, {FIRST: []}]


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (1, 4, "solved"),
        (20, 80, "solved"),
        (250, 1000, "solved"),
        (0, 0, "Both weights are still 0"),
        (4, 1, "for the wrong hubs"),
        (1, 5, "are six parts"),
        (1, 1, "both hubs get as many"),
        (0, 4, "below 1"),
        (-1, -4, "below 1"),
        (1000, 4000, "above 1000"),
        (2, 3, "Only the ratio"),
        (0.2, 0.8, "whole number"),
        (True, 4, "whole number"),
        ("1", "4", "whole number"),
        (None, None, "whole number"),
    ],
)
def test_weights(said, first, second, says):
    assert says in said(fleets.weights, {FIRST: first, SECOND: second}, HUBS)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"allocationPolicy": "static", "iotHubs": [SECOND]}, "solved"),
        ({}, "two fields"),
        ({"allocationPolicy": "static"}, "there is no list"),
        ({"iotHubs": [SECOND]}, "allocationPolicy is missing"),
        ({"allocationPolicy": "static", "iotHubs": SECOND}, "iotHubs is a list"),
        ({"allocationPolicy": "static", "iotHubs": []}, "is empty"),
        ({"allocationPolicy": "static", "iotHubs": [FIRST]}, "first hub"),
        ({"allocationPolicy": "static", "iotHubs": list(HUBS)}, "Only one hub"),
        ({"allocationPolicy": "Static", "iotHubs": [SECOND]}, "small letters"),
        ({"allocationPolicy": "hashed", "iotHubs": [SECOND]}, "several hubs"),
        ({"allocationPolicy": "static", "iotHubs": [SECOND], "weight": 1}, "too much"),
        ({"allocationPolicy": "static", "iotHubs": None}, "Two fields are needed"),
        ({"policy": "static"}, "too much"),
    ],
    ids=range(13),
)
def test_one_hub(said, fields, says):
    assert says in said(fleets.one_hub, fields, HUBS)


def right(request):
    first, second = sorted(request["linkedHubs"])[:2]
    payload = request["deviceRuntimeContext"].get("payload") or {}
    return {"iotHubHostName": second if payload.get("country") == "FR" else first}


def wrong_way_round(request):
    payload = request["deviceRuntimeContext"].get("payload", {})
    return {"iotHubHostName": FIRST if payload.get("country") == "FR" else SECOND}


def needs_a_country(request):
    country = request["deviceRuntimeContext"].get("payload", {})["country"]
    return {"iotHubHostName": SECOND if country == "FR" else FIRST}


def needs_a_payload(request):
    return {"iotHubHostName": SECOND if request["deviceRuntimeContext"]["payload"].get("country") == "FR" else FIRST}


@pytest.mark.parametrize("hubs", [HUBS, HUBS[::-1]], ids=["in order", "in another order"])
@pytest.mark.parametrize(
    ("function", "says"),
    [
        (right, "solved"),
        (lambda request: {}, "must return a dictionary"),
        (lambda request: None, "must return a dictionary"),
        (lambda request: SECOND, "must return a dictionary"),
        (lambda request: {"iotHubHostName": 7}, "must return a dictionary"),
        (wrong_way_round, "the wrong way round"),
        (needs_a_country, "when the payload names no country"),
        (needs_a_payload, "sends no payload"),
        (lambda request: 1 / 0, "fails with ZeroDivisionError: division by zero"),
        (lambda: None, "fails with TypeError"),
        (lambda request: {"iotHubHostName": "other.azure-devices.test"}, "not linked"),
        (lambda request: {"iotHubHostName": FIRST}, "the same for every oven"),
        (
            lambda request: {"iotHubHostName": SECOND if "payload" in request["deviceRuntimeContext"] else FIRST},
            "Return",
        ),
        ("by_country", "must be a function"),
    ],
    ids=range(14),
)
def test_webhook(said, function, says, hubs):
    assert says in said(fleets.webhook, function, hubs)


@pytest.mark.parametrize(
    ("update", "migrate", "says"),
    [
        (True, False, "solved"),
        (None, None, "Two switches"),
        (True, True, "takes the data along"),
        (False, True, "the wrong way round"),
        (False, False, "keeps everything"),
        (True, None, "Half of it"),
        ("True", "False", "without quotes"),
        (1, 0, "Two switches"),
    ],
)
def test_factory_reset(said, update, migrate, says):
    assert says in said(fleets.factory_reset, {"updateHubAssignment": update, "migrateDeviceData": migrate})


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ("cbad", "solved"),
        (" C b A d\n", "solved"),
        ("", "four letters in order"),
        ("abc", "Each of the letters"),
        ("abcde", "Each of the letters"),
        ("cbda", "deleted too early"),
        ("dcba", "deleted too early"),
        ("acbd", "unlinked while devices are in it"),
        ("cabd", "unlinked while devices are in it"),
        ("bcad", "still name the hub"),
        ("bacd", "still name the hub"),
    ],
)
def test_close_a_hub(said, order, says):
    assert says in said(fleets.close_a_hub, order)


@pytest.mark.parametrize("answer", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_gets_a_hint_like_any_other_answer(said, answer):
    assert said(fleets.weights, answer, HUBS) not in ("", "solved")
    assert said(fleets.one_hub, answer, HUBS) not in ("", "solved")
    assert said(fleets.webhook, answer, HUBS) not in ("", "solved")
    assert said(fleets.factory_reset, answer) not in ("", "solved")
    assert said(fleets.close_a_hub, answer) not in ("", "solved")


class Collection(dict):
    """Enrollments or groups, as the service client shows them."""

    def get(self, name):
        if name not in self:
            raise ResourceNotFoundError("There is no such thing.")
        return self[name]


class FakeDps:
    """A provisioning service with one group, and a hub."""

    def __init__(self):
        self.enrollment = Collection({"kettle-101": {"provisioningStatus": "disabled"}})
        self.enrollment_group = Collection({"kettles": {}})
        self.devices = {"kettle-101"}
        self.away = False

    def service_client(self):
        if self.away:
            raise ConnectionError("nobody answers")
        return self

    def registry(self, hub):
        return self

    def get_device(self, device_id):
        if device_id not in self.devices:
            raise ResourceNotFoundError("no device", response=types.SimpleNamespace(status_code=404, reason="gone"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda dps: dps.devices.clear(), "solved"),
        (lambda dps: None, "still in its hub"),
        (lambda dps: dps.enrollment.clear(), "with it the lock"),
        (lambda dps: (dps.enrollment.clear(), dps.devices.clear()), "with it the lock"),
        (lambda dps: dps.enrollment.update({"kettle-101": {"provisioningStatus": "enabled"}}), "enabled again"),
        (lambda dps: dps.enrollment_group.clear(), "the whole group"),
        (lambda dps: dps.enrollment_group.update(kettles={"provisioningStatus": "disabled"}), "the whole group"),
        (lambda dps: setattr(dps, "away", True), "could not be asked: ConnectionError"),
    ],
    ids=["done", "nothing done", "lock gone", "all gone", "enabled", "group gone", "group disabled", "service away"],
)
def test_locked_out(said, change, says):
    dps = FakeDps()
    change(dps)
    member = types.SimpleNamespace(assigned_hub=FIRST, device_id="kettle-101")
    assert says in said(fleets.locked_out, dps, "kettles", "kettle-101", member)


@pytest.mark.parametrize("member", NONSENSE[:5], ids=range(5))
def test_a_member_that_is_none_gets_a_hint(said, member):
    assert "could not be asked" in said(fleets.locked_out, FakeDps(), "kettles", "kettle-101", member)
