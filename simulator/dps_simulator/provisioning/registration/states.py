"""The states of a registration as a table, how long it takes, and what a device is told of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

from dps_simulator.common.ports import Document
from dps_simulator.credentials.tpm_keys import SecretForTpm

#: More polls than that nobody waits for (simulator-only limit).
MAX_POLLS = 1_000


class Status(StrEnum):
    """The states of a registration, in the words of the API."""

    UNASSIGNED = "unassigned"
    ASSIGNING = "assigning"
    ASSIGNED = "assigned"
    FAILED = "failed"
    DISABLED = "disabled"


class Event(Enum):
    """What moves a registration from one state to the next."""

    REGISTER = "register"
    """The device registers, for the first time or again."""
    ASSIGN = "assign"
    """The device is in a hub."""
    FAIL = "fail"
    """No hub could be found, or it did not take the device."""
    REFUSE = "refuse"
    """The enrollment is disabled."""


#: The whole machine. Deleting a registration leads back to ``unassigned`` from everywhere.
TRANSITIONS: Mapping[tuple[Status, Event], Status] = {
    **{(status, Event.REGISTER): Status.ASSIGNING for status in Status},
    (Status.ASSIGNING, Event.ASSIGN): Status.ASSIGNED,
    (Status.ASSIGNING, Event.FAIL): Status.FAILED,
    (Status.ASSIGNING, Event.REFUSE): Status.DISABLED,
}


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a registration takes.

    Attributes:
        name: ``azure`` (answers "assigning" first, done after 0.3 s), ``instant`` (done in the first answer) or
            ``polls`` (done after a number of polls).
        polls: how many polls are answered with "assigning", for ``polls``.
    """

    name: str = "azure"
    polls: int = 0

    @classmethod
    def parse(cls, text: str) -> Pace:
        """Read ``azure``, ``instant`` or ``polls=3``.

        Raises:
            ValueError: it is none of these.
        """
        if text in ("azure", "instant"):
            return cls(text)
        match = re.fullmatch(r"polls=([0-9]{1,4})", text)
        if match is None or int(match[1]) > MAX_POLLS:
            raise ValueError(
                f"The pace is {text!r:.60}; it must be azure, instant or polls=n with n up to {MAX_POLLS}."
            )
        return cls("polls", int(match[1]))

    def __str__(self) -> str:
        return f"polls={self.polls}" if self.name == "polls" else self.name


@dataclass(frozen=True, slots=True)
class OperationStatus:
    """What a device is told that registers or polls.

    Attributes:
        operation_id: the ID that the device polls with.
        status: where the registration is now.
        state: the registration, absent in the first answer while it is being assigned.
        retry_after: whole seconds until the next poll, while it is being assigned.
        secret: the key for the hub, for a device with a TPM; to be sent so that only this TPM can read it.
        reason: why it failed, where the service would not tell; for the trace.
    """

    operation_id: str
    status: Status
    state: Mapping[str, Any] | None = field(default=None, repr=False)  # with what a webhook tells the device
    retry_after: int | None = None
    secret: SecretForTpm | None = field(default=None, repr=False)
    reason: str = ""

    @property
    def http_status(self) -> int:
        """202 while the device is being assigned, else 200 - also when assigning failed."""
        return 202 if self.status is Status.ASSIGNING else 200

    def to_json(self) -> Document:
        """The body of the answer, in the fields of the device API. Without :attr:`secret`, which only blobs carry."""
        body: Document = {"operationId": self.operation_id, "status": self.status.value}
        if self.state is not None:
            body["registrationState"] = dict(self.state)
        return body
