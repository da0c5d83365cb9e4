"""The first track headless, against as many notebooks that do nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

from .measure import Result, seconds

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def _run(notebooks: list[Path], output: Path) -> None:
    command = [sys.executable, "-m", "helpers.runner", "tutorial", "--output", str(output), *map(str, notebooks)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _empty_copy(notebook: Path, folder: Path) -> Path:
    """The same notebook reduced to its parameters, which the runner needs, and one cell that does nothing."""
    document = nbformat.read(notebook, as_version=4)
    document.cells = [cell for cell in document.cells if "parameters" in cell.metadata.get("tags", [])]
    document.cells.append(nbformat.v4.new_code_cell("pass"))
    path = folder / notebook.name
    nbformat.write(document, path)
    return path


def track_against_empty_notebooks(rounds: int = 5) -> Result:
    """Medians of whole runs, in turn, command line and report included."""
    track = sorted(NOTEBOOKS.glob("1*.ipynb"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty = [_empty_copy(notebook, folder) for notebook in track]
        _run(track, folder / "build")
        _run(empty, folder / "build")
        pairs = [
            (seconds(lambda: _run(track, folder / "build")), seconds(lambda: _run(empty, folder / "build")))
            for _ in range(rounds)
        ]
    ours, theirs = (statistics.median(values) for values in zip(*pairs, strict=True))
    return Result(
        f"symmetric key track headless / {len(track)} empty notebooks",
        ours / theirs,
        2.0,
        "x",
        f"{ours:.2f} s / {theirs:.2f} s",
    )
