"""How the environment is made: with uv or pip, for learners or contributors, whatever lies there already."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import installation
from helpers.installation import InstallationError

#: A project that needs nothing from elsewhere: it builds itself.
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """
import zipfile

def _wheel(folder):
    name = "sample-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as file:
        file.writestr("sample.py", "")
        file.writestr("sample-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: sample\\nVersion: 1\\n")
        wheel = "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        file.writestr("sample-1.dist-info/WHEEL", wheel)
        file.writestr("sample-1.dist-info/RECORD", "sample.py,,\\n")
    return name

def build_wheel(folder, settings=None, metadata=None):
    return _wheel(folder)

def build_editable(folder, settings=None, metadata=None):
    return _wheel(folder)
"""


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    for place, name in ((folder, "sample"), (folder / "simulator", "second")):
        place.mkdir(exist_ok=True)
        (place / "pyproject.toml").write_text(PROJECT)
        (place / "backend.py").write_text(BACKEND.replace("sample", name))
    (folder / "requirements.txt").write_text("# nothing\n")
    (folder / "requirements-dev.txt").write_text("-r requirements.txt\n")
    return folder


@pytest.fixture
def install(project, repository, tmp_path):
    """Runs the command in the project, without any network."""

    def run(*arguments, path=(), **variables):
        programs = tmp_path / "programs"
        programs.mkdir(exist_ok=True)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))},
            "PATH": os.pathsep.join([*map(str, path), str(programs)]),
            "PYTHONPATH": str(repository),
            "PIP_NO_INDEX": "1",
            "PIP_CONFIG_FILE": os.devnull,
            "UV_OFFLINE": "1",
            **variables,
        }
        return subprocess.run(
            [sys.executable, "-m", "helpers.installation", *arguments],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def has_both(environment):
    python = installation.python_of(environment)
    return not subprocess.run(
        [python, "-I", "-c", "import sample, second"], check=False, capture_output=True
    ).returncode


def ready(environment):
    return sorted(path.name for path in environment.glob("ready*"))


def program(folder, name, text):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return folder


@pytest.mark.anywhere
def test_pip_takes_over_when_uv_gives_up(install, project, tmp_path):
    broken = program(tmp_path / "broken", "uv", "echo no way >&2; exit 3")
    done = install(".venv", "learner", path=[broken])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "uv gave up (no way); pip tries it now.\n"
    assert has_both(project / ".venv")
    assert ready(project / ".venv") == ["ready"]

    # what contributors add comes into the same environment; an environment without pip gets it
    kept = project / ".venv" / "somebody's own"
    kept.write_text("x")
    for found in (project / ".venv").rglob("pip*"):
        if found.is_dir() and found.parent.name == "site-packages":
            shutil.rmtree(found)
    done = install(".venv", "contributor")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert ready(project / ".venv") == ["ready", "ready-dev"]
    assert kept.exists()


@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed here")
@pytest.mark.anywhere
def test_uv_installs_here_whatever_its_settings_say(install, project, tmp_path):
    uv = Path(shutil.which("uv")).parent
    if "shims" in uv.parts:
        uv = Path(sys.base_prefix) / "bin"
    other = {"UV_SYSTEM_PYTHON": "1", "UV_PYTHON": "/nonexistent", "UV_PROJECT_ENVIRONMENT": str(tmp_path / "x")}
    done = install("environment", "contributor", path=[uv], UV_CACHE_DIR=str(tmp_path / "no" / "cache"), **other)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert has_both(project / "environment")
    assert ready(project / "environment") == ["ready", "ready-dev"]


@pytest.mark.anywhere
def test_what_was_interrupted_is_not_ready(install, project):
    (project / "requirements.txt").write_text("no-such-package==1\n")
    done = install(".venv", "learner")
    assert done.returncode == 1
    assert "no-such-package" in done.stderr
    assert done.stderr.endswith("The packages could not be installed; the reason stands above. Then run it again.\n")
    assert ready(project / ".venv") == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo 3 10 /", "is Python 3.10"),
        ("exit 1", "does not run"),
        (f"echo {sys.version_info[0]} {sys.version_info[1]} /nonexistent", "does not run"),
    ],
    ids=["too old", "broken", "without its packages"],
)
def test_what_does_not_do_is_made_anew(tmp_path, monkeypatch, capsys, text, reason):
    monkeypatch.setattr(installation, "_has_pip", lambda: False)
    folder = tmp_path / "environment"
    folder.mkdir()
    program(folder / "bin", "python", text)
    (folder / "pyvenv.cfg").write_text("")
    (folder / "ready").touch()
    installation.make_environment(folder, named=False)
    assert reason in capsys.readouterr().out
    assert installation.version_of(folder) == sys.version_info[:2]
    assert ready(folder) == []


def test_another_version_is_kept_unless_one_was_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(installation, "_has_pip", lambda: False)
    other = (3, 12) if sys.version_info[:2] != (3, 12) else (3, 13)
    folder = tmp_path / "environment"
    folder.mkdir()
    program(folder / "bin", "python", f"echo {other[0]} {other[1]} /")
    installation.make_environment(folder, named=False)
    assert capsys.readouterr().out == ""
    assert installation.version_of(folder) == other
    installation.make_environment(folder, named=True)
    assert f"is Python {other[0]}.{other[1]}: it is made anew" in capsys.readouterr().out
    assert installation.version_of(folder) == sys.version_info[:2]


def test_a_link_that_leads_nowhere_is_no_python(tmp_path, monkeypatch):
    monkeypatch.setattr(installation, "_has_pip", lambda: False)
    folder = tmp_path / "environment"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to("/nonexistent")
    installation.make_environment(folder, named=False)
    assert installation.version_of(folder) == sys.version_info[:2]


def test_what_is_no_environment_stays_as_it_is(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "cat.png").write_text("x")
    for path in (folder, folder / "cat.png"):
        with pytest.raises(InstallationError, match="make VENV="):
            installation.make_environment(path, named=True)
    assert (folder / "cat.png").read_text() == "x"


def test_settings_of_uv_that_are_kept():
    given = {"UV_INDEX_URL": "a", "UV_OFFLINE": "1", "UV_PYTHON": "x", "UV_SYSTEM_PYTHON": "1", "PATH": "p"}
    assert installation.uv_environment(given) == {"UV_INDEX_URL": "a", "UV_OFFLINE": "1", "PATH": "p"}


def test_a_python_that_does_not_do_is_refused(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(installation, "problem", lambda: "another one, please")
    assert installation.main([str(tmp_path / "new"), "learner"]) == 1
    assert capsys.readouterr().err == "another one, please\n"
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("target", "audience"),
    [
        ("tutorial", "learner"),
        ("lab", "learner"),
        ("notebooks", "learner"),
        ("lint", "contributor"),
        ("test", "contributor"),
        ("check", "contributor"),
        ("setup", "contributor"),
        ("bench", "contributor"),
    ],
)
def test_who_learns_needs_nothing_of_a_contributor(repository, tmp_path, target, audience):
    shown = subprocess.run(
        ["make", "-n", target, f"VENV={tmp_path / 'new'}", "PYTHON=python3"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    calls = [line.split()[-1] for line in shown.splitlines() if "-m helpers.installation" in line]
    assert set(calls[:1]) == {audience}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_clean_removes_what_can_be_made_again_and_nothing_else(tmp_path, repository):
    made = [
        "build/report.html",
        ".workspace/state",
        ".ruff_cache/x",
        ".coverage",
        ".coverage.1",
        "helpers/__pycache__/a",
    ]
    kept = [".env", ".venv/ready", ".venv/lib/__pycache__/b", ".venv-docs/__pycache__/c", "notebooks/00.ipynb", "a.py"]
    for name in [*made, *kept]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    command = ["make", "--silent", "-f", str(repository / "Makefile"), "clean"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == set(kept)
