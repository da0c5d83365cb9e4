import asyncio
import json

import pytest
from amqp_client import Client, flow, frame, one, receiver, sasl, sender
from hub_world import DEVICE, HOST, POLICY, SECONDARY, WRONG, World
from hypothesis import given, settings
from hypothesis import strategies as st
from thoroughness import examples

from dps_simulator.common.http import Peer
from dps_simulator.common.ports import StorageError
from dps_simulator.hub.api.amqp.connection import HubAmqpEndpoint
from dps_simulator.hub.api.amqp.message_form import BATCH_FORMAT
from dps_simulator.hub.api.amqp.tokens import MAX_WAITING, audience_path
from dps_simulator.hub.cloud_to_device import CloudToDeviceMessage
from dps_simulator.protocols.amqp.encoding import encoded
from dps_simulator.protocols.amqp.messages import Message, Properties
from dps_simulator.protocols.amqp.performatives import (
    Accepted,
    Attach,
    Close,
    Detach,
    Disposition,
    Rejected,
    Released,
    SaslOutcome,
)
from dps_simulator.protocols.amqp.types import Described, Int, ULong

EVENTS, BOUND = f"/devices/{DEVICE}/messages/events", f"/devices/{DEVICE}/messages/devicebound"
OK = Int(200)
TWIN, METHODS = f"/devices/{DEVICE}/twin", f"/devices/{DEVICE}/methods/devicebound"


class HubClient(Client):
    """A client of a hub; handles 0 and 1 are those of ``$cbs``."""

    def __init__(self, world, certificates=()):
        self.world = world
        self.endpoint = HubAmqpEndpoint(devices=world.endpoint, clock=world.clock, trace=world.trace)
        super().__init__(lambda line, _: self.endpoint.application(line), Peer(HOST, "amqp", certificates))

    def cbs(self):
        self.open(sender("$cbs", name="cbs-sender"), receiver("$cbs", name="cbs-receiver"), flow(credit=1_000))
        return self

    def put_token(self, token, name=None, **changes):
        asked = {
            "operation": "put-token",
            "type": "servicebus.windows.net:sastoken",
            "name": name or f"{HOST}/devices/{DEVICE}",
            **changes,
        }
        message = Message(properties=Properties(message_id="m"), application_properties=asked, value=token)
        outcome, answers = self.send(message)
        assert outcome == Accepted()
        (answer,) = answers
        assert answer.properties.correlation_id == "m"
        return answer.application_properties["status-code"]

    def device(self):
        self.cbs()
        assert self.put_token(self.world.token()) == 200
        return self

    def attach(self, made):
        said = self.say(made)
        return next(each for each in said if isinstance(each, (Attach, Detach)) and _refused(each))

    def operations(self):
        return [(event.direction, event.operation) for event in self.world.trace.events()]


def _refused(said):
    return isinstance(said, Detach) or (said.target if said.role else said.source) is not None


@pytest.fixture
def world():
    world = World()
    yield world
    world.store.close()


@pytest.fixture
def client(world):
    client = HubClient(world)
    yield client
    client.lose()
    assert world.hub.connections.get(DEVICE) is None


# --- who it is --------------------------------------------------------------------------------------------------------


def test_tokens_are_judged_when_they_come(client, world):
    client.cbs()
    assert client.put_token(world.token()) == 200
    assert client.put_token(world.token(SECONDARY)) == 200
    assert client.put_token(world.token(WRONG)) == 401
    assert client.put_token(world.token(ttl=-5)) == 401
    assert client.put_token("nonsense") == 401
    assert client.put_token(world.token(resource=f"{HOST}%2Fdevices%2Fother")) == 401
    assert client.put_token(world.token(POLICY, HOST, policy="iothubowner")) == 200
    assert client.put_token(world.token(WRONG, HOST, policy="iothubowner")) == 401
    assert client.put_token(world.token(POLICY, "other.test", policy="iothubowner")) == 401
    assert client.put_token(world.token(), operation="dance") == 400
    assert client.put_token(world.token(), type="jwt") == 400
    assert client.put_token(7) == 400
    outcome, _ = client.send(b"garbage")
    assert outcome.error.condition == "amqp:decode-error"
    assert isinstance(client.attach(sender(EVENTS, handle=2, name="d2c")), Attach)


@pytest.mark.parametrize(
    ("user_name", "code"),
    [
        (f"{DEVICE}@sas.contoso-hub-1", 0),
        ("iothubowner@sas.root.contoso-hub-1", 1),
        (f"{DEVICE}@sas.other", 1),
        ("somebody", 1),
    ],
)
def test_a_user_name_and_a_token(client, world, user_name, code):
    said = client.say(
        sasl("PLAIN", f"\0{user_name}\0{world.token(WRONG if 'root' in user_name else None or b'p' * 32)}".encode())
    )
    assert one(said, SaslOutcome).code == code
    if not code:
        client.open()
        assert isinstance(client.attach(sender(EVENTS)), Attach)


@pytest.mark.parametrize(("mechanism", "code"), [("MSSBCBS", 0), ("EXTERNAL", 0), ("TPM", 1)])
def test_other_mechanisms(client, mechanism, code):
    assert one(client.say(sasl(mechanism, None)), SaslOutcome).code == code


def test_without_a_token_there_are_no_links(client):
    client.cbs()
    refused = client.attach(sender(EVENTS, handle=2, name="d2c"))
    assert (refused.error.condition, refused.error.description) == (
        "amqp:unauthorized-access",
        "401002 Unauthorized",
    )
    assert client.world.reasons()


@pytest.mark.parametrize(
    ("made", "condition"),
    [
        (sender("/devices/nobody/messages/events", handle=2, name="x"), "amqp:unauthorized-access"),
        (sender(f"/devices/{DEVICE}/nothing", handle=2, name="x"), "amqp:not-found"),
        (sender(BOUND, handle=2, name="x"), "amqp:not-found"),
        (receiver("/messages/nothing", handle=2, name="x"), "amqp:not-found"),
        (receiver(f"/devices/{DEVICE}/modules/m/messages/devicebound", handle=2, name="x"), "amqp:not-implemented"),
        (sender("amqps://[", handle=2, name="x"), "amqp:not-found"),
        (sender("", handle=2, name="x"), "amqp:not-found"),
    ],
)
def test_addresses_that_lead_nowhere(client, made, condition):
    client.device()
    assert client.attach(made).error.condition == condition
    assert isinstance(client.attach(sender(EVENTS, handle=3, name="right")), Attach)


def test_a_disabled_device_has_to_go(client, world):
    client.device()
    client.attach(sender(EVENTS, handle=2, name="d2c"))
    world.hub.put_device(DEVICE, {"status": "disabled"}, if_match="*")
    said = client.said()
    assert one(said, Detach).error.condition == "amqp:unauthorized-access"
    assert one(said, Close).error.condition == "amqp:connection:forced"
    assert world.hub.device(DEVICE)["connectionState"] == "Disconnected"


def test_the_newer_of_two_connections_stays(client, world):
    client.device().attach(sender(EVENTS, handle=2, name="d2c"))
    other = HubClient(world).device()
    other.attach(sender(EVENTS, handle=2, name="d2c"))
    assert one(client.said(), Close)
    assert world.hub.device(DEVICE)["connectionState"] == "Connected"
    other.lose()


def test_several_devices_share_a_connection(client, world):
    keys = {"primaryKey": "cHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHA=", "secondaryKey": ""}
    world.hub.put_device("second", {"authentication": {"symmetricKey": keys, "type": "sas"}})
    client.device().attach(sender(EVENTS, handle=2, name="one"))
    name = f"{HOST}/devices/second"
    assert client.put_token(world.token(resource=f"{HOST}%2Fdevices%2Fsecond"), name) == 200
    assert isinstance(client.attach(sender("/devices/second/messages/events", handle=3, name="two")), Attach)
    world.hub.delete_device("second")
    said = client.said()
    assert [each.handle for each in said if isinstance(each, Detach)] == [3]
    assert not [each for each in said if isinstance(each, Close)]
    client.send(Message(data=b"still here"), handle=2)
    assert [message.body for message in world.hub.telemetry] == [b"still here"]


def test_what_depends_on_a_token_ends_with_it(client, world):
    client.cbs()
    client.put_token(world.token(ttl=60))
    client.attach(sender(EVENTS, handle=2, name="d2c"))
    world.clock.advance(30)
    client.put_token(world.token(ttl=60))
    world.clock.advance(40)
    for timer in list(world.timers):
        if not timer.cancelled:
            timer.callback()
    assert client.said() == []
    world.clock.advance(40)
    for timer in list(world.timers):
        if not timer.cancelled:
            timer.callback()
    assert one(client.said(), Detach).error.condition == "amqp:unauthorized-access"
    assert world.hub.device(DEVICE)["connectionState"] == "Disconnected"


def test_answers_about_tokens_have_a_limit(world):
    client = HubClient(world)
    client.open(sender("$cbs"))
    message = Message(application_properties={"operation": "put-token"}, value="x")
    for _ in range(MAX_WAITING):
        client.send(message)
    assert not client.is_closed
    client.send(message)
    assert client.is_closed


@pytest.mark.parametrize(
    ("audience", "path"),
    [
        ("host.test%2Fdevices%2Fa%252Fb", ("host.test", "devices", "a/b")),
        ("host.test/devices/a", ("host.test", "devices", "a")),
        ("https://host.test:443", ("host.test",)),
        ("sb://HOST.test/entity/", ("host.test", "entity")),
        ("amqps://[", ("",)),
    ],
)
def test_audiences(audience, path):
    assert audience_path(audience) == path


# --- telemetry --------------------------------------------------------------------------------------------------------


def test_telemetry_with_everything_that_it_has(client, world):
    client.device().attach(sender(EVENTS, handle=2, name="d2c"))
    message = Message(
        annotations={"iothub-interface-id": "i-1"},
        properties=Properties(message_id="t-1", correlation_id=7, user_id=b"u", content_type="application/json"),
        application_properties={"room": "2", "hot": True, "n": 1.5, "none": None},
        data=b'{"t":21}',
    )
    assert client.send(message, handle=2)[0] == Accepted()
    (kept,) = world.hub.telemetry
    assert (kept.device_id, kept.body) == (DEVICE, b'{"t":21}')
    assert kept.properties == {"room": "2", "hot": "true", "n": "1.5", "none": ""}
    system = {name: kept.system[name] for name in ("message-id", "correlation-id", "user-id", "interface-id")}
    assert system == {"message-id": "t-1", "correlation-id": "7", "user-id": "u", "interface-id": "i-1"}
    assert json.loads(kept.connection["iothub-connection-auth-method"])["type"] == "sas"
    assert world.hub.device(DEVICE)["connectionState"] == "Connected"


@pytest.mark.parametrize(
    ("value", "body"), [("text", b"text"), (b"bytes", b"bytes"), (7, b"7"), (None, b""), ([1], b"(list)")]
)
def test_a_body_that_is_a_value(client, world, value, body):
    client.device().attach(sender(EVENTS, handle=2, name="d2c"))
    client.send(Message(value=value), handle=2)
    assert [kept.body for kept in world.hub.telemetry] == [body]


def test_several_messages_in_one(client, world):
    client.device().attach(sender(EVENTS, handle=2, name="d2c"))
    parts = [Message(data=text).encoded() for text in (b"1", b"2")]
    batch = b"".join(encoded(Described(ULong(0x75), part)) for part in parts)
    assert client.send(batch, handle=2, message_format=BATCH_FORMAT)[0] == Accepted()
    assert [kept.body for kept in world.hub.telemetry] == [b"1", b"2"]


def test_messages_that_are_rejected(client, world):
    client.device().attach(sender(EVENTS, handle=2, name="d2c"))
    outcome, _ = client.send(b"garbage", handle=2)
    assert outcome.error.condition == "com.microsoft:argument-error"
    outcome, _ = client.send(Message(data=b"x" * 270_000), handle=2)
    assert outcome.error.condition == "amqp:link:message-size-exceeded"
    assert list(world.hub.telemetry) == []


@given(st.binary(max_size=200))
@settings(max_examples=examples(40), deadline=None)
def test_no_message_makes_it_fail(data):
    world = World()
    client = HubClient(world).device()
    for handle, address in ((2, EVENTS), (3, TWIN), (4, METHODS)):
        client.attach(sender(address, handle=handle, name=address))
        client.send(data, handle=handle)
        client.send(Message(data=data), handle=handle)
    assert not client.is_closed
    client.lose()
    world.store.close()


# --- messages from the cloud ------------------------------------------------------------------------------------------


def bound(said):
    return [each for each, _ in (each for each in said if isinstance(each, tuple))]


def test_messages_from_the_cloud_are_settled_in_every_way(client, world):
    queues = world.hub.cloud_to_device
    client.device().attach(receiver(BOUND, handle=2, name="c2d"))
    client.say(flow(handle=2, credit=2))
    expected = CloudToDeviceMessage(b"open", {"valve": "7"}, message_id="m-1", correlation_id="c", ack="full")
    queues.send(DEVICE, expected)
    ((transfer, payload),) = [each for each in client.said() if isinstance(each, tuple)]
    message = client_message(payload)
    assert (message.data, message.properties.message_id, message.properties.to) == (b"open", "m-1", BOUND)
    assert message.application_properties == {"valve": "7", "iothub-ack": "full"}
    assert message.header.delivery_count == 0

    def settle(number, state):
        return client.say(frame(Disposition(role=True, first=number, settled=True, state=state)))

    (again,) = bound(settle(transfer.delivery_id, Released()))
    assert queues.waiting(DEVICE) == 1
    settle(again.delivery_id, Rejected())
    assert queues.waiting(DEVICE) == 0
    queues.send(DEVICE, CloudToDeviceMessage(b"second"))
    assert client.said() == []  # the credit is used up
    (last,) = bound(client.say(flow(handle=2, credit=1, delivery_count=2)))
    settle(last.delivery_id, Accepted())
    assert queues.waiting(DEVICE) == 0
    outcomes = [event.detail["outcome"] for event in world.trace.events() if "outcome" in (event.detail or {})]
    assert outcomes == ["abandon", "reject", "complete"]


def client_message(payload):
    from dps_simulator.protocols.amqp.messages import decode_message

    return decode_message(payload)


def test_what_is_not_settled_comes_again(client, world):
    queues = world.hub.cloud_to_device
    client.device().attach(receiver(BOUND, handle=2, name="c2d"))
    client.say(flow(handle=2, credit=5))
    queues.send(DEVICE, CloudToDeviceMessage(b"open"))
    assert len(bound(client.said())) == 1
    world.clock.advance(61)
    for timer in list(world.timers):
        if not timer.cancelled:
            timer.callback()
    assert len(bound(client.said())) == 1
    client.lose()
    other = HubClient(world).device()
    other.attach(receiver(BOUND, handle=2, name="c2d"))
    assert len(bound(other.say(flow(handle=2, credit=5)))) == 1
    other.lose()


def test_settled_links_complete_at_once(client, world):
    client.device().attach(receiver(BOUND, handle=2, name="c2d", snd_settle_mode=1))
    client.say(flow(handle=2, credit=5))
    world.hub.cloud_to_device.send(DEVICE, CloudToDeviceMessage(b"open"))
    assert bound(client.said())[0].settled is True
    assert world.hub.cloud_to_device.waiting(DEVICE) == 0


def test_what_cannot_be_kept_is_not_confirmed(client, world, monkeypatch):
    client.device().attach(receiver(BOUND, handle=2, name="c2d", rcv_settle_mode=1))
    client.say(flow(handle=2, credit=5))
    queues = world.hub.cloud_to_device
    queues.send(DEVICE, CloudToDeviceMessage(b"open"))
    (sent,) = bound(client.said())

    def fail(*_, **__):
        raise StorageError("the disk is full", "The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(queues, "complete", fail)
        assert client.say(frame(Disposition(role=True, first=sent.delivery_id, state=Accepted()))) == []
    with monkeypatch.context() as patch:
        patch.setattr(queues, "take", fail)
        queues.send(DEVICE, CloudToDeviceMessage(b"next"))
        assert client.said() == []
    assert queues.waiting(DEVICE) == 2


# --- twins ------------------------------------------------------------------------------------------------------------


def twin_client(client):
    properties = {"com.microsoft:channel-correlation-id": "twin:1"}
    client.device().attach(sender(TWIN, handle=2, name="ask", snd_settle_mode=1, properties=properties))
    client.attach(receiver(TWIN, handle=3, name="hear", properties=properties))
    client.say(flow(handle=3, credit=20))
    return client


def ask(client, operation, resource=None, body=None):
    annotations = {"operation": operation, **({"resource": resource} if resource else {})}
    message = Message(annotations=annotations, properties=Properties(correlation_id="c"), data=body or b"")
    _, (answer,) = client.send(message, handle=2)
    assert answer.properties.correlation_id == "c"
    return answer.annotations["status"], answer


def test_a_twin_is_read_reported_and_heard_of(client, world):
    twin_client(client)
    status, answer = ask(client, "GET")
    assert (status, json.loads(answer.data)["desired"]) == (200, {"$version": 1})
    status, answer = ask(client, "PATCH", "/properties/reported", b'{"fan":1}')
    assert (status, answer.annotations["version"], answer.data) == (204, 2, b"")
    change = {"properties": {"desired": {"fan": 2}}}
    world.hub.patch_twin(DEVICE, change)
    assert client.said() == []
    assert ask(client, "PUT", "/notifications/twin/properties/desired")[0] == 200
    world.hub.patch_twin(DEVICE, {"properties": {"desired": {"fan": 3}}})
    ((_, payload),) = [each for each in client.said() if isinstance(each, tuple)]
    told = client_message(payload)
    assert (json.loads(told.data), told.properties.correlation_id) == ({"fan": 3, "$version": 3}, None)
    assert ask(client, "DELETE", "/notifications/twin/properties/desired")[0] == 200
    world.hub.patch_twin(DEVICE, change)
    assert client.said() == []


@pytest.mark.parametrize(
    ("operation", "resource", "body"),
    [
        ("DANCE", None, None),
        ("GET", "/somewhere", None),
        ("PATCH", "/properties/desired", b"{}"),
        ("PATCH", "/properties/reported", b"{"),
        ("PATCH", "/properties/reported", b"[]"),
    ],
)
def test_twin_requests_that_are_refused(client, operation, resource, body):
    status, answer = ask(twin_client(client), operation, resource, body)
    assert status == 400
    assert json.loads(answer.data)["errorCode"] // 1000 == 400


def test_a_twin_that_cannot_be_kept(client, world, monkeypatch, caplog):
    twin_client(client)

    def fail(*_, **__):
        raise StorageError("the disk is full", "The disk is full.")

    monkeypatch.setattr(world.hub, "report", fail)
    assert ask(client, "PATCH", "/properties/reported", b"{}")[0] == 500
    monkeypatch.setattr(world.hub, "report", lambda *_: 1 / 0)
    assert ask(client, "PATCH", "/properties/reported", b"{}")[0] == 500
    assert "ZeroDivisionError" in caplog.text
    caplog.clear()


def test_nobody_hears_without_a_link(client, world):
    client.device().attach(sender(TWIN, handle=2, name="ask"))
    client.send(Message(annotations={"operation": "GET"}, data=b""), handle=2)
    assert "has not attached" in world.reasons()[-1]


# --- direct methods ---------------------------------------------------------------------------------------------------


def call(client, world, answer):
    """Call a method; the answer is a function from the call to a message, or ``None`` for silence."""

    async def both():
        made = asyncio.ensure_future(
            world.endpoint.invoke_method(DEVICE, "reboot", b'{"x":1}', response_timeout=0.2, connect_timeout=0)
        )
        while not (said := [each for each in client.said() if isinstance(each, tuple)]):
            if made.done():
                return await made
            await asyncio.sleep(0)
        asked = client_message(said[0][1])
        assert (asked.application_properties, asked.data) == ({"IoThub-methodname": "reboot"}, b'{"x":1}')
        reply = answer(asked)
        if reply is not None:
            client.send(reply, handle=3)
        return await made

    return asyncio.run(both())


def method_client(client):
    client.device().attach(receiver(METHODS, handle=2, name="hear"))
    client.attach(sender(METHODS, handle=3, name="answer"))
    client.say(flow(handle=2, credit=5))
    return client


def reply_to(asked, status=OK, body=b'{"ok":true}', correlation=None):
    return Message(
        properties=Properties(correlation_id=correlation or asked.properties.correlation_id),
        application_properties={"IoThub-status": status},
        data=body,
    )


@pytest.mark.parametrize("form", [lambda uuid: uuid, str, lambda uuid: uuid.bytes])
def test_a_method_is_called_and_answered(client, world, form):
    method_client(client)
    result = call(client, world, lambda asked: reply_to(asked, correlation=form(asked.properties.correlation_id)))
    assert (result.status, result.payload) == (200, {"ok": True})


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda asked: reply_to(asked, status="200"), 400004),
        (lambda asked: reply_to(asked, body=b"{"), 400004),
        (lambda asked: reply_to(asked, correlation="somebody else"), 504101),
        (lambda asked: None, 504101),
    ],
)
def test_answers_that_are_none(client, world, answer, code):
    from dps_simulator.errors.table import ServiceError

    method_client(client)
    with pytest.raises(ServiceError) as caught:
        call(client, world, answer)
    assert caught.value.kind.code == code


def test_a_device_without_the_link_is_not_online(client, world):
    from dps_simulator.errors.table import ServiceError

    client.device().attach(sender(METHODS, handle=3, name="answer"))
    with pytest.raises(ServiceError) as caught:
        call(client, world, lambda asked: None)
    assert caught.value.kind.code == 404103
