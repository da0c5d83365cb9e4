"""What the unmodified SDKs make of the limits: devices wait and get in, services are told when to come back."""

import concurrent.futures

import pytest
from azure.core.exceptions import HttpResponseError
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient
from azure.iot.device.exceptions import ClientError
from msrest.exceptions import HttpOperationError
from sdk_clients import KEY, derive

pytestmark = [pytest.mark.sdk, pytest.mark.usefixtures("unhurried_limits")]


def register(sdk, registration_id, key):
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=sdk.running.provisioning_host,
        registration_id=registration_id,
        id_scope=sdk.running.id_scope,
        symmetric_key=key,
        **sdk.device_options(),
    )
    return client.register()


def statuses(sdk, operation):
    """What the provisioning service answered to devices."""
    return [
        event["status"]
        for event in sdk.trace()
        if (event["service"], event["direction"], event["operation"]) == ("provisioning", "out", operation)
    ]


def test_a_throttled_device_waits_and_gets_in(sdk, dps_simulator):
    sdk.enroll_group("line")
    # one is left, and the next comes in a second
    dps_simulator.limits = "registrations_per_minute=60"
    dps_simulator.call(lambda runtime: [runtime.services.throttle.take("registrations_per_minute") for _ in range(59)])
    names = ["device-1", "device-2"]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda name: register(sdk, name, derive(KEY, name)), names))
    assert [result.status for result in results] == ["assigned", "assigned"]
    assert sorted(statuses(sdk, "register")) == [200, 200, 429]


def test_a_device_that_polls_too_often_is_slowed_down_and_gets_in(sdk, dps_simulator):
    sdk.enroll("device-1")
    dps_simulator.pace = "polls=3"
    dps_simulator.limits = "polls_per_ten_seconds=3"
    result = register(sdk, "device-1", KEY)
    assert result.status == "assigned"
    # without a limit, the SDK would ask as fast as it can
    assert statuses(sdk, "poll") == [202, 202, 202, 429, 200]


def test_a_service_client_hears_429_and_when_to_come_back(sdk, dps_simulator):
    sdk.enroll("device-1")
    dps_simulator.limits = "operations_per_minute=2"
    service = sdk.service()
    for _ in range(2):
        assert service.enrollment.get("device-1")["registrationId"] == "device-1"
    with pytest.raises(HttpResponseError) as caught:
        service.enrollment.get("device-1")
    assert (caught.value.status_code, caught.value.response.headers["Retry-After"]) == (429, "30")
    assert "Too many requests. Try again in 30 s." in str(caught.value)


def test_the_registry_manager_waits_by_itself(sdk, dps_simulator):
    registry = sdk.registry()
    registry.create_device_with_sas("device-1", KEY, KEY, "enabled")
    dps_simulator.limits = "registry_operations_per_minute=120"
    dps_simulator.call(
        lambda runtime: [runtime.services.throttle.take("registry_operations_per_minute", sdk.hub) for _ in range(120)]
    )
    assert registry.get_device("device-1").device_id == "device-1"
    answers = [event["status"] for event in sdk.trace() if event["operation"] == "get device" and event["status"]]
    assert answers == [429, 200]
    # no wait is long enough for what there may never be more of
    dps_simulator.limits = "devices=1"
    with pytest.raises(HttpOperationError) as caught:
        registry.create_device_with_sas("device-2", KEY, KEY, "enabled")
    assert "ErrorCode:TooManyDevices" in caught.value.response.text


def test_a_full_service_ends_the_registration(sdk, dps_simulator):
    sdk.enroll_group("line")
    dps_simulator.limits = "registrations=1"
    assert register(sdk, "device-1", derive(KEY, "device-1")).status == "assigned"
    with pytest.raises(ClientError):
        register(sdk, "device-2", derive(KEY, "device-2"))
    assert statuses(sdk, "register") == [200, 403]


def test_telemetry_and_twins_of_a_device(sdk, dps_simulator):
    sdk.enroll("device-1")
    register(sdk, "device-1", KEY)
    device = IoTHubDeviceClient.create_from_symmetric_key(KEY, sdk.hub, "device-1", **sdk.device_options())
    try:
        device.connect()
        device.get_twin()
        dps_simulator.limits = "twin_reads_per_second=1,telemetry_per_second=1"
        device.get_twin()
        with pytest.raises(ClientError):
            device.get_twin()
        for _ in range(2):
            # the second one closes the connection; the SDK connects again and repeats it
            device.send_message("21.5")
    finally:
        device.shutdown()
    assert len(dps_simulator.telemetry(sdk.hub)) == 2
