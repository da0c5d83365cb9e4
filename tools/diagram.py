"""Draws a diagram in Mermaid's language, as far as our documents use it: boxes and arrows, from top to bottom."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from helpers.views.picture import MARGIN, PADDING, frame, line, picture, width_of, words

#: A diagram in a document.
MERMAID = re.compile(r"^```mermaid\nflowchart TD\n(?P<diagram>.*?)^```$", re.MULTILINE | re.DOTALL)
_BOX = re.compile(r'^\s*(\w+)\["([^"]+)"\]$', re.MULTILINE)
_ARROW = re.compile(r"^\s*(\w+) --> (\w+)$", re.MULTILINE)
_HEIGHT, _GAP, _BETWEEN = 36, 56, 28
#: So often the boxes of every row are moved to where their arrows come from and go to.
_ROUNDS = 8

Arrows = list[tuple[str, str]]


def rows_of(arrows: Arrows, boxes: Mapping[str, str]) -> tuple[list[list[str]], Arrows]:
    """The boxes in rows, each below everything that points to it, and near to it.

    Arguments:
        arrows: from which box to which; they make no circle.
        boxes: what stands in each.

    Returns:
        The rows, and the arrows in pieces from one row to the next. Where an arrow passes a row, it has a place there,
        whose name is none of a box.
    """
    level = dict.fromkeys(boxes, 0)
    for _ in boxes:
        for above, below in arrows:
            level[below] = max(level[below], level[above] + 1)
    # one that nothing points to is drawn just above what it points to
    for box in boxes:
        if not any(below == box for _, below in arrows):
            level[box] = min((level[below] - 1 for above, below in arrows if above == box), default=0)
    pieces: Arrows = []
    for above, below in arrows:
        passed = {f"{above} > {below} {row}": row for row in range(level[above] + 1, level[below])}
        level |= passed
        pieces += pairwise([above, *passed, below])
    rows = [[place for place in level if level[place] == row] for row in range(max(level.values()) + 1)]
    for _ in range(_ROUNDS):
        for row in rows:
            at = {place: (index + 0.5) / len(each) for each in rows for index, place in enumerate(each)}
            near = {place: [at[b if a == place else a] for a, b in pieces if place in (a, b)] for place in row}
            middle = {place: sum(others) / len(others) if others else at[place] for place, others in near.items()}
            row.sort(key=middle.__getitem__)
    return rows, pieces


def drawn(diagram: str) -> str:
    """A picture in SVG that takes its colours from the page, for a Markdown document.

    Arguments:
        diagram: the lines ``name["what stands in the box"]`` and ``name --> name``.
    """
    boxes: dict[str, str] = dict(_BOX.findall(diagram))
    arrows: Arrows = _ARROW.findall(diagram)
    rows, pieces = rows_of(arrows, boxes)
    wide = {place: width_of(boxes[place]) + 2 * PADDING if place in boxes else 0 for row in rows for place in row}
    width = max(sum(wide[place] for place in row) + _BETWEEN * (len(row) + 1) for row in rows) + 2 * MARGIN
    parts: list[str] = []
    middle: dict[str, int] = {}
    top: dict[str, int] = {}
    for number, row in enumerate(rows):
        share = (width - 2 * MARGIN - sum(wide[place] for place in row)) // (len(row) + 1)
        left = MARGIN + share
        for place in row:
            top[place], middle[place] = MARGIN + number * (_HEIGHT + _GAP), left + wide[place] // 2
            if place in boxes:
                parts.append(frame(left, top[place], wide[place], _HEIGHT))
                parts.append(words(middle[place], top[place] + _HEIGHT // 2 + 5, boxes[place], anchor="middle"))
            else:
                parts.append(line(middle[place], top[place], middle[place], top[place] + _HEIGHT, faint=True))
            left += wide[place] + share
    for above, below in pieces:
        x1, y1, x2, y2 = middle[above], top[above] + _HEIGHT, middle[below], top[below]
        bend, head = (y2 - y1) // 2, 8 if below in boxes else 0
        parts.append(
            f'<path d="M{x1} {y1}C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2 - head}" fill="none" '
            'stroke="currentColor" stroke-opacity="0.45"/>'
        )
        if head:
            parts.append(f'<polygon points="{x2},{y2} {x2 - 4},{y2 - 9} {x2 + 4},{y2 - 9}"/>')
    told = "; ".join(f"{boxes[above]} imports {boxes[below]}" for above, below in arrows)
    height = len(rows) * (_HEIGHT + _GAP) - _GAP + 2 * MARGIN
    return f'<div class="diagram">{picture("Rooms and what they import", told, width, height, parts)}</div>'
