"""Files that only their owner may read, and the lock that keeps two simulators out of one folder."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import IO


class FolderError(Exception):
    """A folder cannot be used. The text names it and says what to do."""


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner may enter (mode 0700) and make sure that it can be written to.

    Raises:
        FolderError: it cannot be made or written to.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = path / f".probe-{secrets.token_hex(4)}"
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        probe.unlink()
        if os.name == "posix":
            path.chmod(0o700)
    except OSError as error:
        raise FolderError(
            f"The folder {path} cannot be written to ({error.strerror or error}). "
            "Choose another one, or change its owner."
        ) from error
    return path


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file with mode 0600, whole or not at all.

    The content goes to a new file beside it, created exclusively, which then takes the name.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class FolderLock:
    """An exclusive lock on a folder, held by a process and let go when the process ends, however it ends.

    Arguments:
        path: the lock file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        """Take the lock without waiting; ``False`` when another process has it."""
        descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        file = os.fdopen(descriptor, "r+")
        try:
            _lock(file)
        except OSError:
            file.close()
            return False
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        self._file = file
        return True

    def holder(self) -> str:
        """The process number that the holder wrote, empty when unknown."""
        try:
            return self._path.read_text().strip()
        except OSError:
            return ""

    def release(self) -> None:
        """Let the lock go. The file stays: removing it would let two processes lock two files of one name."""
        if self._file is not None:
            self._file.close()
            self._file = None


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        # a byte far behind the content, so that the process number stays readable
        file.seek(1_000)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
