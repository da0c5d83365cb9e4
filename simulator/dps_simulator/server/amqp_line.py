"""One AMQP connection on the event loop: between a transport, the protocol and the application behind it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from dps_simulator.common.http import Peer
from dps_simulator.protocols.amqp.application import AmqpApplication
from dps_simulator.protocols.amqp.connections import CONNECT_TIMEOUT, AmqpConnection, ConnectionState
from dps_simulator.protocols.amqp.errors import AmqpProtocolError, Condition
from dps_simulator.protocols.amqp.events import AmqpEvent, Attached, Delivered, Detached, Settled
from dps_simulator.protocols.amqp.performatives import Close, Error, Open, SaslCode, SaslInit, SaslResponse
from dps_simulator.protocols.ending import CLIENT, NETWORK, SERVICE, Ending

_LOGGER = logging.getLogger(__name__)

#: What a client is offered whose host name is not known yet.
MECHANISMS = ("MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL", "TPM")


class AmqpConnectionLine:
    """One connection; for endpoints it is a :class:`~dps_simulator.wire.amqp.AmqpLine`.

    The owner of the transport calls :meth:`receive` and, once, :meth:`lost`. Nothing that goes wrong raises into it
    or into an application: it is logged and the connection is closed. After the end, every method does nothing.

    Arguments:
        peer: who is connected.
        write: hands bytes to the transport.
        close_transport: closes the transport when what was written is sent.
        choose: returns the application for a host name, which is empty as long as the client has told none; ``None``
            when there is none.
        arriving: is told how many bytes there are of frames and messages that wait for their rest.
        keeps: is told how many bytes more, or fewer, of memory sessions and links take.
        loop: the event loop, for time and timers.
        connect_timeout: seconds until the connection must be open.

    Attributes:
        peer: who is connected, and over what.
        ended: whether the connection is closed, or about to be once everything is sent.
    """

    def __init__(
        self,
        *,
        peer: Peer,
        write: Callable[[bytes], None],
        close_transport: Callable[[], None],
        choose: Callable[[AmqpConnectionLine, str], AmqpApplication | None],
        loop: asyncio.AbstractEventLoop,
        arriving: Callable[[int], object] = lambda _: None,
        keeps: Callable[[int], object] = lambda _: None,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        self.peer = peer
        self.ended = False
        self._write = write
        self._close_transport = close_transport
        self._choose = choose
        self._arriving = arriving
        self._keeps = keeps
        self._loop = loop
        self._application = choose(self, "")
        self._connection = AmqpConnection(
            loop.time(),
            mechanisms=MECHANISMS if self._application is None else self._application.mechanisms,
            container_id=peer.host or "dps-simulator",
            connect_timeout=connect_timeout,
            changed=self._changed,
        )
        self._unfinished = self._kept = 0
        self._working = False
        self._ended_by = NETWORK
        self._reason = ""
        self._farewell: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._set_timer()

    # called by the owner of the transport

    def receive(self, data: bytes) -> None:
        """Bytes arrived."""
        if not self.ended:
            self._connection.receive(data, self._loop.time())
            if not self._working:
                self._work()

    def lost(self) -> None:
        """The transport is gone."""
        if not self.ended:
            self._end()
        if self._farewell is not None:
            self._farewell.cancel()
        self._say_farewell()

    def broken(self, reason: str) -> None:
        """What carries it was broken by the client. :meth:`lost` follows."""
        if not self.ended:
            self._ended_by = SERVICE
            self._report(reason)

    def pause_writing(self) -> None:
        """The client reads too slowly: messages wait, whatever it said that it takes."""
        self._connection.is_blocked = True

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._connection.is_blocked = False
        self._go_on()

    # called by applications

    def challenge(self, data: bytes) -> None:
        """Answer SASL with a question."""
        self._answer(partial(self._connection.challenge, data))

    def approve(self) -> None:
        """Answer SASL: the client is who it says."""
        self._answer(self._connection.approve)

    def deny(self, code: SaslCode = SaslCode.AUTHENTICATION_FAILED) -> None:
        """Answer SASL with a refusal, and close."""
        self._answer(partial(self._connection.deny, code))

    def accept(self, properties: Mapping[Any, Any] | None = None) -> None:
        """Answer OPEN."""
        self._answer(partial(self._connection.accept, properties))

    def close(self, error: Error | None = None) -> None:
        """Tell the client that it is over; when it has answered, or has not in time, the transport is closed."""
        if self.ended:
            return
        self._ended_by = SERVICE
        self._connection.close(error, self._loop.time())
        if self._connection.state is ConnectionState.CLOSED:
            self._finish()
        elif not self._working:
            self._settle()

    def cut(self) -> None:
        """End the connection without a word, as a cut cable does."""
        if not self.ended:
            self._ended_by = SERVICE
            self._connection.lose()
            self._finish()

    # inside

    def _answer(self, step: Callable[[], object]) -> None:
        """Let the connection take a step that it waits for; what the client sent since then comes next."""
        if self.ended:
            return
        try:
            step()
        except Exception:
            _LOGGER.exception("AMQP connection to %s closed: the application's answer is not possible", self.peer.host)
            self._fail()
            return
        if self._connection.state is ConnectionState.CLOSED:
            self._ended_by = SERVICE
            self._finish()
        elif not self._working:
            self._work()

    def _changed(self) -> None:
        """The application sends something of its own accord."""
        if not self._working and not self.ended:
            self._settle()

    def _work(self) -> None:
        """Take what arrived through the protocol to the application, until nothing is left."""
        self._working = True
        try:
            while not self.ended:
                event = self._connection.next_event()
                if event is None:
                    break
                self._dispatch(event)
        except AmqpProtocolError as error:
            self._ended_by = SERVICE
            self._report(str(error))
            self._finish()
        except Exception:
            _LOGGER.exception("AMQP connection to %s closed: the application failed", self.peer.host)
            self._fail()
        finally:
            self._working = False
        if not self.ended:
            self._settle()

    def _fail(self) -> None:
        """Something is wrong here, not with the client; it is told so in the words of where it stands."""
        if self._connection.state is ConnectionState.AUTHENTICATING:
            self.deny(SaslCode.SYSTEM_ERROR)
        else:
            self.close(Error(condition=Condition.INTERNAL_ERROR))

    def _dispatch(self, event: AmqpEvent) -> None:
        if isinstance(event, Close):
            self._ended_by = CLIENT if self._ended_by == NETWORK else self._ended_by
            self._finish()
            return
        if isinstance(event, (SaslInit, Open)) and self._application is None:
            self._application = self._choose(self, event.hostname or "")
        application = self._application
        if application is None:
            self._refuse(event)
        elif isinstance(event, SaslInit):
            application.authenticate(event)
        elif isinstance(event, SaslResponse):
            application.responded(event.response)
        elif isinstance(event, Open):
            application.opened(event)
        elif isinstance(event, Attached):
            application.attached(event.link)
        elif isinstance(event, Detached):
            application.detached(event.link, event.error)
        elif isinstance(event, Delivered):
            application.received(event.delivery)
        elif isinstance(event, Settled):
            application.settled(event.sent, event.outcome)
        else:
            application.credited(event.link)

    def _refuse(self, event: AmqpEvent) -> None:
        """Nobody here has the host name that the client asked for."""
        if isinstance(event, SaslInit):
            self._connection.approve()  # the name may still come with OPEN
        else:
            self.close(Error(condition=Condition.NOT_FOUND, description="No service here has this host name."))

    def _settle(self) -> None:
        """After a step: send what waits, look after the deadline, and tell what is kept."""
        if self._connection.outgoing:
            self._flush()
        if self.ended:
            return
        self._set_timer()
        unfinished, kept = self._connection.unfinished, self._connection.kept
        if unfinished != self._unfinished:
            self._unfinished = unfinished
            self._arriving(unfinished)
        if kept != self._kept:
            more, self._kept = kept - self._kept, kept
            self._keeps(more)

    def _go_on(self) -> None:
        """Let links send that had to wait until there is room."""
        if not self.ended and not self._working and not self._connection.is_full:
            self._connection.resume()
            self._work()

    def _flush(self) -> None:
        if self._connection.is_full:
            # not at once: others have their turn as well
            self._loop.call_soon(self._go_on)
        try:
            self._write(self._connection.data_to_send())
        except Exception:
            _LOGGER.exception("AMQP connection to %s closed: the transport takes no data", self.peer.host)
            self._finish()

    def _set_timer(self) -> None:
        """See to it that the timer runs at the deadline or earlier; a deadline that moved away costs nothing."""
        deadline = self._connection.deadline
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        reason = self._connection.tick(self._loop.time())
        if not reason:
            self._settle()
            return
        self._ended_by = SERVICE
        self._report(reason)
        self._finish()

    def _finish(self) -> None:
        """Send what is waiting and close. The application hears of it soon, but not within this call."""
        if self.ended:
            return
        self.ended = True
        if self._connection.outgoing:
            self._flush()
        self._end()
        # not at once: the caller may be the application itself, in the middle of something
        self._farewell = self._loop.call_soon(self._say_farewell)
        try:
            self._close_transport()
        except Exception:
            _LOGGER.exception("AMQP connection to %s: the transport cannot be closed", self.peer.host)

    def _end(self) -> None:
        self.ended = True
        self._connection.lose()
        self._set_timer()

    def _say_farewell(self) -> None:
        application, self._application = self._application, None
        if application is None:
            return
        try:
            clean = self._connection.ended_cleanly
            application.disconnected(clean, Ending(self._ended_by, self._reason))
        except Exception:
            _LOGGER.exception("AMQP connection to %s: the application failed at the end", self.peer.host)

    def _report(self, reason: str) -> None:
        self._reason = reason
        _LOGGER.info("AMQP connection to %s closed: %s", self.peer.host, reason)
