"""What an MQTT endpoint and the connection that carries it say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dps_simulator.protocols.mqtt import Connect, Publish, Subscribe, Unsubscribe

#: Who ended a connection: the client, with a DISCONNECT packet; the service; or what lies between them.
CLIENT, SERVICE, NETWORK = "client", "service", "network"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended.

    Attributes:
        by: :data:`CLIENT`, :data:`SERVICE` or :data:`NETWORK`. A client that goes without a word cannot be told from
            a cable that is cut.
        reason: why, where the service knows; empty else.
    """

    by: str
    reason: str = ""

    def told(self) -> dict[str, str]:
        """What goes into the trace."""
        return {"ended": self.by, **({"reason": self.reason} if self.reason else {})}


def ending(clean: bool) -> Ending:
    """The ending that is likely when nobody says more."""
    return Ending(CLIENT if clean else NETWORK)


class MqttApplication(Protocol):
    """What happens on one connection after its CONNECT packet arrived. Implemented in ``endpoints``.

    Methods run on the event loop and return at once. An exception closes the connection and is logged.
    """

    def connected(self, connect: Connect) -> None:
        """The first packet. The application accepts or refuses it on its link."""

    def published(self, message: Publish) -> None:
        """A message from the client; the application acknowledges it."""

    def subscribe(self, packet: Subscribe) -> None:
        """A SUBSCRIBE packet; the application grants it."""

    def unsubscribe(self, packet: Unsubscribe) -> None:
        """An UNSUBSCRIBE packet; the application answers it."""

    def disconnected(self, clean: bool, how: Ending | None = None) -> None:
        """The connection is gone. Called once after ``connected``.

        Arguments:
            clean: whether the client said DISCONNECT.
            how: who ended it, where that is known.
        """
