"""The notebooks run under plain papermill, wherever it is started, and do not swallow wrong parameters."""

import sys
from pathlib import Path

import nbformat
import pytest

from helpers.notebook_tools.documents import NOTEBOOKS, REPOSITORY, find, tracks

PAPERMILL = [
    sys.executable,
    Path(__file__).with_name("over_ipc.py"),
    "papermill",
    "--execution-timeout",
    "600",
    "--start-timeout",
    "300",
    "--no-progress-bar",
]
pytestmark = [pytest.mark.notebooks, pytest.mark.timeout(1_300)]


def one_of_each_track():
    """By turns the last and the first notebook of a track, and the root of the repository and their own folder."""
    for number, track in enumerate(tracks(find())):
        yield track.notebooks[(number % 2) - 1].name, (REPOSITORY, NOTEBOOKS)[number // 2 % 2]


CASES = list(one_of_each_track())


@pytest.mark.parametrize(("name", "folder"), CASES, ids=[name for name, _ in CASES])
def test_each_notebook_alone(fresh, tmp_path, name, folder):
    output = tmp_path / "executed.ipynb"
    code, shown = fresh(
        *PAPERMILL, "-p", "target", "simulator", NOTEBOOKS / name, output, pace="instant", folder=folder
    )
    assert code == 0, shown
    written = [
        out.text
        for cell in nbformat.read(output, as_version=4).cells
        for out in cell.get("outputs", [])
        if out.output_type == "stream" and out.name == "stderr"
    ]
    assert written == []


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (["-p", "targte", "azure"], "targte"),
        (["-p", "target", "simulater"], "simulater"),
        (["-p", "target", "007"], "target"),
        (["-p", "registration_id", "007"], "registration_id"),
        (["-p", "registration_id", "no spaces please"], "no spaces please"),
    ],
    ids=["unknown name", "unknown value", "number", "number for a name", "wrong characters"],
)
def test_wrong_parameters_stop_the_run(fresh, tmp_path, parameters, expected):
    notebook = NOTEBOOKS / "00_start_here.ipynb"
    code, shown = fresh(*PAPERMILL, *parameters, notebook, tmp_path / "executed.ipynb", pace="instant")
    assert code != 0
    assert expected in shown
