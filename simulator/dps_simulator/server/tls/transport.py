"""TLS on asyncio's plain transport.

asyncio's own way reserves 256 KiB for every connection that has only begun, keeps one more copy of all bytes on their
way, and cuts a client off that has not read everything 30 seconds after the end. Here nothing is kept for a client but
its first bytes until its greeting is complete, and one that still reads may go on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from dps_simulator.server.newcomers import WEIGHT_BEFORE_GREETING
from dps_simulator.server.tls.context import AcceptingContext, TlsError, TlsSession

from .client_hello import Greeting

if TYPE_CHECKING:
    from dps_simulator.server.connections import Connection

#: Seconds for the handshake.
HANDSHAKE_TIMEOUT = 20.0
#: Seconds for a client to answer our close_notify, once it was handed everything.
CLOSE_TIMEOUT = 5.0
#: Seconds for a client of a closed connection to read anything of what still waits for it.
STALL_TIMEOUT = 120.0
#: Bytes that are handed to OpenSSL at once, which keeps as much room from then on.
_READ_SIZE = 16_384
#: Bytes of TLS's own answers, such as those to changes of keys, that may wait for a client. Each has some 30 bytes, and
#: whoever reads nothing while he asks for thousands only wants to fill the memory.
MAX_ANSWERS = 65_536
#: Bytes that are encrypted before they are handed on. More would be copied once more, less would need more calls.
_WRITE_SIZE = 262_144

#: What OpenSSL says about a failed handshake, and what it means here.
_HINTS = {
    "http request": "plain HTTP was sent to the TLS port; use https",
    "https proxy request": "a CONNECT request was sent to the TLS port; use the proxy port",
    "wrong version number": "the first bytes were not TLS; the client has to switch TLS on",
    "packet length too long": "the first bytes were not TLS; the client has to switch TLS on",
    "record layer failure": "the first bytes were not TLS; the client has to switch TLS on",
    "unsupported protocol": "the client knows no TLS version from 1.2 on",
    "unknown ca": "the client does not trust the simulator's certificate authority",
    "bad certificate": "the client does not accept the simulator's certificate",
    "certificate unknown": "the client does not accept the simulator's certificate",
    "bad signature": "the client does not hold the key of its certificate",
}
_GONE = "the client went away; perhaps it does not trust the simulator's certificate authority"
_GONE_EARLY = "the client went away before it had greeted"


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """One connection: the protocol of a plain transport, and the transport of whoever speaks through TLS.

    Arguments:
        plain: the transport below, whose protocol this becomes at once.
        context: the server's TLS settings.
        owner: is told how it goes.
        loop: the event loop.
    """

    __slots__ = (
        "_answers",
        "_closing",
        "_context",
        "_failed",
        "_greeting",
        "_held",
        "_loop",
        "_owner",
        "_paused",
        "_plain",
        "_protocol",
        "_timer",
        "_unsent",
        "session",
        "waiting_above",
    )

    def __init__(
        self,
        plain: asyncio.Transport,
        *,
        context: AcceptingContext,
        owner: Connection,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__()
        self._plain = plain
        self._context = context
        self._owner = owner
        self._loop = loop
        self._greeting: Greeting | None = Greeting()
        #: the TLS session, from the greeting on
        self.session: TlsSession | None = None
        #: bytes that wait for their turn with whoever speaks through it
        self.waiting_above = 0
        self._protocol: asyncio.Protocol | None = None
        # bytes that arrived and may not be decrypted yet
        self._held = b""
        self._paused = False
        self._closing = False
        self._failed = False
        self._unsent = 0
        # bytes that TLS has answered by itself since nothing waited for the client
        self._answers = 0
        self._timer: asyncio.TimerHandle | None = loop.call_later(HANDSHAKE_TIMEOUT, self._too_slow)
        plain.set_protocol(self)

    # --- the protocol of the plain transport ----------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes from the network."""
        if self._greeting is not None:
            if not self._greeting.receive(data):
                self._owner.weighs(WEIGHT_BEFORE_GREETING + len(self._greeting.received))
            elif self._owner.may_begin(self._begin):
                self._begin()
            else:
                self._plain.pause_reading()
        elif self._paused:
            self._held += data
            self._owner.has_backlog(self)
        else:
            self._work(data)

    def eof_received(self) -> None:
        """The network brings nothing more; the plain transport sends what waits and closes after this."""
        if self._protocol is not None and not self._closing:
            self._protocol.eof_received()
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The plain transport is gone."""
        self._closing = True
        self._held = b""
        self._stop_timer()
        if self._protocol is not None:
            self._protocol.connection_lost(exc)
        else:
            self._handshake_failed(_GONE if self._greeting is None else _GONE_EARLY)
        self._owner.ended()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._protocol is not None:
            self._protocol.resume_writing()

    # --- the transport of whoever speaks through TLS --------------------------------------------------------------

    def write(self, data: Any) -> None:
        """Send bytes; nothing once it is closing."""
        session, plain = self.session, self._plain
        if session is None or self._closing or plain.is_closing():
            return
        with memoryview(data).cast("B") as clear:
            for start in range(0, clear.nbytes, _WRITE_SIZE):
                try:
                    plain.write(session.write(clear[start : start + _WRITE_SIZE]))
                except TlsError:
                    self.abort()
                    return
        if self.waiting_above or plain.get_write_buffer_size():
            self._owner.has_backlog(self)

    def close(self) -> None:
        """Send what waits, say close_notify and wait for the client's."""
        session = self.session
        if session is None or self.is_closing():
            return
        self._closing = True
        over = session.shut_down()
        self._send_outgoing(session)
        if over:
            self._plain.close()
        elif self._paused:
            # from here on, what the client says is only looked through for its close_notify
            self._go_on()
        self._wait_for_the_end()

    def abort(self) -> None:
        """Drop the connection and all that waits."""
        self._closing = True
        self._plain.abort()

    def give_up(self, reason: str) -> None:
        """Drop the connection for the sake of others."""
        self._owner.dropped(self.session.server_name if self.session is not None else "", reason)
        self.abort()

    @property
    def backlog(self) -> int:
        """Bytes that wait: for the client to read them, or for whoever speaks through it to take them."""
        return self._plain.get_write_buffer_size() + len(self._held) + self.waiting_above

    def look_at_backlog(self) -> None:
        """See to it that what waits is taken into account."""
        if self.waiting_above or self._plain.get_write_buffer_size():
            self._owner.has_backlog(self)

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._closing or self._plain.is_closing()

    def pause_reading(self) -> None:
        """Deliver nothing until :meth:`resume_reading`."""
        if not self._closing:
            self._paused = True
            self._plain.pause_reading()

    def resume_reading(self) -> None:
        """Deliver what arrives, and what has arrived meanwhile."""
        if self._paused and not self._closing:
            self._go_on()

    def is_reading(self) -> bool:
        """Whether what arrives is delivered."""
        return not self._paused and self._plain.is_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the plain transport knows; and ``sslcontext``, by which HTTP servers tell https from http."""
        return self._context if name == "sslcontext" else self._plain.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Bytes that the system has not taken yet."""
        return self._plain.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """See asyncio."""
        return self._plain.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See asyncio."""
        self._plain.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        """TLS has no half-closed connections here."""
        return False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See asyncio."""
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See asyncio."""
        return self._protocol or self

    # --- inside ---------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Begin the handshake, with the greeting that is complete now."""
        greeting, self._greeting = self._greeting, None
        if greeting is not None and not self._plain.is_closing():
            self.session = TlsSession(self._context)
            self._plain.resume_reading()
            self._work(bytes(greeting.received))

    def _work(self, data: bytes) -> None:
        """Decrypt what has arrived and hand it on, until somebody says stop."""
        session = cast(TlsSession, self.session)
        try:
            for start in range(0, len(data), _READ_SIZE):
                session.receive(data[start : start + _READ_SIZE])
                if not self._deliver(session):
                    self._held = data[start + _READ_SIZE :]
                    return
        except TlsError as error:
            self._fail(error)
            return
        if self._protocol is not None and not session.is_read:
            self._answer_by_itself(session)

    def _deliver(self, session: TlsSession) -> bool:
        """Go as far as OpenSSL can with what it has; ``False`` when it may not have more now, or never.

        Raises:
            TlsError: it cannot go on.
        """
        if self._protocol is None:
            if not session.handshake():
                self._send_outgoing(session)
                return True
            self._stop_timer()
            # What is left to send in TLS 1.3 are session tickets, which nobody waits for. They leave together with the
            # first answer instead of as a packet of their own.
            if session.version != "TLSv1.3":
                self._send_outgoing(session)
            self._protocol = self._owner.established()
            self._protocol.connection_made(self)
        while not self._paused:
            data = None if session.is_read else session.read()
            if data is None:
                return True
            if not data:
                self._client_said_goodbye()
                return False
            if not self._closing:
                self._protocol.data_received(data)
        return False

    def _client_said_goodbye(self) -> None:
        if self._closing:
            self._plain.close()
        else:
            cast(asyncio.Protocol, self._protocol).eof_received()
            self.close()

    def _go_on(self) -> None:
        self._paused = False
        # not at once: whoever asked for it may be in the middle of something
        self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        session = cast(TlsSession, self.session)
        if self._paused or self._plain.is_closing():
            return
        try:
            more = self._deliver(session)
        except TlsError as error:
            self._fail(error)
            return
        if more:
            held, self._held = self._held, b""
            self._work(held)
        if not self._paused:
            self._plain.resume_reading()

    def _fail(self, error: TlsError) -> None:
        """Tell the client by an alert, as far as OpenSSL has one, and close."""
        if self._protocol is None:
            self._handshake_failed(_explain(error))
        self._closing = True
        self._send_outgoing(cast(TlsSession, self.session))
        self._plain.close()
        self._wait_for_the_end()

    def _handshake_failed(self, reason: str) -> None:
        if not self._failed:
            self._failed = True
            self._owner.handshake_failed(reason)

    def _send_outgoing(self, session: TlsSession) -> None:
        data = session.outgoing()
        if data and not self._plain.is_closing():
            self._plain.write(data)

    def _answer_by_itself(self, session: TlsSession) -> None:
        """Send what TLS has to say without being asked to write: the answer to a change of keys."""
        before = self._plain.get_write_buffer_size()
        self._send_outgoing(session)
        after = self._plain.get_write_buffer_size()
        self._answers = self._answers + after - before if before else after
        if self._answers > MAX_ANSWERS:
            self.abort()

    def _too_slow(self) -> None:
        self._timer = None
        self._handshake_failed(f"it took longer than {HANDSHAKE_TIMEOUT:g} seconds")
        self.abort()

    def _wait_for_the_end(self) -> None:
        """See to it that a closed connection ends, whatever the client does."""
        self._stop_timer()
        self._unsent = self._plain.get_write_buffer_size()
        self._timer = self._loop.call_later(STALL_TIMEOUT if self._unsent else CLOSE_TIMEOUT, self._look_at_the_end)

    def _look_at_the_end(self) -> None:
        self._timer = None
        if self._plain.get_write_buffer_size() < self._unsent:
            self._wait_for_the_end()
        else:
            self._plain.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _explain(error: TlsError) -> str:
    """Words for a failed handshake."""
    text = str(error).lower()
    hint = next((hint for words, hint in _HINTS.items() if words in text), "")
    return f"{text} ({hint})" if hint else text
