"""What has arrived of packets, requests and messages of WebSockets that are not complete yet, of all connections.

Each may be as large as it likes within its own limit, and nobody had to show a key for it so far.
"""

from __future__ import annotations

from .accounts import Holder

#: Bytes that may wait for their rest. Enough for a hundred of the largest requests at a time.
MAX_ARRIVING = 64 * 1_048_576


class Arriving:
    """The account. When too much waits, the connections that began first are dropped."""

    def __init__(self) -> None:
        self._sizes: dict[Holder, int] = {}
        self._total = 0

    def note(self, holder: Holder, size: int) -> None:
        """Take down how much of something incomplete has arrived by now; 0 when it is complete."""
        if not size and holder not in self._sizes:
            return
        self._total += size - self._sizes.get(holder, 0)
        if size:
            # it keeps the place that it had
            self._sizes[holder] = size
        else:
            del self._sizes[holder]
        while self._total > MAX_ARRIVING:
            oldest = next(iter(self._sizes))
            self._total -= self._sizes.pop(oldest)
            oldest.give_up(
                f"requests and packets that are not complete took more than {MAX_ARRIVING} bytes together, and this "
                "connection's was the oldest"
            )
