"""Direct methods on the back end's side: what a request may ask, and the call that follows.

Source: Microsoft documentation, iot-hub-devguide-direct-methods, and the published API description 2021-04-12.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dps_simulator.common.http import Response
from dps_simulator.errors.table import Hub, ServiceError, ascii_json, described
from dps_simulator.hub.hub import IotHub
from dps_simulator.wire.http import Call, Route

from .access import SERVICE_CONNECT
from .device import HubDeviceEndpoint
from .device_methods import MAX_METHOD_PAYLOAD

MAX_METHOD_NAME = 100
DEFAULT_RESPONSE_TIMEOUT = 30
#: Seconds that a method may wait for its answer, and for the device to connect.
RESPONSE_TIMEOUTS, CONNECT_TIMEOUTS = (5, 300), (0, 300)


class DirectMethods:
    """Calls methods of devices and modules.

    Arguments:
        hub: knows who is registered.
        devices: reaches who is connected.
    """

    def __init__(self, hub: IotHub, devices: HubDeviceEndpoint) -> None:
        self._hub = hub
        self._devices = devices

    def routes(self) -> tuple[Route, ...]:
        """Rows for the table of an endpoint."""
        device, module = "/twins/{id}/methods", "/twins/{id}/modules/{module}/methods"
        return (
            Route("POST", device, "method", self._invoke, SERVICE_CONNECT, takes_body=True),
            Route("POST", module, "method of module", self._invoke, SERVICE_CONNECT, takes_body=True),
        )

    async def _invoke(self, call: Call) -> Response:
        device_id, module_id = call.parameters["id"], call.parameters.get("module")
        name = device_id if module_id is None else f"{device_id}/{module_id}"
        self._hub.twin(name)  # raises when there is none
        if not isinstance(call.body, Mapping):
            raise ServiceError(Hub.ARGUMENT_INVALID, f"The body must be a JSON object, not {described(call.body)}.")
        body = call.body
        result = await self._devices.invoke_method(
            name,
            _method_name(body.get("methodName")),
            _payload(body["payload"]) if "payload" in body else b"",
            response_timeout=_seconds(body, "responseTimeoutInSeconds", RESPONSE_TIMEOUTS, DEFAULT_RESPONSE_TIMEOUT),
            connect_timeout=_seconds(body, "connectTimeoutInSeconds", CONNECT_TIMEOUTS, 0),
        )
        return Response(200, {"status": result.status, "payload": result.payload})


def _method_name(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_METHOD_NAME:
        raise ServiceError(
            Hub.ARGUMENT_INVALID, f"methodName is {name!r:.120}; it must have 1 to {MAX_METHOD_NAME} characters."
        )
    return name


def _seconds(body: Mapping[str, Any], name: str, limits: tuple[int, int], default: int) -> int:
    given = body.get(name)
    if given is None:
        return default
    low, high = limits
    number = -1
    if isinstance(given, int) and not isinstance(given, bool):
        number = given
    elif isinstance(given, str) and given.isascii() and given.isdigit():
        number = int(given[:9])
    if not low <= number <= high:
        raise ServiceError(
            Hub.ARGUMENT_INVALID, f"{name} is {given!r:.60}; it must be a whole number from {low} to {high}."
        )
    return number


def _payload(value: object) -> bytes:
    payload = ascii_json(value)
    if len(payload) > MAX_METHOD_PAYLOAD:
        raise ServiceError(
            Hub.ARGUMENT_INVALID,
            f"The payload has {len(payload)} bytes; at most {MAX_METHOD_PAYLOAD} are allowed for a method.",
        )
    return payload
