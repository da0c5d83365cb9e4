"""Which versions of Python this runs on: ``python helpers/python_versions.py`` fails, in words, for any other.

What else names them, such as ``pyproject.toml``, is held to it by a test. This file and ``helpers/__init__.py`` keep to
old grammar, so that a Python that is too old gets as far as the refusal.
"""

import sys

FIRST = (3, 11)
LAST = (3, 14)

#: As in "Python 3.11 to 3.14".
SPAN = f"{FIRST[0]}.{FIRST[1]} to {LAST[0]}.{LAST[1]}"


def problem(version: "tuple[int, ...]" = sys.version_info[:2]) -> str:
    """What is wrong with a version of Python and what to do about it; empty when nothing is.

    Arguments:
        version: its first two numbers; by default those of the Python that runs.
    """
    if FIRST <= version <= LAST:
        return ""
    newest = f"{LAST[0]}.{LAST[1]}"
    return (
        f"This needs Python {SPAN}, and {sys.executable or 'this'} is Python {version[0]}.{version[1]}.\n"
        f"Install one of these versions and name it: make PYTHON=python{newest} setup\n"
        f"(without make, on Windows: delete the folder .venv, then  py -{newest} -m venv .venv  and on as in README.md)"
    )


if __name__ == "__main__":
    sys.exit(problem() or 0)
