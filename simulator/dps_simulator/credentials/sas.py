"""Shared access signatures (SAS): the tokens that prove possession of a symmetric key.

A token reads ``SharedAccessSignature sr={resource}&sig={signature}&se={expiry}[&skn={policy}]``, its fields in any
order. Signed are the *literal* texts of ``sr`` and ``se`` as they stand in the token, joined by a newline. SDKs differ
in how they write the resource (percent-encoded, with upper- or lower-case digits, or not encoded at all), so nothing
here is decoded before the signature is checked.

Source: Microsoft documentation, iot-hub-dev-guide-sas and iot-dps how-to-control-access; the spellings are those of
the Python, Node, C, Java, C# and Rust device SDKs and of the embedded C SDK.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from .symmetric_keys import decoded

#: Longer texts are refused unread.
MAX_TOKEN_LENGTH = 4_096

_PREFIX = re.compile(r"SharedAccessSignature[ ]+", re.IGNORECASE)
_EXPIRY = re.compile(r"[0-9]{1,18}")
_HARMLESS = re.compile(r"[0-9TZ.:+-]{1,32}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


class SasError(Exception):
    """A token or key is malformed. The text says what is wrong and never contains a signature or key."""


@dataclass(frozen=True, slots=True, repr=False)
class SharedAccessSignature:
    """A parsed token. Parsing proves nothing: see :meth:`is_signed_by` and compare the resource and the expiry.

    Attributes:
        resource: the text after ``sr=``, exactly as it stands in the token.
        signature: the bytes of the signature, decoded from base64.
        expiry: Unix time in seconds from which on the token is worthless.
        key_name: the policy name; ``None`` when absent or empty.
        expiry_text: the text after ``se=``, exactly as it stands in the token.
    """

    resource: str
    signature: bytes
    expiry: int
    key_name: str | None = None
    expiry_text: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str) -> SharedAccessSignature:
        """Read a token.

        Raises:
            SasError: the text is not a token; says which part is wrong.
        """
        if len(text) > MAX_TOKEN_LENGTH:
            raise SasError(f"The token has {len(text)} characters; at most {MAX_TOKEN_LENGTH} are allowed.")
        prefix = _PREFIX.match(text)
        if prefix is None:
            raise SasError("The token does not begin with 'SharedAccessSignature '.")
        fields = _fields(text[prefix.end() :])
        missing = [name for name in ("sr", "sig", "se") if not fields.get(name)]
        if missing:
            raise SasError(f"The token lacks {' and '.join(missing)}.")
        resource, expiry = fields["sr"], fields["se"]
        if not _EXPIRY.fullmatch(expiry):
            # shown only when it cannot be a misplaced signature
            shown = f" but {expiry!r}" if _HARMLESS.fullmatch(expiry) else ""
            raise SasError(f"The token's se is not a whole number of seconds since 1970{shown}.")
        try:
            unquote(resource, errors="strict")
            key_name = unquote(fields.get("skn", ""), errors="strict") or None
        except UnicodeDecodeError as error:
            raise SasError("The token's sr or skn is percent-encoded, but not from UTF-8.") from error
        return cls(resource, _signature(fields["sig"]), int(expiry), key_name, expiry)

    def is_signed_by(self, key: bytes) -> bool:
        """Whether the token was signed with this key. Takes the same time for every wrong signature."""
        expected = _digest(key, self.resource, self.expiry_text or str(self.expiry))
        return hmac.compare_digest(expected, self.signature)

    def resource_parts(self) -> tuple[str, ...]:
        """The resource decoded and split at its slashes, without a scheme and without empty segments at the end.

        ``https%3A%2F%2Fhost%2Fdevices%2Fa%2F`` gives ``("host", "devices", "a")``. The case is kept.
        """
        resource = unquote(self.resource)
        scheme = _SCHEME.match(resource)
        return tuple((resource[scheme.end() :] if scheme else resource).rstrip("/").split("/"))

    def is_expired(self, now: float) -> bool:
        """Whether the token is worthless at this Unix time."""
        return self.expiry <= now

    def __repr__(self) -> str:
        return (
            f"SharedAccessSignature(resource={self.resource!r}, signature=****, "
            f"expiry={self.expiry}, key_name={self.key_name!r})"
        )


def sign(resource: str, key: bytes, expiry: int, key_name: str | None = None) -> str:
    """Make a token: the exact inverse of :meth:`SharedAccessSignature.parse`.

    Arguments:
        resource: the text after ``sr=``; it is used as it is, so percent-encode it before or leave it plain.
        key: the bytes of the key, decoded from base64.
        expiry: Unix time in seconds from which on the token is worthless.
        key_name: name of the policy that the key belongs to; ``None`` leaves ``skn`` out.

    Raises:
        SasError: the resource cannot stand in a token, or the expiry is negative.
    """
    if not _PRINTABLE.fullmatch(resource) or "&" in resource:
        raise SasError(f"The resource {resource!r:.200} must be printable ASCII without spaces and '&'; encode it.")
    if expiry < 0:
        raise SasError(f"The expiry {expiry} is negative.")
    signature = quote(base64.b64encode(_digest(key, resource, str(expiry))), safe="")
    policy = f"&skn={quote(key_name, safe='')}" if key_name is not None else ""
    return f"SharedAccessSignature sr={resource}&sig={signature}&se={expiry}{policy}"


def decode_key(text: str) -> bytes:
    """Decode a base64 key, strictly.

    Raises:
        SasError: the text is empty or not base64; the text itself is not repeated.
    """
    if not text:
        raise SasError("The key is empty.")
    key = decoded(text)
    if key is None:
        raise SasError("The key is not base64 (letters, digits, + and /, padded with = to a multiple of 4).")
    return key


def _fields(text: str) -> dict[str, str]:
    if not _PRINTABLE.fullmatch(text):
        raise SasError("The token is empty, or contains a space or a character that is not printable ASCII.")
    fields: dict[str, str] = {}
    for part in text.split("&"):
        name, equals, value = part.partition("=")
        name = name.lower()
        if not equals:
            raise SasError("The token contains a field without '='.")
        if name in fields and name in ("sr", "sig", "se", "skn"):
            raise SasError(f"The token contains {name} twice.")
        fields[name] = value
    return fields


def _signature(text: str) -> bytes:
    # '+' means itself here: form decoding would turn it into a space
    signature = decoded(unquote(text))
    if signature is None:
        raise SasError("The token's sig is not base64.")
    return signature


def _digest(key: bytes, resource: str, expiry: str) -> bytes:
    return hmac.digest(key, f"{resource}\n{expiry}".encode(), hashlib.sha256)
