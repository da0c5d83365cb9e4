"""Plain ``pytest --nbval`` is green without any option that one would have to know."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from helpers.runner.documents import NOTEBOOKS, REPOSITORY
from dps_simulator.process import launcher

pytestmark = [pytest.mark.notebooks, pytest.mark.anywhere, pytest.mark.timeout(600)]
# in another order than that of the names: 11 lists all enrollments, so it must not see those of 21
BACKWARDS = ["21_x509_enroll.ipynb", "11_symmetric_key_enroll.ipynb"]


def run(*arguments, folder=REPOSITORY, **variables):
    """Run pytest as somebody does who has set nothing, but for what is given."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DPS_WORK", "PYTEST_"))}
    # neither of these notebooks shows how often a device had to ask
    variables["DPS_SIMULATOR_PACE"] = "instant"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, env={**environment, **variables}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def temporary():
    """A folder for temporary files, in which nothing of ours may stay; its path is short, as sockets need it."""
    folder = Path(tempfile.mkdtemp(prefix="n-"))
    yield folder
    left = list(folder.glob("dps-*"))
    shutil.rmtree(folder)
    assert left == []


@pytest.mark.parametrize(
    ("folder", "options"), [(REPOSITORY, []), (NOTEBOOKS, ["-n", "2"])], ids=["the root", "their own folder, -n 2"]
)
def test_from(folder, options, temporary):
    paths = [(NOTEBOOKS / name).relative_to(folder) for name in BACKWARDS]
    code, shown = run("--nbval", *options, *paths, folder=folder, TMPDIR=str(temporary))
    assert code == 0, shown


def test_twice_in_a_workspace_that_somebody_names(tmp_path):
    workspace = tmp_path / "workspace"
    try:
        for _ in range(2):
            code, shown = run("--nbval", NOTEBOOKS / BACKWARDS[1], DPS_WORKSPACE=str(workspace))
            assert code == 0, shown
        assert (workspace / "simulator").is_dir()
    finally:
        launcher.stop(workspace / "simulator")


def test_a_sanitize_file_that_somebody_names_is_used(tmp_path, temporary):
    (tmp_path / "nothing.cfg").write_text("")
    options = ["--nbval", "--nbval-sanitize-with", tmp_path / "nothing.cfg"]
    code, shown = run(*options, NOTEBOOKS / BACKWARDS[1], TMPDIR=str(temporary))
    assert code == 1, shown
    assert "****" in shown


@pytest.mark.parametrize(
    ("without", "what"),
    [(["asyncio", "timeout", "xdist", "hypothesispytest"], ["--nbval", NOTEBOOKS]), (["nbval"], ["tests/repository/test_files.py"])],
    ids=["what contributors install", "nbval"],
)
def test_pytest_runs_without(without, what):
    code, shown = run(*(f"-pno:{name}" for name in without), "--collect-only", *what)
    assert code == 0, shown


def test_a_run_within_a_run_lets_the_processes_of_other_tests_be():
    # looks like a TPM of a test that runs at the same time
    other = subprocess.Popen([sys.executable, "-c", "input()", "swtpm"], stdin=subprocess.PIPE)
    try:
        code, shown = run("--collect-only", "tests/repository/test_files.py")
        assert code == 0, shown
        assert other.poll() is None
    finally:
        other.communicate()
