"""What learners write, read as what was asked for; whatever is of another kind counts as no answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def text(answer: object) -> str:
    """Text as it was written; empty for anything else."""
    return answer if isinstance(answer, str) else ""


def word(answer: object) -> str:
    """A word or a few, in small letters with single spaces between them; empty for what is no text."""
    return " ".join(text(answer).lower().split())


def letters(answer: object) -> set[str]:
    """The letters in a text, small ones, without what stands between them; none for what is no text."""
    return set(filter(str.isalpha, text(answer).lower()))


def mapping(answer: object) -> Mapping[Any, Any]:
    """A dictionary; an empty one for anything else."""
    return answer if isinstance(answer, Mapping) else {}


def inside(document: object, *names: object) -> Mapping[Any, Any]:
    """The dictionary that stands under these names, one within the other; an empty one where there is none."""
    found = mapping(document)
    for name in names:
        found = mapping(found.get(name))
    return found
