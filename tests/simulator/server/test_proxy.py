from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

import pytest
from patience import PATIENCE

from dps_simulator.server import proxy, sniffer
from dps_simulator.server.tls import transport as tls_transport

pytestmark = pytest.mark.asyncio

DPS = "global.azure-devices-provisioning.test"
HUB = "contoso-hub-1.azure-devices.test"
MQTT_CONNECT = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02id"


async def ask(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes to the proxy and read its answer to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(-1), PATIENCE)
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]) if lines[0] else 0, headers, body


async def tunnel(
    port: int, target: str, settings: Any, name: str | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TLS connection through the proxy."""
    plain = socket.socket()
    plain.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(plain, ("127.0.0.1", port))
    await loop.sock_sendall(plain, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += await loop.sock_recv(plain, 1)
    assert answer.startswith(b"HTTP/1.1 200 ")
    return await asyncio.open_connection(sock=plain, ssl=settings, server_hostname=name or target.rpartition(":")[0])


async def test_mqtt_through_the_proxy(running: Any, frontend: Any, client_context: Any, eventually: Any) -> None:
    async with running() as server:
        reader, writer = await tunnel(server.proxy_port, f"{DPS}:8883", client_context())
        writer.write(MQTT_CONNECT)
        assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
        assert server.open_connections == 1
        writer.close()
        await writer.wait_closed()
        await eventually(lambda: not server.open_connections)
    (_, (client_id, peer)), (_, clean) = frontend.mqtt_log
    assert (client_id, peer.host, peer.transport, peer.certificates, clean) == ("id", DPS, "mqtt", (), False)


async def test_host_is_the_connect_target_not_the_server_name(running: Any, frontend: Any, client_context: Any) -> None:
    async with running() as server:
        reader, writer = await tunnel(server.proxy_port, f"{HUB.upper()}:1", client_context(), name=DPS)
        writer.write(MQTT_CONNECT)
        await reader.readexactly(4)
        writer.close()
        await writer.wait_closed()
    assert frontend.mqtt_log[0][1][1].host == HUB


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("newline", ["\r\n", "\n"])
async def test_request_forms(running: Any, version: str, newline: str) -> None:
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.proxy_port)
        for byte in f"CONNECT {DPS}:443 HTTP/{version}{newline}Host: x{newline}{newline}".encode():
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("request_bytes", "status", "words"),
    [
        (b"CONNECT example.com:443 HTTP/1.1\r\n\r\n", 403, "'example.com' is not simulated"),
        (b"CONNECT [::1]:443 HTTP/1.1\r\n\r\n", 403, "'::1' is not simulated"),
        (b"CONNECT example.com HTTP/1.1\r\n\r\n", 400, "HOST:PORT"),
        (b"CONNECT example.com:0 HTTP/1.1\r\n\r\n", 400, "HOST:PORT"),
        (b"CONNECT example.com:99999 HTTP/1.1\r\n\r\n", 400, "HOST:PORT"),
        (b"CONNECT ex\xe4mple.com:443 HTTP/1.1\r\n\r\n", 400, "HOST:PORT"),
        (b"GET http://example.com/ HTTP/1.1\r\n\r\n", 405, "GET"),
        (b"get / HTTP/1.0\r\n\r\n", 405, "get"),
        (b"CONNECT  x:1 HTTP/1.1\r\n\r\n", 400, "request line"),
        (b"CONNECT x:1 HTTP/2\r\n\r\n", 400, "request line"),
        (b"CONNECT " + DPS.encode() + b":443 HTTP/1.1\r\n\r\n\x16\x03", 400, "wait for the answer"),
        (b"CONNECT x:443 HTTP/1.1\r\nA: " + b"a" * 9_000, 431, "8192"),
        (b"CONNECT x:443 HTTP/1.1\r\nA: " + b"a" * 9_000 + b"\r\n\r\n", 431, "8192"),
        (b"\x16\x03\x01\x02\x00", 400, "TLS has its own port"),
        (b"\x10\x0e\x00\x04MQTT", 400, "not an HTTP request"),
        (b"\x05\x01\x00", 400, "not an HTTP request"),
        (b"\r\n\r\n", 400, "not an HTTP request"),
    ],
)
async def test_refusals(
    running: Any, frontend: Any, eventually: Any, request_bytes: bytes, status: int, words: str
) -> None:
    async with running() as server:
        answered, headers, body = await ask(server.proxy_port, request_bytes)
        assert answered == status
        assert words in headers["x-reason"] or words.lower() in headers["x-reason"]
        assert json.loads(body)["message"].lower() == headers["x-reason"]
        assert headers["content-length"] == str(len(body))
        assert headers["connection"] == "close"
        assert headers.get("allow", "").upper() == ("CONNECT" if status == 405 else "")
        await eventually(lambda: not server.open_connections)
    ((host, reason),) = frontend.refused
    assert words in reason
    assert host == ({403: "example.com"}.get(status, "") if b"::1" not in request_bytes else "::1")


async def test_slow_head_times_out(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "HEAD_TIMEOUT", 0.05)
    async with running() as server:
        status, headers, _ = await ask(server.proxy_port, b"CONNECT ")
        assert status == 408
        assert "0.05 seconds" in headers["x-reason"]


async def test_a_refused_client_that_stays_is_dropped(
    running: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "LINGER", 0.05)
    async with running() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.proxy_port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await eventually(lambda: server.open_connections == 1)
        writer.write(b"more of it")
        await eventually(lambda: not server.open_connections)
        writer.close()


async def test_a_client_that_goes_early_leaves_nothing(running: Any, eventually: Any) -> None:
    async with running() as server:
        for request in (b"", b"CONN", f"CONNECT {DPS}:443 HTTP/1.1\r\n\r\n".encode()):
            _, writer = await asyncio.open_connection("127.0.0.1", server.proxy_port)
            writer.write(request)
            await writer.drain()
            await eventually(lambda: server.open_connections == 1)
            writer.close()
            await writer.wait_closed()
            await eventually(lambda: not server.open_connections)


async def test_reset_at_every_stage(running: Any, eventually: Any, client_context: Any) -> None:
    connect = f"CONNECT {DPS}:443 HTTP/1.1\r\n\r\n".encode()
    async with running() as server:
        for port, sent in (
            (server.proxy_port, b""),
            (server.proxy_port, connect),
            (server.proxy_port, connect[:-1]),
            (server.tls_port, b""),
            (server.tls_port, b"\x16\x03\x01\x02\x00\x01"),
        ):
            plain = socket.create_connection(("127.0.0.1", port))
            plain.sendall(sent)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await eventually(lambda: server.open_connections == 1)
            plain.close()
            await eventually(lambda: not server.open_connections)
        await eventually(lambda: not server.open_connections)
        reader, writer = await tunnel(server.proxy_port, f"{DPS}:8883", client_context())
        writer.write(MQTT_CONNECT)
        await reader.readexactly(4)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await eventually(lambda: not server.open_connections)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "plain HTTP was sent to the TLS port"),
        (b"CONNECT x:1 HTTP/1.1\r\n\r\n", "use the proxy port"),
        (MQTT_CONNECT, "first bytes were not TLS"),
        (b"\x00" * 400, "first bytes were not TLS"),
    ],
)
async def test_plaintext_on_the_tls_port(running: Any, frontend: Any, eventually: Any, sent: bytes, words: str) -> None:
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.tls_port)
        writer.write(sent)
        await asyncio.wait_for(reader.read(-1), PATIENCE)
        writer.close()
        await eventually(lambda: not server.open_connections)
    ((host, reason),) = frontend.refused
    assert host == ""
    assert words in reason


async def test_a_client_that_does_not_trust_us_is_explained(running: Any, frontend: Any, eventually: Any) -> None:
    import ssl

    async with running() as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            await tunnel(server.proxy_port, f"{HUB}:8883", ssl.create_default_context())
        await eventually(lambda: frontend.refused)
        await eventually(lambda: not server.open_connections)
    ((host, reason),) = frontend.refused
    assert host == HUB
    assert "does not trust the simulator's certificate authority" in reason


async def test_handshake_times_out(
    running: Any, frontend: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_transport, "HANDSHAKE_TIMEOUT", 0.05)
    async with running() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.tls_port)
        await eventually(lambda: frontend.refused)
        await eventually(lambda: not server.open_connections)
        writer.close()
    assert "longer than 0.05 seconds" in frontend.refused[0][1]


async def test_silence_after_the_handshake_times_out(
    running: Any, frontend: Any, client_context: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sniffer, "FIRST_REQUEST_TIMEOUT", 0.05)
    async with running() as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname=DPS
        )
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.close()
        await eventually(lambda: not server.open_connections)
    assert "nothing came within 0.05 seconds" in frontend.refused[0][1]


async def test_a_request_that_never_ends_times_out(
    running: Any, frontend: Any, client_context: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sniffer, "FIRST_REQUEST_TIMEOUT", 0.05)
    too_slow = sniffer.Sniffer._too_slow

    def too_slow_once_it_has_begun(connection: sniffer.Sniffer) -> None:
        if connection._web is None:
            connection._timer = connection._loop.call_later(0.005, too_slow_once_it_has_begun, connection)
        else:
            too_slow(connection)

    monkeypatch.setattr(sniffer.Sniffer, "_too_slow", too_slow_once_it_has_begun)
    async with running() as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname=DPS
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-Endless: ")
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.close()
        await eventually(lambda: not server.open_connections)
    assert "no complete HTTP request came within 0.05 seconds" in frontend.refused[0][1]


async def test_a_connection_that_has_asked_may_stay(
    running: Any, frontend: Any, client_context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, too_slow = asyncio.Event(), sniffer.Sniffer._too_slow
    looked: list[bool] = []

    async def look_when_asked(connection: sniffer.Sniffer) -> None:
        await asked.wait()
        too_slow(connection)
        looked.append(True)

    def hold_back(connection: sniffer.Sniffer) -> None:
        # the time is over, and is noticed as soon as the first request has been answered, however long that takes
        looks.append(asyncio.ensure_future(look_when_asked(connection)))

    looks: list[asyncio.Future[None]] = []
    monkeypatch.setattr(sniffer.Sniffer, "_too_slow", hold_back)
    monkeypatch.setattr(sniffer, "FIRST_REQUEST_TIMEOUT", 0)
    async with running() as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname=DPS
        )
        for _ in range(2):
            writer.write(b"GET /empty HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b" 204 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
            asked.set()
            await asyncio.gather(*looks)
        writer.close()
    assert looked == [True]
    assert not frontend.refused
