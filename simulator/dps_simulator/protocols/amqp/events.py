"""What an AMQP connection tells its user.

SASL, OPEN and CLOSE are told by the performatives themselves.
"""

from __future__ import annotations

from typing import NamedTuple, Union

from .links import Delivery, Link, Sent
from .performatives import Close, Error, Open, Outcome, SaslInit, SaslResponse


class Attached(NamedTuple):
    """The client attaches a link, which is to be accepted or refused."""

    link: Link


class Detached(NamedTuple):
    """A link has ended, by the client's word or with its session."""

    link: Link
    error: Error | None = None


class Delivered(NamedTuple):
    """A message has come, which is to be settled."""

    delivery: Delivery


class Settled(NamedTuple):
    """The client has said what became of a message."""

    sent: Sent
    outcome: Outcome


class CreditGiven(NamedTuple):
    """The client takes messages on a link."""

    link: Link


AmqpEvent = Union[  # noqa: UP007
    SaslInit, SaslResponse, Open, Attached, Detached, Delivered, Settled, CreditGiven, Close
]
"""What the connection's user gets to see."""
