"""Values that a setting can have: each text is checked, and becomes what the simulator works with."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dps_simulator.common.identifier_rules import HOST
from dps_simulator.common.private_files import is_no_place
from dps_simulator.errors.masking import mask_in_name


class SettingsError(Exception):
    """Something was set to what it cannot be. The text names the source, the key and the value, a secret masked."""

    def __init__(self, text: str) -> None:
        super().__init__(mask_in_name(text))


def named(name: str, parse: Callable[[Any], Any], value: Any) -> Any:
    """The parsed value; an error begins with the name of the key.

    Raises:
        SettingsError: the value is not possible.
    """
    try:
        return parse(value)
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from None


def tables(name: str, value: Any, file: Path) -> list[dict[str, Any]]:
    """The tables that a settings file has under a name.

    Arguments:
        name: what stands in the double brackets.
        value: what was read under it.
        file: the path of the file, for the error.

    Raises:
        SettingsError: it is something else; the text names the file.
    """
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise SettingsError(f"{file}: {name} must be written as [[{name}]] tables.")
    return value


def impossible(value: object, expected: str) -> SettingsError:
    """The error for a wrong value. Not for keys: it repeats the value."""
    return SettingsError(f"{value!r:.80} is not possible; expected {expected}.")


def _check(fits: Callable[[Any], object], expected: str) -> Callable[[Any], Any]:
    """A check that gives back a value that fits, and refuses another one with what was expected."""

    def parse(value: Any) -> Any:
        if not fits(value):
            raise impossible(value, expected)
        return value

    return parse


def text(pattern: re.Pattern[str], expected: str) -> Callable[[Any], str]:
    """A check for texts that match as a whole."""
    return _check(lambda value: isinstance(value, str) and pattern.fullmatch(value), expected)


def choice(*choices: str) -> Callable[[Any], str]:
    """A check for one of several words."""
    return _check(lambda value: value in choices, f"one of {', '.join(choices)}")


def host_name(value: str) -> str:
    """The host name in lower case.

    Raises:
        SettingsError: it is none.
    """
    expected = "a host name with at least one dot, without https:// and without a port"
    if not isinstance(value, str):
        raise impossible(value, expected)
    value = text(HOST, expected)(value.lower().rstrip("."))
    if _is_address(value):
        raise SettingsError(f"{value!r} is an IP address; expected a host name, because it tells the services apart.")
    return value


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


address = _check(_is_address, "an IP address such as 127.0.0.1")


def number(most: float) -> Callable[[str], int]:
    """A check for texts that are whole numbers from 0 to another one; gives the number."""

    def parse(value: str) -> int:
        if not value.isascii() or not value.isdigit() or int(value) > most:
            raise impossible(value, f"a whole number from 0 to {most:g}")
        return int(value)

    return parse


def number_value(most: float) -> Callable[[Any], float]:
    """A check for numbers from 0 to another one, with or without a fraction; for those that are numbers already."""
    return _check(lambda value: _is_number(value) and 0 <= value <= most, f"a number from 0 to {most:g}")


def _is_number(value: object) -> bool:
    """Whether it is a number; ``True`` counts as 1 in Python, and nobody means it."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def whole_number_value(least: int, most: int) -> Callable[[Any], int]:
    """A check for whole numbers from one to another; for those that are numbers already."""
    return _check(
        lambda value: _is_number(value) and isinstance(value, int) and least <= value <= most,
        f"a whole number from {least} to {most}",
    )


def switch(value: str) -> bool:
    """True or false, as a text.

    Raises:
        SettingsError: it is neither.
    """
    if value.lower() not in {"1", "0", "true", "false", "yes", "no"}:
        raise impossible(value, "true or false")
    return value.lower() in {"1", "true", "yes"}


switch_value = _check(lambda value: isinstance(value, bool), "true or false")


def path(value: str) -> Path:
    """A path, ``~`` resolved.

    Raises:
        SettingsError: it is empty, or its user does not exist.
    """
    if not value.strip():
        raise SettingsError("a path is empty.")
    try:
        found = Path(value).expanduser()
    except RuntimeError:
        found = None
    if "\0" not in value and is_no_place(found or Path(value)):
        raise SettingsError("a path is expected, and this may be what stands in the file. Give its path, not its text.")
    if found is None or "\0" in value:
        raise SettingsError(f"{value!r:.260} is not possible; expected the path of a file or folder.")
    return found


def key(value: str) -> str:
    """A key in base64. It never stands in an error.

    Raises:
        SettingsError: it is not base64, or too short or too long.
    """
    if not isinstance(value, str):
        raise SettingsError("a key is not a text (its value is not shown).")
    try:
        size = len(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        raise SettingsError("a key is not base64 (its value is not shown).") from None
    if not 16 <= size <= 64:
        raise SettingsError(f"a key has {size} bytes; it needs 16 to 64.")
    return value
