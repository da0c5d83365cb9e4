import pytest

from dps_simulator.common.clock import ManualClock
from dps_simulator.common.service_faults import (
    FINDING,
    KINDS,
    MAX_COUNT,
    MAX_DELAY,
    MAX_DURATION,
    MAX_RETRY_AFTER,
    ServiceFault,
    ServiceFaults,
)
from dps_simulator.common.throttling import LIMITS, Limits, Throttle
from dps_simulator.errors.table import Dps, Hub, ServiceError

HUB = "contoso-hub-1.azure-devices.test"
OTHER_HUB = "contoso-hub-2.azure-devices.test"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def faults(clock):
    return ServiceFaults(clock, lambda: [HUB, OTHER_HUB])


def switch_on(faults, kind, service="provisioning", **options):
    faults.put(ServiceFault.of({"service": service, "kind": kind, **options}))


def refusal(faults, service="provisioning"):
    with pytest.raises(ServiceError) as caught:
        faults.refuse(service)
    return caught.value


# --- what can be asked for


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ({"kind": "latency"}, {"delay": 1.0}),
        ({"kind": "latency", "delay": MAX_DELAY, "duration": 1, "count": 1}, {}),
        ({"kind": "cut"}, {"cuts": "connections"}),
        ({"kind": "cut", "cuts": "messages", "count": None, "duration": MAX_DURATION}, {}),
        ({"kind": "throttling"}, {"retryAfter": 1}),
        ({"kind": "throttling", "retryAfter": MAX_RETRY_AFTER, "count": MAX_COUNT}, {}),
        ({"kind": "unavailable"}, {"retryAfter": None}),
        ({"kind": "unavailable", "retryAfter": 5}, {}),
    ],
)
def test_what_was_asked_for_is_shown_whole_and_can_be_asked_for_again(given, whole):
    fault = ServiceFault.of({"service": HUB.upper(), **given})
    shown = fault.to_json()
    assert shown == {"service": HUB, "duration": 60.0, "count": None, **whole, **given}
    assert ServiceFault.of(shown) == fault


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"duration": 0}, "duration is 0; it must be a number of seconds from 1 to 600"),
        ({"duration": MAX_DURATION + 1}, "duration is 601.0"),
        ({"duration": "60"}, "duration is '60'"),
        ({"duration": None}, "duration is None"),
        ({"duration": True}, "duration is True"),
        ({"duration": float("nan")}, "duration is nan"),
        ({"count": 0}, "count is 0; it must be a whole number from 1 to 10000"),
        ({"count": 1.5}, "count is 1.5"),
        ({"count": True}, "count is True"),
        ({"count": MAX_COUNT + 1}, "count is 10001"),
        ({"service": 5}, "service is 5; it must be a text"),
        ({"for": 5}, "'for' means nothing for"),
    ],
)
def test_what_no_kind_takes(kind, wrong, said):
    with pytest.raises(ValueError, match=said):
        ServiceFault.of({"service": "provisioning", "kind": kind, **wrong})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "kind is None; it must be one of latency, cut, throttling, unavailable"),
        ({"kind": ["cut"]}, r"kind is \['cut'\]"),
        ({"kind": "latency", "delay": 0}, "delay is 0; it must be a number of seconds from 0.001 to 10"),
        ({"kind": "latency", "delay": MAX_DELAY + 0.1}, "delay is 10.1"),
        ({"kind": "latency", "cuts": "messages"}, "'cuts' means nothing for latency; it knows service, kind, .*delay"),
        ({"kind": "cut", "delay": 1}, "'delay' means nothing for cut"),
        ({"kind": "cut", "cuts": "cables"}, "cuts is 'cables'; it must be connections or messages"),
        ({"kind": "cut", "cuts": ["messages"]}, r"cuts is \['messages'\]"),
        ({"kind": "throttling", "retryAfter": 0}, "retryAfter is 0; it must be a whole number from 1 to 300"),
        ({"kind": "unavailable", "retryAfter": MAX_RETRY_AFTER + 1}, "retryAfter is 301"),
    ],
)
def test_what_single_kinds_do_not_take(given, said):
    with pytest.raises(ValueError, match=said):
        ServiceFault.of({"service": "provisioning", **given})


@pytest.mark.parametrize("service", ["", "management", "hub-9.azure-devices.test"])
def test_only_services_that_are_there(faults, service):
    with pytest.raises(ValueError, match=f"service is .*must be one of provisioning, enrollments, {HUB}, {OTHER_HUB}"):
        switch_on(faults, "cut", service)
    assert not faults.active


# --- what strikes whom, and when it ends


def test_there_are_none_unless_asked_for(faults):
    assert not faults.active
    assert faults.to_json() == []
    assert faults.delay("provisioning") == 0
    assert not faults.cuts("provisioning", "connections", "messages")
    faults.refuse("provisioning")
    assert faults.clear() == []


def test_it_strikes_its_own_service_only(faults):
    for kind in KINDS:
        switch_on(faults, kind, HUB)
    for service in ("provisioning", "enrollments", OTHER_HUB):
        assert faults.delay(service) == 0
        assert not faults.cuts(service, "connections")
        faults.refuse(service)
    assert faults.delay(HUB) == 1.0
    assert faults.cuts(HUB, "connections")
    assert refusal(faults, HUB).kind is Hub.UNAVAILABLE


def test_it_ends_after_its_time(faults, clock):
    switch_on(faults, "latency", delay=2, duration=10)
    clock.advance(9)
    assert faults.delay("provisioning") == 2
    assert [(each["left"], each["struck"]) for each in faults.to_json()] == [(1.0, 1)]
    clock.advance(1)
    assert faults.delay("provisioning") == 0
    assert faults.to_json() == []
    assert not faults.active


def test_it_ends_after_its_number_and_tells_how_often_it_struck(faults):
    switch_on(faults, "cut", count=2)
    assert [faults.cuts("provisioning", "connections") for _ in range(3)] == [True, True, False]
    assert [(each["count"], each["struck"]) for each in faults.to_json()] == [(2, 2)]
    (gone,) = faults.clear("Provisioning", "cut")
    assert (gone["kind"], gone["struck"], gone["left"]) == ("cut", 2, 60.0)


def test_what_is_switched_off_late_has_no_time_left(faults, clock):
    switch_on(faults, "cut", duration=1)
    clock.advance(5)
    assert [each["left"] for each in faults.clear()] == [0.0]


def test_a_newer_one_takes_the_place_of_an_older_one(faults):
    switch_on(faults, "latency", delay=1)
    faults.delay("provisioning")
    switch_on(faults, "latency", delay=3)
    assert [(each["delay"], each["struck"]) for each in faults.to_json()] == [(3.0, 0)]


@pytest.mark.parametrize(
    ("which", "left"),
    [
        ((), []),
        (("provisioning",), [(HUB, "cut")]),
        (("", "cut"), [("provisioning", "latency")]),
        (("provisioning", "cut"), [("provisioning", "latency"), (HUB, "cut")]),
        (("enrollments",), [("provisioning", "latency"), ("provisioning", "cut"), (HUB, "cut")]),
    ],
    ids=["all", "service", "kind", "both", "other"],
)
def test_some_of_them_can_be_switched_off(faults, which, left):
    switch_on(faults, "latency")
    switch_on(faults, "cut")
    switch_on(faults, "cut", HUB)
    assert len(faults.clear(*which)) == 3 - len(left)
    assert [(each["service"], each["kind"]) for each in faults.to_json()] == left


@pytest.mark.parametrize("cuts", ["connections", "messages"])
def test_a_cut_waits_for_what_it_cuts(faults, cuts):
    other = {"connections": "messages", "messages": "connections"}[cuts]
    switch_on(faults, "cut", cuts=cuts, count=2)
    assert not faults.cuts("provisioning", other)
    assert faults.cuts("provisioning", cuts)
    assert faults.cuts("provisioning", "connections", "messages")


# --- refusals


@pytest.mark.parametrize(
    ("kind", "service", "row"),
    [
        ("throttling", "provisioning", Dps.THROTTLED),
        ("throttling", "enrollments", Dps.THROTTLED),
        ("throttling", HUB, Hub.THROTTLED),
        ("unavailable", "provisioning", Dps.UNAVAILABLE),
        ("unavailable", "enrollments", Dps.UNAVAILABLE),
        ("unavailable", HUB, Hub.UNAVAILABLE),
    ],
)
def test_refusals_are_rows_of_the_table_and_say_that_they_are_made_up(faults, kind, service, row):
    switch_on(faults, kind, service, retryAfter=7)
    error = refusal(faults, service)
    assert (error.kind, error.retry_after, error.finding) == (row, 7, FINDING)
    assert error.message == f"{row.message} Try again in 7 s."
    assert error.reason == f"the fault {kind} was switched on for {service}, in this simulator only"


def test_an_unavailable_service_need_not_say_when_it_is_back(faults):
    switch_on(faults, "throttling", retryAfter=3)
    switch_on(faults, "unavailable", count=1)
    error = refusal(faults)
    assert (error.kind.status, error.retry_after, error.message) == (503, None, "The service is not available.")
    assert refusal(faults).kind.status == 429


# --- they take the way of the limits


_OF_DPS = {
    "operations_per_minute": "enrollments",
    "registrations_per_minute": "provisioning",
    "polls_per_ten_seconds": "provisioning",
}
_UNTOUCHED = {"cloud_to_device_per_minute"}


@pytest.mark.parametrize("limit", [each.name for each in LIMITS if each.seconds])
def test_every_rate_of_a_service_is_refused(faults, clock, limit):
    throttle = Throttle(clock, faults=faults)
    service = _OF_DPS.get(limit, HUB)
    scope = HUB if service == HUB else "device-1" if limit == "polls_per_ten_seconds" else ""
    assert not throttle.active
    throttle.take(limit, scope)
    switch_on(faults, "throttling", service)
    assert throttle.active
    if limit in _UNTOUCHED:
        throttle.take(limit, scope)
        return
    with pytest.raises(ServiceError, match="Too many requests"):
        throttle.take(limit, scope)
    faults.clear()
    throttle.take(limit, scope)


def test_limits_hold_beside_faults(faults, clock):
    throttle = Throttle(clock, Limits.parse("operations_per_minute=1"), faults)
    switch_on(faults, "unavailable", "enrollments", count=1)
    with pytest.raises(ServiceError, match="not available"):
        throttle.take("operations_per_minute")
    # who was refused used up nothing
    throttle.take("operations_per_minute")
    with pytest.raises(ServiceError, match="Too many requests"):
        throttle.take("operations_per_minute")


def test_what_has_no_limit_has_faults_all_the_same(faults, clock):
    Throttle(clock).check_faults(HUB)
    throttle = Throttle(clock, faults=faults)
    throttle.check_faults(HUB)
    switch_on(faults, "unavailable", HUB)
    with pytest.raises(ServiceError, match="not available"):
        throttle.check_faults(HUB)
