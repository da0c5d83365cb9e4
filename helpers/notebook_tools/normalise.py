"""The form in which notebooks stand in git: same content, same bytes, however often they are executed."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbval.plugin import coalesce_streams, get_sanitize_patterns, transform_streams_for_comparison

from .documents import REPOSITORY, tags

SANITIZE = REPOSITORY / "tests" / "notebooks" / "sanitize.cfg"
#: nbval's own tag for a cell whose output is never the same again, such as one that shows what it measured.
VARIES = "nbval-ignore-output"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
# What nbval leaves out of its comparison, so that "agrees" means the same here and there.
_NOT_COMPARED = frozenset(
    {"metadata", "traceback", "prompt_number", "output_type", "name", "execution_count", WIDGET_VIEW}
    | {"image/png", "image/jpeg"}
)

Rules = Sequence[tuple[re.Pattern[str], str]]


def sanitize_rules(path: Path = SANITIZE) -> Rules:
    """The rules of nbval's sanitize file: what to replace before outputs are compared."""
    patterns = get_sanitize_patterns(path.read_text(encoding="utf-8"))
    return [(re.compile(pattern), replacement) for pattern, replacement in dict(patterns).items()]


def comparable(outputs: Sequence[NotebookNode], rules: Rules) -> dict[str, list[Any]]:
    """Outputs as nbval compares them: values by field or media type, sanitized."""
    found: dict[str, list[Any]] = {}
    for output in transform_streams_for_comparison(coalesce_streams(copy.deepcopy(list(outputs)))):
        fields = {**output, **output.get("data", {})}
        for key, value in fields.items():
            if key in _NOT_COMPARED or key == "data":
                continue
            text = value
            if isinstance(text, str):
                for pattern, replacement in rules:
                    text = pattern.sub(replacement, text)
            found.setdefault(key, []).append(text)
    return found


def without_widget_views(document: NotebookNode) -> None:
    """Drop references to widgets, which live only in the kernel that made them; text and HTML stay."""
    document.metadata.pop("widgets", None)
    for cell in document.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if len(data) > 1:
                data.pop(WIDGET_VIEW, None)


def normalise(document: NotebookNode) -> NotebookNode:
    """A copy with nothing but content: metadata, widget references and the order of streams do not vary any more."""
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
        cell.outputs = coalesce_streams(list(cell.outputs))
        executed = cell.execution_count is not None
        number += executed
        cell.execution_count = number if executed else None
        for output in cell.outputs:
            if "metadata" in output:
                output.metadata = NotebookNode()
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
    return clean


def merge(committed: NotebookNode, executed: NotebookNode, rules: Rules) -> NotebookNode:
    """The executed notebook, with the committed output of every cell where old and new agree after sanitizing."""
    old, new = normalise(committed), normalise(executed)
    by_id = {cell.get("id"): cell for cell in old.cells if cell.cell_type == "code"}
    for cell in new.cells:
        before = by_id.get(cell.get("id")) if cell.cell_type == "code" else None
        if before is None or before.source != cell.source or before.execution_count is None:
            continue
        if (VARIES in tags(cell) and before.outputs) or comparable(before.outputs, rules) == comparable(
            cell.outputs, rules
        ):
            cell.outputs = before.outputs
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = cell.execution_count
    return new
