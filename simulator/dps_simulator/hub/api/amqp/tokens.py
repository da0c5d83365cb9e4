"""Claims-based security: the SAS tokens that a connection was given, for one audience each.

Source: OASIS "AMQP Claims-based Security Version 1.0", and what the official SDKs send: messages to ``$cbs`` with the
operation ``put-token``, which are answered with a status code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.protocols.amqp.errors import AmqpProtocolError, Condition
from dps_simulator.protocols.amqp.links import Delivery, Link
from dps_simulator.protocols.amqp.messages import Message, Properties, decode_message
from dps_simulator.protocols.amqp.performatives import Error
from dps_simulator.protocols.amqp.types import Int

from .ends import OneWay

#: Address of the links.
CBS = "$cbs"
#: Name of the only kind of token that a hub takes.
SAS_TOKEN = "servicebus.windows.net:sastoken"  # noqa: S105  (a name)
#: Tokens that one connection may hold; as many devices may share it. Source: Microsoft documentation, iot-hub-devguide-
#: quotas-throttling, for devices of one AMQP connection.
MAX_TOKENS = 1_000
#: Bytes of a message to ``$cbs``, and answers that may wait for a client that takes none.
MAX_MESSAGE, MAX_WAITING = 32_768, 64


@dataclass(frozen=True, slots=True)
class Claim:
    """A good token.

    Attributes:
        path: for what, as segments: host name, then perhaps ``devices``, device ID, ``modules`` and module ID.
        token: its text.
        expiry: Unix time at which it expires.
    """

    path: tuple[str, ...]
    token: str = field(repr=False)
    expiry: int


class Claims:
    """The tokens of one connection, by what they are for."""

    def __init__(self) -> None:
        self._claims: dict[tuple[str, ...], Claim] = {}

    def __len__(self) -> int:
        return len(self._claims)

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        """What there are tokens for."""
        return iter(self._claims)

    def put(self, claim: Claim) -> None:
        """Keep a token in place of the one before.

        Raises:
            ServiceError: there are too many.
        """
        if claim.path not in self._claims and len(self._claims) >= MAX_TOKENS:
            raise ServiceError(Hub.QUOTA_EXCEEDED, f"A connection holds at most {MAX_TOKENS} tokens.")
        self._claims[claim.path] = claim

    def find(self, path: tuple[str, ...]) -> Claim | None:
        """The token that reaches furthest into a path; ``None`` when there is none for any part of it."""
        for end in range(len(path), 0, -1):
            claim = self._claims.get(path[:end])
            if claim is not None:
                return claim
        return None

    def expired(self, path: tuple[str, ...], now: float) -> bool:
        """Forget a token whose time is over; tells whether there was one."""
        claim = self._claims.get(path)
        if claim is None or claim.expiry > now:
            return False
        del self._claims[path]
        return True


def audience_path(audience: str) -> tuple[str, ...]:
    """The segments of an audience: with or without a scheme, encoded or not, host name without its port."""
    text = unquote(audience) if "/" not in audience else audience
    if "://" in text:
        try:
            parts = urlsplit(text)
        except ValueError:
            return ("",)
        text = parts.netloc + parts.path
    host, *rest = text.strip("/").split("/")
    return host.partition(":")[0].lower(), *map(unquote, rest)


class TokenRequests(OneWay):
    """The end of the link on which tokens come.

    Arguments:
        link: the link.
        put: judges a token and keeps it; raises :class:`~dps_simulator.errors.table.ServiceError`.
        answers: sends an answer.
    """

    def __init__(self, link: Link, put: Callable[[str, str], object], answers: TokenAnswers) -> None:
        super().__init__(link)
        self._put = put
        self._answers = answers

    def received(self, delivery: Delivery) -> None:
        """A token; the answer says what was thought of it."""
        try:
            message = decode_message(delivery.body)
        except AmqpProtocolError as error:
            delivery.reject(Error(condition=error.condition, description=str(error)))
            return
        asked = message.application_properties
        status, text = 200, "OK"
        try:
            self._put(*_token_in(asked, message))
        except ServiceError as error:
            status, text = error.kind.status, str(error)
        delivery.accept()
        self._answers.send(message.properties.message_id, status, text)


class TokenAnswers(OneWay):
    """The end of the link on which the answers go. It may be attached after the first token has come."""

    def __init__(self) -> None:
        self._attached: Link | None = None
        self._waiting: list[bytes] = []

    def attach(self, link: Link) -> None:
        """From here on answers go there."""
        self._attached = self.link = link

    def send(self, message_id: object, status: int, text: str) -> None:
        """Answer the request with this ID.

        Raises:
            AmqpProtocolError: the client takes no answers.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise AmqpProtocolError(
                f"{MAX_WAITING} answers of {CBS} wait for the client, which takes none",
                Condition.RESOURCE_LIMIT_EXCEEDED,
            )
        message = Message(
            properties=Properties(correlation_id=message_id),
            application_properties={"status-code": Int(status), "status-description": text},
        )
        self._waiting.append(message.encoded())
        self.credited()

    def credited(self) -> None:
        """The client takes answers."""
        link = self._attached
        while link is not None and self._waiting and link.sendable > 0:
            link.send(self._waiting.pop(0))

    def ended(self) -> None:
        """Answers wait for another link."""
        self._attached = None


def _token_in(asked: Mapping[str, Any], message: Message) -> tuple[str, str]:
    """Audience and token of a request.

    Raises:
        ServiceError: it is another request.
    """
    operation, kind, name = (asked.get(field) for field in ("operation", "type", "name"))
    if operation != "put-token":
        raise ServiceError(Hub.ARGUMENT_INVALID, f"The operation is {operation!r:.80}; {CBS} knows put-token.")
    if kind != SAS_TOKEN:
        raise ServiceError(Hub.ARGUMENT_INVALID, f"The type of the token is {kind!r:.80}; expected {SAS_TOKEN}.")
    token = message.value if message.data is None else message.data
    if isinstance(token, bytes):
        token = token.decode("utf-8", "replace")
    if not isinstance(name, str) or not isinstance(token, str):
        raise ServiceError(
            Hub.ARGUMENT_INVALID, "A token needs an audience, the property name, and a text as the body."
        )
    return name, token
