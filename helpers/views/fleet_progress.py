"""How far a fleet is: a bar in the browser that moves, the same in words everywhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets

from .message import Interactive

#: A browser need not hear of every device; so often in a second is smooth enough.
_PAUSE = 0.1


class FleetProgress(Interactive):
    """Counts devices, and shows how many are where.

    Any thread may count. A browser hears of it at most ten times a second, and when the last device is through.

    Arguments:
        total: how many devices there are.
        title: what happens to them.
        clock: seconds that only grow.

    Raises:
        ValueError: ``total`` is no number of devices.
    """

    def __init__(self, total: int, title: str = "Devices", clock: Callable[[], float] = time.monotonic) -> None:
        if not isinstance(total, int) or isinstance(total, bool) or total < 0:
            raise ValueError(f"total is {total!r}; it must be a number of devices, 0 or more.")
        self.total = total
        self.title = title
        self.assigned = self.failed = self.throttled = 0
        self._clock = clock
        self._begun: float | None = None
        self._ended: float | None = None
        self._shown: float | None = None
        self._closed = False
        self._lock = threading.RLock()
        self._bar = ipywidgets.IntProgress(
            # a bar without length cannot be drawn
            max=max(total, 1),
            description=title,
            tooltip=f"{title}: devices that are through, of {total}",
            style={"description_width": "initial"},
            layout={"width": "min(100%, 640px)"},
        )
        self._status = ipywidgets.HTML()
        self.widget = ipywidgets.VBox([self._bar, self._status])
        self.refresh()

    def advance(self, *, assigned: int = 0, failed: int = 0, throttled: int = 0) -> None:
        """Count devices that are through, well or not, and tries that were refused as too many.

        The first call starts the clock for the rate, unless :meth:`begin` did.

        Arguments:
            assigned: devices more that have a hub.
            failed: devices more that gave up.
            throttled: attempts more that were refused with 429; the device is still on its way.
        """
        with self._lock:
            now = self._clock()
            self._begun = now if self._begun is None else self._begun
            self.assigned += assigned
            self.failed += failed
            self.throttled += throttled
            if self.remaining == 0 and self._ended is None:
                self._ended = now
            if self.remaining == 0 or self._shown is None or now - self._shown >= _PAUSE:
                self.refresh()

    @property
    def remaining(self) -> int:
        """Devices that are neither assigned nor failed; never below 0, even when more came than there are."""
        return max(self.total - self.assigned - self.failed, 0)

    @property
    def rate(self) -> float | None:
        """Devices in a second, from the clock's start until all are through; ``None`` as long as it cannot be told."""
        if self._begun is None:
            return None
        seconds = (self._clock() if self._ended is None else self._ended) - self._begun
        done = self.assigned + self.failed
        return done / seconds if done and seconds > 0 else None

    @property
    def status(self) -> str:
        """The numbers as they are now, in one line of text; the rate is in it as soon as it can be told."""
        with self._lock:
            parts = [
                f"{self.assigned} of {self.total} assigned",
                f"{self.failed} failed",
                f"{self.throttled} throttled",
                f"{self.remaining} remaining",
            ]
            if self.rate is not None:
                parts.append(f"{self.rate:.1f} devices per second")
        return ", ".join(parts)

    def begin(self) -> None:
        """Start the clock for the rate; else it starts with the first device that is through."""
        with self._lock:
            if self._begun is None:
                self._begun = self._clock()

    def refresh(self) -> None:
        """Show the numbers in the browser now, however short ago that was; after :meth:`close` nothing happens."""
        with self._lock:
            self._shown = self._clock()
            if self._closed:
                return
            self._bar.value = min(self.assigned + self.failed, self.total)
            self._status.value = f'<p role="status">{escape(self.status)}</p>'
            if self.remaining == 0:
                # the words beside it say the same
                self._bar.bar_style = "warning" if self.failed else "success"

    def close(self) -> None:
        """Leave the bar as it is; whatever is counted later is not shown. Nothing runs on."""
        with self._lock:
            self.refresh()
            self._closed = True

    def __str__(self) -> str:
        return f"{self.title}\n{self.status}"

    def html(self) -> str:
        """Title and numbers as they are now, without the bar."""
        return f"<p><strong>{escape(self.title)}</strong>: {escape(self.status)}</p>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        self.refresh()
        data, metadata = super()._repr_mimebundle_()
        # what is kept of a notebook is what was displayed first, so it must not say what is true for a moment only
        if self.remaining:
            words = f"{self.total} devices. The bar counts them where this notebook is open."
            data["text/plain"] = f"{self.title}\n{words}"
            data["text/html"] = f"<p><strong>{escape(self.title)}</strong>: {words}</p>"
        return data, metadata


fleet_progress = FleetProgress
