"""Every service judges tokens by the clock as it stands, also when it has jumped."""

import datetime

import pytest
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient, exceptions
from patience import wait_until
from sdk_clients import KEY, Https, device_options

from dps_simulator import ManualClock, Simulator

pytestmark = pytest.mark.sdk

SYMMETRIC = {"primaryKey": KEY, "secondaryKey": KEY}
DAY = 86_400


@pytest.fixture
def clock():
    return ManualClock(datetime.datetime.now(datetime.timezone.utc))


@pytest.fixture
def client(clock):
    with Simulator(clock=clock, pace="instant") as simulator:
        client = Https(simulator.running)
        with client.session:
            authentication = {"type": "sas", "symmetricKey": SYMMETRIC}
            attestation = {"type": "symmetricKey", "symmetricKey": SYMMETRIC}
            client.hub("PUT", "/devices/one", {"deviceId": "one", "authentication": authentication})
            client.service("PUT", "/enrollments/one", {"registrationId": "one", "attestation": attestation})
            client.simulator = simulator
            yield client


def register(client):
    running = client.running
    sdk = ProvisioningDeviceClient.create_from_symmetric_key(
        running.provisioning_host, "one", running.id_scope, KEY, **device_options(running)
    )
    return sdk.register().status


def test_tokens_before_in_and_after_a_jump(client, clock):
    options = device_options(client.running, connection_retry=False)
    device = IoTHubDeviceClient.create_from_symmetric_key(KEY, client.hub_host, "one", **options)
    try:
        for jump in (-DAY, -366 * DAY):
            clock.advance(jump)
            device.connect()
            device.send_message("1")
            assert register(client) == "assigned"
            assert client.service("GET", "/enrollments/one")["registrationId"] == "one"
            device.disconnect()
            clock.advance(-jump)
        clock.advance(DAY)
        with pytest.raises(exceptions.CredentialError):
            device.connect()
        refused = [
            client.send("service", "GET", "/enrollments/one"),
            client.send("hub", "GET", "/devices/one"),
            client.send_as_device("PUT", "one", "register", {"registrationId": "one"}),
        ]
        assert [answer.status_code for answer in refused] == [401] * 3
        assert (
            "expired"
            in next(event.detail for event in reversed(client.simulator.trace()) if event.status == 5)["reason"]
        )
        clock.advance(-DAY)
        device.connect()
        assert register(client) == "assigned"
        wait_until(lambda: device.connected)
    finally:
        device.shutdown()
