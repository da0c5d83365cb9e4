"""JSON as it arrives from clients: only what can be stored and written out again."""

from __future__ import annotations

import json
import math
from typing import Any

#: Deeper nesting is refused: no body of the APIs comes near, and everything behind may recurse safely.
MAX_DEPTH = 64


def load_json(body: bytes) -> Any:
    """Parse a body.

    Stricter than :func:`json.loads`: ``NaN``, infinities and numbers too large for a double are refused, and so is
    deep nesting.

    Raises:
        ValueError: the body is not JSON; says where, without repeating it.
    """
    try:
        value = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from error
    _check_depth(value)
    return value


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.40} is too large")
    return number


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
