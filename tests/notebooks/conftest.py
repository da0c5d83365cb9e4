import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from helpers.runner.documents import REPOSITORY
from dps_simulator.process import launcher


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "notebooks":
            # notebooks run in processes of their own; such a socket belongs to an SDK client of an earlier test
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"))


@pytest.fixture
def short_folder():
    """An empty folder whose path is short enough for sockets in it."""
    folder = Path(tempfile.mkdtemp(prefix="nb-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def fresh(tmp_path):
    """Runs a command with a workspace of its own, whose simulator is stopped afterwards."""
    workspace = tmp_path / "workspace"

    def run(*command, pace, folder=REPOSITORY):
        environment = {**os.environ, "DPS_WORKSPACE": str(workspace), "DPS_SIMULATOR_PACE": pace}
        # several notebooks run after each other in one command; none of their cells may take this long
        done = subprocess.run(
            [str(part) for part in command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1_200,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    yield run
    launcher.stop(workspace / "simulator")
