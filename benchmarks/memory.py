"""Memory of the kernel and the simulator while somebody works through all notebooks, one after the other."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dps_simulator.process import launcher
from dps_simulator.process.address import read as read_endpoints
from helpers.runner.cli import scratch_folder
from helpers.runner.documents import find, parameters, read
from helpers.runner.execution import Outcome, execute, with_parameters

from .measure import Result

#: Megabytes that kernel and simulator may take together. Binder gives 1 to 2 GB, of which Jupyter takes its part.
GOAL = 600
#: Seconds between two looks. Pictures and key pairs are made in less, but do not leave as fast as they come.
_PAUSE = 0.1
_MEGABYTE = 2**20
_SHARE = re.compile(r"^(Rss|Pss): +([0-9]+) kB$", re.MULTILINE)


@dataclass(slots=True)
class Peak:
    """The most memory so far, in bytes.

    Attributes:
        resident: what the processes have in use; what two of them share counts twice.
        proportional: the same, with what they share counted once.
        simulator: the simulator's part of the latter.
    """

    resident: int = 0
    proportional: int = 0
    simulator: int = 0


@dataclass(slots=True)
class Watch:
    """Looks at a process's descendants and at the simulator, again and again.

    Arguments:
        state: state folder of the simulator, which outlives the kernel that starts it.
        root: the process whose descendants count; it does not.
    """

    state: Path
    root: int
    peak: Peak = field(default_factory=Peak)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._watch, name="memory")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> None:
        """Look once."""
        running = read_endpoints(self.state)
        simulator = running.process_id if running is not None else 0
        memory = {process: memory_of(process) for process in {*descendants(self.root), simulator} - {0}}
        resident, proportional = (sum(sizes) for sizes in zip(*memory.values(), strict=True)) if memory else (0, 0)
        self.peak.resident = max(self.peak.resident, resident)
        if proportional > self.peak.proportional:
            self.peak.proportional = proportional
            self.peak.simulator = memory[simulator][1] if simulator else 0

    def _watch(self) -> None:
        while not self._stop.wait(_PAUSE):
            self.look()


def memory_of(process_id: int) -> tuple[int, int]:
    """Resident and proportional memory of a process in bytes, from ``/proc``; nothing when it is gone."""
    try:
        text = Path(f"/proc/{process_id}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        # gone, or just about to go
        return 0, 0
    sizes = {name: int(number) * 1_024 for name, number in _SHARE.findall(text)}
    return sizes.get("Rss", 0), sizes.get("Pss", 0)


def descendants(root: int) -> set[int]:
    """The processes that a process started, those that these started, and so on."""
    children: dict[int, list[int]] = {}
    for process_id, parent in _parents():
        children.setdefault(parent, []).append(process_id)
    found: set[int] = set()
    waiting = [root]
    while waiting:
        new = [each for each in children.get(waiting.pop(), []) if each not in found]
        found.update(new)
        waiting += new
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                # the name of the program stands in brackets and may hold anything
                fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                yield int(folder.name), int(fields[1])


def _run(notebook: Path, scratch: Path, workspace: Path) -> Peak:
    """The peak while one notebook runs as a learner runs it: unfilled exercises, and Azure's pace."""
    outcome = Outcome(notebook)
    document = read(notebook)
    if "target" in parameters(document):
        document = with_parameters(document, {"target": "simulator"})
    environment = {"DPS_WORKSPACE": str(workspace), "DPS_SIMULATOR_PACE": "azure"}
    with Watch(workspace / "simulator", os.getpid()) as watch:
        asyncio.run(execute(outcome, document, scratch=scratch, environment=environment, cell_timeout=300))
    if outcome.status != "passed":
        raise RuntimeError(f"{outcome.name} {outcome.status}: {outcome.error}")
    return watch.peak


def whole_suite(notebooks: list[Path] | None = None) -> Result:
    """All notebooks in order, each in a kernel of its own, with one workspace and one simulator.

    Arguments:
        notebooks: which ones, instead of all.
    """
    peaks: dict[str, Peak] = {}
    with scratch_folder() as scratch:
        workspace = scratch / "workspace"
        try:
            for number, notebook in enumerate(notebooks or find()):
                peaks[notebook.stem] = _run(notebook, scratch / str(number), workspace)
        finally:
            launcher.stop(workspace / "simulator")
    worst = max(peaks, key=lambda name: peaks[name].proportional)
    peak = peaks[worst]
    kernel = peak.proportional - peak.simulator
    return Result(
        f"peak memory, kernel + simulator, {len(peaks)} notebooks",
        peak.proportional / _MEGABYTE,
        GOAL,
        " MiB",
        f"in {worst}: kernel {kernel / _MEGABYTE:.0f}, simulator {peak.simulator / _MEGABYTE:.0f}; "
        f"shared pages counted twice: {max(each.resident for each in peaks.values()) / _MEGABYTE:.0f} MiB",
    )
