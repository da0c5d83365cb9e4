"""One registration: through the SDK against a bare stub, and in processor time against mosquitto."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from azure.iot.device import ProvisioningDeviceClient, ProxyOptions

from helpers.simulator import RunningSimulator
from helpers.simulator.protocols import sas
from helpers.simulator.running import read
from helpers.simulator.server.authority import CertificateAuthority

from . import wire
from .measure import Result, alternating, cpu_seconds

KEY = base64.b64encode(b"NOT-A-SECRET-PRIMARY-KEY-32-BYTES").decode()


@contextmanager
def simulator_process(state: Path, *flags: str) -> Iterator[tuple[RunningSimulator, int]]:
    """A simulator in a process of its own; gives its endpoints and its process number."""
    command = [sys.executable, "-m", "helpers.simulator", "serve", "--json", "--state", str(state), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            json.loads(process.stdout.readline())
            running = read(state)
            assert running is not None
            yield running, process.pid
        finally:
            process.terminate()


def enroll(running: RunningSimulator, registration_id: str) -> None:
    """Enroll one device with :data:`KEY`."""
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
            f"https://{running.service_host}/enrollments/{registration_id}?api-version=2021-10-01",
            json={
                "registrationId": registration_id,
                "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}},
            },
            headers={"Authorization": token},
            proxies={"https": running.proxy_url},
            verify=str(running.certificate_authority_file),
            timeout=10,
        ).raise_for_status()


def sdk_against_stub(rounds: int = 60) -> Result:
    """One SDK registration against the simulator, and the same against the stub."""

    def registration(port: int, authority: str) -> None:
        client = ProvisioningDeviceClient.create_from_symmetric_key(
            "global.azure-devices-provisioning.test",
            "bench",
            "0ne00000A01",
            KEY,
            proxy_options=ProxyOptions("HTTP", "127.0.0.1", port),
            server_verification_cert=authority,
        )
        if client.register().status != "assigned":
            raise RuntimeError("not assigned")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stub_folder = folder / "stub"
        stub_folder.mkdir(mode=0o700)
        made = CertificateAuthority(stub_folder)
        certificate, key = made.issue_server_certificate(["global.azure-devices-provisioning.test"])
        stub = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.stub", str(certificate), str(key)], stdout=subprocess.PIPE, text=True
        )
        with stub, simulator_process(folder / "state", "--pace", "instant") as (running, _):
            assert stub.stdout is not None
            port = int(stub.stdout.readline())
            enroll(running, "bench")
            authority, stub_authority = running.certificate_authority(), made.certificate_file.read_text()
            ours, theirs = alternating(
                lambda: registration(running.proxy_port, authority),
                lambda: registration(port, stub_authority),
                rounds,
            )
            stub.terminate()
    return Result(
        "SDK registration, simulator / bare TLS+MQTT stub",
        ours / theirs,
        2.0,
        "x",
        f"{ours * 1e3:.1f} ms / {theirs * 1e3:.1f} ms",
    )


def processor_against_mosquitto(count: int = 400) -> Result | str:
    """Server processor time per registration, and mosquitto's per TLS connect."""
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if mosquitto is None:
        return "skipped: mosquitto is not installed (apt install mosquitto)"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with simulator_process(folder / "state", "--pace", "instant") as (running, process_id):
            enroll(running, "bench")
            context = ssl.create_default_context(cafile=str(running.certificate_authority_file))
            raw = base64.b64decode(KEY)
            arguments = (running.tls_port, context, running.provisioning_host, running.id_scope, "bench", raw)
            ours = _processor_time(process_id, count, lambda: wire.register(*arguments))
        broker_folder = folder / "broker"
        broker_folder.mkdir(mode=0o700)
        made = CertificateAuthority(broker_folder)
        certificate, key = made.issue_server_certificate(["broker.test"])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = broker_folder / "mosquitto.conf"
        settings.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\ncertfile {certificate}\nkeyfile {key}\n"
            "user root\npersistence false\nlog_dest none\n"
        )
        with subprocess.Popen([mosquitto, "-c", str(settings)]) as broker:
            context = ssl.create_default_context(cafile=str(made.certificate_file))
            try:
                _wait_for_port(port)
                theirs = _processor_time(broker.pid, count, lambda: wire.connect(port, context, "broker.test", "bench"))
            finally:
                broker.terminate()
    return Result(
        "server CPU, simulator registration / mosquitto TLS connect",
        ours / theirs,
        2.5,
        "x",
        f"{ours * 1e3:.2f} ms / {theirs * 1e3:.2f} ms",
    )


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


def _processor_time(process_id: int, count: int, action: Callable[[], object]) -> float:
    for _ in range(20):
        action()
    before = cpu_seconds(process_id)
    for _ in range(count):
        action()
    return (cpu_seconds(process_id) - before) / count
