"""X.509 certificates as the services see them: read from what clients send, described as answers describe them.

Source: recorded answers of the service (2023-05-19) for ``info``; RFC 5280 for the fields; RFC 7468 for PEM.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import datetime
from functools import cached_property, lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from ..clock import azure_timestamp
from ..errors import Dps, ServiceError, described
from .ports import Document

#: Longer texts are not looked at. Certificates have one or two kilobytes (simulator-only limit).
MAX_TEXT_SIZE = 32 * 1024
_PARSED_AT_ONCE = 512
_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----.*?-----END \1-----", re.DOTALL)
_CERTIFICATE_LABELS = frozenset({"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"})


class Certificate:
    """One certificate. Two are equal when their encodings are. Made by :meth:`from_der` or :func:`read_certificate`.

    Arguments:
        parsed: the certificate.
        der: its encoding.
    """

    def __init__(self, parsed: x509.Certificate, der: bytes) -> None:
        self.parsed = parsed
        self.der = der

    @classmethod
    def from_der(cls, der: bytes) -> Certificate:
        """Read DER.

        Raises:
            ValueError: it is not a certificate.
        """
        return _parse(bytes(der))

    @property
    def common_name(self) -> str | None:
        """The common name in the subject, the most specific one of several, or ``None``."""
        return self._facts[0]

    @property
    def subject_name(self) -> str:
        """Whom the certificate is about, e.g. ``CN=pump-101``."""
        return self._facts[1]

    @property
    def issuer_name(self) -> str:
        """Who signed it."""
        return self._facts[2]

    @property
    def is_authority(self) -> bool:
        """Whether it may sign certificates: its basic constraints say so."""
        return self._facts[3]

    @cached_property
    def sha1_thumbprint(self) -> str:
        """Upper-case hexadecimal digits without separators."""
        return self.parsed.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303  (the API's own word for it)

    @cached_property
    def sha256_thumbprint(self) -> str:
        """Upper-case hexadecimal digits without separators."""
        return self.parsed.fingerprint(hashes.SHA256()).hex().upper()

    @property
    def is_self_issued(self) -> bool:
        """Whether subject and issuer are the same, as in a root or a self-signed device certificate."""
        return self.parsed.subject == self.parsed.issuer

    @property
    def not_before(self) -> datetime:
        """From when on it is valid."""
        return self.parsed.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        """Until when it is valid."""
        return self.parsed.not_valid_after_utc

    @property
    def pem(self) -> str:
        """As text."""
        return self.parsed.public_bytes(serialization.Encoding.PEM).decode("ascii")

    def info(self) -> Document:
        """What answers tell about it, in the recorded order."""
        return {
            "subjectName": self.subject_name,
            "sha1Thumbprint": self.sha1_thumbprint,
            "sha256Thumbprint": self.sha256_thumbprint,
            "issuerName": self.issuer_name,
            "notBeforeUtc": azure_timestamp(self.not_before),
            "notAfterUtc": azure_timestamp(self.not_after),
            "serialNumber": _serial_number(self.parsed.serial_number),
            "version": self.parsed.version.value + 1,
        }

    @cached_property
    def _facts(self) -> tuple[str | None, str, str, bool]:
        names = self.parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        common_name = str(names[-1].value) if names else None
        try:
            constraints = self.parsed.extensions.get_extension_for_class(x509.BasicConstraints).value
            is_authority = constraints.ca
        except x509.ExtensionNotFound:
            is_authority = False
        return common_name, self.parsed.subject.rfc4514_string(), self.parsed.issuer.rfc4514_string(), is_authority

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
        certificate = Certificate(x509.load_der_x509_certificate(der), der)
        # names, dates and extensions are decoded only when asked for; what cannot be decoded has to fail here
        certificate.info()
        certificate.parsed.public_key()
    except Exception as error:  # the parser's own, and those of keys and extensions that it does not know
        raise ValueError(f"it is not a certificate that can be read ({error})"[:300]) from error
    return certificate


def _serial_number(number: int) -> str:
    digits = f"{number:X}"
    return digits.rjust(len(digits) + len(digits) % 2, "0")


def read_certificate(field: str, text: object) -> Certificate:
    """Read a certificate that a client wrote: PEM, base64 of DER, or base64 of PEM.

    Arguments:
        field: its name in the error.
        text: what stands there.

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
    decoded = _from_base64(stripped)
    if decoded is None:
        raise _refused(field, "neither PEM nor base64")
    if b"-----BEGIN" in decoded:
        return _from_pem(field, decoded.decode("latin-1").strip())
    try:
        return Certificate.from_der(decoded)
    except ValueError as error:
        raise _refused(field, _kind_of(decoded)) from error


def _from_pem(field: str, text: str) -> Certificate:
    blocks = list(_PEM_BLOCK.finditer(text))
    labels = [block[1] for block in blocks]
    for label in labels:
        if "PRIVATE KEY" in label:
            raise _refused(
                field, "a private key, which must never leave the device; if it is in use somewhere, replace it"
            )
    for label in labels:
        if label not in _CERTIFICATE_LABELS:
            raise _refused(field, f"PEM of the kind {label!r}")
    if not blocks:
        raise _refused(field, "PEM that is cut off: its END line is missing")
    if len(blocks) > 1:
        raise _refused(
            field, f"a chain of {len(blocks)} certificates; paste only the one that is meant, usually the first"
        )
    rest = (text[: blocks[0].start()] + text[blocks[0].end() :]).strip()
    if "-----" in rest:
        raise _refused(field, "PEM with something unfinished beside it")
    body = blocks[0][0].split("-----")[2]
    der = _from_base64(body)
    if der is None:
        raise _refused(field, "PEM whose inside is not base64")
    try:
        return Certificate.from_der(der)
    except ValueError as error:
        raise _refused(field, "PEM whose inside is not a certificate") from error


def _from_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode("".join(text.split()), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _is(load: Callable[[bytes], object]) -> Callable[[bytes], bool]:
    def check(data: bytes) -> bool:
        try:
            load(data)
        except Exception:  # whatever a parser raises, it is not that
            return False
        return True

    return check


_KINDS: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (
        _is(lambda data: serialization.load_der_private_key(data, None)),
        "a private key, which must never leave the device; if it is in use somewhere, replace it",
    ),
    (_is(x509.load_der_x509_csr), "a certificate signing request; send the certificate that was made from it"),
    (_is(serialization.load_der_public_key), "a public key without a certificate around it"),
)


def _kind_of(data: bytes) -> str:
    return next((words for fits, words in _KINDS if fits(data)), "base64 of something that is not a certificate")


def _refused(field: str, what: str) -> ServiceError:
    return ServiceError(
        Dps.INVALID_BODY, f"{field} is {what}. It must be one certificate, as PEM or as base64 of its DER encoding."
    )
