"""Every error of the provisioning service: rows of the table in :mod:`dps_simulator.errors.table`."""

from __future__ import annotations

from functools import partial

from .kinds import ErrorKind, Provenance

_TROUBLESHOOT = "Microsoft documentation, iot-dps how-to-troubleshoot-dps"
_STATUS_ONLY = f"the status: {_TROUBLESHOOT}; the code is inferred"
_BULK_ONLY = "recorded as an item of bulk answers; that a single PUT answers the same is inferred"

# by provenance, with the source of most of their rows
_recorded = partial(ErrorKind, provenance=Provenance.RECORDED)
_sdk_observed = partial(ErrorKind, provenance=Provenance.SDK_OBSERVED)
_inferred = partial(ErrorKind, provenance=Provenance.INFERRED, source=_TROUBLESHOOT)
_only_here = partial(ErrorKind, provenance=Provenance.SIMULATOR_ONLY)


class Dps:
    """Errors of the provisioning service."""

    INVALID_BODY = _recorded(
        "InvalidBody",
        400004,
        "The request is invalid.",
        source="azure-sdk-for-python issue 35368 (the code; the texts are ours)",
        mqtt="answer",
    )
    MALFORMED_JSON = _recorded(
        "MalformedJson",
        400012,
        "Deserialization error.",
        source="nanoframework/Home issue 904 (HTTPS); that it is the same over MQTT is inferred",
        mqtt="answer",
    )
    INVALID_API_VERSION = _inferred(
        "InvalidApiVersion", 400004, "The api-version is missing.", mqtt="answer", gateway="ArgumentInvalid"
    )
    UNAUTHORIZED_DEVICE_MQTT = _recorded(
        "UnauthorizedDevice", 401000, "Unauthorized", source="azure-docs issue 43157 (MQTT)", mqtt="answer"
    )
    UNAUTHORIZED_DEVICE = _recorded(
        "UnauthorizedDeviceHttp", 401002, "Unauthorized", source="azure-iot-sdk-node issue 721 (HTTPS)"
    )
    UNAUTHORIZED_SERVICE = _inferred("UnauthorizedService", 401002, "Unauthorized", gateway="IotHubUnauthorizedAccess")
    TOKEN_EXPIRED = _inferred("TokenExpired", 401003, "The token has expired.", gateway="IotHubUnauthorizedAccess")
    INVALID_CERTIFICATE = _recorded(
        "InvalidCertificateHttp", 401002, "Invalid certificate", source="vscode-azure-iot-workbench issue 590 (HTTPS)"
    )
    INVALID_CERTIFICATE_MQTT = _recorded(
        "InvalidCertificate",
        401002,
        "Invalid certificate.",
        source="azure-sdk-for-c, az_iot_provisioning_client.c, which quotes the service (MQTT)",
        mqtt="answer",
    )
    INVALID_CERTIFICATE_AMQP = _recorded(
        "InvalidCertificateAmqp",
        401002,
        "IotHubUnauthorizedAccess",
        source="azure-iot-sdk-csharp issue 907 (AMQP); that it comes as the outcome of the request is inferred",
    )
    CA_CERTIFICATE_NOT_FOUND = _recorded(
        "CaCertificateNotFound",
        401002,
        "CA certificate not found.",
        source="azure-iot-sdk-java issues 203 and 573",
        mqtt="answer",
    )
    ID_SCOPE_NOT_FOUND = _inferred("IdScopeNotFound", 404002, "The ID scope is not known.", mqtt="answer")
    ENROLLMENT_NOT_FOUND = _sdk_observed(
        "EnrollmentNotFound",
        404201,
        "Enrollment not found.",
        source="the code: azure-iot-sdk-csharp, end-to-end tests; the text is that of 409201 turned round",
    )
    TPM_NOT_OVER_MQTT = _inferred(
        "TpmNotOverMqtt",
        400004,
        "MQTT carries no TPM attestation; register over HTTPS or AMQP.",
        source="Microsoft documentation, iot-dps iot-dps-mqtt-support (that it does not); the code and the text are "
        "ours",
        mqtt="answer",
    )
    GROUP_NOT_FOUND = _inferred(
        "EnrollmentGroupNotFound",
        404202,
        "EnrollmentGroup not found.",
        source="the code exists (azure-docs issue 57082); that it means groups, as in 409202, and the text are "
        "inferred",
    )
    REGISTRATION_NOT_FOUND = _inferred("RegistrationNotFound", 404203, "Registration not found.", source="no recording")
    OPERATION_NOT_FOUND = _inferred(
        "OperationNotFound", 404204, "Operation not found.", source="no recording", mqtt="answer"
    )
    ROUTE_NOT_FOUND = _only_here(
        "RouteNotFound", 404900, "This route is not supported by this simulator.", mqtt="close", gateway="RouteNotFound"
    )
    METHOD_NOT_ALLOWED = _inferred(
        "MethodNotAllowed", 405000, "The method is not allowed here.", source=_STATUS_ONLY, gateway="MethodNotAllowed"
    )
    ENROLLMENT_EXISTS = _inferred("EnrollmentExists", 409201, "Enrollment already exists.", source=_BULK_ONLY)
    GROUP_EXISTS = _inferred("EnrollmentGroupExists", 409202, "EnrollmentGroup already exists.", source=_BULK_ONLY)
    PRECONDITION_FAILED = _inferred("PreconditionFailed", 412001, "The ETag does not match.")
    TOO_LARGE = _inferred("TooLarge", 413001, "The request is too large.", source="iot-dps limits", mqtt="close")
    UNSUPPORTED_MEDIA_TYPE = _inferred(
        "UnsupportedMediaType", 415000, "The content type must be JSON.", source=_STATUS_ONLY
    )
    # 403 and 429: for a device, the first is the end; after the second the SDKs wait and try again
    LIMIT_REACHED = _inferred(
        "LimitReached", 403001, "There are as many as the service allows.", source="iot-dps limits", mqtt="answer"
    )
    THROTTLED = _inferred(
        "Throttled",
        429001,
        "Too many requests.",
        source="that it is 429: Microsoft documentation, how-to-troubleshoot-dps; code and text are those of a hub",
        mqtt="answer",
        gateway="ThrottlingException",
    )
    # a simulator is always available; only a fault that somebody switched on answers so
    UNAVAILABLE = _inferred(
        "Unavailable", 503001, "The service is not available.", source="code and text are those of a hub", mqtt="answer"
    )
    NO_HUB = _inferred("NoHub", 400208, "No IoT hub is available to assign the device to.", source="azure-iot-sdk-c")
    CUSTOM_ALLOCATION_STATUS = _recorded(
        "CustomAllocationStatus",
        400207,
        "Custom allocation failed with status code",
        source="iotedge issues 3233 and 6697; azure-iot-middleware-freertos, its tests",
    )
    CUSTOM_ALLOCATION_FAILED = _inferred(
        "CustomAllocationFailed",
        400207,
        "Custom allocation failed.",
        source="the code is that of CustomAllocationStatus; the texts are ours",
    )
    HUB_NOT_FOUND = _recorded(
        "HubNotFound", 401001, "iothub not found", source="terraform-provider-azurerm issue 10224"
    )
    NOT_SUPPORTED = _only_here("NotSupported", 501900, "Not supported by this simulator.")
    # not 501: the Python device SDK repeats a request for ever when the status is 429 or above
    DEVICE_REQUEST_NOT_SUPPORTED = _only_here(
        "DeviceRequestNotSupported", 400901, "Not supported by this simulator.", mqtt="answer"
    )
    # nor 500, for the same reason: whoever asks would never hear of the failure
    DEVICE_REQUEST_FAILED = _only_here(
        "DeviceRequestFailed", 400902, "The simulator failed; see its log.", mqtt="answer"
    )
    API_VERSION_NOT_SUPPORTED = _only_here(
        "ApiVersionNotSupported",
        400900,
        "This api-version is not supported by this simulator.",
        mqtt="answer",
        gateway="ArgumentInvalid",
    )
    INTERNAL = _only_here("Internal", 500900, "The simulator failed; see its log.")
