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


def azure_timestamp(moment: datetime) -> str:
    """Write a time as the provisioning service does: UTC, ``Z``, fraction without trailing zeros.

    Source: recorded answers of the service (2023-05-19), e.g. ``2023-05-19T23:10:47.686968Z``.
    """
    # not strftime: every message on the wire needs this, and isoformat is ten times faster
    text = moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat()
    return f"{text.rstrip('0') if '.' in text else text}Z"
