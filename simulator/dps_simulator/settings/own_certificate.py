"""A server certificate that somebody brought along: checked before a port opens, because OpenSSL says so little."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from dps_simulator.credentials.certificate_encoding import wide_encoding

from .settings import TlsFiles

_T = TypeVar("_T")
_LOGGER = logging.getLogger(__name__)


class OwnCertificateError(Exception):
    """A file cannot be used. The text names it and says what to do."""


def check(files: TlsFiles, hosts: Iterable[str], now: datetime) -> None:
    """Make sure that the files can be served, and warn when clients will not like what they get.

    Arguments:
        files: certificate, key and what clients trust.
        hosts: host names that clients will ask for.
        now: the present time (aware, in UTC).

    Raises:
        OwnCertificateError: a file is missing or not what it should be, or key and certificate do not belong together.
    """
    chain = _certificates(files.certificate)
    if files.authority is not None:
        _certificates(files.authority)
    public = _public_key(files.key)
    if _encoded(chain[0].public_key()) != public:
        if any(_encoded(other.public_key()) == public for other in chain[1:]):
            raise OwnCertificateError(
                f"{files.certificate} does not begin with the certificate of the key {files.key}. Put that one first, "
                "then its issuers."
            )
        raise OwnCertificateError(
            f"The key {files.key} does not belong to the certificate {files.certificate}. Name the one it was made for."
        )
    if not chain[0].not_valid_before_utc <= now <= chain[0].not_valid_after_utc:
        _LOGGER.warning("clients will refuse %s: it has expired or is not valid yet", files.certificate)
    names = _names(chain[0])
    missing = [host for host in hosts if host not in names and f"*.{host.partition('.')[2]}" not in names]
    if missing:
        _LOGGER.warning("clients will refuse %s: it does not stand for %s", files.certificate, ", ".join(missing))


def _read(path: Path, what: str, load: Callable[[bytes], _T]) -> _T:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OwnCertificateError(
            f"The file {path} cannot be read ({error.strerror or error}). Correct tls in the settings."
        ) from error
    try:
        return load(content)
    except TypeError:
        raise OwnCertificateError(
            f"The key {path} has a password. Remove it, for example with `openssl pkey -in {path.name} -out plain.key`."
        ) from None
    except Exception:  # of several kinds; none is shown, as it could quote the file
        wide = wide_encoding(content)
        hint = f" It is text in {wide}; save it as ASCII." if wide else ""
        raise OwnCertificateError(f"{path} is not a readable {what} in PEM.{hint}") from None


def _certificates(path: Path) -> Sequence[x509.Certificate]:
    return _read(path, "certificate", x509.load_pem_x509_certificates)


def _public_key(path: Path) -> bytes:
    key = _read(path, "private key", lambda content: serialization.load_pem_private_key(content, password=None))
    return _encoded(key.public_key())


def _encoded(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except Exception:  # there is none, or something that the library does not decode stands in one of the extensions
        return set()
    return {name.lower() for name in extension.value.get_values_for_type(x509.DNSName)}
