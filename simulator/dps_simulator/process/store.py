"""The simulator's memory: JSON documents in SQLite, in memory or in a file."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

from dps_simulator.common.ports import Document
from dps_simulator.common.private_files import check_own
from dps_simulator.process.collection import Collection

from . import store_errors
from .rows import checksum_of, opened, up_to
from .store_errors import (
    FAILURES,
    BusyStoreError,
    DamagedStoreError,
    ForeignStoreError,
    StoreError,
    UnreadableStoreError,
)

_LOGGER = logging.getLogger(__name__)

FILE_NAME = "simulator.sqlite3"
#: The file and what SQLite keeps beside it.
FILES = (FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", f"{FILE_NAME}-journal")
_APPLICATION_ID = 0x44505331  # "DPS1"
#: The format of today: of the table below, and of what stands in the documents. Whoever changes either counts on, adds
#: what makes the new format of the one before to :data:`MIGRATIONS`, and keeps a workspace of that one first
#: (``tests/workspaces/README.md``). Format 2 added the checksums.
FORMAT = 2
#: What makes the next format of an older one, by the older one. All that are needed run in one transaction, and then
#: every checksum is made anew.
MIGRATIONS: dict[int, Callable[[sqlite3.Connection], object]] = {
    1: lambda connection: connection.execute("ALTER TABLE documents ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0"),
}
_CHECKSUMS_SINCE = 2
#: Formats from this one on are sealed in any case: a number that SQLite keeps tells a newer version from a damaged bit
#: only where something else says the same. Older versions open a sealed state as any other.
_SEALED_SINCE = 3
_SEAL_SCHEMA = "CREATE TABLE IF NOT EXISTS seal (format INTEGER NOT NULL, checksum INTEGER NOT NULL)"
_SCHEMA = """
CREATE TABLE documents (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    parent TEXT NOT NULL,
    body TEXT NOT NULL,
    checksum INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX documents_by_key ON documents (collection, key);
CREATE INDEX documents_by_order ON documents (collection, sequence);
CREATE INDEX documents_by_parent ON documents (collection, parent, sequence);
"""
_ALL = "SELECT sequence, collection, key, parent, body, checksum FROM documents"
_ALL_OF_FORMAT_1 = "SELECT sequence, collection, key, parent, body, NULL FROM documents"


#: How a transaction begins, is kept and is undone. One inside another is undone by itself, for whoever catches what
#: went wrong in it must not keep half of it.
_OUTERMOST: tuple[str, str, tuple[str, ...]] = ("BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",))
_NESTED: tuple[str, str, tuple[str, ...]] = (
    "SAVEPOINT inside",
    "RELEASE inside",
    ("ROLLBACK TO inside", "RELEASE inside"),
)


def check(folder: Path) -> None:
    """Refuse a state that this version cannot open. Nothing is changed, and it may be in use.

    Arguments:
        folder: the state folder.

    Raises:
        StoreError: the state is foreign, or of a format that this version does not know.
    """
    path = folder / FILE_NAME
    # whether it is damaged, or cannot be read, whoever opens it finds out
    with contextlib.suppress(*FAILURES, DamagedStoreError), _reader(path) as reader:
        if reader is not None:
            _format_of(reader, path)


def empty(folder: Path, keep: Iterable[str] = ()) -> None:
    """Forget every document of a state at rest. A state that cannot be used any more is removed.

    Where the disk is full, what stays is read, the file is removed, which makes room, and written again.

    Arguments:
        folder: the state folder; the caller holds its lock.
        keep: names of collections that stay, where they can still be read.

    Raises:
        StoreError: the state is foreign or used by another program, or the files cannot be removed.
    """
    path = folder / FILE_NAME
    if not os.path.lexists(path):
        return
    try:
        with closing(Store(folder)) as store:
            store.clear(keep)
    except (BusyStoreError, ForeignStoreError):
        raise
    except (DamagedStoreError, UnreadableStoreError):
        _remove(folder)
    except StoreError:
        kept = _read_lasting(path, keep)
        _remove(folder)
        with closing(Store(folder)) as store, store.transaction():
            for name, key, parent, body in kept:
                store.collection(name).put(key, body, parent)


def _read_lasting(path: Path, names: Iterable[str]) -> list[tuple[str, str, str, Document]]:
    """Collection, key, parent and body of every document in these collections, read without a change."""
    wanted = set(names)
    with _reader(path) as reader:
        if reader is None:
            return []
        rows = reader.execute(_ALL if (_format_of(reader, path) or 0) >= _CHECKSUMS_SINCE else _ALL_OF_FORMAT_1)
        return [(row[1].decode(), *opened(row, path)[1:]) for row in rows if row[1].decode() in wanted]


def _remove(folder: Path) -> None:
    try:
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise store_errors.explained(error, folder / FILE_NAME) from None


@contextmanager
def _reader(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A connection that changes nothing: even closing one that may write could. ``None`` where no file is.

    Raises:
        StoreError: what stands there is no file of ours.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise store_errors.explained(error, path) from None
    _check_own(path, found)
    reader = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    reader.text_factory = bytes
    try:
        yield reader
    finally:
        reader.close()


def _check_own(path: Path, found: os.stat_result) -> None:
    """Refuse what another user, or a link, put in the place of the file or of those that SQLite keeps beside it."""
    beside = [path.with_name(name) for name in FILES[1:]]
    for place, each in [(path, found), *((other, other.lstat()) for other in beside if os.path.lexists(other))]:
        try:
            check_own(each)
        except OSError as error:
            raise ForeignStoreError(
                f"{place} is no file of this simulator: {error.strerror}. Remove it, or choose another state folder."
            ) from None


def _format_of(connection: sqlite3.Connection, path: Path | None) -> int | None:
    """The format of a file, ``None`` when it is new.

    Raises:
        StoreError: it is foreign, of a format that this version does not know, or its beginning is damaged.
    """
    run = connection.execute
    application = run("PRAGMA application_id").fetchone()[0]
    version = int(run("PRAGMA user_version").fetchone()[0])
    names = {row[0] for row in run("SELECT name FROM sqlite_master")}
    if application == 0 and not names:
        return None
    if application != _APPLICATION_ID:
        if {b"documents_by_key", b"documents_by_order", b"documents_by_parent"} <= names:
            raise store_errors.of(
                DamagedStoreError, path, "its mark is that of another program, and its tables are ours"
            )
        raise ForeignStoreError(f"{path} is a database of another program. Choose another state folder.")
    seals = run("SELECT format, checksum FROM seal").fetchall() if b"seal" in names else []
    is_sealed = seals == [(version, _seal_checksum(version))]
    if version <= 0 or not (is_sealed or (not seals and version < _SEALED_SINCE)):
        raise store_errors.of(
            DamagedStoreError, path, f"the format {version}, which this version cannot read, was never written"
        )
    if version > FORMAT:
        raise ForeignStoreError(
            f"{path} was written by a newer version (format {version}, this one knows {FORMAT}). Nothing was changed. "
            "Update the project, or choose another state folder."
        )
    if any(step not in MIGRATIONS for step in range(version, FORMAT)):
        raise ForeignStoreError(
            f"{path} has the format {version}, which this version cannot read (it knows {FORMAT}). Nothing was "
            "changed. Open it once with a version in between, or choose another state folder."
        )
    return version


def _inspect(connection: sqlite3.Connection, path: Path | None) -> None:
    """Read everything once, so that damage is found before anybody relies on what is there.

    Raises:
        StoreError: foreign or damaged.
    """
    try:
        found = _format_of(connection, path)
        if found is None:
            return
        if connection.execute("PRAGMA integrity_check(1)").fetchone() != (b"ok",):
            raise store_errors.of(DamagedStoreError, path, "its pages do not fit together")
        for row in connection.execute(_ALL if found >= _CHECKSUMS_SINCE else _ALL_OF_FORMAT_1):
            opened(row, path)
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_ERROR:
            raise
        # a statement that is right fails where the table is not as it was made
        raise store_errors.of(DamagedStoreError, path, "its table") from None


def _seal_checksum(version: int) -> int:
    return checksum_of(b"format", b"%d" % version)


def _seal(connection: sqlite3.Connection) -> None:
    """Write the format down, twice; inside a transaction."""
    connection.execute(f"PRAGMA user_version={FORMAT}")
    connection.execute(_SEAL_SCHEMA)
    connection.execute("DELETE FROM seal")
    connection.execute("INSERT INTO seal VALUES (?, ?)", (FORMAT, _seal_checksum(FORMAT)))


def _is_sealed(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT name FROM sqlite_master WHERE name = 'seal'").fetchone() is not None


class _Transaction(AbstractContextManager[None]):
    """The transaction of a store, and those inside it: entered, and left, one after the other.

    Arguments:
        store: the store.

    Attributes:
        open: of each that is open, how many actions waited when it began.
        waiting: actions that follow when the outermost is kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # whether the last one was to be undone
        self._failed = False
        self.open: list[int] = []
        self.waiting: list[Callable[[], object]] = []

    def __enter__(self) -> None:
        if self._failed and not self.open:
            self._store.undo(("ROLLBACK",))  # perhaps it could not be undone when it failed
        self._store.change((_NESTED if self.open else _OUTERMOST)[0])
        self._failed = False
        self.open.append(len(self.waiting))

    def __exit__(self, kind: object, *told: object) -> None:
        _, keep, undo = _NESTED if len(self.open) > 1 else _OUTERMOST
        kept = False
        try:
            if kind is None:
                self._store.change(keep)
                kept = True
        finally:
            waited = self.open.pop()
            if not kept:
                self._failed = True
                del self.waiting[waited:]
                self._store.undo(undo)
        if kept and not self.open:
            actions, self.waiting = self.waiting, []
            for action in actions:
                self._store.follow(action)


class Store:
    """All collections of documents.

    With a folder, every committed change survives the death of the process: SQLite's write-ahead log is written
    before the call returns, and the operating system keeps it when the process is killed.

    Whatever method it is, and whatever fails below it, only :class:`StoreError` comes out.

    Arguments:
        folder: where the file lies; ``None`` keeps everything in memory.

    Attributes:
        is_quiet: whether the log is not told of errors, because whoever meets them tells of them.

    Raises:
        StoreError: the folder cannot be written, or the file is damaged, foreign or of a format that is not known.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.is_quiet = False
        self._transaction = _Transaction(self)
        self._path = folder / FILE_NAME if folder else None
        try:
            inspected = self._inspected()
            self._connection = sqlite3.connect(self._path or ":memory:", isolation_level=None, check_same_thread=False)
        except (OSError, *FAILURES) as error:
            raise store_errors.explained(error, self._path) from None
        self._connection.text_factory = bytes
        try:
            self._prepare(inspected)
        except FAILURES as error:
            self.close()
            raise store_errors.explained(error, self._path) from None
        except StoreError:
            self.close()
            raise

    def _inspected(self) -> bool:
        """Look at a file, or make an empty one; tells whether there is nothing more to look at."""
        if self._path is None:
            return True
        with _reader(self._path) as reader:
            if reader is None:
                # created here, exclusively, so that it is never readable for others, not even for a moment
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
                return True
            try:
                _inspect(reader, self._path)
            except sqlite3.OperationalError:
                # what a reader cannot open, a writer may still repair
                return False
        return True

    def _prepare(self, inspected: bool) -> None:
        if not inspected:
            _inspect(self._connection, self._path)
        run = self._connection.execute
        found = _format_of(self._connection, self._path)
        if found is None:
            run("PRAGMA journal_mode=WAL")
            self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id={_APPLICATION_ID};")
            _seal(self._connection)
            run("COMMIT")
        # NORMAL: durable against the death of the process, without a disk flush per change
        run("PRAGMA synchronous=NORMAL")
        # whether it may be written to shows now, and not at the first change
        run("BEGIN IMMEDIATE")
        run("ROLLBACK")
        if found is not None and (found < FORMAT or not _is_sealed(self._connection)):
            self._migrate(found)

    def _migrate(self, found: int) -> None:
        """Bring an older format to the one of today, in one transaction: killed in between, it is as it was."""
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        if found < FORMAT:
            for step in range(found, FORMAT):
                MIGRATIONS[step](self._connection)
            seals = [(checksum_of(*row[1:5]), row[0]) for row in run(_ALL)]
            self._connection.executemany("UPDATE documents SET checksum = ? WHERE sequence = ?", seals)
        _seal(self._connection)
        run("COMMIT")

    def collection(self, name: str) -> Collection:
        """The collection with this name."""
        return Collection(self, name)

    def transaction(self) -> AbstractContextManager[None]:
        """Keep all changes made inside, or none when an exception leaves the block."""
        return self._transaction

    def undo(self, statements: Iterable[str]) -> None:
        """Undo what is open. After some failures, such as a full disk, SQLite has already done so by itself."""
        with contextlib.suppress(StoreError, *FAILURES):
            if self._connection.in_transaction:
                for statement in statements:
                    self.change(statement)

    def follow(self, action: Callable[[], object]) -> None:
        """Run what follows a change. The change is kept, so whoever made it must not hear that something failed."""
        try:
            action()
        except StoreError:
            # it stands in the log already
            return
        except Exception:
            _LOGGER.exception("what follows a change of the state failed; the change is kept")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Tell of a record that is whole, and yet not what this version writes, as of damage.

        Such a one shows only where it is used, as something that is missing or of another type. What Python says of it
        may quote the record, so only the kind of error is told. In memory there is nothing that was not just written.

        Raises:
            DamagedStoreError: instead of such an error.
        """
        try:
            yield
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if self._path is None:
                raise
            what = f"a record is not as this version writes it: {type(error).__name__}"
            raise store_errors.of(DamagedStoreError, self._path, what) from None

    def when_committed(self, action: Callable[[], object]) -> None:
        """Run an action once the changes made so far are kept, never when they are undone; outside, at once.

        What it raises then goes to the log, and not to whoever made the changes.
        """
        if self._transaction.open:
            self._transaction.waiting.append(action)
        else:
            action()

    def clear(self, keep: Iterable[str] = ()) -> None:
        """Forget every document of every collection.

        Arguments:
            keep: names of collections that stay.
        """
        kept = sorted(keep)
        marks = ", ".join("?" * len(kept))
        self.change(f"DELETE FROM documents WHERE collection NOT IN ({marks})", kept)  # noqa: S608

    def close(self) -> None:
        """Write everything into the file and let it go."""
        # what was kept is in the write-ahead log at least, where the next start finds it
        with contextlib.suppress(*FAILURES):
            self._connection.close()

    # --- for collections ------------------------------------------------------------------------------------------

    def change(self, statement: str, values: Sequence[object] = ()) -> int:
        """Run a statement; returns how many rows it changed."""
        try:
            return self._connection.execute(statement, values).rowcount
        except FAILURES as error:
            raise self._failed(error) from None

    def change_many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement for many rows."""
        try:
            self._connection.executemany(statement, rows)
        except FAILURES as error:
            raise self._failed(error) from None

    def rows(self, statement: str, values: Sequence[object], max_bytes: int | None = None) -> list[Any]:
        """What a statement finds; texts are bytes. Once bodies of ``COLUMNS`` take ``max_bytes``, no more is read."""
        try:
            found = self._connection.execute(statement, values)
            if max_bytes is None:
                return found.fetchall()
            with contextlib.closing(found):
                return list(up_to(max_bytes, found))
        except FAILURES as error:
            raise self._failed(error) from None

    def opened(self, row: Sequence[Any]) -> tuple[int, str, str, Document]:
        """Sequence, key, parent and body of a row of ``COLUMNS``.

        Raises:
            DamagedStoreError: it is not what was written.
        """
        try:
            return opened(row, self._path)
        except DamagedStoreError as error:
            self._log(error)
            raise

    def _failed(self, error: Exception) -> StoreError:
        explained = store_errors.explained(error, self._path)
        self._log(explained)
        return explained

    def _log(self, error: StoreError) -> None:
        if not self.is_quiet:
            _LOGGER.error("%s", error)
