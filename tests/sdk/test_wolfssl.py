"""wolfSSL, with which many small devices speak TLS, verifies the simulator and lets a device connect.

As with Mbed TLS (``test_small_devices``), the authority decides. wolfSSL does understand name constraints. But it takes
the addresses in the server's certificate for names, which the constraints on names then do not permit.
"""

import base64
import datetime
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from other_programs import compiled
from patience import PATIENCE

from dps_simulator import Simulator
from dps_simulator.credentials import sas
from dps_simulator.provisioning.enrollments.kinds import INDIVIDUAL

pytestmark = pytest.mark.clients

KEY = "Tk9ULUEtU0VDUkVULVBSSU1BUlktS0VZLTMyLUJZVEVT"
SOURCE = Path(__file__).parent / "wolfssl_device.c"


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    """Runs the device; gives what it says."""
    program = compiled(
        tmp_path_factory.mktemp("wolfssl"), SOURCE, "-lwolfssl", needs=("libwolfssl-dev", "wolfssl/ssl.h")
    )

    def run(port, host, authority, message=b"x"):
        command = [program, str(port), host, authority]
        return subprocess.run(
            command, input=message, capture_output=True, timeout=PATIENCE, check=False
        ).stdout.decode()

    return run


def text(value):
    return len(value).to_bytes(2, "big") + value.encode()


def connect(running):
    """An MQTT packet with which a device connects to DPS."""
    address = f"{running.id_scope}/registrations/pump-1"
    token = sas.sign(address, base64.b64decode(KEY), int(time.time()) + 3_600, "registration")
    body = text("MQTT") + b"\x04\xc2\x00\x3c" + text("pump-1") + text(f"{address}/api-version=2019-03-31") + text(token)
    return bytes([0x10, len(body) & 127 | 128, len(body) >> 7]) + body


@pytest.mark.parametrize("setting", ["off", "on"])
def test_a_device_connects_unless_the_authority_has_name_constraints(device, setting):
    """The reason for the setting. When "on" no longer refuses, wolfSSL has learned it, and the text has to change."""
    with Simulator(pace="instant", name_constraints=setting) as simulator:
        keys = {"primaryKey": KEY, "secondaryKey": KEY}
        body = {"registrationId": "pump-1", "attestation": {"type": "symmetricKey", "symmetricKey": keys}}
        simulator.call(
            lambda runtime: runtime.services.provisioning.enrollments.of(INDIVIDUAL).put("pump-1", body, None)
        )
        running = simulator.running
        authority = running.certificate_authority_file
        said = device(running.tls_port, running.provisioning_host, authority, connect(running))
        if setting == "on":
            assert "refused: -198 Name Constraint error" in said
            return
        assert said == "answer: 20 02 00 00\n"
        # and it does verify
        assert "peer subject name mismatch" in device(running.tls_port, "elsewhere.example", authority)
        assert "refused: -188" in device(running.tls_port, running.provisioning_host, other_authority(authority.parent))


def other_authority(folder):
    """The file of an authority that vouches for nobody."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "another authority")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "other.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return file
