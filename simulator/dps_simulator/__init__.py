"""A Device Provisioning Service and its IoT hubs on this machine, for the unmodified Azure SDKs.

.. code-block:: python

    with Simulator(pace="instant") as simulator:
        print(simulator.running.provisioning_host, simulator.running.proxy_url)

Names are imported when first used: a notebook that only looks for a running simulator pays nothing for the server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dps_simulator.common.clock import ManualClock
    from dps_simulator.common.trace import TraceEvent
    from dps_simulator.hub.cloud_to_device import CloudToDeviceMessage
    from dps_simulator.hub.telemetry import TelemetryMessage
    from dps_simulator.process.address import HubEndpoint, RunningSimulator
    from dps_simulator.process.store_errors import StoreError
    from dps_simulator.settings.hubs import HubSettings, Policy
    from dps_simulator.settings.settings import Settings, TlsFiles
    from dps_simulator.settings.values import SettingsError

    from .runtime import SimulatorError
    from .simulator import Simulator

__all__ = [
    "CloudToDeviceMessage",
    "HubEndpoint",
    "HubSettings",
    "ManualClock",
    "Policy",
    "RunningSimulator",
    "Settings",
    "SettingsError",
    "Simulator",
    "SimulatorError",
    "StoreError",
    "TelemetryMessage",
    "TlsFiles",
    "TraceEvent",
]

_HOMES = {
    "CloudToDeviceMessage": "hub.cloud_to_device",
    "HubEndpoint": "process.address",
    "HubSettings": "settings.hubs",
    "ManualClock": "common.clock",
    "Policy": "settings.hubs",
    "RunningSimulator": "process.address",
    "Settings": "settings.settings",
    "SettingsError": "settings.values",
    "Simulator": "simulator",
    "SimulatorError": "runtime",
    "StoreError": "process.store_errors",
    "TelemetryMessage": "hub.telemetry",
    "TlsFiles": "settings.settings",
    "TraceEvent": "common.trace",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
