"""TLS on the plain transport: whatever way bytes are cut and whoever stops reading, everything arrives."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE

from dps_simulator.server.tls import transport as tls_transport
from dps_simulator.server.tls.context import AcceptingContext, TlsSession
from dps_simulator.server.tls.transport import TlsTransport

pytestmark = pytest.mark.asyncio

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
HOST = "global.azure-devices-provisioning.test"


class Account:
    """Who owns the connections; lets one protocol speak and notes what became of them."""

    def __init__(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._protocol = protocol
        self.transport: TlsTransport
        self.failures: list[str] = []
        self.backlogs: list[int] = []
        self.over = asyncio.Event()

    def weighs(self, size: int) -> None:
        pass

    def may_begin(self, begin: Callable[[], None]) -> bool:
        return True

    def established(self) -> asyncio.Protocol:
        return self._protocol()

    def handshake_failed(self, reason: str) -> None:
        self.failures.append(reason)

    def has_backlog(self, transport: TlsTransport) -> None:
        self.backlogs.append(transport.backlog)

    def dropped(self, server_name: str, reason: str) -> None:
        self.failures.append(reason)

    def ended(self) -> None:
        self.over.set()


@pytest.fixture
def listening(server_files: tuple[Path, Path]) -> Any:
    """A port whose connections a protocol serves through TLS."""

    @asynccontextmanager
    async def make(protocol: Callable[[], asyncio.Protocol]) -> AsyncIterator[tuple[int, Account]]:
        loop = asyncio.get_running_loop()
        problems: list[Any] = []
        loop.set_exception_handler(lambda _, problem: problems.append(problem))
        account = Account(protocol)
        context = AcceptingContext(*server_files)

        class Begin(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                account.transport = TlsTransport(transport, context=context, owner=account, loop=loop)

        server = await loop.create_server(Begin, "127.0.0.1", 0)
        yield server.sockets[0].getsockname()[1], account
        await asyncio.wait_for(account.over.wait(), PATIENCE)
        server.close()
        await server.wait_closed()
        assert problems == []

    return make


class Digest(asyncio.Protocol):
    """Takes eight bytes with a size, as many bytes, and sends them back behind their SHA-256; then it closes.

    It stops reading after each part, so that much waits at both ends.
    """

    def __init__(self) -> None:
        self._received = bytearray()
        self.writable: list[bool] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._transport.pause_reading()
        assert not self._transport.is_reading()
        asyncio.get_running_loop().call_soon(self._transport.resume_reading)
        if len(self._received) >= 8 + int.from_bytes(self._received[:8], "big"):
            body = bytes(self._received[8:])
            self._transport.writelines([hashlib.sha256(body).digest(), body])
            self._transport.close()
            self._transport.close()
            self._transport.write(b"nobody gets this")
            assert self._transport.is_closing()

    def pause_writing(self) -> None:
        self.writable.append(False)

    def resume_writing(self) -> None:
        self.writable.append(True)


@pytest.mark.parametrize("version", VERSIONS)
async def test_eight_mebibytes_both_ways(listening: Any, client_context: Any, issue: Any, version: Any) -> None:
    protocol = Digest()
    async with listening(lambda: protocol) as (port, account):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client_context(issue("device"), version), server_hostname=HOST
        )
        data = os.urandom(8 << 20)
        writer.write(len(data).to_bytes(8, "big") + data)
        assert await reader.readexactly(32) == hashlib.sha256(data).digest()
        # up to the end: a close that is not gentle cuts off the tail
        assert await reader.read(-1) == data
        writer.close()
        await writer.wait_closed()
    assert protocol.writable[:1] == [False]
    assert account.failures == []


class Sends(asyncio.Protocol):
    """Sends very much at once and closes."""

    SIZE = 16 << 20

    def connection_made(self, transport: Any) -> None:
        transport.set_write_buffer_limits(high=1_000)
        assert transport.get_write_buffer_limits()[1] == 1_000
        assert transport.get_extra_info("sslcontext")
        assert transport.get_extra_info("peername")
        assert not transport.can_write_eof()
        transport.set_protocol(self)
        assert transport.get_protocol() is self
        transport.pause_reading()
        transport.write(bytes(self.SIZE))
        transport.close()


def small_socket(port: int) -> socket.socket:
    """A connection whose system keeps little for a program that does not read."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    plain.connect(("127.0.0.1", port))
    return plain


async def test_a_client_that_reads_slowly_gets_everything(
    listening: Any, client_context: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the time is over: as long as it reads, it may go on."""
    over: list[bool] = []
    look = TlsTransport._look_at_the_end
    # the time is over whenever the client has read something
    monkeypatch.setattr(tls_transport, "STALL_TIMEOUT", PATIENCE)
    async with listening(Sends) as (port, account):
        reader, writer = await asyncio.open_connection(
            sock=small_socket(port), ssl=client_context(), server_hostname=HOST, limit=65_536
        )
        got = 0
        while got < Sends.SIZE:
            got += len(await asyncio.wait_for(reader.read(262_144), PATIENCE))
            if account.transport.get_write_buffer_size() < account.transport._unsent:
                look(account.transport)
                over.append(account.over.is_set())
        assert await reader.read() == b""
        writer.close()
    assert over
    assert not any(over)


async def test_a_client_that_stops_reading_is_dropped(
    listening: Any, client_context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_transport, "STALL_TIMEOUT", 0)
    async with listening(Sends) as (port, account):
        _, writer = await asyncio.open_connection(
            sock=small_socket(port), ssl=client_context(), server_hostname=HOST, limit=1_000
        )
        # it may take a part into its own buffers first; then nothing moves any more
        await asyncio.wait_for(account.over.wait(), PATIENCE)
        writer.transport.abort()


@pytest.mark.parametrize("reads", [False, True])
async def test_who_asks_tls_for_answers_and_does_not_read_them_is_dropped(
    listening: Any, client_context: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    """As by thousands of changes of keys, each of which wants an answer."""
    answer = os.urandom(100_000)
    outgoing = TlsSession.outgoing
    sent, dropped = 0, False
    async with listening(Waits) as (port, account):
        _, writer = await asyncio.open_connection(
            sock=small_socket(port), ssl=client_context(), server_hostname=HOST, limit=1_000
        )
        await eventually(lambda: account.transport._protocol is not None)
        account.transport.resume_reading()
        plain = account.transport._plain
        # as large as many are together, and nothing that the client would have to understand
        monkeypatch.setattr(TlsSession, "outgoing", lambda session: outgoing(session) + answer)
        while sent < 500 and not dropped:
            if reads:
                # as if the client had taken all of it
                monkeypatch.setattr(plain, "write", lambda data: None)
            account.transport._answer_by_itself(account.transport.session)
            sent += 1
            dropped = account.transport.is_closing()
        assert dropped is not reads
        writer.transport.abort()


class Waits(asyncio.Protocol):
    """Reads nothing until it is told to."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> None:
        self.ended = True


@pytest.mark.parametrize("broken", [False, True])
async def test_what_waited_is_delivered_or_found_damaged(
    listening: Any, client_context: Any, eventually: Any, broken: bool
) -> None:
    protocol = Waits()
    async with listening(lambda: protocol) as (port, account):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context(), server_hostname=HOST)
        await eventually(lambda: hasattr(protocol, "transport"))
        # as if it had arrived before reading could be stopped
        plain = account.transport
        plain.data_received(b"\x17\x03\x03\x00\x20" + bytes(32) if broken else b"")
        if not broken:
            writer.write(b"x" * 40_000)
            protocol.transport.resume_reading()
            await eventually(lambda: len(protocol.received) == 40_000)
            writer.close()
            await eventually(lambda: protocol.ended)
        else:
            protocol.transport.resume_reading()
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.wait_for(reader.readexactly(1), PATIENCE)
            writer.transport.abort()
    assert protocol.ended is not broken
