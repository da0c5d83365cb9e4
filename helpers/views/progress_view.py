"""Tables and sentences one below the other: how far somebody is, or a whole room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from .text import Table, View

__all__ = ["ProgressView", "Sentence", "Table"]


@dataclass(frozen=True, repr=False)
class Sentence(View):
    """A sentence, and something to copy below it.

    Attributes:
        words: the sentence.
        to_copy: a line that stands alone, so that it can be marked as a whole; empty for none.
    """

    words: str
    to_copy: str = ""

    def __str__(self) -> str:
        return f"{self.words}\n{self.to_copy}" if self.to_copy else self.words

    def html(self) -> str:
        """A paragraph, and below it what is to be copied, with its line breaks kept."""
        copied = f'<pre style="white-space:pre-wrap">{escape(self.to_copy)}</pre>' if self.to_copy else ""
        return f"<p>{escape(self.words)}</p>{copied}"


class ProgressView(View):
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
        """The tables among the parts, from top to bottom, for code that wants to look at their rows."""
        return [part for part in self.parts if isinstance(part, Table)]

    def __str__(self) -> str:
        return "\n\n".join(str(part) for part in self.parts)

    def html(self) -> str:
        """All parts, in one section that carries the label."""
        inner = "".join(part.html() for part in self.parts)
        return f'<section aria-label="{escape(self.label)}">{inner}</section>'
