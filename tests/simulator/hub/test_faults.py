from __future__ import annotations

import pytest

from dps_simulator.common.clock import ManualClock
from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.hub.connections import Connections
from dps_simulator.hub.faults import FAULTS, Fault, asked_fault


def properties(operation="KillTcp", **more):
    names = {"reason": "CloseReason", "delay": "DelayInSecs", "duration": "DurationInSecs"}
    return {
        "AzIoTHub_FaultOperationType": operation,
        **{f"AzIoTHub_FaultOperation{names[name]}": value for name, value in more.items()},
    }


def test_ordinary_messages_ask_for_nothing():
    assert asked_fault({}) is None
    assert asked_fault({"AzIoTHub_FaultOperationDelayInSecs": "x"}) is None


@pytest.mark.parametrize("operation", FAULTS)
def test_faults_that_exist(operation):
    assert asked_fault(properties(operation)) == Fault(operation, "", 0, 0)
    fault = asked_fault(properties(operation, reason=" boom ", delay="1", duration="5"))
    assert fault == Fault(operation, " boom ", 1, 5)
    assert fault.error.kind is FAULTS[operation]
    assert fault.error.reason == f"the device asked for the fault {operation} ( boom )"
    assert fault.is_refusal == (operation == "InvokeAuthError")


@pytest.mark.parametrize("operation", ["KillAmqpConnection", "KillAmqpTwinLinkReq", "ShutDownAmqp"])
def test_faults_of_another_protocol_say_so(operation):
    with pytest.raises(ServiceError, match="not supported by this simulator"):
        asked_fault(properties(operation))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (properties("killtcp"), "AzIoTHub_FaultOperationType is 'killtcp'; this simulator knows KillTcp, "),
        (properties(None), "is None"),
        (properties(delay="-1"), "DelayInSecs is '-1'; it must be a whole number of seconds from 0 to 300"),
        (properties(delay="301"), "'301'"),
        (properties(delay="²"), "'²'"),
        (properties(delay="1.5"), "'1.5'"),
        (properties(duration="3601"), "DurationInSecs is '3601'"),
        (properties(duration="9" * 5_000), "'999"),
        (properties(duration=""), "''"),
    ],
)
def test_faults_that_are_asked_for_wrongly(asked, said):
    with pytest.raises(ServiceError, match=r".") as caught:
        asked_fault(asked)
    assert caught.value.kind is Hub.ARGUMENT_INVALID
    assert said in caught.value.message


class Connection:
    def __init__(self):
        self.dropped = []

    def drop(self, error):
        self.dropped.append(error.kind)


def test_a_fault_keeps_a_device_out_for_its_duration():
    clock = ManualClock()
    connections, connection = Connections(clock), Connection()
    connections.opened("d", connection)
    lasting, passing = Fault("InvokeThrottling", "", 0, 5), Fault("KillTcp", "", 0, 0)
    connections.strike("d", lasting)
    connections.strike("e", passing)  # nobody is connected
    assert connection.dropped == [Hub.THROTTLED]
    assert connections.fault("d") is lasting
    assert connections.fault("e") is None
    clock.advance(4.9)
    assert connections.fault("d") is lasting
    clock.advance(0.1)
    assert connections.fault("d") is None
    assert connections._faults == {}


def test_a_fault_ends_with_its_device():
    connections = Connections(ManualClock())
    connections.strike("d", Fault("KillTcp", "", 0, 5))
    connections.forget("d")
    assert connections.fault("d") is None
    connections.strike("d", Fault("KillTcp", "", 0, 5))
    connections.drop_all(ServiceError(Hub.INTERNAL))
    assert connections.fault("d") is None
