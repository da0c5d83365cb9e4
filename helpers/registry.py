"""Reading and changing a hub's registry, the same way on every machine.

Where ``azure-iot-hub`` can be installed, :func:`open_registry` gives the official ``IoTHubRegistryManager``. That
package needs ``uamqp``, a library in C that has no ready-made build for some machines (Apple silicon and ARM Linux
among them). There, :class:`RestRegistry` does the same calls over plain HTTPS: the methods that the notebooks use,
with the same names, arguments and answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

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
#: Seconds before a request that nobody answers is given up.
TIMEOUT = 30

WHY_REST = (
    "azure-iot-hub is not installed here: it needs uamqp, which has no build for this machine. "
    "The registry is read over plain HTTPS instead; the answers are the same."
)


class RegistryError(Exception):
    """A request that the hub refused.

    Arguments:
        status: HTTP status.
        message: the hub's own text.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"({status}) {message}")
        self.status = status
        self.message = message


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
    if proxy_url:
        configuration = manager.protocol.config
        configuration.proxies.add("https", proxy_url)
        # without this, HTTPS_PROXY, NO_PROXY and .netrc of the machine have a say
        configuration.proxies.use_env_settings = False
        configuration.connection.verify = str(certificate_authority)
    return manager


def open_registry(
    connection: ConnectionString, *, proxy_url: str = "", certificate_authority: Path | None = None
) -> Any:
    """The official registry manager where it is installed, else a :class:`RestRegistry`."""
    if official_available():
        return open_official(connection, proxy_url=proxy_url, certificate_authority=certificate_authority)
    return RestRegistry(connection, proxy_url=proxy_url, certificate_authority=certificate_authority)


def close_registry(registry: Any) -> None:
    """Close the HTTP connections of a registry, official or not."""
    if isinstance(registry, RestRegistry):
        registry.close()
    else:
        registry.protocol.close()


def twin_patch(*, desired: Mapping[str, Any] | None = None, tags: Mapping[str, Any] | None = None) -> Any:
    """A change to a twin, in the class that ``update_twin`` of :func:`open_registry` takes."""
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


class RestRegistry:
    """The registry of one hub over plain HTTPS, with the method names of ``IoTHubRegistryManager``.

    Arguments:
        connection: host, policy and key of the hub's service API.
        proxy_url: an HTTP proxy on the way, empty for none.
        certificate_authority: PEM file that the hub's certificate is checked with; ``None``: what the machine trusts.
    """

    def __init__(
        self, connection: ConnectionString, *, proxy_url: str = "", certificate_authority: Path | None = None
    ) -> None:
        self._connection = connection
        self._session = requests.Session()
        self._verify: str | bool | None = None
        if proxy_url:
            self._session.trust_env = False
            self._session.proxies = {"https": proxy_url}
            self._verify = str(certificate_authority)

    def __repr__(self) -> str:
        return f"RestRegistry({self._connection.host})"

    def get_device(self, device_id: str) -> Record:
        """The device's entry in the registry."""
        return Record(self._request("GET", f"/devices/{quote(device_id, safe='')}"))

    def get_devices(self, max_number_of_devices: int | None = None) -> list[Record]:
        """Entries of up to 1,000 devices."""
        query = {} if max_number_of_devices is None else {"top": str(max_number_of_devices)}
        return [Record(each) for each in self._request("GET", "/devices", query=query)]

    def delete_device(self, device_id: str, etag: str | None = None) -> None:
        """Remove the device from the registry."""
        self._request("DELETE", f"/devices/{quote(device_id, safe='')}", etag=etag or "*")

    def get_twin(self, device_id: str) -> Record:
        """The device's twin."""
        return Record(self._request("GET", f"/twins/{quote(device_id, safe='')}"))

    def update_twin(self, device_id: str, device_twin: Any, etag: str | None = None) -> Record:
        """Merge a change into the twin; a value of ``None`` removes its property."""
        body = device_twin.document if isinstance(device_twin, Record) else device_twin.serialize()
        return Record(self._request("PATCH", f"/twins/{quote(device_id, safe='')}", body=body, etag=etag or "*"))

    def close(self) -> None:
        """Close the connections to the hub."""
        self._session.close()

    def _request(
        self,
        verb: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        etag: str | None = None,
    ) -> Any:
        token = sas_token(self._connection.host, self._connection.key, policy=self._connection.policy)
        headers = {"Authorization": token.reveal(), "Accept": "application/json"}
        if etag is not None:
            headers["If-Match"] = '"' + etag.strip('"') + '"'
        answer = self._session.request(
            verb,
            f"https://{self._connection.host}{path}",
            params={**(query or {}), "api-version": API_VERSION},
            headers=headers,
            json=body,
            verify=self._verify,
            timeout=TIMEOUT,
        )
        if not answer.ok:
            raise RegistryError(answer.status_code, refusal_text(answer))
        return answer.json() if answer.content else None


def refusal_text(answer: requests.Response) -> str:
    """What a hub says in the body of a refusal, else the words of the status line."""
    try:
        document = answer.json()
    except ValueError:
        return answer.reason or "no text"
    text = document.get("Message") or document.get("message") if isinstance(document, dict) else None
    return str(text or answer.reason or "no text")
