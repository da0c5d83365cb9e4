"""Faults that a device asks for, as Microsoft's own end-to-end tests do, with the official device SDK."""

import threading
from types import SimpleNamespace

import pytest
from azure.iot.device import IoTHubDeviceClient, Message
from azure.iot.device.exceptions import ConnectionFailedError, CredentialError
from patience import PATIENCE, wait_until
from sdk_clients import KEY, OTHER_KEY

from dps_simulator.common.clock import ManualClock

pytestmark = pytest.mark.sdk


class Device:
    def __init__(self, sdk, **options):
        sdk.registry().create_device_with_sas("d-1", KEY, OTHER_KEY, "enabled")
        self.client = IoTHubDeviceClient.create_from_symmetric_key(KEY, sdk.hub, "d-1", **sdk.device_options(**options))
        self.changed = threading.Condition()
        self.client.on_connection_state_change = self._note

    def _note(self):
        with self.changed:
            self.changed.notify_all()

    def becomes(self, connected):
        with self.changed:
            return self.changed.wait_for(lambda: self.client.connected == connected, timeout=PATIENCE)

    def ask(self, operation, **times):
        message = Message(" ")
        message.custom_properties["AzIoTHub_FaultOperationType"] = operation
        message.custom_properties["AzIoTHub_FaultOperationCloseReason"] = "boom"
        for name, seconds in times.items():
            message.custom_properties[f"AzIoTHub_FaultOperation{name}InSecs"] = str(seconds)
        self.client.send_message(message)


@pytest.fixture
def device(sdk):
    devices = []

    def make(**options):
        devices.append(Device(sdk, **options))
        return devices[-1]

    yield make
    for device in devices:
        device.client.shutdown()


@pytest.mark.parametrize("operation", ["KillTcp", "ShutDownMqtt"])
def test_the_sdk_comes_back_after_a_lost_connection(dps_simulator, device, operation):
    lost = device(connection_retry_interval=1)
    lost.client.connect()
    lost.ask(operation)
    assert lost.becomes(connected=False)
    assert lost.becomes(connected=True)
    lost.client.send_message(Message("back"))
    assert [message.body for message in dps_simulator.telemetry()] == [b" ", b"back"]


@pytest.mark.parametrize(
    ("operation", "error"),
    [("InvokeThrottling", ConnectionFailedError), ("InvokeAuthError", CredentialError)],
)
def test_the_fault_begins_after_its_delay_and_lasts(sdk, device, dps_simulator, monkeypatch, operation, error):
    # the delay is over when the test says so, and so is the fault
    clock, later = ManualClock(), []
    hub = dps_simulator.call(lambda runtime: runtime.services.hubs.service(sdk.hub))
    monkeypatch.setattr(hub.hub.connections, "_clock", clock)
    call_later = hub.devices.call_later

    def keep(seconds, function):
        if seconds != 1:
            return call_later(seconds, function)
        later.append(function)
        return SimpleNamespace(cancel=lambda: None)

    monkeypatch.setattr(hub.devices, "call_later", keep)
    faulty = device(connection_retry=False)
    faulty.client.connect()
    faulty.ask(operation, Delay=1, Duration=2)
    (begin,) = wait_until(lambda: later, "the fault that was put off")
    assert faulty.client.connected
    dps_simulator.call(lambda _: begin())
    assert faulty.becomes(connected=False)

    def comes_in():
        try:
            faulty.client.connect()
        except (error, ConnectionFailedError) as refusal:
            # on a busy machine, the SDK takes the end of the old connection for a failure of the new one
            refusals.append(type(refusal))
        return faulty.client.connected

    refusals = []
    wait_until(lambda: comes_in() or error in refusals, "the refusal")
    assert not faulty.client.connected
    clock.advance(2)
    wait_until(comes_in, "the end of the fault")
    assert any(f"the fault {operation}" in event["detail"].get("reason", "") for event in sdk.trace())
