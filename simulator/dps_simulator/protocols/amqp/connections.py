"""The server's side of one AMQP 1.0 connection, without sockets and clocks.

Bytes go in, events to act upon come out; what the connection and its user answer waits in a buffer of bytes to send.
Time is a number of seconds that the caller passes in.

The layers follow the standard: a connection has sessions (:mod:`.sessions`), a session has links (:mod:`.links`), and
on a link messages go one way. Before that a client may prove who it is by SASL.

Source: OASIS standard AMQP 1.0, part 2, section 2.4 (connections), part 5, section 5.3 (SASL).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from .composites import Composite
from .errors import AmqpProtocolError, AmqpStateError, Condition
from .events import AmqpEvent, Attached, CreditGiven, Delivered, Detached, Settled
from .frames import (
    AMQP_FRAME,
    AMQP_HEADER,
    MAX_FRAME_SIZE,
    MIN_MAX_FRAME_SIZE,
    SASL_FRAME,
    SASL_HEADER,
    Frame,
    FrameDecoder,
    put_frame,
    put_heartbeat,
)
from .links import Link, LinkError
from .performatives import (
    SENDER,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Open,
    SaslChallenge,
    SaslCode,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    SaslResponse,
    Transfer,
)
from .sessions import Session, SessionError

#: Seconds from the start of the connection until it must be open.
CONNECT_TIMEOUT = 20.0
#: Seconds to wait for the client's close after ours.
CLOSE_TIMEOUT = 5.0
#: Seconds without a frame that a client is told, and how many times as long it is waited for.
IDLE_TIME_OUT, IDLE_PATIENCE = 240.0, 1.5
#: The shortest idle time-out of a client, in seconds: a frame is due twice as often.
MIN_IDLE_TIME_OUT = 1.0
#: The highest channel, and how many links all sessions of a connection may have together.
CHANNEL_MAX, MAX_LINKS = 255, 4_096
#: About what a session and a link take in memory, with what an endpoint keeps for it, beside what a client says of it.
SESSION_BYTES, LINK_BYTES = 4_000, 4_000
#: Steps of SASL that a client may take.
_MAX_SASL_STEPS = 32
#: Bytes that may wait to be sent; above, links send no messages until there is room again.
MAX_OUTGOING = 262_144


class ConnectionState(Enum):
    """Where a connection stands."""

    __hash__ = object.__hash__

    AWAITING_HEADER = "awaiting the header"
    AWAITING_SASL = "awaiting SASL"
    AUTHENTICATING = "SASL not yet answered"
    AWAITING_RESPONSE = "awaiting a SASL response"
    AUTHENTICATED = "awaiting the header after SASL"
    AWAITING_OPEN = "awaiting OPEN"
    OPENING = "OPEN not yet answered"
    OPEN = "open"
    CLOSING = "closed here, not yet by the client"
    CLOSED = "closed"


class Input(Enum):
    """What moves a connection: headers and frames from the client, and steps of the server."""

    __hash__ = object.__hash__

    SASL_HEADER = "the header of SASL"
    AMQP_HEADER = "the header of AMQP"
    SASL_INIT = "SASL-INIT"
    SASL_RESPONSE = "SASL-RESPONSE"
    OPEN = "OPEN"
    FRAME = "a frame of a session"
    CLOSE = "CLOSE"
    CHALLENGE = "challenge"
    APPROVE = "approve"
    DENY = "deny"
    ACCEPT = "accept"
    SEND = "send"
    END = "end"
    LOSE = "lose"


_State = ConnectionState
#: State and input to the next state. A frame without a row breaks the protocol, a step without one is a mistake here.
TRANSITIONS: Mapping[tuple[ConnectionState, Input], ConnectionState] = {
    (_State.AWAITING_HEADER, Input.SASL_HEADER): _State.AWAITING_SASL,
    (_State.AWAITING_HEADER, Input.AMQP_HEADER): _State.AWAITING_OPEN,
    (_State.AWAITING_SASL, Input.SASL_INIT): _State.AUTHENTICATING,
    (_State.AUTHENTICATING, Input.CHALLENGE): _State.AWAITING_RESPONSE,
    (_State.AUTHENTICATING, Input.APPROVE): _State.AUTHENTICATED,
    (_State.AUTHENTICATING, Input.DENY): _State.CLOSED,
    (_State.AWAITING_RESPONSE, Input.SASL_RESPONSE): _State.AUTHENTICATING,
    (_State.AUTHENTICATED, Input.AMQP_HEADER): _State.AWAITING_OPEN,
    (_State.AWAITING_OPEN, Input.OPEN): _State.OPENING,
    (_State.OPENING, Input.ACCEPT): _State.OPEN,
    (_State.OPEN, Input.FRAME): _State.OPEN,
    (_State.OPEN, Input.SEND): _State.OPEN,
    (_State.OPEN, Input.CLOSE): _State.CLOSED,
    (_State.OPEN, Input.END): _State.CLOSING,
    # what a client sends before it has heard of the end says nothing
    (_State.CLOSING, Input.FRAME): _State.CLOSING,
    (_State.CLOSING, Input.CLOSE): _State.CLOSED,
    (_State.CLOSING, Input.END): _State.CLOSING,
    (_State.CLOSED, Input.END): _State.CLOSED,
    **{(state, Input.LOSE): _State.CLOSED for state in _State},
}
#: States in which nothing more is read until the connection's user has answered.
_PAUSED = frozenset({_State.AUTHENTICATING, _State.OPENING})


class AmqpConnection:
    """One connection.

    Arguments:
        now: the present time in seconds of a monotonic clock.
        mechanisms: of SASL, as the client is offered them.
        container_id: how the server calls itself.
        connect_timeout: seconds until the connection must be open.
        changed: called when something waits to be sent outside of :meth:`next_event`.

    Attributes:
        state: where the connection stands.
        max_frame_size: bytes of the largest frame that the client takes.
        deadline: when :meth:`tick` is due; ``None`` for never.
        outgoing: the bytes that wait to be sent.
        is_blocked: whether what was sent piles up on its way; set by whoever sends.
        ended_cleanly: whether the client said CLOSE.
    """

    def __init__(
        self,
        now: float,
        *,
        mechanisms: Sequence[str] = (),
        container_id: str = "",
        connect_timeout: float = CONNECT_TIMEOUT,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self.state = ConnectionState.AWAITING_HEADER
        self.max_frame_size = MIN_MAX_FRAME_SIZE
        self.outgoing = bytearray()
        self.ended_cleanly = self.is_blocked = False
        self.deadline: float | None = now + connect_timeout
        self.mechanisms = tuple(mechanisms)
        self._container_id = container_id
        self._changed = changed
        self._decoder = FrameDecoder()
        self._events: deque[AmqpEvent] = deque()
        self._sessions: dict[int, Session] = {}
        self._named: dict[tuple[str, bool], Link] = {}
        self._drained: list[Link] = []
        self._held = 0
        self._links = self._weight = 0
        self._sasl_steps = 0
        self._error: AmqpProtocolError | None = None
        self._now = self._heard = self._said = now
        self._heartbeat: float | None = None

    # --- what the user asks -------------------------------------------------------------------------------------------

    @property
    def unfinished(self) -> int:
        """Bytes of frames and messages whose rest is still to come."""
        return self._decoder.unfinished + self._held

    @property
    def kept(self) -> int:
        """About how much memory sessions and links take."""
        return SESSION_BYTES * len(self._sessions) + LINK_BYTES * self._links + self._weight

    @property
    def is_full(self) -> bool:
        """Whether messages have to wait, however much the client takes; :meth:`resume` ends that."""
        return self.is_blocked or len(self.outgoing) >= MAX_OUTGOING

    @property
    def links(self) -> list[Link]:
        """Every link that there is."""
        return [link for session in self._sessions.values() for link in session.links.values()]

    def hold(self, more: int) -> None:
        """Take down how many bytes of incomplete messages there are more, or fewer."""
        self._held += more

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes from the client. Never raises; :meth:`next_event` tells what they were."""
        self._now = now
        if self.state is not ConnectionState.CLOSED:
            self._decoder.feed(data)

    def resume(self) -> None:
        """There is room again: :meth:`next_event` tells every link on which the client takes messages."""
        self._events.extend(CreditGiven(link) for link in self.links if link.role is SENDER and link.sendable > 0)

    def next_event(self) -> AmqpEvent | None:
        """The next event to act upon, ``None`` until more arrives.

        Events come one by one, so that each meets the state in which the answer to the one before it left everything.

        Raises:
            AmqpProtocolError: the client broke the protocol. It has been told, the connection is closed, and every
                further call raises the same error.
        """
        if self._error is not None:
            raise self._error
        try:
            while True:
                self._finish_drain()
                if self._events:
                    event = self._events.popleft()
                    if self.state is ConnectionState.CLOSING:
                        continue  # it is over, for whoever closed it
                    return event
                if self.state in _PAUSED or self.state is ConnectionState.CLOSED or not self._step():
                    return None
        except AmqpProtocolError as error:
            self._error = error
            self._fail(error)
            raise

    def tick(self, now: float) -> str:
        """Do what is due. Gives the reason why the connection must be dropped, empty when it need not."""
        self._now = now
        if self.deadline is None or now < self.deadline:
            return ""
        state = self.state
        if state is ConnectionState.CLOSING:
            return "the client did not answer CLOSE"
        if state is not ConnectionState.OPEN:
            return "opening the connection took too long"
        if now >= self._heard + IDLE_TIME_OUT * IDLE_PATIENCE:
            return f"no frame within {IDLE_TIME_OUT * IDLE_PATIENCE:g} seconds"
        if self._heartbeat is not None and now >= self._said + self._heartbeat:
            put_heartbeat(self.outgoing)
            self._said = now
        self._postpone()
        return ""

    def data_to_send(self) -> bytes:
        """The bytes that wait to be sent; they are handed out once."""
        data = bytes(self.outgoing)
        self.outgoing.clear()
        self._said = self._now
        return data

    # --- what the user answers ----------------------------------------------------------------------------------------

    def challenge(self, data: bytes) -> None:
        """Answer SASL with a question."""
        self._move(Input.CHALLENGE)
        self._put_sasl(SaslChallenge(challenge=data))

    def approve(self) -> None:
        """Answer SASL: the client is who it says."""
        self._move(Input.APPROVE)
        self._put_sasl(SaslOutcome(code=SaslCode.OK))

    def deny(self, code: SaslCode = SaslCode.AUTHENTICATION_FAILED) -> None:
        """Answer SASL with a refusal; nothing the client sends is looked at any more."""
        self._move(Input.DENY)
        self._put_sasl(SaslOutcome(code=code))
        self._end()

    def accept(self, properties: Mapping[Any, Any] | None = None) -> None:
        """Answer OPEN."""
        self._move(Input.ACCEPT)
        self._put_open(properties)
        self._postpone()

    def put(self, performative: Composite, payload: bytes = b"", *, channel: int = 0) -> None:
        """Send a frame of a session; nothing is sent on a connection that has ended.

        Only messages go in pieces. Where the client takes no frame as large as another one is, the connection ends.
        """
        if self.state is not ConnectionState.OPEN:
            return
        start = len(self.outgoing)
        put_frame(self.outgoing, performative, payload, channel=channel)
        size = len(self.outgoing) - start
        if size > self.max_frame_size:
            del self.outgoing[start:]
            what = f"{type(performative).__name__} takes {size} bytes, and max-frame-size is {self.max_frame_size}."
            self.close(Error(condition=Condition.FRAME_SIZE_TOO_SMALL, description=what))
        else:
            self._changed()

    def close(self, error: Error | None = None, now: float | None = None) -> None:
        """End the connection from here; the client is told, and answers.

        Arguments:
            error: why.
            now: the present time, where that is later than the last time the client said something.
        """
        self._now = self._now if now is None else now
        if self.state is ConnectionState.OPENING:
            # a close must follow an open (2.4.3)
            self._move(Input.ACCEPT)
            self._put_open(None)
        if self.state is ConnectionState.OPEN:
            put_frame(self.outgoing, Close(error=error))
            self._move(Input.END)
            self.deadline = self._now + CLOSE_TIMEOUT
            self._changed()
        elif self.state is not ConnectionState.CLOSING:
            self.lose()

    def lose(self) -> list[Link]:
        """The transport is gone; gives the links that had not ended."""
        self._move(Input.LOSE)
        links = self._lost_links()
        self._end()
        return links

    # --- inside -------------------------------------------------------------------------------------------------------

    def _step(self) -> bool:
        """Take what comes next to where it belongs; tells whether there was something."""
        if self.state in (ConnectionState.AWAITING_HEADER, ConnectionState.AUTHENTICATED):
            header = self._decoder.header()
            if header is not None:
                self._begin(header)
            return header is not None
        frame = self._decoder.frame()
        if frame is None:
            return False
        self._heard = self._now
        if self.state is ConnectionState.OPEN:
            self._postpone()
        if frame.performative is not None:
            self._take(frame)
        return True

    def _begin(self, header: bytes) -> None:
        given = {AMQP_HEADER: Input.AMQP_HEADER, SASL_HEADER: Input.SASL_HEADER}.get(header)
        following = None if given is None else TRANSITIONS.get((self.state, given))
        if following is None:
            raise AmqpProtocolError(f"the header {header!r} is of another version, or not expected here")
        self.state = following
        self.outgoing += header
        if given is Input.SASL_HEADER:
            self._put_sasl(SaslMechanisms(sasl_server_mechanisms=self.mechanisms))

    def _take(self, frame: Frame) -> None:
        said = frame.performative
        given = _INPUTS.get(type(said))
        expected = SASL_FRAME if given in (Input.SASL_INIT, Input.SASL_RESPONSE) else AMQP_FRAME
        following = None if given is None else TRANSITIONS.get((self.state, given))
        if following is None or frame.kind != expected:
            raise AmqpProtocolError(
                f"{type(said).__name__} is not possible: the connection is {self.state.value}", Condition.ILLEGAL_STATE
            )
        was, self.state = self.state, following
        if isinstance(said, (SaslInit, SaslResponse)):
            self._sasl_steps += 1
            if self._sasl_steps > _MAX_SASL_STEPS:
                raise AmqpProtocolError(f"SASL takes more than {_MAX_SASL_STEPS} steps")
            self._events.append(said)
        elif isinstance(said, Open):
            self._opened(said)
        elif isinstance(said, Close):
            self.ended_cleanly = True
            if was is ConnectionState.OPEN:
                put_frame(self.outgoing, Close())
                self._tell_lost(said.error)
            self._events.append(said)
            self.deadline = None
        elif was is ConnectionState.OPEN:
            try:
                self._take_of_session(frame)
            except LinkError as error:
                self._end_link(error.link, _told(error))
            except SessionError as error:
                self._end_session(frame.channel, _told(error))

    def _opened(self, said: Open) -> None:
        if said.max_frame_size < MIN_MAX_FRAME_SIZE:
            raise AmqpProtocolError(
                f"max-frame-size is {said.max_frame_size}, at least {MIN_MAX_FRAME_SIZE} are needed",
                Condition.INVALID_FIELD,
            )
        self.max_frame_size = min(said.max_frame_size, MAX_FRAME_SIZE)
        if said.idle_time_out:
            seconds = said.idle_time_out / 1000
            if seconds < MIN_IDLE_TIME_OUT:
                raise AmqpProtocolError(
                    f"idle-time-out is {said.idle_time_out} ms, at least {MIN_IDLE_TIME_OUT * 1000:g} are needed",
                    Condition.NOT_ALLOWED,
                )
            self._heartbeat = seconds / 2
        self._events.append(said)

    def _take_of_session(self, frame: Frame) -> None:
        said, channel = frame.performative, frame.channel
        if channel > CHANNEL_MAX:
            raise AmqpProtocolError(f"the channel {channel} is above {CHANNEL_MAX}", Condition.NOT_ALLOWED)
        session = self._sessions.get(channel)
        if isinstance(said, Begin):
            if session is not None:
                raise AmqpProtocolError(f"the channel {channel} is in use", Condition.NOT_ALLOWED)
            self._sessions[channel] = Session(self, channel, said)
        elif session is not None:  # else of one that was ended here, which the client did not know yet
            _TAKERS[type(said)](self, session, frame)

    def _transfer(self, session: Session, frame: Frame) -> None:
        delivery = session.received(frame.performative, frame.payload)
        if delivery is not None:
            self._events.append(Delivered(delivery))

    def _flow(self, session: Session, frame: Frame) -> None:
        for link in session.flowed(frame.performative):
            self._events.append(CreditGiven(link))
            if frame.performative.drain and link.attach.handle == frame.performative.handle:
                self._drained.append(link)

    def _disposition(self, session: Session, frame: Frame) -> None:
        self._events.extend(Settled(sent, outcome) for sent, outcome in session.settled(frame.performative))

    def _detach(self, session: Session, frame: Frame) -> None:
        link, is_news = session.detached(frame.performative)
        self._forget(link)
        if is_news:
            self._events.append(Detached(link, frame.performative.error))

    def _end_of_session(self, _: Session, frame: Frame) -> None:
        self._end_session(frame.channel, None)

    def _attach(self, session: Session, frame: Frame) -> None:
        said = frame.performative
        if self._links >= MAX_LINKS:
            raise SessionError(f"a connection has at most {MAX_LINKS} links", Condition.RESOURCE_LIMIT_EXCEEDED)
        # between two containers a name stands for one link in each direction (2.6.1)
        name = (said.name, said.role)
        other = self._named.get(name)
        link = session.attached(said)
        if other is not None and not other.has_ended:
            self._end_link(
                other, Error(condition=Condition.STOLEN, description="A link of the same name was attached.")
            )
        self._named[name] = link
        self._links += 1
        self._weight += link.weight
        self._events.append(Attached(link))

    def _end_link(self, link: Link, error: Error) -> None:
        link.detach(error)
        self._events.append(Detached(link, error))

    def _finish_drain(self) -> None:
        """Who wanted everything that there is has got it by now (2.6.7)."""
        if self._drained and not self._events:
            for link in self._drained:
                link.drained()
            self._drained.clear()

    def _end_session(self, channel: int, error: Error | None) -> None:
        session = self._sessions.pop(channel)
        session.end(error)
        for link, is_news in session.lost():
            self._forget(link)
            if is_news:
                self._events.append(Detached(link, error))

    def _forget(self, link: Link) -> None:
        self._links -= 1
        self._weight -= link.weight
        name = (link.name, link.attach.role)
        if self._named.get(name) is link:
            del self._named[name]

    def _tell_lost(self, error: Error | None) -> None:
        self._events.extend(Detached(link, error) for link in self._lost_links())

    def _lost_links(self) -> list[Link]:
        links = [link for session in self._sessions.values() for link, is_news in session.lost() if is_news]
        self._sessions.clear()
        self._named.clear()
        self._drained.clear()
        self._links = self._weight = 0
        return links

    def _fail(self, error: AmqpProtocolError) -> None:
        """Tell the client what it did, where it could understand that, and end."""
        if self.state is ConnectionState.OPENING:
            self._put_open(None)
        if self.state in (ConnectionState.OPENING, ConnectionState.OPEN):
            put_frame(self.outgoing, Close(error=_told(error)))
        elif self.state in (ConnectionState.AWAITING_HEADER, ConnectionState.AUTHENTICATED):
            # what could be understood is told to a client that speaks something else (2.2)
            self.outgoing += AMQP_HEADER if self.state is ConnectionState.AUTHENTICATED else SASL_HEADER
        self.state = ConnectionState.CLOSED
        self._lost_links()
        self._end()

    def _put_open(self, properties: Mapping[Any, Any] | None) -> None:
        put_frame(
            self.outgoing,
            Open(
                container_id=self._container_id,
                max_frame_size=MAX_FRAME_SIZE,
                channel_max=CHANNEL_MAX,
                idle_time_out=int(IDLE_TIME_OUT * 1000),
                properties=None if properties is None else dict(properties),
            ),
        )

    def _put_sasl(self, performative: Composite) -> None:
        put_frame(self.outgoing, performative, kind=SASL_FRAME)

    def _move(self, step: Input) -> None:
        following = TRANSITIONS.get((self.state, step))
        if following is None:
            raise AmqpStateError(f"{step.value} is not possible: the connection is {self.state.value}")
        self.state = following

    def _postpone(self) -> None:
        deadline = self._heard + IDLE_TIME_OUT * IDLE_PATIENCE
        self.deadline = deadline if self._heartbeat is None else min(deadline, self._said + self._heartbeat)

    def _end(self) -> None:
        self.deadline = None
        self._decoder.clear()


def _told(error: AmqpProtocolError) -> Error:
    return Error(condition=error.condition, description=str(error))


_INPUTS: Mapping[type, Input] = {
    SaslInit: Input.SASL_INIT,
    SaslResponse: Input.SASL_RESPONSE,
    Open: Input.OPEN,
    Close: Input.CLOSE,
    **dict.fromkeys((Begin, Attach, Flow, Transfer, Disposition, Detach, End), Input.FRAME),
}

_TAKERS: Mapping[type, Callable[[AmqpConnection, Session, Frame], None]] = {
    Attach: AmqpConnection._attach,
    Flow: AmqpConnection._flow,
    Transfer: AmqpConnection._transfer,
    Disposition: AmqpConnection._disposition,
    Detach: AmqpConnection._detach,
    End: AmqpConnection._end_of_session,
}
