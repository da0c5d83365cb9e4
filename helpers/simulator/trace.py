"""Every message on the wire as one structured, redacted event in a bounded buffer."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .clock import Clock, azure_timestamp

#: Events that are kept; older ones are dropped.
CAPACITY = 5_000
#: A detail longer than this many characters is cut.
DETAIL_LIMIT = 2_000
#: What is nested deeper than this many levels is left out.
DEPTH_LIMIT = 40

_SECRET_NAMES = {
    "primarykey",
    "secondarykey",
    "authenticationkey",
    "sharedaccesskey",
    "connectionstring",
    "password",
    "authorization",
    "sig",
    "key",
}
_SECRET_TEXT = re.compile(
    r"((?:SharedAccessKey=|[?&; ]sig=|^sig=))([^&;\s\"']+)"
    r"|(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One message, seen from the simulator.

    Attributes:
        sequence: grows by one per event, never reused while the simulator runs.
        time: UTC, ISO 8601 with ``Z``.
        service: ``provisioning``, ``hub``, ``enrollments`` (service API of DPS), ``registry`` (service API of a hub)
            or ``management``.
        host: the host name that was addressed.
        device: registration ID or device ID, empty when no device is meant.
        direction: ``in`` (towards the simulator) or ``out``.
        protocol: ``mqtt``, ``websocket`` or ``https``.
        operation: what it was, e.g. ``connect``, ``register``, ``create or update enrollment``.
        status: HTTP status, MQTT answer status or CONNACK code; ``None`` for requests.
        detail: further facts, with secrets masked.
    """

    sequence: int
    time: str
    service: str
    host: str
    device: str
    direction: str
    protocol: str
    operation: str
    status: int | None
    detail: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The event as a JSON-ready dictionary."""
        return asdict(self)


def mask(secret: str) -> str:
    """``****`` and the last four characters, or only ``****`` when the secret is short."""
    return "****" + (secret[-4:] if len(secret) >= 12 else "")


def redact(value: Any, depth: int = 0) -> Any:
    """Copy a JSON-like value with every key, signature, connection string and private key masked."""
    if depth > DEPTH_LIMIT:
        return "…"
    if isinstance(value, Mapping):
        return {
            key: mask(item) if isinstance(item, str) and str(key).lower() in _SECRET_NAMES else redact(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, str):
        masked = _SECRET_TEXT.sub(lambda m: m[3] + "****" if m[3] else m[1] + mask(m[2]), value)
        return masked if len(masked) <= DETAIL_LIMIT else masked[:DETAIL_LIMIT] + "…"
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [redact(item, depth + 1) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return redact(value.decode("utf-8", "replace"))
    return value


class Trace:
    """The bounded buffer of events.

    Arguments:
        clock: gives the events their time.
        capacity: how many events are kept.
    """

    def __init__(self, clock: Clock, capacity: int = CAPACITY) -> None:
        self._clock = clock
        self._events: deque[TraceEvent] = deque(maxlen=capacity)
        self._next = 1

    def record(
        self,
        *,
        service: str,
        host: str,
        direction: str,
        protocol: str,
        operation: str,
        device: str = "",
        status: int | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep one event; its detail is redacted here, so no caller can forget."""
        self._events.append(
            TraceEvent(
                sequence=self._next,
                time=azure_timestamp(self._clock.now()),
                service=service,
                host=host,
                device=device,
                direction=direction,
                protocol=protocol,
                operation=operation,
                status=status,
                detail=redact(dict(detail or {})),
            )
        )
        self._next += 1

    def events(self, after: int = 0, limit: int = CAPACITY) -> list[TraceEvent]:
        """Events with a sequence number above ``after``, oldest first, at most ``limit``."""
        return [event for event in self._events if event.sequence > after][:limit]

    @property
    def last_sequence(self) -> int:
        """The sequence number of the newest event, 0 before the first."""
        return self._next - 1

    def clear(self) -> None:
        """Forget all events; sequence numbers go on."""
        self._events.clear()
