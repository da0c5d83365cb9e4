"""Device identities: who may connect to a hub, and how, each with its twin.

This module makes them from what clients send, and renders them as the hub's API shows them. Documents of the store
become these types where they are read, and documents again where they are written. Where identities are stored and who
is connected is the business of :mod:`dps_simulator.hub.hub`.

Source: Microsoft documentation, iot-hub-devguide-identity-registry; field names and order are those of the published
API description 2021-04-12.
"""

from __future__ import annotations

import base64
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from dps_simulator.common.identifiers import DEVICE_ID
from dps_simulator.common.ports import DeviceCredentials, Document
from dps_simulator.credentials import symmetric_keys
from dps_simulator.errors.table import Hub, ServiceError, described
from dps_simulator.errors.timestamps import azure_timestamp

from .checks import check_id, invalid, wrong_value
from .twins import EMPTY, Twin, new_twin

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
#: What stands for no credentials, until some are made.
NOT_GIVEN = DeviceCredentials()


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
        """``connectionState`` of the hub's API: ``Connected`` or ``Disconnected``."""
        return "Connected" if self.connected else "Disconnected"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity(ABC):
    """What a hub keeps of a device or a module: who it is, how it proves itself, its twin.

    Attributes:
        device_id: the device.
        module_id: the module, empty for the device itself.
        generation: tells it from an earlier one with the same name, see :func:`new_generation`.
        etag: changes with everything but the twin.
        authentication: how it authenticates.
        status: ``enabled`` or ``disabled``. A module has its device's, and is kept without.
        twin: its twin.
        subscriptions: topic filters and granted QoS that its persistent session holds.
    """

    device_id: str
    module_id: str = ""
    generation: str
    etag: str = ""
    authentication: DeviceCredentials = NOT_GIVEN
    status: str = "enabled"
    twin: Twin
    subscriptions: Mapping[str, int] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Under what it is kept, connected and addressed: ``{device ID}/{module ID}``, or the device ID."""
        return f"{self.device_id}/{self.module_id}" if self.module_id else self.device_id

    @property
    def addresses(self) -> Sequence[str]:
        """The address itself and, of a device, those of its modules."""
        return (self.address,)

    @property
    def path(self) -> Sequence[str]:
        """What its tokens are for, behind the hub's host name."""
        return ("devices", self.device_id, *(("modules", self.module_id) if self.module_id else ()))

    @abstractmethod
    def changed(self, body: Mapping[str, Any], now: datetime) -> Identity:
        """Apply the body of an update. What the body leaves out stays; an empty key is made anew.

        Raises:
            ServiceError: a field is wrong; the text names it.
        """

    @abstractmethod
    def to_document(self) -> Document:
        """How it is kept."""

    @abstractmethod
    def to_json(self, liveliness: Liveliness, waiting: int = 0) -> Document:
        """The identity as the hub's API shows it.

        Arguments:
            liveliness: what is known of its connection.
            waiting: how many messages wait for it.
        """

    @abstractmethod
    def twin_json(self, liveliness: Liveliness, waiting: int = 0) -> Document:
        """The twin as the service side sees it; arguments as for :meth:`to_json`."""

    def _twin_content(self, liveliness: Liveliness, waiting: int) -> Document:
        """What the twins of devices and of modules have in common."""
        return {
            "connectionState": liveliness.state,
            "lastActivityTime": rendered_time(liveliness.active),
            "cloudToDeviceMessageCount": waiting,
            "authenticationType": self.authentication.type,
            "x509Thumbprint": authentication_json(self.authentication)["x509Thumbprint"],
            **self.twin.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Device(Identity):
    """A device.

    Attributes:
        status_reason: why it has its status, in the words of whoever set it.
        status_updated: when that last changed, as answers write times.
        is_edge: whether it is an IoT Edge device.
        scope: of an Edge device its own, of another one that of the Edge device above it; empty without.
        parents: the scopes of the Edge devices above an Edge device.
        modules: the IDs of its modules, in order of creation.
    """

    status_reason: str | None = None
    status_updated: str = NEVER
    is_edge: bool = False
    scope: str = ""
    parents: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    @property
    def addresses(self) -> Sequence[str]:
        """Its own address and those of its modules."""
        return (self.device_id, *(f"{self.device_id}/{module_id}" for module_id in self.modules))

    @property
    def scopes_above(self) -> Sequence[str]:
        """The scopes that it lies in: an Edge device names its parent, any other device lies in one's scope."""
        return self.parents if self.is_edge else tuple(filter(None, (self.scope,)))

    def changed(self, body: Mapping[str, Any], now: datetime) -> Device:
        """Apply the body of an update. What the body leaves out stays; an empty key is made anew.

        Raises:
            ServiceError: a field is wrong; the text names it.
        """
        if body.get("deviceId", self.device_id) != self.device_id:
            raise wrong_value("deviceId", body["deviceId"], f"the ID in the path, {self.device_id!r}")
        status = _status(body, self.status)
        is_edge = _edge(body, self.is_edge)
        if is_edge:
            scope = f"ms-azure-iot-edge://{self.device_id}-{self.generation}"
        else:
            scope = _scope(body, "" if self.is_edge else self.scope)
        return replace(
            self,
            etag=new_etag(),
            status=status,
            status_reason=checked_text(body, "statusReason", MAX_STATUS_REASON, self.status_reason),
            status_updated=azure_timestamp(now) if status != self.status else self.status_updated,
            authentication=checked_authentication(body.get("authentication"), self.authentication),
            is_edge=is_edge,
            scope=scope,
            parents=_parents(body, self.parents) if is_edge else (),
        )

    def to_document(self) -> Document:
        """How it is kept."""
        return {
            "identity": {
                "deviceId": self.device_id,
                "generationId": self.generation,
                "etag": self.etag,
                "status": self.status,
                "statusReason": self.status_reason,
                "statusUpdatedTime": self.status_updated,
                "authentication": authentication_json(self.authentication),
                "capabilities": {"iotEdge": self.is_edge},
                "deviceScope": self.scope,
                "parentScopes": list(self.parents),
            },
            "twin": self.twin.to_document(),
            "subscriptions": dict(self.subscriptions),
            "modules": list(self.modules),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Device:
        """What :meth:`to_document` made, of this version or an earlier one."""
        identity = document["identity"]
        return cls(
            device_id=identity["deviceId"],
            generation=identity["generationId"],
            etag=identity["etag"],
            status=identity["status"],
            status_reason=identity["statusReason"],
            status_updated=identity["statusUpdatedTime"],
            authentication=authentication_of(identity["authentication"]),
            is_edge=identity["capabilities"]["iotEdge"],
            scope=identity["deviceScope"],
            parents=tuple(identity.get("parentScopes", ())),
            twin=Twin.from_document(document["twin"]),
            subscriptions=document.get("subscriptions", {}),
            modules=tuple(document.get("modules", ())),
        )

    def to_json(self, liveliness: Liveliness, waiting: int = 0) -> Document:
        """The identity as the hub's API shows it."""
        return {
            "deviceId": self.device_id,
            "generationId": self.generation,
            "etag": self.etag,
            "connectionState": liveliness.state,
            "status": self.status,
            "statusReason": self.status_reason,
            "connectionStateUpdatedTime": rendered_time(liveliness.changed),
            "statusUpdatedTime": self.status_updated,
            "lastActivityTime": rendered_time(liveliness.active),
            "cloudToDeviceMessageCount": waiting,
            "authentication": authentication_json(self.authentication),
            **self._place(),
        }

    def twin_json(self, liveliness: Liveliness, waiting: int = 0) -> Document:
        """The twin as the service side sees it."""
        return {
            "deviceId": self.device_id,
            "etag": self.twin.etag,
            "deviceEtag": self.etag,
            "status": self.status,
            "statusReason": self.status_reason,
            "statusUpdateTime": self.status_updated,
            **self._twin_content(liveliness, waiting),
            **self._place(),
        }

    def _place(self) -> Document:
        return {
            "capabilities": {"iotEdge": self.is_edge},
            **({"deviceScope": self.scope} if self.scope else {}),
            "parentScopes": list(self.scopes_above),
        }


def new_device(
    device_id: str,
    body: Mapping[str, Any],
    now: datetime,
    *,
    after: str = "",
    credentials: DeviceCredentials = NOT_GIVEN,
    initial_twin: Mapping[str, Any] | None = None,
) -> Device:
    """Make a device from the body of a request.

    Arguments:
        device_id: the ID in the path of the request; one in the body has to be the same.
        body: the fields that the request sets, in the names of the hub's API.
        now: the present time (aware, in UTC).
        after: the generation that was last given out; the new one is greater.
        credentials: how it authenticates where the body does not say; without them it gets two new keys.
        initial_twin: the content of its twin, see :func:`~dps_simulator.hub.twins.new_twin`; without, it is empty.

    Raises:
        ServiceError: a field is wrong; the text names it.
    """
    generation = new_generation(now, after)
    device = Device(device_id=check_id(device_id), generation=generation, authentication=credentials, twin=EMPTY)
    # what is wrong with the body is told before what is wrong with the twin
    return replace(device.changed(body, now), status_updated=NEVER, twin=new_twin(now, initial_twin))


def authentication_json(credentials: DeviceCredentials) -> Document:
    """How a device or module authenticates, as the API shows it and as it is kept."""
    return {
        "symmetricKey": {
            "primaryKey": credentials.primary_key or None,
            "secondaryKey": credentials.secondary_key or None,
        },
        "x509Thumbprint": {
            "primaryThumbprint": credentials.primary_thumbprint or None,
            "secondaryThumbprint": credentials.secondary_thumbprint or None,
        },
        "type": credentials.type,
    }


def authentication_of(document: Mapping[str, Any]) -> DeviceCredentials:
    """What :func:`authentication_json` made."""
    keys, thumbprints = document["symmetricKey"], document["x509Thumbprint"]
    texts = (*(keys[name] for name in _KEY_NAMES), *(thumbprints[name] for name in _THUMBPRINT_NAMES))
    return DeviceCredentials(document["type"], *(text or "" for text in texts))


def edge_device_of(scope: str) -> str:
    """The ID of the Edge device that a scope belongs to, empty when it is the scope of none."""
    match = _EDGE_SCOPE.fullmatch(scope)
    return match[1] if match is not None and DEVICE_ID.fullmatch(match[1]) else ""


def new_key() -> str:
    """A symmetric key that nobody knows yet: base64 of 32 random bytes."""
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


def _object(value: object, field: str) -> Mapping[str, Any]:
    """The value as an object; ``null`` counts as left out."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        # the value is not repeated: a key may stand in the wrong place
        raise invalid(f"{field} is {described(value)}; it must be a JSON object.")
    return value


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
        above = _parents(body, ())
        return above[0] if above else default
    if not isinstance(scope, str) or len(scope) > MAX_DEVICE_SCOPE:
        raise wrong_value("deviceScope", scope, f"a text of at most {MAX_DEVICE_SCOPE} characters")
    return scope


def _parents(body: Mapping[str, Any], default: tuple[str, ...]) -> tuple[str, ...]:
    """The scopes of the Edge devices above an Edge device."""
    parents = body.get("parentScopes")
    if parents is None:
        return default
    possible = isinstance(parents, list) and len(parents) <= MAX_PARENTS
    if not possible or not all(isinstance(parent, str) and 0 < len(parent) <= MAX_DEVICE_SCOPE for parent in parents):
        raise wrong_value("parentScopes", parents, f"an array of at most {MAX_PARENTS} deviceScope of an Edge device")
    return tuple(parents)


def checked_authentication(given: object, current: DeviceCredentials) -> DeviceCredentials:
    """How a device or module authenticates, from the body of a request.

    Arguments:
        given: the object ``authentication``; without it what was stays, and at the beginning two keys are made.
        current: what was before.

    Raises:
        ServiceError: a field is wrong; the text names it.
    """
    if given is None and current != NOT_GIVEN:
        return current
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
    if kind == SAS:
        kept = zip(_KEY_NAMES, (current.primary_key, current.secondary_key), strict=True)
        return DeviceCredentials(SAS, *(_key(keys, name, key) for name, key in kept))
    if kind == SELF_SIGNED:
        primary, secondary = (_thumbprint(thumbprints, name) for name in _THUMBPRINT_NAMES)
        if not primary and not secondary:
            raise invalid(
                "authentication.x509Thumbprint needs a primaryThumbprint or a secondaryThumbprint for type selfSigned."
            )
        return DeviceCredentials(SELF_SIGNED, primary_thumbprint=primary, secondary_thumbprint=secondary)
    return DeviceCredentials(kind)


def _key(keys: Mapping[str, Any], name: str, kept: str) -> str:
    key = keys.get(name)
    if key is None:
        return kept or new_key()
    if key == "":
        return new_key()
    problem = symmetric_keys.problem(key)
    if problem:
        raise invalid(f"authentication.symmetricKey.{name} {problem} Leave it out to have one made.")
    return str(key)


def _thumbprint(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name) or ""
    if value and (not isinstance(value, str) or not _THUMBPRINT.fullmatch(value.upper())):
        raise wrong_value(
            f"authentication.x509Thumbprint.{name}", value, "40 (SHA-1) or 64 (SHA-256) hexadecimal digits"
        )
    return str(value).upper()
