"""Clients that begin and do not go on: little is kept for them, and they keep nobody else out."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any

import pytest
from patience import PATIENCE

from dps_simulator.server import arriving, newcomers, sniffer
from dps_simulator.server.mqtt_link import MqttConnection
from dps_simulator.server.newcomers import Newcomers
from dps_simulator.server.tls import transport as tls_transport
from dps_simulator.server.tls.client_hello import MAX_GREETING, Greeting

HOST = "global.azure-devices-provisioning.test"


def greeting_of(settings: ssl.SSLContext) -> bytes:
    outgoing = ssl.MemoryBIO()
    client = settings.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOST)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def in_records(message: bytes, size: int) -> bytes:
    parts = [message[start : start + size] for start in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in parts)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100, 16_000])
@pytest.mark.parametrize("step", [1, 7, 16_384])
def test_a_greeting_is_complete_with_its_last_byte(client_context: Any, size: int, step: int) -> None:
    sent = in_records(greeting_of(client_context())[5:], size)
    greeting = Greeting()
    parts = [sent[start : start + step] for start in range(0, len(sent), step)]
    assert [greeting.receive(part) for part in parts] == [False] * (len(parts) - 1) + [True]
    assert bytes(greeting.received) == sent


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x10\x0e",
        b"\x15\x03\x01",
        b"\x16G",
        b"\x16\x03\x01\x00\x00",  # a record without content
        b"\x16\x03\x01\xff\xff",  # longer than a record can be
        b"\x16\x03\x01\x00\x01\x02",  # another message
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",  # a message that is too long
        b"\x16\x03\x01\x00\x01\x01\x17",  # another record after the beginning
    ],
)
def test_what_can_be_no_greeting_is_not_waited_for(sent: bytes) -> None:
    assert Greeting().receive(sent)
    greeting = Greeting()
    assert any(greeting.receive(sent[index : index + 1]) for index in range(len(sent)))


def test_a_greeting_never_takes_more_than_its_limit() -> None:
    message = b"\x01\x00\x3f\x00" + bytes(16_128)
    for size in (1, 10, 16_000):
        greeting, sent = Greeting(), in_records(message, size)
        assert any(greeting.receive(sent[index : index + 1]) for index in range(len(sent)))
        assert len(greeting.received) <= MAX_GREETING + 5


class Client:
    """A newcomer who remembers what became of it."""

    def __init__(self, all_of_them: Newcomers) -> None:
        self._all = all_of_them
        self.fate = ""

    def begin(self) -> None:
        self.fate = "begun"

    def give_up(self, reason: str) -> None:
        self.fate = "given up"
        self._all.remove(self)


class Loop:
    """Time that a test moves, and what waits for it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[float, Any]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, function: Any) -> None:
        function()

    def call_at(self, when: float, function: Any) -> None:
        self._timers.append((when, function))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        due = [function for when, function in self._timers if when <= self.now]
        self._timers = [entry for entry in self._timers if entry[0] > self.now]
        for function in due:
            function()


class TestNewcomers:
    def test_the_oldest_go_when_all_take_too_much(self) -> None:
        everybody = Newcomers(Loop())  # type: ignore[arg-type]
        clients = [Client(everybody) for _ in range(5)]
        for client in clients:
            everybody.weigh(client, newcomers.MAX_WEIGHT // 4)
        assert [client.fate for client in clients] == ["given up", "", "", "", ""]
        everybody.weigh(clients[1], newcomers.MAX_WEIGHT // 2)
        assert [client.fate for client in clients] == ["given up", "", "given up", "", ""]
        everybody.remove(clients[1])
        everybody.weigh(clients[4], 3 * newcomers.MAX_WEIGHT)
        assert [client.fate for client in clients[3:]] == ["given up", ""]

    def test_who_comes_while_many_are_at_it_waits_in_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(newcomers, "MAX_HANDSHAKES", 2)
        loop = Loop()
        everybody = Newcomers(loop)  # type: ignore[arg-type]
        clients = [Client(everybody) for _ in range(7)]
        assert [everybody.may_begin(client, client.begin) for client in clients] == [True] * 2 + [False] * 5
        everybody.remove(clients[1])  # it is through
        everybody.remove(clients[3])  # it went while it was waiting
        assert [client.fate for client in clients] == ["", "", "begun", "", "", "", ""]
        loop.wait(newcomers.GRACE / 2)
        everybody.remove(clients[2])
        loop.wait(newcomers.GRACE / 2)
        assert [client.fate for client in clients] == ["given up", "", "begun", "", "begun", "begun", ""]
        loop.wait(newcomers.GRACE / 2)
        assert [client.fate for client in clients[4:]] == ["given up", "begun", "begun"]
        # nobody waits: those may take as long as they like
        loop.wait(10 * newcomers.GRACE)
        assert [client.fate for client in clients[5:]] == ["begun", "begun"]


@pytest.mark.asyncio
async def test_a_greeting_in_parts_gets_its_handshake(running: Any, client_context: Any, frontend: Any) -> None:
    """Whoever waits has no TLS session yet; it is made with the last byte."""
    sessions: list[object] = []
    original = tls_transport.TlsSession

    class Counted(original):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            sessions.append(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tls_transport, "TlsSession", Counted)
        greeting = greeting_of(client_context())
        async with running() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.tls_port)
            waiting = [await asyncio.open_connection("127.0.0.1", server.tls_port) for _ in range(20)]
            for _, each in waiting:
                each.write(greeting[:-1])
            for index in range(len(greeting)):
                assert not sessions
                writer.write(greeting[index : index + 1])
                await asyncio.sleep(0)
            assert (await asyncio.wait_for(reader.readexactly(5), PATIENCE))[:2] == b"\x16\x03"
            assert len(sessions) == 1
            for each in (writer, *(each for _, each in waiting)):
                each.transport.abort()


@pytest.mark.asyncio
async def test_clients_that_stay_in_the_handshake_keep_nobody_out(
    running: Any, client_context: Any, frontend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newcomers, "MAX_HANDSHAKES", 3)
    monkeypatch.setattr(newcomers, "GRACE", 0)
    greeting = greeting_of(client_context())
    async with running() as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.tls_port) for _ in range(9)]
        for _, writer in silent:
            writer.write(greeting)
        assert await asyncio.wait_for(_status(server.tls_port, client_context()), PATIENCE) == b"HTTP/1.1 200 OK\r\n"
        for _, writer in silent:
            writer.transport.abort()
    assert {reason for _, reason in frontend.refused if "too many others" in reason}


async def _status(port: int, settings: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=settings, server_hostname=HOST)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    line = await reader.readline()
    writer.close()
    return line


HALF_A_REQUEST = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + bytes(30_000)
HALF_A_PACKET = b"\x10\xe0\xd4\x03" + b"\x00\x04MQTT\x04\xc2\x00\x3c" + bytes(30_000)


UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)
HALF_A_FRAME = UPGRADE + b"\x82\xfe\xea\x60" + bytes(4) + bytes(30_000)
FRAGMENTS = UPGRADE + 3 * (b"\x02\xfe\x27\x10" + bytes(4) + bytes(10_000) + b"\x89\x80" + bytes(4))
FRAGMENTS = FRAGMENTS.replace(b"\x02\xfe", b"\x00\xfe").replace(b"\x00\xfe", b"\x02\xfe", 1)
HALF_A_PACKET_IN_A_FRAME = UPGRADE + b"\x82\xfe\x75\x3e" + bytes(4) + HALF_A_PACKET


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "half",
    [
        pytest.param(HALF_A_REQUEST, id="request"),
        pytest.param(HALF_A_PACKET, id="packet"),
        pytest.param(HALF_A_FRAME, id="frame"),
        pytest.param(FRAGMENTS, id="fragments of a message"),
        pytest.param(HALF_A_PACKET_IN_A_FRAME, id="packet in a frame"),
    ],
)
async def test_what_is_not_complete_is_bounded_for_all_together(
    running: Any, client_context: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch, half: bytes
) -> None:
    monkeypatch.setattr(arriving, "MAX_ARRIVING", 100_000)
    # on a crowded machine nobody shall have to go for being slow
    monkeypatch.setattr(sniffer, "FIRST_REQUEST_TIMEOUT", 9 * PATIENCE)
    monkeypatch.setitem(MqttConnection.__init__.__kwdefaults__, "connect_timeout", 9 * PATIENCE)
    async with running() as server:
        clients = []
        for number in range(1, 6):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname=HOST
            )
            clients.append((reader, writer))
            writer.write(half)
            # all of it is there; when it was too much, the first had to go
            await eventually(lambda number=number: server._http.arriving._total // 30_000 == min(number, 3))
        # between the head of a request and its body a connection is counted with nothing, for a moment
        await eventually(lambda: server.open_connections == len(server._http.arriving._sizes) == 3)
        assert server._http.arriving._total <= 100_000
        for _, writer in clients:
            writer.transport.abort()
        await eventually(lambda: not server.open_connections)
        assert server._http.arriving._total == 0
        assert await asyncio.wait_for(_status(server.tls_port, client_context()), PATIENCE) == b"HTTP/1.1 200 OK\r\n"
