"""Faults for as long as a block runs, switched on from a notebook."""

import pytest

from helpers import faults
from helpers.faults import FaultError
from helpers.target import TargetError

HUB = "contoso-hub-1.azure-devices.test"


def on(simulator):
    return [
        {name: value for name, value in each.items() if name not in ("left", "struck")}
        for each in simulator.call(lambda runtime: runtime.faults.to_json())
    ]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda dps: faults.latency(dps, "provisioning", seconds=1.5),
            {"service": "provisioning", "kind": "latency", "delay": 1.5, "duration": 600.0, "count": None},
        ),
        (
            lambda dps: faults.cut(dps, HUB),
            {"service": HUB, "kind": "cut", "cuts": "connections", "duration": 600.0, "count": 1},
        ),
        (
            lambda dps: faults.cut(dps, HUB, count=None, messages=True),
            {"service": HUB, "kind": "cut", "cuts": "messages", "duration": 600.0, "count": None},
        ),
        (
            lambda dps: faults.throttle(dps, "enrollments", retry_after=3, count=2),
            {"service": "enrollments", "kind": "throttling", "retryAfter": 3, "duration": 600.0, "count": 2},
        ),
        (
            lambda dps: faults.unavailable(dps, "provisioning", seconds=5),
            {
                "service": "provisioning",
                "kind": "unavailable",
                "retryAfter": None,
                "duration": 5.0,
                "count": None,
            },
        ),
    ],
    ids=["latency", "cut", "cut messages", "throttle", "unavailable"],
)
def test_a_fault_lasts_as_long_as_its_block(dps, simulator, make, expected):
    fault = make(dps)
    assert on(simulator) == []
    with fault:
        assert on(simulator) == [expected]
    assert on(simulator) == []


def test_it_ends_also_when_the_block_fails(dps, simulator):
    with pytest.raises(ZeroDivisionError), faults.cut(dps, "provisioning"):
        raise ZeroDivisionError
    assert on(simulator) == []


def test_it_tells_how_often_it_struck_and_can_be_used_again(dps, simulator):
    fault = faults.cut(dps, "provisioning", count=5)
    assert str(fault) == "provisioning: no connections cut"
    for times, said in ((1, "1 connection cut"), (2, "2 connections cut")):
        with fault:
            for _ in range(times):
                assert simulator.call(lambda runtime: runtime.faults.cuts("provisioning", "connections"))
        assert repr(fault) == f"provisioning: {said}"
    assert fault.struck == 2


def test_one_of_a_kind_at_a_time(dps, simulator):
    with faults.latency(dps, "provisioning", seconds=1):
        with (
            pytest.raises(FaultError, match="latency is switched on for Provisioning already"),
            faults.latency(dps, "Provisioning", seconds=2),
        ):
            pass
        with faults.latency(dps, HUB, seconds=2), faults.cut(dps, "provisioning"):
            assert len(on(simulator)) == 3
        assert [each["delay"] for each in on(simulator)] == [1.0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda dps: faults.latency(dps, "provisioning", seconds=99), "delay is 99; it must be a number of seconds"),
        (lambda dps: faults.latency(dps, "dps", seconds=1), "service is 'dps'; it must be one of provisioning"),
        (lambda dps: faults.throttle(dps, HUB, retry_after=0), "retryAfter is 0"),
        (lambda dps: faults.unavailable(dps, HUB, seconds=0.5), "duration is 0.5"),
        (lambda dps: faults.cut(dps, HUB, count=-1), "count is -1"),
    ],
    ids=["delay", "service", "retry after", "duration", "count"],
)
def test_impossible_values_are_named(dps, simulator, make, said):
    with pytest.raises(TargetError, match=said), make(dps):
        pass
    assert on(simulator) == []


def test_clear_ends_what_a_dead_kernel_left(dps, simulator):
    simulator.switch_on_fault("provisioning", "latency")
    simulator.switch_on_fault(HUB, "cut")
    assert faults.clear(dps) == 2
    assert faults.clear(dps) == 0
    assert on(simulator) == []


def test_a_simulator_that_is_gone_does_not_hide_what_went_wrong(dps, simulator):
    def fail():
        simulator.stop()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), faults.cut(dps, "provisioning"):
        fail()


def test_a_simulator_that_is_gone_is_an_error_of_its_own(dps, simulator):
    with pytest.raises(TargetError, match="does not answer any more"), faults.cut(dps, "provisioning"):
        simulator.stop()


class Azure:
    is_simulator = False


def test_nobody_does_this_to_azure():
    with (
        pytest.raises(FaultError, match=r"Only the simulator fails on request; provisioning is a service of Azure"),
        faults.latency(Azure(), "provisioning", seconds=1),
    ):
        pass
    assert faults.clear(Azure()) == 0
