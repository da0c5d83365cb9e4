"""A chain of trust as a picture: who signed whom, from the root down to the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from helpers.certificates.files import is_signed_by

from . import picture as draw
from .picture import Drawing

_BOX_WIDTH, _BOX_HEIGHT, _GAP = 400, 64, 56
#: Room for the words in a box, and where those beside it begin.
_INSIDE, _BESIDE = _BOX_WIDTH - 2 * draw.PADDING, draw.MARGIN + _BOX_WIDTH + 2 * draw.PADDING


class ChainOfTrust(Drawing):
    """The certificates of a chain, the root on top.

    Arguments:
        device: a certificate from :mod:`helpers.certificates`, or certificates in the order in which a device shows
            them, its own first.
        marks: words beside a certificate, by its common name, e.g. ``{"Contoso Root": "verified"}``.
        title: what the picture shows.
    """

    def __init__(self, device: Any, *, marks: Mapping[str, str] | None = None, title: str = "") -> None:
        self._certificates: list[x509.Certificate] = list(getattr(device, "chain_certificates", device))
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
        height = 2 * draw.MARGIN + len(shown) * _BOX_HEIGHT + max(len(shown) - 1, 0) * _GAP
        described = " ".join(f"{each}." for each in self._sentences())
        parts: list[str] = []
        for place, certificate in enumerate(shown):
            top = draw.MARGIN + place * (_BOX_HEIGHT + _GAP)
            parts += self._box(certificate, top)
            if place:
                parts += _signature(top - _GAP, top, is_signed_by(certificate, shown[place - 1]))
        return draw.picture(self.title, described, draw.PAGE_WIDTH, height, parts)

    def _box(self, certificate: x509.Certificate, top: int) -> list[str]:
        """A certificate, and the words beside it."""
        left, middle = draw.MARGIN + draw.PADDING, top + _BOX_HEIGHT // 2
        parts = [
            draw.frame(draw.MARGIN, top, _BOX_WIDTH, _BOX_HEIGHT),
            draw.words(left, middle - 7, draw.shortened(_name(certificate), _INSIDE, bold=True), bold=True),
            draw.words(left, middle + 15, _role(certificate)),
        ]
        mark = self._marks.get(_name(certificate), "")
        if mark:
            parts.append(draw.line(draw.MARGIN + _BOX_WIDTH, middle, _BESIDE - 8, middle, faint=True))
            parts += draw.paragraph(_BESIDE, middle, mark, draw.PAGE_WIDTH - draw.MARGIN - _BESIDE, italic=True)
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
    x, middle = draw.MARGIN + _BOX_WIDTH // 2, (start + end) // 2
    said = draw.words(x + draw.PADDING, middle + 4, "signs" if signed else "did not sign")
    if signed:
        return [draw.arrow(x, start, x, end), said]
    return [draw.line(x, start, x, end, dashed=True), draw.cross(x, middle), said]


def _name(certificate: x509.Certificate) -> str:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[-1].value) if found else certificate.subject.rfc4514_string()


def _role(certificate: x509.Certificate) -> str:
    extensions = [each.value for each in certificate.extensions]
    is_authority = any(isinstance(each, x509.BasicConstraints) and each.ca for each in extensions)
    if certificate.issuer == certificate.subject:
        return "root: signs itself" if is_authority else "device: signs itself"
    return "intermediate authority" if is_authority else "device"


chain_of_trust = ChainOfTrust
