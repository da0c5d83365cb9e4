"""Every error of an IoT hub: rows of the table in :mod:`dps_simulator.errors.table`."""

from __future__ import annotations

from functools import partial

from .kinds import ErrorKind, Provenance

_HUB_CODES = "Microsoft documentation, rest/api/iothub/common-error-codes"

# by provenance, with the source of most of their rows
_recorded = partial(ErrorKind, provenance=Provenance.RECORDED)
_documented = partial(ErrorKind, provenance=Provenance.DOCUMENTED, source=_HUB_CODES)
_sdk_observed = partial(ErrorKind, provenance=Provenance.SDK_OBSERVED)
_inferred = partial(ErrorKind, provenance=Provenance.INFERRED)
_only_here = partial(ErrorKind, provenance=Provenance.SIMULATOR_ONLY)


class Hub:
    """Errors of an IoT hub."""

    ARGUMENT_INVALID = _documented("ArgumentInvalid", 400004, "The request is invalid.", mqtt="answer")
    FORMAT_ERROR = _documented("IotHubFormatError", 400006, "The body is not valid.")
    POLICY_KEY_INVALID = _documented("InvalidPolicyKey", 400035, "The policy key is not valid.")
    CONNECTION_TAKEN_OVER = _documented(
        "ConnectionForcefullyClosedOnNewConnection", 400027, "A newer connection took over.", mqtt="close"
    )
    UNAUTHORIZED_ACCESS = _documented("IotHubUnauthorizedAccess", 401002, "Unauthorized", mqtt="CONNACK 5")
    TOKEN_EXPIRED = _documented("IotHubUnauthorized", 401003, "The token has expired.", mqtt="CONNACK 5")
    QUOTA_EXCEEDED = _documented("IotHubQuotaExceeded", 403002, "The quota of messages is used up.", mqtt="close")
    DEVICE_QUEUE_FULL = _documented("DeviceMaximumQueueDepthExceeded", 403004, "Too many messages wait for the device.")
    DEVICE_NOT_FOUND = _documented("DeviceNotFound", 404001, "The device is not registered.", mqtt="CONNACK 5")
    DEVICE_NOT_ONLINE = _recorded(
        "DeviceNotOnline", 404103, "Timed out waiting for device to connect.", source="azure-iot-sdk-csharp issue 317"
    )
    DEVICE_CONNECTION_CLOSED = _documented(
        "DeviceConnectionClosedRemotely", 404104, "The device closed its connection."
    )
    DEVICE_EXISTS = _recorded("DeviceAlreadyExists", 409001, "Conflict", source="azure-iot-sdks issue 711")
    MODULE_NOT_FOUND = _documented("ModuleNotFound", 404010, "The module is not registered.", mqtt="CONNACK 5")
    MODULE_EXISTS = _documented(
        "ModuleAlreadyExistsOnDevice", 409301, "Conflict", source=f"{_HUB_CODES}; the text is that of 409001"
    )
    DEVICE_DEFINED_TWICE = _documented("DeviceDefinedMultipleTimes", 400011, "A device may stand in a list only once.")
    TOO_MANY_DEVICES = _documented("TooManyDevices", 413002, "There are too many devices.")
    TOO_MANY_MODULES = _documented("TooManyModulesOnDevice", 413003, "The device has too many modules.")
    PRECONDITION_FAILED = _documented("PreconditionFailed", 412001, "The ETag does not match.")
    DEVICE_MESSAGE_LOCK_LOST = _documented(
        "DeviceMessageLockLost",
        412002,
        "The lock of the message is lost.",
        source=f"{_HUB_CODES}; the SDK for C# takes every 412 that a device gets for this one",
    )
    MESSAGE_TOO_LARGE = _documented("MessageTooLarge", 413001, "The message is too large.", mqtt="close")
    THROTTLED = _documented("ThrottlingException", 429001, "Too many requests.", mqtt="answer")
    # a simulator is always available; only a fault that somebody switched on answers so
    UNAVAILABLE = _sdk_observed(
        "ServiceUnavailable",
        503001,
        "The service is not available.",
        source="the code: azure-iot-sdk-csharp, its list of error codes; the text is ours, and that a device meets "
        "CONNACK 3 is inferred",
        mqtt="CONNACK 3",
    )
    GATEWAY_TIMEOUT = _documented("GatewayTimeout", 504101, "The device did not answer in time.")
    METHOD_NOT_ALLOWED = _inferred("MethodNotAllowed", 405000, "The method is not allowed here.", source="HTTP")
    UNSUPPORTED_MEDIA_TYPE = _inferred("UnsupportedMediaType", 415000, "The content type must be JSON.", source="HTTP")
    ROUTE_NOT_FOUND = _only_here(
        "RouteNotFound", 404900, "This route is not supported by this simulator.", mqtt="close"
    )
    FAULT = _only_here(
        "FaultInjected",
        503900,
        "The simulator makes the fault that the device asked for.",
        source="the names of the faults: end-to-end tests of Microsoft's device SDKs",
        mqtt="close",
    )
    API_VERSION_NOT_SUPPORTED = _only_here(
        "ApiVersionNotSupported", 400900, "This api-version is not supported by this simulator."
    )
    NOT_SUPPORTED = _only_here("NotSupported", 501900, "Not supported by this simulator.")
    INTERNAL = _only_here("InternalServerError", 500900, "The simulator failed; see its log.", mqtt="close")
