"""The identifiers of provisioning: which texts are allowed, and which of them mean the same.

Source: Microsoft documentation, iot-dps concepts-service ("Registration ID", "Device ID") and
iot-hub-devguide-identity-registry (device IDs of a hub).
"""

from __future__ import annotations

import re

from ..errors import Dps, ServiceError

#: Characters of a registration ID or a group's name.
MAX_ID_LENGTH = 128
_REGISTRATION_ID = re.compile(r"[A-Za-z0-9._:-]{0,127}[A-Za-z0-9-]")
#: The documented characters plus ``:``, which provisioned device IDs may contain.
DEVICE_ID = re.compile(r"[A-Za-z0-9._:%+#*?!(),=@$'-]{1,128}")


def registration_id(value: object, *, field: str = "registrationId") -> str:
    """Check a registration ID, or the name of an enrollment group, which follows the same rule.

    Arguments:
        value: what was given.
        field: its name in the error.

    Raises:
        ServiceError: it is missing, no text, or breaks the rule.
    """
    if value is None:
        raise ServiceError(Dps.INVALID_BODY, f"{field} is missing.")
    if not isinstance(value, str) or not _REGISTRATION_ID.fullmatch(value):
        raise ServiceError(
            Dps.INVALID_BODY,
            f"{field} is {value!r:.160}; it must have 1 to 128 characters out of letters, digits and - . _ : "
            "and end with a letter, a digit or a dash.",
        )
    return value


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
