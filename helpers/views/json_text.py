"""Desired properties that somebody typed: a JSON object, or a sentence that says what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from helpers.masking import MaskedError

#: A twin is small; longer text is a mistake, a whole file for example. Source: "Understand device twins", limits.
LONGEST = 32_768
#: Nesting that no twin comes near; which depth exactly is too much, the hub says.
_DEEPEST = 64
#: Names of properties must not hold these. Source: "Understand device twins", format.
_REFUSED = re.compile(r"[.$ \x00-\x1f\x7f-\x9f]")


class JsonTextError(MaskedError, ValueError):
    """The text is not a JSON object that a twin can take; the text says where and why."""


def json_object(text: str, *, field: str) -> dict[str, Any]:
    """Desired properties from text.

    Arguments:
        text: what was typed.
        field: how the field is called, for error texts.

    Raises:
        JsonTextError: names the field, the place or the value, and what to do.
    """
    if len(text) > LONGEST:
        raise JsonTextError(f"{field} has {len(text)} characters; a twin takes at most {LONGEST}.")
    try:
        found = json.loads(text, parse_constant=_no_number)
        # how deep the parser goes by itself is another thing in another version of Python
        deep = _depth(found) > _DEEPEST
    except json.JSONDecodeError as problem:
        raise JsonTextError(f"{field} is not JSON: {_place(text, problem)}") from None
    except RecursionError:
        found, deep = None, True
    if deep:
        raise JsonTextError(f"{field} is nested too deeply; a twin takes 10 levels.")
    if not isinstance(found, dict):
        raise JsonTextError(
            f'{field} is {_shown(found)}; it must be a JSON object, in braces, such as {{"targetTemperature": 21}}.'
        )
    for name in _names(found):
        if not name or _REFUSED.search(name):
            raise JsonTextError(
                f"{field} has a property {name!r}; a name needs a character, and takes no dot, no $ and no blank."
            )
    return found


def _no_number(name: str) -> None:
    raise JsonTextError(f"{name} is no JSON value; write a number, or null.")


def _depth(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, children), default=0)


def _names(document: Mapping[str, Any]) -> Iterator[str]:
    for name, value in document.items():
        yield name
        if isinstance(value, dict):
            yield from _names(value)


def _place(text: str, problem: json.JSONDecodeError) -> str:
    if not text.strip():
        return 'it is empty. Write a JSON object, such as {"targetTemperature": 21}.'
    line = problem.doc.splitlines()[problem.lineno - 1] if problem.lineno <= len(problem.doc.splitlines()) else ""
    near = line[max(0, problem.colno - 1) :][:20]
    words = f"line {problem.lineno}, column {problem.colno}"
    words += f", at {near!r}" if near else ", where it ends"
    if "'" in text:
        return f"{words}. JSON wants double quotes, not single ones."
    if re.search(r"\b(True|False|None)\b", text):
        return f"{words}. JSON writes true, false and null, not True, False and None."
    if re.search(r",\s*[}\]]", text):
        return f"{words}. After the last value there must be no comma."
    return f'{words}. It should look like {{"targetTemperature": 21}}.'


def _shown(value: object) -> str:
    kinds = {list: "a list", str: "text in quotes", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
