"""What has arrived of packets, requests and messages of WebSockets that are not complete yet, of all connections.

Each may be as large as it likes within its own limit, and nobody had to show a key for it so far.
"""

from __future__ import annotations

import asyncio

#: Bytes that may wait for their rest. Enough for a hundred of the largest requests at a time.
MAX_ARRIVING = 64 * 1_048_576


class Arriving:
    """The account. When too much waits, the connections that began first are dropped."""

    def __init__(self) -> None:
        self._sizes: dict[asyncio.Transport, int] = {}
        self._total = 0

    def note(self, transport: asyncio.Transport, size: int) -> None:
        """Take down how much of something incomplete has arrived by now; 0 when it is complete."""
        if not size and transport not in self._sizes:
            return
        self._total += size - self._sizes.get(transport, 0)
        if size:
            # it keeps the place that it had
            self._sizes[transport] = size
        else:
            del self._sizes[transport]
        while self._total > MAX_ARRIVING:
            oldest = next(iter(self._sizes))
            self._total -= self._sizes.pop(oldest)
            oldest.abort()
