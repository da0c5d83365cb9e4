"""Medians, ratios and the table that ``make bench`` prints."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table.

    Attributes:
        name: what was compared.
        value: the ratio, or seconds or memory where the goal is such.
        goal: the most that it should be.
        unit: ``x``, ``s`` or ``KiB``.
        facts: the medians behind it.
    """

    name: str
    value: float
    goal: float
    unit: str
    facts: str

    def line(self) -> str:
        """The result as one line of text."""
        verdict = "ok  " if self.value <= self.goal else "MISS"
        return f"{verdict} {self.name:<58} {self.value:6.2f}{self.unit}  (goal {self.goal:g}{self.unit})  {self.facts}"


def seconds(action: Callable[[], object]) -> float:
    """How long the action takes, by the clock on the wall."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def alternating(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median seconds of two actions, measured in turn so that a drifting machine hits both alike."""
    first()
    second()
    times = [(seconds(first), seconds(second)) for _ in range(rounds)]
    return statistics.median(a for a, _ in times), statistics.median(b for _, b in times)


def cpu_seconds(process_id: int) -> float:
    """Processor time that a process has used so far, user and system, from ``/proc``."""
    fields = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(process_id: int | None = None) -> int:
    """Memory that a process has in use, from ``/proc``; without a number, this one."""
    text = Path(f"/proc/{process_id or 'self'}/statm").read_text(encoding="ascii")
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")
