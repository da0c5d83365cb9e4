"""Device identities: who may connect to a hub, and how.

An identity is kept as a JSON object; this module makes it from what clients send, and renders it as the hub's API
shows it. Where identities are stored and who is connected is the business of :mod:`dps_simulator.hub.hub`.

Source: Microsoft documentation, iot-hub-devguide-identity-registry; field names and order are those of the published
API description 2021-04-12.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from dps_simulator.common.identifiers import DEVICE_ID
from dps_simulator.common.ports import DeviceCredentials, Document
from dps_simulator.credentials import symmetric_keys
from dps_simulator.errors.table import Hub, ServiceError, described
from dps_simulator.errors.timestamps import azure_timestamp

#: What the API shows for a time that never came.
NEVER = "0001-01-01T00:00:00Z"
MAX_STATUS_REASON = 128
MAX_DEVICE_SCOPE = 256
#: Source: Microsoft.Azure.Devices (C#), documentation of Device.ParentScopes.
MAX_PARENTS = 1

SAS = "sas"
SELF_SIGNED = "selfSigned"
CERTIFICATE_AUTHORITY = "certificateAuthority"
AUTHENTICATION_TYPES = (SAS, SELF_SIGNED, CERTIFICATE_AUTHORITY)
STATUSES = ("enabled", "disabled")

_THUMBPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")
_EDGE_SCOPE = re.compile(r"ms-azure-iot-edge://(.+)-[0-9]+")
_EPOCH = datetime(1, 1, 1, tzinfo=timezone.utc)
_KEY_NAMES = ("primaryKey", "secondaryKey")
_THUMBPRINT_NAMES = ("primaryThumbprint", "secondaryThumbprint")


@dataclass(frozen=True, slots=True)
class Liveliness:
    """What the table of connections knows about a device.

    Attributes:
        connected: whether it is connected now.
        changed: when that last changed, ``None`` for never.
        active: when the device was last heard of, ``None`` for never.
    """

    connected: bool = False
    changed: datetime | None = None
    active: datetime | None = None

    @property
    def state(self) -> str:
        """The word the API uses."""
        return "Connected" if self.connected else "Disconnected"


def check_device_id(device_id: object) -> str:
    """Return the device ID when it is possible.

    Raises:
        ServiceError: it is not.
    """
    if not isinstance(device_id, str) or not DEVICE_ID.fullmatch(device_id):
        raise ServiceError(
            Hub.ARGUMENT_INVALID,
            f"The device ID {device_id!r:.200} is not possible: 1 to 128 ASCII letters, digits and - . + % _ # * ? ! "
            "( ) , : = @ $ ' are allowed, and case matters.",
        )
    return device_id


def check_precondition(if_match: str | None, etag: str) -> None:
    """Compare an ``If-Match`` header with the current ETag; ``*`` in or without quotes matches everything.

    Raises:
        ServiceError: the header names another version.
    """
    if if_match is None:
        return
    wanted = if_match.strip().removeprefix("W/").strip('"')
    if wanted not in ("*", etag):
        raise ServiceError(
            Hub.PRECONDITION_FAILED,
            f"If-Match is {if_match!r:.100} but the current ETag is {etag!r}. Read again, or send * to overwrite.",
        )


def new_identity(device_id: str, body: Mapping[str, Any], now: datetime, *, after: str = "") -> Document:
    """Make an identity from the body of a request.

    Arguments:
        device_id: the ID from the path.
        body: the request's JSON object.
        now: the present time.
        after: the generation that was last given out; the new one is greater.

    Raises:
        ServiceError: a field is wrong; the text names it.
    """
    check_device_id(device_id)
    _check_same_id(device_id, body)
    generation = new_generation(now, after)
    edge = _edge(body, False)
    scope = _edge_scope(device_id, generation) if edge else _scope(body, "")
    return {
        "deviceId": device_id,
        "generationId": generation,
        "etag": new_etag(),
        "status": _status(body, "enabled"),
        "statusReason": checked_text(body, "statusReason", MAX_STATUS_REASON, None),
        "statusUpdatedTime": NEVER,
        "authentication": checked_authentication(body.get("authentication"), None),
        "capabilities": {"iotEdge": edge},
        "deviceScope": scope,
        "parentScopes": _parents(body, []) if edge else [],
    }


def changed_identity(current: Mapping[str, Any], body: Mapping[str, Any], now: datetime) -> Document:
    """Apply the body of an update to an identity. What the body leaves out stays; an empty key is made anew.

    Raises:
        ServiceError: a field is wrong; the text names it.
    """
    device_id = current["deviceId"]
    _check_same_id(device_id, body)
    status = _status(body, current["status"])
    edge = _edge(body, current["capabilities"]["iotEdge"])
    was_edge = current["capabilities"]["iotEdge"]
    if edge:
        scope = _edge_scope(device_id, current["generationId"])
    else:
        scope = _scope(body, "" if was_edge else current["deviceScope"])
    return {
        **current,
        "etag": new_etag(),
        "status": status,
        "statusReason": checked_text(body, "statusReason", MAX_STATUS_REASON, current["statusReason"]),
        "statusUpdatedTime": azure_timestamp(now) if status != current["status"] else current["statusUpdatedTime"],
        "authentication": checked_authentication(body.get("authentication"), current["authentication"]),
        "capabilities": {"iotEdge": edge},
        "deviceScope": scope,
        "parentScopes": _parents(body, current.get("parentScopes", []) if was_edge else []) if edge else [],
    }


def authentication_body(credentials: DeviceCredentials) -> Document:
    """What a client would send to give a device these credentials: just what is then kept of them."""
    return {
        "type": credentials.type,
        "symmetricKey": {
            "primaryKey": credentials.primary_key or None,
            "secondaryKey": credentials.secondary_key or None,
        },
        "x509Thumbprint": {
            "primaryThumbprint": credentials.primary_thumbprint or None,
            "secondaryThumbprint": credentials.secondary_thumbprint or None,
        },
    }


def render_identity(identity: Mapping[str, Any], liveliness: Liveliness, waiting: int = 0) -> Document:
    """The identity as the hub's API shows it.

    Arguments:
        identity: as it is kept.
        liveliness: what is known of its connection.
        waiting: how many messages wait for it.
    """
    rendered = {
        "deviceId": identity["deviceId"],
        "generationId": identity["generationId"],
        "etag": identity["etag"],
        "connectionState": liveliness.state,
        "status": identity["status"],
        "statusReason": identity["statusReason"],
        "connectionStateUpdatedTime": rendered_time(liveliness.changed),
        "statusUpdatedTime": identity["statusUpdatedTime"],
        "lastActivityTime": rendered_time(liveliness.active),
        "cloudToDeviceMessageCount": waiting,
        "authentication": identity["authentication"],
        "capabilities": identity["capabilities"],
    }
    if identity["deviceScope"]:
        rendered["deviceScope"] = identity["deviceScope"]
    rendered["parentScopes"] = scopes_above(identity)
    return rendered


def scopes_above(identity: Mapping[str, Any]) -> list[str]:
    """The scopes that an identity lies in: an Edge device names its parent, any other device lies in one's scope."""
    above = identity.get("parentScopes", []) if identity["capabilities"]["iotEdge"] else [identity["deviceScope"]]
    return [scope for scope in above if scope]


def edge_device_of(scope: str) -> str:
    """The ID of the Edge device that a scope belongs to, empty when it is the scope of none."""
    match = _EDGE_SCOPE.fullmatch(scope)
    return match[1] if match is not None and DEVICE_ID.fullmatch(match[1]) else ""


def new_key() -> str:
    """A random symmetric key."""
    return base64.b64encode(secrets.token_bytes(32)).decode("ascii")


def new_etag() -> str:
    """A random ETag in the service's style: the base64 of a decimal number."""
    return base64.b64encode(str(10**11 + secrets.randbelow(9 * 10**11)).encode()).decode("ascii")


def new_generation(now: datetime, after: str = "") -> str:
    """What tells an identity from an earlier one with the same ID; greater than ``after``."""
    # the real service counts 100-nanosecond ticks since the year 1
    ticks = int((now - _EPOCH).total_seconds() * 1_000_000) * 10
    return str(max(ticks, int(after or 0) + 1))


def rendered_time(moment: datetime | None) -> str:
    """A time as the API shows it, also one that never came."""
    return NEVER if moment is None else azure_timestamp(moment)


def wrong_value(field: str, value: object, expected: str) -> ServiceError:
    """The error for a field. Not for keys: it repeats the value."""
    shown = f"{value!r:.100}" if isinstance(value, str) else described(value)
    return ServiceError(Hub.ARGUMENT_INVALID, f"{field} is {shown}; it must be {expected}.")


def _object(value: object, field: str) -> Mapping[str, Any]:
    """The value as an object; ``null`` counts as left out."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        # the value is not repeated: a key may stand in the wrong place
        raise ServiceError(Hub.ARGUMENT_INVALID, f"{field} is {described(value)}; it must be a JSON object.")
    return value


def _check_same_id(device_id: str, body: Mapping[str, Any]) -> None:
    if body.get("deviceId", device_id) != device_id:
        raise wrong_value("deviceId", body["deviceId"], f"the ID in the path, {device_id!r}")


def _status(body: Mapping[str, Any], default: str) -> str:
    status = body.get("status")
    if status is None:
        return default
    if not isinstance(status, str) or status.lower() not in STATUSES:
        raise wrong_value("status", status, "'enabled' or 'disabled'")
    return status.lower()


def checked_text(body: Mapping[str, Any], name: str, longest: int, default: str | None) -> str | None:
    """An optional text of the body; ``null`` removes it, and one that is left out stays as it was.

    Raises:
        ServiceError: it is no text, or too long.
    """
    text = body.get(name, default)
    if text is not None and (not isinstance(text, str) or len(text) > longest):
        raise wrong_value(name, text, f"a text of at most {longest} characters")
    return text


def _edge(body: Mapping[str, Any], default: bool) -> bool:
    edge = _object(body.get("capabilities"), "capabilities").get("iotEdge")
    if edge is None:
        return default
    if not isinstance(edge, bool):
        raise wrong_value("capabilities.iotEdge", edge, "true or false")
    return edge


def _scope(body: Mapping[str, Any], default: str) -> str:
    scope = body.get("deviceScope")
    if scope is None:
        above = _parents(body, [])
        return above[0] if above else default
    if not isinstance(scope, str) or len(scope) > MAX_DEVICE_SCOPE:
        raise wrong_value("deviceScope", scope, f"a text of at most {MAX_DEVICE_SCOPE} characters")
    return scope


def _edge_scope(device_id: str, generation: str) -> str:
    return f"ms-azure-iot-edge://{device_id}-{generation}"


def _parents(body: Mapping[str, Any], default: list[str]) -> list[str]:
    """The scopes of the Edge devices above an Edge device."""
    parents = body.get("parentScopes")
    if parents is None:
        return default
    possible = isinstance(parents, list) and len(parents) <= MAX_PARENTS
    if not possible or not all(isinstance(parent, str) and 0 < len(parent) <= MAX_DEVICE_SCOPE for parent in parents):
        raise wrong_value("parentScopes", parents, f"an array of at most {MAX_PARENTS} deviceScope of an Edge device")
    return list(parents)


def checked_authentication(given: object, current: Mapping[str, Any] | None) -> Document:
    """How a device or module authenticates, from the body of a request.

    Arguments:
        given: the object ``authentication``; without it what was stays, and at the beginning two keys are made.
        current: what was before, ``None`` at the beginning.

    Raises:
        ServiceError: a field is wrong; the text names it.
    """
    if given is None and current is not None:
        return dict(current)
    body = _object(given, "authentication")
    thumbprints = _object(body.get("x509Thumbprint"), "authentication.x509Thumbprint")
    keys = _object(body.get("symmetricKey"), "authentication.symmetricKey")
    kind = body.get("type")
    if kind is None:
        kind = SELF_SIGNED if any(thumbprints.get(name) for name in _THUMBPRINT_NAMES) else SAS
    names = {name.lower(): name for name in AUTHENTICATION_TYPES}
    if not isinstance(kind, str) or kind.lower() not in names:
        raise wrong_value("authentication.type", kind, " or ".join(repr(name) for name in AUTHENTICATION_TYPES))
    kind = names[kind.lower()]
    kept = current["symmetricKey"] if current is not None and current["type"] == SAS else {}
    return {
        "symmetricKey": {name: _key(keys, name, kept.get(name)) if kind == SAS else None for name in _KEY_NAMES},
        "x509Thumbprint": _thumbprints(thumbprints) if kind == SELF_SIGNED else dict.fromkeys(_THUMBPRINT_NAMES),
        "type": kind,
    }


def _key(keys: Mapping[str, Any], name: str, kept: str | None) -> str:
    key = keys.get(name)
    if key is None:
        return kept or new_key()
    if key == "":
        return new_key()
    problem = symmetric_keys.problem(key)
    if problem:
        raise ServiceError(
            Hub.ARGUMENT_INVALID, f"authentication.symmetricKey.{name} {problem} Leave it out to have one made."
        )
    return str(key)


def _thumbprints(given: Mapping[str, Any]) -> Document:
    thumbprints: Document = {}
    for name in _THUMBPRINT_NAMES:
        value = given.get(name) or None
        if value is not None:
            if not isinstance(value, str) or not _THUMBPRINT.fullmatch(value.upper()):
                raise wrong_value(
                    f"authentication.x509Thumbprint.{name}", value, "40 (SHA-1) or 64 (SHA-256) hexadecimal digits"
                )
            value = value.upper()
        thumbprints[name] = value
    if not any(thumbprints.values()):
        raise ServiceError(
            Hub.ARGUMENT_INVALID,
            "authentication.x509Thumbprint needs a primaryThumbprint or a secondaryThumbprint for type selfSigned.",
        )
    return thumbprints
