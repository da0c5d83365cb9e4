"""Which service of a simulator a connection or a request is for: the host name that was asked for says it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from dps_simulator.common.clock import Clock
from dps_simulator.common.http import Request, Response
from dps_simulator.common.ports import StorageError
from dps_simulator.common.service_faults import ENROLLMENTS, PROVISIONING
from dps_simulator.common.trace import Trace
from dps_simulator.errors.table import Dps, ServiceError, dps_body
from dps_simulator.hub.api import https as hub_https
from dps_simulator.protocols.amqp.application import AmqpApplication
from dps_simulator.protocols.mqtt import Connect
from dps_simulator.protocols.mqtt_application import MqttApplication
from dps_simulator.provisioning.api.amqp import DpsAmqpEndpoint
from dps_simulator.provisioning.api.device import DpsDeviceEndpoint
from dps_simulator.provisioning.api.https import DpsHttpsEndpoint, is_device_request
from dps_simulator.provisioning.api.service import DpsServiceEndpoint
from dps_simulator.resource.api.endpoint import ResourceManagerEndpoint
from dps_simulator.settings.settings import Settings
from dps_simulator.wire.amqp import AmqpLine
from dps_simulator.wire.faults import FaultsOnTheWire
from dps_simulator.wire.mqtt import MqttLink

from .hubs import Hubs


def means_this_machine(host: str) -> bool:
    """Whether a client that used this name wants the simulator itself: no name, ``localhost`` or any IP address."""
    return host in {"", "localhost"} or ":" in host or host.rpartition(".")[2].isdigit()


@dataclass(frozen=True, slots=True, eq=False)
class Routing:
    """Gives what comes in to the endpoint that it is for.

    Attributes:
        settings: have the host names of all services but hubs.
        hubs: the hubs.
        devices: where devices register over MQTT.
        https: where they do over HTTPS.
        provisioning_amqp: where they do over AMQP.
        enrollments: the service API of the provisioning service.
        management: its management plane.
        wire: the faults that are switched on.
        settle: brings up to date what is due, before anybody reads a hub.
        clock: gives error answers their time.
        trace: where what nobody answers is recorded.
    """

    settings: Settings
    hubs: Hubs
    devices: DpsDeviceEndpoint
    https: DpsHttpsEndpoint
    provisioning_amqp: DpsAmqpEndpoint
    enrollments: DpsServiceEndpoint
    management: ResourceManagerEndpoint
    wire: FaultsOnTheWire
    settle: Callable[[], object]
    clock: Clock
    trace: Trace

    def hosts(self) -> list[str]:
        """Every host name that is simulated."""
        return [*self.device_and_service_hosts(), self.settings.management_host]

    def device_and_service_hosts(self) -> list[str]:
        """The host names without that of the management plane, which a certificate of one's own may leave out."""
        return [self.settings.provisioning_host, self.settings.service_host, *self.hubs.hosts]

    def is_known_host(self, host: str) -> bool:
        """Whether one of the services has this host name."""
        own = (self.settings.provisioning_host, self.settings.service_host, self.settings.management_host)
        return host in own or self.hubs.service(host) is not None

    async def http(self, request: Request) -> Response:
        """Give the request to the endpoint of its host name."""
        host = request.peer.host
        if host == self.settings.service_host and is_device_request(request):
            host = self.settings.provisioning_host
        if host == self.settings.service_host:
            return await self.wire.http(request, self.enrollments.handle, service=ENROLLMENTS, named=ENROLLMENTS)
        if host == self.settings.management_host:
            return await self.management.handle(request)
        hub = self.hubs.service(host)
        if hub is not None:
            # what is due stays due where the state cannot be changed, and what can be read is answered all the same
            with contextlib.suppress(StorageError):
                self.settle()
            if hub_https.is_device_request(request):
                return await self.wire.http(request, hub.https.handle, service=host, named="hub")
            return await self.wire.http(request, hub.registry.handle, service=host, named="registry")
        if host == self.settings.provisioning_host:
            return await self.wire.http(request, self.https.handle, service=PROVISIONING, named=PROVISIONING)
        known = ", ".join(self.hosts())
        error = ServiceError(
            Dps.ROUTE_NOT_FOUND, f"The host {host!r:.260} is not simulated here; simulated are {known}."
        )
        self.trace.record(
            service="simulator",
            host=host,
            direction="out",
            protocol="https",
            operation=f"{request.method} {request.path}",
            status=error.kind.status,
            detail={"reason": error.message},
        )
        return Response(error.kind.status, dps_body(error, self.clock.now()))

    def mqtt(self, link: MqttLink, connect: Connect) -> MqttApplication | None:
        """Choose by the host name that was addressed, or by the user name where none is known."""
        host, user_name = link.peer.host, connect.username or ""
        if means_this_machine(host):
            is_registration = "/registrations/" in user_name
            host = self.settings.provisioning_host if is_registration else user_name.split("/")[0].lower()
        if host in (self.settings.provisioning_host, self.settings.service_host):
            return self.wire.mqtt(self.devices.application(link), link, service=PROVISIONING, named=PROVISIONING)
        hub = self.hubs.service(host)
        if hub is not None:
            return self.wire.mqtt(hub.devices.application(link), link, service=host, named="hub")
        self.connection_refused(host, f"no device endpoint has the host name {host!r:.260}")
        return None

    def amqp(self, line: AmqpLine, hostname: str) -> AmqpApplication | None:
        """Choose by the host name that was addressed, or by the one that the client tells where none is known."""
        host = line.peer.host
        if means_this_machine(host):
            host = hostname.lower()
        if host in (self.settings.provisioning_host, self.settings.service_host):
            application = self.provisioning_amqp.application(line)
            return self.wire.amqp(application, line, service=PROVISIONING, named=PROVISIONING)
        hub = self.hubs.service(host)
        if hub is None and hostname and means_this_machine(host):
            # who connects to this machine by its own name means its first hub: one SDK has no other way to come here
            hub = self.hubs.service(self.hubs.hosts[0])
        if hub is not None:
            with contextlib.suppress(StorageError):
                self.settle()
            return self.wire.amqp(hub.amqp.application(line), line, service=hub.hub.host, named="hub")
        if host:
            self.connection_refused(host, f"no endpoint for AMQP has the host name {host!r:.260}")
        return None

    def connection_refused(self, host: str, reason: str) -> None:
        """Keep in the trace that somebody could not get in."""
        self.trace.record(
            service="simulator",
            host=host,
            direction="in",
            protocol="tls",
            operation="connection refused",
            detail={"reason": reason, "addressed": self._addressed(host)},
        )

    def _addressed(self, host: str) -> str:
        """Which service was meant, in the words of traces; empty for a host that is not simulated."""
        names = {self.settings.provisioning_host: PROVISIONING, self.settings.service_host: ENROLLMENTS}
        return "hub" if self.hubs.service(host) is not None else names.get(host, "")
