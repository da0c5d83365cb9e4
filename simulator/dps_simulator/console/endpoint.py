"""The simulator's own management API. Azure has nothing like it, so nothing here pretends to be Azure's.

All routes need ``Authorization: Bearer <token>``; the token stands in the endpoint file, which only its owner may read.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, Protocol

from dps_simulator.common.clock import Clock
from dps_simulator.common.http import Request, Response
from dps_simulator.common.service_faults import ServiceFaults
from dps_simulator.common.throttling import Limits
from dps_simulator.common.trace import CAPACITY, Trace, TraceEvent
from dps_simulator.errors.table import ServiceError, ascii_json, dps_body
from dps_simulator.hub.hub import IotHub
from dps_simulator.wire.http import Call, Failures, HttpEndpoint, Route

from . import refusals
from .faults import ManagementFaults
from .messages import HubMessages
from .refusals import invalid, no_hub, told_as_invalid, whole_number

#: Bytes of the trace that are made in one go; one event may be longer.
PIECE = 32_768

#: What can be set of a hub: names of this API → fields of its link.
_HUB_FIELDS = {
    "linked": "linked",
    "allocationWeight": "allocation_weight",
    "applyAllocationPolicy": "apply_allocation_policy",
    "latency": "latency",
}


class ManagedHubs(Protocol):
    """What can be read from and done to the hubs of a running simulator."""

    def show(self) -> list[dict[str, Any]]:
        """Every hub, and how it is linked, in the names of this API."""

    def find(self, host: str) -> IotHub | None:
        """The hub with this host name, ``None`` when there is none."""

    def put(self, host: str, **fields: Any) -> None:
        """Add a hub, or change how one is linked. Raises ``ValueError`` when that is not possible."""

    def remove(self, host: str) -> bool:
        """Remove a hub with its devices; tells whether there was one. Raises ``ValueError`` for one that stays."""


class Controls(Protocol):
    """What can be read from and done to a running simulator."""

    def health(self) -> Mapping[str, Any]:
        """Facts that tell that it runs, and which one it is."""

    @property
    def pace(self) -> str:
        """``azure``, ``instant`` or ``polls=n``."""

    def set_pace(self, pace: str) -> None:
        """Change the pace. Raises ``ValueError`` with what was expected."""

    @property
    def limits(self) -> Limits:
        """Which limits of the real services hold."""

    def set_limits(self, limits: Limits) -> None:
        """Change them."""

    @property
    def faults(self) -> ServiceFaults:
        """The faults that are switched on for services."""

    @property
    def hubs(self) -> ManagedHubs:
        """All hubs."""

    @property
    def service_connection_string(self) -> str:
        """Connection string of the enrollment API, with the key that is good now."""

    def hub_connection_strings(self) -> list[str]:
        """Connection strings of all hubs, linked or not."""

    def reset(self) -> None:
        """Forget enrollments, registrations, devices and trace."""

    def request_stop(self) -> None:
        """Stop soon after the answer has been sent."""


class ManagementEndpoint(HttpEndpoint):
    """The routes below ``/simulator``.

    Arguments:
        controls: the running simulator.
        token: what callers must show.
        clock, trace: as for every endpoint; requests to this one are not traced.
    """

    def __init__(self, *, controls: Controls, token: str, clock: Clock, trace: Trace) -> None:
        self._controls = controls
        self._token = token
        self._events = trace
        messages = HubMessages(controls.hubs.find)
        faults = ManagementFaults(controls.faults)
        super().__init__(
            service="management",
            routes=(
                Route("GET", "/simulator/health", "health", self._health, right="all"),
                Route("GET", "/simulator/pace", "read pace", self._read_pace, right="all"),
                Route("PUT", "/simulator/pace", "set pace", self._set_pace, right="all", takes_body=True),
                Route("GET", "/simulator/limits", "read limits", self._read_limits, right="all"),
                Route("PUT", "/simulator/limits", "set limits", self._set_limits, right="all", takes_body=True),
                Route("GET", "/simulator/hubs", "list hubs", self._list_hubs, right="all"),
                Route("PUT", "/simulator/hubs/{host}", "put hub", self._put_hub, right="all", takes_body=True),
                Route("DELETE", "/simulator/hubs/{host}", "remove hub", self._remove_hub, right="all"),
                *messages.routes(),
                *faults.routes(),
                Route("GET", "/simulator/connection", "read connection", self._read_connection, right="all"),
                Route("GET", "/simulator/trace", "read trace", self._read_trace, right="all"),
                Route("DELETE", "/simulator/trace", "clear trace", self._clear_trace, right="all"),
                Route("POST", "/simulator/reset", "reset", self._reset, right="all"),
                Route("POST", "/simulator/stop", "stop", self._stop, right="all"),
            ),
            failures=Failures(
                route_not_found=refusals.ROUTE,
                method_not_allowed=refusals.METHOD,
                invalid_body=refusals.INVALID,
                missing_api_version=refusals.INVALID,
                api_version_not_supported=refusals.INVALID,
                unsupported_media_type=refusals.MEDIA_TYPE,
                internal=refusals.INTERNAL,
            ),
            render_error=dps_body,
            clock=clock,
            trace=trace,
            transaction=nullcontext,
            authenticate=self._check_token,
            traced=False,
        )

    def _check_token(self, request: Request, right: str) -> None:
        given = request.headers.get("authorization", "")
        # headers that are not UTF-8 arrive with surrogates
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), f"Bearer {self._token}".encode()):
            raise ServiceError(refusals.UNAUTHORIZED)

    def _health(self, call: Call) -> Response:
        return Response(body=dict(self._controls.health()))

    def _read_pace(self, call: Call) -> Response:
        return Response(body={"pace": self._controls.pace})

    def _set_pace(self, call: Call) -> Response:
        pace = call.body.get("pace") if isinstance(call.body, dict) else None
        if not isinstance(pace, str):
            raise invalid('The body must be {"pace": "azure"}, {"pace": "instant"} or {"pace": "polls=n"}.')
        with told_as_invalid():
            self._controls.set_pace(pace)
        return self._read_pace(call)

    def _read_limits(self, call: Call) -> Response:
        return Response(body=self._controls.limits.to_json())

    def _set_limits(self, call: Call) -> Response:
        if not isinstance(call.body, dict):
            raise invalid('The body must be a JSON object such as {"mode": "azure", "registrations_per_minute": 20}.')
        with told_as_invalid():
            self._controls.set_limits(Limits.of(call.body))
        return self._read_limits(call)

    def _read_connection(self, call: Call) -> Response:
        return Response(
            body={
                "serviceConnectionString": self._controls.service_connection_string,
                "hubConnectionStrings": self._controls.hub_connection_strings(),
            }
        )

    def _list_hubs(self, call: Call) -> Response:
        return Response(body={"hubs": self._controls.hubs.show()})

    def _put_hub(self, call: Call) -> Response:
        body = {} if call.body is None else call.body
        unknown = sorted(set(body) - set(_HUB_FIELDS)) if isinstance(body, dict) else [""]
        if unknown:
            what = f"{unknown[0]!r:.80} is unknown" if isinstance(body, dict) else "it is none"
            raise invalid(f"The body must be a JSON object with {', '.join(_HUB_FIELDS)}, all optional; {what}.")
        if not isinstance(body.get("linked", True), bool):
            raise invalid("linked must be true or false.")
        if body.get("linked") is False and len(body) > 1:
            others = ", ".join(name for name in body if name != "linked")
            raise invalid(f"A hub that is not linked has no {others}; leave that out.")
        fields = {_HUB_FIELDS[name]: value for name, value in body.items()}
        with told_as_invalid():
            self._controls.hubs.put(call.parameters["host"], **fields)
        return self._list_hubs(call)

    def _remove_hub(self, call: Call) -> Response:
        host = call.parameters["host"]
        with told_as_invalid():
            found = self._controls.hubs.remove(host)
        if not found:
            raise no_hub(host)
        return Response(204)

    def _read_trace(self, call: Call) -> Response:
        after = whole_number(call, "after", 0)
        limit = whole_number(call, "limit", CAPACITY)
        return Response(pieces=_trace_pieces(self._events.read(after, limit), self._events.last_sequence))

    def _clear_trace(self, call: Call) -> Response:
        self._events.clear()
        return Response(204)

    def _reset(self, call: Call) -> Response:
        self._controls.reset()
        return Response(204)

    def _stop(self, call: Call) -> Response:
        self._controls.request_stop()
        return Response(202, {"status": "stopping"})


def _trace_pieces(events: Iterable[TraceEvent], last: int) -> Iterator[bytes]:
    """``{"events": […], "last": …}``, about :data:`PIECE` bytes at a time."""
    piece = bytearray(b'{"events":[')
    comma = b""
    for event in events:
        piece += comma + ascii_json(event.to_json())
        comma = b","
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece) + b'],"last":%d}' % last
