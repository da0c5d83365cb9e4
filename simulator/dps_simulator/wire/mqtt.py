"""What an MQTT endpoint and the connection that carries it say to each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dps_simulator.protocols.mqtt import Connect, Publish, Subscribe, Unsubscribe

from .http import Peer

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


class MqttLink(Protocol):
    """One MQTT connection, as an endpoint uses it. Implemented in ``server``."""

    @property
    def peer(self) -> Peer:
        """Who is connected, and over what."""

    def accept(self) -> None:
        """Answer the CONNECT packet with CONNACK 0 (never with "session present")."""

    def refuse(self, return_code: int) -> None:
        """Answer the CONNECT packet with a return code from 1 to 5 and close."""

    def grant(self, packet_id: int, return_codes: list[int]) -> None:
        """Answer a SUBSCRIBE packet: one granted QoS (0 or 1) or 0x80 (refused) per filter."""

    def unsubscribed(self, packet_id: int) -> None:
        """Answer an UNSUBSCRIBE packet."""

    def acknowledge(self, message: Publish) -> None:
        """Answer a PUBLISH packet with PUBACK when its QoS is 1; nothing for QoS 0."""

    def publish(
        self, topic: str, payload: bytes, qos: int = 0, acknowledged: Callable[[], object] | None = None
    ) -> None:
        """Send a message to the client; with QoS 1, ``acknowledged`` is called when its PUBACK comes."""

    def close(self) -> None:
        """Send what is waiting, then close the connection."""


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
