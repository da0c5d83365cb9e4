"""The IoT hubs of a simulator, and the shared access policies of its services, as they can be set."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dps_simulator.common.hub_links import HIGHEST_WEIGHT, LOWEST_WEIGHT, MAX_LATENCY, HubLink

from .values import SettingsError, host_name, key, named, number_value, switch_value, tables, text, whole_number_value

policy_name = text(re.compile(r"[A-Za-z0-9._-]{1,64}"), "letters, digits, dots, dashes and underscores, at most 64")


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
    """One IoT hub, and how it is linked to the provisioning service.

    Attributes:
        host: host name, lower case.
        policy: name and key of the policy that may use its service API.
        weight: its share of the devices, relative to the other hubs; 1 to 1000.
        latency: milliseconds from the devices to it; ``None`` when nobody knows.
        apply_allocation_policy: whether it takes devices that no enrollment sends to it by name.
        linked: false for a hub that exists and gets no devices.
    """

    host: str
    policy: Policy = Policy("iothubowner")
    weight: int = LOWEST_WEIGHT
    latency: float | None = None
    apply_allocation_policy: bool = True
    linked: bool = True

    @property
    def link(self) -> HubLink:
        """How it is linked, when it is."""
        return HubLink(self.host, self.apply_allocation_policy, self.weight, self.latency)


_weight = whole_number_value(LOWEST_WEIGHT, HIGHEST_WEIGHT)
_milliseconds = number_value(MAX_LATENCY)


def _latency(value: Any) -> float | None:
    return None if value is None else float(_milliseconds(value))


#: What a hub's table in a settings file may hold, and what checks it. Beside the policy, these are fields of the hub.
_FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "host": host_name,
    "policy_name": policy_name,
    "policy_key": key,
    "weight": _weight,
    "latency": _latency,
    "apply_allocation_policy": switch_value,
    "linked": switch_value,
}


def checked_policy(name: str, policy: Policy) -> Policy:
    """The policy.

    Raises:
        SettingsError: its name or its key is not possible; the text begins with ``name``.
    """
    named(f"{name}, policy name", policy_name, policy.name)
    if policy.key:
        named(f"{name}, policy key", key, policy.key)
    return policy


def checked_hub(name: str, hub: HubSettings) -> HubSettings:
    """The hub, its host name in lower case.

    Raises:
        SettingsError: a value is not possible; the text begins with ``name``.
    """
    checked = {
        field_name: named(f"{name}, {field_name}", check, getattr(hub, field_name))
        for field_name, check in _FIELDS.items()
        if not field_name.startswith("policy_")
    }
    return replace(hub, policy=checked_policy(name, hub.policy), **checked)


def hub_from_text(value: str) -> HubSettings:
    """A hub by its host name, or by ``HostName=…;SharedAccessKeyName=…;SharedAccessKey=…``.

    Raises:
        SettingsError: it is neither.
    """
    if "=" not in value:
        return HubSettings(host_name(value))
    fields = dict(part.split("=", 1) for part in value.split(";") if "=" in part)
    expected = ["HostName", "SharedAccessKeyName", "SharedAccessKey"]
    if sorted(fields) != sorted(expected):
        raise SettingsError(f"a hub's connection string needs exactly {', '.join(expected)} (its value is not shown).")
    policy = Policy(policy_name(fields["SharedAccessKeyName"]), key(fields["SharedAccessKey"]))
    return HubSettings(host_name(fields["HostName"]), policy)


def hubs_of_file(value: Any, file: Path) -> tuple[HubSettings, ...]:
    """The ``[[hubs]]`` tables of a settings file.

    Raises:
        SettingsError: it is something else, or a table has a wrong or unknown key; the text names file and table.
    """
    given = tables("hubs", value, file)
    return tuple(_hub_of_file(item, f"{file}: [[hubs]] {number}") for number, item in enumerate(given, 1))


def _hub_of_file(table: Mapping[str, Any], place: str) -> HubSettings:
    unknown = sorted(set(table) - set(_FIELDS))
    if unknown:
        raise SettingsError(f"{place}: {unknown[0]} is unknown; a hub has {', '.join(_FIELDS)}.")
    if "host" not in table:
        raise SettingsError(f"{place}: a hub has no host.")
    given = {name: value for name, value in table.items() if not (name == "policy_key" and value == "")}
    fields = {name: named(f"{place}, {name}", _FIELDS[name], value) for name, value in given.items()}
    policy = Policy(fields.pop("policy_name", "iothubowner"), fields.pop("policy_key", ""))
    return HubSettings(policy=policy, **fields)
