"""Connections that are not established yet: how much memory they may take together, and who of them has to wait.

Whoever never gets further can be there thousandfold. Saying nothing costs little, and the handshake costs much; so only
some are in the midst of it at a time, and the others wait in line with nothing but their first bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .accounts import Holder

#: Connections that may be in the midst of their handshake at a time; about 50 KiB each.
MAX_HANDSHAKES = 256
#: Seconds in the midst of a handshake after which a connection has to go when others wait in line.
GRACE = 2.0
#: About so many bytes may all take together.
MAX_WEIGHT = 24 * 1_048_576
#: About so many bytes does a connection take before its greeting is complete, beside what it has sent.
WEIGHT_BEFORE_GREETING = 4_096
#: And so many from then on, until the handshake is over.
WEIGHT_IN_HANDSHAKE = 49_152


class Newcomers:
    """All of one server, the oldest first.

    Arguments:
        loop: the event loop, for time and timers.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._weights: dict[Holder, int] = {}
        self._total = 0
        self._begun: dict[Holder, float] = {}
        self._line: dict[Holder, Callable[[], None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def weigh(self, newcomer: Holder, size: int) -> None:
        """Note that a connection takes about so many bytes by now; when all take too much, the oldest have to go."""
        self._total += size - self._weights.get(newcomer, 0)
        self._weights[newcomer] = size
        while self._total > MAX_WEIGHT and len(self._weights) > 1:
            self._give_up(next(each for each in self._weights if each is not newcomer))

    def may_begin(self, newcomer: Holder, begin: Callable[[], None]) -> bool:
        """Whether a connection may begin its handshake now; else ``begin`` is called when it is its turn."""
        if len(self._begun) < MAX_HANDSHAKES:
            self._begin(newcomer)
            return True
        self._line[newcomer] = begin
        if self._timer is None:
            self._look_at_the_slow()
        return False

    def remove(self, newcomer: Holder) -> None:
        """It is established, or has ended."""
        self._total -= self._weights.pop(newcomer, 0)
        self._line.pop(newcomer, None)
        if self._begun.pop(newcomer, None) is not None and self._line:
            following = next(iter(self._line))
            # not at once: somebody is in the middle of something
            self._loop.call_soon(self._line.pop(following))
            self._begin(following)

    def _begin(self, newcomer: Holder) -> None:
        self._begun[newcomer] = self._loop.time()
        self.weigh(newcomer, WEIGHT_IN_HANDSHAKE)

    def _give_up(self, newcomer: Holder) -> None:
        self.remove(newcomer)
        newcomer.give_up("too many others came at the same time, so the oldest that were not through with it had to go")

    def _look_at_the_slow(self) -> None:
        """End handshakes that take long, as many as others wait for."""
        self._timer = None
        latest = self._loop.time() - GRACE
        while self._line:
            oldest, begun = next(iter(self._begun.items()))
            if begun > latest:
                self._timer = self._loop.call_at(begun + GRACE, self._look_at_the_slow)
                return
            self._give_up(oldest)
