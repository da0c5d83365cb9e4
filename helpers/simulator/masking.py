"""Secrets in texts: found wherever they stand, and masked."""

from __future__ import annotations

import re

#: Names of fields whose value is a secret, in lower case.
SECRET_NAMES = frozenset(
    {
        "primarykey",
        "secondarykey",
        "authenticationkey",
        "sharedaccesskey",
        "connectionstring",
        "password",
        "authorization",
        "sig",
        "key",
    }
)
# "code" is the key in the address of an Azure function, which custom allocation calls
_PAIR_OR_PEM = re.compile(
    r"((?:SharedAccessKey=|[?&; ](?:sig|code)=|^sig=))([^&;\s\"']+)"
    r"|(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    re.DOTALL,
)
# the text may have been cut off in the middle of the value
_JSON_MEMBER = re.compile(rf'("(?:{"|".join(sorted(SECRET_NAMES))})"\s*:\s*")((?:[^"\\]|\\.)*)', re.IGNORECASE)


def mask(secret: str) -> str:
    """``****`` and the last four characters, or only ``****`` when the secret is short."""
    return "****" + (secret[-4:] if len(secret) >= 12 else "")


def mask_in_text(text: str) -> str:
    """The text with every signature, connection string's key and private key masked."""
    # the pattern is slow, and most texts hold neither a pair nor a PEM block
    if "=" not in text and "-----" not in text:
        return text
    return _PAIR_OR_PEM.sub(lambda found: found[3] + mask("") if found[3] else found[1] + mask(found[2]), text)


def mask_in_json(text: str) -> str:
    """JSON that was not parsed, perhaps cut off, with the value of every field with a secret name masked."""
    return _JSON_MEMBER.sub(lambda found: found[1] + mask(found[2]), text)
