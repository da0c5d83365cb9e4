"""Faults that a person switches on for a service, to see how a program copes. Azure has nothing like it.

A fault strikes one service: ``provisioning`` (where devices register), ``enrollments`` (the service API of DPS) or a
hub, which goes by its host name. There is one fault of each kind for each service, a new one takes the place of an
older one, and all of them are over after their time. What a client meets looks as much as possible like the real
thing: throttling takes the way of the limits, and an unavailable service that of every other refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dps_simulator.errors.table import Dps, ErrorKind, Hub, ServiceError

from .clock import Clock

PROVISIONING, ENROLLMENTS = "provisioning", "enrollments"
LATENCY, CUT, THROTTLING, UNAVAILABLE = "latency", "cut", "throttling", "unavailable"
KINDS = (LATENCY, CUT, THROTTLING, UNAVAILABLE)
#: What a cut ends: a connection before it is accepted, or one on which a message arrives. An HTTP request is both.
CONNECTIONS, MESSAGES = "connections", "messages"

#: Seconds for which a fault lasts unless told otherwise, and at most.
DURATION, MAX_DURATION = 60.0, 600.0
#: Seconds by which answers are delayed at most: below the time after which clients take a connection for dead.
MAX_DELAY = 10.0
MAX_RETRY_AFTER = 300
MAX_COUNT = 10_000

#: The word for the trace, and for the body of an answer where there is room for it.
FINDING = "faultSwitchedOn"

#: Names of this API, what they belong to, and what they are when left out.
_OPTIONS: Mapping[str, tuple[tuple[str, ...], Any]] = {
    "delay": ((LATENCY,), 1.0),
    "cuts": ((CUT,), CONNECTIONS),
    "retryAfter": ((THROTTLING, UNAVAILABLE), None),
}
_COMMON = ("service", "kind", "duration", "count")

_REFUSALS: Mapping[tuple[str, bool], ErrorKind] = {
    (THROTTLING, False): Dps.THROTTLED,
    (THROTTLING, True): Hub.THROTTLED,
    (UNAVAILABLE, False): Dps.UNAVAILABLE,
    (UNAVAILABLE, True): Hub.UNAVAILABLE,
}
#: Seconds in ``Retry-After`` of a throttled answer that was told nothing else; it always has one.
_RETRY_AFTER = 1


@dataclass(frozen=True, slots=True)
class ServiceFault:
    """A fault, as it was asked for.

    Attributes:
        service: which service it strikes.
        kind: one of :data:`KINDS`.
        duration: seconds after which it is over.
        count: how often it strikes at most; ``None`` for as often as it can.
        delay: latency: seconds by which every answer is delayed.
        cuts: cut: ``connections`` or ``messages``.
        retry_after: throttling and unavailable: seconds until a client should come back; ``None`` for no word of it.
    """

    service: str
    kind: str
    duration: float = DURATION
    count: int | None = None
    delay: float = 0.0
    cuts: str = ""
    retry_after: int | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> ServiceFault:
        """A fault in the names of the management API: ``service``, ``kind`` and what the kind knows.

        Raises:
            ValueError: a name or a value is not possible.
        """
        kind = given.get("kind")
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r:.80}; it must be one of {', '.join(KINDS)}.")
        service = given.get("service")
        if not isinstance(service, str):
            raise ValueError(f"service is {service!r:.80}; it must be a text.")
        own = [name for name, (kinds, _) in _OPTIONS.items() if kind in kinds]
        unknown = sorted(set(given) - {*_COMMON, *own})
        if unknown:
            raise ValueError(f"{unknown[0]!r:.80} means nothing for {kind}; it knows {', '.join((*_COMMON, *own))}.")
        options = {name: given.get(name, _OPTIONS[name][1]) for name in own}
        cuts = options.get("cuts", "")
        if kind == CUT and cuts not in (CONNECTIONS, MESSAGES):
            raise ValueError(f"cuts is {cuts!r:.80}; it must be {CONNECTIONS} or {MESSAGES}.")
        retry_after = options.get("retryAfter")
        if retry_after is None and kind == THROTTLING:
            retry_after = _RETRY_AFTER
        count = given.get("count")
        return cls(
            service=service.lower(),
            kind=kind,
            duration=_number("duration", given.get("duration", DURATION), 1, MAX_DURATION),
            count=None if count is None else _whole("count", count, MAX_COUNT),
            delay=_number("delay", options["delay"], 0.001, MAX_DELAY) if kind == LATENCY else 0.0,
            cuts=cuts,
            retry_after=None if retry_after is None else _whole("retryAfter", retry_after, MAX_RETRY_AFTER),
        )

    def to_json(self) -> dict[str, Any]:
        """What :meth:`of` understands."""
        values = {"delay": self.delay, "cuts": self.cuts, "retryAfter": self.retry_after}
        own = {name: values[name] for name, (kinds, _) in _OPTIONS.items() if self.kind in kinds}
        return {
            "service": self.service,
            "kind": self.kind,
            **own,
            "duration": self.duration,
            "count": self.count,
        }

    @property
    def is_of_hub(self) -> bool:
        """Whether it strikes a hub."""
        return self.service not in (PROVISIONING, ENROLLMENTS)


@dataclass(slots=True)
class _Active:
    """A fault that was switched on, and what became of it."""

    fault: ServiceFault
    end: float
    struck: int = 0

    def left(self, now: float) -> float:
        """Seconds until it is over, 0 when it is; never more than it was to last, also where the clock was set back."""
        self.end = min(self.end, now + self.fault.duration)
        return max(self.end - now, 0.0)

    def lasts(self, now: float) -> bool:
        """Whether it can still strike."""
        return self.left(now) > 0 and (self.fault.count is None or self.struck < self.fault.count)

    def to_json(self, now: float) -> dict[str, Any]:
        return {**self.fault.to_json(), "left": round(self.left(now), 1), "struck": self.struck}


@dataclass(slots=True)
class ServiceFaults:
    """The faults that are switched on.

    Arguments:
        clock: the time.
        hubs: gives the host names of all hubs.

    Attributes:
        active: by service and kind; some may be over. Who would have to work for a question asks first whether there
            are any.
    """

    clock: Clock
    hubs: Callable[[], Sequence[str]]
    active: dict[tuple[str, str], _Active] = field(default_factory=dict, init=False)

    def put(self, fault: ServiceFault) -> None:
        """Switch a fault on, in place of one of the same kind that the service has.

        Raises:
            ValueError: there is no such service.
        """
        services = (PROVISIONING, ENROLLMENTS, *self.hubs())
        if fault.service not in services:
            raise ValueError(f"service is {fault.service!r:.260}; it must be one of {', '.join(services)}.")
        self.active[fault.service, fault.kind] = _Active(fault, self._now() + fault.duration)

    def clear(self, service: str = "", kind: str = "") -> list[dict[str, Any]]:
        """Switch faults off.

        Arguments:
            service: only those of this service.
            kind: only those of this kind.

        Returns:
            What was switched off, as :meth:`to_json` shows it.
        """
        gone = [key for key in self.active if service.lower() in ("", key[0]) and kind in ("", key[1])]
        return [self.active.pop(key).to_json(self._now()) for key in gone]

    def to_json(self) -> list[dict[str, Any]]:
        """The faults with the seconds that are left, and how often each has struck; those that are over are gone."""
        now = self._now()
        self.active = {key: active for key, active in self.active.items() if active.left(now) > 0}
        return [active.to_json(now) for active in self.active.values()]

    def delay(self, service: str) -> float:
        """Seconds by which the answer to what has just arrived is delayed, mostly 0. Counts as a strike."""
        fault = self._strike(service, LATENCY)
        return 0.0 if fault is None else fault.delay

    def cuts(self, service: str, *arriving: str) -> bool:
        """Whether the connection on which something has just arrived ends. Counts as a strike.

        Arguments:
            service: which service it is for.
            arriving: what it is, :data:`CONNECTIONS` or :data:`MESSAGES` or both.
        """
        active = self.active.get((service, CUT))
        return active is not None and active.fault.cuts in arriving and self._strike(service, CUT) is not None

    def refuse(self, service: str) -> None:
        """Let a request through, or refuse it, which counts as a strike.

        Raises:
            ServiceError: the service is throttled or not available.
        """
        fault = self._strike(service, UNAVAILABLE) or self._strike(service, THROTTLING)
        if fault is None:
            return
        kind = _REFUSALS[fault.kind, fault.is_of_hub]
        again = f" Try again in {fault.retry_after} s." if fault.retry_after is not None else ""
        raise ServiceError(
            kind,
            f"{kind.message}{again}",
            reason=f"the fault {fault.kind} was switched on for {service}, in this simulator only",
            retry_after=fault.retry_after,
            finding=FINDING,
        )

    def _strike(self, service: str, kind: str) -> ServiceFault | None:
        active = self.active.get((service, kind))
        if active is None or not active.lasts(self._now()):
            return None
        active.struck += 1
        return active.fault

    def _now(self) -> float:
        return self.clock.now().timestamp()


def _number(name: str, value: object, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r:.80}; it must be a number of seconds from {least:g} to {most:g}.")
    return float(value)


def _whole(name: str, value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ValueError(f"{name} is {value!r:.80}; it must be a whole number from 1 to {most}.")
    return value
