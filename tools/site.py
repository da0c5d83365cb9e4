"""Prepares the sources of the site: ``python -m tools.site FOLDER``; ``make site`` then makes its pages.

The site is made of the notebooks and documents as they are, with their places, so that a link between them leads where
it leads in JupyterLab. Three things differ: a link to a cell becomes one to a name that Sphinx knows, a diagram becomes
a picture (Mermaid's script would come from another server), and a notebook says where it can be run.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from helpers.course.addresses import Repository

from .badge import known, of_remote
from .diagram import MERMAID, drawn

REPOSITORY = Path(__file__).resolve().parents[1]
#: What is on the site besides the notebooks, and what it links to; the last part goes to the root.
PARTS = ("docs", "simulator/README.md", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "LICENSE")
#: The folder with the settings and the first page.
OWN = "site"
_LINK = re.compile(r"(?<=\]\()(?P<file>(?:[./\w-]*/)?(?P<notebook>\w+)\.ipynb)?#cell-id=(?P<cell>[\w-]+)(?=\))")
#: A picture for light pages and one for dark ones, as GitHub has it.
_PICTURE = re.compile(
    r'<picture>\s*<source media="\(prefers-color-scheme: dark\)" srcset="(?P<dark>[^"]+)">'
    r'\s*<img src="(?P<light>[^"]+)"[^>]* alt="(?P<says>[^"]+)">\s*</picture>'
)
#: The button for Binder in README, whose picture lies on another server; the pages of the notebooks have their own.
_BADGE = re.compile(r"<!-- badge: .*?<!-- end of badge -->\n", re.DOTALL)


def name_of(notebook: str, cell: str) -> str:
    """The name of a cell on the site, unique among all pages, e.g. ``glossary-id-scope``.

    Arguments:
        notebook: its file's name without the ending, e.g. ``01_glossary``.
        cell: the identifier of the cell.
    """
    return f"{notebook.partition('_')[2]}-{cell}".replace("_", "-")


def with_links_by_name(text: str, notebook: str = "") -> str:
    """A text whose links to cells name them as the site does.

    Arguments:
        text: in Markdown.
        notebook: where it stands, for links within it.
    """
    return _LINK.sub(lambda link: f"{link['file'] or ''}#{name_of(link['notebook'] or notebook, link['cell'])}", text)


def linked_cells(notebook: str, text: str) -> Iterator[str]:
    """The names of all cells that a text links to."""
    return (name_of(link["notebook"] or notebook, link["cell"]) for link in _LINK.finditer(text))


def page(name: str, notebook: dict[str, Any], linked: set[str], binder: str | None) -> dict[str, Any]:
    """A notebook as the site shows it.

    Arguments:
        name: its file's name without the ending.
        notebook: its JSON.
        linked: the names of cells that somebody links to.
        binder: the link that opens it on Binder, if there is one.
    """
    cells = []
    for cell in notebook["cells"]:
        label = name_of(name, cell["id"])
        mark = f"({label})=\n" if label in linked else ""
        if cell["cell_type"] == "markdown":
            cells.append({**cell, "source": mark + with_links_by_name("".join(cell["source"]), name)})
            continue
        if mark:
            cells.append({"cell_type": "markdown", "id": f"before-{cell['id']}", "metadata": {}, "source": mark})
        cells.append(cell)
    run = (
        f"[Run it on Binder]({binder}) [Run it on your own machine](../README.md)"
        if binder
        else "[Run it yourself](../README.md)"
    )
    cells[0] = {**cells[0], "source": f"{cells[0]['source']}\n\n{{.launch}}\n{run}"}
    return {**notebook, "cells": cells}


def published() -> tuple[Repository | None, str]:
    """The public copy and its branch: what `make badge` has written, else where git says this one was cloned from."""
    repository, branch = known(REPOSITORY)
    return repository or (of_remote(REPOSITORY) if shutil.which("git") else None), branch


def document(text: str) -> str:
    """A document as the site shows it: nothing in it comes from another server.

    Arguments:
        text: in Markdown, as it is committed.
    """
    text = _BADGE.sub("", with_links_by_name(text))
    text = _PICTURE.sub(r"![\g<says>](\g<light>){.only-light}\n![\g<says>](\g<dark>){.only-dark}", text)
    return MERMAID.sub(lambda found: drawn(found["diagram"]), text)


def prepare(folder: Path, public: Repository | None, branch: str, repository: Path = REPOSITORY) -> None:
    """Write the sources of the site.

    Arguments:
        folder: where they go; what was there is deleted.
        public: the public copy, for the links to Binder, if there is one.
        branch: of the public copy.
        repository: where the notebooks and documents are.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(repository / OWN, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for part in PARTS:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        if (repository / part).is_dir():
            shutil.copytree(repository / part, folder / part)
        else:
            shutil.copy(repository / part, folder / part)
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted((repository / "notebooks").glob("*.ipynb"))}
    documents = sorted(folder.rglob("*.md"))
    linked = {name for notebook, text in texts.items() for name in linked_cells(notebook, text)}
    linked.update(name for path in documents for name in linked_cells("", path.read_text(encoding="utf-8")))
    (folder / "notebooks").mkdir()
    for name, text in texts.items():
        shown = page(name, json.loads(text), linked, public.binder_link(branch, name) if public else None)
        (folder / "notebooks" / f"{name}.ipynb").write_text(json.dumps(shown), encoding="utf-8")
    for path in documents:
        path.write_text(document(path.read_text(encoding="utf-8")), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare the sources."""
    parser = argparse.ArgumentParser(prog="python -m tools.site", description="Prepare the sources of the site.")
    parser.add_argument("folder", type=Path, help="where they go; what is there is deleted")
    prepare(parser.parse_args(arguments).folder, *published())
    return 0


if __name__ == "__main__":
    sys.exit(main())
