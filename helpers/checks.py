"""Checks: parameters at the top of a notebook, steps on the way, exercises and the environment.

A *step* that fails raises, so that a run without a reader fails too. An *exercise* only gives a hint and goes on.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any

from . import parameter_rules, python_versions, workspace
from .course import progress
from .errors import HelperError
from .masking import MaskedError, shown
from .problems import causes, status_of

#: Seconds that a fact may need to become visible. The simulator shows it at once, Azure a moment later.
PATIENCE = 30.0


class CheckFailed(HelperError, AssertionError):  # noqa: N818  (says what happened)
    """A step of the notebook did not do what it should; the text holds the verdict and a hint."""


class ParameterError(MaskedError, ValueError):
    """A parameter of the notebook is unknown, or has the wrong type or value."""


_NOTEBOOK = re.compile(r"[0-9]{2}_[a-z0-9_]{1,60}")


def check_parameters(notebook: str, /, *, simulator_only: str = "", **values: object) -> None:
    """Check the parameters of a notebook, and that nobody set one that it does not have.

    Papermill only warns about an unknown name, and turns ``007`` into the number 7. Here both are errors. From here
    on, steps that pass and exercises that are solved count as progress in this notebook.

    Arguments:
        notebook: name of the notebook, without its ending.
        simulator_only: for a notebook that must not touch Azure, the reason, as a sentence.
        values: every parameter of the notebook under its name.

    Raises:
        ParameterError: names all wrong parameters at once, and what would be right.
    """
    if not isinstance(notebook, str) or not _NOTEBOOK.fullmatch(notebook):
        raise ParameterError(f"{shown(notebook)} is not the name of a notebook; it must be like '00_start_here'.")
    if simulator_only and values.get("target") == "azure":
        raise ParameterError(f"This notebook runs on the simulator only: {simulator_only} Set target to 'simulator'.")
    problems = [
        f"{name}: this notebook has no such parameter. It has {', '.join(values)}."
        for name in _injected_names()
        if name not in values
    ]
    problems += parameter_rules.problems(notebook, values)
    if problems:
        raise ParameterError("\n".join(problems))
    progress.begin(notebook)
    _say("Parameters: ok")


def _injected_names() -> list[str]:
    """Names that papermill set in the cell it adds; it begins with a comment of its own."""
    main: Any = sys.modules.get("__main__")
    names: list[str] = []
    for source in getattr(main, "In", [])[:-1]:
        if not source.startswith("# Parameters\n"):
            continue
        for statement in ast.parse(source).body:
            if isinstance(statement, ast.Assign):
                names += [target.id for target in statement.targets if isinstance(target, ast.Name)]
    return list(dict.fromkeys(names))


def step(what: str, passed: object, *, hint: str) -> None:
    """Say that a step worked, or raise.

    Arguments:
        what: what should be true, as a sentence without full stop.
        passed: whether it is.
        hint: what to look at when it is not.

    Raises:
        CheckFailed: when it is not true.
    """
    if not passed:
        raise CheckFailed(f"Not so: {what}.\nHint: {hint}")
    progress.passed(what)
    _say(f"✓ passed: {what}")


def exercise(what: str, solved: object, *, hint: str, mistakes: Iterable[object] = ()) -> None:
    """Say whether an exercise is solved; never raises, so that an unsolved one stops nobody.

    Arguments:
        what: what was asked for, as a sentence without full stop.
        solved: whether the answer is right.
        hint: what to look at when there is no answer, or one that nobody expected.
        mistakes: usual mistakes, each as ``made and "the hint for it"``; the first one made counts.
    """
    made = next(filter(None, mistakes), hint)
    if solved:
        progress.solved(what)
    _say(f"✓ solved: {what}" if solved else f"○ not yet: {what}\n  Hint: {made}")


def wait_until(
    what: str, condition: Callable[[], object], *, hint: str, seconds: float = PATIENCE, pause: float = 0.1
) -> None:
    """A step whose truth may take a moment to show.

    Raises:
        CheckFailed: when it is still not true after the time.
    """
    deadline = time.monotonic() + seconds
    while not (passed := bool(condition())) and time.monotonic() < deadline:
        time.sleep(pause)
    step(what, passed, hint=hint)


class expect_failure:  # noqa: N801  (reads as a statement: with expect_failure(...))
    """``with expect_failure(SomeError, containing="401") as failure:`` — the block has to fail, and just so.

    The error is kept as ``failure.error`` for a closer look. When nothing fails, or something else does, the cell
    fails: a lesson about an error is worth nothing when the error does not come.

    Arguments:
        expected: class of the error.
        containing: text that the error or one of its causes must contain.
    """

    error: BaseException

    def __init__(self, expected: type[Exception], *, containing: str = "") -> None:
        self._expected = expected
        self._containing = containing

    def __enter__(self) -> expect_failure:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if error is None:
            raise CheckFailed(f"This should have failed with {self._expected.__name__}, and it worked.")
        if not isinstance(error, self._expected):
            return False
        if self._containing and not any(self._containing in str(each) for each in causes(error)):
            raise CheckFailed(
                f"This failed with {type(error).__name__}, as it should, but {self._containing!r} stands nowhere in it."
            ) from error
        self.error = error
        _say(f"✓ failed as expected: {type(error).__name__}")
        return True


@contextlib.contextmanager
def gone_is_fine() -> Iterator[None]:
    """Stands around a deletion, so that the cell can be run again when there is nothing left.

    Of all errors only "not found" (404) is overlooked, whichever client raises it.
    """
    try:
        yield
    except Exception as problem:
        if status_of(problem) != HTTPStatus.NOT_FOUND:
            raise


@dataclass(frozen=True)
class _Part:
    """Something that must be there for the notebooks to run."""

    what: str
    check: Callable[[], object]
    remedy: str


def _imports(*modules: str) -> Callable[[], object]:
    def check() -> bool:
        for module in modules:
            importlib.import_module(module)
        return True

    return check


_INSTALL = "run 'make setup' in the folder of this repository, then restart the kernel"

_PARTS = (
    _Part(
        f"Python {python_versions.SPAN}",
        lambda: not python_versions.problem(),
        "install one of these versions, then " + _INSTALL,
    ),
    _Part("SDK for devices (azure-iot-device)", _imports("azure.iot.device"), _INSTALL),
    _Part("SDK for enrollments (azure-iot-deviceprovisioning)", _imports("azure.iot.deviceprovisioning"), _INSTALL),
    _Part("SDK for CA certificates (azure-mgmt)", _imports("azure.mgmt.iothubprovisioningservices"), _INSTALL),
    _Part("access to the hub's registry", _imports("helpers.registry"), _INSTALL),
    _Part("widgets (ipywidgets)", _imports("ipywidgets"), _INSTALL),
    _Part("simulator", _imports("dps_simulator", "aiohttp", "OpenSSL"), _INSTALL),
    _Part("workspace folder", workspace.root, "set DPS_WORKSPACE to a folder that you may write to"),
)


def environment() -> None:
    """Check what the notebooks need, print one line each, and a remedy where something is missing.

    Raises:
        CheckFailed: when something is missing.
    """
    missing: list[str] = []
    for part in _PARTS:
        try:
            there = bool(part.check())
        except (ImportError, workspace.WorkspaceError) as problem:
            there = False
            _say(f"✗ missing: {part.what} ({problem})")
        else:
            _say(f"✓ ready: {part.what}" if there else f"✗ missing: {part.what}")
        if not there:
            missing.append(part.what)
            _say(f"  Remedy: {part.remedy}")
    if missing:
        raise CheckFailed(f"Not ready yet: {', '.join(missing)}. The remedies stand above.")


def _say(text: str) -> None:
    print(text)  # noqa: T201  (the notebook's output)
