"""Module identities: parts of a device that connect by themselves, each with a key and a twin of its own.

A module is kept, connected and addressed under the text ``{device ID}/{module ID}``, its *address*; that of a device is
its ID, which cannot contain a slash.

Source: Microsoft documentation, iot-hub-devguide-module-twins and iot-hub-devguide-identity-registry; field names and
order are those of the published API description 2021-04-12.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dps_simulator.common.identifiers import DEVICE_ID
from dps_simulator.common.ports import Document
from dps_simulator.errors.table import Hub, ServiceError

from .devices import (
    Liveliness,
    check_device_id,
    checked_authentication,
    checked_text,
    new_etag,
    new_generation,
    rendered_time,
    wrong_value,
)

#: The modules that an Edge device has by itself. Source: Microsoft documentation, iot-edge iot-edge-runtime; the Azure
#: CLI, which asks for them. Inferred: that they have keys from the beginning and count in no limit.
EDGE_MODULES = ("$edgeAgent", "$edgeHub")
#: Modules of one device.
MAX_MODULES = 50
MAX_MANAGED_BY = 128


def module_address(device_id: str, module_id: str) -> str:
    """Under what a module is kept."""
    return f"{device_id}/{module_id}"


def split_address(address: str) -> tuple[str, str]:
    """The device ID and the module ID, which is empty in the address of a device."""
    device_id, _, module_id = address.partition("/")
    return device_id, module_id


def check_address(address: str) -> tuple[str, str]:
    """Split an address whose parts are possible.

    Raises:
        ServiceError: one is not.
    """
    device_id, slash, module_id = address.partition("/")
    return check_device_id(device_id), check_module_id(module_id) if slash else ""


def check_module_id(module_id: object) -> str:
    """Return the module ID when it is possible.

    Raises:
        ServiceError: it is not.
    """
    if not isinstance(module_id, str) or not DEVICE_ID.fullmatch(module_id):
        raise ServiceError(
            Hub.ARGUMENT_INVALID,
            f"The module ID {module_id!r:.200} is not possible: 1 to 128 ASCII letters, digits and - . + % _ # * ? ! "
            "( ) , : = @ $ ' are allowed, and case matters.",
        )
    return module_id


def new_module(device_id: str, module_id: str, body: Mapping[str, Any], now: datetime, *, after: str = "") -> Document:
    """Make a module identity from the body of a request.

    Arguments:
        device_id: the device from the path.
        module_id: the module from the path.
        body: the request's JSON object.
        now: the present time.
        after: the generation that was last given out; the new one is greater.

    Raises:
        ServiceError: a field is wrong; the text names it.
    """
    check_module_id(module_id)
    _check_same_ids(device_id, module_id, body)
    return {
        "deviceId": device_id,
        "moduleId": module_id,
        "generationId": new_generation(now, after),
        "etag": new_etag(),
        "managedBy": checked_text(body, "managedBy", MAX_MANAGED_BY, None),
        "authentication": checked_authentication(body.get("authentication"), None),
    }


def changed_module(current: Mapping[str, Any], body: Mapping[str, Any]) -> Document:
    """Apply the body of an update to a module identity. What the body leaves out stays; an empty key is made anew.

    Raises:
        ServiceError: a field is wrong; the text names it.
    """
    _check_same_ids(current["deviceId"], current["moduleId"], body)
    return {
        **current,
        "etag": new_etag(),
        "managedBy": checked_text(body, "managedBy", MAX_MANAGED_BY, current["managedBy"]),
        "authentication": checked_authentication(body.get("authentication"), current["authentication"]),
    }


def render_module(identity: Mapping[str, Any], liveliness: Liveliness, waiting: int = 0) -> Document:
    """The module identity as the hub's API shows it."""
    return {
        "moduleId": identity["moduleId"],
        "managedBy": identity["managedBy"],
        "deviceId": identity["deviceId"],
        "generationId": identity["generationId"],
        "etag": identity["etag"],
        "connectionState": liveliness.state,
        "connectionStateUpdatedTime": rendered_time(liveliness.changed),
        "lastActivityTime": rendered_time(liveliness.active),
        "cloudToDeviceMessageCount": waiting,
        "authentication": identity["authentication"],
    }


def _check_same_ids(device_id: str, module_id: str, body: Mapping[str, Any]) -> None:
    for name, own in (("deviceId", device_id), ("moduleId", module_id)):
        # clients that describe the module alone send null for its device
        if body.get(name) not in (None, own):
            raise wrong_value(name, body[name], f"the ID in the path, {own!r}")
