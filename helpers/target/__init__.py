"""Where the notebooks run: the simulator on this machine, or your own Azure. One parameter decides.

::

    dps = connect(target)                          # "simulator" or "azure"
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=dps.provisioning_host, id_scope=dps.id_scope,
        registration_id=registration_id, symmetric_key=key, **dps.device_options)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dps_simulator.process import launcher
from helpers import workspace
from helpers.masking import shown

from .azure import azure_settings, checked_id_scope, normalised_host, of_settings
from .ports import HTTPS_PORT, MQTT_PORT, PROBE_SECONDS, PortState, Probe, port_is_open, probe
from .simulator import SimulatorTarget
from .target import Target, TargetError

__all__ = [
    "HTTPS_PORT",
    "MQTT_PORT",
    "PROBE_SECONDS",
    "TARGETS",
    "PortState",
    "Probe",
    "Target",
    "TargetError",
    "azure_settings",
    "checked_id_scope",
    "connect",
    "normalised_host",
    "of_simulator",
    "port_is_open",
    "probe",
]

TARGETS = ("simulator", "azure")

#: The target for a simulator that runs already, wherever it was started.
of_simulator = SimulatorTarget


def connect(target: str = "simulator", *, settings: Mapping[str, str] | None = None) -> Target:
    """Connect to the simulator of this workspace (started when it is not running) or to your Azure.

    A simulator in the background that still runs the code of another version is replaced, which one line says.

    Arguments:
        target: ``simulator`` or ``azure``.
        settings: for azure, what would otherwise come from the environment and from ``.env``.

    Raises:
        TargetError: for an unknown target, and for missing or wrong settings, all of them at once.
        LaunchError: the simulator cannot be started, or one of other code runs that may not be replaced.
    """
    dps = _connected(target, settings)
    if record := os.environ.get("DPS_RECORD_ANSWERS"):
        # only who compares the simulator with Azure needs it
        from helpers.comparison import recording  # noqa: PLC0415

        recording.begin(Path(record), dps)
    return dps


def _connected(target: str, settings: Mapping[str, str] | None) -> Target:
    if target == "simulator":
        return of_simulator(launcher.ensure_running(workspace.simulator_state(), say=print))
    if target == "azure":
        return of_settings(azure_settings() if settings is None else settings)
    raise TargetError(f"target is {shown(target)}; it must be one of {', '.join(TARGETS)}.")
