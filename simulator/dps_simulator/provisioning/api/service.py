"""The service API of the provisioning service: enrollments, enrollment groups and registrations over HTTPS.

Source: the published API description 2021-10-01 for the routes; recorded answers of the service (2023-05-19) for
statuses, headers and bodies.
"""

from __future__ import annotations

import re
from functools import partial
from urllib.parse import unquote

from dps_simulator.common.clock import Clock
from dps_simulator.common.http import Request, Response
from dps_simulator.common.identifiers import lookup_key
from dps_simulator.common.trace import Trace
from dps_simulator.credentials.sas import SasError, SharedAccessSignature
from dps_simulator.errors.table import Dps, ServiceError, service_body
from dps_simulator.provisioning.access_policies import (
    ENROLLMENT_READ,
    ENROLLMENT_WRITE,
    REGISTRATION_READ,
    REGISTRATION_WRITE,
    AccessPolicies,
)
from dps_simulator.provisioning.enrollments.kinds import GROUP, INDIVIDUAL
from dps_simulator.provisioning.service import ProvisioningService
from dps_simulator.wire.http import Call, HttpEndpoint, Route, Transaction

from .enrollments import EnrollmentOperations, listed, version_of
from .failures import DPS_FAILURES
from .versions import API_VERSIONS, registration_for

_REGISTRATION_ITEM = "DeviceRegistration"


class DpsServiceEndpoint(HttpEndpoint):
    """The service API.

    Arguments:
        service: what judges devices, and keeps enrollments and registrations.
        clock: the time, for the expiry of tokens.
        trace: where every message is recorded.
        host: host name of the service, which tokens must be for.
        policies: the shared access policies.
        transaction: context manager factory around every operation.
    """

    def __init__(
        self,
        *,
        service: ProvisioningService,
        clock: Clock,
        trace: Trace,
        host: str,
        policies: AccessPolicies,
        transaction: Transaction,
    ) -> None:
        self._provisioning = service
        self._host = host
        self._policies = policies
        super().__init__(
            service="enrollments",
            routes=self._table(),
            failures=DPS_FAILURES,
            render_error=service_body,
            clock=clock,
            trace=trace,
            transaction=transaction,
            authenticate=self._check_rights,
            admit=lambda request, route: service.throttle.take("operations_per_minute"),
            api_version=re.compile("|".join(map(re.escape, API_VERSIONS))),
        )

    # --- routes ---------------------------------------------------------------------------------------------------

    def _table(self) -> list[Route]:
        routes: list[Route] = []
        for kind, path in ((INDIVIDUAL, "/enrollments"), (GROUP, "/enrollmentGroups")):
            of_kind = EnrollmentOperations(self._provisioning, kind)
            read, write, label = ENROLLMENT_READ, ENROLLMENT_WRITE, kind.label
            routes += [
                Route("POST", f"{path}/query", f"query {label}s", of_kind.query, read, takes_body=True),
                Route("POST", path, f"bulk operation on {label}s", of_kind.bulk, write, takes_body=True),
                Route("GET", f"{path}/{{id}}", f"get {label}", of_kind.get, read),
                Route("PUT", f"{path}/{{id}}", f"create or update {label}", of_kind.put, write, takes_body=True),
                Route("DELETE", f"{path}/{{id}}", f"delete {label}", of_kind.delete, write),
                Route("POST", f"{path}/{{id}}/attestationmechanism", f"get keys of {label}", of_kind.mechanism, write),
            ]
        path, read, write = "/registrations/{id}", REGISTRATION_READ, REGISTRATION_WRITE
        return [
            *routes,
            Route("GET", path, "get registration", self._get_registration, read),
            Route("DELETE", path, "delete registration", self._delete_registration, write),
            Route("POST", f"{path}/query", "query registrations", self._query_registrations, read, device=""),
        ]

    def _get_registration(self, call: Call) -> Response:
        state = self._provisioning.registrations.get(call.parameters["id"])
        return Response(200, registration_for(version_of(call), state))

    def _delete_registration(self, call: Call) -> Response:
        self._provisioning.registrations.delete(call.parameters["id"], call.header("if-match"))
        return Response(204)

    def _query_registrations(self, call: Call) -> Response:
        registrations, version = self._provisioning.registrations, version_of(call)
        return listed(
            call,
            partial(registrations.query, call.parameters["id"]),
            lambda item: registration_for(version, registrations.shown(item)),
            _REGISTRATION_ITEM,
        )

    # --- who may --------------------------------------------------------------------------------------------------

    def _check_rights(self, request: Request, right: str) -> None:
        header = request.headers.get("authorization", "")
        if not header:
            raise _unauthorized("there is no Authorization header")
        if header.lower().startswith("bearer "):
            raise _unauthorized("bearer tokens are not supported by this simulator, use a shared access policy")
        try:
            token = SharedAccessSignature.parse(header)
        except SasError as error:
            raise _unauthorized(str(error)) from error
        policy = self._policies.find(token.key_name or "")
        if policy is None:
            raise _unauthorized(f"there is no policy {token.key_name!r:.80}")
        if not any(token.is_signed_by(key) for key in policy.decoded_keys()):
            raise _unauthorized(f"the keys of policy {policy.name!r} did not sign the token")
        if not policy.allows(right):
            raise _unauthorized(f"policy {policy.name!r} has the rights {', '.join(policy.rights)}, and not {right}")
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


def _unauthorized(reason: str) -> ServiceError:
    return ServiceError(Dps.UNAUTHORIZED_SERVICE, reason=reason)
