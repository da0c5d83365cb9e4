"""Many devices and modules in one request: created, changed or deleted, each by itself.

What goes wrong with one of them does not stop the others; the answer lists it. Two operations on the same device are
a mistake of the whole list, and then nothing is done.

Source: the published API description 2021-04-12 (``BulkRegistry_UpdateRegistry``) for fields and limit; Microsoft
documentation, iot-hub-bulk-identity-mgmt, for the modes; azure-sdk-for-net, tests of Azure.IoT.Hub.Service, that the
service sends ``errorCode`` as a number. Inferred: that a twin which comes with an existing device replaces tags and
desired properties, while the modes for twins alone merge; that nothing is done when a device stands in the list twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dps_simulator.common.ports import Document
from dps_simulator.errors.table import Hub, ServiceError, described

from .checks import check_id, invalid, wrong_value
from .hub import IotHub
from .modules import module_address

MAX_OPERATIONS = 100


@dataclass(frozen=True, slots=True)
class Mode:
    """One value of ``importMode``.

    Attributes:
        creates: what does not exist is created.
        changes: what exists is changed.
        deletes: what exists is deleted.
        twin_only: only the twin is changed.
        matches: the ETag has to fit: ``eTag`` of the identity, ``twinETag`` when only the twin is changed.
    """

    creates: bool = False
    changes: bool = False
    deletes: bool = False
    twin_only: bool = False
    matches: bool = False


MODES: Mapping[str, Mode] = {
    "createOrUpdate": Mode(creates=True, changes=True),
    "createOrUpdateIfMatchETag": Mode(creates=True, changes=True, matches=True),
    "create": Mode(creates=True),
    "update": Mode(changes=True),
    "updateIfMatchETag": Mode(changes=True, matches=True),
    "delete": Mode(deletes=True),
    "deleteIfMatchETag": Mode(deletes=True, matches=True),
    "updateTwin": Mode(twin_only=True),
    "updateTwinIfMatchETag": Mode(twin_only=True, matches=True),
}
DEFAULT_MODE = "createOrUpdate"
#: One SDK writes the first letter in upper case.
_MODES = {name.lower(): mode for name, mode in MODES.items()}


def apply_operations(hub: IotHub, operations: object) -> Document:
    """Do what the list says.

    Arguments:
        hub: the hub whose registry is changed.
        operations: the request's JSON: objects with ``id``, ``moduleId``, ``importMode`` and the fields to set.

    Returns:
        ``isSuccessful``, and in ``errors`` what went wrong.

    Raises:
        ServiceError: it is no such list, or too long.
    """
    items = _checked(operations)
    errors = _twice(items)
    if not errors:
        with hub.transaction():
            for item in items:
                try:
                    with hub.transaction():
                        _apply(hub, item)
                except ServiceError as error:
                    errors.append(failed_entry(item, error))
    return {"isSuccessful": not errors, "errors": errors, "warnings": []}


def _checked(operations: object) -> Sequence[Mapping[str, Any]]:
    if not isinstance(operations, list) or not operations:
        shown = "an empty array" if operations == [] else described(operations)
        raise invalid(f"The body is {shown}; it must be an array of 1 to {MAX_OPERATIONS} objects.")
    if len(operations) > MAX_OPERATIONS:
        raise ServiceError(
            Hub.TOO_MANY_DEVICES,
            f"The array has {len(operations)} entries; at most {MAX_OPERATIONS} are allowed in one request.",
        )
    for number, item in enumerate(operations):
        if not isinstance(item, Mapping):
            raise invalid(f"The entry [{number}] is {described(item)}; it must be a JSON object.")
    return operations


def _name(item: Mapping[str, Any]) -> tuple[str, str]:
    """Device and module as the entry names them, whatever that is."""
    return str(item.get("id")), str(item.get("moduleId") or "")


def _twice(items: Sequence[Mapping[str, Any]]) -> list[Document]:
    counted = Counter(map(_name, items))
    doubled: dict[tuple[str, str], Mapping[str, Any]] = {
        _name(item): item for item in items if counted[_name(item)] > 1
    }
    return [
        failed_entry(
            item,
            ServiceError(
                Hub.DEVICE_DEFINED_TWICE,
                f"{'/'.join(filter(None, name))!r:.300} stands in the list {counted[name]} times; nothing was done. "
                "Send a second request for the second change.",
            ),
        )
        for name, item in doubled.items()
    ]


def failed_entry(item: Mapping[str, Any], error: ServiceError, id_name: str = "deviceId") -> Document:
    """What the answer to a bulk operation says of an entry that failed.

    Arguments:
        item: the entry of the request.
        error: why it was refused; its code and text go into the answer.
        id_name: what the answer calls the device.
    """
    device_id, module_id = _name(item)
    return {
        id_name: device_id[:200],
        **({"moduleId": module_id[:200]} if module_id else {}),
        "errorCode": error.kind.code,
        "errorStatus": error.message,
    }


def address_of(item: Mapping[str, Any]) -> str:
    """The address of the device or module that an entry names.

    Raises:
        ServiceError: an ID is not possible.
    """
    device_id, module_id = check_id(item.get("id")), item.get("moduleId") or ""
    return device_id if module_id == "" else module_address(device_id, check_id(module_id, "module"))


def _apply(hub: IotHub, item: Mapping[str, Any]) -> None:
    address = address_of(item)
    mode = _mode(item)
    exists = hub.identity(address) is not None
    if not exists and not mode.creates:
        hub.twin(address)  # says what is missing
    if mode.twin_only:
        hub.patch_twin(address, _twin(item) or {}, _etag(item, "twinETag", mode.matches))
        return
    if_match = _etag(item, "eTag", exists) if mode.matches else "*"
    if mode.deletes:
        hub.delete_device(address, if_match)
        return
    creating = mode.creates and not (mode.changes and exists)
    twin = _twin(item)
    fields = {name: value for name, value in item.items() if name in _IDENTITY_FIELDS and value is not None}
    hub.put_device(address, fields, None if creating else if_match, twin if creating else None)
    if twin is not None and not creating:
        hub.replace_twin(address, twin, _etag(item, "twinETag", False))


_IDENTITY_FIELDS = frozenset(
    ("status", "statusReason", "authentication", "capabilities", "deviceScope", "parentScopes", "managedBy")
)


def _mode(item: Mapping[str, Any]) -> Mode:
    name = item.get("importMode") or DEFAULT_MODE
    mode = _MODES.get(name.lower()) if isinstance(name, str) else None
    if mode is None:
        raise wrong_value("importMode", name, " or ".join(map(repr, MODES)))
    return mode


def _etag(item: Mapping[str, Any], field: str, needed: bool) -> str | None:
    etag = item.get(field)
    if etag is None and not needed:
        return None
    if not isinstance(etag, str) or not etag:
        raise wrong_value(field, etag, "the ETag that was read last, because importMode asks for it")
    return etag


def _twin(item: Mapping[str, Any]) -> Document | None:
    """The twin that comes with an entry; ``None`` when there is none."""
    given = {name: item[name] for name in ("tags", "properties") if item.get(name) is not None}
    return given or None
