"""Files that only their owner may read, and the lock that keeps two simulators out of one folder."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
from pathlib import Path
from typing import IO

from dps_simulator.errors.masking import is_no_path


class FolderError(Exception):
    """A folder cannot be used. The text names it and says what to do."""


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner may enter (mode 0700) and make sure that it can be written to.

    An empty folder that others may enter is closed to them. One that holds things is left as it is, because it may be
    somebody's home or the system's folder for temporary files; the files written into it are private anyway.

    Raises:
        FolderError: it cannot be made or written to, it belongs to somebody else, or others may put files into it.
    """
    try:
        make_folders(path)
        check_owner(path)
        _close_to_others(path)
        probe = path / f".probe-{secrets.token_hex(4)}"
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        probe.unlink()
    except OSError as error:
        raise FolderError(
            f"The folder {path} cannot be written to ({error.strerror or error}). "
            "Choose another one, or change its owner."
        ) from error
    return path


def make_folders(path: Path) -> None:
    """Make a folder and those above it that are missing, all with mode 0700, whatever the umask allows to others.

    Raises:
        OSError: one cannot be made, or something else has its name.
    """
    missing = [path]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)


def check_owner(folder: Path) -> None:
    """Refuse a folder of somebody else, who could put files and links into it for us to write through.

    Raises:
        FolderError: it belongs to another user, or a link of another user leads to it.
        OSError: it is not there.
    """
    if os.name != "posix":
        return
    # the administrator may have put a link in its place
    owner, linked = folder.stat().st_uid, folder.lstat().st_uid
    if owner != os.geteuid() or linked not in (os.geteuid(), 0):
        raise FolderError(
            f"The folder {folder} belongs to another user (number {owner if owner != os.geteuid() else linked}), who "
            "could put anything into it. Choose a folder of your own, or do this as that user."
        )


def open_own(path: Path, flags: int) -> int:
    """Open a file that may be there already, for its owner only (mode 0600); never through a link.

    Arguments:
        path: the file.
        flags: as for ``os.open``. What has to be emptied is emptied afterwards, when it is sure whose it is.

    Returns:
        The descriptor.

    Raises:
        OSError: it cannot be opened; it is a link, no file, the file of another user, or has a second name elsewhere.
    """
    # a pipe that somebody put there would be waited for
    safe = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | safe, 0o600)
    try:
        found = os.fstat(descriptor)
        check_own(found)
        if found.st_nlink > 1:
            raise OSError(errno.EPERM, "it has a second name elsewhere")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_own(found: os.stat_result) -> None:
    """Refuse what is no file of our own.

    Raises:
        OSError: it is none; the reason stands in ``strerror``.
    """
    problem = ""
    if not stat.S_ISREG(found.st_mode):
        problem = "it is a link, or no file"
    elif os.name == "posix" and found.st_uid != os.geteuid():
        problem = f"it belongs to another user (number {found.st_uid})"
    if problem:
        raise OSError(errno.EPERM, problem)


def _close_to_others(path: Path) -> None:
    mode = path.stat().st_mode
    if os.name != "posix" or not mode & 0o077:
        return
    if not any(path.iterdir()):
        path.chmod(0o700)
    elif mode & 0o022:
        raise FolderError(
            f"Other users may put files into the folder {path}. Choose a folder of your own, or name a new one in it."
        )


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
            file.flush()
            # else the name may be on the disk before the content, and a failure of power leaves an empty file
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class FolderLock:
    """An exclusive lock on a folder, held by a process and let go when the process ends, however it ends.

    The package filelock promises less: some of its versions empty the file of whoever holds the lock when they try,
    so that nobody can say who that is, and where the system has no such lock they leave a file that outlives a kill.

    Arguments:
        path: the lock file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        """Take the lock without waiting; ``False`` when another process has it.

        Raises:
            FolderError: the lock file cannot be opened.
        """
        try:
            check_owner(self._path.parent)
            descriptor = open_own(self._path, os.O_CREAT | os.O_RDWR)
        except OSError as error:
            raise FolderError(
                f"The file {self._path} cannot be opened ({error.strerror or error}). Choose another folder."
            ) from error
        file = os.fdopen(descriptor, "r+")
        try:
            _lock(file)
        except OSError:
            file.close()
            return False
        self._file = file
        # the number is for people; on a full disk the lock holds without it
        with contextlib.suppress(OSError):
            file.seek(0)
            file.truncate()
            file.write(str(os.getpid()))
            file.flush()
        return True

    def is_taken(self) -> bool:
        """Whether another process has the lock now.

        To find out, it is taken for a moment; who wants it for good has to try more than once.

        Raises:
            FolderError: the lock file cannot be opened.
        """
        if not self._path.exists():
            return False
        if not self.acquire():
            return True
        self.release()
        return False

    def holder(self) -> str:
        """The process number that the last holder wrote, empty when unknown."""
        try:
            text = self._path.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""
        return text if text.isdigit() and len(text) <= 20 else ""

    def release(self) -> None:
        """Let the lock go. The file stays: removing it would let two processes lock two files of one name."""
        file, self._file = self._file, None
        if file is not None:
            # on a full disk the number may still wait to be written
            with contextlib.suppress(OSError):
                file.close()


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


def is_no_place(place: Path) -> bool:
    """Whether what was given as a path is rather what stands in a file, such as a private key, and leads nowhere.

    What lies in a folder that is there may be called as it likes, as temporary folders are: then each part behind that
    folder is looked at for itself. The root and the current folder are always there, and tell nothing.
    """
    places = (place, *place.parents)
    for depth, each in enumerate(places):
        if each in (Path(each.anchor), Path()):
            break
        if _is_there(each):
            return any(is_no_path(missing.name) for missing in places[:depth])
    return is_no_path(str(place))


def _is_there(place: Path) -> bool:
    try:
        return place.exists()
    except (OSError, ValueError):
        # such as a name that is too long for the system
        return False
