"""The address of the public copy: read as people and git write it, written wherever it is named."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.course import addresses, workshop
from tools import badge

ROOT = Path(__file__).resolve().parent.parent.parent
GITHUB = "https://github.com/contoso/lessons"


@pytest.fixture
def copy(tmp_path):
    """As much of the repository as names the address."""
    for name in (badge.SOURCE, *badge.places(ROOT)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def remote(folder, address):
    subprocess.run(["git", "remote", "add", "origin", address], cwd=folder, check=True)


def made(folder):
    return {name: (folder / name).read_text(encoding="utf-8") for name in (badge.SOURCE, *badge.places(folder))}


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("https://github.com/contoso/lessons", GITHUB),
        ("https://github.com/contoso/lessons.git", GITHUB),
        ("https://github.com/contoso/lessons/", GITHUB),
        ("HTTPS://GitHub.com/contoso/lessons.git\n", GITHUB),
        ("https://somebody:ghp_NOTASECRET@github.com/contoso/lessons.git", GITHUB),
        ("git@github.com:contoso/lessons.git", GITHUB),
        ("github.com:contoso/lessons", GITHUB),
        ("ssh://git@github.com/contoso/lessons.git", GITHUB),
        ("ssh://git@github.com:22/contoso/lessons.git", GITHUB),
        ("git://github.com/contoso/lessons", GITHUB),
        ("github.com/contoso/lessons", GITHUB),
        ("https://gitlab.com/contoso/iot/lessons.git", "https://gitlab.com/contoso/iot/lessons"),
        ("git@gitlab.com:contoso/iot/lessons.git", "https://gitlab.com/contoso/iot/lessons"),
        ("https://gitlab.contoso.example:8443/iot/lessons.git", "https://gitlab.contoso.example/iot/lessons"),
        ("git@git.contoso.example:iot/lessons.git", "https://git.contoso.example/iot/lessons"),
    ],
)
def test_an_address_is_read_as_people_and_git_write_it(address, page):
    assert addresses.Repository.parse(address).page == page


@pytest.mark.parametrize(
    "address",
    [
        "",
        None,
        7,
        "a/b",
        "../lessons",
        "/srv/git/lessons.git",
        "file:///srv/git/lessons.git",
        r"C:\lessons\one",
        "C:/lessons/one",
        "https://github.com/contoso",
        "https://github.com/contoso/lessons/tree/main",
        "https://github.com/contoso/..",
        "https://github.com/contoso/les sons",
        "https://localhost/contoso/lessons",
        "https://github.com/contoso/lessons?ref=main&x",
        "https://[github.com/contoso/lessons",
        "ftp://github.com/contoso/lessons",
        "javascript://github.com/contoso/<script>",
    ],
)
def test_what_is_no_public_address_is_told(address):
    if address == "https://github.com/contoso/lessons?ref=main&x":
        # what follows the path is not part of where it is
        assert addresses.Repository.parse(address).page == GITHUB
        return
    with pytest.raises(ValueError, match="no address of a public repository"):
        addresses.Repository.parse(address)


@pytest.mark.parametrize(
    ("address", "branch", "link"),
    [
        (GITHUB, "main", "gh/contoso/lessons/main"),
        (GITHUB, "june/2", "gh/contoso/lessons/june%2F2"),
        ("https://gitlab.com/contoso/iot/lessons", "main", "gl/contoso%2Fiot%2Flessons/main"),
        (
            "https://git.contoso.example/iot/lessons",
            "main",
            "git/https%3A%2F%2Fgit.contoso.example%2Fiot%2Flessons.git/main",
        ),
    ],
)
def test_the_link_is_the_one_that_binder_makes(address, branch, link):
    opened = "lab/workspaces/tutorial/tree/notebooks/00_start_here.ipynb"
    assert workshop.binder_link(address, branch) == f"https://mybinder.org/v2/{link}?urlpath={opened}"


def test_the_layout_that_the_link_opens_is_the_one_that_is_laid_out():
    start = (ROOT / "binder" / "start").read_text(encoding="utf-8")
    layout = json.loads((ROOT / "binder" / "workspace.json").read_text(encoding="utf-8"))
    assert "workspaces import" in start
    assert layout["metadata"]["id"] == addresses.LAYOUT
    assert f"notebooks/{addresses.FIRST}.ipynb" in json.dumps(layout["data"])


def test_what_is_committed_is_made_from_the_one_source():
    repository, branch = badge.known(ROOT)
    for name, writers in badge.places(ROOT).items():
        text = (ROOT / name).read_text(encoding="utf-8")
        for write in writers:
            assert write(text, repository, branch) == text, f"{name}: run `make badge`"


@pytest.mark.parametrize("address", ["git@github.com:contoso/lessons.git", "https://token:secret@gitlab.com/a/b/c.git"])
def test_a_remote_is_written_everywhere_and_again_without_a_change(copy, address, capsys, monkeypatch):
    remote(copy, address)
    assert badge.main(["--root", str(copy), "--branch", "june"]) == 0
    page = addresses.Repository.parse(address).page
    assert capsys.readouterr().out == f"{page}\n"
    texts = made(copy)
    link = workshop.binder_link(page, "june")
    assert f"]({link})" in texts["README.md"]
    assert f"<{link}>" in texts["docs/handout.md"]
    assert "no public copy yet" not in texts["README.md"]
    assert "secret" not in texts["README.md"] + texts["docs/handout.md"] + texts[badge.SOURCE]
    cells = json.loads(texts["notebooks/02_run_a_workshop.ipynb"])["cells"]
    (cell,) = [cell for cell in cells if "binder_link(" in "".join(cell["source"]) and cell["cell_type"] == "code"]
    # what stands in the notebook is what it prints when it runs
    printed = []
    exec("".join(cell["source"]), {"print": printed.append})  # noqa: S102
    assert cell["outputs"][0]["text"] == [f"{printed[0]}\n"]
    assert printed == [link]
    # and whoever has one page alone learns where the others are
    for text in (text for name, text in texts.items() if name.endswith(".ipynb")):
        (check,) = [c for c in json.loads(text)["cells"] if "ModuleNotFoundError as missing" in "".join(c["source"])]
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "helpers.checks", None)
            with pytest.raises(ModuleNotFoundError, match=f"get {re.escape(page)}, run 'make setup' in it"):
                exec("".join(check["source"]), {})  # noqa: S102
    assert badge.main(["--root", str(copy)]) == 0
    assert made(copy) == texts


@pytest.mark.parametrize("address", [None, "/srv/git/lessons.git", "../elsewhere"])
def test_without_a_public_remote_a_sentence_stands_there(copy, address):
    before = made(copy)
    if address is not None:
        remote(copy, address)
    assert badge.main(["--root", str(copy)]) == 0
    assert made(copy) == before
    assert "no public copy yet" in before["README.md"]


def test_a_clone_without_a_public_remote_keeps_the_address_that_is_known(copy):
    assert badge.main(["--root", str(copy), GITHUB]) == 0
    texts = made(copy)
    remote(copy, "/srv/git/lessons.git")
    assert badge.main(["--root", str(copy)]) == 0
    assert made(copy) == texts


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("README.md", "<!-- end of badge -->", ""),
        ("docs/handout.md", "<!-- badge", "<!-- button"),
        ("notebooks/02_run_a_workshop.ipynb", "repository = ", "place = "),
        ("notebooks/11_symmetric_key_enroll.ipynb", "one of a set", "one of many"),
    ],
)
def test_where_there_is_no_place_for_it_nothing_is_written(copy, name, old, new, capsys):
    path = copy / name
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    before = made(copy)
    assert badge.main(["--root", str(copy), GITHUB]) == 1
    assert capsys.readouterr().err
    assert made(copy) == before


def test_an_argument_that_is_no_address_is_told(copy, capsys):
    before = made(copy)
    assert badge.main(["--root", str(copy), "contoso"]) == 1
    assert "must be like" in capsys.readouterr().err
    assert made(copy) == before
