"""What a device and its TPM say to each other, in as few sentences as a diagram needs.

A TPM gets a dozen commands to open one challenge. All of them are in :func:`helpers.views.tpm.command_table`; here they
are put together to what they are for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from helpers.tpm.commands import Exchange


@dataclass(frozen=True)
class Act:
    """Something that a TPM was asked for, with one command or several.

    Attributes:
        asked: what for.
        answered: what it said.
        failed: whether it refused.
    """

    asked: str
    answered: str
    failed: bool = False


#: What a TPM is asked for a signature with.
SIGN = "sign this token"

_OPEN, _SIGN, _RANDOM, _ABOUT, _KEYS = range(5)

_KINDS = {
    "TPM2_StartAuthSession": _OPEN,
    "TPM2_PolicySecret": _OPEN,
    "TPM2_ActivateCredential": _OPEN,
    "TPM2_Import": _OPEN,
    "TPM2_Load": _OPEN,
    "TPM2_HMAC": _SIGN,
    "TPM2_HMAC_Start": _SIGN,
    "TPM2_SequenceUpdate": _SIGN,
    "TPM2_SequenceComplete": _SIGN,
    "TPM2_GetRandom": _RANDOM,
    "TPM2_GetCapability": _ABOUT,
}
#: With these, something new begins, although it is of the same kind.
_FIRST = frozenset({"TPM2_StartAuthSession", "TPM2_HMAC", "TPM2_HMAC_Start"})

_WORDS = {
    _SIGN: (SIGN, "the signature"),
    _RANDOM: ("random bytes, please", "random bytes"),
    _ABOUT: ("what can you do?", "this I can do"),
    _KEYS: ("show your public keys", "the public keys"),
}
_CHALLENGE = ("open the challenge", "opened, the key stays inside")
_HUB_KEY = ("take in the key for the hub", "taken in, it stays inside")


def acts_of(exchanges: Iterable[Exchange], *, assigned: bool = False) -> list[Act]:
    """Put commands together.

    Arguments:
        exchanges: the commands, oldest first.
        assigned: whether DPS has assigned the device by now: then what it opens is the key for its hub.
    """
    groups: list[tuple[int, list[Exchange]]] = []
    for exchange in exchanges:
        kind = _KINDS.get(exchange.command, _KEYS)
        before = groups[-1][0] if groups else None
        # keys are looked up and put away while a challenge is opened, too
        goes_on = kind == before or (kind == _KEYS and before == _OPEN)
        if goes_on and exchange.command not in _FIRST:
            groups[-1][1].append(exchange)
        elif before == _ABOUT and kind == _SIGN:
            # it was asked how much it takes at a time
            groups[-1] = (_SIGN, [*groups[-1][1], exchange])
        else:
            groups.append((kind, [exchange]))
    return [_act(kind, group, assigned) for kind, group in groups]


def _act(kind: int, group: Sequence[Exchange], assigned: bool) -> Act:
    asked, answered = _WORDS[kind] if kind != _OPEN else _HUB_KEY if assigned else _CHALLENGE
    for exchange in group:
        if exchange.outcome == "no answer":
            return Act(asked, "no answer", failed=True)
        # that a key is not there yet is no failure, only something to know
        if exchange.outcome != "success" and exchange.command != "TPM2_ReadPublic":
            return Act(asked, f"refused, {exchange.outcome}", failed=True)
    return Act(asked, answered)
