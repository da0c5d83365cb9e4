"""Who is connected to a hub right now, and what the last connections left behind.

Nothing here is stored: after a restart nobody is connected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from dps_simulator.common.clock import Clock
from dps_simulator.errors.table import ServiceError

from .devices import Liveliness
from .faults import Fault


class DeviceConnection(Protocol):
    """One live connection, as the hub uses it."""

    def drop(self, error: ServiceError) -> None:
        """Close it; the error says why and goes to the trace."""

    def desired_changed(self, patch: Mapping[str, Any]) -> None:
        """Tell the device a change of its desired properties, with ``$version``."""

    def message_waiting(self) -> None:
        """Fetch what waits for the device in its queue, if it wants to have it."""


class Connections:
    """The live connections of one hub, at most one per device and one per module.

    Arguments:
        clock: gives the times of connecting, of messages and of disconnecting (aware, in UTC).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._live: dict[str, DeviceConnection] = {}
        self._liveliness: dict[str, Liveliness] = {}
        self._faults: dict[str, tuple[Fault, datetime]] = {}

    def __len__(self) -> int:
        return len(self._live)

    @property
    def devices(self) -> int:
        """How many devices are connected; modules, whose names have a slash, are no devices."""
        return sum("/" not in name for name in self._live)

    def get(self, device_id: str) -> DeviceConnection | None:
        """The device's connection, ``None`` when it is not connected."""
        return self._live.get(device_id)

    def liveliness(self, device_id: str) -> Liveliness:
        """Whether the device is connected, and since when."""
        return self._liveliness.get(device_id, Liveliness())

    def opened(self, device_id: str, connection: DeviceConnection) -> DeviceConnection | None:
        """Enter a new connection; returns the one it takes the place of."""
        now = self._clock.now()
        previous = self._live.get(device_id)
        self._live[device_id] = connection
        self._liveliness[device_id] = Liveliness(connected=True, changed=now, active=now)
        return previous

    def heard(self, device_id: str) -> None:
        """Note that the device sent something just now; nothing happens when it is not connected."""
        if device_id in self._live:
            changed = self._liveliness[device_id].changed
            self._liveliness[device_id] = Liveliness(connected=True, changed=changed, active=self._clock.now())

    def seen(self, device_id: str) -> None:
        """Note that the device sent a request of its own just now, which connects it to nothing (HTTPS).

        Source: Microsoft documentation, iot-hub-devguide-identity-registry: ``connectionState`` is only updated for
        devices using MQTT or AMQP, ``lastActivityTime`` is when the device last connected, received or sent a message.
        """
        self._liveliness[device_id] = replace(self.liveliness(device_id), active=self._clock.now())

    def closed(self, device_id: str, connection: DeviceConnection) -> bool:
        """Remove a connection, unless another one has taken its place; tells whether it was there."""
        if self._live.get(device_id) is not connection:
            return False
        del self._live[device_id]
        active = self._liveliness[device_id].active
        self._liveliness[device_id] = Liveliness(connected=False, changed=self._clock.now(), active=active)
        return True

    def drop(self, device_id: str, error: ServiceError) -> None:
        """Close the device's connection if there is one."""
        connection = self._live.get(device_id)
        if connection is not None:
            self.closed(device_id, connection)
            connection.drop(error)

    def drop_all(self, error: ServiceError) -> None:
        """Close every connection, and forget also when devices were last connected.

        Arguments:
            error: why, as the clients are told.
        """
        for device_id in list(self._live):
            self.drop(device_id, error)
        self._liveliness.clear()
        self._faults.clear()

    def strike(self, device_id: str, fault: Fault) -> None:
        """Let a fault that the device asked for begin: drop it, and keep it out for the duration."""
        if fault.duration:
            self._faults[device_id] = fault, self._clock.now() + timedelta(seconds=fault.duration)
        self.drop(device_id, fault.error)

    def fault(self, device_id: str) -> Fault | None:
        """The fault that keeps the device out right now."""
        if device_id not in self._faults:
            return None
        fault, end = self._faults[device_id]
        now = self._clock.now()
        # where the clock was set back, it lasts no longer than was asked for
        end = min(end, now + timedelta(seconds=fault.duration))
        if now < end:
            self._faults[device_id] = fault, end
            return fault
        del self._faults[device_id]
        return None

    def forget(self, device_id: str) -> None:
        """The device is gone; a later one with the same ID starts afresh."""
        self._liveliness.pop(device_id, None)
        self._faults.pop(device_id, None)
