"""The simulator's command line, run in processes of its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from patience import PATIENCE

from dps_simulator.process.address import read

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-W", "error", "-m", "dps_simulator"]


def environment(**changes):
    """The environment without what could set up a simulator or lead a program elsewhere, plus changes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DPS_SIMULATOR_")}
    return {**kept, "PYTHONPATH": str(ROOT / "simulator"), **changes}


def command(*arguments, env=None, cwd=None, prefix=()):
    """Run one command to its end; returns its result with ``stdout`` and ``stderr`` as text."""
    return subprocess.run(
        [*prefix, *COMMAND, *map(str, arguments)],
        env=env or environment(),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class Served:
    """``serve`` in the background of a test. ``ready`` is its ready line, parsed when it is JSON."""

    def __init__(self, *arguments, env=None, cwd=None):
        self.process = subprocess.Popen(
            [*COMMAND, "serve", *map(str, arguments)],
            env=env or environment(),
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"it did not start: {self.process.communicate()[1]}")
        self.line = line
        self.ready = json.loads(line) if "--json" in arguments else {}

    @property
    def endpoint_file(self):
        return Path(self.ready["endpoint_file"])

    @property
    def running(self):
        return read(self.endpoint_file.parent)

    def stop(self, number=signal.SIGTERM):
        """Send a signal; returns exit code, rest of stdout, stderr."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.process.stdout.closed:
            self.process.kill()
            self.process.communicate()
