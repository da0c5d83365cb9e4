"""The hub's registry, twins and queries through the official service SDK, and a device that reconnects."""

import queue

import pytest
from azure.iot.device import IoTHubDeviceClient, MethodResponse
from azure.iot.hub.models import CloudToDeviceMethod, QuerySpecification, Twin, TwinProperties
from msrest.exceptions import HttpOperationError
from patience import PATIENCE
from sdk_clients import KEY, OTHER_KEY

pytestmark = pytest.mark.sdk


@pytest.fixture
def registry(sdk):
    return sdk.registry()


def refused(status, function, *arguments):
    with pytest.raises(HttpOperationError) as caught:
        function(*arguments)
    assert caught.value.response.status_code == status
    return caught.value.response.json()["Message"]


@pytest.mark.tried("Python SDKs", "registry")
def test_devices_of_every_kind(registry):
    device = registry.create_device_with_sas("d-1", "", "", "enabled")
    assert device.authentication.symmetric_key.primary_key
    assert (device.connection_state, device.capabilities.iot_edge) == ("Disconnected", False)
    assert refused(409, registry.create_device_with_sas, "d-1", "", "", "enabled") == (
        "ErrorCode:DeviceAlreadyExists;Conflict"
    )
    thumbprint = "A" * 40
    x509 = registry.create_device_with_x509("d-2", thumbprint, thumbprint, "disabled")
    assert x509.authentication.x509_thumbprint.primary_thumbprint == thumbprint
    authority = registry.create_device_with_certificate_authority("d-3", "enabled")
    assert authority.authentication.type == "certificateAuthority"
    assert [found.device_id for found in registry.get_devices(2)] == ["d-1", "d-2"]
    statistics = registry.get_device_registry_statistics()
    assert (statistics.total_device_count, statistics.disabled_device_count) == (3, 1)


def test_updating_and_deleting_with_etags(registry):
    device = registry.create_device_with_sas("d-1", KEY, OTHER_KEY, "enabled")
    update = (registry.update_device_with_sas, "d-1", device.etag, OTHER_KEY, KEY, "enabled")
    changed = update[0](*update[1:])
    assert changed.authentication.symmetric_key.primary_key == OTHER_KEY
    assert refused(412, *update).startswith("ErrorCode:PreconditionFailed;")
    refused(412, registry.delete_device, "d-1", device.etag)
    registry.delete_device("d-1")
    assert refused(404, registry.get_device, "d-1").startswith("ErrorCode:DeviceNotFound;")


@pytest.mark.tried("Python SDKs", "registry")
def test_twins(registry):
    registry.create_device_with_sas("d-1", "", "", "enabled")
    twin = registry.get_twin("d-1")
    desired = Twin(tags={"room": "lab"}, properties=TwinProperties(desired={"interval": 5}))
    changed = registry.update_twin("d-1", desired, twin.etag)
    assert (changed.tags, changed.properties.desired["$version"]) == ({"room": "lab"}, 2)
    refused(412, registry.update_twin, "d-1", desired, twin.etag)
    # what was read can be written back as it is, metadata and all
    replaced = registry.replace_twin("d-1", changed, changed.etag)
    assert (replaced.tags, replaced.properties.desired["interval"]) == ({"room": "lab"}, 5)
    assert replaced.properties.desired["$version"] == 3


def test_queries(registry):
    for number in range(3):
        registry.create_device_with_sas(f"d-{number}", "", "", "enabled")
        registry.update_twin(f"d-{number}", Twin(tags={"floor": number}), "*")
    found = registry.query_iot_hub(QuerySpecification(query="SELECT * FROM devices WHERE tags.floor >= 1"))
    assert [twin.device_id for twin in found.items] == ["d-1", "d-2"]
    assert found.continuation_token is None
    everything = QuerySpecification(query="SELECT * FROM devices")
    first = registry.query_iot_hub(everything, None, 2)
    second = registry.query_iot_hub(everything, first.continuation_token, 2)
    assert [[twin.device_id for twin in page.items] for page in (first, second)] == [["d-0", "d-1"], ["d-2"]]
    counted = registry.query_iot_hub(QuerySpecification(query="SELECT COUNT() AS n FROM devices"))
    assert counted.items[0].additional_properties == {"n": 3}
    assert "at character 10" in refused(400, registry.query_iot_hub, QuerySpecification(query="SELECT * FORM devices"))
    assert "not supported by this simulator" in refused(
        501, registry.query_iot_hub, QuerySpecification(query="SELECT * FROM devices.jobs")
    )


@pytest.mark.parametrize("websockets", [False, True])
def test_subscriptions_outlive_a_connection(sdk, registry, websockets):
    # the SDK asks for a persistent session and does not subscribe again when it reconnects
    registry.create_device_with_sas("d-1", KEY, OTHER_KEY, "enabled")
    patches = queue.Queue()
    device = IoTHubDeviceClient.create_from_symmetric_key(
        KEY, sdk.hub, "d-1", connection_retry=False, **sdk.device_options(websockets=websockets)
    )

    def answer(request):
        device.send_method_response(MethodResponse.create_from_method_request(request, 201, [request.payload]))

    try:
        device.connect()
        device.on_twin_desired_properties_patch_received = patches.put
        device.on_method_request_received = answer
        method = CloudToDeviceMethod(method_name="a/b c", payload={"x": 1})
        device.disconnect()
        assert registry.get_device("d-1").connection_state == "Disconnected"
        assert "DeviceNotOnline" in refused(404, registry.invoke_device_method, "d-1", method)
        device.connect()
        assert registry.get_device("d-1").connection_state == "Connected"
        assert registry.get_service_statistics().connected_device_count == 1
        result = registry.invoke_device_method("d-1", method)
        assert (result.status, result.payload) == (201, [{"x": 1}])
        registry.update_twin("d-1", Twin(properties=TwinProperties(desired={"interval": 5})), "*")
        assert patches.get(timeout=PATIENCE) == {"interval": 5, "$version": 2}
    finally:
        device.shutdown()


def test_edge_devices_their_modules_and_their_children(registry):
    """What the command line and end-to-end tests of other SDKs look at, with the official registry client."""
    edge = registry.create_device_with_sas("edge", KEY, OTHER_KEY, "enabled", iot_edge=True)
    assert [module.module_id for module in registry.get_modules("edge")] == ["$edgeAgent", "$edgeHub"]
    assert registry.get_module_twin("edge", "$edgeHub").module_id == "$edgeHub"
    leaf = registry.create_device_with_sas("leaf", KEY, OTHER_KEY, "enabled", device_scope=edge.device_scope)
    assert leaf.parent_scopes == [edge.device_scope]
    question = f"select deviceId from devices where array_contains(parentScopes, '{edge.device_scope}')"  # noqa: S608
    found = registry.query_iot_hub(QuerySpecification(query=question)).items
    assert [item.device_id for item in found] == ["leaf"]
    nobody = "ms-azure-iot-edge://nobody-1"
    arguments = ("leaf", leaf.etag, KEY, OTHER_KEY, "enabled", False, None, nobody)
    assert "an Edge device in this hub" in refused(400, registry.update_device_with_sas, *arguments)
    assert registry.get_twin("leaf").tags is None
