"""The notebooks run under plain papermill, wherever it is started, and do not swallow wrong parameters."""

import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from tiers import of_track

from helpers.runner.documents import NOTEBOOKS, REPOSITORY, code_cells, find, read, tracks

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
    """The last notebook of a track, by turns from the root of the repository and from the notebooks' own folder."""
    for number, track in enumerate(tracks(find())):
        last = [path for path in track.notebooks if code_cells(read(path))][-1]
        yield last.name, (REPOSITORY, NOTEBOOKS)[number % 2]


ALONE = dict(one_of_each_track())


@pytest.mark.parametrize(("name", "folder"), [of_track(each, each[0][0], id=each[0]) for each in ALONE.items()])
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


@pytest.mark.anywhere
def test_a_notebook_that_lies_by_itself_in_a_folder(fresh, tmp_path):
    """As on Colab, or after a download: what it needs is installed, and the other notebooks are not there."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    name = "13_symmetric_key_verify.ipynb"
    shutil.copy(NOTEBOOKS / name, folder)
    code, shown = fresh(*PAPERMILL, name, "executed.ipynb", pace="instant", folder=folder)
    assert code == 0, shown


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [(["-p", "targte", "azure"], "targte"), (["-p", "registration_id", "007"], "registration_id")],
    ids=["a name that is unknown", "a text that papermill takes for a number"],
)
def test_wrong_parameters_stop_the_run(fresh, tmp_path, parameters, expected):
    notebook = NOTEBOOKS / "00_start_here.ipynb"
    code, shown = fresh(*PAPERMILL, *parameters, notebook, tmp_path / "executed.ipynb", pace="instant")
    assert code != 0
    assert expected in shown
