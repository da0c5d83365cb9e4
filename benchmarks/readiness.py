"""How long a simulator takes from the start of its process until all ports are open."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from .measure import Result
from .registrations import simulator_process


def ready_time(rounds: int = 7) -> Result:
    """Median over new state folders, certificate authority and all."""
    times = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            started = time.perf_counter()
            with simulator_process(Path(name) / "state"):
                times.append(time.perf_counter() - started)
    median = statistics.median(times)
    return Result("simulator ready, from process start", median, 1.0, "s", f"{min(times):.2f} to {max(times):.2f} s")
