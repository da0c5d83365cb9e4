"""The streams that a command says something on, whatever it was started with."""

from __future__ import annotations

import io
import os
import sys


def make_usable() -> None:
    """Let nothing that is said fail because of where it goes.

    A stream that was closed before the start, as services are started, swallows everything. One whose encoding lacks a
    letter, as in the locale ``C`` or on Windows, gets its number instead.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # for as long as the process lives
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
