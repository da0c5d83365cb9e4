"""Faults on the way between a client and a service: answers that wait, connections that are cut.

Throttled and unavailable services refuse where limits do, see :mod:`dps_simulator.common.throttling`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote

from dps_simulator.common.http import Peer, Request, Response
from dps_simulator.common.service_faults import (
    CONNECTIONS,
    CUT,
    FINDING,
    LATENCY,
    MESSAGES,
    PROVISIONING,
    ServiceFaults,
)
from dps_simulator.common.trace import Trace
from dps_simulator.protocols.amqp.application import AmqpApplication
from dps_simulator.protocols.amqp.links import Delivery, Link, Sent
from dps_simulator.protocols.amqp.performatives import Error, Open, Outcome, SaslInit
from dps_simulator.protocols.ending import NETWORK, Ending
from dps_simulator.protocols.mqtt import Connect, Publish, Subscribe, Unsubscribe
from dps_simulator.protocols.mqtt_application import MqttApplication

from .amqp import AmqpLine
from .mqtt import MqttLink

_Step = TypeVar("_Step")

_LOGGER = logging.getLogger(__name__)

CallLater = Callable[[float, Callable[[], object]], Any]
Sleep = Callable[[float], Awaitable[object]]

#: Seconds from a message to the cut that it meets. A program needs a moment until it waits for the answer; when the
#: connection ends before, SDKs report something else, now and then.
CUT_AFTER = 0.3
#: Bytes of memory that delayed packets and messages of all connections may take together.
MAX_DELAYED = 32 * 1_048_576
#: What one takes beside its texts and payload, and so does each topic filter.
_PACKET_BYTES, _FILTER_BYTES = 1_000, 200

_DELAYED = "the answer is delayed by {:g} s"
_ENDED = "the connection is cut"
_TOO_MUCH = f"the connection ends: delayed packets took more than {MAX_DELAYED} bytes together"


class FaultsOnTheWire:
    """Puts the faults of services between their endpoints and the sockets.

    Arguments:
        faults: which ones are switched on.
        trace: where every one that strikes is recorded.
        call_later: runs a function after some seconds, e.g. the method of an event loop.
        sleep: waits some seconds, e.g. ``asyncio.sleep``.
    """

    def __init__(self, faults: ServiceFaults, trace: Trace, *, call_later: CallLater, sleep: Sleep) -> None:
        self.faults = faults
        self.call_later = call_later
        #: bytes of what waits, of all connections
        self.delayed = 0
        self._trace = trace
        self._sleep = sleep

    async def http(
        self, request: Request, handle: Callable[[Request], Awaitable[Response]], *, service: str, named: str
    ) -> Response:
        """Let an endpoint answer a request: late, or not at all when the connection is cut.

        Arguments:
            request: what has arrived.
            handle: the endpoint.
            service: whose faults count.
            named: the service's name in traces.
        """
        if self.faults.active:
            if self.faults.cuts(service, CONNECTIONS, MESSAGES):
                self._record_http(request, named, CUT, _ENDED)
                return Response(cut=True)
            delay = self.faults.delay(service)
            if delay:
                self._record_http(request, named, LATENCY, _DELAYED.format(delay))
                await self._sleep(delay)
        return await handle(request)

    def mqtt(self, application: MqttApplication, link: MqttLink, *, service: str, named: str) -> MqttApplication:
        """The application behind the faults.

        Arguments:
            application: what serves the connection.
            link: the connection.
            service: whose faults count.
            named: the service's name in traces.
        """
        return _FaultyMqttConnection(self, application, link, service, named)

    def amqp(self, application: AmqpApplication, line: AmqpLine, *, service: str, named: str) -> AmqpApplication:
        """The same of an AMQP connection."""
        return _FaultyAmqpConnection(self, application, line, service, named)

    def _record_http(self, request: Request, named: str, kind: str, what: str) -> None:
        self.record(
            service=named,
            host=request.peer.host,
            protocol="https",
            kind=kind,
            detail={"reason": what, "request": f"{request.method} {request.path}"},
            device=_device_in(request.path) if named == PROVISIONING else "",
        )

    def record(
        self, *, service: str, host: str, protocol: str, kind: str, detail: dict[str, Any], device: str = ""
    ) -> None:
        """Keep in the trace that a fault struck."""
        self._trace.record(
            service=service,
            host=host,
            device=device,
            # what is delayed is the way in; of a cut, the client hears
            direction="in" if kind == LATENCY else "out",
            protocol=protocol,
            operation=f"fault: {kind}",
            detail={**detail, "finding": FINDING, "provenance": "a fault that was switched on in this simulator"},
        )


def _device_in(path: str) -> str:
    """Who registers, by the path of the request: ``/{ID scope}/registrations/{registration ID}/...``."""
    parts = path.split("/")
    return unquote(parts[3])[:256] if len(parts) > 3 and parts[2] == "registrations" else ""


def _size(packet: Connect | Publish | Subscribe | Unsubscribe) -> int:
    """About what the texts and the payload of a packet take."""
    if isinstance(packet, Publish):
        return sys.getsizeof(packet.topic) + len(packet.payload)
    if isinstance(packet, Connect):
        will = 0 if packet.will is None else sys.getsizeof(packet.will.topic) + len(packet.will.payload)
        texts = (packet.client_id, packet.username or "", packet.password or "")
        return will + sum(map(sys.getsizeof, texts))
    filters = packet.filters if isinstance(packet, Unsubscribe) else [name for name, _ in packet.filters]
    return sum(_FILTER_BYTES + sys.getsizeof(name) for name in filters)


class _BehindFaults:
    """One connection behind the faults.

    What is delayed is the way in: the application hears of everything later, in the same order, and so answers later.

    Arguments:
        wire: the faults.
        peer: who is connected.
        close: ends the connection as a cut cable does.
        service: whose faults count.
        named: the service's name in traces.
    """

    __slots__ = ("_close", "_cut", "_name", "_named", "_peer", "_service", "_waiting", "_wire")

    def __init__(
        self, wire: FaultsOnTheWire, peer: Peer, close: Callable[[], object], service: str, named: str
    ) -> None:
        self._wire = wire
        self._peer = peer
        self._close = close
        self._service = service
        self._named = named
        self._name = ""
        self._cut = False
        # a list, and no deque, which takes ten times as much memory in every idle connection
        self._waiting: list[tuple[Callable[[], object], int]] = []

    def _ending(self, how: Ending | None) -> Ending | None:
        """How the connection ended: behind a cut it is the service that closes, and it stands for the network."""
        return Ending(NETWORK, _ENDED) if self._cut else how

    def _arrived(self, step: Callable[[_Step], object], what: _Step, size: int, *arriving: str) -> None:
        faults = self._wire.faults
        if self._cut:
            return
        if not faults.active and not self._waiting:
            step(what)
            return
        if arriving and faults.cuts(self._service, *arriving):
            self._record(CUT, _ENDED)
            self._forget()
            self._cut = True
            if CONNECTIONS in arriving:
                self._close()
            else:
                self._wire.call_later(CUT_AFTER, self._close)
            return
        delay = faults.delay(self._service)
        if delay:
            self._record(LATENCY, _DELAYED.format(delay))
        elif not self._waiting:
            step(what)
            return
        # also without a delay of its own: nothing overtakes what came before
        size += _PACKET_BYTES
        if self._wire.delayed + size > MAX_DELAYED:
            self._record(LATENCY, _TOO_MUCH)
            self._forget()
            self._cut = True
            self._close()
            return
        self._waiting.append((partial(step, what), size))
        self._wire.delayed += size
        self._wire.call_later(delay, self._next)

    def _forget(self) -> None:
        self._wire.delayed -= sum(size for _, size in self._waiting)
        self._waiting.clear()

    def _next(self) -> None:
        if not self._waiting:
            return
        step, size = self._waiting.pop(0)
        self._wire.delayed -= size
        try:
            step()
        except Exception:
            _LOGGER.exception("what was delayed on its way to %s could not be served", self._named)
            self._close()

    def _record(self, kind: str, what: str) -> None:
        self._wire.record(
            service=self._named,
            host=self._peer.host,
            protocol=self._peer.transport,
            kind=kind,
            detail={"reason": what},
            device=self._name[:256],
        )


class _FaultyMqttConnection(_BehindFaults):
    """Implements :class:`~dps_simulator.protocols.mqtt_application.MqttApplication`."""

    __slots__ = ("_application", "_begun")

    def __init__(
        self, wire: FaultsOnTheWire, application: MqttApplication, link: MqttLink, service: str, named: str
    ) -> None:
        super().__init__(wire, link.peer, link.close, service, named)
        self._application = application
        self._begun = False

    def connected(self, connect: Connect) -> None:
        """The first packet."""
        self._name = connect.client_id
        self._arrived(self._begin, connect, _size(connect), CONNECTIONS)

    def _begin(self, connect: Connect) -> None:
        self._begun = True
        self._application.connected(connect)

    def published(self, message: Publish) -> None:
        """A message from the client."""
        self._arrived(self._application.published, message, _size(message), MESSAGES)

    def subscribe(self, packet: Subscribe) -> None:
        """A SUBSCRIBE packet."""
        self._arrived(self._application.subscribe, packet, _size(packet))

    def unsubscribe(self, packet: Unsubscribe) -> None:
        """An UNSUBSCRIBE packet."""
        self._arrived(self._application.unsubscribe, packet, _size(packet))

    def disconnected(self, clean: bool, how: Ending | None = None) -> None:
        """The connection is gone, and with it what waited; the client hears of no answer any more."""
        self._forget()
        if self._begun:
            self._application.disconnected(clean, self._ending(how))


class _FaultyAmqpConnection(_BehindFaults):
    """Implements :class:`~dps_simulator.protocols.amqp.application.AmqpApplication`."""

    __slots__ = ("_application",)

    def __init__(
        self, wire: FaultsOnTheWire, application: AmqpApplication, line: AmqpLine, service: str, named: str
    ) -> None:
        super().__init__(wire, line.peer, line.cut, service, named)
        self._application = application

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """SASL mechanisms that the client is offered."""
        return self._application.mechanisms

    def authenticate(self, init: SaslInit) -> None:
        """The client begins SASL."""
        self._arrived(self._application.authenticate, init, len(init.initial_response or b""), CONNECTIONS)

    def responded(self, response: bytes) -> None:
        """The client answers a challenge."""
        self._arrived(self._application.responded, response, len(response))

    def opened(self, said: Open) -> None:
        """The client opens the connection."""
        self._arrived(self._application.opened, said, 0, CONNECTIONS)

    def attached(self, link: Link) -> None:
        """The client attaches a link."""
        self._arrived(self._application.attached, link, 0)

    def detached(self, link: Link, error: Error | None) -> None:
        """A link has ended."""
        self._arrived(lambda gone: self._application.detached(gone, error), link, 0)

    def received(self, delivery: Delivery) -> None:
        """A message from the client."""
        self._arrived(self._application.received, delivery, len(delivery.body), MESSAGES)

    def settled(self, sent: Sent, outcome: Outcome) -> None:
        """The client says what became of a message."""
        self._arrived(lambda word: self._application.settled(word, outcome), sent, 0)

    def credited(self, link: Link) -> None:
        """The client takes messages."""
        self._arrived(self._application.credited, link, 0)

    def disconnected(self, clean: bool, how: Ending | None = None) -> None:
        """The connection is gone, and with it what waited."""
        self._forget()
        self._application.disconnected(clean, self._ending(how))
