"""Faults on the wire, switched on from a cell for as long as a ``with`` block runs.

::

    with faults.latency(dps, "provisioning", seconds=1.5) as fault:
        device.register()
    print(fault)

A service is ``provisioning`` (where devices register), ``enrollments`` (where you manage them) or the host name of a
hub. Only the simulator fails on request; nobody can do this to Azure, so there every fault is refused. A fault ends
with its block, and by itself after ``MOST_SECONDS``, should the kernel die in between.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any
from urllib.parse import urlencode

from .masking import MaskedError

PROVISIONING, ENROLLMENTS = "provisioning", "enrollments"
#: After so many seconds the simulator ends a fault whose block did not.
MOST_SECONDS = 600
#: What a fault does each time, once and several times.
_WORDS = {
    "latency": ("answer delayed", "answers delayed"),
    "cut": ("connection cut", "connections cut"),
    "throttling": ("request refused (too many)", "requests refused (too many)"),
    "unavailable": ("request refused (not available)", "requests refused (not available)"),
}


class FaultError(MaskedError):
    """The fault cannot be switched on; the text says why."""


class Fault:
    """One fault. Enter it to switch it on; leaving it switches it off, whatever happened in between.

    Arguments:
        dps: the target.
        service: which service fails.
        kind: how it fails.
        options: what the simulator's management API knows for this kind.

    Attributes:
        struck: how often it struck; known when it is over.
    """

    def __init__(self, dps: Any, service: str, kind: str, **options: Any) -> None:
        self._dps = dps
        self._service = service
        self._kind = kind
        self._options = {name: value for name, value in options.items() if value is not None}
        self.struck = 0

    def __enter__(self) -> Fault:
        if not self._dps.is_simulator:
            raise FaultError(
                f"Only the simulator fails on request; {self._service} is a service of Azure, where nobody can switch "
                "on a fault. Set target to 'simulator'."
            )
        if self._is_on():
            raise FaultError(
                f"The fault {self._kind} is switched on for {self._service} already; end that one first. "
                f"faults.clear(dps) ends all."
            )
        wanted = {"service": self._service, "kind": self._kind, "duration": MOST_SECONDS, **self._options}
        self._dps.manage("PUT", "/faults", wanted)
        self.struck = 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            gone = _switch_off(self._dps, service=self._service, kind=self._kind)
        except Exception:
            if error is None:
                raise
            # the simulator is gone, and its faults with it; what went wrong in the block matters more
            return
        self.struck = sum(each["struck"] for each in gone)

    def _is_on(self) -> bool:
        return any(
            each["service"] == self._service.lower() and each["kind"] == self._kind
            for each in self._dps.manage("GET", "/faults")["faults"]
        )

    def __str__(self) -> str:
        one, several = _WORDS[self._kind]
        return f"{self._service}: {self.struck or 'no'} {one if self.struck == 1 else several}"

    __repr__ = __str__


def latency(dps: Any, service: str, *, seconds: float, count: int | None = None) -> Fault:
    """Delay every answer of a service.

    Arguments:
        dps: the target.
        service: ``provisioning``, ``enrollments`` or the host name of a hub.
        seconds: by how much, 10 at most.
        count: how many answers; left out, all.

    Raises:
        FaultError: on entering, on Azure, or when such a fault is on already.
        TargetError: on entering, when a value is not possible.
    """
    return Fault(dps, service, "latency", delay=seconds, count=count)


def cut(dps: Any, service: str, *, count: int | None = 1, messages: bool = False) -> Fault:
    """Cut connections to a service instead of answering.

    Arguments:
        dps: the target.
        service: ``provisioning``, ``enrollments`` or the host name of a hub.
        count: how many; ``None`` for all.
        messages: do not cut new connections but those on which a message arrives.

    Raises:
        FaultError: on entering, on Azure, or when such a fault is on already.
        TargetError: on entering, when a value is not possible.
    """
    return Fault(dps, service, "cut", count=count, cuts="messages" if messages else "connections")


def throttle(dps: Any, service: str, *, retry_after: int = 1, count: int | None = None) -> Fault:
    """Refuse what reaches a service as too much, with status 429.

    Arguments:
        dps: the target.
        service: ``provisioning``, ``enrollments`` or the host name of a hub.
        retry_after: seconds after which a client should try again, from 1 to 300.
        count: how many requests; left out, all.

    Raises:
        FaultError: on entering, on Azure, or when such a fault is on already.
        TargetError: on entering, when a value is not possible.
    """
    return Fault(dps, service, "throttling", retryAfter=retry_after, count=count)


def unavailable(
    dps: Any, service: str, *, seconds: float | None = None, count: int | None = None, retry_after: int | None = None
) -> Fault:
    """Refuse what reaches a service because it is not available, with status 503.

    Arguments:
        dps: the target.
        service: ``provisioning``, ``enrollments`` or the host name of a hub.
        seconds: for how long, from 1 to 600; left out, for the whole block.
        count: how many requests; left out, all.
        retry_after: seconds after which a client should try again; left out, the service does not say.

    Raises:
        FaultError: on entering, on Azure, or when such a fault is on already.
        TargetError: on entering, when a value is not possible.
    """
    return Fault(dps, service, "unavailable", duration=seconds, count=count, retryAfter=retry_after)


def clear(dps: Any) -> int:
    """End all faults, also those of a kernel that died; on Azure there are none.

    Returns:
        How many there were.
    """
    return len(_switch_off(dps)) if dps.is_simulator else 0


def _switch_off(dps: Any, **which: str) -> list[dict[str, Any]]:
    gone: list[dict[str, Any]] = dps.manage("DELETE", f"/faults?{urlencode(which)}")["faults"]
    return gone
