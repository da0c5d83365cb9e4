"""Texts for people, without what must not be shown: the one place on this side where secrets are masked in texts.

Names and paths come from people, who now and then paste a connection string or a private key where a name or a path
belongs. An error that repeats what it was given would show it in an output, which may be kept and shared.
"""

from __future__ import annotations

from helpers.simulator.masking import is_no_path, mask_in_name

__all__ = ["MaskedError", "is_no_path", "mask_in_name"]


class MaskedError(Exception):
    """An error whose text shows no secret, whatever was put into it."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(mask_in_name(each) if isinstance(each, str) else each for each in arguments))
