"""The device in MicroPython, from examples/: the files that go to a board, run by MicroPython for this machine.

Its TLS is Mbed TLS, which takes certificates as DER only, one in each file, and no authority with name constraints
(``test_small_devices``).
"""

import importlib.util
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificate as x509_of
from other_programs import environment
from patience import PATIENCE
from sdk_clients import KEY, OTHER_KEY, Sdk, derive
from test_wolfssl import other_authority
from test_x509_end_to_end import x509

from dps_simulator import CloudToDeviceMessage, Simulator
from helpers import certificates

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(
        importlib.util.find_spec("micropython_unix") is None,
        reason="MicroPython comes from PyPI for Linux on x86-64 only",
    ),
]
EXAMPLE = Path(__file__).parents[2] / "examples" / "micropython"


@pytest.fixture(scope="module")
def simulator():
    with Simulator(pace="instant", name_constraints="off") as simulator:
        yield simulator


@pytest.fixture
def sdk(simulator):
    simulator.reset()
    simulator.pace = "instant"
    clients = Sdk(simulator)
    yield clients
    clients.close()


@pytest.fixture
def start(sdk, tmp_path):
    """Starts the device on a board of its own, a folder with nothing but its files."""
    board = tmp_path / "board"
    board.mkdir()
    for name in ("main.py", "mqtt.py"):
        shutil.copy(EXAMPLE / name, board)

    def start(registration_id="pump-1", **changes):
        running = sdk.running
        shutil.copy(running.certificate_authority_file.with_suffix(".der"), board / "authority.der")
        settings = {
            "host": running.provisioning_host,
            "id_scope": running.id_scope,
            "registration_id": registration_id,
            "authority": "authority.der",
            "port": running.tls_port,
            "address": "127.0.0.1",
            **changes,
        }
        (board / "settings.json").write_text(json.dumps(settings))
        return subprocess.Popen(
            [sys.executable, "-m", "micropython_unix", "main.py"],
            cwd=board,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    start.board = board
    return start


@pytest.fixture
def run(start):
    """Runs it; gives its lines."""

    def run(*arguments, **changes):
        with start(*arguments, **changes) as device:
            said, _ = device.communicate(timeout=PATIENCE)
        assert not any(secret in said for secret in (KEY, OTHER_KEY, "sig="))
        return said.splitlines()

    return run


def save(board, issued, whole=False):
    """The files of a certificate, as a tool of the factory makes them: DER, ``whole`` with those of its issuers."""
    der = serialization.Encoding.DER
    chain, key = issued.save(board / "factory").read()
    shown = chain if whole else chain[:1]
    (board / "device.der").write_bytes(b"".join(each.public_bytes(der) for each in shown))
    (board / "key.der").write_bytes(
        key.private_bytes(der, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return {"certificate": "device.der", "private_key": "key.der"}


def bodies(sdk, device):
    return [message.body for message in sdk.simulator.telemetry(device_id=device)]


@pytest.mark.tried("MicroPython", "key", "telemetry")
@pytest.mark.parametrize("pace", ["instant", "polls=2"])
def test_it_registers_with_a_key_and_sends(sdk, run, pace):
    sdk.enroll("pump-1", deviceId="cellar-pump")
    sdk.simulator.pace = pace
    assert run(key=KEY, telemetry='{"pressure": 2.5}') == [
        f"connected to {sdk.running.provisioning_host} as pump-1",
        *["answer 202 asking again in 0 s"] * (3 if pace == "polls=2" else 0),
        f"assigned to {sdk.hub} as cellar-pump",
        f"connected to {sdk.hub} as cellar-pump",
        "telemetry sent",
        "done",
    ]
    assert bodies(sdk, "cellar-pump") == [b'{"pressure": 2.5}']


@pytest.mark.tried("MicroPython", "group key")
def test_it_registers_with_a_key_that_was_derived_elsewhere(sdk, run):
    sdk.enroll_group("pumps")
    assert run("pump-7", key=derive(KEY, "pump-7"))[-1] == "done"
    assert "OSError: not provisioned: 401000" in run("pump-7", key=KEY)


@pytest.mark.tried("MicroPython", "certificate")
@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_it_registers_with_a_certificate(sdk, run, start, kind):
    issued = certificates.create_self_signed("pump-1", key=kind)
    sdk.enroll("pump-1", attestation=x509("clientCertificates", issued))
    assert run(**save(start.board, issued))[-2:] == ["telemetry sent", "done"]
    assert len(bodies(sdk, "pump-1")) == 1


@pytest.mark.tried("MicroPython", "group certificate")
def test_a_group_knows_it_by_its_own_issuer(sdk, run, start):
    line = certificates.create_root("Contoso Root").issue_intermediate("Contoso Line")
    sdk.upload("line", line)
    sdk.enroll_group("pumps", attestation=x509("signingCertificates", line))
    assert run("pump-1", **save(start.board, line.issue_device("pump-1")))[-1] == "done"


def test_it_shows_its_own_certificate_only(sdk, run, start):
    """A group whose proof is further up does not know it. When this fails, the document has to change."""
    root = certificates.create_root("Contoso Root")
    line = root.issue_intermediate("Contoso Line")
    sdk.upload("root", root)
    sdk.enroll_group("pumps", attestation=x509("signingCertificates", line))
    said = run("pump-1", **save(start.board, line.issue_device("pump-1"), whole=True))
    assert "OSError: not provisioned: 401002" in said
    reasons = [event["detail"]["reason"] for event in sdk.trace() if "reason" in event["detail"]]
    assert "the device shows only its own certificate" in reasons[-1]


@pytest.mark.tried("MicroPython", "messages", "twin")
@pytest.mark.parametrize("kind", ["message", "desired property"])
def test_it_receives(sdk, start, kind):
    sdk.enroll("pump-1")
    with start(key=KEY, wait=True) as device:
        watchdog = threading.Timer(PATIENCE, device.kill)
        watchdog.start()
        lines = iter(device.stdout.readline, "")
        assert "telemetry sent\n" in lines
        if kind == "message":
            sdk.simulator.send_message("pump-1", CloudToDeviceMessage(b"open"))
        else:
            sdk.registry().update_twin("pump-1", {"properties": {"desired": {"interval": 5}}})
        said = list(lines)
        watchdog.cancel()
    expected = "open" if kind == "message" else '{"interval":5,"$version":2}'
    assert said == [f"received {expected}\n", "done\n"]


def test_it_verifies_and_says_why_it_ends(sdk, run, start, tmp_path):
    sdk.enroll("pump-1")
    assert "does not match" in "".join(run(key=KEY, host="elsewhere.example"))
    other = x509_of(other_authority(tmp_path).read_bytes())
    (start.board / "other.der").write_bytes(other.public_bytes(serialization.Encoding.DER))
    assert "not correctly signed by the trusted CA" in "".join(run(key=KEY, authority="other.der"))
    sdk.simulator.switch_on_fault(sdk.hub, "unavailable")
    try:
        assert f"OSError: {sdk.hub} refuses the connection with code 3" in run(key=KEY)
    finally:
        sdk.simulator.switch_off_faults()
