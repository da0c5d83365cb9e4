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
        "ArgumentInvalid", 400004, "The request is invalid.", _DOCUMENTED, _HUB_CODES, mqtt="answer"
    )
    FORMAT_ERROR = ErrorKind("IotHubFormatError", 400006, "The body is not valid.", _DOCUMENTED, _HUB_CODES)
    POLICY_KEY_INVALID = ErrorKind("InvalidPolicyKey", 400035, "The policy key is not valid.", _DOCUMENTED, _HUB_CODES)
    CONNECTION_TAKEN_OVER = ErrorKind(
        "ConnectionForcefullyClosedOnNewConnection",
        400027,
        "A newer connection took over.",
        _DOCUMENTED,
        _HUB_CODES,
        mqtt="close",
    )
    UNAUTHORIZED_ACCESS = ErrorKind(
        "IotHubUnauthorizedAccess", 401002, "Unauthorized", _DOCUMENTED, _HUB_CODES, mqtt="CONNACK 5"
    )
    TOKEN_EXPIRED = ErrorKind(
        "IotHubUnauthorized", 401003, "The token has expired.", _DOCUMENTED, _HUB_CODES, mqtt="CONNACK 5"
    )
    QUOTA_EXCEEDED = ErrorKind(
        "IotHubQuotaExceeded", 403002, "The quota of messages is used up.", _DOCUMENTED, _HUB_CODES, mqtt="close"
    )
    DEVICE_QUEUE_FULL = ErrorKind(
        "DeviceMaximumQueueDepthExceeded", 403004, "Too many messages wait for the device.", _DOCUMENTED, _HUB_CODES
    )
    DEVICE_NOT_FOUND = ErrorKind(
        "DeviceNotFound", 404001, "The device is not registered.", _DOCUMENTED, _HUB_CODES, mqtt="CONNACK 5"
    )
    DEVICE_NOT_ONLINE = ErrorKind(
        "DeviceNotOnline",
        404103,
        "Timed out waiting for device to connect.",
        _RECORDED,
        "azure-iot-sdk-csharp issue 317",
    )
    DEVICE_CONNECTION_CLOSED = ErrorKind(
        "DeviceConnectionClosedRemotely", 404104, "The device closed its connection.", _DOCUMENTED, _HUB_CODES
    )
    DEVICE_EXISTS = ErrorKind("DeviceAlreadyExists", 409001, "Conflict", _RECORDED, "azure-iot-sdks issue 711")
    MODULE_NOT_FOUND = ErrorKind(
        "ModuleNotFound", 404010, "The module is not registered.", _DOCUMENTED, _HUB_CODES, mqtt="CONNACK 5"
    )
    MODULE_EXISTS = ErrorKind(
        "ModuleAlreadyExistsOnDevice", 409301, "Conflict", _DOCUMENTED, f"{_HUB_CODES}; the text is that of 409001"
    )
    DEVICE_DEFINED_TWICE = ErrorKind(
        "DeviceDefinedMultipleTimes", 400011, "A device may stand in a list only once.", _DOCUMENTED, _HUB_CODES
    )
    TOO_MANY_DEVICES = ErrorKind("TooManyDevices", 413002, "There are too many devices.", _DOCUMENTED, _HUB_CODES)
    TOO_MANY_MODULES = ErrorKind(
        "TooManyModulesOnDevice", 413003, "The device has too many modules.", _DOCUMENTED, _HUB_CODES
    )
    PRECONDITION_FAILED = ErrorKind("PreconditionFailed", 412001, "The ETag does not match.", _DOCUMENTED, _HUB_CODES)
    MESSAGE_TOO_LARGE = ErrorKind(
        "MessageTooLarge", 413001, "The message is too large.", _DOCUMENTED, _HUB_CODES, mqtt="close"
    )
    THROTTLED = ErrorKind("ThrottlingException", 429001, "Too many requests.", _DOCUMENTED, _HUB_CODES, mqtt="answer")
    # a simulator is always available; only a fault that somebody switched on answers so
    UNAVAILABLE = ErrorKind(
        "ServiceUnavailable",
        503001,
        "The service is not available.",
        _SDK_OBSERVED,
        "the code: azure-iot-sdk-csharp, its list of error codes; the text is ours, and that a device meets CONNACK 3 "
        "is inferred",
        mqtt="CONNACK 3",
    )
    GATEWAY_TIMEOUT = ErrorKind("GatewayTimeout", 504101, "The device did not answer in time.", _DOCUMENTED, _HUB_CODES)
    METHOD_NOT_ALLOWED = ErrorKind("MethodNotAllowed", 405000, "The method is not allowed here.", _INFERRED, "HTTP")
    UNSUPPORTED_MEDIA_TYPE = ErrorKind(
        "UnsupportedMediaType", 415000, "The content type must be JSON.", _INFERRED, "HTTP"
    )
    ROUTE_NOT_FOUND = ErrorKind(
        "RouteNotFound", 404900, "This route is not supported by this simulator.", _SIMULATOR, mqtt="close"
    )
    FAULT = ErrorKind(
        "FaultInjected",
        503900,
        "The simulator makes the fault that the device asked for.",
        _SIMULATOR,
        "the names of the faults: end-to-end tests of Microsoft's device SDKs",
        mqtt="close",
    )
    API_VERSION_NOT_SUPPORTED = ErrorKind(
        "ApiVersionNotSupported", 400900, "This api-version is not supported by this simulator.", _SIMULATOR
    )
    NOT_SUPPORTED = ErrorKind("NotSupported", 501900, "Not supported by this simulator.", _SIMULATOR)
    INTERNAL = ErrorKind("InternalServerError", 500900, "The simulator failed; see its log.", _SIMULATOR, mqtt="close")
