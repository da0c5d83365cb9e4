"""Tables and sentences one below the other: how far somebody is, or a whole room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from .text import Row, html_table, text_table


@dataclass(frozen=True)
class Table:
    """A table with its title."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    empty: str = "(nothing)"

    def text(self) -> str:
        """The table in a terminal."""
        return f"{self.title}\n{text_table(self.columns, self.rows, empty=self.empty)}"

    def html(self) -> str:
        """The table in a browser."""
        return html_table(self.title, self.columns, self.rows, empty=self.empty)


@dataclass(frozen=True)
class Sentence:
    """A sentence, and something to copy below it."""

    words: str
    to_copy: str = ""

    def text(self) -> str:
        """The sentence in a terminal."""
        return f"{self.words}\n{self.to_copy}" if self.to_copy else self.words

    def html(self) -> str:
        """The sentence in a browser."""
        copied = f'<pre style="white-space:pre-wrap">{escape(self.to_copy)}</pre>' if self.to_copy else ""
        return f"<p>{escape(self.words)}</p>{copied}"


class ProgressView:
    """Tables and sentences, as text and as HTML.

    Arguments:
        label: what the whole is, for screen readers.
        parts: what to show, from top to bottom.
    """

    def __init__(self, label: str, parts: Sequence[Table | Sentence]) -> None:
        self.label = label
        self.parts = tuple(parts)

    @property
    def tables(self) -> list[Table]:
        """The tables, for code that wants to look at them."""
        return [part for part in self.parts if isinstance(part, Table)]

    def __str__(self) -> str:
        return "\n\n".join(part.text() for part in self.parts)

    __repr__ = __str__

    def html(self) -> str:
        """Everything as HTML."""
        inner = "".join(part.html() for part in self.parts)
        return f'<section aria-label="{escape(self.label)}">{inner}</section>'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return {"text/plain": str(self), "text/html": self.html()}
