"""X.509 certificates as the services see them: read from what clients send, described as answers describe them.

Source: recorded answers of the service (2023-05-19) for ``info``; RFC 5280 for the fields; RFC 7468 for PEM.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import ssl
import warnings
from collections.abc import Callable
from datetime import datetime
from functools import cached_property, lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID
from OpenSSL import crypto

from dps_simulator.common.ports import Document
from dps_simulator.errors.table import Dps, ServiceError, described
from dps_simulator.errors.timestamps import azure_timestamp

from .certificate_encoding import CERTIFICATE_LABELS, PEM_BLOCK, Fields, from_base64, read_fields, wide_encoding

#: Longer texts are not looked at. Certificates have one or two kilobytes (simulator-only limit).
MAX_TEXT_SIZE = 32 * 1024
#: Certificates that are remembered, as those of authorities come again with every device, and bytes of the largest:
#: anybody can show others, and each takes several times its size.
_PARSED_AT_ONCE = 512
CACHED_SIZE = 8_192
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY")
_A_PRIVATE_KEY = "a private key, which must never leave the device; if it is in use somewhere, replace it"
_A_REQUEST = "a certificate signing request; send the certificate that was made from it"
_A_PUBLIC_KEY = "a public key without a certificate around it"
_OTHER_LABELS = {
    "CERTIFICATE REQUEST": _A_REQUEST,
    "NEW CERTIFICATE REQUEST": _A_REQUEST,
    "PUBLIC KEY": _A_PUBLIC_KEY,
    "RSA PUBLIC KEY": _A_PUBLIC_KEY,
}
# a name of another length than X.520 allows is read, and nobody writes about it beside the log for every such device
warnings.filterwarnings("ignore", message="Attribute's length must be", category=UserWarning)


class UnsupportedCertificateError(ValueError):
    """A limit of this simulator: OpenSSL reads it, or takes so many. The text, in lower case, names the limit."""


class Certificate:
    """One certificate. Two are equal when their encodings are. Made by :meth:`from_der` or :func:`read_certificate`.

    Arguments:
        parsed: its names, dates and key. The other fields may be different ones, where the library does not read those
            that the certificate really has; see ``fields``.
        fields: all that stands in it.
    """

    def __init__(self, parsed: x509.Certificate, fields: Fields) -> None:
        self.parsed = parsed
        self.fields = fields

    @classmethod
    def from_der(cls, der: bytes) -> Certificate:
        """Read DER, as leniently as OpenSSL does: what follows the certificate is left out.

        Raises:
            UnsupportedCertificateError: OpenSSL reads it, and this simulator does not.
            ValueError: it is not a certificate.
        """
        return (_parse if len(der) <= CACHED_SIZE else _parse.__wrapped__)(bytes(der))

    @property
    def der(self) -> bytes:
        """The bytes of its DER encoding, without what may have followed them."""
        return self.fields.encoding

    @property
    def is_complete(self) -> bool:
        """Whether ``parsed`` is the certificate itself, and not only its names, dates and key."""
        return self.parsed.public_bytes(serialization.Encoding.DER) == self.der

    @cached_property
    def common_name(self) -> str | None:
        """The common name in the subject, the most specific one of several, or ``None``."""
        names = self.parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[-1].value) if names else None

    @cached_property
    def subject_name(self) -> str:
        """Whom the certificate is about, as RFC 4514 writes names, e.g. ``CN=pump-101``."""
        return self.parsed.subject.rfc4514_string()

    @cached_property
    def issuer_name(self) -> str:
        """Who signed it, as RFC 4514 writes names."""
        return self.parsed.issuer.rfc4514_string()

    @cached_property
    def is_authority(self) -> bool:
        """Whether it may sign certificates: its basic constraints say so."""
        return (self.fields.authority() or (False, None))[0]

    @cached_property
    def sha1_thumbprint(self) -> str:
        """SHA-1 of its encoding: 40 upper-case hexadecimal digits without separators."""
        return hashlib.sha1(self.der).hexdigest().upper()  # noqa: S324  (the API's own word for it)

    @cached_property
    def sha256_thumbprint(self) -> str:
        """SHA-256 of its encoding: 64 upper-case hexadecimal digits without separators."""
        return hashlib.sha256(self.der).hexdigest().upper()

    @property
    def is_self_issued(self) -> bool:
        """Whether subject and issuer are the same, as in a root or a self-signed device certificate."""
        return self.parsed.subject == self.parsed.issuer

    @property
    def not_before(self) -> datetime:
        """From when on it is valid (aware, in UTC)."""
        return self.parsed.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        """Until when it is valid (aware, in UTC)."""
        return self.parsed.not_valid_after_utc

    @property
    def pem(self) -> str:
        """The certificate as a block of PEM, with a line break at its end."""
        return ssl.DER_cert_to_PEM_cert(self.der)

    def info(self) -> Document:
        """What answers tell about it, in the recorded order."""
        return {
            "subjectName": self.subject_name,
            "sha1Thumbprint": self.sha1_thumbprint,
            "sha256Thumbprint": self.sha256_thumbprint,
            "issuerName": self.issuer_name,
            "notBeforeUtc": azure_timestamp(self.not_before),
            "notAfterUtc": azure_timestamp(self.not_after),
            "serialNumber": _serial_number(self.fields),
            "version": self.fields.version,
        }

    def __eq__(self, other: object) -> bool:
        return self.der == other.der if isinstance(other, Certificate) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.der)

    def __repr__(self) -> str:
        return f"Certificate({self.subject_name!r}, {self.sha256_thumbprint[:8]}…)"


@lru_cache(maxsize=_PARSED_AT_ONCE)
def _parse(der: bytes) -> Certificate:
    # the same few certificates of authorities come again with every device
    try:
        crypto.load_certificate(crypto.FILETYPE_ASN1, der)
    except crypto.Error:
        raise ValueError("it is not a certificate, or a damaged one") from None
    try:
        fields = read_fields(der)
        certificate = Certificate(_loaded(fields), fields)
        # names and dates are decoded only when asked for; what cannot be decoded has to fail here
        certificate.info()
    except Exception:  # whatever the library raises; its words are for programmers
        raise UnsupportedCertificateError(
            "OpenSSL reads the certificate, and this simulator does not (a limit of its own): its names, its dates or "
            "its key are not encoded as RFC 5280 asks for"
        ) from None
    return certificate


def _loaded(fields: Fields) -> x509.Certificate:
    # a serial number below one makes the library warn today, and fail tomorrow
    if fields.has_positive_serial_number:
        with contextlib.suppress(Exception):  # of many kinds, all for things that OpenSSL takes
            return x509.load_der_x509_certificate(fields.encoding)
    return x509.load_der_x509_certificate(fields.framed)


def _serial_number(fields: Fields) -> str:
    # of a number below one, for which nobody recorded an answer, all bytes are shown
    number = fields.serial_number
    return (number.lstrip(b"\0") if fields.has_positive_serial_number else number).hex().upper()


def read_certificate(field: str, text: object) -> Certificate:
    """Read a certificate that a client wrote, as leniently as OpenSSL does: PEM, base64 of DER, or base64 of PEM.

    Arguments:
        field: how the error calls the field that the client wrote.
        text: the value of the field, of whatever type.

    Raises:
        ServiceError: it is something else; says what, and never repeats it, as it may be a private key.
    """
    if not isinstance(text, str):
        raise _refused(field, described(text))
    if len(text) > MAX_TEXT_SIZE:
        raise _refused(field, f"a text of {len(text)} characters (at most {MAX_TEXT_SIZE} are allowed)")
    stripped = text.strip().lstrip("\ufeff")
    if "-----BEGIN" in stripped:
        return _from_pem(field, stripped)
    decoded = from_base64(stripped)
    # a text that was read with the wrong encoding shows it, too
    wide = wide_encoding(decoded or stripped.encode("latin-1", "replace"))
    if wide:
        raise _refused(field, f"text in {wide}, as Windows PowerShell's > writes it; save the file as ASCII")
    if decoded is None:
        raise _refused(field, "neither PEM nor base64")
    if b"-----BEGIN" in decoded:
        return _from_pem(field, decoded.decode("latin-1").strip())
    return _from_der(field, decoded, _kind_of(decoded))


def _from_pem(field: str, text: str) -> Certificate:
    if _PRIVATE_KEY.search(text):  # wherever it stands, and also when it is cut off
        raise _refused(field, _A_PRIVATE_KEY)
    blocks = list(PEM_BLOCK.finditer(text))
    if not blocks:
        raise _refused(field, "PEM that is cut off: its END line is missing")
    inside = [block[2] for block in blocks if block[1] in CERTIFICATE_LABELS]
    if not inside:
        label = blocks[0][1]
        hint = _OTHER_LABELS.get(label)
        raise _refused(field, f"PEM of the kind {label!r}" + (f", {hint}" if hint else ""))
    # text may stand around it (RFC 7468, section 2); programs that write PEM put some there
    if "-----BEGIN" in PEM_BLOCK.sub("", text):
        raise _refused(field, "PEM with something unfinished beside it")
    found = {_from_pem_block(field, each): None for each in inside}
    if len(found) > 1:
        raise _refused(
            field, f"a chain of {len(inside)} certificates; paste only the one that is meant, usually the first"
        )
    return next(iter(found))


def _from_pem_block(field: str, inside: str) -> Certificate:
    der = from_base64(inside)
    if der is None:
        raise _refused(field, "PEM whose inside is not base64")
    return _from_der(field, der, "PEM whose inside is not a certificate")


def _from_der(field: str, der: bytes, otherwise: str) -> Certificate:
    try:
        certificate = Certificate.from_der(der)
    except UnsupportedCertificateError as error:
        raise _refused(field, f"one that is not supported: {error}") from None
    except ValueError:
        raise _refused(field, otherwise) from None
    if _is(_load_private_key)(der[len(certificate.der) :]):
        raise _refused(field, _A_PRIVATE_KEY)
    return certificate


def _is(load: Callable[[bytes], object]) -> Callable[[bytes], bool]:
    def check(data: bytes) -> bool:
        try:
            load(data)
        except Exception:  # whatever a parser raises, it is not that
            return False
        return True

    return check


def _load_private_key(data: bytes) -> None:
    with contextlib.suppress(TypeError):  # it is one, protected by a pass phrase
        serialization.load_der_private_key(data, None)


_KINDS: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (_is(_load_private_key), _A_PRIVATE_KEY),
    (_is(x509.load_der_x509_csr), _A_REQUEST),
    (_is(serialization.load_der_public_key), _A_PUBLIC_KEY),
)


def _kind_of(data: bytes) -> str:
    return next((words for fits, words in _KINDS if fits(data)), "base64 of something that is not a certificate")


def _refused(field: str, what: str) -> ServiceError:
    return ServiceError(
        Dps.INVALID_BODY, f"{field} is {what}. It must be one certificate, as PEM or as base64 of its DER encoding."
    )
