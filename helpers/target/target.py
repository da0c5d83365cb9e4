"""A provisioning service and its hubs, with ready-made clients: what is the same for the simulator and for Azure.

The SDKs are the official ones, unchanged. What they need besides, they are told through their public options; the
environment is never changed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from azure.core.pipeline.transport import RequestsTransport
from azure.iot.deviceprovisioning import DeviceProvisioningClient

from helpers.credentials import ConnectionString, Secret
from helpers.identifiers import bare_host
from helpers.masking import MaskedError, shown
from helpers.views.banner import banner_bundle
from helpers.views.observation import MQTT_LOGGER, SDK_LOGGER, quieten

from . import registry as registries

if TYPE_CHECKING:
    from azure.mgmt.iothubprovisioningservices import IotDpsClient


class TargetError(MaskedError):
    """The target cannot be used; the text says which setting is wrong and where to find the right value."""


class Target(ABC):
    """A provisioning service and its hubs, with ready-made clients. Made by :func:`helpers.target.connect`.

    Arguments:
        provisioning_host: where devices register.
        id_scope: which provisioning service they mean.
        service: connection string of the provisioning service's API.
        hubs: connection strings of the linked hubs.
        device_options: what the device clients need besides host, ID and key.
    """

    #: ``simulator`` or ``azure``.
    name: ClassVar[str]
    #: Whether this is the simulator on this machine.
    is_simulator: ClassVar[bool]

    def __init__(
        self,
        *,
        provisioning_host: str,
        id_scope: str,
        service: ConnectionString,
        hubs: Sequence[ConnectionString],
        device_options: Mapping[str, Any],
    ) -> None:
        self.provisioning_host = provisioning_host
        self.id_scope = id_scope
        self.device_options = dict(device_options)
        self._service = service
        self._hubs = {connection.host: connection for connection in hubs}
        self._manager: IotDpsClient | None = None
        self._transports: list[RequestsTransport] = []
        self._registries: dict[str, Any] = {}
        for name in (SDK_LOGGER, MQTT_LOGGER):
            quieten(name)

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
        return DeviceProvisioningClient.from_connection_string(
            self._service.text().reveal(), transport=self._transport()
        )

    @property
    def service_name(self) -> str:
        """Name of the provisioning service in its resource group: the first part of its host name."""
        return self.service_host.partition(".")[0]

    @property
    @abstractmethod
    def resource_group(self) -> str:
        """The resource group in which the provisioning service lies.

        Raises:
            TargetError: on Azure, when the settings do not name it.
        """

    def management_client(self) -> IotDpsClient:
        """The official client for the provisioning service as a resource: hubs, keys, CA certificates.

        There is one until this target is closed. Azure wants to know who you are: ``az login`` in a terminal is enough,
        and azure-identity finds it.

        Raises:
            TargetError: on Azure, when the settings do not name subscription and resource group.
        """
        if self._manager is None:
            self._manager = self._open_manager()
        return self._manager

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
        self._have_hubs(count)
        return self.hubs[:count]

    def release_hubs(self) -> tuple[str, ...]:
        """Remove the hubs that :meth:`need_hubs` made, with their devices; on Azure none is.

        Returns:
            Host names of the hubs that are left.
        """
        return self.hubs

    def hub_connection_string(self, hub: str) -> Secret:
        """Connection string of a hub's service API. The provisioning service wants it when the hub is linked.

        Raises:
            TargetError: the hub is not known here.
        """
        return self._connection(hub).text()

    @abstractmethod
    def set_latencies(self, latencies: Mapping[str, float | None]) -> bool:
        """Say how far away the linked hubs are. Only the simulator can be told: on one machine, all are equally near.

        Arguments:
            latencies: milliseconds by host name; ``None`` takes back what was said.

        Returns:
            Whether they were set; on Azure they are what they are, and nothing happens.
        """

    def registry(self, hub: str) -> Any:
        """The registry of a hub, one until this target is closed.

        Arguments:
            hub: host name.

        Returns:
            The official ``IoTHubRegistryManager``, or its stand-in where that is missing.

        Raises:
            TargetError: the hub is not known here.
        """
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

    @abstractmethod
    def last_event(self) -> int:
        """The number of the newest event; give it to :meth:`events` later to see only what came after."""

    @abstractmethod
    def events(self, after: int = 0, device: str | Sequence[str] = ()) -> list[dict[str, Any]]:
        """What happened on the wire, oldest first.

        On the simulator these are all messages, as it saw them. On Azure nobody shows them; there, they are what the
        SDKs in this notebook say that they do, without the answers and without the device's name.

        Arguments:
            after: only events with a higher number.
            device: only events of this registration ID or device ID, or of these.
        """

    def manage(self, method: str, path: str, body: Any | None = None) -> Any:
        """Call the simulator's own management API; ask ``is_simulator`` before.

        Raises:
            TargetError: this is Azure, or the simulator refuses or does not answer.
        """
        raise TargetError("Only the simulator can be asked this.")

    def remove_simulator(self) -> bool:
        """Stop the simulator of this workspace and delete its state; on Azure there is none.

        Returns:
            Whether one was running.
        """
        self.close()
        return False

    def close(self) -> None:
        """Close every HTTP connection that this target opened. Closing twice is fine."""
        if self._manager is not None:
            self._manager.close()
            self._manager = None
        for transport in self._transports:
            transport.session.close()
        self._transports.clear()
        for each in self._registries.values():
            registries.close_registry(each)
        self._registries.clear()

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
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
            raise TargetError(f"The hub {shown(hub)} is not known here. {self._way_to_hubs()}") from None

    def _transport(self) -> RequestsTransport:
        """A way to the services of this target for one HTTP client, until the target is closed."""
        transport = self._open_transport()
        self._transports.append(transport)
        return transport

    @abstractmethod
    def _open_transport(self) -> RequestsTransport: ...

    @abstractmethod
    def _open_manager(self) -> IotDpsClient: ...

    def _way(self) -> dict[str, Any]:
        """What the registry of a hub has to be told about its way."""
        return {}

    @abstractmethod
    def _have_hubs(self, count: int) -> None:
        """See to it that there are so many hubs."""

    @abstractmethod
    def _way_to_hubs(self) -> str:
        """What to do about a hub that is not known, as a sentence."""
