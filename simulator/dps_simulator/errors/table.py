"""Every error that the simulator answers with, in one table, each with its provenance.

An :class:`ErrorKind` is a row of the table; a :class:`ServiceError` is one occurrence of it, raised anywhere below
the endpoints and turned into an answer in one place per protocol. Texts that Azure was seen to send are marked
``RECORDED`` or ``DOCUMENTED``; what nobody could source says ``INFERRED``; what only this simulator says is
``SIMULATOR_ONLY`` and its text names the simulator.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime

from .compact_json import compact_encoder
from .dps import Dps
from .hub import Hub
from .kinds import ErrorKind, Provenance, table
from .management import ResourceManager, Transport
from .masking import mask_in_name
from .timestamps import azure_timestamp

__all__ = [
    "Dps",
    "ErrorKind",
    "Hub",
    "Provenance",
    "ResourceManager",
    "ServiceError",
    "Transport",
    "ascii_json",
    "described",
    "dps_body",
    "hub_body",
    "service_body",
    "table",
]


@dataclass(slots=True)
class ServiceError(Exception):
    """An error answer on its way to the client.

    Arguments:
        kind: the row of the table.
        message: a text more precise than the row's (names the wrong value, says what to do).
        reason: what the simulator knows and the real service would not tell. It goes to the trace only.
        retry_after: seconds for a ``Retry-After`` header.
        finding: a word for the reason that programs can rely on, e.g. ``certificateExpired``; goes where it goes.
    """

    kind: ErrorKind
    message: str = ""
    reason: str = ""
    retry_after: int | None = None
    finding: str = ""
    tracking_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def __post_init__(self) -> None:
        """Fill the text from the table when none was given; mask what a wrong value that it repeats may contain."""
        self.message = mask_in_name(self.message or self.kind.message)
        self.reason = mask_in_name(self.reason)
        Exception.__init__(self, self.message)

    def why(self) -> dict[str, str]:
        """What the trace keeps of the reason: nothing when there is none."""
        return {name: text for name, text in (("reason", self.reason), ("finding", self.finding)) if text}

    def __str__(self) -> str:
        """Code and text, e.g. ``404201 Enrollment not found.``."""
        return f"{self.kind.code} {self.message}"


def dps_body(error: ServiceError, now: datetime) -> dict[str, object]:
    """The JSON object of the provisioning service (device and service API).

    ``code`` repeats ``errorCode``: azure-core prints the former, every other client reads the latter. Where a
    certificate or a TPM was found wrong, ``info`` says what the service would keep to itself; its names begin with
    "simulator".
    Source: ``ProvisioningServiceErrorDetails`` of the published API description 2021-10-01.
    """
    info = {"simulatorFinding": error.finding, "simulatorReason": error.reason}
    return {
        "code": error.kind.code,
        "errorCode": error.kind.code,
        "trackingId": error.tracking_id,
        "message": error.message,
        **({"info": info} if error.finding else {}),
        "timestampUtc": azure_timestamp(now),
    }


def service_body(error: ServiceError, now: datetime) -> dict[str, object]:
    """The JSON object of the service API: that of the provisioning service, in two shapes at once where needed.

    What stops a request before an operation sees it has the shape of a hub's errors as well: the SDK for Node takes its
    texts from nothing else, while the SDKs for Python read the other shape only.
    Source: iotedge issue 6675 and azure-iot-sdk-csharp issue 3479 for the shape and two of the names; which failures
    have it, the other names, and that both shapes come together are inferred.
    """
    body = dps_body(error, now)
    if not error.kind.gateway:
        return body
    # clients cut the text at the next semicolon
    text = error.message.replace(";", ",")
    return {**body, **hub_body(error, now), "Message": f"ErrorCode:{error.kind.gateway};{text}"}


def hub_body(error: ServiceError, now: datetime) -> dict[str, object]:
    """The JSON object of an IoT hub: ``{"Message": "ErrorCode:Name;text", "ExceptionMessage": "Tracking ID:…"}``."""
    stamp = now.strftime("%m/%d/%Y %H:%M:%S")
    return {
        "Message": f"ErrorCode:{error.kind.name};{error.message}",
        "ExceptionMessage": f"Tracking ID:{error.tracking_id.replace('-', '')}-TimeStamp:{stamp}",
    }


def described(value: object) -> str:
    """A JSON value for an error: only its kind where it may hold a key that stands in the wrong place, else itself."""
    for kind, words in ((dict, "an object"), (list, "an array"), (str, "a text")):
        if isinstance(value, kind):
            return words
    return f"{value!r:.160}"


_encoded = compact_encoder()


def ascii_json(document: object) -> bytes:
    """JSON in pure ASCII: one SDK decodes answers as ASCII before it parses them."""
    return _encoded(document).encode("ascii")
