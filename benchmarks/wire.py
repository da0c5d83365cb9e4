"""The smallest MQTT client over TLS: it costs the measuring side as little as possible."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from urllib.parse import quote

from dps_simulator.credentials import sas


def _text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def _packet(kind: int, body: bytes) -> bytes:
    length, encoded = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        encoded.append(digit | (128 if length else 0))
        if not length:
            return bytes((kind,)) + bytes(encoded) + body


def connect_packet(client_id: str, user_name: str | None = None, password: str | None = None) -> bytes:
    """A CONNECT packet with a clean session."""
    flags = 2 | (128 if user_name else 0) | (64 if password else 0)
    body = _text("MQTT") + bytes((4, flags, 0, 60)) + _text(client_id)
    return _packet(0x10, body + b"".join(_text(item) for item in (user_name, password) if item))


def publish_packet(topic: str, payload: bytes, packet_id: int) -> bytes:
    """A PUBLISH packet with QoS 1."""
    return _packet(0x32, _text(topic) + packet_id.to_bytes(2, "big") + payload)


class Wire:
    """One TLS connection that reads and writes whole packets."""

    def __init__(self, port: int, context: ssl.SSLContext, name: str) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=10)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(plain, server_hostname=name)
        self._stream = self._socket.makefile("rb")

    def ask(self, packet: bytes) -> bytes:
        """Send one packet and return the next packet that comes."""
        self._socket.sendall(packet)
        return self.next()

    def next(self) -> bytes:
        """The next packet, header and all."""
        header = bytearray(self._stream.read(1))
        length = shift = 0
        while True:
            header += self._stream.read(1)
            length |= (header[-1] & 127) << shift
            shift += 7
            if not header[-1] & 128:
                return bytes(header) + self._stream.read(length)

    def close(self) -> None:
        """Say DISCONNECT and close."""
        # the server may have closed it already
        with contextlib.suppress(OSError):
            self._socket.sendall(b"\xe0\x00")
        self.abandon()

    def abandon(self) -> None:
        """Close without a word."""
        self._stream.close()
        self._socket.close()


def register(
    port: int, context: ssl.SSLContext, host: str, id_scope: str, registration_id: str, key: bytes | None
) -> None:
    """One whole registration at pace ``instant``; without a key, the context's certificate is the proof."""
    token = (
        None if key is None else sas.sign(f"{id_scope}/registrations/{registration_id}", key, int(time.time()) + 3_600)
    )
    user_name = f"{id_scope}/registrations/{registration_id}/api-version=2019-03-31&ClientVersion={quote('bench')}"
    answer = ask_to_register(port, context, host, user_name, registration_id, token)
    if b"/res/200/" not in answer:
        raise RuntimeError(f"the registration failed: {answer[:200]!r}")


def connect(port: int, context: ssl.SSLContext, name: str, client_id: str) -> None:
    """Connect to a broker and disconnect."""
    wire = Wire(port, context, name)
    if wire.ask(connect_packet(client_id)) != b"\x20\x02\x00\x00":
        raise RuntimeError("the connection was refused")
    wire.close()


def ask_to_register(
    port: int, context: ssl.SSLContext, host: str, user_name: str, registration_id: str, password: str | None
) -> bytes:
    """Connect to DPS with any user name and password, ask to register, and return the answer: CONNACK or message."""
    wire = Wire(port, context, host)
    try:
        answer = wire.ask(connect_packet(registration_id, user_name, password))
        if answer != b"\x20\x02\x00\x00":
            return answer
        wire.ask(_packet(0x82, b"\x00\x01" + _text("$dps/registrations/res/#") + b"\x01"))
        body = f'{{"registrationId":"{registration_id}"}}'.encode()
        return wire.ask(_packet(0x30, _text("$dps/registrations/PUT/iotdps-register/?$rid=1") + body))
    finally:
        wire.close()
