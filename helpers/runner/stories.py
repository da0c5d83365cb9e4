"""Whether the outputs of one notebook tell one story: what stands for the same thing is the same in all of its cells.

Outputs of two runs must not mix, because keys, thumbprints and the names that TPMs give are new in every run. And no
output may be left at what was true for a moment only, such as the first state of a progress bar.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from html import unescape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

Finding = tuple[int | None, str]

#: What varies from run to run and can be compared: how it looks, and what to call it.
_VARYING = (
    (re.compile(r"\*\*\*\*[A-Za-z0-9+/=_-]{4}"), "masked key"),
    (re.compile(r"\b(?:[0-9A-F]{64}|[0-9A-F]{40})\b"), "thumbprint"),
    (re.compile(r"\b[a-z2-7]{52}\b"), "registration ID of a TPM"),
)
_TPM_NAME = _VARYING[2][0]
_COUNT = re.compile(r"(?<![\w.,])(\d+) of (\d+)(?![\w.,]*\d)")
_COUNTED = re.compile(
    r"(?:\b(?P<before>[A-Za-z]+): )?(?<![\w.,])(?P<part>\d+) of (?P<whole>\d+)(?: (?P<after>[a-z]+))?"
)
_REMAINING = re.compile(r"(\d+) of (\d+) assigned\b[^\n<]*?\b(\d+) remaining")
_TICK = "✓ passed:"
_NUMBERS = {
    **dict.fromkeys(("a", "one"), 1),
    **dict(zip(("two", "three", "four", "five", "six"), range(2, 7), strict=True)),
    **dict(zip(("seven", "eight", "nine", "ten", "eleven", "twelve"), range(7, 13), strict=True)),
}
_TOLD_TICKS = re.compile(rf"You should see (?P<how>{'|'.join(_NUMBERS)}) (?P<more>more )?lines? with ✓")
_RULE = re.compile(r"-{2,}(?: {2,}-{2,})*\s*")


def contradictions(document: NotebookNode) -> Iterator[Finding]:
    """Everything in the outputs that another output, or the text, says otherwise; positions are those of cells."""
    shown = list(_shown(document))
    yield from _two_forms(document)
    yield from _unfinished(shown)
    yield from _names_of_tpms(shown)
    yield from _counts(shown)
    yield from _tables(shown)
    yield from _printed_names(document)
    yield from _ticks(document)


#: The cell of an output, and what that shows as text.
_Shown = tuple[int, str]


def _shown(document: NotebookNode) -> Iterator[_Shown]:
    for position, cell in enumerate(document.cells):
        for output in cell.get("outputs", []):
            text = output.get("text") or output.get("data", {}).get("text/plain")
            if text:
                yield position, str(text)


def _two_forms(document: NotebookNode) -> Iterator[Finding]:
    """The HTML of an output says the same as its text."""
    for position, cell in enumerate(document.cells):
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/plain" not in data or "text/html" not in data:
                continue
            html = unescape(str(data["text/html"]))
            forms = (str(data["text/plain"]), html)
            patterns = [*((pattern, what) for pattern, what in _VARYING), (_COUNT, "count")]
            for pattern, what in patterns:
                text, markup = ({match.group() for match in pattern.finditer(form)} for form in forms)
                if text != markup:
                    differing = ", ".join(sorted(text ^ markup))
                    yield position, f"text and HTML of an output differ in a {what}: {differing}"


def _unfinished(shown: Iterable[_Shown]) -> Iterator[Finding]:
    for position, text in shown:
        for part, whole, remaining in _REMAINING.findall(text):
            if remaining != "0":
                left = f"{part} of {whole}, {remaining} remaining"
                yield position, f"progress is left at {left}; show it when all are through"


def _names_of_tpms(shown: Iterable[_Shown]) -> Iterator[Finding]:
    """There is one device with a TPM, unless some output shows two beside each other."""
    known: set[str] = set()
    for position, text in shown:
        found = set(_TPM_NAME.findall(text))
        if known and found and not known & found:
            differing = f"{min(found)} here and {min(known)} in a cell before"
            yield position, f"the registration ID of the TPM is {differing}; they are of two runs"
        known |= found


def _counts(shown: Iterable[_Shown]) -> Iterator[Finding]:
    """Of "Assigned: 200 of 200" and "0 of 200 assigned" only one can be how it ended."""
    first: dict[tuple[str, str], tuple[str, int]] = {}
    for position, text in shown:
        for match in _COUNTED.finditer(text):
            for word in {match["before"], match["after"]} - {None}:
                thing = (str(word).lower(), match["whole"])
                part, before = first.setdefault(thing, (match["part"], position))
                if part != match["part"]:
                    here = f"{match['part']} of {match['whole']} {thing[0]}"
                    yield position, f"{here} here, and {part} of {match['whole']} in cell {before + 1}"


def _tables(shown: Iterable[_Shown]) -> Iterator[Finding]:
    """A count under the same heads of row and column is the same in every table."""
    first: dict[tuple[str, str, str], tuple[str, int]] = {}
    for position, text in shown:
        for row, column, value in _table_cells(text):
            if count := _COUNT.fullmatch(value):
                told, before = first.setdefault((row, column, count[2]), (value, position))
                if told != value:
                    yield position, f"{row}, {column}: {value} here, and {told} in cell {before + 1}"


def _table_cells(text: str) -> Iterator[tuple[str, str, str]]:
    """Head of row, head of column and value of every cell of the text tables in an output."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if number == 0 or not line.startswith("--") or not _RULE.fullmatch(line):
            continue
        spans = [match.span() for match in re.finditer(r"-+", line)]
        heads = _cut(lines[number - 1], spans)
        for below in lines[number + 1 :]:
            if not below.strip():
                break
            values = _cut(below, spans)
            yield from ((values[0], head, value) for head, value in zip(heads[1:], values[1:], strict=True))


def _cut(line: str, spans: list[tuple[int, int]]) -> list[str]:
    # the last column may be wider than its rule, when it is written without blanks to its end
    return [line[begin : end if (begin, end) != spans[-1] else None].strip() for begin, end in spans]


def _printed_names(document: NotebookNode) -> Iterator[Finding]:
    """A variable that is printed twice, and not set in between, is the same both times."""
    known: dict[str, tuple[str, int]] = {}
    for position, cell in enumerate(document.cells):
        if cell.cell_type != "code":
            continue
        written = "".join(out.text for out in cell.get("outputs", []) if out.output_type == "stream")
        try:
            statements = ast.parse(cell.source).body
        except SyntaxError:
            continue
        for statement in statements:
            for name in _stored(statement):
                known.pop(name, None)
            known |= {name: (value, position) for name, value in _literals(statement)}
            values, written = _printed(statement, written)
            for name, value in values.items():
                before, where = known.setdefault(name, (value, position))
                if before != value:
                    yield position, f"{name} is {value} here, and {before} in cell {where + 1}"


def _stored(node: ast.AST) -> Iterator[str]:
    """Names that a statement of a cell sets; what happens inside a function stays there."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
        return
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    if isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    if not isinstance(node, ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _stored(child)


def _literals(statement: ast.stmt) -> Iterator[tuple[str, str]]:
    match statement:
        case (
            ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=value))
            | ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value))
        ) if isinstance(value, (str, int)) and not isinstance(value, bool):
            yield name, str(value)


def _printed(statement: ast.stmt, written: str) -> tuple[dict[str, str], str]:
    """What a plain ``print(...)`` wrote for the variables in it, and what was written after that."""
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Name(id="print"), args=arguments, keywords=[])):
            names: list[str] = []
            pattern = " ".join(_pattern(argument, names) for argument in arguments)
        case _:
            return {}, written
    words = re.sub(r"\(\\S\+\)|\.\*\?|\\.", "", pattern)
    line = re.search(rf"^{pattern}$", written, re.MULTILINE)
    # without words of its own the line cannot be told from others
    if line is None or len(re.findall(r"\w", words)) < 3:
        return {}, written
    return dict(zip(names, line.groups(), strict=True)), written[line.end() :]


def _pattern(node: ast.expr, names: list[str]) -> str:
    """What an argument of ``print`` writes, as a pattern; groups stand for ``names``."""
    match node:
        case ast.Constant(value=value):
            return re.escape(str(value))
        case ast.Name(id=name):
            names.append(name)
            return r"(\S+)"
        case ast.JoinedStr(values=values):
            return "".join(_pattern(value, names) for value in values)
        case ast.FormattedValue(value=ast.Name() as value, conversion=-1, format_spec=None):
            return _pattern(value, names)
        case _:
            return ".*?"


def _ticks(document: NotebookNode) -> Iterator[Finding]:
    """The text counts the lines that stand above it."""
    above = since_told = 0
    for position, cell in enumerate(document.cells):
        if cell.cell_type == "code":
            ticks = sum(str(out.get("text", "")).count(_TICK) for out in cell.get("outputs", []))
            above, since_told = above + ticks, since_told + ticks
            continue
        told = _TOLD_TICKS.search(cell.source)
        if told and _NUMBERS[told["how"]] not in {above, since_told}:
            yield position, f"the text speaks of {told['how']} lines with ✓, the outputs above it have {above}"
        above = 0
        since_told = 0 if told else since_told
