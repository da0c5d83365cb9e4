"""The least that a client needs to ask a question over the wire: TLS, HTTP/1.1, and MQTT in packets."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import secrets
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from dps_simulator.process.address import RunningSimulator
from dps_simulator.protocols.mqtt import PROTOCOL_LEVEL, SUBSCRIPTION_REFUSED, Publish, encode_publish

#: Seconds without an answer after which a question has failed.
TIMEOUT = 15.0
#: How AMQP begins, with the security layer that every SDK but those with certificates asks for.
AMQP_HEADER = b"AMQP\x03\x01\x00\x00"
#: Where the SDKs open WebSockets.
WEBSOCKET_PATH = "/$iothub/websocket"

_SUBACK, _PUBACK, _PUBLISH = 9, 4, 3


def connect(running: RunningSimulator, host: str) -> ssl.SSLSocket:
    """A TLS connection to one of the simulated hosts."""
    context = ssl.create_default_context(cafile=str(running.certificate_authority_file))
    plain = socket.create_connection((running.address, running.tls_port), timeout=TIMEOUT)
    try:
        # what is sent in two parts must not wait for the acknowledgement of the first
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back.

    Attributes:
        status: the status.
        code: six-digit code of an error, 0 without one.
        document: the body as JSON, ``None`` for none.
        headers: names in lower case.
    """

    status: int
    code: int
    document: Any
    headers: Mapping[str, str]


def ask_http(
    running: RunningSimulator, host: str, method: str, path: str, body: Any, headers: Mapping[str, str]
) -> HttpAnswer:
    """Send one request over a connection of its own."""
    data = None if body is None else json.dumps(body).encode("ascii")
    kind = {} if body is None else {"Content-Type": "application/json; charset=utf-8"}
    with connect(running, host) as connection:
        client = http.client.HTTPConnection(host)
        client.sock = connection
        try:
            client.request(method, path, data, {**headers, **kind})
            with client.getresponse() as response:
                content = response.read()
                known = {name.lower(): value for name, value in response.getheaders()}
        finally:
            client.close()
    code = known.get("x-ms-error-code", "0")
    return HttpAnswer(
        response.status, int(code) if code.isdigit() else 0, json.loads(content) if content else None, known
    )


def speaks_amqp(running: RunningSimulator, host: str) -> bool:
    """Whether the beginning of an AMQP connection is answered in kind."""
    with connect(running, host) as connection, contextlib.suppress(ConnectionError, ssl.SSLError):
        connection.sendall(AMQP_HEADER)
        return connection.recv(len(AMQP_HEADER)).startswith(AMQP_HEADER[:4])
    return False


def opens_websocket(connection: ssl.SSLSocket, host: str, subprotocol: str) -> bool:
    """Ask for a WebSocket; tells whether it was opened with the subprotocol."""
    nonce = base64.b64encode(secrets.token_bytes(16)).decode("ascii")
    request = (
        f"GET {WEBSOCKET_PATH} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    )
    connection.sendall(request.encode("ascii"))
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return False
        head += byte
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return " 101 " in f"{lines[0]} " and fields.get("sec-websocket-protocol", "").lower() == subprotocol.lower()


class MqttClient:
    """One MQTT connection that waits for the answer to everything it sends.

    Arguments:
        running: the simulator.
        host: the host name that is addressed.
        websocket: whether to go through a WebSocket.
    """

    def __init__(self, running: RunningSimulator, host: str, *, websocket: bool = False) -> None:
        self._socket = connect(running, host)
        self._framed = websocket
        self._buffer = bytearray()
        self._packet_id = 0
        if websocket and not opens_websocket(self._socket, host, "mqtt"):
            self._socket.close()
            raise ConnectionError(f"{host} opens no WebSocket for MQTT")

    def __enter__(self) -> MqttClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def connect(self, client_id: str, user_name: str, password: str, will: str = "") -> int | None:
        """CONNECT; returns the return code, or ``None`` when the connection was closed instead."""
        flags = 0xC2 | (0x0C if will else 0)
        texts = [client_id, *([will, "gone"] if will else []), user_name, password]
        body = _text("MQTT") + bytes((PROTOCOL_LEVEL, flags, 0, 60)) + b"".join(map(_text, texts))
        self._send(bytes((0x10,)) + _length(len(body)) + body)
        packet = self._next()
        return None if packet is None else packet[1][1]

    def subscribe(self, topic_filter: str) -> bool:
        """SUBSCRIBE; tells whether the filter was granted."""
        packet_id = self._new_packet_id()
        body = packet_id.to_bytes(2, "big") + _text(topic_filter) + b"\x01"
        self._send(b"\x82" + _length(len(body)) + body)
        answer = self._wait_for(_SUBACK)
        return answer is not None and answer[-1] != SUBSCRIPTION_REFUSED

    def publish(self, topic: str, payload: bytes) -> bool:
        """PUBLISH with QoS 1; tells whether PUBACK came."""
        self._send(encode_publish(Publish(topic, payload, 1, self._new_packet_id())))
        return self._wait_for(_PUBACK) is not None

    def receive(self) -> tuple[str, bytes] | None:
        """The next message, topic and payload, or ``None`` when the connection was closed."""
        body = self._wait_for(_PUBLISH)
        if body is None:
            return None
        size = 2 + int.from_bytes(body[:2], "big")
        return body[2:size].decode("utf-8"), body[size:]

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self._send(b"\xe0\x00")
        self._socket.close()

    def _new_packet_id(self) -> int:
        self._packet_id += 1
        return self._packet_id

    def _wait_for(self, kind: int) -> bytes | None:
        """The body of the next packet of a kind; others are passed over."""
        while True:
            packet = self._next()
            if packet is None:
                return None
            if packet[0] >> 4 == kind:
                first, body = packet
                if kind == _PUBLISH and first & 0b110:
                    # take the packet identifier out, and acknowledge it
                    size = 2 + int.from_bytes(body[:2], "big")
                    self._send(b"\x40\x02" + body[size : size + 2])
                    body = body[:size] + body[size + 2 :]
                return body

    def _next(self) -> tuple[int, bytes] | None:
        """First byte and body of the next packet, ``None`` at the end of the connection."""
        head = self._take(2)
        if head is None:
            return None
        first, digit = head
        length, shift = digit & 0x7F, 7
        while digit & 0x80:
            more = self._take(1)
            if more is None:
                return None
            digit = more[0]
            length |= (digit & 0x7F) << shift
            shift += 7
        body = self._take(length)
        return None if body is None else (first, body)

    def _take(self, count: int) -> bytes | None:
        while len(self._buffer) < count:
            more = self._read_frame() if self._framed else self._read()
            if not more:
                return None
            self._buffer += more
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _read(self, count: int = 65_536) -> bytes:
        try:
            return self._socket.recv(count)
        except (ConnectionError, ssl.SSLEOFError):
            return b""

    def _read_frame(self) -> bytes:
        """The content of the next binary frame, which is short here; nothing at the end."""
        head = self._read(2)
        if len(head) < 2 or head[0] & 0x0F != 2:
            return b""
        return self._read(head[1] & 0x7F)

    def _send(self, packet: bytes) -> None:
        if self._framed:
            size = len(packet)
            length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
            # masked with zeros, which leaves everything as it is
            packet = b"\x82" + length + bytes(4) + packet
        self._socket.sendall(packet)


def _text(value: str) -> bytes:
    data = value.encode("utf-8")
    return len(data).to_bytes(2, "big") + data


def _length(length: int) -> bytes:
    encoded = bytearray()
    while True:
        length, digit = length >> 7, length & 0x7F
        encoded.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(encoded)
