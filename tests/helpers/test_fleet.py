"""A fleet that boots: order, how many at a time, waits, what is tried again, and the limits of the simulator."""

import math
import threading
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from types import SimpleNamespace

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError
from azure.iot.device.exceptions import ClientError, ConnectionDroppedError, CredentialError
from patience import PATIENCE, wait_until

from helpers import fleet
from helpers.credentials import Secret, derive_device_key
from helpers.fleet import Backoff, FleetError, Outcome
from helpers.recipes.symmetric_key import register_device
from helpers.target import TargetError
from helpers.views import fleet_progress

SOON = Backoff(first=0.01, jitter=False)
NAMES = [f"meters-{number:03}" for number in range(1, 13)]


def answered(status, **headers):
    error = HttpResponseError(f"status {status}")
    error.status_code = status
    error.response = SimpleNamespace(headers={name.replace("_", "-"): value for name, value in headers.items()})
    return error


class Service:
    """Fails so many times for each device, then works."""

    def __init__(self, error, times, at_once=1):
        self.error = error
        self.at_once = at_once
        self.left = dict.fromkeys(NAMES, times)
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()

    def boot(self, name):
        with self.lock:
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
        try:
            # the first stays until so many are busy
            wait_until(lambda: self.most_busy >= self.at_once, lambda: f"{self.at_once} at once")
            if self.left[name] > 0:
                self.left[name] -= 1
                raise self.error
            return f"hub of {name}"
        finally:
            with self.lock:
                self.busy -= 1


def test_outcomes_stand_in_the_order_of_the_names_and_at_most_so_many_are_busy():
    service = Service(None, 0, at_once=3)
    outcomes = fleet.provision(service.boot, NAMES, at_a_time=3)
    assert [outcome.name for outcome in outcomes] == NAMES
    assert [outcome.result for outcome in outcomes] == [f"hub of {name}" for name in NAMES]
    assert service.most_busy == 3
    assert all(outcome.error is None and outcome.retries == 0 and outcome.seconds > 0 for outcome in outcomes)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("boot-")]


def test_what_may_go_away_is_tried_again_and_counted():
    progress = fleet_progress(len(NAMES))
    outcomes = fleet.provision(Service(answered(429), 2).boot, NAMES, backoff=SOON, progress=progress)
    assert {outcome.retries for outcome in outcomes} == {2}
    assert (progress.assigned, progress.failed, progress.throttled) == (len(NAMES), 0, 2 * len(NAMES))
    assert fleet.refusals(outcomes) == 2 * len(NAMES)


def test_a_device_that_never_gets_in_fails_and_stops_nobody():
    progress = fleet_progress(len(NAMES))
    service = Service(ConnectionDroppedError("gone"), 0)
    service.left[NAMES[4]] = 100
    outcomes = fleet.provision(
        service.boot, NAMES, backoff=Backoff(first=0.001, tries=3, jitter=False), progress=progress
    )
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    assert [(outcome.name, outcome.result, outcome.retries) for outcome in failed] == [(NAMES[4], None, 2)]
    assert (progress.assigned, progress.failed, progress.throttled) == (len(NAMES) - 1, 1, 0)
    assert fleet.refusals(outcomes) == 0


def test_a_wrong_key_is_not_tried_again():
    outcomes = fleet.provision(Service(CredentialError("wrong"), 9).boot, NAMES[:2])
    assert [len(outcome.begun) for outcome in outcomes] == [1, 1]


def test_a_boot_that_ends_its_thread_has_failed():
    outcomes = fleet.provision(Service(SystemExit(3), 1).boot, NAMES[:3])
    assert [type(outcome.error) for outcome in outcomes] == [SystemExit] * 3


def test_a_wait_is_never_shorter_than_asked_and_holds_up_nobody():
    service = Service(answered(429, Retry_After="1"), 0)
    service.left[NAMES[0]] = 1
    outcomes = fleet.provision(service.boot, NAMES, at_a_time=1, backoff=SOON)
    first, *others = outcomes
    assert first.begun[1] - first.begun[0] >= 1
    # there is one thread, and it does not wait with the first
    assert max(outcome.ended for outcome in others) <= first.begun[1]


def test_first_tries_are_spread_evenly():
    outcomes = fleet.provision(lambda name: name, NAMES, spread=0.24)
    for place, outcome in enumerate(outcomes):
        assert outcome.begun[0] >= place * 0.02
    # a slow machine begins later, but all at once is something else
    assert outcomes[-1].begun[0] >= 0.2


def test_no_devices_are_no_outcomes():
    progress = fleet_progress(0)
    with pytest.raises(FleetError):
        fleet.provision(str, [], at_a_time=0)
    assert fleet.provision(str, [], progress=progress) == []
    assert fleet.total_seconds([]) == 0
    assert [line.split()[-1] for line in fleet.summary([]).splitlines()[2:]] == ["0", "0", "0", "0", "0.0"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"at_a_time": 0}, "at_a_time is 0; it must be a whole number from 1 to 200"),
        ({"at_a_time": 201}, "at_a_time is 201"),
        ({"at_a_time": "5"}, "at_a_time is '5'"),
        ({"at_a_time": 2.5}, "at_a_time is 2.5"),
        ({"at_a_time": True}, "at_a_time is True"),
        ({"spread": -1}, "spread is -1; it must be seconds, 0 or more"),
        ({"spread": "2"}, "spread is '2'"),
        ({"spread": math.nan}, "spread is nan"),
        ({"spread": math.inf}, "spread is inf"),
        ({"names": "meters"}, "names is the text 'meters'; it must be a list of names"),
        ({"names": ["a", "a"]}, "stand twice"),
    ],
    ids=str,
)
def test_impossible_values_are_refused(options, says):
    names = options.pop("names", NAMES)
    with pytest.raises(FleetError, match=says):
        fleet.provision(str, names, **options)


@pytest.mark.parametrize(
    "values",
    [
        *({"first": 0}, {"first": 2, "most": 1}, {"first": "1"}, {"first": True}, {"first": math.nan}),
        *({"most": math.inf}, {"most": None}, {"tries": 0}, {"tries": 1.5}, {"tries": "8"}, {"tries": True}),
    ],
    ids=str,
)
def test_impossible_waits_are_refused(values):
    with pytest.raises(FleetError, match=r"they must be seconds, and 0 < first|has to try once"):
        Backoff(**values)


def test_an_interrupted_cell_lets_what_has_begun_end_and_begins_nothing_else():
    began = []
    release = threading.Event()

    def boot(name):
        began.append(name)
        release.wait(PATIENCE)

    class Interrupted:
        calls = 0

        def begin(self):
            pass

        def advance(self, **_):
            pass

        def refresh(self):
            self.calls += 1
            release.set()
            if self.calls == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fleet.provision(boot, NAMES, at_a_time=2, spread=60, progress=Interrupted())
    assert began == NAMES[:1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("boot-")]


def test_waits_double_to_a_bound_and_jitter_only_adds():
    plain = Backoff(first=1, most=10, jitter=False)
    assert [plain.wait(failed) for failed in range(1, 7)] == [1, 2, 4, 8, 10, 10]
    assert plain.wait(2, retry_after=5) == 5
    assert plain.wait(10**6) == 10
    jittered = Backoff(first=1, most=10)
    assert [jittered.wait(3, chance=lambda chance=chance: chance) for chance in (0.0, 0.5, 1.0)] == [4, 6, 8]
    assert jittered.wait(1, retry_after=30, chance=lambda: 0.5) == 30.5


def wrapped(inner):
    outer = ClientError("Unexpected failure")
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (answered(429), True),
        (answered(503), True),
        (answered(401), False),
        (answered(404), False),
        (ConnectionDroppedError("x"), True),
        (ServiceRequestError("x"), True),
        (wrapped(ConnectionResetError("x")), True),
        (wrapped(ValueError("x")), False),
        (CredentialError("x"), False),
        (ValueError("x"), False),
    ],
    ids=["429", "503", "401", "404", "dropped", "request", "reset below", "value below", "credentials", "value"],
)
def test_what_may_go_away(problem, expected):
    assert fleet.may_go_away(problem) is expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7), (" 12 ", 12), ("", 0), ("soon", 0), ("-3", 0), ("1.5", 0), ("²", 0)],
    ids=["number", "blanks", "empty", "word", "negative", "broken", "no digit"],
)
def test_the_seconds_to_wait_are_read(text, seconds):
    assert fleet.retry_after(answered(429, Retry_After=text)) == seconds


def test_a_date_to_wait_for_is_read(monkeypatch):
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    monkeypatch.setattr(fleet, "datetime", SimpleNamespace(now=now.astimezone))
    later = now + timedelta(seconds=90)
    assert fleet.retry_after(answered(503, Retry_After=format_datetime(later, usegmt=True))) == 90
    # "-0000" says that the zone is not known
    assert fleet.retry_after(answered(503, Retry_After=format_datetime(later.replace(tzinfo=None)))) == 90
    assert fleet.retry_after(answered(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")) == 0
    assert fleet.retry_after(ValueError("no answer at all")) == 0


def test_rates_and_times_are_told():
    outcomes = [
        Outcome("a", 1, None, (1.0, 2.0), 3.0, (answered(429),)),
        Outcome("b", 1, None, (1.0,), 5.0),
        Outcome("c", None, ValueError("x"), (2.0,), 4.0),
    ]
    assert fleet.total_seconds(outcomes) == 4
    lines = [line.split("  ") for line in fleet.summary(outcomes).splitlines()]
    said = {line[0]: line[-1].strip() for line in lines}
    assert said["devices"] == "3"
    assert (said["assigned"], said["failed"], said["tried again"]) == ("2", "1", "1")
    assert (said["seconds for all"], said["devices per second"]) == ("4.0", "0.5")
    assert said["seconds for the slowest"] == "4.00"


def test_the_busiest_moment():
    assert fleet.busiest([]) == 0
    assert fleet.busiest([3.0, 1.0, 1.05, 1.09, 2.0]) == 3
    assert fleet.busiest([1.0, 1.2, 1.4], seconds=1) == 3


@pytest.mark.sdk
def test_limits_hold_for_a_block_and_what_held_before_comes_back(dps):
    before = dps.manage("GET", "/limits")
    with fleet.limits(dps, registrations_per_minute=90):
        assert dps.manage("GET", "/limits")["registrations_per_minute"] == 90
        with fleet.limits(dps, operations_per_minute=5):
            assert dps.manage("GET", "/limits")["registrations_per_minute"] is None
        assert dps.manage("GET", "/limits")["registrations_per_minute"] == 90
    assert dps.manage("GET", "/limits") == before
    with pytest.raises(ZeroDivisionError), fleet.limits(dps, registrations_per_minute=1):
        raise ZeroDivisionError
    assert dps.manage("GET", "/limits") == before
    with pytest.raises(TargetError, match="no limit"), fleet.limits(dps, nonsense=1):
        pass
    dps.manage("PUT", "/limits", {"mode": "azure"})
    assert fleet.lift_limits(dps)
    assert dps.manage("GET", "/limits") == before


def test_azure_has_its_own_limits():
    azure = SimpleNamespace(is_simulator=False)
    with pytest.raises(FleetError, match="Azure has its own limits"), fleet.limits(azure, registrations_per_minute=1):
        pass
    assert fleet.lift_limits(azure) is False


@pytest.mark.sdk
def test_devices_boot_through_one_group(dps):
    group = dps.service_client().enrollment_group.create_or_update(
        "meters", {"enrollmentGroupId": "meters", "attestation": {"type": "symmetricKey"}}
    )
    key = Secret(group["attestation"]["symmetricKey"]["primaryKey"])

    def boot(name):
        return register_device(dps, name, derive_device_key(key, name))

    outcomes = fleet.provision(boot, NAMES, at_a_time=6)
    assert [outcome.result.device_id for outcome in outcomes] == NAMES
    assert {outcome.result.assigned_hub for outcome in outcomes} == set(dps.hubs)
