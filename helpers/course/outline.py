"""The course as it lies in the folder of notebooks: which lessons there are, and what there is to do in each.

Nothing of it is written down a second time. Steps are the lines that checks printed, as they stand in the outputs of
a notebook; exercises are its cells with that tag; minutes are what its *You need* says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
#: Pages for whoever teaches. They are no lesson, so nobody is behind with them.
FOR_INSTRUCTORS = frozenset({"02_run_a_workshop"})
#: What a check prints when its step went well.
PASSED = "✓ passed: "

_EXERCISE = "exercise"
_NAME = re.compile(r"[0-9]{2}_[a-z0-9_]{1,60}")
_CHECK = re.compile(r"\bchecks\.(?:step|wait_until)\(")
_MINUTES = re.compile(r"^- (?:about )?(?:([a-z-]+|[0-9]{1,3}) minutes?|((?:half )?an hour))\b", re.MULTILINE)
_SMALL = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_LARGE = {"fifteen": 15, "twenty": 20, "twenty-five": 25, "thirty": 30, "forty": 40, "forty-five": 45}
_NUMBERS = {**{word: number for number, word in enumerate(_SMALL, 1)}, **_LARGE}


@dataclass(frozen=True)
class Lesson:
    """What a notebook has to do.

    Attributes:
        name: of its file, without the ending.
        title: its heading.
        steps: how many different step checks pass in it.
        exercises: how many exercises it has.
        minutes: what it says that a person needs; 0 when it does not say.
        whole: whether the file holds the outputs of all its cells. In one that somebody works in, some are missing;
            then the steps are counted in the code, where a check in a loop counts once.
    """

    name: str
    title: str
    steps: int
    exercises: int
    minutes: int
    whole: bool

    @property
    def number(self) -> str:
        """The two digits that its name begins with, by which progress lines call it."""
        return self.name[:2]


def lessons(folder: Path | None = None) -> list[Lesson]:
    """The notebooks that have something to check, in order; those that cannot be read are left out."""
    found = (lesson(path.stem, path.parent) for path in sorted((folder or NOTEBOOKS).glob("*.ipynb")))
    return [each for each in found if each is not None]


def lesson(name: str, folder: Path | None = None) -> Lesson | None:
    """The lesson of this name; ``None`` when there is none, or nothing to check in it."""
    if not _NAME.fullmatch(name) or name in FOR_INSTRUCTORS:
        return None
    try:
        document = json.loads(((folder or NOTEBOOKS) / f"{name}.ipynb").read_text(encoding="utf-8"))
        found = _described(name, document["cells"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # half written, or no notebook at all; what it is about is not ours to repair
        return None
    return found if found.steps or found.exercises else None


def _described(name: str, cells: list[Any]) -> Lesson:
    code = [cell for cell in cells if cell["cell_type"] == "code" and _text(cell["source"]).strip()]
    prose = "\n".join(_text(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    heading = re.search(r"^# (.+)$", prose, re.MULTILINE)
    passed = {line for cell in code for line in _printed(cell) if line.startswith(PASSED)}
    whole = all(cell.get("execution_count") for cell in code)
    checks = sum(len(_CHECK.findall(_text(cell["source"]))) for cell in code)
    return Lesson(
        name,
        title=heading[1].strip() if heading else name,
        steps=len(passed) if whole else max(len(passed), checks),
        exercises=sum(_EXERCISE in cell["metadata"].get("tags", []) for cell in code),
        minutes=_minutes(prose),
        whole=whole,
    )


def _printed(cell: Any) -> Iterator[str]:
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            yield from _text(output["text"]).splitlines()


def _minutes(prose: str) -> int:
    match = _MINUTES.search(prose)
    if match is None:
        return 0
    if match[2]:
        return 30 if match[2].startswith("half") else 60
    return int(match[1]) if match[1].isdigit() else _NUMBERS.get(match[1], 0)


def _text(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else "".join(lines)
