"""The provisioning service as a resource: what its description in Azure Resource Manager says, and how it changes.

The description holds nothing of its own but tags, units and locations; hubs, allocation policy and access policies are
those of the service, however they came about.

Source: ``ProvisioningServiceDescription`` of the published API description of Microsoft.Devices/provisioningServices;
azure-cli, its recorded tests test_dps_lifecycle and test_dps_linked_hub_lifecycle, for what a PUT without tags, keys or
access policies does. That a PUT without ``iotHubs`` or ``allocationPolicy`` leaves them as they are is inferred.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from dps_simulator.common import etags
from dps_simulator.common.field_checks import checked_choice, checked_object
from dps_simulator.common.hub_links import SERVICE_POLICIES
from dps_simulator.common.ports import Document, Storage
from dps_simulator.errors.table import ResourceManager, ServiceError, described
from dps_simulator.provisioning.access_policies import AccessPolicies
from dps_simulator.provisioning.registration.linked_hubs import LinkedHubs

from .hub_definitions import HubDefinitions, HubDoor

#: Where the service is said to lie. No region of Azure, so that nobody takes it for one.
LOCATION = "simulator"
SKU = "S1"
MAX_UNITS = 200
#: Source: Microsoft documentation, azure-resource-manager tag-resources.
MAX_TAGS, MAX_TAG_NAME, MAX_TAG_VALUE = 50, 512, 256

_KEY = "service"
_TOP = frozenset({"location", "tags", "properties", "sku", "identity"})
#: What an answer shows, a client sends back, and nobody can change.
_TOP_READ_ONLY = frozenset({"id", "name", "type", "etag", "resourcegroup", "subscriptionid", "systemData"})
_SETTABLE = ("iotHubs", "allocationPolicy", "authorizationPolicies")
_READ_ONLY = frozenset(
    {
        "state",
        "provisioningState",
        "serviceOperationsHostName",
        "deviceProvisioningHostName",
        "idScope",
        "portalOperationsHostName",
    }
)
#: Properties of which this simulator has only one value: that of a service for which nobody asked for more.
_FIXED: Mapping[str, tuple[Any, ...]] = {
    "publicNetworkAccess": (None, "Enabled"),
    "ipFilterRules": (None, []),
    "privateEndpointConnections": (None, []),
    "deviceRegistryNamespaces": (None, []),
    "enableDataResidency": (None, False),
    "disableLocalAuth": (None, False),
}


class ServiceDescription:
    """The description of one service.

    Arguments:
        storage: where its own part is kept.
        links: the linked hubs and the allocation policy.
        policies: the access policies.
        hub_door: finds a hub that exists in this simulator, by its host name.
        service_host: host name of the service API.
        device_host: host name of the device endpoint.
        id_scope: the ID scope.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        links: LinkedHubs,
        policies: AccessPolicies,
        hub_door: Callable[[str], HubDoor | None],
        service_host: str,
        device_host: str,
        id_scope: str,
    ) -> None:
        self.policies = policies
        self._storage = storage
        self._documents = storage.collection("service description")
        self._links = links
        self._hubs = HubDefinitions(links, hub_door, LOCATION)
        self._service_host = service_host
        self._device_host = device_host
        self._id_scope = id_scope

    @property
    def name(self) -> str:
        """Name of the service: the first part of its host name."""
        return self._service_host.partition(".")[0]

    def show(self) -> Document:
        """The description as GET answers it, without the addresses that depend on who asks."""
        own = self._own()
        policy = self._links.allocation_policy
        body: Document = {
            "name": self.name,
            "location": LOCATION,
            "tags": own["tags"],
            "properties": {
                "state": "Active",
                "provisioningState": "Succeeded",
                "iotHubs": self._hubs.show(own["locations"]),
                "allocationPolicy": policy[0].upper() + policy[1:],
                "serviceOperationsHostName": self._service_host,
                "deviceProvisioningHostName": self._device_host,
                "idScope": self._id_scope,
                "publicNetworkAccess": "Enabled",
            },
            "sku": {"name": SKU, "tier": "Standard", "capacity": own["capacity"]},
        }
        # of the content, because links also change without this description
        content = json.dumps([own["changes"], body], sort_keys=True).encode()
        body["etag"] = base64.b64encode(hashlib.sha256(content).digest()[:8]).decode("ascii")
        return body

    def put(self, body: object, if_match: str | None = None, *, must_be_new: bool = False) -> None:
        """Change the service to what a whole description says. All of it is kept, or nothing.

        Raises:
            ServiceError: a field is wrong or asks for what the simulator has not, or the tag is stale.
        """
        given = checked_object("The body", body)
        with self._storage.transaction():
            self._check_version(if_match, must_be_new)
            _check_names("The body", given, _TOP, _TOP_READ_ONLY)
            _check_location(given.get("location"))
            _check_identity(given.get("identity"))
            capacity = _read_capacity(given.get("sku"))
            tags = _read_tags(given.get("tags"))
            locations = self._change(checked_object("properties", given.get("properties")))
            own = self._own()
            self._keep(
                own, tags=tags, capacity=capacity, locations=own["locations"] if locations is None else locations
            )

    def patch(self, body: object, if_match: str | None = None) -> None:
        """Replace the tags, which are all that a PATCH can change.

        Raises:
            ServiceError: a field is wrong, or the tag is stale.
        """
        given = checked_object("The body", body)
        with self._storage.transaction():
            self._check_version(if_match, False)
            _check_names("The body", given, frozenset({"tags"}), frozenset())
            if given.get("tags") is not None:
                self._keep(self._own(), tags=_read_tags(given["tags"]))

    def clear(self) -> None:
        """Forget tags, units and locations; links and access policies are not the description's."""
        self._documents.clear()

    def _change(self, given: Mapping[str, Any]) -> Mapping[str, str] | None:
        """Change hubs, allocation policy and access policies; returns where the hubs lie when that was said."""
        _check_names("properties", given, frozenset({*_SETTABLE, *_FIXED}), _READ_ONLY)
        for name, possible in _FIXED.items():
            if given.get(name) not in possible:
                raise ServiceError(
                    ResourceManager.NOT_SUPPORTED,
                    f"properties.{name} is {described(given[name])}; that is not supported by this simulator. "
                    "Leave it out.",
                )
        # everything is read before anything is changed
        hubs, policy, rules = (given.get(name) for name in _SETTABLE)
        definitions = None if hubs is None else self._hubs.read("properties.iotHubs", hubs)
        policies = None if rules is None else self.policies.read("properties.authorizationPolicies", rules)
        if policy is not None:
            self._links.allocation_policy = checked_choice("properties.allocationPolicy", policy, SERVICE_POLICIES)
        if policies is not None:
            self.policies.replace_all(policies)
        return None if definitions is None else self._hubs.link(definitions)

    def _check_version(self, if_match: str | None, must_be_new: bool) -> None:
        if must_be_new:
            raise ServiceError(
                ResourceManager.SERVICE_EXISTS,
                f"There is a provisioning service {self.name!r} already, and If-None-Match is '*'.",
            )
        if if_match is not None:
            etags.check(if_match, self.show()["etag"])

    def _own(self) -> Document:
        return {"tags": {}, "capacity": 1, "locations": {}, "changes": 0, **(self._documents.get(_KEY) or {})}

    def _keep(self, own: Document, **changes: Any) -> None:
        self._documents.put(_KEY, {**own, **changes, "changes": own["changes"] + 1})


def _check_names(where: str, given: Mapping[str, Any], known: frozenset[str], ignored: frozenset[str]) -> None:
    unknown = sorted(set(given) - known - ignored)
    if unknown:
        raise _invalid(f"{where} has the unknown field {unknown[0]!r:.80}; known are {', '.join(sorted(known))}.")


def _check_location(value: object) -> None:
    if not isinstance(value, str) or not value:
        raise _invalid(f"location is {described(value)}; it must be a text such as {LOCATION!r}.")
    # regions are written with and without spaces
    if value.replace(" ", "").lower() != LOCATION:
        raise ServiceError(
            ResourceManager.LOCATION_FIXED,
            f"The service lies in {LOCATION!r} and cannot move to {value!r:.80}. Write the location that a GET shows.",
        )


def _check_identity(value: object) -> None:
    if value is None:
        return
    kind = checked_object("identity", value).get("type")
    if kind not in (None, "None"):
        raise ServiceError(
            ResourceManager.NOT_SUPPORTED,
            f"identity.type is {kind!r:.80}; managed identities are not supported by this simulator. Leave it out.",
        )


def _read_capacity(value: object) -> int:
    sku = checked_object("sku", value)
    name, capacity = sku.get("name"), sku.get("capacity")
    if not isinstance(name, str) or name.upper() != SKU:
        raise _invalid(f"sku.name is {name!r:.80}; the one there is is {SKU!r}.")
    if capacity is None:
        return 1
    if isinstance(capacity, bool) or not isinstance(capacity, int) or not 1 <= capacity <= MAX_UNITS:
        raise _invalid(f"sku.capacity is {described(capacity)}; it must be a whole number from 1 to {MAX_UNITS}.")
    return capacity


def _read_tags(value: object) -> dict[str, str]:
    if value is None:
        return {}
    tags = checked_object("tags", value)
    if len(tags) > MAX_TAGS:
        raise _invalid(f"tags has {len(tags)} entries; at most {MAX_TAGS} are possible.")
    for name, text in tags.items():
        if not 1 <= len(name) <= MAX_TAG_NAME:
            raise _invalid(f"tags has the name {name!r:.80}; it must have 1 to {MAX_TAG_NAME} characters.")
        if not isinstance(text, str) or len(text) > MAX_TAG_VALUE:
            raise _invalid(f"The tag {name!r:.80} must be a text of at most {MAX_TAG_VALUE} characters.")
    return dict(tags)


def _invalid(text: str) -> ServiceError:
    return ServiceError(ResourceManager.INVALID_REQUEST, text)
