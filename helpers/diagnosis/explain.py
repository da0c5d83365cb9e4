"""What an error means: as the SDK shows it → cause → remedy → where it is taught.

The device SDK hides the reason of a refusal behind a general sentence; the details sit in the chain of causes, and
the service often says no more than "401". :func:`explain` reads the whole chain and looks it up in the table of
:mod:`helpers.diagnosis.table`. Against the simulator it also asks the trace, where the reason stands that Azure would
keep to itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any
from urllib.parse import urlsplit

import requests

from helpers.masking import mask_in_input, shown
from helpers.problems import causes, status_of
from helpers.target.registry import refusal_text

from .attempts import Attempt, attempt_of, faults_of
from .causes import SIMULATOR_GONE, SYMMETRIC_KEY, TPM, X509, Cause
from .kinds import ENROLLMENTS, HUB, MANAGEMENT, PROVISIONING, REGISTRY, Symptom
from .lock_out import QUESTION, LockOut
from .simulator_reasons import Known, known, tracking_ids
from .table import SYMPTOMS, UNKNOWN

#: How much of an answer is searched for its code.
_LONGEST_BODY = 10_000


@dataclass(frozen=True)
class Evidence:
    """What an error itself tells.

    Attributes:
        lines: the error and its causes, one line each.
        classes: names of their classes, and of the classes above those.
        statuses: statuses of the service.
        codes: error codes of the service, as six digits or as the name that a hub gives.
        at: who refused, in the words of :mod:`helpers.diagnosis.kinds`.
        attempt: who tried what.
    """

    lines: tuple[str, ...]
    classes: frozenset[str] = frozenset()
    statuses: frozenset[int] = frozenset()
    codes: frozenset[str] = frozenset()
    at: frozenset[str] = frozenset()
    attempt: Attempt = field(default_factory=Attempt)


# JupyterLab's style sheet lets both parts of such a list float, and a term then stands beside what came before it
_HEAD = "float:none; width:auto; margin:6px 0 0 0"
_BODY = "float:none; width:auto; margin:0 0 0 24px"


class Explanation:
    """What an error means. Shows itself as text or HTML.

    Arguments:
        symptom: the entry of the table.
        evidence: what the error itself tells.
        known: what the simulator knows.
        faults: what the client was given and cannot work, by words that causes have, with a sentence for each.
        attestation: how the device proves itself, where the caller knows; other causes are left out.
        on_azure: whether the target is known to be Azure; what only the simulator does is left out then.
    """

    def __init__(
        self,
        symptom: Symptom,
        evidence: Evidence,
        known: Known,
        *,
        faults: Mapping[str, str] | None = None,
        attestation: str = "",
        on_azure: bool = False,
    ) -> None:
        self._on_azure = on_azure
        self.symptom = symptom
        self.chain = list(evidence.lines)
        self.reason = known.reason
        numbers = sorted(code for code in evidence.codes if code.isdigit())
        self.code = numbers[0] if numbers else known.code
        self._is_hidden = not numbers
        # who is gone is no matter of names
        is_gone = known.answers is False and SIMULATOR_GONE in symptom.causes
        seen = {} if is_gone else faults or {}
        self.given = next((seen[each.fault] for each in symptom.at_client if each.fault in seen), "")
        if self.given:
            self.causes: tuple[Cause, ...] = tuple(each for each in symptom.at_client if each.fault in seen)[:1]
            return
        possible = _possible(symptom, known, evidence.attempt, attestation=attestation, on_azure=on_azure)
        # what only such devices can run into says more than what all can
        proven = sorted(
            (each for each in possible if _proves(known, evidence.codes | _codes_known(known), each)),
            key=lambda each: each.attestation != attestation,
        )
        self.causes = tuple(proven[:1] or possible)

    @property
    def is_simulator_only(self) -> bool:
        """Whether Azure has no such answer. The simulator's own codes have a 9 behind the status."""
        return self.code[3:4] == "9" and not self._on_azure

    @property
    def about_code(self) -> str:
        """The error code, with what there is to say about it; empty without one."""
        if not self.code:
            return ""
        hidden = ", which the SDK does not show" if self._is_hidden else ""
        return f"{self.code}{hidden}{': only the simulator answers so' if self.is_simulator_only else ''}"

    @property
    def lock_out(self) -> LockOut | None:
        """How somebody may have meant this, by the likeliest cause of that kind; ``None`` where nobody would."""
        return next((each.lock_out for each in self.causes if each.lock_out), None)

    @property
    def _told(self) -> list[tuple[str, str]]:
        """What stands between the error and its causes: headings, and the line below each."""
        parts = [
            ("Error code", self.about_code),
            ("What only the simulator tells you", self.reason),
            ("What your client was given", self.given),
            (QUESTION, self.lock_out.answer if self.lock_out else ""),
        ]
        return [(title, text) for title, text in parts if text]

    @property
    def _why(self) -> str:
        return "Why" if len(self.causes) == 1 else "Why (one of these)"

    def __str__(self) -> str:
        lines = ["What the SDK shows", *(f"  {line}" for line in self.chain)]
        for title, text in self._told:
            lines += [title, f"  {text}"]
        lines.append(self._why)
        for each in self.causes:
            lines += [f"  {each.cause}", *(f"    → {line}" for line in _to_do(each)), f"      Taught in: {each.taught}"]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.html()}

    def html(self) -> str:
        """The explanation as a list in HTML, for a cell's output; what came from outside is escaped."""

        def part(title: str, content: str) -> str:
            return f'<dt style="{_HEAD}"><strong>{escape(title)}</strong></dt><dd style="{_BODY}">{content}</dd>'

        parts = [part("What the SDK shows", "<br>".join(f"<code>{escape(line)}</code>" for line in self.chain))]
        parts += [part(title, escape(text)) for title, text in self._told]
        items = "".join(
            f"<li>{escape(each.cause)}<br><strong>What to do:</strong> {'<br>'.join(map(escape, _to_do(each)))}<br>"
            f"<small>Taught in: {escape(each.taught)}</small></li>"
            for each in self.causes
        )
        parts.append(part(self._why, f'<ul style="margin:0">{items}</ul>'))
        return f"<dl>{''.join(parts)}</dl>"


def _to_do(cause: Cause) -> tuple[str, ...]:
    """The lines of a remedy, below the question whether somebody meant this."""
    if cause.lock_out is None:
        return (cause.remedy,)
    deed = f"it may be meant: a {cause.lock_out.who} is locked out {cause.lock_out.deed}."
    return deed, *cause.lock_out.sides


def _possible(
    symptom: Symptom, known: Known, attempt: Attempt, *, attestation: str, on_azure: bool
) -> tuple[Cause, ...]:
    """The causes that are not ruled out, most frequent first."""
    # a simulator that answers is there, and what a known client was given was looked at, whichever kind it is
    left = [
        each
        for each in symptom.causes
        if not (known.answers and each is SIMULATOR_GONE) and not (each.fault and (attempt.is_device or attempt.url))
    ] or list(symptom.causes)
    if known.answers is False and SIMULATOR_GONE in left:
        return (SIMULATOR_GONE,)
    return (
        tuple(
            each
            for each in left
            if (not attestation or each.attestation in ("", attestation)) and not (on_azure and each.only_here)
        )
        or symptom.causes
    )


def _codes_known(known: Known) -> frozenset[str]:
    """The code, and the name that a hub gives instead."""
    return frozenset([known.code, *_codes_in(known.told)]) - {""}


def _proves(known: Known, codes: frozenset[str], cause: Cause) -> bool:
    """Whether this is the cause: its word or its code where there is one, and its pattern where it has one."""
    if known.finding or cause.findings:
        return known.finding in cause.findings and bool(re.search(cause.reason, known.reason))
    if codes & cause.codes:
        return True
    return bool(cause.reason and re.search(cause.reason, known.reason or known.told))


def explain(problem: Any, dps: Any = None, *, attestation: str = "") -> Explanation:
    """Explain an error, or a registration that did not end as ``assigned``.

    Arguments:
        problem: the exception, a ``RegistrationResult``, or the record of a registration as the service client gives
            it.
        dps: the target; against the simulator its trace is asked for the reason.
        attestation: ``symmetricKey``, ``x509`` or ``tpm``, how the device proves itself. Azure says no more than 401,
            so this shortens the list of what may be behind it.

    Raises:
        ValueError: ``attestation`` is something else.
    """
    if attestation not in ("", SYMMETRIC_KEY, X509, TPM):
        raise ValueError(f"attestation is {shown(attestation)}; it must be {SYMMETRIC_KEY!r}, {X509!r} or {TPM!r}.")
    evidence = _of_exception(problem) if isinstance(problem, BaseException) else _of_registration(problem)
    symptom = _find(evidence)
    return Explanation(
        symptom,
        evidence,
        known(
            dps if symptom.asks else None,
            evidence.attempt,
            asks=symptom.asks,
            statuses=evidence.statuses,
            classes=evidence.classes,
        ),
        faults=faults_of(evidence.attempt, dps) if symptom.at_client else {},
        attestation=attestation,
        on_azure=dps is not None and not dps.is_simulator,
    )


def _of_exception(problem: BaseException) -> Evidence:
    chain = causes(problem)
    attempt = attempt_of(chain)
    answers = [str(each) for each in chain] + [_body_of(getattr(each, "response", None)) for each in chain]
    return Evidence(
        lines=tuple(_line(each) for each in chain),
        classes=frozenset(name for each in chain for name in _class_names(each)),
        statuses=frozenset(status for each in chain if (status := _status(each)) is not None),
        codes=frozenset(code for each in chain for code in _codes(each)),
        at=frozenset(place for each in chain for place in _places(each)),
        # a device client shows no answer, so what stands there is not its own
        attempt=attempt if attempt.is_device else replace(attempt, tracking_ids=tracking_ids(answers)),
    )


def _of_registration(problem: Any) -> Evidence:
    """What a result of the device client, or a record of the service client, tells."""
    state = getattr(problem, "registration_state", None)
    if isinstance(problem, Mapping):
        status, code, text = (problem.get(name) for name in ("status", "errorCode", "errorMessage"))
        attempt = Attempt(registration_id=problem.get("registrationId"))
    else:
        attempt = Attempt(operation_id=str(getattr(problem, "operation_id", None) or ""))
        status, code, text = getattr(problem, "status", problem), *(getattr(state, name, None) for name in _OF_STATE)
    lines = [f"status {status}"]
    if text:
        lines.append(_steady(str(text)))
    return Evidence(tuple(lines), codes=frozenset([str(code)] if code else []), attempt=attempt)


_OF_STATE = ("error_code", "error_message")


def _find(evidence: Evidence) -> Symptom:
    return next((symptom for symptom in SYMPTOMS if _fits(symptom, evidence)), UNKNOWN)


def _fits(symptom: Symptom, evidence: Evidence) -> bool:
    """Whether every condition that the entry has is met."""
    conditions: tuple[tuple[frozenset[Any], frozenset[Any]], ...] = (
        (symptom.classes, evidence.classes),
        (symptom.statuses, evidence.statuses),
        (symptom.codes, evidence.codes),
        (symptom.at, evidence.at),
        (symptom.inside, evidence.attempt.inside),
    )
    return all(found & wanted or not wanted for wanted, found in conditions) and (
        not symptom.text or any(re.search(symptom.text, line) for line in evidence.lines)
    )


_STATUS_IN_TEXT = re.compile(
    r"status code (\d{3})\b|above 428, last (\d{3})\b|too many (\d{3}) error responses"
    r"|operation returned(?: status|:) (\d{3})\b|^\w+: \((\d{3})\)"
)
_CODE_IN_TEXT = re.compile(r"\((\d{6})[;)]|(?i:errorCode)[\\\"']*:[ \\\"']*(\d{6}|[A-Za-z]{4,60})\b")
_CODES_BY_WORDS = {"not supported by this simulator": "NotSupported", "The simulator failed": "InternalServerError"}
#: The device client names no service; its texts do.
_AT_PROVISIONING = re.compile(
    r"register request returned|query_status request returned|request returned a service error"
    r"|request was answered|registration status"
)
_AT_HUB = re.compile(r"(?i)\b(twin|HTTP) operation returned")
#: Statuses of exceptions that somebody made without the answer.
_STATUS_OF_CLASS = {
    "ResourceNotFoundError": 404,
    "ResourceExistsError": 409,
    "ResourceModifiedError": 412,
    "ResourceNotModifiedError": 304,
}
_UNSTEADY = (
    # what differs from run to run and tells a learner nothing
    (re.compile(r"0x[0-9a-f]{6,}"), "0x…"),
    (re.compile(r"(?i)tracking ?id:? ?([0-9a-f]{32}|[0-9a-f-]{36})(-TimeStamp:[\d/ :]+)?"), "tracking ID …"),
    (re.compile(r"SharedAccessKey=[^;\s]+"), "SharedAccessKey=****"),
    (re.compile(r"sig=[^&\s]+"), "sig=****"),
)


def _steady(text: str) -> str:
    for pattern, replacement in _UNSTEADY:
        text = pattern.sub(replacement, text)
    return text[:300]


def _line(error: BaseException) -> str:
    # the SDK of the service repeats code and message behind this word
    text = " ".join(str(error).split()).partition(" Code: ")[0]
    answer = getattr(error, "response", None)
    if isinstance(answer, requests.Response):
        # the SDK of the hub keeps the hub's words to itself
        text += f": {refusal_text(answer)}"
    text = mask_in_input(_steady(text))
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def _class_names(error: BaseException) -> list[str]:
    return [kind.__name__ for kind in type(error).__mro__ if kind is not object]


def _status(error: BaseException) -> int | None:
    status = status_of(error)
    if status is None:
        found = _STATUS_IN_TEXT.search(f"{type(error).__name__}: {error}")
        status = int(next(filter(None, found.groups()))) if found else None
    return _STATUS_OF_CLASS.get(type(error).__name__) if status is None else status


def _codes(error: BaseException) -> list[str]:
    """Error codes of the service: in a header, in the text of the error, in the body of the answer."""
    answer = getattr(error, "response", None)
    texts = [str(error), _body_of(answer)]
    headers = getattr(answer, "headers", None)
    given = headers.get("x-ms-error-code", "") if isinstance(headers, Mapping) else ""
    found = [code for text in texts for code in _codes_in(text)]
    return [*found, str(given)] if re.fullmatch(r"\d{6}", str(given)) else found


def _codes_in(text: str) -> list[str]:
    # some clients show the words and no code
    by_words = [code for words, code in _CODES_BY_WORDS.items() if words in text]
    return [*by_words, *(number or name for number, name in _CODE_IN_TEXT.findall(text))]


def _body_of(answer: Any) -> str:
    """The body of an answer, of which some clients show nothing."""
    text = getattr(answer, "text", "")
    try:
        return str(text() if callable(text) else text)[:_LONGEST_BODY]
    except Exception:
        # what was never read, or is no text, says nothing
        return ""


def _places(error: BaseException) -> list[str]:
    """Who refused."""
    names = set(_class_names(error))
    if names & {"HttpOperationError", "ClientRequestError"}:
        return [REGISTRY]
    if "HttpResponseError" in names:
        request = getattr(getattr(error, "response", None), "request", None)
        if request is None:
            return [ENROLLMENTS, MANAGEMENT]
        is_managed = urlsplit(str(request.url)).path.lower().startswith(("/subscriptions/", "/providers/"))
        return [MANAGEMENT if is_managed else ENROLLMENTS]
    text = str(error)
    return [place for place, pattern in ((PROVISIONING, _AT_PROVISIONING), (HUB, _AT_HUB)) if pattern.search(text)]
