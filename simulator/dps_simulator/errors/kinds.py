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
        status: HTTP status, also the status of an MQTT answer topic.
        code: six-digit error code (``code // 1000`` is the status).
        message: default text.
        mqtt: what an MQTT client meets: ``"answer"`` (an answer topic with the status), a CONNACK return code such
            as ``"CONNACK 5"``, ``"close"`` (the connection is dropped) or ``"-"`` (never over MQTT).
        provenance: how trustworthy the row is.
        source: where the row was learned.
        gateway: for what stops a request to the service API before an operation sees it, the name that stands in
            ``ErrorCode:<name>;`` then; see :func:`service_body`.
    """

    name: str
    status: int
    code: int
    message: str
    mqtt: str
    provenance: Provenance
    source: str
    gateway: str = ""


def table(owner: type) -> Mapping[str, ErrorKind]:
    """All rows of one class of errors, such as :class:`Dps`, by attribute name."""
    return {name: kind for name, kind in vars(owner).items() if isinstance(kind, ErrorKind)}
