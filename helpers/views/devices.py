"""The devices in the registries of the hubs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from helpers.views.explorer import Entry, Explorer

_COLUMNS = ("device ID", "hub", "status", "connection", "proof of identity")


def device_table(dps: Any, *, only: Iterable[str] = ()) -> Explorer:
    """The devices of all hubs of a target, by name.

    Arguments:
        dps: the target, from ``connect(...)``.
        only: device IDs to show; empty for all.
    """
    wanted = set(only)

    def read() -> list[Entry]:
        found = [
            _entry(hub, device)
            for hub in dps.hubs
            for device in dps.registry(hub).get_devices()
            if not wanted or device.device_id in wanted
        ]
        return sorted(found, key=lambda entry: entry.name)

    return Explorer("Devices in the registry", _COLUMNS, read, empty="(no devices)")


def _entry(hub: str, device: Any) -> Entry:
    proof = str(device.authentication.type if device.authentication else "unknown")
    state = (str(device.status), str(device.connection_state))
    return Entry(
        name=device.device_id,
        cells=(device.device_id, hub, *state, proof),
        details={
            "hub": hub,
            "status": state[0],
            "connection": state[1],
            "connection changed at": str(device.connection_state_updated_time),
            "last activity": str(device.last_activity_time),
            "messages waiting for the device": str(device.cloud_to_device_message_count),
        },
    )
