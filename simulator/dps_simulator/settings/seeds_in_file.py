"""What a new simulator begins with: enrollments, groups, CA certificates and devices from a settings file.

The fields are those of the APIs, in their names. What only the services can judge, they judge when the simulator
starts, see :mod:`dps_simulator.settings.seeds`; here is checked what can be without them.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .hubs import HubSettings
from .values import SettingsError, host_name, named, tables
from .values import path as path_of

#: Seeds of one kind.
MAX_SEEDS = 10_000
#: Bytes of a certificate's file; a chain, which is refused, would be longer.
MAX_CERTIFICATE_SIZE = 64 * 1024
#: Tables in tables. Twins may have ten levels.
_MAX_DEPTH = 20

#: The tables of a settings file that are seeds, and the key that names each.
TABLES: Mapping[str, str] = {
    "certificates": "name",
    "enrollment_groups": "enrollmentGroupId",
    "enrollments": "registrationId",
    "devices": "deviceId",
}
_CERTIFICATE_KEYS = ("name", "file", "isVerified")
#: Keys of tables whose values are secrets.
_SECRETS = frozenset({"primaryKey", "secondaryKey", "policy_key", "key"})
#: Tables in which such a name means something else: the path of a file, whatever a twin holds.
_NO_SECRETS = frozenset({"tls", "twin", "initialTwin"})


@dataclass(frozen=True, slots=True)
class Seeds:
    """What a new simulator begins with.

    Attributes:
        certificates: CA certificates: ``name``, ``certificate`` (PEM, or base64 of DER) and ``isVerified``.
        enrollment_groups: in the fields of the API, with ``enrollmentGroupId``.
        enrollments: in the fields of the API, with ``registrationId``.
        devices: in the fields of a hub's API, with ``deviceId``, ``hub`` (a host name; may be left out when there is
            one hub) and ``twin`` (``tags`` and ``properties.desired``).
        source: where they were read, for errors.
    """

    certificates: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    enrollment_groups: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    enrollments: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    devices: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    source: str = "seeds"

    def __bool__(self) -> bool:
        """Whether there are any."""
        return any(getattr(self, table) for table in TABLES)

    def place(self, table: str, number: int) -> str:
        """How errors call the seed with this number, the first one being 1."""
        seeds = getattr(self, table)
        name = seeds[number - 1].get(TABLES[table]) if isinstance(seeds[number - 1], Mapping) else None
        return f"{self.source}: [[{table}]] {number}" + (f" ({name!r:.140})" if isinstance(name, str) else "")


def checked_seeds(seeds: Seeds, hubs: Sequence[HubSettings]) -> Seeds:
    """The seeds.

    Raises:
        SettingsError: a table lacks its name, has it twice, or holds what JSON cannot; or a device is for a hub that
            does not exist.
    """
    hosts = [hub.host for hub in hubs]
    for table, id_field in TABLES.items():
        tables = getattr(seeds, table)
        if len(tables) > MAX_SEEDS:
            raise SettingsError(f"{seeds.source}: {table} has {len(tables)} entries; at most {MAX_SEEDS} are possible.")
        numbers: dict[tuple[str, str], int] = {}
        for number, given in enumerate(tables, 1):
            place = seeds.place(table, number)
            if not isinstance(given, Mapping):
                raise SettingsError(f"{place} is a {type(given).__name__}; it must be a table.")
            if not isinstance(given.get(id_field), str) or not given[id_field]:
                raise SettingsError(f"{place}: {id_field} is missing; it must be a text.")
            _check_json(place, given, _MAX_DEPTH)
            hub = _hub_of(place, given, hosts) if table == "devices" else ""
            # the IDs of devices are case-sensitive, all others are not
            key = (hub, given[id_field] if table == "devices" else given[id_field].lower())
            if key in numbers:
                raise SettingsError(f"{place}: {id_field} stands in [[{table}]] {numbers[key]} already.")
            numbers[key] = number
    return seeds


def hub_of_device(device: Mapping[str, Any], hosts: Sequence[str]) -> str:
    """The host name of the hub that a device of the seeds is for."""
    return str(device.get("hub", hosts[0])).lower().rstrip(".")


def _hub_of(place: str, device: Mapping[str, Any], hosts: Sequence[str]) -> str:
    if "hub" not in device and len(hosts) != 1:
        raise SettingsError(f"{place}: hub is missing; it must be one of {', '.join(hosts)}.")
    host = str(named(f"{place}, hub", host_name, device.get("hub", hosts[0])))
    if host not in hosts:
        raise SettingsError(f"{place}: hub is {host!r}, which is not in hubs; hubs are {', '.join(hosts)}.")
    return host


def _check_json(place: str, value: Any, depth: int) -> None:
    """Check that the value could be JSON. TOML has dates and infinite numbers, which JSON has not."""
    if depth < 0:
        raise SettingsError(f"{place}: there are more than {_MAX_DEPTH} tables in each other.")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise SettingsError(f"{place}: the key {name!r:.80} is no text.")
            _check_json(f"{place}, {name:.80}", inner, depth - 1)
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value, 1):
            _check_json(f"{place}, {number}", inner, depth - 1)
    elif value is not None and not isinstance(value, (str, bool, int, float)):
        raise SettingsError(f"{place} is a {type(value).__name__}; write it as a text.")
    elif isinstance(value, float) and not math.isfinite(value):
        raise SettingsError(f"{place} is {value}; it must be a finite number.")


def seeds_of_file(document: Mapping[str, Any], file: Path) -> Seeds:
    """The seeds in a settings file.

    Arguments:
        document: the whole file.
        file: its path; certificates lie relative to it.

    Raises:
        SettingsError: a table is none, or a certificate cannot be read; the text names file, table and key.
    """
    seeds: dict[str, Any] = {table: tuple(tables(table, document.get(table, []), file)) for table in TABLES}
    seeds["certificates"] = tuple(
        _certificate(item, f"{file}: [[certificates]] {number}", file.parent)
        for number, item in enumerate(seeds["certificates"], 1)
    )
    return Seeds(**seeds, source=str(file))


def _certificate(table: Mapping[str, Any], place: str, folder: Path) -> Mapping[str, Any]:
    """A certificate's table, with what is in the file that it names."""
    unknown = sorted(set(table) - set(_CERTIFICATE_KEYS))
    if unknown:
        raise SettingsError(f"{place}: {unknown[0]} is unknown; a certificate has {', '.join(_CERTIFICATE_KEYS)}.")
    name = table.get("file")
    if not isinstance(name, str):
        raise SettingsError(f"{place}, file: {name!r:.260} is not possible; expected the path of a PEM or DER file.")
    path = folder / named(f"{place}, file", path_of, name)
    try:
        with path.open("rb") as opened:
            content = opened.read(MAX_CERTIFICATE_SIZE + 1)
    except OSError as error:
        raise SettingsError(f"{place}, file: {path} cannot be read: {error.strerror or error}.") from error
    if len(content) > MAX_CERTIFICATE_SIZE:
        raise SettingsError(
            f"{place}, file: {path} has more than {MAX_CERTIFICATE_SIZE} bytes; that is no certificate."
        )
    # PEM as it is, DER in base64
    text = (content if b"-----BEGIN" in content else base64.b64encode(content)).decode("ascii", "replace")
    return {**{key: table[key] for key in ("name", "isVerified") if key in table}, "certificate": text}


def holds_keys(document: Mapping[str, Any]) -> bool:
    """Whether there is a key somewhere in a settings file."""
    # a file can hold more tables in each other than functions can call themselves
    waiting: list[Any] = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if any(isinstance(value[name], str) and value[name] for name in _SECRETS & value.keys()):
                return True
            waiting.extend(inner for name, inner in value.items() if name not in _NO_SECRETS)
        elif isinstance(value, list):
            waiting.extend(value)
    return False
