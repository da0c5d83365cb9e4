"""A state that cannot be changed, as on a full disk: nothing is acknowledged and lost, and everybody is answered."""

import json

import pytest
from device_of_dps import REGISTER, Device
from http_parts import INTERNAL, Things
from hub_world import DEVICE, FakeLink, World, send, subscribe

from dps_simulator.errors.table import Dps
from dps_simulator.hub.api.device import UNAVAILABLE
from dps_simulator.hub.api.device_topics import METHODS_FILTER, TWIN_ANSWERS_FILTER
from dps_simulator.hub.api.limits import MAX_UNKEPT
from dps_simulator.hub.cloud_to_device import CloudToDeviceMessage
from dps_simulator.hub.faults import Fault
from dps_simulator.protocols.mqtt import Unsubscribe

REPORT = "$iothub/twin/PATCH/properties/reported/?$rid=1"
DEVICEBOUND = f"devices/{DEVICE}/messages/devicebound/#"


def lock(store, locked=True):
    """Let every change fail, as one does on a full disk, or let them pass again. Reading goes on."""
    store.rows(f"PRAGMA query_only={int(locked)}", ())


@pytest.fixture
def world():
    world = World()
    yield world
    world.store.close()


@pytest.fixture(autouse=True)
def _no_traceback(caplog):
    yield
    assert "Traceback" not in caplog.text


def test_reported_properties_are_stored_before_they_are_acknowledged(world):
    session, link = world.connect()
    subscribe(session, TWIN_ANSWERS_FILTER)
    link.log.clear()
    stored = []
    link.acknowledge = lambda _: stored.append(world.hub.twin(DEVICE)["properties"]["reported"].get("a"))
    send(session, REPORT, b'{"a": 1}')
    assert stored == [1]


def test_reported_properties_that_are_not_kept_are_answered_and_not_acknowledged(world):
    session, link = world.connect()
    subscribe(session, TWIN_ANSWERS_FILTER)
    link.log.clear()
    lock(world.store)
    send(session, REPORT, b'{"a": 1}')
    ((_, topic, body),) = link.log
    assert topic == "$iothub/twin/res/500/?$rid=1"
    assert "state" in json.loads(body)["message"]
    assert "a" not in world.hub.twin(DEVICE)["properties"]["reported"]
    # and then it is kept
    lock(world.store, False)
    session, again = world.connect()
    send(session, REPORT, b'{"a": 1}')
    assert [entry[0] for entry in again.log] == ["accept", "acknowledge", "publish"]
    assert world.hub.twin(DEVICE)["properties"]["reported"]["a"] == 1


def test_a_mistake_of_ours_is_answered_too(world, monkeypatch, caplog):
    session, link = world.connect()
    subscribe(session, TWIN_ANSWERS_FILTER)
    link.log.clear()
    monkeypatch.setattr(world.hub, "report", lambda *_: 1 / 0)
    send(session, REPORT, b'{"a": 1}')
    assert [entry[0] for entry in link.log] == ["publish"]
    assert "ZeroDivisionError" in caplog.text
    caplog.clear()


def test_a_client_that_could_not_send_any_more_is_let_go_so_that_it_sends_again(world):
    session, link = world.connect()
    subscribe(session, TWIN_ANSWERS_FILTER)
    link.log.clear()
    lock(world.store)
    for number in range(MAX_UNKEPT):
        assert not link.closed
        send(session, REPORT, b'{"a": 1}', packet_id=number + 1)
    assert [entry[0] for entry in link.log] == ["publish"] * MAX_UNKEPT + ["close"]


def test_what_a_device_only_reads_it_gets(world):
    session, link = world.connect()
    subscribe(session, TWIN_ANSWERS_FILTER)
    link.log.clear()
    lock(world.store)
    send(session, "$iothub/twin/GET/?$rid=2")
    assert [entry[:2] for entry in link.log] == [("acknowledge", 7), ("publish", "$iothub/twin/res/200/?$rid=2")]


@pytest.mark.parametrize("what", ["subscribe", "unsubscribe"])
def test_subscriptions_that_are_not_kept_end_the_connection(world, what):
    session, link = world.connect()
    subscribe(session, TWIN_ANSWERS_FILTER)
    link.log.clear()
    lock(world.store)
    if what == "subscribe":
        subscribe(session, METHODS_FILTER)
    else:
        session.unsubscribe(Unsubscribe(4, (TWIN_ANSWERS_FILTER,)))
    assert link.log == [("close",)]
    assert list(world.hub.subscriptions(DEVICE)) == [TWIN_ANSWERS_FILTER]
    assert "state" in world.reasons()[-1]


def test_a_session_that_cannot_begin_afresh_is_refused_with_the_code_for_trying_again(world):
    session, _ = world.connect()
    subscribe(session, TWIN_ANSWERS_FILTER)
    session.disconnected(True)
    lock(world.store)
    _, link = world.connect(clean=True)
    assert link.log == [("refuse", UNAVAILABLE)]
    assert world.hub.device(DEVICE)["connectionState"] == "Disconnected"


@pytest.mark.parametrize("qos", [0, 1])
def test_messages_from_the_cloud_wait_until_they_are_really_done(world, qos):
    session, link = world.connect()
    subscribe(session, DEVICEBOUND, qos=qos)
    world.hub.cloud_to_device.send(DEVICE, CloudToDeviceMessage(b"first", message_id="1"))
    lock(world.store)
    session.message_waiting()
    if qos:
        link.acknowledgements[-1]()
        assert "it stays in the queue" in world.reasons()[-1]
        assert world.hub.cloud_to_device.waiting(DEVICE) == 1
    assert not link.closed
    lock(world.store, False)
    # it is not sent twice on one connection, and again on the next one
    session.message_waiting()
    assert len(link.published) == 1
    session, again = world.connect(link=FakeLink())
    assert len(again.published) == qos
    if qos:
        again.acknowledgements[-1]()
    assert world.hub.cloud_to_device.waiting(DEVICE) == 0


def test_a_message_that_cannot_be_counted_as_delivered_waits_for_the_next_occasion(world):
    session, link = world.connect()
    world.hub.cloud_to_device.send(DEVICE, CloudToDeviceMessage(b"first"))
    subscribe(session, DEVICEBOUND)
    link.acknowledgements[-1]()
    world.hub.cloud_to_device.send(DEVICE, CloudToDeviceMessage(b"second"))
    world.connect(clean=True)
    lock(world.store)
    session, link = world.connect(link=FakeLink())
    assert ("accept",) in link.log
    assert link.published == []
    lock(world.store, False)
    subscribe(session, DEVICEBOUND)
    assert [body for _, body in link.published] == [b"second"]


def test_a_sender_does_not_hear_that_the_device_could_not_be_told(world, monkeypatch):
    session, link = world.connect()
    subscribe(session, DEVICEBOUND)
    real = world.hub.cloud_to_device.take

    def take(*arguments):
        lock(world.store)
        try:
            return real(*arguments)
        finally:
            lock(world.store, False)

    monkeypatch.setattr(world.hub.cloud_to_device, "take", take)
    sent = world.hub.cloud_to_device.send(DEVICE, CloudToDeviceMessage(b"first"))
    assert world.hub.cloud_to_device.waiting(DEVICE) == sent.sequence == 1
    assert link.published == []


def test_a_timer_that_meets_a_state_that_is_gone_ends_quietly(world):
    _, link = world.connect()
    world.endpoint.prepare_fault(DEVICE, Fault("KillTcp", "asked for", 5, 1))
    world.store.close()
    world.timers[-1].callback()
    assert not link.closed


def test_a_device_that_cannot_register_is_told_so_and_its_message_is_not_acknowledged(provisioning):
    provisioning.enroll()
    device = Device(provisioning).connect()
    lock(provisioning.store)
    status, body = device.ask_in_vain(REGISTER + "1")
    assert status.startswith("$dps/registrations/res/400/?$rid=1")
    assert body["errorCode"] == Dps.DEVICE_REQUEST_FAILED.code
    assert "state" in body["message"]
    lock(provisioning.store, False)
    assert device.register()[1]["status"] == "assigned"


@pytest.mark.parametrize("statement", ["INSERT", "COMMIT"])
def test_requests_are_answered_with_500_in_words(statement, caplog, monkeypatch):
    things = Things()
    real = things.store.change

    def change(given, *values):
        if given == statement:
            lock(things.store)
            return real("DELETE FROM documents", *values)
        return real(given, *values)

    if statement == "COMMIT":
        monkeypatch.setattr(things.store, "change", change)
    else:
        lock(things.store)
    answer = things.send("PUT", "/things/1", b'{"n": 1}')
    assert (answer.status, answer.headers["x-ms-error-code"]) == (500, str(INTERNAL.code))
    assert "This simulator could not keep this" in answer.body["message"]
    assert len(caplog.records) == 1
    assert "in memory" in things.trace.events()[-1].detail["reason"]
    assert things.things.get("1") is None
    things.store.close()


def test_an_operation_that_begins_its_own_transactions_needs_none_around_it(caplog):
    things = Things()
    lock(things.store)
    assert things.send("POST", "/things/1/parts/2", b"{}").status == 201
    assert not caplog.records
    things.store.close()
