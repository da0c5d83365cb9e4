"""Texts for people, without what must not be shown: the one place on this side where secrets are masked in texts.

Names and paths come from people, who now and then paste a connection string or a private key where a name or a path
belongs. An error that repeats what it was given would show it in an output, which may be kept and shared.

What has a name is found by the rule of the simulator. Here a key is found without a name, too: in an output of a
notebook nobody says what it is.
"""

from __future__ import annotations

import re

from dps_simulator import rules
from dps_simulator.rules import is_no_path, looks_random, mask_in_input, mask_in_name

from .errors import HelperError

__all__ = ["MaskedError", "is_no_path", "keys_alone", "mask", "mask_in_input", "mask_in_name", "masked", "shown"]

_LONGEST = 200

#: Keys are 32 to 64 random bytes: 43 to 88 characters in either alphabet of base64.
_ALONE = re.compile(r"(?<![A-Za-z0-9+/=_.-])(?P<secret>[A-Za-z0-9+/_-]{42,88}={0,2})(?![A-Za-z0-9+/=_-])")


class MaskedError(HelperError):
    """An error whose text shows no secret, whatever was put into it."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(mask_in_input(each) if isinstance(each, str) else each for each in arguments))


def mask(secret: str) -> str:
    """``****`` and the last four characters that carry information, or only ``****`` when the secret is short.

    The ``=`` at the end of base64 is filling, not information, so it is left out.
    """
    return rules.mask(secret.rstrip("="))


def masked(text: str) -> str:
    """The text with every secret as ``****abcd``: its last four characters, none of a private key."""
    text = mask_in_name(text)
    pieces: list[str] = []
    position = 0
    for start, end in keys_alone(text):
        pieces += [text[position:start], mask(text[start:end])]
        position = end
    return "".join([*pieces, text[position:]])


def keys_alone(text: str) -> list[tuple[int, int]]:
    """Where keys stand that nothing names, first and last place behind it of each."""
    return [found.span("secret") for found in _ALONE.finditer(text) if _is_key(found["secret"])]


def _is_key(text: str) -> bool:
    """Whether a run of base64 characters looks random: no hexadecimal digest, no path, no long word."""
    stripped = text.rstrip("=")
    if not 43 <= len(text) <= 88 or not (len(text) % 4 == 0 or (text == stripped and len(text) in (43, 86))):
        return False
    if re.fullmatch(r"[0-9a-fA-F]+", stripped) is not None:
        return False
    if re.search("[_-]", stripped):
        # words that hyphens join have few capitals and digits; among random bytes every third letter is one
        return all(len(re.findall(kind, stripped)) > 4 for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    return all(re.search(kind, stripped) for kind in ("[a-z]", "[A-Z]", "[0-9]"))


def shown(value: object, longest: int = _LONGEST) -> str:
    """A value that somebody gave, for the text of an error; of what may be a secret, nothing is repeated.

    Arguments:
        value: what was given, of whatever type.
        longest: how many characters of it are shown at most.
    """
    text = value if isinstance(value, str) else repr(value)
    # a part of a secret is one as well, so all of it is looked at before it is cut
    if mask_in_name(text) != text or looks_random(text) or (len(text) > _LONGEST and not isinstance(value, str)):
        return f"a value of type {type(value).__name__} that is not repeated, since it may be a secret,"
    return f"{value!r:.{longest}}"
