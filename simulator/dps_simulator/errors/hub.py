"""Every error of an IoT hub: rows of the table in :mod:`dps_simulator.errors.table`."""

from __future__ import annotations

from .kinds import ErrorKind, Provenance

_RECORDED = Provenance.RECORDED
_DOCUMENTED = Provenance.DOCUMENTED
_SDK_OBSERVED = Provenance.SDK_OBSERVED
_INFERRED = Provenance.INFERRED
_SIMULATOR = Provenance.SIMULATOR_ONLY
_HUB_CODES = "Microsoft documentation, rest/api/iothub/common-error-codes"


class Hub:
    """Errors of an IoT hub."""

    ARGUMENT_INVALID = ErrorKind(
        "ArgumentInvalid", 400, 400004, "The request is invalid.", "answer", _DOCUMENTED, _HUB_CODES
    )
    FORMAT_ERROR = ErrorKind("IotHubFormatError", 400, 400006, "The body is not valid.", "-", _DOCUMENTED, _HUB_CODES)
    POLICY_KEY_INVALID = ErrorKind(
        "InvalidPolicyKey", 400, 400035, "The policy key is not valid.", "-", _DOCUMENTED, _HUB_CODES
    )
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
    QUOTA_EXCEEDED = ErrorKind(
        "IotHubQuotaExceeded", 403, 403002, "The quota of messages is used up.", "close", _DOCUMENTED, _HUB_CODES
    )
    DEVICE_QUEUE_FULL = ErrorKind(
        "DeviceMaximumQueueDepthExceeded",
        403,
        403004,
        "Too many messages wait for the device.",
        "-",
        _DOCUMENTED,
        _HUB_CODES,
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
    MODULE_NOT_FOUND = ErrorKind(
        "ModuleNotFound", 404, 404010, "The module is not registered.", "CONNACK 5", _DOCUMENTED, _HUB_CODES
    )
    MODULE_EXISTS = ErrorKind(
        "ModuleAlreadyExistsOnDevice",
        409,
        409301,
        "Conflict",
        "-",
        _DOCUMENTED,
        f"{_HUB_CODES}; the text is that of 409001",
    )
    DEVICE_DEFINED_TWICE = ErrorKind(
        "DeviceDefinedMultipleTimes",
        400,
        400011,
        "A device may stand in a list only once.",
        "-",
        _DOCUMENTED,
        _HUB_CODES,
    )
    TOO_MANY_DEVICES = ErrorKind(
        "TooManyDevices", 413, 413002, "There are too many devices.", "-", _DOCUMENTED, _HUB_CODES
    )
    TOO_MANY_MODULES = ErrorKind(
        "TooManyModulesOnDevice", 413, 413003, "The device has too many modules.", "-", _DOCUMENTED, _HUB_CODES
    )
    PRECONDITION_FAILED = ErrorKind(
        "PreconditionFailed", 412, 412001, "The ETag does not match.", "-", _DOCUMENTED, _HUB_CODES
    )
    MESSAGE_TOO_LARGE = ErrorKind(
        "MessageTooLarge", 413, 413001, "The message is too large.", "close", _DOCUMENTED, _HUB_CODES
    )
    THROTTLED = ErrorKind("ThrottlingException", 429, 429001, "Too many requests.", "answer", _DOCUMENTED, _HUB_CODES)
    # a simulator is always available; only a fault that somebody switched on answers so
    UNAVAILABLE = ErrorKind(
        "ServiceUnavailable",
        503,
        503001,
        "The service is not available.",
        "CONNACK 3",
        _SDK_OBSERVED,
        "the code: azure-iot-sdk-csharp, its list of error codes; the text is ours, and that a device meets CONNACK 3 "
        "is inferred",
    )
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
    FAULT = ErrorKind(
        "FaultInjected",
        503,
        503900,
        "The simulator makes the fault that the device asked for.",
        "close",
        _SIMULATOR,
        "the names of the faults: end-to-end tests of Microsoft's device SDKs",
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
