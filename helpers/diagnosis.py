"""What an error means: as the SDK shows it → cause → remedy → where it is taught.

The device SDK hides the reason of a refusal behind a general sentence; the details sit in the chain of causes, and
the service often says no more than "401". :func:`explain` reads the whole chain. Against the simulator it also asks
the trace, where the reason stands that Azure would keep to itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import requests

from helpers.checks import causes
from helpers.lessons import status_of
from helpers.registry import refusal_text
from helpers.views.sequence import refused

_ENROLL = "11_symmetric_key_enroll"
_START = "12_symmetric_key_start"
_VERIFY = "13_symmetric_key_verify"
_FIRST = "00_start_here"

#: How far back in the trace a reason may stand.
_RECENT = 40


@dataclass(frozen=True)
class Cause:
    """One thing that may be wrong.

    Attributes:
        cause: what is wrong.
        remedy: what to do about it.
        taught: notebook that shows it.
        reason: regular expression over the simulator's reason that proves this cause.
    """

    cause: str
    remedy: str
    taught: str
    reason: str = ""


@dataclass(frozen=True)
class Symptom:
    """An error as one meets it, and what may be behind it.

    Attributes:
        name: short and unique.
        shown: what the learner sees.
        classes: names of exception classes, one of which is in the chain; empty: any.
        statuses: statuses of the service, one of which is in the chain; empty: any.
        text: regular expression that the chain's text must contain; empty: any.
        asks: services of the simulator whose trace knows more; empty: the error arose before anything was sent.
        causes: most frequent first.
    """

    name: str
    shown: str
    classes: frozenset[str]
    statuses: frozenset[int]
    text: str
    asks: frozenset[str]
    causes: tuple[Cause, ...]


def _symptom(
    name: str,
    shown: str,
    found: Sequence[Cause],
    *,
    classes: str = "",
    statuses: Iterable[int] = (),
    text: str = "",
    asks: str = "",
) -> Symptom:
    return Symptom(
        name, shown, frozenset(classes.split()), frozenset(statuses), text, frozenset(asks.split()), tuple(found)
    )


_GROUP_KEY = Cause(
    "The key of the enrollment group was used as if it were the device's key.",
    "Derive the device's key: HMAC-SHA256 over the registration ID, keyed with the group key.",
    f"{_ENROLL}, step 3",
    r"key of enrollment group .* itself",
)
_WRONG_KEY = Cause(
    "The device's key is not one of the two keys of its enrollment.",
    "Take the primary or the secondary key of the individual enrollment, every character of it.",
    f"{_ENROLL}, step 2",
    r"decides alone, and neither|signature|signed with another key|key does not match|not signed",
)
_UNKNOWN_DEVICE = Cause(
    "DPS has no enrollment for this registration ID: none of its own, and no group whose derived key fits.",
    "Look for the ID in the enrollment list; mind spelling. Enroll it, or derive its key from the right group.",
    f"{_ENROLL}, step 4",
    r"no individual enrollment",
)
_EXPIRED = Cause(
    "The token of the device has expired, or the clock of the device is wrong.",
    "Set the clock (NTP). Let the SDK make the tokens: it renews them in time.",
    f"{_START}, In practice",
    r"expired",
)
_OTHER_RESOURCE = Cause(
    "The token was made for another host, ID scope, registration ID or device ID than the one it is shown to.",
    "Give the SDK the host, the ID scope and the ID of this very device; it puts them into the token.",
    f"{_START}, step 2",
    r"token is for|for another|does not (match|belong)|resource|other device",
)
_MALFORMED = Cause(
    "The token cannot be read: a part is missing, or a key was put where a token belongs.",
    "A token begins with 'SharedAccessSignature'. Better: hand the key to the SDK and let it make the token.",
    f"{_START}, In practice",
    r"malformed|not a (SAS|token)|SharedAccessSignature|lacks|base64",
)
_SIMULATOR_GONE = Cause(
    "The simulator of this workspace does not run any more (it stops after an idle hour).",
    "Run the cell with connect(target) again: it starts the simulator. Enrollments and devices were kept.",
    f"{_FIRST}, step 2",
)
_TRUST = Cause(
    "This program does not trust the authority that made the server's certificate, or the name is not in it.",
    "Pass **dps.device_options to the client. Behind a company's proxy: add its root certificate to your machine's.",
    f"{_FIRST}, In practice",
)
_POLICY = Cause(
    "The shared access policy's name or key is wrong, or the policy may not do this.",
    "Copy the connection string of the policy again; for enrollments it needs the rights to read and write them.",
    f"{_FIRST}, In practice",
    r"policy|signature|key",
)

_DEVICE_401 = (_GROUP_KEY, _WRONG_KEY, _UNKNOWN_DEVICE, _OTHER_RESOURCE, _EXPIRED, _MALFORMED)
_REGISTERING = r"register request returned|query_status request returned|request returned a service error"

SYMPTOMS: tuple[Symptom, ...] = (
    _symptom(
        "registration refused",
        "register() fails, and 'status code 401' stands in the chain of causes",
        _DEVICE_401,
        statuses=[401],
        text=_REGISTERING,
        asks="provisioning",
    ),
    _symptom(
        "registration not found",
        "register() fails, and 'status code 404' stands in the chain of causes",
        [
            Cause(
                "There is no service with this ID scope, or nothing is enrolled under this registration ID.",
                "Compare the ID scope with the one that your service shows ('0ne…'), then look at the enrollments.",
                f"{_FIRST}, step 3",
            )
        ],
        statuses=[404],
        text=_REGISTERING,
        asks="provisioning",
    ),
    _symptom(
        "registration malformed",
        "register() fails, and 'status code 400' stands in the chain of causes",
        [
            Cause(
                "The registration ID or the payload of the request is not valid.",
                "Use up to 128 letters, digits and . _ : - in the ID; send a payload that is a JSON object.",
                f"{_FIRST}, step 3",
            )
        ],
        statuses=[400],
        text=_REGISTERING,
        asks="provisioning",
    ),
    _symptom(
        "enrollment disabled",
        "register() fails, and 'invalid registration status disabled' stands in the chain of causes",
        [
            Cause(
                "The enrollment exists and the device proved itself, but its provisioning status is 'disabled'.",
                "Set its provisioningStatus to 'enabled', or leave it: this is how a device is locked out.",
                f"{_ENROLL}, step 2",
            )
        ],
        text=r"^status disabled$|registration status disabled",
    ),
    _symptom(
        "registration failed",
        "register() fails, and 'failed registration status' stands in the chain of causes",
        [
            Cause(
                "DPS knows the device, but could not put it into a hub (no hub linked, or the hub was deleted).",
                "Look at the linked hubs of the service, and at errorMessage in the registration record.",
                f"{_START}, step 4",
            )
        ],
        text=r"^status failed$|failed registration status",
    ),
    _symptom(
        "connection refused for these credentials",
        "CredentialError: Credentials invalid, could not connect",
        [
            Cause(
                "The hub does not know the device, or the device is disabled there.",
                "Read the device with the registry; register it again if it was deleted.",
                f"{_VERIFY}, step 4",
                r"not registered|no (such )?device|disabled|unknown device",
            ),
            _OTHER_RESOURCE,
            _EXPIRED,
            _MALFORMED,
            Cause(
                "The device connects with another key, or under another device ID, than the hub knows for it.",
                "Use the hub and the device ID that register() returned, and the same key that it registered with.",
                f"{_VERIFY}, step 3",
                r"signature|signed|key",
            ),
        ],
        classes="CredentialError UnauthorizedError",
        asks="provisioning hub",
    ),
    _symptom(
        "certificate file gone",
        "OSError: Could not find a suitable TLS CA certificate bundle",
        [_SIMULATOR_GONE],
        text=r"TLS CA certificate bundle, invalid path",
    ),
    _symptom(
        "token not usable",
        "ValueError: Invalid SasToken provided",
        [_MALFORMED],
        text=r"Invalid SasToken",
    ),
    _symptom(
        "token expired",
        "ValueError: Provided SasToken has already expired",
        [_EXPIRED],
        text=r"(?i)SasToken has already expired",
    ),
    _symptom(
        "host refused by the way to it",
        "ProtocolProxyError or ProxyError with 403: Forbidden",
        [
            Cause(
                "Against the simulator: the host is none of its own, so it leads nowhere.",
                "Use dps.provisioning_host, and the hub that register() returned.",
                f"{_FIRST}, step 2",
            ),
            Cause(
                "On Azure: the proxy of your network does not let this host through.",
                "Ask for *.azure-devices.net and *.azure-devices-provisioning.net to be allowed.",
                f"{_FIRST}, In practice",
            ),
        ],
        text=r"403:? Forbidden",
    ),
    _symptom(
        "proxy unreachable",
        "ProtocolProxyError, ProxyError or 'Unable to connect to proxy'",
        [
            _SIMULATOR_GONE,
            Cause(
                "On Azure: the proxy of your network does not answer.",
                "Check HTTPS_PROXY, or ask whoever runs the network.",
                f"{_FIRST}, In practice",
            ),
        ],
        classes="ProtocolProxyError ProxyError ProxyConnectionError HTTPError",
        text=r"(?i)prox",
    ),
    _symptom(
        "certificate not trusted",
        "TlsExchangeAuthError, SSLError or 'certificate verify failed'",
        [_TRUST],
        text=r"(?i)certificate verify failed|TLS exchange|CERTIFICATE_VERIFY_FAILED|hostname mismatch|Tls",
        classes="TlsExchangeAuthError SSLError SSLCertVerificationError SSLZeroReturnError",
    ),
    _symptom(
        "host not reachable",
        "ConnectionFailedError: Could not connect",
        [
            Cause(
                "The host name is wrong, or has https:// in front, or belongs to another target.",
                "Give the bare host name (dps.provisioning_host), and **dps.device_options with it.",
                f"{_FIRST}, step 3",
            ),
            Cause(
                "Port 8883 is closed in this network (companies and Binder do that).",
                "Use MQTT over WebSockets, which goes through port 443: websockets=True. dps.device_options does it.",
                f"{_FIRST}, In practice",
            ),
            _SIMULATOR_GONE,
        ],
        classes="ConnectionFailedError gaierror ConnectionRefusedError NewConnectionError ServiceRequestError",
    ),
    _symptom(
        "connection lost",
        "ConnectionDroppedError or NoConnectionError",
        [
            Cause(
                "Another client connected under the same device ID, and a hub keeps only the newest one.",
                "Shut the older client down (restart the other notebook's kernel), then connect again.",
                f"{_VERIFY}, Clean up",
                r"newer connection|took over|ForcefullyClosed",
            ),
            Cause(
                "The device was disabled or deleted in the hub while it was connected.",
                "Read the device with the registry.",
                f"{_VERIFY}, step 4",
                r"disabled|deleted",
            ),
        ],
        classes="ConnectionDroppedError NoConnectionError",
        asks="provisioning hub",
    ),
    _symptom(
        "service key refused",
        "HTTP status 401 from the service API of DPS or of a hub",
        [_POLICY],
        statuses=[401],
        asks="enrollments registry",
    ),
    _symptom(
        "exists already",
        "HTTP status 409, ResourceExistsError",
        [
            Cause(
                "Something of that name exists, and the request asked to create it.",
                "To change it, read it first and give its ETag: create_or_update(..., if_match=found['etag']).",
                f"{_ENROLL}, step 2",
            )
        ],
        statuses=[409],
        asks="enrollments registry",
    ),
    _symptom(
        "changed meanwhile",
        "HTTP status 412, precondition failed",
        [
            Cause(
                "Somebody changed it after you read it: its ETag is not the one that you gave.",
                "Read it again, apply your change to what you read, and write with the new ETag.",
                f"{_ENROLL}, step 2",
            )
        ],
        statuses=[412],
        asks="enrollments registry",
    ),
    _symptom(
        "device not online",
        "HTTP status 404 with DeviceNotOnline, 404103",
        [
            Cause(
                "The device is not connected, or does not listen for methods.",
                "Connect it and let it wait for method calls before you call.",
                f"{_VERIFY}, step 3",
            )
        ],
        text=r"404103|DeviceNotOnline|Timed out waiting for device",
        asks="registry",
    ),
    _symptom(
        "not found",
        "HTTP status 404, ResourceNotFoundError",
        [
            Cause(
                "There is no enrollment, registration record or device of that name.",
                "List what there is; device IDs are case-sensitive. A record exists only once the device registered.",
                f"{_ENROLL}, step 4",
            )
        ],
        statuses=[404],
        asks="enrollments registry",
    ),
    _symptom(
        "request not valid",
        "HTTP status 400 from a service API",
        [
            Cause(
                "A field of the request is wrong; the message names it.",
                "Correct the field. Names are spelt like this: registrationId, attestation, symmetricKey.",
                f"{_ENROLL}, step 2",
            )
        ],
        statuses=[400],
        asks="enrollments registry",
    ),
    _symptom(
        "too much at once",
        "HTTP status 429",
        [
            Cause(
                "More requests than the service takes in a minute.",
                "Wait as long as Retry-After says, and let devices boot at different moments.",
                f"{_START}, In practice",
            )
        ],
        statuses=[429],
        asks="enrollments registry",
    ),
    _symptom(
        "simulator does not start",
        "LaunchError",
        [
            Cause(
                "A port is taken, or the state folder cannot be written or is damaged; the message says which.",
                "Follow the message. 90_clean_up removes the simulator's state; the next connect() makes a new one.",
                "90_clean_up",
            )
        ],
        classes="LaunchError",
    ),
    _symptom(
        "setting or parameter wrong",
        "TargetError, CredentialsError, ParameterError or WorkspaceError",
        [
            Cause(
                "A value that you gave cannot be used; the message names it.",
                "Follow the message.",
                f"{_FIRST}, step 2",
            )
        ],
        classes="TargetError CredentialsError ParameterError WorkspaceError LessonError",
    ),
)

_UNKNOWN = _symptom(
    "not in the table",
    "another error",
    [
        Cause(
            "This table has no entry for it.",
            "Read the chain of causes from below: the last line is where it began.",
            _FIRST,
        )
    ],
)


class Explanation:
    """What an error means. Shows itself as text or HTML.

    Arguments:
        symptom: the entry of the table.
        chain: the error and its causes, one line each.
        reason: what the simulator knows, empty when it knows nothing.
    """

    def __init__(self, symptom: Symptom, chain: Sequence[str], reason: str = "") -> None:
        self.symptom = symptom
        self.chain = list(chain)
        self.reason = reason
        proven = [each for each in symptom.causes if reason and each.reason and re.search(each.reason, reason)]
        self.causes = tuple(proven[:1]) or symptom.causes

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


def explain(problem: Any, dps: Any = None) -> Explanation:
    """Explain an error, or the result of a registration that did not end as ``assigned``.

    Arguments:
        problem: the exception, or a ``RegistrationResult``.
        dps: the target; against the simulator its trace is asked for the reason.
    """
    if not isinstance(problem, BaseException):
        line = f"status {getattr(problem, 'status', problem)}"
        return Explanation(_find([line], frozenset(), frozenset()), [line])
    chain = causes(problem)
    lines = [_line(each) for each in chain]
    classes = frozenset(kind.__name__ for each in chain for kind in type(each).__mro__ if kind is not object)
    statuses = frozenset(status for each in chain if (status := _status(each)) is not None)
    symptom = _find(lines, classes, statuses)
    return Explanation(symptom, lines, _reason(dps, symptom, statuses))


def _find(lines: Sequence[str], classes: frozenset[str], statuses: frozenset[int]) -> Symptom:
    for symptom in SYMPTOMS:
        if symptom.classes and not symptom.classes & classes:
            continue
        if symptom.statuses and not symptom.statuses & statuses:
            continue
        if symptom.text and not any(re.search(symptom.text, line) for line in lines):
            continue
        return symptom
    return _UNKNOWN


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


def _reason(dps: Any, symptom: Symptom, statuses: frozenset[int]) -> str:
    """Why the simulator refused, from the newest answer in its trace; empty when that is not the one that failed."""
    if dps is None or not dps.is_simulator or not symptom.asks:
        return ""
    try:
        recent: list[Mapping[str, Any]] = dps.events(after=max(0, dps.last_event() - _RECENT))
    except Exception:
        # explaining one error must not end in another one; the simulator may be what is gone
        return ""
    refusals = [event for event in recent if event["service"] in symptom.asks and refused(event)]
    if not refusals or (statuses and refusals[-1]["status"] not in statuses):
        return ""
    return str(refusals[-1]["detail"].get("reason", ""))
