from __future__ import annotations

from datetime import datetime, timezone

from dps_simulator.hub.telemetry import TelemetryBuffer

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def append(buffer, device_id, body=b"x", **more):
    return buffer.append(device_id, body, enqueued=NOW, system={}, properties={}, **more)


def test_reading_on_from_a_message():
    buffer = TelemetryBuffer()
    for device_id in ("a", "b", "a", "a"):
        append(buffer, device_id)

    def numbers(*arguments, **named):
        return [message.sequence for message in buffer.read(*arguments, **named)]

    assert numbers() == [1, 2, 3, 4]
    assert numbers(2) == [3, 4]
    assert numbers(0, 2) == [1, 2]
    assert numbers(1, 1, "a") == [3]
    assert numbers(device_id="A") == []
    assert numbers(99) == numbers(0, 0) == []
    buffer.clear()
    assert (numbers(), buffer.last_sequence) == ([], 4)


def test_system_properties():
    buffer = TelemetryBuffer()
    message = buffer.append(
        "d",
        b"",
        enqueued=NOW,
        system={"message-id": "m", "iothub-connection-device-id": "somebody else"},
        properties={},
        module_id="m1",
        connection={"iothub-connection-auth-method": "{}"},
    )
    assert message.system_properties == {
        "message-id": "m",
        "iothub-connection-device-id": "d",
        "iothub-connection-module-id": "m1",
        "iothub-connection-auth-method": "{}",
        "iothub-enqueuedtime": "2026-01-01T00:00:00Z",
        "iothub-message-source": "Telemetry",
    }
    assert "iothub-connection-module-id" not in append(buffer, "d").system_properties
