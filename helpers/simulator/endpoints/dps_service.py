"""The service API of the provisioning service: enrollments, enrollment groups and registrations over HTTPS.

Source: the published API description 2021-10-01 for the routes; recorded answers of the service (2023-05-19) for
statuses, headers and bodies.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from ..clock import Clock
from ..domain.enrollment_kinds import GROUP, INDIVIDUAL, EnrollmentKind
from ..domain.identifiers import lookup_key
from ..domain.paging import Page, page_size
from ..domain.ports import Document, StoredDocument
from ..domain.provisioning import ProvisioningService
from ..errors import Dps, ServiceError, dps_body
from ..protocols.sas import SasError, SharedAccessSignature, decode_key
from ..trace import Trace
from .dps_failures import DPS_FAILURES
from .http import Call, HttpEndpoint, Request, Response, Route, Transaction

#: Older versions lack fields, none contradicts a newer one.
API_VERSIONS = ("2018-04-01", "2018-09-01-preview", "2019-03-31", "2021-10-01")

_REGISTRATION_ITEM = "DeviceRegistration"

#: Rights of a policy. Source: Microsoft documentation, iot-dps how-to-control-access. That the route of the keys needs
#: the right to write is inferred.
ENROLLMENT_READ = "EnrollmentRead"
ENROLLMENT_WRITE = "EnrollmentWrite"
REGISTRATION_READ = "RegistrationStatusRead"
REGISTRATION_WRITE = "RegistrationStatusWrite"


class DpsServiceEndpoint:
    """The service API.

    Arguments:
        service: the provisioning service.
        clock: the time, for the expiry of tokens.
        trace: where every message is recorded.
        host: host name of the service, which tokens must be for.
        policy_name: name of the shared access policy; it has all rights.
        policy_key: its key, base64.
        transaction: context manager factory around every operation.
    """

    def __init__(
        self,
        *,
        service: ProvisioningService,
        clock: Clock,
        trace: Trace,
        host: str,
        policy_name: str,
        policy_key: str,
        transaction: Transaction,
    ) -> None:
        self._service = service
        self._clock = clock
        self._host = host
        self._policy_name = policy_name
        self._policy_key = decode_key(policy_key)
        self._endpoint = HttpEndpoint(
            service="enrollments",
            routes=self._routes(),
            failures=DPS_FAILURES,
            render_error=dps_body,
            clock=clock,
            trace=trace,
            transaction=transaction,
            authenticate=self._authenticate,
            api_version=re.compile("|".join(map(re.escape, API_VERSIONS))),
        )

    async def handle(self, request: Request) -> Response:
        """Answer one request. Never raises."""
        return await self._endpoint.handle(request)

    # --- routes ---------------------------------------------------------------------------------------------------

    def _routes(self) -> list[Route]:
        routes: list[Route] = []
        for kind, path in ((INDIVIDUAL, "/enrollments"), (GROUP, "/enrollmentGroups")):
            of_kind = _EnrollmentOperations(self._service, kind)
            read, write, label = ENROLLMENT_READ, ENROLLMENT_WRITE, kind.label
            routes += [
                Route("POST", f"{path}/query", f"query {label}s", of_kind.query, read, takes_body=True),
                Route("POST", path, f"bulk operation on {label}s", of_kind.bulk, write),
                Route("GET", f"{path}/{{id}}", f"get {label}", of_kind.get, read),
                Route("PUT", f"{path}/{{id}}", f"create or update {label}", of_kind.put, write, takes_body=True),
                Route("DELETE", f"{path}/{{id}}", f"delete {label}", of_kind.delete, write),
                Route("POST", f"{path}/{{id}}/attestationmechanism", f"get keys of {label}", of_kind.mechanism, write),
            ]
        return [
            *routes,
            Route("GET", "/registrations/{id}", "get registration", self._get_registration, REGISTRATION_READ),
            Route(
                "DELETE", "/registrations/{id}", "delete registration", self._delete_registration, REGISTRATION_WRITE
            ),
            Route(
                "POST",
                "/registrations/{id}/query",
                "query registrations",
                self._query_registrations,
                REGISTRATION_READ,
                device="",
            ),
        ]

    def _get_registration(self, call: Call) -> Response:
        return Response(200, self._service.registrations.get(call.parameters["id"]))

    def _delete_registration(self, call: Call) -> Response:
        self._service.registrations.delete(call.parameters["id"], call.header("if-match"))
        return Response(204)

    def _query_registrations(self, call: Call) -> Response:
        registrations = self._service.registrations
        page = registrations.query(
            call.parameters["id"],
            size=page_size(call.header("x-ms-max-item-count")),
            continuation=call.header("x-ms-continuation"),
        )
        return _list(page, registrations.shown, _REGISTRATION_ITEM)

    # --- who may --------------------------------------------------------------------------------------------------

    def _authenticate(self, request: Request, right: str) -> None:
        header = request.headers.get("authorization", "")
        if not header:
            raise _unauthorized("there is no Authorization header")
        if header.lower().startswith("bearer "):
            raise _unauthorized("bearer tokens are not supported by this simulator, use a shared access policy")
        try:
            token = SharedAccessSignature.parse(header)
        except SasError as error:
            raise _unauthorized(str(error)) from error
        if token.key_name != self._policy_name:
            known = f"the one policy is {self._policy_name!r}"
            raise _unauthorized(f"there is no policy {token.key_name!r:.80} with the right {right}; {known}")
        if not token.is_signed_by(self._policy_key):
            raise _unauthorized(f"the key of policy {self._policy_name!r} did not sign the token")
        now = self._clock.now().timestamp()
        if token.is_expired(now):
            raise ServiceError(Dps.TOKEN_EXPIRED, reason=f"the token expired {now - token.expiry:.0f} s ago")
        if not self._is_audience(token.resource_parts(), request):
            shown = "/".join(token.resource_parts())
            raise _unauthorized(f"the token is for {shown!r:.300}, not for {self._host!r} and this path")

    def _is_audience(self, resource: tuple[str, ...], request: Request) -> bool:
        """Whether the token's resource is this host, with or without port, or the beginning of the address."""
        host, *path = (lookup_key(part) for part in resource)
        if re.sub(r":[0-9]{1,5}$", "", host) not in {lookup_key(self._host), lookup_key(request.peer.host)}:
            return False
        address = [lookup_key(unquote(part)) for part in request.path.strip("/").split("/")]
        return path == address[: len(path)]


class _EnrollmentOperations:
    """The operations on one kind of enrollments."""

    def __init__(self, service: ProvisioningService, kind: EnrollmentKind) -> None:
        self._service = service
        self._kind = kind
        self._book = service.enrollments.of(kind)

    def get(self, call: Call) -> Response:
        return Response(200, self._service.show_enrollment(self._kind, call.parameters["id"]))

    def put(self, call: Call) -> Response:
        enrollment = self._book.put(call.parameters["id"], call.body, call.header("if-match"))
        return Response(200, enrollment.to_json(with_keys=True))

    def delete(self, call: Call) -> Response:
        self._book.delete(call.parameters["id"], call.header("if-match"))
        return Response(204)

    def query(self, call: Call) -> Response:
        if not isinstance(call.body, dict):
            raise ServiceError(Dps.INVALID_BODY, 'The body must be a JSON object such as {"query": "SELECT *"}.')
        page = self._book.query(
            call.body.get("query"),
            size=page_size(call.header("x-ms-max-item-count")),
            continuation=call.header("x-ms-continuation"),
        )
        return _list(page, self._book.shown, self._kind.item_type)

    def mechanism(self, call: Call) -> Response:
        return Response(200, self._book.get(call.parameters["id"]).attestation_mechanism())

    def bulk(self, _: Call) -> Response:
        raise ServiceError(
            Dps.NOT_SUPPORTED, f"Bulk operations are not supported by this simulator; PUT every {self._kind.label}."
        )


def _list(page: Page, show: Callable[[StoredDocument], Document], item_type: str) -> Response:
    headers = {"x-ms-item-type": item_type, "X-Content-Type-Options": "nosniff"}
    if page.continuation is not None:
        headers["x-ms-continuation"] = page.continuation
    items: list[Any] = [show(document) for document in page.documents]
    return Response(200, items, headers)


def _unauthorized(reason: str) -> ServiceError:
    return ServiceError(Dps.UNAUTHORIZED_SERVICE, reason=reason)
