"""The form in which notebooks stand in git: same content, same bytes, however often they are executed."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .documents import REPOSITORY, WIDGET_VIEW, code_cells, tags, without_widget_views
from .stories import contradictions

SANITIZE = REPOSITORY / "tests" / "notebooks" / "sanitize.cfg"
#: nbval's own tag for a cell whose output is never the same again, such as one that shows what it measured.
VARIES = "nbval-ignore-output"
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
# What nbval leaves out of its comparison, so that "agrees" means the same here and there.
_NOT_COMPARED = frozenset(
    {"metadata", "traceback", "prompt_number", "output_type", "name", "execution_count", WIDGET_VIEW}
    | {"image/png", "image/jpeg"}
)

if TYPE_CHECKING:
    from nbformat import NotebookNode

Rules = Sequence[tuple[re.Pattern[str], str]]


def sanitize_rules(path: Path = SANITIZE) -> Rules:
    """The rules of nbval's sanitize file: what to replace before outputs are compared."""
    from nbval.plugin import get_sanitize_patterns  # noqa: PLC0415 - nbval brings pytest

    patterns = get_sanitize_patterns(path.read_text(encoding="utf-8"))
    return [(re.compile(pattern), replacement) for pattern, replacement in dict(patterns).items()]


def comparable(outputs: Sequence[NotebookNode], rules: Rules) -> dict[str, list[Any]]:
    """Outputs as nbval compares them: values by field or media type, sanitized."""
    found: dict[str, list[Any]] = {}
    for key, value in _compared(outputs):
        text = value
        if isinstance(text, str):
            for pattern, replacement in rules:
                text = pattern.sub(replacement, text)
        found.setdefault(key, []).append(text)
    return found


def _compared(outputs: Sequence[NotebookNode]) -> Iterator[tuple[str, Any]]:
    from nbval.plugin import coalesce_streams, transform_streams_for_comparison  # noqa: PLC0415

    for output in transform_streams_for_comparison(coalesce_streams(copy.deepcopy(list(outputs)))):
        for key, value in {**output, **output.get("data", {})}.items():
            if key not in _NOT_COMPARED and key != "data":
                yield key, value


def _coalesced(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    """Each stream in one piece, as nbval makes it; whoever only looks at finished notebooks does without nbval."""
    streams = [output for output in outputs if output.output_type == "stream"]
    if len(streams) == len({stream.name for stream in streams}) and not any("\r" in each.text for each in streams):
        return list(outputs)
    from nbval.plugin import coalesce_streams  # noqa: PLC0415

    return list(coalesce_streams(list(outputs)))


def normalise(document: NotebookNode) -> NotebookNode:
    """A copy with nothing but content: metadata, widget references and the order of streams do not vary any more."""
    from nbformat import NotebookNode  # noqa: PLC0415

    clean = copy.deepcopy(document)
    without_widget_views(clean)
    clean.metadata = NotebookNode({"kernelspec": NotebookNode(KERNELSPEC)})
    number = 0
    for cell in clean.cells:
        kept: dict[str, Any] = {}
        if cell.metadata.get("tags"):
            kept["tags"] = list(cell.metadata["tags"])
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            kept["jupyter"] = NotebookNode({"source_hidden": True})
        cell.metadata = NotebookNode(kept)
        cell.source = "\n".join(line.rstrip() for line in cell.source.rstrip().split("\n"))
        if cell.cell_type != "code":
            continue
        cell.outputs = _coalesced(cell.outputs)
        executed = cell.execution_count is not None
        number += executed
        cell.execution_count = number if executed else None
        for output in cell.outputs:
            if "metadata" in output:
                output.metadata = NotebookNode()
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
    return clean


def merge(committed: NotebookNode, executed: NotebookNode, rules: Rules, *, anew: bool = False) -> NotebookNode:
    """The executed notebook with all of the committed outputs, or with none of them.

    Outputs of two runs are never mixed: what a run makes up, such as keys and thumbprints, and what it measures would
    differ from cell to cell. The committed outputs stay as long as every one of them agrees with the new run, and they
    do not contradict each other.

    Arguments:
        committed: the notebook with the outputs that it has now.
        executed: the same after a run.
        rules: what to overlook when outputs are compared.
        anew: take the new outputs in any case.
    """
    old, new = normalise(committed), normalise(executed)
    if not anew and tells_the_same(old, new, rules) and not any(contradictions(old)):
        for before, cell in zip(old.cells, new.cells, strict=True):
            if cell.cell_type == "code":
                cell.outputs = before.outputs
    return new


def tells_the_same(old: NotebookNode, new: NotebookNode, rules: Rules) -> bool:
    """Whether two runs of a notebook tell the same story.

    Their code is the same and their outputs agree, and what varies from run to run does so in step: where one run shows
    the same value twice, the other does, too.
    """
    places = [[(cell.cell_type, cell.get("id")) for cell in each.cells] for each in (old, new)]
    if places[0] != places[1]:
        return False
    cells = [pair for pair in zip(old.cells, new.cells, strict=True) if pair[1].cell_type == "code"]
    if not all(_agree(before, cell, rules) for before, cell in cells):
        return False
    partners: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for before, cell in cells:
        # measured values have nothing to do with each other
        if VARIES in tags(cell):
            continue
        for one, other in zip(varying(before.outputs, rules), varying(cell.outputs, rules), strict=True):
            if partners[0].setdefault(one, other) != other or partners[1].setdefault(other, one) != one:
                return False
    return True


def _agree(before: NotebookNode, cell: NotebookNode, rules: Rules) -> bool:
    """Whether a cell is the same in two runs, but for what varies."""
    if before.source != cell.source or (before.execution_count is None) != (cell.execution_count is None):
        return False
    if VARIES in tags(cell):
        return bool(before.outputs) or not cell.outputs
    return comparable(before.outputs, rules) == comparable(cell.outputs, rules) and len(
        varying(before.outputs, rules)
    ) == len(varying(cell.outputs, rules))


def varying(outputs: Sequence[NotebookNode], rules: Rules) -> list[str]:
    """What the rules overlook in these outputs, in the order in which it stands there."""
    found: list[str] = []
    for _, value in _compared(outputs):
        if not isinstance(value, str):
            continue
        rest = value
        for pattern, replacement in rules:
            found += [match.group() for match in pattern.finditer(rest)]
            rest = pattern.sub(replacement, rest)
    return found


def is_outdated(document: NotebookNode, before: NotebookNode | None) -> bool:
    """Whether the outputs of cells that show what they measured are still those of other code.

    No comparison can tell, because measured outputs always differ.

    Arguments:
        document: the notebook as it is now.
        before: the same at the last commit, or ``None``.
    """
    if before is None:
        return False
    now, then = normalise(document), normalise(before)
    measured = [
        {cell.get("id"): cell.outputs for cell in code_cells(each) if VARIES in tags(cell)} for each in (now, then)
    ]
    kept = [name for name, outputs in measured[0].items() if outputs and outputs == measured[1].get(name)]
    sources = [[cell.source for cell in code_cells(each)] for each in (now, then)]
    return bool(kept) and sources[0] != sources[1]
