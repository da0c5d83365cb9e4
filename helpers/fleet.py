"""Boots a whole fleet: many devices at a time, begun in a staggered way, tried again after a while when that may help.

What a boot is, the notebook says: a function that takes the name of a device. Threads run it. The asynchronous client
of the SDK was measured, too, with 200 devices, 100 at a time: the same memory, the same processor time, and three
quarters of the threads, because that client starts threads of its own. That is not worth a second way to write a boot.
"""

from __future__ import annotations

import heapq
import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from azure.core.exceptions import ServiceRequestError, ServiceResponseError
from azure.iot.device.exceptions import (
    ConnectionDroppedError,
    ConnectionFailedError,
    NoConnectionError,
    OperationTimeout,
)

from helpers.problems import status_of
from helpers.views.fleet_progress import FleetProgress
from helpers.views.text import text_table

from .masking import MaskedError, shown
from .problems import causes

#: More threads than these bring nothing but memory.
MOST_AT_A_TIME = 200
#: Answers after which the same request may succeed later. Source: RFC 9110, RFC 6585.
_TOO_MANY, _SERVER = 429, range(500, 600)
_ON_THE_WAY = (
    ConnectionDroppedError,
    ConnectionFailedError,
    NoConnectionError,
    OperationTimeout,
    ServiceRequestError,
    ServiceResponseError,
    OSError,
)
#: How often the progress is shown anew, in seconds.
_REFRESH = 0.1
#: How long an interrupted run waits for boots that have begun, in seconds.
_LAST_WORDS = 5.0


class FleetError(MaskedError):
    """The fleet cannot be provisioned like that; the text says why."""


@dataclass(frozen=True)
class Backoff:
    """How long to wait before the next try.

    Arguments:
        first: seconds before the second try; doubled before every further one.
        most: seconds that a wait grows to.
        tries: how often to try at all.
        jitter: whether a wait is lengthened by chance, by up to as much again.
    """

    first: float = 1.0
    most: float = 60.0
    tries: int = 8
    jitter: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        if not (_is_seconds(self.first) and _is_seconds(self.most) and 0 < self.first <= self.most):
            raise FleetError(
                f"first is {self.first!r} and most is {self.most!r}; they must be seconds, and 0 < first <= most."
            )
        if not _is_count(self.tries):
            raise FleetError(f"tries is {self.tries!r}; it must be a whole number: a device has to try once at least.")

    def wait(self, failed: int, retry_after: float = 0.0, chance: Callable[[], float] = random.random) -> float:
        """Seconds to wait.

        Arguments:
            failed: how many tries have failed, from 1.
            retry_after: what the service asked for; it is never sooner.
            chance: gives a number from 0 to 1.
        """
        # an exponent without bounds overflows one day
        grown = min(self.most, self.first * 2.0 ** min(failed - 1, 60))
        return max(grown, retry_after) + (grown * chance() if self.jitter else 0.0)


@dataclass(frozen=True)
class Outcome:
    """What became of one device.

    Attributes:
        name: the device's name, as it stands among the names of the fleet.
        result: what its boot gave back; ``None`` when it failed.
        error: the last error; ``None`` when it succeeded.
        begun: when each of its tries began, in seconds since the fleet began.
        ended: when the last of them ended, likewise.
        problems: the errors after which it tried again.
    """

    name: str
    result: Any
    error: BaseException | None
    begun: tuple[float, ...]
    ended: float
    problems: tuple[BaseException, ...] = ()

    @property
    def seconds(self) -> float:
        """From its first try to its end."""
        return self.ended - self.begun[0]

    @property
    def retries(self) -> int:
        """How often it tried again after its first try."""
        return len(self.begun) - 1


@dataclass(order=True)
class _Due:
    """A try that shall begin at a time."""

    when: float
    place: int
    name: str = field(compare=False)
    begun: list[float] = field(compare=False, default_factory=list)
    problems: list[BaseException] = field(compare=False, default_factory=list)


def provision(
    boot: Callable[[str], Any],
    names: Sequence[str],
    *,
    at_a_time: int = 50,
    spread: float = 0.0,
    backoff: Backoff | None = None,
    progress: FleetProgress | None = None,
) -> list[Outcome]:
    """Boot devices, and tell what became of each. A device that fails stops nobody else.

    Arguments:
        boot: boots one device by its name.
        names: the devices.
        at_a_time: how many may be busy at the same moment; one that waits for its next try is not.
        spread: seconds over which the first tries are spread evenly; 0 begins with all as soon as there is a thread.
        backoff: how long to wait after an error that may go away, see :func:`may_go_away`.
        progress: counts along.

    Returns:
        One outcome for each device, in the order of the names.

    Raises:
        FleetError: a value is not possible.
    """
    if not _is_count(at_a_time) or at_a_time > MOST_AT_A_TIME:
        raise FleetError(f"at_a_time is {at_a_time!r}; it must be a whole number from 1 to {MOST_AT_A_TIME}.")
    if not _is_seconds(spread):
        raise FleetError(f"spread is {spread!r}; it must be seconds, 0 or more.")
    if isinstance(names, str):
        raise FleetError(f"names is the text {shown(names)}; it must be a list of names, even for one device.")
    if len(set(names)) != len(names):
        raise FleetError("Some devices stand twice among the names; each can boot once.")
    return _Fleet(boot, names, spread, backoff or Backoff(), progress).run(min(at_a_time, len(names)))


def _is_count(value: object) -> bool:
    """Whether it is a whole number from 1 on. ``True`` counts as 1 in Python, and nobody means it."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_seconds(value: object) -> bool:
    """Whether it is a time: a number from 0 on, and not an infinite one."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


class _Fleet:
    """One run. Threads take the try that is due first; a wait for a later one occupies no thread."""

    def __init__(
        self,
        boot: Callable[[str], Any],
        names: Sequence[str],
        spread: float,
        backoff: Backoff,
        progress: FleetProgress | None,
    ) -> None:
        self._boot = boot
        self._backoff = backoff
        self._progress = progress
        self._start = time.monotonic()
        self._changed = threading.Condition()
        self._due = [_Due(place * spread / len(names), place, name) for place, name in enumerate(names)]
        self._outcomes: list[Outcome | None] = [None] * len(names)
        self._left = len(names)
        self._stopped = False

    def run(self, threads: int) -> list[Outcome]:
        workers = [
            # a device may wait for ever, and nobody shall have to wait for it to restart a kernel
            threading.Thread(target=self._work, name=f"boot-{number}", daemon=True)
            for number in range(threads)
        ]
        if self._progress is not None:
            self._progress.begin()
        try:
            for worker in workers:
                worker.start()
            with self._changed:
                while self._left:
                    self._changed.wait(_REFRESH)
                    # here, and not in the threads: whoever looks at the bar shall hold up nobody
                    self._refresh()
        finally:
            # also when somebody interrupts the cell: what has begun may end, and nothing else begins
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
            deadline = time.monotonic() + _LAST_WORDS
            for worker in workers:
                if worker.ident is not None:
                    worker.join(max(deadline - time.monotonic(), 0))
            self._refresh()
        return [outcome for outcome in self._outcomes if outcome is not None]

    def _now(self) -> float:
        return time.monotonic() - self._start

    def _refresh(self) -> None:
        if self._progress is not None:
            self._progress.refresh()

    def _next(self) -> _Due | None:
        """The next try, when its time has come; ``None`` when there will be none."""
        with self._changed:
            while self._left and not self._stopped:
                wait = self._due[0].when - self._now() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)
                self._changed.wait(wait)
        return None

    def _work(self) -> None:
        while (due := self._next()) is not None:
            due.begun.append(self._now())
            try:
                result = self._boot(due.name)
            except (Exception, SystemExit) as problem:
                # a thread that ended here would leave the run waiting for its device for ever
                self._failed(due, problem)
            else:
                self._ended(due, result, None)

    def _failed(self, due: _Due, problem: BaseException) -> None:
        if len(due.begun) >= self._backoff.tries or not may_go_away(problem):
            self._ended(due, None, problem)
            return
        due.problems.append(problem)
        if status_of(problem) == _TOO_MANY and self._progress is not None:
            self._progress.advance(throttled=1)
        due.when = self._now() + self._backoff.wait(len(due.begun), retry_after(problem))
        with self._changed:
            heapq.heappush(self._due, due)
            self._changed.notify_all()

    def _ended(self, due: _Due, result: Any, error: BaseException | None) -> None:
        outcome = Outcome(due.name, result, error, tuple(due.begun), self._now(), tuple(due.problems))
        if self._progress is not None:
            self._progress.advance(assigned=int(error is None), failed=int(error is not None))
        with self._changed:
            self._outcomes[due.place] = outcome
            self._left -= 1
            if not self._left:
                self._changed.notify_all()


def may_go_away(problem: BaseException) -> bool:
    """Whether the same try may succeed later: too many requests, a service in trouble, a connection that broke.

    A wrong key stays wrong, so everything else is final.
    """
    status = status_of(problem)
    if status is not None:
        return status == _TOO_MANY or status in _SERVER
    return any(isinstance(each, _ON_THE_WAY) for each in causes(problem))


def retry_after(problem: BaseException) -> float:
    """The seconds that a service asks to wait, in the header ``Retry-After`` of its answer; 0 when it does not.

    Source: RFC 9110, 10.2.3: a number of seconds, or a date.
    """
    headers: Mapping[str, str] = getattr(getattr(problem, "response", None), "headers", None) or {}
    text = str(headers.get("Retry-After", "")).strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return 0.0
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return max((when - datetime.now(timezone.utc)).total_seconds(), 0.0)


def refusals(outcomes: Sequence[Outcome]) -> int:
    """How many tries were answered with 429."""
    return sum(status_of(problem) == _TOO_MANY for outcome in outcomes for problem in outcome.problems)


def total_seconds(outcomes: Sequence[Outcome]) -> float:
    """From the first try of all to the end of the last; 0 for no devices."""
    if not outcomes:
        return 0.0
    return max(outcome.ended for outcome in outcomes) - min(outcome.begun[0] for outcome in outcomes)


def busiest(begun: Sequence[float], seconds: float = 0.1) -> int:
    """The most tries that began within so many seconds."""
    times = sorted(begun)
    most = first = 0
    for last, time_of_last in enumerate(times):
        while time_of_last - times[first] > seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def summary(outcomes: Sequence[Outcome]) -> str:
    """Rates and times of a fleet, as a table."""
    done = sorted(outcome.seconds for outcome in outcomes if outcome.error is None)
    seconds = total_seconds(outcomes)
    rows = [
        ("devices", str(len(outcomes))),
        ("assigned", str(len(done))),
        ("failed", str(len(outcomes) - len(done))),
        ("tried again", str(sum(outcome.retries for outcome in outcomes))),
        ("seconds for all", f"{seconds:.1f}"),
    ]
    if done:
        rows += [
            ("devices per second", f"{len(done) / max(seconds, 1e-9):.1f}"),
            ("seconds for one, in the middle", f"{done[len(done) // 2]:.2f}"),
            ("seconds for the slowest", f"{done[-1]:.2f}"),
        ]
    return text_table(("what", "value"), rows)


@contextmanager
def limits(dps: Any, **numbers: int) -> Iterator[None]:
    """Let the simulator keep to limits as Azure does, for as long as the block runs.

    Arguments:
        dps: the target.
        numbers: limits by their names, e.g. ``registrations_per_minute=90``; all others are off.

    Raises:
        FleetError: on Azure, which has its own limits and lets nobody change them.
        TargetError: when a name or a number is not possible.
    """
    if not dps.is_simulator:
        raise FleetError("Azure has its own limits, and nobody can change them here. Set target to 'simulator'.")
    before = dps.manage("GET", "/limits")
    dps.manage("PUT", "/limits", {"mode": "off", **numbers})
    try:
        yield
    finally:
        dps.manage("PUT", "/limits", before)


def lift_limits(dps: Any) -> bool:
    """Switch the limits off, also those of a kernel that died; whether there was anything to ask, which Azure lacks."""
    if not dps.is_simulator:
        return False
    dps.manage("PUT", "/limits", {"mode": "off"})
    return True
