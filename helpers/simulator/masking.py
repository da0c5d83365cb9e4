"""Secrets in texts: found wherever they stand and however they are spelled, and masked. The one place that does so.

A secret is the value behind one of the names below, a private key in PEM, the token behind ``Bearer``, or, where a name
was expected, what looks like a key. Case, blanks and signs between the words of a name do not count, and a text is also
read as it is without its escapes: a connection string may stand in a URL, a token in JSON in JSON.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

#: Names of fields whose value is a secret, as :func:`is_secret_name` reads them: small letters and digits only.
SECRET_NAMES = frozenset(
    {
        "primarykey",
        "secondarykey",
        "authenticationkey",
        "sharedaccesskey",
        "connectionstring",
        "passphrase",
        "password",
        "authorization",
        "sig",
        "key",
    }
)
#: Between the words of a name, and between a name and its value. Bounded, because somebody may send a million blanks.
_GAP = r"[\s_.-]{0,8}"
_QUOTES = r"(?:\\{0,4}[\"'])?"
_END = rf"{_QUOTES}\s{{0,8}}"
#: Names that stand in running text only for their value. "code" is the key in the address of an Azure function, which
#: custom allocation calls; like "sig" it is also a part of other words. Behind a colon, other texts may follow as well.
_NAME = rf"(?:shared{_GAP}access|primary|secondary|authentication){_GAP}key|pass{_GAP}(?:word|phrase)|(?<![a-z0-9_])sig"
_PAIR = re.compile(
    rf"((?:{_NAME}|(?<=[?&; ])code){_END}=\s{{0,8}}{_QUOTES}|(?:{_NAME}){_END}:\s{{0,8}}{_QUOTES}(?=[\w+/%.-]{{16}}))"
    r"([^&;\s\"'\\]+)"
    r"|(-----BEGIN [A-Z ]*PRIVATE KEY-----)(?!\*{4}).*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
    r"|(\bbearer\s{1,8})([^\s\"',;]{8,})",
    re.DOTALL | re.IGNORECASE,
)
# the text may have been cut off in the middle of the value
_JSON_MEMBER = re.compile(r'("([^"\\]{1,80})"\s{0,8}:\s{0,8}")((?:[^"\\]|\\.)*)')
#: 32 to 64 bytes in base64, as symmetric keys are. The last line of a certificate in PEM is none.
_KEY = re.compile(r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/]{42,87}={1,2}(?![A-Za-z0-9+/=]|(?:\s|\\[rn])*-----END)")
#: Without any of these in it, no text holds one of the secrets above.
_MARKS = ("key", "sig", "code", "pass", "bearer", "authorization", "connection", "%", "\\u")
_ESCAPED = re.compile(r"\\{1,8}u00([2-7][0-9a-f])", re.IGNORECASE)
#: How often a text is escaped, at most.
_READINGS = 3


#: More characters than any path of a file has that a person gives.
_LONGEST_PATH = 1_000
#: What a key or a certificate is without its first and last line: a path of that length has a dot, a blank or a hyphen.
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]{60,}")


def mask(secret: str) -> str:
    """``****`` and the last four characters, or only ``****`` when the secret is short. Masked twice, it stays so."""
    if re.fullmatch(r"\*{4}.{0,4}", secret):
        return secret
    return "****" + (secret[-4:] if len(secret) >= 12 else "")


def is_secret_name(name: str) -> bool:
    """Whether the value of a field with this name is a secret."""
    return re.sub(r"[^a-z0-9]", "", _unescaped(name[:200]).lower()) in SECRET_NAMES


def mask_in_text(text: str) -> str:
    """The text with every secret masked. Where one stands behind escapes only, the escapes are gone afterwards."""
    lowered = text.lower()
    # what follows is slow, and most texts hold nothing of the kind
    if not any(mark in lowered for mark in _MARKS):
        return text
    masked = _masked(text)
    plain = _unescaped(masked)
    if plain != masked:
        found = _masked(plain)
        if found != plain:
            return found
    return masked


def mask_in_name(text: str) -> str:
    """A text that should be a name, with every secret masked, and also a key that stands there by itself."""
    text = mask_in_text(text)
    found = _KEY.sub(lambda key: mask(key[0]), text)
    if found == text and "%" in text:
        plain = _unescaped(text)
        decoded = _KEY.sub(lambda key: mask(key[0]), plain)
        return decoded if decoded != plain else text
    return found


def _masked(text: str) -> str:
    return _JSON_MEMBER.sub(_mask_member, _PAIR.sub(_mask_pair, text))


def _mask_pair(found: re.Match[str]) -> str:
    name, value, pem, bearer, token = found.groups()
    if pem:
        return str(pem) + mask("")
    return f"{name}{mask(value)}" if name else f"{bearer}{mask(token)}"


def _mask_member(found: re.Match[str]) -> str:
    return found[1] + mask(found[3]) if is_secret_name(found[2]) else found[0]


def _unescaped(text: str) -> str:
    """The text without escapes of URLs and JSON, also where they are escaped themselves."""
    for _ in range(_READINGS):
        if "%" not in text and "\\" not in text:
            break
        before = text
        text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), unquote(text)).replace('\\"', '"')
        if text == before:
            break
    return text


def is_no_path(text: str) -> bool:
    """Whether a text that was given as the path of a file is rather what stands in one, such as a private key.

    What is there is a path, whatever this says.
    """
    if "-----BEGIN" in text or len(text) > _LONGEST_PATH or any(character in text for character in "\0\r\n"):
        return True
    # folders are called in one case or with few digits; random bytes have all of them
    kinds = ("[a-z]", "[A-Z]", "[0-9]")
    return _BASE64.fullmatch(text) is not None and all(len(re.findall(kind, text)) > 4 for kind in kinds)
