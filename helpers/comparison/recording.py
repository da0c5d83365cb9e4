"""Notes every answer that the official clients of a kernel get, in normal form, one JSON object a line.

The clients are the unchanged ones. Their HTTP library and their MQTT client are listened to, in this process only, and
only when the variable :data:`VARIABLE` names a file.
"""

from __future__ import annotations

import functools
import io
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from urllib3 import HTTPResponse

from .normal_form import NormalForm, names_of

#: The environment variable with the file in which answers are noted.
VARIABLE = "DPS_RECORD_ANSWERS"
_HTTPS, _MQTT = "https", "mqtt"
_lock = threading.Lock()
_recorders: list[Recorder] = []


class Recorder:
    """Writes down answers of one target.

    Arguments:
        file: where.
        dps: the target; what is not for it is not noted.
    """

    def __init__(self, file: Path, dps: Any) -> None:
        self._file = file
        self.dps = dps

    def http(self, response: requests.Response, body: bytes) -> None:
        """Note an answer over HTTPS."""
        url = response.request.url or ""
        service = self._service(url)
        if not service:
            return
        form = NormalForm(names_of(self.dps))
        self._write(
            {
                "channel": _HTTPS,
                "service": service,
                "operation": f"{response.request.method} {form.path(url)}",
                "status": response.status_code,
                "headers": form.headers(response.headers),
                "type": response.headers.get("Content-Type", "").replace(" ", "").lower(),
                "body": form.body(_parsed(body)),
            }
        )

    def mqtt(self, host: str, operation: str, status: int | None, properties: list[str], body: Any) -> None:
        """Note an answer over MQTT."""
        form = NormalForm(names_of(self.dps))
        self._write(
            {
                "channel": _MQTT,
                "service": form.text(host),
                "operation": form.text(operation),
                "status": status,
                "headers": sorted(properties),
                "type": "",
                "body": form.body(body),
            }
        )

    def _service(self, url: str) -> str:
        """Whose answer it is; empty when it is nobody's who is compared, such as that of the login."""
        parts = urlsplit(url)
        if parts.path.lower().startswith("/subscriptions/"):
            return "management"
        return names_of(self.dps).get((parts.hostname or "").lower(), "")

    def _write(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry, sort_keys=True)
        with _lock, self._file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def begin(file: Path, dps: Any) -> None:
    """Note the answers of this target from now on, instead of those of one before.

    Arguments:
        file: what lines are added to.
        dps: the target.
    """
    first = not _recorders
    _recorders[:] = [Recorder(file, dps)]
    if first:
        _listen_to_requests()
        _listen_to_mqtt()


def _listen_to_requests() -> None:
    send = requests.adapters.HTTPAdapter.send

    @functools.wraps(send)
    def sending(self: Any, *arguments: Any, **options: Any) -> requests.Response:
        response = send(self, *arguments, **options)
        raw = response.raw
        body = raw.read(decode_content=False)
        raw.release_conn()
        # who asked reads it again, in whatever way
        response.raw = _again(raw, body)
        _recorders[0].http(response, _again(raw, body).read(decode_content=True))
        return response

    requests.adapters.HTTPAdapter.send = sending  # type: ignore[method-assign]


def _again(raw: Any, body: bytes) -> HTTPResponse:
    """An answer that was read, as if it had not been."""
    return HTTPResponse(
        body=io.BytesIO(body), headers=raw.headers, status=raw.status, reason=raw.reason, preload_content=False
    )


def _listen_to_mqtt() -> None:
    # the one place in which the SDK makes its MQTT client
    from azure.iot.device.common.mqtt_transport import MQTTTransport  # noqa: PLC0415 - most who import this have none

    create = MQTTTransport._create_mqtt_client

    @functools.wraps(create)
    def creating(self: Any) -> Any:
        client = create(self)
        _Ear(self._hostname, self._client_id).listen(client)
        return client

    MQTTTransport._create_mqtt_client = creating


class _Ear:
    """Listens to one MQTT client.

    Arguments:
        host: whom it talks to.
        device: how it calls itself there.
    """

    def __init__(self, host: str, device: str) -> None:
        self._host, self._device = host, device
        self._asked: dict[str, str] = {}

    def listen(self, client: Any) -> None:
        """Put oneself between the client and whoever it calls."""
        connected, received, publish = client.on_connect, client.on_message, client.publish

        def on_connect(mqtt: Any, userdata: Any, flags: Any, code: int) -> None:
            self._note("CONNECT", int(code), [], None)
            connected(mqtt, userdata, flags, code)

        def on_message(mqtt: Any, userdata: Any, message: Any) -> None:
            self._answer(message.topic, message.payload)
            received(mqtt, userdata, message)

        @functools.wraps(publish)
        def publishing(topic: str, *arguments: Any, **options: Any) -> Any:
            path, _, query = topic.partition("/?")
            number = dict(parse_qsl(query)).get("$rid")
            if number is not None:
                self._asked[number] = path
            return publish(topic, *arguments, **options)

        client.on_connect, client.on_message, client.publish = on_connect, on_message, publishing

    def _answer(self, topic: str, payload: bytes) -> None:
        path, _, query = topic.partition("/?")
        properties = parse_qsl(query, keep_blank_values=True)
        number = dict(properties).get("$rid", "")
        words = path.split("/")
        status = int(words[-1]) if words[-1].isdigit() else None
        asked = self._asked.get(number, "") if status is not None else path
        self._note(asked or path, status, [name for name, _ in properties], _parsed(payload))

    def _note(self, operation: str, status: int | None, properties: list[str], body: Any) -> None:
        _recorders[0].mqtt(self._host, f"{operation} of {self._device}", status, properties, body)


def _parsed(body: bytes) -> Any:
    """A body as JSON, as text where it is none, ``None`` where there is none."""
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")
