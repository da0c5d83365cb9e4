"""The management plane: uploaded CA certificates, in the addresses and the JSON of Azure Resource Manager.

The official management client drives it when its base URL leads here. Subscription and resource group may have any
name; the service is found by its own. Of the resource provider's operations only those on certificates exist.

Source: the published API description of Microsoft.Devices/provisioningServices, as the models of
azure-mgmt-iothubprovisioningservices 2.1.0 state it. Codes and texts of errors are inferred.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any

from ..clock import Clock
from ..domain.certificate_authorities import CertificateAuthorities, CertificateAuthority
from ..domain.identifiers import lookup_key
from ..errors import ResourceManager, ServiceError
from ..trace import Trace
from .http import Call, Failures, HttpEndpoint, Request, Response, Route, Transaction

_TYPE = "Microsoft.Devices/provisioningServices/certificates"
_SERVICE = (
    "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Devices/provisioningServices/{service}"
)
#: Versions whose certificates have ``properties``; in older ones, their members stand in the body itself.
#: Source: Microsoft documentation, change log of provisioningServices/certificates.
API_VERSIONS = ("2022-02-05", "2022-12-12", "2023-03-01-preview", "2025-02-01-preview", "2026-11-01")


class ResourceManagerEndpoint(HttpEndpoint):
    """Certificates of one provisioning service.

    Arguments:
        authorities: the uploaded certificates.
        service_name: name of the provisioning service, e.g. ``mydps``.
        token: what callers must show as bearer token; Azure would give it out at a login.
        clock: the time.
        trace: where every message is recorded.
        transaction: context manager factory around every operation.
    """

    def __init__(
        self,
        *,
        authorities: CertificateAuthorities,
        service_name: str,
        token: str,
        clock: Clock,
        trace: Trace,
        transaction: Transaction,
    ) -> None:
        self._authorities = authorities
        self._service_name = service_name
        self._token = token
        one = f"{_SERVICE}/certificates/{{id}}"
        change = "change"
        super().__init__(
            service="management",
            routes=[
                Route("GET", f"{_SERVICE}/certificates", "list CA certificates", self._list, "read"),
                Route("GET", one, "get CA certificate", self._get, "read", device=""),
                Route("PUT", one, "upload CA certificate", self._put, change, takes_body=True, device=""),
                Route("DELETE", one, "delete CA certificate", self._delete, change, device=""),
                Route("POST", f"{one}/generateVerificationCode", "ask for a code", self._code, change, device=""),
                Route("POST", f"{one}/verify", "prove possession", self._verify, change, takes_body=True, device=""),
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

    # --- operations -------------------------------------------------------------------------------------------------

    def _list(self, call: Call) -> Response:
        self._check_service(call)
        return Response(200, {"value": [_shown(authority, call) for authority in self._authorities.all()]})

    def _get(self, call: Call) -> Response:
        return Response(200, _shown(self._authorities.get(self._name(call), call.header("if-match")), call))

    def _put(self, call: Call) -> Response:
        must_be_new = (call.header("if-none-match") or "").strip() == "*"
        authority = self._authorities.put(self._name(call), call.body, call.header("if-match"), must_be_new=must_be_new)
        return Response(200, _shown(authority, call))

    def _delete(self, call: Call) -> Response:
        self._authorities.delete(self._name(call), call.header("if-match"))
        return Response(200)

    def _code(self, call: Call) -> Response:
        authority = self._authorities.generate_verification_code(self._name(call), call.header("if-match"))
        shown = _shown(authority, call)
        shown["properties"]["verificationCode"] = authority.verification_code
        return Response(200, shown)

    def _verify(self, call: Call) -> Response:
        authority = self._authorities.verify(self._name(call), call.body, call.header("if-match"))
        return Response(200, _shown(authority, call))

    def _check_service(self, call: Call) -> None:
        asked = call.parameters["service"]
        if lookup_key(asked) != lookup_key(self._service_name):
            raise ServiceError(
                ResourceManager.SERVICE_NOT_FOUND,
                f"There is no provisioning service {asked!r:.120} here; the one that there is has the name "
                f"{self._service_name!r}.",
            )

    def _name(self, call: Call) -> str:
        self._check_service(call)
        return call.parameters["id"]


def _shown(authority: CertificateAuthority, call: Call) -> dict[str, Any]:
    """A certificate as answers show it."""
    names = call.parameters
    service = (
        f"/subscriptions/{names['subscription']}/resourceGroups/{names['group']}"
        f"/providers/Microsoft.Devices/provisioningServices/{names['service']}"
    )
    certificate = authority.certificate
    return {
        "properties": {
            "subject": certificate.subject_name,
            "expiry": _http_date(certificate.not_after),
            "thumbprint": certificate.sha1_thumbprint,
            "isVerified": authority.is_verified,
            "created": _http_date(datetime.fromtimestamp(authority.created, timezone.utc)),
            "updated": _http_date(datetime.fromtimestamp(authority.updated, timezone.utc)),
            "certificate": base64.b64encode(certificate.der).decode("ascii"),
        },
        "id": f"{service}/certificates/{authority.name}",
        "name": authority.name,
        "type": _TYPE,
        "etag": authority.etag,
    }


def _http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def _error_body(error: ServiceError, now: datetime) -> Mapping[str, Any]:
    """``ErrorDetails`` of the API description."""
    return {
        "code": error.kind.code,
        "httpStatusCode": HTTPStatus(error.kind.status).phrase.replace(" ", ""),
        "message": error.message,
        "details": f"Tracking ID: {error.tracking_id}",
    }
