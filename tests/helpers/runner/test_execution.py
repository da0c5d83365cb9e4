import asyncio
import sys

import pytest
from nbformat.v4 import new_markdown_cell
from notebook_samples import code, notebook, parameters_cell, printed
from patience import PATIENCE, is_running, wait_until

from helpers.runner import execution
from helpers.runner.execution import Outcome, execute, first_line, mask_outputs, with_parameters

NO_WINDOWS = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such sockets")


@pytest.fixture
def run(tmp_path):
    def run(*cells, timeout=PATIENCE, environment=None, before=lambda task, outcome: None):
        folder = tmp_path / "notebooks"
        folder.mkdir(exist_ok=True)
        outcome = Outcome(folder / "11_sample.ipynb")
        done = []

        async def main():
            task = asyncio.ensure_future(
                execute(
                    outcome,
                    notebook(*cells),
                    scratch=tmp_path / "scratch",
                    environment=environment or {},
                    cell_timeout=timeout,
                    on_cell=lambda: (done.append(1), before(task, outcome)),
                )
            )
            await task

        asyncio.run(main())
        return outcome, len(done)

    return run


def text_of(outcome, cell):
    return "".join(output.text for output in outcome.document.cells[cell].outputs)


def test_cells_run_in_order_in_the_folder_of_the_notebook(run):
    outcome, cells = run(
        new_markdown_cell("# Run"),
        code("import os, sys; x = 1", count=99),
        code(""),
        code("print(x, os.getcwd(), os.environ['COLOUR'], sys.executable)", printed("stale")),
        environment={"COLOUR": "blue"},
    )
    assert (outcome.status, outcome.error, cells) == ("passed", "", 2)
    assert text_of(outcome, 3) == f"1 {outcome.notebook.parent} blue {sys.executable}\n"
    assert [cell.get("execution_count") for cell in outcome.document.cells] == [None, 1, None, 2]
    assert outcome.seconds > 0


@pytest.mark.parametrize(("given", "seconds"), [(120.0, 120), (0.5, 1)])
def test_the_time_for_a_cell_is_in_whole_seconds(run, monkeypatch, given, seconds):
    """The traitlets of Binder's image refuse any other number."""
    import nbclient

    told = []

    class Client(nbclient.NotebookClient):
        def __init__(self, *arguments, timeout, **more):
            told.append((type(timeout), timeout))
            super().__init__(*arguments, timeout=PATIENCE, **more)

    monkeypatch.setattr(nbclient, "NotebookClient", Client)
    assert run(code("1"), timeout=given)[0].status == "passed"
    assert told == [(int, seconds)]


def test_an_exception_ends_the_run_and_says_where(run):
    outcome, cells = run(code("x = 1"), code("raise ValueError('first line\\nsecond line')"), code("print(x)"))
    assert (outcome.status, outcome.cell, outcome.error) == ("failed", 2, "ValueError: first line")
    assert cells == 2
    assert outcome.document.cells[2].outputs == []


def test_a_warning_is_a_failure(run):
    outcome, _ = run(code("import warnings\nwarnings.warn('careful')"))
    assert outcome.status == "failed"
    assert "wrote to stderr" in outcome.error
    assert "careful" in outcome.error


def test_a_secret_in_an_output_is_a_failure_and_masked(run):
    outcome, _ = run(code("print('Shared' + 'AccessKey=' + 'abcdefghijkl')"))
    assert (outcome.status, outcome.error) == ("failed", "The output holds a shared access key.")
    mask_outputs(outcome.document)
    assert text_of(outcome, 0) == "SharedAccessKey=****ijkl\n"


def test_a_cell_that_takes_too_long_is_a_failure(run):
    outcome, _ = run(code("import time\ntime.sleep(3600)"), timeout=1.0)
    assert (outcome.status, outcome.error) == ("failed", "The cell did not end within 1 seconds.")


def test_a_kernel_that_dies_is_a_failure(run):
    outcome, _ = run(code("import os\nos._exit(3)"))
    assert (outcome.status, outcome.error) == ("failed", "The kernel died.")


def test_a_kernel_that_cannot_start_is_a_failure_with_its_reason(run, monkeypatch, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no kernel here >&2\nexit 3\n")
    broken.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(broken))
    outcome, _ = run(code("x = 1"))
    assert outcome.status == "failed"
    assert "could not be started" in outcome.error
    assert outcome.cell == 0


def test_being_cancelled_leaves_no_kernel(run, tmp_path):
    outcome, begun = None, tmp_path / "begun"

    def stop(task, running):
        nonlocal outcome
        outcome = running
        cancel_when_begun(task, asyncio.get_running_loop())

    def cancel_when_begun(task, loop):
        if begun.exists():
            task.cancel()
        else:
            loop.call_later(0.05, cancel_when_begun, task, loop)

    wait = f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(3600)"
    with pytest.raises(asyncio.CancelledError):
        run(code("import os\nprint(os.getpid())"), code(wait), before=stop)
    assert outcome.status == "interrupted"
    wait_until(lambda: not is_running(int(text_of(outcome, 0))), "the end of the kernel")


@pytest.mark.parametrize("transport", ["tcp", pytest.param("ipc", marks=NO_WINDOWS)])
def test_the_kernel_writes_no_warning_about_its_connection(run, tmp_path, monkeypatch, transport):
    monkeypatch.setattr(execution, "TRANSPORT", transport)
    assert run(code("x = 1"))[0].status == "passed"
    assert (tmp_path / "scratch" / "kernel.log").read_text() == ""
    assert not (tmp_path / "scratch" / "k.json").exists()


def test_parameters_are_injected_after_their_cell(run):
    document = with_parameters(
        notebook(parameters_cell("count: int = 1  # n"), code("print(target, count)")), {"count": 7}
    )
    assert document.cells[1].metadata.tags == ["injected-parameters"]
    outcome, _ = run(*document.cells)
    assert text_of(outcome, 2) == "simulator 7\n"


def test_first_lines_are_short_and_clean():
    assert first_line("\n \x1b[31mred\x1b[0m\nmore") == "red"
    assert first_line("") == "no text"
    assert first_line("SharedAccessKey=abcdefghijkl") == "SharedAccessKey=****ijkl"
    assert len(first_line("x" * 1000)) == 300


def test_the_first_failure_is_kept():
    outcome = Outcome(notebook=None)
    outcome.fail("first", 1)
    outcome.fail("second", 2)
    assert (outcome.error, outcome.cell) == ("first", 1)
