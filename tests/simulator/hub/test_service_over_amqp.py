import json

import pytest
from amqp_world import AmqpWorld
from hub_world import DEVICE, HOST

from dps_simulator.hub import feedback
from dps_simulator.hub.cloud_to_device import MAX_WAITING, CloudToDeviceMessage, Outcome, QueuedMessage
from dps_simulator.hub.feedback import BATCH, CONTENT_TYPE, MAX_DELIVERIES, FeedbackQueue
from dps_simulator.protocols.amqp.messages import Message, Properties
from dps_simulator.protocols.amqp.performatives import (
    RECEIVER,
    SENDER,
    Accepted,
    Modified,
    Rejected,
    Released,
    Transfer,
)

TO = f"/devices/{DEVICE}/messages/devicebound"


@pytest.fixture
def world():
    return AmqpWorld()


@pytest.fixture
def client(world):
    client = world.client()
    assert client.put_token(world.service_token(), f"https://{HOST}") == 200
    return client


def message(to=TO, body=b"open", properties=None, **more):
    return Message(properties=Properties(to=to, **more), application_properties=properties or {}, data=body)


def test_a_message_is_accepted_when_it_is_kept(world, client):
    link = client.attach(f"amqps://{HOST}/messages/devicebound", role=SENDER)
    expiry = int(world.clock.now().timestamp() * 1000) + 60_000
    given = {"message_id": "m-1", "correlation_id": "c-1", "user_id": b"me", "content_type": "text/plain"}
    sent = message(properties={"iothub-ack": "full", "level": 7}, absolute_expiry_time=expiry, **given)
    assert client.send(link, sent) == Accepted()
    (queued,) = world.hub.cloud_to_device.take(DEVICE)
    kept = queued.message
    assert (kept.message_id, kept.correlation_id, kept.user_id, kept.content_type) == ("m-1", "c-1", "me", "text/plain")
    assert (kept.body, kept.properties, kept.ack) == (b"open", {"level": "7"}, "full")
    assert kept.expiry.timestamp() * 1000 == expiry


@pytest.mark.parametrize("to", ["/devices/a%2520b/messages/devicebound", "devices/a%20b/messages/deviceBound"])
def test_an_id_may_be_encoded(world, client, to):
    world.hub.put_device("a%20b", {})
    link = client.attach("/messages/devicebound", role=SENDER)
    assert client.send(link, message(to)) == Accepted()
    assert world.hub.cloud_to_device.waiting("a%20b") == 1


@pytest.mark.parametrize(
    ("sent", "condition", "said"),
    [
        (message("/devices/nobody/messages/devicebound"), "amqp:not-found", "404001 The device 'nobody' is not"),
        (message("/devices/d/modules/m/messages/devicebound"), "amqp:not-implemented", "need IoT Edge"),
        (message("somewhere"), "com.microsoft:argument-error", "somewhere"),
        (message(None), "com.microsoft:argument-error", "/devices/{device ID}/messages/devicebound"),
        (message(properties={"iothub-ack": "maybe"}), "com.microsoft:argument-error", "'maybe'"),
        (message(properties={"$x": "1"}), "com.microsoft:argument-error", "reserved"),
        (message(absolute_expiry_time=2**62), "com.microsoft:argument-error", "which no calendar has"),
        (message(absolute_expiry_time=1), "com.microsoft:argument-error", "later than now"),
        (message(body=b"x" * 70_000), "amqp:link:message-size-exceeded", "413001"),
        (b"garbage", "com.microsoft:argument-error", "cannot be read"),
        (b"\x00\x53\x73\xc0\x01\x09", "com.microsoft:argument-error", "cannot be read"),
    ],
)
def test_a_message_that_nobody_gets(world, client, sent, condition, said):
    link = client.attach("/messages/devicebound", role=SENDER)
    outcome = client.send(link, sent)
    assert isinstance(outcome, Rejected)
    assert outcome.error.condition == condition
    assert said in outcome.error.description
    assert client.send(link, message()) == Accepted()


def test_a_queue_that_is_full(client):
    link = client.attach("/messages/devicebound", role=SENDER)
    for _ in range(MAX_WAITING):
        assert client.send(link, message()) == Accepted()
    error = client.send(link, message()).error
    assert (error.condition, error.description[:6]) == ("amqp:resource-limit-exceeded", "403004")


def test_who_may_not_send():
    world = AmqpWorld("registryRead")
    world.policy = "registryRead"
    client = world.client()
    client.attach("/messages/devicebound", role=SENDER)
    assert client.refusal()[0] == "amqp:unauthorized-access"
    token = world.service_token().replace("skn=iothubowner", "skn=registryRead")
    assert client.put_token(token.replace("contoso", "fabrikam"), f"https://{HOST}") == 401
    assert client.put_token(token, f"https://{HOST}") in (200, 401)
    client.attach("/messages/devicebound", role=SENDER)
    assert client.refusal()[0] == "amqp:unauthorized-access"


def end_some(world, count, ack="full", how="complete"):
    queues = world.hub.cloud_to_device
    for number in range(count):
        queues.send(DEVICE, CloudToDeviceMessage(message_id=f"m-{number}", ack=ack))
        (queued,) = queues.take(DEVICE, most=1)
        getattr(queues, how)(DEVICE, queued.lock_token)


def records(messages):
    assert {each.properties.content_type for each in messages} <= {CONTENT_TYPE}
    return [[record["originalMessageId"] for record in json.loads(each.data)] for each in messages]


def test_feedback_comes_after_fifteen_seconds(world, client):
    link = client.attach("/messages/serviceBound/feedback", role=RECEIVER, credit=5)
    end_some(world, 2)
    assert client.messages(link) == []
    world.clock.advance(15)
    world.fire()
    assert records(client.messages(link)) == [["m-0", "m-1"]]
    assert len(world.hub.feedback) == 2
    client.settle()
    assert len(world.hub.feedback) == 0


def test_feedback_comes_when_a_batch_is_full(world, client):
    link = client.attach("/messages/serviceBound/feedback", role=RECEIVER, credit=5)
    end_some(world, BATCH + 1)
    ((first, *_, last),) = records(client.messages(link))
    assert (first, last) == ("m-0", f"m-{BATCH - 1}")


@pytest.mark.parametrize(
    ("ack", "told"),
    [
        ("none", []),
        ("positive", ["Success"]),
        ("negative", ["Rejected", "Expired", "Purged"]),
        ("full", ["Success", "Rejected", "Expired", "Purged"]),
    ],
)
def test_a_sender_is_told_what_it_asked_for(world, ack, told):
    queues = world.hub.cloud_to_device
    end_some(world, 1, ack)
    end_some(world, 1, ack, "reject")
    queues.send(DEVICE, CloudToDeviceMessage(ack=ack))
    world.clock.advance(3_600)
    queues.expire()
    queues.send(DEVICE, CloudToDeviceMessage(ack=ack))
    queues.purge(DEVICE)
    world.clock.advance(15)
    found = []
    while (batch := world.hub.feedback.take()) is not None:
        found += [record["statusCode"] for record in batch.records]
    # what came an hour ago is over
    assert found == [each for each in told if each in ("Expired", "Purged")]
    assert all(record in told for record in found)


def test_a_message_that_nobody_settles_is_given_up_and_its_sender_told(world):
    queues = world.hub.cloud_to_device
    queues.send(DEVICE, CloudToDeviceMessage(message_id="m", ack="negative"))
    for _ in range(10):
        (queued,) = queues.take(DEVICE)
        queues.abandon(DEVICE, queued.lock_token)
    world.clock.advance(15)
    (record,) = world.hub.feedback.take().records
    assert (record["statusCode"], record["deviceId"]) == ("DeliveryCountExceeded", DEVICE)
    assert record["deviceGenerationId"] == world.hub.device(DEVICE)["generationId"]


@pytest.mark.parametrize("outcome", [Released(), Modified(delivery_failed=True)])
def test_what_is_put_back_comes_again_ten_times(world, client, outcome):
    end_some(world, 1)
    world.clock.advance(15)
    link = client.attach("/messages/serviceBound/feedback", role=RECEIVER, credit=50)
    for number in range(MAX_DELIVERIES):
        (each,) = client.messages(link)
        assert each.header.delivery_count == number
        client.settle(outcome)
    assert client.messages(link) == []
    assert len(world.hub.feedback) == 0


def test_a_reader_that_settles_nothing_holds_a_batch_for_a_minute(world, client):
    end_some(world, 1)
    world.clock.advance(15)
    link = client.attach("/messages/serviceBound/feedback", role=RECEIVER, credit=2**32 - 1)
    assert len(client.messages(link)) == 1
    world.clock.advance(59)
    world.fire()
    assert client.messages(link) == []
    world.clock.advance(15)
    world.fire()
    assert len(client.messages(link)) == 1
    # who leaves gives it back
    client.line.lost()
    assert world.hub.feedback.take() is not None


def test_feedback_outlives_the_process(world):
    end_some(world, 3)
    world.clock.advance(15)
    queue = FeedbackQueue(host=HOST, storage=world.store, clock=world.clock, generation=lambda _: "")
    batch = queue.take()
    assert [record["originalMessageId"] for record in batch.records] == ["m-0", "m-1", "m-2"]
    queue.complete(batch.lock_token)
    again = FeedbackQueue(host=HOST, storage=world.store, clock=world.clock, generation=lambda _: "")
    assert len(again) == 0


def test_a_reset_forgets_feedback(world):
    end_some(world, 1)
    world.hub.clear()
    assert len(world.hub.feedback) == 0


def test_nobody_sends_to_where_feedback_comes_from(client):
    client.attach("/messages/serviceBound/feedback", role=SENDER)
    assert client.refusal()[0] == "amqp:not-found"
    assert client.said(Transfer) == []


def queued(number, now):
    message = CloudToDeviceMessage(b"x", message_id=f"m-{number}", ack="full")
    return QueuedMessage(number, message, now, now, 1)


def test_feedback_has_a_limit_and_batches_have_one(world, monkeypatch):
    queue = world.hub.feedback
    monkeypatch.setattr(feedback, "MAX_RECORDS", BATCH + 1)
    for number in range(BATCH + 3):
        queue.ended(DEVICE, queued(number, world.clock.now()), Outcome.COMPLETED)
    assert len(queue) == BATCH + 1
    batch = queue.take()
    assert [record["originalMessageId"] for record in batch.records] == [
        f"m-{number}" for number in range(2, BATCH + 2)
    ]
