"""Small devices: MicroPython with the TLS that many of them have, Mbed TLS, trusts the simulator and registers.

What decides is the authority: Mbed TLS does not load one with critical name constraints, which learners' machines
have for protection. Everything else a device does is the same as elsewhere, in the few lines of MQTT below.
"""

import contextlib
import importlib.util
import subprocess
import sys
import time

import pytest
from patience import PATIENCE

from dps_simulator import Simulator
from dps_simulator.credentials import sas
from dps_simulator.provisioning.enrollments.kinds import INDIVIDUAL

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(
        importlib.util.find_spec("micropython_unix") is None,
        reason="MicroPython comes from PyPI for Linux on x86-64 only",
    ),
]

KEY = "Tk9ULUEtU0VDUkVULVBSSU1BUlktS0VZLTMyLUJZVEVT"
KEY_BYTES = b"NOT-A-SECRET-PRIMARY-KEY-32-BYTES"
#: What runs on the device. Its arguments are port, host name, CA certificate, ID scope, registration ID and token.
DEVICE = """
import json, socket, ssl, sys

port, host, authority, scope, name, token = sys.argv[1:]
settings = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
settings.verify_mode = ssl.CERT_REQUIRED
with open(authority, "rb") as file:
    settings.load_verify_locations(cadata=file.read())
plain = socket.socket()
plain.connect(socket.getaddrinfo("127.0.0.1", int(port))[0][-1])
stream = settings.wrap_socket(plain, server_hostname=host)


def text(value):
    value = value if isinstance(value, bytes) else value.encode()
    return len(value).to_bytes(2, "big") + value


def send(kind, body):
    size, length = len(body), b""
    while True:
        length += bytes([size & 127 | (128 if size > 127 else 0)])
        size >>= 7
        if not size:
            break
    stream.write(bytes([kind]) + length + body)


def receive():
    kind = stream.read(1)[0]
    size = shift = 0
    while True:
        byte = stream.read(1)[0]
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    body = b""
    while len(body) < size:
        body += stream.read(size - len(body))
    return kind, body


user = scope + "/registrations/" + name + "/api-version=2019-03-31&ClientVersion=micropython"
send(0x10, text("MQTT") + b"\\x04\\xc2\\x00\\x3c" + text(name) + text(user) + text(token))
assert receive() == (0x20, b"\\x00\\x00")
send(0x82, b"\\x00\\x01" + text("$dps/registrations/res/#") + b"\\x01")
assert receive()[0] == 0x90
body = json.dumps({"registrationId": name}).encode()
send(0x30, text("$dps/registrations/PUT/iotdps-register/?$rid=1") + body)
while True:
    kind, body = receive()
    if kind >> 4 == 3:
        break
topic = 2 + int.from_bytes(body[:2], "big") + (2 if kind & 6 else 0)
print("answer:", json.dumps(json.loads(body[topic:])["registrationState"]["assignedHub"]))
"""


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    """Runs the device against a simulator; what it says on stdout and stderr."""
    script = tmp_path_factory.mktemp("device") / "device.py"
    script.write_text(DEVICE)

    def run(running, host=""):
        address = f"{running.id_scope}/registrations/pump-1"
        token = sas.sign(address, KEY_BYTES, int(time.time()) + 3_600, "registration")
        authority = running.certificate_authority_file.with_suffix(".der")
        facts = (running.tls_port, host or running.provisioning_host, authority, running.id_scope, "pump-1", token)
        ended = subprocess.run(
            [sys.executable, "-m", "micropython_unix", script, *map(str, facts)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return ended.stdout + ended.stderr

    return run


@contextlib.contextmanager
def simulator(name_constraints):
    with Simulator(pace="instant", name_constraints=name_constraints) as started:
        keys = {"primaryKey": KEY, "secondaryKey": KEY}
        body = {"registrationId": "pump-1", "attestation": {"type": "symmetricKey", "symmetricKey": keys}}
        started.call(lambda runtime: runtime.services.provisioning.enrollments.of(INDIVIDUAL).put("pump-1", body, None))
        yield started


def test_a_small_device_registers(device):
    with simulator("off") as started:
        assert f'answer: "{started.running.hubs[0].host}"' in device(started.running)
        # and it does verify: another name is not accepted
        assert "answer" not in (said := device(started.running, host="elsewhere.example"))
        assert "does not match" in said


def test_mbed_tls_does_not_load_an_authority_with_name_constraints(device):
    """The reason for the setting. When this fails, small devices have learned it, and the setting is not needed."""
    with simulator("on") as started:
        said = device(started.running)
    assert "answer" not in said
    assert "invalid cert" in said
