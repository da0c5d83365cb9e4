"""The result of a run as JUnit XML, which CI services read and show."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from . import leaks
from .documents import NotebookError, code_cells
from .execution import Outcome, without_colours
from .report import place

SUITE = "notebooks"
#: The class of an exception, in front of what it says.
_CLASS = re.compile(r"[A-Za-z_]\w*(?=:)")
#: What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def prepare(path: Path) -> None:
    """Make sure that the file can be written, before anything runs; that of an earlier run goes.

    Arguments:
        path: where the results shall stand.

    Raises:
        NotebookError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
        path.unlink()
    except OSError as problem:
        raise NotebookError(
            f"The JUnit file {str(path)!r} cannot be written: {problem.strerror or problem}. Name another file."
        ) from problem


def save(
    outcomes: Sequence[Outcome],
    path: Path,
    *,
    left_out: Mapping[str, str],
    facts: Mapping[str, str],
    now: datetime,
) -> None:
    """Write one test case for every notebook, with its time, and why it did not pass.

    Arguments:
        outcomes: the notebooks of the run, in order.
        path: the file.
        left_out: names of notebooks that were not to be run, and why.
        facts: what else to tell, e.g. target and pace.
        now: when the run ended.
    """
    suite = TestSuite(SUITE)
    suite.timestamp = now.isoformat(timespec="seconds")
    for name, value in facts.items():
        suite.add_property(name, _text(value))
    cases = [*map(_case, outcomes), *(_skipped(name, reason) for name, reason in left_out.items())]
    suite.add_testcases(sorted(cases, key=lambda case: str(case.name)))
    suites = JUnitXml()
    suites.add_testsuite(suite)
    # it counts what the suites have counted
    suites.update_statistics()  # type: ignore[no-untyped-call]
    suites.write(str(path), pretty=True)


def _case(outcome: Outcome) -> TestCase:
    case = TestCase(_text(outcome.name), SUITE, round(outcome.seconds, 3))
    if outcome.status == "failed":
        kind = _CLASS.match(outcome.error)
        failure = Failure(_text(place(outcome)), kind[0] if kind else "Failure")
        failure.text = details(outcome)
        case.result = [failure]
    elif outcome.status == "interrupted":
        case.result = [Error("interrupted", "Interrupted")]
    elif outcome.status == "not run":
        case.result = [Skipped("not run, as the run was interrupted before")]
    return case


def _skipped(name: str, reason: str) -> TestCase:
    case = TestCase(_text(name), SUITE, 0.0)
    case.result = [Skipped(_text(reason))]
    return case


def details(outcome: Outcome) -> str:
    """The cell that failed, and what it wrote: a traceback, or a warning on stderr; without colours and secrets.

    Arguments:
        outcome: of a notebook that did not pass.
    """
    cells = code_cells(outcome.document) if outcome.document is not None and outcome.cell else []
    if not cells:
        return _text(place(outcome))
    cell = cells[outcome.cell - 1]
    written = [
        "\n".join(output.traceback) if output.output_type == "error" else output.text
        for output in cell.outputs
        if output.output_type == "error" or (output.output_type == "stream" and output.name == "stderr")
    ]
    return _text("\n\n".join([f"In [{outcome.cell}]:\n{cell.source}", *(written or [place(outcome)])]))


def _text(text: str) -> str:
    """A text that XML can hold, without colours and secrets."""
    return leaks.masked(_NOT_XML.sub("\ufffd", without_colours(text)))
