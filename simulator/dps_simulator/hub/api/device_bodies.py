"""What devices send to a hub in messages, and what the hub calls the way in which they proved themselves."""

from __future__ import annotations

from typing import Any

from dps_simulator.credentials.sas import SharedAccessSignature
from dps_simulator.errors.table import Hub, ServiceError, ascii_json
from dps_simulator.wire.json_body import load_json

from .device_methods import MAX_METHOD_PAYLOAD


def auth_method(password: str | None) -> str:
    """How a device proved itself, in the words of the hub.

    Source: Microsoft documentation, iot-hub-devguide-messages-construct (anti-spoofing properties).
    """
    by_policy = bool(password) and SharedAccessSignature.parse(password or "").key_name is not None
    kind, scope = "sas" if password else "x509", "hub" if by_policy else "device"
    return ascii_json({"scope": scope, "type": kind, "issuer": "iothub"}).decode("ascii")


def method_payload(data: bytes) -> Any:
    """What a device answered to a method.

    Raises:
        ServiceError: it is too large, or no JSON.
    """
    if len(data) > MAX_METHOD_PAYLOAD:
        raise ServiceError(
            Hub.ARGUMENT_INVALID,
            f"The device's answer has {len(data)} bytes; at most {MAX_METHOD_PAYLOAD} are allowed for a method.",
        )
    return device_json(data, "The device's answer") if data.strip() else None


def device_json(data: bytes, what: str) -> Any:
    """Parse JSON from a device.

    Raises:
        ServiceError: it is not valid.
    """
    try:
        return load_json(data)
    except ValueError as error:
        raise ServiceError(Hub.ARGUMENT_INVALID, f"{what} must be JSON: {error}"[:300]) from error
