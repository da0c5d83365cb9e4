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
    from .clock import ManualClock
    from .domain.cloud_to_device import CloudToDeviceMessage
    from .domain.telemetry import TelemetryMessage
    from .running import HubEndpoint, RunningSimulator
    from .runtime import SimulatorError
    from .settings import HubSettings, Policy, Settings, SettingsError, TlsFiles
    from .simulator import Simulator
    from .store import StoreError
    from .trace import TraceEvent

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
    "CloudToDeviceMessage": "domain.cloud_to_device",
    "HubEndpoint": "running",
    "HubSettings": "settings",
    "ManualClock": "clock",
    "Policy": "settings",
    "RunningSimulator": "running",
    "Settings": "settings",
    "SettingsError": "settings",
    "Simulator": "simulator",
    "SimulatorError": "runtime",
    "StoreError": "store",
    "TelemetryMessage": "domain.telemetry",
    "TlsFiles": "settings",
    "TraceEvent": "trace",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
