"""The simulator inside one's own process: a context manager that runs it on a thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

from dps_simulator.common.clock import Clock
from dps_simulator.common.service_faults import ServiceFault
from dps_simulator.common.throttling import Limits
from dps_simulator.common.trace import TraceEvent
from dps_simulator.hub.cloud_to_device import CloudToDeviceMessage, QueuedMessage
from dps_simulator.hub.hub import IotHub
from dps_simulator.hub.telemetry import TelemetryMessage
from dps_simulator.process.address import RunningSimulator
from dps_simulator.process.clients import Clients
from dps_simulator.settings.settings import Settings

from .runtime import SimulatorRuntime
from .server import event_loop

_T = TypeVar("_T")

_NOT_RUNNING = "this simulator is not running; use it inside its with block"


class Simulator(Clients):
    """A running simulator for a ``with`` block, with ready-made clients.

    The state is in memory unless ``state`` names a folder. Several may run side by side.

    Arguments:
        settings: all settings; ``None`` takes the defaults.
        clock: the time; tests may bring a :class:`~dps_simulator.common.clock.ManualClock`.
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
        thread, loop, runtime = self._thread, self._loop, self._runtime
        if thread is None:
            return
        if loop is not None and runtime is not None:
            # it may have stopped by itself: the management API can ask for it, and so can idleness
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(runtime.stopping.set)
        thread.join()
        self._thread = self._loop = self._runtime = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def __enter__(self) -> Simulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not stopped, neither by :meth:`stop` nor by itself."""
        try:
            return self.call(lambda runtime: not runtime.stopping.is_set())
        except RuntimeError:
            return False

    @property
    def running(self) -> RunningSimulator:
        """How to reach it: host names, ports, connection strings, the certificate to trust."""
        return self.call(lambda runtime: runtime.running)

    @property
    def _reached(self) -> RunningSimulator:
        return self.running

    @property
    def provisioning_host(self) -> str:
        """Host name where devices register."""
        return self.running.provisioning_host

    @property
    def id_scope(self) -> str:
        """What devices give as ID scope."""
        return self.running.id_scope

    @property
    def service_connection_string(self) -> str:
        """Connection string of the API for enrollments, with the key that is good now."""
        return self.running.service_connection_string

    @property
    def pace(self) -> str:
        """How assignments are answered: ``azure``, ``instant`` or ``polls=n``. Can be set."""
        return self.call(lambda runtime: runtime.pace)

    @pace.setter
    def pace(self, pace: str) -> None:
        self.call(lambda runtime: runtime.set_pace(pace))

    @property
    def limits(self) -> str:
        """Which limits of the real services hold: ``off``, ``azure`` or single ones as ``name=number``. Can be set."""
        return self.call(lambda runtime: str(runtime.limits))

    @limits.setter
    def limits(self, limits: str) -> None:
        parsed = Limits.parse(limits)
        self.call(lambda runtime: runtime.set_limits(parsed))

    def switch_on_fault(self, service: str, kind: str, **options: Any) -> None:
        """Let a service fail for a while.

        Arguments:
            service: ``provisioning``, ``enrollments`` or the host name of a hub.
            kind: ``latency``, ``cut``, ``throttling`` or ``unavailable``.
            options: ``duration``, ``count``, ``delay``, ``cuts`` and ``retryAfter``, as the management API has them.

        Raises:
            ValueError: a value is not possible.
        """
        fault = ServiceFault.of({"service": service, "kind": kind, **options})
        self.call(lambda runtime: runtime.faults.put(fault))

    def switch_off_faults(self, service: str = "", kind: str = "") -> list[dict[str, Any]]:
        """End the faults of a service, of a kind, or all; gives those that ended, with how often each has struck."""
        return self.call(lambda runtime: runtime.faults.clear(service, kind))

    def link_hub(self, host: str, **fields: Any) -> None:
        """Add a hub, e.g. ``contoso-hub-2.azure-devices.test``, or change how one is linked.

        Arguments:
            host: host name of the hub.
            fields: ``allocation_weight``, ``apply_allocation_policy``, ``latency`` (milliseconds).

        Raises:
            ValueError: the host name or a value is not possible.
        """
        self.call(lambda runtime: runtime.hubs.put(host, **fields))

    def unlink_hub(self, host: str) -> None:
        """Keep the provisioning service from a hub; the hub stays with its devices. One that is new is only added."""
        self.call(lambda runtime: runtime.hubs.put(host, linked=False))

    def remove_hub(self, host: str) -> bool:
        """Remove a hub that was added while running, with its devices; tells whether there was one."""
        return self.call(lambda runtime: runtime.hubs.remove(host))

    def telemetry(self, hub: str = "", after: int = 0, device_id: str = "") -> list[TelemetryMessage]:
        """What devices have sent to a hub, oldest first, as far as it is kept.

        Arguments:
            hub: host name; without it, the first hub.
            after: only messages with a sequence number above this one.
            device_id: only messages of this device and its modules.

        Raises:
            ValueError: there is no such hub.
        """
        return self.call(lambda runtime: _hub(runtime, hub).telemetry.read(after, device_id=device_id))

    def send_message(self, device_id: str, message: CloudToDeviceMessage, hub: str = "") -> QueuedMessage:
        """Put a message into the queue of a device, which gets it at once when it is connected and wants to have it.

        Arguments:
            device_id: a device in the hub's registry.
            message: what to send.
            hub: host name; without it, the first hub.

        Raises:
            ValueError: there is no such hub.
            ServiceError: there is no such device, its queue is full, or the message is not possible.
        """
        return self.call(lambda runtime: _hub(runtime, hub).cloud_to_device.send(device_id, message))

    def trace(self, after: int = 0) -> list[TraceEvent]:
        """The messages on the wire so far, oldest first."""
        return self.call(lambda runtime: runtime.trace.events(after))

    def reset(self) -> None:
        """Forget enrollments, registrations, devices and trace."""
        self.call(lambda runtime: runtime.reset())

    def call(self, function: Callable[[SimulatorRuntime], _T]) -> _T:
        """Run a function on the simulator's own thread, where its parts may be touched, and return its result.

        Raises:
            RuntimeError: it does not run, or has stopped by itself.
        """
        runtime, loop, thread = self._runtime, self._loop, self._thread
        if runtime is None or loop is None or thread is None:
            raise RuntimeError(_NOT_RUNNING)
        if thread is threading.current_thread():
            return function(runtime)
        result: concurrent.futures.Future[_T] = concurrent.futures.Future()

        def run() -> None:
            try:
                result.set_result(function(runtime))
            except BaseException as error:
                result.set_exception(error)

        try:
            loop.call_soon_threadsafe(run)
        except RuntimeError as error:
            raise RuntimeError(_NOT_RUNNING) from error
        # a loop that ends meanwhile never gets to it
        while not concurrent.futures.wait([result], timeout=0.5).done:
            if not thread.is_alive():
                raise RuntimeError(_NOT_RUNNING)
        return result.result()

    def _run(self) -> None:
        try:
            event_loop.run(self._main())
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


def _hub(runtime: SimulatorRuntime, host: str) -> IotHub:
    hosts = runtime.hubs.hosts
    hub = runtime.hubs.find(host or hosts[0])
    if hub is None:
        raise ValueError(f"There is no hub {host!r:.260}; there are {', '.join(hosts)}.")
    return hub
