"""What the simulator's trace says of one failed attempt, and of no other.

The trace holds what everybody does. So what belongs to somebody else is left out first: by what the answer is called,
else by the device and the host.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from helpers.views.observation import device_of
from helpers.views.sequence import refused

from .attempts import Attempt
from .kinds import SIMULATOR

#: How far back in the trace a reason may stand, in events; a fleet that boots makes some hundreds at once.
_RECENT = 1_000
#: The same where nothing but the kind of the failure tells whose it is.
_JUST_NOW = 40
_REFUSED_CONNECTION = "connection refused"
#: What ends a connection that there was.
_ENDINGS = frozenset({"disconnect", "close", "fault: cut"})
_LOST = frozenset({"ConnectionDroppedError", "NoConnectionError", "OperationCancelled"})
#: The client got no answer, so one that was given is another one's.
_CUT_OFF = frozenset(
    {
        *("ServiceResponseError", "RemoteDisconnected", "ConnectionResetError", "ConnectionAbortedError"),
        *("BrokenPipeError", "ChunkedEncodingError", "IncompleteReadError", "IncompleteRead", "StreamClosedError"),
    }
)
_NOT_ADMITTED = frozenset({"CredentialError", "UnauthorizedError"})
_TRACKING_ID = re.compile(r"(?i)tracking ?id[\"']?: ?[\"']?([0-9a-f-]{32,36})")


@dataclass(frozen=True)
class Known:
    """What the simulator's trace says of a refusal.

    Attributes:
        reason: the sentence; empty where there is none.
        finding: the word for it, empty where there is none.
        told: the text of the answer, which some clients do not show.
        code: the six digits of the answer, empty where there are none.
        answers: whether the simulator answered at all; ``None`` where nobody asked it.
    """

    reason: str = ""
    finding: str = ""
    told: str = ""
    code: str = ""
    answers: bool | None = None


def tracking_ids(texts: Sequence[str]) -> frozenset[str]:
    """What services called their answers, in small letters and without dashes."""
    return frozenset(found.lower().replace("-", "") for text in texts for found in _TRACKING_ID.findall(text))


def known(
    dps: Any, attempt: Attempt, *, asks: frozenset[str], statuses: frozenset[int], classes: frozenset[str]
) -> Known:
    """Ask the simulator why an attempt failed.

    Arguments:
        dps: the target; ``None`` and Azure are asked nothing.
        attempt: what is known of it.
        asks: services whose events may tell.
        statuses: of the error, empty where it has none.
        classes: of the error and its causes.
    """
    if dps is None or not dps.is_simulator:
        return Known()
    try:
        recent: list[Mapping[str, Any]] = dps.events(after=max(0, dps.last_event() - _RECENT))
    except Exception as problem:
        # explaining one error must not end in another one; the simulator may be what is gone
        return Known(answers=None if isinstance(problem.__cause__, ssl.SSLError) else False)
    mine = _of_attempt(recent, attempt, asks, classes)
    for event in _telling(mine, statuses, classes):
        return replace(_said_by(event), answers=True)
    return Known(answers=True)


def _of_attempt(
    events: Sequence[Mapping[str, Any]], attempt: Attempt, asks: frozenset[str], classes: frozenset[str]
) -> list[Mapping[str, Any]]:
    """The events that belong to the attempt."""
    asked = [event for event in events if event["service"] in asks]
    if attempt.tracking_ids:
        return [event for event in asked if attempt.tracking_ids & tracking_ids([json.dumps(event["detail"])])]
    if attempt.operation_id:
        return [event for event in asked if attempt.operation_id in json.dumps(event["detail"])]
    if attempt.is_known:
        return [event for event in asked if _is_of(event, attempt)]
    if _LOST & classes:
        return _ended_alone(asked[-_JUST_NOW:])
    return [event for event in asked if not (device_of(event) or event.get("host") or event["service"] == SIMULATOR)]


def _ended_alone(events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The newest end of a connection, if no other device's ended since that connection began.

    It is told in the background, by an exception that nobody raised and that does not know whose it is.
    """
    ended = [number for number, event in enumerate(events) if event["operation"] in _ENDINGS and _tells(event)]
    if not ended:
        return []
    device = device_of(events[ended[-1]])
    own = [number for number, event in enumerate(events[: ended[-1]]) if _begins(event) and device_of(event) == device]
    since = own[-1] if own else 0
    others = {device_of(events[number]) for number in ended if number >= since} - {device}
    return [] if others else [events[ended[-1]]]


def _is_of(event: Mapping[str, Any], attempt: Attempt) -> bool:
    host, device = str(event.get("host") or ""), device_of(event).lower()
    if event["service"] == SIMULATOR:
        reason = str(event["detail"].get("reason", ""))
        return host in attempt.hosts if host else any(name and name in reason.lower() for name in attempt.hosts)
    is_here = not host or not attempt.hosts or host in attempt.hosts
    return is_here and (device in attempt.names if device else bool(attempt.url))


def _telling(
    events: Sequence[Mapping[str, Any]], statuses: frozenset[int], classes: frozenset[str]
) -> Iterator[Mapping[str, Any]]:
    """Events that may be the failure, newest first."""
    for event in reversed(events):
        if _CUT_OFF & classes and event["operation"] not in _ENDINGS:
            continue
        if _tells(event) and (not statuses or event.get("status") in statuses or event["service"] == SIMULATOR):
            if not (_NOT_ADMITTED & classes) or event["operation"] in ("connect", _REFUSED_CONNECTION):
                yield event
        elif not statuses and not (_LOST | _NOT_ADMITTED) & classes and _begins(event):
            return


def _begins(event: Mapping[str, Any]) -> bool:
    """Whether a conversation begins here: what came before belongs to an earlier attempt."""
    by_request = event.get("protocol") == "https"
    return event.get("direction") == "in" and (by_request or event["operation"] == "connect")


def _tells(event: Mapping[str, Any]) -> bool:
    if event["operation"] in _ENDINGS:
        return refused(event) or event["detail"].get("ended") != "client"
    return refused(event) or event["operation"] == _REFUSED_CONNECTION or _ended(event)


def _ended(event: Mapping[str, Any]) -> bool:
    """Whether an event is the polite kind of refusal: a registration that ends like this instead of with an error."""
    body = event["detail"].get("body")
    return isinstance(body, Mapping) and body.get("status") in ("disabled", "failed")


def _said_by(event: Mapping[str, Any]) -> Known:
    detail = event["detail"]
    answer = _answer_in(detail)
    state = answer.get("registrationState")
    if isinstance(state, Mapping) and state.get("errorCode"):
        answer = {**answer, **state, "message": state.get("errorMessage", "")}
    code = str(answer.get("errorCode") or answer.get("code") or detail.get("code") or "")
    return Known(
        reason=str(detail.get("reason", "")),
        finding=str(detail.get("finding", "")),
        told=str(answer.get("message") or answer.get("Message") or ""),
        code=code if re.fullmatch(r"\d{6}", code) else "",
    )


def _answer_in(detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """The JSON object that was answered, also where the trace keeps its text."""
    body = detail.get("body")
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            body = None
    return body if isinstance(body, Mapping) else {}
