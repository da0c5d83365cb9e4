"""HTTP requests as the endpoints see them, and the pipeline that every request passes in the same order.

Order (fixed): find the route → check the api-version → authenticate → admit or throttle → parse the body → run the
operation in one transaction → answer. An error at any step becomes an answer in one place, and request and answer are
traced.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from urllib.parse import unquote

from dps_simulator.common.clock import Clock
from dps_simulator.common.http import Request, Response
from dps_simulator.common.ports import StorageError
from dps_simulator.common.trace import Trace
from dps_simulator.errors.table import ErrorKind, ServiceError

from .json_body import load_json
from .not_kept import not_kept

_LOGGER = logging.getLogger(__name__)


@dataclass(slots=True)
class Call:
    """A request on its way through the pipeline, as an operation sees it.

    Attributes:
        request: the request.
        parameters: decoded path segments by name, e.g. ``{"id": "thermostat-001"}``.
        body: parsed JSON, ``None`` when the route takes none or it was empty.
    """

    request: Request
    parameters: Mapping[str, str]
    body: Any = field(default=None, repr=False)  # perhaps with keys

    def header(self, name: str) -> str | None:
        """A header by its lower-case name."""
        return self.request.headers.get(name)


Operation = Callable[[Call], Response | Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of an endpoint's table.

    Attributes:
        method: HTTP method.
        template: path such as ``/enrollments/{id}``; literal segments match without regard to case, a trailing slash
            is ignored.
        name: the operation's name in traces, e.g. ``create or update enrollment``.
        operation: what runs.
        right: the right that the caller's policy needs, empty for none.
        takes_body: whether a JSON body is parsed.
        device: the path parameter that names the device in traces.
    """

    method: str
    template: str
    name: str
    operation: Operation
    right: str = ""
    takes_body: bool = False
    device: str = "id"

    def match(self, segments: Sequence[str]) -> dict[str, str] | None:
        """Path parameters when the segments fit, else ``None``."""
        own = self.template.strip("/").split("/")
        if len(own) != len(segments):
            return None
        parameters: dict[str, str] = {}
        for mine, given in zip(own, segments, strict=True):
            if mine.startswith("{"):
                if not given:
                    return None
                parameters[mine[1:-1]] = unquote(given)
            elif mine.lower() != given.lower():
                return None
        return parameters


@dataclass(frozen=True, slots=True)
class Failures:
    """The rows of the error table that one endpoint uses for what the pipeline itself finds."""

    route_not_found: ErrorKind
    method_not_allowed: ErrorKind
    invalid_body: ErrorKind
    missing_api_version: ErrorKind
    api_version_not_supported: ErrorKind
    unsupported_media_type: ErrorKind
    internal: ErrorKind
    malformed_json: ErrorKind | None = None
    """For a body that is no JSON, where the service has one text for that: what is wrong stands in the trace only."""


Transaction = Callable[[], Any]


class HttpEndpoint:
    """A table of routes behind the pipeline.

    Arguments:
        service: the endpoint's name in traces, e.g. ``enrollments``.
        routes: the table; the first row that fits wins, so literal rows come before rows with parameters.
        failures: rows of the error table for routing, media type and JSON errors.
        render_error: makes the JSON body of an error, such as :func:`~dps_simulator.errors.table.dps_body`.
        authenticate: raises :class:`ServiceError` unless the request carries the right; ``None`` for open endpoints.
        api_version: pattern of the versions that are understood; ``None`` asks for none.
        transaction: a context manager factory around every operation that is not a coroutine.
        describe: what the trace keeps of an arriving request besides its body.
        admit: raises :class:`ServiceError` when there are too many requests; ``None`` lets all through.
    """

    def __init__(
        self,
        *,
        service: str,
        routes: Sequence[Route],
        failures: Failures,
        render_error: Callable[[ServiceError, datetime], Mapping[str, Any]],
        clock: Clock,
        trace: Trace,
        transaction: Transaction,
        authenticate: Callable[[Request, str], None] | None = None,
        api_version: re.Pattern[str] | None = None,
        traced: bool = True,
        describe: Callable[[Request], Mapping[str, Any]] | None = None,
        admit: Callable[[Request, Route], object] | None = None,
    ) -> None:
        self._service = service
        self._routes = routes
        self._failures = failures
        self._render_error = render_error
        self._clock = clock
        self._trace = trace
        self._transaction = transaction
        self._authenticate = authenticate
        self._api_version = api_version
        self._traced = traced
        self._describe = describe
        self._admit = admit

    async def handle(self, request: Request) -> Response:
        """Answer one request. Never raises: what goes wrong becomes an answer."""
        name, device, arrived = f"{request.method} {request.path}", "", False
        try:
            route, parameters = self._find(request)
            name, device = route.name, parameters.get(route.device, "")
            self._check_api_version(request)
            if self._authenticate is not None and route.right:
                self._authenticate(request, route.right)
            if self._admit is not None:
                self._admit(request, route)
            parsed = self._parse(request) if route.takes_body else None
            self._record(request, "in", name, device, None, parsed)
            arrived = True
            call = Call(request, parameters, parsed)
            response = await self._run(route, call)
        except (ServiceError, StorageError) as error:
            told = error if isinstance(error, ServiceError) else not_kept(self._failures.internal, error)
            if not arrived:
                self._record(request, "in", name, device, None, None)
            response = self._refuse(request, told)
            self._record(request, "out", name, device, response.status, response.body, told.why())
            return response
        except Exception:
            # not the path: it may be long, and it holds names that somebody gave
            _LOGGER.exception("%s failed", name)
            response = self._refuse(request, ServiceError(self._failures.internal))
            self._record(request, "out", name, device, response.status, response.body)
            return response
        self._record(request, "out", name, device, response.status, response.body, response.facts)
        return response

    async def _run(self, route: Route, call: Call) -> Response:
        if inspect.iscoroutinefunction(route.operation):
            return cast(Response, await route.operation(call))
        with self._transaction():
            return cast(Response, route.operation(call))

    def _refuse(self, request: Request, error: ServiceError) -> Response:
        headers = {"x-ms-error-code": str(error.kind.code)}
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
        if error.kind is self._failures.method_not_allowed:
            # RFC 9110, section 15.5.6: such an answer names the methods that are
            headers["Allow"] = ", ".join(self._allowed(request))
        return Response(error.kind.status, dict(self._render_error(error, self._clock.now())), headers)

    def _find(self, request: Request) -> tuple[Route, dict[str, str]]:
        segments = request.path.strip("/").split("/")
        for route in self._routes:
            if route.method == request.method:
                parameters = route.match(segments)
                if parameters is not None:
                    return route, parameters
        allowed = self._allowed(request)
        if allowed:
            raise ServiceError(
                self._failures.method_not_allowed,
                f"{request.method:.20} is not allowed on {request.path:.260}; allowed: {', '.join(allowed)}.",
            )
        raise ServiceError(
            self._failures.route_not_found,
            f"{request.method:.20} {request.path:.260} is not supported by this simulator.",
        )

    def _allowed(self, request: Request) -> list[str]:
        """Methods of the routes that fit the path."""
        segments = request.path.strip("/").split("/")
        return sorted({route.method for route in self._routes if route.match(segments) is not None})

    def _check_api_version(self, request: Request) -> None:
        if self._api_version is None:
            return
        version = request.query.get("api-version", "")
        if not version:
            raise ServiceError(self._failures.missing_api_version, "The query parameter api-version is missing.")
        if not self._api_version.fullmatch(version):
            raise ServiceError(
                self._failures.api_version_not_supported,
                f"api-version {version!r:.80} is not supported by this simulator.",
            )

    def _parse(self, request: Request) -> Any:
        if not request.body.strip():
            return None
        content_type = request.headers.get("content-type", "application/json")
        if "json" not in content_type.lower():
            raise ServiceError(
                self._failures.unsupported_media_type,
                f"The content type is {content_type!r:.80}; it must be application/json.",
            )
        try:
            return load_json(request.body)
        except ValueError as error:
            text = f"The body is not valid JSON: {error}"
            if self._failures.malformed_json is not None:
                raise ServiceError(self._failures.malformed_json, reason=text) from error
            raise ServiceError(self._failures.invalid_body, text) from error

    def _record(
        self,
        request: Request,
        direction: str,
        name: str,
        device: str,
        status: int | None,
        body: Any,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        if not self._traced:
            return
        detail: dict[str, Any] = {**({} if body is None else {"body": body}), **(facts or {})}
        if direction == "in" and self._describe is not None:
            detail.update(self._describe(request))
        self._trace.record(
            service=self._service,
            host=request.peer.host,
            device=device,
            direction=direction,
            protocol="https",
            operation=name,
            status=status,
            detail=detail,
        )
