"""Device twins: tags, desired and reported properties, each with its rules.

A twin is kept as a JSON object::

    {"version": 2, "writes": 1, "tags": {…},
     "desired": {"values": {…}, "metadata": {…}, "version": 1},
     "reported": {"values": {…}, "metadata": {…}, "version": 1}}

and, once the device announced one, with its ``modelId``.

Every function is pure: it takes a twin and returns a new one.

Source: Microsoft documentation, iot-hub-devguide-device-twins.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dps_simulator.common.ports import Document
from dps_simulator.errors.table import Hub, ServiceError, ascii_json, described
from dps_simulator.errors.timestamps import azure_timestamp

from .devices import NEVER, Liveliness, render_identity
from .modules import render_module

MAX_TAGS_SIZE = 8 * 1024
MAX_PROPERTIES_SIZE = 32 * 1024
#: Characters of JSON for each byte that the documented rules count (simulator-only). They count nothing for null, for
#: what is empty and for control characters, of which a section could hold any number otherwise.
MAX_WEIGHTLESS = 16
MAX_DEPTH = 10
MAX_KEY_SIZE = 1024
MAX_STRING_SIZE = 4096
MIN_INTEGER, MAX_INTEGER = -4_503_599_627_370_496, 4_503_599_627_370_495

#: Sections of a twin and how many bytes each may take.
SECTION_LIMITS = {"tags": MAX_TAGS_SIZE, "desired": MAX_PROPERTIES_SIZE, "reported": MAX_PROPERTIES_SIZE}

_FORBIDDEN_IN_KEYS = re.compile(r"[\x00-\x1f\x7f-\x9f.$ ]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SERVICE_KEYS = ("$metadata", "$version")


@dataclass(frozen=True, slots=True)
class TwinChange:
    """The outcome of a write.

    Attributes:
        twin: the new twin.
        desired_patch: what a connected device is told, ``None`` when desired properties were not written.
    """

    twin: Document
    desired_patch: Document | None = None


def new_twin(now: datetime, initial: Mapping[str, Any] | None = None) -> Document:
    """The twin of a new device.

    Arguments:
        now: the present time.
        initial: ``{"tags": {…}, "properties": {"desired": {…}, "reported": {…}}}``, any part may be missing.

    Raises:
        ServiceError: the initial content breaks a rule.
    """
    tags, desired = _parts(initial or {})
    # only a twin that moves from another hub, or is imported, brings them (that it does is inferred)
    reported = ((initial or {}).get("properties") or {}).get("reported") or {}
    if not isinstance(reported, Mapping):
        raise ServiceError(Hub.ARGUMENT_INVALID, f"properties.reported must be an object, not {described(reported)}.")
    reported = _without_service_keys(reported)
    check_structure("reported", reported)
    stamp = azure_timestamp(now)
    return {
        "version": 2,
        "writes": 1,
        "tags": _checked("tags", merge({}, tags)),
        "desired": _new_section("desired", desired, stamp),
        "reported": _new_section("reported", reported, stamp),
    }


def patch_twin(twin: Mapping[str, Any], body: object, now: datetime) -> TwinChange:
    """Merge a partial twin into tags and desired properties; ``null`` removes.

    Raises:
        ServiceError: the body or the outcome breaks a rule.
    """
    tags, desired = _parts(body)
    if tags is _MISSING and desired is _MISSING:
        return TwinChange(dict(twin))
    changed = _counted(twin)
    if tags is not _MISSING:
        changed["tags"] = _checked("tags", merge(twin["tags"], tags))
    if desired is _MISSING:
        return TwinChange(changed)
    told = desired if desired is not None else dict.fromkeys(twin["desired"]["values"])
    changed["desired"] = _patched_section("desired", twin["desired"], told, now)
    return TwinChange(changed, {**told, "$version": changed["desired"]["version"]})


def replace_twin(twin: Mapping[str, Any], body: object, now: datetime) -> TwinChange:
    """Replace tags and desired properties as a whole; a missing part becomes empty.

    Raises:
        ServiceError: the body breaks a rule.
    """
    tags, desired = _parts(body)
    stamp = azure_timestamp(now)
    changed = _counted(twin)
    changed["tags"] = _checked("tags", merge({}, tags))
    section = _new_section("desired", desired, stamp)
    section["version"] = twin["desired"]["version"] + 1
    _number(section["metadata"], section["version"])
    changed["desired"] = section
    # MQTT knows only patches, so the device is told the whole document, and null for what is gone
    told = difference(twin["desired"]["values"], section["values"])
    return TwinChange(changed, {**told, "$version": section["version"]})


def report(twin: Mapping[str, Any], body: object, now: datetime) -> Document:
    """Merge a device's patch into the reported properties; ``null`` removes.

    Raises:
        ServiceError: the patch or the outcome breaks a rule.
    """
    if not isinstance(body, Mapping):
        raise ServiceError(Hub.ARGUMENT_INVALID, f"Reported properties must be a JSON object, not {described(body)}.")
    check_structure("reported", body)
    changed = dict(twin)
    changed["reported"] = _patched_section("reported", twin["reported"], body, now)
    changed["version"] = twin["version"] + 1
    return changed


def reset_twin(twin: Mapping[str, Any], initial: Mapping[str, Any], now: datetime) -> TwinChange:
    """Back to an initial twin, as reprovisioning does. Reported properties stay."""
    return replace_twin(twin, initial, now)


def portable_twin(twin: Mapping[str, Any]) -> Document:
    """The content without versions and metadata: an initial twin plus what was reported."""
    return {
        "tags": twin["tags"],
        "properties": {"desired": twin["desired"]["values"], "reported": twin["reported"]["values"]},
    }


def twin_etag(twin: Mapping[str, Any]) -> str:
    """Changes with tags and desired properties: a big-endian counter in base64."""
    return base64.b64encode(int(twin["writes"]).to_bytes(8, "big")).decode("ascii")


def render_twin(
    identity: Mapping[str, Any], twin: Mapping[str, Any], liveliness: Liveliness, waiting: int = 0
) -> Document:
    """The twin of a device as the service side sees it.

    Arguments:
        identity: the device, as it is kept.
        twin: its twin.
        liveliness: what is known of its connection.
        waiting: how many messages wait for it.
    """
    device = render_identity(identity, liveliness, waiting)
    rendered = {
        "deviceId": device["deviceId"],
        "etag": twin_etag(twin),
        "deviceEtag": device["etag"],
        "status": device["status"],
        "statusReason": device["statusReason"],
        "statusUpdateTime": device["statusUpdatedTime"],
        **_rendered_content(device, twin),
        "capabilities": device["capabilities"],
    }
    if "deviceScope" in device:
        rendered["deviceScope"] = device["deviceScope"]
    rendered["parentScopes"] = device["parentScopes"]
    return rendered


def render_module_twin(
    identity: Mapping[str, Any], twin: Mapping[str, Any], liveliness: Liveliness, waiting: int = 0
) -> Document:
    """The twin of a module as the service side sees it.

    Modules have no status of their own, and the documented example says ``enabled``; that it always does is inferred.
    """
    module = render_module(identity, liveliness, waiting)
    return {
        "deviceId": module["deviceId"],
        "moduleId": module["moduleId"],
        "etag": twin_etag(twin),
        "deviceEtag": module["etag"],
        "status": "enabled",
        "statusUpdateTime": NEVER,
        **_rendered_content(module, twin),
    }


def _rendered_content(identity: Mapping[str, Any], twin: Mapping[str, Any]) -> Document:
    """What the twins of devices and of modules have in common.

    Without tags there is no member ``tags`` (azure-iot-cli-extension and azure-iot-sdk-c, their live tests); that there
    is no ``modelId`` before one was announced is inferred.
    """
    return {
        "connectionState": identity["connectionState"],
        "lastActivityTime": identity["lastActivityTime"],
        "cloudToDeviceMessageCount": identity["cloudToDeviceMessageCount"],
        "authenticationType": identity["authentication"]["type"],
        "x509Thumbprint": identity["authentication"]["x509Thumbprint"],
        "version": twin["version"],
        **{name: twin[name] for name in ("modelId", "tags") if twin.get(name)},
        "properties": {
            name: {
                **twin[name]["values"],
                "$metadata": twin[name]["metadata"],
                "$version": twin[name]["version"],
            }
            for name in ("desired", "reported")
        },
    }


def device_view(twin: Mapping[str, Any]) -> Document:
    """The twin as the device sees it: no tags and no metadata, but versions, without which the SDK fails."""
    return {name: {**twin[name]["values"], "$version": twin[name]["version"]} for name in ("desired", "reported")}


def merge(target: object, patch: object) -> Any:
    """JSON merge patch (RFC 7396). Neither argument is changed."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> Document:
    """A patch that holds all of ``new`` and, as ``null``, what only ``old`` has."""
    told: Document = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            told[key] = difference(before, value)
        else:
            told[key] = value
    return told


_MISSING: Any = object()


def _parts(body: object) -> tuple[Any, Any]:
    """Tags and desired properties of a partial twin; ``_MISSING`` for a part that is not there.

    What only the service writes (reported properties as seen from here, ``$metadata``, ``$version``, the fields of
    the identity) is ignored, because clients send back what they have read.
    """
    if not isinstance(body, Mapping):
        raise ServiceError(Hub.ARGUMENT_INVALID, f"A twin must be a JSON object, not {described(body)}.")
    properties = body.get("properties")
    if properties is None:
        properties = {}
    elif not isinstance(properties, Mapping):
        raise ServiceError(Hub.ARGUMENT_INVALID, f"properties must be a JSON object, not {described(properties)}.")
    tags, desired = body.get("tags", _MISSING), properties.get("desired", _MISSING)
    for name, part in (("tags", tags), ("properties.desired", desired)):
        if part is not _MISSING and part is not None and not isinstance(part, Mapping):
            raise ServiceError(Hub.ARGUMENT_INVALID, f"{name} must be a JSON object, not {described(part)}.")
    if isinstance(desired, Mapping):
        desired = _without_service_keys(desired)
    for name, part in (("tags", tags), ("desired", desired)):
        check_structure(name, part)  # before anything recurses into it
    return tags, desired


def _without_service_keys(section: Mapping[str, Any]) -> Document:
    return {key: value for key, value in section.items() if key not in _SERVICE_KEYS}


def _counted(twin: Mapping[str, Any]) -> Document:
    return {**twin, "version": twin["version"] + 1, "writes": twin["writes"] + 1}


def _new_section(name: str, values: Any, stamp: str) -> Document:
    values = _checked(name, merge({}, values))
    metadata = _metadata(values, stamp)
    section = {"values": values, "metadata": metadata, "version": 1}
    if name == "desired":
        _number(metadata, 1)
    return section


def _patched_section(name: str, section: Mapping[str, Any], patch: Mapping[str, Any], now: datetime) -> Document:
    values = _checked(name, merge(section["values"], patch))
    version = section["version"] + 1
    marks = {"$lastUpdated": azure_timestamp(now)}
    if name == "desired":
        marks["$lastUpdatedVersion"] = version
    return {
        "values": values,
        "metadata": _patched_metadata(section["metadata"], values, patch, marks),
        "version": version,
    }


def _metadata(values: object, stamp: str) -> Document:
    """One node per property, each with the time of its last change; an array counts as one value."""
    node: Document = {"$lastUpdated": stamp}
    if isinstance(values, Mapping):
        node.update((key, _metadata(value, stamp)) for key, value in values.items())
    return node


def _number(metadata: Document, version: int) -> None:
    """Write the version of the last change into every node."""
    children = [value for value in metadata.values() if isinstance(value, dict)]
    metadata["$lastUpdatedVersion"] = version
    for child in children:
        _number(child, version)


def _patched_metadata(old: Mapping[str, Any], values: object, patch: object, marks: Document) -> Document:
    node = {key: value for key, value in old.items() if key.startswith("$")} | marks
    if isinstance(values, Mapping):
        for key, value in values.items():
            if isinstance(patch, Mapping) and key in patch:
                node[key] = _patched_metadata(old.get(key, {}), value, patch[key], marks)
            else:
                node[key] = old[key]
    return node


def _checked(section: str, value: Any) -> Document:
    """Enforce the rules on a merged section; ``None`` and a missing part become an empty object."""
    if value is None or value is _MISSING:
        return {}
    size = _size(value)
    limit = SECTION_LIMITS[section]
    if size > limit:
        raise ServiceError(
            Hub.ARGUMENT_INVALID, f"{section} would take {size} bytes; at most {limit} are allowed in a twin."
        )
    length = len(ascii_json(value))
    if length > MAX_WEIGHTLESS * limit:
        raise ServiceError(
            Hub.ARGUMENT_INVALID,
            f"{section} would take {length} characters of JSON, with much in it that has no size, such as null in an "
            f"array; this simulator keeps at most {MAX_WEIGHTLESS * limit}.",
        )
    return dict(value)


def check_structure(section: str, value: object) -> None:
    """Enforce the rules for keys, values and depth.

    Raises:
        ServiceError: names the place and the rule.
    """
    _check_value((section,), value)


def _check_value(place: tuple[str | int, ...], value: object) -> None:
    """Enforce the rules below a place. There may be very many values, of which most are neither object nor array."""
    if isinstance(value, str):
        size = len(value.encode("utf-8", "surrogatepass"))
        if size > MAX_STRING_SIZE:
            raise _broken(place, f"the text takes {size} bytes; at most {MAX_STRING_SIZE} are allowed")
    elif isinstance(value, int):
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            # texts of more than some thousand digits are beyond Python
            shown = str(value)[:40] if value.bit_length() < 1_024 else "with hundreds of digits"
            raise _broken(place, f"the number {shown} is outside {MIN_INTEGER} to {MAX_INTEGER}")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _broken(place, f"{value} is not a JSON number")
    elif isinstance(value, (dict, list, Mapping)):
        if len(place) > MAX_DEPTH + 1:
            raise _broken(place, f"it is nested deeper than {MAX_DEPTH} levels")
        items = enumerate(value) if isinstance(value, list) else value.items()
        for key, item in items:
            if isinstance(key, str):
                _check_key(place, key)
            if item is not None:
                _check_value((*place, key), item)


def _check_key(place: tuple[str | int, ...], key: str) -> None:
    size = len(key.encode("utf-8", "surrogatepass"))
    if not 0 < size <= MAX_KEY_SIZE:
        raise _broken(place, f"the key {key!r:.60} takes {size} bytes; 1 to {MAX_KEY_SIZE} are allowed")
    forbidden = _FORBIDDEN_IN_KEYS.search(key)
    if forbidden:
        raise _broken(
            place,
            f"the key {key!r:.60} contains {forbidden[0]!r}; '.', '$', space and control characters are not allowed",
        )


def _broken(place: tuple[str | int, ...], rule: str) -> ServiceError:
    shown = ".".join(map(str, place))
    return ServiceError(Hub.ARGUMENT_INVALID, f"{shown:.300} is not possible in a twin: {rule}.")


def _size(value: object) -> int:
    """Bytes as the documentation counts them: keys and texts in UTF-8, numbers 8, booleans 4, ``null`` 0."""
    if isinstance(value, str):
        return _text_size(value)
    if isinstance(value, bool):
        return 4
    if isinstance(value, (int, float)):
        return 8
    if isinstance(value, list):
        return sum(map(_size, value))
    if isinstance(value, (dict, Mapping)):
        return sum(_text_size(key) + _size(item) for key, item in value.items())
    return 0


def _text_size(text: str) -> int:
    """Control characters do not count."""
    return len(_CONTROL.sub("", text).encode("utf-8", "surrogatepass"))
