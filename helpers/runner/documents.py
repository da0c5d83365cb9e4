"""Notebook files: where they are, how they are read and written, their parameters and tracks."""

from __future__ import annotations

import ast
import contextlib
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.masking import MaskedError

if TYPE_CHECKING:
    from nbformat import NotebookNode

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = REPOSITORY / "notebooks"

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
_FENCE = re.compile(r"^\s*(```|~~~)")

Parameter = str | bool | int | float


class NotebookError(MaskedError):
    """A notebook, or what was asked of it, is not usable. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Track:
    """Notebooks that build on each other and therefore run in order, in one workspace.

    Attributes:
        name: the digit that their file names share, e.g. ``1`` for ``11``, ``12`` and ``13``.
        notebooks: their files, in order.
    """

    name: str
    notebooks: tuple[Path, ...]


def find(folder: Path = NOTEBOOKS) -> list[Path]:
    """The notebooks of a folder, in the order in which a learner meets them.

    Raises:
        NotebookError: there are none.
    """
    found = sorted(path for path in folder.glob("*.ipynb") if not path.name.startswith("."))
    if not found:
        raise NotebookError(f"There is no notebook in {folder}. Run this in a complete copy of the repository.")
    return found


def read(path: Path) -> NotebookNode:
    """Read a notebook.

    Raises:
        NotebookError: the file is missing or is no notebook.
    """
    import nbformat  # noqa: PLC0415 - takes longer than all else here, and who asks for --help needs none of it

    try:
        document = nbformat.read(path, as_version=4)
        nbformat.validate(document)
    except OSError as error:
        raise NotebookError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise NotebookError(f"{path} is not a valid notebook: {reason[:200]}") from error
    return document


def at_last_commit(path: Path) -> NotebookNode | None:
    """A notebook as git has it.

    Arguments:
        path: the file; it need not exist any more.

    Returns:
        The notebook; ``None`` where there is no git, no commit, or no such file in it.
    """
    import nbformat  # noqa: PLC0415

    command = ["git", "show", f"HEAD:./{path.name}"]
    try:
        shown = subprocess.run(command, cwd=path.parent, capture_output=True, check=True).stdout
        return nbformat.reads(shown.decode("utf-8"), as_version=4)
    except (OSError, subprocess.CalledProcessError, ValueError, nbformat.ValidationError):
        return None


def write(document: NotebookNode, path: Path) -> None:
    """Write a notebook in the one form that git sees: sorted keys, one space, a line feed at the end."""
    import nbformat  # noqa: PLC0415

    path.write_bytes((nbformat.writes(document).rstrip("\n") + "\n").encode("utf-8"))


def without_widget_views(document: NotebookNode) -> None:
    """Drop references to widgets, which live only in the kernel that made them; text and HTML stay."""
    document.metadata.pop("widgets", None)
    for cell in document.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if len(data) > 1:
                data.pop(WIDGET_VIEW, None)


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell, in the order of its metadata; none when it has none."""
    return [str(tag) for tag in cell.metadata.get("tags", [])]


def code_cells(document: NotebookNode) -> list[NotebookNode]:
    """The cells that Jupyter executes: code cells that are not empty."""
    return [cell for cell in document.cells if cell.cell_type == "code" and cell.source.strip()]


def tracks(paths: Iterable[Path]) -> list[Track]:
    """Group notebooks by the first digit of their names; every track is in order."""
    in_order = sorted(paths, key=lambda path: path.name)
    return [Track(name, tuple(members)) for name, members in groupby(in_order, key=lambda path: path.name[:1])]


def parameters(document: NotebookNode) -> dict[str, Parameter]:
    """The parameters of a notebook with their defaults, from the cell tagged ``parameters``.

    Raises:
        NotebookError: the cell holds something else than ``name: type = value`` with a plain value.
    """
    cell = next((cell for cell in document.cells if "parameters" in tags(cell)), None)
    found: dict[str, Parameter] = {}
    if cell is None:
        return found
    try:
        statements = ast.parse(cell.source).body
    except SyntaxError as error:
        raise NotebookError(f"The parameters cell is not valid Python: {error}.") from error
    for statement in statements:
        name, kind, value = _declaration(statement)
        if type(value).__name__ != kind:
            raise NotebookError(f"Parameter {name} is declared as {kind}, its default is {value!r}.")
        found[name] = value
    return found


def _declaration(statement: ast.stmt) -> tuple[str, str, Parameter]:
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=ast.Name(id=kind), value=ast.expr() as expression):
            with contextlib.suppress(ValueError):
                value = ast.literal_eval(expression)
                if isinstance(value, str | bool | int | float):
                    return name, kind, value
    raise NotebookError(
        f"The parameters cell holds {ast.unparse(statement)!r}; every line must read `name: type = value`."
    )


def headings(document: NotebookNode) -> Iterator[tuple[int, int, str]]:
    """Every heading of the text as cell position, level and words; comments in code fences are none."""
    for position, cell in enumerate(document.cells):
        yield from ((position, level, words) for level, words in headings_of(cell))


def headings_of(cell: NotebookNode) -> Iterator[tuple[int, str]]:
    """The headings of one cell as level and words; cells of code have none."""
    fenced = False
    for line in cell.source.splitlines() if cell.cell_type == "markdown" else ():
        if _FENCE.match(line):
            fenced = not fenced
        match = None if fenced else _HEADING.match(line)
        if match:
            yield len(match[1]), match[2]


def runs_on_azure(document: NotebookNode) -> bool:
    """Whether a notebook may run on Azure; one that may not says so to ``check_parameters``."""
    return not any("simulator_only=" in cell.source for cell in code_cells(document))


def convert(name: str, text: str, default: Parameter) -> Parameter:
    """Turn the text of a command line into the type that a parameter's default has.

    Raises:
        NotebookError: the text does not fit.
    """
    if isinstance(default, str):
        return text
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        return type(default)(text)
    except (KeyError, ValueError):
        raise NotebookError(f"Parameter {name} must be of type {type(default).__name__}, not {text!r}.") from None


def given_parameters(
    given: Mapping[str, str], declared: Mapping[Path, Mapping[str, Parameter]]
) -> dict[Path, dict[str, Parameter]]:
    """Which of the given parameters each notebook gets, in its own types.

    Raises:
        NotebookError: no notebook knows a name, or a value does not fit.
    """
    known = sorted({name for names in declared.values() for name in names})
    for name in given:
        if name not in known:
            raise NotebookError(f"No notebook has a parameter {name!r}. The parameters are: {', '.join(known)}.")
    return {
        path: {name: convert(name, text, own[name]) for name, text in given.items() if name in own}
        for path, own in declared.items()
    }


def selected(names: Sequence[str], folder: Path = NOTEBOOKS) -> list[Path]:
    """The notebooks that a command line names: a path, or how a file name starts (``13``); all without names.

    Raises:
        NotebookError: a name fits no notebook.
    """
    if not names:
        return find(folder)
    chosen: list[Path] = []
    for name in names:
        path = Path(name)
        matching = [path] if path.suffix == ".ipynb" else [each for each in find(folder) if each.name.startswith(name)]
        if not matching or not all(each.is_file() for each in matching):
            raise NotebookError(f"There is no notebook {name!r}. Give a path, or how a name starts, such as 13.")
        chosen += [each.resolve() for each in matching if each.resolve() not in chosen]
    return chosen
