"""Two neighbouring ports of this machine, as the programs around TPMs expect them."""

from __future__ import annotations

import socket

from helpers.tpm.errors import TpmUnavailableError

HOST = "127.0.0.1"

_ATTEMPTS = 50


def bind_port_pair() -> tuple[socket.socket, socket.socket]:
    """Bind two sockets to a free port and the one after it.

    Returns:
        Both sockets, which now belong to the caller. The first port is chosen by the system.

    Raises:
        TpmUnavailableError: no such pair is free.
    """
    for _ in range(_ATTEMPTS):
        first, second = socket.socket(), socket.socket()
        try:
            first.bind((HOST, 0))
            second.bind((HOST, first.getsockname()[1] + 1))
        except (OSError, OverflowError):  # the next port is taken, or the port was the last one
            first.close()
            second.close()
            continue
        return first, second
    raise TpmUnavailableError(
        f"No two neighbouring ports are free on {HOST} ({_ATTEMPTS} attempts). End programs that hold many ports."
    )
