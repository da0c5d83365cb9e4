"""What connections take is bounded for all of them together, in bytes, and whoever has to go is in the trace."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from patience import PATIENCE

from dps_simulator.server import arriving
from dps_simulator.server.accounts import Account

HOST = "global.azure-devices-provisioning.test"
UPGRADE = (
    f"GET / HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
).encode()


class Connection:
    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.size = 0

    def give_up(self, reason: str) -> None:
        self.reasons.append(reason)


def test_the_heaviest_has_to_go() -> None:
    account = Account(1_000, "wills")
    heavy, usual, another = Connection(), Connection(), Connection()
    account.note(heavy, 700)
    account.add(usual, 200)
    account.add(another, 100)
    assert (account.total, len(account)) == (1_000, 3)
    account.add(another, 50)
    assert heavy.reasons == ["wills of all connections took more than 1000 bytes, and this one's most, 700"]
    assert (account.total, usual.reasons, another.reasons) == (350, [], [])
    account.add(usual, -200)
    account.add(usual, -200)
    account.add(heavy, -700)
    account.note(another, 0)
    assert (account.total, len(account)) == (0, 0)


def test_what_changes_without_notice_is_measured_before_anybody_has_to_go() -> None:
    account = Account(1_000, "backlogs", lambda connection: connection.size)  # type: ignore[attr-defined]
    first, second, third = Connection(), Connection(), Connection()
    account.note(first, 900)
    second.size = third.size = 600
    account.note(second, 600)
    assert (account.total, first.reasons) == (600, [])
    account.note(third, 600)
    assert account.total == 600
    assert len(second.reasons + third.reasons) == 1


def frame(payload: bytes, opcode: int = 2, *, final: bool = True) -> bytes:
    length = len(payload)
    size = bytes([0x80 | length]) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
    return bytes([0x80 * final | opcode]) + size + bytes(4) + payload


async def client(server: Any, settings: Any, sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.tls_port, ssl=settings, server_hostname=HOST)
    writer.write(sent)
    return reader, writer


HALF_A_PACKET = b"\x10\xe0\xd4\x03" + b"\x00\x04MQTT\x04\xc2\x00\x3c" + bytes(30_000)
HEAD = f"GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
HALF_A_HEAD = HEAD[:-2] + b"".join(b"X-%d: %s\r\n" % (number, bytes(3_000).hex().encode()) for number in range(5))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "half",
    [
        UPGRADE + frame(bytes(60_000))[:30_000],
        UPGRADE + frame(bytes(15_000), final=False) + frame(bytes(15_000), 0, final=False),
        UPGRADE + frame(HALF_A_PACKET),
        HALF_A_HEAD,
        HALF_A_HEAD + b"behind a request",
    ],
    ids=["frame", "fragments", "packet in a frame", "head", "head behind a request"],
)
async def test_whatever_is_incomplete_counts(
    running: Any, client_context: Any, eventually: Any, frontend: Any, monkeypatch: pytest.MonkeyPatch, half: bytes
) -> None:
    monkeypatch.setattr(arriving, "MAX_ARRIVING", 100_000)
    async with running() as server:
        clients = []
        for number in range(1, 6):
            is_behind = half.endswith(b"behind a request")
            clients.append(await client(server, client_context(), HEAD if is_behind else half))
            if is_behind:
                await eventually(lambda number=number: len(frontend.requests) == number)
                clients[-1][1].write(half)
            await eventually(lambda number=number: server._http.arriving._total // 29_000 == min(number, 3))
        await eventually(lambda: server.open_connections == 3)
        assert frontend.refused[0][0] == HOST
        assert frontend.refused[0][1].startswith("requests and packets that are not complete took more than 100000")
        assert len(frontend.refused) == 2
        for _, writer in clients:
            writer.transport.abort()
        await eventually(lambda: not server.open_connections)
        assert server._http.arriving._total == 0


@pytest.mark.asyncio
async def test_a_message_that_is_too_large_says_so(running: Any, client_context: Any, eventually: Any, frontend: Any):
    async with running() as server:
        too_large = b"\x82\xff" + (600_000).to_bytes(8, "big") + bytes(4)
        connect = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02id"
        _, writer = await client(server, client_context(), UPGRADE + frame(connect) + too_large)
        await eventually(lambda: frontend.endings)
        assert frontend.endings[0].by == "service"
        assert "Message size" in frontend.endings[0].reason
        writer.transport.abort()
        await eventually(lambda: not server.open_connections)


WILL = b"\x00\x02id\x00\x01t" + (30_000).to_bytes(2, "big") + bytes(30_000)
CONNECT_WITH_WILL = b"\x10" + b"\xc3\xea\x01" + b"\x00\x04MQTT\x04\x06\x00\x3c" + WILL


@pytest.mark.asyncio
@pytest.mark.parametrize("before", [b"", UPGRADE], ids=["mqtt", "websocket"])
async def test_wills_are_bounded_for_all_together(
    running: Any, client_context: Any, eventually: Any, frontend: Any, before: bytes
) -> None:
    async with running() as server:
        server._http.kept.limit = 100_000
        sent = before + (frame(CONNECT_WITH_WILL) if before else CONNECT_WITH_WILL)
        clients = []
        for number in range(1, 6):
            clients.append(await client(server, client_context(), sent))
            await eventually(lambda number=number: len(frontend.mqtt_log) >= number)
        await eventually(lambda: server.open_connections == 3)
        assert 90_000 < server._http.kept.total < 100_000
        assert [reason[:31] for _, reason in frontend.refused] == ["certificates, wills and request"] * 2
        for _, writer in clients:
            writer.transport.abort()
        await eventually(lambda: not server.open_connections)
        assert server._http.kept.total == 0


@pytest.mark.asyncio
async def test_presented_chains_are_bounded_for_all_together(
    running: Any, client_context: Any, eventually: Any, frontend: Any, issue: Any
) -> None:
    settings = client_context(issue("device", issue("middle", issue("root", authority=True), authority=True)))
    async with running() as server:
        clients = [await client(server, settings, b"")]
        await eventually(lambda: server._http.kept.total)
        each = server._http.kept.total
        assert each > 5 * 600
        server._http.kept.limit = 3 * each
        clients += [await client(server, settings, b"") for _ in range(4)]
        await eventually(lambda: len(frontend.refused) == 2)
        await eventually(lambda: server.open_connections == 3)
        assert server._http.kept.total == 3 * each
        for _, writer in clients:
            writer.transport.abort()
        await eventually(lambda: not server.open_connections)
        assert server._http.kept.total == 0


@pytest.mark.asyncio
async def test_requests_that_are_being_served_are_bounded_for_all_together(
    running: Any, client_context: Any, eventually: Any, frontend: Any
) -> None:
    sent = f"PUT /slow HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 30000\r\n\r\n".encode() + bytes(30_000)
    async with running() as server:
        server._http.kept.limit = 100_000
        clients = []
        for number in range(1, 6):
            clients.append(await client(server, client_context(), sent))
            await eventually(lambda number=number: len(frontend.requests) == number)
        await eventually(lambda: server.open_connections == 3)
        assert server._http.kept.total == 90_000
        for _, writer in clients:
            writer.transport.abort()
        await eventually(lambda: not server.open_connections)
        assert server._http.kept.total == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("over", ["mqtt", "websocket"])
async def test_what_clients_do_not_read_is_bounded_for_all_together(
    running: Any, client_context: Any, eventually: Any, frontend: Any, over: str
) -> None:
    """Long before one of them comes to its own limit of 4 MiB."""
    connect = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02id"
    flood = b"\x30\x0d\x00\x04testflood 5"
    async with running() as server:
        server._http.backlogs.limit = 1 << 20
        _, writer = await client(server, client_context(), b"")
        writer.transport.pause_reading()
        writer.write(connect if over == "mqtt" else UPGRADE + frame(connect))
        while not frontend.refused:
            # the system takes a part; so many more are asked for until it takes no more
            writer.write(flood if over == "mqtt" else frame(flood))
            await asyncio.sleep(0.001)
        assert server._http.backlogs.total <= 1 << 20
        assert frontend.refused[0][1].startswith("what clients do not read of all connections took more than")
        writer.transport.abort()
        await eventually(lambda: not server.open_connections)
        assert (server._http.backlogs.total, len(server._http.backlogs)) == (0, 0)


@pytest.mark.asyncio
async def test_who_reads_takes_no_part_of_it(running: Any, client_context: Any, eventually: Any, frontend: Any) -> None:
    payload = os.urandom(300)
    connect = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02id"
    async with running() as server:
        server._http.backlogs.limit = 1
        reader, writer = await client(server, client_context(), connect + b"\x30\xb2\x02\x00\x04test" + payload)
        assert payload in await asyncio.wait_for(reader.readexactly(4 + 3 + 6 + 300), PATIENCE)
        writer.transport.abort()
        await eventually(lambda: not server.open_connections)
        assert frontend.refused == []
