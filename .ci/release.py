"""What a release is made of: ``python .ci/release.py check|build TAG [FOLDER]``.

``check`` fails, in words, unless the tag is the version of both projects and ``CHANGELOG.md`` tells of it. ``build``
puts what is attached into ``FOLDER/files`` (the simulator's wheel, the repository as an archive, the notebooks as pages
with the report of their run), and the text of the release into ``FOLDER/notes.md``. Neither publishes anything.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = ("pyproject.toml", "simulator/pyproject.toml")


class ReleaseError(Exception):
    """Something does not fit together; the text says what, and what to do."""


def notes(changelog: str, version: str) -> str:
    """What the changelog says about a version.

    Arguments:
        changelog: the text of ``CHANGELOG.md``, with a heading ``## [1.4.0]`` for each version.
        version: such as ``1.4.0``.

    Raises:
        ReleaseError: it says nothing.
    """
    found = re.search(rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## \[|\Z)", changelog, re.MULTILINE | re.DOTALL)
    text = found[1].strip() if found else ""
    if not text:
        raise ReleaseError(
            f"CHANGELOG.md says nothing under '## [{version}]'. Move there what stands under Unreleased."
        )
    return text + "\n"


def check(tag: str, root: Path = ROOT) -> str:
    """The text of a release, once its tag, both projects and the changelog agree.

    Arguments:
        tag: such as ``v1.4.0``.
        root: the repository.

    Raises:
        ReleaseError: they do not agree.
    """
    version = tag.removeprefix("v")
    if not re.fullmatch(r"v\d+\.\d+\.\d+((a|b|rc)\d+)?", tag):
        raise ReleaseError(f"The tag {tag!r} is no version. Name it like v1.4.0 or v1.4.0rc1.")
    for name in PROJECTS:
        said = tomllib.loads((root / name).read_text(encoding="utf-8"))["project"]["version"]
        if said != version:
            raise ReleaseError(f"The tag is {tag}, and {name} says {said}. Change one of them.")
    return notes((root / "CHANGELOG.md").read_text(encoding="utf-8"), version)


def build(tag: str, folder: Path, root: Path = ROOT) -> None:
    """Put everything that is attached to a release into a folder, which must not be there yet.

    Arguments:
        tag: of the release.
        folder: where; made anew.
        root: the repository, in which ``make tutorial`` has run.

    Raises:
        ReleaseError: something is missing, or the folder is there.
    """
    text, report = check(tag, root), root / "build" / "report.html"
    if not report.exists():
        raise ReleaseError("There is no build/report.html. Run this first: make tutorial")
    if folder.exists():
        raise ReleaseError(f"{folder} is there. Remove it, or name another folder.")
    files = folder / "files"
    files.mkdir(parents=True)
    (folder / "notes.md").write_text(text, encoding="utf-8")
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(files), "./simulator"]
    name = f"azure-dps-notebooks-{tag.removeprefix('v')}"
    archive = ["git", "archive", f"--prefix={name}/", f"--output={(files / name).resolve()}.zip", "HEAD"]
    for command in (wheel, archive):
        if subprocess.run(command, cwd=root, check=False).returncode:
            raise ReleaseError(f"This failed; the reason stands above: {' '.join(command)}")
    pages = folder / f"{name}-executed"
    shutil.copytree(root / "build" / "notebooks", pages / "notebooks")
    shutil.copy(report, pages)
    shutil.make_archive(str(files / pages.name), "zip", folder, pages.name)


def main(given: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python .ci/release.py", description="Check or build a release.")
    parser.add_argument("action", choices=("check", "build"))
    parser.add_argument("tag", help="such as v1.4.0")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/release"), help="for what is built")
    arguments = parser.parse_args(given)
    try:
        if arguments.action == "check":
            check(arguments.tag)
        else:
            build(arguments.tag, arguments.folder.resolve())
    except ReleaseError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
