"""Pictures of a TPM: what is inside, what a challenge is made of, and which commands a TPM got."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from helpers.tpm.activation import ActivationBlob
from helpers.tpm.structures import Algorithm, Attribute, PublicArea

from .picture import MARGIN, PADDING, PAGE_WIDTH, Drawing, arrow, band, frame, line, paragraph, picture, words
from .text import Row, Table

if TYPE_CHECKING:
    from helpers.tpm.commands import Exchange
    from helpers.tpm.device import TpmDevice


class Drawn(Drawing):
    """A picture that is drawn already.

    Arguments:
        text: the text form, its title included.
        picture: the SVG.
    """

    def __init__(self, text: str, picture: str) -> None:
        self._text = text
        self._picture = picture

    def __str__(self) -> str:
        return self._text

    def svg(self) -> str:
        """The picture alone; it takes its colour from the page around it."""
        return self._picture


# --- what is inside -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Key:
    """A key in the picture of a TPM.

    Attributes:
        name: what it is called.
        what: where it comes from and what it is good for.
        out: what others get to see of it.
        kept: what nobody does.
        below: whether it hangs from the key before it.
    """

    name: str
    what: str
    out: str
    kept: str
    below: bool = False


_AS_OLD = "as old as the chip, the same for life"
_GUARDS = "made for its owner, guards the owner's keys"
_HIERARCHIES: Mapping[str, tuple[_Key, ...]] = {
    "Endorsement hierarchy: the maker's": (
        _Key("Endorsement key (EK)", _AS_OLD, "its public half, by which one knows the TPM", "its private half"),
    ),
    "Owner hierarchy: yours": (
        _Key("Storage root key (SRK)", _GUARDS, "its public half", "its private half"),
        _Key("Key from DPS", "arrives encrypted, is opened inside", "signatures", "the key itself", below=True),
    ),
}

_KEY_WIDTH, _KEY_HEIGHT, _KEY_GAP, _HEAD = 350, 76, 22, 34
_INDENT, _OUTSIDE = 36, 500


def inside_the_tpm() -> Drawn:
    """The keys of a TPM: who they belong to, what comes out of it, and what never does."""
    title = "What is inside a TPM"
    lines: list[str] = []
    for hierarchy, keys in _HIERARCHIES.items():
        lines.append(hierarchy)
        for key in keys:
            branch, indent = ("  └─ ", "     ") if key.below else ("  ", "  ")
            lines.append(f"{branch}{key.name}: {key.what}")
            lines.append(f"{indent}  comes out: {key.out}; never comes out: {key.kept}")
    svg = picture(title, " ".join(f"{each.strip(' └─')}." for each in lines), PAGE_WIDTH, *_inside())
    return Drawn("\n".join([title, *lines]), svg)


def _inside() -> tuple[int, list[str]]:
    """Height and elements of the picture."""
    parts: list[str] = []
    top = MARGIN + _HEAD
    for hierarchy, keys in _HIERARCHIES.items():
        height = _HEAD + len(keys) * (_KEY_HEIGHT + _KEY_GAP)
        parts.append(band(2 * MARGIN, top, _KEY_WIDTH + 2 * MARGIN, height))
        parts.append(words(3 * MARGIN, top + 22, hierarchy, italic=True))
        place = top + _HEAD
        for key in keys:
            parts += _key(key, place)
            place += _KEY_HEIGHT + _KEY_GAP
        top += height + MARGIN
    chip = frame(MARGIN, MARGIN, _KEY_WIDTH + 4 * MARGIN, top - MARGIN)
    head = words(2 * MARGIN, MARGIN + 23, "TPM", bold=True)
    outside = words(_OUTSIDE, MARGIN + 23, "What comes out of it", bold=True)
    return top + MARGIN, [chip, head, outside, *parts]


def _key(key: _Key, top: int) -> list[str]:
    left = 3 * MARGIN + (_INDENT if key.below else 0)
    right = 3 * MARGIN + _KEY_WIDTH
    middle = top + _KEY_HEIGHT // 2
    parts = [
        frame(left, top, right - left, _KEY_HEIGHT),
        words(left + PADDING, top + 23, key.name, bold=True),
        words(left + PADDING, top + 43, key.what),
        words(left + PADDING, top + 63, f"never comes out: {key.kept}"),
        arrow(right, middle, _OUTSIDE - 8, middle),
        *paragraph(_OUTSIDE, middle, key.out, PAGE_WIDTH - MARGIN - _OUTSIDE),
    ]
    if key.below:
        bend = left - _INDENT // 2
        parts += [line(bend, top - _KEY_GAP, bend, middle), line(bend, middle, left, middle)]
    return parts


# --- a challenge ----------------------------------------------------------------------------------------------------

#: For each part of a challenge: what is inside, and who can open it.
PARTS: Mapping[str, tuple[str, str]] = {
    "credential_blob": ("a key of 16 bytes", "the TPM with this EK and this SRK, after part 2"),
    "secret": ("what opens part 1", "the private half of the EK"),
    "duplicate": ("the new key, in two wrappings", "the key from part 1, and what is in part 4"),
    "encrypted_seed": ("what opens the outer wrapping", "the private half of the SRK"),
    "id_key_public": ("what kind of key it is", "everybody"),
    "encrypted_uri": ("what the key is for", "the key from part 1; nobody reads it"),
}
_COLUMNS = ("part", "bytes", "what is inside", "who can open it")
_PART_HEIGHT, _PART_GAP, _PART_WIDTH = 52, 12, 290


def challenge_parts(challenge: ActivationBlob) -> Drawn:
    """The six parts of a challenge, their sizes, and who can open them.

    Arguments:
        challenge: taken apart already; what is in it is not shown.
    """
    title = "The six parts of the challenge"
    sizes = challenge.sizes()
    rows = [
        (f"{number}. {name}", str(sizes[name]), *PARTS[name])  # no part is without words, a test sees to it
        for number, name in enumerate(sizes, 1)
    ]
    described = " ".join(f"{part}: {size} bytes, {inside}; opened by {who}." for part, size, inside, who in rows)
    height = 2 * MARGIN + len(rows) * (_PART_HEIGHT + _PART_GAP) - _PART_GAP
    boxes: list[str] = []
    for place, (part, size, inside, who) in enumerate(rows):
        top = MARGIN + place * (_PART_HEIGHT + _PART_GAP)
        middle = top + _PART_HEIGHT // 2
        beside = MARGIN + _PART_WIDTH
        boxes += [
            frame(MARGIN, top, _PART_WIDTH, _PART_HEIGHT),
            words(MARGIN + PADDING, top + 22, f"{part} ({size} bytes)", bold=True),
            words(MARGIN + PADDING, top + 41, inside),
            line(beside, middle, beside + 24, middle, faint=True),
            *paragraph(beside + 32, middle, f"opened by {who}", PAGE_WIDTH - MARGIN - beside - 32),
        ]
    svg = picture(title, described, PAGE_WIDTH, height, boxes)
    return Drawn(str(Table(title, _COLUMNS, rows)), svg)


# --- keys and commands ----------------------------------------------------------------------------------------------


def key_table(tpm: TpmDevice) -> Table:
    """What the public halves of both keys say about the private ones.

    Arguments:
        tpm: a device's TPM; only its public keys are read.

    Raises:
        TpmProtocolError: one of them is no TPM2B_PUBLIC.
    """
    keys = {"endorsement key (EK)": tpm.endorsement_key, "storage root key (SRK)": tpm.storage_root_key}
    rows = [_key_row(name, PublicArea.parse(base64.b64decode(text))) for name, text in keys.items()]
    return Table("Keys of this TPM", ("key", "algorithm", "made inside", "can leave", "decrypts", "signs"), rows)


def _key_row(name: str, key: PublicArea) -> Row:
    decrypts = (
        "no"
        if not key.attributes & Attribute.DECRYPT
        else "TPM structures only"
        if key.attributes & Attribute.RESTRICTED
        else "yes"
    )
    return (
        name,
        "RSA" if key.algorithm == Algorithm.RSA else f"0x{key.algorithm:04X}",
        _yes(key.attributes & Attribute.SENSITIVE_DATA_ORIGIN),
        _yes(not key.attributes & Attribute.FIXED_TPM),
        decrypts,
        _yes(key.attributes & Attribute.SIGN),
    )


def _yes(condition: object) -> str:
    return "yes" if condition else "no"


#: What the commands of a TPM do, in words; what is not listed shows its name alone.
COMMANDS: Mapping[str, str] = {
    "TPM2_ReadPublic": "show the public half of a key",
    "TPM2_CreatePrimary": "make a primary key",
    "TPM2_EvictControl": "keep a key for good, or forget it",
    "TPM2_FlushContext": "unload a key, or end a session",
    "TPM2_StartAuthSession": "begin a session",
    "TPM2_PolicySecret": "allow this session to use the EK",
    "TPM2_ActivateCredential": "open parts 1 and 2, with the EK",
    "TPM2_Import": "open parts 3 and 4, with the SRK",
    "TPM2_Load": "load the new key",
    "TPM2_HMAC": "sign",
    "TPM2_HMAC_Start": "begin to sign something long",
    "TPM2_SequenceUpdate": "take in a piece of it",
    "TPM2_SequenceComplete": "take in the last piece, and sign",
    "TPM2_GetRandom": "give random bytes",
    "TPM2_GetCapability": "tell what this TPM can do",
}


def command_table(exchanges: Iterable[Exchange], *, title: str = "What the TPM was asked to do") -> Table:
    """Commands as a table, in the order in which the TPM got them.

    Arguments:
        exchanges: from the history of a TPM.
        title: what the table shows.
    """
    rows = [
        (str(number), each.command, COMMANDS.get(each.command, ""), each.outcome)
        for number, each in enumerate(exchanges, 1)
    ]
    return Table(title, ("", "command", "what it does", "outcome"), rows)
