"""The simulator on this machine as a target.

The clients are told, through their public options, which proxy leads to it and which certificate authority made its
certificate; what the environment says about proxies and certificates has no say.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from azure.core.pipeline.transport import RequestsTransport
from azure.iot.deviceprovisioning import DeviceProvisioningClient

from dps_simulator import RunningSimulator
from dps_simulator.process import launcher
from helpers import workspace
from helpers.credentials import parse_connection_string
from helpers.identifiers import bare_host
from helpers.views.observation import device_of

from . import registry as registries
from .target import Target, TargetError

if TYPE_CHECKING:
    from azure.mgmt.iothubprovisioningservices import IotDpsClient

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


class SimulatorTarget(Target):
    """The simulator on this machine, wherever it was started.

    Arguments:
        running: how it is reached.
    """

    name = "simulator"
    is_simulator = True
    #: The management plane of the simulator takes any.
    resource_group = "simulator"

    def __init__(self, running: RunningSimulator) -> None:
        super().__init__(
            provisioning_host=running.provisioning_host,
            id_scope=running.id_scope,
            service=parse_connection_string(running.service_connection_string),
            hubs=[parse_connection_string(hub.connection_string) for hub in running.hubs],
            device_options=running.device_options,
        )
        self._running = running

    def service_client(self) -> DeviceProvisioningClient:
        """The official client, with the key as it is now: a notebook may have replaced it."""
        self._service = parse_connection_string(self.manage("GET", "/connection")["serviceConnectionString"])
        return super().service_client()

    def release_hubs(self) -> tuple[str, ...]:
        """Remove the hubs that :meth:`need_hubs` made, with their devices."""
        self._read_hubs()
        for kind, host in workspace.claimed(self):
            if kind == _HUB_CLAIM:
                if host in self._hubs:
                    self.manage("DELETE", f"/hubs/{host}")
                workspace.release(self, kind, host)
        self._read_hubs()
        return self.hubs

    def set_latencies(self, latencies: Mapping[str, float | None]) -> bool:
        """Say how far away the hubs are, in milliseconds; this links them. ``None`` takes back what was said."""
        for hub, milliseconds in latencies.items():
            self.manage("PUT", f"/hubs/{bare_host(str(hub))}", {"latency": milliseconds})
        return True

    def last_event(self) -> int:
        """The number of the newest message that the simulator saw."""
        return int(self._trace("limit=1").get("last", 0))

    def events(self, after: int = 0, device: str | Sequence[str] = ()) -> list[dict[str, Any]]:
        """All messages as the simulator saw them, oldest first."""
        wanted = set(filter(None, [device] if isinstance(device, str) else device))
        found: list[dict[str, Any]] = self._trace(f"after={after}").get("events", [])
        return [event for event in found if not wanted or device_of(event) in wanted]

    def manage(self, method: str, path: str, body: Any | None = None) -> Any:
        """Call the management API of the simulator.

        Arguments:
            method: of HTTP.
            path: below ``/simulator``, with its query.
            body: JSON, ``None`` for none.

        Returns:
            The answer as JSON.

        Raises:
            TargetError: the simulator refused, does not answer, or was started anew; the text says how to go on.
        """
        try:
            return launcher.manage(self._running, method, path, body)
        except OSError as problem:
            # every trouble on the way is one, and so is a certificate file that went with the simulator
            is_refused = isinstance(problem, ssl.SSLCertVerificationError)
            raise TargetError(_SIMULATOR_NOT_TRUSTED if is_refused else _SIMULATOR_GONE) from problem
        except launcher.TokenError as problem:
            raise TargetError(_SIMULATOR_RENEWED) from problem
        except launcher.LaunchError as problem:
            raise TargetError(str(problem)) from problem

    def remove_simulator(self) -> bool:
        """Stop the simulator of this workspace and delete its state; whether one was running."""
        self.close()
        return launcher.remove(workspace.simulator_state())

    def _open_transport(self) -> RequestsTransport:
        transport: RequestsTransport = self._running.transport()
        return transport

    def _open_manager(self) -> IotDpsClient:
        manager: IotDpsClient = self._running.management_client()
        return manager

    def _way(self) -> dict[str, Any]:
        authority = self._running.certificate_authority_file
        return {"proxy_url": self._running.proxy_url, "certificate_authority": authority}

    def _have_hubs(self, count: int) -> None:
        self._read_hubs()
        while len(self._hubs) < count:
            host = _next_name(self.hubs)
            workspace.claim(self, _HUB_CLAIM, host)
            self.manage("PUT", f"/hubs/{host}", {"linked": False})
            self._read_hubs()

    def _way_to_hubs(self) -> str:
        return f"Choose one of: {', '.join(self.hubs)}."

    def _read_hubs(self) -> None:
        """Take over the simulator's hubs as they are now: others may have been added or removed."""
        texts = self.manage("GET", "/connection")["hubConnectionStrings"]
        self._hubs = {connection.host: connection for connection in map(parse_connection_string, texts)}
        for gone in set(self._registries) - set(self._hubs):
            registries.close_registry(self._registries.pop(gone))

    def _trace(self, query: str) -> dict[str, Any]:
        answer = self.manage("GET", f"/trace?{query}")
        return answer if isinstance(answer, dict) else {}


def _next_name(hosts: Sequence[str]) -> str:
    """The name of another hub beside these: their number, counted on."""
    name, _, domain = hosts[0].partition(".")
    stem = re.sub(r"-\d+$", "", name)
    numbers = (number for number in range(1, len(hosts) + 2))
    return next(host for number in numbers if (host := f"{stem}-{number}.{domain}") not in hosts)
