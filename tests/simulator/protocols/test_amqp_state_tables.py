"""Every input in every state of connections and links does what the tables say."""

import pytest
from amqp_client import begin, flow, frame, opening, receiver, sasl, sasl_response, sender, transfer
from amqp_server import GARBAGE, Server

from dps_simulator.protocols.amqp.connections import TRANSITIONS, AmqpConnection, ConnectionState, Input
from dps_simulator.protocols.amqp.errors import AmqpProtocolError, AmqpStateError
from dps_simulator.protocols.amqp.events import CreditGiven, Delivered, Detached
from dps_simulator.protocols.amqp.frames import AMQP_HEADER, SASL_HEADER
from dps_simulator.protocols.amqp.links import TRANSITIONS as LINK_TRANSITIONS
from dps_simulator.protocols.amqp.links import LinkInput, LinkState
from dps_simulator.protocols.amqp.performatives import Attach, Close, Detach, End, Flow

# --- connections ------------------------------------------------------------------------------------------------------


def events(connection, data):
    connection.receive(data, 0.0)
    found = []
    while (event := connection.next_event()) is not None:
        found.append(event)
    return found


def connection_in(state):
    """A connection that has come to a state on its own."""
    connection = AmqpConnection(0.0, mechanisms=("PLAIN",))
    events(connection, BEFORE[state])
    for step in STEPS.get(state, ()):
        step(connection)
    connection.data_to_send()
    assert connection.state is state
    return connection


_State = ConnectionState
BEFORE = {
    _State.AWAITING_HEADER: b"",
    _State.AWAITING_SASL: SASL_HEADER,
    _State.AUTHENTICATING: sasl(),
    _State.AWAITING_RESPONSE: sasl(),
    _State.AUTHENTICATED: sasl(),
    _State.AWAITING_OPEN: AMQP_HEADER,
    _State.OPENING: opening(),
    _State.OPEN: opening(),
    _State.CLOSING: opening(),
    _State.CLOSED: opening(),
}
STEPS = {
    _State.AWAITING_RESPONSE: [lambda connection: connection.challenge(b"?")],
    _State.AUTHENTICATED: [AmqpConnection.approve],
    _State.OPEN: [AmqpConnection.accept],
    _State.CLOSING: [AmqpConnection.accept, AmqpConnection.close],
    _State.CLOSED: [AmqpConnection.lose],
}
#: What the client says.
SAID = {
    Input.SASL_HEADER: SASL_HEADER,
    Input.AMQP_HEADER: AMQP_HEADER,
    Input.SASL_INIT: sasl()[8:],
    Input.SASL_RESPONSE: sasl_response(b"!"),
    Input.OPEN: opening()[8:],
    Input.FRAME: begin(),
    Input.CLOSE: frame(Close()),
}
#: What is done here.
DONE = {
    Input.CHALLENGE: lambda connection: connection.challenge(b"?"),
    Input.APPROVE: AmqpConnection.approve,
    Input.DENY: AmqpConnection.deny,
    Input.ACCEPT: AmqpConnection.accept,
}


def test_every_input_is_one_of_the_client_or_of_the_server():
    assert {*SAID, *DONE, Input.SEND, Input.END, Input.LOSE} == set(Input)
    assert set(TRANSITIONS.values()) | {ConnectionState.AWAITING_HEADER} == set(ConnectionState)


@pytest.mark.parametrize("given", SAID, ids=lambda given: given.name)
@pytest.mark.parametrize("state", ConnectionState, ids=lambda state: state.name)
def test_what_a_client_says_in_each_state(state, given):
    connection = connection_in(state)
    following = TRANSITIONS.get((state, given))
    if state in (ConnectionState.AUTHENTICATING, ConnectionState.OPENING, ConnectionState.CLOSED):
        # nothing is read before the answer, and nothing after the end
        assert events(connection, SAID[given]) == []
        assert connection.state is state
        assert following is None
    elif following is None:
        with pytest.raises(AmqpProtocolError):
            events(connection, SAID[given])
        assert connection.state is ConnectionState.CLOSED
    else:
        events(connection, SAID[given])
        assert connection.state is following


@pytest.mark.parametrize("given", DONE, ids=lambda given: given.name)
@pytest.mark.parametrize("state", ConnectionState, ids=lambda state: state.name)
def test_what_is_done_in_each_state(state, given):
    connection = connection_in(state)
    following = TRANSITIONS.get((state, given))
    if following is None:
        with pytest.raises(AmqpStateError, match=state.value):
            DONE[given](connection)
        assert (connection.state, connection.data_to_send()) == (state, b"")
    else:
        DONE[given](connection)
        assert connection.state is following
        assert connection.data_to_send()


@pytest.mark.parametrize("state", ConnectionState, ids=lambda state: state.name)
def test_only_an_open_connection_sends(state):
    connection = connection_in(state)
    connection.put(Flow(incoming_window=1, next_outgoing_id=1, outgoing_window=1))
    assert bool(connection.data_to_send()) is ((state, Input.SEND) in TRANSITIONS)
    assert connection.state is state


@pytest.mark.parametrize("state", ConnectionState, ids=lambda state: state.name)
def test_the_end_in_each_state(state):
    connection = connection_in(state)
    connection.close(GARBAGE)
    # before both have said OPEN there is nobody to say CLOSE to
    opened = ConnectionState.CLOSING if state is ConnectionState.OPENING else ConnectionState.CLOSED
    assert connection.state is TRANSITIONS.get((state, Input.END), opened)
    connection = connection_in(state)
    connection.lose()
    assert connection.state is TRANSITIONS[state, Input.LOSE]
    assert connection.deadline is None


# --- links ------------------------------------------------------------------------------------------------------------


def link_in(state, *, to_client):
    """A link in a state, and the server that has it."""
    server = Server()
    server.accept_links = state is not LinkState.OFFERED
    server.open(receiver("a", handle=0) if to_client else sender("a"))
    (link,) = server.connection.links
    if to_client and state is not LinkState.OFFERED:
        server.take(flow(handle=0))
    if state is LinkState.DETACHING:
        link.detach()
    elif state is LinkState.DETACHED:
        server.take(frame(Detach(handle=0)))
    server.events.clear()
    server.said()
    assert link.state is state
    return server, link


STATES = pytest.mark.parametrize("state", LinkState, ids=lambda state: state.name)


@STATES
def test_a_link_is_accepted(state):
    server, link = link_in(state, to_client=True)
    following = LINK_TRANSITIONS.get((state, LinkInput.ACCEPT))
    if state is LinkState.ATTACHED:
        with pytest.raises(AmqpStateError):
            link.accept()
    else:
        link.accept()
    assert link.state is (following or state)
    assert [type(each) for each in server.said()] == ([Attach] if following else [])


@STATES
def test_a_link_is_detached_here(state):
    server, link = link_in(state, to_client=False)
    following = LINK_TRANSITIONS.get((state, LinkInput.DETACH))
    link.detach(GARBAGE)
    assert link.state is (following or state)
    assert server.said() == ([Detach(handle=0, closed=True, error=GARBAGE)] if following else [])


@STATES
def test_a_client_detaches(state):
    server, link = link_in(state, to_client=False)
    following = LINK_TRANSITIONS.get((state, LinkInput.CLIENT_DETACHES))
    said = server.take(frame(Detach(handle=0)))
    assert link.state is LinkState.DETACHED
    if following is None:
        assert [type(each) for each in said] == [End]  # no link has this handle
    else:
        # whoever has detached it here waits for no further word
        news = state is not LinkState.DETACHING
        assert said == ([Detach(handle=0)] if news else [])
        assert len(server.of(Detached)) == news


@STATES
def test_a_message_is_sent(state):
    server, link = link_in(state, to_client=True)
    if (state, LinkInput.SEND) in LINK_TRANSITIONS:
        link.send(b"x")
        assert len(server.said()) == 1
    else:
        with pytest.raises(AmqpStateError):
            link.send(b"x")
        assert server.said() == []
    assert link.state is state


@STATES
def test_a_message_comes(state):
    server, link = link_in(state, to_client=False)
    server.take(transfer(b"x"))
    assert len(server.of(Delivered)) == ((state, LinkInput.TRANSFER) in LINK_TRANSITIONS)
    assert link.state is state


@STATES
def test_credit_comes(state):
    server, link = link_in(state, to_client=True)
    server.take(flow(handle=0, credit=20))
    assert len(server.of(CreditGiven)) == ((state, LinkInput.FLOW) in LINK_TRANSITIONS)
    assert link.state is state


def test_every_state_of_a_link_is_reached():
    assert set(LINK_TRANSITIONS.values()) | {LinkState.OFFERED} == set(LinkState)
    assert {given for _, given in LINK_TRANSITIONS} == set(LinkInput)
