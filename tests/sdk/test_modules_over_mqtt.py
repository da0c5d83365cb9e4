"""Modules of a device with the official module client: they connect, send, have twins and methods of their own."""

import base64
import queue

import pytest
from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, Message, MethodResponse
from azure.iot.device.exceptions import CredentialError
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from patience import PATIENCE
from sdk_clients import KEY, OTHER_KEY

pytestmark = pytest.mark.sdk


@pytest.fixture
def registry(sdk):
    registry = sdk.registry()
    registry.create_device_with_sas("d-1", KEY, OTHER_KEY, "enabled")
    registry.create_module_with_sas("d-1", "filter", "me", OTHER_KEY, KEY)
    return registry


@pytest.fixture
def connect(sdk, registry):
    clients = []

    def make(key=OTHER_KEY, module="filter", **options):
        connection = f"HostName={sdk.hub};DeviceId=d-1;ModuleId={module};SharedAccessKey={key}"
        client = IoTHubModuleClient.create_from_connection_string(
            connection, connection_retry=False, **sdk.device_options(**options)
        )
        clients.append(client)
        client.connect()
        return client

    yield make
    for client in clients:
        client.shutdown()


@pytest.mark.parametrize("websockets", [False, True])
def test_telemetry_of_a_module(dps_simulator, registry, connect, websockets):
    module = connect(websockets=websockets)
    assert registry.get_module("d-1", "filter").connection_state == "Connected"
    assert registry.get_device("d-1").connection_state == "Disconnected"
    module.send_message(Message("plain"))
    module.send_message_to_output(Message("for an output"), "alerts")
    plain, output = dps_simulator.telemetry()
    assert (plain.device_id, plain.module_id, plain.body) == ("d-1", "filter", b"plain")
    assert output.system["output-name"] == "alerts"
    module.disconnect()
    assert registry.get_module("d-1", "filter").connection_state == "Disconnected"


def test_twin_of_a_module(registry, connect):
    module, patches = connect(), queue.Queue()
    module.on_twin_desired_properties_patch_received = patches.put
    module.patch_twin_reported_properties({"running": True})
    registry.update_module_twin("d-1", "filter", Twin(properties=TwinProperties(desired={"level": 5})), "*")
    assert patches.get(timeout=PATIENCE) == {"level": 5, "$version": 2}
    assert module.get_twin()["reported"] == {"running": True, "$version": 2}
    assert registry.get_module_twin("d-1", "filter").properties.reported["running"] is True
    assert "running" not in registry.get_twin("d-1").properties.reported


def test_methods_of_a_module(registry, connect):
    module = connect()

    def answer(request):
        module.send_method_response(MethodResponse.create_from_method_request(request, 202, [request.payload]))

    module.on_method_request_received = answer
    method = CloudToDeviceMethod(method_name="m", payload={"a": 1})
    result = registry.invoke_device_module_method("d-1", "filter", method)
    assert (result.status, result.payload) == (202, [{"a": 1}])


def test_a_module_and_its_device_side_by_side(sdk, registry, connect, dps_simulator):
    module = connect()
    device = IoTHubDeviceClient.create_from_symmetric_key(KEY, sdk.hub, "d-1", **sdk.device_options())
    try:
        device.connect()
        device.send_message(Message("device"))
        module.send_message(Message("module"))
        assert [(message.module_id, message.body) for message in dps_simulator.telemetry()] == [
            ("", b"device"),
            ("filter", b"module"),
        ]
        assert registry.get_service_statistics().connected_device_count == 1
    finally:
        device.shutdown()


def test_inputs_are_said_to_be_unsupported(sdk, connect):
    module = connect()
    module.on_message_received = print  # the SDK subscribes to the inputs
    module.send_message(Message("still connected"))
    said = [event["detail"].get("reason", "") for event in sdk.trace()]
    assert "inputs of modules need IoT Edge, which is not supported by this simulator" in said


def test_wrong_keys_and_names(registry, connect):
    with pytest.raises(CredentialError):
        connect(key=base64.b64encode(b"NOT-THE-KEY-OF-THIS-MODULE").decode())
    with pytest.raises(CredentialError):
        connect(module="other")
