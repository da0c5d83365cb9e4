"""What can be seen of a conversation with Azure from this side of the wire.

Azure does not show a learner the messages that it receives. The device SDKs say in their own log what they are about
to do and what worked, so on Azure that log is what diagrams are drawn from. It names no device and no status codes.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

SDK_LOGGER = "azure.iot.device"
CAPACITY = 1_000

#: The SDK's words → service, direction, operation. Source: azure-iot-device 2.14.
_MEANING: Mapping[str, tuple[str, str, str]] = {
    "Registering with Provisioning Service...": ("provisioning", "in", "register"),
    "Successfully registered with Provisioning Service": ("provisioning", "out", "assigned"),
    "Failed registering with Provisioning Service": ("provisioning", "out", "not assigned"),
    "Connecting to Hub...": ("hub", "in", "connect"),
    "Successfully connected to Hub": ("hub", "out", "connect"),
    "Sending message to Hub...": ("hub", "in", "telemetry"),
    "Successfully sent message to Hub": ("hub", "out", "telemetry"),
    "Successfully retrieved twin": ("hub", "out", "twin get"),
    "Successfully patched twin": ("hub", "out", "twin reported"),
    "Received method request": ("hub", "out", "method"),
    "Sending method response to Hub...": ("hub", "in", "method"),
    "Disconnecting from Hub...": ("hub", "in", "disconnect"),
}


class SdkObserver(logging.Handler):
    """Turns the log of the device SDKs into events of the shape that the simulator's trace has."""

    def __init__(self) -> None:
        super().__init__(level=logging.INFO)
        self._events: deque[dict[str, Any]] = deque(maxlen=CAPACITY)
        self._guard = threading.Lock()
        self._next = 1
        logger = logging.getLogger(SDK_LOGGER)
        self._level_before = logger.level
        if not logger.isEnabledFor(logging.INFO):
            logger.setLevel(logging.INFO)
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what the SDK says when it means something for a learner."""
        meaning = _MEANING.get(record.getMessage())
        if meaning is None:
            return
        service, direction, operation = meaning
        with self._guard:
            self._events.append(
                {
                    "sequence": self._next,
                    "service": service,
                    "device": "",
                    "direction": direction,
                    "protocol": "sdk",
                    "operation": operation,
                    "status": None,
                    "detail": {},
                }
            )
            self._next += 1

    @property
    def last_sequence(self) -> int:
        """The number of the newest event, 0 before the first."""
        with self._guard:
            return self._next - 1

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """Events with a higher number, oldest first."""
        with self._guard:
            return [dict(event) for event in self._events if event["sequence"] > after]

    def close(self) -> None:
        """Stop listening; what was heard stays readable."""
        logger = logging.getLogger(SDK_LOGGER)
        if self in logger.handlers:
            logger.removeHandler(self)
            logger.setLevel(self._level_before)
        super().close()
