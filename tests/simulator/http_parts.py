"""An endpoint over HTTP with a few things in it."""

import asyncio
import re

from dps_simulator.common.clock import ManualClock
from dps_simulator.common.http import Peer, Request, Response
from dps_simulator.common.trace import Trace
from dps_simulator.errors.table import ErrorKind, Provenance, ServiceError, dps_body
from dps_simulator.process.store import Store
from dps_simulator.wire.http import Failures, HttpEndpoint, Route


def kind(name, status):
    return ErrorKind(name, status * 1_000, f"{name} by the table.", Provenance.SIMULATOR_ONLY)


ROUTE, METHOD, BODY = kind("Route", 404), kind("Method", 405), kind("Body", 400)


NO_VERSION, OTHER_VERSION = kind("NoVersion", 400), kind("OtherVersion", 412)


MEDIA, INTERNAL, DENIED, BUSY = kind("Media", 415), kind("Internal", 500), kind("Denied", 401), kind("Busy", 429)


class Things:
    """An endpoint with a handful of routes around a real store, and a list of what it was asked to do."""

    def __init__(self):
        self.clock = ManualClock()
        self.trace = Trace(self.clock)
        self.store = Store()
        self.things = self.store.collection("thing")
        self.did = []
        self.open = False
        self.endpoint = self.make(authenticate=self.authenticate, api_version=re.compile("2021-.*"))

    def make(self, **options):
        return HttpEndpoint(
            service="things",
            routes=(
                Route("GET", "/things/special", "special thing", self.special),
                Route("GET", "/things/{id}", "read thing", self.read, right="read"),
                Route("PUT", "/things/{id}", "write thing", self.write, right="write", takes_body=True),
                Route("PUT", "/things/{id}", "never reached", self.fail),
                Route("POST", "/things/{id}/parts/{part}", "add part", self.later, takes_body=True),
                Route("GET", "/broken", "break", self.fail),
                Route("GET", "/busy", "be busy", self.busy),
                Route("POST", "/half", "write half", self.half, takes_body=True),
            ),
            failures=Failures(ROUTE, METHOD, BODY, NO_VERSION, OTHER_VERSION, MEDIA, INTERNAL),
            render_error=dps_body,
            clock=self.clock,
            trace=self.trace,
            transaction=self.store.transaction,
            **options,
        )

    def authenticate(self, request, right):
        self.did.append(f"authenticate {right}")
        if request.headers.get("authorization") != "yes":
            raise ServiceError(DENIED, reason="the authorization is not 'yes'")

    def special(self, call):
        return Response(body={"special": True})

    def read(self, call):
        self.did.append(f"read {call.parameters['id']}")
        return Response(body={"id": call.parameters["id"]}, headers={"ETag": call.header("x-etag") or "none"})

    def write(self, call):
        self.did.append("write")
        self.things.put(call.parameters["id"], {"body": call.body})
        return Response(204)

    async def later(self, call):
        await asyncio.sleep(0)
        return Response(201, {**call.parameters, "body": call.body})

    def fail(self, call):
        raise ZeroDivisionError("a detail that nobody outside may see")

    def busy(self, call):
        raise ServiceError(BUSY, "Come back later.", retry_after=7)

    def half(self, call):
        self.things.put("half", {})
        if call.body == "broken":
            raise ZeroDivisionError
        raise ServiceError(BODY, "Half of it was written.")

    def send(self, method, path, body=b"", *, version="2021-10-01", authorization="yes", endpoint=None, **headers):
        query = {} if version is None else {"api-version": version}
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if authorization:
            sent["authorization"] = authorization
        request = Request(method, path, query, sent, body, Peer("things.test"))
        return asyncio.run((endpoint or self.endpoint).handle(request))

    def events(self):
        return [(event.direction, event.operation, event.device, event.status) for event in self.trace.events()]
