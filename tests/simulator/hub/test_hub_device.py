from __future__ import annotations

import asyncio
import json

import pytest
from hub_world import DEVICE, HOST, POLICY, PRIMARY, SECONDARY, WRONG, FakeLink, World, send, subscribe, text
from x509_family import DAY, make

from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.hub.api.device_methods import MAX_METHOD_PAYLOAD, MAX_WAITING_METHODS
from dps_simulator.hub.api.device_topics import DESIRED_FILTER, MAX_REQUEST_TOPIC, METHODS_FILTER, TWIN_ANSWERS_FILTER
from dps_simulator.hub.cloud_to_device import CloudToDeviceMessage
from dps_simulator.protocols.mqtt import Unsubscribe, Will


@pytest.fixture
def world():
    world = World()
    yield world
    world.store.close()


# ---- CONNECT


@pytest.mark.parametrize(
    ("announced", "model"),
    [
        ("model-id=dtmi%3Acom%3Aexample%3APump%3B1", "dtmi:com:example:Pump;1"),
        ("DeviceClientType=c&model-id=dtmi:com:example:Pump;2", "dtmi:com:example:Pump;2"),
        ("model-id=", None),
        ("model-id=" + "x" * 129, None),
        ("model-id=a%00b", None),
        ("model-id=%ED%A0%80", "\ufffd\ufffd\ufffd"),
        ("DeviceClientType=c", None),
    ],
)
def test_the_model_in_the_user_name_stands_in_the_twin(world, announced, model):
    _, link = world.connect(username=f"{HOST}/{DEVICE}/?api-version=2020-09-30&{announced}")
    assert link.log == [("accept",)]
    assert world.hub.twin(DEVICE).get("modelId") == model


@pytest.mark.parametrize(
    "username",
    [
        f"{HOST}/{DEVICE}/?api-version=2019-10-01&DeviceClientType=x%2F1",
        f"{HOST}/{DEVICE}?api-version=2021-04-12",
        f"{HOST.upper()}/{DEVICE}/api".replace("/api", "/"),
        f"{HOST}/{DEVICE}",
    ],
)
def test_user_names_that_are_accepted(world, username):
    _, link = world.connect(username=username)
    assert link.log == [("accept",)]
    assert world.hub.device(DEVICE)["connectionState"] == "Connected"


@pytest.mark.parametrize(
    "resource",
    [
        f"{HOST}%2Fdevices%2F{DEVICE}",
        f"{HOST}%2fdevices%2f{DEVICE}",
        f"{HOST}/devices/{DEVICE}",
        f"{HOST.upper()}/Devices/{DEVICE}",
    ],
)
@pytest.mark.parametrize("key", [PRIMARY, SECONDARY])
def test_tokens_that_are_accepted(world, resource, key):
    _, link = world.connect(password=world.token(key, resource))
    assert link.log == [("accept",)]


@pytest.mark.parametrize("resource", [HOST, f"{HOST}%2Fdevices", f"{HOST}%2Fdevices%2F{DEVICE}"])
def test_a_policy_may_sign_for_a_device(world, resource):
    _, link = world.connect(password=world.token(POLICY, resource, policy="iothubowner"))
    assert link.log == [("accept",)]


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"username": None}, 4, "the user name is None"),
        ({"username": "x"}, 4, "the user name is 'x'"),
        ({"username": f"{HOST}/"}, 4, "the user name is"),
        ({"username": f"other.test/{DEVICE}"}, 5, "for the host 'other.test'"),
        ({"username": f"{HOST}/other/?api-version=2019-10-01"}, 2, "is not the device ID"),
        ({"username": f"{HOST}/{DEVICE}-2/?api-version=2019-10-01"}, 2, "is not the device ID"),
        ({"username": f"{HOST}/{DEVICE}/?api-version=latest"}, 4, "api-version 'latest' is not supported"),
        ({"client_id": f"{DEVICE}/module"}, 2, "is not the device ID"),
        ({"client_id": DEVICE.lower(), "username": f"{HOST}/{DEVICE.lower()}"}, 5, "is not registered"),
        ({"password": None}, 5, "sent no token"),
        ({"password": ""}, 5, "sent no token"),
        ({"password": "hunter2"}, 5, "malformed"),
    ],
)
def test_connections_that_are_refused(world, changes, code, reason):
    _, link = world.connect(**changes)
    assert link.log == [("refuse", code)]
    assert reason in world.reasons()[-1]
    assert world.trace.events()[-1].status == code
    assert world.hub.device(DEVICE)["connectionState"] == "Disconnected"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ({"key": WRONG}, "signed with neither key"),
        ({"resource": f"other.test%2Fdevices%2F{DEVICE}"}, "for the host 'other.test'"),
        ({"resource": f"{HOST}%2Fdevices%2F{DEVICE.lower()}"}, "does not contain"),
        ({"resource": f"{HOST}%2Fdevices%2F{DEVICE}%2Fmessages"}, "does not contain"),
        ({"resource": HOST}, "a device signs for"),
        ({"ttl": 0}, "expired 0 s ago"),
        ({"ttl": -12}, "expired 12 s ago"),
        ({"key": POLICY, "policy": "nobody"}, "no shared access policy 'nobody'"),
        ({"key": WRONG, "policy": "iothubowner"}, "not signed with the key of the policy"),
        ({"key": POLICY, "policy": "iothubowner", "resource": f"{HOST}/devices/other"}, "does not contain"),
    ],
)
def test_tokens_that_are_refused(world, token, reason):
    password = world.token(**token)
    _, link = world.connect(password=password)
    assert link.log == [("refuse", 5)]
    assert reason in world.reasons()[-1]
    for event in world.trace.events():
        assert password not in str(event)


def test_a_policy_needs_the_right_to_connect_devices():
    world = World(policy_name="registryRead")
    _, link = world.connect(password=world.token(POLICY, HOST, policy="registryRead"))
    assert link.log == [("refuse", 5)]
    assert "lacks the right DeviceConnect" in world.reasons()[-1]
    world.store.close()


def test_disabled_devices_are_refused(world):
    world.hub.put_device(DEVICE, {"status": "disabled"}, "*")
    _, link = world.connect()
    assert link.log == [("refuse", 5)]
    assert "is disabled" in world.reasons()[-1]


def with_thumbprints(world, primary=None, secondary=None):
    thumbprints = {"primaryThumbprint": primary, "secondaryThumbprint": secondary}
    body = {"authentication": {"type": "selfSigned", "x509Thumbprint": thumbprints}}
    world.hub.put_device(DEVICE, body, "*")


@pytest.mark.parametrize("slot", ["primary", "secondary"])
@pytest.mark.parametrize("kind", ["sha1_thumbprint", "sha256_thumbprint"])
def test_a_device_with_the_certificate_that_the_hub_knows(world, slot, kind):
    # nobody asks who signed it, or whether it is still valid
    issued = make(DEVICE, end=-DAY)
    with_thumbprints(world, **{slot: getattr(issued.parsed, kind).lower()})
    session, link = world.connect(password=None, link=FakeLink(certificates=(issued.der,)))
    assert link.log == [("accept",)]
    assert world.timers == []  # a certificate does not run out while the device is connected
    session.disconnected(True)
    assert len(world.hub.connections) == 0


def test_certificates_that_do_not_fit(world):
    issued = make(DEVICE)
    with_thumbprints(world, "A" * 40)
    for certificates, password, reason in (
        ((issued.der,), None, "Thumbprint does not match configuration"),
        ((b"nonsense",), None, "is unreadable"),
        ((), None, "it showed neither a certificate nor a token"),
        ((), world.token(), "it showed a token"),
    ):
        _, link = world.connect(password=password, link=FakeLink(certificates=certificates))
        assert link.log == [("refuse", 5)]
        assert reason in world.reasons()[-1]


def test_a_certificate_in_the_place_of_a_token(world):
    _, link = world.connect(password=None, link=FakeLink(certificates=(make(DEVICE).der,)))
    assert link.log == [("refuse", 5)]
    assert "no token (the MQTT password is empty) but a certificate" in world.reasons()[-1]


def test_certificates_of_authorities_that_nobody_uploaded(world):
    world.hub.put_device(DEVICE, {"authentication": {"type": "certificateAuthority"}}, "*")
    _, link = world.connect(password=None, link=FakeLink(certificates=(make(DEVICE).der,)))
    assert link.log == [("refuse", 5)]
    assert "no verified CA certificate" in world.reasons()[-1]
    assert world.trace.events()[-1].detail["finding"] == "unknownAuthority"


def test_new_keys_count_from_the_next_connection_on(world):
    _, first = world.connect()
    world.hub.put_device(DEVICE, {"authentication": {"symmetricKey": {"primaryKey": text(WRONG)}}}, "*")
    assert not first.closed
    _, second = world.connect()
    assert second.log == [("refuse", 5)]
    _, third = world.connect(password=world.token(WRONG))
    assert third.log == [("accept",)]


def test_a_refused_connection_leaves_nothing_behind(world):
    session, _ = world.connect(password="x", will=Will(f"devices/{DEVICE}/messages/events/", b"bye", 0, False))
    session.disconnected(False)
    session.drop(ServiceError(Hub.INTERNAL))
    assert len(world.hub.telemetry) == 0
    assert not world.timers


# ---- the end of a connection


def test_a_second_connection_drops_the_first(world):
    first, older = world.connect()
    second, newer = world.connect(link=FakeLink("websocket"))
    assert older.closed
    assert newer.log == [("accept",)]
    dropped = next(event for event in world.trace.events() if event.operation == "disconnect")
    assert (dropped.status, dropped.detail["code"], dropped.protocol) == (400, 400027, "mqtt")
    first.disconnected(False)
    assert world.hub.device(DEVICE)["connectionState"] == "Connected"
    second.disconnected(True)
    assert world.hub.device(DEVICE)["connectionState"] == "Disconnected"
    assert [event.operation for event in world.trace.events()].count("disconnect") == 2


def test_disabling_and_deleting_drops(world):
    _, link = world.connect()
    world.hub.put_device(DEVICE, {"status": "disabled"}, "*")
    assert link.closed
    world.hub.put_device(DEVICE, {"status": "enabled"}, "*")
    _, link = world.connect()
    world.hub.delete_device(DEVICE)
    assert link.closed
    _, link = world.connect()
    assert link.log == [("refuse", 5)]


def test_an_expiring_token_drops_the_connection(world):
    session, link = world.connect(password=world.token(ttl=10_000))
    # however the clock jumps in between
    for jump in (-9_000, 9_000 + 9_999.5):
        world.clock.advance(jump)
        world.timers[-1].callback()
    assert [timer.delay for timer in world.timers] == [1, 1, 0.5]
    assert not link.closed
    world.clock.advance(3_600)
    world.timers[-1].callback()
    assert link.closed
    assert "expired while" in world.reasons()[-1]
    session.disconnected(False)
    assert len(world.timers) == 3


def test_the_timer_ends_with_the_connection(world):
    session, _ = world.connect()
    session.disconnected(True)
    assert world.timers[0].cancelled


def test_a_will_becomes_telemetry_unless_the_client_takes_leave(world):
    will = Will(f"devices/{DEVICE}/messages/events/a=b", b"bye", 1, True)
    session, _ = world.connect(will=will)
    session.disconnected(True)
    assert len(world.hub.telemetry) == 0
    session, _ = world.connect(will=will)
    session.disconnected(False)
    message = next(iter(world.hub.telemetry))
    assert message.body == b"bye"
    assert message.properties == {"a": "b", "mqtt-retain": "true", "iothub-MessageType": "Will"}


def test_a_will_to_another_topic_is_refused(world):
    _, link = world.connect(will=Will("devices/other/messages/events/", b"", 0, False))
    assert link.log == [("refuse", 5)]
    assert "the will goes to" in world.reasons()[-1]


# ---- telemetry


def test_telemetry_is_kept_and_acknowledged(world):
    session, link = world.connect()
    world.clock.advance(3)
    send(session, f"devices/{DEVICE}/messages/events/%24.ct=text%2Fplain&a=b%2Fc", b"hot", retain=True)
    send(session, f"devices/{DEVICE}/messages/events", b"", packet_id=None)
    assert link.log == [("accept",), ("acknowledge", 7), ("acknowledge", None)]
    first, second = world.hub.telemetry
    assert (first.device_id, first.body) == (DEVICE, b"hot")
    assert first.system == {"content-type": "text/plain"}
    assert first.properties == {"a": "b/c", "mqtt-retain": "true"}
    assert (second.sequence, second.properties) == (2, {})
    assert world.hub.device(DEVICE)["lastActivityTime"] == "2026-01-01T00:00:03Z"


@pytest.mark.parametrize(
    "topic",
    [
        "devices/other/messages/events/",
        f"devices/{DEVICE}/messages/eventsx",
        f"devices/{DEVICE}/modules/m/messages/events/",
        "$iothub/twin/GET/",
        "$iothub/twin/GET/?$rid=",
        "$iothub/twin/PATCH/properties/desired/?$rid=1",
        "$iothub/methods/res/ok/?$rid=1",
        "hello",
    ],
)
def test_a_topic_that_does_not_exist_closes(world, topic):
    session, link = world.connect()
    send(session, topic)
    assert link.log == [("accept",), ("close",)]
    assert "cannot publish to the topic" in world.reasons()[-1]
    assert len(world.hub.telemetry) == 0


def test_the_size_of_messages_is_limited(world):
    session, link = world.connect()
    topic = f"devices/{DEVICE}/messages/events/"
    send(session, topic, b"x" * (262_144 - len(topic)))
    assert not link.closed
    send(session, topic, b"x" * (262_145 - len(topic)))
    assert link.closed
    assert "has 262145 bytes" in world.reasons()[-1]
    assert len(world.hub.telemetry) == 1


def test_the_trace_shows_the_beginning_of_a_message(world):
    session, _ = world.connect()
    send(session, f"devices/{DEVICE}/messages/events/", b"\xff" + b"x" * 100_000)
    event = world.trace.events()[-1]
    assert (event.operation, event.direction, event.service, event.device) == ("telemetry", "in", "hub", DEVICE)
    assert len(event.detail["body"]) < 3_000


def test_the_hub_adds_how_the_sender_proved_itself(world):
    def auth_method(**changes):
        session, _ = world.connect(**changes)
        send(session, f"devices/{DEVICE}/messages/events/")
        message = list(world.hub.telemetry)[-1]
        assert message.connection["iothub-connection-auth-generation-id"] == world.hub.device(DEVICE)["generationId"]
        return json.loads(message.system_properties["iothub-connection-auth-method"])

    assert auth_method() == {"scope": "device", "type": "sas", "issuer": "iothub"}
    assert auth_method(password=world.token(POLICY, HOST, policy="iothubowner"))["scope"] == "hub"
    issued = make(DEVICE)
    with_thumbprints(world, issued.parsed.sha256_thumbprint)
    assert auth_method(password=None, link=FakeLink(certificates=(issued.der,)))["type"] == "x509"


# ---- messages from the cloud

DEVICEBOUND = f"devices/{DEVICE}/messages/devicebound/#"


def enqueue(world, body=b"hello", **fields):
    return world.hub.cloud_to_device.send(DEVICE, CloudToDeviceMessage(body, message_id="m", **fields))


def test_messages_from_the_cloud_need_a_subscription(world):
    session, link = world.connect()
    enqueue(world)
    assert link.published == []
    subscribe(session, DEVICEBOUND)
    to = f"%2Fdevices%2F{DEVICE}%2Fmessages%2Fdevicebound"
    assert link.published == [(f"devices/{DEVICE}/messages/devicebound/%24.mid=m&%24.to={to}", b"hello")]
    assert link.qos == [1]
    subscribe(session, DEVICEBOUND)
    assert len(link.published) == 1
    assert world.hub.device(DEVICE)["cloudToDeviceMessageCount"] == 1
    world.clock.advance(3)
    link.acknowledgements[0]()
    assert world.hub.device(DEVICE)["cloudToDeviceMessageCount"] == 0
    assert world.hub.device(DEVICE)["lastActivityTime"] == "2026-01-01T00:00:03Z"
    enqueue(world, b"again")
    assert link.published[-1][1] == b"again"
    events = [event.operation for event in world.trace.events() if event.operation.startswith("cloud-to-device")]
    assert events == ["cloud-to-device message", "cloud-to-device acknowledgement", "cloud-to-device message"]


def test_what_is_not_acknowledged_comes_again(world):
    session, link = world.connect()
    subscribe(session, DEVICEBOUND)
    enqueue(world)
    session.disconnected(False)
    session, link = world.connect()
    assert [body for _, body in link.published] == [b"hello"]
    assert world.trace.events()[-1].detail["deliveryCount"] == 2
    session.disconnected(True)
    session, link = world.connect(clean=True)
    assert link.published == []


def test_an_acknowledgement_that_comes_too_late(world):
    session, link = world.connect()
    subscribe(session, DEVICEBOUND)
    enqueue(world)
    world.hub.cloud_to_device.purge(DEVICE)
    link.acknowledgements[0]()
    assert "purged" in world.reasons()[-1]


def test_without_quality_of_service_a_message_is_done_when_it_is_sent(world):
    session, link = world.connect()
    subscribe(session, DEVICEBOUND, qos=0)
    enqueue(world)
    assert (len(link.published), link.qos) == (1, [0])
    assert world.hub.cloud_to_device.waiting(DEVICE) == 0


def test_a_connection_that_is_over_fetches_nothing(world):
    session, link = world.connect()
    subscribe(session, DEVICEBOUND)
    session.drop(ServiceError(Hub.INTERNAL))
    enqueue(world)
    session.message_waiting()
    assert link.published == []


def test_bodies_in_the_trace_are_cut_and_masked(world):
    session, _ = world.connect()
    subscribe(session, DEVICEBOUND)
    enqueue(world, b'{"primaryKey": "' + text(b"k" * 32).encode() + b'"}' + b"x" * 50_000)
    detail = world.trace.events()[-1].detail
    assert text(b"k" * 32) not in str(detail)
    assert len(detail["body"]) < 3_000


# ---- faults


def fault(session, operation="KillTcp", delay=None, duration=None):
    bag = f"AzIoTHub_FaultOperationType={operation}&AzIoTHub_FaultOperationCloseReason=boom"
    bag += f"&AzIoTHub_FaultOperationDelayInSecs={delay}" if delay is not None else ""
    bag += f"&AzIoTHub_FaultOperationDurationInSecs={duration}" if duration is not None else ""
    send(session, f"devices/{DEVICE}/messages/events/{bag}", b" ")


@pytest.mark.parametrize(
    ("operation", "refusal", "code"),
    [
        ("KillTcp", 3, 503900),
        ("ShutDownMqtt", 3, 503900),
        ("InvokeThrottling", 3, 429001),
        ("InvokeMaxMessageQuota", 3, 403002),
        ("InvokeAuthError", 5, 401002),
    ],
)
def test_a_fault_cuts_the_connection_and_keeps_the_device_out(world, operation, refusal, code):
    session, link = world.connect()
    fault(session, operation, delay=2, duration=5)
    assert link.log == [("accept",), ("acknowledge", 7)]
    assert len(world.hub.telemetry) == 1
    timer = world.timers[-1]
    assert timer.delay == 2
    world.clock.advance(2)
    timer.callback()
    assert link.closed
    dropped = world.trace.events()[-1]
    assert (dropped.operation, dropped.detail["code"]) == ("disconnect", code)
    assert dropped.detail["reason"] == f"the device asked for the fault {operation} (boom)"
    session.disconnected(False)
    _, link = world.connect()
    assert link.log == [("refuse", refusal)]
    assert f"the fault {operation}" in world.reasons()[-1]
    world.clock.advance(5)
    _, link = world.connect()
    assert link.log == [("accept",)]


def test_a_fault_at_once_that_does_not_last(world):
    session, link = world.connect()
    fault(session)
    assert link.log == [("accept",), ("acknowledge", 7), ("close",)]
    _, link = world.connect()
    assert link.log == [("accept",)]


def test_a_newer_fault_takes_the_place_of_one_that_has_not_begun(world):
    session, link = world.connect()
    fault(session, delay=100)
    first = world.timers[-1]
    fault(session, delay=200)
    assert first.cancelled
    assert not world.timers[-1].cancelled
    fault(session)
    assert world.timers[-1].cancelled
    assert link.closed


def test_a_fault_meets_the_connection_that_there_is_then(world):
    session, _ = world.connect()
    fault(session, delay=1)
    timer = world.timers[-1]
    session.disconnected(True)
    _, link = world.connect()
    timer.callback()
    assert link.closed


def test_a_fault_of_a_device_that_is_gone(world):
    session, _ = world.connect()
    fault(session, delay=1, duration=5)
    world.hub.delete_device(DEVICE)
    world.timers[-1].callback()
    assert world.hub.connections.fault(DEVICE) is None


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ("KillAmqpSession", "needs AMQP: not supported by this simulator"),
        ("Explode", "this simulator knows KillTcp"),
    ],
)
def test_faults_that_do_not_exist_here_change_nothing(world, operation, said):
    session, link = world.connect()
    fault(session, operation)
    assert link.log == [("accept",), ("acknowledge", 7)]
    assert said in world.reasons()[-1]


# ---- modules

MODULE = f"{DEVICE}/filter"


@pytest.fixture
def module(world):
    keys = {"primaryKey": text(PRIMARY), "secondaryKey": text(SECONDARY)}
    world.hub.put_device(f"{DEVICE}/filter", {"authentication": {"symmetricKey": keys, "type": "sas"}})

    def connect(**changes):
        resource = f"{HOST}%2Fdevices%2F{DEVICE}%2Fmodules%2Ffilter"
        facts = {
            "client_id": MODULE,
            "username": f"{HOST}/{MODULE}/?api-version=2019-10-01",
            "password": world.token(resource=resource),
        }
        return world.connect(**{**facts, **changes})

    return connect


def test_a_module_connects_beside_its_device(world, module):
    _, device = world.connect()
    session, link = module()
    assert link.log == device.log == [("accept",)]
    assert world.hub.device(f"{DEVICE}/filter")["connectionState"] == "Connected"
    send(session, f"devices/{DEVICE}/modules/filter/messages/events/%24.on=alerts&a=b", b"1")
    message = list(world.hub.telemetry)[-1]
    assert (message.device_id, message.module_id) == (DEVICE, "filter")
    assert (message.system, message.properties) == ({"output-name": "alerts"}, {"a": "b"})
    session.disconnected(True)
    assert world.hub.device(f"{DEVICE}/filter")["connectionState"] == "Disconnected"
    assert world.hub.device(DEVICE)["connectionState"] == "Connected"


def test_the_twin_and_the_methods_of_a_module(world, module):
    async def scenario():
        session, link = module()
        subscribe(session, TWIN_ANSWERS_FILTER, METHODS_FILTER, DESIRED_FILTER)
        send(session, "$iothub/twin/PATCH/properties/reported/?$rid=1", b'{"a": 1}')
        world.hub.patch_twin(MODULE, {"properties": {"desired": {"b": 2}}})
        world.hub.patch_twin(DEVICE, {"properties": {"desired": {"c": 3}}})
        call = asyncio.ensure_future(
            world.endpoint.invoke_method(MODULE, "m", b"", response_timeout=5, connect_timeout=0)
        )
        await steps()
        assert [topic for topic, _ in link.published] == [
            "$iothub/twin/res/204/?$rid=1&$version=2",
            "$iothub/twin/PATCH/properties/desired/?$version=2",
            "$iothub/methods/POST/m/?$rid=1",
        ]
        send(session, "$iothub/methods/res/200/?$rid=1", b"7")
        assert (await call).payload == 7

    run(scenario())
    assert world.hub.device_twin(MODULE)["reported"]["a"] == 1
    assert "a" not in world.hub.device_twin(DEVICE)["reported"]


def test_inputs_of_modules_are_refused_and_nothing_else(world, module):
    session, link = module()
    subscribe(session, f"devices/{DEVICE}/modules/filter/inputs/#", METHODS_FILTER)
    assert link.log[-1] == ("grant", 3, [0x80, 1])
    assert "inputs of modules need IoT Edge, which is not supported by this simulator" in world.reasons()[-1]
    assert world.hub.subscriptions(MODULE) == {METHODS_FILTER: 1}


@pytest.mark.parametrize(
    "topic_filter", [f"devices/{DEVICE}/messages/devicebound/#", "", f"devices/{DEVICE}/modules/other/inputs/#"]
)
def test_modules_cannot_subscribe_to_what_is_not_theirs(world, module, topic_filter):
    session, link = module()
    subscribe(session, topic_filter)
    assert link.closed
    assert "modules cannot subscribe" in world.reasons()[-1]


def test_modules_cannot_speak_for_others(world, module):
    session, link = module()
    send(session, f"devices/{DEVICE}/messages/events/")
    assert link.closed


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"client_id": DEVICE}, 2, "is not the device ID"),
        ({"client_id": f"{DEVICE}/other", "username": f"{HOST}/{DEVICE}/other"}, 5, "is not registered"),
        ({"client_id": f"{DEVICE}/", "username": f"{HOST}/{DEVICE}/"}, 2, "neither a device ID nor"),
        ({"client_id": "/filter", "username": f"{HOST}//filter"}, 2, "neither a device ID nor"),
        ({"client_id": f"{MODULE}/x", "username": f"{HOST}/{MODULE}/x"}, 2, "neither a device ID nor"),
    ],
)
def test_modules_that_are_refused(world, module, changes, code, reason):
    _, link = module(**changes)
    assert link.log == [("refuse", code)]
    assert reason in world.reasons()[-1]


def test_a_module_cannot_use_the_token_of_its_device(world, module):
    _, link = module(password=world.token())
    assert link.log == [("refuse", 5)]


def test_a_disabled_device_disables_its_modules(world, module):
    world.hub.put_device(DEVICE, {"status": "disabled"}, "*")
    _, link = module()
    assert link.log == [("refuse", 5)]
    assert "is disabled" in world.reasons()[-1]


def test_a_module_goes_with_its_device(world, module):
    _, link = module()
    world.hub.delete_device(DEVICE)
    assert link.closed
    _, link = module()
    assert link.log == [("refuse", 5)]


# ---- twins


def test_twin_get(world):
    session, link = world.connect()
    subscribe(session, TWIN_ANSWERS_FILTER)
    send(session, "$iothub/twin/GET/?$rid=0a%2Fb", b" ")
    assert link.log[-2:] == [
        ("acknowledge", 7),
        (
            "publish",
            "$iothub/twin/res/200/?$rid=0a%2Fb",
            b'{"desired":{"$version":1},"reported":{"$version":1}}',
        ),
    ]


def test_reported_properties(world):
    session, link = world.connect()
    subscribe(session, TWIN_ANSWERS_FILTER)
    send(session, "$iothub/twin/PATCH/properties/reported/?$rid=1", b'{"a": 1}')
    assert link.published == [("$iothub/twin/res/204/?$rid=1&$version=2", b"")]
    assert world.hub.twin(DEVICE)["properties"]["reported"]["a"] == 1


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b'{"a": NaN}', b'{"a.b": 1}', b"[" * 5000])
def test_wrong_reported_properties_are_answered_with_400(world, body):
    session, link = world.connect()
    subscribe(session, TWIN_ANSWERS_FILTER)
    send(session, "$iothub/twin/PATCH/properties/reported/?$rid=1", body)
    topic, payload = link.published[0]
    assert topic == "$iothub/twin/res/400/?$rid=1"
    assert json.loads(payload)["errorCode"] == 400004
    assert world.hub.device_twin(DEVICE)["reported"] == {"$version": 1}
    assert world.trace.events()[-1].status == 400


def test_without_a_subscription_no_twin_answer_is_sent(world):
    session, link = world.connect()
    send(session, "$iothub/twin/GET/?$rid=1", b" ")
    assert link.log == [("accept",), ("acknowledge", 7)]
    assert "has not subscribed" in world.reasons()[-1]


def test_desired_properties_are_pushed_to_subscribers(world):
    session, link = world.connect()
    world.hub.patch_twin(DEVICE, {"properties": {"desired": {"x": 1}}})
    assert link.published == []
    subscribe(session, DESIRED_FILTER)
    world.hub.patch_twin(DEVICE, {"properties": {"desired": {"x": 2}}})
    assert link.published == [
        ("$iothub/twin/PATCH/properties/desired/?$version=3", b'{"x":2,"$version":3}'),
    ]


def test_the_trace_tells_the_whole_of_a_conversation(world):
    session, link = world.connect()
    subscribe(session, TWIN_ANSWERS_FILTER, DESIRED_FILTER)
    send(session, "$iothub/twin/GET/?$rid=1", b" ")
    send(session, "$iothub/twin/PATCH/properties/reported/?$rid=2", b'{"a": 1}')
    world.hub.patch_twin(DEVICE, {"properties": {"desired": {"x": 2}}})
    session.unsubscribe(Unsubscribe(4, (DESIRED_FILTER,)))
    subscribe(session, DEVICEBOUND)
    enqueue(world)
    link.acknowledgements[-1]()
    session.disconnected(True)
    told = [(event.direction, event.operation, event.status, event.detail) for event in world.trace.events()]
    waiting = {"messageId": "m", "deliveryCount": 1, "topic": link.published[-1][0], "body": "hello"}
    patch = "$iothub/twin/PATCH/properties/reported/?$rid=2"
    assert told[1:] == [
        ("out", "connect", 0, {}),
        ("in", "subscribe", None, {"filters": [TWIN_ANSWERS_FILTER, DESIRED_FILTER]}),
        ("in", "twin get", None, {"topic": "$iothub/twin/GET/?$rid=1", "qos": 1, "body": " "}),
        ("out", "twin get", 200, {"body": '{"desired":{"$version":1},"reported":{"$version":1}}'}),
        ("in", "twin reported", None, {"topic": patch, "qos": 1, "body": '{"a": 1}'}),
        ("out", "twin reported", 204, {"body": ""}),
        ("out", "twin desired", None, {"body": {"x": 2, "$version": 2}}),
        ("in", "unsubscribe", None, {"filters": [DESIRED_FILTER]}),
        ("in", "subscribe", None, {"filters": [DEVICEBOUND]}),
        ("out", "cloud-to-device message", None, waiting),
        ("in", "cloud-to-device acknowledgement", None, {"messageId": "m"}),
        ("in", "disconnect", None, {"clean": True, "ended": "client"}),
    ]


# ---- subscriptions


def test_existing_filters_are_granted_with_qos_1_at_most(world):
    session, link = world.connect()
    subscribe(session, METHODS_FILTER, f"devices/{DEVICE}/messages/devicebound/#", qos=2)
    assert link.log[-1] == ("grant", 3, [1, 1])
    subscribe(session, TWIN_ANSWERS_FILTER, qos=0)
    assert link.log[-1] == ("grant", 3, [0])


@pytest.mark.parametrize("topic_filter", ["#", "$iothub/#", "devices/other/messages/devicebound/#", "hello"])
def test_a_filter_that_does_not_exist_closes(world, topic_filter):
    session, link = world.connect()
    subscribe(session, TWIN_ANSWERS_FILTER, topic_filter)
    assert link.log == [("accept",), ("close",)]
    assert "cannot subscribe" in world.reasons()[-1]


def test_subscriptions_outlive_the_connection_of_a_persistent_session(world):
    session, _ = world.connect()
    subscribe(session, DESIRED_FILTER, METHODS_FILTER)
    session.unsubscribe(Unsubscribe(4, (METHODS_FILTER, "unknown")))
    session.disconnected(False)
    session, link = world.connect()
    assert not session.takes_methods
    world.hub.patch_twin(DEVICE, {"properties": {"desired": {"x": 1}}})
    assert len(link.published) == 1
    session.disconnected(True)
    session, link = world.connect(clean=True)
    subscribe(session, TWIN_ANSWERS_FILTER)
    world.hub.patch_twin(DEVICE, {"properties": {"desired": {"x": 2}}})
    assert link.published == []
    assert world.hub.subscriptions(DEVICE) == {}


def test_unsubscribing_is_answered(world):
    session, link = world.connect()
    session.unsubscribe(Unsubscribe(4, ("x",)))
    assert link.log[-1] == ("unsubscribed", 4)


# ---- methods


def run(coroutine):
    return asyncio.run(coroutine)


async def steps(count=3):
    for _ in range(count):
        await asyncio.sleep(0)


def invoke(world, name="reboot now", payload=b"{}", response=5.0, connect=0.0):
    return asyncio.ensure_future(
        world.endpoint.invoke_method(DEVICE, name, payload, response_timeout=response, connect_timeout=connect)
    )


def ready(world):
    session, link = world.connect()
    subscribe(session, METHODS_FILTER)
    return session, link


def test_a_method_is_called_and_answered(world):
    async def scenario():
        session, link = ready(world)
        calls = [invoke(world), invoke(world, "a/b", b"")]
        await steps()
        assert link.published == [
            ("$iothub/methods/POST/reboot%20now/?$rid=1", b"{}"),
            ("$iothub/methods/POST/a%2Fb/?$rid=2", b""),
        ]
        send(session, "$iothub/methods/res/404/?$rid=2", b"")
        send(session, "$iothub/methods/res/200/?$rid=1", b'{"done": true}')
        first, second = [await call for call in calls]
        assert (first.status, first.payload) == (200, {"done": True})
        assert (second.status, second.payload) == (404, None)
        send(session, "$iothub/methods/res/200/?$rid=1", b"null")
        assert "nobody waits" in world.reasons()[-1]

    run(scenario())


def failure(world, prepare, act=lambda *_: None, **invocation):
    async def scenario():
        session, link = prepare(world)
        call = invoke(world, **invocation)
        await steps()
        act(session, link)
        with pytest.raises(ServiceError) as caught:
            await call
        return caught.value

    return run(scenario())


def test_devices_that_are_offline(world):
    error = failure(world, lambda _: (None, None))
    assert error.kind is Hub.DEVICE_NOT_ONLINE
    assert "is not connected" in error.reason
    error = failure(world, World.connect)
    assert error.kind is Hub.DEVICE_NOT_ONLINE
    assert "has not subscribed to methods" in error.reason


def test_a_device_that_does_not_answer(world):
    error = failure(world, ready, response=0.01)
    assert error.kind is Hub.GATEWAY_TIMEOUT


def test_a_device_that_goes_away(world):
    error = failure(world, ready, lambda session, _: session.disconnected(False))
    assert error.kind is Hub.DEVICE_CONNECTION_CLOSED


def test_a_device_that_answers_nonsense(world):
    error = failure(world, ready, lambda session, _: send(session, "$iothub/methods/res/200/?$rid=1", b"{"))
    assert error.kind is Hub.ARGUMENT_INVALID
    assert "The device's answer must be JSON" in error.message


def test_an_answer_that_is_too_large(world):
    body = b'"' + b"x" * MAX_METHOD_PAYLOAD + b'"'
    error = failure(world, ready, lambda session, _: send(session, "$iothub/methods/res/200/?$rid=1", body))
    assert error.kind is Hub.ARGUMENT_INVALID
    assert "has 131074 bytes" in error.message


def test_an_answer_that_comes_as_the_device_goes_is_kept(world):
    async def scenario():
        session, _ = ready(world)
        call = invoke(world)
        await steps()
        send(session, "$iothub/methods/res/200/?$rid=1", b"1")
        send(session, "$iothub/methods/res/200/?$rid=1", b"2")
        session.disconnected(True)
        assert (await call).payload == 1

    run(scenario())


def test_waiting_for_a_device_to_connect(world):
    async def scenario():
        calls = [invoke(world, connect=5.0), invoke(world, connect=5.0), invoke(world, connect=5.0)]
        await steps()
        calls[2].cancel()
        await steps()
        session, link = world.connect()
        await steps()
        assert link.published == []
        subscribe(session, METHODS_FILTER)
        await steps(6)
        assert len(link.published) == 2
        send(session, "$iothub/methods/res/200/?$rid=1", b"1")
        send(session, "$iothub/methods/res/200/?$rid=2", b"2")
        assert sorted([(await call).payload for call in calls[:2]]) == [1, 2]
        assert len(world.endpoint.arrivals) == 0

    run(scenario())


def test_waiting_for_a_device_that_never_connects(world):
    error = failure(world, lambda _: (None, None), connect=0.01)
    assert error.kind is Hub.DEVICE_NOT_ONLINE
    assert len(world.endpoint.arrivals) == 0


def test_whoever_loses_patience_does_not_take_the_others_along(world):
    async def scenario():
        patient, hasty = invoke(world, connect=5.0), invoke(world, connect=0.01)
        with pytest.raises(ServiceError, match="Timed out waiting"):
            await hasty
        session, _ = ready(world)
        await steps(6)
        send(session, "$iothub/methods/res/200/?$rid=1", b"1")
        assert (await patient).payload == 1

    run(scenario())


def test_the_number_of_waiting_methods_is_limited(world):
    async def scenario():
        session, _ = ready(world)
        calls = [invoke(world) for _ in range(MAX_WAITING_METHODS)]
        await steps()
        with pytest.raises(ServiceError) as caught:
            await invoke(world)
        assert caught.value.kind is Hub.THROTTLED
        session.disconnected(True)
        assert all(isinstance(error, ServiceError) for error in await asyncio.gather(*calls, return_exceptions=True))

    run(scenario())


@pytest.mark.parametrize("request_topic", ["$iothub/twin/GET/?$rid=", "$iothub/twin/PATCH/properties/reported/?$rid="])
@pytest.mark.parametrize("letter", ["y", "\N{GRINNING FACE}"])
def test_a_request_that_is_too_long_for_an_answer_ends_the_connection(world, request_topic, letter):
    longest = letter * ((MAX_REQUEST_TOPIC - len(request_topic)) // len(letter.encode()))
    session, link = world.connect()
    subscribe(session, TWIN_ANSWERS_FILTER)
    send(session, request_topic + longest, b"{}")
    answer = next(entry for entry in link.log if entry[0] == "publish")
    assert len(answer[1].encode()) + len("&$version=9223372036854775807") <= 65_535
    send(session, request_topic + longest + letter, b"{}")
    assert link.closed
    assert "cannot publish to the topic" in world.reasons()[-1]
