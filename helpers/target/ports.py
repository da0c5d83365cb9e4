"""Whether a port of a service can be reached from here, and how it cannot: the three ways in which networks say no.

A TCP connection comes about, or somebody answers that there is none to be had (refused), or nobody answers at all:
a firewall drops what is sent, and the time runs out. Only the last one costs waiting.
"""

from __future__ import annotations

import enum
import errno
import socket
from dataclasses import dataclass

#: MQTT over TLS; closed in many company networks and on Binder, where WebSockets over 443 do the same.
MQTT_PORT = 8883
#: HTTPS, and MQTT inside a WebSocket.
HTTPS_PORT = 443
#: Seconds that a connection to a port may take to come about.
PROBE_SECONDS = 3.0

_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EACCES, errno.EPERM}


class PortState(enum.Enum):
    """What became of a connection; the value is how people are told."""

    OPEN = "open"
    REFUSED = "refused: something answers at once that there is no way"
    SILENT = "silent: nothing answers, as if what is sent were thrown away"
    NAMELESS = "no address: the name cannot be found"
    UNREACHABLE = "unreachable: this machine has no way to the address"


@dataclass(frozen=True)
class Probe:
    """One attempt to reach a port.

    Attributes:
        host: the name that was tried.
        port: the number of the port.
        state: what became of it.
    """

    host: str
    port: int
    state: PortState

    @property
    def is_open(self) -> bool:
        """Whether a connection came about."""
        return self.state is PortState.OPEN

    def __str__(self) -> str:
        return f"port {self.port} is {self.state.value}"


def probe(host: str, port: int, seconds: float = PROBE_SECONDS) -> Probe:
    """Try to connect by TCP, and hang up.

    Arguments:
        host: a host name or an address.
        port: from 1 to 65535.
        seconds: how long to wait for an answer from one address.
    """
    return Probe(host, port, _state(host, port, seconds))


def port_is_open(host: str, port: int, seconds: float = PROBE_SECONDS) -> bool:
    """Whether a TCP connection comes about; it is closed at once.

    Arguments:
        host: its name.
        port: its number.
        seconds: how long to wait for each of its addresses.
    """
    return probe(host, port, seconds).is_open


def _state(host: str, port: int, seconds: float) -> PortState:
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return PortState.OPEN
    except (socket.gaierror, UnicodeError):
        return PortState.NAMELESS
    except TimeoutError:
        return PortState.SILENT
    except ConnectionRefusedError:
        return PortState.REFUSED
    except OSError as error:
        # a gateway on the way may say so, or the machine itself has no network
        return PortState.UNREACHABLE if error.errno in _UNREACHABLE else PortState.REFUSED
