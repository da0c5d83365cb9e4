"""The simulator's memory: JSON documents in SQLite, in memory or in a file."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import program
from .domain.ports import Document, StoredDocument

FILE_NAME = "simulator.sqlite3"
_APPLICATION_ID = 0x44505331  # "DPS1"
#: The format of today: of the table below, and of what stands in the documents. Whoever changes either counts on, adds
#: what makes the new format of the one before to :data:`MIGRATIONS`, and keeps a workspace of that one first
#: (``tests/workspaces/README.md``).
FORMAT = 1
#: What makes the next format of an older one, by the older one. All that are needed run in one transaction.
MIGRATIONS: dict[int, Callable[[sqlite3.Connection], object]] = {}
_SCHEMA = """
CREATE TABLE documents (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    parent TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE UNIQUE INDEX documents_by_key ON documents (collection, key);
CREATE INDEX documents_by_order ON documents (collection, sequence);
CREATE INDEX documents_by_parent ON documents (collection, parent, sequence);
"""


#: How a transaction begins, is kept and is undone. One inside another is undone by itself, for whoever catches what
#: went wrong in it must not keep half of it.
_OUTERMOST = ("BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",))
_NESTED = ("SAVEPOINT inside", "RELEASE inside", ("ROLLBACK TO inside", "RELEASE inside"))


class StoreError(Exception):
    """The state cannot be used. The text names the file and says what to do."""


class DamagedStoreError(StoreError):
    """The state file is ours but not readable any more."""


def check(folder: Path) -> None:
    """Refuse a state that this version cannot open. Nothing is changed, and it may be in use.

    Arguments:
        folder: the state folder.

    Raises:
        StoreError: the state is foreign, or of a format that this version does not know.
    """
    path = folder / FILE_NAME
    with contextlib.suppress(sqlite3.DatabaseError):
        # whether it is damaged, whoever opens it finds out
        if path.is_file():
            _look_at(path)


def _look_at(path: Path) -> None:
    """Refuse a file without opening it for writing: even closing it again could change it.

    Raises:
        StoreError: it is foreign, or of a format that this version does not know.
    """
    with contextlib.suppress(sqlite3.OperationalError):
        # what a reader cannot open, a writer may still repair
        reader = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            _format_of(reader, path)
        finally:
            reader.close()


def _format_of(connection: sqlite3.Connection, path: Path | None) -> int | None:
    """The format of a file, ``None`` when it is new.

    Raises:
        StoreError: it is foreign, or of a format that this version does not know.
    """
    run = connection.execute
    application = run("PRAGMA application_id").fetchone()[0]
    version = int(run("PRAGMA user_version").fetchone()[0])
    if application == 0 and run("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        return None
    if application != _APPLICATION_ID:
        raise StoreError(f"{path} is a database of another program. Choose another state folder.")
    if version > FORMAT:
        raise StoreError(
            f"{path} was written by a newer version (format {version}, this one knows {FORMAT}). Nothing was changed. "
            "Update the project, or choose another state folder."
        )
    if any(step not in MIGRATIONS for step in range(version, FORMAT)):
        raise StoreError(
            f"{path} has the format {version}, which this version cannot read (it knows {FORMAT}). Nothing was "
            "changed. Open it once with a version in between, or choose another state folder."
        )
    return version


class Store:
    """All collections of documents.

    With a folder, every committed change survives the death of the process: SQLite's write-ahead log is written
    before the call returns, and the operating system keeps it when the process is killed.

    Arguments:
        folder: where the file lies; ``None`` keeps everything in memory.

    Raises:
        StoreError: the folder cannot be written, or the file is damaged, foreign or of a format that is not known.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._depth = 0
        self._waiting: list[Callable[[], object]] = []
        self._path = folder / FILE_NAME if folder else None
        try:
            if self._path is not None and not self._path.exists():
                # created here, exclusively, so that it is never readable for others, not even for a moment
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self._connection = sqlite3.connect(self._path or ":memory:", isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"The state file {self._path} cannot be opened ({error}). Choose a state folder that you can write to."
            ) from error
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            if "locked" in str(error):
                raise StoreError(
                    f"The state file {self._path} is used by another program. End that program, "
                    "or choose another state folder."
                ) from error
            start_empty = program.command_line("reset", "--state", self._path.parent if self._path else "")
            raise DamagedStoreError(
                f"The state file {self._path} is damaged ({error}). Nothing was changed. "
                f"Move it away to keep it, or run `{start_empty}` to start empty."
            ) from error
        except StoreError:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        if self._path is not None:
            _look_at(self._path)
        run = self._connection.execute
        found = _format_of(self._connection, self._path)
        if found is None:
            run("PRAGMA journal_mode=WAL")
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA}"
                f"PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={FORMAT}; COMMIT;"
            )
        # NORMAL: durable against the death of the process, without a disk flush per change
        run("PRAGMA synchronous=NORMAL")
        run("SELECT count(*) FROM documents WHERE collection = ''")
        if found is not None and found < FORMAT:
            self._migrate(found)

    def _migrate(self, found: int) -> None:
        """Bring an older format to the one of today, in one transaction: killed in between, it is as it was."""
        with self.transaction():
            for step in range(found, FORMAT):
                MIGRATIONS[step](self._connection)
            self._connection.execute(f"PRAGMA user_version={FORMAT}")

    def collection(self, name: str) -> Collection:
        """The collection with this name."""
        return Collection(self._connection, name)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all changes made inside, or none when an exception leaves the block."""
        depth, waiting = self._depth, len(self._waiting)
        begin, keep, undo = _NESTED if depth else _OUTERMOST
        self._connection.execute(begin)
        self._depth = depth + 1
        try:
            yield
            self._connection.execute(keep)
        except BaseException:
            del self._waiting[waiting:]
            # after some failures, such as a full disk, SQLite has already undone everything by itself
            if self._connection.in_transaction:
                for statement in undo:
                    self._connection.execute(statement)
            raise
        finally:
            self._depth = depth
        if not depth:
            actions, self._waiting = self._waiting, []
            for action in actions:
                action()

    def when_committed(self, action: Callable[[], object]) -> None:
        """Run an action once the changes made so far are kept, never when they are undone; outside, at once."""
        if self._depth:
            self._waiting.append(action)
        else:
            action()

    def clear(self, keep: Iterable[str] = ()) -> None:
        """Forget every document of every collection.

        Arguments:
            keep: names of collections that stay.
        """
        kept = sorted(keep)
        marks = ", ".join("?" * len(kept))
        self._connection.execute(f"DELETE FROM documents WHERE collection NOT IN ({marks})", kept)  # noqa: S608

    def close(self) -> None:
        """Write everything into the file and let it go."""
        self._connection.close()


class Collection:
    """One collection of a :class:`Store`. Made by :meth:`Store.collection`."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    def get(self, key: str) -> Document | None:
        """The document, or ``None``."""
        row = self._connection.execute(
            "SELECT body FROM documents WHERE collection = ? AND key = ?", (self._name, key)
        ).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, key: str, body: Mapping[str, Any], parent: str = "") -> None:
        """Insert the document, or replace it in its place."""
        self.put_all([(key, body)], parent)

    def put_all(self, items: Iterable[tuple[str, Mapping[str, Any]]], parent: str = "") -> None:
        """Insert or replace many documents under the same parent."""
        self._connection.executemany(
            "INSERT INTO documents (collection, key, parent, body) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (collection, key) DO UPDATE SET parent = excluded.parent, body = excluded.body",
            ((self._name, key, parent, json.dumps(body, separators=(",", ":"))) for key, body in items),
        )

    def delete(self, key: str) -> bool:
        """Remove the document; tells whether it was there."""
        cursor = self._connection.execute("DELETE FROM documents WHERE collection = ? AND key = ?", (self._name, key))
        return cursor.rowcount > 0

    def page(self, *, after: int = 0, limit: int, parent: str | None = None) -> list[StoredDocument]:
        """Up to ``limit`` documents in order of insertion, those with a sequence above ``after``."""
        if parent is None:
            rows = self._connection.execute(
                "SELECT sequence, key, body FROM documents WHERE collection = ? AND sequence > ? "
                "ORDER BY sequence LIMIT ?",
                (self._name, after, limit),
            )
        else:
            rows = self._connection.execute(
                "SELECT sequence, key, body FROM documents WHERE collection = ? AND parent = ? AND sequence > ? "
                "ORDER BY sequence LIMIT ?",
                (self._name, parent, after, limit),
            )
        return [StoredDocument(sequence, key, json.loads(body)) for sequence, key, body in rows]

    def count(self, parent: str | None = None) -> int:
        """How many documents there are."""
        if parent is None:
            row = self._connection.execute(
                "SELECT count(*) FROM documents WHERE collection = ?", (self._name,)
            ).fetchone()
        else:
            row = self._connection.execute(
                "SELECT count(*) FROM documents WHERE collection = ? AND parent = ?", (self._name, parent)
            ).fetchone()
        return int(row[0])

    def clear(self) -> None:
        """Remove all documents of the collection."""
        self._connection.execute("DELETE FROM documents WHERE collection = ?", (self._name,))
