"""The simulated services on one event loop: provisioning service, hubs and their endpoints, wired together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from dps_simulator.common.clock import Clock
from dps_simulator.common.service_faults import ServiceFaults
from dps_simulator.common.throttling import Limits, Throttle
from dps_simulator.common.trace import Trace
from dps_simulator.hub.api.amqp.connection import HubAmqpEndpoint
from dps_simulator.hub.api.device import HubDeviceEndpoint
from dps_simulator.hub.api.https import HubHttpsEndpoint
from dps_simulator.hub.api.service import HubServiceEndpoint
from dps_simulator.hub.hub import IotHub
from dps_simulator.process.store import Store
from dps_simulator.provisioning.access_policies import AccessPolicies
from dps_simulator.provisioning.api.amqp import DpsAmqpEndpoint
from dps_simulator.provisioning.api.device import DpsDeviceEndpoint
from dps_simulator.provisioning.api.https import DpsHttpsEndpoint
from dps_simulator.provisioning.api.service import DpsServiceEndpoint
from dps_simulator.provisioning.api.webhooks import AllocationWebhooks
from dps_simulator.provisioning.attestation.authorities import CertificateAuthorities
from dps_simulator.provisioning.registration.states import Pace
from dps_simulator.provisioning.service import ProvisioningService
from dps_simulator.resource.api.endpoint import ResourceManagerEndpoint
from dps_simulator.resource.service_description import ServiceDescription
from dps_simulator.settings.hubs import Policy
from dps_simulator.settings.settings import Settings
from dps_simulator.wire.faults import FaultsOnTheWire

from .hubs import Hubs, HubService, connection_string, with_key
from .routing import Routing
from .settings import seeds
from .settings.seeds_in_file import hub_of_device

#: Collections of the store that a reset leaves alone: what a simulator is, not what it learned.
LASTING_COLLECTIONS = frozenset({"policy key", "access policy of the owner", "linked hub", "hub link", "port"})


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
        self.faults = ServiceFaults(clock, lambda: list(self.hubs.hosts))
        self.throttle = Throttle(clock, Limits.parse(settings.limits), self.faults)
        owner = with_key(settings.service_policy, store, "service")
        self.policies = AccessPolicies(store, owner_name=owner.name, owner_key=owner.key)
        self._authorities = CertificateAuthorities(store, clock)
        self.hubs = Hubs(
            settings,
            store,
            make=self._new_hub,
            admit=lambda count: self.throttle.claim("linked_hubs", lambda: count),
            removed=self.faults.clear,
            taken=frozenset((settings.provisioning_host, settings.service_host, settings.management_host)),
        )
        self.provisioning = ProvisioningService(
            storage=store,
            clock=clock,
            id_scope=settings.id_scope,
            hubs=self.hubs.linked,
            pace=Pace.parse(settings.pace),
            links=self.hubs.links,
            throttle=self.throttle,
            authorities=self._authorities,
        )
        self.webhooks = AllocationWebhooks(self.provisioning.registrations, trace)
        self._description = ServiceDescription(
            storage=store,
            links=self.hubs.links,
            policies=self.policies,
            hub_door=self.hubs.door,
            service_host=settings.service_host,
            device_host=settings.provisioning_host,
            id_scope=settings.id_scope,
        )
        self.routing = self._new_routing(management_token)
        self._plant()

    def _new_hub(self, host: str, policy: Policy) -> HubService:
        hub = IotHub(
            host=host,
            storage=self._store,
            clock=self._clock,
            authorities=self._authorities.verified,
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
        https = HubHttpsEndpoint(
            hub=hub, devices=devices, clock=self._clock, trace=self._trace, transaction=self._store.transaction
        )
        amqp = HubAmqpEndpoint(devices=devices, clock=self._clock, trace=self._trace)
        return HubService(hub, devices, https, registry, amqp, policy)

    def _new_routing(self, management_token: str) -> Routing:
        settings, clock, trace, transaction = self._settings, self._clock, self._trace, self._store.transaction
        service = self.provisioning
        return Routing(
            settings,
            hubs=self.hubs,
            devices=DpsDeviceEndpoint(service=service, clock=clock, trace=trace, host=settings.provisioning_host),
            https=DpsHttpsEndpoint(
                service=service, clock=clock, trace=trace, host=settings.provisioning_host, transaction=transaction
            ),
            provisioning_amqp=DpsAmqpEndpoint(
                service=service, clock=clock, trace=trace, host=settings.provisioning_host
            ),
            enrollments=DpsServiceEndpoint(
                service=service,
                clock=clock,
                trace=trace,
                host=settings.service_host,
                policies=self.policies,
                transaction=transaction,
            ),
            management=ResourceManagerEndpoint(
                authorities=self._authorities,
                description=self._description,
                token=management_token,
                clock=clock,
                trace=trace,
                transaction=transaction,
            ),
            wire=FaultsOnTheWire(
                self.faults, trace, call_later=asyncio.get_running_loop().call_later, sleep=asyncio.sleep
            ),
            settle=service.registrations.settle,
            clock=clock,
            trace=trace,
        )

    def _plant(self) -> None:
        """Put the seeds of the settings into what is new."""
        authorities, hubs = self._authorities, self.hubs.all()
        books = (self.provisioning.enrollments.groups, self.provisioning.enrollments.individuals)

        def put_device(seed: Mapping[str, Any]) -> None:
            identity = {name: value for name, value in seed.items() if name not in ("hub", "twin")}
            hubs[hub_of_device(seed, list(hubs))].put_device(seed["deviceId"], identity, initial_twin=seed.get("twin"))

        if not seeds.are_due(self._settings.seeds, self._store) or (
            authorities.all() or any(book.count() for book in books) or any(hub.devices(1) for hub in hubs.values())
        ):
            return
        seeds.apply(
            self._settings.seeds,
            self._store,
            {
                # in this order: groups refer to certificates
                "certificates": lambda seed: authorities.put(seed["name"], {"properties": seed}, must_be_new=True),
                "enrollment_groups": lambda seed: books[0].put(seed["enrollmentGroupId"], dict(seed)),
                "enrollments": lambda seed: books[1].put(seed["registrationId"], dict(seed)),
                "devices": put_device,
            },
        )

    @property
    def service_connection_string(self) -> str:
        """Connection string of the enrollment API."""
        owner = self.policies.owner
        return connection_string(self._settings.service_host, Policy(owner.name, owner.primary_key))

    def clear(self) -> None:
        """Forget enrollments, registrations, devices and faults, and begin again; hubs and keys stay."""
        self.faults.clear()
        with self._store.transaction():
            self.provisioning.clear()
            self._description.clear()
            self.policies.restore()
            self.hubs.clear()
            self._store.collection(seeds.COLLECTION).clear()
            self._plant()
