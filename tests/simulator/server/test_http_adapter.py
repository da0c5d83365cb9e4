from __future__ import annotations

import asyncio
import gzip
import json
import logging
import socket
import ssl
import threading
from typing import Any

import paho.mqtt.client as paho
import pytest
import requests
import websockets
from patience import PATIENCE
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from dps_simulator.common.http import Response
from dps_simulator.server import http_adapter, websocket_link

pytestmark = pytest.mark.asyncio

DPS = "global.azure-devices-provisioning.test"
HUB = "contoso-hub-1.azure-devices.test"
MQTT_CONNECT = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02id"
CONNACK = b"\x20\x02\x00\x00"


def publish(payload: bytes) -> bytes:
    size, length = len(payload) + 6, b""
    while size:
        size, digit = size >> 7, size & 127
        length += bytes([digit | (128 if size else 0)])
    return b"\x30" + length + b"\x00\x04test" + payload


async def exchange(port: int, settings: ssl.SSLContext, sent: bytes, name: str = "localhost") -> bytes:
    """Send raw bytes over TLS and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=settings, server_hostname=name)
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(-1), PATIENCE)
    writer.close()
    return answer


def split(answer: bytes) -> tuple[int, dict[str, str], Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
    return int(lines[0].split()[1]), headers, json.loads(body) if body else None


class TestRequests:
    @pytest.fixture
    def session(self, authority: Any, server_files: Any) -> Any:
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(authority.certificate_file)
            yield session

    async def test_direct(self, running: Any, frontend: Any, session: Any) -> None:
        async with running() as server:
            answer = await asyncio.to_thread(
                session.put,
                f"https://localhost:{server.tls_port}/a%2Fb/%24x?api-version=1&q=a%20b&q=2&e=",
                data=b"x" * 1_000,
                headers={"X-Kind": "Some", "Authorization": "SharedAccessSignature sr=x"},
            )
            session.close()
        assert answer.status_code == 200
        assert answer.json() == {
            "method": "PUT",
            "path": "/a%2Fb/%24x",
            "query": {"api-version": "1", "q": "a b", "e": ""},
            "size": 1_000,
            "host": "localhost",
            "transport": "https",
            "certificates": 0,
            "text": "grüße",
        }
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        assert answer.headers["ETag"] == '"1"'
        assert answer.headers["Server"] == "provisioning-simulator"
        assert answer.content.isascii()
        assert frontend.requests[0].headers["x-kind"] == "Some"
        assert frontend.requests[0].headers["authorization"].startswith("SharedAccessSignature")

    async def test_through_the_proxy_with_certificates(self, running: Any, session: Any, issue: Any) -> None:
        device = issue("device", issue("middle", issue("root", authority=True), authority=True))
        session.cert = (str(device.certificate_file), str(device.key_file))
        async with running() as server:
            session.proxies = {"https": f"http://127.0.0.1:{server.proxy_port}"}
            for _ in range(3):
                answer = await asyncio.to_thread(session.get, f"https://{HUB}/devices")
                assert answer.json()["host"] == HUB
                assert answer.json()["certificates"] == 2
            assert server.open_connections == 1
            with pytest.raises(requests.exceptions.ProxyError, match="403"):
                await asyncio.to_thread(session.get, "https://example.com/")
            session.close()

    async def test_no_body_has_no_content_type(self, running: Any, session: Any) -> None:
        async with running() as server:
            answer = await asyncio.to_thread(session.get, f"https://127.0.0.1:{server.tls_port}/empty")
            session.close()
        assert (answer.status_code, answer.content, answer.headers["x-kind"]) == (204, b"", "empty")
        assert "content-type" not in answer.headers

    async def test_stop_ends_a_request_in_progress(self, running: Any, session: Any, frontend: Any, eventually: Any):
        async with running() as server:
            going = asyncio.ensure_future(
                asyncio.to_thread(session.get, f"https://localhost:{server.tls_port}/slow", timeout=PATIENCE)
            )
            await eventually(lambda: frontend.requests)
            await server.stop()
            # the client's own task has to be over before tasks are counted
            with pytest.raises(requests.exceptions.ConnectionError):
                await going


@pytest.mark.parametrize(
    ("host", "name", "expected"),
    [
        ("Contoso.azure-devices.test:443", None, "contoso.azure-devices.test"),
        ("[::1]:443", None, "::1"),
        ("", None, ""),
        ("contoso.azure-devices.test", "localhost", "localhost"),
    ],
)
async def test_host_is_the_server_name_else_the_header(
    running: Any, client_context: Any, host: str, name: str | None, expected: str
) -> None:
    settings = client_context()
    async with running() as server:
        answer = await exchange(
            server.tls_port,
            settings,
            f"GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode(),
            name or "127.0.0.1",
        )
    assert split(answer)[2]["host"] == expected


async def test_absolute_form_and_pipelining(running: Any, client_context: Any, frontend: Any) -> None:
    async with running() as server:
        await exchange(
            server.tls_port,
            client_context(),
            b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET https://b/2?x=1 HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
        )
    assert [request.path for request in frontend.requests] == ["/1", "/2"]
    assert frontend.requests[1].query == {"x": "1"}


async def test_of_repeated_headers_the_first_counts(running: Any, client_context: Any, frontend: Any) -> None:
    async with running() as server:
        await exchange(
            server.tls_port,
            client_context(),
            b"GET /1 HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\nConnection: close\r\n\r\n",
        )
    assert frontend.requests[0].headers["x-a"] == "1"


@pytest.mark.parametrize(
    ("request_bytes", "status", "words"),
    [
        (b"\x00\x01\x02\x03\r\n\r\n", 400, "not a valid HTTP/1.1 request"),
        (b"GET\r\n\r\n", 400, "not a valid HTTP/1.1 request"),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 20_000 + b"\r\n\r\n", 400, "not a valid HTTP/1.1 request"),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 600000\r\n\r\n", 413, "524288"),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"40000\r\n" + b"a" * 0x40000 + b"\r\n"
            b"40001\r\n" + b"a" * 0x40001 + b"\r\n0\r\n\r\n",
            413,
            "524288",
        ),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: much\r\nContent-Length: 1\r\n\r\na", 417, "much"),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
            400,
            "body cannot be read",
        ),
        (b"GET /broken HTTP/1.1\r\nHost: a\r\n\r\n", 500, "see its log"),
    ],
)
async def test_refusals(
    running: Any,
    client_context: Any,
    monkeypatch: pytest.MonkeyPatch,
    request_bytes: bytes,
    status: int,
    words: str,
) -> None:
    monkeypatch.setattr(http_adapter, "LINGER", 0.05)
    async with running() as server:
        answered, headers, body = split(await exchange(server.tls_port, client_context(), request_bytes))
    assert answered == status
    assert words in body["message"]
    assert body["Message"] == body["message"]
    assert body["errorCode"] // 1_000 == status
    assert body["errorCode"] % 1_000 >= 900  # the codes that are not Azure's
    assert headers["server"] == "provisioning-simulator"
    assert headers["content-type"] == "application/json; charset=utf-8"


async def test_received_garbage_stays_out_of_the_log(
    running: Any, client_context: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with running() as server:
        await exchange(
            server.tls_port, client_context(), b"GET / HTTP/1.1\r\nAuthorization SharedAccessKey=geheim\r\n\r\n"
        )
    assert "geheim" not in caplog.text


@pytest.mark.parametrize("size", [4, 100_000])
async def test_a_body_that_cannot_be_unpacked_stays_out_of_the_log(
    running: Any, client_context: Any, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    head = f"PUT / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: {size}\r\n\r\n"
    async with running() as server:
        answer = await exchange(server.tls_port, client_context(), head.encode() + b"{" * size)
    assert split(answer)[0] == 400
    assert not [record.getMessage() for record in caplog.records if record.exc_info]


async def test_compressed_bombs_are_too_large(running: Any, client_context: Any) -> None:
    body = gzip.compress(bytes(5_000_000))
    head = f"PUT / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    async with running() as server:
        assert split(await exchange(server.tls_port, client_context(), head.encode() + body))[0] == 413


async def test_expect_continue(running: Any, client_context: Any) -> None:
    async with running() as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname="localhost"
        )
        writer.write(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()


async def test_a_client_of_http_1_0_gets_no_interim_answer(running: Any, client_context: Any) -> None:
    """RFC 9110, section 10.1.1: the expectation means nothing there."""
    sent = b"PUT / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
    async with running() as server:
        assert split(await exchange(server.tls_port, client_context(), sent))[0] == 200


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="only Linux lets a program acknowledge at once")
@pytest.mark.parametrize(
    ("parts", "at_once"),
    [
        pytest.param([b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", b"abc"], True, id="body later"),
        pytest.param([b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"], False, id="in one piece"),
        pytest.param([b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"], False, id="no body"),
    ],
)
async def test_a_head_is_acknowledged_before_its_body_comes(
    running: Any,
    client_context: Any,
    eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
    parts: list[bytes],
    at_once: bool,
) -> None:
    acknowledge, options = http_adapter._acknowledge_at_once, []

    def listen(request: Any) -> None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        acknowledge(request)
        options.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK))

    monkeypatch.setattr(http_adapter, "_acknowledge_at_once", listen)
    async with running() as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname="localhost"
        )
        writer.write(parts[0])
        if at_once:
            await eventually(lambda: options)
        for part in parts[1:]:
            writer.write(part)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
    assert options == ([1] if at_once else [])


async def test_slow_body_times_out(running: Any, client_context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_adapter, "BODY_TIMEOUT", 0.05)
    monkeypatch.setattr(http_adapter, "LINGER", 0.05)
    async with running() as server:
        answer = await exchange(
            server.tls_port, client_context(), b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na"
        )
    assert split(answer)[0] == 408


async def test_a_client_that_goes_in_the_middle_of_a_body(
    running: Any, client_context: Any, frontend: Any, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as server:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname="localhost"
        )
        writer.write(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na")
        # the head was read, and the body is waited for
        await eventually(lambda: server.open_connections == 1 and server._http._tasks)
        writer.transport.abort()
        await eventually(lambda: not server.open_connections)
    assert frontend.requests == []
    assert not [entry for entry in caplog.records if entry.levelno >= logging.ERROR]


class TestWebSocket:
    @pytest.mark.parametrize(
        "path", ["/$iothub/websocket?iothub-no-client-cert=true", "/%24iothub/websocket", "/", "/mqtt"]
    )
    @pytest.mark.parametrize("offered", ["mqtt", "MQTT", "Mqtt"])
    async def test_direct(
        self, running: Any, client_context: Any, frontend: Any, issue: Any, path: str, offered: str
    ) -> None:
        device = issue("device")
        async with (
            running() as server,
            websocket(
                f"wss://localhost:{server.tls_port}{path}",
                ssl=client_context(device),
                subprotocols=[Subprotocol("other"), Subprotocol(offered)],
                proxy=None,
            ) as client,
        ):
            assert client.subprotocol == offered
            assert client.response is not None
            assert client.response.headers["Server"] == "provisioning-simulator"
            await client.send(MQTT_CONNECT[:5])
            await client.send(MQTT_CONNECT[5:])
            assert await client.recv() == CONNACK
            await client.send(publish(b"1") + publish(b"2"))
            received = b""
            while len(received) < 18:
                received += await client.recv()
            assert received == b"\x30\x07\x00\x04echo1\x30\x07\x00\x04echo2"
        (_, (client_id, peer)), (_, clean) = frontend.mqtt_log
        assert (client_id, peer.host, peer.transport, peer.certificates, clean) == (
            "id",
            "localhost",
            "websocket",
            (device.der,),
            False,
        )

    async def test_through_the_proxy(self, running: Any, client_context: Any, frontend: Any) -> None:
        async with (
            running() as server,
            websocket(
                f"wss://{HUB}/$iothub/websocket",
                ssl=client_context(),
                subprotocols=[Subprotocol("mqtt")],
                proxy=f"http://127.0.0.1:{server.proxy_port}",
            ) as client,
        ):
            await client.send(MQTT_CONNECT)
            assert await client.recv() == CONNACK
        assert frontend.mqtt_log[0][1][1].host == HUB

    @pytest.mark.parametrize(
        ("path", "offered", "status", "words"),
        [
            ("/elsewhere", "mqtt", 404, "'/elsewhere' are not supported"),
            ("/mqtt", "WAMP", 400, "'WAMP' is supported"),
            ("/mqtt", None, 400, "use mqtt"),
        ],
    )
    async def test_refusals(
        self, running: Any, client_context: Any, path: str, offered: str | None, status: int, words: str
    ) -> None:
        async with running() as server:
            with pytest.raises(InvalidStatus) as caught:
                await websocket(
                    f"wss://localhost:{server.tls_port}{path}",
                    ssl=client_context(),
                    subprotocols=[Subprotocol(offered)] if offered else None,
                    proxy=None,
                )
        response = caught.value.response
        assert response.status_code == status
        assert words in json.loads(response.body or b"")["message"]

    async def test_invalid_handshake(self, running: Any, client_context: Any) -> None:
        async with running() as server:
            answer = await exchange(
                server.tls_port,
                client_context(),
                b"GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 7\r\n\r\n",
            )
        status, headers, body = split(answer)
        assert (status, headers["server"]) == (400, "provisioning-simulator")
        assert "not a valid WebSocket handshake" in body["message"]

    async def open(
        self, server: Any, client_context: Any, **options: Any
    ) -> websockets.asyncio.client.ClientConnection:
        client = await websocket(
            f"wss://localhost:{server.tls_port}/mqtt",
            ssl=client_context(),
            subprotocols=[Subprotocol("mqtt")],
            proxy=None,
            **options,
        )
        await client.send(MQTT_CONNECT)
        assert await client.recv() == CONNACK
        return client

    async def test_text_frames_end_it(self, running: Any, client_context: Any, frontend: Any) -> None:
        async with running() as server:
            client = await self.open(server, client_context)
            await client.send("text")
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1003, "MQTT and AMQP need binary frames")
        assert frontend.mqtt_log[-1] == ("disconnected", False)

    async def test_large_messages_end_it(self, running: Any, client_context: Any, frontend: Any) -> None:
        async with running() as server:
            client = await self.open(server, client_context)
            await client.send(bytes(http_adapter.MAX_MESSAGE + 1))
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009
        assert frontend.mqtt_log[-1] == ("disconnected", False)

    async def test_application_closes(self, running: Any, client_context: Any, frontend: Any, eventually: Any) -> None:
        async with running() as server:
            client = await self.open(server, client_context)
            await client.send(publish(b"1") + publish(b"close"))
            assert await client.recv() == b"\x30\x07\x00\x04echo1"
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
            await eventually(lambda: not server.open_connections)
            frontend.links[-1].publish("echo", b"too late")
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1000

    async def test_client_that_ignores_our_close_is_dropped(
        self, running: Any, client_context: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http_adapter, "CLOSE_TIMEOUT", 0.05)
        async with running() as server:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname="localhost"
            )
            writer.write(
                b"GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            await reader.readuntil(b"\r\n\r\n")
            # a masked binary frame with a packet that may not come first
            writer.write(b"\x82\x82\x00\x00\x00\x00\xc0\x00")
            assert await reader.readexactly(1) == b"\x88"
            await eventually(lambda: not server.open_connections)
            writer.close()

    async def test_disconnect_is_clean(self, running: Any, client_context: Any, frontend: Any, eventually: Any) -> None:
        async with running() as server:
            client = await self.open(server, client_context)
            await client.send(b"\xe0\x00")
            await client.close()
            await eventually(lambda: not server.open_connections)
        assert frontend.mqtt_log[-1] == ("disconnected", True)

    async def test_client_that_does_not_read_is_dropped(
        self,
        running: Any,
        client_context: Any,
        frontend: Any,
        eventually: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(websocket_link, "MAX_UNSENT", 300_000)
        async with running() as server:
            client = await self.open(server, client_context)
            client.transport.pause_reading()
            await client.send(publish(b"flood 20"))
            await eventually(lambda: not server.open_connections)
            client.transport.abort()
        assert frontend.mqtt_log[-1] == ("disconnected", False)

    @pytest.mark.parametrize("proxied", [False, True])
    async def test_paho(self, running: Any, client_context: Any, frontend: Any, proxied: bool) -> None:
        def talk(host: str, port: int, proxy_port: int) -> list[bytes]:
            received: list[bytes] = []
            connected, answered = threading.Event(), threading.Event()

            def on_message(_client: Any, _data: Any, message: Any) -> None:
                received.append(message.payload)
                answered.set()

            client = paho.Client("device", transport="websockets", protocol=paho.MQTTv311)
            client.on_connect = lambda *_: connected.set()
            client.on_message = on_message
            client.ws_set_options("/$iothub/websocket")
            client.tls_set_context(client_context())
            if proxied:
                client.proxy_set(proxy_type=3, proxy_addr="127.0.0.1", proxy_port=proxy_port)  # type: ignore[no-untyped-call]
            client.connect(host, port, 30)
            client.loop_start()
            assert connected.wait(PATIENCE)
            client.publish("topic", b"hello", qos=1)
            assert answered.wait(PATIENCE)
            client.disconnect()
            client.loop_stop()
            return received

        if proxied:
            pytest.importorskip("socks")
        async with running() as server:
            host, port = (HUB, 443) if proxied else ("localhost", server.tls_port)
            assert await asyncio.to_thread(talk, host, port, server.proxy_port) == [b"hello"]
        assert frontend.mqtt_log[0][1][1].host == host


async def test_mqtt_client_that_does_not_read_is_dropped(
    running: Any, client_context: Any, frontend: Any, eventually: Any
) -> None:
    async with running() as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname="localhost"
        )
        writer.write(MQTT_CONNECT)
        assert await reader.readexactly(4) == CONNACK
        writer.transport.pause_reading()
        writer.write(publish(b"flood 200"))
        await eventually(lambda: not server.open_connections)
        writer.transport.abort()
    assert frontend.mqtt_log[-1] == ("disconnected", False)


async def test_http_client_that_reads_slowly_gets_everything(
    running: Any, client_context: Any, frontend: Any, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    paused: list[bool] = []
    original = http_adapter.HttpProtocol.pause_writing

    def pause_writing(self: http_adapter.HttpProtocol) -> None:
        paused.append(True)
        original(self)

    monkeypatch.setattr(http_adapter.HttpProtocol, "pause_writing", pause_writing)

    async def large(_request: Any) -> Response:
        return Response(200, "x" * 6_000_000)

    monkeypatch.setattr(frontend, "http", large)
    async with running() as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname="localhost"
        )
        writer.transport.pause_reading()
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2 + b"GET / HTTP/1.0\r\n\r\n")
        await eventually(lambda: paused)
        writer.transport.resume_reading()
        answer = await asyncio.wait_for(reader.read(-1), PATIENCE)
        writer.close()
    assert answer.count(b"HTTP/1.") == 3
    assert answer.count(b"x" * 6_000_000) == 3


@pytest.mark.parametrize("held", [0, 20, 1_000_000])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_long_answer_is_made_piece_by_piece(
    running: Any, client_context: Any, frontend: Any, monkeypatch: pytest.MonkeyPatch, version: bytes, held: int
) -> None:
    """Between two pieces everybody else has a turn, however long the answer is; its length is said if it can be."""
    monkeypatch.setattr(http_adapter, "MAX_HELD", held)
    turns = [0]
    seen = []

    def pieces() -> Any:
        for number in range(50):
            seen.append(turns[0])
            yield b"[" if not number else b"%d," % number
        yield b"0]"

    async def http(request: Any) -> Response:
        return Response(pieces=pieces())

    async def count() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(frontend, "http", http)
    async with running() as server:
        other = asyncio.create_task(count())
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname="localhost"
        )
        writer.write(b"GET / HTTP/" + version + b"\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(-1), PATIENCE)
        other.cancel()
        writer.close()
    assert b"server: provisioning-simulator" in answer.lower()
    assert answer.count(b",") >= 49
    is_whole = held > 1_000
    assert (b"chunked" in answer) is (version == b"1.1" and not is_whole)
    assert (b"content-length: 141\r\n" in answer.lower()) is is_whole
    assert len(set(seen)) == 50


async def test_a_client_that_goes_in_the_middle_of_a_long_answer(
    running: Any, client_context: Any, frontend: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any, eventually: Any
) -> None:
    async def http(request: Any) -> Response:
        return Response(pieces=(bytes(100_000) for _ in range(1_000_000)))

    monkeypatch.setattr(frontend, "http", http)
    async with running() as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname="localhost"
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readexactly(200_000)
        writer.transport.abort()
        await eventually(lambda: not server.open_connections)
    assert not [entry for entry in caplog.records if entry.levelno > logging.INFO]


WEBSOCKET_HEAD = (
    b"GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n"
)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde", 400),
        (WEBSOCKET_HEAD + b"Sec-WebSocket-Key: \xfeAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", 400),
        (WEBSOCKET_HEAD + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", 0),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc", 0),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nzz\r\n", 400),
    ],
)
async def test_what_clients_do_wrong_writes_no_traceback(
    running: Any, client_context: Any, eventually: Any, caplog: pytest.LogCaptureFixture, sent: bytes, status: int
) -> None:
    async with running() as server:
        if status:
            answer = await exchange(server.tls_port, client_context(), sent)
            assert answer[8:].startswith(f" {status} ".encode())
        for turns in range(12):
            # and it is gone at any moment
            _, writer = await asyncio.open_connection(
                "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname="localhost"
            )
            writer.write(sent)
            for _ in range(turns):
                await asyncio.sleep(0)
            writer.transport.abort()
        await eventually(lambda: not server.open_connections)
    assert not [entry for entry in caplog.records if entry.levelno > logging.INFO]


def frame(payload: bytes, *, masked: bool = True, opcode: int = 2) -> bytes:
    size = len(payload)
    if size < 126:
        length = bytes((size,))
    elif size < 65_536:
        length = b"\x7e" + size.to_bytes(2, "big")
    else:
        length = b"\x7f" + size.to_bytes(8, "big")
    return bytes((0x80 | opcode, length[0] | 0x80 * masked)) + length[1:] + bytes(4 * masked) + payload


@pytest.mark.parametrize("step", [1, 3, 1_000_000])
@pytest.mark.parametrize("before", [0, 5, 126, 70_000])
async def test_frames_that_are_not_masked_end_the_connection(
    running: Any, client_context: Any, frontend: Any, before: int, step: int
) -> None:
    """RFC 6455, section 5.1. However the bytes are cut, and whatever came before, also with the request itself."""
    packets = MQTT_CONNECT + (publish(bytes(before)) if before else b"")
    sent = WEBSOCKET_HEAD + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    if before:
        sent += frame(b"", opcode=9) + frame(packets)
    sent += frame(MQTT_CONNECT, masked=False)
    async with running() as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname="localhost"
        )
        step = max(step, before // 60)
        for start in range(0, len(sent), step):
            if writer.is_closing():
                break  # it was noticed with the header
            writer.write(sent[start : start + step])
            await asyncio.sleep(0)
        await reader.readuntil(b"\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
    assert answer.endswith(b"\x88\x02\x03\xea")  # close, 1002
    # what came before was read, and the frame itself was not
    assert answer.startswith(b"\x8a\x00") == bool(before)
    assert before or CONNACK not in answer
