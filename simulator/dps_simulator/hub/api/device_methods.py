"""Direct methods on the device's side: calls that wait for a device to come, and for its answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.hub.checks import invalid
from dps_simulator.wire.json_body import load_json

#: Methods that may wait for the answer of one device.
MAX_WAITING_METHODS = 100
#: Bytes of the JSON that travels with a call and with its answer.
MAX_METHOD_PAYLOAD = 128 * 1024


@dataclass(frozen=True, slots=True)
class MethodResult:
    """What a device answered to a direct method."""

    status: int
    payload: Any = field(repr=False)


@runtime_checkable
class MethodTaker(Protocol):
    """A connection over which direct methods can be called."""

    @property
    def takes_methods(self) -> bool:
        """Whether they can be, right now."""

    async def invoke(self, name: str, payload: bytes, timeout: float) -> MethodResult:
        """Call one; see :meth:`~dps_simulator.hub.api.device.HubDeviceEndpoint.invoke_method`."""


class Arrivals:
    """Calls that wait for a device to connect and to subscribe to methods."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def arrived(self, name: str) -> None:
        """The device, or module, is ready: wake everybody who waits for it."""
        for waiting in self._waiting.pop(name, ()):
            waiting.set_result(None)

    async def wait(self, name: str, timeout: float) -> None:
        """Return when it arrives, or after some seconds."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, set()).add(waiting)
        try:
            await asyncio.wait([waiting], timeout=timeout)
        finally:
            others = self._waiting.get(name, set())
            others.discard(waiting)
            if not others:
                self._waiting.pop(name, None)


class MethodCalls:
    """The calls that one connection has to answer."""

    __slots__ = ("_last_request", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[MethodResult]] = {}
        self._last_request = 0

    def begin(self) -> str:
        """Make the ID of a new call.

        Raises:
            ServiceError: too many wait already.
        """
        if len(self._waiting) >= MAX_WAITING_METHODS:
            raise ServiceError(
                Hub.THROTTLED,
                f"{MAX_WAITING_METHODS} methods already wait for the device; this simulator takes no more.",
            )
        self._last_request += 1
        request = f"{self._last_request:x}"
        self._waiting[request] = asyncio.get_running_loop().create_future()
        return request

    async def answer(self, request: str, timeout: float) -> MethodResult:
        """Wait for the answer to a call, and forget the call.

        Raises:
            ServiceError: it does not come in time, is nonsense, or the device went away.
        """
        try:
            return await asyncio.wait_for(self._waiting[request], timeout)
        except TimeoutError:
            raise ServiceError(Hub.GATEWAY_TIMEOUT, reason=f"the device did not answer within {timeout:g} s") from None
        finally:
            self._waiting.pop(request, None)

    def is_open(self, request: str) -> bool:
        """Whether somebody still waits for this answer."""
        waiting = self._waiting.get(request)
        return waiting is not None and not waiting.done()

    def settle(self, request: str, outcome: MethodResult | ServiceError) -> None:
        """Give an open call its answer, or say why there is none."""
        waiting = self._waiting[request]
        if isinstance(outcome, ServiceError):
            waiting.set_exception(outcome)
        else:
            waiting.set_result(outcome)

    def abandon(self) -> None:
        """The device is gone: nobody will answer."""
        for request in self._waiting:
            if self.is_open(request):
                self.settle(request, ServiceError(Hub.DEVICE_CONNECTION_CLOSED))
        self._waiting = {}


def method_payload(data: bytes) -> Any:
    """What a device answered to a method.

    Raises:
        ServiceError: it is too large, or no JSON.
    """
    if len(data) > MAX_METHOD_PAYLOAD:
        raise invalid(
            f"The device's answer has {len(data)} bytes; at most {MAX_METHOD_PAYLOAD} are allowed for a method."
        )
    return device_json(data, "The device's answer") if data.strip() else None


def device_json(data: bytes, what: str) -> Any:
    """Parse JSON from a device.

    Raises:
        ServiceError: it is not valid.
    """
    try:
        return load_json(data)
    except ValueError as error:
        raise invalid(f"{what} must be JSON: {error}"[:300]) from error
