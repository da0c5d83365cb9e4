"""What stands behind a link: each address of a hub has its own kind of end."""

from __future__ import annotations

from typing import Protocol

from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.protocols.amqp.errors import AmqpProtocolError
from dps_simulator.protocols.amqp.links import Delivery, Link, Sent
from dps_simulator.protocols.amqp.messages import Message, decode_message
from dps_simulator.protocols.amqp.performatives import Outcome
from dps_simulator.wire.amqp import amqp_error


class LinkEnd(Protocol):
    """Our end of a link that was accepted. Methods run on the event loop and return at once."""

    def received(self, delivery: Delivery) -> None:
        """A message from the client, which is to be settled."""

    def credited(self) -> None:
        """The client takes messages."""

    def settled(self, sent: Sent, outcome: Outcome) -> None:
        """The client's word about a message, to be confirmed when everything that follows from it is kept."""

    def ended(self) -> None:
        """The link is gone, whoever ended it."""


class OneWay:
    """An end that a subclass makes use of in one direction; the other one says nothing."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def received(self, delivery: Delivery) -> None:
        """Nobody sends here."""
        delivery.release()

    def credited(self) -> None:
        """Nothing waits."""

    def settled(self, sent: Sent, outcome: Outcome) -> None:
        """What the client thinks of a message changes nothing."""
        sent.confirm()

    def ended(self) -> None:
        """Nothing is kept."""


def read(delivery: Delivery) -> Message | None:
    """The message of a delivery; one that cannot be read is rejected, and ``None``."""
    try:
        return decode_message(delivery.body)
    except AmqpProtocolError as error:
        refuse(delivery, ServiceError(Hub.FORMAT_ERROR, f"The message cannot be read: {error}."))
        return None


def refuse(delivery: Delivery, error: ServiceError) -> None:
    """Reject a message with an error of the hub's table."""
    delivery.reject(amqp_error(error))
