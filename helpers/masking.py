"""Texts for people, without what must not be shown: the one place on this side where secrets are masked in texts.

Names and paths come from people, who now and then paste a connection string or a private key where a name or a path
belongs. An error that repeats what it was given would show it in an output, which may be kept and shared.
"""

from __future__ import annotations

from helpers.simulator.masking import is_no_path, looks_random, mask_in_input, mask_in_name

__all__ = ["MaskedError", "is_no_path", "mask_in_input", "mask_in_name", "shown"]

_LONGEST = 200


class MaskedError(Exception):
    """An error whose text shows no secret, whatever was put into it."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(mask_in_input(each) if isinstance(each, str) else each for each in arguments))


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
