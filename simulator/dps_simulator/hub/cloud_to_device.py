"""Messages from the cloud to devices: one queue per device, kept until the device has settled them or time is up.

A message is handed out with a lock, whatever the protocol. By its token the device completes, rejects or abandons it;
until then, or until the lock ends, nobody else gets it.

Source of the rules and numbers: Microsoft documentation, iot-hub-devguide-messages-c2d and
iot-hub-devguide-quotas-throttling.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any
from urllib.parse import quote

from dps_simulator.common.clock import Clock
from dps_simulator.common.ports import Document, Storage
from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.errors.timestamps import azure_timestamp

from .checks import check_id, invalid, wrong_value
from .connections import Connections
from .message_locks import LOCK_TIMEOUT, Lock, MessageLocks

#: Messages that wait for one device.
MAX_WAITING = 50
#: Bytes of one message, body and properties together.
MAX_SIZE = 65_536
#: Characters of the encoded properties: they travel in an MQTT topic, which has 65,535 bytes at most.
MAX_BAG = 60_000
#: How long a message without an expiry waits.
TIME_TO_LIVE = timedelta(hours=1)
#: Deliveries without acknowledgement after which a message is given up.
MAX_DELIVERIES = 10
#: What a sender can ask to be told. It is kept and shown to the device; nobody is told anything here.
ACKNOWLEDGEMENTS = ("none", "positive", "negative", "full")
#: System properties of a message that are texts: what APIs call them, and what the fields below are called.
TEXTS: Mapping[str, str] = {
    "messageId": "message_id",
    "correlationId": "correlation_id",
    "userId": "user_id",
    "contentType": "content_type",
    "contentEncoding": "content_encoding",
}
#: Messages that are read from the store at a time.
_BATCH = 200


class Outcome(Enum):
    """How a message ended. Source of the words: Microsoft documentation, iot-hub-devguide-messages-c2d (feedback)."""

    COMPLETED = "Success"
    EXPIRED = "Expired"
    DELIVERY_COUNT_EXCEEDED = "DeliveryCountExceeded"
    REJECTED = "Rejected"
    PURGED = "Purged"


@dataclass(frozen=True, slots=True)
class CloudToDeviceMessage:
    """What is sent.

    Attributes:
        body: any bytes.
        properties: application properties.
        message_id: made when empty.
        correlation_id, user_id, content_type, content_encoding: system properties, empty when not set.
        expiry: when it is worthless; ``None`` for an hour from now.
        ack: one of :data:`ACKNOWLEDGEMENTS`.
    """

    body: bytes = field(default=b"", repr=False)
    properties: Mapping[str, str] = field(default_factory=dict)
    message_id: str = ""
    correlation_id: str = ""
    user_id: str = ""
    content_type: str = ""
    content_encoding: str = ""
    expiry: datetime | None = None
    ack: str = "none"


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A message in its queue.

    Attributes:
        sequence: grows with every message of a hub.
        message: the message, with its ID and expiry.
        enqueued: when it came.
        expiry: when it is given up.
        deliveries: how often it went to the device, this time included.
        lock_token: names it towards :meth:`CloudToDeviceQueues.complete` and its like; empty before it is handed out.
    """

    sequence: int
    message: CloudToDeviceMessage
    enqueued: datetime
    expiry: datetime
    deliveries: int
    lock_token: str = field(default="", repr=False)


class CloudToDeviceQueues:
    """The queues of one hub. They are stored; only who holds which message right now is forgotten at a restart.

    Arguments:
        host: host name of the hub, e.g. ``contoso-hub-1.azure-devices.test``.
        storage: the store, in whose collections messages outlive this process.
        clock: gives the present time (aware, in UTC).
        has_device: whether a device is registered.
        connections: a connected device is told that something waits.
        admit: asked before a message is queued; may refuse it.

    Attributes:
        ended: is told of every message that has ended, with the device ID and the outcome, when that is kept; ``None``
            for nobody. A device that is deleted takes its messages along without an outcome.
    """

    def __init__(
        self,
        *,
        host: str,
        storage: Storage,
        clock: Clock,
        has_device: Callable[[str], bool],
        connections: Connections,
        admit: Callable[[], object] = lambda: None,
    ) -> None:
        self._host = host
        self._storage = storage
        self._documents = storage.collection("cloud-to-device message")
        self._clock = clock
        self._has_device = has_device
        self._connections = connections
        self._admit = admit
        self._locks = MessageLocks(clock)
        self.ended: Callable[[str, QueuedMessage, Outcome], object] | None = None
        #: Beside the store, so that counting costs nothing: when each message of a device expires, by its sequence.
        self._queues: dict[str, dict[int, datetime]] = {}
        self._last = 0
        self._load()

    def send(self, device_id: str, message: CloudToDeviceMessage) -> QueuedMessage:
        """Put a message into the device's queue; a connected device gets it at once.

        Raises:
            ServiceError: there is no such device, its queue is full, the message is too large or a field is wrong.
        """
        check_id(device_id)
        now = self._clock.now()
        checked = _checked(message, device_id, now)
        if not self._has_device(device_id):
            raise _not_found(device_id)
        if self.waiting(device_id) >= MAX_WAITING:
            raise ServiceError(
                Hub.DEVICE_QUEUE_FULL,
                f"{MAX_WAITING} messages wait for the device {device_id!r}, which is the most. Let it fetch them, or "
                "purge the queue.",
            )
        self._admit()
        self._last += 1
        queued = QueuedMessage(self._last, checked, now, checked.expiry or now + TIME_TO_LIVE, 0)
        with self._storage.transaction():
            self._drop_expired(device_id)
            self._documents.put(self._key(device_id, queued.sequence), _document(device_id, queued), self._host)
            self._storage.when_committed(
                lambda: self._queues.setdefault(device_id, {}).update({queued.sequence: queued.expiry})
            )
            self._storage.when_committed(lambda: self._tell(device_id))
        return queued

    def waiting(self, device_id: str) -> int:
        """How many messages wait for the device, those included that it has not acknowledged yet."""
        queue = self._queues.get(device_id)
        if queue is None:
            return 0
        now = self._clock.now()
        return sum(expiry > now for expiry in queue.values())

    def take(
        self, device_id: str, *, most: int = MAX_WAITING, lock_lasts: timedelta | None = None
    ) -> list[QueuedMessage]:
        """Hand out what waits and nobody holds, oldest first, each with a lock.

        A message that went out :data:`MAX_DELIVERIES` times is given up instead.

        Arguments:
            device_id: whose queue.
            most: how many messages at the most.
            lock_lasts: how long they are kept for who took them, such as
                :data:`~dps_simulator.hub.message_locks.LOCK_TIMEOUT`; ``None`` until they are settled or released.
        """
        if device_id not in self._queues:
            return []
        taken: list[QueuedMessage] = []
        with self._storage.transaction():
            self._drop_expired(device_id)
            for sequence in self._queues.get(device_id, ()):
                if len(taken) >= most:
                    break
                if self._locks.holds(device_id, sequence):
                    continue
                key = self._key(device_id, sequence)
                stored = self._documents.get(key)
                if stored is None:  # given up by _drop_expired just now
                    continue
                if stored["deliveryCount"] >= MAX_DELIVERIES:
                    self._end(device_id, sequence, Outcome.DELIVERY_COUNT_EXCEEDED)
                    continue
                stored["deliveryCount"] += 1
                self._documents.put(key, stored, self._host)
                lock = self._locks.new(sequence, lock_lasts)
                self._enter_when_committed(device_id, lock)
                taken.append(replace(_queued(sequence, stored), lock_token=lock.token))
        return taken

    def complete(self, device_id: str, lock_token: str) -> None:
        """The device has dealt with a message that it holds: it is gone.

        Raises:
            ServiceError: the device holds no message by this token (any more).
        """
        self._settle(device_id, lock_token, Outcome.COMPLETED)

    def reject(self, device_id: str, lock_token: str) -> None:
        """The device does not want a message that it holds, and never will: it is gone, a dead letter.

        There is no place where dead letters can be read (documented).

        Raises:
            ServiceError: the device holds no message by this token (any more).
        """
        self._settle(device_id, lock_token, Outcome.REJECTED)

    def abandon(self, device_id: str, lock_token: str) -> bool:
        """The device puts a message that it holds back into its place in the queue.

        After :data:`MAX_DELIVERIES` deliveries the message is given up instead.

        Returns:
            Whether it is in the queue again.

        Raises:
            ServiceError: the device holds no message by this token (any more).
        """
        with self._storage.transaction():
            sequence = self._held(device_id, lock_token)
            stored = self._documents.get(self._key(device_id, sequence))
            stays = stored is not None and stored["deliveryCount"] < MAX_DELIVERIES
            if stays:
                self._storage.when_committed(lambda: self._locks.release(device_id, sequence))
                self._storage.when_committed(lambda: self._tell(device_id))
            else:
                self._end(device_id, sequence, Outcome.DELIVERY_COUNT_EXCEEDED)
        return stays

    def release(self, device_id: str, lock_tokens: Iterable[str]) -> None:
        """Who held these messages is gone; whoever comes next gets them. Tokens that are good no more do not matter."""
        for token in lock_tokens:
            lock = self._locks.find(device_id, token)
            if lock is not None:
                self._locks.release(device_id, lock.sequence)

    def purge(self, device_id: str) -> int:
        """Remove what waits for a device; returns how much it was.

        Raises:
            ServiceError: there is no such device.
        """
        check_id(device_id)
        if not self._has_device(device_id):
            raise _not_found(device_id)
        count = self.waiting(device_id)
        with self._storage.transaction():
            self._drop_expired(device_id)
            for sequence in self._queues.get(device_id, ()):
                self._end(device_id, sequence, Outcome.PURGED)
        return count

    def forget(self, device_id: str) -> None:
        """The device is gone, and so are its messages. May be part of a larger transaction."""
        with self._storage.transaction():
            for sequence in self._queues.get(device_id, ()):
                self._remove(device_id, sequence)

    def clear(self) -> None:
        """Forget every message of the hub. May be part of a larger transaction."""
        with self._storage.transaction():
            for device_id in list(self._queues):
                self.forget(device_id)

    # ---- inside

    def _key(self, device_id: str, sequence: int) -> str:
        return f"{self._host}\n{device_id}\n{sequence}"

    def _load(self) -> None:
        """Find the queues in the store; what expired meanwhile stays out, and goes with the next change."""
        after = 0
        while page := self._documents.page(after=after, limit=_BATCH, parent=self._host):
            for stored in page:
                after = stored.sequence
                body = stored.body
                expiry = datetime.fromisoformat(body["expiry"])
                self._queues.setdefault(body["deviceId"], {})[body["sequence"]] = expiry
                self._last = max(self._last, body["sequence"])

    def _drop_expired(self, device_id: str) -> None:
        now = self._clock.now()
        for sequence, expiry in self._queues.get(device_id, {}).items():
            if expiry <= now:
                self._end(device_id, sequence, Outcome.EXPIRED)

    def _held(self, device_id: str, lock_token: str) -> int:
        """The sequence number of a message that the device holds; one that has expired meanwhile it holds no more.

        Raises:
            ServiceError: there is none.
        """
        self._drop_expired(device_id)
        lock = self._locks.find(device_id, lock_token)
        if lock is None or self._documents.get(self._key(device_id, lock.sequence)) is None:
            raise ServiceError(
                Hub.DEVICE_MESSAGE_LOCK_LOST,
                f"The device {device_id!r} holds no message by this lock token (any more). Receive the message again, "
                f"if it is still there, and settle it within {LOCK_TIMEOUT.total_seconds():.0f} s.",
            )
        return lock.sequence

    def _settle(self, device_id: str, lock_token: str, outcome: Outcome) -> None:
        with self._storage.transaction():
            self._end(device_id, self._held(device_id, lock_token), outcome)

    def _enter_when_committed(self, device_id: str, lock: Lock) -> None:
        self._storage.when_committed(lambda: self._locks.enter(device_id, lock))

    def _end(self, device_id: str, sequence: int, outcome: Outcome) -> None:
        """Remove a message, and tell how it ended."""
        ended = self.ended
        stored = None if ended is None else self._documents.get(self._key(device_id, sequence))
        self._remove(device_id, sequence)
        if ended is not None and stored is not None:
            queued = _queued(sequence, stored)
            self._storage.when_committed(lambda: ended(device_id, queued, outcome))

    def _remove(self, device_id: str, sequence: int) -> None:
        def forget() -> None:
            self._locks.release(device_id, sequence)
            queue = self._queues.get(device_id, {})
            queue.pop(sequence, None)
            if not queue:
                self._queues.pop(device_id, None)

        self._documents.delete(self._key(device_id, sequence))
        self._storage.when_committed(forget)

    def _tell(self, device_id: str) -> None:
        connection = self._connections.get(device_id)
        if connection is not None:
            connection.message_waiting()


def device_bound_address(device_id: str) -> str:
    """What stands as the addressee of a message to a device (``to``)."""
    return f"/devices/{device_id}/messages/devicebound"


def property_bag(device_id: str, message: CloudToDeviceMessage) -> str:
    """The properties as they stand in a topic: ``%24.mid=…&a=b``."""
    system = {
        "$.mid": message.message_id,
        "$.cid": message.correlation_id,
        "$.uid": message.user_id,
        "$.ct": message.content_type,
        "$.ce": message.content_encoding,
        "$.to": device_bound_address(device_id),
        "$.exp": azure_timestamp(message.expiry) if message.expiry is not None else "",
        "iothub-ack": message.ack if message.ack != "none" else "",
    }
    pairs = [*((name, value) for name, value in system.items() if value), *message.properties.items()]
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)


def _checked(message: CloudToDeviceMessage, device_id: str, now: datetime) -> CloudToDeviceMessage:
    """The message with an ID.

    Raises:
        ServiceError: a field is wrong, or it is too large.
    """
    if message.ack not in ACKNOWLEDGEMENTS:
        raise wrong_value("ack", message.ack, " or ".join(map(repr, ACKNOWLEDGEMENTS)))
    if message.expiry is not None and message.expiry <= now:
        raise wrong_value("expiryTimeUtc", azure_timestamp(message.expiry), f"later than now, {azure_timestamp(now)}")
    texts = {name: getattr(message, own) for name, own in TEXTS.items()}
    for name, value in texts.items():
        _check_text(name, value)
    for name, value in message.properties.items():
        _check_text("the name of a property", name)
        if not name or name.startswith(("$", "iothub-")):
            raise invalid(
                f"properties has the name {name!r:.100}, which is empty or reserved; choose one that does not begin "
                "with $ or iothub-."
            )
        _check_text(f"properties.{name}", value)
    size = len(message.body) + sum(len(text.encode()) for text in texts.values())
    size += sum(len(name.encode()) + len(value.encode()) for name, value in message.properties.items())
    if size > MAX_SIZE:
        raise ServiceError(Hub.MESSAGE_TOO_LARGE, f"The message has {size} bytes; at most {MAX_SIZE} are allowed.")
    checked = replace(message, message_id=message.message_id or str(uuid.uuid4()))
    bag = len(property_bag(device_id, checked))
    if bag > MAX_BAG:
        raise ServiceError(
            Hub.MESSAGE_TOO_LARGE,
            f"The properties have {bag} characters when they are encoded for a topic; {MAX_BAG} fit into it.",
        )
    return checked


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise wrong_value(name, value, "a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        name = name.encode("ascii", "replace").decode()
        raise invalid(f"{name:.120} holds half of a surrogate pair; it must be Unicode.") from error


def _not_found(device_id: str) -> ServiceError:
    return ServiceError(Hub.DEVICE_NOT_FOUND, f"The device {device_id!r} is not registered.")


def _document(device_id: str, queued: QueuedMessage) -> Document:
    message = queued.message
    return {
        "deviceId": device_id,
        "sequence": queued.sequence,
        "enqueued": queued.enqueued.isoformat(),
        "expiry": queued.expiry.isoformat(),
        "expires": message.expiry is not None,
        "deliveryCount": queued.deliveries,
        "body": base64.b64encode(message.body).decode("ascii"),
        "properties": dict(message.properties),
        "texts": {name: getattr(message, name) for name in (*TEXTS.values(), "ack")},
    }


def _queued(sequence: int, stored: Mapping[str, Any]) -> QueuedMessage:
    expiry = datetime.fromisoformat(stored["expiry"])
    message = CloudToDeviceMessage(
        body=base64.b64decode(stored["body"]),
        properties=stored["properties"],
        expiry=expiry if stored["expires"] else None,
        **stored["texts"],
    )
    enqueued = datetime.fromisoformat(stored["enqueued"])
    return QueuedMessage(sequence, message, enqueued, expiry, stored["deliveryCount"])
