from __future__ import annotations

import contextlib
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dps_simulator.common.clock import ManualClock
from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.hub.cloud_to_device import (
    MAX_DELIVERIES,
    MAX_SIZE,
    MAX_WAITING,
    CloudToDeviceMessage,
    CloudToDeviceQueues,
    Outcome,
    property_bag,
)
from dps_simulator.hub.connections import Connections
from dps_simulator.hub.message_locks import LOCK_TIMEOUT, MessageLocks
from dps_simulator.hub.telemetry import parse_properties
from dps_simulator.process.store import Store

HOST = "contoso-hub-1.azure-devices.test"


class Connection:
    def __init__(self):
        self.told = 0

    def message_waiting(self):
        self.told += 1


class World:
    def __init__(self, store=None, clock=None):
        self.clock = clock or ManualClock()
        self.store = store or Store()
        self.devices = {"d", "e"}
        self.connections = Connections(self.clock)
        self.queues = self.opened()

    def opened(self, host=HOST):
        return CloudToDeviceQueues(
            host=host,
            storage=self.store,
            clock=self.clock,
            has_device=self.devices.__contains__,
            connections=self.connections,
        )

    def send(self, body=b"x", device="d", **fields):
        return self.queues.send(device, CloudToDeviceMessage(body, **fields))

    def bodies(self, device="d"):
        return [queued.message.body for queued in self.queues.take(device)]

    def take(self, device="d", **options):
        """What is handed out for as long as usual."""
        return self.queues.take(device, lock_lasts=LOCK_TIMEOUT, **options)

    def stored(self):
        return self.store.collection("cloud-to-device message").count()


@pytest.fixture
def world():
    return World()


def refused(kind, function, *arguments, **named):
    with pytest.raises(ServiceError) as caught:
        function(*arguments, **named)
    assert caught.value.kind is kind
    return caught.value.message


def undone(world, change):
    with contextlib.suppress(RuntimeError), world.store.transaction():
        change()
        raise RuntimeError


def test_messages_come_in_order_and_stay_until_they_are_settled(world):
    first, second = world.send(b"1"), world.send(b"2")
    assert first.message.message_id != second.message.message_id
    assert (world.queues.waiting("d"), first.lock_token) == (2, "")
    one, two = world.queues.take("d")
    assert [queued.message.body for queued in (one, two)] == [b"1", b"2"]
    assert [queued.deliveries for queued in (one, two)] == [1, 1]
    assert world.queues.take("d") == []
    world.queues.complete("d", one.lock_token)
    assert world.queues.waiting("d") == 1
    world.queues.release("d", [one.lock_token, two.lock_token, "nonsense"])
    (again,) = world.queues.take("d")
    assert (again.sequence, again.deliveries, again.lock_token != two.lock_token) == (two.sequence, 2, True)
    world.queues.complete("d", again.lock_token)
    assert (world.queues.waiting("d"), world.queues.take("d"), world.stored()) == (0, [], 0)


def test_everything_survives_a_restart(world):
    expiry = datetime(2030, 1, 1, tzinfo=timezone.utc)
    facts = {
        "properties": {"a": "ü", "empty": ""},
        "message_id": "m",
        "correlation_id": "c",
        "user_id": "u",
        "content_type": "t",
        "content_encoding": "e",
        "expiry": expiry,
        "ack": "full",
    }
    sent = world.send(b"\xff", **facts)
    world.send(b"plain", "e")
    world.queues.take("d")
    again = World(world.store, world.clock)
    assert again.opened("other.test").waiting("d") == 0
    assert again.queues.waiting("d") == 1
    (queued,) = again.queues.take("d")
    assert (queued.message, queued.enqueued, queued.expiry) == (sent.message, sent.enqueued, expiry)
    assert queued.deliveries == 2
    assert queued.message == CloudToDeviceMessage(b"\xff", **facts)
    (plain,) = again.queues.take("e")
    assert plain.message.expiry is None
    assert plain.expiry == world.clock.now() + timedelta(hours=1)
    assert again.send().sequence > plain.sequence


def test_more_than_a_page_of_messages_is_found_again():
    world = World()
    world.devices.update(f"d{number}" for number in range(250))
    for number in range(250):
        world.send(device=f"d{number}")
    again = World(world.store, world.clock)
    assert all(again.queues.waiting(f"d{number}") == 1 for number in range(250))


def test_messages_expire(world):
    world.send(b"soon", expiry=world.clock.now() + timedelta(seconds=10))
    world.send(b"later")
    world.clock.advance(10)
    assert world.queues.waiting("d") == 1
    assert world.stored() == 2
    assert world.bodies() == [b"later"]
    assert world.stored() == 1
    world.clock.advance(3_600)
    assert world.queues.waiting("d") == 0
    world.send(b"new")
    assert (world.bodies(), world.stored()) == ([b"new"], 1)


def test_the_queue_is_limited_and_expired_messages_make_room(world):
    for _ in range(MAX_WAITING):
        world.send(expiry=world.clock.now() + timedelta(seconds=10))
    assert "purge the queue" in refused(Hub.DEVICE_QUEUE_FULL, world.send)
    world.send(device="e")
    world.clock.advance(10)
    world.send()
    assert world.queues.waiting("d") == 1


# --- locks ----------------------------------------------------------------------------------------------------------


def lost(world, settle, token, device="d"):
    said = refused(Hub.DEVICE_MESSAGE_LOCK_LOST, getattr(world.queues, settle), device, token)
    assert "within 60 s" in said
    return said


SETTLING = pytest.mark.parametrize("settle", ["complete", "reject", "abandon"])


@SETTLING
def test_a_message_is_settled_once_and_by_nobody_else(world, settle):
    world.send()
    world.send(device="e")
    (mine,), (other,) = world.take(), world.take("e")
    lost(world, settle, other.lock_token)
    lost(world, settle, mine.lock_token, "e")
    lost(world, settle, "")
    getattr(world.queues, settle)("d", mine.lock_token)
    lost(world, settle, mine.lock_token)
    assert world.queues.waiting("d") == (1 if settle == "abandon" else 0)
    assert world.queues.waiting("e") == 1


@SETTLING
def test_a_lock_ends_with_its_time_and_the_message_is_there_again(world, settle):
    world.send()
    (first,) = world.take()
    world.clock.advance(59.9)
    assert world.take() == []
    world.clock.advance(0.1)
    lost(world, settle, first.lock_token)
    (second,) = world.take()
    assert (second.sequence, second.deliveries) == (first.sequence, 2)
    lost(world, settle, first.lock_token)
    getattr(world.queues, settle)("d", second.lock_token)


@SETTLING
def test_an_expired_message_is_settled_no_more_though_its_lock_lasts(world, settle):
    world.send(expiry=world.clock.now() + timedelta(seconds=10))
    (held,) = world.take()
    world.clock.advance(10)
    lost(world, settle, held.lock_token)
    assert (world.take(), world.stored()) == ([], 0)


@SETTLING
def test_what_was_settled_and_not_kept_is_still_held(world, settle):
    world.send()
    (held,) = world.take()
    undone(world, lambda: getattr(world.queues, settle)("d", held.lock_token))
    assert (world.queues.waiting("d"), world.take()) == (1, [])
    getattr(world.queues, settle)("d", held.lock_token)


def test_a_lock_without_a_time_lasts_until_it_is_released(world):
    world.send()
    (held,) = world.queues.take("d")
    world.clock.advance(3_599)
    assert world.take() == []
    world.queues.complete("d", held.lock_token)
    assert world.stored() == 0


def test_as_many_are_handed_out_as_are_asked_for(world):
    for number in range(5):
        world.send(b"%d" % number)
    assert [queued.message.body for queued in world.take(most=1)] == [b"0"]
    assert [queued.message.body for queued in world.take(most=2)] == [b"1", b"2"]
    assert [queued.message.body for queued in world.take()] == [b"3", b"4"]


def test_a_message_that_is_handed_out_and_not_counted_is_held_by_nobody(world):
    world.send()
    undone(world, world.take)
    assert [queued.deliveries for queued in world.take()] == [1]


def test_locks_do_not_survive_a_restart(world):
    world.send()
    (held,) = world.take()
    again = World(world.store, world.clock)
    lost(again, "complete", held.lock_token)
    assert [queued.deliveries for queued in again.take()] == [2]


def test_an_abandoned_message_keeps_its_place_and_who_is_connected_gets_it(world):
    connection = Connection()
    world.send(b"1")
    world.send(b"2")
    first, _ = world.take()
    world.connections.opened("d", connection)
    assert world.queues.abandon("d", first.lock_token)
    assert connection.told == 1
    world.clock.advance(60)
    assert world.bodies() == [b"1", b"2"]


@pytest.mark.parametrize("way", ["abandon", "time"])
def test_a_message_that_nobody_completes_is_given_up(world, way):
    world.send()
    for number in range(1, MAX_DELIVERIES + 1):
        (held,) = world.take()
        assert held.deliveries == number
        if way == "time":
            world.clock.advance(60)
        else:
            assert world.queues.abandon("d", held.lock_token) is (number < MAX_DELIVERIES)
    assert world.take() == []
    assert (world.queues.waiting("d"), world.stored()) == (0, 0)
    lost(world, "abandon", held.lock_token)


def test_whoever_asks_is_told_how_messages_ended(world):
    told = []
    world.queues.ended = lambda device_id, queued, outcome: told.append((device_id, queued.message.body, outcome))
    for body in (b"completed", b"rejected", b"abandoned", b"purged"):
        world.send(body)
    world.send(b"expired", expiry=world.clock.now() + timedelta(seconds=5))
    completed, rejected, abandoned = world.take(most=3)
    undone(world, lambda: world.queues.complete("d", completed.lock_token))
    told.clear()  # it is told within the transaction, and what it keeps is undone as well
    world.queues.complete("d", completed.lock_token)
    world.queues.reject("d", rejected.lock_token)
    for _ in range(MAX_DELIVERIES):
        world.queues.abandon("d", abandoned.lock_token)
        (abandoned, *_) = world.take(most=1)
    world.clock.advance(5)
    world.queues.purge("d")
    assert told == [
        ("d", b"completed", Outcome.COMPLETED),
        ("d", b"rejected", Outcome.REJECTED),
        ("d", b"abandoned", Outcome.DELIVERY_COUNT_EXCEEDED),
        ("d", b"expired", Outcome.EXPIRED),
        ("d", b"purged", Outcome.PURGED),
    ]
    world.send(b"gone with the device")
    world.queues.forget("d")
    assert len(told) == 5


def test_purging_takes_messages_out_of_every_hand(world):
    world.send()
    (held,) = world.take()
    assert world.queues.purge("d") == 1
    lost(world, "complete", held.lock_token)


def test_nothing_is_kept_of_locks_that_are_gone():
    clock = ManualClock()
    locks = MessageLocks(clock)
    for device in ("d", "e"):
        lock = locks.new(1, LOCK_TIMEOUT)
        locks.enter(device, lock)
        locks.enter(device, locks.new(1, None))
        assert locks.find(device, lock.token) is None
        locks.release(device, 1)
        locks.release(device, 1)
    assert locks._locks == {}


def test_connected_devices_are_told_once_the_message_is_kept(world):
    connection = Connection()
    world.connections.opened("d", connection)
    world.send()
    world.send(device="e")
    assert connection.told == 1
    undone(world, world.send)
    assert connection.told == 1
    assert (world.queues.waiting("d"), world.stored()) == (1, 2)


def test_purging_and_forgetting(world):
    world.send()
    world.send()
    world.send(device="e")
    assert world.queues.purge("d") == 2
    assert world.queues.purge("d") == 0
    assert world.queues.waiting("e") == 1
    world.queues.clear()
    assert (world.queues.waiting("e"), world.stored()) == (0, 0)


def test_purging_counts_what_is_still_worth_something(world):
    world.send(expiry=world.clock.now() + timedelta(seconds=10))
    world.send()
    world.clock.advance(10)
    assert world.queues.purge("d") == 1
    assert world.stored() == 0


def test_a_removal_that_is_undone_removes_nothing(world):
    world.send()
    undone(world, lambda: world.queues.forget("d"))
    assert (world.queues.waiting("d"), world.bodies()) == (1, [b"x"])


def test_a_message_that_vanished_from_the_store_is_passed_over(world):
    world.send(b"1")
    world.send(b"2")
    world.store.collection("cloud-to-device message").delete(f"{HOST}\nd\n1")
    assert world.bodies() == [b"2"]


def test_unknown_devices(world):
    assert "'x' is not registered" in refused(Hub.DEVICE_NOT_FOUND, world.send, device="x")
    refused(Hub.DEVICE_NOT_FOUND, world.queues.purge, "x")
    refused(Hub.ARGUMENT_INVALID, world.send, device="a b")
    refused(Hub.ARGUMENT_INVALID, world.queues.purge, "d/module")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ack": "maybe"}, "ack is 'maybe'; it must be 'none' or 'positive' or 'negative' or 'full'"),
        ({"expiry": datetime(2020, 1, 1, tzinfo=timezone.utc)}, "expiryTimeUtc is '2020-01-01T00:00:00Z'"),
        ({"message_id": 7}, "messageId is 7; it must be a text"),
        ({"properties": {"a": 1}}, "properties.a is 1; it must be a text"),
        ({"properties": {"a": None}}, "properties.a is None; it must be a text"),
        ({"properties": {1: "a"}}, "the name of a property is 1"),
        ({"properties": {"": "a"}}, "the name ''"),
        ({"properties": {"$.mid": "a"}}, "the name '$.mid'"),
        ({"properties": {"iothub-ack": "full"}}, "the name 'iothub-ack'"),
        ({"properties": {"a": "\ud800"}}, "properties.a holds half of a surrogate pair"),
        ({"properties": {"\ud800": "a"}}, "the name of a property holds half"),
        ({"correlation_id": "\udfff"}, "correlationId holds half"),
    ],
)
def test_wrong_messages(world, fields, said):
    assert said in refused(Hub.ARGUMENT_INVALID, world.send, **fields)
    assert world.stored() == 0


def test_the_size_is_limited(world):
    world.send(b"x" * (MAX_SIZE - 4), message_id="m", properties={"a": "bc"})
    said = refused(Hub.MESSAGE_TOO_LARGE, world.send, b"x" * (MAX_SIZE - 3), message_id="m", properties={"a": "bc"})
    assert said == f"The message has {MAX_SIZE + 1} bytes; at most {MAX_SIZE} are allowed."
    # each character of the value takes three when it is encoded
    assert "60000 fit" in refused(Hub.MESSAGE_TOO_LARGE, world.send, properties={"a": "=" * 20_000})


def test_the_property_bag():
    message = CloudToDeviceMessage(properties={"a b": "c/d"}, message_id="m", ack="negative")
    assert property_bag("d", message) == (
        "%24.mid=m&%24.to=%2Fdevices%2Fd%2Fmessages%2Fdevicebound&iothub-ack=negative&a%20b=c%2Fd"
    )


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
NAMES = TEXTS.filter(lambda name: name and not name.startswith(("$", "iothub-")))


@given(st.dictionaries(NAMES, TEXTS, max_size=5), TEXTS)
def test_what_is_put_into_a_bag_comes_out_again(properties, correlation_id):
    bag = property_bag("d", CloudToDeviceMessage(properties=properties, correlation_id=correlation_id, message_id="m"))
    assert not {"/", "#", "+"} & set(bag)
    system, found = parse_properties(bag)
    assert found == properties
    assert system.get("correlation-id", "") == correlation_id
