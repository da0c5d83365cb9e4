"""A chain of trust as a picture: who signed whom, from the root down to the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from helpers.certificates.files import is_signed_by

from .picture import (
    MARGIN,
    PADDING,
    PAGE_WIDTH,
    Drawing,
    arrow,
    cross,
    frame,
    line,
    paragraph,
    picture,
    shortened,
    words,
)

_BOX_WIDTH, _BOX_HEIGHT, _GAP = 400, 64, 56
#: Room for the words in a box, and where those beside it begin.
_INSIDE, _BESIDE = _BOX_WIDTH - 2 * PADDING, MARGIN + _BOX_WIDTH + 2 * PADDING


class ChainOfTrust(Drawing):
    """The certificates of a chain, the root on top.

    Arguments:
        certificates: the device's own first, as a device shows them.
        marks: words beside a certificate, by its common name, e.g. ``{"Contoso Root": "verified"}``.
        title: what the picture shows.
    """

    def __init__(
        self, certificates: Sequence[x509.Certificate], marks: Mapping[str, str] | None = None, title: str = ""
    ) -> None:
        self._certificates = list(certificates)
        self._marks = dict(marks or {})
        self.title = title or "Chain of trust"

    def __str__(self) -> str:
        lines = [self.title]
        for depth, sentence in enumerate(self._sentences()):
            indent = "" if depth == 0 else "   " * (depth - 1) + "└─ "
            lines.append(f"{indent}{sentence}")
        return "\n".join(lines)

    def svg(self) -> str:
        """The picture alone; it takes its colour from the page around it."""
        shown = list(reversed(self._certificates))
        height = 2 * MARGIN + len(shown) * _BOX_HEIGHT + max(len(shown) - 1, 0) * _GAP
        described = " ".join(f"{each}." for each in self._sentences())
        parts: list[str] = []
        for place, certificate in enumerate(shown):
            top = MARGIN + place * (_BOX_HEIGHT + _GAP)
            parts += self._box(certificate, top)
            if place:
                parts += _signature(top - _GAP, top, is_signed_by(certificate, shown[place - 1]))
        return picture(self.title, described, PAGE_WIDTH, height, parts)

    def _box(self, certificate: x509.Certificate, top: int) -> list[str]:
        """A certificate, and the words beside it."""
        left, middle = MARGIN + PADDING, top + _BOX_HEIGHT // 2
        parts = [
            frame(MARGIN, top, _BOX_WIDTH, _BOX_HEIGHT),
            words(left, middle - 7, shortened(_name(certificate), _INSIDE, bold=True), bold=True),
            words(left, middle + 15, _role(certificate)),
        ]
        mark = self._marks.get(_name(certificate), "")
        if mark:
            parts.append(line(MARGIN + _BOX_WIDTH, middle, _BESIDE - 8, middle, faint=True))
            parts += paragraph(_BESIDE, middle, mark, PAGE_WIDTH - MARGIN - _BESIDE, italic=True)
        return parts

    def _sentences(self) -> list[str]:
        """What the picture says, the root first; a signature that is not there is never claimed."""
        shown = list(reversed(self._certificates))
        sentences = []
        for place, certificate in enumerate(shown):
            mark = self._marks.get(_name(certificate), "")
            sentence = f"{_name(certificate)} ({_role(certificate)})"
            if place and not is_signed_by(certificate, shown[place - 1]):
                sentence += f" - not signed by {_name(shown[place - 1])}"
            sentences.append(f"{sentence}{f' - {mark}' if mark else ''}")
        return sentences


def _signature(start: int, end: int, signed: bool) -> list[str]:
    """What stands between two certificates."""
    x, middle = MARGIN + _BOX_WIDTH // 2, (start + end) // 2
    if signed:
        return [arrow(x, start, x, end), words(x + PADDING, middle + 4, "signs")]
    return [
        line(x, start, x, end, dashed=True),
        cross(x, middle),
        words(x + PADDING, middle + 4, "did not sign"),
    ]


def _name(certificate: x509.Certificate) -> str:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[-1].value) if found else certificate.subject.rfc4514_string()


def _role(certificate: x509.Certificate) -> str:
    try:
        is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_authority = False
    if certificate.issuer == certificate.subject:
        return "root: signs itself" if is_authority else "device: signs itself"
    return "intermediate authority" if is_authority else "device"


def chain_of_trust(device: Any, *, marks: Mapping[str, str] | None = None, title: str = "") -> ChainOfTrust:
    """Draw the chain of a certificate.

    Arguments:
        device: a certificate from :mod:`helpers.certificates`, or certificates in the order in which a device shows
            them, its own first.
        marks: words beside a certificate, by its common name.
        title: what the picture shows.
    """
    return ChainOfTrust(getattr(device, "chain_certificates", device), marks, title)
