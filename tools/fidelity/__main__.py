"""Writes the document about fidelity: ``python -m tools.fidelity [FILE]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tools.documents import write
from tools.fidelity.document import measure, render
from tools.fidelity.probes import FidelityError


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a simulator, and write the document.

    Arguments:
        arguments: of the command line, ``None`` for those of the process.

    Returns:
        The exit status: 1 when something could not be measured or written.
    """
    description = "Ask a simulator every published operation and write down what it supports."
    return write("tools.fidelity", description, lambda: render(measure()), arguments, (OSError, FidelityError))


if __name__ == "__main__":
    sys.exit(main())
