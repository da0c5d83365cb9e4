"""The life of a simulator on one event loop: state folder, store, services and open ports, in this order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib import metadata
from pathlib import Path
from typing import Any

from dps_simulator.common.clock import Clock, SystemClock
from dps_simulator.common.http import Request, Response
from dps_simulator.common.private_files import FolderError, FolderLock, private_folder
from dps_simulator.common.service_faults import ServiceFaults
from dps_simulator.common.throttling import Limits
from dps_simulator.common.trace import Trace
from dps_simulator.console.endpoint import ManagementEndpoint
from dps_simulator.process.address import FILE_NAME, RunningSimulator
from dps_simulator.process.launcher import LOCK_NAME
from dps_simulator.process.store import Store
from dps_simulator.protocols.amqp.application import AmqpApplication
from dps_simulator.protocols.mqtt import Connect
from dps_simulator.protocols.mqtt_application import MqttApplication
from dps_simulator.provisioning.registration.states import Pace
from dps_simulator.server.event_loop import OVERSLEPT
from dps_simulator.server.listeners import STANDARD_PORTS, ListenError, Server
from dps_simulator.server.tls.authority import AuthorityError, CertificateAuthority
from dps_simulator.server.webhooks import WebhookError, Webhooks
from dps_simulator.settings.own_certificate import OwnCertificateError
from dps_simulator.settings.own_certificate import check as check_own_certificate
from dps_simulator.settings.settings import Settings
from dps_simulator.wire.amqp import AmqpLine
from dps_simulator.wire.mqtt import MqttLink

from .hubs import Hubs
from .process import fingerprint, program
from .routing import means_this_machine
from .services import SimulatedServices

_LOGGER = logging.getLogger(__name__)

#: Seconds to wait for the lock of the state folder: a launcher that looks whether it is free holds it for a moment.
_LOCK_PATIENCE = 0.5
#: Where the management API lies, under every host name.
_MANAGEMENT_PATH = "/simulator/"


class SimulatorError(Exception):
    """The simulator cannot run. The text says why and what to do."""


@functools.cache
def version() -> str:
    """Version of the installed project, ``0`` when it is not installed."""
    try:
        return metadata.version("dps-simulator")
    except metadata.PackageNotFoundError:
        return "0"


class SimulatorRuntime:
    """A simulator with open ports. Made by :meth:`open`; lives on the event loop that made it.

    Arguments:
        settings: see :class:`~dps_simulator.settings.settings.Settings`.
        folder: where certificate authority and endpoint file lie.
        store: where everything is kept.
        clock: the time.
    """

    def __init__(self, settings: Settings, folder: Path, store: Store, clock: Clock) -> None:
        self.settings = settings
        self.trace = Trace(clock)
        self.stopping = asyncio.Event()
        self._stop_requested = False
        self._folder = folder
        self._token = secrets.token_urlsafe(32)
        self.services = SimulatedServices(settings, store, clock, self.trace, management_token=self._token)
        self.services.policies.changed = self.services.hubs.changed = self._renew_endpoint_file
        self._management = ManagementEndpoint(controls=self, token=self._token, clock=clock, trace=self.trace)
        self._webhooks = Webhooks(
            self.services.webhooks, timeout=settings.webhook_timeout, authority=settings.webhook_authority
        )
        self.services.provisioning.registrations.when_allocation_pending(self._webhooks.wake)
        self._authority: CertificateAuthority | None = None
        self._certificate, self._key, self._trusted = self._certificates()
        self._ports = store.collection("port")
        self._server = self._new_server(settings.proxy_port, settings.tls_port)

    @classmethod
    async def open(cls, stack: AsyncExitStack, settings: Settings, clock: Clock | None = None) -> SimulatorRuntime:
        """Open the state and the ports; leaving the stack closes everything again, in reverse.

        Raises:
            SimulatorError: the state folder is in use or not writable, a port cannot be opened, or the own certificate
                cannot be used.
            StoreError: the state file is damaged.
        """
        try:
            if settings.state is None:
                folder = _temporary_folder(stack)
            else:
                folder = await _locked_folder(stack, settings.state)
            store = Store(settings.state)
            stack.callback(store.close)
            # who starts it is told of every failure, in one line
            store.is_quiet = True
            with store.reading():
                runtime = cls(settings, folder, store, clock or SystemClock())
            await runtime._listen(stack)
            stack.push_async_callback(runtime._webhooks.stop)
            runtime._webhooks.start()
            store.is_quiet = False
        except (FolderError, ListenError, AuthorityError, OwnCertificateError, WebhookError) as error:
            raise SimulatorError(str(error)) from error
        except OSError as error:
            raise SimulatorError(
                f"A file in the state folder cannot be written: {error}. Remove what is in the way, or choose another."
            ) from error
        return runtime

    async def run_until_stopped(self) -> None:
        """Return when a stop was requested, or when nobody has called for as long as the settings say."""
        idle = self.settings.idle_stop
        while not self.stopping.is_set():
            looked = time.monotonic()
            rest = self._server.last_activity + idle - looked
            if idle and rest <= 0 and not self._server.open_connections:
                _LOGGER.info("nobody has called for %g seconds; stopping", idle)
                return
            try:
                await asyncio.wait_for(self.stopping.wait(), timeout=max(rest, 0.5) if idle else None)
            except TimeoutError:
                if time.monotonic() > looked + max(rest, 0.5) + OVERSLEPT:
                    # whoever was stopped himself was not idle: those who called meanwhile come only now
                    self._server.touch()

    @property
    def running(self) -> RunningSimulator:
        """How to reach it."""
        return RunningSimulator(
            process_id=os.getpid(),
            version=version(),
            id_scope=self.settings.id_scope,
            provisioning_host=self.settings.provisioning_host,
            service_host=self.settings.service_host,
            management_host=self.settings.management_host,
            service_connection_string=self.services.service_connection_string,
            hubs=self.services.hubs.endpoints(),
            proxy_port=self._server.proxy_port,
            tls_port=self._server.tls_port,
            certificate_authority_file=self._trusted,
            management_token=self._token,
            address=self._address,
            standard_ports=STANDARD_PORTS if self.settings.standard_ports else (),
            code=fingerprint.loaded(),
            code_folder=str(fingerprint.FOLDER),
        )

    @property
    def _address(self) -> str:
        """Where the ports are reached from this machine."""
        address = ipaddress.ip_address(self.settings.bind)
        if address.is_unspecified:
            return "127.0.0.1" if address.version == 4 else "::1"
        return str(address)

    def _certificates(self) -> tuple[Path, Path, Path]:
        """Server certificate, its key, and what clients must trust."""
        own = self.settings.tls
        if own is not None:
            check_own_certificate(own, self.services.routing.device_and_service_hosts(), SystemClock().now())
            return own.certificate, own.key, own.authority or own.certificate
        self._authority = CertificateAuthority(self._folder, constrained=self.settings.constrained)
        certificate, key = self._issue(self._authority)
        return certificate, key, self._authority.certificate_file

    def _issue(self, authority: CertificateAuthority) -> tuple[Path, Path]:
        return authority.issue_server_certificate([*self.services.routing.hosts(), self._address])

    def _renew_certificate(self) -> bool:
        """Make a new server certificate in time; tells whether there is one.

        A simulator may run for weeks, and so may the clock jump: behind the end of a certificate, or before it begins.
        """
        if self._authority is None or not self._authority.is_due:
            return False
        try:
            self._issue(self._authority)
        except AuthorityError as error:
            _LOGGER.warning("the server certificate could not be renewed: %s", error)
            return False
        return True

    def _new_server(self, proxy_port: int, tls_port: int) -> Server:
        return Server(
            self,
            certificate_file=self._certificate,
            key_file=self._key,
            bind=self.settings.bind,
            proxy_port=proxy_port,
            tls_port=tls_port,
            standard_ports=self.settings.standard_ports,
            allow_remote=self.settings.allow_remote,
            renew=self._renew_certificate,
        )

    async def _listen(self, stack: AsyncExitStack) -> None:
        """Open the ports that were asked for, else the previous ones when they are free, else any."""
        previous = self._ports.get("ports") or {}
        wished = (self.settings.proxy_port, self.settings.tls_port)
        remembered = (wished[0] or _port(previous.get("proxy")), wished[1] or _port(previous.get("tls")))
        if remembered != wished:
            candidate = self._new_server(*remembered)
            try:
                await candidate.start()
                self._server = candidate
            except ListenError:
                _LOGGER.info("the previous ports are taken; using others")
                await self._server.start()
        else:
            await self._server.start()
        stack.push_async_callback(self._server.stop)
        self._ports.put("ports", {"proxy": self._server.proxy_port, "tls": self._server.tls_port})
        self.running.write(self._folder)
        stack.callback(self._remove_endpoint_file)

    @property
    def endpoint_file(self) -> Path:
        """Where everything that a client needs is written, for its owner only."""
        return self._folder / FILE_NAME

    def _remove_endpoint_file(self) -> None:
        # one that stays is told from a new one by the process that it names
        with contextlib.suppress(OSError):
            self.endpoint_file.unlink()

    def _renew_endpoint_file(self) -> None:
        """Write it again after hubs or keys changed, which they have whether the file can be written or not.

        Whoever changed them is told that they are; what the file lacks, the log says.
        """
        try:
            self.running.write(self._folder)
        except OSError as error:
            _LOGGER.error(
                "%s could not be renewed (%s); it tells of hubs and keys as they were. It is renewed at the next "
                "change, and at the next start.",
                self.endpoint_file,
                error.strerror or type(error).__name__,
            )

    # --- Frontend: what the sockets ask -----------------------------------------------------------------------

    def is_known_host(self, host: str) -> bool:
        """Whether the CONNECT proxy leads to this host name."""
        return self.services.routing.is_known_host(host)

    async def http(self, request: Request) -> Response:
        """Requests to this machine by its own name are for the management API, all others for a service.

        With a certificate of one's own, and through the proxy, this machine's name cannot be used. So the API's path,
        which no service of Azure has, leads there as well.
        """
        if means_this_machine(request.peer.host) or request.path.lower().startswith(_MANAGEMENT_PATH):
            return await self._management.handle(request)
        return await self.services.routing.http(request)

    def mqtt(self, link: MqttLink, connect: Connect) -> MqttApplication | None:
        """The device endpoint that the connection is for."""
        return self.services.routing.mqtt(link, connect)

    def amqp(self, line: AmqpLine, hostname: str) -> AmqpApplication | None:
        """The service that the connection is for."""
        return self.services.routing.amqp(line, hostname)

    def connection_refused(self, host: str, reason: str) -> None:
        """Keep in the trace that somebody could not get in."""
        self.services.routing.connection_refused(host, reason)

    @property
    def service_connection_string(self) -> str:
        """Connection string of the enrollment API, with the key that is good now."""
        return self.services.service_connection_string

    def hub_connection_strings(self) -> list[str]:
        """Connection strings of all hubs, linked or not."""
        return [hub.connection_string for hub in self.services.hubs.endpoints()]

    # --- Controls: what the management API asks ----------------------------------------------------------------

    def health(self) -> Mapping[str, Any]:
        """Facts that tell which simulator this is."""
        status = "stopping" if self._stop_requested else "ready"
        return {
            "status": status,
            "version": version(),
            "processId": os.getpid(),
            "code": fingerprint.loaded(),
            "codeFolder": str(fingerprint.FOLDER),
        }

    @property
    def pace(self) -> str:
        """How assignments are answered."""
        return str(self.services.provisioning.pace)

    def set_pace(self, pace: str) -> None:
        """Change the pace from the next registration on."""
        self.services.provisioning.pace = Pace.parse(pace)

    @property
    def limits(self) -> Limits:
        """Which limits of the real services hold."""
        return self.services.throttle.limits

    def set_limits(self, limits: Limits) -> None:
        """Change them; what was counted so far is forgotten."""
        self.services.throttle.limits = limits

    @property
    def faults(self) -> ServiceFaults:
        """The faults that are switched on for services."""
        return self.services.faults

    @property
    def hubs(self) -> Hubs:
        """All hubs, and what can be done with them."""
        return self.services.hubs

    def reset(self) -> None:
        """Forget enrollments, registrations, devices and trace; hubs, keys and ports stay."""
        self.services.clear()
        self.trace.clear()

    def request_stop(self) -> None:
        """Stop after the answer to this very request had time to leave."""
        self._stop_requested = True
        asyncio.get_running_loop().call_later(0.05, self.stopping.set)


def _port(kept: object) -> int:
    """A port that was kept; 0, which lets the system choose, where no port is."""
    return kept if isinstance(kept, int) and 0 < kept < 65_536 else 0


def _temporary_folder(stack: AsyncExitStack) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="dps-simulator-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


async def _locked_folder(stack: AsyncExitStack, path: Path) -> Path:
    folder = private_folder(path)
    lock = FolderLock(folder / LOCK_NAME)
    deadline = time.monotonic() + _LOCK_PATIENCE
    while not lock.acquire():
        if time.monotonic() > deadline:
            raise SimulatorError(
                f"Another simulator (process {lock.holder() or 'unknown'}) uses the state folder {folder}. Use that "
                f"one, stop it with `{program.command_line('stop', '--state', folder)}`, or choose another folder."
            )
        await asyncio.sleep(0.02)
    stack.callback(lock.release)
    return folder
