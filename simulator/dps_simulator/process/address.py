"""How a running simulator is reached, as an object and as the endpoint file in its state folder."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dps_simulator.common.private_files import write_private

from .clients import Clients

FILE_NAME = "endpoint.json"


@dataclass(frozen=True, slots=True)
class HubEndpoint:
    """One hub: its host name, and the connection string of its service API."""

    host: str
    connection_string: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RunningSimulator(Clients):
    """Everything that a client needs to reach a running simulator, and clients that know it already.

    Attributes:
        process_id: the process it runs in.
        version: version of the simulator.
        id_scope: what devices give as ID scope.
        provisioning_host: host name of the device endpoint.
        service_host: host name of the service API.
        management_host: host name of the management plane.
        service_connection_string: for clients of the service API.
        hubs: the linked hubs.
        proxy_port: loopback port of the HTTP CONNECT proxy that leads to every host name above.
        tls_port: loopback port for direct TLS.
        certificate_authority_file: PEM file that clients must trust.
        management_token: for the simulator's own management API, and for the management plane as bearer token.
        address: IP address where the ports are reached.
        standard_ports: the ports that are open beside them: 8883, 5671 and 443, or none.
        code: fingerprint of the code that it runs; empty when it is so old that it does not say.
        code_folder: where that code lies; empty likewise.
    """

    process_id: int
    version: str
    id_scope: str
    provisioning_host: str
    service_host: str
    management_host: str
    service_connection_string: str = field(repr=False)
    hubs: tuple[HubEndpoint, ...]
    proxy_port: int
    tls_port: int
    certificate_authority_file: Path
    management_token: str = field(repr=False)
    address: str = "127.0.0.1"
    standard_ports: tuple[int, ...] = ()
    code: str = ""
    code_folder: str = ""

    @property
    def _reached(self) -> RunningSimulator:
        return self

    @property
    def _place(self) -> str:
        """The address as it is written before a port."""
        return f"[{self.address}]" if ":" in self.address else self.address

    @property
    def proxy_url(self) -> str:
        """The CONNECT proxy as an URL."""
        return f"http://{self._place}:{self.proxy_port}"

    @property
    def management_url(self) -> str:
        """Base URL of the management API."""
        return f"https://{self._place}:{self.tls_port}/simulator"

    def certificate_authority(self) -> str:
        """The PEM text that clients must trust."""
        return self.certificate_authority_file.read_text(encoding="ascii")

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary with everything, secrets included."""
        document = asdict(self)
        document["certificate_authority_file"] = str(self.certificate_authority_file)
        return document

    def public_json(self) -> dict[str, Any]:
        """The same without secrets, for the line that announces a ready simulator."""
        document = self.to_json()
        for secret in ("service_connection_string", "management_token"):
            del document[secret]
        document["hubs"] = [hub.host for hub in self.hubs]
        return document

    def write(self, folder: Path) -> Path:
        """Write the endpoint file (mode 0600) and return its path."""
        path = folder / FILE_NAME
        write_private(path, json.dumps(self.to_json(), indent=2) + "\n")
        return path


def read(folder: Path) -> RunningSimulator | None:
    """Read the endpoint file of a state folder; ``None`` when there is none or it is not readable as one."""
    try:
        document = {**_DEFAULTS, **json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))}
        known: dict[str, Any] = {name: _typed(document[name], str) for name in _TEXTS}
        known.update({name: _number(document[name], most) for name, most in _NUMBERS.items()})
        ipaddress.ip_address(known["address"])
        return RunningSimulator(
            **known,
            hubs=tuple(
                HubEndpoint(_typed(hub["host"], str), _typed(hub["connection_string"], str)) for hub in document["hubs"]
            ),
            certificate_authority_file=Path(document["certificate_authority_file"]),
            standard_ports=tuple(_number(port, _MAX_PORT) for port in document["standard_ports"]),
        )
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None


#: What earlier versions did not write.
_DEFAULTS = {"address": "127.0.0.1", "standard_ports": (), "code": "", "code_folder": ""}
_MAX_PORT = 65_535
_NUMBERS = {"process_id": 2**31 - 1, "proxy_port": _MAX_PORT, "tls_port": _MAX_PORT}
_TEXTS = tuple(each.name for each in fields(RunningSimulator) if each.type == "str")


def _number(value: Any, most: int) -> int:
    if not 0 < _typed(value, int) <= most:
        raise ValueError(f"expected a number from 1 to {most}")
    return int(value)


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}")
    return value
