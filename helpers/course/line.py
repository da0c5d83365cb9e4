"""Progress as one line of text, short enough for a chat, and safe: a line that was broken on the way is told.

``dps-progress v1 00=2 11=3+k7 12=5 end=x4qmz`` says: in notebook 00 two steps passed, in 11 three and one exercise is
solved, in 12 five. ``end=`` holds a few letters that are computed from everything before them. They find a slip of the
mouse; they are no signature, and the line proves nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from helpers.errors import HelperError

START, VERSION, END = "dps-progress", "v1", "end="
#: Longer than any line of ours; what is longer is something else.
LONGEST = 1500
MOST_STEPS = 999

# without letters that look like digits
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
_ENTRY = re.compile(rf"([0-9]{{2}})=([0-9]{{1,3}})(?:\+((?:[{_LETTERS}]{{2}})+))?")
_MARK = re.compile(rf"[{_LETTERS}]{{2}}")
# what chats put around a name
_TIME = re.compile(r"\[?\b[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?(?:\s*[AaPp][Mm]\b)?\]?")
_ADDRESSED = re.compile(r"from (.+?) to .+", re.IGNORECASE)
_SIGNS = " \t:;,>|-*`\"'"
# what chats make of a hyphen
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-")


class ProgressLineError(HelperError, ValueError):
    """A progress line cannot be read; the text says why, and what to do."""


@dataclass(frozen=True)
class Standing:
    """How far somebody is in one notebook.

    Attributes:
        steps: how many step checks passed in the best run.
        solved: a mark for each exercise that is solved, see :func:`mark`.
        total: how many steps there were when the notebook was begun; 0 when nobody noted it.
    """

    steps: int = 0
    solved: frozenset[str] = field(default_factory=frozenset)
    total: int = 0


def mark(what: str) -> str:
    """Two letters that stand for the sentence of an exercise, the same ones for ever; two sentences may share them."""
    return _letters(what, 2)


def is_mark(text: object) -> bool:
    """Whether this can be a mark, whatever kind of object it is: it comes from files that anybody may have changed."""
    return isinstance(text, str) and _MARK.fullmatch(text) is not None


def written(standings: Mapping[str, Standing]) -> str:
    """The line for these standings.

    Arguments:
        standings: by the number of the notebook, such as ``11``.
    """
    entries = [
        f"{number}={min(each.steps, MOST_STEPS)}" + ("+" + "".join(sorted(each.solved)) if each.solved else "")
        for number, each in sorted(standings.items())
    ]
    return " ".join([START, VERSION, *entries, END + _sum(entries)])


@dataclass(frozen=True)
class Sent:
    """What a chat holds.

    Attributes:
        lines: name and standings of every line that can be read, in the order in which they were sent.
        refused: number, reason and beginning of every other line.
    """

    lines: list[tuple[str, dict[str, Standing]]] = field(default_factory=list)
    refused: list[tuple[int, str, str]] = field(default_factory=list)


def sent(text: str) -> Sent:
    """The progress lines in a chat.

    A name stands before the line, or in a line of its own above it; a line without one is called by its number. A
    line that the chat broke into two or three is put together again.
    """
    found = Sent()
    pasted = [(number, words) for number, words in enumerate(text.splitlines(), 1) if words.strip()]
    above = ""
    while pasted:
        number, words = pasted.pop(0)
        if not is_in(words) and pasted and is_in(pasted[0][1]) and not name_before(pasted[0][1]):
            above = words
            continue
        try:
            standings = _whole(words, pasted)
        except ProgressLineError as problem:
            found.refused.append((number, str(problem), " ".join(words.split())[:30]))
        else:
            found.lines.append((name_before(words) or _name(above) or f"(line {number})", standings))
        above = ""
    return found


def _whole(words: str, following: list[tuple[int, str]]) -> dict[str, Standing]:
    """Read a line, with as many of the next ones as it takes; these are taken out of the list."""
    try:
        return read(words)
    except ProgressLineError:
        if not is_in(words):
            raise
        whole = words
        for count, (_, more) in enumerate(following[:2], 1):
            if is_in(more):
                break
            whole += f" {more}"
            with contextlib.suppress(ProgressLineError):
                standings = read(whole)
                del following[:count]
                return standings
        raise


def is_in(text: str) -> bool:
    """Whether the text holds a progress line, broken or not."""
    return START in _plain(text)


def name_before(text: str) -> str:
    """The name that stands before the progress line; empty when there is none."""
    plain = _plain(text, lower=False)
    begin = re.search(START, plain, re.IGNORECASE)
    return _name(plain[: begin.start()]) if begin else ""


def _name(text: str) -> str:
    """The name in what a chat puts before a message: without the time, and the signs around it."""
    visible = "".join(letter for letter in text if letter.isprintable() or letter.isspace())
    words = " ".join(_TIME.sub(" ", visible).split()).strip(_SIGNS)
    addressed = _ADDRESSED.fullmatch(words)
    return (addressed[1] if addressed else words)[:40].strip(_SIGNS)


def read(text: str) -> dict[str, Standing]:
    """The standings in a text, by the number of the notebook. Whatever stands before and after the line is skipped.

    Raises:
        ProgressLineError: there is no line in it, or not a whole one.
    """
    plain = _plain(text)
    if START not in plain:
        raise ProgressLineError(f"There is no progress line in it; one begins with {START} {VERSION}.")
    words = plain[plain.index(START) + len(START) : plain.index(START) + LONGEST].replace("`", " ").split()
    version = words[0] if words else ""
    if version != VERSION:
        shown = f"its version is {version[:20]!r}" if re.fullmatch("v[0-9]+", version) else "it has no version"
        raise ProgressLineError(f"These notebooks read lines of version {VERSION}, and {shown}. Copy the line again.")
    place = next((place for place, word in enumerate(words) if word.startswith(END)), None)
    if place is None:
        raise ProgressLineError(f"Its end is missing. Copy the whole line, up to the letters after {END}")
    entries = words[1:place]
    if words[place] != END + _sum(entries):
        raise ProgressLineError("Something in it was changed or left out on the way. Copy the whole line again.")
    return _standings(entries)


def _standings(entries: list[str]) -> dict[str, Standing]:
    found: dict[str, Standing] = {}
    for entry in entries:
        match = _ENTRY.fullmatch(entry)
        if match is None or match[1] in found:
            raise ProgressLineError(f"It was not made by these notebooks: {entry[:30]!r} stands in it.")
        found[match[1]] = Standing(int(match[2]), frozenset(_MARK.findall(match[3] or "")))
    return found


def _plain(text: str, *, lower: bool = True) -> str:
    """The text as it left the notebook: chats make dashes of hyphens, wide spaces and capitals."""
    plain = unicodedata.normalize("NFKC", text).translate(_DASHES)
    return plain.lower() if lower else plain


def _sum(entries: list[str]) -> str:
    return _letters(" ".join([VERSION, *entries]), 5)


def _letters(text: str, length: int) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:length])
