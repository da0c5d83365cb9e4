"""New keys for many devices and modules in one request.

Source: the API description from which the Azure CLI is made (azure-iot-cli-extension, ``BulkRegenerateDeviceKey``), for
the values of ``policyKey`` and the members of the answer; Microsoft documentation, rest/api/iothub/common-error-codes,
for the answer to another value. There is no ``swap``: the CLI, whose command has it, exchanges the keys of one identity
by itself. Inferred: that case does not count in ``policyKey``, the limit, which is that of other bulk operations, and
that nothing else of an identity changes than its ETag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dps_simulator.common.ports import Document
from dps_simulator.errors.table import Hub, ServiceError

from .checks import invalid, json_object, wrong_value
from .devices import SAS
from .hub import IotHub
from .modules import split_address
from .registry_bulk import MAX_OPERATIONS, address_of, failed_entry

#: Which keys are made anew, by ``policyKey``. The description has ``Unknown``, too: the value of what is none of them.
KEYS: Mapping[str, tuple[str, ...]] = {
    "primaryKey": ("primaryKey",),
    "secondaryKey": ("secondaryKey",),
    "both": ("primaryKey", "secondaryKey"),
}


def regenerate_keys(hub: IotHub, body: object) -> Document:
    """Give devices and modules a new primary key, a new secondary one, or both.

    Arguments:
        hub: the hub whose devices and modules get them.
        body: the request's JSON: ``policyKey``, and ``devices`` with ``id`` and perhaps ``moduleId``.

    Returns:
        The new keys in ``rotatedKeys``, and in ``errors`` what went wrong.

    Raises:
        ServiceError: it is no such request, or for too many.
    """
    fields = json_object("The body", body)
    name = _policy_key(fields.get("policyKey"))
    items = fields.get("devices")
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise wrong_value("devices", items, "an array of objects with the id of a device")
    if len(items) > MAX_OPERATIONS:
        raise ServiceError(
            Hub.TOO_MANY_DEVICES,
            f"devices has {len(items)} entries; at most {MAX_OPERATIONS} are allowed in one request.",
        )
    rotated: list[Document] = []
    errors: list[Document] = []
    with hub.transaction():
        for item in items:
            try:
                rotated.append(_regenerate(hub, item, KEYS[name]))
            except ServiceError as error:
                errors.append(failed_entry(item, error, id_name="id"))
    return {"policyKey": name, "errors": errors, "rotatedKeys": rotated}


def _policy_key(given: object) -> str:
    for name in KEYS:
        if isinstance(given, str) and given.lower() == name.lower():
            return name
    expected = " or ".join(map(repr, KEYS))
    raise ServiceError(Hub.POLICY_KEY_INVALID, wrong_value("policyKey", given, expected).message)


def _regenerate(hub: IotHub, item: Mapping[str, Any], names: Sequence[str]) -> Document:
    address = address_of(item)
    identity = hub.identity(address)
    if identity is None:
        hub.twin(address)  # says what is missing
    elif identity.authentication.type != SAS:
        raise invalid(f"{address!r:.300} has no keys; its authentication is another than {SAS!r}.")
    # an empty key is one that the hub makes
    change = {"authentication": {"type": SAS, "symmetricKey": dict.fromkeys(names, "")}}
    keys = hub.put_device(address, change, "*")["authentication"]["symmetricKey"]
    device_id, module_id = split_address(address)
    return {"id": device_id, **({"moduleId": module_id} if module_id else {}), **keys}
