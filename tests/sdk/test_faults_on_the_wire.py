"""What the unmodified SDKs do when a service is slow, cut off, too busy or not there."""

import time

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient
from azure.iot.device.exceptions import ConnectionDroppedError, ConnectionFailedError, NoConnectionError
from sdk_clients import KEY, OTHER_KEY

pytestmark = pytest.mark.sdk


@pytest.fixture
def switch_on(dps_simulator):
    return dps_simulator.switch_on_fault


def register(sdk):
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=sdk.running.provisioning_host,
        registration_id="device-1",
        id_scope=sdk.running.id_scope,
        symmetric_key=KEY,
        **sdk.device_options(),
    )
    return client.register().status


@pytest.fixture
def device(sdk):
    """A device that its hub knows, with a client that is not connected yet."""
    sdk.registry().create_device_with_sas("device-1", KEY, OTHER_KEY, "enabled")
    client = IoTHubDeviceClient.create_from_symmetric_key(
        KEY, sdk.hub, "device-1", **sdk.device_options(connection_retry_interval=1)
    )
    yield client
    client.shutdown()


def seen(sdk, *operations):
    return [(each["operation"], each["status"]) for each in sdk.trace() if each["operation"] in operations]


def test_a_registration_bears_slow_answers_and_the_trace_says_so(sdk, switch_on, dps_simulator):
    sdk.enroll("device-1")
    switch_on("provisioning", "latency", delay=0.2)
    begin = time.monotonic()
    assert register(sdk) == "assigned"
    assert time.monotonic() - begin >= 0.6
    (fault,) = dps_simulator.switch_off_faults()
    assert len(seen(sdk, "fault: latency")) == fault["struck"] >= 3


@pytest.mark.parametrize(("kind", "status"), [("throttling", 429), ("unavailable", 503)])
def test_a_registration_waits_and_asks_again(sdk, switch_on, kind, status):
    sdk.enroll("device-1")
    switch_on("provisioning", kind, count=1, retryAfter=1)
    assert register(sdk) == "assigned"
    assert seen(sdk, "register") == [("register", None), ("register", status), ("register", None), ("register", 200)]


def test_a_registration_that_cannot_even_connect_fails(sdk, switch_on):
    sdk.enroll("device-1")
    switch_on("provisioning", "cut", count=1)
    with pytest.raises(ConnectionDroppedError):
        register(sdk)
    assert register(sdk) == "assigned"


def test_a_registration_that_has_begun_survives_a_cut(sdk, switch_on):
    sdk.enroll("device-1")
    switch_on("provisioning", "cut", cuts="messages", count=1)
    assert register(sdk) == "assigned"
    assert seen(sdk, "fault: cut", "connect") == [
        *[("connect", None), ("connect", 0)],
        ("fault: cut", None),
        *[("connect", None), ("connect", 0)],
    ]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("cut", ConnectionDroppedError),
        ("throttling", ConnectionFailedError),
        ("unavailable", ConnectionFailedError),
    ],
)
def test_the_first_connection_to_a_hub_is_not_tried_again(sdk, switch_on, device, kind, error):
    switch_on(sdk.hub, kind, count=1)
    with pytest.raises(error):
        device.connect()
    assert not device.connected


def test_a_message_survives_a_cut(sdk, switch_on, device, dps_simulator):
    device.connect()
    switch_on(sdk.hub, "cut", cuts="messages", count=1)
    device.send_message("one")
    assert [message.body for message in dps_simulator.telemetry()] == [b"one"]
    assert ("fault: cut", None) in seen(sdk, "fault: cut")


def test_what_a_connected_device_meets_in_a_hub_that_is_too_busy(sdk, switch_on, device, dps_simulator):
    device.connect()
    switch_on(sdk.hub, "throttling", count=1)
    try:
        device.send_message("one")
    except NoConnectionError:
        # the SDK saw the end of the connection, and does not say whether it keeps the message and sends it later
        device.send_message("one")
    assert {message.body for message in dps_simulator.telemetry()} == {b"one"}
    (dropped,) = (each for each in sdk.trace() if each["operation"] == "disconnect" and each["direction"] == "out")
    assert (dropped["status"], dropped["detail"]["reason"]) == (
        429,
        f"the fault throttling was switched on for {sdk.hub}, in this simulator only",
    )


def test_a_service_client_hears_of_each(sdk, switch_on):
    sdk.enroll("device-1")
    service = sdk.service()
    switch_on("enrollments", "cut", count=1)
    # behind a proxy, urllib3 takes the end of a connection for a failure of the proxy
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        service.enrollment.get("device-1")
    switch_on("enrollments", "unavailable", count=1, retryAfter=9)
    with pytest.raises(HttpResponseError) as caught:
        service.enrollment.get("device-1")
    assert (caught.value.status_code, caught.value.response.headers["Retry-After"]) == (503, "9")
    assert "The service is not available. Try again in 9 s." in str(caught.value)
    assert service.enrollment.get("device-1")["registrationId"] == "device-1"


def test_the_registry_manager_waits_by_itself(sdk, switch_on):
    registry = sdk.registry()
    registry.create_device_with_sas("device-1", KEY, OTHER_KEY, "enabled")
    switch_on(sdk.hub, "unavailable", count=1)
    assert registry.get_device("device-1").device_id == "device-1"
    # statistics count for no limit, and are not available either
    switch_on(sdk.hub, "throttling", count=1)
    assert registry.get_service_statistics().connected_device_count == 0
    assert [status for _, status in seen(sdk, "get device") if status] == [503, 200]
