"""How a TPM registers: what to send next, and what an answer means. No sockets, no clock, no TPM.

::

    device                                    DPS
      PUT  register, EK and SRK        ──▶
                                       ◀──  401, challenge
      (TPM: open the challenge, sign)
      PUT  register, token             ──▶
                                       ◀──  202, operation
      GET  operation, token            ──▶
                                       ◀──  200, hub, device ID, wrapped hub key
      (TPM: take in the hub key)

Both clients ask :attr:`RegistrationExchange.step` what to do and report back what came of it.

Source: the published API of the service (``Device``, version 2021-06-01), and the SDKs for Node and C, which register
this way.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import quote

from azure.iot.device import RegistrationResult
from azure.iot.device.exceptions import OperationTimeout, ServiceError
from azure.iot.device.provisioning.models.registration_result import RegistrationState

from helpers.credentials import Secret
from helpers.masking import masked

#: What the SDKs with TPM attestation that are still maintained send (for C, and the IoT Identity Service).
API_VERSION = "2021-06-01"

#: Seconds until the next request where the service names none, and the most that it may ask for.
#: Source: the Python SDK (2) and the C SDK (300).
DEFAULT_PAUSE = 2.0
LONGEST_PAUSE = 300.0
#: How often in a row a service may be too busy, and how often an operation may be asked for. The Python SDK has no
#: limit for either; somebody who waits at a notebook wants one.
MOST_DELAYS = 8
MOST_POLLS = 100
#: An answer has about 2 kB. The service itself takes no messages above 96 kB (its documented limit).
MAX_ANSWER_SIZE = 96 * 1024

#: Name of the key that the challenge holds, where the answer does not say.
KEY_NAME = "registration"

_KEY_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: What a service may say of itself that is repeated to people.
_LONGEST_TEXT = 400


class State(Enum):
    """Where a registration is."""

    PRESENTING = "the device shows its public keys"
    CHALLENGED = "the device has a challenge to open"
    PROVING = "the device shows a token signed with the key of the challenge"
    WAITING = "the service is assigning the device to a hub"
    ASSIGNED = "the device has a hub key to take in"
    FINISHED = "the device is registered"


class Meaning(Enum):
    """What an answer, or a finished step of the TPM, means."""

    CHALLENGE = "a challenge"
    ASSIGNING = "wait and ask again"
    ASSIGNED = "assigned to a hub"
    BUSY = "too busy, try again"
    ACTIVATED = "the TPM took the key in"


#: All that may follow; everything else is an error.
TRANSITIONS: Mapping[State, Mapping[Meaning, State]] = {
    State.PRESENTING: {Meaning.CHALLENGE: State.CHALLENGED, Meaning.BUSY: State.PRESENTING},
    State.CHALLENGED: {Meaning.ACTIVATED: State.PROVING},
    State.PROVING: {
        Meaning.ASSIGNING: State.WAITING,
        Meaning.ASSIGNED: State.ASSIGNED,
        Meaning.BUSY: State.PROVING,
    },
    State.WAITING: {
        Meaning.ASSIGNING: State.WAITING,
        Meaning.ASSIGNED: State.ASSIGNED,
        Meaning.BUSY: State.WAITING,
    },
    State.ASSIGNED: {Meaning.ACTIVATED: State.FINISHED},
    State.FINISHED: {},
}

#: How the Python SDK calls the two requests in its errors.
REGISTER, QUERY = "register", "query"


@dataclass(frozen=True)
class Answer:
    """What the service answered.

    Attributes:
        status: HTTP status.
        body: at most one byte more than :data:`MAX_ANSWER_SIZE`.
        retry_after: the header of this name, empty without it.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    retry_after: str = ""


@dataclass(frozen=True)
class Send:
    """Send a request, then call :meth:`RegistrationExchange.answered`.

    Attributes:
        name: what errors call the request, ``register`` or ``query``.
        method: HTTP method, ``PUT`` or ``GET``.
        target: path and query of the address.
        headers: all but ``Host`` and those of the connection.
        body: empty for none.
        pause: seconds to wait before it is sent.
    """

    name: str
    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    pause: float


@dataclass(frozen=True)
class Activate:
    """Let the TPM take a key in, then call :meth:`RegistrationExchange.activated`.

    Attributes:
        blob: the wrapped key, six sized parts, decoded from base64.
        resource: what a token is needed for, signed with this key; empty: no token is needed.
        key_name: name of the key, for the token.
    """

    blob: bytes = field(repr=False)
    resource: str = ""
    key_name: str = ""


@dataclass(frozen=True)
class Finished:
    """The device is registered."""

    result: RegistrationResult


Step = Send | Activate | Finished


class RegistrationExchange:
    """One registration.

    Arguments:
        id_scope: the ID scope of the service, e.g. ``0ne00000A01``.
        registration_id: under which the device registers.
        endorsement_key: base64 of its TPM2B_PUBLIC.
        storage_root_key: base64 of its TPM2B_PUBLIC.
        payload: what the device tells about itself, anything that JSON can express; ``None`` for nothing.
        user_agent: how the client introduces itself.

    Attributes:
        registration_id: under which the device registers.
        state: where the registration is.
        replaced_key: whether the TPM holds another key than before the registration; who lets the TPM take one in says
            so here.

    Raises:
        ValueError: the payload cannot be written as JSON.
    """

    def __init__(
        self,
        *,
        id_scope: str,
        registration_id: str,
        endorsement_key: str,
        storage_root_key: str,
        payload: Any = None,
        user_agent: str = "",
    ) -> None:
        self.registration_id = registration_id
        self._resource = f"{id_scope}/registrations/{registration_id}"
        self._path = f"/{quote(id_scope, safe='')}/registrations/{quote(registration_id, safe='')}"
        self._user_agent = user_agent
        document: dict[str, Any] = {
            "registrationId": registration_id,
            "tpm": {"endorsementKey": endorsement_key, "storageRootKey": storage_root_key},
        }
        if payload is not None:
            document["payload"] = payload
        self._body = _json_bytes(document)
        self.replaced_key = False
        self.state = State.PRESENTING
        self._token: Secret | None = None
        self._operation = ""
        self._activate = Activate(b"")
        self._result: RegistrationResult | None = None
        self._pause = 0.0
        self._delays = 0
        self._polls = 0

    @property
    def step(self) -> Step:
        """What to do now: send a request, let the TPM take a key in, or nothing more."""
        if self.state is State.FINISHED:
            return Finished(self._result)
        if self.state in (State.CHALLENGED, State.ASSIGNED):
            return self._activate
        if self.state is State.WAITING:
            return self._send(QUERY, "GET", f"{self._path}/operations/{quote(self._operation, safe='')}", b"")
        return self._send(REGISTER, "PUT", f"{self._path}/register", self._body)

    def activated(self, token: Secret | None = None) -> None:
        """The TPM took the key in.

        Arguments:
            token: the token that the step asked for.
        """
        self._expect(Activate)
        self._token = token or self._token
        self.state = TRANSITIONS[self.state][Meaning.ACTIVATED]

    def answered(self, answer: Answer) -> None:
        """The service answered.

        Raises:
            ServiceError: the registration is over; the text says why.
            OperationTimeout: the service stays busy, or does not come to an end.
        """
        self._expect(Send)
        request = QUERY if self.state is State.WAITING else REGISTER
        self._pause = pause_of(answer.retry_after)
        if answer.status >= 429:
            self._delay(request, answer)
            return
        document = _document(request, answer)
        if answer.status == 401 and document.get("authenticationKey") is not None:
            self._go(Meaning.CHALLENGE, request, answer)
            # the service waits for the answer; the pause is for those who ask again
            self._pause, self._delays = 0.0, 0
            self._activate = Activate(
                _blob(document["authenticationKey"], "the challenge"), self._resource, _key_name(document)
            )
            return
        if answer.status >= 300:
            raise _refused(request, answer, document)
        self._delays = 0
        self._read_status(request, answer, document)

    def _read_status(self, request: str, answer: Answer, document: Mapping[str, Any]) -> None:
        status, operation = document.get("status"), document.get("operationId")
        if status == "assigning":
            if not isinstance(operation, str) or not operation:
                raise ServiceError(f"{request} request was answered without an operationId, so nothing can be asked.")
            self._polls += 1
            if self._polls > MOST_POLLS:
                raise OperationTimeout(
                    f"The service still says 'assigning' after {MOST_POLLS} questions. Register again later."
                )
            self._go(Meaning.ASSIGNING, request, answer)
            self._operation = operation
            return
        if status == "assigned":
            self._go(Meaning.ASSIGNED, request, answer)
            self._assigned(document, operation)
            return
        if status == "failed":
            raise ServiceError(
                "Query Status operation returned a failed registration status "
                f"with a status code of {answer.status}{_details(_object(document, 'registrationState'))}"
            )
        shown = _shown(status) if isinstance(status, str) else "of another kind than text"
        raise ServiceError(
            f"Query Status Operation encountered an invalid registration status {shown} "
            f"with a status code of {answer.status}{_MEANINGS.get(shown, '')}"
        )

    def _assigned(self, document: Mapping[str, Any], operation: object) -> None:
        state = _object(document, "registrationState")
        for name in ("assignedHub", "deviceId"):
            if not isinstance(state.get(name), str) or not state[name]:
                raise ServiceError(f"The device was assigned, but registrationState has no {name}. Register again.")
        key = _object(state, "tpm").get("authenticationKey")
        if key is None:
            raise ServiceError(
                "The device was assigned, but registrationState.tpm has no authenticationKey, so it got no hub key. "
                "Look whether its enrollment is one for a TPM, then register again."
            )
        self._activate = Activate(_blob(key, "the hub key"))
        self._result = RegistrationResult(
            operation_id=operation,
            status="assigned",
            registration_state=RegistrationState(
                device_id=state["deviceId"],
                assigned_hub=state["assignedHub"],
                sub_status=state.get("substatus"),
                created_date_time=state.get("createdDateTimeUtc"),
                last_update_date_time=state.get("lastUpdatedDateTimeUtc"),
                etag=state.get("etag"),
                payload=state.get("payload"),
            ),
        )

    def _delay(self, request: str, answer: Answer) -> None:
        self._delays += 1
        if self._delays > MOST_DELAYS:
            raise OperationTimeout(
                f"{request} request was answered {self._delays} times in a row with a service error status code "
                f"above 428, last {answer.status}. The service is too busy or out of order: register again later."
            )
        self._go(Meaning.BUSY, request, answer)

    def _go(self, meaning: Meaning, request: str, answer: Answer) -> None:
        """Take a transition of the table.

        Raises:
            ServiceError: there is none.
        """
        following = TRANSITIONS[self.state].get(meaning)
        if following is None:
            raise ServiceError(
                f"{request} request was answered with status code {answer.status}, {meaning.value}, "
                f"while {self.state.value}. {_UNEXPECTED[meaning]}"
            )
        self.state = following

    def _expect(self, kind: type[Send] | type[Activate]) -> None:
        if not isinstance(self.step, kind):
            raise RuntimeError(f"The registration expects something else now: {self.state.value}.")

    def _send(self, name: str, method: str, path: str, body: bytes) -> Send:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": self._user_agent}
        if body:
            headers["Content-Type"] = "application/json; charset=utf-8"
        if self._token is not None:
            headers["Authorization"] = self._token.reveal()
        return Send(name, method, f"{path}?api-version={API_VERSION}", headers, body, self._pause)


#: What to do about other ends of a registration.
_MEANINGS = {
    "disabled": ". The enrollment is disabled: set its provisioningStatus to 'enabled', then register again.",
}
_NO_PROOF = "It asked for no proof of the TPM: look whether the device's enrollment is one for a TPM."
_UNEXPECTED = {
    Meaning.CHALLENGE: "It did not take the token that answers its first challenge. Register again.",
    Meaning.ASSIGNING: _NO_PROOF,
    Meaning.ASSIGNED: _NO_PROOF,
}


def pause_of(retry_after: str) -> float:
    """How many seconds to wait, from the header ``Retry-After``.

    Arguments:
        retry_after: its value; what is no number of seconds counts as none.
    """
    text = retry_after.strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        return DEFAULT_PAUSE
    return min(float(text), LONGEST_PAUSE)


def _json_bytes(document: Mapping[str, Any]) -> bytes:
    try:
        # the Python SDK writes objects of any class in this way
        text = json.dumps(document, default=lambda value: value.__dict__)
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"provisioning_payload cannot be written as JSON: {error}") from error
    return text.encode("ascii")


def _document(request: str, answer: Answer) -> dict[str, Any]:
    """The answer as a JSON object; errors that are none of DPS come from something on the way, such as a proxy."""
    if len(answer.body) > MAX_ANSWER_SIZE:
        raise ServiceError(
            f"{request} request was answered with status code {answer.status} and more than "
            f"{MAX_ANSWER_SIZE} bytes. This is not DPS: check the provisioning host."
        )
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        return document
    if answer.status >= 300:
        return {}
    raise ServiceError(
        f"{request} request was answered with status code {answer.status} and a body that is no JSON object. "
        "This is not DPS: check the provisioning host."
    )


def _object(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _blob(value: object, what: str) -> bytes:
    try:
        if not isinstance(value, str):
            raise ValueError("no text")
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        # whatever it is, it may be secret: neither it nor the complaint about it is shown
        raise ServiceError(
            f"The authenticationKey with {what} is not valid base64: it was changed on the way. Register again."
        ) from None


def _key_name(document: Mapping[str, Any]) -> str:
    name = document.get("keyName")
    return name if isinstance(name, str) and _KEY_NAME.fullmatch(name) else KEY_NAME


def _refused(request: str, answer: Answer, document: Mapping[str, Any]) -> ServiceError:
    """The words of the Python SDK, and behind them those of the service, which that SDK keeps to itself."""
    text = f"{request} request returned a service error status code {answer.status}"
    if answer.status < 400:
        return ServiceError(f"{text}: a redirection, and DPS has none. Check the provisioning host and the proxy.")
    return ServiceError(f"{text}{_details(document)}")


def _details(document: Mapping[str, Any]) -> str:
    code, message = document.get("errorCode"), document.get("message") or document.get("errorMessage")
    reason = _object(document, "info").get("simulatorReason")
    parts = [str(code)] if isinstance(code, int) else []
    parts += [_shown(message)] if isinstance(message, str) else []
    parts += [f"The simulator says: {_shown(reason)}"] if isinstance(reason, str) else []
    return f" ({'; '.join(parts)})" if parts else ""


def _shown(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text[: 4 * _LONGEST_TEXT])
    return masked(printable)[:_LONGEST_TEXT].strip()
