import importlib.util

import pytest
from sdk_clients import Sdk

from dps_simulator.common.clock import ManualClock
from dps_simulator.errors.table import ServiceError

# these speak of nothing but azure-iot-hub, which not every machine and Python has: see requirements.txt
collect_ignore = (
    []
    if importlib.util.find_spec("azure.iot.hub")
    else [
        "test_hub_registry.py",
        "test_hub_registry_round.py",
        "test_methods.py",
        "test_modules_over_mqtt.py",
        "test_reprovisioning_end_to_end.py",
        "test_symmetric_key_end_to_end.py",
    ]
)


def pytest_report_header():
    return f"azure-iot-hub is not installed here, so these are left out: {collect_ignore}" if collect_ignore else None


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "sdk":
            item.add_marker(pytest.mark.sdk)
            # the SDK leaves the sockets of a client to the garbage collector
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"))


@pytest.fixture
def unhurried_limits(dps_simulator, monkeypatch):
    """Limits that no time fills: whoever is refused finds what he was promised when he comes again, however late.

    So what a client meets depends on the order of requests, and not on how fast the machine is.
    """
    clock, throttle = ManualClock(), dps_simulator.call(lambda runtime: runtime.services.throttle)
    take = throttle.take

    def take_and_go_on(*arguments, **options):
        try:
            take(*arguments, **options)
        except ServiceError as refusal:
            clock.advance(refusal.retry_after or 1)
            raise

    monkeypatch.setattr(throttle, "_clock", clock)
    monkeypatch.setattr(throttle, "take", take_and_go_on)


@pytest.fixture
def sdk(dps_simulator):
    clients = Sdk(dps_simulator)
    yield clients
    clients.close()
