"""What people type to start this program, for usage texts and for hints that work as they stand."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

#: The command that an installation makes.
COMMAND = "dps-simulator"

#: The package that ``python -m`` runs.
PACKAGE = __name__.partition(".")[0]
#: Where that package lies.
PACKAGE_FOLDER = Path(__file__).resolve().parents[1]
_MODULE_FILE = PACKAGE_FOLDER / "__main__.py"
#: What Windows and older installers make of the command's name.
_ENDINGS = ("", ".exe", "-script.py", "-script.pyw")


def name() -> str:
    """How this program was called, e.g. ``dps-simulator`` or ``.venv/bin/python -m dps_simulator``.

    In a process that is something else, such as a notebook's kernel, how it can be called.
    """
    return quoted(*_words())


def command_line(*arguments: object) -> str:
    """A command to type in the same terminal.

    Arguments:
        arguments: what follows the name, e.g. ``"stop", "--state", folder``.
    """
    return quoted(*_words(), *map(str, arguments))


def quoted(*words: str) -> str:
    """Words as a line that the shell takes apart again into the same words."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def _words() -> list[str]:
    called = sys.argv[0] if sys.argv else ""
    if Path(called).name.lower() in {COMMAND + ending for ending in _ENDINGS}:
        return [_shortest(called)]
    if called and _same(called, _MODULE_FILE):
        # the interpreter as it was typed, which sys.executable does not tell
        return [(sys.orig_argv or [sys.executable])[0], "-m", PACKAGE]
    script = shutil.which(COMMAND, path=str(Path(sys.executable).parent))
    return [_shortest(script)] if script else [sys.executable, "-m", PACKAGE]


def _shortest(script: str) -> str:
    """The bare command where the shell finds this very script by it, else the script as it is."""
    found = shutil.which(COMMAND)
    return COMMAND if found and _same(found, script) else script


def _same(one: str | Path, other: str | Path) -> bool:
    return os.path.normcase(Path(one).absolute()) == os.path.normcase(Path(other).absolute())
