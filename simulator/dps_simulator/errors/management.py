"""Every error of the management plane, and of the HTTP server itself: rows of :mod:`dps_simulator.errors.table`."""

from __future__ import annotations

from .kinds import ErrorKind, Provenance

_DOCUMENTED = Provenance.DOCUMENTED
_INFERRED = Provenance.INFERRED
_SIMULATOR = Provenance.SIMULATOR_ONLY
_ARM_STATUS = "the status: published API description of the resource provider; the code is inferred"


class ResourceManager:
    """Errors of the management plane (Azure Resource Manager, resource provider Microsoft.Devices).

    The shape is that of the published API description; codes and texts are nobody's but ours, as none were recorded.
    """

    INVALID_REQUEST = ErrorKind("ManagementInvalidRequest", 400000, "The request is invalid.", _INFERRED, _ARM_STATUS)
    VERIFICATION_FAILED = ErrorKind(
        "VerificationFailed", 400001, "The certificate proves nothing.", _INFERRED, _ARM_STATUS
    )
    LIMIT_REACHED = ErrorKind(
        "CertificateLimitReached", 403000, "There are too many certificates.", _INFERRED, "iot-dps limits"
    )
    UNAUTHORIZED = ErrorKind("ManagementUnauthorized", 401000, "Authentication failed.", _INFERRED, _ARM_STATUS)
    HUB_REFUSES = ErrorKind(
        "HubConnectionStringInvalid", 400002, "The connection string leads to no hub.", _INFERRED, _ARM_STATUS
    )
    OWNER_POLICY_NEEDED = ErrorKind(
        "OwnerPolicyNeeded", 400901, "This simulator needs the owner's access policy.", _SIMULATOR
    )
    POLICY_NOT_FOUND = ErrorKind(
        "AccessPolicyNotFound", 404002, "There is no such access policy.", _INFERRED, _ARM_STATUS
    )
    OPERATION_NOT_FOUND = ErrorKind(
        "ManagementOperationNotFound", 404003, "There is no such operation.", _INFERRED, _ARM_STATUS
    )
    LOCATION_FIXED = ErrorKind(
        "InvalidResourceLocation",
        409000,
        "A resource cannot move.",
        _DOCUMENTED,
        "Microsoft documentation, azure-resource-manager common-deployment-errors; the code is inferred",
    )
    SERVICE_EXISTS = ErrorKind(
        "ProvisioningServiceExists", 412001, "There is such a service already.", _INFERRED, "RFC 9110, section 13"
    )
    NOT_SUPPORTED = ErrorKind("ManagementNotSupported", 501900, "Not supported by this simulator.", _SIMULATOR)
    CERTIFICATE_NOT_FOUND = ErrorKind(
        "CertificateNotFound", 404000, "There is no such certificate.", _INFERRED, _ARM_STATUS
    )
    CERTIFICATE_EXISTS = ErrorKind(
        "CertificateExists", 412000, "There is such a certificate already.", _INFERRED, "RFC 9110, section 13"
    )
    SERVICE_NOT_FOUND = ErrorKind(
        "ProvisioningServiceNotFound", 404001, "There is no such service.", _INFERRED, _ARM_STATUS
    )
    METHOD_NOT_ALLOWED = ErrorKind(
        "ManagementMethodNotAllowed", 405000, "The method is not allowed here.", _INFERRED, "HTTP"
    )
    UNSUPPORTED_MEDIA_TYPE = ErrorKind(
        "ManagementUnsupportedMediaType", 415000, "The content type must be JSON.", _INFERRED, "HTTP"
    )
    PRECONDITION_REQUIRED = ErrorKind(
        "PreconditionRequired", 428000, "If-Match is missing.", _INFERRED, "RFC 6585, section 3"
    )
    ROUTE_NOT_FOUND = ErrorKind(
        "ManagementRouteNotFound", 404900, "This route is not supported by this simulator.", _SIMULATOR
    )
    API_VERSION_NOT_SUPPORTED = ErrorKind(
        "ManagementApiVersionNotSupported", 400900, "This api-version is not supported by this simulator.", _SIMULATOR
    )
    INTERNAL = ErrorKind("ManagementFailed", 500900, "The simulator failed; see its log.", _SIMULATOR)


class Transport:
    """What the HTTP server answers by itself, before an endpoint sees the request."""

    INVALID_REQUEST = ErrorKind("InvalidRequest", 400903, "The request is not valid.", _SIMULATOR)
    NO_WEBSOCKET_ROUTE = ErrorKind(
        "NoWebSocketRoute", 404900, "This route is not supported by this simulator.", _SIMULATOR
    )
    REQUEST_TIMEOUT = ErrorKind("RequestTimeout", 408900, "The request took too long.", _SIMULATOR)
    TOO_LARGE = ErrorKind("RequestTooLarge", 413900, "The request is too large.", _SIMULATOR)
    CONTENT_CODING = ErrorKind("ContentCodingNotSupported", 415901, "Not supported by this simulator.", _SIMULATOR)
    EXPECTATION = ErrorKind("ExpectationNotSupported", 417900, "Not supported by this simulator.", _SIMULATOR)
    INTERNAL = ErrorKind("ServerFailed", 500900, "The simulator failed; see its log.", _SIMULATOR)
    TRANSFER_CODING = ErrorKind("TransferCodingNotSupported", 501900, "Not supported by this simulator.", _SIMULATOR)
