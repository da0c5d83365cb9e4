"""Through which ports devices reach a target from this network, asked of the network itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from helpers.target import HTTPS_PORT, MQTT_PORT, Probe, Target, probe

_NAMES = {MQTT_PORT: "MQTT", HTTPS_PORT: "HTTPS, and MQTT in a WebSocket"}


def ways(dps: Target, *, look: Callable[[str, int], Probe] = probe) -> list[str]:
    """Try the ports of a target, and say which way devices take.

    Arguments:
        dps: the target. Nothing is tried for the simulator, which devices reach by a door of its own.
        look: how a port is tried.

    Returns:
        One line for each port of each host, and one with the conclusion.
    """
    if dps.is_simulator:
        return ["Nothing to try: devices reach the simulator by a door of its own on this machine."]
    lines: list[str] = []
    states: dict[int, list[Probe]] = {MQTT_PORT: [], HTTPS_PORT: []}
    for number, host in enumerate((dps.provisioning_host, *dps.hubs)):
        name = f"hub {number}" if number else "DPS"
        for port, found in states.items():
            found.append(look(host, port))
            lines.append(f"{name}, {_NAMES[port]}: {found[-1]}")
    told = bool(dps.device_options.get("websockets"))
    return [*lines, _conclusion(states[MQTT_PORT], states[HTTPS_PORT], told=told)]


def _conclusion(mqtt: Sequence[Probe], https: Sequence[Probe], *, told: bool) -> str:
    if all(each.is_open for each in https):
        # a port may be open to one host and not to another; devices have one setting for all
        if not told and all(each.is_open for each in mqtt):
            return f"Devices use MQTT on port {MQTT_PORT}."
        if told:
            return f"Devices use WebSockets on port {HTTPS_PORT}: port {MQTT_PORT} is no way out of this network."
        return (
            f"Port {MQTT_PORT} is open to some hosts only. Give devices websockets=True: dps.device_options does so "
            "where DPS itself cannot be reached, and there only."
        )
    return (
        f"Port {HTTPS_PORT} is closed as well, so nothing reaches Azure from here. Look for a proxy (HTTPS_PROXY), or "
        "try another network."
    )
