"""Every message on the wire as one structured event in a bounded buffer, redacted when it is read.

Thousands of events are written for one that is read, and to redact one costs as much as to serve the message. So an
event is kept as one line of JSON, and masked, cut and made readable for whoever reads it. What must not wait is a
secret: it would live on in the buffer, where a dump of the memory, an error or a new way to read the buffer could show
it, long after the request that brought it. Therefore every line is looked at once when it is written
(:func:`~dps_simulator.errors.masking.may_hold_secret`), with a question that is quick and answers "perhaps" too often
but never "no" too often, and what perhaps holds one is redacted there and then, before :meth:`Trace.record` returns. So
is what JSON cannot express, and what is too long to be kept as it is. The buffer never holds a text that
redaction would change but for its length.

The same names come with every message of a connection, and many short details with every device. Of some that were
found to hold nothing it is remembered, so that they need not be asked again. What was not is asked each time.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from dps_simulator.errors.compact_json import compact_encoder
from dps_simulator.errors.masking import is_secret_name, mask, mask_in_name, mask_in_text, may_hold_secret
from dps_simulator.errors.timestamps import azure_timestamp

from .clock import Clock

#: Events that are kept; older ones are dropped.
CAPACITY = 5_000
#: And about so many bytes of memory do they take together; usual ones take 1 to 2 KB.
MAX_BYTES = 24 * 1_048_576
#: What an event takes without its detail, and so does each value of it without the text.
_EVENT_BYTES, _VALUE_BYTES = 1_000, 200
#: A text longer than this many characters is cut.
TEXT_LIMIT = 2_000
#: About so many characters of one fact of an event's detail are kept, so that large messages cannot fill the memory.
DETAIL_LIMIT = 20_000
#: What is nested deeper than this many levels is left out.
DEPTH_LIMIT = 40
#: What stands for all that is left out.
LEFT_OUT = "…"
#: Of so many names, and of so many details, it is remembered that they hold no secret; then it begins anew.
_REMEMBERED = 512
#: Longer ones are not. A longer detail tells of one device and one message, and would not come again.
_LONGEST_NAME, _LONGEST_DETAIL = 128, 64


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
        """The event as a JSON-ready dictionary; its detail is that of the event itself, and no copy."""
        return {name: getattr(self, name) for name in self.__slots__}


def redact(value: Any) -> Any:
    """Copy a JSON-like value with every key, signature, connection string and private key masked, and not too much."""
    return _Redaction().copy(value, 0)


class _Redaction:
    """One walk through a value, which ends when enough is copied.

    Attributes:
        size: about so many bytes does the copy take. A letter takes up to four, whatever it takes on the wire.
    """

    __slots__ = ("_left", "size")

    def __init__(self) -> None:
        self._left = DETAIL_LIMIT
        self.size = 0

    def copy(self, value: Any, depth: int) -> Any:
        self._left -= 8  # a value without text takes room as well
        self.size += _VALUE_BYTES
        if isinstance(value, str):
            return self._text(value)
        # before the questions that take long to answer
        if value is None or isinstance(value, (int, float)):
            size = sys.getsizeof(value)  # whole numbers can be long
            self.size += size
            self._left -= size // 32
            return value
        if isinstance(value, (dict, Mapping)):
            return self._members(value, depth + 1)
        if isinstance(value, (bytes, bytearray)):
            return self._text(value[: 4 * TEXT_LIMIT].decode("utf-8", "replace"))
        if isinstance(value, Sequence):
            return self._items(value, depth + 1)
        return value

    def _members(self, value: Mapping[Any, Any], depth: int) -> Any:
        if depth > DEPTH_LIMIT:
            return LEFT_OUT
        copied: dict[str, Any] = {}
        for key, item in value.items():
            name = key if isinstance(key, str) and len(key) <= TEXT_LIMIT else str(key)[:TEXT_LIMIT] + LEFT_OUT
            self._left -= len(name)
            if self._left < 0:
                copied[LEFT_OUT] = LEFT_OUT
                break
            shown = mask_in_text(name)
            self.size += sys.getsizeof(shown)
            if item is not None and is_secret_name(name):
                copied[shown] = mask(item) if isinstance(item, str) else mask("")
            else:
                copied[shown] = self.copy(item, depth)
        return copied

    def _items(self, value: Sequence[Any], depth: int) -> Any:
        if depth > DEPTH_LIMIT:
            return LEFT_OUT
        copied: list[Any] = []
        for item in value:
            if self._left < 0:
                copied.append(LEFT_OUT)
                break
            copied.append(self.copy(item, depth))
        return copied

    def _text(self, text: str) -> str:
        text = mask_in_text(text)
        self._left -= min(len(text), TEXT_LIMIT)
        text = _cut(text)
        self.size += sys.getsizeof(text)
        return text


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + LEFT_OUT


class _Kept(NamedTuple):
    """One event as the buffer holds it.

    Attributes:
        host, device, operation: as in :class:`TraceEvent`, with no secret in them.
        text: the detail as JSON with no secret in it; empty where that is redacted already.
        redacted: the detail, redacted, where there is no text.
        size: about so many bytes does it take.
        others: as in :class:`TraceEvent`.
    """

    sequence: int
    moment: datetime
    service: str
    host: str
    device: str
    direction: str
    protocol: str
    operation: str
    status: int | None
    text: str
    redacted: Mapping[str, Any] | None
    size: int

    def event(self) -> TraceEvent:
        """The event for whoever reads it."""
        names, detail = (self.host, self.device, self.operation), self.redacted
        if detail is None:
            names, detail, _ = _redacted(*names, json.loads(self.text))
        host, device, operation = names
        return TraceEvent(
            self.sequence,
            azure_timestamp(self.moment),
            self.service,
            host,
            device,
            self.direction,
            self.protocol,
            operation,
            self.status,
            detail,
        )


def _redacted(
    host: str, device: str, operation: str, detail: Mapping[str, Any]
) -> tuple[tuple[str, str, str], Mapping[str, Any], int]:
    """What others have written, with secrets masked and too long texts cut; and about how many bytes it takes."""
    redacted: dict[str, Any] = {}
    size = 0
    for name, value in detail.items():
        # each for itself, so that a large body does not push out the reason
        redaction = _Redaction()
        redacted.update(redaction.copy({name: value}, 0))
        size += redaction.size
    # whoever is not even let in chooses these three
    host, device, operation = (_cut(mask_in_name(text)) for text in (host, device, operation))
    return (host, device, operation), redacted, size + sum(map(sys.getsizeof, (host, device, operation)))


def _bytes_as_text(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return value[: 4 * TEXT_LIMIT].decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


_encode = compact_encoder(_bytes_as_text)


class _Harmless:
    """Finds what holds no secret and nothing to cut. Where that is not sure, it is not harmless."""

    __slots__ = ("_details", "_names")

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._details: set[str] = set()

    def are_names(self, host: str, device: str, operation: str) -> bool:
        """Whether all three are, where names are expected."""
        known = self._names
        return (
            (host in known or self._is_name(host))
            and (device in known or self._is_name(device))
            and (operation in known or self._is_name(operation))
        )

    def _is_name(self, name: str) -> bool:
        # where a name is expected, a key is one also by itself: it ends in "=", which may be escaped
        if "=" in name or "%" in name or "&" in name or len(name) > TEXT_LIMIT or may_hold_secret(_encode(name)):
            return False
        if len(name) <= _LONGEST_NAME:
            _remember(self._names, name)
        return True

    def detail(self, detail: Mapping[str, Any], body: bytes) -> str:
        """The detail as JSON; empty where it is not harmless."""
        if not detail and not body:
            return "{}"
        try:
            text = _encode(detail)
        except (TypeError, ValueError, RecursionError):
            return ""
        if body:
            # at the end
            text = f'{text[:-1]}{"," if detail else ""}"body":{body.decode()}}}'
        if text in self._details:
            return text
        if len(text) > TEXT_LIMIT or may_hold_secret(text):
            return ""
        if len(text) <= _LONGEST_DETAIL:
            _remember(self._details, text)
        return text


def _remember(known: set[str], text: str) -> None:
    if len(known) >= _REMEMBERED:
        known.clear()
    known.add(text)


class Trace:
    """The bounded buffer of events.

    Arguments:
        clock: gives the events their time.
        capacity: how many events are kept.
        max_bytes: about how much memory they may take; the newest is always kept.
    """

    def __init__(self, clock: Clock, capacity: int = CAPACITY, max_bytes: int = MAX_BYTES) -> None:
        self._clock = clock
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._events: deque[_Kept] = deque()
        self._harmless = _Harmless()
        self._bytes = 0
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
        body: bytes = b"",
    ) -> None:
        """Keep one event, and nothing secret of what others have written in it, so no caller can forget to mask.

        What is given may change afterwards; the event does not. A body that is ASCII JSON already, without its like in
        the detail, is kept there under this name, and not written again.
        """
        detail = detail or {}
        redacted = None
        text = self._harmless.detail(detail, body) if self._harmless.are_names(host, device, operation) else ""
        if text:
            size = len(host) + len(device) + len(operation) + len(text)
        else:
            detail = {**detail, "body": json.loads(body)} if body else detail
            (host, device, operation), redacted, size = _redacted(host, device, operation, detail)
        size += _EVENT_BYTES
        now = self._clock.now()
        self._events.append(
            _Kept(
                self._next,
                now,
                service,
                host,
                device,
                direction,
                protocol,
                operation,
                status,
                text,
                redacted,
                size,
            )
        )
        self._bytes += size
        self._next += 1
        while len(self._events) > self._capacity or (self._bytes > self._max_bytes and len(self._events) > 1):
            self._bytes -= self._events.popleft().size

    def events(self, after: int = 0, limit: int = CAPACITY) -> list[TraceEvent]:
        """Events with a sequence number above ``after``, oldest first, at most ``limit``."""
        return list(self.read(after, limit))

    def read(self, after: int = 0, limit: int = CAPACITY) -> Iterator[TraceEvent]:
        """The same events, those that are there now, each made when it is asked for."""
        kept = list(islice((each for each in self._events if each.sequence > after), limit))
        return (each.event() for each in kept)

    @property
    def last_sequence(self) -> int:
        """The sequence number of the newest event, 0 before the first."""
        return self._next - 1

    def clear(self) -> None:
        """Forget all events; sequence numbers go on."""
        self._events.clear()
        self._harmless = _Harmless()
        self._bytes = 0
