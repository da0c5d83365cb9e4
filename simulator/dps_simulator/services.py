"""The simulated services on one event loop: provisioning service, hubs and their endpoints, wired together."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
from dataclasses import dataclass, replace
from typing import Any

from dps_simulator.common.clock import Clock
from dps_simulator.common.http import Request, Response
from dps_simulator.common.hub_links import HubLink
from dps_simulator.common.ports import StorageError
from dps_simulator.common.service_faults import ENROLLMENTS, PROVISIONING, ServiceFaults
from dps_simulator.common.throttling import Limits, Throttle
from dps_simulator.common.trace import Trace
from dps_simulator.errors.table import Dps, ServiceError, dps_body
from dps_simulator.hub.api.device import HubDeviceEndpoint
from dps_simulator.hub.api.service import HubServiceEndpoint
from dps_simulator.hub.hub import IotHub
from dps_simulator.process.address import HubEndpoint
from dps_simulator.process.store import Store
from dps_simulator.protocols.mqtt import Connect
from dps_simulator.protocols.mqtt_application import MqttApplication
from dps_simulator.provisioning.access_policies import AccessPolicies
from dps_simulator.provisioning.api.device import DpsDeviceEndpoint
from dps_simulator.provisioning.api.https import DpsHttpsEndpoint, is_device_request
from dps_simulator.provisioning.api.service import DpsServiceEndpoint
from dps_simulator.provisioning.api.webhooks import AllocationWebhooks
from dps_simulator.provisioning.registration.linked_hubs import LinkedHubs
from dps_simulator.provisioning.registration.states import Pace
from dps_simulator.provisioning.service import ProvisioningService
from dps_simulator.resource.api.endpoint import ResourceManagerEndpoint
from dps_simulator.resource.hub_definitions import HubDoor
from dps_simulator.resource.service_description import ServiceDescription
from dps_simulator.settings.settings import MAX_HUBS, HubSettings, Policy, Settings, SettingsError, host_name
from dps_simulator.wire.faults import FaultsOnTheWire
from dps_simulator.wire.mqtt import MqttLink

from .settings import seeds

#: Collections of the store that a reset leaves alone: what a simulator is, not what it learned.
LASTING_COLLECTIONS = frozenset({"policy key", "access policy of the owner", "linked hub", "hub link", "port"})
_HUB_SUFFIX = ".azure-devices.test"


def means_this_machine(host: str) -> bool:
    """Whether a client that used this name wants the simulator itself: no name, ``localhost`` or any IP address."""
    return host in {"", "localhost"} or ":" in host or host.rpartition(".")[2].isdigit()


@dataclass(frozen=True, slots=True)
class _HubService:
    """One hub with its two endpoints."""

    hub: IotHub
    devices: HubDeviceEndpoint
    registry: HubServiceEndpoint
    policy: Policy


class SimulatedServices:
    """Everything behind the sockets except the management API.

    Arguments:
        settings: see :class:`~dps_simulator.settings.settings.Settings`.
        store: where everything is kept.
        clock: the time.
        trace: where every message is recorded.
        management_token: what clients of the management plane must show.
    """

    def __init__(self, settings: Settings, store: Store, clock: Clock, trace: Trace, *, management_token: str) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._trace = trace
        self._hubs: dict[str, _HubService] = {}
        self.faults = ServiceFaults(clock, lambda: list(self._hubs))
        self._wire = FaultsOnTheWire(
            self.faults, trace, call_later=asyncio.get_running_loop().call_later, sleep=asyncio.sleep
        )
        self.throttle = Throttle(clock, Limits.parse(settings.limits), self.faults)
        owner = self._with_key(settings.service_policy, "service")
        self.policies = AccessPolicies(store, owner_name=owner.name, owner_key=owner.key)
        for hub in settings.hubs:
            self._add_hub(hub)
        for stored in store.collection("linked hub").page(limit=MAX_HUBS):
            if stored.key not in self.hosts():
                self._add_hub(HubSettings(stored.key))
        set_hosts = {hub.host for hub in settings.hubs}
        self.links = LinkedHubs(
            store,
            [
                *(hub.link for hub in settings.hubs if hub.linked),
                *(HubLink(host) for host in self._hubs if host not in set_hosts),
            ],
            settings.allocation_policy,
            admit=lambda count: self.throttle.claim("linked_hubs", lambda: count),
        )
        for link in self.links.all():
            if link.host not in self._hubs:
                self.links.forget(link.host)
        self.provisioning = ProvisioningService(
            storage=store,
            clock=clock,
            id_scope=settings.id_scope,
            hubs=self._linked_hubs,
            pace=Pace.parse(settings.pace),
            links=self.links,
            throttle=self.throttle,
        )
        self.webhooks = AllocationWebhooks(self.provisioning.registrations, trace)
        self._dps_devices = DpsDeviceEndpoint(
            service=self.provisioning, clock=clock, trace=trace, host=settings.provisioning_host
        )
        self._dps_https = DpsHttpsEndpoint(
            service=self.provisioning,
            clock=clock,
            trace=trace,
            host=settings.provisioning_host,
            transaction=store.transaction,
        )
        self._dps_service = DpsServiceEndpoint(
            service=self.provisioning,
            clock=clock,
            trace=trace,
            host=settings.service_host,
            policies=self.policies,
            transaction=store.transaction,
        )

        self._description = ServiceDescription(
            storage=store,
            links=self.links,
            policies=self.policies,
            hub_door=self._hub_door,
            service_host=settings.service_host,
            device_host=settings.provisioning_host,
            id_scope=settings.id_scope,
        )
        self._resource_manager = ResourceManagerEndpoint(
            authorities=self.provisioning.authorities,
            description=self._description,
            token=management_token,
            clock=clock,
            trace=trace,
            transaction=store.transaction,
        )

        self._plant()

    def _plant(self) -> None:
        """Put the seeds of the settings into what is new."""
        hubs = {host: service.hub for host, service in self._hubs.items()}
        enrollments = self.provisioning.enrollments
        seeds.apply(
            self._settings.seeds,
            self._store,
            authorities=self.provisioning.authorities,
            groups=enrollments.groups,
            individuals=enrollments.individuals,
            hubs=hubs,
        )

    def _with_key(self, policy: Policy, name: str) -> Policy:
        """The policy with its key; a key that nobody set is made once and kept in the state."""
        if policy.key:
            return policy
        keys = self._store.collection("policy key")
        stored = keys.get(name)
        if stored is None:
            stored = {"key": base64.b64encode(secrets.token_bytes(32)).decode()}
            keys.put(name, stored)
        return replace(policy, key=stored["key"])

    def _add_hub(self, settings: HubSettings) -> None:
        self._hubs[settings.host] = self._new_hub(settings)

    def _new_hub(self, settings: HubSettings) -> _HubService:
        policy = self._with_key(settings.policy, settings.host)
        hub = IotHub(
            host=settings.host,
            storage=self._store,
            clock=self._clock,
            authorities=lambda: self.provisioning.authorities.verified(),  # noqa: PLW0108 - it comes later
            throttle=self.throttle,
        )
        devices = HubDeviceEndpoint(
            hub=hub,
            clock=self._clock,
            trace=self._trace,
            policy_name=policy.name,
            policy_key=policy.key,
            call_later=asyncio.get_running_loop().call_later,
        )
        registry = HubServiceEndpoint(
            hub=hub,
            devices=devices,
            clock=self._clock,
            trace=self._trace,
            policy_name=policy.name,
            policy_key=policy.key,
            transaction=self._store.transaction,
        )
        return _HubService(hub, devices, registry, policy)

    def _hub_door(self, host: str) -> HubDoor | None:
        """What one must show to link a hub."""
        service = self._hubs.get(host)
        return None if service is None else HubDoor(service.policy.name, (service.policy.key,))

    def _linked_hubs(self) -> list[IotHub]:
        linked = {link.host for link in self.links.all()}
        return [service.hub for host, service in self._hubs.items() if host in linked]

    # --- what the sockets ask ---------------------------------------------------------------------------------

    def is_known_host(self, host: str) -> bool:
        """Whether one of the services has this host name."""
        return host in self.hosts()

    async def http(self, request: Request) -> Response:
        """Give the request to the endpoint of its host name."""
        host = request.peer.host
        if host == self._settings.service_host and is_device_request(request):
            host = self._settings.provisioning_host
        if host == self._settings.service_host:
            return await self._wire.http(request, self._dps_service.handle, service=ENROLLMENTS, named=ENROLLMENTS)
        if host == self._settings.management_host:
            return await self._resource_manager.handle(request)
        if host in self._hubs:
            # what is due stays due where the state cannot be changed, and what can be read is answered all the same
            with contextlib.suppress(StorageError):
                self.provisioning.registrations.settle()
            return await self._wire.http(request, self._hubs[host].registry.handle, service=host, named="registry")
        if host == self._settings.provisioning_host:
            return await self._wire.http(request, self._dps_https.handle, service=PROVISIONING, named=PROVISIONING)
        known = ", ".join(self.hosts())
        error = ServiceError(
            Dps.ROUTE_NOT_FOUND, f"The host {host!r:.260} is not simulated here; simulated are {known}."
        )
        self._trace.record(
            service="simulator",
            host=host,
            direction="out",
            protocol="https",
            operation=f"{request.method} {request.path}",
            status=error.kind.status,
            detail={"reason": error.message},
        )
        return Response(error.kind.status, dps_body(error, self._clock.now()))

    def mqtt(self, link: MqttLink, connect: Connect) -> MqttApplication | None:
        """Choose by the host name that was addressed, or by the user name where none is known."""
        host, user_name = link.peer.host, connect.username or ""
        if means_this_machine(host):
            is_registration = "/registrations/" in user_name
            host = self._settings.provisioning_host if is_registration else user_name.split("/")[0].lower()
        if host in (self._settings.provisioning_host, self._settings.service_host):
            devices = self._dps_devices.application(link)
            return self._wire.mqtt(devices, link, service=PROVISIONING, named=PROVISIONING)
        if host in self._hubs:
            return self._wire.mqtt(self._hubs[host].devices.application(link), link, service=host, named="hub")
        self.connection_refused(host, f"no device endpoint has the host name {host!r:.260}")
        return None

    def connection_refused(self, host: str, reason: str) -> None:
        """Keep in the trace that somebody could not get in."""
        self._trace.record(
            service="simulator",
            host=host,
            direction="in",
            protocol="tls",
            operation="connection refused",
            detail={"reason": reason, "addressed": self._addressed(host)},
        )

    def _addressed(self, host: str) -> str:
        """Which service was meant, in the words of traces; empty for a host that is not simulated."""
        names = {self._settings.provisioning_host: PROVISIONING, self._settings.service_host: ENROLLMENTS}
        return "hub" if host in self._hubs else names.get(host, "")

    # --- what the management API asks ----------------------------------------------------------------------------

    def hosts(self) -> list[str]:
        """Every host name that is simulated."""
        return [*self.device_and_service_hosts(), self._settings.management_host]

    def device_and_service_hosts(self) -> list[str]:
        """The host names without that of the management plane, which a certificate of one's own may leave out."""
        return [self._settings.provisioning_host, self._settings.service_host, *self._hubs]

    @property
    def service_connection_string(self) -> str:
        """Connection string of the enrollment API."""
        owner = self.policies.owner
        return _connection_string(self._settings.service_host, Policy(owner.name, owner.primary_key))

    def hub_endpoints(self) -> tuple[HubEndpoint, ...]:
        """The hubs, linked or not, with their connection strings."""
        return tuple(
            HubEndpoint(host, _connection_string(host, service.policy)) for host, service in self._hubs.items()
        )

    def hub(self, host: str) -> IotHub | None:
        """The hub with this host name, ``None`` when there is none."""
        service = self._hubs.get(host.lower().rstrip("."))
        return None if service is None else service.hub

    def hubs(self) -> list[dict[str, Any]]:
        """Every hub, and how it is linked, in the names of the management API."""
        links = {link.host: link for link in self.links.all()}
        return [{"host": host, **_shown_link(links.get(host))} for host in self._hubs]

    def put_hub(self, host: str, *, linked: bool = True, **fields: Any) -> None:
        """Add a hub, or change how one is linked.

        Arguments:
            host: of a new hub it must lie below ``azure-devices.test``, which the server certificate already covers.
            linked: whether the provisioning service may put devices into it.
            fields: fields of its :class:`~dps_simulator.common.hub_links.HubLink`; what is left out stays
                as it is. Unlinked, a hub has none of them.

        Raises:
            ValueError: the host name or a value is not possible.
        """
        name = host.lower().rstrip(".")
        if name not in self._hubs:
            name = self._new_hub_name(host)
        link = replace(self.links.find(name) or HubLink(name), **fields)
        with self._store.transaction():
            self.links.put(link)
            if not linked:
                self.links.remove(name)
            if name not in self._hubs:
                self._store.collection("linked hub").put(name, {})
                service = self._new_hub(HubSettings(name))
                # not before it is kept
                self._store.when_committed(lambda: self._hubs.update({name: service}))

    def _new_hub_name(self, host: str) -> str:
        try:
            name = host_name(host)
        except SettingsError:
            name = ""
        if not name.endswith(_HUB_SUFFIX) or name.count(".") != _HUB_SUFFIX.count("."):
            raise ValueError(f"{host!r:.120} is not possible; expected a name such as contoso-hub-2{_HUB_SUFFIX}.")
        if name in self.hosts():
            raise ValueError(f"{name} is the host name of another service.")
        if len(self._hubs) >= MAX_HUBS:
            raise ValueError(f"{name} would be one too many; this simulator has at most {MAX_HUBS} hubs.")
        return name

    def remove_hub(self, host: str) -> bool:
        """Remove a hub that was added while running, with its devices and its link; tells whether there was one.

        Raises:
            ValueError: the hub stands in the settings.
        """
        host = host.lower().rstrip(".")
        if host not in self._hubs:
            return False
        if host in {hub.host for hub in self._settings.hubs}:
            raise ValueError(f"{host} stands in the settings; remove it there.")
        with self._store.transaction():
            self._hubs[host].hub.clear()
            self.links.forget(host)
            self._store.collection("linked hub").delete(host)
        del self._hubs[host]
        self.faults.clear(host)
        return True

    def clear(self) -> None:
        """Forget enrollments, registrations, devices and faults, and begin again; hubs and keys stay."""
        self.faults.clear()
        with self._store.transaction():
            self.provisioning.clear()
            self._description.clear()
            self.policies.restore()
            for service in self._hubs.values():
                service.hub.clear()
            self._store.collection(seeds.COLLECTION).clear()
            self._plant()


def _connection_string(host: str, policy: Policy) -> str:
    return f"HostName={host};SharedAccessKeyName={policy.name};SharedAccessKey={policy.key}"


def _shown_link(link: HubLink | None) -> dict[str, Any]:
    if link is None:
        return {"linked": False}
    return {
        "linked": True,
        "allocationWeight": link.allocation_weight,
        "applyAllocationPolicy": link.apply_allocation_policy,
        "latency": link.latency,
    }
