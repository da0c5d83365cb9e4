from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from own_ports import own_port
from patience import PATIENCE

from dps_simulator.server import listeners, sniffer
from dps_simulator.server.connections import ConnectionTable
from dps_simulator.server.listeners import ListenError, Server
from dps_simulator.server.tls import transport as tls_transport

pytestmark = pytest.mark.asyncio

DPS = "global.azure-devices-provisioning.test"
MQTT_CONNECT = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02id"
CONNACK = b"\x20\x02\x00\x00"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture
def server_of(frontend: Any, server_files: tuple[Path, Path]) -> Any:
    def make(**options: Any) -> Server:
        return Server(frontend, certificate_file=server_files[0], key_file=server_files[1], **options)

    return make


@pytest.fixture
def taken() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


async def mqtt(port: int, settings: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=settings, server_hostname=DPS)
    writer.write(MQTT_CONNECT)
    assert await reader.readexactly(4) == CONNACK
    return reader, writer


class TestListening:
    async def test_two_free_ports(self, running: Any) -> None:
        async with running() as first, running() as second:
            ports = {first.proxy_port, first.tls_port, second.proxy_port, second.tls_port}
            assert len(ports) == 4
            assert 0 not in ports

    async def test_same_ports_again(self, running: Any, client_context: Any) -> None:
        ports = {"proxy_port": own_port(), "tls_port": own_port()}
        for _ in range(2):
            async with running(**ports) as server:
                assert {"proxy_port": server.proxy_port, "tls_port": server.tls_port} == ports
                _, writer = await mqtt(server.tls_port, client_context())
            writer.transport.abort()

    @pytest.mark.parametrize("which", ["proxy", "tls"])
    async def test_port_taken(self, server_of: Any, taken: int, which: str) -> None:
        server = server_of(**{f"{which}_port": taken})
        with pytest.raises(ListenError, match=rf"(?i){which} port {taken} on 127\.0\.0\.1 is taken.*another port"):
            await server.start()
        assert server.open_connections == 0
        if which == "tls":
            # what was already open is closed again
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", server.proxy_port))

    @pytest.mark.parametrize("port", [70_000, -1])
    async def test_impossible_port(self, server_of: Any, port: int) -> None:
        with pytest.raises(ListenError, match="65535"):
            await server_of(tls_port=port).start()

    @pytest.mark.parametrize(
        ("number", "words"),
        [("EACCES", "privileges"), ("EPERM", "privileges"), ("EADDRNOTAVAIL", "does not have that"), ("EIO", "error")],
    )
    async def test_other_errors(self, server_of: Any, monkeypatch: pytest.MonkeyPatch, number: str, words: str) -> None:
        import errno

        code = getattr(errno, number)

        def bind(_self: socket.socket, _address: Any) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(socket.socket, "bind", bind)
        with pytest.raises(ListenError, match=words):
            await server_of(tls_port=443).start()

    @pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.1"])  # noqa: S104
    async def test_other_machines_are_kept_out(self, server_of: Any, bind: str) -> None:
        with pytest.raises(ListenError, match="other machines"):
            await server_of(bind=bind).start()

    async def test_other_machines_are_let_in_on_request(self, running: Any) -> None:
        async with running(bind="0.0.0.0", allow_remote=True) as server:  # noqa: S104
            socket.create_connection(("127.0.0.1", server.tls_port)).close()

    async def test_names_are_no_addresses(self, server_of: Any) -> None:
        with pytest.raises(ListenError, match="'my-computer' is not an IP address"):
            await server_of(bind="my-computer").start()

    @pytest.mark.parametrize("bind", ["localhost", "127.0.0.2", "::1"])
    async def test_loopback_addresses(self, running: Any, bind: str) -> None:
        if bind == "::1" and not socket.has_ipv6:
            pytest.skip("no IPv6")
        try:
            async with running(bind=bind) as server:
                address = "127.0.0.1" if bind == "localhost" else bind
                socket.create_connection((address, server.proxy_port)).close()
        except ListenError as error:
            if "does not have that address" in str(error):
                pytest.skip(str(error))
            raise

    async def test_standard_ports(
        self, running: Any, client_context: Any, monkeypatch: pytest.MonkeyPatch, server_of: Any, taken: int
    ) -> None:
        assert listeners.STANDARD_PORTS == (8883, 5671, 443)
        free = [own_port(), own_port()]
        monkeypatch.setattr(listeners, "STANDARD_PORTS", tuple(free))
        async with running(standard_ports=True, tls_port=free[0]) as server:
            assert server.tls_port == free[0]
            for port in free:
                _, writer = await mqtt(port, client_context())
                writer.close()
        monkeypatch.setattr(listeners, "STANDARD_PORTS", (taken,))
        with pytest.raises(ListenError, match=f"standard port {taken} .* taken"):
            await server_of(standard_ports=True).start()

    async def test_unusable_certificate(self, frontend: Any, server_files: Any, issue: Any) -> None:
        server = Server(frontend, certificate_file=server_files[0], key_file=issue("other").key_file)
        with pytest.raises(ListenError, match=r"TLS cannot be set up.*other\.key"):
            await server.start()
        await server.stop()

    async def test_activity(self, server_of: Any, client_context: Any, eventually: Any) -> None:
        server = server_of()
        assert server.open_connections == 0
        assert server.last_activity <= time.monotonic()
        await server.start()
        started = server.last_activity
        # a clock may stand for a moment
        await eventually(lambda: time.monotonic() > started)
        _, writer = await mqtt(server.tls_port, client_context())
        assert started < server.last_activity <= time.monotonic()
        assert server.open_connections == 1
        await server.stop()
        await server.stop()
        writer.transport.abort()
        await asyncio.sleep(0)


@pytest.mark.parametrize("version", VERSIONS)
class TestClients:
    async def test_chain_reaches_mqtt(
        self, running: Any, client_context: Any, frontend: Any, issue: Any, version: Any
    ) -> None:
        device = issue("device", issue("middle", issue("root", authority=True), authority=True))
        async with running() as server:
            _, writer = await mqtt(server.tls_port, client_context(device, version))
            writer.close()
            await writer.wait_closed()
        peer = frontend.mqtt_log[0][1][1]
        assert (peer.host, peer.transport, list(peer.certificates)) == (DPS, "mqtt", device.chain)

    async def test_first_bytes_together_with_the_end_of_the_handshake(
        self, running: Any, client_context: Any, frontend: Any, version: Any
    ) -> None:
        """Whatever way the bytes are cut, none is lost and none comes before the protocol is ready."""

        def talk(port: int) -> bytes:
            # blocking, so that the Finished message and the packet leave in one go
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = client_context(None, version).wrap_bio(incoming, outgoing, server_hostname=DPS)
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
                while True:
                    try:
                        client.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        plain.sendall(outgoing.read())
                        incoming.write(plain.recv(65_536))
                client.write(MQTT_CONNECT)
                plain.sendall(outgoing.read())
                while True:
                    try:
                        return client.read(4)
                    except ssl.SSLWantReadError:
                        incoming.write(plain.recv(65_536))

        async with running() as server:
            assert await asyncio.to_thread(talk, server.tls_port) == CONNACK

    async def test_half_close(self, running: Any, client_context: Any, frontend: Any, eventually: Any, version: Any):
        def talk(port: int) -> bytes:
            with (
                socket.create_connection(("127.0.0.1", port), PATIENCE) as plain,
                client_context(None, version).wrap_socket(plain, server_hostname=DPS) as client,
            ):
                client.sendall(MQTT_CONNECT)
                answer = client.recv(4)
                client.unwrap().close()
                return answer

        async with running() as server:
            assert await asyncio.to_thread(talk, server.tls_port) == CONNACK
            await eventually(lambda: not server.open_connections)
        assert frontend.mqtt_log[-1] == ("disconnected", False)

    async def test_refused_by_the_frontend(
        self, running: Any, client_context: Any, frontend: Any, eventually: Any, version: Any
    ) -> None:
        async with running() as server:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.tls_port, ssl=client_context(None, version), server_hostname=DPS
            )
            writer.write(b"\x10\x12\x00\x04MQTT\x04\x02\x00\x3c\x00\x06nobody")
            assert await reader.read() == b"\x20\x02\x00\x05"
            writer.close()
            await eventually(lambda: not server.open_connections)

    async def test_client_that_ignores_our_close_is_dropped(
        self, running: Any, client_context: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch, version: Any
    ) -> None:
        monkeypatch.setattr(tls_transport, "CLOSE_TIMEOUT", 0.05)

        def talk(port: int, gone: threading.Event) -> None:
            with (
                socket.create_connection(("127.0.0.1", port), PATIENCE) as plain,
                client_context(None, version).wrap_socket(plain, server_hostname=DPS) as client,
            ):
                client.sendall(MQTT_CONNECT + b"\x10\x00")
                client.recv(4)
                gone.wait(PATIENCE)

        gone = threading.Event()
        async with running() as server:
            client = asyncio.ensure_future(asyncio.to_thread(talk, server.tls_port, gone))
            try:
                await eventually(lambda: server.open_connections)
                await eventually(lambda: not server.open_connections)
            finally:
                gone.set()
                await client


async def test_a_renewed_certificate_that_cannot_be_used_keeps_nobody_out(
    frontend: Any, server_files: tuple[Path, Path], client_context: Any, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = server_files
    renewals = [True, False, False, False]
    server = Server(frontend, certificate_file=certificate, key_file=key, renew=lambda: renewals.pop(0))
    await server.start()
    good = certificate.read_bytes()
    try:
        certificate.write_bytes(b"half a certif")
        for _ in range(2):
            _, writer = await asyncio.wait_for(mqtt(server.tls_port, client_context()), PATIENCE)
            writer.close()
        assert caplog.text.count("the renewed server certificate does not serve") == 2
        # it is read as soon as it can be, and then no more
        certificate.write_bytes(good)
        for _ in range(2):
            _, writer = await asyncio.wait_for(mqtt(server.tls_port, client_context()), PATIENCE)
            writer.close()
            certificate.write_bytes(b"half a certif")
    finally:
        certificate.write_bytes(good)
        await server.stop()
    assert caplog.text.count("the renewed server certificate does not serve") == 2


class TestStopping:
    async def test_with_connections_in_every_state(
        self,
        running: Any,
        client_context: Any,
        frontend: Any,
        eventually: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        writers = []
        async with running() as server:
            for port, sent in (
                (server.proxy_port, b""),
                (server.proxy_port, b"CONNECT "),
                (server.proxy_port, b"GET / HTTP/1.1\r\n\r\n"),
                (server.proxy_port, f"CONNECT {DPS}:443 HTTP/1.1\r\n\r\n".encode()),
                (server.tls_port, b""),
                (server.tls_port, b"\x16\x03\x01"),
            ):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(sent)
                writers.append(writer)
            for sent in (b"", b"G", b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", MQTT_CONNECT, MQTT_CONNECT[:3]):
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname=DPS
                )
                writer.write(sent)
                writers.append(writer)
            # every one of them got as far as it can
            await eventually(lambda: server.open_connections == len(writers))
            await eventually(lambda: frontend.mqtt_log and [each.path for each in frontend.requests] == ["/slow"])
            # stopping waits for none of them: each would be given up by itself long after
            waited = server._table.wait_until_empty
            seen: list[bool] = []

            async def wait_until_empty(seconds: float) -> bool:
                seen.append(await waited(PATIENCE))
                return seen[-1]

            monkeypatch.setattr(server._table, "wait_until_empty", wait_until_empty)
        assert seen == [True]
        assert frontend.mqtt_log[-1] == ("disconnected", False)
        for writer in writers:
            writer.transport.abort()
        # one turn of the loop calls the protocols, the next lets their tasks see it
        for _ in range(3):
            await asyncio.sleep(0)

    async def test_connections_that_come_while_stopping(self, running: Any, client_context: Any) -> None:
        for turns in range(12):
            clients = []
            async with running() as server:
                for port in (server.tls_port, server.proxy_port) * 3:
                    plain = socket.socket()
                    plain.setblocking(False)
                    plain.connect_ex(("127.0.0.1", port))
                    clients.append(plain)
                for _ in range(turns):
                    await asyncio.sleep(0)
            for plain in clients:
                plain.close()

    async def test_two_hundred_connections_leave_nothing(
        self, running: Any, client_context: Any, frontend: Any, eventually: Any
    ) -> None:
        settings = client_context()

        async def one(number: int, server: Server) -> None:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.tls_port, ssl=settings, server_hostname=DPS
            )
            if number % 2:
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            else:
                writer.write(MQTT_CONNECT)
                assert await reader.readexactly(4) == CONNACK
                writer.write(b"\xe0\x00")
            writer.close()
            await writer.wait_closed()

        def alive() -> list[object]:
            gc.collect()
            return [each for each in gc.get_objects() if isinstance(each, (sniffer.Sniffer, sniffer.MqttConnection))]

        # another simulator of this process may have connections of its own; kept here, so that no new one has their ID
        kept = alive()
        others = set(map(id, kept))
        threads = threading.active_count()
        async with running() as server:
            for start in range(0, 200, 20):
                await asyncio.gather(*(one(number, server) for number in range(start, start + 20)))
            await eventually(lambda: not server.open_connections)
            frontend.links.clear()

            # a busy machine lets go of the last ones a moment later
            await eventually(lambda: not [each for each in alive() if id(each) not in others])
        assert threading.active_count() == threads
        assert [event for event, _ in frontend.mqtt_log].count("disconnected") == 100


async def test_waiting_for_connections_has_an_end(frontend: Any) -> None:
    class Immortal(asyncio.Transport):
        def abort(self) -> None:
            pass

    loop = asyncio.get_running_loop()
    table = ConnectionTable(frontend=frontend, context=None, http=None, loop=loop)  # type: ignore[arg-type]
    assert await table.wait_until_empty(PATIENCE)
    connection = table.add(Immortal())
    assert not await table.wait_until_empty(0.01)
    connection.ended()
    connection.ended()
    assert await table.wait_until_empty(PATIENCE)


async def test_small_answers_are_not_held_back(running: Any, client_context: Any) -> None:
    """Without TCP_NODELAY the first answer of every connection waited 40 ms for an acknowledgement."""
    async with running() as server:
        _reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.tls_port, ssl=client_context(), server_hostname="contoso-hub-1.azure-devices.test"
        )
        options = [
            connection._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for connection in server._table._open
        ]
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
    assert options
    assert all(options)
