"""One collection of documents in the state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dps_simulator.common.ports import Document, StoredDocument
from dps_simulator.errors.compact_json import compact_encoder

from .rows import BODY, COLUMNS, checksum_of

if TYPE_CHECKING:
    from .store import Store


_encoded = compact_encoder()
_PUT = (
    "INSERT INTO documents (collection, key, parent, body, checksum) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (collection, key) DO UPDATE SET "
    "parent = excluded.parent, body = excluded.body, checksum = excluded.checksum"
)


class Collection:
    """One collection of the store. Made by :meth:`dps_simulator.process.store.Store.collection`.

    Every method raises :class:`~dps_simulator.process.store_errors.StoreError` when the state cannot be used.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name

    def get(self, key: str) -> Document | None:
        """The document, or ``None``."""
        rows = self._store.rows(f"{COLUMNS} AND key = ?", (self._name, key))
        return self._store.opened(rows[0])[3] if rows else None

    def put(self, key: str, body: Mapping[str, Any], parent: str = "") -> int:
        """Insert the document, or replace it in its place; tells how many bytes its JSON has."""
        row = self._row(key, parent, body)
        self._store.change(_PUT, row)
        return len(row[3])

    def put_all(self, items: Iterable[tuple[str, Mapping[str, Any]]], parent: str = "") -> None:
        """Insert or replace many documents under the same parent."""
        self._store.change_many(_PUT, (self._row(key, parent, body) for key, body in items))

    def _row(self, key: str, parent: str, body: Mapping[str, Any]) -> tuple[str, str, str, str, int]:
        text = _encoded(body)
        return self._name, key, parent, text, checksum_of(f"{self._name}\0{key}\0{parent}\0{text}".encode())

    def delete(self, key: str) -> bool:
        """Remove the document; tells whether it was there."""
        return self._store.change("DELETE FROM documents WHERE collection = ? AND key = ?", (self._name, key)) > 0

    def page(
        self, *, after: int = 0, limit: int, parent: str | None = None, max_bytes: int | None = None
    ) -> list[StoredDocument]:
        """Up to ``limit`` documents in order of insertion; see :meth:`~dps_simulator.common.ports.Documents.page`."""
        of_parent, values = ("", ()) if parent is None else (" AND parent = ?", (parent,))
        rows = self._store.rows(
            f"{COLUMNS}{of_parent} AND sequence > ? ORDER BY sequence LIMIT ?",
            (self._name, *values, after, limit),
            max_bytes,
        )
        opened = ((self._store.opened(row), len(row[BODY])) for row in rows)
        return [StoredDocument(sequence, key, body, size) for (sequence, key, _, body), size in opened]

    def everything(self) -> list[tuple[str, str, Document]]:
        """Key, parent and body of every document, in order of insertion."""
        rows = self._store.rows(f"{COLUMNS} ORDER BY sequence", (self._name,))
        return [(key, parent, body) for _, key, parent, body in map(self._store.opened, rows)]

    def count(self, parent: str | None = None) -> int:
        """How many documents there are."""
        of_parent, values = ("", ()) if parent is None else (" AND parent = ?", (parent,))
        statement = f"SELECT count(*) FROM documents WHERE collection = ?{of_parent}"  # noqa: S608
        return int(self._store.rows(statement, (self._name, *values))[0][0])

    def size(self) -> int:
        """Bytes of all documents together, as JSON."""
        statement = "SELECT coalesce(sum(length(body)), 0) FROM documents WHERE collection = ?"
        return int(self._store.rows(statement, (self._name,))[0][0])

    def clear(self, parent: str | None = None) -> None:
        """Remove all documents of the collection, or those with this parent."""
        of_parent, values = ("", ()) if parent is None else (" AND parent = ?", (parent,))
        statement = f"DELETE FROM documents WHERE collection = ?{of_parent}"  # noqa: S608
        self._store.change(statement, (self._name, *values))
