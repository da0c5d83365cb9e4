"""A release: what must agree before there is one, and what is attached to it."""

import importlib.util
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def load(name):
    spec = importlib.util.spec_from_file_location(f"ci_{name}", ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = load("release")
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n- later\n\n## [1.4.0] - 2026-12-01\n\n- one\n\n## [1.3.0]\n\n- two\n"


@pytest.fixture
def project(tmp_path):
    """A repository in version 1.4.0, with the real simulator and the report of a run."""
    root = tmp_path / "project"
    shutil.copytree(
        ROOT / "simulator", root / "simulator", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    )
    for name in release.PROJECTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        (root / name).write_text(text.replace('version = "0.1.0"', 'version = "1.4.0"', 1), encoding="utf-8")
    (root / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
    (root / "build" / "notebooks").mkdir(parents=True)
    (root / "build" / "report.html").write_text("report", encoding="utf-8")
    (root / "build" / "notebooks" / "11.html").write_text("page", encoding="utf-8")
    return root


def test_the_notes_are_those_of_the_version(project):
    assert release.check("v1.4.0", project) == "- one\n"


@pytest.mark.parametrize(
    ("tag", "says"),
    [
        ("1.4.0", "no version"),
        ("v1.4", "no version"),
        ("v1.4.0; rm", "no version"),
        ("v1.4.1", r"pyproject\.toml says 1\.4\.0"),
    ],
)
def test_a_tag_that_does_not_fit_is_refused(project, tag, says):
    with pytest.raises(release.ReleaseError, match=says):
        release.check(tag, project)


@pytest.mark.parametrize("changelog", ["# Changelog\n", "## [1.4.0]\n\n## [1.3.0]\n\n- two\n", "## [1.4.00]\n- x\n"])
def test_a_version_of_which_the_changelog_says_nothing_is_refused(project, changelog):
    (project / "CHANGELOG.md").write_text(changelog, encoding="utf-8")
    with pytest.raises(release.ReleaseError, match="CHANGELOG"):
        release.check("v1.4.0", project)


def test_versions_that_differ_are_refused(project):
    path = project / "simulator" / "pyproject.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("1.4.0", "1.3.9", 1), encoding="utf-8")
    with pytest.raises(release.ReleaseError, match=r"simulator/pyproject\.toml says 1\.3\.9"):
        release.check("v1.4.0", project)


def test_the_versions_of_this_repository_agree():
    said = {
        name: release.tomllib.loads((ROOT / name).read_text(encoding="utf-8"))["project"]["version"]
        for name in release.PROJECTS
    }
    assert len(set(said.values())) == 1, said


@pytest.mark.anywhere
def test_what_is_attached(project, tmp_path):
    """In the tier that may ask an index: building the wheel takes setuptools from there."""
    for command in (
        ["init", "-q"],
        ["add", "CHANGELOG.md", "simulator"],
        ["-c", "user.name=a", "-c", "user.email=a@b.test", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *command], cwd=project, check=True)
    folder = tmp_path / "release"
    release.build("v1.4.0", folder, project)
    assert (folder / "notes.md").read_text(encoding="utf-8") == "- one\n"
    names = sorted(path.name for path in (folder / "files").iterdir())
    assert names == [
        "azure-dps-notebooks-1.4.0-executed.zip",
        "azure-dps-notebooks-1.4.0.zip",
        "dps_simulator-1.4.0-py3-none-any.whl",
    ]
    with zipfile.ZipFile(folder / "files" / names[0]) as archive:
        assert "azure-dps-notebooks-1.4.0-executed/report.html" in archive.namelist()
    with pytest.raises(release.ReleaseError, match="Remove it"):
        release.build("v1.4.0", folder, project)


def test_nothing_is_built_before_the_notebooks_ran(project, tmp_path):
    (project / "build" / "report.html").unlink()
    with pytest.raises(release.ReleaseError, match="make tutorial"):
        release.build("v1.4.0", tmp_path / "release", project)
    assert not (tmp_path / "release").exists()


computer = load("computer")


def test_what_is_newest_has_no_pin_but_keeps_what_limits_it():
    text = "# a==1\na-b[c]==1.2\nd==3.4 ; python_version < '3.14'  # why == 3\n-r other.txt\nkept==1\n"
    assert computer.newest(text, ["kept"]) == (
        "# a==1\na-b[c]==1.2\nd ; python_version < '3.14'  # why == 3\n-r other.txt\nkept==1\n".replace(
            "a-b[c]==1.2", "a-b[c]"
        )
    )


def test_the_lists_of_this_repository_lose_all_their_pins():
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = computer.newest((ROOT / name).read_text(encoding="utf-8")).splitlines()
        assert not [line for line in lines if "==" in line.partition("#")[0].partition(";")[0]]


def test_a_part_that_fails_does_not_hide_the_next(monkeypatch, capsys):
    done = []

    def answer(command, **_):
        done.append(command)
        return subprocess.CompletedProcess(command, 1 if "pytest" in command else 0)

    monkeypatch.setattr(computer.subprocess, "run", answer)
    monkeypatch.chdir(ROOT)
    assert computer.main(["--environment", "nowhere", "--without", "azure-iot-hub", "--", "-q"]) == 1
    assert [("pytest" in command, "tutorial" in command) for command in done[-2:]] == [(True, False), (False, True)]
    assert "uninstall" in done[1]
    assert done[-2][-1] == "-q"
    assert "failed: tests" in capsys.readouterr().out


def test_nothing_follows_a_set_up_that_failed(monkeypatch, capsys):
    monkeypatch.setattr(computer.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 3))
    monkeypatch.chdir(ROOT)
    assert computer.main([]) == 1
    assert capsys.readouterr().out.rstrip().endswith("failed: set-up")
