"""Ports that stay free until a test uses them.

A port that the system chose may go to another program as soon as it is free again: every client that connects to
something gets one of the same range. These are below that range, and other ones in every process.
"""

import itertools
import os
import socket

#: Linux hands out 32768 and above, other systems 49152 and above.
LOWEST, HIGHEST = 15_000, 32_767

_next = itertools.count(os.getpid() * 97)


def own_port() -> int:
    """The number of a free port on 127.0.0.1, another one at every call."""
    for number in itertools.islice(_next, HIGHEST - LOWEST):
        port = LOWEST + number % (HIGHEST - LOWEST)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
