"""What can be seen of a conversation with Azure from this side of the wire.

Azure does not show a learner the messages that it receives. The device SDKs say in their own log what they are about
to do and what worked, so on Azure that log is what diagrams are drawn from. It names no device and no status codes.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

SDK_LOGGER = "azure.iot.device"
#: Where the SDK lets its MQTT client speak. From version 2 on, that one complains of every connection that has ended.
MQTT_LOGGER = "paho"
#: The client for TPMs, which the SDK lacks, speaks in the SDK's words where the SDK has any.
TPM_LOGGER = "helpers.tpm"
CAPACITY = 1_000

_CHALLENGE = "challenge"
#: The words → service, direction, operation. Source: azure-iot-device 2.14, and helpers.tpm for those about a TPM.
_MEANING: Mapping[str, tuple[str, str, str]] = {
    "Registering with Provisioning Service...": ("provisioning", "in", "register"),
    "Opening the challenge in the TPM...": ("provisioning", "out", _CHALLENGE),
    # DPS has assigned the device by then: the key comes with that answer
    "Taking the hub key into the TPM...": ("provisioning", "out", "assigned"),
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


def quieten(name: str) -> None:
    """Keep the warnings of a library from below the cell, where Python prints those of a logger without a handler.

    Whoever configures logging still gets them.

    Arguments:
        name: of the library's logger.
    """
    logger = logging.getLogger(name)
    if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(logging.NullHandler())


class SdkObserver(logging.Handler):
    """Turns the log of the device SDKs into events of the shape that the simulator's trace has.

    It listens from the moment on in which it is made, and sets the loggers to INFO for that, until :meth:`close`. The
    newest :data:`CAPACITY` events are kept. Any thread may log or read.
    """

    def __init__(self) -> None:
        super().__init__(level=logging.INFO)
        self._events: deque[dict[str, Any]] = deque(maxlen=CAPACITY)
        self._guard = threading.Lock()
        self._next = 1
        self._levels_before: dict[logging.Logger, int] = {}
        for name in (SDK_LOGGER, TPM_LOGGER):
            logger = logging.getLogger(name)
            self._levels_before[logger] = logger.level
            if not logger.isEnabledFor(logging.INFO):
                logger.setLevel(logging.INFO)
            logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record as an event when its text is one of those that mean something; called by :mod:`logging`."""
        meaning = _MEANING.get(record.getMessage())
        if meaning is None:
            return
        service, direction, operation = meaning
        is_challenge = operation == _CHALLENGE
        with self._guard:
            self._events.append(
                {
                    "sequence": self._next,
                    "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
                    "service": service,
                    "device": "",
                    "direction": direction,
                    "protocol": "sdk",
                    "operation": "register" if is_challenge else operation,
                    # a challenge always comes with this status, so here it may be said
                    "status": 401 if is_challenge else None,
                    "detail": {"challenge": True} if is_challenge else {},
                }
            )
            self._next += 1

    @property
    def last_sequence(self) -> int:
        """The number of the newest event, 0 before the first."""
        with self._guard:
            return self._next - 1

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """Copies of the events that have a higher number than ``after``, oldest first."""
        with self._guard:
            return [dict(event) for event in self._events if event["sequence"] > after]

    def close(self) -> None:
        """Stop listening, and set the loggers back to their levels; what was heard stays readable. Twice is fine."""
        for logger, level in self._levels_before.items():
            if self in logger.handlers:
                logger.removeHandler(self)
                logger.setLevel(level)
        super().close()


def device_of(event: Mapping[str, Any]) -> str:
    """Who an event is about; a device that only just knocks is known by the client ID that it gives."""
    return str(event.get("device") or (event.get("detail") or {}).get("clientId") or "")
