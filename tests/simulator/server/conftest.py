"""What the tests of the server share: a certificate factory, a simulator that only answers, and a running server."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from patience import PATIENCE

from dps_simulator.common.http import Request, Response
from dps_simulator.protocols.ending import Ending
from dps_simulator.protocols.mqtt import Connect, Publish, Subscribe, Unsubscribe
from dps_simulator.server.listeners import Server
from dps_simulator.server.tls.authority import CertificateAuthority
from dps_simulator.wire.mqtt import MqttLink

DPS = "global.azure-devices-provisioning.test"
HUB = "contoso-hub-1.azure-devices.test"


class Echo:
    """An MQTT application that sends every message back, on the topic ``echo``."""

    def __init__(self, link: MqttLink, log: list[tuple[str, Any]], endings: list[Ending]) -> None:
        self.endings = endings
        self.link = link
        self.log = log

    def connected(self, connect: Connect) -> None:
        self.log.append(("connected", (connect.client_id, self.link.peer)))
        self.link.accept()

    def published(self, message: Publish) -> None:
        self.link.acknowledge(message)
        if message.payload == b"close":
            self.link.close()
        elif message.payload.startswith(b"flood "):
            for _ in range(int(message.payload.split()[1])):
                self.link.publish("echo", bytes(65_536))
        else:
            self.link.publish("echo", message.payload)

    def subscribe(self, packet: Subscribe) -> None:
        self.link.grant(packet.packet_id, [0] * len(packet.filters))

    def unsubscribe(self, packet: Unsubscribe) -> None:
        self.link.unsubscribed(packet.packet_id)

    def disconnected(self, clean: bool, how: Ending | None = None) -> None:
        self.log.append(("disconnected", clean))
        if how is not None:
            self.endings.append(how)


class FakeFrontend:
    """Answers HTTP with what it was asked, MQTT with :class:`Echo`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.refused: list[tuple[str, str]] = []
        self.mqtt_log: list[tuple[str, Any]] = []
        self.endings: list[Ending] = []
        self.links: list[MqttLink] = []

    def is_known_host(self, host: str) -> bool:
        return host in {DPS, HUB}

    async def http(self, request: Request) -> Response:
        self.requests.append(request)
        if request.path == "/empty":
            return Response(204, None, {"x-kind": "empty"})
        if request.path == "/slow":
            # until it is cancelled
            await asyncio.Event().wait()
        if request.path == "/broken":
            raise RuntimeError("broken on purpose")
        return Response(
            200,
            {
                "method": request.method,
                "path": request.path,
                "query": dict(request.query),
                "size": len(request.body),
                "host": request.peer.host,
                "transport": request.peer.transport,
                "certificates": len(request.peer.certificates),
                "text": "grüße",
            },
            {"ETag": '"1"'},
        )

    def mqtt(self, link: MqttLink, connect: Connect) -> Echo | None:
        self.links.append(link)
        return None if connect.client_id == "nobody" else Echo(link, self.mqtt_log, self.endings)

    def connection_refused(self, host: str, reason: str) -> None:
        self.refused.append((host, reason))


class Issued:
    """A certificate, its key and the files of both."""

    def __init__(
        self, folder: Path, name: str, issuer: Issued | None, *, authority: bool, first_day: int, last_day: int
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        own_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.timezone.utc)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(own_name)
            .issuer_name(issuer.certificate.subject if issuer else own_name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=first_day))
            .not_valid_after(now + datetime.timedelta(days=last_day))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .sign(issuer.key if issuer else self.key, hashes.SHA256())
        )
        self.issuer = issuer
        self.der = self.certificate.public_bytes(serialization.Encoding.DER)
        chain, link = [self.certificate], issuer
        while link is not None and link.issuer is not None:  # the root is not sent
            chain.append(link.certificate)
            link = link.issuer
        self.chain = [one.public_bytes(serialization.Encoding.DER) for one in chain]
        self.certificate_file = folder / f"{name}.pem"
        self.key_file = folder / f"{name}.key"
        self.certificate_file.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain))
        self.key_file.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


@pytest.fixture
def issue(tmp_path: Path) -> Callable[..., Issued]:
    """Makes certificates."""

    def make(
        name: str, issuer: Issued | None = None, *, authority: bool = False, first_day: int = -1, last_day: int = 1
    ) -> Issued:
        return Issued(tmp_path, name, issuer, authority=authority, first_day=first_day, last_day=last_day)

    return make


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path / "state")


@pytest.fixture
def server_files(authority: CertificateAuthority) -> tuple[Path, Path]:
    return authority.issue_server_certificate([DPS, HUB])


@pytest.fixture
def client_context(authority: CertificateAuthority, server_files: tuple[Path, Path]) -> Callable[..., ssl.SSLContext]:
    """Makes the TLS settings of clients that trust the simulator."""

    def make(certificate: Issued | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(authority.certificate_file))
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if certificate is not None:
            context.load_cert_chain(certificate.certificate_file, certificate.key_file)
        return context

    return make


@pytest.fixture
def frontend() -> FakeFrontend:
    return FakeFrontend()


@pytest.fixture
def running(
    frontend: FakeFrontend, server_files: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> Callable[..., contextlib.AbstractAsyncContextManager[Server]]:
    """A server for the time of a block. Afterwards nothing of it may be left, and asyncio may not have complained."""

    @contextlib.asynccontextmanager
    async def make(**options: Any) -> AsyncIterator[Server]:
        loop = asyncio.get_running_loop()
        problems: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: problems.append(context))
        before = asyncio.all_tasks()
        server = Server(frontend, certificate_file=server_files[0], key_file=server_files[1], **options)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()
        left = asyncio.all_tasks() - before
        # finished tasks still need a turn of the loop to leave
        await asyncio.sleep(0)
        left = {task for task in left if not task.done()}
        assert not left
        assert server.open_connections == 0
        gc.collect()
        await asyncio.sleep(0)
        assert problems == []
        assert [entry for entry in caplog.records if entry.levelno >= logging.WARNING and entry.name == "asyncio"] == []

    return make


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Waits for something to become true."""

    async def wait(condition: Callable[[], object]) -> None:
        end = asyncio.get_running_loop().time() + PATIENCE
        while not condition():
            assert asyncio.get_running_loop().time() < end, "it did not become true in time"
            await asyncio.sleep(0.005)

    return wait
