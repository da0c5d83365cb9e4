"""Device twins: tags, desired and reported properties, each with its rules.

A twin is never changed: every function takes one and returns a new one.

Source: Microsoft documentation, iot-hub-devguide-device-twins.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from dps_simulator.common.ports import Document
from dps_simulator.errors.table import ServiceError, ascii_json, described
from dps_simulator.errors.timestamps import azure_timestamp

from .checks import invalid, json_object

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
class Section:
    """Desired or reported properties.

    Attributes:
        values: the properties.
        metadata: one node for each of them, with the time of its last change.
        version: grows with every change.
    """

    values: Document
    metadata: Document
    version: int

    def to_document(self) -> Document:
        """How it is kept."""
        return {"values": self.values, "metadata": self.metadata, "version": self.version}


@dataclass(frozen=True, slots=True)
class Twin:
    """The twin of a device or a module.

    Attributes:
        tags: what the service side notes about it.
        desired, reported: its properties.
        version: grows with every change.
        writes: how often the service side wrote it.
        model_id: the model that the device announced, empty for none.
    """

    tags: Document
    desired: Section
    reported: Section
    version: int = 2
    writes: int = 1
    model_id: str = ""

    @property
    def etag(self) -> str:
        """Changes with tags and desired properties: a big-endian counter in base64."""
        return base64.b64encode(self.writes.to_bytes(8, "big")).decode("ascii")

    @property
    def _sections(self) -> Mapping[str, Section]:
        return {"desired": self.desired, "reported": self.reported}

    def to_document(self) -> Document:
        """How it is kept."""
        return {
            "version": self.version,
            "writes": self.writes,
            "tags": self.tags,
            "desired": self.desired.to_document(),
            "reported": self.reported.to_document(),
            **({"modelId": self.model_id} if self.model_id else {}),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Twin:
        """What :meth:`to_document` made."""
        return cls(
            tags=document["tags"],
            desired=Section(**document["desired"]),
            reported=Section(**document["reported"]),
            version=document["version"],
            writes=document["writes"],
            model_id=document.get("modelId", ""),
        )

    def to_json(self) -> Document:
        """The content as the service side sees it.

        Without tags there is no member ``tags`` (azure-iot-cli-extension and azure-iot-sdk-c, their live tests); that
        there is no ``modelId`` before one was announced is inferred.
        """
        return {
            "version": self.version,
            **({"modelId": self.model_id} if self.model_id else {}),
            **({"tags": self.tags} if self.tags else {}),
            "properties": {
                name: {**section.values, "$metadata": section.metadata, "$version": section.version}
                for name, section in self._sections.items()
            },
        }

    def device_json(self) -> Document:
        """The twin as the device sees it: no tags and no metadata, but versions, without which the SDK fails."""
        return {name: {**section.values, "$version": section.version} for name, section in self._sections.items()}

    def content(self) -> Document:
        """The content without versions and metadata: an initial twin plus what was reported."""
        return {
            "tags": self.tags,
            "properties": {"desired": self.desired.values, "reported": self.reported.values},
        }


#: What stands in the place of a twin while an identity is being made.
EMPTY = Twin({}, Section({}, {}, 1), Section({}, {}, 1))


@dataclass(frozen=True, slots=True)
class TwinChange:
    """The outcome of a write.

    Attributes:
        twin: the twin after the write, as it is kept.
        desired_patch: what a connected device is told, ``None`` when desired properties were not written.
    """

    twin: Twin
    desired_patch: Document | None = None


def new_twin(now: datetime, initial: Mapping[str, Any] | None = None) -> Twin:
    """The twin of a new device.

    Arguments:
        now: the present time (aware, in UTC).
        initial: ``{"tags": {…}, "properties": {"desired": {…}, "reported": {…}}}``, any part may be missing.

    Raises:
        ServiceError: the initial content breaks a rule.
    """
    tags, desired = _parts(initial or {})
    # only a twin that moves from another hub, or is imported, brings them (that it does is inferred)
    reported = ((initial or {}).get("properties") or {}).get("reported") or {}
    if not isinstance(reported, Mapping):
        raise invalid(f"properties.reported must be an object, not {described(reported)}.")
    reported = _without_service_keys(reported)
    check_structure("reported", reported)
    stamp = azure_timestamp(now)
    return Twin(
        tags=_checked("tags", merge({}, tags)),
        desired=_new_section("desired", desired, stamp),
        reported=_new_section("reported", reported, stamp),
    )


def patch_twin(twin: Twin, body: object, now: datetime) -> TwinChange:
    """Merge a partial twin into tags and desired properties; ``null`` removes.

    Raises:
        ServiceError: the body or the outcome breaks a rule.
    """
    tags, desired = _parts(body)
    if tags is _MISSING and desired is _MISSING:
        return TwinChange(twin)
    changed = replace(twin, version=twin.version + 1, writes=twin.writes + 1)
    if tags is not _MISSING:
        changed = replace(changed, tags=_checked("tags", merge(twin.tags, tags)))
    if desired is _MISSING:
        return TwinChange(changed)
    told = desired if desired is not None else dict.fromkeys(twin.desired.values)
    section = _patched_section("desired", twin.desired, told, now)
    return TwinChange(replace(changed, desired=section), {**told, "$version": section.version})


def replace_twin(twin: Twin, body: object, now: datetime) -> TwinChange:
    """Replace tags and desired properties as a whole; a missing part becomes empty. Reported properties stay.

    Raises:
        ServiceError: the body breaks a rule.
    """
    tags, desired = _parts(body)
    tags = _checked("tags", merge({}, tags))
    section = _new_section("desired", desired, azure_timestamp(now), twin.desired.version + 1)
    changed = replace(twin, tags=tags, desired=section, version=twin.version + 1, writes=twin.writes + 1)
    # MQTT knows only patches, so the device is told the whole document, and null for what is gone
    told = difference(twin.desired.values, section.values)
    return TwinChange(changed, {**told, "$version": section.version})


def report(twin: Twin, body: object, now: datetime) -> Twin:
    """Merge a device's patch into the reported properties; ``null`` removes.

    Raises:
        ServiceError: the patch or the outcome breaks a rule.
    """
    patch = json_object("Reported properties", body)
    check_structure("reported", patch)
    return replace(twin, reported=_patched_section("reported", twin.reported, patch, now), version=twin.version + 1)


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
    given = json_object("A twin", body)
    properties = given.get("properties")
    properties = {} if properties is None else json_object("properties", properties)
    tags, desired = given.get("tags", _MISSING), properties.get("desired", _MISSING)
    for name, part in (("tags", tags), ("properties.desired", desired)):
        if part is not _MISSING and part is not None:
            json_object(name, part)
    if isinstance(desired, Mapping):
        desired = _without_service_keys(desired)
    for name, part in (("tags", tags), ("desired", desired)):
        check_structure(name, part)  # before anything recurses into it
    return tags, desired


def _without_service_keys(section: Mapping[str, Any]) -> Document:
    return {key: value for key, value in section.items() if key not in _SERVICE_KEYS}


def _new_section(name: str, values: Any, stamp: str, version: int = 1) -> Section:
    values = _checked(name, merge({}, values))
    return Section(values, _metadata(values, stamp, version if name == "desired" else None), version)


def _patched_section(name: str, section: Section, patch: Mapping[str, Any], now: datetime) -> Section:
    values = _checked(name, merge(section.values, patch))
    version = section.version + 1
    marks: Document = {"$lastUpdated": azure_timestamp(now)}
    if name == "desired":
        marks["$lastUpdatedVersion"] = version
    return Section(values, _patched_metadata(section.metadata, values, patch, marks), version)


def _metadata(values: object, stamp: str, version: int | None) -> Document:
    """One node per property, each with the time and version of its last change; an array counts as one value."""
    below = values if isinstance(values, Mapping) else {}
    node: Document = {"$lastUpdated": stamp, **{key: _metadata(value, stamp, version) for key, value in below.items()}}
    if version is not None:
        node["$lastUpdatedVersion"] = version
    return node


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
    if not value or value is _MISSING:
        return {}
    size = _size(value)
    limit = SECTION_LIMITS[section]
    if size > limit:
        raise invalid(f"{section} would take {size} bytes; at most {limit} are allowed in a twin.")
    length = len(ascii_json(value))
    if length > MAX_WEIGHTLESS * limit:
        raise invalid(
            f"{section} would take {length} characters of JSON, with much in it that has no size, such as null in an "
            f"array; this simulator keeps at most {MAX_WEIGHTLESS * limit}."
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
    return invalid(f"{shown:.300} is not possible in a twin: {rule}.")


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
