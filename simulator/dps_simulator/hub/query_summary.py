"""What a query with aggregates makes of the twins that it selects: one row for each group.

The twins come one by one and none is kept, so that counting many of them takes no more memory than counting few. The
values that tell groups apart are kept, and not more of them than a limit (simulator-only).

Source: Microsoft documentation, iot-hub-devguide-query-language. Inferred: that ``AVG``, ``SUM``, ``MIN`` and ``MAX``
leave out what is not a number.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from dps_simulator.common.ports import Document

from .checks import invalid
from .query_conditions import UNDEFINED, Path, kind_of


@dataclass(frozen=True, slots=True)
class Column:
    """One element of the SELECT list.

    Attributes:
        name: the key in the result.
        path: what is selected or aggregated; ``None`` for ``COUNT()``.
        aggregate: ``count``, ``avg``, ``sum``, ``min`` or ``max``; empty for a plain path.
    """

    name: str
    path: Path | None
    aggregate: str = ""


#: Bytes of JSON that the values of all groups may take together.
MAX_GROUPS_SIZE = 32 * 1024 * 1024


class Summary:
    """Counts, sums and extremes, group by group.

    Arguments:
        columns: the SELECT list.
        groups: the GROUP BY paths; without any, everything is one group.
    """

    def __init__(self, columns: Sequence[Column], groups: Sequence[Path]) -> None:
        self._columns = columns
        # what stands within another one tells no more groups apart; so each part of a twin is read once at most
        self._paths = [path for path in groups if not any(path.is_within(other) for other in groups)]
        self._cells: dict[bytes, list[_Cell]] = {} if groups else {b"": self._new()}
        self._size = 0

    def add(self, twin: Mapping[str, Any]) -> int:
        """Count one twin; returns how many bytes had to be read to find its group.

        Raises:
            ServiceError: the groups would take too much memory.
        """
        values = [_printable(path(twin)) for path in self._paths]
        text = json.dumps(values, sort_keys=True).encode() if values else b""
        key = hashlib.sha256(text).digest() if text else b""
        cells = self._cells.get(key)
        if cells is None:
            self._size += len(text)
            if self._size > MAX_GROUPS_SIZE:
                raise invalid(f"What GROUP BY names takes more than {MAX_GROUPS_SIZE} bytes in all groups; name less.")
            cells = self._cells[key] = self._new()
        for column, cell in zip(self._columns, cells, strict=True):
            cell.add(UNDEFINED if column.path is None else column.path(twin))
        return len(text)

    def __len__(self) -> int:
        """How many groups there are."""
        return len(self._cells)

    def rows(self, first: int = 0) -> Iterator[Document]:
        """One row for each group from the first on, in the order in which the groups appeared, each made when asked."""
        for cells in islice(self._cells.values(), first, None):
            yield defined({column.name: cell.result() for column, cell in zip(self._columns, cells, strict=True)})

    def _new(self) -> list[_Cell]:
        return [_Cell(column.aggregate) for column in self._columns]


class _Cell:
    """What becomes of one column in one group."""

    __slots__ = ("_aggregate", "_numbers", "_value")

    def __init__(self, aggregate: str) -> None:
        self._aggregate = aggregate
        self._numbers = 0
        self._value: Any = 0 if aggregate in ("count", "sum") else UNDEFINED

    def add(self, value: Any) -> None:
        aggregate = self._aggregate
        if aggregate == "count":
            self._value += 1
        elif not aggregate:
            # the same in the whole group
            self._value = value
        elif kind_of(value) == "number":
            self._numbers += 1
            self._value = value if self._value is UNDEFINED else _COMBINED[aggregate](self._value, value)

    def result(self) -> Any:
        if self._aggregate not in ("avg", "sum") or self._value is UNDEFINED:
            return self._value
        if not math.isfinite(self._value):  # JSON has no number for it
            return UNDEFINED
        return self._value / self._numbers if self._aggregate == "avg" else self._value


def _sum(so_far: Any, value: Any) -> Any:
    return so_far + value


_COMBINED: Mapping[str, Any] = {"avg": _sum, "sum": _sum, "min": min, "max": max}


def defined(row: Document) -> Document:
    """The row without what is undefined."""
    return {key: value for key, value in row.items() if value is not UNDEFINED}


def _printable(value: object) -> object:
    """A value as part of a group's key; undefined is told from every JSON value."""
    return [] if value is UNDEFINED else [kind_of(value), value]
