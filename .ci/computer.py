"""What CI runs on every kind of computer, with every Python: ``python .ci/computer.py``.

An environment, the tests that need no program beside Python, and all notebooks as a learner runs them. It is the same
on Linux, macOS and Windows, needs neither make nor a package that is installed before, and leaves in ``build/``:

- ``tests.xml`` and ``notebooks.xml``, the results as JUnit XML,
- ``report.html`` and the executed notebooks.

Each part runs whether or not the one before passed. The exit code is 0 only when all did.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Tests of these kinds need programs that not every computer has, or other surroundings.
TESTS = "not clients and not anywhere and not browser"
#: The name of a package at the start of a line of a list of requirements.
_PINNED = re.compile(r"^([A-Za-z0-9][\w.\-\[\]]*)==[^\s;]+")


def newest(requirements: str, keep: Sequence[str] = ()) -> str:
    """A list of requirements without its pins, so that an installer takes what is newest.

    Arguments:
        requirements: the text of a list, with ``==`` on its lines.
        keep: names whose pins stay.
    """
    lines = []
    for line in requirements.splitlines():
        found = _PINNED.match(line)
        lines.append(line if found is None or found[1] in keep else line.replace(found[0], found[1], 1))
    return "\n".join(lines) + "\n"


def python_of(environment: Path) -> Path:
    """The Python of an environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def parts(arguments: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """The name and the command of each part, in order."""
    environment: Path = arguments.environment
    python, output = str(python_of(environment)), "build"
    found = [("set-up", [sys.executable, "-m", "helpers.installation", str(environment), "contributor", "--named"])]
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    if arguments.newest:
        lists = Path(output, "newest")
        lists.mkdir(parents=True, exist_ok=True)
        for name in ("requirements.txt", "requirements-dev.txt"):
            text = newest((ROOT / name).read_text(encoding="utf-8"), arguments.keep)
            (lists / name).write_text(text, encoding="utf-8")
        command = [*pip, "install", "--quiet", "--upgrade", "-r", str(lists / "requirements-dev.txt")]
        found.append(("newest packages", command))
    if arguments.also:
        found.append(("other packages", [*pip, "install", "--quiet", *arguments.also]))
    if arguments.without:
        found.append(("packages taken away", [*pip, "uninstall", "--quiet", "--yes", *arguments.without]))
    tests = [python, "-m", "pytest", "-n", "auto", "-m", TESTS, f"--junit-xml={output}/tests.xml", *arguments.pytest]
    notebooks = [python, "-m", "helpers.runner", "tutorial", "--output", output, "--junit", f"{output}/notebooks.xml"]
    return [*found, ("tests", tests), ("notebooks", notebooks)]


def main(given: Sequence[str] | None = None) -> int:
    """Run all parts and return the exit code."""
    parser = argparse.ArgumentParser(prog="python .ci/computer.py", description="Test on this kind of computer.")
    parser.add_argument("--environment", type=Path, default=Path(".venv"), help="its folder (default: .venv)")
    parser.add_argument("--newest", action="store_true", help="with the newest version of every package")
    parser.add_argument("--keep", action="append", default=[], metavar="NAME", help="but keep the pin of this one")
    parser.add_argument(
        "--also", action="append", default=[], metavar="PACKAGE", help="and with this, e.g. NAME==1.0rc1"
    )
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="and without this package")
    parser.add_argument("pytest", nargs="*", help="more arguments for pytest, after --")
    arguments = parser.parse_args(given)
    os.chdir(ROOT)
    failed = []
    for name, command in parts(arguments):
        print(f"== {name}: {subprocess.list2cmdline(command)}", flush=True)
        began = time.monotonic()
        code = subprocess.run(command, check=False).returncode
        print(
            f"== {name}: {'passed' if not code else f'failed with exit code {code}'}, {time.monotonic() - began:.0f} s"
        )
        if code:
            failed.append(name)
            if name == "set-up":
                break
    print(f"== {'failed: ' + ', '.join(failed) if failed else 'all passed'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
