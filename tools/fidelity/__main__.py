"""Writes the document about fidelity: ``python -m tools.fidelity [FILE]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.fidelity.document import measure, render
from tools.fidelity.probes import FidelityError


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; 1 when something could not be measured or written."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.fidelity",
        description="Ask a simulator every published operation and write down what it supports.",
    )
    parser.add_argument("file", nargs="?", type=Path, help="where to write it; without it, to the standard output")
    file: Path | None = parser.parse_args(arguments).file
    try:
        text = render(measure())
        if file is None:
            sys.stdout.write(text)
        else:
            file.write_text(text, encoding="utf-8", newline="\n")
    except (FidelityError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
