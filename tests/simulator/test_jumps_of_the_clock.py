"""A clock that is set back or forward: nobody waits for long, and nothing lasts for longer than was said."""

import pytest
from provisioning_parts import Provisioning

from dps_simulator.common.clock import ManualClock
from dps_simulator.common.service_faults import ServiceFault, ServiceFaults
from dps_simulator.common.throttling import Limits, Throttle
from dps_simulator.errors.table import ServiceError
from dps_simulator.hub.cloud_to_device import CloudToDeviceMessage, CloudToDeviceQueues
from dps_simulator.hub.connections import Connections
from dps_simulator.hub.faults import Fault
from dps_simulator.process.store import Store
from dps_simulator.provisioning.registration.states import Status

HOUR, YEAR = 3_600, 366 * 86_400
JUMPS = pytest.mark.parametrize("jump", [-YEAR, -HOUR, -1, HOUR, YEAR])


@JUMPS
def test_a_registration_that_has_begun_ends(jump):
    parts = Provisioning("azure")
    parts.enroll()
    status = parts.register()
    assert status.status is Status.ASSIGNING
    parts.clock.advance(jump)
    parts.clock.advance(0.3)
    assert parts.registrations.poll("device-1", status.operation_id).status is Status.ASSIGNED
    parts.clock.advance(-jump)
    again = parts.register()
    parts.clock.advance(0.3)
    assert parts.registrations.poll("device-1", again.operation_id).status is Status.ASSIGNED
    parts.store.close()


@JUMPS
def test_a_limit_lets_through_what_it_promises(jump):
    clock = ManualClock()
    throttle = Throttle(clock, Limits.parse("registrations_per_minute=2"))
    throttle.take("registrations_per_minute")
    throttle.take("registrations_per_minute")
    clock.advance(jump)
    passed, waits = 0, []
    for _ in range(4):
        try:
            throttle.take("registrations_per_minute")
        except ServiceError as refusal:
            waits.append(refusal.retry_after)
            clock.advance(refusal.retry_after)
        else:
            passed += 1
    assert passed >= 2
    assert all(wait <= 60 for wait in waits)


@JUMPS
def test_a_fault_lasts_no_longer_than_it_was_to_last(jump):
    clock = ManualClock()
    faults = ServiceFaults(clock, list)
    faults.put(ServiceFault.of({"service": "provisioning", "kind": "latency", "delay": 1, "duration": 60}))
    connections = Connections(clock)
    connections.strike("device-1", Fault("KillTcp", "", 0, 60))
    clock.advance(jump)
    assert [each["left"] for each in faults.to_json()] == ([60.0] if jump < 0 else [])
    assert (connections.fault("device-1") is not None) is (jump < 0)
    clock.advance(60)
    assert faults.delay("provisioning") == 0
    assert (faults.to_json(), connections.fault("device-1")) == ([], None)


@JUMPS
def test_a_message_expires_at_the_time_that_was_said(jump):
    clock, store = ManualClock(), Store()
    queues = CloudToDeviceQueues(
        host="hub.test", storage=store, clock=clock, has_device=bool, connections=Connections(clock)
    )
    expiry = queues.send("device-1", CloudToDeviceMessage(b"x")).expiry
    clock.advance(jump)
    assert bool(queues.take("device-1")) is (jump < HOUR)
    clock.advance(-jump)
    # and what was found expired is gone
    assert queues.waiting("device-1") is int(jump < HOUR)
    clock.advance((expiry - clock.now()).total_seconds())
    assert queues.waiting("device-1") == 0
    store.close()
