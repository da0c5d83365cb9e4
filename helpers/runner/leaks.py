"""Finds secrets, and paths of one machine, in text that others will read: sources, outputs, logs, reports."""

from __future__ import annotations

import html
import re
from urllib.parse import unquote

from dps_simulator.rules import values
from helpers.masking import keys_alone, masked

__all__ = ["found", "machine_paths", "masked", "readings", "secrets"]

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


def found(text: str) -> set[tuple[str, str]]:
    """The kind and the value of each secret that a text holds as it stands, without escapes.

    In sources, names of keys stand before variables as well; only a value that looks like a key counts here.

    Arguments:
        text: of any length.
    """
    seen = {(kind, match["secret"]) for kind, pattern in _SECRETS for match in pattern.finditer(text)}
    seen |= {("a key with a name", value) for value in values(text) if _LIKE_A_KEY.fullmatch(value)}
    return seen | {("a base64 key", text[start:end]) for start, end in keys_alone(text)}


def readings(text: str) -> set[str]:
    """A text as it stands, and as it reads without HTML and URL escapes."""
    return {text, html.unescape(text), unquote(text), unquote(html.unescape(text))}


def secrets(text: str) -> list[str]:
    """What kinds of secret a text holds, also behind HTML and URL escapes."""
    return sorted({kind for reading in readings(text) for kind, _ in found(reading)})


def machine_paths(text: str) -> list[str]:
    """Absolute paths in a text that exist on one machine only: below ``/home``, ``/tmp`` and so on, or with a drive."""
    return [match[0] for match in _MACHINE_PATH.finditer(text)]
