"""Every error of the management plane, and of the HTTP server itself: rows of :mod:`dps_simulator.errors.table`."""

from __future__ import annotations

from functools import partial

from .kinds import ErrorKind, Provenance

_ARM_STATUS = "the status: published API description of the resource provider; the code is inferred"

# by provenance, with the source of most of their rows
_documented = partial(ErrorKind, provenance=Provenance.DOCUMENTED)
_inferred = partial(ErrorKind, provenance=Provenance.INFERRED, source=_ARM_STATUS)
_only_here = partial(ErrorKind, provenance=Provenance.SIMULATOR_ONLY)


class ResourceManager:
    """Errors of the management plane (Azure Resource Manager, resource provider Microsoft.Devices).

    The shape is that of the published API description; codes and texts are nobody's but ours, as none were recorded.
    """

    INVALID_REQUEST = _inferred("ManagementInvalidRequest", 400000, "The request is invalid.")
    VERIFICATION_FAILED = _inferred("VerificationFailed", 400001, "The certificate proves nothing.")
    LIMIT_REACHED = _inferred(
        "CertificateLimitReached", 403000, "There are too many certificates.", source="iot-dps limits"
    )
    UNAUTHORIZED = _inferred("ManagementUnauthorized", 401000, "Authentication failed.")
    HUB_REFUSES = _inferred("HubConnectionStringInvalid", 400002, "The connection string leads to no hub.")
    OWNER_POLICY_NEEDED = _only_here("OwnerPolicyNeeded", 400901, "This simulator needs the owner's access policy.")
    POLICY_NOT_FOUND = _inferred("AccessPolicyNotFound", 404002, "There is no such access policy.")
    OPERATION_NOT_FOUND = _inferred("ManagementOperationNotFound", 404003, "There is no such operation.")
    LOCATION_FIXED = _documented(
        "InvalidResourceLocation",
        409000,
        "A resource cannot move.",
        source="Microsoft documentation, azure-resource-manager common-deployment-errors; the code is inferred",
    )
    SERVICE_EXISTS = _inferred(
        "ProvisioningServiceExists", 412001, "There is such a service already.", source="RFC 9110, section 13"
    )
    NOT_SUPPORTED = _only_here("ManagementNotSupported", 501900, "Not supported by this simulator.")
    CERTIFICATE_NOT_FOUND = _inferred("CertificateNotFound", 404000, "There is no such certificate.")
    CERTIFICATE_EXISTS = _inferred(
        "CertificateExists", 412000, "There is such a certificate already.", source="RFC 9110, section 13"
    )
    SERVICE_NOT_FOUND = _inferred("ProvisioningServiceNotFound", 404001, "There is no such service.")
    METHOD_NOT_ALLOWED = _inferred(
        "ManagementMethodNotAllowed", 405000, "The method is not allowed here.", source="HTTP"
    )
    UNSUPPORTED_MEDIA_TYPE = _inferred(
        "ManagementUnsupportedMediaType", 415000, "The content type must be JSON.", source="HTTP"
    )
    PRECONDITION_REQUIRED = _inferred(
        "PreconditionRequired", 428000, "If-Match is missing.", source="RFC 6585, section 3"
    )
    ROUTE_NOT_FOUND = _only_here("ManagementRouteNotFound", 404900, "This route is not supported by this simulator.")
    API_VERSION_NOT_SUPPORTED = _only_here(
        "ManagementApiVersionNotSupported", 400900, "This api-version is not supported by this simulator."
    )
    INTERNAL = _only_here("ManagementFailed", 500900, "The simulator failed; see its log.")


class Transport:
    """What the HTTP server answers by itself, before an endpoint sees the request."""

    INVALID_REQUEST = _only_here("InvalidRequest", 400903, "The request is not valid.")
    NO_WEBSOCKET_ROUTE = _only_here("NoWebSocketRoute", 404900, "This route is not supported by this simulator.")
    REQUEST_TIMEOUT = _only_here("RequestTimeout", 408900, "The request took too long.")
    TOO_LARGE = _only_here("RequestTooLarge", 413900, "The request is too large.")
    CONTENT_CODING = _only_here("ContentCodingNotSupported", 415901, "Not supported by this simulator.")
    EXPECTATION = _only_here("ExpectationNotSupported", 417900, "Not supported by this simulator.")
    INTERNAL = _only_here("ServerFailed", 500900, "The simulator failed; see its log.")
    TRANSFER_CODING = _only_here("TransferCodingNotSupported", 501900, "Not supported by this simulator.")
