"""Every notebook runs where ``azure-iot-hub`` cannot be installed, and its exercises can be solved there.

The package is in the environment of the tests; ``without_azure_iot_hub/sitecustomize.py`` makes it unimportable in
every Python that starts with that folder on its path, so also in the kernels and in the simulators that they start.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.runner import cli as runner
from helpers.runner.documents import code_cells, find, read, tracks

ABSENT = Path(__file__).with_name("without_azure_iot_hub")
pytestmark = [pytest.mark.notebooks, pytest.mark.timeout(400)]


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Takes the package away from every Python that is started from now on; the file says where it was missed."""
    file = tmp_path / "refused.txt"
    monkeypatch.setenv("PYTHONPATH", str(ABSENT))
    monkeypatch.setenv("DPS_REFUSED_IMPORTS", str(file))
    return file


@pytest.mark.anywhere
@pytest.mark.parametrize("track", tracks(find()), ids=lambda track: f"track {track.name}")
def test_every_notebook_runs_with_its_solutions(tmp_path, capsys, refused, track):
    build = tmp_path / "build"
    paths = [str(path) for path in track.notebooks]
    assert runner.main(["tutorial", "--solutions", "--output", str(build), *paths]) == 0, capsys.readouterr().out
    assert not list(build.glob("logs/*"))
    # each kernel tried, in vain
    kernels = [path for path in track.notebooks if code_cells(read(path))]
    assert refused.read_text().splitlines() == ["ipykernel_launcher.py azure.iot.hub"] * len(kernels)


@pytest.mark.parametrize("module", ["azure.iot.hub", "azure.iot.hub.models", "uamqp", "uamqp.constants"])
def test_it_is_absent(refused, module):
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ModuleNotFoundError: No module named ")
    assert refused.read_text()


def test_nothing_else_is_absent_and_the_stand_in_takes_over(refused):
    program = (
        "import azure.iot.device, azure.iot.deviceprovisioning, helpers.target.registry as registries;"
        "print(registries.official_available(), registries.twin_patch(desired={'a': 1}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False Record(properties, tags)\n"
    assert "PYTHONPATH" in os.environ
