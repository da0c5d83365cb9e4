"""As much of an event loop as a connection uses, with a time that the test sets."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class ManualHandle:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self._when, self.callback, self.cancelled = when, callback, False

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self.cancelled = True


class ManualLoop:
    """As much of an event loop as a connection uses, with a time that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._order = itertools.count()
        self._queue: list[tuple[float, int, ManualHandle]] = []
        self.timers_set = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> ManualHandle:
        handle = ManualHandle(when, callback)
        heapq.heappush(self._queue, (when, next(self._order), handle))
        self.timers_set += 1
        return handle

    def call_soon(self, callback: Callable[[], None]) -> ManualHandle:
        handle = self.call_at(self.now, callback)
        self.timers_set -= 1
        return handle

    def advance(self, seconds: float = 0.0) -> None:
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            when, _, handle = heapq.heappop(self._queue)
            self.now = max(self.now, when)
            if not handle.cancelled:
                handle.callback()
        self.now = end

    @property
    def pending(self) -> int:
        return sum(not handle.cancelled for _, _, handle in self._queue)
