"""What can be set about a simulator, and the three places it is read from: a file, the environment, flags.

Flags win over environment variables, which win over the file. :data:`KEYS` is the one list of everything that can be
set; the command line, the environment and the documentation are made from it.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dps_simulator.common.hub_links import DEFAULT_POLICY, SERVICE_POLICIES
from dps_simulator.common.throttling import Limits

from . import development
from . import values as checks
from .hubs import HubSettings, Policy, checked_hub, checked_policy, hub_from_text, hubs_of_file, policy_name
from .seeds_in_file import TABLES, Seeds, checked_seeds, holds_keys, seeds_of_file
from .values import SettingsError, host_name

_LOGGER = logging.getLogger(__name__)

ENVIRONMENT_PREFIX = "DPS_SIMULATOR_"

_ID_SCOPE = re.compile(r"[A-Za-z0-9]{1,32}")
_PACE = re.compile(r"azure|instant|polls=([0-9]{1,3}|1000)")
#: Hubs of one simulator, set or linked later.
MAX_HUBS = 100
_SERVICE_POLICY = Policy("provisioningserviceowner")
_HUB = HubSettings("contoso-hub-1.azure-devices.test")
_NO_SEEDS = Seeds()


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A server certificate of one's own (PEM files).

    Attributes:
        certificate: the certificate and the chain above it.
        key: its private key, without a password.
        authority: what clients must trust; ``None`` means that ``certificate`` holds that, too.
    """

    certificate: Path
    key: Path
    authority: Path | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set about a simulator.

    Attributes:
        id_scope: the ID scope that devices give.
        provisioning_host: host name of the device endpoint.
        service_host: host name of the service API (enrollments).
        management_host: host name of the management plane (Azure Resource Manager).
        pace: ``azure``, ``instant`` or ``polls=n``.
        state: folder for everything that outlives the process; ``None`` keeps it in memory.
        service_policy: name and key of the policy that may use the service API.
        hubs: the IoT hubs, at least one.
        allocation_policy: how a new provisioning service distributes devices: ``hashed``, ``geoLatency`` or ``static``.
        limits: ``off``, ``azure`` or single limits, see :class:`~dps_simulator.common.throttling.Limits`.
        seeds: what a new simulator begins with.
        tls: own server certificate; ``None`` lets the simulator make one.
        bind: the IP address to listen on; one that other machines reach asks for ``allow_remote``.
        allow_remote: permits a ``bind`` that lets other machines in.
        standard_ports: also listen on 8883, 5671 and 443.
        development: whether keys and ports are those that everybody knows; only on loopback.
        name_constraints: whether the simulator's authority can vouch for names of its own only: ``on``, ``off``, or
            ``auto``, which is off with ``standard_ports``, as many small devices do not load such an authority.
        proxy_port: port of the CONNECT proxy; 0 takes the previous one or any free one.
        tls_port: port for direct TLS; 0 likewise.
        idle_stop: stop after so many seconds without any connection; 0 never stops.
        webhook_timeout: seconds that the webhook of a custom allocation may take.
        webhook_authority: whom to trust in addition when calling such a webhook (PEM).
    """

    id_scope: str = "0ne00000A01"
    provisioning_host: str = "global.azure-devices-provisioning.test"
    service_host: str = "mydps.azure-devices-provisioning.test"
    management_host: str = "management.azure.test"
    pace: str = "azure"
    state: Path | None = None
    service_policy: Policy = _SERVICE_POLICY
    hubs: tuple[HubSettings, ...] = (_HUB,)
    allocation_policy: str = DEFAULT_POLICY
    limits: str = "off"
    seeds: Seeds = _NO_SEEDS
    tls: TlsFiles | None = None
    bind: str = "127.0.0.1"
    allow_remote: bool = False
    standard_ports: bool = False
    development: bool = False
    name_constraints: str = "auto"
    proxy_port: int = 0
    tls_port: int = 0
    idle_stop: float = 0.0
    webhook_timeout: float = 10.0
    webhook_authority: Path | None = None

    def __post_init__(self) -> None:
        """Check what was not read by :func:`load`, and what no single key can check.

        Raises:
            SettingsError: a value is not possible, or host names collide.
        """
        for key in KEYS:
            if not (key.path or key.switch or key.repeated or "." in key.name):
                checked = checks.named(key.name, key.check or key.parse, getattr(self, key.name))
                object.__setattr__(self, key.name, checked)
        hubs = tuple(checked_hub(f"hubs, {number}", hub) for number, hub in enumerate(self.hubs, 1))
        object.__setattr__(self, "hubs", hubs)
        checked_policy("service_policy", self.service_policy)
        if not hubs:
            raise SettingsError("hubs is empty; name at least one hub.")
        if len(hubs) > MAX_HUBS:
            raise SettingsError(f"hubs has {len(hubs)} entries; at most {MAX_HUBS} are possible.")
        if not self.webhook_timeout:
            raise SettingsError("webhook_timeout: 0 is not possible; no webhook could ever answer.")
        if isinstance(self.state, str):
            object.__setattr__(self, "state", checks.named("state", checks.path, self.state))
        hosts = [self.provisioning_host, self.service_host, self.management_host, *(hub.host for hub in hubs)]
        if not self.allow_remote and not ipaddress.ip_address(self.bind).is_loopback:
            raise SettingsError(
                f"bind: {self.bind} would let other machines in, and the simulator's keys are for learning only. "
                "Use 127.0.0.1, or set allow_remote, too."
            )
        policies = (self.service_policy, *(hub.policy for hub in hubs))
        development.check_reach(self.bind, policies, development=self.development, allow_remote=self.allow_remote)
        if self.development:
            self._take_known_keys_and_ports()
        twice = sorted({host for host in hosts if hosts.count(host) > 1})
        if twice:
            raise SettingsError(f"the host name {twice[0]} is used more than once; every service needs its own.")
        checked_seeds(self.seeds, hubs)

    def _take_known_keys_and_ports(self) -> None:
        known_key = development.with_known_key
        hubs = tuple(replace(hub, policy=known_key(f"the hub {hub.host}", hub.policy)) for hub in self.hubs)
        object.__setattr__(self, "service_policy", known_key("service_policy", self.service_policy))
        object.__setattr__(self, "hubs", hubs)
        object.__setattr__(self, "proxy_port", self.proxy_port or development.PROXY_PORT)
        object.__setattr__(self, "tls_port", self.tls_port or development.TLS_PORT)

    @property
    def constrained(self) -> bool | None:
        """Whether the authority has name constraints; ``None`` when it shall have them as far as all names allow."""
        if self.name_constraints == "auto":
            return False if self.standard_ports else None
        return self.name_constraints == "on"


@dataclass(frozen=True, slots=True)
class Key:
    """One thing that can be set.

    Attributes:
        name: dotted name in the file, e.g. ``service_policy.name``.
        help: one sentence for ``--help`` and the documentation.
        parse: text (from a flag or the environment) to value; raises :class:`SettingsError` with what was expected.
        check: the same for a value in code, where that is no text.
        secret: never a flag, because command lines are visible to other users of the machine.
        path: a file or folder; relative in the settings file, it is meant relative to that file.
        repeated: a list; as text, its items are separated by spaces or new lines.
        switch: a flag without a value.
    """

    name: str
    help: str
    parse: Callable[[str], Any]
    check: Callable[[Any], Any] | None = None
    secret: bool = False
    path: bool = False
    repeated: bool = False
    switch: bool = False

    @property
    def variable(self) -> str:
        """The environment variable, e.g. ``DPS_SIMULATOR_SERVICE_POLICY_NAME``."""
        return ENVIRONMENT_PREFIX + self.name.replace(".", "_").upper()

    @property
    def flag(self) -> str:
        """The flag, e.g. ``--service-policy-name``; ``--hub`` for the repeated ``hubs``."""
        name = self.name[:-1] if self.repeated else self.name
        return "--" + name.replace(".", "-").replace("_", "-")

    @property
    def destination(self) -> str:
        """The attribute that the command line parser stores the flag under."""
        return self.name.replace(".", "_")


def _limits(value: str | Mapping[str, Any], place: str = "") -> str:
    """Limits as one text, in the spelling that is shown; ``place`` is where a table of them stands, for errors."""
    try:
        return str(Limits.parse(value) if isinstance(value, str) else Limits.of(value))
    except ValueError as error:
        raise SettingsError(f"{place}{error}") from None


def _number(name: str, text: str, most: int) -> Key:
    return Key(name, text, checks.number(most), checks.number_value(most))


KEYS: tuple[Key, ...] = (
    Key("id_scope", "ID scope that devices give", checks.text(_ID_SCOPE, "letters and digits, at most 32")),
    Key("provisioning_host", "host name of the device endpoint", host_name),
    Key("service_host", "host name of the service API (enrollments)", host_name),
    Key("management_host", "host name of the management plane (Azure Resource Manager)", host_name),
    Key(
        "pace",
        "how assignments are answered: azure, instant or polls=n",
        checks.text(_PACE, "azure, instant or polls=n with n up to 1000"),
    ),
    Key("state", "folder for what outlives the process; else the notebooks' (run: none)", checks.path, path=True),
    Key("service_policy.name", "policy name of the service API", policy_name),
    Key("service_policy.key", "base64 key of that policy; made when not given", checks.key, secret=True),
    Key("hubs", "host name of a linked hub (the variable takes connection strings, too)", hub_from_text, repeated=True),
    Key(
        "allocation_policy",
        "how a new service distributes devices: hashed, geoLatency or static",
        checks.choice(*SERVICE_POLICIES),
    ),
    Key("limits", "limits of the real services: off, azure, or single ones as name=number", _limits),
    Key("tls.certificate", "own server certificate with its chain (PEM)", checks.path, path=True),
    Key("tls.key", "private key of that certificate (PEM, no password)", checks.path, path=True),
    Key("tls.authority", "what clients must trust then (PEM); else the certificate's own file", checks.path, path=True),
    Key("bind", "IP address to listen on", checks.address),
    Key("allow_remote", "permit an address that lets other machines in", checks.switch, switch=True),
    Key(
        "standard_ports",
        "also listen on 8883 (MQTT), 5671 (AMQP) and 443 (HTTPS, WebSocket)",
        checks.switch,
        switch=True,
    ),
    Key("development", "published keys and ports, for loopback only", checks.switch, switch=True),
    Key(
        "name_constraints",
        "whether the simulator's CA can vouch for simulated names only: on, off or auto (off with standard_ports)",
        checks.choice("auto", "on", "off"),
    ),
    _number("proxy_port", "port of the HTTP CONNECT proxy; 0 takes the previous one or any", 65_535),
    _number("tls_port", "port for direct TLS; 0 takes the previous one or any", 65_535),
    _number("idle_stop", "stop after so many seconds without a connection; 0 never", 1_000_000),
    _number("webhook_timeout", "seconds that the webhook of a custom allocation may take", 600),
    Key("webhook_authority", "whom to trust, too, when calling such a webhook (PEM)", checks.path, path=True),
)
_BY_NAME = {key.name: key for key in KEYS}


def load(
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the settings.

    Arguments:
        file: a TOML file (see ``docs/simulator.md``); ``None`` for none.
        environment: variables, usually ``os.environ``; those beginning with ``DPS_SIMULATOR_`` count.
        flags: values from the command line by :attr:`Key.destination`; ``None`` means not given.

    Raises:
        SettingsError: a key is unknown or a value is not possible.
    """
    values: dict[str, Any] = _from_file(file) if file else {}
    values.update(_from_environment(environment or {}))
    for key in KEYS:
        given = (flags or {}).get(key.destination)
        if given is None or given is False or given == []:
            continue
        _refuse_visible_key(key, given)
        values[key.name] = _parsed(key, given, f"the flag {key.flag}")
    return _assemble(values)


def _refuse_visible_key(key: Key, given: str | bool | Sequence[str]) -> None:
    """A key in a connection string could be read off the command line by every user of the machine."""
    if key.repeated and not isinstance(given, bool) and any("=" in item for item in given):
        raise SettingsError(
            f"the flag {key.flag}: a connection string holds a key, and others can see command lines "
            f"(its value is not shown). Put it into the file or into the environment variable {key.variable}."
        )


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    known = {key.variable: key for key in KEYS}
    values: dict[str, Any] = {}
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or not text:
            continue
        if variable not in known:
            raise SettingsError(
                f"the environment variable {variable} is unknown; known are {', '.join(sorted(known))}."
            )
        key = known[variable]
        values[key.name] = _parsed(key, text.split() if key.repeated else text, f"the environment variable {variable}")
    return values


def _from_file(file: Path) -> dict[str, Any]:
    try:
        # -sig: editors on Windows like to begin a file with a byte order mark
        document = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"the file {file} cannot be read: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"the file {file} is not valid TOML: {error}.") from error
    if holds_keys(document):
        _warn_of_readers(file)
    values: dict[str, Any] = {"seeds": seeds_of_file(document, file)}
    for name, value in document.items():
        if name == "hubs":
            values[name] = hubs_of_file(value, file)
        elif name == "limits" and isinstance(value, dict):
            values[name] = _limits(value, f"{file}: [limits], ")
        elif name in TABLES:
            continue
        elif isinstance(value, dict):
            for inner, item in value.items():
                values[f"{name}.{inner}"] = _file_value(f"{name}.{inner}", item, file)
        else:
            values[name] = _file_value(name, value, file)
    return values


def _warn_of_readers(file: Path) -> None:
    """Say that others can read the keys in a file."""
    mode = stat.S_IMODE(file.stat().st_mode)
    if os.name == "posix" and mode & 0o077:
        _LOGGER.warning("%s holds keys, and other users can read or change it; run: chmod 600 %s", file, file)


def _file_value(name: str, value: Any, file: Path) -> Any:
    key = _BY_NAME.get(name)
    if key is None:
        known = ", ".join([*_BY_NAME, *TABLES])
        raise SettingsError(f"{file}: the key {name} is unknown; known are {known}.")
    if isinstance(value, bool):
        value = "true" if value else "false"
    if not isinstance(value, (str, int)):
        raise SettingsError(f"{file}: {name} is a {type(value).__name__}; expected a text or a whole number.")
    parsed = _parsed(key, str(value), f"{file}: {name}")
    return file.parent / parsed if key.path else parsed


def _parsed(key: Key, given: Any, source: str) -> Any:
    try:
        if key.repeated:
            return tuple(key.parse(item) for item in given)
        return key.parse(given) if isinstance(given, str) else given
    except SettingsError as error:
        raise SettingsError(f"{source}: {error}") from None


def _assemble(values: dict[str, Any]) -> Settings:
    tables: dict[str, dict[str, Any]] = {"service_policy": {}, "tls": {}}
    plain: dict[str, Any] = {}
    for name, value in values.items():
        table, _, inner = name.partition(".")
        if inner:
            tables[table][inner] = value
        else:
            plain[name] = value
    tls = tables["tls"]
    if tls and not {"certificate", "key"} <= tls.keys():
        raise SettingsError("tls needs both certificate and key.")
    policy = replace(_SERVICE_POLICY, **tables["service_policy"])
    return Settings(**plain, service_policy=policy, tls=TlsFiles(**tls) if tls else None)
