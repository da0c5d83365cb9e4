"""The simulator under the name that it had before it became a package of its own, :mod:`dps_simulator`.

Notebooks and tests that import from here, and commands with ``python -m helpers.simulator``, go on working.
"""

import sys

from dps_simulator import (
    CloudToDeviceMessage,
    HubEndpoint,
    HubSettings,
    ManualClock,
    Policy,
    RunningSimulator,
    Settings,
    SettingsError,
    Simulator,
    SimulatorError,
    StoreError,
    TelemetryMessage,
    TlsFiles,
    TraceEvent,
)
from dps_simulator.__main__ import main

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

if __name__ == "__main__":
    sys.exit(main())
