"""A certificate is public: whoever shows one has to hold its private key, or the handshake ends.

Our code judges certificates after the handshake, and the TLS layer takes any of them. That it still checks who holds
the key is what everything else stands on.
"""

import base64
import socket
import ssl
import threading

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from patience import PATIENCE
from x509_family import key_of, make

from dps_simulator import Simulator

HOST = "global.azure-devices-provisioning.test"
VERSIONS = pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"]
)


@pytest.fixture(scope="module")
def simulator():
    with Simulator() as running:
        yield running.running


def pem_of(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def forged_pem(public_key):
    """What somebody can make who knows the public key: its numbers are right, the secret ones belong to another key.

    Libraries for keys would notice; nobody has to use one to write nine numbers into a file (RFC 8017, A.1.2).
    """
    own, other = public_key.public_numbers(), rsa.generate_private_key(65537, 2048).private_numbers()
    numbers = [0, own.n, own.e, other.d, other.p, other.q, other.dmp1, other.dmq1, other.iqmp]
    body = b"".join(_der(2, number.to_bytes(number.bit_length() // 8 + 1, "big")) for number in numbers)
    text = base64.encodebytes(_der(0x30, body)).decode()
    return f"-----BEGIN RSA PRIVATE KEY-----\n{text}-----END RSA PRIVATE KEY-----\n"


def _der(tag, content):
    size = len(content)
    length = bytes((size,)) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes((tag,)) + length + content


def context_for(simulator, version, folder, issued, key):
    context = ssl.create_default_context(cadata=simulator.certificate_authority())
    context.minimum_version = context.maximum_version = version
    certificate = folder / "certificate.pem"
    certificate.write_text(issued.pem)
    key_file = folder / "key.pem"
    key_file.write_text(key)
    context.load_cert_chain(certificate, key_file)
    return context


def talk(port, context):
    """Shake hands and send one request; what comes back."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as secured,
    ):
        secured.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        return secured.recv(100)


def hangs_up(port, context):
    """Whether no answer comes. With TLS 1.3 the client believes itself connected until its first read."""
    try:
        return talk(port, context) == b""
    except (ssl.SSLError, ConnectionError):
        return True


@VERSIONS
def test_the_owner_of_the_key_is_let_in(simulator, version, tmp_path):
    issued = make("pump-101", kind="rsa")
    context = context_for(simulator, version, tmp_path, issued, pem_of(issued.key))
    assert talk(simulator.tls_port, context).startswith(b"HTTP/1.1 404")


@VERSIONS
def test_a_forged_possession_ends_the_handshake(simulator, version, tmp_path):
    issued = make("pump-101", kind="rsa")
    context = context_for(simulator, version, tmp_path, issued, forged_pem(issued.key.public_key()))
    assert hangs_up(simulator.tls_port, context)


class Meddler:
    """Carries bytes between a client and the simulator, and flips one in the client's CertificateVerify message."""

    HANDSHAKE, CERTIFICATE_VERIFY = 22, 15

    def __init__(self, port):
        self.flipped = False
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def close(self):
        self._listener.close()
        self._thread.join(timeout=PATIENCE)

    def _carry(self):
        client, _ = self._listener.accept()
        with client, socket.create_connection(("127.0.0.1", self._server_port), timeout=PATIENCE) as server:
            back = threading.Thread(target=self._copy, args=(server, client), daemon=True)
            back.start()
            stream = client.makefile("rb")
            while header := stream.read(5):
                body = bytearray(stream.read(int.from_bytes(header[3:5], "big")))
                if header[0] == self.HANDSHAKE and body[0] == self.CERTIFICATE_VERIFY:
                    body[-1] ^= 1
                    self.flipped = True
                try:
                    server.sendall(header + body)
                except OSError:
                    break
            stream.close()
            back.join(timeout=PATIENCE)

    @staticmethod
    def _copy(source, target):
        try:
            while data := source.recv(4096):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_one_flipped_bit_of_the_proof_ends_the_handshake(simulator, kind, tmp_path):
    # only TLS 1.2 sends the proof in the open, so that it can be changed on the way
    issued = make("pump-101", kind=kind, key=key_of("flipped", kind))
    context = context_for(simulator, ssl.TLSVersion.TLSv1_2, tmp_path, issued, pem_of(issued.key))
    meddler = Meddler(simulator.tls_port)
    try:
        assert hangs_up(meddler.port, context)
    finally:
        meddler.close()
    assert meddler.flipped
