"""One MQTT connection on the event loop: between a transport, the session and the application behind it."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from dps_simulator.common.http import Peer
from dps_simulator.errors.masking import mask_in_name
from dps_simulator.protocols.ending import CLIENT, NETWORK, SERVICE, Ending
from dps_simulator.protocols.mqtt import (
    Connect,
    Disconnect,
    MqttProtocolError,
    Publish,
    PublishAcknowledged,
    Subscribe,
    Unsubscribe,
)
from dps_simulator.protocols.mqtt_application import MqttApplication
from dps_simulator.protocols.mqtt_session import CONNECT_TIMEOUT, MqttSession, SessionEvent, SessionState

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")

_LOGGER = logging.getLogger(__name__)

#: CONNACK return code "not authorized", for connections that no application wants.
_NOT_AUTHORIZED = 5


class MqttConnection:
    """One connection; for endpoints it is a :class:`~dps_simulator.wire.mqtt.MqttLink`.

    The owner of the transport calls :meth:`receive` and, once, :meth:`lost`. Nothing that goes wrong raises into it
    or into an application: it is logged and the connection is closed. After the end, every method does nothing.

    Arguments:
        peer: who is connected.
        write: hands bytes to the transport.
        close_transport: closes the transport when what was written is sent.
        choose: returns the application for a CONNECT packet; ``None`` refuses the client with return code 5.
        arriving: is told how many bytes there are of packets that wait for their rest, when that has changed.
        keeps: is told how many bytes more, or fewer, of memory the will takes.
        loop: the event loop, for time and timers.
        connect_timeout: seconds until CONNECT must have arrived and been answered.

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
        choose: Callable[[MqttConnection, Connect], MqttApplication | None],
        loop: asyncio.AbstractEventLoop,
        arriving: Callable[[int], object] = lambda _: None,
        keeps: Callable[[int], object] = lambda _: None,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        self.peer = peer
        self._write = write
        self._close_transport = close_transport
        self._choose = choose
        self._arriving = arriving
        self._keeps = keeps
        self._loop = loop
        self._session = MqttSession(loop.time(), connect_timeout=connect_timeout)
        self._application: MqttApplication | None = None
        self._arrived = bytearray()
        # what was told of packets that wait for their rest, and of the will
        self._unfinished = self._will_size = 0
        self._deliveries: dict[int, Callable[[], object]] = {}
        self._working = False
        self.ended = False
        self._ended_by = NETWORK
        self._reason = ""
        self._farewell: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._set_timer()

    @property
    def ended_cleanly(self) -> bool:
        """Whether the client said DISCONNECT: it expects nothing more, and is closing the connection itself."""
        return self._session.ended_cleanly

    def granted_qos(self, topic: str) -> int | None:
        """The highest QoS among the client's subscriptions that match a topic, ``None`` when none does."""
        return self._session.granted_qos(topic)

    # called by the owner of the transport

    def receive(self, data: bytes) -> None:
        """Bytes arrived."""
        if not self.ended:
            self._arrived += data
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

    # called by applications

    def accept(self) -> None:
        """Answer CONNECT with CONNACK 0."""
        self._answer(self._session.accept)
        if not self._working:
            self._work()  # what the client sent behind its CONNECT waited for this

    def refuse(self, return_code: int) -> None:
        """Answer CONNECT with a return code from 1 to 5 and close."""
        self._answer(self._session.refuse, return_code)
        self.close()

    def grant(self, packet_id: int, return_codes: list[int]) -> None:
        """Answer SUBSCRIBE: per topic filter the highest QoS that is granted, or 0x80 for none."""
        self._answer(self._session.grant, packet_id, return_codes)

    def unsubscribed(self, packet_id: int) -> None:
        """Answer UNSUBSCRIBE."""
        self._answer(self._session.unsubscribed, packet_id)

    def acknowledge(self, message: Publish) -> None:
        """Answer PUBLISH: PUBACK for QoS 1, nothing for QoS 0."""
        self._answer(self._session.acknowledge, message)

    def publish(
        self, topic: str, payload: bytes, qos: int = 0, acknowledged: Callable[[], object] | None = None
    ) -> None:
        """Send a message, with at most the QoS that the client's subscription was granted.

        With QoS 1, ``acknowledged`` is called when the client's PUBACK comes; it never is when the connection ends.
        """
        packet_id = self._answer(self._session.publish, topic, payload, qos)
        if packet_id is not None and acknowledged is not None and not self.ended:
            self._deliveries[packet_id] = acknowledged

    def close(self) -> None:
        """Send what is waiting, then close. The application hears of it soon, but not within this call."""
        if self.ended:
            return
        self.ended = True
        self._ended_by = SERVICE
        if self._session.outgoing:
            self._flush()
        self._end()
        # not at once: the caller may be the application itself, in the middle of something
        self._farewell = self._loop.call_soon(self._say_farewell)
        try:
            self._close_transport()
        except Exception:
            _LOGGER.exception("MQTT connection to %s: the transport cannot be closed", self.peer.host)

    # inside

    def _answer(self, step: Callable[_Given, _Result], *given: _Given.args, **named: _Given.kwargs) -> _Result | None:
        """Let the session take a step; what it returns, or ``None`` where that was not possible."""
        if self.ended:
            return None
        result = None
        try:
            result = step(*given, **named)
        except MqttProtocolError as error:
            self._report(str(error))
            self.close()
        except Exception:
            _LOGGER.exception("MQTT connection to %s closed: the application's answer is not possible", self.peer.host)
            self.close()
        if not self._working and not self.ended:
            self._settle()
        return result

    def _work(self) -> None:
        """Take what arrived through the session to the application, until nothing is left."""
        self._working = True
        try:
            while not self.ended:
                if self._arrived:
                    self._session.receive(bytes(self._arrived), self._loop.time())
                    self._arrived.clear()
                event = self._session.next_event()
                if event is None:
                    break
                self._dispatch(event)
        except MqttProtocolError as error:
            self._report(str(error))
            self.close()
        except Exception:
            _LOGGER.exception("MQTT connection to %s closed: the application failed", self.peer.host)
            self.close()
        finally:
            self._working = False
        connect, refusal = self._session.connect, self._session.refusal
        if connect is not None and refusal is not None and not self.ended:  # the session's own decision
            version = f"{connect.protocol_name[:20]!r} level {connect.protocol_level}"
            self._report(
                f"refused with return code {refusal} (protocol {version}; MQTT level 4 and a client ID needed)"
            )
            self.close()
        if not self.ended:
            self._settle()

    def _dispatch(self, event: SessionEvent) -> None:
        if isinstance(event, Connect):
            self._application = self._choose(self, event)
            if self._application is None:
                self.refuse(_NOT_AUTHORIZED)
                return
            self._application.connected(event)
        elif isinstance(event, Disconnect):
            self.close()
        elif isinstance(event, PublishAcknowledged):
            acknowledged = self._deliveries.pop(event.packet_id, None)
            if acknowledged is not None:
                acknowledged()
        elif self._application is not None:
            if isinstance(event, Publish):
                self._application.published(event)
            elif isinstance(event, Subscribe):
                self._application.subscribe(event)
            elif isinstance(event, Unsubscribe):
                self._application.unsubscribe(event)

    def _settle(self) -> None:
        """After a step: send what waits, look after the deadline, and tell what is kept."""
        if self._session.outgoing:
            self._flush()
        if self.ended:
            return
        self._set_timer()
        unfinished = self._session.unfinished
        if unfinished != self._unfinished:
            self._unfinished = unfinished
            self._arriving(unfinished)
        will = self._session.will
        # a single letter from afar makes a text four times as large
        size = 0 if will is None else sys.getsizeof(will.topic) + len(will.payload)
        if size != self._will_size:
            more, self._will_size = size - self._will_size, size
            self._keeps(more)

    def _flush(self) -> None:
        try:
            self._write(self._session.data_to_send())
        except Exception:
            _LOGGER.exception("MQTT connection to %s closed: the transport takes no data", self.peer.host)
            self.close()

    def _set_timer(self) -> None:
        """See to it that the timer runs at the deadline or earlier; a deadline that moved away costs nothing."""
        deadline = self._session.deadline
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if not self._session.expired(self._loop.time()):
            self._set_timer()
            return
        connected = self._session.state is SessionState.CONNECTED
        self._report("no packet within 1.5 times the keep alive time" if connected else "CONNECT took too long")
        self.close()

    def _end(self) -> None:
        self.ended = True
        self._session.close()
        self._arrived.clear()
        self._deliveries.clear()
        self._set_timer()

    def _say_farewell(self) -> None:
        application, self._application = self._application, None
        if application is None:
            return
        try:
            clean = self._session.ended_cleanly
            application.disconnected(clean, Ending(CLIENT) if clean else Ending(self._ended_by, self._reason))
        except Exception:
            _LOGGER.exception("MQTT connection to %s: the application failed at the end", self.peer.host)

    def _report(self, reason: str) -> None:
        self._reason = reason
        connect = self._session.connect
        client = f" by {mask_in_name(connect.client_id[:128])!r}" if connect is not None else ""
        _LOGGER.info("MQTT connection to %s%s closed: %s", self.peer.host, client, reason)
