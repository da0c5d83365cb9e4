"""The routes of the management API for faults that are switched on for a service."""

from __future__ import annotations

from collections.abc import Sequence

from dps_simulator.common.http import Response
from dps_simulator.common.service_faults import ServiceFault, ServiceFaults
from dps_simulator.wire.http import Call, Route

from .refusals import invalid, told_as_invalid

_EXAMPLE = '{"service": "provisioning", "kind": "latency", "delay": 1.5, "duration": 60}'


class ManagementFaults:
    """Reads, switches on and switches off.

    Arguments:
        faults: those of the running simulator.
    """

    def __init__(self, faults: ServiceFaults) -> None:
        self._faults = faults

    def routes(self) -> Sequence[Route]:
        """The rows for the table of the endpoint."""
        return (
            Route("GET", "/simulator/faults", "read faults", self._read, right="all"),
            Route("PUT", "/simulator/faults", "switch on fault", self._put, right="all", takes_body=True),
            Route("DELETE", "/simulator/faults", "switch off faults", self._clear, right="all"),
        )

    def _read(self, call: Call) -> Response:
        return Response(body={"faults": self._faults.to_json()})

    def _put(self, call: Call) -> Response:
        if not isinstance(call.body, dict):
            raise invalid(f"The body must be a JSON object such as {_EXAMPLE}.")
        with told_as_invalid():
            self._faults.put(ServiceFault.of(call.body))
        return self._read(call)

    def _clear(self, call: Call) -> Response:
        unknown = sorted(set(call.request.query) - {"service", "kind"})
        if unknown:
            # a misspelt one would switch off more than was meant
            raise invalid(f"{unknown[0]!r:.80} is unknown; the query may have service and kind.")
        query = call.request.query
        return Response(body={"faults": self._faults.clear(query.get("service", ""), query.get("kind", ""))})
