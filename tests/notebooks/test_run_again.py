"""Every cell and every notebook can be run again, in one workspace, with the same simulator.

The notebooks of a track share a kernel. Each is run three times: first every cell twice in a row, as who presses
Shift-Enter once too often; then all cells again with the exercises solved, on top of what the first time left in the
kernel; then with the solutions left in place, where no name is known any more.
"""

import pytest
from one_kernel import FORGET, OneKernel, failures

from helpers.runner.documents import code_cells, find, read, tracks
from helpers.runner.solutions import NOT_YET, with_solutions

pytestmark = [pytest.mark.notebooks, pytest.mark.timeout(1800)]


@pytest.mark.anywhere
@pytest.mark.parametrize("track", tracks(find()), ids=lambda track: f"track {track.name}")
def test_again_and_again(track):
    with OneKernel() as kernel:
        for path in (path for path in track.notebooks if code_cells(read(path))):
            solved = {cell.id: cell.source for cell in code_cells(with_solutions(read(path)))}
            kernel.run(FORGET)
            assert failures(kernel.run_notebook(path.stem, times=2)) == [], path.stem
            for _ in range(2):
                outcomes = kernel.run_notebook(path.stem, sources=solved)
                assert failures(outcomes) == [], path.stem
                assert [each.cell for each in outcomes if NOT_YET in each.shown] == [], path.stem
                kernel.run(FORGET)


def test_a_cell_that_cannot_be_run_again_is_seen():
    with OneKernel() as kernel:
        source = "import pathlib, tempfile\nplace = pathlib.Path(tempfile.gettempdir(), str(__import__('os').getpid()))"
        assert failures([kernel.run(source), kernel.run("place.mkdir()"), kernel.run("print(place.is_dir())")]) == []
        again = kernel.run("place.mkdir()", "make")
        assert failures([again])[0].startswith("make: FileExistsError")
        assert failures(
            [kernel.run("place.rmdir()"), kernel.run("import sys; print('no', file=sys.stderr)", "warn")]
        ) == ["warn: no"]


def test_a_text_in_several_messages_is_one_text():
    with OneKernel() as kernel:
        # the kernel sends what there is when it is told to
        ran = kernel.run("for _ in range(3):\n    print('one line', flush=True)")
    assert ran.shown == "one line\n" * 3
