"""What the commands have in common that make a document of docs/."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def write(
    program: str,
    description: str,
    render: Callable[[], str],
    arguments: Sequence[str] | None,
    refusals: tuple[type[Exception], ...] = (OSError,),
) -> int:
    """Write a document into the file that the command line names, else to the standard output.

    Arguments:
        program: the module, as it stands behind ``python -m``.
        description: what ``--help`` says.
        render: makes the document; called once.
        arguments: of the command line, ``None`` for those of the process.
        refusals: what making and writing it may raise, to be told as it is.

    Returns:
        The exit status: 1 when the document could not be made or written, which standard error says.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("file", nargs="?", type=Path, help="where to write it; without it, to the standard output")
    file: Path | None = parser.parse_args(arguments).file
    try:
        text = render()
        if file is None:
            sys.stdout.write(text)
        else:
            file.write_text(text, encoding="utf-8", newline="\n")
    except refusals as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
