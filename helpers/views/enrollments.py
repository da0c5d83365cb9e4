"""The enrollment list of a provisioning service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .explorer import Entry, Explorer

_EVERYTHING = {"query": "SELECT *"}
_COLUMNS = ("kind", "name", "proof of identity", "status", "device ID in the hub")
_HIDDEN = {"attestation", "etag"}


def enrollment_list(service: Any, *, only: Iterable[str] | Callable[[], Iterable[str]] = ()) -> Explorer:
    """All individual enrollments and enrollment groups, groups last.

    Arguments:
        service: the official ``DeviceProvisioningClient``.
        only: names of enrollments to show, or a function that gives them at every reading; empty for all.
    """

    def read() -> list[Entry]:
        found = [_individual(each) for each in service.enrollment.query(_EVERYTHING)]
        found += [_group(each) for each in service.enrollment_group.query(_EVERYTHING)]
        # groups last
        return sorted(found, key=lambda entry: (entry.cells[0] == "group", entry.name))

    return Explorer("Enrollment list", _COLUMNS, read, empty="(no enrollments)", only=only)


def _individual(document: Mapping[str, Any]) -> Entry:
    name = str(document["registrationId"])
    return _entry("individual", name, document, str(document.get("deviceId") or name))


def _group(document: Mapping[str, Any]) -> Entry:
    return _entry("group", str(document["enrollmentGroupId"]), document, "each member: its registration ID")


def _entry(kind: str, name: str, document: Mapping[str, Any], device_id: str) -> Entry:
    proof = str(document.get("attestation", {}).get("type", "unknown"))
    status = str(document.get("provisioningStatus") or "enabled")
    details = {
        key: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for key, value in document.items()
        if key not in _HIDDEN
    }
    return Entry(name=name, cells=(kind, name, proof, status, device_id), details=details)
