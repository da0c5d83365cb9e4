"""Telemetry read with the official azure-eventhub, unmodified: live, from a position, and what came before."""

import threading

import pytest
from azure.eventhub import EventHubConsumerClient, TransportType
from azure.eventhub.exceptions import ConnectionLostError, EventHubError
from azure.iot.device import IoTHubDeviceClient, Message, ProvisioningDeviceClient
from patience import PATIENCE, wait_until
from sdk_clients import KEY

from dps_simulator.hub.telemetry import partition_of

DEVICE = "thermostat-1"
PARTITION = str(partition_of(DEVICE))
WAYS = pytest.mark.parametrize("way", [TransportType.Amqp, TransportType.AmqpOverWebsocket], ids=["amqp", "websocket"])


class Reader:
    """Reads in a thread of its own until it is closed."""

    def __init__(self, client, **options):
        self.events, self.errors = [], []
        self._client = client
        self._thread = threading.Thread(target=self._read, args=({"starting_position": "-1", **options},))
        self._thread.start()

    def _read(self, options):
        self._client.receive(
            lambda _, event: self.events.append(event), on_error=lambda _, error: self.errors.append(error), **options
        )

    def bodies(self, count):
        wait_until(lambda: len(self.events) >= count or self.errors, lambda: (self.events, self.errors))
        assert self.errors == []
        return [event.body_as_str() for event in self.events]

    def close(self):
        self._client.close()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@pytest.fixture
def readers(sdk):
    opened = []

    def connect(way=TransportType.AmqpOverWebsocket, connection_string=None, **options):
        running = sdk.running
        proxy = {"proxy_hostname": running.address, "proxy_port": running.proxy_port}
        reach = {"http_proxy": proxy}
        if way is TransportType.Amqp:
            # the package knows no proxy for this one
            reach = {"custom_endpoint_address": f"sb://localhost:{running.tls_port}"}
        return EventHubConsumerClient.from_connection_string(
            connection_string or running.events_connection_string(),
            consumer_group=options.pop("group", "$Default"),
            transport_type=way,
            connection_verify=str(running.certificate_authority_file),
            retry_total=0,
            **reach,
        )

    def read(client=None, **options):
        opened.append(Reader(client or connect(), **options))
        return opened[-1]

    read.connect = connect
    yield read
    for reader in opened:
        reader.close()


@pytest.fixture
def device(sdk):
    sdk.enroll(DEVICE)
    running = sdk.running
    clients = sdk.device_options()
    found = ProvisioningDeviceClient.create_from_symmetric_key(
        running.provisioning_host, DEVICE, running.id_scope, KEY, **clients
    ).register()
    client = IoTHubDeviceClient.create_from_symmetric_key(KEY, found.registration_state.assigned_hub, DEVICE, **clients)
    client.connect()
    yield client
    client.shutdown()


def message(text, **properties):
    made = Message(text, message_id=f"id of {text}", content_encoding="utf-8", content_type="text/plain")
    made.custom_properties.update(properties)
    return made


@WAYS
def test_what_came_while_nobody_read_and_what_comes_now(sdk, readers, device, way):
    device.send_message(message("before", room="2"))
    reader = readers(readers.connect(way))
    assert reader.bodies(1) == ["before"]
    device.send_message(message("now"))
    assert reader.bodies(2) == ["before", "now"]
    first, second = reader.events
    assert second.sequence_number == first.sequence_number + 1
    assert int(second.offset) > int(first.offset)
    assert first.enqueued_time <= second.enqueued_time
    assert first.properties == {b"room": b"2"}
    assert (first.message_id, first.content_type) == ("id of before", "text/plain")
    system = {name: value for name, value in first.system_properties.items() if b"iothub" in name}
    assert system.pop(b"iothub-enqueuedtime") == first.system_properties[b"x-opt-enqueued-time"]
    assert len(system.pop(b"iothub-connection-auth-generation-id")) > 0
    assert system == {
        b"iothub-connection-device-id": DEVICE.encode(),
        b"iothub-connection-auth-method": b'{"scope":"device","type":"sas","issuer":"iothub"}',
        b"iothub-message-source": b"Telemetry",
    }


@pytest.mark.tried("Python SDKs", "reading")
def test_partitions_and_positions(sdk, readers, device):
    client = readers.connect()
    before = client.get_partition_properties(PARTITION)
    for number in range(4):
        device.send_message(message(str(number)))
    after = client.get_partition_properties(PARTITION)
    assert client.get_partition_ids() == ["0", "1", "2", "3"]
    assert client.get_eventhub_properties()["eventhub_name"] == sdk.hub.partition(".")[0]
    client.close()
    assert after["last_enqueued_sequence_number"] == before["last_enqueued_sequence_number"] + 4
    assert (after["id"], after["is_empty"]) == (PARTITION, False)
    all_of_them = readers(starting_position=before["last_enqueued_sequence_number"], partition_id=PARTITION)
    assert all_of_them.bodies(4) == ["0", "1", "2", "3"]
    third = all_of_them.events[2]
    for position, inclusive, expected in (
        (third.sequence_number, False, ["3"]),
        (third.sequence_number, True, ["2", "3"]),
        (third.offset, False, ["3"]),
        (third.offset, True, ["2", "3"]),
        (third.enqueued_time, True, ["2", "3"]),
    ):
        reader = readers(starting_position=position, starting_position_inclusive=inclusive, partition_id=PARTITION)
        assert reader.bodies(len(expected))[-len(expected) :] == expected
        reader.close()


@pytest.mark.parametrize(
    ("options", "position", "partition", "said"),
    [
        ({}, 99_999, PARTITION, "The supplied sequence number '99999' is invalid. The last sequence number"),
        ({}, "99999", PARTITION, "The supplied offset '99999' is invalid. The last offset in the system is"),
        ({"group": "others"}, "-1", "0", "/consumergroups/others/partitions/0' could not be found"),
    ],
)
def test_what_does_not_exist(readers, options, position, partition, said):
    reader = readers(readers.connect(**options), starting_position=position, partition_id=partition)
    wait_until(lambda: reader.errors, "an error")
    assert isinstance(reader.errors[0], EventHubError)
    assert said in str(reader.errors[0])


def test_a_reader_with_a_higher_level_takes_over(readers, device):
    reader = readers(owner_level=1, partition_id=PARTITION)
    device.send_message("first")
    assert reader.bodies(1) == ["first"]
    newer = readers(owner_level=2, partition_id=PARTITION)
    wait_until(lambda: reader.errors, "the end of the older reader")
    assert isinstance(reader.errors[0], ConnectionLostError)
    assert "New receiver 'nil' with higher epoch of '2' is created" in str(reader.errors[0])
    assert newer.bodies(1) == ["first"]


def test_who_may_not_read(sdk, readers):
    own = sdk.running.events_connection_string()
    wrong = own.replace("SharedAccessKey=", "SharedAccessKey=AAAA")
    for text in (wrong, own.replace("SharedAccessKeyName=", "SharedAccessKeyName=no")):
        client = readers.connect(connection_string=text)
        with client, pytest.raises(EventHubError, match=r"CBS Token authentication failed|Unauthorized"):
            client.get_eventhub_properties()
    client = readers.connect(connection_string=own.replace("EntityPath=", "EntityPath=other-"))
    with client, pytest.raises(EventHubError, match="Status code: 404"):
        client.get_eventhub_properties()


def test_the_ready_made_client(sdk, device):
    device.send_message("hello")
    with sdk.simulator.event_consumer() as client:
        assert client.get_partition_properties(PARTITION)["is_empty"] is False
