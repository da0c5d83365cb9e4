"""The devices in the registries of the hubs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .explorer import Entry, Explorer

_COLUMNS = ("device ID", "hub", "status", "connection", "proof of identity")
#: What the hub means by its words for the proof of identity.
_PROOFS = {
    "sas": "a symmetric key (sas)",
    "selfSigned": "a certificate, known by its thumbprint (selfSigned)",
    "certificateAuthority": "a certificate, signed by an authority that the hub knows (certificateAuthority)",
}


def device_table(dps: Any, *, only: Iterable[str] | Callable[[], Iterable[str]] = ()) -> Explorer:
    """The devices of all hubs of a target, by name.

    Arguments:
        dps: the target, from ``connect(...)``.
        only: device IDs to show, or a function that gives them at every reading; empty for all.
    """

    def read() -> list[Entry]:
        found = [_entry(hub, device) for hub in dps.hubs for device in dps.registry(hub).get_devices()]
        return sorted(found, key=lambda entry: entry.name)

    return Explorer("Devices in the registry", _COLUMNS, read, empty="(no devices)", only=only)


def _entry(hub: str, device: Any) -> Entry:
    proof = str(device.authentication.type if device.authentication else "unknown")
    state = (str(device.status), str(device.connection_state))
    edge = bool(device.capabilities and device.capabilities.iot_edge)
    return Entry(
        name=device.device_id,
        cells=(device.device_id, hub, *state, proof),
        details={
            "hub": hub,
            "kind": "IoT Edge device" if edge else "IoT device",
            "proof of identity": _PROOFS.get(proof, proof),
            "status": state[0],
            "reason of the status": str(device.status_reason or "none given"),
            "status changed at": _moment(device.status_updated_time),
            "connection": state[1],
            "connection changed at": _moment(device.connection_state_updated_time),
            "last activity": _moment(device.last_activity_time),
            "messages waiting for the device": str(device.cloud_to_device_message_count or 0),
        },
    )


def _moment(value: object) -> str:
    """A moment as the hub gives it; the year 1 stands for never."""
    text = str(value or "")
    return "never" if not text or text.startswith("0001-") else text
