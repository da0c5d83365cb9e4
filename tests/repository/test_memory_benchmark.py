"""What measures the memory of the suite: it finds processes of processes, and counts what they share once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

from benchmarks import memory
from benchmarks.memory import Watch, descendants, memory_of

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")

GRANDCHILD = """
import subprocess, sys
with subprocess.Popen([sys.executable, "-c", "print(len(bytearray(1)), flush=True); input()"]) as child:
    pass
"""


@pytest.fixture
def family():
    with subprocess.Popen(
        [sys.executable, "-c", GRANDCHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "1\n"
        yield child
        child.communicate("\n", timeout=PATIENCE)


def test_children_of_children_are_found(family):
    assert family.pid in descendants(os.getpid())
    assert len(descendants(family.pid)) == 1
    assert os.getpid() not in descendants(os.getpid())


def test_the_memory_of_a_process(family):
    resident, proportional = memory_of(family.pid)
    assert 0 < proportional <= resident
    assert memory_of(2**22 + 1) == (0, 0)


def test_the_highest_sum_is_kept(family, tmp_path, monkeypatch):
    watch = Watch(tmp_path, os.getpid())
    watch.look()
    first = watch.peak.proportional
    assert first >= memory_of(family.pid)[1] // 2
    assert watch.peak.resident >= first
    assert watch.peak.simulator == 0
    monkeypatch.setattr(memory, "memory_of", lambda _: (1, 1))
    watch.look()
    assert watch.peak.proportional == first


def test_it_looks_until_it_is_left(tmp_path):
    with Watch(tmp_path, os.getpid()) as watch:
        thread = watch._thread
        assert thread.is_alive()
    assert not thread.is_alive()
