"""Your own provisioning service and hubs on Azure as a target, as the settings name them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import requests
from azure.core.pipeline.transport import RequestsTransport

from helpers.credentials import CredentialsError
from helpers.identifiers import bare_host, host_problem, unquoted
from helpers.masking import shown
from helpers.views.observation import SdkObserver

from .ports import MQTT_PORT, port_is_open
from .settings import (
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
from .target import Target, TargetError

if TYPE_CHECKING:
    from azure.mgmt.iothubprovisioningservices import IotDpsClient

_AZURE_HOST = global_host()
_ID_SCOPE = re.compile(r"0n[a-z][0-9a-z]{8}", re.IGNORECASE)


class AzureTarget(Target):
    """A provisioning service and its hubs on Azure.

    Arguments:
        management: subscription and resource group of the provisioning service, as the settings name them.
        options: the arguments of :class:`~helpers.target.target.Target`.
    """

    name = "azure"
    is_simulator = False

    def __init__(self, *, management: Mapping[str, str], **options: Any) -> None:
        super().__init__(**options)
        self._management = dict(management)
        self._logins: list[Any] = []
        self._observer = SdkObserver()

    @property
    def resource_group(self) -> str:
        """``AZURE_RESOURCE_GROUP`` of the settings.

        Raises:
            TargetError: it is missing there, or the subscription is.
        """
        return self._managed("AZURE_RESOURCE_GROUP")

    def set_latencies(self, latencies: Mapping[str, float | None]) -> bool:
        """Azure knows how far away its hubs are: nothing is set."""
        return False

    def last_event(self) -> int:
        """The number of the newest event that the SDKs of this notebook reported."""
        return self._observer.last_sequence

    def events(self, after: int = 0, device: str | Sequence[str] = ()) -> list[dict[str, Any]]:
        """What the SDKs in this notebook say that they do; they name no device, so ``device`` has no say."""
        return self._observer.events(after)

    def close(self) -> None:
        """Close the connections, the logins and the ear at the SDKs."""
        super().close()
        for login in self._logins:
            login.close()
        self._logins.clear()
        self._observer.close()

    def _open_transport(self) -> RequestsTransport:
        return RequestsTransport(session=requests.Session(), session_owner=False)

    def _open_manager(self) -> IotDpsClient:
        subscription = self._managed("AZURE_SUBSCRIPTION_ID")
        # only who manages needs these, and they take a moment to import
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415
        from azure.mgmt.iothubprovisioningservices import IotDpsClient  # noqa: PLC0415

        login = DefaultAzureCredential()
        self._logins.append(login)
        return IotDpsClient(login, subscription, transport=self._transport())

    def _have_hubs(self, count: int) -> None:
        if len(self._hubs) < count:
            raise TargetError(
                f"This notebook needs {count} hubs, and IOTHUB_CONNECTION_STRING names {len(self._hubs)}: "
                f"{', '.join(self.hubs)}. Make another one (a hub of the free tier is enough, of which a subscription "
                "can have one; portal: Create a resource > IoT Hub, or: az iot hub create), and add its connection "
                "string, separated by a space. It need not be linked."
            )

    def _way_to_hubs(self) -> str:
        return f"IOTHUB_CONNECTION_STRING names {', '.join(self.hubs)}; add this hub's connection string to it."

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


def of_settings(given: Mapping[str, str]) -> AzureTarget:
    """The target that these settings name.

    Raises:
        TargetError: for missing or wrong settings, all of them at once.
    """
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
    return AzureTarget(
        provisioning_host=host,
        id_scope=scope,
        service=service,
        hubs=hubs,
        device_options={} if port_is_open(host, MQTT_PORT) else {"websockets": True},
        # not all settings: some hold keys
        management={setting: settings.get(setting, "") for setting in FOR_MANAGEMENT},
    )


def azure_settings() -> dict[str, str]:
    """Settings of the azure target: the file ``.env`` beside ``helpers`` or in it, overruled by the environment.

    The nearest one counts, as with ``find_dotenv`` of python-dotenv. The file is read, not exported: what it holds
    stays out of the environment of this process.

    Raises:
        TargetError: the file cannot be read as text.
    """
    names = {*REQUIRED, *FOR_MANAGEMENT, "PROVISIONING_HOST"}
    set_there = {name: value for name in names if (value := os.environ.get(name))}
    package, checkout = Path(__file__).resolve().parents[1:3]
    nearest = next((place for place in (package, checkout) if (place / ".env").exists()), checkout)
    try:
        found = read_file(nearest / ".env", names - set_there.keys())
    except SettingError as problem:
        raise TargetError(str(problem)) from None
    return {**found, **set_there}


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


def _refuse(lines: Sequence[str]) -> NoReturn:
    raise TargetError("\n".join(lines))
