"""What became of messages to devices, for services that asked: kept until one of them has taken it.

Source of the rules and numbers: Microsoft documentation, iot-hub-devguide-messages-c2d ("Message feedback", and the
properties of the feedback queue). Inferred: how a batch that was abandoned comes again, and the description.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from dps_simulator.common.clock import Clock
from dps_simulator.common.ports import Storage
from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.errors.timestamps import azure_timestamp

from .cloud_to_device import Outcome, QueuedMessage
from .message_locks import LOCK_TIMEOUT, MessageLocks

CONTENT_TYPE = "application/vnd.microsoft.iothub.feedback.json"
#: A batch is handed out when so many records are there, or the oldest has waited so long.
BATCH, BATCH_DELAY = 64, timedelta(seconds=15)
#: How long a record waits, and how often it is handed out.
TIME_TO_LIVE, MAX_DELIVERIES = timedelta(hours=1), 10
#: Records that a hub keeps; the oldest make room.
MAX_RECORDS = 10_000
#: What a sender is told of for each of the words in which it can ask.
_TOLD: Mapping[str, Callable[[Outcome], bool]] = {
    "positive": lambda outcome: outcome is Outcome.COMPLETED,
    "negative": lambda outcome: outcome is not Outcome.COMPLETED,
    "full": lambda outcome: True,
}
_BATCH_FROM_STORE = 200
#: All records of a hub have their locks in one place.
_PLACE = "feedback"


@dataclass(frozen=True, slots=True)
class FeedbackBatch:
    """Records that are handed out together.

    Attributes:
        lock_token: names the batch towards :meth:`FeedbackQueue.complete` and :meth:`FeedbackQueue.abandon`.
        enqueued: when the newest of its records came.
        records: as the hub's APIs show them.
        deliveries: how often the first of them was handed out, this time included.
    """

    lock_token: str = field(repr=False)
    enqueued: datetime
    records: tuple[Mapping[str, Any], ...]
    deliveries: int


class FeedbackQueue:
    """The records of one hub.

    Arguments:
        host: host name of the hub.
        storage: where records outlive this process.
        clock: gives the present time (aware, in UTC).
        generation: gives the generation ID of a device; empty for one that is not there.
    """

    def __init__(self, *, host: str, storage: Storage, clock: Clock, generation: Callable[[str], str]) -> None:
        self._host = host
        self._storage = storage
        self._documents = storage.collection("feedback on a message")
        self._clock = clock
        self._generation = generation
        self._locks = MessageLocks(clock)
        #: when each record came, by its number, oldest first
        self._records: dict[int, datetime] = {}
        self._batches: dict[str, tuple[int, ...]] = {}
        self._last = 0
        #: is told when a record has come or a batch is free again
        self.changed: Callable[[], object] = lambda: None
        self._load()

    def __len__(self) -> int:
        return len(self._records)

    def ended(self, device_id: str, queued: QueuedMessage, outcome: Outcome) -> None:
        """A message has ended: keep what its sender asked for, as part of the transaction that ends it."""
        asked_for = _TOLD.get(queued.message.ack)
        if asked_for is None or not asked_for(outcome):
            return
        now = self._clock.now()
        record = {
            "originalMessageId": queued.message.message_id,
            "enqueuedTimeUtc": azure_timestamp(now),
            "statusCode": outcome.value,
            "description": outcome.value,
            "deviceId": device_id,
            "deviceGenerationId": self._generation(device_id),
        }
        self._last += 1
        number = self._last
        with self._storage.transaction():
            self._drop_expired()
            if len(self._records) >= MAX_RECORDS:
                self._remove(next(iter(self._records)))
            document = {"number": number, "record": record, "came": now.isoformat(), "deliveryCount": 0}
            self._documents.put(self._key(number), document, self._host)
            self._storage.when_committed(lambda: self._records.update({number: now}))
            self._storage.when_committed(self.changed)

    def take(self) -> FeedbackBatch | None:
        """Hand out the oldest batch that is due and nobody holds, with a lock; ``None`` when there is none."""
        with self._storage.transaction():
            self._drop_expired()
            free = [number for number in self._records if not self._locks.holds(_PLACE, number)]
            if not self._is_due(free):
                return None
            taken: list[dict[str, Any]] = []
            for number in free:
                if len(taken) >= BATCH:
                    break
                stored = self._documents.get(self._key(number))
                if stored is None:
                    continue
                if stored["deliveryCount"] >= MAX_DELIVERIES:
                    self._remove(number)
                    continue
                stored["deliveryCount"] += 1
                self._documents.put(self._key(number), stored, self._host)
                taken.append(stored)
            if not taken:
                return None
            numbers = tuple(stored["number"] for stored in taken)
            locks = [self._locks.new(number, LOCK_TIMEOUT) for number in numbers]
            token = locks[0].token

            def enter() -> None:
                for lock in locks:
                    self._locks.enter(_PLACE, lock)
                self._batches[token] = numbers

            self._storage.when_committed(enter)
        came = datetime.fromisoformat(taken[-1]["came"])
        return FeedbackBatch(token, came, tuple(stored["record"] for stored in taken), taken[0]["deliveryCount"])

    def complete(self, lock_token: str) -> None:
        """A service has dealt with a batch: it is gone.

        Raises:
            ServiceError: nobody holds a batch by this token (any more).
        """
        numbers = self._held(lock_token)
        with self._storage.transaction():
            for number in numbers:
                self._remove(number)
            self._storage.when_committed(lambda: self._batches.pop(lock_token, None))

    def abandon(self, lock_token: str) -> None:
        """A service puts a batch back; it is handed out again at once.

        Raises:
            ServiceError: nobody holds a batch by this token (any more).
        """
        for number in self._held(lock_token):
            self._locks.release(_PLACE, number)
        del self._batches[lock_token]
        self.changed()

    def release(self, lock_token: str) -> None:
        """Who held a batch is gone; whoever comes next gets it. A token that is good no more does not matter."""
        if lock_token in self._batches and self._locks.find(_PLACE, lock_token) is not None:
            self.abandon(lock_token)

    def next_moment(self) -> datetime | None:
        """When a batch may be due at the latest, as far as it can be known; ``None`` while there is no record."""
        free = (came for number, came in self._records.items() if not self._locks.holds(_PLACE, number))
        oldest = next(free, None)
        if oldest is not None:
            return oldest + BATCH_DELAY
        return self._clock.now() + LOCK_TIMEOUT if self._records else None

    def clear(self) -> None:
        """Forget every record. May be part of a larger transaction."""
        with self._storage.transaction():
            for number in list(self._records):
                self._remove(number)
            self._storage.when_committed(self._batches.clear)

    # ---- inside

    def _key(self, number: int) -> str:
        return f"{self._host}\n{number}"

    def _load(self) -> None:
        after = 0
        while page := self._documents.page(after=after, limit=_BATCH_FROM_STORE, parent=self._host):
            for stored in page:
                after = stored.sequence
                body = stored.body
                self._records[body["number"]] = datetime.fromisoformat(body["came"])
                self._last = max(self._last, body["number"])
        self._records = dict(sorted(self._records.items()))

    def _is_due(self, free: list[int]) -> bool:
        if len(free) >= BATCH:
            return True
        return bool(free) and self._records[free[0]] + BATCH_DELAY <= self._clock.now()

    def _drop_expired(self) -> None:
        over = self._clock.now() - TIME_TO_LIVE
        for number, came in list(self._records.items()):
            if came > over:
                break
            self._remove(number)

    def _held(self, lock_token: str) -> tuple[int, ...]:
        numbers = self._batches.get(lock_token, ())
        if not numbers or self._locks.find(_PLACE, lock_token) is None:
            self._batches.pop(lock_token, None)
            raise ServiceError(
                Hub.DEVICE_MESSAGE_LOCK_LOST,
                "Nobody holds feedback by this lock token (any more). Receive it again, and settle it within "
                f"{LOCK_TIMEOUT.total_seconds():.0f} s.",
            )
        return numbers

    def _remove(self, number: int) -> None:
        def forget() -> None:
            self._locks.release(_PLACE, number)
            self._records.pop(number, None)

        self._documents.delete(self._key(number))
        self._storage.when_committed(forget)
