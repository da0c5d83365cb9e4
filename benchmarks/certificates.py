"""Registrations by certificate, in processor time: against those by key, and against mosquitto with mutual TLS."""

from __future__ import annotations

import base64
import ssl
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import requests

from dps_simulator import RunningSimulator
from helpers import certificates

from . import wire
from .measure import Result, cpu_seconds
from .registrations import KEY, broker, enroll, find_mosquitto, put, simulator_process

DEVICE = "bench-by-certificate"


def processor_with_chain(rounds: int = 7, count: int = 400, in_flight: int = 4) -> list[Result | str]:
    """Server processor time of a registration with a chain of three certificates.

    Measured in turn with registrations by key, and with a broker that checks the same chain, each with a few clients at
    a time; see :func:`~.registrations.processor_against_stub`.
    """
    mosquitto = find_mosquitto()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        running, process_id = stack.enter_context(simulator_process(None, "--pace", "instant"))
        enroll(running, "bench")
        root = certificates.create_root("Bench Root")
        line = root.issue_intermediate("Bench Line")
        files = line.issue_device(DEVICE).save(folder / "device")
        _enroll_group(running, root, line)
        context = ssl.create_default_context(cafile=str(running.certificate_authority_file))
        with_chain = ssl.create_default_context(cafile=str(running.certificate_authority_file))
        with_chain.load_cert_chain(files.chain_file, files.key_file)
        key = base64.b64decode(KEY)
        clients = stack.enter_context(ThreadPoolExecutor(in_flight))

        def by_key(_: int) -> None:
            wire.register(running.tls_port, context, running.provisioning_host, running.id_scope, "bench", key)

        def by_certificate(_: int) -> None:
            wire.register(running.tls_port, with_chain, running.provisioning_host, running.id_scope, DEVICE, None)

        actions: list[tuple[int, Callable[[int], None]]] = [(process_id, by_certificate), (process_id, by_key)]
        if mosquitto is not None:
            (folder / "root.pem").write_text(root.certificate, encoding="ascii")
            port, broker_context, broker_id = stack.enter_context(
                broker(mosquitto, folder / "broker", folder / "root.pem")
            )
            broker_context.load_cert_chain(files.chain_file, files.key_file)

            def connect(number: int) -> None:
                wire.connect(port, broker_context, "broker.test", f"bench-{number}")

            actions.append((broker_id, connect))

        def processor_time(process: int, action: Callable[[int], None]) -> float:
            before = cpu_seconds(process)
            list(clients.map(action, range(count)))
            return (cpu_seconds(process) - before) / count

        for process, action in actions:
            processor_time(process, action)
        measured = [[processor_time(*each) for each in actions] for _ in range(rounds)]
    ours, plain, *theirs = (statistics.median(values) for values in zip(*measured, strict=True))
    results: list[Result | str] = [
        Result(
            "server CPU, registration with a 3-certificate chain / by key",
            ours / plain,
            1.8,
            "x",
            f"{ours * 1e3:.2f} ms / {plain * 1e3:.2f} ms",
        )
    ]
    if not theirs:
        return [*results, "skipped: mosquitto is not installed (apt install mosquitto)"]
    return [
        *results,
        Result(
            "server CPU, registration with chain / mosquitto mutual TLS",
            ours / theirs[0],
            1.75,
            "x",
            f"{ours * 1e3:.2f} ms / {theirs[0] * 1e3:.2f} ms",
        ),
    ]


def _enroll_group(running: RunningSimulator, root: certificates.Authority, line: certificates.Authority) -> None:
    """Upload the root as verified, and enroll the line as a group."""
    service = running.service_host.partition(".")[0]
    path = f"/subscriptions/bench/resourceGroups/bench/providers/Microsoft.Devices/provisioningServices/{service}"
    with requests.Session() as session:
        session.trust_env = False
        session.put(
            f"https://{running.management_host}{path}/certificates/root?api-version=2022-02-05",
            json={"properties": {"certificate": root.certificate_base64, "isVerified": True}},
            headers={"Authorization": f"Bearer {running.management_token}"},
            proxies={"https": running.proxy_url},
            verify=str(running.certificate_authority_file),
            timeout=10,
        ).raise_for_status()
    signing = {"signingCertificates": {"primary": {"certificate": line.certificate}}}
    attestation = {"type": "x509", "x509": signing}
    put(running, "/enrollmentGroups/bench", {"enrollmentGroupId": "bench", "attestation": attestation})
