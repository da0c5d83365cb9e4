"""What HTML needs so that everybody can read it: names for pictures and fields, heads for tables, colours of the page.

It reads text and never a browser; the tests in a browser look at the rest, such as contrast.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

_Attributes = list[tuple[str, "str | None"]]

# what takes its colour from the page; black and white are no such thing: one of them is always unreadable
_COLOURS = frozenset({"currentcolor", "inherit", "none", "transparent", "canvas", "canvastext", "unset", "initial"})
_COLOURED = frozenset({"color", "fill", "stroke", "background", "background-color", "border-color", "bgcolor"})
_FIELDS = frozenset({"input", "select", "textarea", "button"})
_NEEDS_NO_NAME = frozenset({"hidden", "submit", "reset", "button", "image"})
_STYLE = re.compile(r"([\w-]+)\s*:\s*([^;]+)")
_VARIABLE = re.compile(r"var\(--[\w-]+\)")


def faults(html: str) -> list[str]:
    """What is wrong in a piece of HTML, as sentences; empty when nothing is.

    Arguments:
        html: also with Markdown around it.
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return list(dict.fromkeys([*reader.found, *reader.unfinished()]))


class _Reader(HTMLParser):
    """Goes through the tags once and notes what it does not like."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._svg: list[bool] = []
        self._tables: list[bool] = []
        self._named: set[str] = set()
        self._fields: list[tuple[str, str]] = []
        self._labels = 0

    def handle_starttag(self, tag: str, attrs: _Attributes) -> None:
        given = {name.lower(): value or "" for name, value in attrs}
        self.found += _colours(given)
        if tag == "svg":
            self._svg.append(bool(given.get("aria-label") or given.get("aria-labelledby")))
            if given.get("role") != "img" and given.get("aria-hidden") != "true":
                self.found.append("an SVG picture has no role=img, so readers read it letter by letter")
        elif tag == "title" and self._svg:
            self._svg[-1] = True
        elif tag == "table":
            # a table without any head is one for the eye only, unless it says so
            self._tables.append(given.get("role") == "presentation")
        elif tag == "th":
            if self._tables:
                self._tables[-1] = True
            if given.get("scope") not in ("col", "row", "colgroup", "rowgroup"):
                self.found.append("a head of a table has no scope")
        elif tag == "label":
            self._labels += 1
            self._named.add(given.get("for", ""))
        elif tag in _FIELDS:
            self._field(tag, given)

    def handle_endtag(self, tag: str) -> None:
        if tag == "svg" and self._svg and not self._svg.pop():
            self.found.append("an SVG picture has neither a title nor an aria-label")
        elif tag == "table" and self._tables and not self._tables.pop():
            self.found.append("a table has no heads (th)")
        elif tag == "label" and self._labels:
            self._labels -= 1

    def unfinished(self) -> Iterator[str]:
        """What can be said only at the end: fields whose label stood nowhere."""
        for tag, identifier in self._fields:
            if not identifier or identifier not in self._named:
                yield f"a field ({tag}) has no label"

    def _field(self, tag: str, given: dict[str, str]) -> None:
        named = given.get("aria-label") or given.get("aria-labelledby") or given.get("title") or self._labels
        if tag != "button" and given.get("type") not in _NEEDS_NO_NAME and not named:
            self._fields.append((tag, given.get("id", "")))


def _colours(given: dict[str, str]) -> Iterator[str]:
    """Colours that would be unreadable on a dark page, or on a light one."""
    pairs = [(name, value) for name, value in given.items() if name in _COLOURED]
    pairs += _STYLE.findall(given.get("style", ""))
    for name, value in pairs:
        words = re.findall(r"[#\w-]+", _VARIABLE.sub("", value.lower()))
        if name.lower() in _COLOURED and not set(words) <= _COLOURS:
            yield f"{name} is {value.strip()!r}; take currentColor or inherit, the page may be dark or light"
