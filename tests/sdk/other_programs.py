"""Programs of other people that tests need: what is said where they are missing, and how they find the simulator."""

import os
import shutil
import subprocess

import pytest
from patience import PATIENCE


def skip(reason):
    """Leave a test out, but not where everything must be tested."""
    if "CI" in os.environ:
        pytest.fail(f"not to be skipped in CI: {reason}")
    pytest.skip(reason)


def environment(**settings):
    """Nothing but what a program needs to run at all, and these settings."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, **{name: str(value) for name, value in settings.items() if value is not None}}


def compiled(folder, source, *options, needs):
    """Compile a program in C, with every warning an error; the test is skipped where a compiler or header is missing.

    Arguments:
        folder: where the program goes.
        source: its file.
        options: of the compiler, behind the source.
        needs: headers that must be there, and the packages of Debian to be named otherwise.
    """
    packages, *headers = needs
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        skip(f"needs a compiler for C: apt-get install gcc libc6-dev {packages}")
    for header in headers:
        asked = [compiler, "-E", "-x", "c", "-include", header, os.devnull]
        if subprocess.run(asked, capture_output=True, timeout=PATIENCE, check=False).returncode:
            skip(f"needs {header}: apt-get install {packages}")
    program = folder / source.stem
    done = subprocess.run(
        [compiler, "-Wall", "-Wextra", "-Werror", "-o", program, source, *options],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return program
