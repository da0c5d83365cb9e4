"""The certificate authority of one simulator, and the server certificate that it issues.

Clients learn to trust the authority by its PEM file. It lives as long as the state folder and at most 30 days; the
server certificate is issued afresh at every start.
"""

from __future__ import annotations

import ipaddress
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dps_simulator.common.clock import Clock, SystemClock
from dps_simulator.common.private_files import FolderError, private_folder, write_private

#: Common name of the authority: whoever finds it in a trust store shall know what it is.
AUTHORITY_NAME = "Provisioning simulator CA (not Azure, for this machine only)"
#: Common name of the server certificate.
SERVER_NAME = "Provisioning simulator (not Azure)"
AUTHORITY_LIFE = timedelta(days=30)
#: An authority with less than this left is replaced at the next start.
AUTHORITY_RENEWAL = timedelta(days=7)
SERVER_LIFE = timedelta(days=7)
#: Certificates are valid from a little earlier, for clocks that are behind.
BACKDATED = timedelta(hours=1)

#: Parents of the simulated host names: hubs that are linked later need no new certificate.
WILDCARD_PARENTS = ("azure-devices.test", "azure-devices-provisioning.test")
#: Names and addresses of this machine.
LOCAL_NAMES = ("localhost",)
LOCAL_ADDRESSES = ("127.0.0.1", "::1")
#: What an authority may vouch for, so that one in a trust store can do no harm to real names.
PERMITTED_DOMAINS = ("test", "localhost")
PERMITTED_NETWORKS = ("127.0.0.0/8", "::1/128")


class AuthorityError(FolderError):
    """A stored certificate or key cannot be used. The text names the file and says what to do."""


class CertificateAuthority:
    """A root certificate and its key in a folder.

    Arguments:
        folder: where the files are kept or made (mode 0700, keys 0600). ``None`` makes a private temporary folder that
            :meth:`close` removes.
        clock: the time; certificates are checked by other programs, so it should be the real one.
        constrained: whether the root can vouch for simulated names only, by critical name constraints (RFC 5280,
            section 4.2.1.10). Mbed TLS and wolfSSL, the TLS of most small devices, do not trust such a root. ``None``:
            it has them unless the server needs other names, and one without them stays.

    Attributes:
        certificate_file: PEM of the root certificate; exists from the first :meth:`issue_server_certificate` on.
        der_file: the same as DER, which small devices take.
    """

    def __init__(
        self, folder: Path | None = None, clock: Clock | None = None, *, constrained: bool | None = None
    ) -> None:
        self._clock: Clock = clock or SystemClock()
        self._temporary = folder is None
        self._folder = Path(tempfile.mkdtemp(prefix="simulator-ca-")) if folder is None else private_folder(folder)
        self.certificate_file = self._folder / "authority.pem"
        self.der_file = self._folder / "authority.der"
        self._constrained = constrained
        self._issued: datetime | None = None
        self._key_file = self._folder / "authority.key"
        self._server_certificate_file = self._folder / "server.pem"
        self._server_key_file = self._folder / "server.key"

    def close(self) -> None:
        """Remove the temporary folder, if it is one."""
        if self._temporary:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def is_due(self) -> bool:
        """Whether the server needs a new certificate: half of its time is over, or the clock was set back before it."""
        return self._issued is not None and not -BACKDATED < self._clock.now() - self._issued < SERVER_LIFE / 2

    def issue_server_certificate(self, hosts: Iterable[str]) -> tuple[Path, Path]:
        """Make a new server key and certificate.

        Arguments:
            hosts: host names that the certificate has to cover, beside the wildcards and this machine's own names.

        Returns:
            the certificate file (leaf, then root) and the key file.

        Raises:
            AuthorityError: a file of the authority is damaged, missing, foreign, or cannot be written.
        """
        names = _server_names(hosts)
        try:
            authority, authority_key = self._authority(names)
            key = ec.generate_private_key(ec.SECP256R1())
            now = self._clock.now()
            certificate = _server_certificate(authority, authority_key, key, names, now)
            write_private(self._server_key_file, _key_pem(key))
            write_private(self._server_certificate_file, _pem(certificate) + _pem(authority))
            write_private(self.der_file, authority.public_bytes(serialization.Encoding.DER))
            self._issued = now
        except OSError as error:
            raise AuthorityError(
                f"The certificates in {self._folder} cannot be written ({error.strerror or error}). "
                "Make the folder writable, or choose another state folder."
            ) from error
        return self._server_certificate_file, self._server_key_file

    # --- the authority itself -------------------------------------------------------------------------------------

    def _authority(self, names: Sequence[str]) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """The stored authority while it is good enough, else a new one."""
        foreign = next((name for name in names if not _is_permitted(name)), None)
        if self._constrained and foreign is not None:
            raise AuthorityError(
                f"{foreign!r:.260} lies outside of what an authority with name constraints can vouch for: names that "
                "end in .test or .localhost. Set name_constraints to auto or off, or use such a name."
            )
        constrained = foreign is None and self._constrained is not False
        stored = self._load()
        if stored is not None:
            certificate = stored[0]
            long_enough = certificate.not_valid_after_utc - self._clock.now() >= AUTHORITY_RENEWAL
            begun = certificate.not_valid_before_utc <= self._clock.now()
            has_them = _is_constrained(certificate)
            # one that is trusted already stays where nothing was asked for
            as_wished = has_them if self._constrained else constrained or not has_them
            if long_enough and begun and as_wished:
                return stored
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _root_certificate(key, self._clock.now(), constrained=constrained)
        # killed in between, the next start finds no certificate and begins anew; never a pair that does not fit
        self.certificate_file.unlink(missing_ok=True)
        write_private(self._key_file, _key_pem(key))
        write_private(self.certificate_file, _pem(certificate))
        return certificate, key

    def _load(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
        """The stored pair, ``None`` when there is none yet."""
        remedy = (
            f"Remove {self.certificate_file.name} and {self._key_file.name} from {self._folder}; new ones are made."
        )
        if not self.certificate_file.exists():
            # a key alone is what an interrupted first start leaves behind; nobody trusts it yet
            return None
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
            name = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        except (OSError, ValueError) as error:
            raise AuthorityError(f"{self.certificate_file} is not a readable PEM certificate. {remedy}") from error
        if not name or name[0].value != AUTHORITY_NAME:
            raise AuthorityError(f"{self.certificate_file} was not made by this simulator. {remedy}")
        try:
            key = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
        except FileNotFoundError as error:
            raise AuthorityError(
                f"{self._key_file}, the key of {self.certificate_file}, is missing. {remedy}"
            ) from error
        except (OSError, ValueError, TypeError) as error:
            # the cause is not shown: it could quote the file
            raise AuthorityError(f"{self._key_file} is not a readable PEM key without password. {remedy}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise AuthorityError(f"{self._key_file} does not belong to {self.certificate_file}. {remedy}")
        return certificate, key


def _server_names(hosts: Iterable[str]) -> list[str]:
    """Every name and address of the server certificate, each once."""
    wildcards = [f"*.{parent}" for parent in WILDCARD_PARENTS]
    given = [host.lower().rstrip(".") for host in hosts]
    return list(dict.fromkeys([*wildcards, *given, *LOCAL_NAMES, *LOCAL_ADDRESSES]))


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_permitted(name: str) -> bool:
    """Whether a name lies within what a constrained authority may vouch for."""
    address = _address(name)
    if address is not None:
        networks = [ipaddress.ip_network(network) for network in PERMITTED_NETWORKS]
        return any(address in network for network in networks if network.version == address.version)
    return name.rpartition(".")[2] in PERMITTED_DOMAINS


def _is_constrained(certificate: x509.Certificate) -> bool:
    try:
        certificate.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound:
        return False
    return True


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_usage(**granted: bool) -> x509.KeyUsage:
    usages = (
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
    return x509.KeyUsage(**{usage: granted.get(usage, False) for usage in usages})


def _root_certificate(key: ec.EllipticCurvePrivateKey, now: datetime, *, constrained: bool) -> x509.Certificate:
    """A self-signed root that may issue server certificates but no further authorities."""
    public_key = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(AUTHORITY_NAME))
        .issuer_name(_name(AUTHORITY_NAME))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    if constrained:
        domains = [x509.DNSName(domain) for domain in PERMITTED_DOMAINS]
        networks = [x509.IPAddress(ipaddress.ip_network(network)) for network in PERMITTED_NETWORKS]
        builder = builder.add_extension(x509.NameConstraints([*domains, *networks], None), critical=True)
    return builder.sign(key, hashes.SHA256())


def _server_certificate(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    names: Sequence[str],
    now: datetime,
) -> x509.Certificate:
    """A leaf for TLS servers. OpenSSL's strict checks (default in Python 3.13) want both key identifiers."""
    alternatives: list[x509.GeneralName] = []
    for name in names:
        address = _address(name)
        try:
            alternatives.append(x509.DNSName(name) if address is None else x509.IPAddress(address))
        except ValueError as error:
            raise AuthorityError(f"{name!r:.260} cannot stand in a certificate; use an ASCII host name.") from error
    issuer = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        x509.CertificateBuilder()
        .subject_name(_name(SERVER_NAME))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(min(now + SERVER_LIFE, authority.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
