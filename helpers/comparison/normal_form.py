"""An answer without what is secret, personal or different in every run: placeholders say of what kind it was.

What is left can be compared between two services, and shown to others. It is applied before anything is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from helpers.masking import masked

#: Members whose values depend on when one asks; each becomes a placeholder of the same name.
_MOMENTARY = {"connectionstate", "version", "$version", "$lastupdatedversion", "cloudtodevicemessagecount"}
_TAGS_OF_VERSIONS = {"etag", "deviceetag"}
#: Names of resources, and numbers of any length: where they stand, whatever they are.
_NAMES_BY_MEMBER = {
    "resourcegroup": "<group>",
    "subscriptionid": "<subscription>",
    "webhookurl": "<webhook>",
    "serialnumber": "<serial number>",
}
#: Headers of the transport, which both sides handle as they like.
_TRANSPORT = {"connection", "content-length", "date", "keep-alive", "transfer-encoding"}

_GUID = re.compile(r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]| at )\d\d:\d\d:\d\d(?:\.\d+)?(Z|[+-]\d\d:\d\d)?|\d\d/\d\d/\d{4} \d\d:\d\d:\d\d(Z)?"
)
_HTTP_TIME = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")
_HEX = re.compile(r"(?i)(?<![0-9a-z])(?=[0-9a-f]*\d)[0-9a-f]{16,128}(?![0-9a-z])")
#: Random bytes may begin with a slash, or have no digit. Paths and words do so as well, but have no filling at the end.
_BASE64 = re.compile(
    r"(?=.*[A-Z])(?=.*[a-z])(?=.*[0-9])(?:[A-Za-z0-9+][A-Za-z0-9+/]{19,}|/[A-Za-z0-9+/]{39,})"
    r"|[A-Za-z0-9+/]{20,}={1,2}"
)
#: The registration ID of a TPM: SHA-256 of its endorsement key in base32.
_TPM_ID = re.compile(r"(?<![a-z0-9])[a-z2-7]{52}(?![a-z0-9])")
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----.*?-----END [A-Z ]+-----", re.DOTALL)
_DIGITS = re.compile(r"(?<![0-9A-Za-z])\d{12,30}(?![0-9A-Za-z])")
_SERVICE_HOST = re.compile(
    r"(?i)[a-z0-9][a-z0-9.-]*\.(?:azure-devices(?:-provisioning)?|servicebus|azure-api)\.[a-z.]+"
)
_SUBSCRIPTION = re.compile(r"(?i)(/subscriptions/)[^/?]+")
_GROUP = re.compile(r"(?i)(/resourceGroups/)[^/?]+")
_OPERATION = re.compile(r"(?i)(/operations/|/operationResults/|/asyncOperations?/)[^/?]+")
_SHORTEST_NAME = 4
#: Bytes of the longest key.
_LONGEST_KEY = 64


class NormalForm:
    """Puts placeholders for what is secret or varies.

    Arguments:
        names: what stands for which text of this target: hosts, names of services, the ID scope.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        found = {name.lower(): placeholder for name, placeholder in names.items() if len(name) >= _SHORTEST_NAME}
        self._names = found
        # a longer name first: that of a hub is the beginning of its host
        words = "|".join(re.escape(name) for name in sorted(found, key=len, reverse=True))
        self._pattern = re.compile(rf"(?i)(?<![\w-])(?:{words})(?![\w-])") if words else None

    def text(self, text: str) -> str:
        """A text with placeholders."""
        text = _PEM.sub(lambda match: f"<{match[1].lower()} in PEM>", text)
        if self._pattern is not None:
            text = self._pattern.sub(lambda match: self._names[match[0].lower()], text)
        text = _GROUP.sub(r"\1<group>", _SUBSCRIPTION.sub(r"\1<subscription>", text))
        text = _OPERATION.sub(r"\1<id>", text)
        text = masked(text)
        text = _TIME.sub(lambda match: f"<time>{match[1] or match[2] or ''}", text)
        for pattern, placeholder in _PLACEHOLDERS:
            text = pattern.sub(placeholder, text)
        return text

    def body(self, value: Any, member: str = "") -> Any:
        """A JSON value with placeholders; ``member`` is the name under which it stands."""
        name = member.lower()
        if isinstance(value, Mapping):
            return {self.text(key): self.body(each, key) for key, each in value.items()}
        if isinstance(value, list):
            return [self.body(each, member) for each in value]
        if name in _MOMENTARY and not isinstance(value, bool) and value is not None:
            return f"<{name.strip('$')}>"
        return self._member(name, value) if isinstance(value, str) else value

    def _member(self, name: str, value: str) -> str:
        if name in _NAMES_BY_MEMBER:
            return _NAMES_BY_MEMBER[name]
        if name.strip("$") in _TAGS_OF_VERSIONS:
            # whether it has quotation marks is a matter of protocol
            return '"<etag>"' if value.startswith('"') else "<etag>"
        if len(value) % 4 == 0 and _BASE64.fullmatch(value):
            size = len(value.rstrip("=")) * 3 // 4
            # certificates of the same kind are not all of the same length
            return f"<base64 of {size} bytes>" if size <= _LONGEST_KEY else "<long base64>"
        return self.text(value)

    def path(self, url: str) -> str:
        """The path of a request, and which parameters it had, without their values but for the API version."""
        parts = urlsplit(url)
        path = self.text(unquote(parts.path))
        query = sorted(
            f"{name}={value}" if name == "api-version" else name
            for name, value in parse_qsl(parts.query, keep_blank_values=True)
        )
        return f"{path}?{'&'.join(query)}" if query else path

    def headers(self, names: Mapping[str, str]) -> list[str]:
        """Names of headers, and the type of the content; values are left out, as many are numbers of one request."""
        return sorted({name.lower() for name in names} - _TRANSPORT)


_PLACEHOLDERS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (_HTTP_TIME, "<time>"),
    (_GUID, "<guid>"),
    (_TPM_ID, "<TPM>"),
    (_SERVICE_HOST, "<host>"),
    (_DIGITS, "<number>"),
    (_HEX, lambda match: f"<hex of {len(match[0])}>"),
    (re.compile(r"\*{4}[A-Za-z0-9+/=_-]{0,4}"), "<secret>"),
)


def names_of(dps: Any) -> dict[str, str]:
    """What stands for which name of a target: its hosts, the first parts of them, and its ID scope.

    Arguments:
        dps: the target.
    """
    hosts = {dps.provisioning_host: "<global>", dps.service_host: "<dps>"}
    # which of several hubs a device gets is for each service to decide
    hosts |= dict.fromkeys(dps.hubs, "<hub>")
    first = {host.partition(".")[0]: f"{placeholder[:-1]} name>" for host, placeholder in hosts.items()}
    first.pop("global", None)
    return {**first, **hosts, dps.id_scope: "<id scope>"}
