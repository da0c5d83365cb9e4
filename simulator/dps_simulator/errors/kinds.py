"""What a row of the table of errors is, and where answers come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Provenance(Enum):
    """Where an answer comes from, most trusted first."""

    RECORDED = "recorded"
    """Seen in a recording of the real service, or in a capture quoted in public."""
    DOCUMENTED = "documented"
    """Stated by Microsoft's documentation or a published API description."""
    SDK_OBSERVED = "SDK-observed"
    """What the official SDKs require, send or accept."""
    INFERRED = "inferred"
    """Reasoned from neighbouring facts; nobody saw it."""
    SIMULATOR_ONLY = "simulator-only"
    """Exists in this simulator alone."""


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One row of the error table.

    Attributes:
        name: unique name; for the hub it is the name that stands in ``ErrorCode:<name>;``.
        code: six-digit error code, whose first three digits are the status.
        message: default text.
        provenance: how trustworthy the row is.
        source: where the row was learned.
        mqtt: what an MQTT client meets: ``"answer"`` (an answer topic with the status), a CONNACK return code such
            as ``"CONNACK 5"``, ``"close"`` (the connection is dropped) or ``"-"`` (never over MQTT).
        gateway: for what stops a request to the service API before an operation sees it, the name that stands in
            ``ErrorCode:<name>;`` then; see :func:`service_body`.
        amqp: for what has no code over AMQP, its condition there.
    """

    name: str
    code: int
    message: str
    provenance: Provenance
    source: str = "-"
    mqtt: str = "-"
    gateway: str = ""
    amqp: str = ""

    @property
    def status(self) -> int:
        """HTTP status, also the status of an MQTT answer topic."""
        return self.code // 1_000


def table(owner: type) -> Mapping[str, ErrorKind]:
    """All rows of one class of errors, such as :class:`Dps`, by attribute name."""
    return {name: kind for name, kind in vars(owner).items() if isinstance(kind, ErrorKind)}
