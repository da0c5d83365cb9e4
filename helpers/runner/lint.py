"""The form that every notebook has, as rules that a machine can check. Each problem names the notebook and the cell."""

from __future__ import annotations

import io
import json
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

from nbformat import NotebookNode

from . import accessibility, glossary, leaks, stories
from .documents import NotebookError, code_cells, headings, parameters, read, tags
from .normalise import VARIES, normalise
from .solutions import EXERCISE, exercises

SECTIONS = ("You will", "You need", "Check yourself", "In practice", "Clean up", "Next")
TAGS = frozenset({"parameters", EXERCISE, VARIES})
LINES = 12
# Every title is an instruction. Add a verb here when a new notebook needs one.
VERBS = frozenset(
    {
        *("Add", "Balance", "Boot", "Clean", "Compare", "Connect", "Enroll", "Find", "Make", "Meet", "Move", "Prove"),
        *("Provision", "Read", "Register", "Repair", "Reprovision", "Retire", "Revoke", "Run", "See", "Send", "Set"),
        *("Look", "Learn", "Lead"),
        *("Show", "Spread", "Start", "Take", "Try", "Verify", "Watch", "Write"),
    }
)

Finding = tuple[int | None, str]
Rule = Callable[[NotebookNode], Iterator[Finding]]

_IMAGE_WITHOUT_ALT = re.compile(r"!\[\s*\]\(|<img\b(?![^>]*\balt=\"[^\"]+\")[^>]*>", re.IGNORECASE)
_CHECKED_NAME = re.compile(r"check_parameters\(\s*[\"']([^\"']*)[\"']")
_SVG_NAME = re.compile(r"<title\b|aria-label=|aria-labelledby=", re.IGNORECASE)


#: What code must not hold, and why.
_NOT_IN_CODE = {
    r";[ \t]*(#.*)?\Z": "the last line ends with ';', which hides an output from nbval but not from learners",
    r"\bdisplay_id\s*=|\bupdate_display\s*\(|DisplayHandle": (
        "a display is updated later, which nbval cannot follow; set a widget's value"
    ),
    r"set_matplotlib_formats\([^)]*svg|figure_format[^\n]*svg": (
        "matplotlib writes SVG with random identifiers; use PNG"
    ),
    r"^\s*[%!]": "a magic or shell line; papermill does not see when it fails, use Python",
    r"\binput\s*\(|\bgetpass\s*\(": "the cell waits for a person, and there may be none",
}


def problems(path: Path) -> list[str]:
    """Check the form of a notebook by all of :data:`RULES`.

    Arguments:
        path: the file; one that is no notebook is a problem, too.

    Returns:
        What is wrong, a line each that begins with the file's name and the number of the cell; empty when it is right.
    """
    try:
        document = read(path)
    except NotebookError as problem:
        return [str(problem)]
    found: list[str] = []
    for rule in RULES:
        for position, text in rule(document):
            where = path.name if position is None else f"{path.name}, cell {position + 1}"
            found.append(f"{where}: {text}")
    for cell in code_cells(document):
        for name in _CHECKED_NAME.findall(cell.source):
            if name != path.stem:
                found.append(f"{path.name}: check_parameters(...) calls this notebook {name!r}")
    for position, text in glossary.broken(path, document):
        found.append(f"{path.name}{'' if position is None else f', cell {position + 1}'}: {text}")
    return found


def is_page(document: NotebookNode) -> bool:
    """Whether a notebook is there to be read only. It has no code, so it needs neither parameters nor sections."""
    return all(cell.cell_type != "code" for cell in document.cells)


def code_lines(source: str) -> int:
    """How many lines hold code: neither empty nor only a comment."""
    lines: set[int] = set()
    ignored = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type not in ignored:
                lines.update(range(token.start[0], token.end[0] + 1))
    except (tokenize.TokenError, SyntaxError):
        return sum(1 for line in source.splitlines() if line.strip() and not line.strip().startswith("#"))
    return len(lines)


def _title(document: NotebookNode) -> Iterator[Finding]:
    titles = [(position, words) for position, level, words in headings(document) if level == 1]
    if len(titles) != 1:
        yield None, f"there are {len(titles)} headings of level 1; a notebook has one, its title"
        return
    position, words = titles[0]
    if position != 0:
        yield position, "the title is not in the first cell"
    verb = words.split(" ")[0].strip(":,")
    if verb not in VERBS:
        yield position, f"the title starts with {verb!r}, not with a verb (known verbs: VERBS in lint.py)"


def _heading_levels(document: NotebookNode) -> Iterator[Finding]:
    before = 0
    for position, level, words in headings(document):
        if level > before + 1:
            yield position, f"heading {words!r} has level {level} after level {before}; a level is skipped"
        before = level


def _steps(document: NotebookNode) -> Iterator[Finding]:
    expected = 1
    for position, _, words in headings(document):
        if (step := re.match(r"Step (\d+)\b", words)) is not None:
            if int(step[1]) != expected:
                yield position, f"heading {words!r} follows step {expected - 1}; steps are counted from 1 without gaps"
            expected = int(step[1]) + 1


def _sections(document: NotebookNode) -> Iterator[Finding]:
    if is_page(document):
        return
    lines = [
        line.lstrip("#* ").strip()
        for cell in document.cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith(("#", "**", "- **"))
    ]
    position = -1
    for section in SECTIONS:
        places = [number for number, line in enumerate(lines) if re.match(rf"{section}\b", line)]
        if not places:
            yield None, f"the section {section!r} is missing"
        elif all(place <= position for place in places):
            yield None, f"the section {section!r} stands too early; the order is {', '.join(SECTIONS)}"
        else:
            position = next(place for place in places if place > position)


def _parameters(document: NotebookNode) -> Iterator[Finding]:
    if is_page(document):
        return
    tagged = [number for number, cell in enumerate(document.cells) if "parameters" in tags(cell)]
    if len(tagged) != 1:
        yield None, f"{len(tagged)} cells have the tag 'parameters'; one must"
        return
    position = tagged[0]
    try:
        names = parameters(document)
    except NotebookError as problem:
        yield position, str(problem)
        return
    if "target" not in names:
        yield position, "the parameter `target: str` is missing"
    for line in document.cells[position].source.splitlines():
        if "=" in line and not line.lstrip().startswith("#") and "#" not in line:
            yield position, f"the parameter in {line!r} has no comment that explains it"
    following = next((cell for cell in document.cells[position + 1 :] if cell.cell_type == "code"), None)
    if following is None or "check_parameters(" not in following.source:
        yield position, "the next code cell does not call check_parameters(...)"


def _code(document: NotebookNode) -> Iterator[Finding]:
    for position, cell in enumerate(document.cells):
        if cell.cell_type != "code":
            continue
        source = cell.source.strip()
        if not source:
            yield position, "the cell is empty"
            continue
        lines = code_lines(cell.source)
        if lines > LINES:
            yield position, f"the cell has {lines} lines of code; at most {LINES} fit a step"
        for pattern, what in _NOT_IN_CODE.items():
            if re.search(pattern, source, re.MULTILINE):
                yield position, what


def _outputs(document: NotebookNode) -> Iterator[Finding]:
    for position, cell in enumerate(document.cells):
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if output.output_type == "error":
                yield position, f"the output is an error: {output.ename}"
            if output.output_type == "stream" and output.name == "stderr":
                yield position, "the output holds a warning or something else on stderr"
            if "application/json" in data:
                yield position, "an output is application/json, which nbval cannot sanitize"
            if data and "text/plain" not in data:
                yield position, "an output has no text/plain form"
            if "matplotlib" in str(data.get("image/svg+xml", "")):
                yield position, "an output is an SVG by matplotlib, which never repeats; use PNG"


def _execution_counts(document: NotebookNode) -> Iterator[Finding]:
    cells = code_cells(document)
    counts = [cell.execution_count for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        yield None, "the cells were not executed once each, from top to bottom; run `make notebooks`"


def _form_in_git(document: NotebookNode) -> Iterator[Finding]:
    if normalise(document) != document:
        yield None, "metadata, widget references or blank space of an editor are left; run `make notebooks`"
    for position, cell in enumerate(document.cells):
        unknown = sorted(set(tags(cell)) - TAGS)
        if unknown:
            yield position, f"unknown tag {', '.join(unknown)}; known: {', '.join(sorted(TAGS))}"


def _exercises(document: NotebookNode) -> Iterator[Finding]:
    try:
        list(exercises(document))
    except NotebookError as problem:
        yield None, str(problem)


def _readable_by_all(document: NotebookNode) -> Iterator[Finding]:
    for position, cell in enumerate(document.cells):
        texts = [cell.source] if cell.cell_type == "markdown" else []
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            texts += [str(data[kind]) for kind in ("text/html", "text/markdown") if kind in data]
            if "image/svg+xml" in data and not _SVG_NAME.search(str(data["image/svg+xml"])):
                yield position, "an SVG picture has neither a title nor an aria-label"
        for text in texts:
            if _IMAGE_WITHOUT_ALT.search(text):
                yield position, "a picture has no alternative text"
            for fault in accessibility.faults(text):
                yield position, fault


def _nothing_private(document: NotebookNode) -> Iterator[Finding]:
    for position, cell in enumerate(document.cells):
        # Undo JSON's escapes only: what is left is what a person or a program would read.
        texts = [cell.source, *_strings(json.loads(json.dumps(cell.get("outputs", []))))]
        for text in texts:
            for kind in leaks.secrets(text):
                yield position, f"{kind} stands in the notebook"
            for path in leaks.machine_paths(text):
                yield position, f"{path} is a path of one machine"


def _strings(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, list):
        for item in node:
            yield from _strings(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key not in ("image/png", "image/jpeg"):
                yield from _strings(value)


RULES: tuple[Rule, ...] = (
    _title,
    _heading_levels,
    _steps,
    _sections,
    _parameters,
    _code,
    _outputs,
    _execution_counts,
    _form_in_git,
    _exercises,
    _readable_by_all,
    _nothing_private,
    stories.contradictions,
)
