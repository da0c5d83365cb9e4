"""What all pictures have in common: one style, colours of the page, and words for whoever cannot see them.

Every picture is put together from the elements here, so that boxes, words, lines and arrow heads look the same in all
of them. Nothing has a colour of its own: a light page gives dark lines, a dark page light ones. Numbers are whole
units; on a page that is wide enough, one unit is one pixel.
"""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from html import escape

from .text import View

#: Room around a picture, and between a box and the words in it.
MARGIN, PADDING = 20, 14
#: Size of letters, and of those in captions.
FONT_SIZE, SMALL = 13, 11
#: From one line of words to the next.
LINE_HEIGHT = 18
#: The widest picture that a page of 800 pixels shows in its full size, next to the prompt of the cell.
PAGE_WIDTH = 720

_STROKE, _THIN, _RADIUS = "1.5", "1", 6
_HEAD_LENGTH, _HEAD_HALF, _CROSS = 9, 5, 5
_DASHES = ' stroke-dasharray="6 4"'
#: Metrics of these are alike, so that words take the same room on every machine.
_FONTS = "Helvetica, Arial, 'Liberation Sans', sans-serif"
#: Mean width of a letter, on the safe side; capital letters, digits and bold ones take more.
_LETTER, _LARGE, _BOLD = 6.8, 2.0, 1.22
#: What bars of several kinds are told apart by: how dark they are, and which lines are in them. Neighbours differ in
#: both, and as three and seven have no divisor in common, the first 21 are all different.
_SHADES, _HATCHES = ("0.5", "0.06", "0.22"), ("", "/", ".", "-", "x", "\\", "+")
#: From one line in a bar to the next.
_HATCH = 8


class Drawing(View):
    """Something that is drawn, and that can be told in words.

    Attributes:
        note: a sentence below the picture.
    """

    note = ""

    @abstractmethod
    def svg(self) -> str:
        """The picture alone; it takes its colour from the page around it."""

    def html(self) -> str:
        """The picture, and below it the same as text, folded away."""
        return with_text(self.svg(), str(self), self.note)


def picture(title: str, described: str, width: int, height: int, parts: Iterable[str]) -> str:
    """An SVG picture.

    Arguments:
        title: its heading, for whoever cannot see it.
        described: what it shows, in sentences.
        width: in its own units; on the page it is at most so many pixels wide.
        height: in its own units.
        parts: the SVG elements in it.
    """
    mark = hashlib.sha256((title + described).encode()).hexdigest()[:8]
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title-{mark} text-{mark}" '
        f'viewBox="0 0 {width} {height}" style="width:100%; max-width:{width}px; color:inherit" '
        f'font-family="{_FONTS}" font-size="{FONT_SIZE}" fill="currentColor" stroke="none">'
    )
    named = f'<title id="title-{mark}">{escape(title)}</title><desc id="text-{mark}">{escape(described)}</desc>'
    return "".join([opening, named, *parts, "</svg>"])


def with_text(svg: str, text: str, note: str = "") -> str:
    """A picture, a note below it, and the same as text, folded away.

    Arguments:
        svg: the picture, taken as it is.
        text: its text form, as it is printed; escaped here.
        note: a sentence; empty for none.
    """
    below = f"<p>{escape(note)}</p>" if note else ""
    return (
        f"{svg}{below}<details><summary>The same as text</summary>"
        f'<pre style="color:inherit; background:none">{escape(text)}</pre></details>'
    )


# --- words ------------------------------------------------------------------------------------------------------------


def width_of(text: str, *, bold: bool = False, small: bool = False) -> int:
    """About the room that a text takes, in units, rather too much than too little: fonts are not measured."""
    width = _LETTER * len(text) + _LARGE * sum(letter.isupper() or letter.isdigit() for letter in text)
    return math.ceil(width * (_BOLD if bold else 1) * (SMALL / FONT_SIZE if small else 1))


def shortened(text: str, width: int, *, bold: bool = False) -> str:
    """As much of a text as fits into a width, in units; where something is cut off, an ellipsis says so."""
    if width_of(text, bold=bold) <= width:
        return text
    while text and width_of(text + "…", bold=bold) > width:
        text = text[:-1]
    return text + "…"


def wrapped(text: str, width: int, *, bold: bool = False, most: int = 0) -> list[str]:
    """A text in lines, broken between words; a word that is too long is cut.

    Arguments:
        text: the words.
        width: room for each line, in units.
        bold: whether they are heavier.
        most: so many lines at most; the rest is left out. 0: all of them.
    """
    lines: list[str] = []
    for word in text.split(" "):
        if lines and width_of(f"{lines[-1]} {word}", bold=bold) <= width:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(word)
    if most and len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :]) + "…"]
    return [shortened(line, width, bold=bold) for line in lines]


def words(
    x: int, base: int, text: str, *, bold: bool = False, italic: bool = False, small: bool = False, anchor: str = ""
) -> str:
    """A line of words.

    Arguments:
        x: where it begins, or what ``anchor`` says.
        base: the line that it stands on.
        text: the words.
        bold: heavier, for heads.
        italic: for remarks.
        small: for captions.
        anchor: ``middle`` or ``end``, when that is what ``x`` means.
    """
    looks = [
        ' font-weight="bold"' if bold else "",
        ' font-style="italic"' if italic else "",
        f' font-size="{SMALL}"' if small else "",
        f' text-anchor="{anchor}"' if anchor else "",
    ]
    return f'<text x="{x}" y="{base}"{"".join(looks)}>{escape(text)}</text>'


def paragraph(x: int, middle: int, text: str, width: int, *, italic: bool = False, most: int = 3) -> list[str]:
    """Words in as many lines as they need, above and below a height.

    Arguments:
        x: where they begin.
        middle: the height.
        text: the words.
        width: room for them.
        italic: for remarks.
        most: so many lines at most; the rest is left out.
    """
    lines = wrapped(text, width, most=most)
    first = middle + 5 - (len(lines) - 1) * LINE_HEIGHT // 2
    return [words(x, first + number * LINE_HEIGHT, each, italic=italic) for number, each in enumerate(lines)]


# --- boxes ------------------------------------------------------------------------------------------------------------


def frame(left: int, top: int, width: int, height: int, *, dashed: bool = False) -> str:
    """The outline of a box, without a filling: what was drawn before shines through. A dashed one holds others."""
    looks = f'fill="none" stroke="currentColor" stroke-width="{_STROKE}"{_DASHES if dashed else ""}'
    return _rectangle(left, top, width, height, _RADIUS, looks)


def band(left: int, top: int, width: int, height: int) -> str:
    """A shade behind what belongs together, without an outline; it has to be drawn first."""
    return _rectangle(left, top, width, height, _RADIUS, 'fill="currentColor" fill-opacity="0.06"')


def bar(left: int, top: int, width: int, height: int, *, filled: bool = True, dashed: bool = False) -> str:
    """A bar of a chart, at least two units wide; a dashed one ended badly, and words have to say so beside it."""
    shade = f'fill="currentColor" fill-opacity="{"0.35" if filled else "0.06"}"'
    looks = f'{shade} stroke="currentColor" stroke-width="{_THIN}"{_DASHES if dashed else ""}'
    return _rectangle(left, top, max(width, 2), height, 2, looks)


def kind_of_bar(left: int, top: int, width: int, height: int, kind: int) -> str:
    """A bar of one of several kinds, which are told apart by how dark they are and by the lines in them.

    The lines are drawn one by one: a pattern of SVG is found by its name, and not at all where the first picture with
    this name on the page is hidden.

    Arguments:
        left: its left edge.
        top: its upper edge.
        width: from there to the right.
        height: from there down.
        kind: which one, from 0.
    """
    shade, hatch = _SHADES[kind % len(_SHADES)], _HATCHES[kind % len(_HATCHES)]
    looks = f'fill="currentColor" fill-opacity="{shade}" stroke="currentColor" stroke-width="{_THIN}"'
    box = _rectangle(left, top, width, height, 0, looks)
    lines = "".join(_hatching(left, top, width, height, hatch))
    dotted = ' stroke-width="3" stroke-linecap="round"' if hatch == "." else f' stroke-width="{_THIN}"'
    return box + (f'<path d="{lines}" fill="none" stroke="currentColor"{dotted}/>' if lines else "")


def _hatching(left: int, top: int, width: int, height: int, hatch: str) -> Iterator[str]:
    """The lines in a box. They are counted from its lower left corner, so that they look alike in all boxes."""
    right, bottom = left + width, top + height
    # begin and end of each, as distances from that corner to the right and up
    ends: list[tuple[int, int, int, int]] = []
    if hatch in {"/", "x"}:
        for up in range(_HATCH - width // _HATCH * _HATCH, height, _HATCH):
            begin, end = max(0, -up), min(width, height - up)
            ends.append((begin, begin + up, end, end + up))
    if hatch in {"\\", "x"}:
        for up in range(_HATCH, width + height, _HATCH):
            begin, end = max(0, up - height), min(width, up)
            ends.append((begin, up - begin, end, up - end))
    yield from (f"M{left + x1} {bottom - y1}L{left + x2} {bottom - y2}" for x1, y1, x2, y2 in ends)
    if hatch in {"-", "+"}:
        yield from (f"M{left} {y}H{right}" for y in range(bottom - _HATCH // 2, top, -_HATCH))
    if hatch == "+":
        yield from (f"M{x} {top}V{bottom}" for x in range(left + _HATCH // 2, right, _HATCH))
    if hatch == ".":
        # every other row is moved by half of the way
        for row, y in enumerate(range(bottom - _HATCH // 2, top + 1, -_HATCH // 2)):
            yield from (f"M{x} {y}h0" for x in range(left + (row % 2 + 1) * _HATCH // 2, right - 1, _HATCH))


def _rectangle(left: int, top: int, width: int, height: int, radius: int, looks: str) -> str:
    return f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="{radius}" {looks}/>'


# --- lines and arrows -------------------------------------------------------------------------------------------------


def line(x1: int, y1: int, x2: int, y2: int, *, dashed: bool = False, faint: bool = False, guide: bool = False) -> str:
    """A line; a faint one is thin, and a guide is hardly there, so that words can lie on it."""
    width = _THIN if faint or guide else _STROKE
    opacity = ' stroke-opacity="0.2"' if guide else ' stroke-opacity="0.45"' if faint else ""
    return _line(x1, y1, x2, y2, f'stroke-width="{width}"{opacity}{_DASHES if dashed else ""}')


def _line(x1: int, y1: int, x2: int, y2: int, looks: str) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="currentColor" {looks}/>'


def arrow(x1: int, y1: int, x2: int, y2: int, *, answer: bool = False, refused: bool = False) -> str:
    """A horizontal or vertical arrow.

    Arguments:
        x1: where it begins, from the left.
        y1: where it begins, from the top.
        x2: where its tip is, from the left.
        y2: where its tip is, from the top.
        answer: an open head instead of a filled one.
        refused: dashed, with a cross before its open head.
    """
    right, down = _sign(x2 - x1), _sign(y2 - y1)
    back_x, back_y = x2 - right * _HEAD_LENGTH, y2 - down * _HEAD_LENGTH
    aside_x, aside_y = down * _HEAD_HALF, right * _HEAD_HALF
    corners = f"{back_x + aside_x},{back_y + aside_y}", f"{back_x - aside_x},{back_y - aside_y}"
    if not answer and not refused:
        return line(x1, y1, back_x, back_y) + f'<polygon points="{x2},{y2} {corners[0]} {corners[1]}"/>'
    head = (
        f'<polyline points="{corners[0]} {x2},{y2} {corners[1]}" fill="none" stroke="currentColor" '
        f'stroke-width="{_STROKE}"/>'
    )
    if not refused:
        return line(x1, y1, x2, y2) + head
    return line(x1, y1, x2, y2, dashed=True) + head + cross(x2 - right * 22, y2 - down * 22)


def interrupted(x1: int, y: int, x2: int, *, broken: bool = False) -> str:
    """What happens on the way between two ends, and that neither of them says: a dotted line without a head.

    Arguments:
        x1: one end.
        y: the height.
        x2: the other end.
        broken: a cross before the other end: nothing gets through any more.
    """
    dotted = _line(x1, y, x2, y, 'stroke-width="2" stroke-linecap="round" stroke-dasharray="0.1 6"')
    return dotted + (cross(x2 - _sign(x2 - x1) * 22, y) if broken else "")


def cross(x: int, y: int) -> str:
    """A cross with its middle at this place: this was refused."""
    return (
        f'<path d="M{x - _CROSS} {y - _CROSS}L{x + _CROSS} {y + _CROSS}M{x - _CROSS} {y + _CROSS}'
        f'L{x + _CROSS} {y - _CROSS}" fill="none" stroke="currentColor" stroke-width="2"/>'
    )


def spacing(greatest: float, spaces: int) -> int:
    """From one mark of an axis to the next, in numbers that people count in: 1, 2, 5, 10, 20 ...

    Arguments:
        greatest: what the last mark must reach.
        spaces: how many there are between the marks.
    """
    step = 1
    while step * spaces < greatest:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
