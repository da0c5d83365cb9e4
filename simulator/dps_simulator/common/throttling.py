"""The limits of the real services: how many requests in which time, and how many of everything.

They are off unless somebody switches them on, because a lesson should not stop at the sixth poll, nor a test at the
hundredth device. Every rate is a bucket of tokens that fills evenly: a burst of the whole number is let through at
once, then as many as refill. A request that finds too few tokens is refused and costs nothing.

That numbers exist and what they are is published; see :data:`LIMITS`. How the services count is not. Inferred: the
bucket, the time in ``Retry-After``, that whoever comes first is served first, and that a service counts requests
whether they are good or not. Hubs let requests wait for a while before they refuse any ("traffic shaping"); here they
refuse at once.

Sizes that are never exceeded, limits or not, stand where they are checked: 96 KB for a registration, 25 CA
certificates, 256 KB for a message, 128 KB for a method, the sizes of twins.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from dps_simulator.errors.table import Dps, ErrorKind, Hub, ServiceError

from .clock import Clock
from .service_faults import ENROLLMENTS, PROVISIONING, ServiceFaults

_DPS = "Microsoft documentation, iot-dps limits (2024-03-06)"
_HUB = "Microsoft documentation, iot-hub-devguide-quotas-throttling, tier S1"
_PRICE = "Azure IoT Hub pricing, tier S1"

_EVER, _SECOND, _TEN_SECONDS, _MINUTE, _DAY = 0.0, 1.0, 10.0, 60.0, 86_400.0


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of a service.

    Attributes:
        name: how settings call it.
        meaning: what it limits.
        published: the number for a service, or for a hub with one unit.
        seconds: the time in which so many are allowed; 0 for how many there may be at all.
        refusal: the row of the error table for what is beyond it.
        source: where the number was published.
        per_unit: what every unit of a hub allows; the higher one of this and ``published`` counts.
        daily: whether the number is full again at midnight (UTC), and not little by little.
    """

    name: str
    meaning: str
    published: int
    seconds: float
    refusal: ErrorKind
    source: str
    per_unit: int = 0
    daily: bool = False


LIMITS: tuple[Limit, ...] = (
    Limit("operations_per_minute", "requests to the service API", 1_000, _MINUTE, Dps.THROTTLED, _DPS),
    Limit("registrations_per_minute", "registrations, with look-ups", 1_000, _MINUTE, Dps.THROTTLED, _DPS),
    Limit("polls_per_ten_seconds", "polls of one device", 5, _TEN_SECONDS, Dps.THROTTLED, _DPS),
    Limit("individual_enrollments", "individual enrollments", 1_000_000, _EVER, Dps.LIMIT_REACHED, _DPS),
    Limit("x509_enrollment_groups", "enrollment groups with certificates", 100, _EVER, Dps.LIMIT_REACHED, _DPS),
    Limit("symmetric_key_enrollment_groups", "enrollment groups with keys", 100, _EVER, Dps.LIMIT_REACHED, _DPS),
    Limit("registrations", "registrations that are kept", 1_000_000, _EVER, Dps.LIMIT_REACHED, _DPS),
    Limit("linked_hubs", "linked hubs", 50, _EVER, Dps.LIMIT_REACHED, _DPS),
    Limit("devices", "devices and modules of a hub", 1_000_000, _EVER, Hub.TOO_MANY_DEVICES, _HUB),
    Limit("registry_operations_per_minute", "operations on identities", 100, _MINUTE, Hub.THROTTLED, _HUB, 100),
    Limit("queries_per_minute", "queries over twins", 20, _MINUTE, Hub.THROTTLED, _HUB, 20),
    Limit("twin_reads_per_second", "twins read", 100, _SECOND, Hub.THROTTLED, _HUB),
    Limit("twin_updates_per_second", "twins changed", 50, _SECOND, Hub.THROTTLED, _HUB),
    Limit("method_kilobytes_per_second", "KB for methods, in steps of 4", 160, _SECOND, Hub.THROTTLED, _HUB, 160),
    Limit("cloud_to_device_per_minute", "messages sent to devices", 100, _MINUTE, Hub.THROTTLED, _HUB, 100),
    Limit(
        "cloud_to_device_receives_per_minute",
        "requests of devices for messages, over HTTPS",
        1_000,
        _MINUTE,
        Hub.THROTTLED,
        _HUB,
        1_000,
    ),
    Limit("connections_per_second", "new connections of devices", 100, _SECOND, Hub.THROTTLED, _HUB, 12),
    Limit("telemetry_per_second", "messages from devices", 100, _SECOND, Hub.THROTTLED, _HUB, 12),
    Limit(
        "telemetry_per_day",
        "messages from devices on one day, of 4 KB each",
        400_000,
        _DAY,
        Hub.QUOTA_EXCEEDED,
        _PRICE,
        400_000,
        daily=True,
    ),
)
_BY_NAME: Mapping[str, Limit] = MappingProxyType({limit.name: limit for limit in LIMITS})

#: Whose faults refuse what counts for a limit; where nothing stands here, those of the hub that is its scope.
_STRUCK: Mapping[str, str] = MappingProxyType(
    {
        "operations_per_minute": ENROLLMENTS,
        "registrations_per_minute": PROVISIONING,
        "polls_per_ten_seconds": PROVISIONING,
        # sent by the management API, which no fault strikes
        "cloud_to_device_per_minute": "",
    }
)

OFF, AZURE = "off", "azure"
UNITS = "hub_units"
#: Source: Microsoft documentation, iot-hub-scaling ("200 units" for S1).
MAX_UNITS = 200
#: More is as good as no limit (simulator-only).
MAX_NUMBER = 1_000_000_000
#: Buckets that are remembered, one for each device that polls (simulator-only).
MAX_BUCKETS = 10_000

_NUMBER = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Limits:
    """Which limits hold.

    Attributes:
        mode: ``off`` or ``azure``, what holds for a limit that is not among ``numbers``.
        numbers: limits by name that shall be others than ``mode`` says; ``None`` for no limit.
        units: units of every hub.

    Raises:
        ValueError: a value is not possible.
    """

    mode: str = OFF
    numbers: Mapping[str, int | None] = field(default_factory=dict)
    units: int = 1

    def __post_init__(self) -> None:
        """Check the values."""
        if self.mode not in (OFF, AZURE):
            raise ValueError(f"mode is {self.mode!r:.80}; it must be {OFF} or {AZURE}.")
        _check_number(UNITS, self.units, MAX_UNITS, "")
        for name, value in self.numbers.items():
            if name not in _BY_NAME:
                raise ValueError(f"{name!r:.80} is no limit; limits are {', '.join(_BY_NAME)}, and {UNITS}.")
            if value is not None:
                _check_number(name, value, MAX_NUMBER, f", or {OFF}")
        object.__setattr__(self, "numbers", MappingProxyType(dict(self.numbers)))

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Limits:
        """The limits by their names, as JSON and settings files give them; what is left out is off.

        Arguments:
            given: ``mode`` (``off`` or ``azure``), ``hub_units``, and numbers by the names of the limits; ``None`` or
                ``"off"`` for no limit.

        Raises:
            ValueError: a name is unknown or a value is not possible.
        """
        fields = dict(given)
        mode, units = fields.pop("mode", OFF), fields.pop(UNITS, 1)
        numbers = {name: None if value == OFF else value for name, value in fields.items()}
        return cls(mode, numbers, units)

    @classmethod
    def parse(cls, text: str) -> Limits:
        """The limits in one text: ``off``, ``azure``, ``registrations_per_minute=20``, or several with commas.

        Raises:
            ValueError: a name is unknown or a value is not possible.
        """
        fields: dict[str, Any] = {}
        for part in text.split(","):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals:
                name, value = "mode", name
            if name in fields:
                raise ValueError(f"{name} is given twice.")
            fields[name] = int(value) if name != "mode" and _NUMBER.fullmatch(value) else value
        return cls.of(fields)

    def number(self, name: str) -> int | None:
        """The number that holds for a limit, ``None`` for none."""
        if name in self.numbers:
            return self.numbers[name]
        limit = _BY_NAME[name]
        return None if self.mode == OFF else max(limit.published, limit.per_unit * self.units)

    def to_json(self) -> dict[str, object]:
        """What :meth:`of` understands, with the number of every limit."""
        return {"mode": self.mode, UNITS: self.units, **{name: self.number(name) for name in _BY_NAME}}

    def __str__(self) -> str:
        """The text that :meth:`parse` reads."""
        numbers = [f"{name}={OFF if value is None else value}" for name, value in self.numbers.items()]
        units = [f"{UNITS}={self.units}"] if self.units != 1 else []
        mode = [] if self.mode == OFF and (units or numbers) else [self.mode]
        return ",".join([*mode, *units, *numbers])


def _check_number(name: str, value: object, most: int, others: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ValueError(f"{name} is {value!r:.80}; it must be a whole number from 1 to {most}{others}.")


@dataclass(slots=True)
class _Bucket:
    """Tokens that are left, and when that was."""

    tokens: float
    when: float


class Throttle:
    """Counts requests, and refuses what is beyond the limits.

    Arguments:
        clock: the time.
        limits: which ones hold; may be changed at any time, which forgets what was counted.
        faults: refuse requests as if they were too many, or the service not available; ``None`` for no faults.
    """

    def __init__(self, clock: Clock, limits: Limits | None = None, faults: ServiceFaults | None = None) -> None:
        self._clock = clock
        self._faults = faults
        self.limits = limits or Limits()

    @property
    def limits(self) -> Limits:
        """Which limits hold."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        self._numbers = {name: number for name in _BY_NAME if (number := limits.number(name)) is not None}
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._room: dict[tuple[str, str], int] = {}

    @property
    def active(self) -> bool:
        """Whether there are any limits or faults. Who would have to work for a question asks this first."""
        return bool(self._numbers or (self._faults is not None and self._faults.active))

    def check_faults(self, service: str) -> None:
        """Let a request through, or refuse it when a fault is switched on for its service.

        Raises:
            ServiceError: there is one.
        """
        if self._faults is not None and self._faults.active:
            self._faults.refuse(service)

    def take(self, name: str, scope: str = "", amount: float = 1.0) -> None:
        """Let a request through, or refuse it.

        Arguments:
            name: the limit.
            scope: what is counted apart from others: the host name of a hub, a device.
            amount: what it costs.

        Raises:
            ServiceError: it is beyond the limit, or a fault is switched on.
        """
        service = _STRUCK.get(name, scope)
        if service:
            self.check_faults(service)
        number = self._numbers.get(name)
        if number is None:
            return
        limit = _BY_NAME[name]
        now = self._clock.now().timestamp()
        bucket = self._buckets.get((name, scope))
        if bucket is None:
            bucket = self._buckets[name, scope] = _Bucket(number, now)
            self._forget(now)
        self._fill(bucket, limit, number, now)
        # what costs more than there ever is passes a full bucket, and leaves a debt
        missing = min(amount, number) - bucket.tokens
        if missing > 0:
            raise _refusal(limit, number, scope, _wait(limit, number, missing, now))
        bucket.tokens -= amount

    def claim(self, name: str, count: Callable[[], int], scope: str = "") -> None:
        """Let one more thing come into being, or refuse it.

        Counting may be slow. So the room that was left when it was counted is used up before it is counted again.

        Arguments:
            name: the limit.
            count: tells how many there are.
            scope: what is counted apart from others.

        Raises:
            ServiceError: it would be one too many.
        """
        number = self._numbers.get(name)
        if number is None:
            return
        room = self._room.get((name, scope), 0)
        if room <= 0:
            room = number - count()
        if room <= 0:
            raise _refusal(_BY_NAME[name], number, scope, None)
        self._room[name, scope] = room - 1

    @staticmethod
    def _fill(bucket: _Bucket, limit: Limit, number: int, now: float) -> None:
        if limit.daily:
            if now // _DAY != bucket.when // _DAY:
                bucket.tokens = number
        else:
            # a clock that was set back gives nothing and takes nothing
            bucket.tokens = min(number, bucket.tokens + max(now - bucket.when, 0.0) * number / limit.seconds)
        bucket.when = now

    def _forget(self, now: float) -> None:
        """Keep the number of buckets in bounds: full ones say nothing, and then the oldest have to go."""
        if len(self._buckets) <= MAX_BUCKETS:
            return
        newest = next(reversed(self._buckets))
        for key, bucket in list(self._buckets.items()):
            number = self._numbers[key[0]]
            self._fill(bucket, _BY_NAME[key[0]], number, now)
            if bucket.tokens >= number and key != newest:
                del self._buckets[key]
        for key in list(self._buckets)[: max(len(self._buckets) - MAX_BUCKETS * 3 // 4, 0)]:
            del self._buckets[key]


def _wait(limit: Limit, number: int, missing: float, now: float) -> int:
    """Whole seconds until there are enough tokens."""
    seconds = _DAY - now % _DAY if limit.daily else missing * limit.seconds / number
    # a hair more than a whole second is the arithmetic of the bucket, and not a second
    return max(math.ceil(seconds - 1e-6), 1)


def _refusal(limit: Limit, number: int, scope: str, wait: int | None) -> ServiceError:
    at = f" of {scope!r:.160}" if scope else ""
    return ServiceError(
        limit.refusal,
        f"{limit.refusal.message} Try again in {wait} s." if wait is not None else "",
        reason=f"{limit.name}{at}: {limit.meaning} are limited to {number}",
        retry_after=wait,
    )
