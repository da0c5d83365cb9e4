"""Finds secrets in what others will read: ``python -m tools.secret_scan [--history] [FILE ...]``.

Without arguments, all files of the working tree that git knows; with ``--history`` every version of every file that a
branch or tag leads to, and what the commits say. Files are read as people see them:

- a notebook cell by cell, with its outputs and attachments, pictures included,
- a page or an SVG picture also without its tags, which may cut a secret into pieces,
- a PNG or JPEG picture by its remarks, and by what stands in it where `tesseract` is installed,
- an archive by what is in it.

What is a secret is said by ``helpers.runner.leaks``. Values that were made up or published stand in
``known_secrets.txt`` beside this file, by their digests, so that the list itself gives nothing away.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import html
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.masking import mask
from helpers.runner import leaks

ROOT = Path(__file__).resolve().parent.parent
KNOWN = Path(__file__).with_name("known_secrets.txt")
_TAGS = re.compile(r"<[^<>]*>")
#: What every secret has: a name, or a long run of characters, which may be escaped. All else need not be read closely.
_WORTH = re.compile(r"sig(?:=|%3d|&)|shared|private|[A-Za-z0-9+/_%=&#;-]{22,}", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END|\Z)", re.DOTALL)
_PICTURES = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}
#: Archives within archives are opened this often, and no member that is larger than this, in bytes.
_DEPTH, _LARGEST = 3, 50_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """A secret and where it is.

    Attributes:
        place: a file, and what in it, as in ``notebooks/11.ipynb, cell 3, output 1``.
        kind: what kind of secret, as ``leaks`` calls it.
        digest: of its value; what stands in ``known_secrets.txt``.
        masked: its value as it may be shown.
    """

    place: str
    kind: str
    digest: str
    masked: str


def digest(value: str) -> str:
    """What a value is known by: a part of its SHA-256 as hexadecimal digits."""
    return hashlib.sha256(value.encode()).hexdigest()[:20]


def known(path: Path = KNOWN) -> set[str]:
    """The digests of values that are no secrets: made up for tests, or published.

    Arguments:
        path: a file with a digest at the start of each line that says something; ``#`` starts a remark.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    return {line.split("#")[0].strip() for line in lines} - {""}


class Scan:
    """Looks through contents, and at each text only once: versions of a file have most lines in common."""

    def __init__(self, accepted: set[str]) -> None:
        self.findings: list[Finding] = []
        self._accepted = accepted
        self._contents: set[bytes] = set()
        self._lines: set[bytes] = set()
        self._tesseract = shutil.which("tesseract")

    def content(self, place: str, content: bytes, depth: int = 0) -> None:
        """Look through what is in a file.

        Arguments:
            place: its name, as :func:`tree` and :func:`history` give it. One that ends in ``.ipynb`` is a notebook.
            content: all of it.
            depth: how many archives it is in.
        """
        mark = hashlib.sha256(content).digest()
        if mark in self._contents:
            return
        self._contents.add(mark)
        if any(content.startswith(start) for start in _PICTURES):
            self._picture(place, content)
        elif zipfile.is_zipfile(io.BytesIO(content)) and depth < _DEPTH:
            self._archive(place, content, depth)
        elif place.partition(" in ")[0].endswith(".ipynb"):
            self._notebook(place, content)
        else:
            self.text(place, content.decode("utf-8", "replace"))

    def text(self, place: str, text: str) -> None:
        """Look through a text, as it stands and without tags."""
        for piece in (text, _TAGS.sub("", text)) if "<" in text else (text,):
            for part in (*_PEM.findall(piece), *piece.splitlines()):
                if not _WORTH.search(part):
                    continue
                mark = hashlib.sha256(part.encode("utf-8", "surrogatepass")).digest()
                if mark in self._lines:
                    continue
                self._lines.add(mark)
                for reading in leaks.readings(part):
                    for kind, value in leaks.found(reading):
                        self._add(place, kind, value)

    def _add(self, place: str, kind: str, value: str) -> None:
        found = Finding(place, kind, digest(value), mask(value) if kind != "a private key" else "****")
        if found.digest not in self._accepted and found not in self.findings:
            self.findings.append(found)

    def _notebook(self, place: str, content: bytes) -> None:
        try:
            document = json.loads(content)
        except ValueError:
            # one that was cut, or has marks of a merge
            self.text(place, content.decode("utf-8", "replace"))
            return
        cells = document.get("cells", []) if isinstance(document, dict) else []
        for number, cell in enumerate(cells, 1):
            self._node(f"{place}, cell {number}", cell)
        self._node(f"{place}, metadata", {key: value for key, value in document.items() if key != "cells"})

    def _node(self, place: str, node: object) -> None:
        """Look through a part of a notebook: texts come as lists of lines, and pictures as base64."""
        if isinstance(node, list) and node and all(isinstance(line, str) for line in node):
            self.text(place, "".join(node))
        elif isinstance(node, list):
            for each in node:
                self._node(place, each)
        elif isinstance(node, dict):
            for key, value in node.items():
                picture = _decoded(value) if str(key).startswith("image/") else None
                if picture is not None:
                    self.content(f"{place}, picture", picture)
                else:
                    self._node(place, value)
        elif isinstance(node, str):
            self.text(place, node)

    def _picture(self, place: str, content: bytes) -> None:
        # few of the files are pictures
        from PIL import Image, UnidentifiedImageError  # noqa: PLC0415

        try:
            with Image.open(io.BytesIO(content)) as picture:
                picture.load()
                remarks = [str(value) for value in (*picture.info.values(), *picture.getexif().values())]
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
            self.text(place, content.decode("utf-8", "replace"))
            return
        for remark in remarks:
            self.text(f"{place}, remark", remark)
        if self._tesseract:
            command = [self._tesseract, "stdin", "stdout", "--psm", "11"]
            done = subprocess.run(command, input=content, capture_output=True, check=False)
            self.text(f"{place}, text in it", done.stdout.decode("utf-8", "replace"))

    def _archive(self, place: str, content: bytes, depth: int) -> None:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist():
                if member.file_size > _LARGEST or member.flag_bits & 1:
                    continue
                self.content(f"{place}/{member.filename}", archive.read(member), depth + 1)


def _decoded(value: object) -> bytes | None:
    """A picture as notebooks keep it; ``None`` for a text, such as SVG."""
    text = "".join(value) if isinstance(value, list) else value
    try:
        content = base64.b64decode("".join(str(text).split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    return content if any(content.startswith(start) for start in _PICTURES) else None


def _git(*arguments: str, root: Path, given: bytes = b"") -> bytes:
    return subprocess.run(["git", "-C", str(root), *arguments], input=given, capture_output=True, check=True).stdout


def tree(root: Path) -> Iterator[tuple[str, bytes]]:
    """The files of the working tree that git knows or would add, with what is in them."""
    names = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard", root=root).decode().split("\0")
    for name in sorted({name for name in names if name}):
        path = root / name
        if path.is_file() and not path.is_symlink():
            yield name, path.read_bytes()


def history(root: Path) -> Iterator[tuple[str, bytes]]:
    """Every version of every file in the history, with a commit's message where it is one."""
    listed = _git("rev-list", "--objects", "--all", root=root).decode("utf-8", "replace").splitlines()
    names = {line.partition(" ")[0]: line.partition(" ")[2] for line in listed}
    answer = io.BytesIO(_git("cat-file", "--batch", root=root, given="\n".join(names).encode() + b"\n"))
    while header := answer.readline().split():
        name, kind, size = header[0].decode(), header[1], int(header[2])
        content = answer.read(size)
        answer.read(1)
        if kind == b"blob":
            yield f"{names[name] or '(no name)'} in {name[:10]}", content
        elif kind in (b"commit", b"tag"):
            # what stands before the first empty line is git's own, and may be a signature
            yield f"{kind.decode()} {name[:10]}", content.partition(b"\n\n")[2]


def main(given: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 1 when there is a secret."""
    parser = argparse.ArgumentParser(prog="python -m tools.secret_scan", description="Find secrets.")
    parser.add_argument("--history", action="store_true", help="look through all commits")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    parser.add_argument("--digests", action="store_true", help="print what known_secrets.txt would have to hold")
    parser.add_argument("files", nargs="*", type=Path, help="only these files")
    arguments = parser.parse_args(given)
    scan = Scan(known())
    for path in arguments.files:
        try:
            scan.content(str(path), path.read_bytes())
        except OSError as problem:
            print(f"{path} cannot be read: {problem.strerror}", file=sys.stderr)  # noqa: T201
            return 2
    if not arguments.files:
        for place, content in history(arguments.root) if arguments.history else tree(arguments.root):
            scan.content(place, content)
    for found in scan.findings:
        line = (
            f"{found.digest}  # {found.place}" if arguments.digests else f"{found.place}: {found.kind}, {found.masked}"
        )
        print(html.unescape(line))  # noqa: T201
    if scan.findings and not arguments.digests:
        print(  # noqa: T201
            "If a value was made up for a test, or published, add its digest to tools/known_secrets.txt "
            "(--digests prints it). If it was real, take it out of use first: it stays in the history."
        )
    return 1 if scan.findings else 0


if __name__ == "__main__":
    sys.exit(main())
