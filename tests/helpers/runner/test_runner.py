import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from patience import PATIENCE, is_running, wait_until

from helpers.runner import cli as runner
from helpers.runner.documents import read, write
from helpers.runner.normalise import normalise


@pytest.fixture
def sample(tmp_path):
    """Writes a notebook with a target, a number as second parameter, and the given cells."""

    def write_sample(name, *sources):
        document = new_notebook()
        document.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
        document.cells.append(new_markdown_cell("# Run a sample"))
        first = 'target: str = "simulator"  # simulator or azure\ncount: int = 1  # how many'
        for number, source in enumerate((first, *sources)):
            document.cells.append(new_code_cell(source, id=f"c{number}"))
        document.cells[1].metadata["tags"] = ["parameters"]
        path = tmp_path / f"{name}.ipynb"
        write(document, path)
        return str(path)

    return write_sample


@pytest.fixture
def tutorial(tmp_path, capsys):
    def run(*arguments):
        code = runner.main(["tutorial", "--output", str(tmp_path / "build"), *arguments])
        return code, capsys.readouterr()

    return run


def outputs(path):
    return "".join(out.get("text", "") for cell in read(path).cells for out in cell.get("outputs", []))


def test_a_run_that_passes(tutorial, sample, tmp_path):
    code, shown = tutorial(sample("11_a", "import os\nprint(target, count, os.environ['DPS_SIMULATOR_PACE'])"))
    assert code == 0
    assert "passed      11_a" in shown.out
    assert "1 notebook: 1 passed." in shown.out
    assert shown.err == ""
    assert outputs(tmp_path / "build" / "notebooks" / "11_a.ipynb") == "simulator 1 instant\n"
    assert "11_a" in (tmp_path / "build" / "report.html").read_text()


def test_a_page_without_code_runs_without_parameters(tutorial, tmp_path):
    page = new_notebook(cells=[new_markdown_cell("# Look up a word")])
    page.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    write(page, tmp_path / "01_page.ipynb")
    code, shown = tutorial(str(tmp_path / "01_page.ipynb"))
    assert code == 0
    assert "1 notebook: 1 passed." in shown.out


def test_a_failure_is_told_and_the_rest_still_runs(tutorial, sample, tmp_path):
    code, shown = tutorial(sample("11_a", "raise KeyError('[red]')"), sample("12_b", "1"), sample("21_c", "2"))
    assert code == 1
    assert "failed" in shown.out
    # the injected parameters are cell 2
    assert "In [3]: KeyError: '[red]'" in shown.out
    assert "3 notebooks: 2 passed, 1 failed." in shown.out
    assert "KeyError" in (tmp_path / "build" / "notebooks" / "11_a.html").read_text()
    assert "KeyError" in (tmp_path / "build" / "report.html").read_text()


def test_a_track_shares_a_workspace_and_tracks_do_not(tutorial, sample, tmp_path):
    ask = "import os\nprint(os.environ['DPS_WORKSPACE'])"
    tutorial(sample("11_a", ask), sample("12_b", ask), sample("21_c", ask))
    places = [outputs(tmp_path / "build" / "notebooks" / f"{name}.ipynb") for name in ("11_a", "12_b", "21_c")]
    assert places[0] == places[1] != places[2]
    assert not os.path.exists(places[0].strip())  # noqa: PTH110 - a text, not a path


def test_several_tracks_at_a_time_begin_with_the_longest_and_are_told_in_order(tutorial, sample, monkeypatch, tmp_path):
    begun = []
    started = runner.Display.started
    monkeypatch.setattr(
        runner.Display, "started", lambda self, outcome: (begun.append(outcome.name), started(self, outcome))
    )
    names = [sample("11_a", "1"), sample("21_b", "1"), sample("31_c", "1", "2", "3"), sample("32_d", "1")]
    code, shown = tutorial("--jobs", "2", *reversed(names))
    assert code == 0
    assert begun[0] == "31_c"
    assert sorted(begun) == ["11_a", "21_b", "31_c", "32_d"]
    page = (tmp_path / "build" / "report.html").read_text()
    for text in (shown.out.partition("Notebook")[2], page):
        places = [text.index(name) for name in sorted(begun)]
        assert places == sorted(places)
    # one at a time, nothing is gained by another order than that of the names
    begun.clear()
    assert tutorial("--jobs", "1", *names)[0] == 0
    assert begun == ["11_a", "21_b", "31_c", "32_d"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody says which cores a process may use")
def test_as_many_tracks_at_a_time_as_there_are_cores_for_us(tutorial, sample):
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(allowed)])
    try:
        code, shown = tutorial(sample("11_a", "1"), sample("21_b", "1"))
    finally:
        os.sched_setaffinity(0, allowed)
    assert code == 0
    assert "2 notebooks, 1 at a time." in shown.out


def junit(path):
    """Test cases by their names: what became of them, and the text of that."""
    # our own file
    suite = ElementTree.parse(path).getroot().find("testsuite")  # noqa: S314
    counts = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
    cases = {}
    for case in suite.iter("testcase"):
        results = [(child.tag, child.get("message"), child.get("type"), child.text or "") for child in case]
        cases[case.get("name")] = results
        assert float(case.get("time")) >= 0
        assert case.get("classname") == "notebooks"
    return counts, cases


def test_results_as_junit(tutorial, sample, tmp_path):
    file = tmp_path / "results" / "notebooks.xml"
    text = "\\x00\\x1b[31m<red> & ]]> Shared' + 'AccessKey=abcdefghijklmnop"
    failing = sample("12_b", "1", f"key = 'Shared' + 'AccessKey=abcdefgh' + 'ijklmnop'\nraise KeyError('{text}')")
    raising = sample("21_c", f"raise RuntimeError('{text}')")
    warning = sample("31_d", "import sys\nprint('a warning', file=sys.stderr)")
    code, shown = tutorial("--junit", str(file), sample("11_a", "1"), failing, raising, warning)
    assert code == 1
    assert f"JUnit: {file}" in shown.out
    counts, cases = junit(file)
    assert counts == {"tests": 4, "failures": 3, "errors": 0, "skipped": 0}
    assert cases["11_a"] == []
    ((tag, message, kind, details),) = cases["12_b"]
    assert (tag, kind) == ("failure", "KeyError")
    assert message.startswith("In [4]: KeyError: ")
    assert details.startswith("In [4]:\nkey = 'Shared'")
    assert "Traceback (most recent call last)" in details
    ((_, message, kind, details),) = cases["21_c"]
    assert (message, kind) == (
        "In [3]: RuntimeError: \ufffd<red> & ]]> SharedAccessKey=****mnop",
        "RuntimeError",
    )
    assert "RuntimeError: " in details
    ((_, message, kind, details),) = cases["31_d"]
    assert (message, kind) == ("In [3]: The cell wrote to stderr: a warning", "Failure")
    assert details.endswith("\n\na warning\n")
    raw = file.read_text(encoding="utf-8")
    assert "SharedAccessKey=abc" not in raw
    assert "\x1b" not in raw


@pytest.mark.parametrize("place", ["", "file/notebooks.xml"])
def test_a_junit_file_that_cannot_be_written_is_refused_before_anything_runs(tutorial, sample, tmp_path, place):
    (tmp_path / "file").write_text("x")
    code, shown = tutorial("--junit", str(tmp_path / place), sample("11_a", "1"))
    assert code == 2
    assert f"The JUnit file '{tmp_path / place}' cannot be written: " in shown.err
    assert not (tmp_path / "build").exists()


def test_a_folder_for_the_report_that_cannot_be_made_is_refused_before_anything_runs(tutorial, sample, tmp_path):
    (tmp_path / "file").write_text("x")
    code, shown = tutorial("--output", str(tmp_path / "file"), sample("11_a", "1"))
    assert code == 2
    assert f"The folder '{tmp_path / 'file'}' for the report cannot be made: " in shown.err
    assert "passed" not in shown.out


def test_results_of_an_earlier_run_do_not_stay(tutorial, sample, tmp_path, monkeypatch):
    file = tmp_path / "notebooks.xml"
    file.write_text("<testsuites/>")
    monkeypatch.setattr(runner, "perform", lambda run, console: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tutorial("--junit", str(file), sample("11_a", "1"))
    assert not file.exists()


def test_parameters_reach_the_notebook_with_their_type(tutorial, sample, tmp_path):
    path = sample("11_a", "print(repr(target), repr(count), __import__('os').environ.get('DPS_SIMULATOR_PACE'))")
    assert tutorial("--target", "azure", "-p", "count=7", path)[0] == 0
    assert outputs(tmp_path / "build" / "notebooks" / "11_a.ipynb") == "'azure' 7 None\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-p", "cuont=7"], "No notebook has a parameter 'cuont'"),
        (["-p", "count=seven"], "Parameter count must be of type int, not 'seven'"),
        (["-p", "count"], "'count' is no parameter. Write it as name=value."),
        (["nowhere.ipynb"], "There is no notebook 'nowhere.ipynb'"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_runs(tutorial, sample, tmp_path, arguments, text):
    code, shown = tutorial(*arguments, sample("11_a", "1"))
    assert code == 2
    assert text in shown.err
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    "arguments", [["--pace", "slow"], ["--jobs", "0"], ["--jobs", "x"], ["--cell-timeout", "-1"], ["--target", "aws"]]
)
def test_a_wrong_option_is_refused(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        runner.main(["tutorial", *arguments])
    assert stopped.value.code == 2
    assert repr(arguments[1]) in capsys.readouterr().err


def test_logs_of_a_failed_track_are_kept_without_secrets(tutorial, sample, tmp_path):
    log = (
        "import os, pathlib\nfolder = pathlib.Path(os.environ['DPS_WORKSPACE'], 'simulator')\n"
        "folder.mkdir(parents=True)\n(folder / 'simulator.log').write_text('Shared' + 'AccessKey=abcdefghijkl')"
    )
    tutorial(sample("11_a", log, "1/0"), sample("21_b", log))
    kept = {path.name: path.read_text() for path in (tmp_path / "build" / "logs").iterdir()}
    assert kept == {"track_1_simulator.log": "SharedAccessKey=****ijkl"}
    assert tutorial(sample("11_a", "1"))[0] == 0
    assert not (tmp_path / "build" / "logs").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_stops_its_kernels_and_still_reports(sample, tmp_path, number):
    started = tmp_path / "started"
    wait = f"import os, pathlib, time\npathlib.Path({str(started)!r}).write_text(str(os.getpid()))\ntime.sleep(3600)"
    command = [sys.executable, "-m", "helpers.runner", "tutorial", "--output", str(tmp_path / "build")]
    command += ["--junit", str(tmp_path / "notebooks.xml")]
    process = subprocess.Popen(
        [*command, sample("11_a", wait), sample("12_b", "1")], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        wait_until(lambda: started.exists() and started.read_text(), "the first cell")
        process.send_signal(number)
        shown, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "2 notebooks: 1 interrupted, 1 not run." in shown
    assert "interrupted" in (tmp_path / "build" / "report.html").read_text()
    counts, cases = junit(tmp_path / "notebooks.xml")
    assert counts == {"tests": 2, "failures": 0, "errors": 1, "skipped": 1}
    assert cases["11_a"] == [("error", "interrupted", "Interrupted", "")]
    assert cases["12_b"] == [("skipped", "not run, as the run was interrupted before", None, "")]
    wait_until(lambda: not is_running(int(started.read_text())), "the end of the kernel")


def test_a_terminal_shows_a_bar(sample, tmp_path):
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "helpers.runner",
        "tutorial",
        "--output",
        str(tmp_path / "build"),
        sample("11_a", "1"),
    ]
    process = subprocess.Popen(command, stdout=follower, stderr=follower, env={**os.environ, "TERM": "xterm"})
    os.close(follower)
    seen = b""
    # reading from a terminal whose other side is gone is an error on Linux, an empty answer elsewhere
    while True:
        try:
            piece = os.read(leader, 10_000)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    os.close(leader)
    assert process.wait(timeout=PATIENCE) == 0
    assert b"cells" in seen


def test_renewing_changes_only_what_changed(sample, capsys):
    path = sample("11_a", "print('same')", "import uuid\nprint('****' + uuid.uuid4().hex[:4])")
    assert runner.main(["notebooks", path]) == 0
    assert "Changed: 11_a." in capsys.readouterr().out
    first = read(path)
    assert first == normalise(first)
    assert [cell.get("execution_count") for cell in first.cells] == [None, 1, 2, 3]
    assert runner.main(["notebooks", path]) == 0
    assert "Changed: nothing." in capsys.readouterr().out
    assert read(path) == first


def test_what_was_measured_by_other_code_is_renewed(sample):
    path = Path(sample("11_a", "seconds = 1", "import uuid\nprint(seconds, uuid.uuid4())"))
    document = read(path)
    document.cells[3].metadata["tags"] = ["nbval-ignore-output"]
    write(document, path)
    git = ["git", "-c", "user.name=nobody", "-c", "user.email=nobody@example.com", "-C", str(path.parent)]
    assert runner.main(["notebooks", str(path)]) == 0
    for command in (["init", "--quiet"], ["add", path.name], ["commit", "--quiet", "--message", "first"]):
        subprocess.run([*git, *command], check=True)
    changed = read(path)
    changed.cells[2].source = "seconds = 2"
    write(changed, path)
    assert runner.main(["notebooks", str(path)]) == 0
    renewed = read(path)
    assert renewed.cells[3].outputs[0].text.startswith("2 ")
    assert runner.main(["notebooks", str(path)]) == 0
    assert read(path) == renewed
    assert runner.main(["notebooks", "--anew", str(path)]) == 0
    assert read(path) != renewed


def test_renewing_leaves_a_notebook_that_fails_as_it_was(sample, capsys):
    path = sample("11_a", "print('same')", "1/0")
    before = read(path)
    assert runner.main(["notebooks", path]) == 1
    assert "In [3]: ZeroDivisionError" in capsys.readouterr().out
    assert read(path) == before


def test_lint_tells_what_is_wrong(sample, capsys):
    assert runner.main(["lint", sample("11_a", "1")]) == 1
    shown = capsys.readouterr().out
    assert "11_a.ipynb: the section 'You will' is missing" in shown
    assert shown.splitlines()[-1].startswith("1 notebook: ")


def test_on_azure_notebooks_for_the_simulator_only_are_left_out_or_refused_by_name(
    tutorial, sample, monkeypatch, tmp_path
):
    anywhere = sample("11_a", "print(target)")
    only_here = sample("51_b", "check_parameters = print\ncheck_parameters(simulator_only='it breaks things')")
    code, shown = tutorial("--target", "azure", anywhere, only_here)
    assert code == 2
    assert "On the simulator only: 51_b." in shown.err
    monkeypatch.setattr(runner, "selected", lambda names: [tmp_path / "11_a.ipynb", tmp_path / "51_b.ipynb"])
    code, shown = tutorial("--target", "azure", "--junit", str(tmp_path / "notebooks.xml"))
    assert code == 0
    counts, cases = junit(tmp_path / "notebooks.xml")
    assert counts == {"tests": 2, "failures": 0, "errors": 0, "skipped": 1}
    assert cases == {"11_a": [], "51_b": [("skipped", "on the simulator only; this run was on Azure", None, "")]}
    assert "Left out, on the simulator only: 51_b." in shown.out
    assert "1 notebook: 1 passed." in shown.out
