"""A document as a row of the state: its columns, its checksum, and how it is read back."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dps_simulator.common.ports import Document

from . import store_errors
from .store_errors import DamagedStoreError

_DECODER = json.JSONDecoder()


def checksum_of(*texts: bytes) -> int:
    """What stands beside a row, so that a change by anything but the simulator is noticed."""
    return zlib.crc32(b"\0".join(texts))


def opened(row: Sequence[Any], path: Path | None) -> tuple[int, str, str, Document]:
    """Sequence, key, parent and body of a row, once it is sure that it is what was written.

    SQLite notices damage of its pages, and not of what stands in them. It would decode texts itself, too, and quote
    the whole row where it cannot.

    Raises:
        DamagedStoreError: it is not. The text names the place and nothing that stands there.
    """
    sequence, collection, key, parent, body, checksum = row
    try:
        # what is no text fails here, whether there is a checksum to compare or not
        found = checksum_of(collection, key, parent, body)
        document = None
        if checksum in (None, found):
            text = body.decode()
            # as json.loads, which looks for blanks around it as well: this version writes none
            document, end = _DECODER.raw_decode(text) if text.startswith("{") else (None, 0)
            if end != len(text):
                document = json.loads(text)
        if isinstance(document, dict):
            return sequence, key.decode(), parent.decode(), document
    except (TypeError, ValueError, RecursionError):
        pass
    is_name = isinstance(collection, bytes) and re.fullmatch(rb"[A-Za-z -]{1,60}", collection)
    name = collection.decode() if is_name else "unknown"
    raise store_errors.of(DamagedStoreError, path, f"document {sequence} of the collection {name!r}")


COLUMNS = "SELECT sequence, collection, key, parent, body, checksum FROM documents WHERE collection = ?"

#: Where the body stands in a row of these.
BODY = 4


def up_to(max_bytes: int, rows: Iterable[Any]) -> Iterator[Any]:
    """Rows until their bodies take so many bytes; a body that is damaged may be anything."""
    for row in rows:
        yield row
        max_bytes -= len(row[BODY]) if isinstance(row[BODY], bytes) else 0
        if max_bytes <= 0:
            return
