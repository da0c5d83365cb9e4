"""Faults that a device asks its hub for, to see how it copes: properties ``AzIoTHub_Fault…`` of a message.

Azure documents them nowhere. Microsoft's own end-to-end tests of the device SDKs use them against the real service;
names and timing are learned there: normal operation, then the delay, then the fault for its duration, then normal
operation. What a fault looks like over MQTT beyond a lost connection is inferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dps_simulator.errors.table import ErrorKind, Hub, ServiceError

from .checks import invalid

OPERATION = "AzIoTHub_FaultOperationType"
REASON = "AzIoTHub_FaultOperationCloseReason"
DELAY = "AzIoTHub_FaultOperationDelayInSecs"
DURATION = "AzIoTHub_FaultOperationDurationInSecs"

#: Seconds that a fault may be put off, and that it may last.
MAX_DELAY = 300
MAX_DURATION = 3_600

#: What MQTT can show, and the error that explains it. The device is dropped, and kept out for the duration.
FAULTS: Mapping[str, ErrorKind] = {
    "KillTcp": Hub.FAULT,
    "ShutDownMqtt": Hub.FAULT,
    "InvokeThrottling": Hub.THROTTLED,
    "InvokeMaxMessageQuota": Hub.QUOTA_EXCEEDED,
    "InvokeAuthError": Hub.UNAUTHORIZED_ACCESS,
}
#: How the names of those begin that the tests use besides.
_OF_AMQP = ("KillAmqp", "ShutDownAmqp")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that was asked for.

    Attributes:
        operation: its name, one of :data:`FAULTS`.
        reason: the sender's words, empty when it gave none; they stand in the trace.
        delay: seconds until it begins.
        duration: seconds that it lasts.
    """

    operation: str
    reason: str
    delay: int
    duration: int

    @property
    def error(self) -> ServiceError:
        """The error with which the device's connection ends; its ``reason`` quotes the sender, for the trace."""
        words = f" ({self.reason:.200})" if self.reason else ""
        return ServiceError(FAULTS[self.operation], reason=f"the device asked for the fault {self.operation}{words}")

    @property
    def is_cut(self) -> bool:
        """Whether connections just end, without a word."""
        return self.operation == "KillTcp"

    @property
    def is_of_mqtt(self) -> bool:
        """Whether it is nothing to those who come by another protocol."""
        return self.operation == "ShutDownMqtt"

    @property
    def is_refusal(self) -> bool:
        """Whether the device is told that it is not welcome, and not that the hub is unavailable."""
        return FAULTS[self.operation] is Hub.UNAUTHORIZED_ACCESS


def asked_fault(properties: Mapping[str, str | None]) -> Fault | None:
    """The fault that a message asks for, ``None`` for an ordinary message.

    Raises:
        ServiceError: the fault does not exist, is not supported, or its times are no numbers in range.
    """
    if OPERATION not in properties:
        return None
    operation = properties[OPERATION] or ""
    if operation.startswith(_OF_AMQP):
        raise ServiceError(
            Hub.NOT_SUPPORTED, f"The fault {operation:.100} needs AMQP: not supported by this simulator."
        )
    if operation not in FAULTS:
        raise invalid(f"{OPERATION} is {properties[OPERATION]!r:.100}; this simulator knows {', '.join(FAULTS)}.")
    return Fault(
        operation,
        properties.get(REASON) or "",
        _seconds(DELAY, properties.get(DELAY), MAX_DELAY),
        _seconds(DURATION, properties.get(DURATION), MAX_DURATION),
    )


def _seconds(name: str, given: str | None, most: int) -> int:
    if given is None:
        return 0
    if not (given.isascii() and given.isdigit() and len(given) <= 9 and int(given) <= most):
        raise invalid(f"{name} is {given!r:.40}; it must be a whole number of seconds from 0 to {most}.")
    return int(given)
