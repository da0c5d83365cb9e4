"""The workflows of GitHub Actions, as far as they can be judged where none runs: form, safety, what they call."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from helpers import python_versions

ROOT = Path(__file__).resolve().parent.parent.parent
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
SCHEMAS = {
    "vendor.github-workflows": WORKFLOWS,
    "vendor.dependabot": [GITHUB / "dependabot.yml"],
    "vendor.github-issue-forms": sorted(
        path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"
    ),
    "vendor.github-issue-config": [GITHUB / "ISSUE_TEMPLATE" / "config.yml"],
}


def read(path):
    # YAML 1.1 takes the key `on` for a truth
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506 - makes texts only


def jobs():
    return [
        pytest.param(path.stem, name, job, id=f"{path.stem}-{name}")
        for path in WORKFLOWS
        for name, job in read(path)["jobs"].items()
    ]


def steps():
    return [
        (path.stem, name, step)
        for path in WORKFLOWS
        for name, job in read(path)["jobs"].items()
        for step in job["steps"]
    ]


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_has_the_form_that_github_wants(schema):
    done = run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, SCHEMAS[schema]))
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_in_them_is_unsafe():
    done = run(
        Path(sys.executable).with_name("zizmor"),
        "--offline",
        "--no-progress",
        "--config",
        GITHUB / "zizmor.yml",
        GITHUB,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_spoilt_workflow_is_told(tmp_path):
    spoilt = tmp_path / "workflow.yml"
    spoilt.write_text((GITHUB / "workflows" / "ci.yml").read_text(encoding="utf-8").replace("runs-on", "runs_on", 1))
    done = run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(spoilt))
    assert done.returncode == 1


@pytest.mark.parametrize(("workflow", "name", "job"), jobs())
def test_every_job_ends_and_can_do_no_more_than_it_must(workflow, name, job):
    assert int(job["timeout-minutes"]) <= 90
    assert "write" not in json.dumps(read(GITHUB / "workflows" / f"{workflow}.yml")["permissions"])
    allowed = {
        ("release", "publish"): {"contents": "write"},
        ("azure", "report"): {"contents": "read", "id-token": "write"},
    }
    assert job.get("permissions", {}) == allowed.get((workflow, name), {})


def test_every_computer_is_tried_with_every_python():
    matrix = read(GITHUB / "workflows" / "ci.yml")["jobs"]["computers"]["strategy"]["matrix"]
    first, last = python_versions.FIRST, python_versions.LAST
    assert matrix["python"] == [f"{first[0]}.{minor}" for minor in range(first[1], last[1] + 1)]
    kinds = [re.sub(r"-[\d.]+", "", computer) for computer in matrix["computer"]]
    assert kinds == ["ubuntu", "macos", "macos-intel", "windows"]


def test_what_is_made_is_kept_whether_or_not_the_job_passed():
    kept = [
        step
        for _, _, step in steps()
        if "upload-artifact" in step.get("uses", "") and "results" in step["with"]["name"]
    ]
    assert len(kept) >= 2
    assert all(step["if"] == "always()" and step["with"]["path"] == "build/" for step in kept)


def commands():
    found = []
    for workflow, name, step in steps():
        text = re.sub(r"\\\n", " ", step.get("run", ""))
        for line in text.splitlines():
            found.append(pytest.param(line.strip(), id=f"{workflow}-{name}-{line.strip()[:40]}"))
    return found


@pytest.mark.parametrize("line", commands())
def test_what_it_calls_is_in_the_repository(line):
    """Targets of the Makefile, and files; so each step can be run here, too."""
    words = shlex.split(re.sub(r"\$\{\{.*?\}\}", "x", line))
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    if "make" in words:
        assert words[words.index("make") + 1] in targets
    for word in words:
        if word.removeprefix("./").startswith((".ci/", "tests/", "simulator/")):
            assert (ROOT / word).exists(), word


def test_a_release_publishes_to_no_index():
    text = (GITHUB / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert not re.search(r"twine|pypi|docker push|npm publish", text)


def test_the_hooks_before_a_commit_are_what_the_project_has_installed():
    path = ROOT / ".pre-commit-config.yaml"
    assert run(Path(sys.executable).with_name("pre-commit"), "validate-config", path).returncode == 0
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for repository in read(path)["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            program, *arguments = shlex.split(hook["entry"])
            assert program.startswith(".venv/bin/")
            names = [program.removeprefix(".venv/bin/"), *arguments]
            assert names[0] in ("ruff", "codespell", "python"), names
            # the same checks as `make lint`, so that one does not say otherwise than the other
            wanted = names[2] if names[0] == "python" else names[0]
            assert wanted in makefile


@pytest.mark.skipif(shutil.which("git") is None or os.name == "nt", reason="needs git and symbolic links")
def test_the_hooks_hold_up_a_commit_once_they_are_installed(tmp_path):
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PRE_COMMIT"))}
    variables |= {"HOME": str(tmp_path), "PRE_COMMIT_HOME": str(tmp_path / "cache"), "GIT_CONFIG_NOSYSTEM": "1"}
    folder = tmp_path / "checkout"
    folder.mkdir()

    def typed(*command):
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    shutil.copy(ROOT / ".pre-commit-config.yaml", folder)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "bad.py").write_text("import os\n")
    assert typed("git", "init", "--quiet")[0] == 0
    code, said = typed(".venv/bin/pre-commit", "install")
    assert (code, "pre-commit installed" in said) == (0, True), said
    assert typed("git", "add", "bad.py", ".pre-commit-config.yaml")[0] == 0
    person = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
    code, said = typed("git", *person, "commit", "--quiet", "--message=Bad style")
    assert code == 1
    assert re.search(r"^style\.+Failed$", said, re.MULTILINE), said
    assert "bad.py" in said
    assert typed("git", "rev-parse", "HEAD")[0] != 0
