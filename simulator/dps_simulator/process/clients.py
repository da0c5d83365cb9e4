"""Official clients that are led to a running simulator, by their public options alone.

The packages are imported when a client is asked for: the simulator itself needs none of them. They come with the
extra ``[clients]``.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import requests

    from .address import HubEndpoint, RunningSimulator

#: The management plane of the simulator takes any subscription.
_SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
#: Variables of the environment that would get in the way of those that lead to the simulator: they could send a program
#: past it, to the real Azure, or make it trust others.
MISLEADING = (
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
    "https_proxy",
    "mqtt_proxy",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
)


class _Token(NamedTuple):
    """What azure-core expects of a login."""

    token: str
    expires_on: int

    def __repr__(self) -> str:
        return f"_Token(token=****, expires_on={self.expires_on})"


class _Login:
    """A login that is none: the simulator's token, in the shape in which the management client asks for one.

    Arguments:
        token: the simulator's management token, which is good as long as it runs.
    """

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *scopes: str, **options: Any) -> _Token:
        """The token, whatever it is to be for."""
        return _Token(self._token, int(time.time()) + 3600)


class Clients(ABC):
    """Ready-made clients and options; a running simulator inherits them, wherever it runs."""

    __slots__ = ()

    @property
    @abstractmethod
    def _reached(self) -> RunningSimulator:
        """How the simulator is reached now."""

    @property
    def device_options(self) -> dict[str, Any]:
        """What ``create_from_…`` of azure-iot-device needs beside host, ID and key: ``**simulator.device_options``.

        Raises:
            ModuleNotFoundError: azure-iot-device is not installed.
        """
        reached = self._reached
        proxy = _module("azure.iot.device", "azure-iot-device").ProxyOptions
        return {
            "proxy_options": proxy(proxy_type="HTTP", proxy_addr=reached.address, proxy_port=reached.proxy_port),
            "server_verification_cert": reached.certificate_authority(),
        }

    def hub_connection_string(self, host: str = "") -> str:
        """Connection string of a hub's service API.

        Arguments:
            host: host name of the hub; without it, the first hub.

        Raises:
            ValueError: there is no such hub.
        """
        return self._hub(host).connection_string

    def _hub(self, host: str) -> HubEndpoint:
        hubs = {hub.host: hub for hub in self._reached.hubs}
        name = host or next(iter(hubs))
        if name not in hubs:
            raise ValueError(f"There is no hub {name!r:.260}; there are {', '.join(hubs)}.")
        return hubs[name]

    def events_connection_string(self, host: str = "") -> str:
        """The Event Hubs-compatible connection string of a hub, e.g. for azure-eventhub.

        Arguments:
            host: host name of the hub; without it, the first hub.

        Raises:
            ValueError: there is no such hub.
        """
        return self._hub(host).events_connection_string

    def event_consumer(self, host: str = "", **options: Any) -> Any:
        """The official ``EventHubConsumerClient``, which reads the telemetry of a hub; close it after use.

        Arguments:
            host: host name of the hub; without it, the first hub.
            options: further ones of the client.

        Raises:
            ModuleNotFoundError: azure-eventhub is not installed.
            ValueError: there is no such hub.
        """
        package, reached = _module("azure.eventhub", "azure-eventhub"), self._reached
        proxy = {"proxy_hostname": reached.address, "proxy_port": reached.proxy_port}
        client = package.EventHubConsumerClient.from_connection_string
        return client(
            self.events_connection_string(host),
            consumer_group="$Default",
            transport_type=package.TransportType.AmqpOverWebsocket,
            http_proxy=proxy,
            connection_verify=str(reached.certificate_authority_file),
            **options,
        )

    def session(self) -> requests.Session:
        """A session of requests whose HTTPS reaches the simulator and nothing else, whatever the environment says.

        Raises:
            ModuleNotFoundError: requests is not installed.
        """
        reached = self._reached
        session: requests.Session = _module("requests", "requests").Session()
        session.trust_env = False
        session.proxies = {"https": reached.proxy_url}
        session.verify = str(reached.certificate_authority_file)
        return session

    def transport(self) -> Any:
        """The same for clients built on azure-core, which take it as ``transport=``.

        Raises:
            ModuleNotFoundError: azure-core is not installed.
        """
        session = self.session()
        transports = _module("azure.core.pipeline.transport", "azure-core")
        # azure-core says at every request what to trust, so the session has no say
        return transports.RequestsTransport(session=session, connection_verify=session.verify)

    def service_client(self) -> Any:
        """The official ``DeviceProvisioningClient``, for enrollments and registration records; close it after use.

        Raises:
            ModuleNotFoundError: azure-iot-deviceprovisioning is not installed.
        """
        client = _module("azure.iot.deviceprovisioning", "azure-iot-deviceprovisioning").DeviceProvisioningClient
        return client.from_connection_string(self._reached.service_connection_string, transport=self.transport())

    def registry_manager(self, host: str = "") -> Any:
        """The official ``IoTHubRegistryManager`` of a hub.

        Arguments:
            host: host name of the hub; without it, the first hub.

        Raises:
            ModuleNotFoundError: azure-iot-hub is not installed; it has no build for some machines.
            ValueError: there is no such hub.
        """
        managers = _module("azure.iot.hub", "azure-iot-hub")
        manager = managers.IoTHubRegistryManager.from_connection_string(self.hub_connection_string(host))
        configuration, reached = manager.protocol.config, self._reached
        configuration.proxies.add("https", reached.proxy_url)
        # without this, HTTPS_PROXY, NO_PROXY and .netrc of the machine have a say
        configuration.proxies.use_env_settings = False
        configuration.connection.verify = str(reached.certificate_authority_file)
        return manager

    def management_client(self) -> Any:
        """The official ``IotDpsClient``, for CA certificates, keys and linked hubs; any resource group does.

        Raises:
            ModuleNotFoundError: azure-mgmt-iothubprovisioningservices is not installed.
        """
        package = "azure-mgmt-iothubprovisioningservices"
        client = _module("azure.mgmt.iothubprovisioningservices", package).IotDpsClient
        return client(
            _Login(self._reached.management_token),
            _SUBSCRIPTION,
            base_url=f"https://{self._reached.management_host}",
            # otherwise the environment may choose another cloud
            cloud_setting=_module("azure.core", "azure-core").AzureClouds.AZURE_PUBLIC_CLOUD,
            transport=self.transport(),
        )

    def environment(self, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a child process that finds this simulator, with what it needs to identify itself.

        Arguments:
            inherited: what the child gets besides; ``None`` takes that of this process. What could lead past the
                simulator is left out.
        """
        reached = self._reached
        authority = str(reached.certificate_authority_file)
        variables = os.environ if inherited is None else inherited
        return {
            **{name: value for name, value in variables.items() if name not in MISLEADING},
            "MQTT_PROXY": reached.proxy_url,
            "HTTPS_PROXY": reached.proxy_url,
            "SSL_CERT_FILE": authority,
            "REQUESTS_CA_BUNDLE": authority,
            "NODE_EXTRA_CA_CERTS": authority,
            "PROVISIONING_HOST": reached.provisioning_host,
            "PROVISIONING_IDSCOPE": reached.id_scope,
            "PROVISIONING_SERVICE_CONNECTION_STRING": reached.service_connection_string,
            "IOTHUB_CONNECTION_STRING": " ".join(hub.connection_string for hub in reached.hubs),
            "EVENTHUB_CONNECTION_STRING": " ".join(hub.events_connection_string for hub in reached.hubs),
        }


def _module(name: str, package: str) -> Any:
    """A module of an official package, or an error that says where the package comes from."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        # a package that lacks another one is not to be taken for one that is missing itself
        if not f"{name}.".startswith(f"{error.name}."):
            raise
        text = f"{package} is not installed here; it comes with the extra [clients] of dps-simulator."
        raise ModuleNotFoundError(text, name=error.name) from None
