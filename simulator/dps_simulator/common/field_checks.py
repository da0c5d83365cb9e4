"""Checks of single values that a client wrote; whoever fails one hears which field, which value and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dps_simulator.errors.table import Dps, ServiceError, described

#: Longer texts in an enrollment are refused.
MAX_TEXT_LENGTH = 2_048


def wrong_body(text: str) -> ServiceError:
    """The error for a body that is not what it should be."""
    return ServiceError(Dps.INVALID_BODY, text)


def invalid(field: str, value: object, expected: str) -> ServiceError:
    """The error for a wrong value. Not for keys: it repeats the value."""
    shown = f"{value!r:.160}" if isinstance(value, str) else described(value)
    return wrong_body(f"{field} is {shown}; it must be {expected}.")


def checked_object(field: str, value: Any) -> Mapping[str, Any]:
    """The value, which must be a JSON object."""
    if not isinstance(value, Mapping):
        # the value is not repeated: a key may stand in the wrong place
        raise wrong_body(f"{field} is {described(value)}; it must be a JSON object.")
    return value


def checked_text(field: str, value: Any) -> str:
    """The value, which must be a text of reasonable length."""
    if not isinstance(value, str) or not value or len(value) > MAX_TEXT_LENGTH:
        raise invalid(field, value, f"a text of 1 to {MAX_TEXT_LENGTH} characters")
    return value


def checked_flag(field: str, value: Any, default: bool) -> bool:
    """The value, which must be true, false or absent."""
    if value is None:
        return default
    if not isinstance(value, bool):
        raise invalid(field, value, "true or false")
    return value


def checked_choice(field: str, value: Any, choices: Sequence[str]) -> str:
    """The choice that the value names, in the spelling of the API."""
    # enumerations ignore case on input. Source: azure-sdk-for-python issue 35368 ("Hashed")
    for choice in choices:
        if isinstance(value, str) and value.lower() == choice.lower():
            return choice
    raise invalid(field, value, f"one of {', '.join(choices)}")
