"""What a hub says of a request that is wrong, and the checks that several of its requests need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dps_simulator.common.identifiers import DEVICE_ID
from dps_simulator.errors.table import Hub, ServiceError, described


def invalid(text: str) -> ServiceError:
    """The error for a request that is wrong."""
    return ServiceError(Hub.ARGUMENT_INVALID, text)


def wrong_value(field: str, value: object, expected: str) -> ServiceError:
    """The error for a field. Not for keys: it repeats the value."""
    shown = f"{value!r:.100}" if isinstance(value, str) else described(value)
    return invalid(f"{field:.120} is {shown}; it must be {expected}.")


def json_object(what: str, value: object) -> Mapping[str, Any]:
    """Return the value when it is a JSON object. What it is instead is not repeated: a key may stand in its place.

    Arguments:
        what: how the sentence begins that says what is wrong, e.g. ``The body``.
        value: the value.

    Raises:
        ServiceError: it is none.
    """
    if not isinstance(value, Mapping):
        raise invalid(f"{what} must be a JSON object, not {described(value)}.")
    return value


def check_id(value: object, what: str = "device") -> str:
    """Return the ID of a device, or of a module, when it is possible.

    Raises:
        ServiceError: it is not.
    """
    if not isinstance(value, str) or not DEVICE_ID.fullmatch(value):
        raise invalid(
            f"The {what} ID {value!r:.200} is not possible: 1 to 128 ASCII letters, digits and - . + % _ # * ? ! "
            "( ) , : = @ $ ' are allowed, and case matters."
        )
    return value
