"""The hubs of one simulator: those of its settings, and those that were added while it ran."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dps_simulator.common.hub_links import HubLink
from dps_simulator.common.ports import Storage
from dps_simulator.credentials.symmetric_keys import SymmetricKey
from dps_simulator.hub.api.amqp.connection import HubAmqpEndpoint
from dps_simulator.hub.api.device import HubDeviceEndpoint
from dps_simulator.hub.api.https import HubHttpsEndpoint
from dps_simulator.hub.api.service import HubServiceEndpoint
from dps_simulator.hub.hub import IotHub
from dps_simulator.process.address import HubEndpoint
from dps_simulator.provisioning.registration.linked_hubs import LinkedHubs
from dps_simulator.resource.hub_definitions import HubDoor
from dps_simulator.settings.hubs import HubSettings, Policy
from dps_simulator.settings.settings import MAX_HUBS, Settings
from dps_simulator.settings.values import SettingsError, host_name

_HUB_SUFFIX = ".azure-devices.test"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class HubService:
    """One hub with its endpoints.

    Attributes:
        hub: the hub.
        devices: where devices connect over MQTT.
        https: where they ask over HTTPS.
        registry: its service API.
        amqp: where everybody comes over AMQP.
        policy: the access policy of all of them, with its key.
    """

    hub: IotHub
    devices: HubDeviceEndpoint
    https: HubHttpsEndpoint
    registry: HubServiceEndpoint
    amqp: HubAmqpEndpoint
    policy: Policy

    @property
    def connection_string(self) -> str:
        """How a service connects to it."""
        return connection_string(self.hub.host, self.policy)


def connection_string(host: str, policy: Policy) -> str:
    """How a service connects to a host with a policy."""
    return f"HostName={host};SharedAccessKeyName={policy.name};SharedAccessKey={policy.key}"


def with_key(policy: Policy, storage: Storage, name: str) -> Policy:
    """The policy with its key; a key that nobody set is made once and kept in the state.

    Arguments:
        policy: as the settings have it.
        storage: the state.
        name: under which the key is kept.
    """
    if policy.key:
        return policy
    keys = storage.collection("policy key")
    stored = keys.get(name)
    if stored is None:
        stored = {"key": SymmetricKey.new(_KEY_BYTES).text}
        keys.put(name, stored)
    return replace(policy, key=stored["key"])


class Hubs:
    """All hubs, linked or not, by their host names.

    Arguments:
        settings: say which hubs there are from the beginning.
        storage: where those that were added are kept, and how all are linked.
        make: makes the hub with this host name and its endpoints, for its policy.
        admit: asked with the number of links before another one is made; may refuse it.
        removed: called with the host name of every hub that was removed.
        taken: tells the host names that are those of other services.

    Attributes:
        links: which of them are linked to the provisioning service, and how.
        changed: called after every change, when it is kept.
    """

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        *,
        make: Callable[[str, Policy], HubService],
        admit: Callable[[int], object],
        removed: Callable[[str], object],
        taken: frozenset[str],
    ) -> None:
        self.changed: Callable[[], object] = lambda: None
        self._storage = storage
        self._make = make
        self._removed = removed
        self._taken = taken
        self._added = storage.collection("linked hub")
        self._set = {hub.host for hub in settings.hubs}
        self._all = {hub.host: self._new(hub) for hub in settings.hubs}
        for stored in self._added.page(limit=MAX_HUBS):
            if stored.key not in self._all and stored.key not in taken:
                self._all[stored.key] = self._new(HubSettings(stored.key))
        self.links = LinkedHubs(
            storage,
            [
                *(hub.link for hub in settings.hubs if hub.linked),
                *(HubLink(host) for host in self._all if host not in self._set),
            ],
            settings.allocation_policy,
            admit=admit,
        )
        for link in self.links.all():
            if link.host not in self._all:
                self.links.forget(link.host)

    def _new(self, settings: HubSettings) -> HubService:
        return self._make(settings.host, with_key(settings.policy, self._storage, settings.host))

    # --- what there is ----------------------------------------------------------------------------------------

    @property
    def hosts(self) -> tuple[str, ...]:
        """Host names of all hubs."""
        return tuple(self._all)

    def service(self, host: str) -> HubService | None:
        """The hub with this host name in lower case and its endpoints, ``None`` when there is none."""
        return self._all.get(host)

    def find(self, host: str) -> IotHub | None:
        """The hub with this host name, ``None`` when there is none."""
        service = self._all.get(_name(host))
        return None if service is None else service.hub

    def all(self) -> Mapping[str, IotHub]:
        """Every hub, by its host name."""
        return {host: service.hub for host, service in self._all.items()}

    def linked(self) -> list[IotHub]:
        """The hubs into which the provisioning service may put devices."""
        linked = {link.host for link in self.links.all()}
        return [service.hub for host, service in self._all.items() if host in linked]

    def endpoints(self) -> tuple[HubEndpoint, ...]:
        """Every hub with its connection string."""
        return tuple(HubEndpoint(host, service.connection_string) for host, service in self._all.items())

    def door(self, host: str) -> HubDoor | None:
        """What one must show to link a hub."""
        service = self._all.get(host)
        return None if service is None else HubDoor(service.policy.name, (service.policy.key,))

    def show(self) -> list[dict[str, Any]]:
        """Every hub, and how it is linked, in the names of the management API."""
        links = {link.host: link for link in self.links.all()}
        return [{"host": host, **_shown_link(links.get(host))} for host in self._all]

    # --- what can be done ---------------------------------------------------------------------------------------

    def put(self, host: str, *, linked: bool = True, **fields: Any) -> None:
        """Add a hub, or change how one is linked.

        Arguments:
            host: of a new hub it must lie below ``azure-devices.test``, which the server certificate already covers.
            linked: whether the provisioning service may put devices into it.
            fields: fields of its :class:`~dps_simulator.common.hub_links.HubLink`; what is left out stays
                as it is. Unlinked, a hub has none of them.

        Raises:
            ValueError: the host name or a value is not possible.
        """
        name = _name(host)
        if name not in self._all:
            name = self._new_name(host)
        link = replace(self.links.find(name) or HubLink(name), **fields)
        with self._storage.transaction():
            self.links.put(link)
            if not linked:
                self.links.remove(name)
            if name not in self._all:
                self._added.put(name, {})
                service = self._new(HubSettings(name))
                # not before it is kept
                self._storage.when_committed(lambda: self._all.update({name: service}))
        self.changed()

    def remove(self, host: str) -> bool:
        """Remove a hub that was added while running, with its devices and its link; tells whether there was one.

        Raises:
            ValueError: the hub stands in the settings.
        """
        host = _name(host)
        if host in self._set:
            raise ValueError(f"{host} stands in the settings; remove it there.")
        service = self._all.get(host)
        if service is not None:
            with self._storage.transaction():
                service.hub.clear()
                self.links.forget(host)
                self._added.delete(host)
            del self._all[host]
            self._removed(host)
        self.changed()
        return service is not None

    def clear(self) -> None:
        """Forget the devices of all hubs; the hubs stay."""
        for service in self._all.values():
            service.hub.clear()

    def _new_name(self, host: str) -> str:
        try:
            name = host_name(host)
        except SettingsError:
            name = ""
        if not name.endswith(_HUB_SUFFIX) or name.count(".") != _HUB_SUFFIX.count("."):
            raise ValueError(f"{host!r:.120} is not possible; expected a name such as contoso-hub-2{_HUB_SUFFIX}.")
        if name in self._taken or name in self._all:
            raise ValueError(f"{name} is the host name of another service.")
        if len(self._all) >= MAX_HUBS:
            raise ValueError(f"{name} would be one too many; this simulator has at most {MAX_HUBS} hubs.")
        return name


def _name(host: str) -> str:
    return host.lower().rstrip(".")


def _shown_link(link: HubLink | None) -> dict[str, Any]:
    if link is None:
        return {"linked": False}
    return {
        "linked": True,
        "allocationWeight": link.allocation_weight,
        "applyAllocationPolicy": link.apply_allocation_policy,
        "latency": link.latency,
    }
