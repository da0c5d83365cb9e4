"""How bytes reach a TPM: a command goes out, its response comes back.

Nothing here understands a command, except that the size of every message stands in its bytes 2 to 5.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol, Self

from helpers.tpm.errors import TpmConnectionError, TpmProtocolError, TpmUnavailableError
from helpers.tpm.structures import MAX_MESSAGE_SIZE

#: A TPM may need seconds to make an RSA key, and one that serves somebody else says nothing at all.
TIMEOUT = 30.0

_HEADER_SIZE = 10
#: ``sun_path`` of Linux holds 108 bytes, the last of which is zero; that of macOS 104.
_LONGEST_SOCKET_PATH = 107 if sys.platform == "linux" else 103


class Transport(Protocol):
    """The way to a TPM: bytes of one command in, bytes of its response out."""

    def exchange(self, command: bytes) -> bytes:
        """Send a command and give the response.

        Raises:
            TpmConnectionError: the TPM does not answer any more.
        """

    def close(self) -> None:
        """Let the TPM go. Closing twice is fine."""


class Closing(ABC):
    """Something that is closed where a ``with`` block ends."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Let it go. Closing twice is fine."""


class SocketTransport:
    """A TPM at the other end of a socket, which carries nothing but commands and responses, as swtpm does.

    Arguments:
        connection: the connected socket, which from now on belongs to the transport.
        timeout: how many seconds to wait for an answer.
    """

    def __init__(self, connection: socket.socket, timeout: float = TIMEOUT) -> None:
        self._connection = connection
        self._timeout = timeout
        connection.settimeout(timeout)

    def exchange(self, command: bytes) -> bytes:
        """Send a command and give the response."""
        try:
            self._connection.sendall(command)
            header = self._receive(_HEADER_SIZE)
            size = _size_of(header)
            return header + self._receive(size - _HEADER_SIZE)
        except TimeoutError as error:
            self.close()
            raise TpmConnectionError(
                f"The TPM did not answer within {self._timeout:g} seconds. It serves one client at a time: "
                "close it wherever else it is open."
            ) from error
        except OSError as error:
            self.close()
            raise TpmConnectionError(f"The connection to the TPM broke ({error.strerror or error}).") from error
        except TpmProtocolError:
            # what follows on this connection would be out of step
            self.close()
            raise

    def close(self) -> None:
        """Close the socket."""
        self._connection.close()

    def _receive(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            part = self._connection.recv(count - len(received))
            if not part:
                raise ConnectionResetError("the other end closed it")
            received += part
        return received


def connect_unix(path: Path, timeout: float = TIMEOUT) -> SocketTransport:
    """Connect to a TPM that listens on a unix socket.

    Raises:
        TpmUnavailableError: the path is too long for one, or nothing listens there.
    """
    check_socket_path(path)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        raise TpmUnavailableError(f"No TPM listens on the socket {path} ({error.strerror or error}).") from error
    return SocketTransport(connection, timeout)


def check_socket_path(path: Path) -> None:
    """Make sure that a unix socket can have this path.

    Raises:
        TpmUnavailableError: it is too long.
    """
    length = len(os.fsencode(path))
    if length > _LONGEST_SOCKET_PATH:
        raise TpmUnavailableError(
            f"The path of the TPM's socket has {length} bytes, and unix sockets take {_LONGEST_SOCKET_PATH}: {path}. "
            "Choose a folder with a shorter path."
        )


class DeviceFileTransport:
    """A TPM behind a device file of Linux: the chip of this machine.

    ``/dev/tpmrm0`` goes through the kernel's resource manager and may be used by several programs at a time;
    ``/dev/tpm0`` may not.

    Arguments:
        path: the device file.

    Raises:
        TpmUnavailableError: there is none, it is none, or it may not be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            if not stat.S_ISCHR(path.stat().st_mode):
                raise TpmUnavailableError(
                    f"{path} is not a device file. The TPM of a Linux machine is /dev/tpmrm0; "
                    "without one, use the embedded TPM or swtpm."
                )
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise TpmUnavailableError(
                f"There is no {path}: this machine has no TPM, or it is switched off in the firmware settings. "
                "Use the embedded TPM or swtpm."
            ) from error
        except PermissionError as error:
            raise TpmUnavailableError(
                f"You may not open {path}. Let an administrator add you to the group of the device "
                "(usually: sudo usermod -aG tss $USER), then log in again."
            ) from error
        except OSError as error:
            raise TpmUnavailableError(f"{path} cannot be opened ({error.strerror or error}).") from error
        self._path = path
        self._open = True

    def exchange(self, command: bytes) -> bytes:
        """Send a command and give the response. The kernel limits how long that may take."""
        if not self._open:
            raise TpmConnectionError(f"{self._path} was closed already. Open the TPM again.")
        try:
            os.write(self._file, command)
            response = os.read(self._file, MAX_MESSAGE_SIZE)
        except OSError as error:
            raise TpmConnectionError(f"{self._path} does not answer ({error.strerror or error}).") from error
        if len(response) < _HEADER_SIZE or _size_of(response[:_HEADER_SIZE]) != len(response):
            raise TpmProtocolError(f"{self._path} answered with {len(response)} bytes that are no response of a TPM.")
        return response

    def close(self) -> None:
        """Close the device file."""
        if self._open:
            self._open = False
            os.close(self._file)


def _size_of(header: bytes) -> int:
    size = int.from_bytes(header[2:6], "big")
    if not _HEADER_SIZE <= size <= MAX_MESSAGE_SIZE:
        raise TpmProtocolError(
            f"The response says that it has {size} bytes; a TPM answers with {_HEADER_SIZE} to {MAX_MESSAGE_SIZE}."
        )
    return size
