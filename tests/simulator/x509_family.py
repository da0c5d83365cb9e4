"""Certificates for tests, right and wrong in every way that matters. Keys are made once for every name and reused."""

import base64
import datetime
from dataclasses import dataclass
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dps_simulator.credentials.certificates import Certificate

#: Where a ``ManualClock`` begins; certificates are valid for thirty days around it unless they say otherwise.
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
KEY_KINDS = {
    "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
    "small ec": lambda: ec.generate_private_key(ec.SECP192R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "small rsa": lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505  (weak on purpose)
}


@cache
def key_of(name, kind="ec"):
    """The private key of this name; the same one every time."""
    return KEY_KINDS[kind]()


@dataclass(frozen=True)
class Issued:
    """A certificate with the key that belongs to it."""

    certificate: x509.Certificate
    key: object

    @property
    def der(self):
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def base64(self):
        return base64.b64encode(self.der).decode()

    @property
    def key_pem(self):
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    @property
    def parsed(self):
        return Certificate.from_der(self.der)

    def issue(self, name, **how):
        """A certificate that this one signs."""
        return make(name, self, **how)


def make(
    name,
    issuer=None,
    *,
    ca=None,
    start=-10 * DAY,
    end=20 * DAY,
    now=NOW,
    kind="ec",
    key=None,
    key_name=None,
    usage=None,
    extended=None,
    path_length=None,
    signer=None,
    hash_algorithm=None,
    subject=None,
    more=(),
):
    """A certificate. Without an issuer it signs itself.

    ``ca=None`` leaves basic constraints out; ``usage`` is whether key usage allows signing certificates (``None``
    leaves it out); ``signer`` is another key that makes the signature.
    """
    key = key or key_of(key_name or name, kind)
    subject = subject if subject is not None else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + start)
        .not_valid_after(now + end)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length if ca else None), critical=True)
    if usage is not None:
        flags = x509.KeyUsage(not usage, False, False, False, False, usage, usage, False, False)
        builder = builder.add_extension(flags, critical=True)
    if extended is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical)
    signing = signer or (key if issuer is None else issuer.key)
    return Issued(builder.sign(signing, hash_algorithm or hashes.SHA256()), key)


def make_root(name="Root", **how):
    """A self-signed authority."""
    return make(name, **{"ca": True, **how})
