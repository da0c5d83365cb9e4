"""HTTP/1.1 and WebSocket by aiohttp, translated to what the endpoints understand.

Only the ways into and out of :class:`~dps_simulator.common.http.Request` are here; no route is known but that of
WebSockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
from collections.abc import Callable, Iterable
from typing import cast

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from dps_simulator.common.http import JSON_CONTENT_TYPE, Peer, Request, Response
from dps_simulator.errors.masking import mask_in_name
from dps_simulator.errors.table import ErrorKind, Transport
from dps_simulator.server.tls.transport import TlsTransport

from .accounts import MAX_BACKLOG, MAX_KEPT, Account
from .arriving import Arriving
from .content_coding import ACCEPTED, BrokenBodyError, LargeBodyError, UnsupportedCodingError, codings, unpacked
from .frontend import Frontend
from .masked_frames import FrameReader, MaskedFrames
from .websocket_link import CLOSE_TIMEOUT, TRANSPORTS, WebSocketLink

_LOGGER = logging.getLogger(__name__)

#: Value of the ``Server`` header.
SERVER_HEADER = "provisioning-simulator"
#: Bytes of a request body.
MAX_BODY = 524_288
#: Seconds for a request body to arrive.
BODY_TIMEOUT = 30.0
#: Bytes of an answer made in pieces that are held to tell its length; usual traces take 2 to 5 MB.
MAX_HELD = 8 * 1_048_576
#: Bytes of a WebSocket message.
MAX_MESSAGE = 524_288
#: Seconds that a connection may stay without a request.
KEEP_ALIVE = 120.0
#: Seconds during which the rest of a refused body is read and dropped, so that the client gets to see the answer.
LINGER = 2.0
#: Where the SDKs open WebSockets; those for messages of services have a path of their own.
WEBSOCKET_PATHS = frozenset({"/$iothub/websocket", "/", "/mqtt", "/$servicebus/websocket"})
#: Option of a TCP socket; only Linux has it.
_QUICK_ACKNOWLEDGEMENT: int | None = getattr(socket, "TCP_QUICKACK", None)


class MalformedBodyError(web.RequestPayloadError):
    """A body breaks the rules of HTTP, so that its end cannot be found; the text says how."""


class HttpProtocol(web.RequestHandler):
    """One HTTP connection. Knows who is at the other end.

    Attributes:
        host: CONNECT target or TLS server name, may be empty.
        certificates: what the client presented, DER, its own first.
        has_begun: whether the head of a request has arrived. aiohttp itself waits for the first one for ever.
    """

    def __init__(
        self,
        server: web.Server,
        *,
        host: str,
        certificates: tuple[bytes, ...],
        arriving: Arriving,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # how aiohttp switches it off
            keepalive_timeout=KEEP_ALIVE,
            lingering_time=LINGER,
            # done by the adapter, which has the whole body
            auto_decompress=False,
        )
        self.host = host
        self.certificates = certificates
        self.has_begun = False
        self._body: StreamReader | None = None
        self._arriving = arriving
        # bytes that arrived and are not served yet: see what takes them down
        self._message = self._packet = self._ahead = self._part = 0

    def data_received(self, data: bytes) -> None:
        """Bytes have come. Whoever waits for a body learns at once that its rest cannot be understood.

        aiohttp puts that in the queue of requests, behind the one that waits, and lets it wait.
        """
        super().data_received(data)
        self._check_body()
        request = self._current_request
        if self._payload_parser is None and (request is None or request.content.is_eof()):
            # the head of a request, or of one that has to wait until the one before it is served
            self._ahead += len(data)
            self._note()

    def begin(self) -> None:
        """A request is being served; what else has arrived goes on waiting."""
        self.has_begun = True
        if not self._messages:
            self._ahead = 0
        self.note_part(0)

    def read_body(self, body: StreamReader) -> None:
        """The body of the present request is going to be read."""
        self._body = body
        # the mistake may have come together with the head
        self._check_body()

    def _check_body(self) -> None:
        # a request cannot follow before the one in front of it is whole, so only a mistake stands behind such a body
        if self._body is not None and not self._body.is_eof() and self._messages:
            error = getattr(self._messages[0][0], "exc", None)
            self._body.set_exception(MalformedBodyError(_first_line(error)))
            self._body = None

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client is gone, and with it what waited for its rest."""
        self._message = self._packet = self._ahead = self._part = 0
        self._note()
        super().connection_lost(exc)

    def set_parser(self, parser: FrameReader, data_received_cb: Callable[[], None] | None = None) -> None:
        """From here on, frames of a WebSocket come."""
        super().set_parser(MaskedFrames(parser, self._note_message), data_received_cb)  # type: ignore[arg-type]

    def note_part(self, size: int) -> None:
        """Take down how much of a request's body has arrived; 0 when it is complete."""
        self._part = size
        self._note()

    def note_packet(self, size: int) -> None:
        """Take down how much of a packet, frame or message has arrived in those of a WebSocket; 0 when it is whole."""
        self._packet = size
        self._note()

    def _note_message(self, size: int) -> None:
        self._message = size
        self._note()

    def _note(self) -> None:
        if self.transport is not None:
            self._arriving.note(
                cast(TlsTransport, self.transport), self._message + self._packet + self._ahead + self._part
            )

    def log_exception(self, *args: object, **facts: object) -> None:
        """Log what aiohttp did not expect, unless the client is at fault: what it sent behind a request, or its end."""
        error = facts.get("exc_info")
        if self.transport is None or isinstance(error, (web.RequestPayloadError, HttpProcessingError, OSError)):
            _LOGGER.info("a request could not be read to its end (%s)", type(error).__name__)
        else:
            super().log_exception(*args, **facts)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what never became a request. aiohttp's own way writes the received bytes to the log."""
        if isinstance(exc, HttpProcessingError):
            text = f"This is not a valid HTTP/1.1 request: {_first_line(exc)}"
            _LOGGER.info("a request could not be parsed (%s)", type(exc).__name__)
        elif self.transport is None:
            raise ConnectionError("the client has gone")
        else:
            text = "The simulator failed; see its log."
            _LOGGER.error("a request failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has already begun")
        return _refusal(Transport.INTERNAL if status >= 500 else Transport.INVALID_REQUEST, text, status)


def _first_line(error: object) -> str:
    """What aiohttp found, without the bytes that it quotes in the lines below."""
    message = error.message if isinstance(error, HttpProcessingError) else ""
    lines = (message or "").strip().splitlines()
    return lines[0] if lines else "it cannot be parsed"


def _answer(response: Response) -> web.Response:
    headers = {"Server": SERVER_HEADER, **response.headers}
    body = response.encoded()
    if body:
        headers.setdefault("Content-Type", JSON_CONTENT_TYPE)
    return web.Response(status=response.status, headers=headers, body=body or None)


async def _sent_in_pieces(request: web.BaseRequest, response: Response, pieces: Iterable[bytes]) -> web.StreamResponse:
    """Send a long answer that is made piece by piece; everybody else has a turn after each.

    It says its length, as small clients know no other way, unless it is too long to be held. Then it is sent while it
    is made, and the client sets the pace.
    """
    headers = {"Server": SERVER_HEADER, "Content-Type": JSON_CONTENT_TYPE, **response.headers}
    held, size, more = [], 0, iter(pieces)
    for piece in more:
        held.append(piece)
        size += len(piece)
        if size > MAX_HELD:
            break
        await asyncio.sleep(0)
    else:
        return web.Response(status=response.status, headers=headers, body=b"".join(held))
    answer = web.StreamResponse(status=response.status, headers=headers)
    await answer.prepare(request)
    for piece in itertools.chain(held, more):
        await answer.write(piece)
        await asyncio.sleep(0)
    await answer.write_eof()
    return answer


def _refusal(kind: ErrorKind, text: str = "", status: int = 0) -> web.Response:
    """An error that this module finds by itself; the connection is closed after it.

    The two spellings are those of the clients of DPS and of a hub.

    Arguments:
        kind: the row of the error table.
        text: more precise than the row's.
        status: more precise than the row's.
    """
    text = mask_in_name(text or kind.message)
    answer = _answer(Response(status or kind.status, {"errorCode": kind.code, "message": text, "Message": text}))
    answer.force_close()
    return answer


class HttpAdapter:
    """Serves every HTTP connection of a server.

    Arguments:
        frontend: the simulator.
        loop: the event loop.

    Attributes:
        arriving: counts what has arrived of anything incomplete.
        kept: counts what is there as long as a connection or a request.
        backlogs: counts what waits for clients that do not read, and from those that send ahead.
    """

    def __init__(self, frontend: Frontend, loop: asyncio.AbstractEventLoop) -> None:
        self._frontend = frontend
        self._loop = loop
        self._server = web.Server(self._handle, loop=loop)
        self._tasks: set[asyncio.Task[object]] = set()
        self.arriving = Arriving()
        self.kept = Account(MAX_KEPT, "certificates, wills and requests")
        self.backlogs = Account(MAX_BACKLOG, "what clients do not read", lambda each: cast(TlsTransport, each).backlog)

    def forget(self, transport: TlsTransport) -> None:
        """A connection is gone, and takes nothing any more."""
        self.arriving.note(transport, 0)
        self.kept.note(transport, 0)
        self.backlogs.note(transport, 0)

    def protocol(self, host: str, certificates: tuple[bytes, ...]) -> HttpProtocol:
        """The protocol for a new connection.

        Arguments:
            host: CONNECT target or TLS server name, may be empty.
            certificates: what the client presented, DER, its own first.
        """
        return HttpProtocol(self._server, host=host, certificates=certificates, arriving=self.arriving, loop=self._loop)

    async def stop(self, timeout: float = 2.0) -> None:
        """End the requests in progress. The connections themselves are closed by their owner before."""
        end = self._loop.time() + timeout
        while self._server.connections and self._loop.time() < end:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.sleep(0.005)
        await self._server.shutdown(0.1)

    # --- requests -------------------------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        cast(HttpProtocol, request.protocol).begin()
        task = cast("asyncio.Task[object]", asyncio.current_task())
        self._tasks.add(task)
        try:
            if request.headers.get("Upgrade", "").strip().lower() == "websocket":
                return await self._websocket(request)
            return await self._request(request)
        finally:
            self._tasks.discard(task)

    async def _request(self, request: web.BaseRequest) -> web.StreamResponse:
        refusal = _refused_by_head(request)
        if refusal is not None:
            return refusal
        body = await self._read(request)
        if isinstance(body, web.Response):
            return body
        headers: dict[str, str] = {}
        spelt: dict[str, str] = {}
        for name, value in request.headers.items():
            headers.setdefault(name.lower(), value)
            spelt.setdefault(name.lower(), name)
        query: dict[str, str] = {}
        for name, value in request.query.items():
            query.setdefault(name, value)
        response = await self._answer(request, query, headers, spelt, body)
        if response.cut and request.transport is not None:
            # aiohttp notices that nobody hears what it writes from here on
            request.transport.abort()
        if response.pieces is not None:
            return await _sent_in_pieces(request, response, response.pieces)
        return _answer(response)

    async def _answer(
        self,
        request: web.BaseRequest,
        query: dict[str, str],
        headers: dict[str, str],
        spelt: dict[str, str],
        body: bytes,
    ) -> Response:
        """What the simulator answers. The body is there as long as that takes."""
        transport = cast("TlsTransport | None", request.transport)
        if transport is not None:
            self.kept.add(transport, len(body))
        try:
            return await self._frontend.http(
                Request(
                    method=request.method.upper(),
                    path=request.rel_url.raw_path,
                    query=query,
                    headers=headers,
                    body=body,
                    peer=_peer(request, "https"),
                    spelt=spelt,
                )
            )
        finally:
            if transport is not None:
                self.kept.add(transport, -len(body))

    async def _read(self, request: web.BaseRequest) -> bytes | web.Response:
        """The whole body without its content codings, or the refusal of one that is none."""
        # RFC 9110, section 10.1.1: not to a client of HTTP/1.0
        if request.can_read_body and request.headers.get("Expect", "").strip() and request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # the interim answer does not count as a begun one
            request.writer.output_size = 0
        if not request.content.is_eof():
            _acknowledge_at_once(request)
        try:
            body = await asyncio.wait_for(self._body(request), BODY_TIMEOUT)
            return unpacked(body, _codings(request), MAX_BODY)
        except LargeBodyError:
            return _too_large()
        except TimeoutError:
            return _refusal(
                Transport.REQUEST_TIMEOUT, f"The request body did not arrive within {BODY_TIMEOUT:g} seconds."
            )
        except (BrokenBodyError, MalformedBodyError) as error:
            return _refusal(Transport.INVALID_REQUEST, f"The request body cannot be read: {error}.")
        except (web.RequestPayloadError, ConnectionError) as error:
            return _refusal(Transport.INVALID_REQUEST, f"The request body cannot be read: {type(error).__name__}.")

    async def _body(self, request: web.BaseRequest) -> bytes:
        """The whole body as it arrived.

        Raises:
            LargeBodyError: it is too large; what is missing of it was not waited for.
        """
        parts = bytearray()
        protocol = cast(HttpProtocol, request.protocol)
        protocol.read_body(request.content)
        try:
            async for part in request.content.iter_any():
                parts += part
                if len(parts) > MAX_BODY:
                    raise LargeBodyError
                protocol.note_part(len(parts))
        finally:
            protocol.note_part(0)
        return bytes(parts)

    # --- WebSockets ---------------------------------------------------------------------------------------------------

    async def _websocket(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.path
        if (path.rstrip("/") or "/") not in WEBSOCKET_PATHS:
            known = ", ".join(sorted(WEBSOCKET_PATHS))
            return _refusal(
                Transport.NO_WEBSOCKET_ROUTE,
                f"WebSockets on {path!r:.260} are not supported by this simulator; use {known}.",
            )
        offered = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        chosen = next((name for name in offered if name.lower() in TRANSPORTS), None)
        if chosen is None:
            return _refusal(
                Transport.INVALID_REQUEST,
                f"None of the WebSocket subprotocols {', '.join(offered)!r:.260} is supported by this simulator; "
                "use mqtt or AMQPWSB10.",
            )
        web_socket = web.WebSocketResponse(
            protocols=(chosen,), max_msg_size=MAX_MESSAGE, timeout=CLOSE_TIMEOUT, compress=False
        )
        web_socket.headers["Server"] = SERVER_HEADER
        try:
            await web_socket.prepare(request)
        except web.HTTPException as error:
            text = f"This is not a valid WebSocket handshake: {(error.text or '').strip():.260}"
            return _refusal(Transport.INVALID_REQUEST, text, error.status)
        except ValueError:  # aiohttp decodes the key without a look at its letters
            return _refusal(Transport.INVALID_REQUEST, "The header Sec-WebSocket-Key is not base64 of 16 bytes.")
        except ConnectionError:
            return _refusal(Transport.INVALID_REQUEST, "The client has gone.")
        protocol = cast(HttpProtocol, request.protocol)
        await WebSocketLink(
            web_socket,
            _peer(request, TRANSPORTS[chosen.lower()]),
            cast("TlsTransport | None", request.transport),
            self._frontend,
            arriving=protocol.note_packet,
            kept=self.kept,
            loop=self._loop,
        ).serve()
        return web_socket


def _acknowledge_at_once(request: web.BaseRequest) -> None:
    """Confirm the head of a request whose body is still to come.

    urllib3 leaves Nagle's algorithm on towards a proxy, so the body, which it sends by itself, waits until the head is
    acknowledged; and Linux puts that off for 40 ms, in the hope of an answer that could carry it.
    """
    connection = None if request.transport is None else request.transport.get_extra_info("socket")
    if connection is not None and _QUICK_ACKNOWLEDGEMENT is not None:
        with contextlib.suppress(OSError):  # gone meanwhile
            connection.setsockopt(socket.IPPROTO_TCP, _QUICK_ACKNOWLEDGEMENT, 1)


def _refused_by_head(request: web.BaseRequest) -> web.Response | None:
    """The refusal of a request whose head already says that it cannot be served; its body need not come."""
    expected = [each.strip().lower() for value in request.headers.getall("Expect", ()) for each in value.split(",")]
    if any(each not in ("", "100-continue") for each in expected):
        return _refusal(
            Transport.EXPECTATION,
            f"The expectation {', '.join(expected)!r:.80} is not supported by this simulator.",
        )
    coding = request.headers.get("Transfer-Encoding", "").strip().lower()
    if coding not in ("", "chunked"):
        return _refusal(
            Transport.TRANSFER_CODING,
            f"The transfer coding {coding!r:.80} is not supported by this simulator; use 'chunked'.",
        )
    try:
        _codings(request)
    except UnsupportedCodingError as error:
        answer = _refusal(Transport.CONTENT_CODING, str(error))
        answer.headers["Accept-Encoding"] = ACCEPTED
        return answer
    return _too_large() if (request.content_length or 0) > MAX_BODY else None


def _codings(request: web.BaseRequest) -> tuple[str, ...]:
    return codings(request.headers.getall("Content-Encoding", ())) if request.body_exists else ()


def _too_large() -> web.Response:
    return _refusal(Transport.TOO_LARGE, f"The request body is larger than {MAX_BODY} bytes.")


def _peer(request: web.BaseRequest, transport: str) -> Peer:
    protocol = cast(HttpProtocol, request.protocol)
    host = protocol.host or _without_port(request.headers.get("Host", ""))
    return Peer(host, transport, protocol.certificates)


def _without_port(host: str) -> str:
    """The name in a ``Host`` header, lower case, e.g. ``::1`` of ``[::1]:443``."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")
