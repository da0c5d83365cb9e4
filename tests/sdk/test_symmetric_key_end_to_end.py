"""Register, connect, telemetry, twin and method: individual and group, both transports, both SDK flavours."""

import asyncio
import threading

import pytest
from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse, ProvisioningDeviceClient
from azure.iot.device.aio import IoTHubDeviceClient as AsyncIoTHubDeviceClient
from azure.iot.device.aio import ProvisioningDeviceClient as AsyncProvisioningDeviceClient
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from patience import PATIENCE
from sdk_clients import KEY, OTHER_KEY, derive

pytestmark = pytest.mark.sdk

INITIAL_TWIN = {"tags": {"site": "lab"}, "properties": {"desired": {"interval": 10}}}


def prepare(sdk, kind):
    """Enroll one device; returns registration ID, its key and the device ID to expect."""
    if kind == "individual":
        sdk.enroll("thermostat-1", deviceId="kitchen-thermostat", initialTwin=INITIAL_TWIN)
        return "thermostat-1", KEY, "kitchen-thermostat"
    sdk.enroll_group("thermostats", initialTwin=INITIAL_TWIN)
    return "thermostat-101", derive(KEY, "thermostat-101"), "thermostat-101"


def check_registration(sdk, result, registration_id, device_id):
    state = result.registration_state
    assert result.status == "assigned"
    assert (state.assigned_hub, state.device_id, state.sub_status) == (sdk.hub, device_id, "initialAssignment")
    record = sdk.service().device_registration_state.get(registration_id)
    assert record["etag"] == state.etag
    assert record["status"] == "assigned"


def check_registry(sdk, device_id):
    registry = sdk.registry()
    device = registry.get_device(device_id)
    assert (device.connection_state, device.status, device.authentication.type) == ("Connected", "enabled", "sas")
    twin = registry.get_twin(device_id)
    assert twin.tags == {"site": "lab"}
    assert twin.properties.desired["interval"] == 10
    assert twin.properties.reported["firmware"] == "1.2"
    patched = registry.update_twin(
        device_id, Twin(tags={"floor": 2}, properties=TwinProperties(desired={"interval": 20})), twin.etag
    )
    assert patched.tags == {"site": "lab", "floor": 2}
    assert registry.get_service_statistics().connected_device_count == 1
    result = registry.invoke_device_method(
        device_id, CloudToDeviceMethod(method_name="reboot", payload={"in": 5}, response_timeout_in_seconds=10)
    )
    assert (result.status, result.payload) == (200, {"was": {"in": 5}})


@pytest.mark.tried("Python SDK, MQTT", "key", "group key", "telemetry", "twin", "methods")
@pytest.mark.tried("Python SDK, MQTT over WebSockets", "key", "group key", "telemetry", "twin", "methods")
@pytest.mark.parametrize("websockets", [False, True], ids=["mqtt", "websocket"])
@pytest.mark.parametrize("kind", ["individual", "group"])
def test_sync(sdk, kind, websockets):
    registration_id, key, device_id = prepare(sdk, kind)
    options = sdk.device_options(websockets=websockets)
    provisioning = ProvisioningDeviceClient.create_from_symmetric_key(
        sdk.running.provisioning_host, registration_id, sdk.running.id_scope, key, **options
    )
    check_registration(sdk, provisioning.register(), registration_id, device_id)

    device = IoTHubDeviceClient.create_from_symmetric_key(key, sdk.hub, device_id, **options)
    desired = []
    changed = threading.Event()

    def on_desired(patch):
        desired.append(patch)
        changed.set()

    def on_method(request):
        device.send_method_response(MethodResponse.create_from_method_request(request, 200, {"was": request.payload}))

    try:
        device.connect()
        device.on_twin_desired_properties_patch_received = on_desired
        device.on_method_request_received = on_method
        message = Message('{"temperature": 21.5}', content_type="application/json", content_encoding="utf-8")
        message.custom_properties["room"] = "kitchen / west"
        device.send_message(message)
        device.patch_twin_reported_properties({"firmware": "1.2"})
        twin = device.get_twin()
        assert twin["desired"]["interval"] == 10
        assert twin["reported"] == {"firmware": "1.2", "$version": twin["reported"]["$version"]}
        check_registry(sdk, device_id)
        assert changed.wait(PATIENCE)
        assert desired[0]["interval"] == 20
        assert desired[0]["$version"] == twin["desired"]["$version"] + 1
    finally:
        device.shutdown()
    assert sdk.registry().get_device(device_id).connection_state == "Disconnected"
    telemetry = [event for event in sdk.simulator.trace() if event.operation == "telemetry"]
    assert len(telemetry) == 1
    assert telemetry[0].device == device_id


@pytest.mark.parametrize("websockets", [False, True], ids=["mqtt", "websocket"])
@pytest.mark.parametrize("kind", ["individual", "group"])
def test_aio(sdk, kind, websockets):
    registration_id, key, device_id = prepare(sdk, kind)
    options = sdk.device_options(websockets=websockets)

    async def scenario():
        provisioning = AsyncProvisioningDeviceClient.create_from_symmetric_key(
            sdk.running.provisioning_host, registration_id, sdk.running.id_scope, key, **options
        )
        check_registration(sdk, await provisioning.register(), registration_id, device_id)
        device = AsyncIoTHubDeviceClient.create_from_symmetric_key(key, sdk.hub, device_id, **options)
        desired = asyncio.Queue()

        async def on_method(request):
            answer = MethodResponse.create_from_method_request(request, 200, {"was": request.payload})
            await device.send_method_response(answer)

        try:
            await device.connect()
            device.on_twin_desired_properties_patch_received = desired.put
            device.on_method_request_received = on_method
            await device.send_message("21.5")
            await device.patch_twin_reported_properties({"firmware": "1.2"})
            assert (await device.get_twin())["desired"]["interval"] == 10
            await asyncio.to_thread(check_registry, sdk, device_id)
            assert (await asyncio.wait_for(desired.get(), PATIENCE))["interval"] == 20
        finally:
            await device.shutdown()

    asyncio.run(scenario())
    assert sdk.registry().get_device(device_id).connection_state == "Disconnected"


@pytest.mark.parametrize("key", ["secondary", "primary"])
def test_either_key_of_an_enrollment_registers_and_connects(sdk, key):
    sdk.enroll("thermostat-1")
    sdk.enroll_group("thermostats")
    own = OTHER_KEY if key == "secondary" else KEY
    for registration_id, device_key in (("thermostat-1", own), ("thermostat-101", derive(own, "thermostat-101"))):
        client = ProvisioningDeviceClient.create_from_symmetric_key(
            sdk.running.provisioning_host, registration_id, sdk.running.id_scope, device_key, **sdk.device_options()
        )
        assert client.register().status == "assigned"
        device = IoTHubDeviceClient.create_from_symmetric_key(
            device_key, sdk.hub, registration_id, **sdk.device_options()
        )
        device.connect()
        assert device.connected
        device.shutdown()


@pytest.mark.parametrize("pace", ["azure", "polls=2"])
def test_paces_that_make_the_device_poll(sdk, pace):
    sdk.enroll("thermostat-1", capabilities={"iotEdge": True})
    sdk.simulator.pace = pace
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        sdk.running.provisioning_host, "thermostat-1", sdk.running.id_scope, KEY, **sdk.device_options()
    )
    client.provisioning_payload = {"model": "T1"}
    assert client.register().status == "assigned"
    operations = [(event.operation, event.status) for event in sdk.simulator.trace() if event.service == "provisioning"]
    polls = [status for operation, status in operations if operation == "poll" and status is not None]
    assert polls == ([200] if pace == "azure" else [202, 202, 200])
    assert sdk.registry().get_device("thermostat-1").capabilities.iot_edge is True
