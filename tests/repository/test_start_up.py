"""Commands begin with what they need and nothing else. What is imported is looked at, not the time that it takes."""

import importlib.metadata
import json
import re
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

#: From here on, jsonschema imports rfc3987_syntax where it is installed, which compiles a grammar with lark.
SLOW_FROM = Version("4.25")
GRAMMAR = {"rfc3987_syntax", "lark"}
EXECUTION = {"jupyter_client", "nbclient", "zmq", "IPython"}
REPORT = {"nbconvert", "jinja2", "bs4"}
COMPARISON = {"nbval", "pytest"}
PAPERMILL = {"papermill", "azure.identity", "msal", "requests"}


def imported_by(*code, folder):
    """The modules that a fresh Python has after some code."""
    end = "import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*code, end])], cwd=folder, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def run(*arguments):
    return (
        "import contextlib",
        "from helpers.runner import cli as runner",
        "with contextlib.suppress(SystemExit):",
        f"    runner.main({list(arguments)!r})",
    )


def test_reading_a_notebook_compiles_no_grammar(repository):
    found = imported_by("import nbformat", "nbformat.validate(nbformat.v4.new_notebook())", folder=repository)
    assert "jsonschema" in found
    assert not GRAMMAR & found, (
        f"jsonschema {importlib.metadata.version('jsonschema')} costs every kernel manager and runner a second at its "
        f"start; keep a version before {SLOW_FROM} in requirements.txt"
    )


def test_the_pin_of_jsonschema_has_its_reason(repository):
    """Says when the line in requirements.txt can go: when nothing asks for the grammar, or it costs nothing."""
    lines = (repository / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(line) for line in lines if line.startswith("jsonschema==")]
    asking = sorted(
        each.metadata["Name"]
        for each in importlib.metadata.distributions()
        for need in map(Requirement, each.requires or ())
        if need.name == "jsonschema" and "format-nongpl" in need.extras
    )
    if not asking:
        pytest.fail("No package asks for jsonschema[format-nongpl] any more: remove jsonschema from requirements.txt.")
    if Version(importlib.metadata.version("jsonschema")) >= SLOW_FROM:
        # somebody tried a newer one; that reading a notebook is quick with it, the test above says
        assert not pinned, "This jsonschema starts quickly: remove it from requirements.txt, and this test."
    else:
        assert pinned, f"Pin jsonschema before {SLOW_FROM}: {', '.join(asking)} would bring rfc3987-syntax with it."


@pytest.mark.parametrize("command", [("--help",), ("tutorial", "--help"), ("notebooks", "--help"), ("lint", "-h")])
def test_help_needs_no_notebook(repository, command):
    found = imported_by(*run(*command), folder=repository)
    assert (
        not {"nbformat", "jsonschema", "aiohttp", "cryptography", *EXECUTION, *REPORT, *COMPARISON, *PAPERMILL} & found
    )


def test_lint_runs_and_compares_nothing(repository):
    found = imported_by(*run("lint"), folder=repository)
    assert "nbformat" in found
    assert not {*EXECUTION, *REPORT, *COMPARISON, *PAPERMILL} & found


def test_a_run_reports_late_and_compares_nothing(repository):
    """A notebook runs before what draws the report is there."""
    found = imported_by(
        "import asyncio",
        "from helpers.runner.documents import read, selected",
        "from helpers.runner.execution import Outcome, kernel_manager",
        "from helpers.runner import cli as runner",
        "import nbclient, pathlib, tempfile",
        "kernel_manager(pathlib.Path(tempfile.mkdtemp()))",
        folder=repository,
    )
    assert "jupyter_client" in found
    assert not {*REPORT, *COMPARISON, *PAPERMILL} & found


HEAVY = {
    "rich",
    "papermill",
    "msal",
    "azure.mgmt",
    "azure.identity",
    "aiohttp",
    "sqlite3",
}
_FROM_HELPERS = re.compile(r"^(?:from helpers|import helpers).*$", re.MULTILINE)


@pytest.mark.parametrize("name", ["11_symmetric_key_enroll", "12_symmetric_key_start", "13_symmetric_key_verify"])
def test_a_lesson_begins_with_what_it_needs(repository, name):
    document = json.loads((repository / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    sources = ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]
    imports = [line for source in sources for line in _FROM_HELPERS.findall(source)]
    assert imports
    assert not HEAVY & imported_by(*imports, folder=repository)
