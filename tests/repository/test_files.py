"""What README, CONTRIBUTING and the Makefile say is true."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from helpers.runner import leaks
from helpers.runner.documents import find

TEXTS = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]


def targets(repository):
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    return set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(repository, name):
    text = (repository / name).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)", text):
        if not link.startswith("https://"):
            assert (repository / link).exists(), link


@pytest.mark.parametrize("name", TEXTS)
def test_named_files_and_commands_exist(repository, name):
    text = (repository / name).read_text(encoding="utf-8")
    for command in re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", text, re.MULTILINE):
        assert "".join(command) in targets(repository)
    made_later = (".venv", "build", ".workspace", ".env")
    for path in re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", text):
        assert path.startswith(made_later) or (repository / path).exists(), path


def test_readme_starts_with_the_two_commands_and_lists_every_notebook(repository):
    text = (repository / "README.md").read_text(encoding="utf-8")
    first_screen = "\n".join(text.splitlines()[:40])
    assert "make tutorial" in first_screen
    assert "make test" in first_screen
    assert re.findall(r"\(notebooks/([\w.]+)\)", text) == [path.name for path in find()]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_help_lists_every_target(repository):
    shown = subprocess.run(["make", "help"], cwd=repository, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^make ([\w-]+) ", shown, re.MULTILINE)) == targets(repository) - {"help"}


@pytest.mark.parametrize("script", [".ci/run", "binder/postBuild", "binder/start"])
def test_scripts_are_executable_and_stop_at_errors(repository, script):
    path = repository / script
    assert os.access(path, os.X_OK)
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in path.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_binder_starts_what_it_is_told_in_a_workspace_of_the_session(repository, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "DPS_WORKSPACE"}
    shown = subprocess.run(
        [str(repository / "binder" / "start"), sys.executable, "-c", "import os; print(os.environ['DPS_WORKSPACE'])"],
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.strip() == str(tmp_path / ".dps-workspace")


def committed_files(repository):
    if shutil.which("git") is None or not (repository / ".git").exists():
        pytest.skip("not a git repository")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [repository / name for name in listed.split("\0") if name and (repository / name).is_file()]


def test_no_key_is_committed(repository):
    for path in committed_files(repository):
        assert path.suffix not in (".pem", ".key", ".p12", ".pfx", ".env"), path
        # tests hold made-up keys on purpose
        if path.suffix in (".py", ".md", ".txt", ".toml") and "tests" not in path.relative_to(repository).parts:
            text = path.read_text(encoding="utf-8")
            assert "a private key" not in leaks.secrets(text), path


def test_no_module_is_too_long_to_read(repository):
    for path in sorted(
        path for folder in ("helpers", "simulator", "tools") for path in (repository / folder).rglob("*.py")
    ):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 600, path


def test_no_run_of_the_tests_forgets_a_folder(repository):
    """What `make test` leaves out of one of its two runs, to collect less, has no tests for that run."""
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    rooms = re.search(r"^ROOMS = ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)[1].replace("\\\n", " ").split()
    left_out = [*re.findall(r"--ignore=(\w\S+)", makefile), *rooms]
    assert len(left_out) == 3 + 7
    for folder in left_out:
        texts = [path.read_text(encoding="utf-8") for path in (repository / folder).rglob("test_*.py")]
        assert texts
        if folder in ("tests/sdk", "tests/browser"):
            # its conftest.py marks all
            marks = (repository / folder / "conftest.py").read_text(encoding="utf-8")
            assert f"item.add_marker(pytest.mark.{folder.rpartition('/')[2]})" in marks
        else:
            assert not any(re.search(r"mark\.(sdk|notebooks|browser|anywhere|clients)", text) for text in texts), folder
