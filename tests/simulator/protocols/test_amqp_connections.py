import contextlib
import itertools

import pytest
from amqp_client import (
    Heard,
    begin,
    flow,
    frame,
    opening,
    receiver,
    sasl,
    sasl_response,
    sender,
    transfer,
)
from amqp_server import GARBAGE, Server
from hypothesis import given, settings
from hypothesis import strategies as st
from thoroughness import examples

from dps_simulator.protocols.amqp import connections, links, sessions
from dps_simulator.protocols.amqp.connections import (
    CLOSE_TIMEOUT,
    CONNECT_TIMEOUT,
    IDLE_PATIENCE,
    IDLE_TIME_OUT,
    TRANSITIONS,
    AmqpConnection,
    ConnectionState,
    Input,
)
from dps_simulator.protocols.amqp.errors import AmqpProtocolError, AmqpStateError, Condition
from dps_simulator.protocols.amqp.events import Attached, CreditGiven, Delivered, Detached, Settled
from dps_simulator.protocols.amqp.frames import AMQP_HEADER, SASL_HEADER, FrameDecoder
from dps_simulator.protocols.amqp.links import WRAP, LinkState, distance
from dps_simulator.protocols.amqp.performatives import (
    Accepted,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Flow,
    Modified,
    Open,
    Received,
    Rejected,
    Released,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    SaslResponse,
    Source,
    Target,
    Transfer,
)

# --- a conversation ---------------------------------------------------------------------------------------------------


def test_sasl_open_and_a_message_each_way():
    server = Server()
    header, mechanisms = server.take(sasl()[:8])
    assert (header, mechanisms.sasl_server_mechanisms) == (SASL_HEADER, ("PLAIN", "EXTERNAL"))
    (outcome,) = server.take(sasl()[8:])
    assert outcome == SaslOutcome(code=0)
    header, opened, begun = server.take(opening(hostname="h"), begin())
    assert (header, opened.container_id, opened.idle_time_out) == (AMQP_HEADER, "server", 240_000)
    assert (begun.remote_channel, begun.next_outgoing_id) == (0, 0)
    attached, credit = server.take(sender("to"))
    assert (attached.role, attached.name, attached.target) == (True, "sender", Target(address="to"))
    assert (credit.handle, credit.link_credit, credit.delivery_count) == (0, links.CREDIT, 0)
    (attached,) = server.take(receiver("from"))
    assert (attached.role, attached.initial_delivery_count) == (False, 0)
    assert server.take(transfer(b"message")) == [
        Disposition(role=True, first=0, last=0, settled=True, state=Accepted())
    ]
    (delivered,) = server.of(Delivered)
    assert (delivered.delivery.body, delivered.delivery.link.address) == (b"message", "to")
    assert server.take(flow(credit=2)) == []
    (given,) = server.of(CreditGiven)
    assert (given.link.address, given.link.sendable) == ("from", 2)
    sent = given.link.send(b"back", "key")
    ((said, payload),) = server.said()
    assert (payload, said.handle, said.delivery_id, said.settled, given.link.unsettled) == (b"back", 1, 0, False, 1)
    server.take(frame(Disposition(role=True, first=0, settled=True, state=Accepted())))
    assert server.of(Settled) == [Settled(sent, Accepted())]
    assert (sent.key, given.link.unsettled, given.link.sendable) == ("key", 0, 1)
    assert server.take(frame(Close())) == [Close()]
    assert (server.connection.ended_cleanly, server.connection.state) == (True, ConnectionState.CLOSED)
    assert [event.link.address for event in server.of(Detached)] == ["to", "from"]
    assert server.connection.kept == 0


CONVERSATION = b"".join(
    (
        sasl(),
        opening(hostname="h"),
        begin(),
        sender("to"),
        receiver("from"),
        transfer(b"first", more=True),
        transfer(b" half"),
        flow(credit=1, drain=True),
        frame(Detach(handle=0, closed=True)),
        frame(End()),
        frame(Close()),
    )
)


def names(events):
    return [(type(event).__name__, getattr(getattr(event, "delivery", None), "body", b"")) for event in events]


@given(st.lists(st.integers(1, len(CONVERSATION)), max_size=12))
@settings(max_examples=examples(60), deadline=None)
def test_bytes_split_anywhere_give_the_same_events_and_answers(cuts):
    whole, split = Server(), Server()
    answers = whole.take(CONVERSATION)
    places = [0, *sorted(cuts), len(CONVERSATION)]
    pieces = [said for start, end in itertools.pairwise(places) for said in split.take(CONVERSATION[start:end])]
    assert names(split.events) == names(whole.events)
    assert pieces == answers
    assert ("Delivered", b"first half") in names(whole.events)


@given(st.binary(max_size=100), st.sampled_from([b"", SASL_HEADER, AMQP_HEADER, opening(), opening() + begin()]))
@settings(max_examples=examples(200), deadline=None)
def test_random_bytes_are_events_or_the_error_of_the_protocol(data, before):
    server = Server()
    try:
        server.take(before, data)
    except AmqpProtocolError:
        assert server.connection.state is ConnectionState.CLOSED


@given(st.data())
@settings(max_examples=examples(150), deadline=None)
def test_a_flipped_bit_is_an_event_or_the_error_of_the_protocol(data):
    spoilt = bytearray(CONVERSATION)
    spoilt[data.draw(st.integers(0, len(spoilt) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(AmqpProtocolError):
        Server().take(bytes(spoilt))


# --- the beginning ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [b"GET / HTTP", b"AMQP\x00\x00\x09\x01", b"AMQP\x02\x01\x00\x00", b"AMQX"])
def test_another_protocol_is_told_which_one_this_is(header):
    text, said = Server().fails(header)
    assert "AMQP" in text
    assert said == [SASL_HEADER]


def test_after_sasl_comes_no_sasl():
    text, said = Server().fails(sasl(), SASL_HEADER)
    assert "not expected here" in text
    assert said[-1] == AMQP_HEADER


@pytest.mark.parametrize(
    ("before", "said", "state"),
    [
        (AMQP_HEADER, begin(), "awaiting OPEN"),
        (AMQP_HEADER, sasl()[8:], "awaiting OPEN"),
        (SASL_HEADER, opening()[8:], "awaiting SASL"),
        (SASL_HEADER, sasl_response(b""), "awaiting SASL"),
        (opening(), opening()[8:], "open"),
        (SASL_HEADER, frame(SaslInit(mechanism="PLAIN")), "awaiting SASL"),
        (opening(), frame(SaslMechanisms(sasl_server_mechanisms=())), "open"),
        (opening(), frame(GARBAGE), "open"),
    ],
)
def test_frames_in_the_wrong_place(before, said, state):
    text, _ = Server().fails(before, said)
    assert text.endswith(f"the connection is {state}")


def test_an_empty_frame_is_nobodys():
    server = Server()
    server.take(opening(), b"\x00\x00\x00\x08\x02\x00\x00\x00")
    assert server.connection.state is ConnectionState.OPEN


@pytest.mark.parametrize(
    ("fields", "words", "condition"),
    [
        ({"max_frame_size": 511}, "max-frame-size is 511", Condition.INVALID_FIELD),
        ({"idle_time_out": 999}, "idle-time-out is 999 ms", Condition.NOT_ALLOWED),
    ],
)
def test_an_open_that_cannot_be_kept(fields, words, condition):
    text, said = Server().fails(opening(**fields))
    assert words in text
    assert [type(each) for each in said[1:]] == [Open, Close]
    assert said[-1].error.condition == condition


def test_challenges_and_refusals_of_sasl():
    connection = AmqpConnection(0.0, mechanisms=("TPM",))
    connection.receive(sasl("TPM", None, "h"), 0.0)
    init = connection.next_event()
    assert (init.mechanism, init.initial_response, init.hostname) == ("TPM", None, "h")
    assert connection.next_event() is None  # nothing more is read before the answer
    connection.challenge(b"?")
    connection.receive(sasl_response(b"!"), 0.0)
    assert connection.next_event() == SaslResponse(response=b"!")
    connection.deny()
    assert (connection.state, connection.deadline) == (ConnectionState.CLOSED, None)
    said = Heard().take(connection.data_to_send())
    assert said[-1] == SaslOutcome(code=1)
    connection.receive(b"more", 0.0)
    assert connection.unfinished == 0


def test_sasl_has_an_end():
    server = Server()
    server.connection.receive(sasl(), 0.0)
    with pytest.raises(AmqpProtocolError, match="more than 32 steps"):  # noqa: PT012
        while server.connection.next_event() is not None:
            server.connection.challenge(b"again")
            server.connection.receive(sasl_response(b""), 0.0)


# --- steps that are not possible --------------------------------------------------------------------------------------


def state_of(state):
    connection = AmqpConnection(0.0)
    connection.state = state
    return connection


@pytest.mark.parametrize("state", list(ConnectionState))
@pytest.mark.parametrize(
    ("step", "given"), [("approve", Input.APPROVE), ("deny", Input.DENY), ("accept", Input.ACCEPT)]
)
def test_a_step_without_a_row_is_a_mistake_here(state, step, given):
    connection = state_of(state)
    following = TRANSITIONS.get((state, given))
    if following is None:
        with pytest.raises(AmqpStateError, match="the connection is"):
            getattr(connection, step)()
    else:
        getattr(connection, step)()
        assert connection.state is following


@pytest.mark.parametrize("state", list(ConnectionState))
def test_it_can_be_closed_in_every_state(state):
    connection = state_of(state)
    connection.close(GARBAGE)
    is_told = state in (ConnectionState.OPENING, ConnectionState.OPEN)
    assert connection.state is (
        ConnectionState.CLOSING if is_told or state is ConnectionState.CLOSING else ConnectionState.CLOSED
    )
    assert (b"amqp:not-found" in connection.data_to_send()) is is_told


# --- time -------------------------------------------------------------------------------------------------------------


def test_who_does_not_open_is_dropped():
    connection = AmqpConnection(100.0)
    assert connection.deadline == 100.0 + CONNECT_TIMEOUT
    assert connection.tick(100.0 + CONNECT_TIMEOUT - 0.1) == ""
    assert "took too long" in connection.tick(100.0 + CONNECT_TIMEOUT)


def test_heartbeats_come_in_time_and_silence_ends():
    server = Server().open(idle_time_out=60_000)
    assert server.connection.deadline == 30.0
    assert server.connection.tick(30.0) == ""
    assert server.connection.data_to_send() == b"\x00\x00\x00\x08\x02\x00\x00\x00"
    assert server.connection.deadline == 60.0
    server.now = 59.0
    server.take(flow(handle=None, credit=None, echo=True))  # what is said anyway is as good
    assert server.connection.deadline == 60.0
    assert server.connection.tick(60.0) == ""
    assert server.connection.data_to_send() == b""
    assert server.connection.deadline == 89.0
    end = 59.0 + IDLE_TIME_OUT * IDLE_PATIENCE
    assert "no frame within 360 seconds" in server.connection.tick(end)


def test_who_wants_no_heartbeats_gets_none():
    server = Server().open()
    assert server.connection.deadline == IDLE_TIME_OUT * IDLE_PATIENCE


def test_a_client_that_does_not_answer_close():
    server = Server().open(sender("a"))
    server.connection.close(GARBAGE)
    assert server.said()[-1] == Close(error=GARBAGE)
    assert server.connection.deadline == CLOSE_TIMEOUT
    assert server.take(sender("b", name="late", handle=5), transfer(b"late")) == []
    server.connection.put(Flow(incoming_window=1, next_outgoing_id=1, outgoing_window=1))
    assert server.said() == []
    assert "did not answer CLOSE" in server.connection.tick(CLOSE_TIMEOUT)
    server.connection.close()
    assert server.take(frame(Close())) == []
    assert server.connection.state is ConnectionState.CLOSED


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_sessions_end_and_begin_again():
    server = Server().open(sender("a"), begin(3))
    (link,) = server.connection.links
    assert server.take(frame(End())) == [End()]
    assert server.of(Detached) == [Detached(link)]
    assert link.state is LinkState.DETACHED
    assert server.take(transfer(b"late"), frame(End())) == []
    assert [type(said) for said in server.take(begin(), sender("a"))] == [Begin, Attach, Flow]
    assert server.connection.state is ConnectionState.OPEN


@pytest.mark.parametrize(
    ("said", "words"),
    [(begin(), "the channel 0 is in use"), (begin(256), "the channel 256 is above 255")],
)
def test_channels_that_cannot_be_used(said, words):
    text, (close,) = Server().open().fails(said)
    assert words in text
    assert close.error.condition == Condition.NOT_ALLOWED


def test_a_handle_in_use_ends_the_session():
    server = Server().open(sender("a"))
    (end,) = server.take(sender("b", name="other"))
    assert end.error.condition == Condition.HANDLE_IN_USE
    assert [event.link.address for event in server.of(Detached)] == ["a"]
    assert server.connection.kept == 0


def test_a_handle_that_is_too_high():
    text, _ = Server().open().fails(sender("a", handle=sessions.HANDLE_MAX + 1))
    assert "above 1023" in text


@pytest.mark.parametrize("said", [transfer(b"x", handle=9), flow(handle=9), frame(Detach(handle=9))])
def test_a_handle_of_no_link_ends_the_session(said):
    (end,) = Server().open().take(said)
    assert end.error.condition == Condition.UNATTACHED_HANDLE


def test_links_have_a_limit(monkeypatch):
    monkeypatch.setattr(connections, "MAX_LINKS", 1)
    server = Server().open(sender("a"))
    assert server.connection.kept > connections.SESSION_BYTES + connections.LINK_BYTES
    (end,) = server.take(sender("b", name="other", handle=1))
    assert end.error.condition == Condition.RESOURCE_LIMIT_EXCEEDED


def test_the_window_of_the_client_is_renewed_and_kept(monkeypatch):
    monkeypatch.setattr(sessions, "WINDOW", 4)
    server = Server().open(sender("a"))
    parts = [transfer(b"x", more=True, delivery_id=0) for _ in range(3)]
    (renewed,) = server.take(*parts)
    assert (renewed.handle, renewed.incoming_window, renewed.next_incoming_id) == (None, 4, 3)
    monkeypatch.setattr(sessions.Session, "flow", lambda self, **_: None)
    (end,) = server.take(*parts, *parts)
    assert end.error.condition == Condition.WINDOW_VIOLATION


def test_what_does_not_fit_into_the_window_waits():
    server = Server()
    server.take(opening(max_frame_size=512), begin(incoming_window=2), receiver("a"), flow(incoming_window=2))
    link = server.of(Attached)[0].link
    message = bytes(range(256)) * 5
    link.send(message)
    assert (len(server.said()), link.sendable) == (2, 0)
    first = server.take(flow(incoming_window=1, next_incoming_id=2))
    assert len(first) == 1
    server.take(flow(incoming_window=10, next_incoming_id=3, credit=10))
    assert link.sendable == 9


def test_every_frame_fits_into_what_the_client_takes():
    server = Server()
    server.take(opening(max_frame_size=512), begin(), receiver("a"), flow())
    link = server.of(Attached)[0].link
    message = bytes(range(256)) * 5
    link.send(message)
    data = server.connection.data_to_send()
    decoder = FrameDecoder(512)
    decoder.feed(data)
    frames = []
    while (each := decoder.frame()) is not None:
        frames.append(each)
    assert b"".join(each.payload for each in frames) == message
    assert [each.performative.more for each in frames] == [True] * (len(frames) - 1) + [False]
    link.send(b"")
    ((empty),) = server.said()
    assert isinstance(empty, Transfer)


def test_the_client_may_ask_for_the_windows():
    server = Server().open(sender("a"))
    (said,) = server.take(flow(handle=None, credit=None, next_incoming_id=None, echo=True))
    assert (said.handle, said.link_credit) == (None, None)
    (said,) = server.take(flow(handle=0, credit=None, echo=True))
    assert (said.handle, said.link_credit) == (0, links.CREDIT)


# --- links ------------------------------------------------------------------------------------------------------------


def test_a_link_that_is_refused():
    server = Server()
    server.accept_links = False
    server.open(sender("a", properties={"p": 1}), receiver("b"))
    to, back = (event.link for event in server.of(Attached))
    assert (to.properties, back.properties, to.name) == ({"p": 1}, {}, "sender")
    to.refuse(GARBAGE)
    attached, detached = server.said()
    assert (attached.target, detached) == (None, Detach(handle=0, closed=True, error=GARBAGE))
    back.refuse(GARBAGE)
    attached, _ = server.said()
    assert (attached.source, attached.role) == (None, False)
    to.refuse(GARBAGE)
    assert server.said() == []
    assert server.take(transfer(b"late"), frame(Detach(handle=0, closed=True))) == []
    assert server.of(Detached) == []
    to.accept()
    assert server.said() == []


def test_a_link_without_an_address():
    server = Server().open(frame(Attach(name="n", handle=0, role=False)), receiver(7, source=Source(address=7)))
    assert [event.link.address for event in server.of(Attached)] == ["", ""]
    assert "receiver, attached" in repr(server.of(Attached)[0].link)


def test_the_client_detaches():
    server = Server().open(sender("a"))
    (said,) = server.take(frame(Detach(handle=0, closed=True, error=GARBAGE)))
    assert said == Detach(handle=0, closed=True)
    ((link, error),) = server.of(Detached)
    assert (link.address, error) == ("a", GARBAGE)
    link.detach()
    assert server.said() == []
    assert link.has_ended


def test_a_link_that_is_detached_before_it_is_answered():
    server = Server()
    server.accept_links = False
    server.open(sender("a"), frame(Detach(handle=0)))
    assert server.of(Detached)[0].link.state is LinkState.DETACHED


def test_the_newer_of_two_links_with_one_name_stays():
    server = Server().open(sender("a", name="n"))
    said = server.take(sender("b", name="n", handle=1))
    assert (said[0].handle, said[0].error.condition) == (0, Condition.STOLEN)
    assert [event.link.address for event in server.of(Detached)] == ["a"]
    # the other direction is another link
    assert isinstance(server.take(receiver("c", name="n", handle=2))[0], Attach)
    server.take(frame(Detach(handle=0, closed=True)))
    assert [link.address for link in server.connection.links] == ["b", "c"]


def test_credit_is_renewed_and_kept():
    server = Server()
    server.accept_links = False
    server.open(sender("a"))
    (event,) = server.of(Attached)
    event.link.accept(credit=2, max_message_size=3, properties={"p": 1})
    assert server.said()[0].properties == {"p": 1}
    said = server.take(transfer(b"1"))
    assert (said[0].link_credit, said[0].delivery_count) == (2, 1)
    server.connection.links[0].grant(0)
    server.said()
    (detached,) = server.take(transfer(b"2", delivery_id=1))
    assert detached.error.condition == Condition.TRANSFER_LIMIT_EXCEEDED
    assert len(server.of(Detached)) == 1
    assert server.take(transfer(b"3", delivery_id=2)) == []
    assert len(server.of(Detached)) == 1


def test_a_message_that_is_too_large():
    server = Server()
    server.accept_links = False
    server.open(sender("a"))
    server.of(Attached)[0].link.accept(max_message_size=10)
    server.said()
    server.take(transfer(b"x" * 10, more=True))
    assert server.connection.unfinished == 10
    (detached,) = server.take(transfer(b"x", more=True))
    assert detached.error.condition == Condition.MESSAGE_SIZE_EXCEEDED
    assert server.connection.unfinished == 0


def test_a_message_that_is_given_up():
    server = Server().open(sender("a"))
    server.take(transfer(b"half", more=True))
    assert server.take(frame(Transfer(handle=0, aborted=True))) == []
    assert (server.connection.unfinished, server.of(Delivered)) == (0, [])
    assert len(server.take(transfer(b"whole", delivery_id=1))) == 1


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (frame(Transfer(handle=0), b"x"), "has no delivery-id"),
        (transfer(b"x", more=True) + transfer(b"y", delivery_id=1), "begins before 0 is complete"),
    ],
)
def test_deliveries_that_do_not_belong_together(said, words):
    text, _ = Server().open(sender("a")).fails(said)
    assert words in text


def test_nobody_sends_on_a_link_to_the_client():
    server = Server().open(receiver("a"))
    (detached,) = server.take(transfer(b"x", handle=1))
    assert detached.error.condition == Condition.NOT_ALLOWED


def test_a_delivery_is_settled_once():
    server = Server()
    server.settle = False
    server.open(sender("a"))
    server.take(
        transfer(b"1"), transfer(b"2", delivery_id=1), transfer(b"3", delivery_id=2, settled=True, message_format=5)
    )
    one, two, three = (event.delivery for event in server.of(Delivered))
    one.reject(GARBAGE)
    one.accept()
    two.release()
    three.accept()
    assert [said.state for said in server.said()] == [Rejected(error=GARBAGE), Released()]
    assert (three.settled, three.message_format, "3" in repr(three)) == (True, 5, False)


def test_nothing_is_sent_without_credit():
    server = Server()
    link = server.sends()
    with pytest.raises(AmqpStateError, match="takes no messages"):
        link.send(b"x")
    server.take(flow(credit=2**31 - 1))
    assert link.sendable == links.MAX_UNSETTLED


def test_what_a_client_says_of_credit_on_its_own_links_means_nothing():
    server = Server().open(sender("a"))
    server.take(flow(handle=0, credit=5))
    assert server.of(CreditGiven) == []


def test_a_client_that_never_settles(monkeypatch):
    monkeypatch.setattr(links, "MAX_UNSETTLED", 2)
    server = Server()
    link = server.sends(flow(credit=100))
    link.send(b"1")
    link.send(b"2")
    assert (link.sendable, link.unsettled) == (0, 2)


def test_settled_messages_are_forgotten_at_once():
    server = Server()
    link = server.sends(flow(), snd_settle_mode=1)
    assert link.send(b"1") is None
    assert link.unsettled == 0
    ((said, _),) = [each for each in server.said() if isinstance(each, tuple)]
    assert said.settled is True


def test_everything_or_nothing_is_asked_for():
    server = Server()
    link = server.sends(flow(credit=3, drain=True))
    said = [each for each in server.said() if isinstance(each, Flow)]
    assert said == []  # it was said within open()
    assert (link.credit, link.sendable) == (0, 0)
    server.take(flow(credit=3, drain=True, delivery_count=3))
    assert [event.link for event in server.of(CreditGiven)] == [link, link]
    link.detach()
    link.drained()


def test_the_answer_to_a_drain_counts_what_was_not_sent():
    server = Server()
    server.sends()
    (said,) = server.take(flow(credit=3, drain=True))
    assert (said.delivery_count, said.link_credit, said.drain) == (3, 0, True)


def test_dispositions_are_about_what_there_is():
    server = Server()
    link = server.sends(flow(credit=9))
    sent = [link.send(b"x", key) for key in range(5)]
    take = server.take
    take(frame(Disposition(role=False, first=0, settled=True)))
    take(frame(Disposition(role=True, first=0, state=Received(section_number=0, section_offset=0))))
    take(frame(Disposition(role=True, first=0)))
    take(frame(Disposition(role=True, first=90, settled=True)))
    assert server.of(Settled) == []
    take(frame(Disposition(role=True, first=1, last=2, settled=True, state=Released())))
    take(frame(Disposition(role=True, first=0, last=2**31 - 1, settled=True, state=Modified(delivery_failed=True))))
    assert [(event.sent.key, type(event.outcome)) for event in server.of(Settled)] == [
        (1, Released),
        (2, Released),
        (0, Modified),
        (3, Modified),
        (4, Modified),
    ]
    assert "Sent(0)" in repr(sent)
    text, _ = server.fails(frame(Disposition(role=True, first=5, last=1, settled=True)))
    assert "about 5 to 1" in text


def test_settling_without_a_word_means_what_was_agreed():
    for outcome, expected in ((None, Released()), (Accepted(), Accepted())):
        server = Server()
        link = server.sends(flow(), source=Source(address="a", default_outcome=outcome))
        link.send(b"x")
        server.take(frame(Disposition(role=True, first=0, settled=True)))
        assert server.of(Settled)[0].outcome == expected


def test_who_settles_second_is_told_when_everything_is_kept():
    server = Server()
    link = server.sends(flow(), rcv_settle_mode=1)
    link.send(b"x")
    server.said()
    assert server.take(frame(Disposition(role=True, first=0, state=Accepted()))) == []
    ((sent, _),) = server.of(Settled)
    sent.confirm()
    sent.confirm()
    assert server.said() == [Disposition(role=False, first=0, last=0, settled=True, state=Accepted())]


def test_nobody_speaks_about_the_messages_of_a_link_that_has_ended():
    server = Server()
    link = server.sends(flow(credit=2))
    link.send(b"x")
    link.detach()
    server.take(frame(Disposition(role=True, first=0, settled=True, state=Accepted())))
    assert server.of(Settled) == []
    with pytest.raises(AmqpStateError):
        link.send(b"y")


def test_what_is_lost_is_given_back():
    server = Server().open(sender("a"), receiver("b"))
    lost = server.connection.lose()
    assert [link.address for link in lost] == ["a", "b"]
    assert server.connection.state is ConnectionState.CLOSED
    assert server.connection.lose() == []


def test_whoever_sends_on_its_own_is_noticed():
    noticed = []
    server = Server(changed=lambda: noticed.append(1))
    link = server.sends(flow())
    noticed.clear()
    link.send(b"x")
    server.connection.close()
    assert len(noticed) == 2


@pytest.mark.parametrize(
    ("later", "earlier", "expected"), [(5, 3, 2), (3, 5, -2), (1, WRAP - 1, 2), (WRAP - 1, 1, -2), (0, 0, 0)]
)
def test_counters_begin_again(later, earlier, expected):
    assert distance(later, earlier) == expected
