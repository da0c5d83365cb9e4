"""Direct methods from the service SDK to the device SDK: answers of every kind, and devices that give none."""

import concurrent.futures
import json
import threading
import time

import pytest
from azure.iot.device import IoTHubDeviceClient, MethodResponse
from azure.iot.hub.models import CloudToDeviceMethod
from msrest.exceptions import HttpOperationError
from patience import PATIENCE
from sdk_clients import KEY, OTHER_KEY

pytestmark = pytest.mark.sdk


@pytest.fixture
def registry(sdk):
    registry = sdk.registry()
    registry.create_device_with_sas("d-1", KEY, OTHER_KEY, "enabled")
    return registry


@pytest.fixture
def client(sdk):
    client = IoTHubDeviceClient.create_from_symmetric_key(
        KEY, sdk.hub, "d-1", connection_retry=False, **sdk.device_options()
    )
    yield client
    client.shutdown()


def answers(client, answer):
    """Let the device answer every method with what a function says, ``None`` for silence."""

    def handle(request):
        result = answer(request)
        if result is not None:
            client.send_method_response(MethodResponse.create_from_method_request(request, *result))

    client.on_method_request_received = handle


def call(registry, name="m", payload=None, **times):
    return registry.invoke_device_method("d-1", CloudToDeviceMethod(method_name=name, payload=payload, **times))


def refused(status, registry, *arguments, **times):
    with pytest.raises(HttpOperationError) as caught:
        call(registry, *arguments, **times)
    assert caught.value.response.status_code == status
    return caught.value.response.json()["Message"]


@pytest.mark.tried("Python SDKs", "calls")
def test_status_and_payload_pass_through(registry, client):
    client.connect()
    answers(client, lambda request: (int(request.name), request.payload))
    for status, payload in ((200, {"a": [1, None]}), (404, "ü"), (0, 7), (599, False), (-1, [])):
        result = call(registry, str(status), payload)
        assert (result.status, result.payload) == (status, payload)
    # the service SDK sends an empty text when there is no payload
    assert call(registry, "200").payload == ""


def test_large_payloads(registry, client):
    client.connect()
    most = 128 * 1024 - 2  # without the quotation marks
    answers(client, lambda request: (200, "x" * (most + 1) if request.name == "more" else request.payload))
    assert call(registry, "echo", "x" * most).payload == "x" * most
    assert "131073 bytes" in refused(400, registry, "echo", "x" * (most + 1))
    assert "The device's answer has 131073 bytes" in refused(400, registry, "more")


def test_wrong_requests(registry):
    assert "responseTimeoutInSeconds is 4" in refused(400, registry, response_timeout_in_seconds=4)
    assert "responseTimeoutInSeconds is 301" in refused(400, registry, response_timeout_in_seconds=301)
    assert "connectTimeoutInSeconds is 301" in refused(400, registry, connect_timeout_in_seconds=301)
    assert "methodName is ''" in refused(400, registry, "")
    registry.delete_device("d-1")
    assert "ErrorCode:DeviceNotFound;" in refused(404, registry)


def test_devices_that_are_not_there(registry, client):
    said = refused(404, registry)
    assert said == "ErrorCode:DeviceNotOnline;Timed out waiting for device to connect."
    started = time.monotonic()
    assert refused(404, registry, connect_timeout_in_seconds=1) == said
    assert time.monotonic() - started >= 1
    client.connect()
    assert refused(404, registry) == said  # connected, but not listening


def test_a_device_that_comes_while_the_call_waits(registry, client):
    answers_soon = threading.Timer(0.3, lambda: (client.connect(), answers(client, lambda _: (200, "here"))))
    answers_soon.start()
    try:
        assert call(registry, connect_timeout_in_seconds=300).payload == "here"
    finally:
        answers_soon.join()


def test_several_at_once_one_of_which_is_never_answered(registry, client):
    client.connect()
    answers(client, lambda request: None if request.name == "silent" else (200, request.payload))
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        silent = pool.submit(refused, 504, registry, "silent", None, response_timeout_in_seconds=5)
        # this one has time enough, on any machine, to be overtaken by those that are answered
        patient = pool.submit(refused, 404, registry, "silent", None, response_timeout_in_seconds=300)
        results = list(pool.map(lambda number: call(registry, "echo", number).payload, range(10)))
        assert results == list(range(10))
        assert silent.result().startswith("ErrorCode:GatewayTimeout;")
        assert not patient.done()
        client.disconnect()
        assert patient.result().startswith("ErrorCode:DeviceConnectionClosedRemotely;")


def test_a_device_that_goes_away_instead_of_answering(registry, client):
    client.connect()
    asked = threading.Event()

    def leave(_request):
        asked.set()

    answers(client, leave)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call_waits = pool.submit(refused, 404, registry)
        assert asked.wait(PATIENCE)
        client.disconnect()
        assert call_waits.result().startswith("ErrorCode:DeviceConnectionClosedRemotely;")


def test_payloads_are_json_on_the_wire(sdk, registry, client):
    client.connect()
    answers(client, lambda _: (200, {"b": 2}))
    call(registry, "m", {"a": 1})
    bodies = [
        event["detail"]["body"] for event in sdk.trace() if event["operation"] == "method" and "body" in event["detail"]
    ]
    assert {"a": 1} in [json.loads(body) for body in bodies if isinstance(body, str)]
