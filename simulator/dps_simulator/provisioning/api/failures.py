"""What the provisioning service's endpoints over HTTPS answer to requests that reach no operation."""

from __future__ import annotations

from dataclasses import replace

from dps_simulator.errors.table import Dps
from dps_simulator.wire.http import Failures

DPS_FAILURES = Failures(
    route_not_found=Dps.ROUTE_NOT_FOUND,
    method_not_allowed=Dps.METHOD_NOT_ALLOWED,
    invalid_body=Dps.INVALID_BODY,
    missing_api_version=Dps.INVALID_API_VERSION,
    api_version_not_supported=Dps.API_VERSION_NOT_SUPPORTED,
    unsupported_media_type=Dps.UNSUPPORTED_MEDIA_TYPE,
    internal=Dps.INTERNAL,
)

#: The same for devices. That the service API has another code for a body that is no JSON is inferred.
DPS_DEVICE_FAILURES = replace(DPS_FAILURES, malformed_json=Dps.MALFORMED_JSON)
