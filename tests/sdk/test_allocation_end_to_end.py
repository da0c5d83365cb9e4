"""Devices over several hubs, through the real device SDK: every allocation policy, and what goes wrong with them."""

import asyncio
import json
import threading
from collections import Counter

import pytest
from azure.core.exceptions import HttpResponseError
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient
from azure.iot.device import exceptions as device_errors
from azure.iot.device.aio import ProvisioningDeviceClient as AsyncProvisioningDeviceClient
from patience import PATIENCE
from sdk_clients import KEY, derive
from webhook_server import WebhookServer

pytestmark = pytest.mark.sdk

HUBS = [f"contoso-hub-{number}.azure-devices.test" for number in (1, 2, 3)]
FLEET = [f"sensor-{number:02}" for number in range(30)]


@pytest.fixture
def hubs(sdk):
    """Three linked hubs; the first one is that of the settings."""
    for host in HUBS[1:]:
        sdk.simulator.link_hub(host)
    sdk.running = sdk.simulator.running
    assert [hub.host for hub in sdk.running.hubs] == HUBS
    return HUBS


@pytest.fixture
def webhook():
    server = WebhookServer()
    yield server
    server.close()


def client(sdk, registration_id, key, kind=ProvisioningDeviceClient):
    return kind.create_from_symmetric_key(
        sdk.running.provisioning_host, registration_id, sdk.running.id_scope, key, **sdk.device_options()
    )


def register(sdk, registration_id="device-1", key=KEY, payload=None):
    device = client(sdk, registration_id, key)
    device.provisioning_payload = payload
    return device.register()


def failed(sdk, said, registration_id="device-1", key=KEY):
    with pytest.raises(device_errors.ClientError) as caught:
        register(sdk, registration_id, key)
    assert isinstance(caught.value.__cause__, device_errors.ServiceError)
    state = sdk.service().device_registration_state.get(registration_id)
    assert state["status"] == "failed"
    assert said in state["errorMessage"]
    return state["errorCode"]


def fleet(sdk, group="sensors"):
    """Register the whole fleet at once; gives device → hub."""

    async def all_of_them():
        devices = [client(sdk, name, derive(KEY, name), AsyncProvisioningDeviceClient) for name in FLEET]
        return await asyncio.gather(*(device.register() for device in devices))

    where = {
        result.registration_state.device_id: result.registration_state.assigned_hub
        for result in asyncio.run(all_of_them())
    }
    assert set(where) == set(FLEET)
    listed = {
        state["registrationId"]: state["assignedHub"] for state in sdk.service().device_registration_state.query(group)
    }
    assert listed == where
    return where


def devices_of(sdk, host):
    return {device.device_id for device in sdk.registry(connection_string(sdk, host)).get_devices()}


def connection_string(sdk, host):
    return next(hub.connection_string for hub in sdk.running.hubs if hub.host == host)


def test_weights_spread_a_fleet_and_every_device_is_where_it_was_told(sdk, hubs):
    sdk.enroll_group("sensors")
    even = fleet(sdk)
    assert set(even.values()) == set(hubs)
    for host in hubs:
        assert devices_of(sdk, host) == {name for name, where in even.items() if where == host}
    # again: nobody moves
    assert fleet(sdk) == even
    sdk.simulator.link_hub(hubs[2], allocation_weight=1_000)
    heavy = fleet(sdk)
    assert Counter(heavy.values())[hubs[2]] >= 28
    assert {heavy[name] for name in FLEET if heavy[name] != even[name]} == {hubs[2]}
    assert devices_of(sdk, hubs[2]) == {name for name, where in heavy.items() if where == hubs[2]}
    device = IoTHubDeviceClient.create_from_symmetric_key(
        derive(KEY, FLEET[0]), heavy[FLEET[0]], FLEET[0], **sdk.device_options()
    )
    device.connect()
    assert device.connected
    device.shutdown()


def test_policies_of_the_service_and_of_the_enrollment(sdk, hubs):
    for host, latency in zip(hubs, (30, 10, 20), strict=True):
        sdk.simulator.link_hub(host, latency=latency)
    sdk.enroll("by-default")
    sdk.enroll("nearest", allocationPolicy="geoLatency")
    sdk.enroll("nearer", allocationPolicy="geoLatency", iotHubs=[hubs[0], hubs[2]])
    sdk.enroll("fixed", allocationPolicy="static", iotHubs=[hubs[2]])

    def where(name):
        return register(sdk, name).registration_state.assigned_hub

    assert (where("nearest"), where("nearer"), where("fixed")) == (hubs[1], hubs[2], hubs[2])
    for policy, expected in (("geoLatency", hubs[1]), ("static", hubs[0])):
        sdk.simulator.call(
            lambda runtime, policy=policy: setattr(runtime.services.provisioning.links, "allocation_policy", policy)
        )
        assert where("by-default") == expected
        assert where("fixed") == hubs[2]


def test_hubs_that_take_no_part(sdk, hubs):
    sdk.simulator.link_hub(hubs[0], apply_allocation_policy=False)
    sdk.enroll_group("sensors")
    assert set(fleet(sdk).values()) == set(hubs[1:])
    sdk.enroll("device-1", allocationPolicy="static", iotHubs=[hubs[0]])
    assert register(sdk).registration_state.assigned_hub == hubs[0]


def test_no_hub_for_a_device(sdk, hubs):
    sdk.enroll("device-1", allocationPolicy="static", iotHubs=[hubs[1]])
    sdk.enroll("device-2")
    sdk.simulator.unlink_hub(hubs[1])
    assert failed(sdk, "iothub not found") == 401001
    # what the service keeps to itself stands in the trace
    reasons = [event["detail"].get("reason", "") for event in sdk.trace()]
    assert f"none of {hubs[1]} is linked to the service any more" in reasons
    with pytest.raises(HttpResponseError, match="linked to the provisioning service"):
        sdk.enroll("device-3", allocationPolicy="static", iotHubs=[hubs[1]])
    assert register(sdk, "device-2").registration_state.assigned_hub in (hubs[0], hubs[2])
    for host in (hubs[0], hubs[2]):
        sdk.simulator.unlink_hub(host)
    assert failed(sdk, "No IoT hub", "device-2") == 400208
    # linked again, everything is as before
    sdk.simulator.link_hub(hubs[1])
    assert register(sdk).registration_state.assigned_hub == hubs[1]


def custom(url, **more):
    return {
        "allocationPolicy": "custom",
        "customAllocationDefinition": {"webhookUrl": url, "apiVersion": "2021-10-01"},
        **more,
    }


def test_a_webhook_chooses_by_what_the_device_sends(sdk, hubs, webhook):
    webhook.answer = lambda document: {
        "iotHubHostName": hubs[document["deviceRuntimeContext"]["payload"]["division"]],
        "initialTwin": {"properties": {"desired": {"state": "ready"}}, "tags": {"deviceType": "toaster"}},
        "payload": {"welcome": document["deviceRuntimeContext"]["registrationId"]},
    }
    sdk.enroll("device-1", **custom(webhook.url))
    result = register(sdk, payload={"division": 2})
    assert result.registration_state.assigned_hub == hubs[2]
    # the SDK gives it as a text
    assert json.loads(result.registration_state.response_payload) == {"welcome": "device-1"}
    twin = sdk.registry(connection_string(sdk, hubs[2])).get_twin("device-1")
    assert (twin.tags, twin.properties.desired["state"]) == ({"deviceType": "toaster"}, "ready")
    assert sdk.service().device_registration_state.get("device-1")["payload"] == {"welcome": "device-1"}
    (document,) = webhook.documents
    assert document["linkedHubs"] == hubs


def test_a_webhook_for_a_group_by_the_hubs_that_it_names(sdk, hubs, webhook):
    group = custom(webhook.url, iotHubs=[hubs[2], hubs[1]])
    sdk.enroll_group("sensors", **group)
    assert register(sdk, "sensor-01", derive(KEY, "sensor-01")).registration_state.assigned_hub == hubs[2]
    (document,) = webhook.documents
    assert document["linkedHubs"] == [hubs[2], hubs[1]]
    assert document["enrollmentGroup"]["enrollmentGroupId"] == "sensors"


#: What a webhook answers to each device, and what becomes of it.
WRONG = {
    "status": ((500, b"", {}), 400207, "Custom allocation failed with status code: 500"),
    "garbage": ((200, b"<html></html>", {}), 400207, "did not answer JSON"),
    "unlinked": ({"iotHubHostName": "unlinked.azure-devices.test"}, 400207, "it must be one of the linkedHubs"),
    "twin": ({"iotHubHostName": HUBS[0], "initialTwin": {"tags": {"a.b": 1}}}, 400004, "a.b"),
    "nobody": (None, 400207, "cannot be reached"),
}


def test_webhooks_that_answer_wrongly(sdk, hubs, webhook):
    webhook.answer = lambda document: WRONG[document["deviceRuntimeContext"]["registrationId"]][0]
    secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
    for name in WRONG:
        sdk.enroll(name, **custom(f"{'http://127.0.0.1:9/' if name == 'nobody' else webhook.url}?code={secret}"))

    async def all_of_them():
        devices = [client(sdk, name, KEY, AsyncProvisioningDeviceClient) for name in WRONG]
        return await asyncio.gather(*(device.register() for device in devices), return_exceptions=True)

    for error in asyncio.run(all_of_them()):
        assert isinstance(error, device_errors.ClientError)
        assert isinstance(error.__cause__, device_errors.ServiceError)
    for name, (_, code, said) in WRONG.items():
        state = sdk.service().device_registration_state.get(name)
        assert (state["status"], state["errorCode"]) == ("failed", code)
        assert said in state["errorMessage"]
    assert not any(devices_of(sdk, host) for host in hubs)
    assert secret not in str(sdk.trace())


def test_a_webhook_that_takes_its_time(sdk, hubs, webhook):
    release = threading.Event()
    webhook.answer = lambda document: release.wait(PATIENCE) and {"iotHubHostName": hubs[1]}
    sdk.enroll("device-1", **custom(webhook.url))
    timer = threading.Timer(3.5, release.set)
    timer.start()
    assert register(sdk).registration_state.assigned_hub == hubs[1]
    timer.join()
    polls = [event.status for event in sdk.simulator.trace() if (event.operation, event.direction) == ("poll", "out")]
    # the SDK waits two seconds, then one after every answer
    assert polls[-1] == 200
    assert set(polls[:-1]) == {202}
    assert len(polls) <= 5
