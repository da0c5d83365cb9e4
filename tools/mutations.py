"""Tries what the tests notice: changes the simulator in small ways, one at a time, and runs the tests that pass there.

``python -m tools.mutations build/mutations.md`` draws changes, always the same ones for a seed, and writes a table of
which of them made a test fail. With ``--before`` each change is tried in an earlier checkout too, if it has the same
expression in a function of the same name: so one sees whether tests that moved still see as much.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from coverage import CoverageData

from tools.mutants import Mutation, draw, mutations_below, twin_of

ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = Path("simulator") / "dps_simulator"
#: What is changed, and the tests that may notice: both wings of the simulator, and what they take of credentials.
CODE = tuple(str(_PACKAGE / room) for room in ("provisioning", "hub", "credentials"))
TESTS = (
    *(f"tests/simulator/{room}" for room in ("credentials", "provisioning", "hub", "resource", "wire")),
    *(f"tests/simulator/common/test_{name}.py" for name in ("identifiers", "service_faults", "throttling")),
    *(f"tests/simulator/test_{name}.py" for name in ("changes_that_are_not_kept", "jumps_of_the_clock")),
)
#: Another seed is another sample.
SEED = 1
#: A test never ends that takes this many seconds longer than so many times the longest one without the change.
PATIENCE, TIMES_AS_LONG = 60, 20
#: What the tests of a change may take, in bytes, as some of the endless loops collect something.
_MEMORY = 4 << 30
#: Neither belongs to the code, or would be of use in a copy of it.
_NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".workspace", "build", "node_modules", ".*_cache", ".hypothesis", ".coverage*", "__pycache__"
)
#: Not every system knows such a bound.
_WITHIN_LIMITS = f"""
import contextlib, resource, runpy
with contextlib.suppress(ValueError):
    resource.setrlimit(resource.RLIMIT_AS, ({_MEMORY}, {_MEMORY}))
runpy.run_module("pytest", run_name="__main__", alter_sys=True)
"""
_TIME = re.compile(r"^\s*(\d+\.\d+)s (?:call|setup|teardown) +(\S.*)$", re.MULTILINE)
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", re.MULTILINE)
# exit statuses of pytest
_PASSED, _FAILURES, _NO_TESTS = 0, 1, 5


class MutationsError(RuntimeError):
    """No test passes without any change, or they cannot be run; the text holds the end of what they say."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a change.

    Attributes:
        caught: whether a test noticed.
        tests: how many tests pass there.
        by: the test that failed, or why nothing more is known.
    """

    caught: bool
    tests: int
    by: str = ""

    def __str__(self) -> str:
        """In one word for the table."""
        return "caught" if self.caught else "survived"


class Trial:
    """A copy of a checkout in which changes are made, one at a time, with the tests that run there.

    Arguments:
        checkout: where the code and its tests lie.
        folder: an empty folder for the copy.
        python: the interpreter with everything that the tests need.
        code: the folders of code that are changed, from the root of the checkout.
        tests: files or folders of tests.

    Raises:
        MutationsError: no test passes without any change.
    """

    def __init__(self, checkout: Path, folder: Path, *, python: str, code: Sequence[str], tests: Sequence[str]) -> None:
        self.root = folder / "checkout"
        shutil.copytree(checkout, self.root, ignore=_NOT_COPIED)
        self._python = python
        self._chosen = folder / "tests"
        self._data = folder / "coverage"
        self._settings = folder / "coverage.ini"
        sources = "".join(f"\n    {self.root / each}" for each in code)
        self._settings.write_text(f"[run]\ndata_file = {self._data}\nsource ={sources}\n", "utf-8")
        self._times = self._measure(tests)
        self._lines: dict[str, dict[int, list[str]]] = {}

    def _run(self, arguments: Sequence[str], tests: Sequence[str], *, start: Sequence[str]) -> tuple[int, str]:
        """Run pytest, with the code of the copy and not what is installed."""
        self._chosen.write_text("".join(f"{each}\n" for each in tests), "utf-8")
        path = os.pathsep.join(str(each) for each in (self.root, self.root / "simulator"))
        done = subprocess.run(
            [self._python, *start, "-q", "-p", "no:cacheprovider", *arguments, f"@{self._chosen}"],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        return done.returncode, done.stdout

    def _measure(self, tests: Sequence[str]) -> dict[str, float]:
        coverage = ["--cov", f"--cov-config={self._settings}", "--cov-context=test", "--cov-report="]
        times = ["--durations=0", "--durations-min=0"]
        status, output = self._run([*coverage, *times], tests, start=["-m", "pytest"])
        seconds: dict[str, float] = defaultdict(float)
        for time, test in _TIME.findall(output):
            seconds[test] += float(time)
        # who fails anyway notices nothing
        for test in _FAILED.findall(output):
            seconds.pop(test, None)
        if status not in (_PASSED, _FAILURES) or not seconds:
            raise MutationsError(f"The tests fail without any change:\n{output[-2000:]}")
        return seconds

    def tests_of(self, mutation: Mutation) -> list[str]:
        """The tests that pass at a change, fastest first.

        Arguments:
            mutation: the change.
        """
        if mutation.path not in self._lines:
            data = CoverageData(str(self._data))
            data.read()
            self._lines[mutation.path] = data.contexts_by_lineno(str(self.root / mutation.path))
        lines = self._lines[mutation.path]

        def of(first: int, last: int) -> set[str]:
            contexts = (context for line in range(first, last + 1) for context in lines.get(line, []))
            return {context.rpartition("|")[0] for context in contexts}

        # a piece of a long statement may have no line that is counted
        found = of(mutation.start[0], mutation.end[0]) or of(mutation.statement[0], mutation.statement[0])
        # what runs at import may show in any test
        known = self._times.keys() if found == {""} else found & self._times.keys()
        return sorted(known, key=lambda test: (self._times[test], test))

    def outcome(self, mutation: Mutation) -> Outcome:
        """Make a change, run the tests that pass there until one fails, and take it back.

        Arguments:
            mutation: the change.
        """
        tests = self.tests_of(mutation)
        if not tests:
            return Outcome(caught=False, tests=0, by="no test passes there")
        limit = PATIENCE + TIMES_AS_LONG * max(self._times[test] for test in tests)
        path = self.root / mutation.path
        source = path.read_text("utf-8")
        self._write(path, mutation.apply(source))
        try:
            status, output = self._run(
                ["-x", f"--timeout={limit:.0f}", "--timeout-method=thread"], tests, start=["-c", _WITHIN_LIMITS]
            )
        finally:
            self._write(path, source)
        if status == _NO_TESTS:
            raise MutationsError(f"There was nothing to run:\n{output[-2000:]}")
        by = "" if status == _PASSED else _first_failure(output)
        return Outcome(caught=status != _PASSED, tests=len(tests), by=by)

    @staticmethod
    def _write(path: Path, source: str) -> None:
        path.write_text(source, "utf-8")
        # two changes in one second can have one length, and Python would take the first one for the second
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            compiled.unlink()


def _first_failure(output: str) -> str:
    if "+++ Timeout +++" in output:
        return "it does not end"
    found = _FAILED.search(output)
    return found[1] if found else "the tests cannot start"


@dataclass(frozen=True, slots=True)
class Result:
    """A change, and what became of it.

    Attributes:
        number: which one of those drawn it is, from 1.
        mutation: the change.
        outcome: what became of it in this checkout.
        twin: the same change in the earlier checkout.
        earlier: what became of that.
    """

    number: int
    mutation: Mutation
    outcome: Outcome
    twin: Mutation | None = None
    earlier: Outcome | None = None


def document(results: Sequence[Result], *, seed: int) -> str:
    """The table of what became of every change.

    Arguments:
        results: the changes, in the order in which they were drawn.
        seed: what they were drawn with.
    """
    lines = ["# Mutations", "", f"Seed {seed}. {summary(results)}", ""]
    lines += ["| | where | kind | change | earlier | now | noticed by |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for result in results:
        mutation = result.mutation
        where = f"{mutation.path}:{mutation.start[0]} {mutation.function}"
        change = f"{_cell(mutation.before)} → {_cell(mutation.after)}"
        earlier = "–" if result.earlier is None else str(result.earlier)
        by = _cell(result.outcome.by) if result.outcome.by else f"none of {result.outcome.tests}"
        lines.append(
            f"| {result.number} | {where} | {mutation.kind} | {change} | {earlier} | {result.outcome} | {by} |"
        )
    return "\n".join([*lines, ""])


def told(result: Result) -> str:
    """A line that tells what became of a change, while others are still being tried.

    Arguments:
        result: the change.
    """
    mutation = result.mutation
    outcomes = ", ".join(str(each) for each in (result.earlier, result.outcome) if each is not None)
    return (
        f"{result.number} {mutation.path}:{mutation.start[0]} {mutation.kind}: {outcomes} {result.outcome.by}".rstrip()
    )


def summary(results: Sequence[Result]) -> str:
    """How many changes were caught, in a sentence or two.

    Arguments:
        results: the changes.
    """
    pairs = [result for result in results if result.earlier is not None]
    alone = [result for result in results if result.earlier is None]
    said = []
    if pairs:
        earlier = sum(result.earlier is not None and result.earlier.caught for result in pairs)
        now = sum(result.outcome.caught for result in pairs)
        said.append(f"Of {len(pairs)} changes in both, {earlier} were caught earlier and {now} are now.")
    if alone:
        where = " of what is new" if pairs else ""
        said.append(f"Of {len(alone)} changes{where}, {sum(each.outcome.caught for each in alone)} are caught.")
    return " ".join(said)


def _cell(text: str) -> str:
    """One line of code for a cell of the table."""
    short = " ".join(text.split())
    short = short if len(short) <= 100 else f"{short[:99]}…"
    return f"`{short}`".replace("|", "\\|")


def _interpreter(checkout: Path) -> str:
    """The environment of a checkout, or else this one."""
    own = checkout / ".venv" / "bin" / "python"
    return str(own) if own.exists() else sys.executable


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.mutations", description=__doc__)
    parser.add_argument("document", type=Path, help="the file for the table")
    parser.add_argument("--sample", type=int, default=100, help="how many changes to try (in both, with --before)")
    parser.add_argument("--seed", type=int, default=SEED, help="draws another sample")
    parser.add_argument("--only", default="", metavar="3,17", help="numbers of the table that are tried, and no others")
    parser.add_argument("--code", nargs="+", default=CODE, help="folders of code that are changed")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="tests that may notice")
    parser.add_argument("--python", help="runs the tests, instead of the environment of the checkout")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="an earlier checkout to compare with")
    parser.add_argument("--before-code", nargs="+", help="its folders of code, where they were others")
    parser.add_argument("--before-tests", nargs="+", help="its tests, where they were others")
    parser.add_argument("--before-python", help="runs its tests, instead of its environment")
    return parser.parse_args(arguments)


def _try(options: argparse.Namespace, folder: Path) -> Iterator[Result]:
    """Both checkouts at the same time, as most machines have two cores."""
    only = {int(number) for number in options.only.split(",") if number}
    others: list[Mutation] = []
    with ThreadPoolExecutor() as pool:
        before = None
        if options.before is not None:
            code = options.before_code or options.code
            others = mutations_below(options.before.resolve(), code)
            before = pool.submit(
                Trial,
                options.before,
                folder / "earlier",
                python=options.before_python or _interpreter(options.before.resolve()),
                code=code,
                tests=options.before_tests or options.tests,
            )
        python = options.python or _interpreter(ROOT)
        now = Trial(ROOT, folder / "now", python=python, code=options.code, tests=options.tests)
        earlier = before.result() if before is not None else None
        tried = 0
        for number, mutation in enumerate(draw(mutations_below(now.root, options.code), options.seed), start=1):
            if tried == options.sample:
                return
            twin = twin_of(mutation, others)
            # what is new is tried here only, and counts for itself
            tried += twin is not None or earlier is None
            if only and number not in only:
                continue
            was = pool.submit(earlier.outcome, twin) if earlier is not None and twin is not None else None
            outcome = now.outcome(mutation)
            yield Result(number, mutation, outcome, twin, was.result() if was is not None else None)


def main(arguments: Sequence[str]) -> int:
    """Try a sample of changes, tell about each, and write the table.

    Arguments:
        arguments: what stands on the command line.
    """
    options = _arguments(arguments)
    results = []
    # who has waited long enough keeps what is known by then
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory() as folder:
        for result in _try(options, Path(folder)):
            results.append(result)
            print(told(result), flush=True)  # noqa: T201 - a command
    options.document.parent.mkdir(parents=True, exist_ok=True)
    options.document.write_text(document(results, seed=options.seed), "utf-8")
    print(summary(results))  # noqa: T201 - a command
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
