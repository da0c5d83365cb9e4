"""What connections take beside their fixed part, bounded for all of them together.

A limit for one connection alone bounds nothing, because anybody can open thousands. So there is an account for each
kind of what piles up, and whoever takes most has to go when all take too much: usual clients are never the heaviest
while somebody abuses the simulator, and none has to go as long as there is room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

#: Bytes of certificate chains, of wills and of requests that are being served: all that is there to stay for a while.
MAX_KEPT = 128 * 1_048_576
#: Bytes that wait for clients that do not read, or arrived from ones that send ahead of what is being served.
MAX_BACKLOG = 64 * 1_048_576


class Holder(Protocol):
    """A connection, as seen here."""

    def give_up(self, reason: str) -> None:
        """End it for the sake of others; the reason is for the trace."""


class Account:
    """What every connection takes of one kind.

    Arguments:
        limit: bytes that all may take together.
        what: of what, for the trace.
        measure: how much a connection takes right now, where that changes without notice; asked before any has to go.
    """

    def __init__(self, limit: int, what: str, measure: Callable[[Holder], int] | None = None) -> None:
        self.limit = limit
        self._what = what
        self._measure = measure
        self._sizes: dict[Holder, int] = {}
        self._total = 0

    @property
    def total(self) -> int:
        """Bytes of all connections together."""
        return self._total

    def __len__(self) -> int:
        return len(self._sizes)

    def note(self, holder: Holder, size: int) -> None:
        """Take down how many bytes a connection takes by now; 0 when it takes none."""
        if size or holder in self._sizes:
            self._set(holder, size)
        if self._total > self.limit:
            self._make_room()

    def add(self, holder: Holder, size: int) -> None:
        """Take down that a connection takes so many bytes more, or fewer where the number is negative."""
        if size > 0 or holder in self._sizes:
            self.note(holder, max(self._sizes.get(holder, 0) + size, 0))

    def _set(self, holder: Holder, size: int) -> None:
        self._total += size - self._sizes.pop(holder, 0)
        if size:
            self._sizes[holder] = size

    def _make_room(self) -> None:
        if self._measure is not None:
            for holder in list(self._sizes):
                self._set(holder, self._measure(holder))
        while self._total > self.limit:
            heaviest = max(self._sizes, key=self._sizes.__getitem__)
            size = self._sizes[heaviest]
            self._set(heaviest, 0)
            heaviest.give_up(
                f"{self._what} of all connections took more than {self.limit} bytes, and this one's most, {size}"
            )
