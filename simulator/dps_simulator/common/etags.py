"""Entity tags of the provisioning service, and the ``If-Match`` header that repeats them.

Source: recorded answers of the service: base64 of a quoted text such as
``"0a009f41-0000-0800-0000-646801eb0000"``, whose last part begins with the Unix second of the write, in hexadecimal.
The header carries the bare base64; quotes and ``W/`` around it are accepted here as HTTP writes them.
"""

from __future__ import annotations

import base64
import itertools
import secrets
from datetime import datetime

from dps_simulator.errors.table import Dps, ServiceError

#: An ``If-Match`` that any existing record fulfils.
ANY = "*"

# starts anywhere, so that tags made before and after a restart within one second differ as well
_WRITES = itertools.count(secrets.randbits(32))


def new_etag(now: datetime) -> str:
    """A tag that no other write gets."""
    write = next(_WRITES) & 0xFFFF_FFFF
    text = f'"{write:08x}-0000-0800-0000-{int(now.timestamp()) & 0xFFFF_FFFF:08x}0000"'
    return base64.b64encode(text.encode("ascii")).decode("ascii")


def bare(if_match: str) -> str:
    """The tag in an ``If-Match`` header, without ``W/`` and quotes: ``W/"abc"`` gives ``abc``."""
    tag = if_match.strip()
    tag = tag[2:] if tag.startswith("W/") else tag
    return tag[1:-1] if len(tag) >= 2 and tag[0] == tag[-1] == '"' else tag


def check(if_match: str | None, etag: str) -> None:
    """Compare a precondition with the tag of the existing record; ``None`` and ``*`` fit every record.

    Raises:
        ServiceError: the record has changed since the tag was read.
    """
    if if_match is None or bare(if_match) in (ANY, etag):
        return
    raise ServiceError(
        Dps.PRECONDITION_FAILED,
        f"The record has changed: If-Match is {bare(if_match)!r:.120}, its etag is {etag!r}. Read it again and retry.",
    )
