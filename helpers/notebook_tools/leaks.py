"""Finds secrets, and paths of one machine, in text that others will read: sources, outputs, logs, reports."""

from __future__ import annotations

import html
import re
from urllib.parse import unquote

_SECRETS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a shared access key", re.compile(r"SharedAccessKey=(?P<secret>[A-Za-z0-9+/]{8,}={0,2})")),
    ("a shared access signature", re.compile(r"SharedAccessSignature sr=(?P<secret>[A-Za-z0-9][^\s\"'<>*]*)")),
    ("a signature", re.compile(r"\bsig=(?P<secret>[A-Za-z0-9+/%=_-]{8,})")),
    (
        "a private key",
        re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----(?P<secret>(?!\*{4}).+?)(?:-----END|\Z)", re.DOTALL),
    ),
)
# Keys are 32 to 64 random bytes: 43 to 88 characters of base64.
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/=_.-])(?P<secret>[A-Za-z0-9+/]{42,88}={0,2})(?![A-Za-z0-9+/=_-])")
_MACHINE_PATH = re.compile(
    r"(?<![\w.:/-])(?:/(?:home|root|Users|tmp|var|private|work|mnt|opt|workspace)/[\w.-]+|[A-Z]:\\+[\w.-]+)"
)


def _is_key(text: str) -> bool:
    """Whether a run of base64 characters looks random: no hexadecimal digest, no path, no long word."""
    stripped = text.rstrip("=")
    return (
        43 <= len(text) <= 88
        and (len(text) % 4 == 0 or (text == stripped and len(text) == 43))
        and re.fullmatch(r"[0-9a-fA-F]+", stripped) is None
        and all(re.search(kind, stripped) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    )


def _spans(text: str) -> list[tuple[int, int, str]]:
    spans = [(*match.span("secret"), kind) for kind, pattern in _SECRETS for match in pattern.finditer(text)]
    spans += [(*m.span("secret"), "a base64 key") for m in _BASE64.finditer(text) if _is_key(m["secret"])]
    return sorted(spans)


def secrets(text: str) -> list[str]:
    """What kinds of secret a text holds, also behind HTML and URL escapes."""
    readings = {text, html.unescape(text), unquote(text), unquote(html.unescape(text))}
    return sorted({kind for reading in readings for _, _, kind in _spans(reading)})


def masked(text: str) -> str:
    """The text with every secret as ``****abcd``: its last four characters, none of a private key."""
    pieces: list[str] = []
    position = 0
    for start, end, kind in _spans(text):
        if end <= position:
            continue
        tail = "" if kind == "a private key" else text[max(start, end - 4) : end]
        pieces += [text[position : max(start, position)], "****", tail]
        position = end
    return "".join([*pieces, text[position:]])


def machine_paths(text: str) -> list[str]:
    """Absolute paths that exist on one machine only."""
    return [match[0] for match in _MACHINE_PATH.finditer(text)]
