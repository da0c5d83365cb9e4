"""The identifiers of provisioning: which texts are allowed, and which of them mean the same.

Source: Microsoft documentation, iot-dps concepts-service ("Registration ID", "Device ID") and
iot-hub-devguide-identity-registry (device IDs of a hub).
"""

from __future__ import annotations

from typing import Any

from dps_simulator.errors.table import Dps, ServiceError

from .identifier_rules import DEVICE_ID, MAX_ID_LENGTH, REGISTRATION_ID

__all__ = ["DEVICE_ID", "MAX_ID_LENGTH", "RegistrationId", "device_id", "lookup_key"]


class RegistrationId(str):
    """A registration ID, or the name of an enrollment group, which follows the same rule: a text that was checked.

    It is the text as it was written. Two that differ in case only mean the same, so whoever looks something up uses
    the key.

    Arguments:
        value: what was given.
        field: its name in the error.

    Attributes:
        key: what all spellings have in common.

    Raises:
        ServiceError: it is missing, no text, or breaks the rule.
    """

    __slots__ = ("key",)
    key: str

    def __new__(cls, value: Any, *, field: str = "registrationId") -> RegistrationId:
        """Check it, once for all."""
        if value is None:
            raise ServiceError(Dps.INVALID_BODY, f"{field} is missing.")
        if not isinstance(value, str) or not REGISTRATION_ID.fullmatch(value):
            raise ServiceError(
                Dps.INVALID_BODY,
                f"{field} is {value!r:.160}; it must have 1 to 128 characters out of letters, digits and - . _ : "
                "and end with a letter, a digit or a dash.",
            )
        identifier = super().__new__(cls, value)
        identifier.key = lookup_key(value)
        return identifier


def device_id(value: object, *, field: str = "deviceId") -> str:
    """Check a device ID by the rule of the hub. Unlike registration IDs, device IDs are case-sensitive.

    Raises:
        ServiceError: it is no text, or breaks the rule.
    """
    if not isinstance(value, str) or not DEVICE_ID.fullmatch(value):
        raise ServiceError(
            Dps.INVALID_BODY,
            f"{field} is {value!r:.160}; it must have 1 to 128 characters out of letters, digits and "
            "- . _ : % + # * ? ! ( ) , = @ $ '.",
        )
    return value


def lookup_key(identifier: str) -> str:
    """What all spellings of a registration ID, group name or host name have in common: they ignore case."""
    return identifier.lower()
