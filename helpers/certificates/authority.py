"""X.509 certificates for devices and for those who sign them, written to be read aloud.

::

    root = certificates.create_root("Contoso Pumps Root")
    line = root.issue_intermediate("Contoso Pumps Line 1")
    device = line.issue_device("pump-101")
    files = device.save(folder)

A *certificate* says "this public key belongs to this name", and carries the signature of whoever vouches for that. The
private key stays apart: here as a :class:`~helpers.credentials.Secret`, on disk in a file that only you can read.

For lessons and tests. Authorities of real products live in hardware, behind procedures.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dps_simulator.certificates import Certificate
from dps_simulator.rules import MAX_COMMON_NAME, REGISTRATION_ID
from helpers.credentials import Secret
from helpers.masking import shown

from . import files as certificate_files
from .files import CertificateError, CertificateFiles

#: How long certificates are valid unless somebody says otherwise, in days.
ROOT_DAYS, INTERMEDIATE_DAYS, DEVICE_DAYS, PROOF_DAYS = 3_650, 1_825, 365, 1
#: Clocks differ; a certificate that is valid only from this very second would be refused by some.
CLOCK_TOLERANCE = timedelta(minutes=5)
MIN_RSA_BITS, MAX_RSA_BITS = 2_048, 8_192

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_Made = TypeVar("_Made", bound="_Holder")


class SigningRequest:
    """What a device sends to an authority: its name and public key, signed with its private key.

    Arguments:
        request: what the authority sees, signed with the key.
        key: the private key, which stays with the device.
    """

    def __init__(self, request: x509.CertificateSigningRequest, key: PrivateKey) -> None:
        self._request = request
        self._key = key

    @property
    def common_name(self) -> str:
        """The common name that is asked for; for a device its registration ID."""
        return _common_name(self._request.subject)

    @property
    def request(self) -> str:
        """The request in PEM; there is no secret in it."""
        return self._request.public_bytes(serialization.Encoding.PEM).decode("ascii")

    def __repr__(self) -> str:
        return f"Request for a certificate: CN={self.common_name}"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("A request holds a private key and is not pickled; save the certificate that comes of it.")


class _Holder:
    """A certificate together with its private key and the certificates above it.

    Arguments:
        certificate: the certificate.
        key: the private key that belongs to it.
        above: the certificates of who signed it, and who signed those, up to the root.
        issuer: who signed it, when that one can sign again.
    """

    def __init__(
        self,
        certificate: x509.Certificate,
        key: PrivateKey,
        above: Sequence[x509.Certificate] = (),
        issuer: Authority | None = None,
    ) -> None:
        self.parsed = certificate
        self._private_key = key
        self._above = tuple(above)
        self._issuer = issuer
        self._files: CertificateFiles | None = None

    @property
    def common_name(self) -> str:
        """The name in the certificate; for a device its registration ID."""
        return _common_name(self.parsed.subject)

    @property
    def certificate(self) -> str:
        """The certificate in PEM: base64 between two lines that say what it is."""
        return certificate_files.pem(self.parsed)

    @property
    def certificate_base64(self) -> str:
        """The certificate's bytes (DER) in base64, as the enrollment API takes them, too."""
        return base64.b64encode(self.parsed.public_bytes(serialization.Encoding.DER)).decode("ascii")

    @property
    def chain(self) -> str:
        """The certificate and all those above it, up to the root, in PEM: what a device shows."""
        return "".join(certificate_files.pem(each) for each in self.chain_certificates)

    @property
    def chain_certificates(self) -> tuple[x509.Certificate, ...]:
        """The certificate and all those above it."""
        return (self.parsed, *self._above)

    @property
    def key(self) -> Secret:
        """The private key in PEM (PKCS #8), not encrypted."""
        return Secret(certificate_files.key_pem(self._private_key).decode("ascii"))

    @property
    def thumbprint(self) -> str:
        """SHA-256 over the certificate's bytes: upper-case hexadecimal digits."""
        return self.parsed.fingerprint(hashes.SHA256()).hex().upper()

    @property
    def sha1_thumbprint(self) -> str:
        """SHA-1 over the certificate's bytes, as some displays of Azure show it."""
        return self.parsed.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303

    @property
    def files(self) -> CertificateFiles:
        """Where it was saved to or loaded from.

        Raises:
            CertificateError: it was neither.
        """
        if self._files is None:
            raise CertificateError(f"The certificate of {self.common_name!r} is in no file yet; call save(folder).")
        return self._files

    def save(self, folder: Path | str, *, pass_phrase: Secret | None = None) -> CertificateFiles:
        """Write certificate, key and chain into a folder (0700), the key into a file that only you can read (0600).

        Files of an earlier certificate with this name are kept beside them, with the earlier thumbprint in their names.

        Arguments:
            folder: the folder, which is made when it is missing.
            pass_phrase: encrypts the key file; 1 to 1,023 bytes.
        """
        self._files = certificate_files.save(
            certificate_files.as_folder(folder),
            self.common_name,
            self.chain_certificates,
            self._private_key,
            pass_phrase,
        )
        return self._files

    def __repr__(self) -> str:
        issuer = _common_name(self.parsed.issuer)
        signed = "itself" if self.parsed.issuer == self.parsed.subject else issuer
        days = (self.parsed.not_valid_after_utc - self.parsed.not_valid_before_utc).days
        what = "authority" if _is_authority(self.parsed) else "device"
        return f"Certificate of {self.common_name} ({what}), signed by {signed}, valid for {days} days"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("A certificate with its private key is not pickled; use save(folder).")


class DeviceCertificate(_Holder):
    """A device's certificate with its private key.

    Made by :meth:`Authority.issue_device`, :meth:`Authority.sign` or :func:`create_self_signed`.
    """

    def renew(self, *, days: int = DEVICE_DAYS) -> DeviceCertificate:
        """A certificate for the same name from the same authority, with a new key.

        It is valid from now on, so that old and new one overlap: both can be enrolled while the device changes over.

        Raises:
            CertificateError: the authority's key is not at hand.
        """
        if self.parsed.issuer == self.parsed.subject:
            return create_self_signed(self.common_name, key=_kind(self._private_key), days=days)
        if self._issuer is None:
            raise CertificateError(
                f"{_common_name(self.parsed.issuer)!r} has to sign the new certificate, and its key is not here. "
                "Load it into the same folder, or let it issue_device() again."
            )
        return self._issuer.issue_device(self.common_name, key=_kind(self._private_key), days=days)


class Authority(_Holder):
    """Somebody who signs certificates of others. Made by :func:`create_root` or :meth:`issue_intermediate`."""

    def issue_intermediate(self, name: str, *, key: str = "ec", days: int = INTERMEDIATE_DAYS) -> Authority:
        """An authority below this one, e.g. for a factory or a production line.

        Arguments:
            name: its common name.
            key: ``ec`` (the curve P-256), ``rsa`` or ``rsa-4096``.
            days: how long it is valid, 1 to 36,500 days.
        """
        return _made(Authority, name, new_key(key), self, days)

    def issue_device(self, name: str, *, key: str = "ec", days: int = DEVICE_DAYS) -> DeviceCertificate:
        """A certificate for a device.

        Arguments:
            name: its registration ID, which becomes the common name.
            key: ``ec`` (the curve P-256), ``rsa`` or ``rsa-4096``.
            days: how long it is valid, 1 to 36,500 days.

        Raises:
            CertificateError: the name cannot be a registration ID, or the kind of key is unknown.
        """
        return _made(DeviceCertificate, checked_device_name(name), new_key(key), self, days)

    def sign(self, request: SigningRequest, *, days: int = DEVICE_DAYS) -> DeviceCertificate:
        """The certificate that a device asked for; its private key never came here."""
        if not request._request.is_signature_valid:
            raise CertificateError("The request is not signed with the key that stands in it.")
        return _made(DeviceCertificate, checked_device_name(request.common_name), request._key, self, days)

    def prove_possession(self, code: str) -> str:
        """A certificate in PEM whose name is the code: only who has this authority's private key can make it.

        Arguments:
            code: the verification code, as the service gave it out.
        """
        key = new_key("ec")
        certificate = build(code.strip(), key.public_key(), self, days=PROOF_DAYS, extensions=device_extensions())
        return certificate_files.pem(certificate)


def create_root(name: str, *, key: str = "ec", days: int = ROOT_DAYS) -> Authority:
    """An authority that nobody vouches for but itself: the top of a chain of trust.

    Arguments:
        name: its common name.
        key: ``ec`` (the curve P-256), ``rsa`` or ``rsa-4096``.
        days: how long it is valid, 1 to 36,500 days.
    """
    return _made(Authority, name, new_key(key), None, days)


def create_self_signed(name: str, *, key: str = "ec", days: int = DEVICE_DAYS) -> DeviceCertificate:
    """A device's certificate that nobody vouches for but the device itself; good for an individual enrollment only.

    Arguments:
        name: its registration ID.
        key: ``ec`` (the curve P-256), ``rsa`` or ``rsa-4096``.
        days: how long it is valid, 1 to 36,500 days.
    """
    return _made(DeviceCertificate, checked_device_name(name), new_key(key), None, days)


def create_signing_request(name: str, *, key: str = "ec") -> SigningRequest:
    """A new key pair, and a request for a certificate: what a device does that makes its own key.

    Arguments:
        name: the registration ID.
        key: ``ec`` (the curve P-256), ``rsa`` or ``rsa-4096``.
    """
    private_key = new_key(key)
    builder = x509.CertificateSigningRequestBuilder().subject_name(_named(checked_device_name(name)))
    return SigningRequest(builder.sign(private_key, hashes.SHA256()), private_key)


def load(folder: Path | str, name: str, *, pass_phrase: Secret | None = None) -> Any:
    """Read back what :meth:`save` wrote: a :class:`DeviceCertificate` or an :class:`Authority`.

    Arguments:
        folder: where it was saved.
        name: its common name.
        pass_phrase: of the key file, when it has one.

    Raises:
        CertificateError: a file is missing or is not what it should be.
    """
    return _load(certificate_files.as_folder(folder), name, pass_phrase, ())


def _load(folder: Path, name: str, pass_phrase: Secret | None, below: Sequence[str]) -> Any:
    files = certificate_files.files_in(folder, name, pass_phrase)
    chain, private_key = files.read()
    issuer = _load_issuer(folder, chain, [*below, name])
    kind = Authority if _is_authority(chain[0]) else DeviceCertificate
    loaded = kind(chain[0], private_key, chain[1:], issuer)
    loaded._files = files
    return loaded


def _load_issuer(folder: Path, chain: Sequence[x509.Certificate], below: Sequence[str]) -> Authority | None:
    """Who signed the first certificate of a chain, when its key lies in the same folder and can be opened."""
    if len(chain) < 2 or _common_name(chain[1].subject) in below:
        # a root has none, and authorities that signed each other have no first one
        return None
    try:
        issuer = _load(folder, _common_name(chain[1].subject), None, below)
    except CertificateError:
        # without it (or without its pass phrase) the certificate serves as well; only renew() needs the issuer
        return None
    return issuer if isinstance(issuer, Authority) and issuer.parsed == chain[1] else None


# --- how certificates are made ------------------------------------------------------------------------------------


def _made(kind: type[_Made], name: str, key: PrivateKey, issuer: Authority | None, days: int) -> _Made:
    """A certificate of a kind for the owner of a key; without an issuer, it signs itself."""
    extensions = authority_extensions() if kind is Authority else device_extensions()
    certificate = build(name, key.public_key(), issuer or key, days=days, extensions=extensions)
    return kind(certificate, key, issuer.chain_certificates if issuer else (), issuer)


def new_key(kind: str) -> PrivateKey:
    """A new private key.

    Raises:
        CertificateError: the kind is none of ``ec``, ``rsa`` and ``rsa-4096``.
    """
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    match = re.fullmatch(r"rsa(?:-(\d{4}))?", kind) if isinstance(kind, str) else None
    bits = int(match[1] or MIN_RSA_BITS) if match else 0
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise CertificateError(
            f"key is {shown(kind)}; it must be 'ec' (the curve P-256), 'rsa' (2048 bits) or 'rsa-4096'."
        )
    return rsa.generate_private_key(public_exponent=65_537, key_size=bits)


def authority_extensions() -> list[tuple[x509.ExtensionType, bool]]:
    """What makes a certificate that of an authority: it may sign others."""
    flags = dict.fromkeys(_KEY_USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
    return [(x509.BasicConstraints(ca=True, path_length=None), True), (x509.KeyUsage(**flags), True)]


def device_extensions() -> list[tuple[x509.ExtensionType, bool]]:
    """What makes a certificate that of a device: it may identify itself to a server, and nothing else."""
    flags = dict.fromkeys(_KEY_USAGES, False) | {"digital_signature": True}
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.KeyUsage(**flags), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
    ]


_KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def build(
    name: str,
    public_key: Any,
    issuer: _Holder | PrivateKey,
    *,
    days: int,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    start: datetime | None = None,
) -> x509.Certificate:
    """One signed certificate.

    Arguments:
        name: the common name.
        public_key: whose owner has that name.
        issuer: who signs; for a certificate that signs itself, the private key of the owner.
        days: how long it is valid, 1 to 36,500 days.
        extensions: with whether they are critical.
        start: from when on it is valid; a few minutes ago unless given.

    Raises:
        CertificateError: the name or the number of days is not possible.
    """
    if not isinstance(days, int) or not 1 <= days <= 36_500:
        raise CertificateError(f"days is {shown(days)}; it must be 1 to 36500.")
    subject = _named(name)
    above, key = (issuer.parsed, issuer._private_key) if isinstance(issuer, _Holder) else (None, issuer)
    begin = start or datetime.now(timezone.utc).replace(microsecond=0) - CLOCK_TOLERANCE
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if above is None else above.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    if above is not None:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key())  # type: ignore[arg-type]
        builder = builder.add_extension(identifier, critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256())


def checked_device_name(name: str) -> str:
    """The name, when it can be both a registration ID and a common name.

    Raises:
        CertificateError: it is longer than 64 characters, or has some that a registration ID cannot have.
    """
    if not isinstance(name, str) or len(name) > MAX_COMMON_NAME or not REGISTRATION_ID.fullmatch(name):
        raise CertificateError(
            f"The device's name is {shown(name, 120)}; as its registration ID and common name it must have 1 to "
            f"{MAX_COMMON_NAME} letters, digits and - . _ : and end with a letter, a digit or a dash."
        )
    return name


def _named(name: str) -> x509.Name:
    if not isinstance(name, str) or not 1 <= len(name.encode("utf-8")) <= MAX_COMMON_NAME or not name.isprintable():
        raise CertificateError(
            f"The name is {shown(name, 120)}; a common name has 1 to {MAX_COMMON_NAME} printable characters."
        )
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[-1].value) if found else ""


def _kind(key: PrivateKey) -> str:
    return f"rsa-{key.key_size}" if isinstance(key, rsa.RSAPrivateKey) else "ec"


def _is_authority(certificate: x509.Certificate) -> bool:
    return Certificate.from_der(certificate.public_bytes(serialization.Encoding.DER)).is_authority
