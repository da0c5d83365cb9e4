"""Exercises and their solutions: an answer cell, and below it the solution, folded away.

The answer cell has the tag ``exercise``. It ends with a call that checks the answer, and everything above the call is
the learner's. The next cell of text holds the solution: ``<details>`` with one block of Python, which takes the
place of the learner's lines.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .documents import NotebookError, tags

if TYPE_CHECKING:
    from nbformat import NotebookNode

EXERCISE = "exercise"
#: What the checks of exercises print. A run with solutions must show none of the second kind.
SOLVED, NOT_YET = "✓ solved: ", "○ not yet: "

_DETAILS = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", re.DOTALL)
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Exercise:
    """An exercise in a notebook.

    Attributes:
        position: of its answer cell.
        check: the lines of the cell that check the answer.
        solution: the lines that stand where the learner's stood.
    """

    position: int
    check: str
    solution: str

    @property
    def solved(self) -> str:
        """The source of the answer cell with the solution in the learner's place, above the check."""
        return f"{self.solution}\n\n{self.check}"


def exercises(document: NotebookNode) -> Iterator[Exercise]:
    """The exercises of a notebook, in order.

    Raises:
        NotebookError: an exercise has no check at its end, or no solution below it.
    """
    for position, cell in enumerate(document.cells):
        if EXERCISE in tags(cell):
            yield Exercise(position, _check(cell.source, position), _solution(document, position))


def with_solutions(document: NotebookNode) -> NotebookNode:
    """A copy of a notebook with all exercises solved.

    Raises:
        NotebookError: an exercise has no check at its end, or no solution below it.
    """
    solved = copy.deepcopy(document)
    for exercise in exercises(document):
        solved.cells[exercise.position].source = exercise.solved
    return solved


def _check(source: str, position: int) -> str:
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise NotebookError(f"Cell {position + 1} is an exercise and not valid Python: {error}.") from error
    last = statements[-1] if statements else None
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call):
        function = ast.unparse(last.value.func)
        if function.startswith("exercises.") or function == "checks.exercise":
            return "\n".join(source.splitlines()[last.lineno - 1 :])
    raise NotebookError(
        f"Cell {position + 1} is an exercise; its last statement must be exercises.name(...) or checks.exercise(...)."
    )


def _solution(document: NotebookNode, position: int) -> str:
    following = document.cells[position + 1] if position + 1 < len(document.cells) else None
    folded = _DETAILS.search(following.source) if following is not None and following.cell_type == "markdown" else None
    if folded is not None and "Solution" in folded[1]:
        blocks = _PYTHON.findall(folded[2])
        if len(blocks) == 1:
            return str(blocks[0]).rstrip("\n")
    raise NotebookError(
        f"Cell {position + 1} is an exercise; the next cell must be text with its solution: "
        "<details><summary>Solution</summary>, one block of Python, </details>."
    )
