"""The side of an IoT hub that back ends talk to: devices, twins, queries, direct methods and statistics over REST.

Paths, bodies and headers: the published API description 2021-04-12, and what the Python and Node service SDKs send.
"""

from __future__ import annotations

import re
from typing import Any

from ..clock import Clock
from ..domain.devices import check_device_id
from ..domain.hub import MAX_PAGE, IotHub
from ..errors import Hub, ServiceError, ascii_json, described, hub_body
from ..trace import Trace
from .http import Call, Failures, HttpEndpoint, Operation, Response, Route, Transaction
from .hub_access import REGISTRY_READ, REGISTRY_WRITE, SERVICE_CONNECT, HubAccess
from .hub_device import HubDeviceEndpoint

#: Every version since 2018-06-30.
API_VERSIONS = re.compile(r"(?:2018-(?:06-30|(?:0[7-9]|1[0-2])-\d\d)|2019-\d\d-\d\d|20[2-9]\d-\d\d-\d\d)(?:-preview)?")
MAX_METHOD_NAME = 100
_SURROGATE = re.compile("[\ud800-\udfff]")
MAX_METHOD_PAYLOAD = 128 * 1024
DEFAULT_RESPONSE_TIMEOUT = 30
#: Seconds that a method may wait for its answer, and for the device to connect.
RESPONSE_TIMEOUTS, CONNECT_TIMEOUTS = (5, 300), (0, 300)

_FAILURES = Failures(
    route_not_found=Hub.ROUTE_NOT_FOUND,
    method_not_allowed=Hub.METHOD_NOT_ALLOWED,
    invalid_body=Hub.FORMAT_ERROR,
    missing_api_version=Hub.ARGUMENT_INVALID,
    api_version_not_supported=Hub.API_VERSION_NOT_SUPPORTED,
    unsupported_media_type=Hub.UNSUPPORTED_MEDIA_TYPE,
    internal=Hub.INTERNAL,
)

#: Routes of the real service that this simulator does not have: methods, path and name.
UNSUPPORTED = (
    ("POST", "/devices", "bulk operations on devices"),
    ("DELETE", "/devices/{id}/commands", "purging cloud-to-device messages"),
    ("GET PUT DELETE", "/devices/{id}/modules/{module}", "modules"),
    ("GET", "/devices/{id}/modules", "modules"),
    ("GET PATCH PUT", "/twins/{id}/modules/{module}", "modules"),
    ("POST", "/twins/{id}/modules/{module}/methods", "modules"),
    ("GET PUT DELETE", "/configurations/{name}", "configurations"),
    ("GET", "/configurations", "configurations"),
    ("POST", "/configurations/testQueries", "configurations"),
    ("POST", "/devices/{id}/applyConfigurationContent", "configurations"),
    ("POST", "/jobs/create", "jobs"),
    ("GET", "/jobs", "jobs"),
    ("GET DELETE", "/jobs/{job}", "jobs"),
    ("GET PUT", "/jobs/v2/{job}", "jobs"),
    ("GET", "/jobs/v2/query", "jobs"),
    ("POST", "/jobs/v2/{job}/cancel", "jobs"),
    ("GET PATCH", "/digitaltwins/{id}", "digital twins"),
    ("POST", "/digitaltwins/{id}/commands/{command}", "digital twins"),
    ("POST", "/digitaltwins/{id}/components/{component}/commands/{command}", "digital twins"),
    ("GET", "/messages/serviceBound/feedback", "feedback on cloud-to-device messages"),
    ("DELETE", "/messages/serviceBound/feedback/{lock}", "feedback on cloud-to-device messages"),
    ("POST", "/messages/serviceBound/feedback/{lock}/abandon", "feedback on cloud-to-device messages"),
    ("POST", "/devices/{id}/files", "file upload"),
    ("POST", "/devices/{id}/files/notifications", "file upload"),
)


class HubServiceEndpoint(HttpEndpoint):
    """Serves the service API of one hub.

    Operations that change something are coroutines: those run outside the pipeline's transaction. A device hears of a
    change once it is committed, and the answer shall show the connection as it is after that.

    Arguments:
        hub: the hub.
        devices: reaches the connected devices for direct methods.
        clock: the time.
        trace: where requests are recorded.
        policy_name: the hub's shared access policy.
        policy_key: its base64 key.
        transaction: a context manager factory around reading operations.
    """

    def __init__(
        self,
        *,
        hub: IotHub,
        devices: HubDeviceEndpoint,
        clock: Clock,
        trace: Trace,
        policy_name: str,
        policy_key: str,
        transaction: Transaction,
    ) -> None:
        self._hub = hub
        self._devices = devices
        access = HubAccess(host=hub.host, policy_name=policy_name, policy_key=policy_key, clock=clock)
        super().__init__(
            service="registry",
            routes=self._table(),
            failures=_FAILURES,
            render_error=hub_body,
            clock=clock,
            trace=trace,
            transaction=transaction,
            authenticate=access.check_service,
            api_version=API_VERSIONS,
        )

    def _table(self) -> list[Route]:
        device, twin = "/devices/{id}", "/twins/{id}"
        return [
            Route("POST", "/devices/query", "query", self._query, SERVICE_CONNECT, takes_body=True),
            Route("GET", "/devices", "list devices", self._list_devices, REGISTRY_READ),
            Route("PUT", device, "create or update device", self._put_device, REGISTRY_WRITE, takes_body=True),
            Route("GET", device, "get device", self._get_device, REGISTRY_READ),
            Route("DELETE", device, "delete device", self._delete_device, REGISTRY_WRITE),
            Route("GET", twin, "get twin", self._get_twin, SERVICE_CONNECT),
            Route("PATCH", twin, "update twin", self._patch_twin, SERVICE_CONNECT, takes_body=True),
            Route("PUT", twin, "replace twin", self._replace_twin, SERVICE_CONNECT, takes_body=True),
            Route("POST", f"{twin}/methods", "method", self._invoke_method, SERVICE_CONNECT, takes_body=True),
            Route("GET", "/statistics/devices", "device statistics", self._device_statistics, REGISTRY_READ),
            Route("GET", "/statistics/service", "service statistics", self._service_statistics, SERVICE_CONNECT),
            *(
                Route(method, template, f"{name} (not supported)", _refusal(name), SERVICE_CONNECT)
                for methods, template, name in UNSUPPORTED
                for method in methods.split()
            ),
        ]

    # ---- devices

    async def _put_device(self, call: Call) -> Response:
        return _tagged(self._hub.put_device(call.parameters["id"], call.body, call.header("if-match")))

    def _get_device(self, call: Call) -> Response:
        return _tagged(self._hub.device(call.parameters["id"]))

    def _list_devices(self, call: Call) -> Response:
        top = _whole_number("top", call.request.query.get("top"), (1, None), MAX_PAGE)
        return Response(200, self._hub.devices(top))

    async def _delete_device(self, call: Call) -> Response:
        self._hub.delete_device(call.parameters["id"], call.header("if-match"))
        return Response(204)

    def _device_statistics(self, _: Call) -> Response:
        return Response(200, self._hub.statistics())

    def _service_statistics(self, _: Call) -> Response:
        return Response(200, {"connectedDeviceCount": len(self._hub.connections)})

    # ---- twins

    def _get_twin(self, call: Call) -> Response:
        return _tagged(self._hub.twin(call.parameters["id"]))

    async def _patch_twin(self, call: Call) -> Response:
        return _tagged(self._hub.patch_twin(call.parameters["id"], call.body, call.header("if-match")))

    async def _replace_twin(self, call: Call) -> Response:
        return _tagged(self._hub.replace_twin(call.parameters["id"], call.body, call.header("if-match")))

    def _query(self, call: Call) -> Response:
        body = _body(call)
        size = _whole_number("x-ms-max-item-count", call.header("x-ms-max-item-count"), (1, None), MAX_PAGE)
        # an empty header means the same as none
        continuation = call.header("x-ms-continuation") or None
        page = self._hub.query(body.get("query"), page_size=size, continuation=continuation)
        headers = {"x-ms-item-type": page.item_type}
        if page.continuation is not None:
            headers["x-ms-continuation"] = page.continuation
        return Response(200, page.items, headers)

    # ---- direct methods

    async def _invoke_method(self, call: Call) -> Response:
        device_id, body = call.parameters["id"], _body(call)
        self._hub.device(check_device_id(device_id))  # raises when it is unknown
        name = body.get("methodName")
        # surrogates cannot be written into a topic
        if not isinstance(name, str) or not 0 < len(name) <= MAX_METHOD_NAME or _SURROGATE.search(name):
            raise ServiceError(
                Hub.ARGUMENT_INVALID, f"methodName is {name!r:.120}; it must have 1 to {MAX_METHOD_NAME} characters."
            )
        response_timeout = _whole_number(
            "responseTimeoutInSeconds",
            body.get("responseTimeoutInSeconds"),
            RESPONSE_TIMEOUTS,
            DEFAULT_RESPONSE_TIMEOUT,
        )
        connect_timeout = _whole_number(
            "connectTimeoutInSeconds", body.get("connectTimeoutInSeconds"), CONNECT_TIMEOUTS, 0
        )
        payload = _payload(body["payload"]) if "payload" in body else b""
        result = await self._devices.invoke_method(
            device_id, name, payload, response_timeout=response_timeout, connect_timeout=connect_timeout
        )
        return Response(200, {"status": result.status, "payload": result.payload})


def _refusal(name: str) -> Operation:
    def refuse(_: Call) -> Response:
        raise ServiceError(Hub.NOT_SUPPORTED, f"{name[0].upper()}{name[1:]}: not supported by this simulator.")

    return refuse


def _tagged(document: dict[str, Any]) -> Response:
    """The document, with its ETag in quotes as a header."""
    return Response(200, document, {"ETag": f'"{document["etag"]}"'})


def _body(call: Call) -> dict[str, Any]:
    if not isinstance(call.body, dict):
        raise ServiceError(Hub.ARGUMENT_INVALID, f"The body must be a JSON object, not {described(call.body)}.")
    return call.body


def _whole_number(name: str, given: object, limits: tuple[int, int | None], default: int) -> int:
    """A number from a body, a header or the query."""
    if given is None:
        return default
    low, high = limits
    number = -1
    if isinstance(given, int) and not isinstance(given, bool):
        number = given
    elif isinstance(given, str) and given.isascii() and given.isdigit():
        number = int(given[:9])
    if number < low or (high is not None and number > high):
        allowed = f"from {low} to {high}" if high is not None else f"of at least {low}"
        raise ServiceError(Hub.ARGUMENT_INVALID, f"{name} is {given!r:.60}; it must be a whole number {allowed}.")
    return number


def _payload(value: object) -> bytes:
    payload = ascii_json(value)
    if len(payload) > MAX_METHOD_PAYLOAD:
        raise ServiceError(
            Hub.ARGUMENT_INVALID,
            f"The payload has {len(payload)} bytes; at most {MAX_METHOD_PAYLOAD} are allowed for a method.",
        )
    return payload
