"""Links of AMQP 1.0 and the deliveries on them, as a server has them.

A client attaches a link, and the connection's user accepts or refuses it. The role is that of our end: on a link with
the role ``RECEIVER`` messages come from the client.

Source: OASIS standard AMQP 1.0, part 2, section 2.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from .errors import AmqpProtocolError, AmqpStateError, Condition
from .performatives import (
    RECEIVER,
    SENDER,
    Accepted,
    Attach,
    Detach,
    Disposition,
    Error,
    Flow,
    Outcome,
    Rejected,
    Released,
    SenderSettles,
    Source,
    Target,
    Transfer,
)

if TYPE_CHECKING:
    from .sessions import Session

#: Messages that a client may send before it gets new credit, where the connection's user says nothing else.
CREDIT = 100
#: Bytes of one message, where the connection's user says nothing else.
MAX_MESSAGE_SIZE = 262_144 + 65_536
#: Messages that may wait for the client's word on one link.
MAX_UNSETTLED = 2_048
#: Counters of the protocol have 32 bits and begin again.
WRAP = 1 << 32


def distance(later: int, earlier: int) -> int:
    """How far a counter has moved; negative when it is behind. Source: RFC 1982."""
    step = (later - earlier) % WRAP
    return step - WRAP if step >= WRAP // 2 else step


class LinkState(Enum):
    """Where a link stands."""

    __hash__ = object.__hash__

    OFFERED = "attached by the client, not yet answered"
    ATTACHED = "attached"
    DETACHING = "detached here, not yet by the client"
    DETACHED = "detached"


class LinkInput(Enum):
    """What moves a link: frames from the client and steps of the server."""

    __hash__ = object.__hash__

    ACCEPT = "accept"
    DETACH = "detach"
    CLIENT_DETACHES = "DETACH"
    SEND = "send"
    TRANSFER = "TRANSFER"
    FLOW = "FLOW"


#: State and input to the next state. A frame without a row is from a client that has not heard yet: it says nothing.
TRANSITIONS: Mapping[tuple[LinkState, LinkInput], LinkState] = {
    (LinkState.OFFERED, LinkInput.ACCEPT): LinkState.ATTACHED,
    (LinkState.OFFERED, LinkInput.DETACH): LinkState.DETACHING,
    (LinkState.OFFERED, LinkInput.CLIENT_DETACHES): LinkState.DETACHED,
    (LinkState.ATTACHED, LinkInput.SEND): LinkState.ATTACHED,
    (LinkState.ATTACHED, LinkInput.TRANSFER): LinkState.ATTACHED,
    (LinkState.ATTACHED, LinkInput.FLOW): LinkState.ATTACHED,
    (LinkState.ATTACHED, LinkInput.DETACH): LinkState.DETACHING,
    (LinkState.ATTACHED, LinkInput.CLIENT_DETACHES): LinkState.DETACHED,
    (LinkState.DETACHING, LinkInput.CLIENT_DETACHES): LinkState.DETACHED,
}


class Delivery:
    """A message from the client. Whoever gets it settles it, once.

    Attributes:
        link: on which it came.
        body: the message as bytes.
        message_format: what kind of message it is; 0 for one of the standard.
        settled: whether nothing is to be said any more.
    """

    __slots__ = ("_id", "body", "link", "message_format", "settled")

    def __init__(self, link: Link, delivery_id: int, body: bytes, settled: bool, message_format: int = 0) -> None:
        self.link = link
        self.message_format = message_format
        self._id = delivery_id
        self.body = body
        self.settled = settled

    def __repr__(self) -> str:
        return f"Delivery({self._id}, {len(self.body)} bytes)"

    def accept(self) -> None:
        """It was taken over."""
        self._settle(Accepted())

    def reject(self, error: Error) -> None:
        """It is invalid."""
        self._settle(Rejected(error=error))

    def release(self) -> None:
        """It was not looked at."""
        self._settle(Released())

    def _settle(self, outcome: Outcome) -> None:
        if not self.settled:
            self.settled = True
            self.link.session.put(
                Disposition(role=RECEIVER, first=self._id, last=self._id, settled=True, state=outcome)
            )


class Sent:
    """A message to the client that waits for its word.

    Attributes:
        link: on which it went.
        key: what the sender calls it.
    """

    __slots__ = ("_id", "_to_confirm", "key", "link")

    def __init__(self, link: Link, key: Any) -> None:
        self.link = link
        self._id = 0
        self.key = key
        self._to_confirm: Outcome | None = None

    def __repr__(self) -> str:
        return f"Sent({self._id})"

    def goes(self, delivery_id: int) -> None:
        """It is sent, under this number."""
        self._id = delivery_id

    def asks(self, outcome: Outcome) -> None:
        """The client waits for a word about this outcome."""
        self._to_confirm = outcome

    def confirm(self) -> None:
        """Everything that follows from the client's word is done; some clients wait to hear so."""
        outcome, self._to_confirm = self._to_confirm, None
        if outcome is not None:
            self.link.session.put(Disposition(role=SENDER, first=self._id, last=self._id, settled=True, state=outcome))


class Link:
    """One link.

    Arguments:
        session: the session that it belongs to.
        attach: what the client asked for.

    Attributes:
        attach: the same.
        state: where it stands.
        credit: how many messages may still be sent on it, by whichever end sends.
        owner: whatever the connection's user wants to find here again.
    """

    __slots__ = (
        "_delivery_count",
        "_full_credit",
        "_max_message_size",
        "_partial",
        "_partial_format",
        "_partial_id",
        "_partial_settled",
        "_unsettled",
        "attach",
        "credit",
        "owner",
        "session",
        "state",
    )

    def __init__(self, session: Session, attach: Attach) -> None:
        self.session = session
        self.attach = attach
        self.state = LinkState.OFFERED
        self.credit = 0
        self.owner: Any = None
        self._full_credit = 0
        self._delivery_count = (attach.initial_delivery_count or 0) if self.role is RECEIVER else 0
        self._max_message_size = MAX_MESSAGE_SIZE
        self._partial: bytearray | None = None
        self._partial_id = self._partial_format = 0
        self._partial_settled = False
        self._unsettled = 0

    def __repr__(self) -> str:
        return f"Link({self.name!r:.80}, {'receiver' if self.role else 'sender'}, {self.state.value})"

    @property
    def name(self) -> str:
        """What the client calls it."""
        return self.attach.name

    @property
    def role(self) -> bool:
        """The role of our end."""
        return not self.attach.role

    @property
    def address(self) -> str:
        """What the link is to: where its messages go, or where they come from. Empty when the client does not say."""
        end = self.attach.target if self.role is RECEIVER else self.attach.source
        address = end.address if isinstance(end, (Source, Target)) else None
        return address if isinstance(address, str) else ""

    @property
    def properties(self) -> Mapping[Any, Any]:
        """What the client says beside."""
        return self.attach.properties or {}

    @property
    def unsettled(self) -> int:
        """How many messages wait for the client's word."""
        return self._unsettled

    @property
    def has_ended(self) -> bool:
        """Whether either end has detached it."""
        return self.state in (LinkState.DETACHING, LinkState.DETACHED)

    @property
    def sendable(self) -> int:
        """How many messages can be sent right now, without anything piling up."""
        if self.state is not LinkState.ATTACHED or self.session.is_stalled:
            return 0
        return min(self.credit, MAX_UNSETTLED - self._unsettled)

    # --- steps of the server ------------------------------------------------------------------------------------------

    def accept(
        self,
        *,
        properties: Mapping[Any, Any] | None = None,
        max_message_size: int = MAX_MESSAGE_SIZE,
        credit: int = CREDIT,
        source: Source | None = None,
    ) -> None:
        """Attach our end; nothing happens when the client has ended the link already.

        Arguments:
            properties: what is said beside.
            max_message_size: bytes of a message from the client.
            credit: how many messages the client may send at a time.
            source: where messages come from, when it is not just what the client asked for.
        """
        if self.has_ended:
            return
        self._move(LinkInput.ACCEPT)
        asked = self.attach
        self._max_message_size = max_message_size
        self.session.put(
            Attach(
                name=asked.name,
                handle=asked.handle,
                role=self.role,
                snd_settle_mode=asked.snd_settle_mode,
                rcv_settle_mode=asked.rcv_settle_mode,
                source=source or asked.source,
                target=asked.target,
                initial_delivery_count=None if self.role is RECEIVER else 0,
                max_message_size=max_message_size,
                properties=None if properties is None else dict(properties),
            )
        )
        if self.role is RECEIVER:
            self.grant(credit)

    def refuse(self, error: Error) -> None:
        """Say that there is no such link: an end without an address, which is detached at once (2.6.3)."""
        if self.state is LinkState.OFFERED:
            asked = self.attach
            self.session.put(
                Attach(
                    name=asked.name,
                    handle=asked.handle,
                    role=self.role,
                    source=asked.source if self.role is RECEIVER else None,
                    target=asked.target if self.role is SENDER else None,
                    initial_delivery_count=None if self.role is RECEIVER else 0,
                )
            )
        self.detach(error)

    def detach(self, error: Error | None = None) -> None:
        """End the link from here; nothing happens when it has ended already."""
        if (self.state, LinkInput.DETACH) not in TRANSITIONS:
            return
        self._move(LinkInput.DETACH)
        self.session.put(Detach(handle=self.attach.handle, closed=True, error=error))
        self.session.forget(self)
        self.forget_partial()

    def grant(self, credit: int) -> None:
        """Let the client send so many messages; whenever half of them have come, it may send as many again."""
        self.credit = self._full_credit = credit
        self.tell()

    def send(self, message: bytes, key: Any = None) -> Sent | None:
        """Send a message.

        Returns:
            What the client's word will be about, ``None`` where it says none.

        Raises:
            AmqpStateError: the client does not take any right now; see :attr:`sendable`.
        """
        if self.sendable <= 0:
            raise AmqpStateError("the client takes no messages on this link right now")
        self._move(LinkInput.SEND)
        self.credit -= 1
        self._delivery_count = (self._delivery_count + 1) % WRAP
        settled = self.attach.snd_settle_mode == SenderSettles.SETTLED
        sent = self.session.transfer(self, message, key, settled)
        if sent is not None:
            self._unsettled += 1
        return sent

    def settled(self) -> None:
        """The client has said its word about a message."""
        self._unsettled -= 1

    # --- frames of the client -----------------------------------------------------------------------------------------

    def received(self, transfer: Transfer, payload: bytes) -> Delivery | None:
        """A message or a part of one; gives it when it is complete.

        Raises:
            LinkError: it is not one that may come now.
            AmqpProtocolError: the parts do not belong together.
        """
        if (self.state, LinkInput.TRANSFER) not in TRANSITIONS:
            return None
        if self.role is SENDER:
            raise LinkError(self, f"the link {self.name!r:.80} does not take messages", Condition.NOT_ALLOWED)
        if self._partial is None:
            if transfer.delivery_id is None:
                raise AmqpProtocolError("a transfer that begins a delivery has no delivery-id", Condition.INVALID_FIELD)
            if self.credit <= 0:
                raise LinkError(
                    self, "the client sent more messages than it had credit for", Condition.TRANSFER_LIMIT_EXCEEDED
                )
            self.credit -= 1
            self._delivery_count = (self._delivery_count + 1) % WRAP
            self._partial = bytearray()
            self._partial_id = transfer.delivery_id
            self._partial_format = transfer.message_format or 0
            self._partial_settled = False
        elif transfer.delivery_id not in (None, self._partial_id):
            raise AmqpProtocolError(
                f"the delivery {transfer.delivery_id} begins before {self._partial_id} is complete",
                Condition.NOT_ALLOWED,
            )
        if transfer.aborted:
            self.forget_partial()
            self._renew()
            return None
        self._partial_settled |= bool(transfer.settled)
        self._partial += payload
        self.session.connection.hold(len(payload))
        if len(self._partial) > self._max_message_size:
            raise LinkError(
                self,
                f"the message has more than {self._max_message_size} bytes, which is the most on this link",
                Condition.MESSAGE_SIZE_EXCEEDED,
            )
        if transfer.more:
            return None
        delivery = Delivery(self, self._partial_id, bytes(self._partial), self._partial_settled, self._partial_format)
        self.forget_partial()
        self._renew()
        return delivery

    def flowed(self, flow: Flow) -> bool:
        """The client says how much it takes; tells whether it waits for messages, or for a word that there are none."""
        if self.role is RECEIVER or (self.state, LinkInput.FLOW) not in TRANSITIONS or flow.link_credit is None:
            return False
        under_way = max(distance(self._delivery_count, flow.delivery_count or 0), 0)
        self.credit = max(flow.link_credit - under_way, 0)
        return self.credit > 0 or flow.drain

    def drained(self) -> None:
        """Nothing is left to send: the credit is used up (2.6.7)."""
        if self.state is LinkState.ATTACHED:
            self._delivery_count = (self._delivery_count + self.credit) % WRAP
            self.credit = 0
            self.tell(drain=True)

    def detached(self, detach: Detach) -> bool:
        """The client ends the link, or hears that it has ended; tells whether that is news."""
        is_news = self.state is not LinkState.DETACHING
        self.state = TRANSITIONS.get((self.state, LinkInput.CLIENT_DETACHES), LinkState.DETACHED)
        self.forget_partial()
        if is_news:
            self.session.put(Detach(handle=self.attach.handle, closed=detach.closed))
        return is_news

    def lost(self) -> bool:
        """What carried the link is gone; tells whether that is news."""
        is_news = not self.has_ended
        self.state = LinkState.DETACHED
        self.forget_partial()
        return is_news

    # --- inside -------------------------------------------------------------------------------------------------------

    def tell(self, *, drain: bool = False) -> bool:
        """Tell the client how many messages may still come or go; gives whether the link is attached, as it must be."""
        if self.state is not LinkState.ATTACHED:
            return False
        self.session.flow(
            handle=self.attach.handle, delivery_count=self._delivery_count, link_credit=self.credit, drain=drain
        )
        return True

    def forget_partial(self) -> None:
        """Forget a message of which not all has come."""
        if self._partial is not None:
            self.session.connection.hold(-len(self._partial))
            self._partial = None

    def _renew(self) -> None:
        if self.credit * 2 <= self._full_credit and self.state is LinkState.ATTACHED:
            self.grant(self._full_credit)

    def _move(self, step: LinkInput) -> None:
        following = TRANSITIONS.get((self.state, step))
        if following is None:
            raise AmqpStateError(f"{step.value} is not possible: the link is {self.state.value}")
        self.state = following


class LinkError(AmqpProtocolError):
    """The client broke the rules of a link, which ends; its session goes on.

    Arguments:
        link: the link.
        text: what was wrong.
        condition: the name that the client is told.
    """

    def __init__(self, link: Link, text: str, condition: Condition) -> None:
        super().__init__(text, condition)
        self.link = link
