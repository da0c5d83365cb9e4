"""A table that one can look into: a widget in the browser, the same table as text everywhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import ipywidgets

from helpers.views.text import Row, html_table, text_table


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


class Explorer:
    """A table of entries read from a service, with a list to pick one and a button to read again.

    Arguments:
        title: what the table shows.
        columns: heads of the columns.
        read: reads the entries; called at once and by the button.
        empty: what to say when there are none.
    """

    def __init__(
        self, title: str, columns: Sequence[str], read: Callable[[], Sequence[Entry]], *, empty: str = "(nothing)"
    ) -> None:
        self.title = title
        self.columns = tuple(columns)
        self.empty = empty
        self.entries = list(read())
        self._read = read
        self._widget: Any = None

    @property
    def rows(self) -> list[Row]:
        """The cells of all entries, for code that wants to look at them."""
        return [entry.cells for entry in self.entries]

    def __str__(self) -> str:
        return f"{self.title}\n{text_table(self.columns, self.rows, empty=self.empty)}"

    __repr__ = __str__

    def html(self) -> str:
        """The table as HTML."""
        return html_table(self.title, self.columns, self.rows, empty=self.empty)

    @property
    def widget(self) -> Any:
        """The interactive form. Its parts are ordinary ipywidgets."""
        if self._widget is None:
            self._widget = self._build()
        return self._widget

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        bundle: Any = self.widget._repr_mimebundle_()
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        return {**data, "text/plain": str(self), "text/html": self.html()}, metadata

    def _build(self) -> Any:
        table = ipywidgets.HTML(value=self.html())
        pick = ipywidgets.Dropdown(
            description="Look into",
            options=self._options(),
            value="",
            tooltip="Shows everything that is known of one line of the table",
        )
        details = ipywidgets.HTML(value=self._details(""))
        again = ipywidgets.Button(description="Read again", tooltip="Reads the table from the service again")
        message = ipywidgets.HTML(value="")

        def show(change: Mapping[str, Any]) -> None:
            details.value = self._details(change["new"])

        def refresh(_button: Any) -> None:
            # an exception in a callback is visible nowhere, so it is shown here
            try:
                self.entries = list(self._read())
            except Exception as problem:
                message.value = f"<p>Reading failed: {escape(type(problem).__name__)}: {escape(str(problem))}</p>"
                return
            message.value = f"<p>Read again: {len(self.entries)} lines.</p>"
            table.value = self.html()
            pick.options = self._options()
            pick.value = ""

        pick.observe(show, names="value")
        again.on_click(refresh)
        return ipywidgets.VBox([table, ipywidgets.HBox([pick, again]), details, message])

    def _options(self) -> list[tuple[str, str]]:
        return [("(choose a line)", ""), *((entry.name, entry.name) for entry in self.entries)]

    def _details(self, name: str) -> str:
        entry = next((entry for entry in self.entries if entry.name == name), None)
        if entry is None:
            return "<p>Choose a line to see its details.</p>"
        return html_table(entry.name, ("what", "value"), list(entry.details.items()))
