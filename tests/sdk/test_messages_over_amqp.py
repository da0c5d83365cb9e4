"""Messages to devices, and what becomes of them, with the official azure-iot-hub, which sends over AMQP."""

import subprocess
import sys
import textwrap
import time
from datetime import timedelta

import pytest
from azure.core.credentials import AccessToken
from patience import PATIENCE
from sdk_clients import KEY, Https

from dps_simulator.credentials import sas
from dps_simulator.hub.cloud_to_device import MAX_WAITING

uamqp = pytest.importorskip("uamqp")

DEVICE = "pump-101"


@pytest.fixture
def https(sdk):
    https = Https(sdk.running)
    keys = {"primaryKey": KEY, "secondaryKey": KEY}
    identity = {"deviceId": DEVICE, "authentication": {"type": "sas", "symmetricKey": keys}}
    https.hub("PUT", f"/devices/{DEVICE}", identity)
    yield https
    https.session.close()


@pytest.fixture
def registry(sdk, https):
    """The official manager. Only its sender is led here, because the package hands neither proxy nor CA on to it."""
    manager, running = sdk.registry(), sdk.running
    fields = dict(part.split("=", 1) for part in running.hubs[0].connection_string.split(";"))
    url = f"https://{sdk.hub}"

    def get_token():
        expiry = int(time.time()) + 600
        key = sas.decode_key(fields["SharedAccessKey"])
        return AccessToken(sas.sign(sdk.hub, key, expiry, fields["SharedAccessKeyName"]), expiry)

    auth = uamqp.authentication.JWTTokenAuth(
        audience=url,
        uri=url,
        get_token=get_token,
        token_type=b"servicebus.windows.net:sastoken",
        verify=str(running.certificate_authority_file),
        http_proxy={"proxy_hostname": running.address, "proxy_port": running.proxy_port},
        transport_type=uamqp.TransportType.AmqpOverWebsocket,
    )
    auth.update_token()
    manager.amqp_svc_client.amqp_client = uamqp.SendClient(target=f"amqps://{sdk.hub}/messages/devicebound", auth=auth)
    yield manager
    manager.amqp_svc_client.disconnect_sync()


def receive(https):
    """What waits for the device, received and completed over HTTPS as the device."""
    path = f"/devices/{DEVICE}/messages/deviceBound"
    token = sas.sign(f"{https.hub_host}/devices/{DEVICE}", sas.decode_key(KEY), int(time.time()) + 600)
    headers = {"Authorization": token}
    version = {"api-version": "2021-04-12"}
    url = f"https://{https.hub_host}{path}"
    answer = https.session.get(url, params=version, headers=headers, timeout=PATIENCE)
    if answer.status_code == 204:
        return None
    lock = answer.headers["ETag"].strip('"')
    done = https.session.delete(f"{url}/{lock}", params=version, headers=headers, timeout=PATIENCE)
    assert done.status_code == 204
    return answer


@pytest.mark.tried("Python SDKs", "sending")
def test_a_message_reaches_its_device_and_feedback_its_sender(registry, https, simulator_clock):
    registry.send_c2d_message(
        DEVICE, "open", {"messageId": "m-1", "correlationId": "c-1", "iothub-ack": "full", "valve": "7"}
    )
    assert https.send("hub", "GET", "/messages/serviceBound/feedback").status_code == 204
    received = receive(https)
    assert received.content == b"open"
    headers = received.headers
    assert (headers["iothub-messageid"], headers["iothub-correlationid"]) == ("m-1", "c-1")
    assert headers["iothub-app-valve"] == "7"
    assert receive(https) is None
    simulator_clock(15)
    answer = https.send("hub", "GET", "/messages/serviceBound/feedback")
    assert answer.headers["Content-Type"] == "application/vnd.microsoft.iothub.feedback.json"
    (record,) = answer.json()
    generation = https.hub("GET", f"/devices/{DEVICE}")["generationId"]
    assert record.pop("enqueuedTimeUtc").endswith("Z")
    assert record == {
        "originalMessageId": "m-1",
        "statusCode": "Success",
        "description": "Success",
        "deviceId": DEVICE,
        "deviceGenerationId": generation,
    }
    lock = answer.headers["ETag"].strip('"')
    assert https.send("hub", "GET", "/messages/serviceBound/feedback").status_code == 204
    assert https.send("hub", "POST", f"/messages/serviceBound/feedback/{lock}/abandon").status_code == 204
    lock = https.send("hub", "GET", "/messages/serviceBound/feedback").headers["ETag"].strip('"')
    assert https.send("hub", "DELETE", f"/messages/serviceBound/feedback/{lock}").status_code == 204
    assert https.send("hub", "DELETE", f"/messages/serviceBound/feedback/{lock}").status_code == 412


@pytest.fixture
def simulator_clock(dps_simulator, monkeypatch):
    """Moves the clock of feedback on, and of nothing else."""
    feedback = dps_simulator.call(lambda runtime: next(iter(runtime.hubs.all().values())).feedback)
    clock = feedback._clock

    class Later:
        seconds = 0

        def now(self):
            return clock.now() + timedelta(seconds=self.seconds)

    later = Later()
    monkeypatch.setattr(feedback, "_clock", later)
    return lambda seconds: setattr(later, "seconds", later.seconds + seconds)


def test_who_cannot_get_a_message(registry, https, sdk):
    with pytest.raises(Exception, match="C2D message send failure"):
        registry.send_c2d_message("nobody", "open")
    for _ in range(MAX_WAITING):
        registry.send_c2d_message(DEVICE, "open")
    with pytest.raises(Exception, match="C2D message send failure"):
        registry.send_c2d_message(DEVICE, "one too many")
    said = [
        event["detail"]["reason"]
        for event in sdk.trace()
        if event["operation"] == "send message" and "reason" in event["detail"]
    ]
    assert said == [
        "The device 'nobody' is not registered.",
        (
            f"{MAX_WAITING} messages wait for the device {DEVICE!r}, which is the most. Let it fetch them, or purge "
            "the queue."
        ),
    ]


#: As somebody would write it for Azure, but for the host name: the package reaches no other port than 5671 of it.
PROGRAM = """
    import os
    from azure.iot.hub import IoTHubRegistryManager

    text = os.environ["IOTHUB_CONNECTION_STRING"]
    key = dict(part.split("=", 1) for part in text.split(";"))
    IoTHubRegistryManager.from_connection_string(text).create_device_with_sas("pump-7", "", "", "enabled")
    text = text.replace(key["HostName"], "localhost", 1)
    manager = IoTHubRegistryManager.from_connection_string(text)
    manager.send_c2d_message("pump-7", "open")
    manager.amqp_svc_client.disconnect_sync()
    manager = IoTHubRegistryManager.from_connection_string(os.environ["IOTHUB_CONNECTION_STRING"])
    print(manager.get_device("pump-7").cloud_to_device_message_count)
"""


def test_the_unmodified_package_finds_its_way_to_port_5671(tmp_path):
    program = tmp_path / "send.py"
    program.write_text(textwrap.dedent(PROGRAM))
    own = [sys.executable, "-m", "dps_simulator", "run", "--standard-ports", "--"]
    result = subprocess.run(
        [*own, sys.executable, program], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    if "5671" in result.stderr or "8883" in result.stderr:
        pytest.skip(f"somebody else has the ports: {result.stderr}")
    assert (result.stderr, result.stdout.split(), result.returncode) == ("", ["1"], 0)
