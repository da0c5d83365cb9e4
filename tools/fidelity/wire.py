"""How questions are asked over the wire: requests for HTTP, paho for MQTT."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import socks
from paho.mqtt import client as mqtt

from dps_simulator import RunningSimulator

#: Seconds without an answer after which a question has failed.
TIMEOUT = 15.0
#: Where the SDKs open WebSockets.
WEBSOCKET_PATH = "/$iothub/websocket"
#: Any sixteen bytes do, in base64. Source: RFC 6455, section 4.1.
_NONCE = "ZmlkZWxpdHkgcHJvYmUhIQ=="
_REFUSED = 0x80


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back.

    Attributes:
        status: the status.
        code: six-digit code of an error, 0 without one.
        document: the body as JSON, ``None`` for none.
        headers: by their names, whose case does not count.
    """

    status: int
    code: int
    document: Any
    headers: Mapping[str, str]


def ask_http(
    running: RunningSimulator, host: str, method: str, path: str, body: Any, headers: Mapping[str, str]
) -> HttpAnswer:
    """Send one request over a connection of its own.

    Arguments:
        running: the simulator.
        host: the host name that is addressed.
        method: of HTTP.
        path: with its query, quoted.
        body: JSON, ``None`` for none.
        headers: besides the content type.

    Raises:
        RequestException: nothing came back within :data:`TIMEOUT`.
    """
    data = None if body is None else json.dumps(body)
    kind = {} if body is None else {"Content-Type": "application/json; charset=utf-8"}
    with running.session() as session:
        url = f"https://{host}{path}"
        answer = session.request(method, url, data=data, headers={**headers, **kind}, timeout=TIMEOUT)
    code = answer.headers.get("x-ms-error-code", "0")
    document = answer.json() if answer.content else None
    return HttpAnswer(answer.status_code, int(code) if code.isdigit() else 0, document, answer.headers)


def opens_websocket(running: RunningSimulator, host: str, subprotocol: str) -> bool:
    """Ask for a WebSocket; tells whether it was opened with the subprotocol."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": _NONCE,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": subprotocol,
    }
    with (
        running.session() as session,
        session.get(f"https://{host}{WEBSOCKET_PATH}", headers=headers, timeout=TIMEOUT, stream=True) as answer,
    ):
        given = answer.headers.get("sec-websocket-protocol", "")
        return answer.status_code == 101 and given.lower() == subprotocol.lower()


class MqttClient:
    """One MQTT connection that waits for the answer to everything it sends.

    Attributes:
        code: the return code of CONNACK, ``None`` when the connection was closed instead.

    Arguments:
        running: the simulator.
        host: the host name that is addressed.
        client_id: names the device.
        login: user name and password.
        will: topic of a last will, if there is to be one.
        websocket: whether to go through a WebSocket.

    Raises:
        ConnectionError: no WebSocket is opened.
    """

    def __init__(
        self,
        running: RunningSimulator,
        host: str,
        client_id: str,
        login: tuple[str, str],
        *,
        will: str = "",
        websocket: bool = False,
    ) -> None:
        if websocket and not opens_websocket(running, host, "mqtt"):
            raise ConnectionError(f"{host} opens no WebSocket for MQTT")
        self.code: int | None = None
        self._granted: dict[int, tuple[int, ...]] = {}
        self._published: set[int] = set()
        self._messages: list[tuple[str, bytes]] = []
        self._client = client = mqtt.Client(client_id, transport="websockets" if websocket else "tcp")
        client.username_pw_set(*login)
        if will:
            client.will_set(will, "gone", qos=1)
        client.tls_set_context(ssl.create_default_context(cafile=str(running.certificate_authority_file)))
        client.proxy_set(proxy_type=socks.HTTP, proxy_addr=running.address, proxy_port=running.proxy_port)
        client.ws_set_options(path=WEBSOCKET_PATH)
        client.on_connect = self._connected
        client.on_subscribe = lambda _, __, number, granted: self._granted.update({number: granted})
        client.on_publish = lambda _, __, number: self._published.add(number)
        client.on_message = lambda _, __, message: self._messages.append((message.topic, message.payload))
        client.connect(host, 443 if websocket else 8883)
        self._wait(lambda: self.code is not None)

    def subscribe(self, topic_filter: str) -> bool:
        """SUBSCRIBE with QoS 1; tells whether the filter was granted.

        Raises:
            TimeoutError: no answer within :data:`TIMEOUT`.
        """
        _, number = self._client.subscribe(topic_filter, qos=1)
        return self._wait(lambda: number in self._granted) and self._granted[number][0] != _REFUSED

    def publish(self, topic: str, payload: bytes) -> bool:
        """PUBLISH with QoS 1; tells whether PUBACK came.

        Raises:
            TimeoutError: no answer within :data:`TIMEOUT`.
        """
        number = self._client.publish(topic, payload, qos=1).mid
        return self._wait(lambda: number in self._published)

    def receive(self) -> tuple[str, bytes] | None:
        """The next message, topic and payload, or ``None`` when the connection was closed.

        Raises:
            TimeoutError: none within :data:`TIMEOUT`.
        """
        return self._messages.pop(0) if self._wait(lambda: self._messages) else None

    def close(self) -> None:
        """Close the connection."""
        self._client.disconnect()
        self._client.loop()

    def _connected(self, _: mqtt.Client, __: object, ___: object, code: int) -> None:
        self.code = code

    def _wait(self, done: Callable[[], object]) -> bool:
        """Read until something is there; tells whether it came before the connection was closed."""
        deadline = time.monotonic() + TIMEOUT
        while not done():
            if self._client.loop() != mqtt.MQTT_ERR_SUCCESS:
                return bool(done())
            if time.monotonic() > deadline:
                raise TimeoutError(f"no answer for {TIMEOUT:g} seconds")
        return True
