"""Messages from the cloud reach the official device SDK, and the service SDK sees the queue."""

import queue

import pytest
from azure.iot.device import IoTHubDeviceClient, Message
from patience import PATIENCE
from sdk_clients import KEY, OTHER_KEY

from dps_simulator import CloudToDeviceMessage
from dps_simulator.process import launcher

pytestmark = pytest.mark.sdk


@pytest.fixture
def registry(sdk):
    registry = sdk.registry()
    registry.create_device_with_sas("d-1", KEY, OTHER_KEY, "enabled")
    return registry


@pytest.fixture
def device(sdk, registry):
    clients = []

    def make(**options):
        clients.append(
            IoTHubDeviceClient.create_from_symmetric_key(
                KEY, sdk.hub, "d-1", connection_retry=False, **sdk.device_options(**options)
            )
        )
        return clients[-1]

    yield make
    for client in clients:
        client.shutdown()


def send(sdk, body, device="d-1"):
    return launcher.manage(sdk.running, "POST", f"/hubs/{sdk.hub}/devices/{device}/messages", body)


def count(registry):
    return registry.get_device("d-1").cloud_to_device_message_count


@pytest.mark.tried("Python SDK, MQTT", "messages")
@pytest.mark.tried("Python SDK, MQTT over WebSockets", "messages")
@pytest.mark.parametrize("websockets", [False, True])
def test_a_message_arrives_whole(sdk, registry, device, websockets):
    client, received = device(websockets=websockets), queue.Queue()
    client.on_message_received = received.put
    client.connect()
    sent = send(
        sdk,
        {
            "body": {"temperature": 21},
            "messageId": "m/1",
            "correlationId": "c & 1",
            "userId": "ünal",
            "contentType": "application/json",
            "contentEncoding": "utf-8",
            "ack": "full",
            "properties": {"room": "a=b&c", "empty": "", "plus": "1+1"},
            "expiryTimeUtc": "2099-01-31T12:00:00Z",
        },
    )
    assert sent["messageId"] == "m/1"
    message = received.get(timeout=PATIENCE)
    assert message.data == b'{"temperature":21}'
    assert (message.message_id, message.correlation_id, message.user_id) == ("m/1", "c & 1", "ünal")
    assert (message.content_type, message.content_encoding, message.ack) == ("application/json", "utf-8", "full")
    assert message.expiry_time_utc == "2099-01-31T12:00:00Z"
    assert message.custom_properties == {"room": "a=b&c", "empty": "", "plus": "1+1"}
    # the acknowledgement may still be on its way
    client.send_message(Message("after it"))
    assert count(registry) == 0


def test_messages_wait_for_a_device_that_is_away(sdk, registry, device, dps_simulator):
    client, received = device(), queue.Queue()
    client.on_message_received = received.put
    client.connect()
    client.disconnect()
    for number in range(3):
        dps_simulator.send_message("d-1", CloudToDeviceMessage(str(number).encode()))
    assert count(registry) == 3
    assert registry.get_twin("d-1").cloud_to_device_message_count == 3
    client.connect()  # the hub remembers the subscription; the SDK does not subscribe again
    assert [received.get(timeout=PATIENCE).data for _ in range(3)] == [b"0", b"1", b"2"]
    client.send_message(Message("after it"))
    assert count(registry) == 0


def test_purging(sdk, registry):
    for _ in range(3):
        send(sdk, {"body": "x"})
    purged = registry.protocol.cloud_to_device_messages.purge_cloud_to_device_message_queue("d-1")
    assert (purged.total_messages_purged, purged.device_id) == (3, "d-1")
    assert count(registry) == 0


def test_telemetry_is_read_back(sdk, registry, device, dps_simulator):
    client = device()
    client.connect()
    message = Message(
        '{"temperature": 21.5}', message_id="m-1", content_encoding="utf-8", content_type="application/json"
    )
    message.custom_properties["room"] = "a/b"
    client.send_message(message)
    client.send_message(Message(b"\xff\x00"))
    answer = launcher.manage(sdk.running, "GET", f"/hubs/{sdk.hub}/telemetry?device=d-1")
    first, second = answer["messages"]
    assert first["body"] == {"temperature": 21.5}
    assert first["properties"] == {"room": "a/b"}
    system = first["systemProperties"]
    assert (system["message-id"], system["content-type"]) == ("m-1", "application/json")
    assert system["iothub-connection-device-id"] == "d-1"
    assert system["iothub-connection-auth-method"] == '{"scope":"device","type":"sas","issuer":"iothub"}'
    assert second["bodyBase64"] == "/wA="
    assert KEY not in str(answer)
    assert [message.body for message in dps_simulator.telemetry(after=first["sequence"])] == [b"\xff\x00"]
