"""What the notebooks import, and the simulator they run against."""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .python_versions import FIRST, problem

# grammar and standard library of an older Python do not do; a newer one may, and `make setup` and notebook 00 have
# their say about it
if sys.version_info < FIRST:
    raise ImportError(problem())

# an environment that was made when the simulator was a part of this package does not have it installed
if find_spec("dps_simulator") is None:
    sys.path.append(str(Path(__file__).resolve().parents[1] / "simulator"))

del sys, FIRST, Path, find_spec, problem

#: Where notebooks find today what they imported from here by another name before.
_MOVED = {
    "failure_lessons": "recipes.failures",
    "fleet_lessons": "recipes.cleanup",
    "lessons": "recipes.cleanup",
    "progress": "course.progress",
    "tpm_lessons": "recipes.tpm",
    "workshop": "course.workshop",
    "x509_lessons": "recipes.cleanup",
}


def __getattr__(name: str) -> Any:
    """Find a module that has moved, for a notebook that was written before."""
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f".{_MOVED[name]}", __name__)
