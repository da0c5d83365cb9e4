"""Calls who waits for a moment of the clock, as soon as the clock shows it: by going on, or by a jump."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from dps_simulator.common.clock import Clock

_LOGGER = logging.getLogger(__name__)

#: Seconds after which the clock is looked at again, however far the next moment is: clocks jump, and machines sleep.
LOOK_AGAIN = 1.0


class Timer(Protocol):
    """What ``call_later`` returns, as an event loop's does: a call that can still be called off."""

    def cancel(self) -> None:
        """Call it off; nothing happens when it has been made already."""


CallLater = Callable[[float, Callable[[], object]], Timer]


class Expiries:
    """What is to happen at which moment.

    Timers of an event loop count seconds, whatever the clock does meanwhile. One timer for all therefore looks at the
    clock every second while somebody waits. There is none while nobody does.

    Arguments:
        clock: gives the present time (aware, in UTC).
        call_later: runs a function after some seconds, e.g. the method of an event loop.
    """

    def __init__(self, clock: Clock, call_later: CallLater) -> None:
        self._clock = clock
        self._call_later = call_later
        self._waiting: dict[object, tuple[float, Callable[[], object]]] = {}
        # the next moment, or one before it: who waited for that one may have gone meanwhile
        self._next = 0.0
        self._timer: Timer | None = None

    def add(self, owner: object, moment: float, expired: Callable[[], object]) -> None:
        """Call a function at a moment, or soon after this call when that is over. At most one is kept for each owner.

        Arguments:
            owner: whom it is for.
            moment: seconds since 1970.
            expired: is called then, once.
        """
        self._waiting[owner] = moment, expired
        if self._timer is None or moment < self._next:
            self._next = moment
            self._wait()

    def remove(self, owner: object) -> None:
        """Do not call what waits for this owner, if anything does."""
        if self._waiting.pop(owner, None) is not None and not self._waiting:
            self._stop()

    def _wait(self) -> None:
        self._stop()
        left = self._next - self._clock.now().timestamp()
        self._timer = self._call_later(min(max(left, 0.0), LOOK_AGAIN), self._look)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        now = self._clock.now().timestamp()
        due: list[Callable[[], object]] = []
        if now >= self._next:
            for owner, (moment, expired) in list(self._waiting.items()):
                if moment <= now:
                    del self._waiting[owner]
                    due.append(expired)
            self._next = min((moment for moment, _ in self._waiting.values()), default=0.0)
        if self._waiting:
            self._wait()
        for expired in due:
            try:
                expired()
            except Exception:
                _LOGGER.exception("what was to happen at a moment failed")
