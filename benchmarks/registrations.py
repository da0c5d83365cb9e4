"""One registration against a bare stub: through the SDK, and in processor time of the server."""

from __future__ import annotations

import base64
import getpass
import json
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests
from azure.iot.device import ProvisioningDeviceClient, ProxyOptions

from dps_simulator import RunningSimulator
from dps_simulator.credentials import sas
from dps_simulator.process.address import read
from dps_simulator.server.tls.authority import CertificateAuthority

from . import wire
from .measure import Result, alternating, cpu_seconds

#: What the stub's certificate is for.
STUB_HOST = "global.azure-devices-provisioning.test"
KEY = base64.b64encode(b"NOT-A-SECRET-PRIMARY-KEY-32-BYTES").decode()


@contextmanager
def simulator_process(
    state: Path | None, *flags: str, under: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[tuple[RunningSimulator, int]]:
    """A simulator in a process of its own; gives its endpoints and process number.

    Arguments:
        state: its state folder; ``None`` keeps everything in memory.
        flags: further ones of ``serve``.
        under: a program with its arguments that runs it.
        environment: of the process, where it is not this one's.
    """
    command = [*under, sys.executable, "-m", "dps_simulator", "serve", "--json", *flags]
    command += ["--in-memory"] if state is None else ["--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            running = read(Path(ready["endpoint_file"]).parent)
            assert running is not None
            yield running, process.pid
        finally:
            process.terminate()


def enroll(running: RunningSimulator, registration_id: str) -> None:
    """Enroll one device with :data:`KEY`."""
    attestation = {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}}
    put(running, f"/enrollments/{registration_id}", {"registrationId": registration_id, "attestation": attestation})


def put(running: RunningSimulator, path: str, body: dict[str, object]) -> None:
    """PUT something into the service API."""
    fields = dict(part.split("=", 1) for part in running.service_connection_string.split(";"))
    token = sas.sign(
        running.service_host,
        sas.decode_key(fields["SharedAccessKey"]),
        int(time.time()) + 600,
        fields["SharedAccessKeyName"],
    )
    with requests.Session() as session:
        session.trust_env = False
        session.put(
            f"https://{running.service_host}{path}?api-version=2021-10-01",
            json=body,
            headers={"Authorization": token},
            proxies={"https": running.proxy_url},
            verify=str(running.certificate_authority_file),
            timeout=10,
        ).raise_for_status()


@contextmanager
def stub_process(
    folder: Path, under: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[tuple[int, int, Path, int]]:
    """The bare stub; gives the ports of its proxy and of direct TLS, what clients trust, and its process number.

    Arguments:
        folder: for its files; it is made.
        under: a program with its arguments that runs it.
        environment: of the process, where it is not this one's.
    """
    folder.mkdir(mode=0o700)
    made = CertificateAuthority(folder)
    certificate, key = made.issue_server_certificate([STUB_HOST])
    command = [*under, sys.executable, "-m", "benchmarks.stub", str(certificate), str(key)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            proxy_port, tls_port = json.loads(process.stdout.readline())
            yield proxy_port, tls_port, made.certificate_file, process.pid
        finally:
            process.terminate()


def sdk_against_stub(rounds: int = 60) -> Result:
    """One SDK registration against the simulator, and the same against the stub."""

    def registration(port: int, authority: str) -> None:
        client = ProvisioningDeviceClient.create_from_symmetric_key(
            STUB_HOST,
            "bench",
            "0ne00000A01",
            KEY,
            proxy_options=ProxyOptions("HTTP", "127.0.0.1", port),
            server_verification_cert=authority,
        )
        if client.register().status != "assigned":
            raise RuntimeError("not assigned")

    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        port, _, stub_authority, _ = stack.enter_context(stub_process(folder / "stub"))
        running, _ = stack.enter_context(simulator_process(folder / "state", "--pace", "instant"))
        enroll(running, "bench")
        authority, other = running.certificate_authority(), stub_authority.read_text(encoding="ascii")
        ours, theirs = alternating(
            lambda: registration(running.proxy_port, authority), lambda: registration(port, other), rounds
        )
    return Result(
        "SDK registration, simulator / bare TLS+MQTT stub",
        ours / theirs,
        2.0,
        "x",
        f"{ours * 1e3:.1f} ms / {theirs * 1e3:.1f} ms",
    )


def registering(running: RunningSimulator) -> Callable[[], None]:
    """What registers one device by its key, over direct TLS."""
    context = ssl.create_default_context(cafile=str(running.certificate_authority_file))
    return lambda: wire.register(
        running.tls_port, context, running.provisioning_host, running.id_scope, "bench", base64.b64decode(KEY)
    )


def registering_at_stub(port: int, authority: Path) -> Callable[[], None]:
    """The same at the stub."""
    context = ssl.create_default_context(cafile=str(authority))
    return lambda: wire.register(port, context, STUB_HOST, "0ne00000A01", "bench", base64.b64decode(KEY))


def processor_against_stub(rounds: int = 7, count: int = 400, in_flight: int = 4) -> Result:
    """Server processor time of a registration by key over direct TLS, and the stub's of the same messages.

    Measured in turn, both in memory, both with a few clients at a time: servers that idle between two requests have
    cold caches, and that hurts the faster one more.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        running, process_id = stack.enter_context(simulator_process(None, "--pace", "instant"))
        enroll(running, "bench")
        _, port, authority, stub_id = stack.enter_context(stub_process(Path(name) / "stub"))
        clients = stack.enter_context(ThreadPoolExecutor(in_flight))

        def processor_time(process: int, action: Callable[[], None]) -> float:
            before = cpu_seconds(process)
            list(clients.map(lambda _: action(), range(count)))
            return (cpu_seconds(process) - before) / count

        servers = [(process_id, registering(running)), (stub_id, registering_at_stub(port, authority))]
        for server in servers:
            processor_time(*server)
        pairs = [[processor_time(*server) for server in servers] for _ in range(rounds)]
    ours, theirs = (statistics.median(values) for values in zip(*pairs, strict=True))
    return Result(
        "server CPU, simulator registration / direct-TLS stub",
        ours / theirs,
        1.75,
        "x",
        f"{ours * 1e3:.2f} ms / {theirs * 1e3:.2f} ms",
    )


def find_mosquitto() -> str | None:
    """Where mosquitto is installed, if it is."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


@contextmanager
def broker(
    mosquitto: str, folder: Path, client_authority: Path | None = None
) -> Iterator[tuple[int, ssl.SSLContext, int]]:
    """Mosquitto with TLS on a free port; gives port, what clients trust, and its process number.

    Arguments:
        mosquitto: the program.
        folder: for its files.
        client_authority: who must have signed the certificates of clients; ``None`` asks for none.
    """
    folder.mkdir(mode=0o700)
    made = CertificateAuthority(folder)
    certificate, key = made.issue_server_certificate(["broker.test"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = folder / "mosquitto.conf"
    settings.write_text(
        f"listener {port} 127.0.0.1\nset_tcp_nodelay true\nallow_anonymous true\n"
        f"certfile {certificate}\nkeyfile {key}\n"
        + (f"cafile {client_authority}\nrequire_certificate true\n" if client_authority else "")
        + f"user {getpass.getuser()}\npersistence false\nlog_dest none\n"
    )
    with subprocess.Popen([mosquitto, "-c", str(settings)], stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for_port(port)
            yield port, ssl.create_default_context(cafile=str(made.certificate_file)), process.pid
        finally:
            process.terminate()


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
