"""Sessions of AMQP 1.0: windows, the numbers of deliveries, and the links in them.

Source: OASIS standard AMQP 1.0, part 2, section 2.5.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from .composites import Composite
from .errors import AmqpProtocolError, Condition
from .links import WRAP, Delivery, Link, Sent, distance
from .performatives import (
    RECEIVER,
    SENDER,
    Accepted,
    Attach,
    Begin,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Modified,
    Outcome,
    Received,
    Rejected,
    Released,
    Source,
    Transfer,
)

if TYPE_CHECKING:
    from .connections import AmqpConnection

#: Transfers that a client may send before it hears of a new window.
WINDOW = 5_000
#: The highest handle of a link.
HANDLE_MAX = 1_023
#: What a transfer takes in its frame beside the payload.
_TRANSFER_HEAD = 64


class _Part(NamedTuple):
    """A part of a message to the client.

    Attributes:
        link: on which it goes.
        transfer: what is said about it.
        payload: the part.
        begins: whether it is the first one.
        sent: what the client's word will be about.
    """

    link: Link
    transfer: Transfer
    payload: bytes
    begins: bool
    sent: Sent | None

    def __repr__(self) -> str:
        # what devices and services tell each other is theirs
        return f"_Part({self.transfer!r}, {len(self.payload)} bytes)"


class Session:
    """One session.

    Arguments:
        connection: the connection that it belongs to.
        channel: its number, the same in both directions.
        begin: what the client asked for.

    Attributes:
        connection, channel: the same.
        links: by handle.
    """

    def __init__(self, connection: AmqpConnection, channel: int, begin: Begin) -> None:
        self.connection = connection
        self.channel = channel
        self.links: dict[int, Link] = {}
        self._next_incoming_id = begin.next_outgoing_id
        self._incoming_window = WINDOW
        self._next_outgoing_id = 0
        self._client_window = begin.incoming_window
        self._next_delivery_id = 0
        self._unsettled: dict[int, Sent] = {}
        self._waiting: deque[_Part] = deque()
        self._has_ended = False
        self.put(
            Begin(
                remote_channel=channel,
                next_outgoing_id=self._next_outgoing_id,
                incoming_window=WINDOW,
                outgoing_window=WINDOW,
                handle_max=HANDLE_MAX,
            )
        )

    @property
    def is_stalled(self) -> bool:
        """Whether something waits until the client opens its window again."""
        return bool(self._waiting)

    # --- steps of the server ------------------------------------------------------------------------------------------

    def put(self, performative: Composite) -> None:
        """Send a frame of this session; nothing is sent after its end, as the channel may be another session's."""
        if not self._has_ended:
            self.connection.put(performative, channel=self.channel)

    def transfer(self, link: Link, message: bytes, key: Any, settled: bool) -> Sent | None:
        """Send a message in as many frames as it takes, when the client's window lets it."""
        room = self.connection.max_frame_size - _TRANSFER_HEAD
        sent = None if settled else Sent(link, key)
        for start in range(0, max(len(message), 1), room):
            part = Transfer(handle=link.attach.handle, more=start + room < len(message))
            if not start:
                part.message_format, part.settled = 0, settled
            self._waiting.append(_Part(link, part, message[start : start + room], not start, sent))
        self._send_waiting()
        return sent

    def flow(
        self,
        *,
        handle: int | None = None,
        delivery_count: int | None = None,
        link_credit: int | None = None,
        drain: bool = False,
    ) -> None:
        """Tell the client the windows, and the credit of a link."""
        self._incoming_window = WINDOW
        self.put(
            Flow(
                next_incoming_id=self._next_incoming_id,
                incoming_window=WINDOW,
                next_outgoing_id=self._next_outgoing_id,
                outgoing_window=WINDOW,
                handle=handle,
                delivery_count=delivery_count,
                link_credit=link_credit,
                drain=drain,
            )
        )

    def end(self, error: Error | None = None) -> None:
        """End the session from here."""
        self.put(End(error=error))

    def lost(self) -> Iterator[tuple[Link, bool]]:
        """What carried the session is gone; gives the links that it had, and which of them had not ended before."""
        self._has_ended = True
        links, self.links = self.links, {}
        self._waiting.clear()
        self._unsettled.clear()
        for link in links.values():
            yield link, link.lost()

    # --- frames of the client -----------------------------------------------------------------------------------------

    def attached(self, attach: Attach) -> Link:
        """The client attaches a link.

        Raises:
            AmqpProtocolError: its handle cannot be used.
        """
        if attach.handle > HANDLE_MAX:
            raise AmqpProtocolError(f"the handle {attach.handle} is above {HANDLE_MAX}")
        if attach.handle in self.links:
            raise SessionError(f"the handle {attach.handle} is in use", Condition.HANDLE_IN_USE)
        link = self.links[attach.handle] = Link(self, attach)
        return link

    def detached(self, detach: Detach) -> tuple[Link, bool]:
        """The client detaches a link; gives it, and whether that is news."""
        link = self._link(detach.handle)
        is_news = link.detached(detach)
        del self.links[detach.handle]
        self.forget(link)
        return link, is_news

    def forget(self, link: Link) -> None:
        """Nobody will say anything about the messages of this link any more, and no further part of them goes."""
        for delivery_id in [number for number, sent in self._unsettled.items() if sent.link is link]:
            del self._unsettled[delivery_id]
        if self._waiting:
            self._waiting = deque(part for part in self._waiting if part.link is not link)

    def flowed(self, flow: Flow) -> list[Link]:
        """The client tells its windows; gives the links on which it takes messages now."""
        was_shut = not self._client_window
        under_way = max(distance(self._next_outgoing_id, flow.next_incoming_id or 0), 0)
        self._client_window = max(flow.incoming_window - under_way, 0)
        self._send_waiting()
        link = None if flow.handle is None else self._link(flow.handle)
        going = [link] if link is not None and link.flowed(flow) else []
        if was_shut and self._client_window:
            # whoever stopped at the window goes on
            going += [
                each for each in self.links.values() if each.role is SENDER and each.sendable and each is not link
            ]
        if flow.echo and (link is None or not link.tell()):
            self.flow()
        return going

    def received(self, transfer: Transfer, payload: bytes) -> Delivery | None:
        """A message, or a part of one.

        Raises:
            AmqpProtocolError: it breaks the rules of the session.
        """
        self._incoming_window -= 1
        self._next_incoming_id = (self._next_incoming_id + 1) % WRAP
        if self._incoming_window < 0:
            raise SessionError("the client sent more transfers than its window allows", Condition.WINDOW_VIOLATION)
        delivery = self._link(transfer.handle).received(transfer, payload)
        if self._incoming_window * 2 < WINDOW:
            self.flow()
        return delivery

    def settled(self, disposition: Disposition) -> list[tuple[Sent, Outcome]]:
        """What became of messages to the client, as it says."""
        if disposition.role is not RECEIVER:
            return []  # what a sender says about its own messages is settled here already
        said = None if isinstance(disposition.state, Received) else disposition.state
        if said is None and not disposition.settled:
            return []
        first = disposition.first
        span = distance(first if disposition.last is None else disposition.last, first)
        if span < 0:
            raise AmqpProtocolError(f"a disposition is about {first} to {disposition.last}", Condition.INVALID_FIELD)
        if span < len(self._unsettled):
            numbers = [number for step in range(span + 1) if (number := (first + step) % WRAP) in self._unsettled]
        else:
            numbers = [number for number in self._unsettled if 0 <= distance(number, first) <= span]
        found = []
        for number in numbers:
            sent = self._unsettled.pop(number)
            sent.link.settled()
            outcome = said or _default_outcome(sent.link)
            if not disposition.settled:
                sent.asks(outcome)
            found.append((sent, outcome))
        return found

    # --- inside -------------------------------------------------------------------------------------------------------

    def _link(self, handle: int) -> Link:
        link = self.links.get(handle)
        if link is None:
            raise SessionError(f"no link has the handle {handle}", Condition.UNATTACHED_HANDLE)
        return link

    def _send_waiting(self) -> None:
        while self._waiting and self._client_window:
            part = self._waiting.popleft()
            if part.begins:
                self._number(part)
            self._client_window -= 1
            self._next_outgoing_id = (self._next_outgoing_id + 1) % WRAP
            self.connection.put(part.transfer, part.payload, channel=self.channel)

    def _number(self, part: _Part) -> None:
        """Deliveries are numbered when they go: one that never does leaves no gap, which some clients refuse."""
        number = self._next_delivery_id
        self._next_delivery_id = (number + 1) % WRAP
        part.transfer.delivery_id, part.transfer.delivery_tag = number, number.to_bytes(4, "big")
        if part.sent is not None:
            part.sent.goes(number)
            self._unsettled[number] = part.sent


class SessionError(AmqpProtocolError):
    """The client broke the rules of a session, which ends; its connection goes on."""


def _default_outcome(link: Link) -> Outcome:
    """What is meant by settling without a word: what the client said when it attached, else that it gives it back."""
    source = link.attach.source
    given = source.default_outcome if isinstance(source, Source) else None
    return given if isinstance(given, (Accepted, Rejected, Released, Modified)) else Released()
