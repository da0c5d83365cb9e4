"""A listening socket that turns clients away before the process has no file descriptors left.

asyncio does nothing but log when the system has none: again and again, with a traceback each, while clients wait for an
answer that never comes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable

from . import open_files

#: File descriptors that connections leave for everything else: the state, files, calls of webhooks.
RESERVE = 64
#: Clients that are turned away in one turn of the loop.
_AT_ONCE = 64
#: What the system says when it has none left, for the process or at all.
_NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def highest() -> int:
    """Number from which on a file descriptor is none for a connection. The system always gives the lowest free one."""
    limit = open_files.limit()
    return limit - min(RESERVE, limit // 2)


class AcceptingSocket(socket.socket):
    """Listens on TCP.

    Arguments:
        family: IPv4 or IPv6.
        turned_away: is called for every client that was turned away.
        answer: what such a client is told, if there is a way to say it.
    """

    def __init__(self, family: int, *, turned_away: Callable[[], None], answer: bytes = b"") -> None:
        # naming TCP matters: asyncio sets TCP_NODELAY only on sockets that say so, and without it small answers wait
        super().__init__(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._turned_away = turned_away
        self._answer = answer
        # given back for a moment to accept a client only to turn it away
        self._spare = _spare()

    def accept(self) -> tuple[socket.socket, object]:
        """The next client that there is room for.

        Raises:
            BlockingIOError: there is none for now.
        """
        for _ in range(_AT_ONCE):
            try:
                connection, address = super().accept()
            except OSError as error:
                if error.errno not in _NONE_LEFT:
                    raise
                self._accept_with_spare()
                continue
            if connection.fileno() < highest():
                return connection, address
            self._turn_away(connection)
        raise BlockingIOError(errno.EAGAIN, "those who came were turned away")

    def close(self) -> None:
        """Listen no longer."""
        super().close()
        self._give_spare_back()

    def _accept_with_spare(self) -> None:
        self._give_spare_back()
        with contextlib.suppress(OSError):
            self._turn_away(super().accept()[0])
        self._spare = _spare()

    def _give_spare_back(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _turn_away(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.setblocking(False)
            if self._answer:
                connection.send(self._answer)
        self._turned_away()


def _spare() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None
