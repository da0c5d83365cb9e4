"""JSON as it arrives from clients: only what can be stored and written out again."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

#: Deeper nesting is refused: no body of the APIs comes near, and everything behind may recurse safely.
MAX_DEPTH = 64

_SURROGATE = re.compile("[\ud800-\udfff]")


def load_json(body: bytes) -> Any:
    """Parse a body.

    Stricter than :func:`json.loads`: ``NaN``, infinities, numbers too large for a double, deep nesting and half of a
    surrogate pair, which no other encoding can hold, are refused.

    Raises:
        ValueError: the body is not JSON; says where, without repeating it.
    """
    try:
        value = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from error
    _check(value)
    return value


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.40} is too large")
    return number


def _check(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            texts: Iterable[str] = ()
            if isinstance(item, str):
                texts = (item,)
            elif isinstance(item, dict):
                texts = item
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            for text in texts:
                if not text.isascii() and _SURROGATE.search(text):
                    raise ValueError("a text in it holds half of a surrogate pair")
        if not below:
            return
        level = below
    raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
