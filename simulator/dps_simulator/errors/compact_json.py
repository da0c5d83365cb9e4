"""JSON without blanks, in pure ASCII, by an encoder that is made once."""

from __future__ import annotations

import json
from collections.abc import Callable
from json import encoder
from typing import Any


def compact_encoder(default: Callable[[Any], Any] | None = None) -> Callable[[Any], str]:
    """What writes values as :class:`json.JSONEncoder` does, without looking for circles.

    That class makes an encoder in C for every value, which costs as much as a small document. Here one is made for all.
    Where Python has none, or makes it in another way, the class itself writes.

    Arguments:
        default: turns what JSON does not know into what it does, or raises :class:`TypeError`.

    Returns:
        A function that raises :class:`TypeError`, :class:`ValueError` or :class:`RecursionError` for what cannot be
        written.
    """
    settings = json.JSONEncoder(check_circular=False, separators=(",", ":"), default=default)
    try:
        # as JSONEncoder.iterencode calls it
        write = encoder.c_make_encoder(  # type: ignore[attr-defined]
            None, settings.default, encoder.encode_basestring_ascii, None, ":", ",", False, False, True
        )
        written = "".join(write({"": [None]}, 0))
    except (AttributeError, TypeError):
        return settings.encode
    return (lambda value: "".join(write(value, 0))) if written == '{"":[null]}' else settings.encode
