import dataclasses
import re

import pytest

from dps_simulator.common import throttling
from dps_simulator.common.clock import ManualClock
from dps_simulator.common.throttling import LIMITS, MAX_NUMBER, MAX_UNITS, Limits, Throttle
from dps_simulator.errors.table import Dps, Hub, Provenance, ServiceError

HUB = "contoso-hub-1.azure-devices.test"


@pytest.fixture
def clock():
    return ManualClock()


def throttle(clock, text):
    return Throttle(clock, Limits.parse(text))


def passed(throttle, name, times, scope="", amount=1.0):
    """How many of so many requests get through."""
    count = 0
    for _ in range(times):
        try:
            throttle.take(name, scope, amount)
        except ServiceError:
            continue
        count += 1
    return count


def refusal(throttle, name, scope="", amount=1.0):
    with pytest.raises(ServiceError) as caught:
        throttle.take(name, scope, amount)
    return caught.value


# --- which limits hold


def test_there_are_none_unless_asked_for(clock):
    free = Throttle(clock)
    assert not free.active
    for limit in LIMITS:
        assert free.limits.number(limit.name) is None
        if limit.seconds:
            assert passed(free, limit.name, 3, amount=1e12) == 3
        else:
            free.claim(limit.name, lambda: pytest.fail("nobody asked for a number"))


def test_the_published_numbers():
    azure = Limits.parse("azure")
    assert {limit.name: azure.number(limit.name) for limit in LIMITS if limit.seconds and not limit.daily} == {
        "operations_per_minute": 1_000,
        "registrations_per_minute": 1_000,
        "polls_per_ten_seconds": 5,
        "cloud_to_device_receives_per_minute": 1_000,
        "registry_operations_per_minute": 100,
        "queries_per_minute": 20,
        "twin_reads_per_second": 100,
        "twin_updates_per_second": 50,
        "method_kilobytes_per_second": 160,
        "cloud_to_device_per_minute": 100,
        "connections_per_second": 100,
        "telemetry_per_second": 100,
    }
    assert {limit.name: azure.number(limit.name) for limit in LIMITS if not limit.seconds or limit.daily} == {
        "individual_enrollments": 1_000_000,
        "x509_enrollment_groups": 100,
        "symmetric_key_enrollment_groups": 100,
        "registrations": 1_000_000,
        "linked_hubs": 50,
        "devices": 1_000_000,
        "telemetry_per_day": 400_000,
    }


def test_every_number_says_where_it_was_published_and_no_code_pretends_to_be_one_of_azure():
    assert len({limit.name for limit in LIMITS}) == len(LIMITS)
    assert all(limit.source and limit.meaning for limit in LIMITS)
    for kind in (Dps.THROTTLED, Dps.LIMIT_REACHED):
        assert kind.provenance is Provenance.INFERRED


@pytest.mark.parametrize(
    ("units", "name", "number"),
    [
        (2, "registry_operations_per_minute", 200),
        (2, "connections_per_second", 100),  # the documented examples: 24 is less than 100 …
        (9, "connections_per_second", 108),  # … and 108 is more
        (9, "twin_reads_per_second", 100),
        (2, "telemetry_per_day", 800_000),
        (200, "operations_per_minute", 1_000),
    ],
)
def test_units_of_a_hub(units, name, number):
    assert Limits.parse(f"azure,hub_units={units}").number(name) == number


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("off", "off"),
        ("azure", "azure"),
        (" azure , registrations_per_minute = 20 ", "azure,registrations_per_minute=20"),
        ("registrations_per_minute=20,off", "registrations_per_minute=20"),
        ("azure,polls_per_ten_seconds=off,hub_units=3", "azure,hub_units=3,polls_per_ten_seconds=off"),
        ("hub_units=1", "off"),
        ("mode=azure", "azure"),
    ],
)
def test_limits_in_one_text(text, same):
    limits = Limits.parse(text)
    assert str(limits) == same
    assert Limits.parse(str(limits)) == limits


def test_single_numbers_go_before_the_mode():
    limits = Limits.parse("azure,registrations_per_minute=20,polls_per_ten_seconds=off")
    assert limits.number("registrations_per_minute") == 20
    assert limits.number("polls_per_ten_seconds") is None
    assert limits.number("operations_per_minute") == 1_000
    assert Limits.parse("registrations_per_minute=20").number("operations_per_minute") is None


def test_json_shows_every_number_and_is_understood_again():
    limits = Limits.parse("azure,registrations_per_minute=20,devices=off,hub_units=2")
    shown = limits.to_json()
    assert list(shown) == ["mode", "hub_units", *(limit.name for limit in LIMITS)]
    assert (shown["mode"], shown["hub_units"], shown["devices"], shown["queries_per_minute"]) == ("azure", 2, None, 40)
    assert Limits.of(shown).to_json() == shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("on", "mode is 'on'; it must be off or azure"),
        ("", "mode is ''"),
        ("azure,off", "mode is given twice"),
        ("registrations=5,registrations=6", "registrations is given twice"),
        ("registrations_per_hour=5", "'registrations_per_hour' is no limit; limits are operations_per_minute, "),
        ("registrations_per_minute=0", "registrations_per_minute is 0; it must be a whole number from 1 to"),
        ("registrations_per_minute=-1", "registrations_per_minute is '-1'"),
        ("registrations_per_minute=1.5", "'1.5'"),
        ("registrations_per_minute=٣", "it must be a whole number"),
        (f"devices={MAX_NUMBER + 1}", f"to {MAX_NUMBER}, or off"),
        (f"hub_units={MAX_UNITS + 1}", f"hub_units is {MAX_UNITS + 1}"),
        ("hub_units=off", f"hub_units is 'off'; it must be a whole number from 1 to {MAX_UNITS}."),
    ],
)
def test_texts_that_are_no_limits(text, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        Limits.parse(text)


@pytest.mark.parametrize("value", [True, 2.0, "5", [], {}])
def test_numbers_that_are_none(value):
    with pytest.raises(ValueError, match="it must be a whole number"):
        Limits.of({"registrations_per_minute": value})


def test_limits_do_not_change_behind_the_back(clock):
    given = {"registrations_per_minute": 1}
    limits = Limits(numbers=given)
    given["registrations_per_minute"] = 0
    assert limits.number("registrations_per_minute") == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        limits.mode = "azure"


# --- rates


def test_a_burst_of_the_number_passes_and_then_as_many_as_refill(clock):
    limited = throttle(clock, "registrations_per_minute=60")
    assert limited.active
    assert passed(limited, "registrations_per_minute", 100) == 60
    clock.advance(0.5)
    assert passed(limited, "registrations_per_minute", 10) == 0
    clock.advance(0.5)
    assert passed(limited, "registrations_per_minute", 10) == 1
    clock.advance(30)
    assert passed(limited, "registrations_per_minute", 100) == 30
    clock.advance(3600)
    assert passed(limited, "registrations_per_minute", 100) == 60


def test_what_is_refused_costs_nothing_and_says_when_to_come_back(clock):
    limited = throttle(clock, "polls_per_ten_seconds=5")
    assert passed(limited, "polls_per_ten_seconds", 5, "device-1") == 5
    for _ in range(20):
        error = refusal(limited, "polls_per_ten_seconds", "device-1")
        assert (error.kind, error.retry_after) == (Dps.THROTTLED, 2)
    assert error.message == "Too many requests. Try again in 2 s."
    assert error.reason == "polls_per_ten_seconds of 'device-1': polls of one device are limited to 5"
    clock.advance(error.retry_after)
    limited.take("polls_per_ten_seconds", "device-1")


def test_whoever_waits_as_long_as_told_gets_in(clock):
    for number in (1, 3, 7, 60, 1000):
        limited = throttle(clock, f"registrations_per_minute={number}")
        assert passed(limited, "registrations_per_minute", number) == number
        clock.advance(refusal(limited, "registrations_per_minute").retry_after)
        limited.take("registrations_per_minute")


def test_devices_and_hubs_are_counted_apart_and_so_are_limits(clock):
    limited = throttle(clock, "polls_per_ten_seconds=1,telemetry_per_second=1,twin_reads_per_second=1")
    for scope in ("a", "b"):
        assert passed(limited, "polls_per_ten_seconds", 2, scope) == 1
        assert passed(limited, "telemetry_per_second", 2, scope) == 1
    assert passed(limited, "twin_reads_per_second", 2, "a") == 1


def test_what_costs_more_than_there_ever_is_passes_when_all_is_there(clock):
    limited = throttle(clock, "method_kilobytes_per_second=10")
    limited.take("method_kilobytes_per_second", HUB, 128)
    error = refusal(limited, "method_kilobytes_per_second", HUB, 4)
    assert (error.kind, error.retry_after) == (Hub.THROTTLED, 13)
    clock.advance(13)
    limited.take("method_kilobytes_per_second", HUB, 4)


def test_a_clock_that_is_set_back_gives_nothing_and_takes_nothing(clock):
    limited = throttle(clock, "registrations_per_minute=2")
    limited.take("registrations_per_minute")
    clock.advance(-3600)
    limited.take("registrations_per_minute")
    assert refusal(limited, "registrations_per_minute").retry_after == 30


def test_the_daily_quota_is_full_again_at_midnight(clock):
    limited = throttle(clock, "telemetry_per_day=10")
    assert passed(limited, "telemetry_per_day", 20, HUB) == 10
    clock.advance(3600)
    error = refusal(limited, "telemetry_per_day", HUB)
    assert (error.kind, error.retry_after) == (Hub.QUOTA_EXCEEDED, 23 * 3600)
    clock.advance(23 * 3600 - 1)
    assert passed(limited, "telemetry_per_day", 1, HUB) == 0
    clock.advance(1)
    assert passed(limited, "telemetry_per_day", 20, HUB) == 10


def test_a_change_forgets_what_was_counted(clock):
    limited = throttle(clock, "registrations_per_minute=1,linked_hubs=1")
    assert passed(limited, "registrations_per_minute", 2) == 1
    limited.limits = Limits.parse("registrations_per_minute=2")
    assert passed(limited, "registrations_per_minute", 3) == 2
    limited.limits = Limits()
    assert not limited.active
    assert passed(limited, "registrations_per_minute", 3) == 3


def test_the_buckets_of_many_devices_stay_few(clock, monkeypatch):
    monkeypatch.setattr(throttling, "MAX_BUCKETS", 100)
    limited = throttle(clock, "polls_per_ten_seconds=1,telemetry_per_day=5")
    limited.take("telemetry_per_day", HUB)
    for number in range(1_000):
        limited.take("polls_per_ten_seconds", f"device-{number}")
        assert len(limited._buckets) <= 101
        # the newest one is never forgotten
        assert passed(limited, "polls_per_ten_seconds", 1, f"device-{number}") == 0
    clock.advance(10)
    for number in range(101):
        limited.take("polls_per_ten_seconds", f"later-{number}")
    # the earlier ones were full again, and went
    assert not [scope for _, scope in limited._buckets if scope.startswith("device")]


# --- how many of everything


def test_one_too_many_is_refused(clock):
    limited = throttle(clock, "individual_enrollments=3")
    kept = []
    for number in range(3):
        limited.claim("individual_enrollments", lambda: len(kept))
        kept.append(number)
    with pytest.raises(ServiceError) as caught:
        limited.claim("individual_enrollments", lambda: len(kept))
    assert (caught.value.kind, caught.value.retry_after) == (Dps.LIMIT_REACHED, None)
    assert caught.value.message == Dps.LIMIT_REACHED.message
    assert caught.value.reason == "individual_enrollments: individual enrollments are limited to 3"
    kept.pop()
    limited.claim("individual_enrollments", lambda: len(kept))


def test_counting_is_rare(clock):
    limited = throttle(clock, "devices=1000")
    counted = []

    def count():
        counted.append(1)
        return len(counted) and 0

    for _ in range(1000):
        limited.claim("devices", count, HUB)
    assert len(counted) == 1
    limited.claim("devices", count, "contoso-hub-2.azure-devices.test")
    assert len(counted) == 2


def test_what_was_claimed_and_never_came_into_being_is_found_again(clock):
    limited = throttle(clock, "devices=2")
    for _ in range(10):  # undone every time
        limited.claim("devices", lambda: 1, HUB)
