"""The committed outputs are what the notebooks really print: nbval, strict, at the pace of Azure."""

import sys
from pathlib import Path

import pytest
from test_papermill import ALONE
from tiers import of_track

from helpers.runner.documents import NOTEBOOKS, REPOSITORY, code_cells, find, read, tracks
from helpers.runner.normalise import SANITIZE

OVER_IPC = Path(__file__).with_name("over_ipc.py")
NBVAL = [
    *(sys.executable, OVER_IPC, "pytest", "--nbval", "--nbval-current-env", "--nbval-cell-timeout", "600"),
    *("--nbval-sanitize-with", SANITIZE, "-p", "no:cacheprovider", "--color=no", "-q"),
    # nbval itself leaves a file open
    *("-o", "filterwarnings=", "-o", "addopts="),
]
# a page without code has nothing to compare, and nbval alone with it says that there were no tests
TRACKS = {
    track.name: [path for path in track.notebooks if code_cells(read(path))] for track in tracks(find()) if track.name
}
pytestmark = [pytest.mark.notebooks, pytest.mark.timeout(1_300)]


def _pace(paths):
    """Whether devices had to ask again is seen in diagrams only; all else must be the same when DPS answers at once."""
    return "azure" if any("ask again (202)" in path.read_text(encoding="utf-8") for path in paths) else "instant"


@pytest.mark.parametrize("track", TRACKS)
def test_a_track_in_order_from_the_root(fresh, track):
    code, shown = fresh(*NBVAL, *TRACKS[track], pace=_pace(TRACKS[track]))
    assert code == 0, shown


# the first of a track has run alone above, and papermill runs one of each track alone
LATER = [path for paths in TRACKS.values() for path in paths[1:] if path.name not in ALONE]


@pytest.mark.anywhere
@pytest.mark.parametrize("path", LATER, ids=lambda path: path.name)
def test_each_later_one_alone_from_its_own_folder(fresh, path):
    code, shown = fresh(*NBVAL, path.name, pace=_pace([path]), folder=NOTEBOOKS)
    assert code == 0, shown


def test_a_different_output_is_seen(fresh, tmp_path):
    copy = tmp_path / "11_symmetric_key_enroll.ipynb"
    text = (NOTEBOOKS / copy.name).read_text(encoding="utf-8")
    assert "Provisioning status: enabled" in text
    copy.write_text(text.replace("Provisioning status: enabled", "Provisioning status: perhaps"), encoding="utf-8")
    code, shown = fresh(*NBVAL, "--rootdir", REPOSITORY, copy, pace="instant")
    assert code == 1, shown
    assert "1 failed" in shown
