"""Every error that the simulator answers with, in one table, each with its provenance.

An :class:`ErrorKind` is a row of the table; a :class:`ServiceError` is one occurrence of it, raised anywhere below
the endpoints and turned into an answer in one place per protocol. Texts that Azure was seen to send are marked
``RECORDED`` or ``DOCUMENTED``; what nobody could source says ``INFERRED``; what only this simulator says is
``SIMULATOR_ONLY`` and its text names the simulator.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from .clock import azure_timestamp
from .masking import mask_in_text


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
    """

    name: str
    status: int
    code: int
    message: str
    mqtt: str
    provenance: Provenance
    source: str


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
        self.message = mask_in_text(self.message or self.kind.message)
        self.reason = mask_in_text(self.reason)
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


def ascii_json(document: object) -> bytes:
    """JSON in pure ASCII: one SDK decodes answers as ASCII before it parses them."""
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode("ascii")


_RECORDED = Provenance.RECORDED
_DOCUMENTED = Provenance.DOCUMENTED
_SDK_OBSERVED = Provenance.SDK_OBSERVED
_INFERRED = Provenance.INFERRED
_SIMULATOR = Provenance.SIMULATOR_ONLY
_TROUBLESHOOT = "Microsoft documentation, iot-dps how-to-troubleshoot-dps"
_STATUS_ONLY = f"the status: {_TROUBLESHOOT}; the code is inferred"
_BULK_ONLY = "recorded as an item of bulk answers; that a single PUT answers the same is inferred"
_ARM_STATUS = "the status: published API description of the resource provider; the code is inferred"
_HUB_CODES = "Microsoft documentation, rest/api/iothub/common-error-codes"


class Dps:
    """Errors of the provisioning service."""

    INVALID_BODY = ErrorKind(
        "InvalidBody",
        400,
        400004,
        "The request is invalid.",
        "answer",
        _RECORDED,
        "azure-sdk-for-python issue 35368 (the code; the texts are ours)",
    )
    INVALID_API_VERSION = ErrorKind(
        "InvalidApiVersion", 400, 400004, "The api-version is missing.", "answer", _INFERRED, _TROUBLESHOOT
    )
    UNAUTHORIZED_DEVICE_MQTT = ErrorKind(
        "UnauthorizedDevice", 401, 401000, "Unauthorized", "answer", _RECORDED, "azure-docs issue 43157 (MQTT)"
    )
    UNAUTHORIZED_DEVICE = ErrorKind(
        "UnauthorizedDeviceHttp", 401, 401002, "Unauthorized", "-", _RECORDED, "azure-iot-sdk-node issue 721 (HTTPS)"
    )
    UNAUTHORIZED_SERVICE = ErrorKind("UnauthorizedService", 401, 401002, "Unauthorized", "-", _INFERRED, _TROUBLESHOOT)
    TOKEN_EXPIRED = ErrorKind("TokenExpired", 401, 401003, "The token has expired.", "-", _INFERRED, _TROUBLESHOOT)
    INVALID_CERTIFICATE = ErrorKind(
        "InvalidCertificateHttp",
        401,
        401002,
        "Invalid certificate",
        "-",
        _RECORDED,
        "vscode-azure-iot-workbench issue 590 (HTTPS)",
    )
    INVALID_CERTIFICATE_MQTT = ErrorKind(
        "InvalidCertificate",
        401,
        401002,
        "Invalid certificate.",
        "answer",
        _RECORDED,
        "azure-sdk-for-c, az_iot_provisioning_client.c, which quotes the service (MQTT)",
    )
    CA_CERTIFICATE_NOT_FOUND = ErrorKind(
        "CaCertificateNotFound",
        401,
        401002,
        "CA certificate not found.",
        "answer",
        _RECORDED,
        "azure-iot-sdk-java issues 203 and 573",
    )
    ID_SCOPE_NOT_FOUND = ErrorKind(
        "IdScopeNotFound", 404, 404002, "The ID scope is not known.", "answer", _INFERRED, _TROUBLESHOOT
    )
    ENROLLMENT_NOT_FOUND = ErrorKind(
        "EnrollmentNotFound",
        404,
        404201,
        "Enrollment not found.",
        "-",
        _SDK_OBSERVED,
        "the code: azure-iot-sdk-csharp, end-to-end tests; the text is that of 409201 turned round",
    )
    TPM_NOT_OVER_MQTT = ErrorKind(
        "TpmNotOverMqtt",
        400,
        400004,
        "MQTT carries no TPM attestation; register over HTTPS.",
        "answer",
        _INFERRED,
        "Microsoft documentation, iot-dps iot-dps-mqtt-support (that it does not); the code and the text are ours",
    )
    GROUP_NOT_FOUND = ErrorKind(
        "EnrollmentGroupNotFound",
        404,
        404202,
        "EnrollmentGroup not found.",
        "-",
        _INFERRED,
        "the code exists (azure-docs issue 57082); that it means groups, as in 409202, and the text are inferred",
    )
    REGISTRATION_NOT_FOUND = ErrorKind(
        "RegistrationNotFound", 404, 404203, "Registration not found.", "-", _INFERRED, "no recording"
    )
    OPERATION_NOT_FOUND = ErrorKind(
        "OperationNotFound", 404, 404204, "Operation not found.", "answer", _INFERRED, "no recording"
    )
    ROUTE_NOT_FOUND = ErrorKind(
        "RouteNotFound", 404, 404900, "This route is not supported by this simulator.", "close", _SIMULATOR, "-"
    )
    METHOD_NOT_ALLOWED = ErrorKind(
        "MethodNotAllowed", 405, 405000, "The method is not allowed here.", "-", _INFERRED, _STATUS_ONLY
    )
    ENROLLMENT_EXISTS = ErrorKind(
        "EnrollmentExists", 409, 409201, "Enrollment already exists.", "-", _INFERRED, _BULK_ONLY
    )
    GROUP_EXISTS = ErrorKind(
        "EnrollmentGroupExists", 409, 409202, "EnrollmentGroup already exists.", "-", _INFERRED, _BULK_ONLY
    )
    PRECONDITION_FAILED = ErrorKind(
        "PreconditionFailed", 412, 412001, "The ETag does not match.", "-", _INFERRED, _TROUBLESHOOT
    )
    TOO_LARGE = ErrorKind("TooLarge", 413, 413001, "The request is too large.", "close", _INFERRED, "iot-dps limits")
    UNSUPPORTED_MEDIA_TYPE = ErrorKind(
        "UnsupportedMediaType", 415, 415000, "The content type must be JSON.", "-", _INFERRED, _STATUS_ONLY
    )
    NO_HUB = ErrorKind(
        "NoHub", 400, 400208, "No IoT hub is available to assign the device to.", "-", _INFERRED, "azure-iot-sdk-c"
    )
    HUB_NOT_FOUND = ErrorKind(
        "HubNotFound", 401, 401001, "iothub not found", "-", _RECORDED, "terraform-provider-azurerm issue 10224"
    )
    NOT_SUPPORTED = ErrorKind("NotSupported", 501, 501900, "Not supported by this simulator.", "-", _SIMULATOR, "-")
    # not 501: the Python device SDK repeats a request for ever when the status is 429 or above
    DEVICE_REQUEST_NOT_SUPPORTED = ErrorKind(
        "DeviceRequestNotSupported", 400, 400901, "Not supported by this simulator.", "answer", _SIMULATOR, "-"
    )
    # nor 500, for the same reason: whoever asks would never hear of the failure
    DEVICE_REQUEST_FAILED = ErrorKind(
        "DeviceRequestFailed", 400, 400902, "The simulator failed; see its log.", "answer", _SIMULATOR, "-"
    )
    API_VERSION_NOT_SUPPORTED = ErrorKind(
        "ApiVersionNotSupported",
        400,
        400900,
        "This api-version is not supported by this simulator.",
        "answer",
        _SIMULATOR,
        "-",
    )
    INTERNAL = ErrorKind("Internal", 500, 500900, "The simulator failed; see its log.", "-", _SIMULATOR, "-")


class Hub:
    """Errors of an IoT hub."""

    ARGUMENT_INVALID = ErrorKind(
        "ArgumentInvalid", 400, 400004, "The request is invalid.", "answer", _DOCUMENTED, _HUB_CODES
    )
    FORMAT_ERROR = ErrorKind("IotHubFormatError", 400, 400006, "The body is not valid.", "-", _DOCUMENTED, _HUB_CODES)
    CONNECTION_TAKEN_OVER = ErrorKind(
        "ConnectionForcefullyClosedOnNewConnection",
        400,
        400027,
        "A newer connection took over.",
        "close",
        _DOCUMENTED,
        _HUB_CODES,
    )
    UNAUTHORIZED_ACCESS = ErrorKind(
        "IotHubUnauthorizedAccess", 401, 401002, "Unauthorized", "CONNACK 5", _DOCUMENTED, _HUB_CODES
    )
    TOKEN_EXPIRED = ErrorKind(
        "IotHubUnauthorized", 401, 401003, "The token has expired.", "CONNACK 5", _DOCUMENTED, _HUB_CODES
    )
    DEVICE_NOT_FOUND = ErrorKind(
        "DeviceNotFound", 404, 404001, "The device is not registered.", "CONNACK 5", _DOCUMENTED, _HUB_CODES
    )
    DEVICE_NOT_ONLINE = ErrorKind(
        "DeviceNotOnline",
        404,
        404103,
        "Timed out waiting for device to connect.",
        "-",
        _RECORDED,
        "azure-iot-sdk-csharp issue 317",
    )
    DEVICE_CONNECTION_CLOSED = ErrorKind(
        "DeviceConnectionClosedRemotely", 404, 404104, "The device closed its connection.", "-", _DOCUMENTED, _HUB_CODES
    )
    DEVICE_EXISTS = ErrorKind(
        "DeviceAlreadyExists", 409, 409001, "Conflict", "-", _RECORDED, "azure-iot-sdks issue 711"
    )
    PRECONDITION_FAILED = ErrorKind(
        "PreconditionFailed", 412, 412001, "The ETag does not match.", "-", _DOCUMENTED, _HUB_CODES
    )
    MESSAGE_TOO_LARGE = ErrorKind(
        "MessageTooLarge", 413, 413001, "The message is too large.", "close", _DOCUMENTED, _HUB_CODES
    )
    THROTTLED = ErrorKind("ThrottlingException", 429, 429001, "Too many requests.", "answer", _DOCUMENTED, _HUB_CODES)
    GATEWAY_TIMEOUT = ErrorKind(
        "GatewayTimeout", 504, 504101, "The device did not answer in time.", "-", _DOCUMENTED, _HUB_CODES
    )
    METHOD_NOT_ALLOWED = ErrorKind(
        "MethodNotAllowed", 405, 405000, "The method is not allowed here.", "-", _INFERRED, "HTTP"
    )
    UNSUPPORTED_MEDIA_TYPE = ErrorKind(
        "UnsupportedMediaType", 415, 415000, "The content type must be JSON.", "-", _INFERRED, "HTTP"
    )
    ROUTE_NOT_FOUND = ErrorKind(
        "RouteNotFound", 404, 404900, "This route is not supported by this simulator.", "close", _SIMULATOR, "-"
    )
    API_VERSION_NOT_SUPPORTED = ErrorKind(
        "ApiVersionNotSupported",
        400,
        400900,
        "This api-version is not supported by this simulator.",
        "-",
        _SIMULATOR,
        "-",
    )
    NOT_SUPPORTED = ErrorKind("NotSupported", 501, 501900, "Not supported by this simulator.", "-", _SIMULATOR, "-")
    INTERNAL = ErrorKind(
        "InternalServerError", 500, 500900, "The simulator failed; see its log.", "close", _SIMULATOR, "-"
    )


class ResourceManager:
    """Errors of the management plane (Azure Resource Manager, resource provider Microsoft.Devices).

    The shape is that of the published API description; codes and texts are nobody's but ours, as none were recorded.
    """

    INVALID_REQUEST = ErrorKind(
        "ManagementInvalidRequest", 400, 400000, "The request is invalid.", "-", _INFERRED, _ARM_STATUS
    )
    VERIFICATION_FAILED = ErrorKind(
        "VerificationFailed", 400, 400001, "The certificate proves nothing.", "-", _INFERRED, _ARM_STATUS
    )
    LIMIT_REACHED = ErrorKind(
        "CertificateLimitReached", 403, 403000, "There are too many certificates.", "-", _INFERRED, "iot-dps limits"
    )
    UNAUTHORIZED = ErrorKind(
        "ManagementUnauthorized", 401, 401000, "Authentication failed.", "-", _INFERRED, _ARM_STATUS
    )
    CERTIFICATE_NOT_FOUND = ErrorKind(
        "CertificateNotFound", 404, 404000, "There is no such certificate.", "-", _INFERRED, _ARM_STATUS
    )
    CERTIFICATE_EXISTS = ErrorKind(
        "CertificateExists", 412, 412000, "There is such a certificate already.", "-", _INFERRED, "RFC 9110, section 13"
    )
    SERVICE_NOT_FOUND = ErrorKind(
        "ProvisioningServiceNotFound", 404, 404001, "There is no such service.", "-", _INFERRED, _ARM_STATUS
    )
    METHOD_NOT_ALLOWED = ErrorKind(
        "ManagementMethodNotAllowed", 405, 405000, "The method is not allowed here.", "-", _INFERRED, "HTTP"
    )
    UNSUPPORTED_MEDIA_TYPE = ErrorKind(
        "ManagementUnsupportedMediaType", 415, 415000, "The content type must be JSON.", "-", _INFERRED, "HTTP"
    )
    PRECONDITION_REQUIRED = ErrorKind(
        "PreconditionRequired", 428, 428000, "If-Match is missing.", "-", _INFERRED, "RFC 6585, section 3"
    )
    ROUTE_NOT_FOUND = ErrorKind(
        "ManagementRouteNotFound", 404, 404900, "This route is not supported by this simulator.", "-", _SIMULATOR, "-"
    )
    API_VERSION_NOT_SUPPORTED = ErrorKind(
        "ManagementApiVersionNotSupported",
        400,
        400900,
        "This api-version is not supported by this simulator.",
        "-",
        _SIMULATOR,
        "-",
    )
    INTERNAL = ErrorKind("ManagementFailed", 500, 500900, "The simulator failed; see its log.", "-", _SIMULATOR, "-")


class Transport:
    """What the HTTP server answers by itself, before an endpoint sees the request."""

    INVALID_REQUEST = ErrorKind("InvalidRequest", 400, 400903, "The request is not valid.", "-", _SIMULATOR, "-")
    NO_WEBSOCKET_ROUTE = ErrorKind(
        "NoWebSocketRoute", 404, 404900, "This route is not supported by this simulator.", "-", _SIMULATOR, "-"
    )
    REQUEST_TIMEOUT = ErrorKind("RequestTimeout", 408, 408900, "The request took too long.", "-", _SIMULATOR, "-")
    TOO_LARGE = ErrorKind("RequestTooLarge", 413, 413900, "The request is too large.", "-", _SIMULATOR, "-")
    EXPECTATION = ErrorKind(
        "ExpectationNotSupported", 417, 417900, "Not supported by this simulator.", "-", _SIMULATOR, "-"
    )
    INTERNAL = ErrorKind("ServerFailed", 500, 500900, "The simulator failed; see its log.", "-", _SIMULATOR, "-")


def table(owner: type) -> Mapping[str, ErrorKind]:
    """All rows of one class of errors, such as :class:`Dps`, by attribute name."""
    return {name: kind for name, kind in vars(owner).items() if isinstance(kind, ErrorKind)}
