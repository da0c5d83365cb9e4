"""X.509 certificates as the services see them: read from what clients send, described as answers describe them.

Source: recorded answers of the service (2023-05-19) for ``info``; RFC 5280 for the fields; RFC 7468 for PEM.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
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
# nothing inside a block has a dash: that keeps the search linear, and no block hides inside another one
_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----([^-]*)-----END \1-----")
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
    if _PRIVATE_KEY.search(text):  # wherever it stands, and also when it is cut off
        raise _refused(field, _A_PRIVATE_KEY)
    blocks = list(_PEM_BLOCK.finditer(text))
    for block in blocks:
        if block[1] not in _CERTIFICATE_LABELS:
            hint = _OTHER_LABELS.get(block[1])
            raise _refused(field, f"PEM of the kind {block[1]!r}" + (f", {hint}" if hint else ""))
    if not blocks:
        raise _refused(field, "PEM that is cut off: its END line is missing")
    if len(blocks) > 1:
        raise _refused(
            field, f"a chain of {len(blocks)} certificates; paste only the one that is meant, usually the first"
        )
    # explanations may stand in front (RFC 7468, section 2); programs that write PEM put some there
    if "-----" in text[: blocks[0].start()] + text[blocks[0].end() :]:
        raise _refused(field, "PEM with something unfinished beside it")
    if text[blocks[0].end() :].strip():
        raise _refused(field, "PEM with something after its END line")
    der = _from_base64(blocks[0][2])
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
