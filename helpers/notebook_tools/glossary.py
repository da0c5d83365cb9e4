"""The glossary: which words it has, and the links to them from where a word is introduced.

``python -m helpers.notebook_tools.glossary link`` writes the missing links into the notebooks, one for each word. The
page itself is the source: a heading of level 3 is a word. Which form of it to look for stands in ``FORMS``.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from .documents import NOTEBOOKS, NotebookError, find, read, selected, write

PAGE = "01_glossary.ipynb"
#: Pages in which no word is introduced: the glossary itself, and the one for whoever teaches.
NO_LESSONS = frozenset({PAGE, "02_run_a_workshop.ipynb"})
WORD_LEVEL = 3
#: The cell of the page that lists all words.
LIST = "index"

#: What to look for where a word is not just used as it stands in the glossary, or with an s: regular expressions.
FORMS = {
    "Allocation policy": r"allocation polic(?:y|ies)",
    "Back-off": r"back-offs?|backs? off|backing off",
    "Certificate": r"certificates?(?! authorit)",
    "Certificate authority": r"certificate authorit(?:y|ies)",
    "Chain of trust": r"chains? of trust",
    "Challenge": r"(?<!answer a )challenges?",
    "Desired property": r"\*desired\* properties|desired propert(?:y|ies)",
    "Device certificate": r"device certificates?|device's (?:own )?certificate",
    "Device twin": r"(?:device )?twins?",
    "HMAC": r"HMAC(?:-SHA256)?",
    "Intermediate": r"(?<=\*)intermediate(?=\*)|intermediate certificates?",
    "Linked hub": r"linked hubs?|(?<=\*)linked(?=\*)",
    "Proof of possession": r"proofs? of possession",
    "Registry": r"registry|registries",
    "Reported property": r"\*reported\* properties|reported propert(?:y|ies)",
    "Retry-After": r"`Retry-After`|Retry-After",
    "Root": r"(?<=\*)root(?=\*)|root certificates?",
    "SAS token": r"SAS tokens?|(?<=\*\*)token(?=\*\*)",
    "Simulator": r"(?<!\*)simulators?",
    "Status 429": r"429",
    "Tag": r"\*tags\*|(?<=\*)tags?(?=\*)",
    "Throttling": r"throttl(?:ing|ed|es?)",
}

_HEADING = re.compile(r"^(#{1,6})[ \t]+(.*?)[ \t]*#*$", re.MULTILINE)
# Where a link cannot stand or would not help: code, links, pictures, headings, HTML, what is folded away.
_CLOSED = re.compile(
    r"^(?P<fence>```|~~~).*?^(?P=fence)[^\n]*$"
    r"|<details>.*?</details>"
    r"|`+[^`]*`+"
    r"|!?\[[^\]]*\]\([^)]*\)"
    r"|^#{1,6}[ \t][^\n]*$"
    r"|<[^>\n]+>"
    r"|https?://\S+",
    re.MULTILINE | re.DOTALL,
)
_FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
# cells that point to other notebooks: nothing is introduced there
_NO_PLACE = ("## You need", "## Next")
_LINK = re.compile(r"\]\((?:\./)?(" + re.escape(PAGE) + r")?#([^)\s]*)\)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a word is used.

    Attributes:
        notebook: position in the list of notebooks.
        cell: position of the cell in it.
        start: where the word begins in the text of the cell.
        end: where it ends.
        bold: whether the text sets it in bold, as it does where it says what a word means.
    """

    notebook: int
    cell: int
    start: int
    end: int
    bold: bool


def anchor(word: str) -> str:
    """What stands after ``#`` in a link to a heading, as JupyterLab and nbconvert make it."""
    return word.strip().replace(" ", "-")


def words(folder: Path = NOTEBOOKS) -> list[str]:
    """The words of the glossary, in the order of the page; none when the folder has no glossary.

    Raises:
        NotebookError: the page is no notebook.
    """
    path = folder / PAGE
    return [heading for level, heading in _headings(read(path)) if level == WORD_LEVEL] if path.is_file() else []


def links(document: NotebookNode, *, inside: bool = False) -> Iterator[tuple[int, str]]:
    """The links of a notebook to words: position of the cell, and what stands after ``#``.

    Arguments:
        document: the notebook.
        inside: whether the notebook is the glossary, whose own links name no file.
    """
    for position, cell in enumerate(document.cells):
        if cell.cell_type == "markdown":
            for match in _LINK.finditer(_FENCE.sub("", cell.source)):
                if match[1] or inside:
                    yield position, match[2]


def broken(path: Path, document: NotebookNode) -> Iterator[tuple[int | None, str]]:
    """What is wrong with the links to words in a notebook, as cell position and sentence."""
    known = words(path.parent)
    anchors = {anchor(word) for word in known}
    inside = path.name == PAGE
    for position, target in links(document, inside=inside):
        if target not in anchors:
            yield position, f"the link to #{target} leads to no word of {PAGE}"
    if inside:
        listed = {target for place, target in links(document, inside=True) if document.cells[place].get("id") == LIST}
        twice = sorted({word for word in known if known.count(word) > 1})
        if twice:
            yield None, f"these words stand here twice: {', '.join(twice)}"
        missing = [word for word in known if anchor(word) not in listed]
        if missing:
            yield None, f"the list from A to Z lacks: {', '.join(missing)}"
        lonely = unlinked(path.parent)
        if lonely:
            yield (
                None,
                (f"no notebook leads to: {', '.join(lonely)}; run `python -m helpers.notebook_tools.glossary link`"),
            )


def unlinked(folder: Path = NOTEBOOKS, *, lessons_only: bool = False) -> list[str]:
    """The words of a folder's glossary to which nothing leads but the list from A to Z.

    Arguments:
        folder: with the notebooks.
        lessons_only: whether a link from one word of the glossary to another does not count either.

    Raises:
        NotebookError: a file is no notebook.
    """
    linked: set[str] = set()
    for path in find(folder):
        document = read(path)
        if path.name == PAGE:
            document.cells = [] if lessons_only else [cell for cell in document.cells if cell.get("id") != LIST]
        linked.update(target for _, target in links(document, inside=path.name == PAGE))
    return [word for word in words(folder) if anchor(word) not in linked]


def introduction(word: str, documents: Sequence[NotebookNode], known: Iterable[str] = ()) -> Place | None:
    """Where a word is introduced: its first use in bold, or else its first use.

    Arguments:
        word: of the glossary.
        documents: the notebooks, in the order in which learners read them.
        known: all words of the glossary; "registration" is not introduced inside of "registration ID".
    """
    uses = list(_uses(word, documents, known))
    return next((place for place in uses if place.bold), uses[0] if uses else None)


def add_links(documents: Sequence[NotebookNode], missing: Iterable[str], known: Iterable[str] = ()) -> list[str]:
    """Turn the place where each word is introduced into a link; returns the words that are used nowhere.

    Arguments:
        documents: the notebooks, in the order in which learners read them; they are changed.
        missing: the words that need a link.
        known: all words of the glossary.
    """
    nowhere: list[str] = []
    known = list(known)
    # long words first: "enrollment group" before "enrollment"
    for word in sorted(missing, key=lambda word: (-len(word), word)):
        place = introduction(word, documents, known)
        if place is None:
            nowhere.append(word)
            continue
        cell = documents[place.notebook].cells[place.cell]
        text = cell.source
        link = f"[{text[place.start : place.end]}]({PAGE}#{anchor(word)})"
        cell.source = f"{text[: place.start]}{link}{text[place.end :]}"
    return nowhere


def _uses(word: str, documents: Sequence[NotebookNode], known: Iterable[str]) -> Iterator[Place]:
    pattern = _pattern(word)
    longer = [_pattern(other) for other in known if other != word and word.lower() in other.lower()]
    for number, document in enumerate(documents):
        for position, cell in enumerate(document.cells):
            if cell.cell_type != "markdown" or cell.source.startswith(_NO_PLACE):
                continue
            closed = [match.span() for match in _CLOSED.finditer(cell.source)]
            closed += [match.span() for each in longer for match in each.finditer(cell.source)]
            for match in pattern.finditer(cell.source):
                start, end = match.span()
                # a word that is all of a code span may be a link
                if not any(start < stop and begin < end and (begin, stop) != (start, end) for begin, stop in closed):
                    yield Place(number, position, start, end, _is_bold(cell.source, start, end))


def _pattern(word: str) -> re.Pattern[str]:
    form = FORMS.get(word) or f"{re.escape(word)}s?"
    # an abbreviation is one in capitals only; any other word may begin a sentence
    return re.compile(rf"(?<![\w/-])(?:{form})(?![\w/-])", 0 if word.isupper() else re.IGNORECASE)


def _is_bold(text: str, start: int, end: int) -> bool:
    return text[:start].endswith("**") and text[end:].startswith("**")


def _headings(document: NotebookNode) -> Iterator[tuple[int, str]]:
    for cell in document.cells:
        if cell.cell_type == "markdown":
            for match in _HEADING.finditer(_FENCE.sub("", cell.source)):
                yield len(match[1]), match[2]


def link(names: Sequence[str]) -> int:
    """Write the missing links into notebooks; all of them without names. Running it again changes nothing.

    Raises:
        NotebookError: a name fits no notebook, or a file is none.
    """
    chosen = [path for path in selected(names) if path.name not in NO_LESSONS]
    folder = chosen[0].parent if chosen else NOTEBOOKS
    documents = [read(path) for path in chosen]
    before = [[cell.source for cell in document.cells] for document in documents]
    nowhere = add_links(documents, unlinked(folder, lessons_only=True), words(folder))
    for path, document, old in zip(chosen, documents, before, strict=True):
        new = [cell.source for cell in document.cells]
        if new != old:
            write(document, path)
            changed = sum(one != other for one, other in zip(old, new, strict=True))
            print(f"{path.name}: {changed} cell{'s' if changed != 1 else ''} changed")  # noqa: T201 - for a terminal
    if nowhere:
        print(f"Used in none of these notebooks: {', '.join(sorted(nowhere))}")  # noqa: T201
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line.

    Arguments:
        arguments: instead of those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m helpers.notebook_tools.glossary", description=__doc__)
    parser.add_argument("action", choices=["link"], help="write the missing links")
    parser.add_argument("notebooks", nargs="*", help="paths, or how names start (13); default: all")
    given = parser.parse_args(arguments)
    try:
        return link(given.notebooks)
    except NotebookError as problem:
        print(problem, file=sys.stderr)  # noqa: T201
        return 2


if __name__ == "__main__":
    sys.exit(main())
