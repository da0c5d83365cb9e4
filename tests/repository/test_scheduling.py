"""Tests that share something expensive go to one worker."""

import os
import subprocess
import sys

import pytest
import scheduling

COUNT = 8
TESTS = f"""
import pathlib
import pytest

@pytest.mark.parametrize("number", range({COUNT}))
def test_where(number, worker_id):
    with pathlib.Path(__file__).with_suffix(".workers").open("a") as file:
        print(worker_id, file=file)
"""


# one of each kind: a folder, and a file
@pytest.mark.parametrize("together", [scheduling.TOGETHER[0], scheduling.TOGETHER[-1]])
def test_what_shares_something_goes_to_one_worker(repository, tmp_path, together):
    place = tmp_path / together
    if together.endswith("/"):
        place /= "test_together.py"
    place.parent.mkdir(parents=True)
    place.write_text(TESTS)
    run = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", tmp_path, "-p", "scheduling"]
    run += ["-n", "2", "--dist", "loadgroup", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(repository / "tests")}
    done = subprocess.run(run, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    workers = place.with_suffix(".workers").read_text().split()
    assert len(workers) == COUNT
    assert len(set(workers)) == 1


def test_all_others_are_given_out_one_by_one():
    others = ["tests/sdk/test_a.py::test_one", "tests/sdk/test_a.py::test_two", "tests/test_b.py::test_one"]
    assert [scheduling.ByFolder._split_scope(None, name) for name in others] == others


@pytest.mark.parametrize("together", scheduling.TOGETHER)
def test_they_are_where_they_are_looked_for(repository, together):
    place = repository / together
    assert place.is_file() or list(place.glob("test_*.py"))
