"""The device endpoint of the provisioning service over HTTPS: register, poll and look up.

The same operations as over MQTT, and TPM attestation, which MQTT does not carry. Every request stands for itself: it
brings its token, which must still be valid, or comes over a connection with a certificate.

Source: the published API description (device operations) and Microsoft documentation, iot-dps-https-sym-key-support and
iot-dps-https-x509-support, for routes, statuses and headers; the official SDKs for what has to be tolerated. One of
them takes no other answer to a registration than 202, so that is what it gets even when the device is assigned at once.
"""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

from dps_simulator.common.clock import Clock
from dps_simulator.common.http import Request, Response
from dps_simulator.common.trace import Trace
from dps_simulator.errors.table import Dps, ServiceError, dps_body
from dps_simulator.provisioning.registration.states import OperationStatus, Status
from dps_simulator.provisioning.service import ProvisioningService
from dps_simulator.wire.http import Call, HttpEndpoint, Route, Transaction
from dps_simulator.wire.presented import presented_certificates

from .failures import DPS_DEVICE_FAILURES
from .registration import API_VERSION, MAX_BODY_SIZE, Challenge, DeviceIdentity, DeviceOperations, Refusals, told

#: Source: the documented answers of the service.
_TRANSPORT_SECURITY = "max-age=31536000; includeSubDomains"

#: How the paths of the service API begin.
_SERVICE_PATHS = frozenset({"enrollments", "enrollmentgroups", "registrations"})

#: Name of the key with which a TPM signs its first token. Source: the SDK for Node, which knows no other.
CHALLENGE_KEY_NAME = "registration"


def is_device_request(request: Request) -> bool:
    """Whether a request to the host name of the service comes from a device.

    Devices may use that name, too, which leads to private endpoints. Source: Microsoft documentation, iot-dps
    virtual-network-support ("Use private endpoints with devices").
    """
    scope, _, rest = request.path.strip("/").partition("/")
    return rest.lower().startswith("registrations/") and scope.lower() not in _SERVICE_PATHS


class DpsHttpsEndpoint:
    """Answers devices that register over HTTPS.

    Arguments:
        service: what judges devices, and keeps enrollments and registrations.
        clock: gives error answers their time.
        trace: where every message is recorded.
        host: host name of the endpoint, for the header ``Location``.
        transaction: context manager factory around every operation.
    """

    def __init__(
        self, *, service: ProvisioningService, clock: Clock, trace: Trace, host: str, transaction: Transaction
    ) -> None:
        self._operations = DeviceOperations(
            service, Refusals(token=Dps.UNAUTHORIZED_DEVICE, certificate=Dps.INVALID_CERTIFICATE)
        )
        self._host = host
        path = "/{scope}/registrations/{id}"
        self._endpoint = HttpEndpoint(
            service="provisioning",
            routes=[
                Route("PUT", f"{path}/register", "register", self._register, takes_body=True),
                # one SDK sends a body along, which means nothing
                Route("GET", f"{path}/operations/{{operation}}", "poll", self._poll),
                Route("POST", path, "look up", self._look_up, takes_body=True),
            ],
            failures=DPS_DEVICE_FAILURES,
            render_error=dps_body,
            clock=clock,
            trace=trace,
            transaction=transaction,
            api_version=API_VERSION,
            describe=_shown_certificates,
        )

    async def handle(self, request: Request) -> Response:
        """Answer one request. Never raises: a refusal is an answer with the status of its error."""
        response = await self._endpoint.handle(request)
        tracking_id = response.body.get("trackingId") if isinstance(response.body, dict) else None
        response.headers.setdefault("x-ms-request-id", tracking_id or str(uuid.uuid4()))
        response.headers.setdefault("Strict-Transport-Security", _TRANSPORT_SECURITY)
        return response

    def _register(self, call: Call) -> Response:
        device = _device(call)
        request = _body(call)
        challenge = self._operations.challenge(device, request)
        if challenge is not None:
            return _challenged(challenge)
        status = self._operations.register(device, request).status
        pending = OperationStatus(status.operation_id, Status.ASSIGNING, retry_after=status.retry_after or 0)
        return self._answer(call, device, pending)

    def _poll(self, call: Call) -> Response:
        device = _device(call)
        status = self._operations.poll(device, call.parameters["operation"], check_expiry=True).status
        return self._answer(call, device, status)

    def _look_up(self, call: Call) -> Response:
        return Response(200, self._operations.look_up(_device(call), _body(call)))

    def _answer(self, call: Call, device: DeviceIdentity, status: OperationStatus) -> Response:
        response = Response(status.http_status, told(status), facts={"reason": status.reason} if status.reason else {})
        if status.status is Status.ASSIGNING:
            name = quote(device.registration_id, safe="")
            host = call.request.headers.get("host") or self._host
            # documented like this, although it is the address that was just asked and not that of the operation
            response.headers["Location"] = f"https://{host}/{quote(device.id_scope)}/registrations/{name}/register"
            response.headers["Retry-After"] = str(status.retry_after or 0)
        return response


def _challenged(challenge: Challenge) -> Response:
    """The challenge of a TPM: no error, in spite of its status, and not in the shape of one.

    Source: ``TpmChallenge`` of the published API description, and the SDKs, one of which must find the name of the
    key. The text is ours; nobody published that of the service.
    """
    body = {
        "message": "Let the TPM open the authentication key, and repeat the request with a token that it signed.",
        "authenticationKey": challenge.authentication_key,
        "keyName": CHALLENGE_KEY_NAME,
    }
    return Response(401, body, facts={"challenge": True, "reason": challenge.reason})


def _shown_certificates(request: Request) -> dict[str, Any]:
    """The certificates of a device that shows no token; with one, they mean nothing."""
    if request.headers.get("authorization") or not request.peer.certificates:
        return {}
    return {"certificates": presented_certificates(request.peer.certificates)}


def _device(call: Call) -> DeviceIdentity:
    """The device that a request says it is from (nothing of it is checked yet), with what it brings as proof."""
    return DeviceIdentity(
        id_scope=call.parameters["scope"],
        registration_id=call.parameters["id"],
        api_version=call.request.query.get("api-version", ""),
        token=call.header("authorization") or "",
        certificates=call.request.peer.certificates,
    )


def _body(call: Call) -> dict[str, Any]:
    """The body; none means an empty object."""
    size = len(call.request.body)
    if size > MAX_BODY_SIZE:
        raise ServiceError(Dps.TOO_LARGE, f"The body has {size} bytes; at most {MAX_BODY_SIZE} are allowed.")
    if call.body is None:
        return {}
    if not isinstance(call.body, dict):
        raise ServiceError(Dps.INVALID_BODY, "The body must be a JSON object.")
    return call.body
