"""What one learner takes of a computer that many share: JupyterLab, kernel and simulator, through the first track."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from jupyter_client.blocking import BlockingKernelClient

from dps_simulator.process import launcher
from dps_simulator.process.address import read as read_endpoints
from helpers.runner.cli import scratch_folder
from helpers.runner.documents import REPOSITORY, find, read

from .measure import Result, cpu_seconds
from .memory import Watch, descendants

#: The guaranteed memory in docs/classes/values.yaml, in megabytes.
GOAL = 512
TRACK = ("11_symmetric_key_enroll", "12_symmetric_key_start", "13_symmetric_key_verify")
_MEGABYTE = 2**20
#: Seconds for a server to start, or for a cell to end. They pass only where something is broken.
_PATIENCE = 300


class Lab:
    """JupyterLab, as a learner has it.

    Arguments:
        folder: where its settings, its connections and its log go.
        workspace: of the notebooks.
    """

    def __init__(self, folder: Path, workspace: Path) -> None:
        self.folder, self.runtime = folder, folder / "runtime"
        folder.mkdir(parents=True)
        environment = {
            **os.environ,
            "DPS_WORKSPACE": str(workspace),
            "DPS_SIMULATOR_PACE": "azure",
            "JUPYTER_RUNTIME_DIR": str(self.runtime),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
        }
        command = [
            sys.executable,
            "-m",
            "jupyter",
            "lab",
            "--no-browser",
            "--allow-root",
            "--port=0",
            "--LabApp.news_url=",
        ]
        command += [f"--ServerApp.root_dir={REPOSITORY}", "--KernelManager.transport=ipc"]
        self.log = (folder / "lab.log").open("w+b")
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log)
        end = time.monotonic() + _PATIENCE
        while not (found := list(self.runtime.glob("jpserver-*.json"))) or not found[0].read_text(encoding="utf-8"):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((folder / "lab.log").read_text(encoding="utf-8"))
            time.sleep(0.1)
        server = json.loads(found[0].read_text(encoding="utf-8"))
        self.address, self.token = server["url"], server["token"]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask its API; what has no content is ``None``."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            self.address + path,
            json.dumps(body).encode() if body else None,
            {"Authorization": f"token {self.token}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310 - our own server
            return json.loads(answer.read() or "null")

    def run(self, name: str) -> str:
        """Open a notebook and run all its cells; returns the session, whose kernel goes on."""
        body = {"path": f"notebooks/{name}.ipynb", "name": name, "type": "notebook", "kernel": {"name": "python3"}}
        session = self.ask("POST", "api/sessions", body)
        client = BlockingKernelClient()
        client.load_connection_file(str(self.runtime / f"kernel-{session['kernel']['id']}.json"))
        client.start_channels()
        # not wait_for_ready: it takes a kernel that has not yet answered for a dead one
        client.kernel_info(reply=True, timeout=_PATIENCE)
        for cell in read(next(path for path in find() if path.stem == name)).cells:
            if cell.cell_type == "code":
                answer = client.execute_interactive(cell.source, output_hook=lambda _: None, timeout=_PATIENCE)
                if answer["content"]["status"] != "ok":
                    raise RuntimeError(f"{name}: {answer['content'].get('evalue')}")
        client.stop_channels()
        return str(session["id"])

    def close(self) -> None:
        """End it, and its kernels."""
        self.process.terminate()
        self.process.wait()
        self.log.close()


def one_learner(names: tuple[str, ...] = TRACK) -> list[Result | str]:
    """A learner goes through a track, with one notebook open at a time; then all of them are open at once.

    Arguments:
        names: the notebooks.
    """
    with scratch_folder() as scratch:
        workspace = scratch / "workspace"
        state = workspace / "simulator"
        try:
            lab = Lab(scratch / "lab", workspace)
            try:
                begun = cpu_seconds(lab.process.pid)
                kernels = 0.0
                with Watch(state, os.getpid()) as alone:
                    for name in names:
                        session = lab.run(name)
                        kernels += sum(map(cpu_seconds, descendants(lab.process.pid)))
                        lab.ask("DELETE", f"api/sessions/{session}")
                running = read_endpoints(state)
                simulator = cpu_seconds(running.process_id) if running else 0.0
                server = cpu_seconds(lab.process.pid) - begun
                with Watch(state, os.getpid()) as together:
                    for name in names:
                        lab.run(name)
            finally:
                lab.close()
        finally:
            launcher.stop(state)
    peak = alone.peak
    total = kernels + simulator + server
    track = ", ".join(re.sub(r"_.*", "", name) for name in names)
    return [
        Result(
            f"peak memory of one learner, notebooks {track}",
            peak.proportional / _MEGABYTE,
            GOAL,
            " MiB",
            f"simulator {peak.simulator / _MEGABYTE:.0f}; resident {peak.resident / _MEGABYTE:.0f}; "
            f"with all of them open {together.peak.proportional / _MEGABYTE:.0f} MiB",
        ),
        (
            f"{total:.1f} s of processor time: JupyterLab started in {begun:.1f} more, then {server:.1f}, "
            f"kernels {kernels:.1f}, simulator {simulator:.1f}"
        ),
    ]
