"""What every view has, a text form and an HTML form; and the plainest one, a table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

Row = Sequence[str]

# inside a widget JupyterLab gives cells no room of their own, and lines as high as a button
_CELL = "text-align:left; padding:3px 18px 3px 0; line-height:1.4"
#: A word that is longer than this, such as a name of full length, is broken: else the table would leave the page.
_LONGEST_WORD = 64
_BROKEN = "; overflow-wrap:anywhere; min-width:14em"


class View(ABC):
    """Something to look at, which a terminal, a headless run and the file of a notebook get as text."""

    @abstractmethod
    def __str__(self) -> str:
        """The text form; it stands in the outputs of the notebooks, and says the same as the other one."""

    @abstractmethod
    def html(self) -> str:
        """What a browser shows: everything escaped, nothing told by colour alone, nothing that needs a script."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return {"text/plain": str(self), "text/html": self.html()}


@dataclass(frozen=True, repr=False)
class Table(View):
    """A table with its title.

    Attributes:
        title: stands above it.
        columns: heads of the columns.
        rows: as many cells in each as there are columns.
        empty: what to say when there are no rows.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    empty: str = "(nothing)"

    def __str__(self) -> str:
        return f"{self.title}\n{text_table(self.columns, self.rows, empty=self.empty)}"

    def html(self) -> str:
        """The table with a caption; without rows, the title and the words for that."""
        return html_table(self.title, self.columns, self.rows, empty=self.empty)


def text_table(columns: Sequence[str], rows: Sequence[Row], *, empty: str = "(nothing)") -> str:
    """Columns aligned with spaces, without spaces at the ends of lines.

    Arguments:
        columns: the heads; a line of dashes stands below them.
        rows: as many cells in each as there are columns.
        empty: the whole text when there are no rows.
    """
    if not rows:
        return empty
    lines = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def html_table(title: str, columns: Sequence[str], rows: Sequence[Row], *, empty: str = "(nothing)") -> str:
    """A table with a caption and marked column heads, as screen readers want it; everything in it is escaped.

    Arguments:
        title: the caption.
        columns: the heads.
        rows: as many cells in each as there are columns; long words are broken.
        empty: what to say behind the title when there are no rows.
    """
    if not rows:
        return f"<p><strong>{escape(title)}</strong>: {escape(empty)}</p>"
    head = "".join(f'<th scope="col" style="{_CELL}">{escape(column)}</th>' for column in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_style(str(cell))}">{escape(str(cell))}</td>' for cell in row) + "</tr>"
        for row in rows
    )
    caption = f'<caption style="text-align:left; color:inherit"><strong>{escape(title)}</strong></caption>'
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _style(cell: str) -> str:
    return _CELL + (_BROKEN if max(map(len, cell.split()), default=0) > _LONGEST_WORD else "")
