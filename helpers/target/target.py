"""Where the notebooks run: the simulator on this machine, or your own Azure. One parameter decides.

::

    dps = connect(target)                          # "simulator" or "azure"
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=dps.provisioning_host, id_scope=dps.id_scope,
        registration_id=registration_id, symmetric_key=key, **dps.device_options)

The SDKs are the official ones, unchanged. For the simulator they are told, through their public options, which proxy
leads to it and which certificate authority made its certificate; the environment is never changed, and what the
environment says about proxies and certificates has no say.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import requests
from azure.core.pipeline.transport import RequestsTransport
from azure.iot.deviceprovisioning import DeviceProvisioningClient

from dps_simulator.process import launcher
from helpers import workspace
from helpers.credentials import ConnectionString, CredentialsError, Secret, parse_connection_string
from helpers.identifiers import bare_host, host_problem, unquoted
from helpers.masking import MaskedError, shown
from helpers.views.banner import banner_bundle
from helpers.views.observation import SdkObserver, device_of, quieten_sdk

from . import registry as registries
from .azure_settings import (
    FOR_MANAGEMENT,
    HUB_DOMAIN,
    REQUIRED,
    SettingError,
    cleaned,
    global_host,
    hub_connections,
    read_file,
    service_connection,
)

if TYPE_CHECKING:
    from azure.mgmt.iothubprovisioningservices import IotDpsClient

TARGETS = ("simulator", "azure")
#: MQTT over TLS; closed in many company networks and on Binder, where WebSockets over 443 do the same.
MQTT_PORT = 8883
PROBE_SECONDS = 3.0

#: Names that the management plane of the simulator takes for a subscription and a resource group; any would do.
_SIMULATOR_SUBSCRIPTION = "simulator"
_SIMULATOR_GROUP = "simulator"

_AZURE_HOST = global_host()
_ID_SCOPE = re.compile(r"0n[a-z][0-9a-z]{8}", re.IGNORECASE)

#: Kind of the claims on hubs that the simulator got for a notebook.
_HUB_CLAIM = "hub"
_SIMULATOR_GONE = "The simulator does not answer any more. Run the cell with connect(...) again; it starts it anew."
_SIMULATOR_NOT_TRUSTED = (
    "The simulator answers, and its certificate is not accepted here: look at the clock, and at the certificate if it "
    "is your own."
)
_SIMULATOR_RENEWED = (
    "The simulator was started anew since this notebook connected to it. Run the cell with connect(...) again, and the "
    "cells that make clients; enrollments and devices were kept."
)


class TargetError(MaskedError):
    """The target cannot be used; the text says which setting is wrong and where to find the right value."""


@dataclass(frozen=True)
class _Route:
    """How HTTP clients of this process reach the simulator, and who answers there."""

    proxy_url: str
    certificate_authority: Path
    running: launcher.RunningSimulator


class Target:
    """A provisioning service and its hubs, with ready-made clients. Made by :func:`connect`.

    Arguments:
        name: ``simulator`` or ``azure``.
        provisioning_host: where devices register.
        id_scope: which provisioning service they mean.
        service: connection string of the provisioning service's API.
        hubs: connection strings of the linked hubs.
        device_options: what the device clients need besides host, ID and key.
        route: how to reach the simulator; ``None`` on Azure.
        management: subscription and resource group of the provisioning service, as the settings name them.
    """

    def __init__(
        self,
        *,
        name: str,
        provisioning_host: str,
        id_scope: str,
        service: ConnectionString,
        hubs: Sequence[ConnectionString],
        device_options: Mapping[str, Any],
        route: _Route | None = None,
        management: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.provisioning_host = provisioning_host
        self.id_scope = id_scope
        self.device_options = dict(device_options)
        self._service = service
        self._hubs = {connection.host: connection for connection in hubs}
        self._route = route
        self._management = dict(management or {})
        self._manager: IotDpsClient | None = None
        self._logins: list[Any] = []
        self._sessions: list[requests.Session] = []
        self._registries: dict[str, Any] = {}
        self._observer = SdkObserver() if route is None else None
        quieten_sdk()

    @property
    def is_simulator(self) -> bool:
        """Whether this is the simulator on this machine."""
        return self._route is not None

    @property
    def service_host(self) -> str:
        """Host of the API that enrollments are managed with."""
        return self._service.host

    @property
    def hubs(self) -> tuple[str, ...]:
        """Host names of the hubs, in order."""
        return tuple(self._hubs)

    def service_client(self) -> DeviceProvisioningClient:
        """The official client for enrollments and registration records.

        It keeps its key. After that was replaced, make another one (on Azure, with new settings and a new target).
        """
        if self._route is not None:
            answer = self.manage("GET", "/connection")
            self._service = parse_connection_string(answer["serviceConnectionString"])
        return DeviceProvisioningClient.from_connection_string(
            self._service.text().reveal(), transport=self._transport()
        )

    @property
    def service_name(self) -> str:
        """Name of the provisioning service in its resource group: the first part of its host name."""
        return self.service_host.partition(".")[0]

    @property
    def resource_group(self) -> str:
        """The resource group in which the provisioning service lies.

        Raises:
            TargetError: on Azure, when the settings do not name it.
        """
        return self._managed("AZURE_RESOURCE_GROUP")

    def management_client(self) -> IotDpsClient:
        """The official client for the provisioning service as a resource: hubs, keys, CA certificates.

        There is one until this target is closed. Azure wants to know who you are: ``az login`` in a terminal is enough,
        and azure-identity finds it.

        Raises:
            TargetError: on Azure, when the settings do not name subscription and resource group.
        """
        if self._manager is None:
            self._manager = self._open_manager(self._managed("AZURE_SUBSCRIPTION_ID"))
        return self._manager

    def _open_manager(self, subscription: str) -> IotDpsClient:
        if self._route is None:
            # only who manages needs these, and they take a moment to import
            from azure.identity import DefaultAzureCredential  # noqa: PLC0415
            from azure.mgmt.iothubprovisioningservices import IotDpsClient  # noqa: PLC0415

            login = DefaultAzureCredential()
            self._logins.append(login)
            return IotDpsClient(login, subscription, transport=self._transport())
        manager: IotDpsClient = self._route.running.management_client()
        return manager

    def _transport(self) -> RequestsTransport:
        """A way to the services of this target for one HTTP client."""
        if self._route is None:
            transport = RequestsTransport(session=requests.Session(), session_owner=False)
        else:
            transport = self._route.running.transport()
        self._sessions.append(transport.session)
        return transport

    def _managed(self, setting: str) -> str:
        """A setting of the management plane."""
        missing = [name for name in FOR_MANAGEMENT if not self._management.get(name, "").strip()]
        if missing:
            _refuse(
                ["To manage the provisioning service itself, the azure target needs these settings, too:"]
                + [f"  {name}\n      {FOR_MANAGEMENT[name]}" for name in missing]
                + ["Set them beside the others, and log in with: az login"]
            )
        return self._management[setting].strip()

    def need_hubs(self, count: int) -> tuple[str, ...]:
        """At least so many hubs, linked to the provisioning service or not.

        The simulator makes those that are missing and does not link them; :meth:`release_hubs` removes them again. On
        Azure you make hubs, and the settings name them.

        Returns:
            Host names of the first ``count`` hubs.

        Raises:
            TargetError: ``count`` is no number from 1 on; on Azure, when the settings name fewer.
        """
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise TargetError(f"count is {shown(count)}; it must be a whole number, 1 or more.")
        if self._route is None and len(self._hubs) < count:
            raise TargetError(
                f"This notebook needs {count} hubs, and IOTHUB_CONNECTION_STRING names {len(self._hubs)}: "
                f"{', '.join(self.hubs)}. Make another one (a hub of the free tier is enough, of which a subscription "
                "can have one; portal: Create a resource > IoT Hub, or: az iot hub create), and add its connection "
                "string, separated by a space. It need not be linked."
            )
        if self._route is not None:
            self._read_hubs()
        while len(self._hubs) < count:
            host = _next_name(self.hubs)
            workspace.claim(self, _HUB_CLAIM, host)
            self.manage("PUT", f"/hubs/{host}", {"linked": False})
            self._read_hubs()
        return self.hubs[:count]

    def release_hubs(self) -> tuple[str, ...]:
        """Remove the hubs that :meth:`need_hubs` made, with their devices; on Azure none is.

        Returns:
            Host names of the hubs that are left.
        """
        if self._route is not None:
            self._read_hubs()
            for kind, host in workspace.claimed(self):
                if kind == _HUB_CLAIM:
                    if host in self._hubs:
                        self.manage("DELETE", f"/hubs/{host}")
                    workspace.release(self, kind, host)
            self._read_hubs()
        return self.hubs

    def hub_connection_string(self, hub: str) -> Secret:
        """Connection string of a hub's service API. The provisioning service wants it when the hub is linked.

        Raises:
            TargetError: the hub is not known here.
        """
        return self._connection(hub).text()

    def set_latencies(self, latencies: Mapping[str, float | None]) -> bool:
        """Say how far away the linked hubs are. Only the simulator can be told: on one machine, all are equally near.

        Arguments:
            latencies: milliseconds by host name; ``None`` takes back what was said.

        Returns:
            Whether they were set; on Azure they are what they are, and nothing happens.
        """
        if self._route is None:
            return False
        for hub, milliseconds in latencies.items():
            self.manage("PUT", f"/hubs/{bare_host(str(hub))}", {"latency": milliseconds})
        return True

    def registry(self, hub: str) -> Any:
        """The hub's registry: the official ``IoTHubRegistryManager``, or its stand-in where that is missing."""
        connection = self._connection(hub)
        if connection.host not in self._registries:
            self._registries[connection.host] = registries.open_registry(connection, **self._way())
        return self._registries[connection.host]

    def registry_manager(self, hub: str) -> Any:
        """The official ``IoTHubRegistryManager`` and nothing else.

        Raises:
            ImportError: where azure-iot-hub cannot be installed.
        """
        if not registries.official_available():
            raise ImportError(registries.WHY_REST)
        return self.registry(hub)

    def last_event(self) -> int:
        """The number of the newest event; give it to :meth:`events` later to see only what came after."""
        if self._observer is not None:
            return self._observer.last_sequence
        return int(self._trace("limit=1").get("last", 0))

    def events(self, after: int = 0, device: str | Sequence[str] = ()) -> list[dict[str, Any]]:
        """What happened on the wire, oldest first.

        On the simulator these are all messages, as it saw them. On Azure nobody shows them; there, they are what the
        SDKs in this notebook say that they do, without the answers and without the device's name.

        Arguments:
            after: only events with a higher number.
            device: only events of this registration ID or device ID, or of these.
        """
        if self._observer is not None:
            return self._observer.events(after)
        wanted = set(filter(None, [device] if isinstance(device, str) else device))
        found: list[dict[str, Any]] = self._trace(f"after={after}").get("events", [])
        return [event for event in found if not wanted or device_of(event) in wanted]

    def remove_simulator(self) -> bool:
        """Stop the simulator of this workspace and delete its state; on Azure there is none.

        Returns:
            Whether one was running.
        """
        self.close()
        return self._route is not None and launcher.remove(workspace.simulator_state())

    def close(self) -> None:
        """Close every HTTP connection that this target opened. Closing twice is fine."""
        if self._manager is not None:
            self._manager.close()
            self._manager = None
        for session in self._sessions:
            session.close()
        self._sessions.clear()
        for login in self._logins:
            login.close()
        self._logins.clear()
        for each in self._registries.values():
            registries.close_registry(each)
        self._registries.clear()
        if self._observer is not None:
            self._observer.close()

    def __enter__(self) -> Target:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Target({self.name}, {self.provisioning_host}, {self.id_scope})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return banner_bundle(
            is_simulator=self.is_simulator,
            facts={
                "Devices register at": self.provisioning_host,
                "ID scope": self.id_scope,
                "Enrollments are managed at": self.service_host,
                "Hubs": ", ".join(self.hubs),
            },
        )

    def _connection(self, hub: str) -> ConnectionString:
        try:
            return self._hubs[bare_host(hub)]
        except (KeyError, AttributeError):
            way_out = (
                f"Choose one of: {', '.join(self.hubs)}."
                if self.is_simulator
                else f"IOTHUB_CONNECTION_STRING names {', '.join(self.hubs)}; add this hub's connection string to it."
            )
            raise TargetError(f"The hub {shown(hub)} is not known here. {way_out}") from None

    def _way(self) -> dict[str, Any]:
        if self._route is None:
            return {}
        return {"proxy_url": self._route.proxy_url, "certificate_authority": self._route.certificate_authority}

    def _read_hubs(self) -> None:
        """Take over the simulator's hubs as they are now: others may have been added or removed."""
        texts = self.manage("GET", "/connection")["hubConnectionStrings"]
        self._hubs = {connection.host: connection for connection in map(parse_connection_string, texts)}
        for gone in set(self._registries) - set(self._hubs):
            registries.close_registry(self._registries.pop(gone))

    def _trace(self, query: str) -> dict[str, Any]:
        answer = self.manage("GET", f"/trace?{query}")
        return answer if isinstance(answer, dict) else {}

    def manage(self, method: str, path: str, body: Any | None = None) -> Any:
        """Call the simulator's own management API; ask ``is_simulator`` before."""
        if self._route is None:  # pragma: no cover - every caller asks before
            raise TargetError("Only the simulator can be asked this.")
        try:
            return launcher.manage(self._route.running, method, path, body)
        except OSError as problem:
            # every trouble on the way is one, and so is a certificate file that went with the simulator
            is_refused = isinstance(problem, ssl.SSLCertVerificationError)
            raise TargetError(_SIMULATOR_NOT_TRUSTED if is_refused else _SIMULATOR_GONE) from problem
        except launcher.TokenError as problem:
            raise TargetError(_SIMULATOR_RENEWED) from problem
        except launcher.LaunchError as problem:
            raise TargetError(str(problem)) from problem


def connect(target: str = "simulator", *, settings: Mapping[str, str] | None = None) -> Target:
    """Connect to the simulator of this workspace (started when it is not running) or to your Azure.

    A simulator in the background that still runs the code of another version is replaced, which one line says.

    Arguments:
        target: ``simulator`` or ``azure``.
        settings: for azure, what would otherwise come from the environment and from ``.env``.

    Raises:
        TargetError: for an unknown target, and for missing or wrong settings, all of them at once.
        LaunchError: the simulator cannot be started, or one of other code runs that may not be replaced.
    """
    if target == "simulator":
        return of_simulator(launcher.ensure_running(workspace.simulator_state(), say=print))
    if target == "azure":
        return _azure(azure_settings() if settings is None else settings)
    raise TargetError(f"target is {shown(target)}; it must be one of {', '.join(TARGETS)}.")


def azure_settings() -> dict[str, str]:
    """Settings of the azure target: the file ``.env`` beside ``helpers``, overruled by the environment.

    The file is read, not exported: what it holds stays out of the environment of this process.

    Raises:
        TargetError: the file cannot be read as text.
    """
    names = {*REQUIRED, *FOR_MANAGEMENT, "PROVISIONING_HOST"}
    file = Path(__file__).resolve().parents[2] / ".env"
    try:
        found = read_file(file, names)
    except SettingError as problem:
        raise TargetError(str(problem)) from None
    return {**found, **{name: os.environ[name] for name in names if os.environ.get(name)}}


def normalised_host(text: str, setting: str = "PROVISIONING_HOST") -> str:
    """The bare host name; what people paste along, such as ``https://``, a port or a slash, is taken off.

    Raises:
        TargetError: when the rest is no host name.
    """
    host = bare_host(text) if isinstance(text, str) else text
    if problem := host_problem(host):
        raise TargetError(f"{setting} is {shown(text)}; it must be a host name such as {_AZURE_HOST}: {problem}.")
    return host


def checked_id_scope(text: str, setting: str = "PROVISIONING_IDSCOPE") -> str:
    """The ID scope, stripped.

    Raises:
        TargetError: when it does not look like one.
    """
    stripped = unquoted(text) if isinstance(text, str) else ""
    if not _ID_SCOPE.fullmatch(stripped):
        raise TargetError(
            f"{setting} is {shown(text)}; an ID scope looks like 0ne00000A01 ('0ne' and 8 letters or digits). "
            "It is not the name of the service and not its host name."
        )
    return stripped


def _next_name(hosts: Sequence[str]) -> str:
    """The name of another hub beside these: their number, counted on."""
    name, _, domain = hosts[0].partition(".")
    stem = re.sub(r"-\d+$", "", name)
    numbers = (number for number in range(1, len(hosts) + 2))
    return next(host for number in numbers if (host := f"{stem}-{number}.{domain}") not in hosts)


def of_simulator(running: launcher.RunningSimulator) -> Target:
    """The target for a simulator that runs already, wherever it was started."""
    return Target(
        name="simulator",
        provisioning_host=running.provisioning_host,
        id_scope=running.id_scope,
        service=parse_connection_string(running.service_connection_string),
        hubs=[parse_connection_string(hub.connection_string) for hub in running.hubs],
        device_options=running.device_options,
        route=_Route(
            proxy_url=running.proxy_url,
            certificate_authority=running.certificate_authority_file,
            running=running,
        ),
        management={"AZURE_SUBSCRIPTION_ID": _SIMULATOR_SUBSCRIPTION, "AZURE_RESOURCE_GROUP": _SIMULATOR_GROUP},
    )


def _azure(given: Mapping[str, str]) -> Target:
    try:
        settings = cleaned(given)
    except SettingError as problem:
        raise TargetError(str(problem)) from None
    missing = [name for name in REQUIRED if name not in settings]
    if missing:
        _refuse(
            ["The azure target lacks these settings:"]
            + [f"  {name}\n      {REQUIRED[name]}" for name in missing]
            + ["Set them as environment variables, or one per line as NAME=value in the file .env beside README.md."]
        )
    problems: list[str] = []

    def read(parse: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return parse(*arguments, **options)
        except (TargetError, CredentialsError) as problem:
            problems.append(f"  {problem}")
            return None

    service = read(service_connection, settings, "PROVISIONING_SERVICE_CONNECTION_STRING")
    host = read(normalised_host, settings.get("PROVISIONING_HOST") or global_host(service))
    if host and HUB_DOMAIN in host:
        problems.append(f"  PROVISIONING_HOST is the host of a hub; it must be that of DPS, such as {_AZURE_HOST}.")
    scope = read(checked_id_scope, settings["PROVISIONING_IDSCOPE"])
    hubs = read(hub_connections, settings, "IOTHUB_CONNECTION_STRING")
    if problems:
        _refuse(["The azure target has wrong settings:", *problems])
    return Target(
        name="azure",
        provisioning_host=host,
        id_scope=scope,
        service=service,
        hubs=hubs,
        device_options={} if port_is_open(host, MQTT_PORT) else {"websockets": True},
        # not all settings: some hold keys
        management={setting: settings.get(setting, "") for setting in FOR_MANAGEMENT},
    )


def port_is_open(host: str, port: int, seconds: float = PROBE_SECONDS) -> bool:
    """Whether a TCP connection to the port comes about in time."""
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return True
    except OSError:
        return False


def _refuse(lines: Sequence[str]) -> NoReturn:
    raise TargetError("\n".join(lines))
