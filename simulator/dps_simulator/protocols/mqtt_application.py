"""What an MQTT endpoint and the connection that carries it say to each other."""

from __future__ import annotations

from typing import Protocol

from dps_simulator.protocols.ending import Ending
from dps_simulator.protocols.mqtt import Connect, Publish, Subscribe, Unsubscribe


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
