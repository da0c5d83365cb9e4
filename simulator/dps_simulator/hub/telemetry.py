"""Device-to-cloud messages: their property bag, and a bounded buffer of the latest ones."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from sys import getsizeof
from urllib.parse import unquote

from dps_simulator.errors.timestamps import azure_timestamp

#: Messages and bytes that a hub keeps; older messages make room.
MAX_MESSAGES = 1_000
MAX_BYTES = 16 * 1024 * 1024
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
    """

    sequence: int
    device_id: str
    enqueued: datetime
    body: bytes = field(repr=False)
    system: Mapping[str, str | None] = field(default_factory=dict)
    properties: Mapping[str, str | None] = field(default_factory=dict)
    module_id: str = ""
    connection: Mapping[str, str] = field(default_factory=dict)

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


class TelemetryBuffer:
    """The latest messages of one hub, in memory: the oldest make room when there are too many.

    Arguments:
        max_messages: how many are kept at the most.
        max_bytes: how many bytes they may take together.
    """

    def __init__(self, *, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        self._messages: deque[TelemetryMessage] = deque()
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._bytes = 0
        self._last = 0

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
        message = TelemetryMessage(
            self._last, device_id, enqueued, body, system, properties, module_id, connection or {}
        )
        self._messages.append(message)
        self._bytes += _size(message)
        while len(self._messages) > self._max_messages or (self._bytes > self._max_bytes and len(self._messages) > 1):
            self._bytes -= _size(self._messages.popleft())
        return message

    @property
    def last_sequence(self) -> int:
        """The sequence number of the newest message, 0 before the first."""
        return self._last

    def read(self, after: int = 0, limit: int = MAX_MESSAGES, device_id: str = "") -> list[TelemetryMessage]:
        """Messages with a sequence number above ``after``, oldest first, of one device when it is named."""
        found = (
            message for message in self._messages if message.sequence > after and device_id in ("", message.device_id)
        )
        return list(itertools.islice(found, limit))

    def clear(self) -> None:
        """Forget all messages; sequence numbers go on."""
        self._messages.clear()
        self._bytes = 0


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
