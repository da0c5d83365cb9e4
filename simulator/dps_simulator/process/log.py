"""The log of a simulator that runs for days: bounded, whatever happens and however often.

What is said again at the same place within a minute is only counted. The log of one in the background is a file of the
state folder, which loses its older part when it has become long.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from dps_simulator.errors.masking import mask_in_name

#: Seconds between two entries of the same place.
PAUSE = 60.0
#: Bytes of a log file; one that is longer loses its older part.
LIMIT = 1_000_000
#: Bytes of it that stay then.
_KEPT = 250_000
#: Characters of one entry, traceback included.
_ENTRY_LIMIT = 20_000


class BoundedHandler(logging.StreamHandler[TextIO]):
    """Writes entries to a stream.

    Arguments:
        stream: usually stderr.
        monotonic: seconds that go on.

    Attributes:
        file: the log file that the stream writes to, once it is known to be one's own. It is kept short.
    """

    def __init__(self, stream: TextIO, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self.file: Path | None = None
        self._monotonic = monotonic
        # by place in the code, of which there are not many: when it was written, and how often it was not
        self._written: dict[tuple[str, int], tuple[float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write an entry, unless the same place had one within a minute."""
        place, now = (record.pathname, record.lineno), self._monotonic()
        written, kept_back = self._written.get(place, (-PAUSE, 0))
        if now - written < PAUSE:
            self._written[place] = (written, kept_back + 1)
            return
        self._written[place] = (now, 0)
        if kept_back:
            record.msg, record.args = f"{record.getMessage()} (and {kept_back} more of these before)", ()
        super().emit(record)
        self._shorten()

    def format(self, record: logging.LogRecord) -> str:
        """The text of an entry, not too long, and with what it may quote masked, also in a traceback."""
        text = mask_in_name(super().format(record))
        return text if len(text) <= _ENTRY_LIMIT else f"{text[:_ENTRY_LIMIT]}…"

    def _shorten(self) -> None:
        # what cannot be shortened goes on growing by what comes once a minute
        with contextlib.suppress(OSError, ValueError):
            if self.file is None or os.fstat(self.stream.fileno()).st_size <= LIMIT:
                return
            content = self.file.read_bytes()[-_KEPT:]
            # the stream appends, so it goes on at the new end
            os.ftruncate(self.stream.fileno(), 0)
            self.stream.write("(older entries were dropped)\n")
            self.stream.flush()
            os.write(self.stream.fileno(), content.partition(b"\n")[2])


def begin() -> None:
    """Send the log of this process to stderr."""
    logging.basicConfig(level=logging.WARNING, handlers=[BoundedHandler(sys.stderr)])


def keep_short(file: Path) -> None:
    """Bound a file while this process runs, if its log goes there."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, BoundedHandler):
            with contextlib.suppress(OSError, ValueError):
                if os.path.samestat(os.fstat(handler.stream.fileno()), file.stat()):
                    handler.file = file
