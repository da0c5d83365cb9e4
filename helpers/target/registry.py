"""Reading and changing a hub's registry, the same way on every machine.

Where ``azure-iot-hub`` can be installed, :func:`open_registry` gives the official ``IoTHubRegistryManager``. That
package needs ``uamqp``, a library in C that has no ready-made build for some machines (Apple silicon and ARM Linux
among them). There, :class:`RestRegistry` does the same calls over plain HTTPS: the methods that the notebooks use,
with the same names, arguments and answers. It sends them through ``msrest``, as the official manager does, so both
repeat a request in the same cases, after the same pauses and equally often, and raise the same errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from msrest import Configuration, Serializer, ServiceClient
from msrest.exceptions import HttpOperationError

from helpers.credentials import ConnectionString, sas_token

try:
    from azure.iot.hub import IoTHubRegistryManager
    from azure.iot.hub.models import Twin, TwinProperties
except ImportError:  # pragma: no cover - depends on the machine
    IoTHubRegistryManager = None
    Twin = None
    TwinProperties = None

#: The API version that azure-iot-hub 2.7 speaks.
API_VERSION = "2021-04-12"
#: A request that the hub refused; the name that it had here before it was the official manager's own.
RegistryError = HttpOperationError

WHY_REST = (
    "azure-iot-hub is not installed here: it needs uamqp, which has no build for this machine. "
    "The registry is read over plain HTTPS instead; the answers are the same."
)


def official_available() -> bool:
    """Whether the official registry manager can be imported on this machine."""
    return IoTHubRegistryManager is not None


def open_official(
    connection: ConnectionString, *, proxy_url: str = "", certificate_authority: Path | None = None
) -> Any:
    """The official ``IoTHubRegistryManager``, told its way to the hub without any change to the environment.

    Raises:
        ImportError: where azure-iot-hub is not installed.
    """
    if IoTHubRegistryManager is None:
        raise ImportError(WHY_REST)
    manager = IoTHubRegistryManager.from_connection_string(connection.text().reveal())
    _lead(manager.protocol.config, proxy_url, certificate_authority)
    return manager


def _lead(configuration: Any, proxy_url: str, certificate_authority: Path | None) -> None:
    """Tell a client of msrest its way to the hub; without a proxy, the machine decides."""
    if proxy_url:
        configuration.proxies.add("https", proxy_url)
        # without this, HTTPS_PROXY, NO_PROXY and .netrc of the machine have a say
        configuration.proxies.use_env_settings = False
        configuration.connection.verify = str(certificate_authority)


def open_registry(
    connection: ConnectionString, *, proxy_url: str = "", certificate_authority: Path | None = None
) -> Any:
    """The official registry manager where it is installed, else a :class:`RestRegistry`.

    Arguments:
        connection: host, policy and key of the hub's service API.
        proxy_url: an HTTP proxy on the way, empty for none.
        certificate_authority: PEM file that the hub's certificate is checked with, where there is a proxy.
    """
    if official_available():
        return open_official(connection, proxy_url=proxy_url, certificate_authority=certificate_authority)
    return RestRegistry(connection, proxy_url=proxy_url, certificate_authority=certificate_authority)


def close_registry(registry: Any) -> None:
    """Close the HTTP connections of a registry, official or not."""
    registry.protocol.close()


def twin_patch(*, desired: Mapping[str, Any] | None = None, tags: Mapping[str, Any] | None = None) -> Any:
    """A change to a twin, in the class that ``update_twin`` of :func:`open_registry` takes.

    Arguments:
        desired: properties to set; ``None`` as a value removes one, and what is not named stays.
        tags: likewise.
    """
    if Twin is None:
        return Record({"properties": {"desired": dict(desired or {})}, "tags": dict(tags or {})})
    return Twin(
        tags=dict(tags) if tags is not None else None,
        properties=TwinProperties(desired=dict(desired)) if desired is not None else None,
    )


class Record:
    """A JSON object of the hub with the attribute names of the official SDK.

    ``connectionState`` is read as ``connection_state``. Tags and properties of a twin have the learner's own names and
    stay dictionaries.

    Arguments:
        document: the JSON object.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = dict(document)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        camel = re.sub(r"_([a-z])", lambda match: match[1].upper(), name)
        value = self.document.get(camel)
        if isinstance(value, Mapping) and name not in {"tags", "desired", "reported"}:
            return Record(value)
        return value

    def __repr__(self) -> str:
        # the document of a device holds its keys
        return f"Record({', '.join(sorted(self.document))})"


class _Signed:
    """Signs every request with a new token of the hub's service API; what msrest calls credentials."""

    def __init__(self, connection: ConnectionString) -> None:
        self._connection = connection

    def signed_session(self, session: requests.Session) -> requests.Session:
        """The session, with the token."""
        token = sas_token(self._connection.host, self._connection.key, policy=self._connection.policy)
        session.headers["Authorization"] = token.reveal()
        return session


class RestRegistry:
    """The registry of one hub over plain HTTPS, with the method names of ``IoTHubRegistryManager``.

    Arguments:
        connection: host, policy and key of the hub's service API.
        proxy_url: an HTTP proxy on the way, empty for none.
        certificate_authority: PEM file that the hub's certificate is checked with; ``None``: what the machine trusts.

    Attributes:
        protocol: the client of msrest that sends the requests; the official manager's has the same name.
    """

    def __init__(
        self, connection: ConnectionString, *, proxy_url: str = "", certificate_authority: Path | None = None
    ) -> None:
        self._connection = connection
        configuration = Configuration(f"https://{connection.host}")
        configuration.credentials = _Signed(connection)
        _lead(configuration, proxy_url, certificate_authority)
        self._serializer = Serializer()
        self.protocol = ServiceClient(None, configuration)

    def __repr__(self) -> str:
        return f"RestRegistry({self._connection.host})"

    def get_device(self, device_id: str) -> Record:
        """The device's entry in the registry.

        Raises:
            HttpOperationError: the hub refused.
            ClientRequestError: the hub was not reached, or not available each time that it was asked.
        """
        return Record(self._request("GET", "/devices/{id}", device_id))

    def get_devices(self, max_number_of_devices: int | None = None) -> list[Record]:
        """Entries of up to 1,000 devices.

        Raises:
            HttpOperationError: the hub refused.
            ClientRequestError: the hub was not reached, or not available each time that it was asked.
        """
        query = {}
        if max_number_of_devices is not None:
            query["top"] = self._serializer.query("top", max_number_of_devices, "int")
        return [Record(each) for each in self._request("GET", "/devices", query=query)]

    def delete_device(self, device_id: str, etag: str | None = None) -> None:
        """Remove the device from the registry.

        Raises:
            HttpOperationError: the hub refused.
            ClientRequestError: the hub was not reached, or not available each time that it was asked.
        """
        self._request("DELETE", "/devices/{id}", device_id, etag=etag or "*", success=204)

    def get_twin(self, device_id: str) -> Record:
        """The device's twin.

        Raises:
            HttpOperationError: the hub refused.
            ClientRequestError: the hub was not reached, or not available each time that it was asked.
        """
        return Record(self._request("GET", "/twins/{id}", device_id))

    def update_twin(self, device_id: str, device_twin: Any, etag: str | None = None) -> Record:
        """Merge a change into the twin; a value of ``None`` removes its property.

        Raises:
            HttpOperationError: the hub refused.
            ClientRequestError: the hub was not reached.
        """
        body = device_twin.document if isinstance(device_twin, Record) else device_twin.serialize()
        return Record(self._request("PATCH", "/twins/{id}", device_id, body=body, etag=etag or "*"))

    def close(self) -> None:
        """Close the connections to the hub; closing twice is fine."""
        self.protocol.close()

    def _request(
        self,
        verb: str,
        path: str,
        device_id: str | None = None,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        etag: str | None = None,
        success: int = 200,
    ) -> Any:
        if "{id}" in path:
            # refuses what is no text, in the official manager's words
            path = path.format(id=self._serializer.url("id", device_id, "str"))
        headers = {"Accept": "application/json"}
        if etag is not None:
            headers["If-Match"] = '"' + etag.strip('"') + '"'
        if body is not None:
            headers["Content-Type"] = "application/json; charset=utf-8"
        client = self.protocol
        make = getattr(client, verb.lower())
        request = make(path, {**(query or {}), "api-version": API_VERSION}, headers, body)
        answer = client.send(request, stream=False)
        if answer.status_code != success:
            error = HttpOperationError(None, answer)
            # what those who catch a RegistryError read
            error.status = answer.status_code
            raise error
        return answer.json() if answer.content else None


def refusal_text(answer: requests.Response) -> str:
    """What a hub says in the body of a refusal, else the words of the status line."""
    try:
        document = answer.json()
    except ValueError:
        return answer.reason or "no text"
    text = document.get("Message") or document.get("message") if isinstance(document, dict) else None
    return str(text or answer.reason or "no text")
