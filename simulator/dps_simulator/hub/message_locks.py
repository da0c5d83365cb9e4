"""Who holds which message right now: whoever was handed a message settles it by the token of its lock.

Nothing here is stored: after a restart nobody holds anything, and what waits is handed out again.

Source: Microsoft documentation, iot-hub-devguide-messages-c2d (states *Enqueued* and *Invisible*, visibility timeout).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dps_simulator.common.clock import Clock

#: How long a message stays invisible for others unless it is settled. It cannot be changed (documented).
LOCK_TIMEOUT = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Lock:
    """A message in somebody's hands.

    Attributes:
        token: names the lock towards whoever settles the message, such as
            ``5f3a0c2e-7d0e-4a53-9a0b-0d7c4b9f6a11``; that it is a UUID is inferred.
        sequence: of the message.
        until: when the message is visible again, ``None`` when no time ends it (a connection does).
    """

    token: str = field(repr=False)
    sequence: int
    until: datetime | None


class MessageLocks:
    """The locks of all queues of a hub, at most one for each message.

    Arguments:
        clock: gives the present time (aware, in UTC).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._locks: dict[str, dict[int, Lock]] = {}

    def new(self, sequence: int, lasts: timedelta | None) -> Lock:
        """A lock that nobody has yet; :meth:`enter` makes it good.

        Arguments:
            sequence: of the message.
            lasts: how long the message stays locked, ``None`` until it is released.
        """
        return Lock(str(uuid.uuid4()), sequence, None if lasts is None else self._clock.now() + lasts)

    def enter(self, device_id: str, lock: Lock) -> None:
        """Lock the message; an earlier lock of it is worth nothing any more."""
        self._locks.setdefault(device_id, {})[lock.sequence] = lock

    def holds(self, device_id: str, sequence: int) -> bool:
        """Whether somebody has the message in his hands."""
        lock = self._locks.get(device_id, {}).get(sequence)
        return lock is not None and self._is_good(lock)

    def find(self, device_id: str, token: str) -> Lock | None:
        """The lock with this token, ``None`` when the device has no such lock or its time is over."""
        for lock in self._locks.get(device_id, {}).values():
            if lock.token == token:
                return lock if self._is_good(lock) else None
        return None

    def release(self, device_id: str, sequence: int) -> None:
        """Nobody holds the message any more, if anybody did."""
        locks = self._locks.get(device_id, {})
        locks.pop(sequence, None)
        if not locks:
            self._locks.pop(device_id, None)

    def _is_good(self, lock: Lock) -> bool:
        return lock.until is None or self._clock.now() < lock.until
