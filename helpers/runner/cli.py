"""Runs the notebooks without a screen: ``python -m helpers.runner tutorial | notebooks | lint``.

``tutorial`` runs every notebook as a learner would, the tracks side by side, and writes a report. ``notebooks``
executes the notebooks and renews what stands in git. ``lint`` checks their form.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from dps_simulator.process import launcher, streams

from . import github_actions, junit, leaks, report
from .documents import (
    NotebookError,
    Parameter,
    Track,
    at_last_commit,
    code_cells,
    given_parameters,
    parameters,
    read,
    runs_on_azure,
    selected,
    tags,
    tracks,
    write,
)
from .execution import Outcome, execute, with_parameters
from .solutions import EXERCISE, NOT_YET, SOLVED, with_solutions

TARGETS = ("simulator", "azure")
USAGE = 2
#: Where folders for temporary files are short, and how long one may be: sockets lie in it, whose paths end early.
_SHORT, _LONGEST_TEMPORARY = "/tmp", 60  # noqa: S108 - mkdtemp makes a folder of our own in it
INTERRUPTED = 130


@dataclass(slots=True)
class Run:
    """What is to be run, and how.

    Attributes:
        tracks: the notebooks.
        outcomes: one for every notebook.
        values: injected parameters of every notebook; an empty mapping leaves it as it is.
        scratch: a folder that only this run uses; workspaces and kernels live in it.
        environment: variables for the kernels.
        cell_timeout: seconds that one cell may take.
        jobs: how many tracks run at the same time.
        solved: whether the exercises are filled in, and must then be found right.
        on_end: called with the outcome of every notebook that ran, however that ended.
        record: a folder in which every answer of the services is noted, a file for each notebook; ``None``: nowhere.
    """

    tracks: Sequence[Track]
    values: Mapping[Path, Mapping[str, Parameter]] = field(repr=False)  # the address of a webhook holds its code
    scratch: Path
    environment: Mapping[str, str]
    cell_timeout: float
    jobs: int
    solved: bool = False
    on_end: Callable[[Outcome], object] = lambda outcome: None
    record: Path | None = None
    outcomes: dict[Path, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Give every notebook its outcome: not run yet."""
        self.outcomes = {path: Outcome(path) for track in self.tracks for path in track.notebooks}

    def workspace(self, track: Track) -> Path:
        """Where the notebooks of a track keep what they hand to each other, and their simulator."""
        return self.scratch / track.name / "workspace"


class Display:
    """Progress for people: a bar in a terminal, plain lines elsewhere.

    Arguments:
        console: where to write.
        cells: number of code cells of all notebooks together.
    """

    def __init__(self, console: Console, cells: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("cells"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._running: list[str] = []
        self._task: TaskID = self._progress.add_task("starting", total=cells)

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def started(self, outcome: Outcome) -> None:
        """A notebook begins."""
        self._running.append(outcome.name)
        self._describe()

    def cell_done(self) -> None:
        """One code cell more is behind us."""
        self._progress.advance(self._task)

    def ended(self, outcome: Outcome) -> None:
        """A notebook is through."""
        self._running.remove(outcome.name)
        self._describe()
        line = f"{outcome.status:<11} {outcome.name:<32} {outcome.seconds:6.1f} s  {report.place(outcome)}"
        self._progress.console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)

    def _describe(self) -> None:
        self._progress.update(self._task, description=", ".join(self._running) or "done")


async def run_track(run: Run, track: Track, display: Display) -> None:
    """Run the notebooks of a track in order. A failure does not stop it: every notebook makes what it needs."""
    # a track has a simulator of its own, whatever the person who runs it has set
    environment = {**run.environment, "DPS_WORKSPACE": str(run.workspace(track)), "DPS_SIMULATOR_STATE": ""}
    for number, path in enumerate(track.notebooks):
        outcome = run.outcomes[path]
        document = read(path)
        if run.solved:
            document = with_solutions(document)
        values = run.values.get(path)
        if values:
            document = with_parameters(document, values)
        display.started(outcome)
        noted = {} if run.record is None else {"DPS_RECORD_ANSWERS": str(run.record / f"{path.stem}.jsonl")}
        try:
            await execute(
                outcome,
                document,
                scratch=run.scratch / track.name / str(number),
                environment={**environment, **noted},
                cell_timeout=run.cell_timeout,
                on_cell=display.cell_done,
            )
            if run.solved:
                _check_exercises(outcome)
        finally:
            display.ended(outcome)
            run.on_end(outcome)


def _check_exercises(outcome: Outcome) -> None:
    """A notebook whose solutions do not solve its exercises has failed."""
    for number, cell in enumerate(code_cells(outcome.document), 1) if outcome.status == "passed" else ():
        written = "".join(out.text for out in cell.outputs if out.output_type == "stream")
        if EXERCISE in tags(cell) and (NOT_YET in written or SOLVED not in written):
            outcome.fail(f"The solution does not solve the exercise: {' '.join(written.split())}", number)


def longest_first(of: Sequence[Track]) -> list[Track]:
    """Tracks in the order in which several at a time are through soonest: no long one is begun last.

    How long one takes differs from machine to machine; how many cells it has does not, and says enough.
    """
    return sorted(of, key=lambda track: -sum(len(code_cells(read(path))) for path in track.notebooks))


async def run_tracks(run: Run, display: Display) -> None:
    """Run all tracks, ``jobs`` at a time. Ends early, with everything stopped, on SIGINT and SIGTERM."""
    free = asyncio.Semaphore(run.jobs)
    waiting = longest_first(run.tracks) if run.jobs > 1 else run.tracks

    async def next_track(track: Track) -> None:
        async with free:
            await run_track(run, track, display)

    together = asyncio.gather(*(next_track(track) for track in waiting))
    with _stopping(together.cancel):
        try:
            await together
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            together.cancel()


@contextlib.contextmanager
def _stopping(stop: Callable[[], object]) -> Iterator[None]:
    """Call ``stop`` instead of dying when somebody presses Ctrl-C or asks the process to end."""
    loop = asyncio.get_running_loop()
    handled: list[signal.Signals] = []
    for name in (signal.SIGINT, signal.SIGTERM):
        # Windows has no signal handlers in the loop, and other threads must not have any; KeyboardInterrupt does there
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(name, stop)
            handled.append(name)
    try:
        yield
    finally:
        for name in handled:
            loop.remove_signal_handler(name)


def perform(run: Run, console: Console) -> bool:
    """Run everything and leave no process behind; tells whether it was interrupted."""
    cells = sum(len(code_cells(read(path))) + bool(run.values.get(path)) for path in run.outcomes)
    try:
        with Display(console, cells) as display:
            asyncio.run(run_tracks(run, display))
    except KeyboardInterrupt:
        return True
    finally:
        for track in run.tracks:
            try:
                launcher.stop(run.workspace(track) / "simulator")
            except launcher.LaunchError as error:
                console.print(str(error), markup=False, highlight=False, soft_wrap=True)
    return False


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for one run. Its path is short, because socket paths are."""
    is_long = len(os.fsencode(tempfile.gettempdir())) > _LONGEST_TEMPORARY
    folder = Path(tempfile.mkdtemp(prefix="dps-run-", dir=_SHORT if is_long and os.access(_SHORT, os.W_OK) else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def tutorial(arguments: argparse.Namespace, console: Console) -> int:
    """Run notebooks as a learner would, side by side, and write the report.

    Arguments:
        arguments: of :func:`parser`.
        console: where progress and results are written.

    Returns:
        The exit status: 0 when all passed, 1 when one did not, 130 when it was interrupted.

    Raises:
        NotebookError: what was asked for cannot be run, or the report cannot be written.
    """
    paths, left_out = selected(arguments.notebooks), list[Path]()
    if arguments.target == "azure":
        paths, left_out = _for_azure(paths, console, named=bool(arguments.notebooks))
    declared = {path: parameters(read(path)) for path in paths}
    given = dict(_name_and_value(text) for text in arguments.parameter)
    # pages without code have no parameters, not even this one
    target = {"target": arguments.target} if any("target" in names for names in declared.values()) else {}
    values = given_parameters({**target, **given}, declared)
    environment = {} if arguments.target == "azure" else {"DPS_SIMULATOR_PACE": arguments.pace}
    facts = {"target": _TARGET_NAMES[arguments.target]}
    if arguments.target == "simulator":
        facts["pace"] = arguments.pace
    # the track about hubs changes the service for everybody; on the simulator every track has one of its own
    jobs = arguments.jobs or (1 if arguments.target == "azure" else cores())
    if arguments.junit is not None:
        junit.prepare(arguments.junit)
    _prepare_output(arguments.output)
    with scratch_folder() as scratch, _Pages(arguments.output) as pages:
        run = Run(
            # Azure is one service for all tracks; to be compared with it, the simulator must be one, too
            tracks(paths) if arguments.record is None else [Track("all", tuple(paths))],
            values,
            scratch,
            environment,
            arguments.cell_timeout,
            jobs,
            arguments.solutions,
            pages.add,
        )
        run.record = arguments.record
        console.print(
            f"{len(paths)} notebooks, {min(jobs, len(run.tracks))} at a time. Target: {facts['target']}.",
            highlight=False,
            soft_wrap=True,
        )
        interrupted = perform(run, console)
        outcomes, now = list(run.outcomes.values()), datetime.now(timezone.utc)
        saved = report.save(outcomes, arguments.output, facts, now, pages.written())
        _keep_logs(run, arguments.output / "logs")
    console.print(_table(outcomes))
    console.print(report.summary(outcomes), highlight=False)
    console.print(f"Report: {saved}", highlight=False, soft_wrap=True)
    if arguments.junit is not None:
        reasons = {path.stem: "on the simulator only; this run was on Azure" for path in left_out}
        junit.save(outcomes, arguments.junit, left_out=reasons, facts={**facts, **report.versions()}, now=now)
        console.print(f"JUnit: {arguments.junit}", highlight=False, soft_wrap=True)
    github_actions.annotate(outcomes, os.environ, print)
    if interrupted:
        return INTERRUPTED
    return 0 if all(outcome.status == "passed" for outcome in outcomes) else 1


def cores() -> int:
    """How many cores this process may use, which in a container are often fewer than the machine has."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _prepare_output(folder: Path) -> None:
    """Make the folder of the report, before minutes are spent on what could not be kept.

    Raises:
        NotebookError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise NotebookError(
            f"The folder {str(folder)!r} for the report cannot be made: {problem.strerror or problem}. "
            "Name another one with --output."
        ) from problem


class _Pages:
    """Writes the pages of notebooks while others still run: that is seconds of work, and kernels wait a lot.

    Arguments:
        output: the folder of the report.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        # one thread: more would take the processor from the kernels
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._begun: dict[Path, concurrent.futures.Future[None]] = {}

    def __enter__(self) -> _Pages:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def add(self, outcome: Outcome) -> None:
        """Write the page of a notebook that is through."""
        self._begun[outcome.notebook] = self._thread.submit(report.keep, outcome, self._output)

    def written(self) -> set[Path]:
        """Wait for all pages.

        Returns:
            The notebooks that have one.

        Raises:
            OSError: one could not be written.
        """
        for future in self._begun.values():
            future.result()
        return set(self._begun)


def _for_azure(paths: Sequence[Path], console: Console, *, named: bool) -> tuple[list[Path], list[Path]]:
    """The notebooks that may run on Azure, and those left out. One that may not is refused when it was named.

    Raises:
        NotebookError: somebody asked for one.
    """
    left_out = [path for path in paths if not runs_on_azure(read(path))]
    names = ", ".join(path.stem for path in left_out)
    if left_out and named:
        raise NotebookError(f"On the simulator only: {names}. Leave out, or run without --target azure.")
    if left_out:
        console.print(f"Left out, on the simulator only: {names}.", highlight=False, soft_wrap=True)
    return [path for path in paths if path not in left_out], left_out


def renew(arguments: argparse.Namespace, console: Console) -> int:
    """Execute notebooks as they stand, one after the other, and renew all outputs of those where one changed.

    Arguments:
        arguments: of :func:`parser`.
        console: where progress and results are written.

    Returns:
        The exit status: 0 when all passed, 1 when one did not, 130 when it was interrupted, and no file was changed.

    Raises:
        NotebookError: a name fits no notebook, or a file is none.
    """
    # it brings nbval and pytest, which the other commands do without
    from .normalise import is_outdated, merge, sanitize_rules  # noqa: PLC0415

    paths = selected(arguments.notebooks)
    rules = sanitize_rules()
    with scratch_folder() as scratch:
        run = Run([Track("all", tuple(paths))], {}, scratch, {"DPS_SIMULATOR_PACE": "azure"}, arguments.cell_timeout, 1)
        if perform(run, console):
            console.print("Interrupted. No notebook was changed.")
            return INTERRUPTED
        outcomes = list(run.outcomes.values())
    changed: list[str] = []
    for outcome in outcomes:
        if outcome.status != "passed" or outcome.document is None:
            continue
        before, document = outcome.notebook.read_bytes(), read(outcome.notebook)
        anew = arguments.anew or is_outdated(document, at_last_commit(outcome.notebook))
        write(merge(document, outcome.document, rules, anew=anew), outcome.notebook)
        if outcome.notebook.read_bytes() != before:
            changed.append(outcome.name)
    console.print(report.summary(outcomes), highlight=False)
    console.print(f"Changed: {', '.join(changed) or 'nothing'}.", highlight=False, soft_wrap=True)
    return 0 if all(outcome.status == "passed" for outcome in outcomes) else 1


def lint(arguments: argparse.Namespace, console: Console) -> int:
    """Check the form of notebooks, and write what is wrong, a line each.

    Arguments:
        arguments: of :func:`parser`.
        console: where the lines are written.

    Returns:
        The exit status: 0 when nothing is wrong, else 1.

    Raises:
        NotebookError: a name fits no notebook.
    """
    # likewise
    from .lint import problems  # noqa: PLC0415

    paths = selected(arguments.notebooks)
    found = [problem for path in paths for problem in problems(path)]
    for problem in found:
        console.print(problem, markup=False, highlight=False, soft_wrap=True)
    many = f"{len(paths)} notebook{'s' if len(paths) != 1 else ''}"
    console.print(f"{many}: {len(found)} problem{'s' if len(found) != 1 else ''}.", highlight=False)
    return 1 if found else 0


_TARGET_NAMES = {"simulator": "simulator on this machine, not Azure", "azure": "Azure"}


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table("Notebook", "Outcome", "Seconds", "What failed")
    table.columns[2].justify = "right"
    for outcome in outcomes:
        row = (outcome.name, outcome.status, f"{outcome.seconds:.1f}", report.place(outcome))
        # error texts contain square brackets, which rich would read as markup
        table.add_row(*(cell.replace("[", "\\[") for cell in row))
    return table


def _keep_logs(run: Run, folder: Path) -> None:
    """Keep the simulators' logs of failed tracks beside the report, for whoever looks for the cause."""
    shutil.rmtree(folder, ignore_errors=True)
    for track in run.tracks:
        if all(run.outcomes[path].status == "passed" for path in track.notebooks):
            continue
        for log in sorted((run.workspace(track) / "simulator").glob("*.log")):
            folder.mkdir(parents=True, exist_ok=True)
            text = leaks.masked(log.read_text(encoding="utf-8", errors="replace"))
            (folder / f"track_{track.name}_{log.name}").write_text(text, encoding="utf-8")


def _name_and_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise NotebookError(f"{text!r} is no parameter. Write it as name=value.")
    return name, value


def _pace(text: str) -> str:
    if not re.fullmatch(r"azure|instant|polls=\d{1,4}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is none of instant, azure, polls=N")
    return text


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = 0
        if not number > 0:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
        return number

    return parse


def parser() -> argparse.ArgumentParser:
    """What reads the command line: a command with its options, and as ``action`` the function that carries it out."""
    main_parser = argparse.ArgumentParser(prog="python -m helpers.runner", description=__doc__.splitlines()[0])
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("notebooks", nargs="*", help="paths, or how names start (13); default: all")
    timing = argparse.ArgumentParser(add_help=False)
    timing.add_argument(
        "--cell-timeout", type=_positive(float), default=120.0, metavar="SECONDS", help="for one cell (default: 120)"
    )

    run = commands.add_parser("tutorial", parents=[common, timing], help="run notebooks and write a report")
    run.set_defaults(action=tutorial)
    run.add_argument("--target", choices=TARGETS, default="simulator", help="where devices are provisioned")
    run.add_argument(
        "--pace", type=_pace, default="instant", help="of the simulator: instant (default), azure or polls=N"
    )
    run.add_argument(
        "--jobs",
        type=_positive(int),
        default=0,
        help="tracks at a time (default: one per core; on azure 1, as all tracks share one provisioning service there)",
    )
    run.add_argument("--solutions", action="store_true", help="solve the exercises, and see that they are solved")
    run.add_argument("--output", type=Path, default=Path("build"), help="folder for the report (default: build)")
    run.add_argument(
        "--junit", type=Path, metavar="FILE", help="write the results as JUnit XML, too, for a CI service to show"
    )
    run.add_argument(
        "--record", type=Path, metavar="FOLDER", help="note every answer of the services, for helpers.comparison"
    )
    run.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="for the notebooks")

    again = commands.add_parser("notebooks", parents=[common, timing], help="execute notebooks and renew their outputs")
    again.set_defaults(action=renew)
    again.add_argument("--anew", action="store_true", help="renew all outputs, also where they agree with the old ones")

    form = commands.add_parser("lint", parents=[common], help="check the form of notebooks")
    form.set_defaults(action=lint)
    return main_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Arguments:
        argv: instead of those of the process.

    Returns:
        The exit status: that of the command, or 2 when it could not be carried out, which standard error says.
    """
    streams.make_usable()
    arguments = parser().parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        code: int = arguments.action(arguments, console)
    except NotebookError as problem:
        print(f"error: {problem}", file=sys.stderr)  # noqa: T201 - the command's own error stream
        return USAGE
    return code
