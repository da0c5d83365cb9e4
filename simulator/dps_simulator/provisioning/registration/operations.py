"""Operations that a newer one of their registration overtook, remembered for a while for whoever still polls them.

The newest operation of a registration is a part of it, and as lasting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dps_simulator.common.paging import MAX_PAGE_SIZE
from dps_simulator.common.ports import Document, Storage

from .record import RegistrationState

#: They are remembered this long, and at most so many of them in so many bytes of JSON (simulator-only limits).
OPERATION_SECONDS = 24 * 3600
MAX_OPERATIONS = 10_000
MAX_OPERATION_BYTES = 16 * 1024 * 1024
_PRUNED_AT_ONCE = 500
#: How many of the oldest are looked at when a device registers.
_LOOKED_AT = 2


@dataclass(frozen=True, slots=True)
class Overtaken:
    """An operation that was overtaken.

    Attributes:
        registration: the key under which its registration is kept, see
            :func:`~dps_simulator.common.identifiers.lookup_key`.
        created: when it began, Unix time in seconds.
        state: how it ended, ``None`` as long as the newer one has not.
    """

    registration: str
    created: float
    state: RegistrationState | None

    def to_document(self) -> Document:
        """The JSON object under which the store keeps it; :meth:`from_document` reads it."""
        state = None if self.state is None else self.state.to_json()
        return {"registration": self.registration, "created": self.created, "state": state}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Overtaken:
        """Read what :meth:`to_document` made.

        Raises:
            KeyError: the document is of another kind.
        """
        state = document["state"]
        return cls(
            document["registration"],
            document["created"],
            None if state is None else RegistrationState.from_document(state),
        )


class OvertakenOperations:
    """All operations that were overtaken.

    Arguments:
        storage: the store, in whose collections they outlive this process.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._documents = storage.collection("operation")
        # both only ever grow, and show no more than that it is time to look
        self._count, self._bytes = self._documents.count(), self._documents.size()
        # the oldest are not too old before; where there are few, others may soon be among them
        self._next_look = -math.inf
        # whether some were forgotten, which may still be undone
        self._unsettled = False

    def find(self, operation_id: str) -> Overtaken | None:
        """The operation with this ID, ``None`` when it is the newest of its registration, forgotten, or never was."""
        document = self._documents.get(operation_id)
        return None if document is None else Overtaken.from_document(document)

    def remember(self, operation_id: str, operation: Overtaken) -> None:
        """Keep an operation, or what has become of it."""
        self._bytes += self._documents.put(operation_id, operation.to_document(), parent=operation.registration)
        self._count += 1

    def prune(self, now: float) -> None:
        """Forget what is too old, a few at a time, and the oldest when they are too many.

        Arguments:
            now: the present Unix time, in seconds.
        """
        if self._count and now > self._next_look:
            self._prune_old(now)
        if not self._are_too_many():
            return
        # others went away meanwhile
        self._count, self._bytes = self._documents.count(), self._documents.size()
        while self._are_too_many():
            # so many that counting again does not come soon
            for operation in self._documents.page(limit=_PRUNED_AT_ONCE):
                self._forget(operation.key)
                self._count -= 1
                self._bytes -= operation.size
                if self._count < 0.95 * MAX_OPERATIONS and self._bytes < 0.9 * MAX_OPERATION_BYTES:
                    break

    def forget(self, registration: str) -> None:
        """Forget those of the registration that is kept under this key; none of them is fine."""
        while operations := self._documents.page(limit=MAX_PAGE_SIZE, parent=registration):
            for operation in operations:
                self._forget(operation.key)

    def clear(self) -> None:
        """Forget all of them, as a reset of the simulator does."""
        self._documents.clear()
        self._count = self._bytes = 0
        self._next_look = -math.inf

    def _prune_old(self, now: float) -> None:
        first = self._documents.page(limit=_LOOKED_AT)
        too_old = [operation.key for operation in first if operation.body["created"] < now - OPERATION_SECONDS]
        for key in too_old:
            self._forget(key)
        if len(first) == _LOOKED_AT and not too_old and not self._unsettled:
            self._next_look = min(operation.body["created"] for operation in first) + OPERATION_SECONDS

    def _forget(self, key: str) -> None:
        self._documents.delete(key)
        self._next_look, self._unsettled = -math.inf, True
        self._storage.when_committed(self._settled)

    def _settled(self) -> None:
        self._unsettled = False

    def _are_too_many(self) -> bool:
        return self._count > MAX_OPERATIONS or self._bytes > MAX_OPERATION_BYTES
