"""The sources of the site: links to cells, diagrams, and where a notebook can be run."""

import json
import re
import subprocess
from xml.etree import ElementTree

import pytest

from helpers.course.addresses import Repository
from tools import badge, site
from tools.diagram import MERMAID, drawn, rows_of


def notebook(*cells):
    made = [{"cell_type": kind, "id": name, "metadata": {}, "source": text} for kind, name, text in cells]
    return {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("[DPS](01_glossary.ipynb#cell-id=dps)", "[DPS](01_glossary.ipynb#glossary-dps)"),
        ("[A](#cell-id=id-scope)", "[A](#x509-enroll-id-scope)"),
        ("[b](../notebooks/12_symmetric_key_start.ipynb#cell-id=step-5)", None),
        ("[c](12_symmetric_key_start.ipynb)", "[c](12_symmetric_key_start.ipynb)"),
        ("`#cell-id=dps`", "`#cell-id=dps`"),
    ],
)
def test_a_link_to_a_cell_becomes_one_to_its_name(link, expected):
    expected = expected or "[b](../notebooks/12_symmetric_key_start.ipynb#symmetric-key-start-step-5)"
    assert site.with_links_by_name(link, "21_x509_enroll") == expected


def test_a_cell_that_somebody_links_to_has_a_name():
    cells = notebook(
        ("markdown", "title", "# T"), ("markdown", "dps", "## DPS"), ("code", "run", "1"), ("code", "b", "2")
    )
    shown = site.page("01_glossary", cells, {"glossary-dps", "glossary-run", "other-b"}, None)["cells"]
    assert [cell["source"] for cell in shown[1:]] == ["(glossary-dps)=\n## DPS", "(glossary-run)=\n", "1", "2"]
    assert [cell["cell_type"] for cell in shown] == ["markdown", "markdown", "markdown", "code", "code"]


def test_names_of_cells_are_unique_among_all_notebooks(repository):
    names = [
        site.name_of(path.stem, cell["id"])
        for path in sorted((repository / "notebooks").glob("*.ipynb"))
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
    ]
    assert len(names) == len(set(names)) > 500


@pytest.mark.parametrize("binder", [None, "https://mybinder.org/v2/gh/contoso/course/main?urlpath=x"])
def test_only_what_binder_can_find_has_a_button(binder):
    (title,) = site.page("12_symmetric_key_start", notebook(("markdown", "title", "# T")), set(), binder)["cells"]
    assert ("Binder" in title["source"]) == (binder is not None)
    assert "](../README.md)" in title["source"]


@pytest.mark.parametrize(
    ("written", "address", "expected"),
    [
        ("", None, None),
        ("", "/srv/course.git", None),
        ("", "git@github.com:contoso/course.git", Repository("github.com", "contoso/course")),
        (
            "https://gitlab.com/contoso/course",
            "https://github.com/me/course",
            Repository("gitlab.com", "contoso/course"),
        ),
    ],
)
def test_the_public_copy_is_what_is_written_else_what_git_knows(tmp_path, monkeypatch, written, address, expected):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    if address:
        subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", address], check=True)
    (tmp_path / "binder").mkdir()
    said = {"repository": written, "branch": "june"}
    (tmp_path / "binder" / "address.json").write_text(json.dumps(said), encoding="utf-8")
    monkeypatch.setattr(site, "REPOSITORY", tmp_path)
    assert site.published() == (expected, "june")
    # where git is not installed, only what is written counts
    monkeypatch.setenv("PATH", str(tmp_path))
    assert site.published()[0] == (expected if written else None)


def test_documents_show_nothing_of_other_servers(repository):
    shown = site.document((repository / "README.md").read_text(encoding="utf-8"))
    assert "<picture>" not in shown
    assert "](docs/pictures/first-device-dark.png){.only-dark}" in shown
    with_button = badge.in_readme(
        (repository / "README.md").read_text(encoding="utf-8"), Repository("github.com", "contoso/course"), "main"
    )
    assert "mybinder.org/" in with_button
    assert site.document(with_button) == shown
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "simulator/README.md",
        *(repository / "docs").glob("*.md"),
    ):
        assert not re.search(r"!\[[^]]*\]\(https?:|<img", site.document((repository / name).read_text("utf-8"))), name


def test_everything_is_there_with_its_place(repository, tmp_path, monkeypatch):
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "old.md").touch()
    monkeypatch.setattr(site, "published", lambda: (None, "main"))
    assert site.main([str(folder)]) == 0
    assert not (folder / "old.md").exists()
    for name in ("conf.py", "index.md", "README.md", "docs/errors.md", "simulator/README.md", "LICENSE"):
        assert (folder / name).exists(), name
    names = {path.name for path in (repository / "notebooks").glob("*.ipynb")}
    assert {path.name for path in (folder / "notebooks").glob("*.ipynb")} == names
    texts = [path.read_text(encoding="utf-8") for kind in ("*.md", "*.ipynb") for path in folder.rglob(kind)]
    assert not [text for text in texts if re.search(r"\]\([^)]*#cell-id=", text)]
    # what the learner runs, and what it printed, is untouched
    for name in names:
        before, after = (
            [cell for cell in json.loads((root / "notebooks" / name).read_text("utf-8"))["cells"] if "outputs" in cell]
            for root in (repository, folder)
        )
        assert before == after


def test_the_contents_follow_the_course(repository):
    index = (repository / "site" / "index.md").read_text(encoding="utf-8")
    listed = [
        line.rpartition("<")[2].rstrip(">")
        for tree in re.findall(r"```\{toctree\}\n(?::.*\n)+\n((?:.+\n)+)```", index)
        for line in tree.splitlines()
    ]
    notebooks = [f"notebooks/{path.stem}" for path in sorted((repository / "notebooks").glob("*.ipynb"))]
    assert [name for name in listed if name.startswith("notebooks/")] == notebooks
    documents = {f"docs/{path.stem}" for path in (repository / "docs").glob("*.md")}
    assert {name for name in listed if name.startswith("docs/")} == documents
    assert len(listed) == len(set(listed))


DIAGRAM = """    a["server"]
    b["wire/api"]
    c["<common>"]
    d["alone"]
    a --> c
    b --> c
    a --> b
"""


def test_a_diagram_becomes_a_picture_with_words():
    text = f"before\n```mermaid\nflowchart TD\n{DIAGRAM}```\nafter\n"
    shown = MERMAID.sub(lambda found: drawn(found["diagram"]), text)
    assert shown.startswith("before\n<div")
    assert "mermaid" not in shown
    picture = ElementTree.fromstring(re.search(r"<svg.*</svg>", shown)[0])  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    assert {each.text for each in picture.iter(f"{space}text")} == {"server", "wire/api", "<common>", "alone"}
    # one of them in two pieces, as it passes a row
    assert len(list(picture.iter(f"{space}path"))) == 4
    assert len(list(picture.iter(f"{space}polygon"))) == 3
    assert "server imports wire/api" in picture.find(f"{space}desc").text
    # a blank line would end the HTML in a Markdown document
    assert "\n" not in shown.removeprefix("before\n").removesuffix("\nafter\n")


def test_boxes_stand_below_what_points_to_them():
    boxes = {name: name for name in "abcdef"}
    arrows = [("a", "b"), ("b", "c"), ("a", "c"), ("e", "c"), ("b", "f")]
    rows, pieces = rows_of(arrows, boxes)
    level = {place: number for number, row in enumerate(rows) for place in row}
    assert set(boxes) <= set(level)
    # nothing points to e: it stands just above what it points to
    assert level["e"] == level["c"] - 1
    # the arrow from a to c passes a row, and has a place of its own in it
    (passing,) = set(level) - set(boxes)
    assert {("a", passing), (passing, "c")} < set(pieces)
    assert all(level[below] - level[above] == 1 for above, below in pieces)
