"""Enrollment operations over REST at a thousand and at a hundred thousand enrollments."""

from __future__ import annotations

import http.client
import json
import ssl
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dps_simulator import RunningSimulator
from dps_simulator.credentials import sas
from dps_simulator.process.store import Store

from .measure import Result, seconds
from .registrations import KEY, enroll, simulator_process

SMALL, LARGE = 1_000, 100_000


class _Client:
    """One keep-alive connection to the enrollment API."""

    def __init__(self, running: RunningSimulator) -> None:
        fields = dict(part.split("=", 1) for part in running.service_connection_string.split(";"))
        token = sas.sign(
            running.service_host,
            sas.decode_key(fields["SharedAccessKey"]),
            int(time.time()) + 3_600,
            fields["SharedAccessKeyName"],
        )
        self._headers = {
            "Authorization": token,
            "Content-Type": "application/json",
            "If-Match": "*",
            "Host": running.service_host,
        }
        context = ssl.create_default_context(cafile=str(running.certificate_authority_file))
        self._connection = http.client.HTTPSConnection("127.0.0.1", running.tls_port, context=context, timeout=30)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One request; an answer other than success raises."""
        data = json.dumps(body) if body is not None else None
        self._connection.request(method, f"{path}?api-version=2021-10-01", data, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:200]!r}")
        return json.loads(content)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _seed(state: Path, count: int) -> None:
    """Fill a new state through the store: copies of one enrollment that the API itself made."""
    with simulator_process(state, "--pace", "instant") as (running, _):
        enroll(running, "seed")
    store = Store(state)
    try:
        collection = store.collection("enrollment")
        (original,) = collection.page(limit=2)
        with store.transaction():
            collection.put_all(
                (f"device-{number}", {**original.body, "registrationId": f"device-{number}"}) for number in range(count)
            )
    finally:
        store.close()


def rest_at_scale(rounds: int = 150) -> list[Result]:
    """PUT, GET and a query page at both sizes, measured in turn."""
    body = {
        "registrationId": "device-500",
        "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}},
    }
    operations = {
        "PUT": lambda client: client.call("PUT", "/enrollments/device-500", body),
        "GET": lambda client: client.call("GET", "/enrollments/device-500"),
        "query page": lambda client: client.call("POST", "/enrollments/query", {"query": "SELECT *"}),
    }
    results = []
    with tempfile.TemporaryDirectory() as name:
        small, large = Path(name) / "small", Path(name) / "large"
        _seed(small, SMALL)
        _seed(large, LARGE)
        with simulator_process(small) as (one, _), simulator_process(large) as (other, _):
            clients = _Client(one), _Client(other)
            for operation, action in operations.items():
                for client in clients:
                    action(client)
                times: tuple[list[float], list[float]] = ([], [])
                for _ in range(rounds):
                    for client, measured in zip(clients, times, strict=True):
                        measured.append(seconds(lambda client=client, action=action: action(client)))  # type: ignore[misc]
                few, many = (statistics.median(measured) for measured in times)
                results.append(
                    Result(
                        f"enrollment {operation} over REST, {LARGE:,} / {SMALL:,} enrollments",
                        many / few,
                        1.5,
                        "x",
                        f"{many * 1e3:.2f} ms / {few * 1e3:.2f} ms",
                    )
                )
            for client in clients:
                client.close()
    return results
