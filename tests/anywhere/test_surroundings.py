"""Neither the project nor its tests depend on what they inherit: signals, masks, locale, time zone, home, variables."""

import json
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

import pytest
from other_surroundings import (
    CAN_START_ITSELF,
    EVERYTHING,
    ROOT,
    SENSITIVE,
    SURROUNDINGS,
    Surroundings,
    copy_of_the_project,
    import_path,
    python_for_everybody,
)
from patience import RUN_PATIENCE

#: The user and the group of nobody.
NOBODY = 65534
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs signals and masks")
# each is a run of many tests, which ends itself
pytestmark = [POSIX, pytest.mark.timeout(RUN_PATIENCE + 300)]


def test_sensitive_tests_pass_in_all_of_them_at_once():
    EVERYTHING.pytest(*SENSITIVE[:4])


@pytest.mark.anywhere
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_sensitive_tests_pass_in_each(name):
    SURROUNDINGS[name].pytest(*SENSITIVE)


PROGRAM = """
import json, os, sys
from pathlib import Path
from dps_simulator.process import launcher

state = Path(sys.argv[1])
running = launcher.ensure_running(state, settings={"DPS_SIMULATOR_PACE": "instant"})
launcher.manage(running, "PUT", "/hubs/second.azure-devices.test")
found = launcher.find(state)
print(json.dumps([running.process_id, [hub.host for hub in found.hubs]]))
"""


@pytest.mark.anywhere
@pytest.mark.parametrize("umask", ["000", "077"])
def test_a_background_simulator_in_all_of_them_at_once(tmp_path, umask):
    """Whatever it inherited, it starts, keeps its files to itself, and can be stopped."""
    state = tmp_path / "state of Jürgen"
    lines = ['trap "" HUP INT TERM USR1', f"umask {umask}", "ulimit -n 256", "exec <&-"]
    where = Surroundings(
        *lines, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", TZ="Pacific/Kiritimati", HOME=None, COLUMNS="40"
    )
    code, said = where.run(sys.executable, "-W", "error", "-c", PROGRAM, state)
    assert code == 0, said
    process_id, hubs = json.loads(said)
    assert hubs[1] == "second.azure-devices.test"
    for path in state.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    code, said = where.run(sys.executable, "-m", "dps_simulator", "status", "--state", state)
    assert (code, f"process {process_id}" in said) == (0, True), said
    code, said = where.run(sys.executable, "-m", "dps_simulator", "stop", "--state", state)
    assert (code, said) == (0, "stopped\n")


NOTEBOOK_RUN = ("-m", "helpers.runner", "tutorial", "--output")


@pytest.mark.anywhere
@pytest.mark.notebooks
@pytest.mark.parametrize("streams", ["exec <&-", "exec <&- 2>&1 | cat"], ids=["closed", "pipe"])
def test_the_tutorial_runs_and_reports_in_all_of_them_at_once(tmp_path, streams):
    where = Surroundings(
        *('trap "" HUP', "umask 077", "ulimit -n 256", streams.partition("2>&1")[0]),
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
        TZ="Pacific/Kiritimati",
        HOME="/dev/null/nowhere",
        COLUMNS="40",
        TERM="dumb",
        NO_COLOR="1",
        DPS_WORKSPACE=str(tmp_path / "workspace"),
    )
    code, said = where.run(sys.executable, *NOTEBOOK_RUN, tmp_path / "build", "11")
    assert code == 0, said
    assert "1 passed" in said
    report = (tmp_path / "build" / "report.html").read_text(encoding="utf-8")
    assert "symmetric_key" in report


needs_git = pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs git and a clone"
)


@pytest.mark.anywhere
@needs_git
def test_in_a_folder_with_blanks_and_umlauts(tmp_path):
    checkout = copy_of_the_project(tmp_path / "Prüf Stand (Jürgen's) & Söhne")
    said = Surroundings(TMPDIR=str(checkout), PYTHONPATH=import_path(checkout)).pytest(
        *SENSITIVE, "tests/repository", cwd=checkout
    )
    assert "passed" in said


@pytest.mark.anywhere
def test_with_a_long_folder_for_temporary_files(tmp_path):
    folder = tmp_path / ("a rather long name " * 6).strip()
    folder.mkdir()
    Surroundings(TMPDIR=str(folder)).pytest(*SENSITIVE)


@pytest.mark.anywhere
@needs_git
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux")
def test_as_somebody_else_than_root():
    # not below the folders of tests, which are root's
    with tempfile.TemporaryDirectory(prefix="dps-") as name:
        folder = Path(name)
        checkout = copy_of_the_project(folder / "checkout")
        temporary = folder / "t"
        temporary.mkdir()
        python = python_for_everybody(folder / "python")
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        somebody = Surroundings(
            user=NOBODY,
            HOME=str(folder),
            TMPDIR=str(temporary),
            PYTHONPATH=import_path(checkout),
            PYTHONDONTWRITEBYTECODE="1",
        )
        if somebody.run(python, "-c", CAN_START_ITSELF, cwd=checkout)[0]:
            pytest.skip("root's Python, or the packages beside it, are for root only")
        somebody.pytest(*SENSITIVE, cwd=checkout, python=python)
