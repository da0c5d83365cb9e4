"""Queries over the twins of one hub, page by page, reading no more twins than they have to.

A query is worked on in steps of bounded work, so that whoever runs one can let others have their turn in between. What
changes meanwhile may be seen or not, as on Azure, whose queries lag behind.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import islice

from dps_simulator.common.ports import Document
from dps_simulator.errors.table import ascii_json, described

from .checks import invalid
from .devices import Identity
from .hub_records import Found, HubRecords
from .query import MODULES, Query, parse

#: Devices in one list, and rows in one page of a query.
MAX_PAGE = 1_000
#: Bytes of JSON after which a page ends, however few rows it has then; at least one is in it.
MAX_PAGE_SIZE = 4 * 1024 * 1024
_MAX_TOKEN = 1_024
#: The work of one step: each twin counts as the words of the query, and as so many more for reading it.
STEP = 20_000
TWIN_WORK = 100
#: Bytes of JSON, read or written, that are as much work as one word of a query. Those of a usual twin are in the above.
_WORD_BYTES = 32
_USUAL_TWIN = TWIN_WORK * _WORD_BYTES

#: Work in steps: it pauses after each, and its result comes at the end.
Steps = Generator[None, None, "QueryPage"]
_Part = Generator[None, None, "tuple[list[Document], int, int, bool]"]


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


class Work:
    """Counts the work of one step of a query, so that a step ends before others have to wait for it."""

    def __init__(self) -> None:
        self._done = 0

    def add(self, words: int, size: int = 0) -> None:
        """Count words that were evaluated, and bytes of JSON that were read or written."""
        self._done += words + size // _WORD_BYTES

    def ends_step(self) -> bool:
        """Whether this step did enough; the count begins anew then."""
        if self._done < STEP:
            return False
        self._done = 0
        return True


class HubQueries:
    """Runs queries.

    Arguments:
        host: the hub's host name; a continuation token of another hub is refused.
        records: the devices and modules of the hub that are asked about.
        render: makes the twin of a device or module, as the service side sees it.
    """

    def __init__(self, host: str, records: HubRecords, render: Callable[[Identity], Document]) -> None:
        self._host = host
        self._records = records
        self._render = render

    def run(self, text: object, *, page_size: int = MAX_PAGE, continuation: str | None = None) -> Steps:
        """One page of a query.

        Returns:
            The work, in steps; a :class:`QueryPage` is its result.

        Raises:
            ServiceError: at the first step: the query is not valid or not supported, or the token is not one of this
                query.
        """
        if not isinstance(text, str):
            raise invalid(f"query must be a query, not {described(text)}.")
        query = parse(text)
        digest = hashlib.sha256(f"{self._host}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
        place, given = _read_token(continuation, digest)
        size = min(page_size, MAX_PAGE)
        page = self._summary if query.aggregates else self._selection
        items, place, given, more = yield from page(query, size, place, given)
        item_type = "Twin" if query.selects_twins else "Raw"
        return QueryPage(items, item_type, _make_token(place, given, digest) if more else None)

    def _summary(self, query: Query, size: int, place: int, given: int) -> _Part:
        counted = query.from_counts(self._records.counts())
        if counted is None:
            work = Work()
            summary = query.summary()
            for found in self._matching(query, 0, work):
                if found is None:
                    yield
                else:
                    work.add(0, summary.add(found[1]))
            rows, total = summary.rows(place), len(summary)
        else:
            rows, total = iter(counted[place:]), len(counted)
        total = total if query.top is None else min(total, query.top)
        items: list[Document] = []
        work = Work()
        room = _Room(size, work)
        for row in islice(rows, max(total - place, 0)):
            if not room.takes(row):
                break
            items.append(row)
            work.add(query.words)
            if work.ends_step():
                yield
        end = place + len(items)
        return items, end, given, end < total

    def _selection(self, query: Query, size: int, place: int, given: int) -> _Part:
        if query.top is not None:
            size = min(size, query.top - given)
        items: list[Document] = []
        work = Work()
        room = _Room(size, work)
        for found in self._matching(query, place, work):
            if found is None:
                yield
                continue
            following, twin = found
            row = query.project(twin)
            if not room.takes(row):
                given += len(items)
                return items, place, given, query.top is None or given < query.top
            items.append(row)
            place = following
        return items, place, given, False

    def _matching(self, query: Query, after: int, work: Work) -> Iterator[tuple[int, Document] | None]:
        """The twins that the query selects, each with its place; ``None`` where a step ends."""
        for found in self._candidates(query, after):
            if found is not None:
                work.add(0, max(found.size - _USUAL_TWIN, 0))
                if work.ends_step():  # a large one was work enough to read
                    yield None
                twin = self._render(found.identity)
                if query.matches(twin):
                    yield found.place, twin
            work.add(TWIN_WORK + query.words)
            if work.ends_step():
                yield None

    def _candidates(self, query: Query, after: int) -> Iterator[Found | None]:
        """What has to be read; the same for all pages of a query, because it depends on its text alone.

        ``None`` stands for work that found nothing.
        """
        of_modules = query.source == MODULES
        if query.device_ids is not None:
            return self._records.named(query.device_ids, after, modules=of_modules)
        if of_modules:
            return self._records.modules(after)
        if query.statuses is not None and "enabled" not in query.statuses:
            return self._records.disabled(after)
        return self._records.devices(after)


class _Room:
    """What is left of a page.

    Arguments:
        rows: as many rows fit.
        work: where the rows are counted.
    """

    def __init__(self, rows: int, work: Work) -> None:
        self._rows = rows
        self._bytes = MAX_PAGE_SIZE
        self._work = work

    def takes(self, row: Document) -> bool:
        """Whether the row still fits, which takes its room. The first one always does.

        Raises:
            ServiceError: the row alone takes more than a page. A twin never does; a row can name the same part of it a
                hundred times.
        """
        if self._rows <= 0 or self._bytes <= 0:
            return False
        size = 0
        for name, value in row.items():
            size += len(ascii_json({name: value}))
            if size > MAX_PAGE_SIZE:
                raise invalid(
                    f"A row of the result would take more than {MAX_PAGE_SIZE} bytes; name less after SELECT."
                )
        self._rows -= 1
        self._bytes -= size
        self._work.add(0, size)
        return True


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
        raise invalid(
            f"The continuation token {token!r:.60} does not belong to this query. Send the one of the previous page."
        )
    return place, given
