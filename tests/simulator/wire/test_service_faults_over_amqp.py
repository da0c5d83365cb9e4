"""Delays and cuts of AMQP connections: the device hears late, or never."""

import pytest
from amqp_client import Client, flow, frame, receiver, sasl, sender
from provisioning_parts import ID_SCOPE, Provisioning
from test_service_faults_on_the_way import Later

from dps_simulator.common.http import Peer
from dps_simulator.common.service_faults import ServiceFault, ServiceFaults
from dps_simulator.common.trace import Trace
from dps_simulator.protocols.amqp.messages import Message
from dps_simulator.protocols.amqp.performatives import Accepted, Close, Disposition
from dps_simulator.provisioning.api.amqp import DpsAmqpEndpoint
from dps_simulator.wire import faults as service_faults
from dps_simulator.wire.faults import FaultsOnTheWire

HOST, ADDRESS = "global.azure-devices-provisioning.test", f"{ID_SCOPE}/registrations/device-1"
PROPERTIES = {"com.microsoft:api-version": "2019-03-31"}
REGISTER = Message(application_properties={"iotdps-operation-type": "iotdps-register"}, data=b"")


class Device(Client):
    def __init__(self):
        self.parts = Provisioning()
        self.parts.enroll()
        self.trace = Trace(self.parts.clock)
        self.later = Later()
        self.faults = ServiceFaults(self.parts.clock, list)
        wire = FaultsOnTheWire(self.faults, self.trace, call_later=self.later, sleep=None)
        endpoint = DpsAmqpEndpoint(service=self.parts.service, clock=self.parts.clock, trace=self.trace, host=HOST)
        self.wire = wire
        super().__init__(
            lambda line, _: wire.amqp(endpoint.application(line), line, service="provisioning", named="provisioning"),
            Peer(HOST, "amqp"),
        )

    def switch_on(self, kind, **options):
        self.faults.put(ServiceFault.of({"service": "provisioning", "kind": kind, **options}))

    def begin(self):
        token = self.parts.token()
        self.say(sasl("PLAIN", f"\0{ADDRESS}\0{token}".encode()))
        return self.open(
            receiver(ADDRESS, properties=PROPERTIES), flow(credit=5), sender(ADDRESS, properties=PROPERTIES)
        )


@pytest.fixture
def device():
    device = Device()
    yield device
    device.lose()
    assert device.wire.delayed == 0
    device.parts.store.close()


def test_everything_that_arrives_is_delayed_in_its_order(device):
    device.switch_on("latency", delay=0.5)
    assert device.begin() == []
    while device.later.waiting:
        device.later.run()
    device.said()
    outcome, answers = device.send(REGISTER)
    assert (outcome, answers) == (None, [])
    assert device.wire.delayed > 0
    device.later.run()
    said = device.said()
    assert Accepted() in [each.state for each in said if isinstance(each, Disposition)]
    assert any(event.operation == "fault: latency" for event in device.trace.events())


def test_a_cut_is_no_word(device):
    device.begin()
    device.switch_on("cut", count=1, cuts="messages")
    assert device.send(REGISTER) == (None, [])
    assert not device.is_closed
    device.later.run()
    assert device.is_closed
    assert device.said() == []
    assert device.trace.events()[-1].detail["ended"] == "network"


def test_a_connection_can_be_cut_at_once(device):
    device.switch_on("cut", count=1, cuts="connections")
    device.begin()
    assert device.is_closed


def test_what_waits_has_a_limit(device, monkeypatch):
    monkeypatch.setattr(service_faults, "MAX_DELAYED", 500)
    device.begin()
    device.switch_on("latency", delay=0.5)
    device.send(REGISTER)
    assert device.is_closed


def test_what_is_delayed_and_fails_ends_the_connection(device, monkeypatch, caplog):
    device.begin()
    device.switch_on("latency", delay=0.5)
    monkeypatch.setattr(DpsAmqpEndpoint, "application", None)
    device.send(REGISTER)
    monkeypatch.setattr("dps_simulator.provisioning.api.amqp._DeviceConnection.received", lambda *_: 1 / 0)
    device.send(REGISTER)
    device.later.run()
    assert device.is_closed
    assert "could not be served" in caplog.text
    caplog.clear()


def test_the_end_goes_through(device):
    device.begin()
    assert Close() in device.say(frame(Close()))
    assert device.trace.events()[-1].detail["clean"] is True
