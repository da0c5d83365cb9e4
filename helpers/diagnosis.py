"""What an error means: as the SDK shows it → cause → remedy → where it is taught.

The device SDK hides the reason of a refusal behind a general sentence; the details sit in the chain of causes, and
the service often says no more than "401". :func:`explain` reads the whole chain and looks it up in the table of
:mod:`helpers.symptoms`. Against the simulator it also asks the trace, where the reason stands that Azure would keep to
itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import requests

from helpers.causes import SYMMETRIC_KEY, TPM, X509, Cause
from helpers.checks import causes
from helpers.lessons import status_of
from helpers.registry import refusal_text
from helpers.symptoms import SYMPTOMS, UNKNOWN, Symptom
from helpers.views.sequence import refused

#: How far back in the trace a reason may stand.
_RECENT = 40


class Explanation:
    """What an error means. Shows itself as text or HTML.

    Arguments:
        symptom: the entry of the table.
        chain: the error and its causes, one line each.
        known: what the simulator knows; ``None`` when it knows nothing.
        attestation: how the device proves itself, where the caller knows; other causes are left out.
    """

    def __init__(
        self, symptom: Symptom, chain: Sequence[str], known: Known | None = None, attestation: str = ""
    ) -> None:
        self.symptom = symptom
        self.chain = list(chain)
        self.reason = known.reason if known else ""
        possible = [
            each for each in symptom.causes if not attestation or each.attestation in ("", attestation)
        ] or symptom.causes
        # what only such devices can run into says more than what all can
        proven = sorted(
            (each for each in possible if known and _proves(known, each)),
            key=lambda each: each.attestation != attestation,
        )
        self.causes = tuple(proven[:1] or possible)

    def __str__(self) -> str:
        lines = ["What the SDK shows", *(f"  {line}" for line in self.chain)]
        if self.reason:
            lines += ["What only the simulator tells you", f"  {self.reason}"]
        lines.append("Why" if len(self.causes) == 1 else "Why (one of these)")
        for each in self.causes:
            lines += [f"  {each.cause}", f"    → {each.remedy}", f"      Taught in: {each.taught}"]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.html()}

    def html(self) -> str:
        """The explanation as HTML."""

        def head(text: str) -> str:
            return f"<dt><strong>{escape(text)}</strong></dt>"

        chain = "<br>".join(f"<code>{escape(line)}</code>" for line in self.chain)
        reason = f"{head('What only the simulator tells you')}<dd>{escape(self.reason)}</dd>" if self.reason else ""
        items = "".join(
            f"<li>{escape(each.cause)}<br><strong>What to do:</strong> {escape(each.remedy)}<br>"
            f"<small>Taught in: {escape(each.taught)}</small></li>"
            for each in self.causes
        )
        why = head("Why" if len(self.causes) == 1 else "Why (one of these)")
        return f"<dl>{head('What the SDK shows')}<dd>{chain}</dd>{reason}{why}<dd><ul>{items}</ul></dd></dl>"


@dataclass(frozen=True)
class Known:
    """What the simulator's trace says of a refusal.

    Attributes:
        reason: the sentence.
        finding: the word for it, empty where there is none.
    """

    reason: str
    finding: str = ""


def _proves(known: Known, cause: Cause) -> bool:
    """Whether this is the cause: its word where there is one, and its pattern where it has one."""
    if known.finding or cause.findings:
        return known.finding in cause.findings and bool(re.search(cause.reason, known.reason))
    return bool(cause.reason and re.search(cause.reason, known.reason))


def explain(problem: Any, dps: Any = None, *, attestation: str = "") -> Explanation:
    """Explain an error, or the result of a registration that did not end as ``assigned``.

    Arguments:
        problem: the exception, or a ``RegistrationResult``.
        dps: the target; against the simulator its trace is asked for the reason.
        attestation: ``symmetricKey``, ``x509`` or ``tpm``, how the device proves itself. Azure says no more than 401,
            so this shortens the list of what may be behind it.

    Raises:
        ValueError: ``attestation`` is something else.
    """
    if attestation not in ("", SYMMETRIC_KEY, X509, TPM):
        raise ValueError(f"attestation is {attestation!r}; it must be {SYMMETRIC_KEY!r}, {X509!r} or {TPM!r}.")
    if not isinstance(problem, BaseException):
        line = f"status {getattr(problem, 'status', problem)}"
        symptom = _find([line], frozenset(), frozenset())
        return Explanation(symptom, [line], _known(dps, symptom, frozenset()), attestation)
    chain = causes(problem)
    lines = [_line(each) for each in chain]
    classes = frozenset(kind.__name__ for each in chain for kind in type(each).__mro__ if kind is not object)
    statuses = frozenset(status for each in chain if (status := _status(each)) is not None)
    symptom = _find(lines, classes, statuses)
    return Explanation(symptom, lines, _known(dps, symptom, statuses), attestation)


def _find(lines: Sequence[str], classes: frozenset[str], statuses: frozenset[int]) -> Symptom:
    for symptom in SYMPTOMS:
        if symptom.classes and not symptom.classes & classes:
            continue
        if symptom.statuses and not symptom.statuses & statuses:
            continue
        if symptom.text and not any(re.search(symptom.text, line) for line in lines):
            continue
        return symptom
    return UNKNOWN


_STATUS_IN_TEXT = re.compile(r"status code (\d{3})\b|^\w+: \((\d{3})\)")
_UNSTEADY = (
    # what differs from run to run and tells a learner nothing
    (re.compile(r"0x[0-9a-f]{6,}"), "0x…"),
    (re.compile(r"(?i)tracking ?id:? ?([0-9a-f]{32}|[0-9a-f-]{36})(-TimeStamp:[\d/ :]+)?"), "tracking ID …"),
    (re.compile(r"SharedAccessKey=[^;\s]+"), "SharedAccessKey=****"),
    (re.compile(r"sig=[^&\s]+"), "sig=****"),
)


def _line(error: BaseException) -> str:
    # the SDK of the service repeats code and message behind this word
    text = " ".join(str(error).split()).partition(" Code: ")[0]
    answer = getattr(error, "response", None)
    if isinstance(answer, requests.Response):
        # the SDK of the hub keeps the hub's words to itself
        text += f": {refusal_text(answer)}"
    for pattern, replacement in _UNSTEADY:
        text = pattern.sub(replacement, text)
    name = type(error).__name__
    return f"{name}: {text[:300]}" if text else name


def _status(error: BaseException) -> int | None:
    status = status_of(error)
    if status is None:
        found = _STATUS_IN_TEXT.search(f"{type(error).__name__}: {error}")
        status = int(found[1] or found[2]) if found else None
    return status


def _known(dps: Any, symptom: Symptom, statuses: frozenset[int]) -> Known | None:
    """Why the simulator refused, from the newest answer in its trace; ``None`` when that is not the one that failed."""
    if dps is None or not dps.is_simulator or not symptom.asks:
        return None
    try:
        recent: list[Mapping[str, Any]] = dps.events(after=max(0, dps.last_event() - _RECENT))
    except Exception:
        # explaining one error must not end in another one; the simulator may be what is gone
        return None
    refusals = [event for event in recent if event["service"] in symptom.asks and (refused(event) or _disabled(event))]
    if not refusals or (statuses and refusals[-1]["status"] not in statuses):
        return None
    detail = refusals[-1]["detail"]
    reason = str(detail.get("reason", ""))
    return Known(reason, str(detail.get("finding", ""))) if reason else None


def _disabled(event: Mapping[str, Any]) -> bool:
    """Whether an event is the polite kind of refusal: a registration that ends with this status instead of an error."""
    body = event["detail"].get("body")
    return isinstance(body, Mapping) and body.get("status") == "disabled"
