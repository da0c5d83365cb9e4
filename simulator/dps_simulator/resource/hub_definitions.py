"""Linked hubs as the description of the service writes them: by connection string.

Who links a hub shows with one of its keys that they may. Answers mask the key; a definition that comes back with the
mask stands for the link that there is.

Source: ``IotHubDefinitionDescription`` of the published API description of Microsoft.Devices/provisioningServices;
Microsoft documentation, iot-dps how-to-control-access and linked hubs in the azure-cli, for the mask.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dps_simulator.common.field_checks import checked_object
from dps_simulator.common.hub_links import HubLink
from dps_simulator.common.identifiers import lookup_key
from dps_simulator.common.ports import Document
from dps_simulator.errors.table import ResourceManager, ServiceError, described
from dps_simulator.provisioning.registration.linked_hubs import LinkedHubs

MASK = "****"
#: More than this simulator can have hubs.
MAX_DEFINITIONS = 100
_MAX_CONNECTION_STRING = 1_024
_MAX_LOCATION = 64

_PARTS = ("HostName", "SharedAccessKeyName", "SharedAccessKey")
_MASKED = re.compile(r"\*+")
_KEY_BASED = "KeyBased"
_FIELDS = (
    "connectionString",
    "location",
    "applyAllocationPolicy",
    "allocationWeight",
    "authenticationType",
    "hostName",
    "name",
    "selectedUserAssignedIdentityResourceId",
)


@dataclass(frozen=True, slots=True)
class HubDoor:
    """What somebody must show who links a hub.

    Attributes:
        policy_name: name of its access policy.
        keys: the keys of that policy, base64.
    """

    policy_name: str
    keys: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class HubDefinition:
    """One checked definition.

    Attributes:
        link: how the hub is to be linked.
        location: where it lies, as whoever links it says.
    """

    link: HubLink
    location: str


class HubDefinitions:
    """Reads and writes the definitions of a service.

    Arguments:
        links: the links that there are.
        hub_door: finds a hub that exists, by its host name.
        default_location: where hubs lie of which nobody said it.
    """

    def __init__(self, links: LinkedHubs, hub_door: Callable[[str], HubDoor | None], default_location: str) -> None:
        self._links = links
        self._hub_door = hub_door
        self._default_location = default_location

    def show(self, locations: Mapping[str, str]) -> list[Document]:
        """The definitions of all linked hubs that exist, keys masked."""
        shown = []
        for link in self._links.all():
            door = self._hub_door(link.host)
            if door is not None:
                shown.append(
                    {
                        "applyAllocationPolicy": link.apply_allocation_policy,
                        "allocationWeight": link.allocation_weight,
                        "name": link.host,
                        "connectionString": f"HostName={link.host};SharedAccessKeyName={door.policy_name};"
                        f"SharedAccessKey={MASK}",
                        "location": locations.get(link.host, self._default_location),
                    }
                )
        return shown

    def read(self, where: str, value: object) -> Sequence[HubDefinition]:
        """The definitions in a request. Nothing is changed.

        Raises:
            ServiceError: a definition is wrong, or its connection string leads to no hub of this simulator.
        """
        if not isinstance(value, list):
            raise _invalid(f"{where} is {described(value)}; it must be a list of hubs.")
        if len(value) > MAX_DEFINITIONS:
            raise _invalid(f"{where} has {len(value)} hubs; at most {MAX_DEFINITIONS} are possible.")
        definitions = [self._read_one(f"{where}[{index}]", item) for index, item in enumerate(value)]
        hosts = [definition.link.host for definition in definitions]
        for host in hosts:
            if hosts.count(host) > 1:
                raise _invalid(f"{where} has the hub {host} more than once.")
        return definitions

    def link(self, definitions: Sequence[HubDefinition]) -> Mapping[str, str]:
        """Link exactly these hubs; those that are left out are unlinked, and keep their devices.

        Returns:
            Where the hubs lie.
        """
        wanted = {definition.link.host for definition in definitions}
        for present in self._links.all():
            if present.host not in wanted:
                self._links.remove(present.host)
        for definition in definitions:
            self._links.put(definition.link)
        return {definition.link.host: definition.location for definition in definitions}

    def _read_one(self, where: str, value: object) -> HubDefinition:
        given = checked_object(where, value)
        unknown = sorted(set(given) - set(_FIELDS))
        if unknown:
            raise _invalid(f"{where} has the unknown field {unknown[0]!r:.80}; known are {', '.join(_FIELDS)}.")
        _check_authentication(where, given)
        location = given.get("location")
        if not isinstance(location, str) or not 1 <= len(location) <= _MAX_LOCATION:
            raise _invalid(f"{where}.location is {described(location)}; it must be a text such as 'westus2'.")
        host = self._read_connection_string(f"{where}.connectionString", given.get("connectionString"))
        named = given.get("hostName")
        if named is not None and (not isinstance(named, str) or lookup_key(named) != host):
            raise _invalid(f"{where}.hostName is {described(named)}; connectionString names the hub {host}.")
        present = self._links.find(host) or HubLink(host)
        wished = {
            "apply_allocation_policy": _or_default(given.get("applyAllocationPolicy"), True),
            "allocation_weight": _or_default(given.get("allocationWeight"), 1),
        }
        try:
            # its latency is nothing that Azure knows, and stays
            return HubDefinition(replace(present, **wished), location)
        except ValueError as error:
            raise _invalid(f"{where}: {error}") from error

    def _read_connection_string(self, where: str, value: object) -> str:
        """The host name of the hub that the connection string leads to."""
        shape = "it must read HostName=…;SharedAccessKeyName=…;SharedAccessKey=… (its value is not shown)"
        if not isinstance(value, str) or not value:
            raise _invalid(f"{where} is {described(value) if value != '' else 'empty'}; {shape}.")
        parts = dict(part.partition("=")[::2] for part in value.split(";") if part)
        if len(value) > _MAX_CONNECTION_STRING or sorted(parts) != sorted(_PARTS):
            raise _invalid(f"{where} is not the connection string of a hub; {shape}.")
        host, policy_name, key = (parts[name] for name in _PARTS)
        host = lookup_key(host)
        door = self._hub_door(host)
        if door is None:
            raise _refused(
                f"{where} names the hub {host!r:.260}, which does not exist in this simulator. "
                f"Make it first, with PUT /simulator/hubs/{host:.260} of the simulator's management API."
            )
        if policy_name != door.policy_name:
            raise _refused(
                f"{where} names the access policy {policy_name!r:.80}, which the hub {host} does not have; "
                f"it has {door.policy_name!r}."
            )
        if _MASKED.fullmatch(key):
            if self._links.find(host) is None:
                raise _refused(
                    f"{where} has a masked key, and the hub {host} is not linked yet; give the key of its policy."
                )
        elif not any(hmac.compare_digest(key.encode("utf-8", "surrogatepass"), own.encode()) for own in door.keys):
            raise _refused(f"{where} has a key that is not that of the policy {policy_name!r} of the hub {host}.")
        return host


def _check_authentication(where: str, given: Mapping[str, Any]) -> None:
    kind = given.get("authenticationType")
    identity = given.get("selectedUserAssignedIdentityResourceId")
    if kind in (None, _KEY_BASED) and identity is None:
        return
    if kind in (None, _KEY_BASED, "SystemAssigned", "UserAssigned"):
        raise ServiceError(
            ResourceManager.NOT_SUPPORTED,
            f"{where} asks for a managed identity, which is not supported by this simulator; link the hub by its "
            "connection string.",
        )
    raise _invalid(f"{where}.authenticationType is {described(kind)}; it must be {_KEY_BASED}.")


def _or_default(value: Any, default: Any) -> Any:
    return default if value is None else value


def _refused(text: str) -> ServiceError:
    return ServiceError(ResourceManager.HUB_REFUSES, text)


def _invalid(text: str) -> ServiceError:
    return ServiceError(ResourceManager.INVALID_REQUEST, text)
