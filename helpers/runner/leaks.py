"""Finds secrets, and paths of one machine, in text that others will read: sources, outputs, logs, reports."""

from __future__ import annotations

import html
import re
from urllib.parse import unquote

from dps_simulator.rules import values
from helpers.masking import keys_alone, masked

__all__ = ["machine_paths", "masked", "secrets"]

_SECRETS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a shared access key", re.compile(r"SharedAccessKey=(?P<secret>[A-Za-z0-9+/]{8,}={0,2})")),
    (
        "a shared access signature",
        re.compile(r"SharedAccessSignature\s[^\s\"'<>]*\bsig=(?P<secret>[A-Za-z0-9+/%=_-]{8,})"),
    ),
    ("a signature", re.compile(r"\bsig=(?P<secret>[A-Za-z0-9+/%=_-]{8,})")),
    (
        "a private key",
        re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----(?P<secret>(?!\*{4}).+?)(?:-----END|\Z)", re.DOTALL),
    ),
)
_LIKE_A_KEY = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])(?!\*{4})[A-Za-z0-9+/_%-]{22,}={0,2}")
_MACHINE_PATH = re.compile(
    r"(?<![\w.:/-])(?:/(?:home|root|Users|tmp|var|private|work|mnt|opt|workspace)/[\w.-]+|[A-Z]:\\+[\w.-]+)"
)


def _kinds(text: str) -> set[str]:
    kinds = {kind for kind, pattern in _SECRETS if pattern.search(text)}
    kinds |= {"a key with a name" for value in values(text) if _LIKE_A_KEY.fullmatch(value)}
    return kinds | ({"a base64 key"} if keys_alone(text) else set())


def secrets(text: str) -> list[str]:
    """What kinds of secret a text holds, also behind HTML and URL escapes.

    In sources, names of keys stand before variables as well; only a value that looks like a key counts here.
    """
    readings = {text, html.unescape(text), unquote(text), unquote(html.unescape(text))}
    return sorted({kind for reading in readings for kind in _kinds(reading)})


def machine_paths(text: str) -> list[str]:
    """Absolute paths that exist on one machine only."""
    return [match[0] for match in _MACHINE_PATH.finditer(text)]
