"""Reads which room of the simulator imports which, compares it with what docs/architecture.md allows, and draws it.

``python -m tools.architecture docs/architecture.md`` renews the picture in the document.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

#: The package that is looked at.
PACKAGE = Path(__file__).resolve().parents[1] / "simulator" / "dps_simulator"
#: A room that may import anything; the table names its modules in its last row.
WIRING = "wiring"
_API = "api"
_PICTURE = re.compile(r"(?<=<!-- picture -->\n).*?(?=<!-- end of the picture -->)", re.DOTALL)
_ROW = re.compile(r"^\| ([a-z_, /`]+) \| ([^|]+) \|$", re.MULTILINE)
_NOTHING, _ANYTHING = "nothing of ours", "anything"


class ArchitectureError(ValueError):
    """The document cannot be read; the text says what is missing."""


@dataclass(frozen=True, order=True, slots=True)
class Arrow:
    """One module imports another one of another room.

    Attributes:
        importer: the module that imports, e.g. ``dps_simulator.hub.hub``.
        imported: the module that it imports.
    """

    importer: str
    imported: str

    @property
    def rooms(self) -> tuple[str, str]:
        """The room that imports, and the one that is imported."""
        return room_of(self.importer), room_of(self.imported)


def room_of(module: str) -> str:
    """The room of a module: its folder, a wing's ``api`` for itself; what lies in no folder belongs to the wiring.

    Arguments:
        module: the full name, e.g. ``dps_simulator.hub.api.device``.
    """
    _, *parts = module.split(".")
    # a folder by itself is its own __init__
    folders = parts if (PACKAGE.joinpath(*parts)).is_dir() else parts[:-1]
    if not folders:
        return WIRING
    return "/".join(folders[:2]) if folders[1:2] == [_API] and folders[0] != "resource" else folders[0]


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """The files of all modules of a package by their full names, e.g. ``dps_simulator.hub.hub``."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = (package.name, *path.relative_to(package).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def arrows(package: Path = PACKAGE) -> list[Arrow]:
    """Every import of a module by a module of another room, also those inside of functions and for types only."""
    known = modules(package)
    found = {
        Arrow(name, imported)
        for name, path in known.items()
        for imported in _imported(name, path, known)
        if room_of(name) != room_of(imported)
    }
    return sorted(found)


def _imported(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                inside = f"{base}.{alias.name}"
                if (found := inside if inside in known else base) in known:
                    yield found


def allowed(document: str) -> dict[str, frozenset[str] | None]:
    """What each room may import by the table of the document; ``None`` stands for anything.

    Arguments:
        document: the text of docs/architecture.md.

    Raises:
        ArchitectureError: there is no such table.
    """
    table = document.partition("| room | may import |")[2].partition("\n\n")[0]
    found: dict[str, frozenset[str] | None] = {}
    for rooms, targets in _ROW.findall(table):
        names = frozenset(re.split(r", ", targets.replace("`", ""))) if targets not in (_NOTHING, _ANYTHING) else ()
        for room in rooms.replace("`", "").split(", "):
            found[room] = None if targets == _ANYTHING else frozenset(names)
    if not found:
        raise ArchitectureError("docs/architecture.md has no table that begins with | room | may import |.")
    return found


def forbidden(found: Sequence[Arrow], rules: dict[str, frozenset[str] | None]) -> list[Arrow]:
    """The arrows that the rules do not allow, and those of rooms that they do not know.

    Arguments:
        found: from :func:`arrows`.
        rules: from :func:`allowed`.
    """
    none: frozenset[str] = frozenset()
    return [
        arrow for arrow in found if (may := rules.get(arrow.rooms[0], none)) is not None and arrow.rooms[1] not in may
    ]


def picture(found: Sequence[Arrow]) -> str:
    """The rooms and what they import, as a diagram in Mermaid's language, without the wiring, which imports all.

    An arrow that follows from others is left out: where A imports B and B imports C, nobody looks for one from A to C.
    """
    direct = {arrow.rooms for arrow in found if WIRING not in arrow.rooms}
    reached = _reached(direct)
    # the long way: over a room between
    pairs = sorted((a, c) for a, c in direct if not any((a, b) in reached and (b, c) in reached for b, _ in direct))
    rooms = sorted({room for pair in pairs for room in pair})
    lines = ["```mermaid", "flowchart TD"]
    lines += [f'    {_node(room)}["{room}"]' for room in rooms]
    lines += [f"    {_node(importer)} --> {_node(imported)}" for importer, imported in pairs]
    return "\n".join([*lines, "```", ""])


def _reached(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The pairs, and those that follow from them."""
    found = set(pairs)
    while more := {(a, d) for a, b in found for c, d in pairs if b == c} - found:
        found |= more
    return found


def _node(room: str) -> str:
    return room.replace("/", "_")


def renewed(document: str, found: Sequence[Arrow]) -> str:
    """The document with the picture of what is imported now.

    Raises:
        ArchitectureError: the document has no place for it.
    """
    if not _PICTURE.search(document):
        raise ArchitectureError("docs/architecture.md has no lines <!-- picture --> and <!-- end of the picture -->.")
    return _PICTURE.sub(lambda _: picture(found), document)


def main(arguments: Sequence[str] | None = None) -> int:
    """Renew the picture, and say which imports are not allowed; 1 when there are any, or nothing can be written."""
    parser = argparse.ArgumentParser(prog="python -m tools.architecture", description="Draw the simulator's rooms.")
    parser.add_argument("file", type=Path, help="the document with the table and the picture")
    file: Path = parser.parse_args(arguments).file
    try:
        document = file.read_text(encoding="utf-8")
        found = arrows()
        file.write_text(renewed(document, found), encoding="utf-8", newline="\n")
        wrong = forbidden(found, allowed(document))
    except (OSError, ArchitectureError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for arrow in wrong:
        sys.stderr.write(f"{arrow.importer} imports {arrow.imported}, which docs/architecture.md does not allow.\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
