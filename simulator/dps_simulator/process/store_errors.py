"""What can be wrong with the state file, told apart: damaged, full, read-only, unreadable, used, foreign.

What SQLite and its Python module say is never repeated, because they quote what stands in the file, keys included.
"""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from dps_simulator.common.ports import StorageError

from . import program


class StoreError(StorageError):
    """The state cannot be used. The text names the file and says what to do."""


class DamagedStoreError(StoreError):
    """The state file is ours but does not hold any more what was written into it."""


class FullStoreError(StoreError):
    """The state is whole, but there is no room for a change."""


class ReadOnlyStoreError(StoreError):
    """The state is whole, but may not be changed."""


class UnreadableStoreError(StoreError):
    """The file cannot be opened, or the disk does not give what it holds."""


class BusyStoreError(StoreError):
    """Another program uses the file."""


class ForeignStoreError(StoreError):
    """What stands in the place of the file is not ours, or of a format that this version does not know."""


#: What Python's module raises. The second comes where SQLite quotes the file and Python cannot decode that.
FAILURES = (sqlite3.Error, UnicodeDecodeError)

#: SQLite's primary result codes, and the errors that they mean here. Source: sqlite.org/rescode.html
_KINDS: dict[int, type[StoreError]] = {
    sqlite3.SQLITE_CORRUPT: DamagedStoreError,
    sqlite3.SQLITE_NOTADB: DamagedStoreError,
    sqlite3.SQLITE_FULL: FullStoreError,
    sqlite3.SQLITE_READONLY: ReadOnlyStoreError,
    sqlite3.SQLITE_PERM: UnreadableStoreError,
    sqlite3.SQLITE_CANTOPEN: UnreadableStoreError,
    sqlite3.SQLITE_IOERR: UnreadableStoreError,
    sqlite3.SQLITE_BUSY: BusyStoreError,
    sqlite3.SQLITE_LOCKED: BusyStoreError,
}
#: Where writing failed and SQLite does not know why: a quota, a limit of the size of files, a disk in memory that is
#: full. It says "full" of one cause only.
_WRITING = frozenset(
    {
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_DIR_FSYNC,
        sqlite3.SQLITE_IOERR_TRUNCATE,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_SHMMAP,
    }
)
_BY_NUMBER: dict[int, type[StoreError]] = {
    errno.ENOSPC: FullStoreError,
    errno.EFBIG: FullStoreError,
    # not on every system
    getattr(errno, "EDQUOT", -1): FullStoreError,
    errno.EROFS: ReadOnlyStoreError,
}


def _told(text: str, brief: str) -> tuple[str, str]:
    return f"The state file {{path}} {text}", f"This simulator {brief}"


#: What is told of each: to whoever runs the simulator, who knows the file, and to its clients, who cannot see it.
_TEXTS: dict[type[StoreError], tuple[str, str]] = {
    DamagedStoreError: _told(
        "is damaged ({what}). Nothing was changed. Move it away to keep it, run `{reset}` to start empty, "
        "or choose another state folder.",
        "cannot go on, because its state is damaged. Stop it, then reset it, which starts empty; its log says more.",
    ),
    FullStoreError: _told(
        "cannot grow ({what}): the disk is full, or a quota or a limit of the size of files is reached. What it holds "
        "is whole. Make room, then do this again.",
        "could not keep this, because the disk with its state is full. Make room, then repeat the request.",
    ),
    ReadOnlyStoreError: _told(
        "is read-only ({what}). What it holds is whole. Allow yourself to write to it and to its folder, or choose "
        "another state folder.",
        "could not keep this, because its state is read-only. Its log says more.",
    ),
    UnreadableStoreError: _told(
        "cannot be opened or read ({what}). Nothing was changed. Look whether you may read and write it and its "
        "folder, and whether the disk is sound; or choose another state folder.",
        "cannot read its state; its log says more.",
    ),
    BusyStoreError: _told(
        "is used by another program. End that program, or choose another state folder.",
        "could not keep this, because another program uses its state. Repeat the request.",
    ),
    StoreError: _told(
        "cannot be used ({what}). Nothing was changed. Start the simulator again.",
        "cannot use its state; its log says more.",
    ),
}


def of(kind: type[StoreError], path: Path | None, what: str) -> StoreError:
    """An error with its texts.

    Arguments:
        kind: what is wrong.
        path: the state file, ``None`` for a state in memory.
        what: the place, or a word of SQLite; nothing that the file holds.
    """
    text, brief = _TEXTS[kind]
    reset = program.command_line("reset", "--state", path.parent if path is not None else "")
    return kind(text.format(path=path or "in memory", what=what, reset=reset), brief)


def explained(error: Exception, path: Path | None) -> StoreError:
    """What an error of SQLite, or of the operating system, means.

    Arguments:
        error: what was raised: one of :data:`FAILURES`, or an ``OSError``.
        path: the state file.
    """
    if isinstance(error, OSError):
        return of(_BY_NUMBER.get(error.errno or 0, UnreadableStoreError), path, error.strerror or type(error).__name__)
    if isinstance(error, UnicodeDecodeError):
        return of(DamagedStoreError, path, "its table")
    code = getattr(error, "sqlite_errorcode", 0)
    # an error that Python's module raises by itself has neither
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return of(FullStoreError if code in _WRITING else _KINDS.get(code & 0xFF, StoreError), path, name)
