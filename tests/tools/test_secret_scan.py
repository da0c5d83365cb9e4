"""Secrets are found wherever people would read them: in the tree, in notebooks, in pictures, in the history."""

import base64
import io
import json
import os
import shutil
import subprocess
import zipfile
from urllib.parse import quote

import pytest
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from tools import secret_scan

# seeded here only, and not as one word, so that this file holds none
KEY = base64.b64encode(bytes(range(7, 39))).decode()
STRING = "HostName=a.azure-devices.net;SharedAccessKeyName=owner;SharedAccess" + f"Key={KEY}"
PEM = "-----BEGIN PRIVATE " + f"KEY-----\n{KEY}\n-----END PRIVATE " + "KEY-----\n"


def git(root, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.test", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "README.md").write_text("nothing secret\n", encoding="utf-8")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


@pytest.fixture
def scan(project, capsys):
    def look(*arguments):
        code = secret_scan.main(["--root", str(project), *arguments])
        return code, capsys.readouterr().out

    return look


def notebook(*cells):
    return json.dumps({"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def output(**data):
    return {"cell_type": "code", "source": [], "outputs": [{"output_type": "display_data", "data": data}]}


def png(text="", remark=""):
    picture = Image.new("RGB", (1600, 120), "white")
    ImageDraw.Draw(picture).text((20, 40), text, fill="black", font=ImageFont.load_default(size=28))
    remarks = PngInfo()
    if remark:
        remarks.add_text("Comment", remark)
    file = io.BytesIO()
    picture.save(file, "PNG", pnginfo=remarks)
    return file.getvalue()


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("inner/settings.txt", content)
    return file.getvalue()


def halves(tag):
    """A key that a page shows in one piece, and that its source has in two."""
    return f"<{tag}>SharedAccess" + f"Key={KEY[:20]}</{tag}><{tag}>{KEY[20:]}</{tag}>"


NOTEBOOKS = {
    "a line of source": ({"cell_type": "code", "source": ["x = 1\n", f'key = "{KEY}"\n'], "outputs": []}, "cell 1"),
    "a text cell": ({"cell_type": "markdown", "source": STRING}, "cell 1"),
    "what was printed": (
        {"cell_type": "code", "source": [], "outputs": [{"output_type": "stream", "text": ["a\n", STRING]}]},
        "cell 1",
    ),
    "two lines of output": (output(**{"text/plain": [KEY[:20], KEY[20:]]}), "cell 1"),
    "a page in pieces": (output(**{"text/html": halves("b")}), "cell 1"),
    "a picture of lines": (output(**{"image/svg+xml": f"<svg><text>{halves('tspan')}</text></svg>"}), "cell 1"),
    "a remark in a picture": (
        output(**{"image/png": base64.encodebytes(png(remark=STRING)).decode()}),
        "cell 1, picture, remark",
    ),
    "a traceback": (
        {"cell_type": "code", "source": [], "outputs": [{"output_type": "error", "traceback": ["\x1b[31m", PEM]}]},
        "cell 1",
    ),
    "the metadata of a cell": ({"cell_type": "code", "source": [], "metadata": {"a": [{"b": KEY}]}}, "cell 1"),
    "an attachment": (
        {
            "cell_type": "markdown",
            "source": "",
            "attachments": {"a.png": {"image/png": base64.b64encode(png(remark=KEY)).decode()}},
        },
        "cell 1, picture, remark",
    ),
}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_in_a_notebook(project, scan, name):
    cell, place = NOTEBOOKS[name]
    (project / "11.ipynb").write_text(notebook(cell), encoding="utf-8")
    code, said = scan()
    assert code == 1
    assert f"11.ipynb, {place}: " in said
    assert KEY not in said


FILES = {
    "a line": f"key: {KEY}\n".encode(),
    "a connection string": STRING.encode(),
    "a private key": PEM.encode(),
    "a private key in a text of another": json.dumps({"key": PEM}).encode(),
    "an escaped token": f"https://a.test/?{quote('sig=' + KEY, safe='')}".encode(),
    "entities of HTML": b"<p>" + "".join(f"&#{ord(each)};" for each in KEY).encode() + b"</p>",
    "an archive": zipped(STRING),
    "an archive in an archive": zipped(zipped(STRING)),
    "a remark of a picture": png(remark=STRING),
    "a notebook that is cut": notebook({"cell_type": "code", "source": [STRING]}).encode()[:-4],
    "bytes around it": b"\xff\xfe\n" + STRING.encode() + b"\n\x00",
}


@pytest.mark.parametrize("name", FILES)
def test_in_a_file(project, scan, name):
    (project / ("a.ipynb" if "notebook" in name else "a.bin")).write_bytes(FILES[name])
    code, said = scan()
    assert code == 1
    assert said.startswith("a.")
    assert KEY not in said


def test_text_in_a_picture(project, scan):
    if shutil.which("tesseract") is None:
        if "CI" in os.environ:
            pytest.fail("CI needs tesseract: apt-get install tesseract-ocr")
        pytest.skip("tesseract is not installed: text in pictures is not read")
    (project / "screenshot.png").write_bytes(png(text=STRING))
    code, said = scan()
    assert code == 1
    assert "screenshot.png, text in it: " in said


def test_a_picture_that_is_cut_is_read_as_it_is(project, scan):
    (project / "a.png").write_bytes(png()[:60] + b"\n" + STRING.encode())
    assert scan()[0] == 1


def test_what_git_ignores_is_not_looked_at(project, scan):
    (project / ".gitignore").write_text(".env\n", encoding="utf-8")
    (project / ".env").write_text(STRING, encoding="utf-8")
    assert scan() == (0, "")


@pytest.mark.parametrize("name", ["11.ipynb", "settings.txt"])
def test_in_a_file_that_was_deleted_again(project, scan, name):
    content = notebook(output(**{"text/plain": [KEY[:20], KEY[20:]]})) if name.endswith("ipynb") else STRING
    (project / name).write_text(content, encoding="utf-8")
    git(project, "add", ".")
    git(project, "commit", "-qm", "second")
    git(project, "rm", "-q", name)
    git(project, "commit", "-qm", "third")
    assert scan() == (0, "")
    code, said = scan("--history")
    assert code == 1
    assert f"{name} in " in said


def test_on_a_branch_and_in_what_a_commit_or_a_tag_says(project, scan):
    git(project, "checkout", "-qb", "other")
    git(project, "commit", "-qm", f"take {KEY}", "--allow-empty")
    git(project, "checkout", "-q", "-")
    assert "commit " in scan("--history")[1]
    git(project, "branch", "-D", "other")
    git(project, "tag", "-a", "v1", "-m", STRING)
    assert "tag " in scan("--history")[1]


def test_a_value_that_is_known_is_none(project, scan, monkeypatch, tmp_path_factory):
    (project / "a.txt").write_text(KEY, encoding="utf-8")
    _, digests = scan("--digests")
    known = tmp_path_factory.mktemp("known") / "known.txt"
    known.write_text(f"# remark\n\n{digests}", encoding="utf-8")
    monkeypatch.setattr(secret_scan.known, "__defaults__", (known,))
    assert scan() == (0, "")
    (project / "b.txt").write_text(KEY.swapcase(), encoding="utf-8")
    assert scan()[0] == 1


def test_named_files(project, scan, capsys):
    path = project / "a.txt"
    path.write_text(STRING, encoding="utf-8")
    assert scan(str(path))[0] == 1
    assert scan(str(project / "README.md")) == (0, "")
    assert scan(str(project / "nowhere"))[0] == 2


@pytest.mark.anywhere
def test_the_history_of_this_repository_holds_none(repository):
    if not (repository / ".git").exists():
        pytest.skip("this is no clone, so it has no history")
    assert secret_scan.main(["--history"]) == 0
