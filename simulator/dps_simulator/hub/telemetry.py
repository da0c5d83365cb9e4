"""Device-to-cloud messages: their property bag, and a bounded buffer of the latest ones."""

from __future__ import annotations

import itertools
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from sys import getsizeof
from urllib.parse import unquote

from dps_simulator.errors.timestamps import azure_timestamp

#: Messages and bytes that a hub keeps; older messages make room.
MAX_MESSAGES = 10_000
MAX_BYTES = 16 * 1024 * 1024
#: Messages that come at a time.
MAX_BATCH = 1_000
#: Parts that a hub's messages are kept in, each in order; a device always uses the same one. Four is what a hub has
#: unless somebody asks for more (documented).
PARTITIONS = 4
#: What a message takes without its texts, and a property.
_MESSAGE_BYTES, _PAIR_BYTES = 1_000, 100
#: Bytes of one message, body and properties together.
MAX_MESSAGE_SIZE = 262_144

#: Wire names of system properties, and what the hub calls them.
SYSTEM_PROPERTIES = {
    "$.mid": "message-id",
    "$.cid": "correlation-id",
    "$.uid": "user-id",
    "$.ct": "content-type",
    "$.ce": "content-encoding",
    "$.exp": "absolute-expiry-time",
    "$.ifid": "interface-id",
    "$.on": "output-name",
    "$.to": "to",
}


@dataclass(frozen=True, slots=True)
class TelemetryMessage:
    """One message from a device.

    Attributes:
        sequence: grows by one per message of a hub.
        device_id: ID of the device that sent it, or whose module did.
        module_id: which of the device's modules, empty for the device itself.
        enqueued: when it arrived (aware, in UTC).
        body: its bytes, as they were sent.
        system: system properties by the hub's name.
        properties: application properties; the value is ``None`` for a key without ``=``.
        connection: what the hub itself adds about the sender, by the hub's name.
        partition: where it is kept.
        position: its sequence number there, which begins with 0.
        offset: its offset there.
    """

    sequence: int
    device_id: str
    enqueued: datetime
    body: bytes = field(repr=False)
    system: Mapping[str, str | None] = field(default_factory=dict)
    properties: Mapping[str, str | None] = field(default_factory=dict)
    module_id: str = ""
    connection: Mapping[str, str] = field(default_factory=dict)
    partition: int = 0
    position: int = 0
    offset: int = 0

    @property
    def system_properties(self) -> dict[str, str | None]:
        """What the hub shows a reader beside body and application properties: the sender's and its own.

        Source of the names: Microsoft documentation, iot-hub-devguide-messages-construct.
        """
        module = {"iothub-connection-module-id": self.module_id} if self.module_id else {}
        return {
            **self.system,
            "iothub-connection-device-id": self.device_id,
            **module,
            **self.connection,
            "iothub-enqueuedtime": azure_timestamp(self.enqueued),
            "iothub-message-source": "Telemetry",
        }


class Partition:
    """The messages of some of the devices, oldest first.

    Sequence numbers and offsets go on whatever makes room, or is forgotten: neither is ever given a second time.

    Attributes:
        last_sequence: the sequence number of the newest message, -1 before the first.
        last_offset: its offset, likewise.
        last_enqueued: when it came, ``None`` before the first.
    """

    def __init__(self) -> None:
        self.last_sequence = self.last_offset = -1
        self.last_enqueued: datetime | None = None
        self._next_offset = 0
        self._messages: deque[TelemetryMessage] = deque()

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def first_sequence(self) -> int:
        """The sequence number of the oldest message that is there, or of the one that comes next."""
        return self._messages[0].position if self._messages else self.last_sequence + 1

    def next_place(self, size: int) -> tuple[int, int]:
        """Sequence number and offset for one more message of so many bytes."""
        place = self.last_sequence + 1, self._next_offset
        self._next_offset += size
        return place

    def append(self, message: TelemetryMessage) -> None:
        """Keep a message."""
        self.last_sequence, self.last_offset = message.position, message.offset
        self.last_enqueued = message.enqueued
        self._messages.append(message)

    def drop_oldest(self) -> None:
        """Forget the oldest message."""
        self._messages.popleft()

    def clear(self) -> None:
        """Forget all messages."""
        self._messages.clear()

    def read(self, sequence: int, limit: int) -> list[TelemetryMessage]:
        """Messages from a sequence number on, oldest first; those that made room meanwhile are missing."""
        start = max(sequence - self.first_sequence, 0)
        return list(itertools.islice(self._messages, start, start + limit))

    def first_where(self, fits: Callable[[TelemetryMessage], bool]) -> int:
        """The sequence number of the first message that fits, or of the one that comes next."""
        return next((each.position for each in self._messages if fits(each)), self.last_sequence + 1)


class TelemetryBuffer:
    """The latest messages of one hub, in memory: the oldest make room when there are too many.

    Arguments:
        max_messages: how many are kept at the most.
        max_bytes: how many bytes they may take together.

    Attributes:
        partitions: the same messages, each in one of them.
        appended: is told of every message with the number of its partition; ``None`` for nobody.
    """

    def __init__(self, *, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        self._messages: deque[TelemetryMessage] = deque()
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._bytes = 0
        self._last = 0
        self.partitions = tuple(Partition() for _ in range(PARTITIONS))
        self.appended: Callable[[int], object] | None = None

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[TelemetryMessage]:
        """Oldest first."""
        return iter(list(self._messages))

    def append(
        self,
        device_id: str,
        body: bytes,
        *,
        enqueued: datetime,
        system: Mapping[str, str | None],
        properties: Mapping[str, str | None],
        module_id: str = "",
        connection: Mapping[str, str] | None = None,
    ) -> TelemetryMessage:
        """Keep a message; the oldest ones make room."""
        self._last += 1
        number = partition_of(device_id)
        partition = self.partitions[number]
        position, offset = partition.next_place(_weight(body, system, properties))
        message = TelemetryMessage(
            self._last,
            device_id,
            enqueued,
            body,
            system,
            properties,
            module_id,
            connection or {},
            number,
            position,
            offset,
        )
        self._messages.append(message)
        partition.append(message)
        self._bytes += _size(message)
        while len(self._messages) > self._max_messages or (self._bytes > self._max_bytes and len(self._messages) > 1):
            oldest = self._messages.popleft()
            self.partitions[oldest.partition].drop_oldest()
            self._bytes -= _size(oldest)
        if self.appended is not None:
            self.appended(number)
        return message

    @property
    def last_sequence(self) -> int:
        """The sequence number of the newest message, 0 before the first."""
        return self._last

    def read(self, after: int = 0, limit: int = MAX_MESSAGES, device_id: str = "") -> list[TelemetryMessage]:
        """Messages with a sequence number above ``after``, oldest first, of one device when it is named."""
        # what is kept has no gaps
        start = max(after - self._messages[0].sequence + 1, 0) if self._messages else 0
        later = itertools.islice(self._messages, start, None)
        found = (message for message in later if device_id in ("", message.device_id))
        return list(itertools.islice(found, limit))

    def clear(self) -> None:
        """Forget all messages; sequence numbers go on."""
        self._messages.clear()
        self._bytes = 0
        for partition in self.partitions:
            partition.clear()


def partition_of(device_id: str) -> int:
    """Where the messages of a device, and of its modules, are kept. How Azure chooses is not published."""
    return zlib.crc32(device_id.encode("utf-8", "replace")) % PARTITIONS


def _weight(body: bytes, system: Mapping[str, str | None], properties: Mapping[str, str | None]) -> int:
    """How far the offset moves with a message: its bytes, and never nothing."""
    pairs = (*system.items(), *properties.items())
    return 1 + len(body) + sum(len(name) + len(value or "") for name, value in pairs)


def _size(message: TelemetryMessage) -> int:
    """About how many bytes of memory a message takes; a property of two letters takes more than its name and value."""
    pairs = (*message.system.items(), *message.properties.items(), *message.connection.items())
    texts = sum(getsizeof(name) + getsizeof(value) + _PAIR_BYTES for name, value in pairs)
    return _MESSAGE_BYTES + len(message.body) + texts


def parse_properties(bag: str) -> tuple[dict[str, str | None], dict[str, str | None]]:
    """Split the property bag of a topic into system and application properties.

    ``+`` means itself: the SDKs encode a space as ``%20``.
    """
    system: dict[str, str | None] = {}
    properties: dict[str, str | None] = {}
    for part in bag.split("&"):
        if not part:
            continue
        key, equals, value = part.partition("=")
        name = unquote(key)
        decoded = unquote(value) if equals else None
        if name in SYSTEM_PROPERTIES:
            system[SYSTEM_PROPERTIES[name]] = decoded
        else:
            properties[name] = decoded
    return system, properties
