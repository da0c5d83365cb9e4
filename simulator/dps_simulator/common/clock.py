"""Time, injected, so that nothing in the simulator reads the wall clock by itself."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Protocol


class Clock(Protocol):
    """What the simulator asks of time."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""


class SystemClock:
    """The time of this machine."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        return datetime.fromtimestamp(time.time(), timezone.utc)


class ManualClock:
    """A clock that moves only when told to, for tests.

    Arguments:
        start: the first time it shows (aware, UTC).
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime(2026, 1, 1, tzinfo=timezone.utc)

    def now(self) -> datetime:
        """The time that was last set."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move forward by a number of seconds."""
        self._now += timedelta(seconds=seconds)
