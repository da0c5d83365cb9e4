from uuid import uuid4

import pytest
from amqp_world import NAME, AmqpWorld
from hub_world import HOST

from dps_simulator.errors.table import EventHubs, ServiceError
from dps_simulator.hub.event_positions import start_of
from dps_simulator.hub.event_readers import MAX_READERS
from dps_simulator.hub.telemetry import PARTITIONS, TelemetryBuffer, partition_of
from dps_simulator.protocols.amqp.messages import Message, Properties
from dps_simulator.protocols.amqp.performatives import RECEIVER, SENDER, Attach, Detach, Rejected
from dps_simulator.protocols.amqp.types import Symbol

PARTITION = str(partition_of("d1"))


@pytest.fixture
def world():
    return AmqpWorld()


@pytest.fixture
def client(world):
    client = world.client()
    assert client.put_token(world.event_token()) == 200
    return client


def bodies(messages):
    return [message.data for message in messages]


def test_a_reader_gets_what_is_there_and_what_comes(world, client):
    world.telemetry(b"before")
    link = client.read_events(PARTITION)
    world.telemetry(b"now")
    first, second = client.messages(link)
    assert bodies([first, second]) == [b"before", b"now"]
    assert [each.annotations["x-opt-sequence-number"] for each in (first, second)] == [0, 1]
    assert (first.annotations["x-opt-offset"], second.annotations["x-opt-offset"]) == ("0", "7")


def test_no_more_than_the_client_takes(world, client):
    link = client.read_events(PARTITION, credit=2)
    for number in range(5):
        world.telemetry(b"%d" % number)
    assert bodies(client.messages(link)) == [b"0", b"1"]
    client.credit(link, 3)
    assert bodies(client.messages(link)) == [b"2"]


def test_a_client_that_takes_everything_and_reads_nothing(world, client):
    """A credit of 2^32 makes nothing pile up: messages stay in the buffer until there is room."""
    link = client.read_events(PARTITION, credit=2**32 - 1)
    client.line.pause_writing()
    for _ in range(50):
        world.telemetry(b"x" * 100_000)
    assert client.messages(link) == []
    client.line.resume_writing()
    assert len(client.messages(link)) == 50


def test_a_reader_that_is_too_slow_goes_on_with_what_is_left(world, client):
    link = client.read_events(PARTITION, credit=1)
    world.hub.telemetry._max_messages = 3
    for number in range(10):
        world.telemetry(b"%d" % number)
    client.credit(link, 50)
    assert bodies(client.messages(link)) == [b"0", b"7", b"8", b"9"]
    assert world.reasons() == ["6 messages made room for newer ones before they were read"]


@pytest.mark.parametrize(
    ("options", "condition", "said"),
    [
        ({"partition": str(PARTITIONS)}, "com.microsoft:argument-out-of-range", "It should be between 0 and 3."),
        ({"partition": "-1"}, "com.microsoft:argument-out-of-range", "It should be between 0 and 3."),
        ({"partition": "\u0661"}, "com.microsoft:argument-out-of-range", "It should be between 0 and 3."),
        ({"entity": "other"}, "amqp:not-found", f"'sb://{HOST}/other/consumergroups/$default/partitions/0' could not"),
        ({"group": "mine"}, "amqp:not-found", "/consumergroups/mine/partitions/0' could not be found."),
        (
            {"selector": "amqp.annotation.x-opt-offset > '7'"},
            "com.microsoft:argument-error",
            "last offset in the system",
        ),
        ({"selector": "a = 1"}, "com.microsoft:argument-error", "The filter 'a = 1' cannot be read"),
        ({"selector": 7}, "com.microsoft:argument-error", "is not known"),
    ],
)
def test_what_cannot_be_read(world, client, options, condition, said):
    if options.get("entity") == "other":
        assert client.put_token(world.event_token("other")) == 200
    client.read_events(**options)
    found = client.refusal()
    assert found[0] == condition
    assert said in found[1]
    assert len(world.events.readers) == 0


def test_who_may_not_read(world):
    client = world.client()
    assert client.put_token(world.event_token(key=b"wrong")) == 401
    # a token of the IoT hub is signed with the bytes of the key, one of Event Hubs with its text
    assert client.put_token(world.event_token(key=b"o" * 32)) == 401
    assert client.put_token(world.event_token().replace("contoso-hub-1.azure", "contoso-hub-9.azure")) == 401
    client.read_events()
    assert client.refusal()[0] == "amqp:unauthorized-access"
    assert client.put_token(world.service_token(), f"https://{HOST}") == 200
    client.read_events()
    assert client.refusal()[0] == "amqp:unauthorized-access"


def test_a_policy_without_the_right():
    world = AmqpWorld("device")
    world.policy = "device"
    client = world.client()
    assert client.put_token(world.event_token()) == 200
    client.read_events()
    assert client.refusal()[0] == "amqp:unauthorized-access"
    assert world.reasons()[-1] == "the policy 'device' lacks the right ServiceConnect"


def test_an_expired_token_ends_a_reader(world):
    client = world.client()
    assert client.put_token(world.event_token(ttl=60)) == 200
    link = client.read_events(PARTITION)
    world.clock.advance(61)
    world.fire()
    condition, text = client.refusal()
    assert (condition, text[:6]) == ("amqp:unauthorized-access", "401003")
    world.telemetry(b"x")
    assert client.messages(link) == []
    assert len(world.events.readers) == 0


def epoch(level):
    return {"properties": {Symbol("com.microsoft:epoch"): level}}


def test_too_many_readers(client):
    for _ in range(MAX_READERS):
        client.read_events()
    assert client.said(Detach) == []
    client.read_events()
    condition, said = client.refusal()
    assert condition == "amqp:resource-limit-exceeded"
    assert said.endswith("which is 5. List of connected receivers - nil, nil, nil, nil, nil.")
    client.read_events("1")
    assert client.said(Detach) == []


def test_owners_of_a_partition(world, client):
    client.read_events()
    owner = client.read_events(**epoch(3))
    assert "with epoch '-1' is getting disconnected" in client.refusal()[1]
    client.read_events()
    assert client.refusal()[1].startswith("At least one receiver for the endpoint is created with epoch of '3'")
    client.read_events(**epoch(2))
    assert client.refusal()[1].startswith("A receiver with a higher epoch '3' already exists.")
    client.read_events(**epoch(3))
    (gone,) = client.said(Detach)
    assert gone.performative.handle == owner
    assert len(world.events.readers) == 1
    client.line.lost()
    assert len(world.events.readers) == 0


@pytest.mark.parametrize(
    ("address", "role", "condition"),
    [
        (NAME, SENDER, "amqp:unauthorized-access"),
        (f"{NAME}/Partitions/0", SENDER, "amqp:unauthorized-access"),
        ("messages/events/$management", RECEIVER, "amqp:not-implemented"),
        ("messages/serviceBound/filenotifications", RECEIVER, "amqp:not-implemented"),
        ("jobs", RECEIVER, "amqp:not-implemented"),
        ("configurations", RECEIVER, "amqp:not-implemented"),
        ("something", RECEIVER, "amqp:not-found"),
    ],
)
def test_what_is_not_there_says_so(world, client, address, role, condition):
    assert client.put_token(world.service_token(), f"https://{HOST}") == 200
    client.attach(address, role=role)
    assert client.refusal()[0] == condition


class Management:
    def __init__(self, client):
        self.client = client
        self.requests = client.attach("$management", role=SENDER)
        self.answers = client.attach("$management", role=RECEIVER, credit=50)

    def ask(self, **asked):
        request = {"operation": "READ", "type": "com.microsoft:partition", "name": NAME, **asked}
        number = uuid4()
        self.client.send(
            self.requests, Message(properties=Properties(message_id=number), application_properties=request, value=None)
        )
        (answer,) = self.client.messages(self.answers)
        assert answer.properties.correlation_id == number
        return answer.application_properties["status-code"], answer


def test_what_is_asked_about_partitions(world, client):
    management = Management(client)
    for number in range(3):
        world.telemetry(b"%d" % number)
    status, answer = management.ask(partition=PARTITION)
    value = answer.value
    assert status == 200
    assert (value["begin_sequence_number"], value["last_enqueued_sequence_number"]) == (0, 2)
    assert (value["last_enqueued_offset"], value["is_partition_empty"]) == ("4", False)
    status, answer = management.ask(type="com.microsoft:eventhub")
    assert answer.value["partition_ids"].items == ("0", "1", "2", "3")
    for asked, status, condition in (
        ({"partition": "4"}, 400, "com.microsoft:argument-out-of-range"),
        ({"partition": None}, 400, "com.microsoft:argument-out-of-range"),
        ({"name": "other"}, 404, "amqp:not-found"),
        ({"operation": "WRITE"}, 501, "amqp:not-implemented"),
        ({"type": 7}, 501, "amqp:not-implemented"),
        ({"security_token": world.event_token(key=b"wrong")}, 401, "amqp:unauthorized-access"),
    ):
        found, answer = management.ask(**{"partition": "0", **asked})
        assert (found, answer.application_properties["error-condition"]) == (status, condition)
    assert isinstance(client.send(management.requests, b"\x00garbage"), Rejected)


def test_nobody_is_told_of_an_answer_that_nobody_takes(client):
    requests = client.attach("$management", role=SENDER)
    assert isinstance(client.send(requests, Message(value=None)), Rejected)
    client.attach("$management", role=RECEIVER)
    for _ in range(65):
        client.send(requests, Message(value=None))
    assert client.closed


def test_positions():
    buffer = TelemetryBuffer()
    partition = buffer.partitions[int(PARTITION)]
    clock = AmqpWorld().clock
    moments = []
    assert [start_of(text, partition) for text in (None, *map(_offset, ("-1", "@latest")))] == [0, 0, 0]
    for _ in range(3):
        buffer.append("d1", b"xx", enqueued=clock.now(), system={}, properties={})
        moments.append(int(clock.now().timestamp() * 1000))
        clock.advance(10)
    for selector, start in (
        (_offset("0"), 1),
        (_offset("0", ">="), 0),
        (_offset("1"), 1),
        (_offset("6"), 3),
        (_offset("@latest"), 3),
        (_offset("@latest", ">="), 2),
        ("amqp.annotation.x-opt-sequence-number > '1'", 2),
        ("amqp.annotation.x-opt-sequence-number >= 1", 1),
        (f"amqp.annotation.x-opt-enqueued-time > '{moments[0]}'", 1),
        (f"amqp.annotation.x-opt-enqueued-time >= '{moments[0]}'", 0),
        (f"amqp.annotation.x-opt-enqueuedtimeutc > {moments[2] + 99}", 3),
    ):
        assert start_of(selector, partition) == start, selector
    for selector in (_offset("7"), "amqp.annotation.x-opt-sequence-number >= '3'", _offset("1" * 19)):
        with pytest.raises(ServiceError) as refused:
            start_of(selector, partition)
        assert refused.value.kind is EventHubs.POSITION_INVALID
    for selector in ("everything", "amqp.annotation.x-opt-sequence-number > '@latest'"):
        with pytest.raises(ServiceError) as refused:
            start_of(selector, partition)
        assert refused.value.kind is EventHubs.FILTER_INVALID
    buffer.clear()
    assert start_of(_offset("0"), partition) == 3


def _offset(value, operator=">"):
    return f"amqp.annotation.x-opt-offset {operator} '{value}'"


def test_a_window_of_the_session_that_opens_again_wakes_every_reader(world, client):
    assert client.said(Attach)
    first, second = (client.read_events(PARTITION, credit=10) for _ in range(2))
    client.credit(first, 10, echo=False)
    world.telemetry(b"x")
    assert len(client.messages(first)) == len(client.messages(second)) == 1
