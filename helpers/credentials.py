"""Symmetric keys, keys derived for the members of a group, SAS tokens and connection strings.

These are the device's side of the lesson, written to be read: a few lines of HMAC-SHA256 and base64. Nothing here
shows a key: a :class:`Secret` prints as ``****abcd``, and no error text quotes one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote_plus

from .identifiers import bare_host, host_problem, registration_id_problem, unquoted, words_problem
from .masking import MaskedError
from .masking import mask as mask  # noqa: PLC0414 - a public name of this module

#: Sizes that Azure accepts for a symmetric key, in bytes. Source: concepts-symmetric-key-attestation.
KEY_SIZES = range(16, 65)
#: No connection string is near this long; longer input is a mistake (a whole file, for example).
CONNECTION_STRING_LIMIT = 4_096


class CredentialsError(MaskedError, ValueError):
    """A key, a token or a connection string that cannot be used; the text names what is wrong, never the secret."""


class Secret:
    """A text that is kept out of outputs: it prints as ``****`` and its last four characters.

    ``reveal()`` gives the real value. Call it where the SDK needs the value and nowhere else.

    Arguments:
        value: the text to protect.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError(f"A Secret holds text, not {type(value).__name__}.")
        self._value = value

    def reveal(self) -> str:
        """The real value, for the one place that needs it; what prints or logs it shows the secret."""
        return self._value

    def __str__(self) -> str:
        return mask(self._value)

    def __repr__(self) -> str:
        return f"Secret({mask(self._value)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[object, ...]:
        # a pickled secret would be readable in whatever file it lands in
        raise TypeError("A Secret is not pickled; reveal() it on purpose and keep the text safe.")


def decode_key(key: str | Secret) -> bytes:
    """The bytes of a base64 key.

    Raises:
        CredentialsError: when the text is not base64, or the key has a size that Azure refuses.
    """
    text = key.reveal() if isinstance(key, Secret) else key
    if not isinstance(text, str):
        raise CredentialsError(f"A key is given as base64 text or as a Secret, not as {type(text).__name__}.")
    # SDKs overlook the line break that a file has at its end
    text = text.strip()
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise CredentialsError(f"This key is not valid base64{_instead_of_key(text)}") from None
    if len(decoded) not in KEY_SIZES:
        raise CredentialsError(
            f"This key has {len(decoded)} bytes; Azure takes {KEY_SIZES.start} to {KEY_SIZES.stop - 1} bytes."
        )
    return decoded


def _instead_of_key(text: str) -> str:
    """What stands where a key belongs, as the end of a sentence, and what to do; nothing of it is quoted."""
    if text.startswith("-----BEGIN"):
        return ": it is the text of a PEM file, and belongs to a certificate. Give the key of the enrollment."
    if re.match(r"(?i)SharedAccessSignature\b", text):
        return ": it is a token. Give the key that tokens are signed with."
    if re.search(r"(?i)\b(HostName|SharedAccessKey)=", text):
        return ": it is a connection string. Give only what stands behind 'SharedAccessKey=' in it."
    if re.search(r"(?i)%(2B|2F|3D)", text):
        return ": it is percent-encoded, as in a token. Copy the key itself, with + and / and = in it."
    if re.fullmatch(r"[A-Za-z0-9_=-]+", text) and re.search("[_-]", text):
        return ": it has - or _ where base64 has + and /. Copy the key as Azure shows it."
    return ". Copy it again, with every character up to the '=' at its end."


def new_key() -> Secret:
    """A fresh symmetric key: 64 random bytes in base64."""
    return Secret(base64.b64encode(secrets.token_bytes(64)).decode("ascii"))


def derive_device_key(group_key: str | Secret, registration_id: str) -> Secret:
    """The key of one device in a symmetric-key enrollment group.

    HMAC-SHA256 over the registration ID, keyed with the group key: everybody who holds the group key can compute
    every device's key, and nobody can compute the group key from a device's key. So only device keys leave the
    factory floor.

    Raises:
        CredentialsError: for a key that cannot be used, and for a registration ID that DPS never takes: a line break at
            its end would make another key, without a word.

    Source: concepts-symmetric-key-attestation, "Group enrollments".
    """
    if problem := registration_id_problem(registration_id):
        raise CredentialsError(f"A device key is derived from a registration ID, and this one cannot exist: {problem}.")
    digest = hmac.new(decode_key(group_key), registration_id.encode("utf-8"), hashlib.sha256).digest()
    return Secret(base64.b64encode(digest).decode("ascii"))


def sas_token(
    resource: str, key: str | Secret, *, policy: str = "", seconds: int = 3_600, expiry: int | None = None
) -> Secret:
    """A shared access signature: proof of holding a key, valid for one resource and for a limited time.

    Arguments:
        resource: what the token is for, e.g. ``0ne00000A01/registrations/thermostat-001``.
        key: base64 key that signs.
        policy: name of the policy that the key belongs to (``registration`` for devices at DPS), empty for none.
        seconds: how long it is valid, from now.
        expiry: the moment it expires, in seconds since 1970; replaces ``seconds``.

    Raises:
        CredentialsError: for a key that cannot be used, and for a resource, a policy or a time that no service knows.
    """
    if problem := words_problem(resource):
        raise CredentialsError(f"A token is made for a resource, and this one cannot be: {problem}.")
    if policy and (problem := words_problem(policy) or ("it has '&' inside" if "&" in policy else "")):
        raise CredentialsError(f"A token names a policy, and this one cannot be: {problem}.")
    for moment in (seconds, 0 if expiry is None else expiry):
        if not isinstance(moment, int):
            raise CredentialsError(f"The time of a token is a whole number of seconds, not {type(moment).__name__}.")
    until = int(time.time()) + seconds if expiry is None else expiry
    encoded = quote_plus(resource)
    to_sign = f"{encoded}\n{until}".encode()
    signature = base64.b64encode(hmac.new(decode_key(key), to_sign, hashlib.sha256).digest()).decode("ascii")
    token = f"SharedAccessSignature sr={encoded}&sig={quote_plus(signature)}&se={until}"
    return Secret(token + (f"&skn={policy}" if policy else ""))


@dataclass(frozen=True)
class ConnectionString:
    """The three parts of a service's connection string.

    Attributes:
        host: host name of the service.
        policy: name of the shared access policy.
        key: its key.
    """

    host: str
    policy: str
    key: Secret

    def text(self) -> Secret:
        """The connection string again, in the spelling that the SDKs read."""
        return Secret(f"HostName={self.host};SharedAccessKeyName={self.policy};SharedAccessKey={self.key.reveal()}")


_PARTS: Mapping[str, str] = {name.lower(): name for name in ("HostName", "SharedAccessKeyName", "SharedAccessKey")}
_SHAPE = "HostName=…;SharedAccessKeyName=…;SharedAccessKey=…"


def parse_connection_string(text: str, *, of: str = "the connection string") -> ConnectionString:
    """Take a service's connection string apart.

    Arguments:
        text: ``HostName=…;SharedAccessKeyName=…;SharedAccessKey=…``, parts in any order.
        of: how error texts call it, e.g. the name of the setting it came from.

    Raises:
        CredentialsError: names the part that is missing, repeated, unknown or malformed.
    """
    if not isinstance(text, str):
        raise CredentialsError(f"{of} is of type {type(text).__name__}; it is a text that reads {_SHAPE}.")
    if len(text) > CONNECTION_STRING_LIMIT:
        raise CredentialsError(f"{of} is longer than {CONNECTION_STRING_LIMIT} characters; paste only one line.")
    found: dict[str, str] = {}
    for part in unquoted(text).split(";"):
        if not part.strip():
            continue
        name, separator, value = part.strip().partition("=")
        known = _PARTS.get(name.strip().lower())
        if not separator:
            raise CredentialsError(f"{of} has a part without '='. It reads {_SHAPE}.")
        if name.strip().lower() == "deviceid":
            raise CredentialsError(
                f"{of} belongs to one device (it has DeviceId=…). Take the one of a shared access policy: {_SHAPE}."
            )
        if name.strip().lower() in ("endpoint", "entitypath"):
            raise CredentialsError(
                f"{of} is that of an Event Hub (it has Endpoint=…). Take that of a shared access policy: {_SHAPE}."
            )
        if known is None:
            # the name itself may be half of a pasted key, so it is not repeated
            raise CredentialsError(f"{of} has a part that is none of {', '.join(_PARTS.values())}.")
        if known in found:
            raise CredentialsError(f"{of} has {known} twice. Where several belong there, separate them by spaces.")
        found[known] = value.strip()
    missing = [name for name in _PARTS.values() if not found.get(name)]
    if missing:
        raise CredentialsError(f"{of} lacks {' and '.join(missing)}. It reads {_SHAPE}.")
    host = found["HostName"]
    if problem := host_problem(host):
        raise CredentialsError(
            f"{of} has a HostName that is no bare host name: {problem}. Give it without https://, port and path, such "
            "as my-hub.azure-devices.net."
        )
    key = Secret(found["SharedAccessKey"])
    try:
        decode_key(key)
    except CredentialsError as problem:
        raise CredentialsError(f"{of}, SharedAccessKey: {problem}") from None
    return ConnectionString(host=bare_host(host), policy=found["SharedAccessKeyName"], key=key)
