"""Instructions are counted where valgrind is, and left out with a notice where it is not."""

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import instructions


@pytest.mark.parametrize("missing", ["valgrind", "callgrind_control"])
def test_without_valgrind_nothing_is_counted_and_nothing_is_missed(missing, monkeypatch, capsys):
    monkeypatch.setattr(instructions.shutil, "which", lambda name: None if name == missing else f"/usr/bin/{name}")
    monkeypatch.setattr(instructions, "simulator_process", None)
    assert benchmarks.main(["instructions"]) == 0
    assert capsys.readouterr().out == "     instructions: skipped: valgrind is not installed (apt install valgrind)\n"


def test_the_total_is_read_from_what_callgrind_writes():
    written = "# callgrind format\npid: 1\nevents: Ir\nsummary: 12\n\ntotals: 1234567\n"
    assert [int(found[1]) for found in instructions._TOTALS.finditer(written)] == [1_234_567]
