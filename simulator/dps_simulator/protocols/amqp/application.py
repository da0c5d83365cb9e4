"""What an AMQP endpoint and the connection that carries it say to each other."""

from __future__ import annotations

from typing import Protocol

from dps_simulator.protocols.ending import Ending

from .links import Delivery, Link, Sent
from .performatives import Error, Open, Outcome, SaslInit


class AmqpApplication(Protocol):
    """What happens on one connection. Implemented in the ``api`` of the wings.

    Methods run on the event loop and return at once. An exception closes the connection and is logged.
    """

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """SASL mechanisms that the client is offered."""

    def authenticate(self, init: SaslInit) -> None:
        """The client begins SASL. The application challenges, approves or denies on its connection."""

    def responded(self, response: bytes) -> None:
        """The client answers a challenge."""

    def opened(self, said: Open) -> None:
        """The client opens the connection, after SASL or without it. The application accepts or closes."""

    def attached(self, link: Link) -> None:
        """The client attaches a link, which the application accepts or refuses."""

    def detached(self, link: Link, error: Error | None) -> None:
        """A link has ended, and not by the application's word."""

    def received(self, delivery: Delivery) -> None:
        """A message has come, which the application settles."""

    def settled(self, sent: Sent, outcome: Outcome) -> None:
        """The client says what became of a message; the application confirms when everything about it is kept."""

    def credited(self, link: Link) -> None:
        """The client takes messages on a link, up to :attr:`Link.sendable`."""

    def disconnected(self, clean: bool, how: Ending | None = None) -> None:
        """The connection is gone, and all its links. Called once.

        Arguments:
            clean: whether the client said CLOSE.
            how: who ended it, where that is known.
        """
