"""Queries over the twins of one hub, page by page, reading no more twins than they have to."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import Hub, ServiceError
from .hub_records import HubRecords
from .ports import Document
from .query import MODULES, Query, parse

#: Devices in one list, and rows in one page of a query.
MAX_PAGE = 1_000
_MAX_TOKEN = 1_024


@dataclass(frozen=True, slots=True)
class QueryPage:
    """One page of a query's result.

    Attributes:
        items: twins, or rows when the query projects or aggregates.
        item_type: ``Twin`` or ``Raw``.
        continuation: the token of the next page, ``None`` on the last one.
    """

    items: list[Document]
    item_type: str
    continuation: str | None


class HubQueries:
    """Runs queries.

    Arguments:
        host: the hub's host name; a continuation token of another hub is refused.
        records: the devices and modules.
        render: makes the twin of a record, as the service side sees it.
    """

    def __init__(self, host: str, records: HubRecords, render: Callable[[Mapping[str, Any]], Document]) -> None:
        self._host = host
        self._records = records
        self._render = render

    def run(self, text: object, *, page_size: int = MAX_PAGE, continuation: str | None = None) -> QueryPage:
        """One page of a query.

        Raises:
            ServiceError: the query is not valid or not supported, or the token is not one of this query.
        """
        if not isinstance(text, str):
            raise ServiceError(Hub.ARGUMENT_INVALID, f"query must be a text in the query language, not {text!r:.60}.")
        query = parse(text)
        digest = hashlib.sha256(f"{self._host}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
        place, given = _read_token(continuation, digest)
        size = min(page_size, MAX_PAGE)
        page = self._summary if query.aggregates else self._selection
        items, place, given, more = page(query, size, place, given)
        item_type = "Twin" if query.selects_twins else "Raw"
        return QueryPage(items, item_type, _make_token(place, given, digest) if more else None)

    def _summary(self, query: Query, size: int, place: int, given: int) -> tuple[list[Document], int, int, bool]:
        rows = query.from_counts(self._records.counts())
        if rows is None:
            rows = query.summarise(twin for _, twin in self._matching(query, 0))
        rows = rows[: query.top]
        end = place + size
        return rows[place:end], end, given, end < len(rows)

    def _selection(self, query: Query, size: int, place: int, given: int) -> tuple[list[Document], int, int, bool]:
        if query.top is not None:
            size = min(size, query.top - given)
        items: list[Document] = []
        for following, twin in self._matching(query, place):
            if len(items) == size:
                return items, place, given + len(items), given + len(items) != query.top
            items.append(query.project(twin))
            place = following
        return items, place, given, False

    def _matching(self, query: Query, after: int) -> Iterator[tuple[int, Document]]:
        for place, record in self._candidates(query, after):
            twin = self._render(record)
            if query.matches(twin):
                yield place, twin

    def _candidates(self, query: Query, after: int) -> Iterator[tuple[int, Document]]:
        """What has to be read; the same for all pages of a query, because it depends on its text alone."""
        of_modules = query.source == MODULES
        if query.device_ids is not None:
            return self._records.named(query.device_ids, after, modules=of_modules)
        if of_modules:
            return self._records.modules(after)
        if query.statuses is not None and "enabled" not in query.statuses:
            return self._records.disabled(after)
        return self._records.devices(after)


def _make_token(place: int, given: int, digest: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([place, given, digest]).encode()).decode("ascii")


def _read_token(token: str | None, digest: str) -> tuple[int, int]:
    """Behind which place the page starts, and how many rows were given before it."""
    if token is None:
        return 0, 0
    try:
        place, given, of = json.loads(base64.urlsafe_b64decode(token[:_MAX_TOKEN].encode("ascii")))
    except (ValueError, TypeError, RecursionError):
        place, given, of = -1, -1, None
    if of != digest or not all(type(number) is int and 0 <= number < 2**63 for number in (place, given)):
        raise ServiceError(
            Hub.ARGUMENT_INVALID,
            f"The continuation token {token!r:.60} does not belong to this query. Send the one of the previous page.",
        )
    return place, given
