"""What the endpoints of a hub over HTTP answer when a request does not even reach an operation."""

from __future__ import annotations

from dps_simulator.common.http import Response
from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.wire.http import Call, Failures, Operation

HUB_FAILURES = Failures(
    route_not_found=Hub.ROUTE_NOT_FOUND,
    method_not_allowed=Hub.METHOD_NOT_ALLOWED,
    invalid_body=Hub.FORMAT_ERROR,
    missing_api_version=Hub.ARGUMENT_INVALID,
    api_version_not_supported=Hub.API_VERSION_NOT_SUPPORTED,
    unsupported_media_type=Hub.UNSUPPORTED_MEDIA_TYPE,
    internal=Hub.INTERNAL,
)


def not_supported(name: str) -> Operation:
    """The operation of a route that the real service has, and this simulator has not.

    Arguments:
        name: what cannot be done, e.g. ``file upload``.
    """

    def refuse(_: Call) -> Response:
        raise ServiceError(Hub.NOT_SUPPORTED, f"{name[0].upper()}{name[1:]}: not supported by this simulator.")

    return refuse
