"""An HTTP request and its answer, as connections and endpoints hand them to each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dps_simulator.errors.table import ascii_json

JSON_CONTENT_TYPE = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection, as far as the transport knows.

    Attributes:
        host: the name the client wanted to reach (CONNECT target, else TLS server name, else empty), lower case.
        transport: ``mqtt``, ``websocket`` or ``https``.
        certificates: DER certificates that the client presented in the TLS handshake, device certificate first.
    """

    host: str = ""
    transport: str = "https"
    certificates: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request.

    Attributes:
        method: upper case.
        path: as received, still percent-encoded, without the query.
        query: query parameters, decoded; of a repeated one the first counts.
        headers: names in lower case.
        body: raw bytes.
        peer: the connection it came over; ``peer.host`` falls back to the ``Host`` header without the port.
        spelt: the names of headers as they were sent, by the name in lower case; empty where nobody kept them.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)  # with the token
    body: bytes = field(repr=False)  # perhaps with keys
    peer: Peer
    spelt: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Response:
    """One HTTP answer.

    Attributes:
        status: the status.
        body: what is to become JSON; ``None`` means no body and no content type.
        headers: further headers.
        facts: what the trace keeps of it beside the body, and the client is not told.
        cut: whether there is no answer at all: the connection just ends.
        pieces: a long body instead of the other, already JSON; between two pieces others have their turn.
        content: bytes that are the body as they are, instead of JSON; a header says their type.
    """

    status: int = 200
    body: Any | None = field(default=None, repr=False)  # perhaps with keys
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict)
    cut: bool = False
    pieces: Iterable[bytes] | None = field(default=None, repr=False)
    content: bytes = field(default=b"", repr=False)

    def encoded(self) -> bytes:
        """The body as ASCII JSON or as it is, empty without one."""
        return self.content if self.body is None else ascii_json(self.body)
