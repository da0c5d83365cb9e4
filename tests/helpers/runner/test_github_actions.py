"""What a run says to GitHub Actions."""

from pathlib import Path

import nbformat
import pytest

from helpers.runner.execution import Outcome
from helpers.runner.github_actions import annotate

KEY = "SharedAccessKey=" + "Ab1" * 14 + "A="


def failed(error="ValueError: 50% of a, b", traceback=("line 1", "```", "line 2"), name="11_symmetric_key_enroll"):
    cell = nbformat.v4.new_code_cell("register(device)")
    cell.outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=list(traceback))]
    outcome = Outcome(
        Path("/repository/notebooks") / f"{name}.ipynb", seconds=1.26, document=nbformat.v4.new_notebook(cells=[cell])
    )
    outcome.fail(error, 1)
    return outcome


PASSED = Outcome(Path("/repository/notebooks/12_symmetric_key_start.ipynb"), "passed", 2.0)


@pytest.fixture
def said(tmp_path):
    """What is written to the log and to the page of a job, for some outcomes."""

    def say(*outcomes, actions="true"):
        lines = []
        page = tmp_path / "summary.md"
        page.write_text("before\n", encoding="utf-8")
        variables = {"GITHUB_ACTIONS": actions, "GITHUB_WORKSPACE": "/repository", "GITHUB_STEP_SUMMARY": str(page)}
        annotate(outcomes, variables, lines.append)
        return lines, page.read_text(encoding="utf-8")

    return say


def test_a_failure_is_shown_at_its_notebook_with_its_cell(said):
    (line,), _ = said(PASSED, failed())
    assert line == (
        "::error file=notebooks/11_symmetric_key_enroll.ipynb,title=11_symmetric_key_enroll%2C In [1]"
        "::In [1]:%0Aregister(device)%0A%0Aline 1%0A```%0Aline 2"
    )


def test_the_page_has_every_notebook_and_each_cell_that_failed(said):
    _, page = said(PASSED, failed())
    assert page.startswith("before\n## Notebooks\n")
    assert "2 notebooks: 1 passed, 1 failed." in page
    assert "| 12_symmetric_key_start | passed | 2.0 |  |" in page
    assert "| 11_symmetric_key_enroll | failed | 1.3 | In [1]: ValueError: 50% of a, b |" in page
    # the fence is longer than the one within
    assert page.endswith("````text\nIn [1]:\nregister(device)\n\nline 1\n```\nline 2\n````\n")


def test_neither_holds_a_secret(said):
    lines, page = said(failed(error=f"ValueError: {KEY}", traceback=[KEY]))
    assert "Ab1Ab1" not in page + "".join(lines)
    assert "****" in page


def test_what_an_error_says_cannot_become_a_command_or_a_row(said):
    (line,), page = said(failed(error="a | b\n::set-env name=x::y", traceback=["x\r\n::stop-commands::"]))
    assert "\n" not in line
    assert "\r" not in line
    assert "a \\| b" in page


@pytest.mark.parametrize(
    "outcome", [Outcome(PASSED.notebook, "interrupted"), Outcome(PASSED.notebook, "interrupted", 1.0)]
)
def test_who_was_interrupted_is_named(said, outcome):
    (line,), _ = said(outcome)
    assert line.endswith("::interrupted")


def test_more_than_github_keeps_is_cut(said):
    _, page = said(*[failed(traceback=["€" * 60_000])] * 10)
    assert len(page.encode()) < 1024 * 1024
    assert page.endswith("The rest stands in the report.\n")


def test_elsewhere_nothing_is_said(said):
    assert said(failed(), actions="") == ([], "before\n")


def test_a_notebook_outside_of_the_repository_keeps_its_path(tmp_path):
    lines = []
    annotate([failed()], {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(tmp_path)}, lines.append)
    assert "file=/repository/notebooks/11_symmetric_key_enroll.ipynb," in lines[0]
