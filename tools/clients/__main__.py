"""Renews the tables of a document by what the tests tried: ``python -m tools.clients FILE``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.clients.document import renewed
from tools.clients.tried import TriedError, read

TESTS = Path(__file__).resolve().parents[2] / "tests"


def main(arguments: Sequence[str] | None = None) -> int:
    """Renew the tables.

    Arguments:
        arguments: of the command line, ``None`` for those of the process.

    Returns:
        The exit status: 1 when the tests say what the table does not know, or nothing can be written.
    """
    description = "Write which client can do what, as the tests tried it."
    parser = argparse.ArgumentParser(prog="python -m tools.clients", description=description)
    parser.add_argument("file", type=Path, help="the document with the tables, docs/clients.md")
    file: Path = parser.parse_args(arguments).file
    try:
        text = renewed(file.read_text(encoding="utf-8"), read(TESTS))
        file.write_text(text, encoding="utf-8", newline="\n")
    except (OSError, TriedError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
