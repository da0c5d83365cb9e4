"""The management plane: the provisioning service as a resource, in the addresses and JSON of Azure Resource Manager.

The official management client drives it when its base URL leads here. Subscription and resource group may have any
name; the service is found by its own.

Source: the published API description of Microsoft.Devices/provisioningServices, as the models of
azure-mgmt-iothubprovisioningservices 2.1.0 state it. Codes and texts of errors are inferred.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

from dps_simulator.common.clock import Clock
from dps_simulator.common.http import Request, Response
from dps_simulator.common.trace import Trace
from dps_simulator.errors.table import ResourceManager, ServiceError
from dps_simulator.provisioning.attestation.authorities import CertificateAuthorities
from dps_simulator.resource.service_description import ServiceDescription
from dps_simulator.wire.http import Failures, HttpEndpoint, Transaction

from .certificates import CertificateOperations
from .service import ServiceOperations

#: Versions whose certificates have ``properties``; in older ones, their members stand in the body itself.
#: Source: Microsoft documentation, change log of provisioningServices/certificates.
API_VERSIONS = ("2022-02-05", "2022-12-12", "2023-03-01-preview", "2025-02-01-preview", "2026-11-01")


class ResourceManagerEndpoint(HttpEndpoint):
    """One provisioning service as a resource, with its CA certificates.

    Arguments:
        authorities: the uploaded certificates.
        description: the service as a resource.
        token: what callers must show as bearer token; Azure would give it out at a login.
        clock: the time.
        trace: where every message is recorded.
        transaction: context manager factory around every operation.
    """

    def __init__(
        self,
        *,
        authorities: CertificateAuthorities,
        description: ServiceDescription,
        token: str,
        clock: Clock,
        trace: Trace,
        transaction: Transaction,
    ) -> None:
        self._token = token
        super().__init__(
            service="management",
            routes=[
                *CertificateOperations(authorities, description.name).routes(),
                *ServiceOperations(description).routes(),
            ],
            failures=Failures(
                route_not_found=ResourceManager.ROUTE_NOT_FOUND,
                method_not_allowed=ResourceManager.METHOD_NOT_ALLOWED,
                invalid_body=ResourceManager.INVALID_REQUEST,
                missing_api_version=ResourceManager.INVALID_REQUEST,
                api_version_not_supported=ResourceManager.API_VERSION_NOT_SUPPORTED,
                unsupported_media_type=ResourceManager.UNSUPPORTED_MEDIA_TYPE,
                internal=ResourceManager.INTERNAL,
            ),
            render_error=_error_body,
            clock=clock,
            trace=trace,
            transaction=transaction,
            authenticate=self._check_token,
            api_version=re.compile("|".join(map(re.escape, API_VERSIONS))),
        )

    def _check_token(self, request: Request, right: str) -> None:
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), f"Bearer {self._token}".encode()):
            raise ServiceError(
                ResourceManager.UNAUTHORIZED, reason="the bearer token is not the simulator's management token"
            )

    def _refuse(self, request: Request, error: ServiceError) -> Response:
        response = super()._refuse(request, error)
        if request.method == "PATCH":
            # the one operation whose errors have another shape: ErrorResponse of the API description
            shown = response.body or {}
            response.body = {"error": {"code": str(shown["code"]), "message": shown["message"], "details": []}}
        return response


def _error_body(error: ServiceError, now: datetime) -> Mapping[str, Any]:
    """``ErrorDetails`` of the API description."""
    return {
        "code": error.kind.code,
        "httpStatusCode": HTTPStatus(error.kind.status).phrase.replace(" ", ""),
        "message": error.message,
        "details": f"Tracking ID: {error.tracking_id}",
    }
