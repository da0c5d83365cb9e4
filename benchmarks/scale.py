"""What ten thousand devices cost: whether registering stays as fast, and how much memory a device takes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import ssl
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from dps_simulator import RunningSimulator
from dps_simulator.common.clock import SystemClock
from dps_simulator.credentials import sas
from dps_simulator.errors.table import Dps
from dps_simulator.hub.hub import IotHub
from dps_simulator.process.store import Store
from dps_simulator.provisioning.api.registration import DeviceIdentity, DeviceOperations, Refusals
from dps_simulator.provisioning.enrollments.kinds import GROUP
from dps_simulator.provisioning.registration.states import Pace, Status
from dps_simulator.provisioning.service import ProvisioningService

from . import wire
from .measure import Result, cpu_seconds, resident_bytes
from .registrations import KEY, put, simulator_process

DEVICES, SHARE = 10_000, 1_000
#: Registrations that are timed together: one alone is too short for the clock.
_BATCH = 100
_CONNECTED = 500
_GROUP = "bench-group"
_ID_SCOPE, _HUB = "0ne00000A01", "bench.azure-devices.test"


def scale() -> list[Result]:
    """All measurements of this module."""
    return [_first_and_last(), _registered(), _over_the_wire(), _connected()]


def device_key(registration_id: str) -> bytes:
    """The key of a member of the group."""
    return hmac.digest(base64.b64decode(KEY), registration_id.encode(), hashlib.sha256)


def _group() -> dict[str, object]:
    attestation = {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}}
    return {"enrollmentGroupId": _GROUP, "attestation": attestation}


class _Service:
    """The provisioning service with one hub, without endpoints and sockets.

    Arguments:
        store: where everything is kept.
        id_scope: its ID scope.
        hub_host: host name of the hub.
    """

    def __init__(self, store: Store, id_scope: str, hub_host: str) -> None:
        clock = SystemClock()
        self._store = store
        hub = IotHub(host=hub_host, storage=store, clock=clock)
        self.service = ProvisioningService(
            storage=store, clock=clock, id_scope=id_scope, hubs=lambda: [hub], pace=Pace.parse("instant")
        )
        self._operations = DeviceOperations(
            self.service, Refusals(token=Dps.UNAUTHORIZED_DEVICE, certificate=Dps.INVALID_CERTIFICATE)
        )

    def enroll(self) -> None:
        """Enroll the group."""
        self.service.enrollments.of(GROUP).put(_GROUP, _group())

    def register_all(self, numbers: Iterable[int]) -> None:
        """Register one device for every number."""
        for number in numbers:
            self.register(f"device{number}")

    def register(self, registration_id: str) -> None:
        """Everything between the token of a device and the hub that it is told."""
        resource = f"{self.service.id_scope}/registrations/{registration_id}"
        token = sas.sign(resource, device_key(registration_id), int(time.time()) + 3_600, "registration")
        device = DeviceIdentity(self.service.id_scope, registration_id, "2021-06-01", token)
        with self._store.transaction():
            status = self._operations.register(device, {"registrationId": registration_id}).status
        assert status.status is Status.ASSIGNED, status


def _first_and_last() -> Result:
    """Processor time of the first and of the last thousand registrations, with a state folder.

    There are two services: one is filled before, and then they take turns, so that a drifting machine hits both alike.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        services = []
        for folder in (Path(name) / "first", Path(name) / "last"):
            folder.mkdir(mode=0o700)
            store = Store(folder)
            stack.callback(store.close)
            services.append(_Service(store, _ID_SCOPE, _HUB))
            services[-1].enroll()
        few, many = services
        many.register_all(range(DEVICES - SHARE))
        few.register_all(range(-_BATCH, 0))
        times: tuple[list[float], list[float]] = ([], [])
        for begin in range(0, SHARE, _BATCH):
            for service, start, measured in ((few, 0, times[0]), (many, DEVICES - SHARE, times[1])):
                started = time.process_time()
                service.register_all(range(start + begin, start + begin + _BATCH))
                measured.append((time.process_time() - started) / _BATCH)
    first, last = (statistics.median(measured) for measured in times)
    return Result(
        f"registration through a group, last / first {SHARE:,} of {DEVICES:,}",
        last / first,
        1.2,
        "x",
        f"{last * 1e3:.2f} ms / {first * 1e3:.2f} ms",
    )


def _registered() -> Result:
    """Memory of a device that registered, while nothing is kept in files."""
    store = Store()
    try:
        service = _Service(store, _ID_SCOPE, _HUB)
        service.enroll()
        service.register_all(range(SHARE))
        before = resident_bytes()
        service.register_all(range(SHARE, DEVICES))
        kibibytes = (resident_bytes() - before) / (DEVICES - SHARE) / 1_024
    finally:
        store.close()
    return Result(
        "memory per registered device, state in memory",
        kibibytes,
        8,
        " KiB",
        f"{DEVICES - SHARE:,} devices: registration, operation, place in a hub",
    )


def _over_the_wire(rounds: int = 9, count: int = 100) -> Result:
    """Server processor time of a registration in an empty state folder, and in one with ten thousand devices."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folders = Path(name) / "few", Path(name) / "many"
        for folder in folders:
            with simulator_process(folder) as (running, _):
                put(running, f"/enrollmentGroups/{_GROUP}", _group())
        store = Store(folders[1])
        try:
            _Service(store, running.id_scope, running.hubs[0].host).register_all(range(DEVICES))
        finally:
            store.close()
        simulators = [stack.enter_context(simulator_process(folder, "--pace", "instant")) for folder in folders]
        for simulator in simulators:
            _register(*simulator, range(-count, 0))
        measured = [
            [_register(*simulator, range(begin, begin + count)) for simulator in simulators]
            for begin in range(0, rounds * count, count)
        ]
    few, many = (statistics.median(values) for values in zip(*measured, strict=True))
    return Result(
        f"server CPU, registration over the wire, {DEVICES:,} / no devices",
        many / few,
        1.2,
        "x",
        f"{many * 1e3:.2f} ms / {few * 1e3:.2f} ms",
    )


def _register(running: RunningSimulator, process_id: int, numbers: Sequence[int]) -> float:
    """Register devices over the wire; processor seconds of the simulator for one."""
    context = ssl.create_default_context(cafile=str(running.certificate_authority_file))
    before = cpu_seconds(process_id)
    for number in numbers:
        name = f"wire{number}"
        wire.register(running.tls_port, context, running.provisioning_host, running.id_scope, name, device_key(name))
    return (cpu_seconds(process_id) - before) / len(numbers)


def _connected() -> Result:
    """Memory of a simulator with hundreds of devices that are connected and do nothing."""
    with simulator_process(None) as (running, process_id), ExitStack() as stack:
        hub = running.hubs[0]
        _create_devices(running, _CONNECTED)
        context = ssl.create_default_context(cafile=str(running.certificate_authority_file))

        def connect(number: int) -> wire.Wire:
            device = f"device-{number}"
            line = wire.Wire(running.tls_port, context, hub.host)
            token = sas.sign(f"{hub.host}/devices/{device}", base64.b64decode(KEY), int(time.time()) + 3_600)
            answer = line.ask(wire.connect_packet(device, f"{hub.host}/{device}/?api-version=2021-04-12", token))
            if answer != b"\x20\x02\x00\x00":
                raise RuntimeError(f"the connection was refused: {answer!r}")
            return line

        # fills what is bounded, the trace and the telemetry, so that it does not count as the devices' memory
        _send(connect(0), "devices/device-0/messages/events/", 6_000)
        for number in range(50):
            connect(number).close()
        before = resident_bytes(process_id)
        for number in range(_CONNECTED):
            stack.callback(connect(number).close)
        time.sleep(0.5)
        kibibytes = (resident_bytes(process_id) - before) / _CONNECTED / 1_024
    return Result(
        "memory per connected device, idle, TLS and MQTT",
        kibibytes,
        100,
        " KiB",
        f"{_CONNECTED} devices above {before / 1_048_576:.0f} MiB",
    )


def _send(line: wire.Wire, topic: str, count: int) -> None:
    """Send so many small messages, each acknowledged."""
    for number in range(count):
        line.ask(wire.publish_packet(topic, b'{"temperature":21}', number % 60_000 + 1))
    line.close()


def _create_devices(running: RunningSimulator, count: int) -> None:
    """Put devices with :data:`~.registrations.KEY` into the hub, a hundred at a time."""
    hub = running.hubs[0]
    fields = dict(part.split("=", 1) for part in hub.connection_string.split(";"))
    token = sas.sign(
        hub.host, sas.decode_key(fields["SharedAccessKey"]), int(time.time()) + 600, fields["SharedAccessKeyName"]
    )
    keys = {"type": "sas", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}}
    context = ssl.create_default_context(cafile=str(running.certificate_authority_file))
    headers = {"Authorization": token, "Content-Type": "application/json", "Host": hub.host}
    connection = http.client.HTTPSConnection("127.0.0.1", running.tls_port, context=context, timeout=30)
    try:
        for begin in range(0, count, 100):
            devices = [
                {"id": f"device-{number}", "importMode": "create", "status": "enabled", "authentication": keys}
                for number in range(begin, min(begin + 100, count))
            ]
            connection.request("POST", "/devices?api-version=2021-04-12", json.dumps(devices), headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"the devices were not created: {answer.status} {content[:200]!r}")
    finally:
        connection.close()
