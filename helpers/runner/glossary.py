"""The glossary: which words it has, the links to them from where a word is introduced, and the links back.

``python -m helpers.runner.glossary link`` writes the missing links into the notebooks, one for each word, and
tidies the page: a cell for each word, the list from A to Z, under each word the step in which one meets it. The page
itself is the source: a heading of level 3 is a word. Which form of it to look for stands in ``FORMS``.

Links name cells (``#cell-id=tpm``), not headings (``#TPM``). JupyterLab draws a cell when it comes into view, and looks
for a heading among what is drawn: a notebook that a link has just opened has drawn nothing, so the reader would be left
at its top. It finds a cell by its ID always, and nbconvert (nbviewer) writes the same anchors.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .documents import NOTEBOOKS, NotebookError, find, headings, headings_of, read, selected, write

if TYPE_CHECKING:
    from nbformat import NotebookNode

PAGE = "01_glossary.ipynb"
#: Pages in which no word is introduced: the glossary itself, and the one for whoever teaches.
NO_LESSONS = frozenset({PAGE, "02_run_a_workshop.ipynb"})
WORD_LEVEL = 3
#: The cell of the page that lists all words.
LIST = "index"
#: What stands before the ID of a cell in the fragment of a link.
CELL = "cell-id="
#: So many words of that list fit on a line of the page.
ON_A_LINE = 9
#: How one brings the page up to date.
REMEDY = "run `python -m helpers.runner.glossary link`"

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
_CODE = re.compile(r"(?<!\[)`[^`\n]+`(?!\])")
# cells that point to other notebooks: nothing is introduced there
_NO_PLACE = ("## You need", "## Next")
_LINK = re.compile(r"\]\((?:\./)?([\w.-]+\.ipynb)?#([^)\s]*)\)")
_MET = re.compile(r"\n\nYou meet it in \[[^\n]*\Z")
_STEP = re.compile(r"Step (\d+)\b")


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


def cell_id(word: str) -> str:
    """The ID of the cell that explains a word: small letters, digits and hyphens, such as ``enrollment-group``."""
    return re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")


def anchor(word: str) -> str:
    """What stands after ``#`` in a link to a word, such as ``cell-id=enrollment-group``."""
    return CELL + cell_id(word)


def words(folder: Path = NOTEBOOKS) -> list[str]:
    """The words of the glossary, in the order of the page; none when the folder has no glossary.

    Raises:
        NotebookError: the page is no notebook.
    """
    path = folder / PAGE
    return [heading for _, level, heading in headings(read(path)) if level == WORD_LEVEL] if path.is_file() else []


def links(document: NotebookNode, *, inside: bool = False) -> Iterator[tuple[int, str]]:
    """The links of a notebook to words: position of the cell, and what stands after ``#``.

    Arguments:
        document: the notebook.
        inside: whether the notebook is the glossary, whose own links name no file.
    """
    for position, name, target in _links_to_cells(document):
        if name == PAGE or (inside and not name):
            yield position, target


def broken(path: Path, document: NotebookNode) -> Iterator[tuple[int | None, str]]:
    """What is wrong with the links to words and to other cells in a notebook; of the glossary, also with its form.

    Arguments:
        path: the notebook, in the folder of the others.
        document: what it holds.

    Returns:
        Position of the cell, ``None`` for the notebook as a whole, and a sentence.
    """
    known = words(path.parent)
    yield from _broken_links(path, document, {anchor(word) for word in known})
    if path.name == PAGE:
        yield from _broken_page(path.parent, document, known)


def _broken_links(path: Path, document: NotebookNode, anchors: set[str]) -> Iterator[tuple[int | None, str]]:
    for position, name, target in _links_to_cells(document):
        file = path.with_name(name or path.name)
        if file.name == PAGE:
            if target not in anchors:
                yield position, f"the link to #{target} leads to no word of {PAGE}"
        elif not target.startswith(CELL):
            yield position, f"the link to #{target} gets lost in JupyterLab, which finds cells: write #{CELL}…"
        elif name and not file.is_file():
            yield position, f"there is no {name} for the link to #{target}"
        elif target.removeprefix(CELL) not in _ids(read(file) if name else document):
            yield position, f"the link to #{target} leads to no cell of {file.name}"


def _broken_page(folder: Path, document: NotebookNode, known: Sequence[str]) -> Iterator[tuple[int | None, str]]:
    listed = {target for place, target in links(document, inside=True) if document.cells[place].get("id") == LIST}
    twice = sorted({word for word in known if known.count(word) > 1})
    if twice:
        yield None, f"these words stand here twice: {', '.join(twice)}"
    missing = [word for word in known if anchor(word) not in listed]
    if missing:
        yield None, f"the list from A to Z lacks: {', '.join(missing)}; {REMEDY}"
    lonely = unlinked(folder)
    if lonely:
        yield None, f"no notebook leads to: {', '.join(lonely)}; {REMEDY}"
    met = _meetings(folder)
    for position, cell in enumerate(document.cells):
        for word in _words_of(cell):
            if len(_words_of(cell)) > 1 or cell.get("id") != cell_id(word) or not cell.source.startswith("###"):
                yield position, f"{word} has no cell of its own with the ID {cell_id(word)!r}; {REMEDY}"
            elif _with_meeting(cell.source, met.get(word)) != cell.source:
                yield position, f"it is not said, or not true, in which step one meets {word}; {REMEDY}"


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


def _words_of(cell: NotebookNode) -> list[str]:
    return [heading for level, heading in headings_of(cell) if level == WORD_LEVEL]


def _ids(document: NotebookNode) -> set[str]:
    return {str(cell.get("id")) for cell in document.cells}


def _links_to_cells(document: NotebookNode) -> Iterator[tuple[int, str, str]]:
    # position of the cell, name of the file if there is one, what stands after the #
    for position, cell in enumerate(document.cells):
        if cell.cell_type == "markdown":
            for match in _LINK.finditer(_CODE.sub("", _FENCE.sub("", cell.source))):
                yield position, match[1] or "", match[2]


def _meetings(folder: Path) -> dict[str, str]:
    # for each word the sentence that leads to the first cell, in reading order, that links to it
    names = {anchor(word): word for word in words(folder)}
    found: dict[str, str] = {}
    for path in find(folder):
        if path.name in NO_LESSONS:
            continue
        document = read(path)
        for position, target in links(document):
            word = names.get(target)
            if word is not None and word not in found:
                place = f"{path.name}#{CELL}{document.cells[position].get('id')}"
                found[word] = f"You meet it in [{_where(document, position)}]({place})."
    return found


def _where(document: NotebookNode, position: int) -> str:
    passed = [found for cell in document.cells[: position + 1] for found in headings_of(cell)]
    title = next((text for level, text in passed if level == 1), "")
    section = next((text for level, text in reversed(passed) if level <= 2), title)
    step = _STEP.match(section)
    if section == title:
        return title
    return f"{title}, step {step[1]}" if step else f"{title}, {section}"


def _with_meeting(text: str, sentence: str | None) -> str:
    bare = _MET.sub("", text)
    return f"{bare}\n\n{sentence}" if sentence else bare


def _list(known: Iterable[str]) -> str:
    entries = [f"[{word}](#{anchor(word)})" for word in sorted(known, key=str.casefold)]
    # about as many lines as the page shows: from their number JupyterLab guesses how high a cell will be, and a wrong
    # guess would move what a link has led to
    lines = (", ".join(entries[start : start + ON_A_LINE]) for start in range(0, len(entries), ON_A_LINE))
    return ",\n".join(lines) + "."


def tidy(document: NotebookNode, met: Mapping[str, str]) -> None:
    """Give each word of the glossary a cell, list all words from A to Z, and say where one meets them.

    Arguments:
        document: the glossary; it is changed.
        met: for each word, the sentence that leads to where one meets it.
    """
    known = [heading for _, level, heading in headings(document) if level == WORD_LEVEL]
    taken = {cell_id(word) for word in known}
    cells: list[NotebookNode] = []
    for cell in document.cells:
        parts = re.split(r"^(?=###[ \t])", cell.source, flags=re.MULTILINE) if _words_of(cell) else [cell.source]
        for part in (part.strip() for part in parts):
            new = type(cell)({**cell, "source": part})
            [*of_part] = _words_of(new)
            if of_part:
                new["id"] = cell_id(of_part[0])
                new["source"] = _with_meeting(part, met.get(of_part[0]))
            elif new.get("id") in taken:
                new["id"] = f"part-{new['id']}"
            if new.get("id") == LIST:
                new["source"] = f"{part.partition(chr(10))[0]}\n\n{_list(known)}"
            if part:
                cells.append(new)
    document.cells = cells


def link(names: Sequence[str]) -> int:
    """Write the missing links into notebooks; all of them without names. Running it again changes nothing.

    The page is tidied, too.

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
    _tidy_page(folder)
    if nowhere:
        print(f"Used in none of these notebooks: {', '.join(sorted(nowhere))}")  # noqa: T201
    return 0


def _tidy_page(folder: Path) -> None:
    path = folder / PAGE
    if path.is_file():
        document = read(path)
        before = [dict(cell) for cell in document.cells]
        tidy(document, _meetings(folder))
        if [dict(cell) for cell in document.cells] != before:
            write(document, path)
            print(f"{PAGE}: brought up to date")  # noqa: T201 - for a terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line.

    Arguments:
        arguments: instead of those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m helpers.runner.glossary", description=__doc__)
    parser.add_argument("action", choices=["link"], help="write the missing links, and tidy the page")
    parser.add_argument("notebooks", nargs="*", help="paths, or how names start (13); default: all")
    given = parser.parse_args(arguments)
    try:
        return link(given.notebooks)
    except NotebookError as problem:
        print(problem, file=sys.stderr)  # noqa: T201
        return 2


if __name__ == "__main__":
    sys.exit(main())
