"""An event loop whose time stands still while its process does.

When a process that was stopped, as by SIGSTOP or in a debugger, goes on, all timers of asyncio that came due meanwhile
run at once, before anybody looks what has arrived. So a device would be dropped for its silence although its packets
wait in the socket. Here the time in which the process was stopped counts for no time limit.

Source: ``epoll_wait`` returns with EINTR after SIGCONT (manual page signal(7)), and Python then reports that nothing
has arrived when the time-out is over (PEP 475).
"""

from __future__ import annotations

import asyncio
import os
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")

#: Seconds too late after which it is sure that the process, or the machine, was stopped for a while.
OVERSLEPT = 1.0


class _WatchingSelector(selectors.DefaultSelector):
    """Notices when much more time went by than it was told to wait.

    Arguments:
        monotonic: seconds that go on.
        stopped: is told each time how many seconds the process was stopped for.
    """

    def __init__(self, monotonic: Callable[[], float], stopped: Callable[[float], object]) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._seen = monotonic()
        self._stopped = stopped

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What has arrived; after a stop that is looked at once more, as nothing is reported else."""
        before = self._monotonic()
        if before - self._seen > OVERSLEPT:
            self._stopped(before - self._seen)
        ready = super().select(timeout)
        self._seen = self._monotonic()
        gone = self._seen - before
        if timeout is None or gone <= max(timeout, 0.0) + OVERSLEPT:
            return ready
        self._stopped(gone)
        return ready or super().select(0)


class SteadyEventLoop(asyncio.SelectorEventLoop):
    """An event loop for which the time in which it was stopped does not count.

    Arguments:
        monotonic: seconds that go on.

    Attributes:
        time: seconds that go on while the process does. Every turn of the loop asks several times, so this is the
            clock itself until the process was stopped.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lost = 0.0
        self.time = monotonic  # type: ignore[method-assign]
        super().__init__(_WatchingSelector(monotonic, self._stopped))

    def _stopped(self, seconds: float) -> None:
        self._lost += seconds
        self.time = lambda: self._monotonic() - self._lost  # type: ignore[method-assign]


def run(main: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine as :func:`asyncio.run` does, on such a loop where the system's own one waits with a selector."""
    with asyncio.Runner(loop_factory=SteadyEventLoop if os.name == "posix" else None) as runner:
        return runner.run(main)
