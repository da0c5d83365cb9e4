"""From nothing to the first device, as somebody new goes there: ``python -m tools.cold_start [--no-cache]``.

Clones what is committed here into an empty folder, with an empty home and without the variables of whoever runs it, and
types what README says: the environment is made, then ``00_start_here`` runs. Everything that a person would see is
printed, and in the end what each step took. Needs git, make, and a way to the registry of packages.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Seconds that a person should wait at most: for what is ours, which comes after the packages, and for everything.
OURS, ALL = 20, 120
#: Beginnings of the names of variables that lead to settings or state of whoever runs this. Those of pip and uv stay,
#: as packages may be out of reach without them; helpers/installation.py leaves out what could install elsewhere.
_PERSONAL = ("DPS_", "GIT_DIR", "PYTHON", "JUPYTER", "XDG_", "VIRTUAL_ENV", "MAKE", "MFLAGS", "CONDA")


class ColdStartError(RuntimeError):
    """A step failed; the text says which. What it said stands above."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a person types.

    Attributes:
        name: what it is for.
        command: its words.
        ours: whether its time depends on this project, and not on the packages of others.
    """

    name: str
    command: Sequence[str]
    ours: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """What a step took.

    Attributes:
        step: which one.
        seconds: by the clock on the wall.
        megabytes: what lies in the folder more than before, in millions of bytes.
    """

    step: Step
    seconds: float
    megabytes: float


def steps(checkout: Path) -> list[Step]:
    """The steps, in order; all but the first are typed in the new checkout."""
    return [
        Step("clone", ["git", "clone", "--quiet", str(ROOT), str(checkout)], ours=False),
        Step("set-up", ["make", ".venv/ready"], ours=False),
        Step("first device", ["make", "tutorial", "ARGUMENTS=00"], ours=True),
    ]


def surroundings(home: Path, *, cache: bool, variables: Mapping[str, str]) -> dict[str, str]:
    """What somebody new has.

    Arguments:
        home: an empty folder.
        cache: whether packages that were fetched before may be used.
        variables: those of whoever runs this.
    """
    kept = {name: value for name, value in variables.items() if not name.startswith(_PERSONAL)}
    # the Python that this one was made from, as one that a home manages is not found in another home
    base = Path(getattr(sys, "_base_executable", sys.executable)).parent
    kept |= {"HOME": str(home), "PATH": f"{base}{os.pathsep}{variables['PATH']}"}
    if not cache:
        return kept | {"UV_NO_CACHE": "1", "PIP_NO_CACHE_DIR": "1"}
    for variable, command in {
        "UV_CACHE_DIR": ["uv", "cache", "dir"],
        "PIP_CACHE_DIR": [sys.executable, "-m", "pip", "cache", "dir"],
    }.items():
        if shutil.which(command[0]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                kept[variable] = done.stdout.strip()
    return kept


def megabytes(folder: Path) -> float:
    """What the files in a folder hold, in millions of bytes."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files) / 1e6


def run(step: Step, cwd: Path, variables: Mapping[str, str]) -> float:
    """Do a step, print what it says as it says it, and return the seconds.

    Raises:
        ColdStartError: it failed.
    """
    _say(f"$ {' '.join(step.command)}")
    begin = time.monotonic()
    with subprocess.Popen(
        step.command,
        cwd=cwd,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            _say(f"  {line.rstrip()}")
    seconds = time.monotonic() - begin
    if process.returncode:
        raise ColdStartError(f"{step.name}: it ended with {process.returncode}; what it said stands above.")
    return seconds


def table(taken: Sequence[Taken]) -> list[str]:
    """The lines that say what all of it took, and how that compares with what it should."""
    lines = [f"{'step':<14} {'seconds':>8} {'megabytes':>10}"]
    lines += [f"{each.step.name:<14} {each.seconds:>8.1f} {each.megabytes:>10.1f}" for each in taken]
    ours = sum(each.seconds for each in taken if each.step.ours)
    whole = sum(each.seconds for each in taken)
    lines += [
        f"Ours:   {ours:.1f} s, {_judged(ours, OURS)}",
        f"In all: {whole:.1f} s, {_judged(whole, ALL)}",
    ]
    return lines


def _judged(seconds: float, goal: float) -> str:
    return f"{'within' if seconds <= goal else 'above'} the goal of {goal} s"


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; a goal that was missed is told and is no failure."""
    parser = argparse.ArgumentParser(prog="python -m tools.cold_start", description="Start like somebody new.")
    parser.add_argument("--no-cache", action="store_true", help="fetch every package anew")
    given = parser.parse_args(arguments)
    taken: list[Taken] = []
    with tempfile.TemporaryDirectory(prefix="dps-cold-") as name:
        folder, home, checkout = Path(name), Path(name, "home"), Path(name, "checkout")
        home.mkdir()
        variables = surroundings(home, cache=not given.no_cache, variables=os.environ)
        before = megabytes(folder)
        try:
            for step in steps(checkout):
                seconds = run(step, checkout if checkout.exists() else folder, variables)
                after = megabytes(folder)
                taken.append(Taken(step, seconds, after - before))
                before = after
        except ColdStartError as problem:
            print(problem, file=sys.stderr)  # noqa: T201
            return 1
    for line in table(taken):
        _say(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
