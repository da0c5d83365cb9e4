"""All places that name the versions of Python name the same ones, and other versions are refused in words."""

import json
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
from packaging.specifiers import SpecifierSet

import helpers
from helpers import checks, python_versions
from helpers.python_versions import FIRST, LAST, SPAN, problem

#: Who says "Python 3.x to 3.y", and how often.
NAMED_IN = {
    "README.md": 1,
    "CONTRIBUTING.md": 1,
    "requirements.txt": 1,
    ".ci/run": 1,
    "notebooks/00_start_here.ipynb": 1,
    "notebooks/02_run_a_workshop.ipynb": 1,
}
_NAMED = re.compile(r"(?:Python|of) (3\.\d+ to 3\.\d+)")


def settings(repository):
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_project_may_be_installed_on_these(repository):
    allowed = SpecifierSet(settings(repository)["project"]["requires-python"])
    for minor in range(40):
        assert allowed.contains(f"3.{minor}.0") == (FIRST <= (3, minor) <= LAST)


@pytest.mark.parametrize(("name", "times"), NAMED_IN.items())
def test_texts_name_the_same(repository, name, times):
    assert _NAMED.findall((repository / name).read_text(encoding="utf-8")) == [SPAN] * times


def test_nobody_else_names_others(repository):
    if shutil.which("git") is None or not (repository / ".git").exists():
        pytest.skip("not a git repository")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, check=True, capture_output=True, text=True)
    for name in listed.stdout.split("\0"):
        # what was, stands there too
        if name == "CHANGELOG.md":
            continue
        if name.endswith((".py", ".md", ".txt", ".toml", ".ipynb", ".cfg", ".sh")) or name in ("Makefile", ".ci/run"):
            text = (repository / name).read_text(encoding="utf-8")
            assert set(_NAMED.findall(text)) <= {SPAN}, name


def test_types_and_style_are_those_of_the_first(repository):
    tool = settings(repository)["tool"]
    assert tool["mypy"]["python_version"] == "{}.{}".format(*FIRST)
    # ruff takes it from requires-python
    assert "target-version" not in tool["ruff"]


def test_no_marker_speaks_of_a_version_that_is_not_supported(repository):
    for name in ("requirements.txt", "requirements-dev.txt"):
        for sign, minor in re.findall(r'python_version (\S+) "3\.(\d+)"', (repository / name).read_text("utf-8")):
            assert FIRST < (3, int(minor)) <= LAST, f"{name}: python_version {sign} 3.{minor} is always or never so"


def test_the_machine_of_the_tests_is_one_of_them():
    assert problem() == ""


@pytest.mark.parametrize("version", [(2, 7), (3, 10), (3, 15), (4, 0)])
def test_others_are_told_what_to_do(version):
    told = problem(version)
    assert f"needs Python {SPAN}" in told
    assert "Python {}.{}.".format(*version) in told
    assert "make PYTHON=python{}.{} setup".format(*LAST) in told


@pytest.mark.parametrize("version", [FIRST, LAST, (3, 12)])
def test_these_are_welcome(version):
    assert problem(version) == ""


def run_as(version, repository, *code):
    """Runs code in a Python that takes itself for another version."""
    before = f"import sys; sys.version_info = ({version[0]}, {version[1]}, 0, 'final', 0)"
    return subprocess.run(
        [sys.executable, "-c", "\n".join([before, *code])], cwd=repository, capture_output=True, text=True, check=False
    )


def test_what_is_too_old_cannot_import_helpers(repository):
    done = run_as((3, 10), repository, "import helpers.checks")
    assert done.returncode == 1
    assert f"ImportError: This needs Python {SPAN}" in done.stderr
    assert "is Python 3.10." in done.stderr


@pytest.mark.parametrize(("version", "code"), [((3, 10), 1), ((3, 15), 1), (FIRST, 0), (LAST, 0)])
def test_the_command_that_set_up_asks(repository, version, code):
    run = "import runpy; runpy.run_path('helpers/python_versions.py', run_name='__main__')"
    done = run_as(version, repository, run)
    assert done.returncode == code
    assert ("make PYTHON=" in done.stderr) == bool(code)


def test_notebook_00_refuses_what_is_too_new(monkeypatch, capsys):
    monkeypatch.setattr(python_versions, "problem", lambda: "too new")
    with pytest.raises(checks.CheckFailed, match=f"Python {SPAN}"):
        checks.environment()
    assert f"✗ missing: Python {SPAN}\n  Remedy: install one of these versions" in capsys.readouterr().out


def test_the_refusal_is_old_grammar(repository):
    """Grammar of Python 3.6 at most, else people get a SyntaxError instead of the text."""
    import ast

    for name in ("helpers/__init__.py", "helpers/python_versions.py"):
        ast.parse((repository / name).read_text(encoding="utf-8"), feature_version=(3, 6))


def test_the_package_offers_nothing_by_itself():
    assert not {"FIRST", "problem", "sys"} & set(vars(helpers))


def test_kernels_of_the_notebooks_are_not_bound_to_a_version(repository):
    for path in sorted((repository / "notebooks").glob("*.ipynb")):
        document = json.loads(path.read_text(encoding="utf-8"))
        assert "language_info" not in document["metadata"]
