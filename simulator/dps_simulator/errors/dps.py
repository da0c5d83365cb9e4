"""Every error of the provisioning service: rows of the table in :mod:`dps_simulator.errors.table`."""

from __future__ import annotations

from .kinds import ErrorKind, Provenance

_RECORDED = Provenance.RECORDED
_SDK_OBSERVED = Provenance.SDK_OBSERVED
_INFERRED = Provenance.INFERRED
_SIMULATOR = Provenance.SIMULATOR_ONLY
_TROUBLESHOOT = "Microsoft documentation, iot-dps how-to-troubleshoot-dps"
_STATUS_ONLY = f"the status: {_TROUBLESHOOT}; the code is inferred"
_BULK_ONLY = "recorded as an item of bulk answers; that a single PUT answers the same is inferred"


class Dps:
    """Errors of the provisioning service."""

    INVALID_BODY = ErrorKind(
        "InvalidBody",
        400004,
        "The request is invalid.",
        _RECORDED,
        "azure-sdk-for-python issue 35368 (the code; the texts are ours)",
        mqtt="answer",
    )
    MALFORMED_JSON = ErrorKind(
        "MalformedJson",
        400012,
        "Deserialization error.",
        _RECORDED,
        "nanoframework/Home issue 904 (HTTPS); that it is the same over MQTT is inferred",
        mqtt="answer",
    )
    INVALID_API_VERSION = ErrorKind(
        "InvalidApiVersion",
        400004,
        "The api-version is missing.",
        _INFERRED,
        _TROUBLESHOOT,
        mqtt="answer",
        gateway="ArgumentInvalid",
    )
    UNAUTHORIZED_DEVICE_MQTT = ErrorKind(
        "UnauthorizedDevice", 401000, "Unauthorized", _RECORDED, "azure-docs issue 43157 (MQTT)", mqtt="answer"
    )
    UNAUTHORIZED_DEVICE = ErrorKind(
        "UnauthorizedDeviceHttp", 401002, "Unauthorized", _RECORDED, "azure-iot-sdk-node issue 721 (HTTPS)"
    )
    UNAUTHORIZED_SERVICE = ErrorKind(
        "UnauthorizedService", 401002, "Unauthorized", _INFERRED, _TROUBLESHOOT, gateway="IotHubUnauthorizedAccess"
    )
    TOKEN_EXPIRED = ErrorKind(
        "TokenExpired", 401003, "The token has expired.", _INFERRED, _TROUBLESHOOT, gateway="IotHubUnauthorizedAccess"
    )
    INVALID_CERTIFICATE = ErrorKind(
        "InvalidCertificateHttp",
        401002,
        "Invalid certificate",
        _RECORDED,
        "vscode-azure-iot-workbench issue 590 (HTTPS)",
    )
    INVALID_CERTIFICATE_MQTT = ErrorKind(
        "InvalidCertificate",
        401002,
        "Invalid certificate.",
        _RECORDED,
        "azure-sdk-for-c, az_iot_provisioning_client.c, which quotes the service (MQTT)",
        mqtt="answer",
    )
    CA_CERTIFICATE_NOT_FOUND = ErrorKind(
        "CaCertificateNotFound",
        401002,
        "CA certificate not found.",
        _RECORDED,
        "azure-iot-sdk-java issues 203 and 573",
        mqtt="answer",
    )
    ID_SCOPE_NOT_FOUND = ErrorKind(
        "IdScopeNotFound", 404002, "The ID scope is not known.", _INFERRED, _TROUBLESHOOT, mqtt="answer"
    )
    ENROLLMENT_NOT_FOUND = ErrorKind(
        "EnrollmentNotFound",
        404201,
        "Enrollment not found.",
        _SDK_OBSERVED,
        "the code: azure-iot-sdk-csharp, end-to-end tests; the text is that of 409201 turned round",
    )
    TPM_NOT_OVER_MQTT = ErrorKind(
        "TpmNotOverMqtt",
        400004,
        "MQTT carries no TPM attestation; register over HTTPS.",
        _INFERRED,
        "Microsoft documentation, iot-dps iot-dps-mqtt-support (that it does not); the code and the text are ours",
        mqtt="answer",
    )
    GROUP_NOT_FOUND = ErrorKind(
        "EnrollmentGroupNotFound",
        404202,
        "EnrollmentGroup not found.",
        _INFERRED,
        "the code exists (azure-docs issue 57082); that it means groups, as in 409202, and the text are inferred",
    )
    REGISTRATION_NOT_FOUND = ErrorKind(
        "RegistrationNotFound", 404203, "Registration not found.", _INFERRED, "no recording"
    )
    OPERATION_NOT_FOUND = ErrorKind(
        "OperationNotFound", 404204, "Operation not found.", _INFERRED, "no recording", mqtt="answer"
    )
    ROUTE_NOT_FOUND = ErrorKind(
        "RouteNotFound",
        404900,
        "This route is not supported by this simulator.",
        _SIMULATOR,
        mqtt="close",
        gateway="RouteNotFound",
    )
    METHOD_NOT_ALLOWED = ErrorKind(
        "MethodNotAllowed",
        405000,
        "The method is not allowed here.",
        _INFERRED,
        _STATUS_ONLY,
        gateway="MethodNotAllowed",
    )
    ENROLLMENT_EXISTS = ErrorKind("EnrollmentExists", 409201, "Enrollment already exists.", _INFERRED, _BULK_ONLY)
    GROUP_EXISTS = ErrorKind("EnrollmentGroupExists", 409202, "EnrollmentGroup already exists.", _INFERRED, _BULK_ONLY)
    PRECONDITION_FAILED = ErrorKind("PreconditionFailed", 412001, "The ETag does not match.", _INFERRED, _TROUBLESHOOT)
    TOO_LARGE = ErrorKind("TooLarge", 413001, "The request is too large.", _INFERRED, "iot-dps limits", mqtt="close")
    UNSUPPORTED_MEDIA_TYPE = ErrorKind(
        "UnsupportedMediaType", 415000, "The content type must be JSON.", _INFERRED, _STATUS_ONLY
    )
    # 403 and 429: for a device, the first is the end; after the second the SDKs wait and try again
    LIMIT_REACHED = ErrorKind(
        "LimitReached", 403001, "There are as many as the service allows.", _INFERRED, "iot-dps limits", mqtt="answer"
    )
    THROTTLED = ErrorKind(
        "Throttled",
        429001,
        "Too many requests.",
        _INFERRED,
        "that it is 429: Microsoft documentation, how-to-troubleshoot-dps; code and text are those of a hub",
        mqtt="answer",
        gateway="ThrottlingException",
    )
    # a simulator is always available; only a fault that somebody switched on answers so
    UNAVAILABLE = ErrorKind(
        "Unavailable",
        503001,
        "The service is not available.",
        _INFERRED,
        "code and text are those of a hub",
        mqtt="answer",
    )
    NO_HUB = ErrorKind(
        "NoHub", 400208, "No IoT hub is available to assign the device to.", _INFERRED, "azure-iot-sdk-c"
    )
    CUSTOM_ALLOCATION_STATUS = ErrorKind(
        "CustomAllocationStatus",
        400207,
        "Custom allocation failed with status code",
        _RECORDED,
        "iotedge issues 3233 and 6697; azure-iot-middleware-freertos, its tests",
    )
    CUSTOM_ALLOCATION_FAILED = ErrorKind(
        "CustomAllocationFailed",
        400207,
        "Custom allocation failed.",
        _INFERRED,
        "the code is that of CustomAllocationStatus; the texts are ours",
    )
    HUB_NOT_FOUND = ErrorKind(
        "HubNotFound", 401001, "iothub not found", _RECORDED, "terraform-provider-azurerm issue 10224"
    )
    NOT_SUPPORTED = ErrorKind("NotSupported", 501900, "Not supported by this simulator.", _SIMULATOR)
    # not 501: the Python device SDK repeats a request for ever when the status is 429 or above
    DEVICE_REQUEST_NOT_SUPPORTED = ErrorKind(
        "DeviceRequestNotSupported", 400901, "Not supported by this simulator.", _SIMULATOR, mqtt="answer"
    )
    # nor 500, for the same reason: whoever asks would never hear of the failure
    DEVICE_REQUEST_FAILED = ErrorKind(
        "DeviceRequestFailed", 400902, "The simulator failed; see its log.", _SIMULATOR, mqtt="answer"
    )
    API_VERSION_NOT_SUPPORTED = ErrorKind(
        "ApiVersionNotSupported",
        400900,
        "This api-version is not supported by this simulator.",
        _SIMULATOR,
        mqtt="answer",
        gateway="ArgumentInvalid",
    )
    INTERNAL = ErrorKind("Internal", 500900, "The simulator failed; see its log.", _SIMULATOR)
