"""Where the notebooks run: against the simulator on this machine, or against your own service on Azure.

::

    dps = connect("simulator")     # or connect("azure")
"""

from .target import (
    MQTT_PORT,
    PROBE_SECONDS,
    TARGETS,
    Target,
    TargetError,
    azure_settings,
    checked_id_scope,
    connect,
    normalised_host,
    of_simulator,
    port_is_open,
)

__all__ = [
    "MQTT_PORT",
    "PROBE_SECONDS",
    "TARGETS",
    "Target",
    "TargetError",
    "azure_settings",
    "checked_id_scope",
    "connect",
    "normalised_host",
    "of_simulator",
    "port_is_open",
]
