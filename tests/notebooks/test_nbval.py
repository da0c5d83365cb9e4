"""The committed outputs are what the notebooks really print: nbval, strict, at the pace of Azure."""

import sys
from pathlib import Path

import pytest

from helpers.notebook_tools.documents import NOTEBOOKS, REPOSITORY, code_cells, find, read
from helpers.notebook_tools.normalise import SANITIZE

OVER_IPC = Path(__file__).with_name("over_ipc.py")
NBVAL = [
    *(sys.executable, OVER_IPC, "pytest", "--nbval", "--nbval-current-env", "--nbval-cell-timeout", "600"),
    *("--nbval-sanitize-with", SANITIZE, "-p", "no:cacheprovider", "--color=no", "-q"),
    # nbval itself leaves a file open
    *("-o", "filterwarnings=", "-o", "addopts="),
]
# a page without code has nothing to compare, and nbval alone with it says that there were no tests
NAMES = [path.name for path in find() if code_cells(read(path))]
pytestmark = [pytest.mark.notebooks, pytest.mark.timeout(1_300)]


def test_all_in_order_from_the_root(fresh):
    code, shown = fresh(*NBVAL, NOTEBOOKS, pace="azure")
    assert code == 0, shown


def _pace(name):
    """Whether devices had to ask again is seen in diagrams only; all else must be the same when DPS answers at once."""
    shown = "ask again (202)" in (NOTEBOOKS / name).read_text(encoding="utf-8")
    return "azure" if shown else "instant"


@pytest.mark.parametrize("name", NAMES)
def test_each_alone_from_its_own_folder(fresh, name):
    code, shown = fresh(*NBVAL, name, pace=_pace(name), folder=NOTEBOOKS)
    assert code == 0, shown


def test_a_different_output_is_seen(fresh, tmp_path):
    copy = tmp_path / "11_symmetric_key_enroll.ipynb"
    text = (NOTEBOOKS / copy.name).read_text(encoding="utf-8")
    assert "Provisioning status: enabled" in text
    copy.write_text(text.replace("Provisioning status: enabled", "Provisioning status: perhaps"), encoding="utf-8")
    code, shown = fresh(*NBVAL, "--rootdir", REPOSITORY, copy, pace="instant")
    assert code == 1, shown
    assert "1 failed" in shown
