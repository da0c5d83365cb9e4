"""What can be set about a simulator, and the three places it is read from: a file, the environment, flags.

Flags win over environment variables, which win over the file. :data:`KEYS` is the one list of everything that can be
set; the command line, the environment and the documentation are made from it.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENVIRONMENT_PREFIX = "DPS_SIMULATOR_"

_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+")
_ID_SCOPE = re.compile(r"[A-Za-z0-9]{1,32}")
_PACE = re.compile(r"azure|instant|polls=([0-9]{1,3}|1000)")
_POLICY = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: Hubs of one simulator, set or linked later.
MAX_HUBS = 100


class SettingsError(Exception):
    """Something was set to what it cannot be. The text names the source, the key and the value."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A shared access policy: a name, and the key that signs its tokens.

    Attributes:
        name: e.g. ``provisioningserviceowner`` or ``iothubowner``; it has all rights.
        key: base64, 16 to 64 bytes; empty lets the simulator make one and keep it in its state.
    """

    name: str
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class HubSettings:
    """One IoT hub.

    Attributes:
        host: host name, lower case.
        policy: who may use its service API.
    """

    host: str
    policy: Policy = Policy("iothubowner")


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
        management_host: host name of the management plane (CA certificates).
        pace: ``azure``, ``instant`` or ``polls=n``.
        state: folder for everything that outlives the process; ``None`` keeps it in memory.
        service_policy: who may use the service API.
        hubs: the linked IoT hubs, at least one.
        tls: own server certificate; ``None`` lets the simulator make one.
        bind: the IP address to listen on.
        allow_remote: permits a ``bind`` that lets other machines in.
        standard_ports: also listen on 8883 and 443.
        proxy_port: port of the CONNECT proxy; 0 takes the previous one or any free one.
        tls_port: port for direct TLS; 0 likewise.
        idle_stop: stop after so many seconds without any connection; 0 never stops.
    """

    id_scope: str = "0ne00000A01"
    provisioning_host: str = "global.azure-devices-provisioning.test"
    service_host: str = "mydps.azure-devices-provisioning.test"
    management_host: str = "management.azure.test"
    pace: str = "azure"
    state: Path | None = None
    service_policy: Policy = Policy("provisioningserviceowner")
    hubs: tuple[HubSettings, ...] = (HubSettings("contoso-hub-1.azure-devices.test"),)
    tls: TlsFiles | None = None
    bind: str = "127.0.0.1"
    allow_remote: bool = False
    standard_ports: bool = False
    proxy_port: int = 0
    tls_port: int = 0
    idle_stop: float = 0.0

    def __post_init__(self) -> None:
        """Check what was not read by :func:`load`, and what no single key can check.

        Raises:
            SettingsError: a value is not possible, or host names collide.
        """
        for name, check in _CHECKS.items():
            _named(name, check, getattr(self, name))
        for name in ("provisioning_host", "service_host", "management_host"):
            object.__setattr__(self, name, _named(name, host_name, getattr(self, name)))
        hubs = tuple(
            HubSettings(_named("hubs", host_name, hub.host), _checked_policy("hubs", hub.policy)) for hub in self.hubs
        )
        object.__setattr__(self, "hubs", hubs)
        _checked_policy("service_policy", self.service_policy)
        if not hubs:
            raise SettingsError("hubs is empty; name at least one hub.")
        if len(hubs) > MAX_HUBS:
            raise SettingsError(f"hubs has {len(hubs)} entries; at most {MAX_HUBS} are possible.")
        if isinstance(self.state, str):
            object.__setattr__(self, "state", _named("state", _path, self.state))
        hosts = [self.provisioning_host, self.service_host, self.management_host, *(hub.host for hub in hubs)]
        if not self.allow_remote and not ipaddress.ip_address(self.bind).is_loopback:
            raise SettingsError(
                f"bind: {self.bind} would let other machines in, and the simulator's keys are for learning only. "
                "Use 127.0.0.1, or set allow_remote, too."
            )
        twice = sorted({host for host in hosts if hosts.count(host) > 1})
        if twice:
            raise SettingsError(f"the host name {twice[0]} is used more than once; every service needs its own.")


@dataclass(frozen=True, slots=True)
class Key:
    """One thing that can be set.

    Attributes:
        name: dotted name in the file, e.g. ``service_policy.name``.
        help: one sentence for ``--help`` and the documentation.
        parse: text (from a flag or the environment) to value; raises :class:`SettingsError` with what was expected.
        secret: never a flag, because command lines are visible to other users of the machine.
        path: a file or folder; relative in the settings file, it is meant relative to that file.
        repeated: a list; as text, its items are separated by spaces or new lines.
        switch: a flag without a value.
    """

    name: str
    help: str
    parse: Callable[[str], Any]
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


def _text(pattern: re.Pattern[str], expected: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise SettingsError(f"{value!r:.80} is not possible; expected {expected}.")
        return value

    return parse


def host_name(value: str) -> str:
    """The host name in lower case.

    Raises:
        SettingsError: it is none.
    """
    value = _text(_HOST, "a host name with at least one dot, without https:// and without a port")(
        value.lower().rstrip(".")
    )
    if _is_address(value):
        raise SettingsError(f"{value!r} is an IP address; expected a host name, because it tells the services apart.")
    return value


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _address(value: str) -> str:
    if not _is_address(value):
        raise SettingsError(f"{value!r:.80} is not possible; expected an IP address such as 127.0.0.1.")
    return value


def _number(most: float) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not value.isascii() or not value.isdigit() or int(value) > most:
            raise SettingsError(f"{value!r:.80} is not possible; expected a whole number from 0 to {most:g}.")
        return int(value)

    return parse


def _switch(value: str) -> bool:
    if value.lower() not in {"1", "0", "true", "false", "yes", "no"}:
        raise SettingsError(f"{value!r:.80} is not possible; expected true or false.")
    return value.lower() in {"1", "true", "yes"}


def _path(value: str) -> Path:
    if not value.strip():
        raise SettingsError("a path is empty.")
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        path = None
    if path is None or "\0" in value:
        raise SettingsError(f"{value!r:.260} is not possible; expected the path of a file or folder.")
    return path


def _key(value: str) -> str:
    try:
        size = len(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        raise SettingsError("a key is not base64 (its value is not shown).") from None
    if not 16 <= size <= 64:
        raise SettingsError(f"a key has {size} bytes; it needs 16 to 64.")
    return value


def _hub(value: str) -> HubSettings:
    """A hub by its host name, or by ``HostName=…;SharedAccessKeyName=…;SharedAccessKey=…``."""
    if "=" not in value:
        return HubSettings(host_name(value))
    fields = dict(part.split("=", 1) for part in value.split(";") if "=" in part)
    expected = ["HostName", "SharedAccessKeyName", "SharedAccessKey"]
    if sorted(fields) != sorted(expected):
        raise SettingsError(f"a hub's connection string needs exactly {', '.join(expected)} (its value is not shown).")
    name = _text(_POLICY, "a policy name")(fields["SharedAccessKeyName"])
    return HubSettings(host_name(fields["HostName"]), Policy(name, _key(fields["SharedAccessKey"])))


KEYS: tuple[Key, ...] = (
    Key("id_scope", "ID scope that devices give", _text(_ID_SCOPE, "letters and digits, at most 32")),
    Key("provisioning_host", "host name of the device endpoint", host_name),
    Key("service_host", "host name of the service API (enrollments)", host_name),
    Key("management_host", "host name of the management plane (CA certificates)", host_name),
    Key(
        "pace",
        "how assignments are answered: azure, instant or polls=n",
        _text(_PACE, "azure, instant or polls=n with n up to 1000"),
    ),
    Key("state", "folder for what outlives the process; without it all is kept in memory", _path, path=True),
    Key("service_policy.name", "policy name of the service API", _text(_POLICY, "a policy name")),
    Key("service_policy.key", "base64 key of that policy; made when not given", _key, secret=True),
    Key("hubs", "host name of a linked hub (the variable takes connection strings, too)", _hub, repeated=True),
    Key("tls.certificate", "own server certificate with its chain (PEM)", _path, path=True),
    Key("tls.key", "private key of that certificate (PEM, no password)", _path, path=True),
    Key("tls.authority", "what clients must trust then (PEM); else the certificate's own file", _path, path=True),
    Key("bind", "IP address to listen on", _address),
    Key("allow_remote", "permit an address that lets other machines in", _switch, switch=True),
    Key("standard_ports", "also listen on 8883 (MQTT) and 443 (HTTPS, WebSocket)", _switch, switch=True),
    Key("proxy_port", "port of the HTTP CONNECT proxy; 0 takes the previous one or any", _number(65_535)),
    Key("tls_port", "port for direct TLS; 0 takes the previous one or any", _number(65_535)),
    Key("idle_stop", "stop after so many seconds without a connection; 0 never", _number(1_000_000)),
)
_BY_NAME = {key.name: key for key in KEYS}


def _named(name: str, parse: Callable[[Any], Any], value: Any) -> Any:
    """The parsed value; an error begins with the name of the key."""
    try:
        return parse(value)
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from None


def _checked_policy(name: str, policy: Policy) -> Policy:
    _named(f"{name}, policy name", _text(_POLICY, "letters, digits, dots, dashes and underscores"), policy.name)
    if policy.key:
        _named(f"{name}, policy key", _key, policy.key)
    return policy


def _number_value(most: float) -> Callable[[float], None]:
    def check(value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
            raise SettingsError(f"{value!r:.80} is not possible; expected a number from 0 to {most:g}.")

    return check


#: What the values of a :class:`Settings` are checked with, beside those that have a text of their own.
_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "id_scope": _text(_ID_SCOPE, "letters and digits, at most 32"),
    "pace": _text(_PACE, "azure, instant or polls=n with n up to 1000"),
    "bind": _address,
    "proxy_port": _number_value(65_535),
    "tls_port": _number_value(65_535),
    "idle_stop": _number_value(1_000_000),
}


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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the file {file} is not valid TOML: {error}.") from error
    values: dict[str, Any] = {}
    for name, value in document.items():
        if name == "hubs":
            values[name] = _hubs_of_file(value, file)
        elif isinstance(value, dict):
            for inner, item in value.items():
                values[f"{name}.{inner}"] = _file_value(f"{name}.{inner}", item, file)
        else:
            values[name] = _file_value(name, value, file)
    return values


def _file_value(name: str, value: Any, file: Path) -> Any:
    key = _BY_NAME.get(name)
    if key is None:
        raise SettingsError(f"{file}: the key {name} is unknown; known are {', '.join(_BY_NAME)}.")
    if isinstance(value, bool):
        value = "true" if value else "false"
    if not isinstance(value, (str, int)):
        raise SettingsError(f"{file}: {name} is a {type(value).__name__}; expected a text or a whole number.")
    parsed = _parsed(key, str(value), f"{file}: {name}")
    return file.parent / parsed if key.path else parsed


def _hubs_of_file(value: Any, file: Path) -> tuple[HubSettings, ...]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise SettingsError(f"{file}: hubs must be written as [[hubs]] tables.")
    hubs = []
    for item in value:
        unknown = sorted(set(item) - {"host", "policy_name", "policy_key"})
        if unknown or not all(isinstance(text, str) for text in item.values()):
            raise SettingsError(
                f"{file}: a hub has host, policy_name and policy_key, all texts"
                + (f"; {unknown[0]} is unknown." if unknown else ".")
            )
        if "host" not in item:
            raise SettingsError(f"{file}: a hub has no host.")
        try:
            name = _text(_POLICY, "a policy name")(item.get("policy_name", "iothubowner"))
            key = _key(item["policy_key"]) if item.get("policy_key") else ""
            hubs.append(HubSettings(host_name(item["host"]), Policy(name, key)))
        except SettingsError as error:
            raise SettingsError(f"{file}: hubs: {error}") from None
    return tuple(hubs)


def _parsed(key: Key, given: Any, source: str) -> Any:
    try:
        if key.repeated:
            return tuple(key.parse(item) for item in given)
        return key.parse(given) if isinstance(given, str) else given
    except SettingsError as error:
        raise SettingsError(f"{source}: {error}") from None


def _assemble(values: dict[str, Any]) -> Settings:
    settings = Settings()
    policy = settings.service_policy
    plain = {name: value for name, value in values.items() if "." not in name}
    certificate, key = values.get("tls.certificate"), values.get("tls.key")
    authority = values.get("tls.authority")
    if (certificate is None) != (key is None) or (authority is not None and certificate is None):
        raise SettingsError("tls needs both certificate and key.")
    return replace(
        settings,
        **plain,
        service_policy=Policy(
            values.get("service_policy.name", policy.name), values.get("service_policy.key", policy.key)
        ),
        tls=TlsFiles(certificate, key, authority) if certificate is not None and key is not None else None,
    )
