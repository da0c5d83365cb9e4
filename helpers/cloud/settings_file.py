"""The settings of the azure target: each looked at by itself, written into ``.env``, and removed again.

A file ``.env`` that somebody else wrote is never touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import UUID

from dps_simulator.rules import write_private
from helpers.credentials import CredentialsError
from helpers.masking import MaskedError, shown
from helpers.target import azure_settings, checked_id_scope, normalised_host
from helpers.target.settings import (
    DPS_DOMAIN,
    FOR_MANAGEMENT,
    HUB_DOMAIN,
    REQUIRED,
    SettingError,
    cleaned,
    hub_connections,
    service_connection,
)
from helpers.target.target import TargetError

#: The first line of a file that :func:`write_settings` made.
MARK = "# Written by 61_run_on_azure, which deletes it again. It holds keys: give it to nobody."
#: Where ``.env`` lies: beside README.md.
FILE = Path(__file__).resolve().parents[2] / ".env"

_HOST = "PROVISIONING_HOST"
_WHERE: Mapping[str, str] = {
    _HOST: "portal: your Device Provisioning Service > Overview > Global device endpoint; empty is right in most cases",
    **REQUIRED,
    **FOR_MANAGEMENT,
}
_GROUP = re.compile(r"[\w().-]{0,89}[\w()-]")


class SettingsFileError(MaskedError):
    """The file with the settings cannot be written or removed; the text says why."""


def check_settings(target: str) -> bool:
    """Look at each setting of the azure target by itself, and print what is to be done where something is wrong.

    Arguments:
        target: with ``azure``, the settings are those of this machine. With ``simulator`` none is read: what is printed
            is the list of what would be needed.

    Returns:
        Whether the azure target can be used with them.

    Raises:
        TargetError: the file with the settings cannot be read.
    """
    given: Mapping[str, object] = azure_settings() if target == "azure" else {}
    fine = True
    for name, where in _WHERE.items():
        problem = _problem(name, given)
        needed = name in REQUIRED
        fine = fine and not problem and (not needed or name in given)
        if problem:
            _say(f"✗ wrong: {name}\n    {problem}\n    Remedy: {where}")
        elif name in given:
            _say(f"✓ set: {name}")
        else:
            _say(f"○ not set: {name} ({_KINDS[name]})\n    Remedy: {where}")
    return fine


def write_settings(values: Mapping[str, str], *, run: bool, file: Path = FILE) -> None:
    """Write settings into ``.env``, readable by nobody else, and say so.

    Arguments:
        values: settings by their names.
        run: whether the file is written; else one line says that it was not.
        file: where.

    Raises:
        SettingsFileError: a ``.env`` of somebody else is there, or a value has a character that does not fit a line.
    """
    if not run:
        _say(f".env: not written; it would hold {', '.join(values)}")
        return
    if file.exists() and not _is_ours(file):
        raise SettingsFileError(
            f"There is a file {file.name} already, and this notebook did not write it. Rename it, then run this again."
        )
    unknown = [name for name in values if name not in _WHERE]
    if unknown:
        raise SettingsFileError(f"There is no setting {', '.join(map(shown, unknown))}.")
    lines = [MARK]
    for name, value in values.items():
        if "'" in value or not value.isprintable():
            raise SettingsFileError(f"The value for {name} has a character that does not fit into a file of settings.")
        lines.append(f"{name}='{value}'")
    write_private(file, "\n".join(lines) + "\n")
    _say(f".env: written, with {len(values)} settings; only you can read it")


def remove_settings(*, run: bool, file: Path = FILE) -> None:
    """Delete the ``.env`` that :func:`write_settings` made, and say so; any other one stays."""
    if not run:
        _say(".env: not touched")
    elif not file.exists():
        _say(".env: there is none")
    elif not _is_ours(file):
        _say(".env: stays, as this notebook did not write it")
    else:
        file.unlink()
        _say(".env: deleted")


_KINDS = {
    _HOST: "optional",
    **dict.fromkeys(REQUIRED, "needed"),
    **dict.fromkeys(FOR_MANAGEMENT, "for certificates and several hubs"),
}


def _problem(name: str, given: Mapping[str, object]) -> str:
    """What is wrong with one setting; empty when nothing is, or when it is not set."""
    if name not in given:
        return ""
    try:
        values = cleaned({name: given[name]})
        if name in values:
            _CHECKS[name](values)
    except (TargetError, CredentialsError, SettingError) as problem:
        return str(problem)
    return ""


def _host(values: Mapping[str, str]) -> None:
    host = normalised_host(values[_HOST])
    if HUB_DOMAIN in host or DPS_DOMAIN not in host:
        raise SettingError(f"{_HOST} is no address of DPS; those have {DPS_DOMAIN.strip('.')} in them.")


def _subscription(values: Mapping[str, str]) -> None:
    try:
        UUID(values["AZURE_SUBSCRIPTION_ID"])
    except ValueError:
        raise SettingError(
            "AZURE_SUBSCRIPTION_ID has another form than 8-4-4-4-12 digits from 0 to f. It is the ID, not the name."
        ) from None


def _group(values: Mapping[str, str]) -> None:
    if not _GROUP.fullmatch(values["AZURE_RESOURCE_GROUP"]):
        raise SettingError("AZURE_RESOURCE_GROUP is no name of a resource group. It is the name, not the whole ID.")


_CHECKS: Mapping[str, Callable[[Mapping[str, str]], object]] = {
    _HOST: _host,
    "PROVISIONING_IDSCOPE": lambda values: checked_id_scope(values["PROVISIONING_IDSCOPE"]),
    "PROVISIONING_SERVICE_CONNECTION_STRING": lambda values: service_connection(
        values, "PROVISIONING_SERVICE_CONNECTION_STRING"
    ),
    "IOTHUB_CONNECTION_STRING": lambda values: hub_connections(values, "IOTHUB_CONNECTION_STRING"),
    "AZURE_SUBSCRIPTION_ID": _subscription,
    "AZURE_RESOURCE_GROUP": _group,
}


def _is_ours(file: Path) -> bool:
    return file.read_text(encoding="utf-8", errors="replace").startswith(MARK)


def _say(text: str) -> None:
    print(text)  # noqa: T201  (the notebook's output)
