"""When registrations that are being assigned are to be settled."""

from __future__ import annotations

import math
from datetime import datetime, timezone

from dps_simulator.common.paging import MAX_PAGE_SIZE
from dps_simulator.common.ports import Storage

#: Recorded: an assignment took 0.29 s.
ASSIGNMENT_SECONDS = 0.3


class DueRegistrations:
    """The times of all registrations that wait for theirs.

    Between which times they lie is remembered, so that what is kept is only asked when some may be due. The bounds may
    be too wide, for what made them narrower may still be undone, and never too narrow.

    Arguments:
        storage: the store, in whose collections they outlive this process.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._documents = storage.collection("dueRegistration")
        self._earliest, self._latest = -math.inf, math.inf
        # whether some were removed, which may still be undone
        self._unsettled = False
        self._read()

    def put(self, key: str, due: float) -> None:
        """Let a registration wait.

        Arguments:
            key: the key under which the registration is kept.
            due: Unix time in seconds at which it is to be settled.
        """
        self._documents.put(key, {"due": due})
        self._earliest, self._latest = min(self._earliest, due), max(self._latest, due)

    def remove(self, key: str) -> None:
        """Let the registration under this key wait no more; one that does not wait is fine."""
        self._unsettled = True
        self._documents.delete(key)
        self._storage.when_committed(self._settled)

    def due(self, now: float) -> list[tuple[str, datetime]]:
        """The keys of those whose time has come, and when that was.

        Arguments:
            now: the present Unix time, in seconds.
        """
        # a clock that was set back makes nobody wait longer than usual
        latest = now + ASSIGNMENT_SECONDS
        if now < self._earliest and self._latest <= latest:
            return []
        return [
            (key, datetime.fromtimestamp(min(due, now), timezone.utc))
            for key, due in self._read()
            if due <= now or due > latest
        ]

    def clear(self) -> None:
        """Forget all of them, as a reset of the simulator does."""
        self._documents.clear()

    def _read(self) -> list[tuple[str, float]]:
        waiting = [(stored.key, stored.body["due"]) for stored in self._documents.page(limit=MAX_PAGE_SIZE)]
        if not self._unsettled and len(waiting) < MAX_PAGE_SIZE:
            times = [due for _, due in waiting]
            self._earliest, self._latest = min(times, default=math.inf), max(times, default=-math.inf)
        return waiting

    def _settled(self) -> None:
        self._unsettled = False
