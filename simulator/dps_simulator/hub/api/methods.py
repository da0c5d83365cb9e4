"""Direct methods on the back end's side: what a request may ask, and the call that follows.

Source: Microsoft documentation, iot-hub-devguide-direct-methods, and the published API description 2021-04-12.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dps_simulator.common.http import Response
from dps_simulator.errors.table import ascii_json
from dps_simulator.hub.checks import invalid, json_object

from .device import HubDeviceEndpoint
from .device_methods import MAX_METHOD_PAYLOAD

MAX_METHOD_NAME = 100
DEFAULT_RESPONSE_TIMEOUT = 30
#: Seconds that a method may wait for its answer, and for the device to connect.
RESPONSE_TIMEOUTS, CONNECT_TIMEOUTS = (5, 300), (0, 300)


async def call_method(devices: HubDeviceEndpoint, name: str, asked: object) -> Response:
    """Call a method of a device or module, and wait for its answer.

    Arguments:
        devices: reaches who is connected.
        name: the device, or ``{device ID}/{module ID}``.
        asked: the body of the request.

    Raises:
        ServiceError: a field is wrong, or there is no answer.
    """
    body = json_object("The body", asked)
    result = await devices.invoke_method(
        name,
        _method_name(body.get("methodName")),
        _payload(body["payload"]) if "payload" in body else b"",
        response_timeout=_seconds(body, "responseTimeoutInSeconds", RESPONSE_TIMEOUTS, DEFAULT_RESPONSE_TIMEOUT),
        connect_timeout=_seconds(body, "connectTimeoutInSeconds", CONNECT_TIMEOUTS, 0),
    )
    return Response(200, {"status": result.status, "payload": result.payload})


def _method_name(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_METHOD_NAME:
        raise invalid(f"methodName is {name!r:.120}; it must have 1 to {MAX_METHOD_NAME} characters.")
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
        raise invalid(f"{name} is {given!r:.60}; it must be a whole number from {low} to {high}.")
    return number


def _payload(value: object) -> bytes:
    payload = ascii_json(value)
    if len(payload) > MAX_METHOD_PAYLOAD:
        raise invalid(f"The payload has {len(payload)} bytes; at most {MAX_METHOD_PAYLOAD} are allowed for a method.")
    return payload
