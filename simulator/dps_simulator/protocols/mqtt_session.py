"""The server's side of one MQTT 3.1.1 connection, without sockets and clocks.

Bytes go in, packets to act upon come out; what the session and its user answer waits in a buffer of bytes to send. Time
is a number of seconds that the caller passes in.

Source: OASIS standard MQTT 3.1.1, chapters 3 and 4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Union, cast

from .mqtt import (
    MAX_PACKET_SIZE,
    PROTOCOL_LEVEL,
    PROTOCOL_NAME,
    SUBSCRIPTION_REFUSED,
    Connect,
    Disconnect,
    MqttProtocolError,
    Packet,
    PacketDecoder,
    PingRequest,
    Publish,
    PublishAcknowledged,
    Subscribe,
    Unsubscribe,
    Will,
    encode_connack,
    encode_pingresp,
    encode_puback,
    encode_publish,
    encode_suback,
    encode_unsuback,
    topic_matches,
)

#: Seconds from the start of the connection until CONNECT must have arrived and been answered.
CONNECT_TIMEOUT = 20.0
#: Messages with QoS 1 that may wait for the client's PUBACK.
MAX_IN_FLIGHT = 1_000
#: Topic filters that one connection may hold.
MAX_SUBSCRIPTIONS = 1_000
#: About what a packet takes beside what is in it.
_PACKET_BYTES = 100

#: What a filter can be granted.
_GRANTS = frozenset({0, 1, SUBSCRIPTION_REFUSED})

ACCEPTED = 0
REFUSED_PROTOCOL_VERSION = 1
REFUSED_CLIENT_ID = 2


class SessionState(Enum):
    """Where a connection stands."""

    # by identity, as of every object: a name is hashed in Python, each time
    __hash__ = object.__hash__

    AWAITING_CONNECT = "awaiting CONNECT"
    CONNECTING = "CONNECT not yet answered"
    CONNECTED = "connected"
    CLOSED = "closed"


class Input(Enum):
    """What moves a session: packets from the client and steps of the server."""

    __hash__ = object.__hash__

    CONNECT = "CONNECT"
    PUBLISH = "PUBLISH"
    PUBACK = "PUBACK"
    SUBSCRIBE = "SUBSCRIBE"
    UNSUBSCRIBE = "UNSUBSCRIBE"
    PINGREQ = "PINGREQ"
    DISCONNECT = "DISCONNECT"
    ACCEPT = "accept"
    REFUSE = "refuse"
    SEND = "send"
    CLOSE = "close"


#: State and input to the next state. A packet without a row breaks the protocol, a step without one is a mistake here.
TRANSITIONS: Mapping[tuple[SessionState, Input], SessionState] = {
    (SessionState.AWAITING_CONNECT, Input.CONNECT): SessionState.CONNECTING,
    (SessionState.AWAITING_CONNECT, Input.CLOSE): SessionState.CLOSED,
    (SessionState.CONNECTING, Input.ACCEPT): SessionState.CONNECTED,
    (SessionState.CONNECTING, Input.REFUSE): SessionState.CLOSED,
    (SessionState.CONNECTING, Input.CLOSE): SessionState.CLOSED,
    (SessionState.CONNECTED, Input.PUBLISH): SessionState.CONNECTED,
    (SessionState.CONNECTED, Input.PUBACK): SessionState.CONNECTED,
    (SessionState.CONNECTED, Input.SUBSCRIBE): SessionState.CONNECTED,
    (SessionState.CONNECTED, Input.UNSUBSCRIBE): SessionState.CONNECTED,
    (SessionState.CONNECTED, Input.PINGREQ): SessionState.CONNECTED,
    (SessionState.CONNECTED, Input.SEND): SessionState.CONNECTED,
    (SessionState.CONNECTED, Input.DISCONNECT): SessionState.CLOSED,
    (SessionState.CONNECTED, Input.CLOSE): SessionState.CLOSED,
    (SessionState.CLOSED, Input.CLOSE): SessionState.CLOSED,
}

_INPUTS: Mapping[type, Input] = {
    Connect: Input.CONNECT,
    Publish: Input.PUBLISH,
    PublishAcknowledged: Input.PUBACK,
    Subscribe: Input.SUBSCRIBE,
    Unsubscribe: Input.UNSUBSCRIBE,
    PingRequest: Input.PINGREQ,
    Disconnect: Input.DISCONNECT,
}

# typing.Union because ``X | Y`` on classes is evaluated here, and mypy wants one spelling for an alias
SessionEvent = Union[Connect, Publish, PublishAcknowledged, Subscribe, Unsubscribe, Disconnect]  # noqa: UP007
"""What the session's user gets to see: every packet but PINGREQ, which the session answers itself."""


class MqttStateError(Exception):
    """The session's user asked for a step that its state does not allow, e.g. to publish before ``accept``."""


class MqttSession:
    """One connection.

    Arguments:
        now: the present time in seconds of a monotonic clock.
        connect_timeout: seconds until CONNECT must have arrived and been answered.
        max_packet_size: limit of one packet from the client.
        max_in_flight: messages with QoS 1 that may wait for PUBACK.
        max_subscriptions: topic filters that the client may hold.

    Attributes:
        state: where the connection stands.
        connect: the CONNECT packet, once it arrived.
        refusal: the return code if CONNECT was refused: by ``refuse``, or by the session itself with 1 or 2.
        deadline: when the connection expires unless a packet arrives; ``None`` for never.
        ended_cleanly: whether the client said DISCONNECT.
        outgoing: the bytes that wait to be sent.
        will: the message to publish if the connection ended now; ``None`` after DISCONNECT [MQTT-3.1.2-10].
    """

    def __init__(
        self,
        now: float,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        max_packet_size: int = MAX_PACKET_SIZE,
        max_in_flight: int = MAX_IN_FLIGHT,
        max_subscriptions: int = MAX_SUBSCRIPTIONS,
    ) -> None:
        self.state = SessionState.AWAITING_CONNECT
        self._decoder = PacketDecoder(max_packet_size)
        self._max_packet_size = max_packet_size
        self._max_in_flight = min(max_in_flight, 0xFFFF)  # there are no more packet identifiers
        self._max_subscriptions = max_subscriptions
        self.deadline: float | None = now + connect_timeout
        self._last_packet = now
        self._waiting: deque[Packet] = deque()
        self._held = 0
        self._stream_error: MqttProtocolError | None = None
        self._error: MqttProtocolError | None = None
        self.connect: Connect | None = None
        self.refusal: int | None = None
        self.ended_cleanly = False
        self.will: Will | None = None
        self.outgoing = bytearray()
        self._in_flight: set[int] = set()
        self._last_packet_id = 0
        self._subscriptions: dict[str, int] = {}
        self._asked: dict[int, tuple[tuple[str, int], ...]] = {}
        self._unsubscribing: dict[int, tuple[str, ...]] = {}

    @property
    def subscriptions(self) -> Mapping[str, int]:
        """The granted topic filters, each with its QoS."""
        return dict(self._subscriptions)

    @property
    def in_flight(self) -> int:
        """How many messages wait for the client's PUBACK."""
        return len(self._in_flight)

    @property
    def unfinished(self) -> int:
        """Bytes of a packet whose rest is still to come, and of packets that wait until CONNECT is answered."""
        if self.state is not SessionState.CONNECTING:
            return len(self._decoder.unfinished)
        # a packet of two bytes takes more than they do
        return len(self._decoder.unfinished) + self._held + _PACKET_BYTES * len(self._waiting)

    def expired(self, now: float) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and now >= self.deadline

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes from the client. Never raises; :meth:`next_event` tells what they were."""
        if self._stream_error is not None or (self.state is SessionState.CLOSED and not self.ended_cleanly):
            return  # also [MQTT-3.1.4-5]: what a client sends after a refusal is not looked at
        if self.state is SessionState.CONNECTING:
            self._held += len(data)
            if self._held > self._max_packet_size:
                self._stream_error = MqttProtocolError(
                    f"the client sent more than {self._max_packet_size} bytes before its CONNECT was answered"
                )
                return
        try:
            packets = self._decoder.feed(data)
        except MqttProtocolError:
            packets = []
        self._stream_error = self._decoder.error
        if packets:
            self._waiting.extend(packets)
            self._last_packet = now
            self._postpone()

    def next_event(self) -> SessionEvent | None:
        """The next packet to act upon, ``None`` until more arrives.

        Packets come one by one, so that each meets the state in which the answer to the one before it left the
        session. What follows CONNECT waits until that is answered; an error waits behind the packets before it.

        Raises:
            MqttProtocolError: the client broke the protocol. The session is then closed, and every further call
                raises the same error.
        """
        while self._error is None and self.state is not SessionState.CONNECTING:
            if self._waiting:
                event = self._step(self._waiting.popleft())
                if event is not None:
                    return event
            elif self._stream_error is not None:
                self._fail(self._stream_error)
            else:
                return None
        if self._error is not None:
            raise self._error
        return None

    def accept(self) -> None:
        """Answer CONNECT with CONNACK 0 and "session present" 0."""
        self._move(Input.ACCEPT)
        # it has been judged; these can be long, and the connection may last for days
        told = cast(Connect, self.connect)
        self.connect = Connect(
            told.protocol_name, told.protocol_level, told.clean_session, told.keep_alive, told.client_id, will=told.will
        )
        self.outgoing += encode_connack(ACCEPTED)
        self._postpone()

    def refuse(self, return_code: int) -> None:
        """Answer CONNECT with a return code from 1 to 5; nothing the client sends is looked at any more.

        Raises:
            ValueError: another return code.
        """
        if not 1 <= return_code <= 5:
            raise ValueError(f"CONNACK return code {return_code} is not from 1 to 5")
        self._move(Input.REFUSE)
        self.refusal = return_code
        self.outgoing += encode_connack(return_code)
        self._end()

    def grant(self, packet_id: int, return_codes: Sequence[int]) -> None:
        """Answer SUBSCRIBE: per topic filter the highest QoS that is granted (0 or 1) or 0x80 for none.

        What the client gets is never above what it asked for. Topic filters above the limit are refused.

        Raises:
            MqttStateError: no SUBSCRIBE with this packet identifier waits for an answer.
            ValueError: the return codes do not fit.
        """
        asked = self._asked.get(packet_id)
        if asked is None:
            raise MqttStateError(f"no SUBSCRIBE with packet identifier {packet_id} waits for an answer")
        if len(return_codes) != len(asked) or not _GRANTS.issuperset(return_codes):
            raise ValueError(f"return codes {list(return_codes)} are not {len(asked)} times 0, 1 or 128")
        self._move(Input.SEND)
        answer: list[int] = []
        for (topic_filter, qos), code in zip(asked, return_codes, strict=True):
            known = topic_filter in self._subscriptions
            if code == SUBSCRIPTION_REFUSED or not (known or len(self._subscriptions) < self._max_subscriptions):
                answer.append(SUBSCRIPTION_REFUSED)
                continue
            self._subscriptions[topic_filter] = min(code, qos)  # [MQTT-3.8.4-3] replaces an earlier one
            answer.append(min(code, qos))
        del self._asked[packet_id]
        self.outgoing += encode_suback(packet_id, answer)

    def unsubscribed(self, packet_id: int) -> None:
        """Answer UNSUBSCRIBE; its topic filters are gone.

        Raises:
            MqttStateError: no UNSUBSCRIBE with this packet identifier waits for an answer.
        """
        filters = self._unsubscribing.get(packet_id)
        if filters is None:
            raise MqttStateError(f"no UNSUBSCRIBE with packet identifier {packet_id} waits for an answer")
        self._move(Input.SEND)
        for topic_filter in filters:
            self._subscriptions.pop(topic_filter, None)
        del self._unsubscribing[packet_id]
        self.outgoing += encode_unsuback(packet_id)

    def acknowledge(self, message: Publish) -> None:
        """Answer PUBLISH: PUBACK for QoS 1, nothing for QoS 0."""
        self._move(Input.SEND)
        if message.packet_id is not None:
            self.outgoing += encode_puback(message.packet_id)

    def granted_qos(self, topic: str) -> int | None:
        """The highest QoS among the subscriptions that match a topic; ``None`` when none does [MQTT-3.3.5-1]."""
        highest: int | None = None
        for topic_filter, qos in self._subscriptions.items():
            if (highest is None or qos > highest) and topic_matches(topic_filter, topic):
                highest = qos
        return highest

    def publish(self, topic: str, payload: bytes, qos: int = 0) -> int | None:
        """Send a message with this QoS, or a lower one if the client's subscription says so.

        It is sent even when no subscription matches: which topics a client gets, for instance those of subscriptions
        that outlive a connection, is for the caller to decide.

        Returns:
            The packet identifier that the client's PUBACK will have, ``None`` for QoS 0.

        Raises:
            MqttProtocolError: too many messages wait for the client's PUBACK. The session is then closed.
            ValueError: the topic, the QoS or the length cannot be sent.
        """
        self._move(Input.SEND)
        granted = self.granted_qos(topic)
        if granted is not None:
            qos = min(granted, qos)
        if not qos:
            self.outgoing += encode_publish(Publish(topic, payload, qos))
            return None
        if len(self._in_flight) >= self._max_in_flight:
            error = MqttProtocolError(f"{self._max_in_flight} messages wait for PUBACK; no more are sent")
            self._fail(error)
            raise error
        packet_id = self._free_packet_id()
        self.outgoing += encode_publish(Publish(topic, payload, qos, packet_id))
        self._in_flight.add(packet_id)
        self._last_packet_id = packet_id
        return packet_id

    def close(self) -> None:
        """The server ends the connection, or the transport is gone. MQTT 3.1.1 has no packet for it."""
        self._move(Input.CLOSE)
        self._end()

    def data_to_send(self) -> bytes:
        """The bytes that wait to be sent; they are handed out once."""
        data = bytes(self.outgoing)
        self.outgoing.clear()
        return data

    def _step(self, packet: Packet) -> SessionEvent | None:
        given = _INPUTS[type(packet)]
        following = TRANSITIONS.get((self.state, given))
        if following is None:
            self._fail(MqttProtocolError(_unexpected(given, self.state)))
            return None
        if isinstance(packet, (Subscribe, Unsubscribe)) and (
            packet.packet_id in self._asked or packet.packet_id in self._unsubscribing
        ):  # [MQTT-2.3.1-2]
            self._fail(MqttProtocolError(f"{given.value} reuses the packet identifier {packet.packet_id} too early"))
            return None
        self.state = following
        self._note(packet)
        return None if isinstance(packet, PingRequest) or self.refusal is not None else packet

    def _fail(self, error: MqttProtocolError) -> None:
        self._error = error
        self.close()

    def _note(self, packet: Packet) -> None:
        if isinstance(packet, Connect):
            self.connect, self.will = packet, packet.will
            if (packet.protocol_name, packet.protocol_level) != (PROTOCOL_NAME, PROTOCOL_LEVEL):
                self.refuse(REFUSED_PROTOCOL_VERSION)  # [MQTT-3.1.2-2]
            elif not packet.client_id:
                self.refuse(REFUSED_CLIENT_ID)  # [MQTT-3.1.3-8]; Azure IoT needs one in a clean session too
        elif isinstance(packet, Subscribe):
            self._asked[packet.packet_id] = packet.filters
        elif isinstance(packet, Unsubscribe):
            self._unsubscribing[packet.packet_id] = packet.filters
        elif isinstance(packet, PublishAcknowledged):
            self._in_flight.discard(packet.packet_id)  # unknown ones do no harm
        elif isinstance(packet, PingRequest):
            self.outgoing += encode_pingresp()
        elif isinstance(packet, Disconnect):
            self.ended_cleanly, self.will = True, None
            self.deadline = None

    def _move(self, step: Input) -> None:
        following = TRANSITIONS.get((self.state, step))
        if following is None:
            raise MqttStateError(f"{step.value} is not possible: the connection is {self.state.value}")
        self.state = following

    def _postpone(self) -> None:
        if self.state is SessionState.CONNECTED and self.connect is not None:
            keep_alive = self.connect.keep_alive
            self.deadline = self._last_packet + 1.5 * keep_alive if keep_alive else None  # [MQTT-3.1.2-24]

    def _end(self) -> None:
        self.deadline = None
        self._waiting.clear()
        self._stream_error = None
        self._in_flight.clear()

    def _free_packet_id(self) -> int:
        packet_id = self._last_packet_id % 0xFFFF + 1
        while packet_id in self._in_flight:
            packet_id = packet_id % 0xFFFF + 1
        return packet_id


def _unexpected(given: Input, state: SessionState) -> str:
    if state is SessionState.AWAITING_CONNECT:
        return f"the first packet is {given.value}; it must be CONNECT"  # [MQTT-3.1.0-1]
    if state is SessionState.CLOSED:
        return f"{given.value} follows DISCONNECT"  # [MQTT-3.14.4-2]
    return f"{given.value} is sent a second time"  # [MQTT-3.1.0-2]
