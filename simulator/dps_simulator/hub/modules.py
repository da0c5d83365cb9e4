"""Module identities: parts of a device that connect by themselves, each with a key and a twin of its own.

A module is kept, connected and addressed under the text ``{device ID}/{module ID}``, its *address*; that of a device is
its ID, which cannot contain a slash.

Source: Microsoft documentation, iot-hub-devguide-module-twins and iot-hub-devguide-identity-registry; field names and
order are those of the published API description 2021-04-12.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from dps_simulator.common.ports import Document

from .checks import check_id, wrong_value
from .devices import (
    NEVER,
    Identity,
    Liveliness,
    authentication_json,
    authentication_of,
    checked_authentication,
    checked_text,
    new_etag,
    new_generation,
    rendered_time,
)
from .twins import EMPTY, Twin, new_twin

#: The modules that an Edge device has by itself. Source: Microsoft documentation, iot-edge iot-edge-runtime; the Azure
#: CLI, which asks for them. Inferred: that they have keys from the beginning and count in no limit.
EDGE_MODULES = ("$edgeAgent", "$edgeHub")
#: Modules of one device.
MAX_MODULES = 50
MAX_MANAGED_BY = 128


def module_address(device_id: str, module_id: str) -> str:
    """The address of a module, ``{device ID}/{module ID}``, under which twins and connections are found, too."""
    return f"{device_id}/{module_id}"


def split_address(address: str) -> tuple[str, str]:
    """The device ID and the module ID, which is empty in the address of a device."""
    device_id, _, module_id = address.partition("/")
    return device_id, module_id


def check_address(address: str) -> tuple[str, str]:
    """Split an address whose parts are possible.

    Raises:
        ServiceError: the device ID or the module ID is not possible.
    """
    device_id, slash, module_id = address.partition("/")
    return check_id(device_id), check_id(module_id, "module") if slash else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module(Identity):
    """A module of a device.

    Attributes:
        managed_by: who looks after it, in the words of whoever made it.
    """

    managed_by: str | None = None

    def changed(self, body: Mapping[str, Any], now: datetime) -> Module:
        """Apply the body of an update. What the body leaves out stays; an empty key is made anew.

        Raises:
            ServiceError: a field is wrong; the text names it.
        """
        for name, own in (("deviceId", self.device_id), ("moduleId", self.module_id)):
            # clients that describe the module alone send null for its device
            if body.get(name) not in (None, own):
                raise wrong_value(name, body[name], f"the ID in the path, {own!r}")
        return replace(
            self,
            etag=new_etag(),
            managed_by=checked_text(body, "managedBy", MAX_MANAGED_BY, self.managed_by),
            authentication=checked_authentication(body.get("authentication"), self.authentication),
        )

    def to_document(self) -> Document:
        """How it is kept."""
        return {
            "identity": {
                "deviceId": self.device_id,
                "moduleId": self.module_id,
                "generationId": self.generation,
                "etag": self.etag,
                "managedBy": self.managed_by,
                "authentication": authentication_json(self.authentication),
            },
            "twin": self.twin.to_document(),
            "subscriptions": dict(self.subscriptions),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Module:
        """What :meth:`to_document` made, of this version or an earlier one."""
        identity = document["identity"]
        return cls(
            device_id=identity["deviceId"],
            module_id=identity["moduleId"],
            generation=identity["generationId"],
            etag=identity["etag"],
            managed_by=identity["managedBy"],
            authentication=authentication_of(identity["authentication"]),
            twin=Twin.from_document(document["twin"]),
            subscriptions=document.get("subscriptions", {}),
        )

    def to_json(self, liveliness: Liveliness, waiting: int = 0) -> Document:
        """The identity as the hub's API shows it."""
        return {
            "moduleId": self.module_id,
            "managedBy": self.managed_by,
            "deviceId": self.device_id,
            "generationId": self.generation,
            "etag": self.etag,
            "connectionState": liveliness.state,
            "connectionStateUpdatedTime": rendered_time(liveliness.changed),
            "lastActivityTime": rendered_time(liveliness.active),
            "cloudToDeviceMessageCount": waiting,
            "authentication": authentication_json(self.authentication),
        }

    def twin_json(self, liveliness: Liveliness, waiting: int = 0) -> Document:
        """The twin as the service side sees it.

        Modules have no status of their own, and the documented example says ``enabled``; that it always does is
        inferred.
        """
        return {
            "deviceId": self.device_id,
            "moduleId": self.module_id,
            "etag": self.twin.etag,
            "deviceEtag": self.etag,
            "status": "enabled",
            "statusUpdateTime": NEVER,
            **self._twin_content(liveliness, waiting),
        }


def new_module(
    device_id: str,
    module_id: str,
    body: Mapping[str, Any],
    now: datetime,
    *,
    after: str = "",
    initial_twin: Mapping[str, Any] | None = None,
) -> Module:
    """Make a module from the body of a request.

    Arguments:
        device_id: the device ID in the path of the request; one in the body has to be the same.
        module_id: the module ID in the path, likewise.
        body: the fields that the request sets, in the names of the hub's API.
        now: the present time (aware, in UTC).
        after: the generation that was last given out; the new one is greater.
        initial_twin: the content of its twin, see :func:`~dps_simulator.hub.twins.new_twin`; without, it is empty.

    Raises:
        ServiceError: a field is wrong; the text names it.
    """
    generation = new_generation(now, after)
    module = Module(device_id=device_id, module_id=check_id(module_id, "module"), generation=generation, twin=EMPTY)
    return replace(module.changed(body, now), twin=new_twin(now, initial_twin))
