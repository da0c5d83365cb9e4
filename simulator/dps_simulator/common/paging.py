"""Long lists in pages: a continuation token says where the next page begins."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from dps_simulator.errors.table import Dps, ServiceError

from .ports import Documents, StoredDocument

#: Recorded: 150 enrollments came as 100 and 50 when no size was asked for.
DEFAULT_PAGE_SIZE = 100
#: Inferred: the service caps the size somewhere; larger requests get this many.
MAX_PAGE_SIZE = 1_000
#: Bytes of JSON after which a page ends, however few documents it has then; at least one is in it (simulator-only).
MAX_PAGE_BYTES = 4 * 1024 * 1024
#: Documents that are read from the store at a time; the largest are some 500 KB.
_BATCH = 10
_MAX_TOKEN_LENGTH = 1_024


@dataclass(frozen=True, slots=True)
class Page:
    """Some documents of a list.

    Attributes:
        documents: in order of insertion.
        continuation: token for the next page, ``None`` on the last one. A page before the last is never empty.
    """

    documents: tuple[StoredDocument, ...]
    continuation: str | None


def page_size(text: str | None) -> int:
    """Read the header ``x-ms-max-item-count``.

    Raises:
        ServiceError: it is not a positive whole number.
    """
    if text is None:
        return DEFAULT_PAGE_SIZE
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) > 0):
        raise ServiceError(
            Dps.INVALID_BODY,
            f"x-ms-max-item-count is {text!r:.40}; it must be a whole number from 1 to {MAX_PAGE_SIZE}.",
        )
    return min(int(text), MAX_PAGE_SIZE)


def read_page(
    documents: Documents, *, scope: str, size: int, continuation: str | None = None, parent: str | None = None
) -> Page:
    """Read the next page.

    Arguments:
        documents: the collection.
        scope: names the list; a token of another list is refused.
        size: at most so many documents, and fewer where they are large.
        continuation: the token of the page before.
        parent: only documents with this parent.

    Raises:
        ServiceError: the token is not one of this list.
    """
    after = 0 if continuation is None else _position(continuation, scope)
    found: list[StoredDocument] = []
    room = MAX_PAGE_BYTES
    while batch := documents.page(after=after, limit=_BATCH, parent=parent):
        for stored in batch:
            if len(found) == size or room <= 0:
                token = json.dumps({"list": scope, "after": after})
                return Page(tuple(found), base64.b64encode(token.encode()).decode("ascii"))
            found.append(stored)
            room -= stored.size
            after = stored.sequence
    return Page(tuple(found), None)


def _position(continuation: str, scope: str) -> int:
    wrong = ServiceError(
        Dps.INVALID_BODY,
        "x-ms-continuation is not a token of this list; pass the value of the page before unchanged, or none to start.",
    )
    if len(continuation) > _MAX_TOKEN_LENGTH:
        raise wrong
    try:
        token = json.loads(base64.b64decode(continuation, validate=True))
    except (ValueError, RecursionError):
        raise wrong from None
    if not isinstance(token, dict) or token.get("list") != scope:
        raise wrong
    after = token.get("after")
    if not isinstance(after, int) or not 0 <= after < 2**63:
        raise wrong
    return after
