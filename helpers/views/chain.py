"""A chain of trust as a picture: who signed whom, from the root down to the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from helpers.certificate_files import is_signed_by
from helpers.views.picture import picture, with_text

_WIDTH, _BOX_WIDTH, _BOX_HEIGHT, _GAP, _MARGIN = 640, 400, 64, 56, 20
#: Letters of a name that fit into a box, and the width of a letter beside it.
_BOX_LETTERS, _LETTER = 46, 8


class ChainOfTrust:
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

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.html()}

    def html(self) -> str:
        """The picture, and below it the same as text, folded away."""
        return with_text(self.svg(), str(self))

    def svg(self) -> str:
        """The picture alone; it takes its colour from the page around it."""
        shown = list(reversed(self._certificates))
        height = 2 * _MARGIN + len(shown) * _BOX_HEIGHT + max(len(shown) - 1, 0) * _GAP
        described = " ".join(f"{each}." for each in self._sentences())
        longest = max((len(self._marks.get(_name(each), "")) for each in shown), default=0)
        width = max(_WIDTH, _MARGIN + _BOX_WIDTH + 16 + longest * _LETTER + _MARGIN)
        parts: list[str] = []
        for place, certificate in enumerate(shown):
            top = _MARGIN + place * (_BOX_HEIGHT + _GAP)
            parts.append(self._box(certificate, top))
            if place:
                parts.append(_arrow(top - _GAP, top, is_signed_by(certificate, shown[place - 1])))
        return picture(self.title, described, width, height, parts)

    def _box(self, certificate: x509.Certificate, top: int) -> str:
        mark = self._marks.get(_name(certificate), "")
        beside = (
            f'<text x="{_MARGIN + _BOX_WIDTH + 16}" y="{top + _BOX_HEIGHT // 2 + 4}" font-style="italic">'
            f"{escape(mark)}</text>"
            if mark
            else ""
        )
        return (
            f'<rect x="{_MARGIN}" y="{top}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6" fill="none" '
            'stroke="currentColor" stroke-width="1.5"/>'
            f'<text x="{_MARGIN + 16}" y="{top + 26}" font-weight="bold">{escape(_short(_name(certificate)))}</text>'
            f'<text x="{_MARGIN + 16}" y="{top + 47}">{escape(_short(_role(certificate)))}</text>{beside}'
        )

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


def _arrow(start: int, end: int, signed: bool) -> str:
    x = _MARGIN + _BOX_WIDTH // 2
    if not signed:
        return (
            f'<line x1="{x}" y1="{start}" x2="{x}" y2="{end}" stroke="currentColor" stroke-dasharray="3 6"/>'
            f'<text x="{x + 12}" y="{(start + end) // 2 + 4}">did not sign</text>'
        )
    return (
        f'<line x1="{x}" y1="{start}" x2="{x}" y2="{end - 9}" stroke="currentColor" stroke-width="1.5"/>'
        f'<polygon points="{x},{end} {x - 5},{end - 9} {x + 5},{end - 9}"/>'
        f'<text x="{x + 12}" y="{(start + end) // 2 + 4}">signs</text>'
    )


def _short(text: str) -> str:
    return text if len(text) <= _BOX_LETTERS else text[: _BOX_LETTERS - 1] + "…"


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
