"""Writes the address of the public copy wherever it is named: ``python -m tools.badge [ADDRESS]``.

The one source is ``binder/address.json``. Without an argument it is made from ``git remote get-url origin``. README,
the handout and the notebook for whoever teaches are then written anew: the button that opens the notebooks on Binder,
or a plain sentence while nobody knows a public address. Who copies the repository runs it once in the copy.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from helpers.course.addresses import BUTTON, CODESPACES, Repository

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "binder/address.json"
#: What stands in the notebook for whoever teaches while there is no address.
EXAMPLE = "https://github.com/OWNER/REPOSITORY"
_BLOCK = re.compile(r"(<!-- badge: made by `make badge` -->\n).*?(<!-- end of badge -->)", re.DOTALL)
_PLACE = re.compile("(this page is one of a set: get )[^,\"]+(, run 'make setup' in it)")
_NO_PLACE = "the repository"
_NO_README = (
    "This page knows no public copy yet. Put one on GitHub or GitLab and run `make badge` in it: then a button stands\n"
    "here that opens the notebooks in a browser, without installing anything.\n"
)
_NO_HANDOUT = "Your teacher has the link that opens the notebooks in a browser (or `make badge` writes it here).\n"


class BadgeError(Exception):
    """The address cannot be written; the text says why."""


def known(root: Path) -> tuple[Repository | None, str]:
    """The public copy, if there is one, and its branch, as ``binder/address.json`` says."""
    said = json.loads((root / SOURCE).read_text(encoding="utf-8"))
    return (Repository.parse(said["repository"]) if said["repository"] else None), said["branch"]


def of_remote(root: Path) -> Repository | None:
    """The repository that this one was cloned from; ``None`` when that is no public address."""
    command = ["git", "-C", str(root), "remote", "get-url", "origin"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return Repository.parse(done.stdout) if not done.returncode else None
    except ValueError:
        return None


def in_readme(text: str, repository: Repository | None, branch: str) -> str:
    """README with the button in its place."""
    button = _NO_README
    if repository is not None:
        button = f"[![Open the notebooks in a browser]({BUTTON})]({repository.binder_link(branch)})\n"
        if repository.host == "github.com":
            codespaces = f"https://codespaces.new/{repository.path}?ref={quote(branch, safe='')}"
            button += f"[![Open them in GitHub Codespaces, which needs an account]({CODESPACES})]({codespaces})\n"
    return _in_block(text, button)


def in_handout(text: str, repository: Repository | None, branch: str) -> str:
    """The handout with the link to type or to press."""
    link = _NO_HANDOUT
    if repository is not None:
        link = f"The notebooks in a browser: <{repository.binder_link(branch)}>\n"
    return _in_block(text, link)


def in_notebook(text: str, repository: Repository | None, branch: str) -> str:
    """The notebook for whoever teaches, with the address in its cell and the link in the output."""
    page = repository.page if repository is not None else EXAMPLE
    link = Repository.parse(page).binder_link(branch)
    text, cells = re.subn(r'(\\"|")repository = \\"[^"\\]*\\"', rf'\1repository = \\"{page}\\"', text)
    text, branches = re.subn(r'(\\"|")branch = \\"[^"\\]*\\"', rf'\1branch = \\"{branch}\\"', text)
    text, outputs = re.subn(r'"https://mybinder\.org/v2/[^"]*\\n"', f'"{link}\\\\n"', text)
    if (cells, branches, outputs) != (1, 1, 1):
        raise BadgeError("02_run_a_workshop has no cell with the address and the branch, or no output with the link.")
    return text


def in_cell(text: str, repository: Repository | None, branch: str) -> str:
    """A notebook whose check of what is installed says where the rest of the set is, for whoever opened it alone."""
    where = repository.page if repository is not None else _NO_PLACE
    text, cells = _PLACE.subn(lambda found: f"{found[1]}{where}{found[2]}", text)
    if cells != 1:
        raise BadgeError(f"There is no cell, or more than one, that says {_PLACE.pattern!r}.")
    return text


def _in_block(text: str, content: str) -> str:
    text, blocks = _BLOCK.subn(lambda found: found[1] + content + found[2], text)
    if blocks != 1:
        raise BadgeError("There must be one place between `<!-- badge: ... -->` and `<!-- end of badge -->`.")
    return text


Writer = Callable[[str, Repository | None, str], str]


def places(root: Path) -> dict[str, list[Writer]]:
    """Which files name the address, and how it gets into each."""
    found: dict[str, list[Writer]] = {"README.md": [in_readme], "docs/handout.md": [in_handout]}
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        # a page without code, such as the glossary, needs nothing that is installed
        if "ModuleNotFoundError as missing" in path.read_text(encoding="utf-8"):
            found[f"notebooks/{path.name}"] = [in_cell]
    found.setdefault("notebooks/02_run_a_workshop.ipynb", []).append(in_notebook)
    return found


def main(given: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.badge", description="Write the address of the public copy.")
    parser.add_argument("address", nargs="?", help="of the copy (default: that of the remote named origin)")
    parser.add_argument("--branch", help="a branch or, better for a course, a tag (default: as it is)")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    arguments = parser.parse_args(given)
    root: Path = arguments.root
    try:
        repository, branch = known(root)
        branch = arguments.branch or branch
        repository = Repository.parse(arguments.address) if arguments.address else of_remote(root) or repository
        made = {}
        for name, writers in places(root).items():
            text = (root / name).read_text(encoding="utf-8")
            for write in writers:
                text = write(text, repository, branch)
            made[name] = text
    except (BadgeError, ValueError) as problem:
        print(problem, file=sys.stderr)  # noqa: T201
        return 1
    page = repository.page if repository is not None else ""
    said = json.dumps({"repository": page, "branch": branch}, indent=2) + "\n"
    for name, text in {SOURCE: said, **made}.items():
        (root / name).write_text(text, encoding="utf-8", newline="\n")
    print(page or "No public address is known: the remote is none. Name one: make badge ARGUMENTS=ADDRESS")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
