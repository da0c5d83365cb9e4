"""How certificates are written: blocks of PEM, and the fields inside, read as leniently as OpenSSL reads them.

``cryptography`` is stricter: it takes all extensions of a certificate or none, no serial number below one, no
parameters that should not be there. Devices in the field have such certificates, and OpenSSL, so their SDK, takes them.
So what the services look at is read here from the encoding itself.

Source: RFC 5280, section 4 (fields); RFC 7468 (PEM); ITU-T X.690 (the encoding).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

#: A block of PEM: its label and its inside. No dash stands inside: that keeps the search linear, and no block hides
#: inside another one.
PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----([^-]*)-----END \1-----")
#: Labels of certificates; the last one is OpenSSL's own and says for what it is trusted, too.
CERTIFICATE_LABELS = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")
BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE = "2.5.29.19", "2.5.29.15", "2.5.29.37"

_WIDE = {"UTF-16": ("utf-16-le", "utf-16-be"), "UTF-32": ("utf-32-le", "utf-32-be")}
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
_SEQUENCE, _INTEGER, _BOOLEAN = 0x30, 0x02, 0x01
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_KEY_CERT_SIGN = 0x04
_PSS = "1.2.840.113549.1.1.10"
_VERSION_THREE, _SERIAL_ONE = bytes.fromhex("a003020102"), bytes.fromhex("020101")


@dataclass(frozen=True, slots=True)
class Element:
    """One value.

    Attributes:
        tag: its first byte, which says of what kind it is.
        content: its bytes without tag and length.
        encoding: its bytes with tag and length.
    """

    tag: int
    content: bytes
    encoding: bytes

    def children(self) -> list[Element]:
        """The values in it, which it must consist of."""
        return _elements(self.content)


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a certificate.

    Attributes:
        encoding: all of it, without what may follow.
        signed: the part that is signed.
        version: 1 to 3; others occur.
        serial_number: its bytes, most significant first, two's complement.
        signature_algorithm: its number (OID) with dots.
        extensions: their values by their numbers, the first one where there are several.
        critical: the numbers of those that nobody may ignore.
        framed: names, dates and key of this certificate between other fields, which every library can read.
    """

    encoding: bytes
    signed: bytes
    version: int
    serial_number: bytes
    signature_algorithm: str
    extensions: dict[str, bytes]
    critical: tuple[str, ...]
    framed: bytes

    @property
    def has_positive_serial_number(self) -> bool:
        """Whether the serial number is one, as RFC 5280 asks for (section 4.1.2.2)."""
        return int.from_bytes(self.serial_number, "big", signed=True) > 0

    def authority(self) -> tuple[bool, int | None] | None:
        """Whether it may sign certificates, and how many authorities may be below it; ``None`` if nothing says so."""
        parts = self._parts(BASIC_CONSTRAINTS)
        if parts is None:
            return None
        is_authority = any(part.content != b"\0" for part in parts if part.tag == _BOOLEAN)
        lengths = [int.from_bytes(part.content, "big", signed=True) for part in parts if part.tag == _INTEGER]
        return is_authority, lengths[0] if lengths else None

    def may_sign(self) -> bool | None:
        """Whether the key usage contains keyCertSign; ``None`` if there is no key usage."""
        value = self.extensions.get(KEY_USAGE)
        if value is None:
            return None
        bits = _content(value)
        return len(bits) > 1 and bool(bits[1] & _KEY_CERT_SIGN)

    def purposes(self) -> tuple[str, ...] | None:
        """The numbers in the extended key usage; ``None`` if there is none."""
        parts = self._parts(EXTENDED_KEY_USAGE)
        return None if parts is None else tuple(dotted(part.content) for part in parts)

    def _parts(self, number: str) -> Sequence[Element] | None:
        value = self.extensions.get(number)
        if value is None:
            return None
        try:
            return _elements(value)[0].children()
        except (ValueError, IndexError):
            # damaged: it says nothing, and OpenSSL refuses it when the chain is verified
            return ()


def read_fields(data: bytes) -> Fields:
    """Read the fields of a certificate; what follows it is left out.

    Raises:
        ValueError: it has not the shape of a certificate.
    """
    try:
        return _read_fields(_element(data, 0))
    except IndexError:
        raise ValueError("it has not the shape of a certificate") from None


def _read_fields(certificate: Element) -> Fields:
    signed, algorithm, signature = certificate.children()[:3]
    parts = signed.children()
    version = 0
    if parts[0].tag == _VERSION:
        version = int.from_bytes(parts.pop(0).children()[0].content, "big")
    serial, _, issuer, validity, subject, key = parts[:6]
    extensions: dict[str, bytes] = {}
    critical: list[str] = []
    for each in (each for part in parts[6:] if part.tag == _EXTENSIONS for each in part.children()[0].children()):
        number, *flags, value = each.children()
        extensions.setdefault(dotted(number.content), value.content)
        if any(flag.content != b"\0" for flag in flags):
            critical.append(dotted(number.content))
    number = algorithm.children()[0]
    name = dotted(number.content)
    plain = algorithm.encoding if name == _PSS else _wrapped(number.encoding)
    body = (_VERSION_THREE, _SERIAL_ONE, plain, *(each.encoding for each in (issuer, validity, subject, key)))
    return Fields(
        encoding=certificate.encoding,
        signed=signed.encoding,
        version=version + 1,
        serial_number=serial.content,
        signature_algorithm=name,
        extensions=extensions,
        critical=tuple(critical),
        framed=_wrapped(_wrapped(b"".join(body)) + plain + signature.encoding),
    )


def dotted(content: bytes) -> str:
    """The number of a kind of thing (an OID) as it is usually written, ``1.2.840.10045.4.3.2``."""
    numbers, value = [], 0
    for byte in content:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            numbers.append(value)
            value = 0
    first = min(numbers[0] // 40, 2) if numbers else 0
    return ".".join(map(str, [first, *(number - (0 if place else 40 * first) for place, number in enumerate(numbers))]))


def _content(data: bytes) -> bytes:
    try:
        return _element(data, 0).content
    except (ValueError, IndexError):
        return b""


def _elements(data: bytes) -> list[Element]:
    found, place = [], 0
    while place < len(data):
        element = _element(data, place)
        found.append(element)
        place += len(element.encoding)
    return found


def _element(data: bytes, place: int) -> Element:
    length, start = data[place + 1], place + 2
    if length >= 0x80:
        size = length & 0x7F
        # no length at all, which BER allows and hardly anybody writes, ends here, too
        length, start = int.from_bytes(data[start : start + size], "big"), start + size
    if not start + length <= len(data):
        raise ValueError("it is cut off")
    return Element(data[place], data[start : start + length], data[place : start + length])


def _wrapped(content: bytes) -> bytes:
    """A sequence."""
    size = len(content)
    if size < 0x80:
        return bytes((_SEQUENCE, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((_SEQUENCE, 0x80 | len(length))) + length + content


def from_base64(text: str) -> bytes | None:
    """Decode base64 with line ends in it; ``None`` when it is something else, or nothing."""
    try:
        return base64.b64decode("".join(text.split()), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def wide_encoding(data: bytes) -> str:
    """The name of an encoding with several bytes for every character, which OpenSSL does not read; else empty.

    Windows PowerShell writes UTF-16 when output goes into a file with ``>``.
    """
    for name, codecs in _WIDE.items():
        if any("-----BEGIN".encode(codec) in data for codec in codecs):
            return name
    return "UTF-16" if data.startswith(_WIDE_MARKS) else ""
