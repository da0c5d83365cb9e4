"""Clients that break the rules of AMQP, or use them in ways that few do: nothing is left behind, and others go on."""

import pytest
from amqp_client import begin, flow, frame, opening, receiver, sasl, sender, transfer
from amqp_server import GARBAGE, Server

from dps_simulator.protocols.amqp import sessions
from dps_simulator.protocols.amqp.connections import CLOSE_TIMEOUT, AmqpConnection, ConnectionState
from dps_simulator.protocols.amqp.errors import AmqpProtocolError, AmqpStateError, Condition
from dps_simulator.protocols.amqp.events import Attached, CreditGiven, Delivered, Detached, Settled
from dps_simulator.protocols.amqp.frames import AMQP_HEADER, MAX_FRAME_SIZE, SASL_HEADER, put_frame
from dps_simulator.protocols.amqp.links import MAX_UNSETTLED, WRAP
from dps_simulator.protocols.amqp.performatives import (
    Accepted,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Received,
    Released,
    Source,
    Transfer,
)


def transfers(said):
    """The transfers among what the server has said."""
    return [each[0] if isinstance(each, tuple) else each for each in said if kind_of(each) is Transfer]


def kind_of(said):
    return type(said[0] if isinstance(said, tuple) else said)


# --- the beginning ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"\x10\x0c\x00\x04MQTT", b"AMQX", b"AMQP\x02\x01\x00\x00", b"\x16\x03\x01", b"A\x00"])
def test_who_speaks_something_else_is_told_what_is_spoken_here(data):
    text, said = Server().fails(data)
    assert "AMQP" in text
    assert said == [SASL_HEADER]


def test_what_follows_sasl_is_amqp():
    _, said = Server().fails(sasl(), b"AMQP\x00\x02\x00\x00")
    assert said[-1] == AMQP_HEADER
    _, said = Server().fails(sasl(), b"GET /")
    assert said[-1] == AMQP_HEADER


@pytest.mark.parametrize("size", [MAX_FRAME_SIZE + 1, 2**31, 2**32 - 1])
def test_a_frame_that_is_too_large_is_refused_by_its_first_bytes(size):
    server = Server().open()
    text, (close,) = server.fails(size.to_bytes(4, "big") + b"\x02\x00\x00\x00")
    assert str(size) in text
    assert close.error.condition == Condition.FRAMING_ERROR


def test_the_largest_frame_is_taken():
    server = Server().open(sender("a"))
    room = MAX_FRAME_SIZE - len(transfer(b""))
    assert len(transfer(bytes(room))) == MAX_FRAME_SIZE
    server.take(transfer(bytes(room)))
    assert [len(event.delivery.body) for event in server.of(Delivered)] == [room]
    server.fails(transfer(bytes(room + 1), delivery_id=1))


# --- what the server says fits into what the client takes -------------------------------------------------------------


def test_an_answer_that_is_longer_than_the_client_takes_ends_the_connection():
    server = Server()
    server.take(opening(max_frame_size=512), begin())
    said = server.take(receiver("a" * 600))
    assert [type(each) for each in said] == [Close]
    assert said[0].error.condition == Condition.FRAME_SIZE_TOO_SMALL
    assert "Attach takes" in said[0].error.description
    assert server.connection.state is ConnectionState.CLOSING
    assert server.take(frame(Close())) == []
    assert server.connection.state is ConnectionState.CLOSED


def test_what_cannot_be_written_leaves_no_half_frame():
    server = Server()
    server.accept_links = False
    server.open(sender("a"))
    (event,) = server.of(Attached)
    with pytest.raises(ValueError, match="no type for object"):
        event.link.accept(properties={"p": object()})
    server.connection.close(GARBAGE)
    assert server.said() == [Close(error=GARBAGE)]
    out = bytearray(b"before")
    with pytest.raises(ValueError, match="ascii"):
        put_frame(out, Error(condition="ü"))
    assert out == b"before"


# --- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 2**31 - 1, 2**31, 2**32 - 1])
def test_every_window_lets_messages_go(window):
    server = Server()
    link = server.sends(flow(incoming_window=window, credit=5))
    link.send(b"x")
    assert len(transfers(server.said())) == 1


@pytest.mark.parametrize("credit", [2**31 - 1, 2**31, 2**32 - 1])
def test_credit_without_end_is_credit(credit):
    server = Server()
    link = server.sends(flow(credit=credit))
    assert (link.credit, link.sendable) == (credit, MAX_UNSETTLED)
    link.send(b"x")
    # the client had not seen the message yet when it said this
    server.take(flow(credit=credit))
    assert link.credit == credit - 1


def test_a_client_that_has_seen_more_than_was_sent():
    server = Server()
    link = server.sends(flow(credit=3, delivery_count=9, next_incoming_id=9, incoming_window=3))
    assert link.sendable == 3
    for _ in range(3):
        link.send(b"x")
    assert len(transfers(server.said())) == 3


def test_credit_counts_from_what_the_client_has_seen():
    server = Server()
    link = server.sends(flow(credit=5))
    for _ in range(4):
        link.send(b"x")
    server.take(flow(credit=2))
    assert link.sendable == 0
    server.take(flow(credit=2, delivery_count=4))
    assert link.sendable == 2


def test_what_waits_for_the_window_goes_in_order_and_the_sender_goes_on():
    server = Server()
    server.take(opening(), begin(incoming_window=0), receiver("a"), receiver("b", name="other", handle=2))
    a, b = (event.link for event in server.of(Attached))
    server.take(flow(incoming_window=0), flow(handle=2, incoming_window=0))
    a.send(b"first")
    assert (server.said(), a.sendable, b.sendable) == ([], 0, 0)
    server.events.clear()
    (said,) = server.take(flow(handle=None, credit=None, incoming_window=1))
    assert said[1] == b"first"
    assert server.of(CreditGiven) == []  # the window is used up
    # the window belongs to all links: each of them hears that it can go on
    server.take(flow(handle=None, credit=None, incoming_window=9, next_incoming_id=1))
    assert [event.link for event in server.of(CreditGiven)] == [a, b]
    b.send(b"second")
    a.send(b"third")
    said = server.said()
    assert [payload for _, payload in said] == [b"second", b"third"]
    assert [part.delivery_id for part, _ in said] == [1, 2]


def test_what_waits_is_in_no_repr():
    server = Server()
    server.take(opening(), begin(incoming_window=0), receiver("a"), flow(incoming_window=0))
    (link,) = server.connection.links
    link.send(b"password")
    assert "8 bytes" in repr(link.session._waiting)
    assert "password" not in repr(link.session._waiting)


def test_a_link_hears_once_that_it_can_go_on():
    server = Server()
    server.take(opening(), begin(incoming_window=0), receiver("a"))
    server.take(flow(incoming_window=9))
    assert len(server.of(CreditGiven)) == 1


def test_nothing_more_goes_on_a_link_that_has_ended_while_it_waited():
    server = Server()
    server.take(opening(max_frame_size=512), begin(incoming_window=1))
    server.take(receiver("a"), receiver("b", name="other", handle=2), flow(incoming_window=1))
    a, b = (event.link for event in server.of(Attached))
    a.send(bytes(2_000))
    assert len(transfers(server.said())) == 1
    assert server.take(frame(Detach(handle=1, closed=True))) == [Detach(handle=1, closed=True)]
    assert server.take(flow(handle=2, incoming_window=9, next_incoming_id=1)) == []
    b.send(b"x")
    ((said, payload),) = server.said()
    assert (said.handle, said.delivery_id, payload) == (2, 1, b"x")


def test_deliveries_are_numbered_without_gaps():
    server = Server()
    server.take(opening(), begin(incoming_window=0))
    server.take(receiver("a"), receiver("b", name="other", handle=2), flow(incoming_window=0))
    a, b = (event.link for event in server.of(Attached))
    a.send(b"never seen")
    a.detach()
    server.take(frame(Detach(handle=1)), flow(handle=2, incoming_window=9))
    sent = b.send(b"x", "key")
    ((said, _),) = [each for each in server.said() if isinstance(each, tuple)]
    assert (said.delivery_id, said.delivery_tag) == (0, bytes(16))
    server.take(frame(Disposition(role=True, first=0, settled=True, state=Accepted())))
    assert server.of(Settled) == [Settled(sent, Accepted())]


def test_transfers_beyond_the_window_end_the_session_only(monkeypatch):
    monkeypatch.setattr(sessions, "WINDOW", 2)
    server = Server()
    server.accept_links = False
    server.open(*(sender("a", name=f"n{number}", handle=number) for number in range(3)), begin(1))
    for event in server.of(Attached):
        event.link.accept(credit=0)
    # accepting told a window each time; from here on nothing does, as no transfer is taken
    server.said()
    said = server.take(*(transfer(b"x", handle=number) for number in range(3)))
    assert [type(each) for each in said] == [Detach, Detach, End]
    assert said[-1].error.condition == Condition.WINDOW_VIOLATION
    assert [type(each) for each in server.take(sender("b", channel=1))] == []
    assert server.connection.state is ConnectionState.OPEN
    assert [link.session.channel for link in server.connection.links] == [1]


# --- links ------------------------------------------------------------------------------------------------------------


def test_an_end_is_told_once_however_much_the_client_says():
    server = Server().open(receiver("a"))
    (detached,) = server.take(*(transfer(b"x", handle=1, delivery_id=number) for number in range(5)))
    assert detached.error.condition == Condition.NOT_ALLOWED
    assert len(server.of(Detached)) == 1


@pytest.mark.parametrize("last", [End(), Close()])
def test_who_ended_a_link_does_not_hear_of_its_end(last):
    server = Server().open(sender("a"), receiver("b"))
    a, b = (event.link for event in server.of(Attached))
    a.detach(GARBAGE)
    server.take(frame(last))
    assert [event.link for event in server.of(Detached)] == [b]
    assert server.connection.kept == 0


def test_the_same_link_attached_twice_ends_once():
    server = Server().open(sender("a"))
    (end,) = server.take(sender("a"))
    assert end.error.condition == Condition.HANDLE_IN_USE
    assert len(server.of(Detached)) == 1


def test_a_link_that_has_ended_has_no_credit_to_tell():
    server = Server().open(sender("a"), receiver("b"))
    a, b = server.connection.links
    a.detach()
    b.detach()
    server.said()
    a.grant(5)
    b.drained()
    assert server.said() == []
    (said,) = server.take(flow(handle=0, credit=None, echo=True))
    assert (type(said), said.handle) == (Flow, None)


def test_an_echo_tells_what_is_true_then():
    server = Server()
    server.sends()
    (said,) = server.take(flow(credit=7, echo=True))
    assert (said.link_credit, said.handle) == (7, 1)


def test_the_count_of_deliveries_begins_again_at_its_end():
    server = Server().open(sender("a", initial_delivery_count=WRAP - 1))
    server.accept_links = False
    server.connection.links[0].grant(2)
    (said,) = server.said()
    assert said.delivery_count == WRAP - 1
    said = server.take(transfer(b"1", delivery_id=WRAP - 1), transfer(b"2", delivery_id=0))
    assert [each.delivery_count for each in said if isinstance(each, Flow)] == [0, 1]
    assert [each.first for each in said if isinstance(each, Disposition)] == [WRAP - 1, 0]


def test_the_count_of_messages_to_the_client_begins_again_at_its_end():
    server = Server()
    link = server.sends(flow(credit=5))
    link._delivery_count = WRAP - 1
    server.take(flow(credit=3, delivery_count=WRAP - 1))
    assert link.sendable == 3
    link.send(b"x")
    server.take(flow(credit=3, delivery_count=WRAP - 1))
    assert link.sendable == 2
    server.said()
    (said,) = server.take(flow(credit=3, delivery_count=0, drain=True))
    assert (said.delivery_count, said.link_credit) == (3, 0)


def test_numbers_of_sessions_begin_again_at_their_end():
    server = Server()
    server.take(opening(), begin(next_outgoing_id=WRAP - 1), sender("a"), receiver("b"))
    (said, _) = server.take(transfer(b"x"), flow(handle=None, credit=None, echo=True))
    assert isinstance(said, Disposition)
    (said,) = server.take(transfer(b"x", delivery_id=1), flow(handle=None, credit=None, echo=True))[1:]
    assert said.next_incoming_id == 1
    session = server.connection.links[0].session
    session._next_outgoing_id = session._next_delivery_id = WRAP - 1
    server.take(flow(next_incoming_id=WRAP - 1, incoming_window=2))
    link = server.connection.links[1]
    link.send(b"1", 1)
    link.send(b"2", 2)
    assert [part.delivery_id for part in transfers(server.said())] == [WRAP - 1, 0]
    assert link.session.is_stalled is False
    server.take(frame(Disposition(role=True, first=WRAP - 1, last=0, settled=True, state=Accepted())))
    assert [event.sent.key for event in server.of(Settled)] == [1, 2]


# --- settling ---------------------------------------------------------------------------------------------------------


def test_settling_with_a_state_that_is_no_outcome_settles():
    server = Server()
    link = server.sends(flow())
    link.send(b"x")
    half = Received(section_number=0, section_offset=0)
    server.take(frame(Disposition(role=True, first=0, state=half)))
    assert link.unsettled == 1
    server.take(frame(Disposition(role=True, first=0, settled=True, state=half)))
    assert [event.outcome for event in server.of(Settled)] == [Released()]
    assert link.unsettled == 0


def test_words_about_messages_do_not_go_to_the_next_session():
    server = Server()
    server.settle = False
    server.open(sender("a"), receiver("b"), flow(), transfer(b"x"))
    server.connection.links[1].send(b"y")
    server.take(frame(Disposition(role=True, first=0, state=Accepted())))
    (delivered,), (settled,) = server.of(Delivered), server.of(Settled)
    assert [type(each) for each in server.take(frame(End()), begin())] == [End, Begin]
    delivered.delivery.accept()
    settled.sent.confirm()
    assert server.said() == []


@pytest.mark.parametrize(
    ("first", "last", "settled"),
    [(0, 2**31 - 1, 3), (WRAP - 1, 1, 2), (2, 2, 1), (3, 2**31, 0), (2**31 + 1, 0, 1), (WRAP - 5, WRAP - 1, 0)],
)
def test_ranges_cost_no_more_than_there_is_to_settle(first, last, settled):
    server = Server()
    link = server.sends(flow())
    for _ in range(3):
        link.send(b"x")
    server.take(frame(Disposition(role=True, first=first, last=last, settled=True, state=Accepted())))
    assert (len(server.of(Settled)), link.unsettled) == (settled, 3 - settled)


@pytest.mark.parametrize(("first", "last"), [(0, 2**31), (0, WRAP - 1), (1, 0)])
def test_a_range_that_ends_before_it_begins(first, last):
    _, (close,) = Server().open().fails(frame(Disposition(role=True, first=first, last=last, settled=True)))
    assert close.error.condition == Condition.INVALID_FIELD


# --- what is incomplete -----------------------------------------------------------------------------------------------


def partial(number, size=1_000):
    return transfer(bytes(size), handle=number, delivery_id=number, more=True)


@pytest.mark.parametrize(
    "last",
    [
        [frame(Detach(handle=0)), frame(Detach(handle=1))],
        [frame(End())],
        [frame(Close())],
        [frame(Transfer(handle=0, aborted=True)), frame(Transfer(handle=1, aborted=True))],
        [transfer(b"", handle=0), transfer(b"", handle=1, delivery_id=1)],
    ],
)
def test_what_is_held_is_given_back(last):
    server = Server().open(sender("a"), sender("b", name="other", handle=1), partial(0), partial(1))
    assert server.connection.unfinished == 2_000
    server.take(*last)
    assert server.connection.unfinished == 0


def test_a_lost_connection_holds_nothing():
    server = Server().open(sender("a"), partial(0))
    server.connection.receive(b"\x00\x00", 0.0)
    assert server.connection.unfinished == 1_002
    server.connection.lose()
    assert (server.connection.unfinished, server.connection.kept) == (0, 0)
    text, _ = (server := Server().open(sender("a"), partial(0))).fails(b"\x00" * 8)
    assert text
    assert server.connection.kept == 0


def test_the_end_of_a_link_by_the_server_gives_back_what_is_held():
    server = Server().open(sender("a"), partial(0))
    server.connection.links[0].detach(GARBAGE)
    assert server.connection.unfinished == 0
    # its rest comes from a client that has not heard yet
    server.take(transfer(b"rest", more=True), transfer(b"rest"))
    assert (server.of(Delivered), server.connection.unfinished) == ([], 0)


# --- the end ----------------------------------------------------------------------------------------------------------


def test_the_time_to_answer_close_begins_when_it_is_said():
    connection = Server().open().connection
    connection.close(GARBAGE, 300.0)
    assert connection.deadline == 300.0 + CLOSE_TIMEOUT
    assert connection.tick(300.0 + CLOSE_TIMEOUT - 0.1) == ""


def test_nothing_happens_to_whoever_has_closed():
    connection = AmqpConnection(0.0)
    connection.receive(opening() + begin() + sender("a") + sender("b", name="other", handle=1), 0.0)
    assert connection.next_event()
    connection.accept()
    assert isinstance(connection.next_event(), Attached)
    (first,) = connection.links
    first.accept()
    connection.receive(transfer(b"x") + transfer(b"y", delivery_id=1), 0.0)
    connection.close(GARBAGE)
    assert connection.next_event() is None
    connection.receive(frame(Close()), 0.0)
    assert connection.next_event() == Close()


def test_events_that_wait_are_dropped_by_a_close():
    server = Server()
    link = server.sends(flow())
    for key in range(3):
        link.send(b"x", key)
    server.connection.receive(frame(Disposition(role=True, first=0, last=2, settled=True, state=Accepted())), 0.0)
    assert server.connection.next_event().sent.key == 0
    server.connection.close()
    assert server.connection.next_event() is None


def test_a_link_is_accepted_once():
    server = Server().open(sender("a"))
    with pytest.raises(AmqpStateError, match="accept is not possible: the link is attached"):
        server.connection.links[0].accept()


def test_an_error_is_raised_again_and_nothing_else():
    server = Server().open()
    server.fails(begin())
    server.connection.receive(begin(3), 1.0)
    with pytest.raises(AmqpProtocolError, match="in use"):
        server.connection.next_event()
    assert server.said() == []


def test_a_refused_link_says_with_both_ends_who_it_was_and_ends():
    server = Server()
    server.accept_links = False
    server.open(frame(Attach(name="n", handle=3, role=True, source=Source(address="a"), initial_delivery_count=None)))
    (event,) = server.of(Attached)
    event.link.refuse(Error(condition=Condition.NOT_FOUND))
    attached, detached = server.said()
    assert (attached.name, attached.handle, attached.source, detached.handle) == ("n", 3, None, 3)
    server.take(frame(Detach(handle=3, closed=True)))
    assert server.connection.links == []
    assert server.of(Detached) == []
