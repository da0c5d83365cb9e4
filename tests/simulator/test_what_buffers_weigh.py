"""Buffers are bounded by what they take in memory, whatever stands in them."""

import gc
import tracemalloc
from datetime import datetime, timezone

import pytest
from x509_family import make_root

from dps_simulator.common.clock import ManualClock
from dps_simulator.common.trace import Trace
from dps_simulator.credentials import certificates, chains
from dps_simulator.hub.telemetry import TelemetryBuffer, parse_properties
from dps_simulator.protocols.mqtt import Will
from dps_simulator.protocols.mqtt_session import MqttSession

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
LIMIT = 1_000_000


@pytest.fixture
def growth():
    """Bytes of memory since the beginning of the test."""
    tracemalloc.start()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    yield lambda: (gc.collect() and 0) or tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()


# letters that take four bytes each, made anew so that no two events share them
def wide(number, length=65_000):
    return f"{number}" + "\U0001f600" * length


WORST = {
    "device": lambda number: {"device": wide(number)},
    "host": lambda number: {"host": wide(number)},
    "operation": lambda number: {"operation": wide(number)},
    "text": lambda number: {"detail": {"reason": wide(number), "userName": wide(number)}},
    "many facts": lambda number: {"detail": {f"{number} {index}": wide(index, 2_000) for index in range(100)}},
    "many values": lambda number: {"detail": {"body": [{} for _ in range(6_000)]}},
    "many names": lambda number: {"detail": {"body": {f"{number}-{index}": [] for index in range(6_000)}}},
    "long numbers": lambda number: {"detail": {"body": [10**4_000 + index + number for index in range(600)]}},
}


@pytest.mark.parametrize("worst", WORST.values(), ids=WORST)
def test_the_trace(growth, worst):
    trace = Trace(ManualClock(), max_bytes=LIMIT)
    facts = {"service": "s", "host": "h", "direction": "in", "protocol": "mqtt", "operation": "o"}
    for number in range(8):
        trace.record(**{**facts, **worst(number)})
    assert growth() < 1.5 * LIMIT
    assert trace.events()[-1].sequence == 8


def test_usual_events_are_all_kept():
    trace = Trace(ManualClock())
    for number in range(5_000):
        body = {"registrationId": f"pump-{number}", "tpm": {"endorsementKey": "x" * 400}, "text": "y" * 400}
        trace.record(
            service="s", host="h", direction="in", protocol="mqtt", operation="register", detail={"body": body}
        )
    assert len(trace.events()) == 5_000


@pytest.mark.parametrize("bag", ["&".join(f"{index:x}" for index in range(12_000)), "\U0001f600" * 15_000, "a=b"])
def test_telemetry(growth, bag):
    buffer = TelemetryBuffer(max_bytes=LIMIT)
    for number in range(8):
        system, properties = parse_properties(f"{number}{bag}")
        buffer.append("d", bytes(100), enqueued=NOW, system=system, properties=properties)
    # the newest is kept, whatever it takes
    assert growth() < 1.5 * LIMIT + 2_500_000
    assert buffer.last_sequence == 8


def test_a_session_keeps_no_credentials(growth):
    sessions = []
    for _ in range(20):
        session = MqttSession(0.0)
        texts = ("d", "devices/d/messages/events/", "gone", "u" * 60_000, "p" * 60_000)
        body = b"\x00\x04MQTT\x04\xc6\x00\x3c" + b"".join(
            len(text).to_bytes(2, "big") + text.encode() for text in texts
        )
        session.receive(b"\x10" + bytes((len(body) & 127 | 128, len(body) >> 7 & 127 | 128, len(body) >> 14)) + body, 0)
        assert session.next_event().username == "u" * 60_000
        session.accept()
        assert session.connect.client_id == "d"
        assert session.connect.will == Will("devices/d/messages/events/", b"gone", 0, False)
        assert session.connect.password is None
        sessions.append(session)
    del texts, body
    assert growth() < 20 * 20_000


def test_large_certificates_are_not_remembered(monkeypatch):
    der = make_root().der
    small = certificates.Certificate.from_der(der)
    assert small is certificates.Certificate.from_der(small.der)
    assert chains.is_signed_by(small, small)
    before = chains._is_signature_of.cache_info().currsize
    monkeypatch.setattr(certificates, "CACHED_SIZE", 10)
    monkeypatch.setattr(chains, "CACHED_SIZE", 10)
    large = certificates.Certificate.from_der(small.der)
    assert large == small
    assert large is not small
    assert chains.is_signed_by(large, large)
    assert chains._is_signature_of.cache_info().currsize == before
