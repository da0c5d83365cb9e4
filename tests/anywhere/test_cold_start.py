"""Somebody new, with an empty home, gets from a clone to the first device; what it took is for people to judge."""

import os
import shutil
import subprocess
import sys

import pytest
from fresh_environments import settings_of_uv
from test_surroundings import needs_git

from tools import cold_start


def test_variables_of_whoever_runs_it_are_left_out(tmp_path):
    mine = {"PATH": "/bin", "DPS_WORKSPACE": "/mine", "VIRTUAL_ENV": "/mine", "UV_INDEX_URL": "https://mirror.test"}
    found = cold_start.surroundings(tmp_path, cache=False, variables=mine)
    assert found.pop("PATH").endswith(f"{os.pathsep}/bin")
    assert found == {
        "HOME": str(tmp_path),
        "UV_INDEX_URL": "https://mirror.test",
        "UV_NO_CACHE": "1",
        "PIP_NO_CACHE_DIR": "1",
    }


def test_the_table_separates_ours_from_the_rest(tmp_path):
    taken = [cold_start.Taken(step, 10 * (n + 1), 1.0) for n, step in enumerate(cold_start.steps(tmp_path))]
    assert cold_start.table(taken) == [
        "step            seconds  megabytes",
        "clone              10.0        1.0",
        "set-up             20.0        1.0",
        "first device       30.0        1.0",
        "Ours:   30.0 s, above the goal of 20 s",
        "In all: 60.0 s, within the goal of 120 s",
    ]


def test_a_step_that_fails_is_named(tmp_path, capsys):
    step = cold_start.Step("set-up", [sys.executable, "-c", "print('no way'); raise SystemExit(3)"], ours=False)
    with pytest.raises(cold_start.ColdStartError, match="set-up: it ended with 3"):
        cold_start.run(step, tmp_path, os.environ)
    assert "\n  no way\n" in capsys.readouterr().out


@pytest.mark.anywhere
@needs_git
@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.timeout(1200)
def test_somebody_new_gets_to_the_first_device(repository):
    command = [sys.executable, "-m", "tools.cold_start"]
    variables = os.environ | settings_of_uv()
    done = subprocess.run(command, cwd=repository, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
    lines = done.stdout.splitlines()
    assert "  1 notebook: 1 passed." in lines
    ends = [line.split()[0] for line in lines[-6:]]
    assert ends == ["step", "clone", "set-up", "first", "Ours:", "In"]
    # an empty environment could not have run anything
    assert float(lines[-4].split()[-1]) > 100
