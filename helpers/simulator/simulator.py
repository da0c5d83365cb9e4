"""The simulator inside one's own process: a context manager that runs it on a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

from .clock import Clock
from .running import RunningSimulator
from .runtime import SimulatorRuntime
from .settings import Settings
from .trace import TraceEvent

_T = TypeVar("_T")


class Simulator:
    """A running simulator for a ``with`` block.

    The state is in memory unless ``state`` names a folder. Several may run side by side.

    Arguments:
        settings: all settings; ``None`` takes the defaults.
        clock: the time; tests may bring a :class:`~.clock.ManualClock`.
        changes: single settings by name, e.g. ``pace="instant"``.

    Raises:
        SimulatorError, StoreError: on entering, when it cannot run.
    """

    def __init__(self, settings: Settings | None = None, *, clock: Clock | None = None, **changes: Any) -> None:
        self._settings = replace(settings or Settings(), **changes)
        self._clock = clock
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runtime: SimulatorRuntime | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None

    def start(self) -> Simulator:
        """Open the ports; returns when everything is ready."""
        if self._thread is not None:
            raise RuntimeError("this simulator has been started already")
        self._started.clear()
        self._thread = threading.Thread(target=self._run, name="dps-simulator", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            self._thread.join()
            self._thread = None
            raise failure
        return self

    def stop(self) -> None:
        """Close every port and connection; returns when all is gone. May be called twice."""
        if self._thread is None:
            return
        if self._loop is not None and self._runtime is not None:
            self._loop.call_soon_threadsafe(self._runtime.stopping.set)
        self._thread.join()
        self._thread = self._loop = self._runtime = None

    def __enter__(self) -> Simulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> RunningSimulator:
        """How to reach it: host names, ports, connection strings, the certificate to trust."""
        return self.call(lambda runtime: runtime.running)

    @property
    def pace(self) -> str:
        """How assignments are answered: ``azure``, ``instant`` or ``polls=n``. Can be set."""
        return self.call(lambda runtime: runtime.pace)

    @pace.setter
    def pace(self, pace: str) -> None:
        self.call(lambda runtime: runtime.set_pace(pace))

    def trace(self, after: int = 0) -> list[TraceEvent]:
        """The messages on the wire so far, oldest first."""
        return self.call(lambda runtime: runtime.trace.events(after))

    def reset(self) -> None:
        """Forget enrollments, registrations, devices and trace."""
        self.call(lambda runtime: runtime.reset())

    def call(self, function: Callable[[SimulatorRuntime], _T]) -> _T:
        """Run a function on the simulator's own thread, where its parts may be touched, and return its result."""
        runtime, loop = self._runtime, self._loop
        if runtime is None or loop is None:
            raise RuntimeError("this simulator is not running; use it inside its with block")

        async def run() -> _T:
            return function(runtime)

        return asyncio.run_coroutine_threadsafe(run(), loop).result(timeout=30)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._failure = error
        finally:
            self._started.set()

    async def _main(self) -> None:
        async with AsyncExitStack() as stack:
            self._runtime = await SimulatorRuntime.open(stack, self._settings, self._clock)
            self._loop = asyncio.get_running_loop()
            self._started.set()
            await self._runtime.run_until_stopped()
