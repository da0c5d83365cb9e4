"""A timer that keeps a view fresh, in a thread of its own, and that always comes to an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Seconds without a touch after which nobody seems to look any more.
IDLE_SECONDS = 15 * 60.0
#: Shorter pauses would only keep the service busy.
SHORTEST_PAUSE = 0.05
#: Seconds that stopping waits for a refresh that is under way. What comes later than that is not shown.
PATIENCE = 30.0


class LiveRefresh:
    """Calls a function every few seconds until it is stopped, or until nobody has touched the view for long.

    Arguments:
        refresh: what to call; must not raise.
        paused: called, in the thread, when it stops because nobody touched the view.
        idle_seconds: how long that takes, in seconds.
        clock: gives seconds that never run backwards.
    """

    def __init__(
        self,
        refresh: Callable[[], None],
        *,
        paused: Callable[[], None],
        idle_seconds: float = IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._refresh = refresh
        self._paused = paused
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._touched = clock()
        self._ended = threading.Event()
        self._ended.set()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether it is switched on; false as soon as somebody stops it, also while a last refresh is under way."""
        return not self._ended.is_set()

    def touch(self) -> None:
        """Somebody is there: the idle time begins anew."""
        self._touched = self._clock()

    def start(self, seconds: float) -> None:
        """Switch it on; when it is on already, with the new pause.

        Arguments:
            seconds: the pause between two refreshes, at least :data:`SHORTEST_PAUSE`.

        Raises:
            ValueError: the pause is no number, or too short.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= SHORTEST_PAUSE:
            raise ValueError(f"seconds is {seconds!r}; it must be a number, at least {SHORTEST_PAUSE}, such as 2.")
        self.stop()
        self.touch()
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._ended, float(seconds)), name="live view", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Switch it off and wait until the thread has ended, :data:`PATIENCE` at the most; off already is fine.

        The function may call it, too; then nobody waits.
        """
        self._ended.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(PATIENCE)
            self._thread = None

    def _run(self, ended: threading.Event, seconds: float) -> None:
        while not ended.wait(seconds):
            if self._clock() - self._touched >= self._idle_seconds:
                ended.set()
                self._paused()
                return
            self._refresh()
