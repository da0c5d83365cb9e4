"""Instructions of one registration in user mode, as callgrind counts them: a busy machine changes nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from .measure import Result
from .registrations import enroll, registering, registering_at_stub, simulator_process, stub_process

#: What a registration may cost.
GOAL = 5.0
#: An event of callgrind's own file that says how many instructions were counted.
_TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)


def instructions_per_registration(warm_up: int = 300, count: int = 300) -> Result | str:
    """Millions of instructions that the server runs for one registration by key over direct TLS, at pace ``instant``.

    Counted are those of the process in user mode. What happens once is left out: registrations before it, and the
    start, run with counting switched off. Hashes are fixed and one client comes after the other, so that two counts
    of the same code differ by some thousandths. What the stub needs for the same messages is told as well.

    Arguments:
        warm_up: registrations before it counts.
        count: registrations that are counted.
    """
    valgrind, control = shutil.which("valgrind"), shutil.which("callgrind_control")
    if valgrind is None or control is None:
        return "skipped: valgrind is not installed (apt install valgrind)"
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def under(file: str) -> list[str]:
            return [valgrind, "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder / file}"]

        def tell(process: int, what: str) -> None:
            subprocess.run([control, what, str(process)], check=True, capture_output=True, timeout=120)

        def counted(process: int, file: str, action: Callable[[], None]) -> float:
            _repeat(action, warm_up)
            tell(process, "--instr=on")
            _repeat(action, count)
            tell(process, "--instr=off")
            tell(process, "--dump")
            # one file for each dump
            texts = [each.read_text(encoding="utf-8") for each in folder.glob(f"{file}.*")]
            return max(int(found[1]) for text in texts for found in _TOTALS.finditer(text)) / count / 1e6

        with simulator_process(None, "--pace", "instant", under=under("ours"), environment=environment) as ours:
            running, process = ours
            enroll(running, "bench")
            value = counted(process, "ours", registering(running))
        with stub_process(folder / "stub", under("theirs"), environment) as (_, port, authority, process):
            bare = counted(process, "theirs", registering_at_stub(port, authority))
    return Result("user instructions of one registration", value, GOAL, "M", f"of {count}; the stub's: {bare:.2f}M")


def _repeat(action: Callable[[], object], times: int) -> None:
    for _ in range(times):
        action()
