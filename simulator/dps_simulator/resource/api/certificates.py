"""Operations of the management plane on uploaded CA certificates.

Source: the published API description of Microsoft.Devices/provisioningServices, as the models of
azure-mgmt-iothubprovisioningservices 2.1.0 state it.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime, timezone
from email.utils import format_datetime
from typing import Any

from dps_simulator.common.http import Response
from dps_simulator.provisioning.attestation.authorities import CertificateAuthorities, CertificateAuthority
from dps_simulator.wire.http import Call, Route

from .addresses import SERVICE, TYPE, check_service, service_id


class CertificateOperations:
    """The operations.

    Arguments:
        authorities: the uploaded certificates.
        service_name: name of the provisioning service.
    """

    def __init__(self, authorities: CertificateAuthorities, service_name: str) -> None:
        self._authorities = authorities
        self._service_name = service_name

    def routes(self) -> Sequence[Route]:
        """Their rows in the table of the endpoint."""
        one, read, change = f"{SERVICE}/certificates/{{id}}", "read", "change"
        return [
            Route("GET", f"{SERVICE}/certificates", "list CA certificates", self._list, read),
            Route("GET", one, "get CA certificate", self._get, read, device=""),
            Route("PUT", one, "upload CA certificate", self._put, change, takes_body=True, device=""),
            Route("DELETE", one, "delete CA certificate", self._delete, change, device=""),
            Route("POST", f"{one}/generateVerificationCode", "ask for a code", self._code, change, device=""),
            Route("POST", f"{one}/verify", "prove possession", self._verify, change, takes_body=True, device=""),
        ]

    def _list(self, call: Call) -> Response:
        check_service(call, self._service_name)
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

    def _name(self, call: Call) -> str:
        check_service(call, self._service_name)
        return call.parameters["id"]


def _shown(authority: CertificateAuthority, call: Call) -> dict[str, Any]:
    """A certificate as answers show it."""
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
        "id": f"{service_id(call, call.parameters['service'])}/certificates/{authority.name}",
        "name": authority.name,
        "type": f"{TYPE}/certificates",
        "etag": authority.etag,
    }


def _http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)
