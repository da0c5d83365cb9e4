"""Sending to devices and reading telemetry through the management API, and purging through a hub's own API."""

from __future__ import annotations

import base64
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from dps_simulator.common.clock import ManualClock
from dps_simulator.common.http import Peer, Request
from dps_simulator.common.trace import Trace
from dps_simulator.console.messages import HubMessages
from dps_simulator.console.refusals import HUB_UNKNOWN, INVALID
from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.hub.api.device import HubDeviceEndpoint
from dps_simulator.hub.api.service import HubServiceEndpoint
from dps_simulator.hub.cloud_to_device import MAX_WAITING
from dps_simulator.hub.hub import IotHub
from dps_simulator.process.store import Store
from dps_simulator.wire.http import Call

HOST = "contoso-hub-1.azure-devices.test"
KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture
def hub():
    hub = IotHub(host=HOST, storage=Store(), clock=ManualClock())
    hub.put_device("d", {})
    return hub


@pytest.fixture
def api(hub):
    messages = HubMessages({HOST: hub}.get)
    read, send = (route.operation for route in messages.routes())

    def call(operation, parameters, query=None, body=None):
        return operation(Call(Request("", "", query or {}, {}, b"", Peer()), parameters, body))

    return SimpleNamespace(
        send=lambda body, device="d", host=HOST: call(send, {"host": host, "id": device}, body=body),
        read=lambda host=HOST, **query: call(read, {"host": host}, query).body,
    )


def refused(kind, function, *arguments, **named):
    with pytest.raises(ServiceError) as caught:
        function(*arguments, **named)
    assert caught.value.kind is kind
    return caught.value.message


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ({}, b""),
        ({"body": "grün"}, "grün".encode()),
        ({"body": {"a": ["ü", 1.5, None]}}, '{"a":["ü",1.5,null]}'.encode()),
        ({"body": 7}, b"7"),
        ({"body": None}, b"null"),
        ({"bodyBase64": "/wA="}, b"\xff\x00"),
        ({"bodyBase64": None, "properties": None, "ack": None, "expiryTimeUtc": None}, b""),
    ],
)
def test_bodies(hub, api, body, sent):
    answer = api.send(body)
    assert answer.status == 201
    assert answer.body["cloudToDeviceMessageCount"] == 1
    assert answer.body["enqueuedTimeUtc"] == "2026-01-01T00:00:00Z"
    assert answer.body["expiryTimeUtc"] == "2026-01-01T01:00:00Z"
    (queued,) = hub.cloud_to_device.take("d")
    assert queued.message.body == sent
    assert (queued.message.message_id, queued.sequence) == (answer.body["messageId"], answer.body["sequence"])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31t12:00:00.5z", "2026-01-31T12:00:00.5Z"),
        ("2026-01-31T12:00:00.1234567Z", "2026-01-31T12:00:00.123456Z"),
        ("2026-01-31T12:00:00", "2026-01-31T12:00:00Z"),
        ("2026-01-31 12:00:00+02:00", "2026-01-31T10:00:00Z"),
    ],
)
def test_expiries(api, given, kept):
    assert api.send({"expiryTimeUtc": given}).body["expiryTimeUtc"] == kept


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, "The body must be a JSON object"),
        ([], "The body must be a JSON object, not an array"),
        ({"Body": 1}, "'Body' is no field of a message; there are body, "),
        ({"body": 1, "bodyBase64": ""}, "exclude each other"),
        ({"bodyBase64": "*"}, "bodyBase64 is no base64"),
        ({"bodyBase64": "ü"}, "bodyBase64 is no base64"),
        ({"bodyBase64": 7}, "bodyBase64 is no base64"),
        ({"messageId": 7}, "messageId is 7; it must be a text"),
        ({"ack": {}}, "ack is an object"),
        ({"properties": []}, "properties is an array; it must be a JSON object of texts"),
        ({"expiryTimeUtc": "tomorrow"}, "expiryTimeUtc is 'tomorrow'"),
        ({"expiryTimeUtc": 7}, "expiryTimeUtc is 7"),
        ({"expiryTimeUtc": "2026-02-31T12:00:00Z"}, "expiryTimeUtc is '2026-02-31"),
        ({"expiryTimeUtc": "2026-01-31T24:00:00Z"}, "expiryTimeUtc is '2026-01-31T24"),
        ({"expiryTimeUtc": "0001-01-01T00:00:00+23:59"}, "expiryTimeUtc is '0001"),
    ],
)
def test_wrong_messages(hub, api, body, said):
    assert said in refused(INVALID, api.send, body)
    assert hub.cloud_to_device.waiting("d") == 0


def test_all_fields(hub, api):
    texts = {
        "messageId": "m",
        "correlationId": "c",
        "userId": "u",
        "contentType": "t",
        "contentEncoding": "e",
        "ack": "positive",
    }
    assert api.send({**texts, "properties": {"a": "b"}}).body["messageId"] == "m"
    message = hub.cloud_to_device.take("d")[0].message
    assert [message.message_id, message.correlation_id, message.user_id] == ["m", "c", "u"]
    assert [message.content_type, message.content_encoding, message.ack] == ["t", "e", "positive"]
    assert message.properties == {"a": "b"}


def test_what_the_queue_refuses(api):
    refused(Hub.ARGUMENT_INVALID, api.send, {"properties": {"a": 1}})
    refused(Hub.DEVICE_NOT_FOUND, api.send, {}, "x")
    refused(Hub.MESSAGE_TOO_LARGE, api.send, {"body": "x" * 65_537})
    assert "'other.test'" in refused(HUB_UNKNOWN, api.send, {}, host="other.test")
    for _ in range(MAX_WAITING):
        api.send({})
    refused(Hub.DEVICE_QUEUE_FULL, api.send, {})


def append(hub, body, device_id="d", module_id=""):
    now = ManualClock().now()
    hub.telemetry.append(
        device_id,
        body,
        enqueued=now,
        system={"message-id": "m"},
        properties={"a": None},
        module_id=module_id,
        connection={"iothub-connection-auth-method": "{}"},
    )


def test_reading_telemetry(hub, api):
    append(hub, b'{"t": 1}')
    append(hub, b'{"t": NaN}', module_id="m1")
    append(hub, b"", "e")
    answer = api.read()
    assert answer["last"] == 3
    first, second, third = answer["messages"]
    assert first == {
        "sequence": 1,
        "deviceId": "d",
        "enqueuedTimeUtc": "2026-01-01T00:00:00Z",
        "systemProperties": {
            "message-id": "m",
            "iothub-connection-device-id": "d",
            "iothub-connection-auth-method": "{}",
            "iothub-enqueuedtime": "2026-01-01T00:00:00Z",
            "iothub-message-source": "Telemetry",
        },
        "properties": {"a": None},
        "body": {"t": 1},
    }
    assert (second["moduleId"], base64.b64decode(second["bodyBase64"])) == ("m1", b'{"t": NaN}')
    assert third["bodyBase64"] == ""
    assert [message["sequence"] for message in api.read(after="1", limit="1")["messages"]] == [2]
    assert [message["sequence"] for message in api.read(device="e")["messages"]] == [3]
    refused(HUB_UNKNOWN, api.read, "other.test")


@pytest.mark.parametrize("name", ["after", "limit"])
@pytest.mark.parametrize("value", ["", "-1", "x", "²", "1" * 16])
def test_wrong_numbers(api, name, value):
    assert f"{name} is {value!r}; expected a whole number." in refused(INVALID, api.read, **{name: value})


async def purge(hub, device_id):
    clock, trace = ManualClock(), Trace(ManualClock())
    facts = {"hub": hub, "clock": clock, "trace": trace, "policy_name": "iothubowner", "policy_key": KEY}
    devices = HubDeviceEndpoint(**facts, call_later=lambda *_: None)
    api = HubServiceEndpoint(**facts, devices=devices, transaction=nullcontext)
    return (await api._purge(Call(Request("", "", {}, {}, b"", Peer()), {"id": device_id}))).body


@pytest.mark.asyncio
async def test_purging(hub, api):
    api.send({})
    api.send({})
    assert await purge(hub, "d") == {"totalMessagesPurged": 2, "deviceId": "d", "moduleId": None}
    assert (await purge(hub, "d"))["totalMessagesPurged"] == 0
    with pytest.raises(ServiceError, match="not registered"):
        await purge(hub, "x")
