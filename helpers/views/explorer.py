"""A table that one can look into: a widget in the browser, the same table as text everywhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ipywidgets

from .live import LiveRefresh
from .message import Interactive, button, reason, side_by_side, status
from .text import Row, Table

#: Seconds between two readings of a table that refreshes by itself. The smallest hub takes 100 such readings a minute.
PAUSE = 2.0
_OFF = "Does not refresh by itself any more."
_PAUSED = "Paused: nobody touched this table for a quarter of an hour. Switch it on again when you are back."


@dataclass(frozen=True)
class Entry:
    """One line of an explorer.

    Attributes:
        name: unique within the table; what one selects it by.
        cells: the columns.
        details: what else there is to know, name to value; nothing secret.
    """

    name: str
    cells: Row
    details: Mapping[str, str] = field(default_factory=dict)


class Explorer(Interactive):
    """A table of entries read from a service, with a list to pick one, a button to read again, and a switch.

    With the switch it refreshes by itself, until :meth:`close`. The table then still works; only the timer is gone.

    Arguments:
        title: what the table shows.
        columns: heads of the columns.
        read: reads the entries; called at once, by the button and by the timer.
        empty: what to say when there are none.
        only: names of the entries to show, or a function that gives them at every reading; empty for all.
    """

    def __init__(
        self,
        title: str,
        columns: Sequence[str],
        read: Callable[[], Iterable[Entry]],
        *,
        empty: str = "(nothing)",
        only: Iterable[str] | Callable[[], Iterable[str]] = (),
    ) -> None:
        self._message = status()
        self.title = title
        self.columns = tuple(columns)
        self.empty = empty
        self._read = read
        self._only = only if callable(only) else list(only)
        self.entries = self._entries()
        self._showing = threading.Lock()
        self._pause = PAUSE
        self._timer = LiveRefresh(self._refresh_by_itself, paused=self._paused)
        self._table = ipywidgets.HTML(value=self.html())
        self._pick = ipywidgets.Dropdown(
            description="Look into",
            options=self._options(),
            value="",
            tooltip="Shows everything that is known of one line of the table",
        )
        self._again = button("Read again", "Reads the table from the service again", self._asked)
        self._switch = ipywidgets.Checkbox(
            value=False,
            description="Refresh by itself",
            tooltip="Reads the table again every few seconds, until you switch it off",
            indent=False,
            layout={"width": "auto"},
        )
        self._more = ipywidgets.HTML(value=self._details(""))
        self._pick.observe(self._picked, names="value")
        self._switch.observe(self._switched, names="value")
        controls = side_by_side(self._pick, self._again, self._switch)
        self.widget = ipywidgets.VBox([self._table, controls, self._more, self._message])

    @property
    def rows(self) -> list[Row]:
        """The cells of all entries as they were read last, in the order in which they are shown."""
        return [entry.cells for entry in self.entries]

    @property
    def is_live(self) -> bool:
        """Whether a thread reads the table again and again; :meth:`close` ends that, and so does nobody being there."""
        return self._timer.running

    def _shown(self) -> Table:
        return Table(self.title, self.columns, self.rows, self.empty)

    def __str__(self) -> str:
        return str(self._shown())

    def html(self) -> str:
        """The table as it was read last, without the controls."""
        return self._shown().html()

    def live(self, seconds: float = PAUSE) -> None:
        """Switch on the refreshing, as the switch does.

        Arguments:
            seconds: the pause between two readings, from 0.05 on.

        Raises:
            ValueError: the pause is no number, or too short.
        """
        self._start(seconds)
        self._switch.value = True

    def refresh(self) -> None:
        """Read the entries again and show them. The line one looks into stays chosen as long as it is there.

        Raises:
            Exception: whatever reading raises; the table then stays as it was.
        """
        self._show(self._entries())

    def close(self) -> None:
        """Switch off the refreshing; no thread is left. Closing twice is fine.

        A table that was live is read a last time, so that it does not go on showing what is gone.
        """
        was_live = self.is_live
        self._timer.stop()
        self._switch.value = False
        if not was_live:
            return
        try:
            self.refresh()
        except Exception as problem:
            self._say(f"The last reading failed: {reason(problem)}\n{_OFF}")
        else:
            self._say(f"Read for the last time: {_lines(self.entries)}. {_OFF}")

    def _entries(self) -> list[Entry]:
        wanted = set(self._only() if callable(self._only) else self._only)
        return [entry for entry in self._read() if not wanted or entry.name in wanted]

    def _show(self, entries: list[Entry]) -> bool:
        """Show entries, and give whether something has changed."""
        with self._showing:
            changed = entries != self.entries
            self.entries = entries
            self._table.value = self.html()
            chosen, options = self._pick.value, self._options()
            if list(self._pick.options) != options:
                # choosing goes to the first line when the list changes
                self._pick.options = options
                self._pick.value = chosen if chosen in {name for _, name in options} else ""
            self._more.value = self._details(self._pick.value)
            return changed

    def _start(self, seconds: float) -> None:
        self._timer.start(seconds)
        self._pause = seconds
        self._say(f"Refreshes every {seconds:g} seconds.")

    def _picked(self, change: Mapping[str, Any]) -> None:
        self._timer.touch()
        self._more.value = self._details(change["new"])

    def _asked(self, _button: Any) -> None:
        self._timer.touch()
        # an exception in a callback is visible nowhere, so it is shown here
        try:
            self.refresh()
        except Exception as problem:
            self._say(f"Reading failed: {reason(problem)}")
            return
        self._say(f"Read again: {_lines(self.entries)}.")

    def _switched(self, change: Mapping[str, Any]) -> None:
        if change["new"] and not self._timer.running:
            self._start(self._pause)
        elif not change["new"] and self._timer.running:
            self._timer.stop()
            self._say(_OFF)

    def _refresh_by_itself(self) -> None:
        """What the timer does, in its thread."""
        try:
            entries = self._entries()
        except Exception as problem:
            if self._timer.running:
                self._switch.value = False
                self._say(f"Reading failed: {reason(problem)}\nIt does not refresh by itself any more.")
            return
        # whoever switched it off in the meantime wants to see nothing new
        if self._timer.running and self._show(entries):
            self._say(f"Last change at {time.strftime('%H:%M:%S')}: {_lines(entries)}.")

    def _paused(self) -> None:
        self._switch.value = False
        self._say(_PAUSED)

    def _options(self) -> list[tuple[str, str]]:
        return [("(choose a line)", ""), *((entry.name, entry.name) for entry in self.entries)]

    def _details(self, name: str) -> str:
        entry = next((entry for entry in self.entries if entry.name == name), None)
        if entry is None:
            return "<p>Choose a line to see its details.</p>"
        return Table(entry.name, ("what", "value"), list(entry.details.items())).html()


def _lines(entries: Sequence[Entry]) -> str:
    return "1 line" if len(entries) == 1 else f"{len(entries)} lines"
