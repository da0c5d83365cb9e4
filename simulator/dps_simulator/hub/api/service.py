"""The side of an IoT hub that back ends talk to: devices, modules, twins, queries, methods and statistics over REST.

Paths, bodies and headers: the published API description 2021-04-12, and what the Python and Node service SDKs send.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import Any

from dps_simulator.common.clock import Clock
from dps_simulator.common.http import Response
from dps_simulator.common.trace import Trace
from dps_simulator.errors.table import hub_body
from dps_simulator.hub.checks import check_id, invalid, json_object
from dps_simulator.hub.feedback import CONTENT_TYPE
from dps_simulator.hub.hub import MAX_PAGE, IotHub, QueryPage, Steps
from dps_simulator.hub.modules import module_address
from dps_simulator.hub.registry_bulk import apply_operations
from dps_simulator.hub.registry_keys import regenerate_keys
from dps_simulator.wire.http import Call, HttpEndpoint, Route, Transaction

from .access import REGISTRY_READ, REGISTRY_WRITE, SERVICE_CONNECT, HubAccess
from .device import HubDeviceEndpoint
from .failures import HUB_FAILURES, not_supported
from .limits import admit_request
from .methods import call_method

#: Every version since 2018-06-30, and the one that iot-identity-service speaks.
API_VERSIONS = re.compile(
    r"(?:2018-(?:06-30|(?:0[7-9]|1[0-2])-\d\d)|2019-\d\d-\d\d|20[2-9]\d-\d\d-\d\d)(?:-preview)?|2017-11-08-preview"
)

#: Routes of the real service that this simulator does not have: methods, path and name.
UNSUPPORTED = (
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
    ("GET", "/messages/serviceBound/filenotifications", "notifications of file uploads"),
    ("DELETE", "/messages/serviceBound/filenotifications/{lock}", "notifications of file uploads"),
    ("POST", "/messages/serviceBound/filenotifications/{lock}/abandon", "notifications of file uploads"),
    ("POST", "/twins/{id}/streams/{stream}", "device streams"),
    ("POST", "/twins/{id}/modules/{module}/streams/{stream}", "device streams"),
)


class HubServiceEndpoint(HttpEndpoint):
    """Serves the service API of one hub.

    Operations that change something are coroutines: those run outside the pipeline's transaction. A device hears of a
    change once it is committed, and the answer shall show the connection as it is after that. So are queries and
    lists, which let others have their turn.

    Arguments:
        hub: the hub.
        devices: reaches the connected devices for direct methods.
        clock: gives the present time (aware, in UTC).
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
        self._one_query_at_a_time = asyncio.Lock()
        self._devices = devices
        access = HubAccess(host=hub.host, policy_name=policy_name, policy_key=policy_key, clock=clock)
        super().__init__(
            service="registry",
            routes=self._table(),
            failures=HUB_FAILURES,
            render_error=hub_body,
            clock=clock,
            trace=trace,
            transaction=transaction,
            authenticate=lambda request, right: access.check_registry(request, right, hub.identity),
            api_version=API_VERSIONS,
            admit=partial(admit_request, hub.throttle, hub.host),
        )

    def _table(self) -> list[Route]:
        device, twin, keys = "/devices/{id}", "/twins/{id}", "/devices/keys/regenerate"
        feedback = "/messages/serviceBound/feedback"
        module, module_twin = f"{device}/modules/{{module}}", f"{twin}/modules/{{module}}"
        of_module = f"{module_twin}/methods"
        return [
            Route("POST", "/devices/query", "query", self._query, SERVICE_CONNECT, takes_body=True),
            Route("GET", "/devices", "list devices", self._list_devices, REGISTRY_READ),
            Route("POST", "/devices", "bulk operations", self._apply_operations, REGISTRY_WRITE, takes_body=True),
            Route("POST", keys, "regenerate keys", self._regenerate_keys, REGISTRY_WRITE, takes_body=True),
            Route("PUT", device, "create or update device", self._put_device, REGISTRY_WRITE, takes_body=True),
            Route("GET", device, "get device", self._get_device, REGISTRY_READ),
            Route("DELETE", device, "delete device", self._delete_device, REGISTRY_WRITE),
            Route("GET", f"{device}/modules", "list modules", self._list_modules, REGISTRY_READ),
            Route("PUT", module, "create or update module", self._put_module, REGISTRY_WRITE, takes_body=True),
            Route("GET", module, "get module", self._get_device, REGISTRY_READ),
            Route("DELETE", module, "delete module", self._delete_device, REGISTRY_WRITE),
            Route("GET", module_twin, "get module twin", self._get_twin, SERVICE_CONNECT),
            Route("PATCH", module_twin, "update module twin", self._patch_twin, SERVICE_CONNECT, takes_body=True),
            Route("PUT", module_twin, "replace module twin", self._replace_twin, SERVICE_CONNECT, takes_body=True),
            Route("GET", twin, "get twin", self._get_twin, SERVICE_CONNECT),
            Route("PATCH", twin, "update twin", self._patch_twin, SERVICE_CONNECT, takes_body=True),
            Route("PUT", twin, "replace twin", self._replace_twin, SERVICE_CONNECT, takes_body=True),
            Route("POST", f"{twin}/methods", "method", self._call_method, SERVICE_CONNECT, takes_body=True),
            Route("POST", of_module, "method of module", self._call_method, SERVICE_CONNECT, takes_body=True),
            Route("DELETE", f"{device}/commands", "purge cloud-to-device messages", self._purge, SERVICE_CONNECT),
            Route("GET", feedback, "receive feedback", self._receive_feedback, SERVICE_CONNECT),
            Route("DELETE", f"{feedback}/{{lock}}", "complete feedback", self._complete_feedback, SERVICE_CONNECT),
            Route("POST", f"{feedback}/{{lock}}/abandon", "abandon feedback", self._abandon_feedback, SERVICE_CONNECT),
            Route("GET", "/statistics/devices", "device statistics", self._device_statistics, REGISTRY_READ),
            Route("GET", "/statistics/service", "service statistics", self._service_statistics, SERVICE_CONNECT),
            *(
                Route(method, template, f"{name} (not supported)", not_supported(name), SERVICE_CONNECT)
                for methods, template, name in UNSUPPORTED
                for method in methods.split()
            ),
        ]

    # ---- devices and modules

    async def _put_device(self, call: Call) -> Response:
        return _tagged(self._hub.put_device(_address(call), call.body, call.header("if-match")))

    def _get_device(self, call: Call) -> Response:
        return _tagged(self._hub.device(_address(call)))

    async def _list_devices(self, call: Call) -> Response:
        top = _page_size("top", call.request.query.get("top"))
        devices: list[dict[str, Any]] = []
        for device in self._hub.listed(top):
            if device is None:
                await asyncio.sleep(0)
            else:
                devices.append(device)
        return Response(200, devices)

    async def _delete_device(self, call: Call) -> Response:
        self._hub.delete_device(_address(call), call.header("if-match"))
        return Response(204)

    async def _apply_operations(self, call: Call) -> Response:
        result = apply_operations(self._hub, call.body)
        return Response(200 if result["isSuccessful"] else 400, result)

    async def _regenerate_keys(self, call: Call) -> Response:
        return Response(200, regenerate_keys(self._hub, call.body))

    async def _put_module(self, call: Call) -> Response:
        is_new = not self._hub.has_device(_address(call))
        response = await self._put_device(call)
        response.status = 201 if is_new else 200
        return response

    def _list_modules(self, call: Call) -> Response:
        return Response(200, self._hub.modules(call.parameters["id"]))

    async def _purge(self, call: Call) -> Response:
        device_id = call.parameters["id"]
        total = self._hub.cloud_to_device.purge(device_id)
        return Response(200, {"totalMessagesPurged": total, "deviceId": device_id, "moduleId": None})

    async def _receive_feedback(self, _: Call) -> Response:
        self._hub.cloud_to_device.expire()
        batch = self._hub.feedback.take()
        if batch is None:
            return Response(204)
        # where the lock token stands is inferred from what devices get over HTTPS
        return Response(200, list(batch.records), {"ETag": f'"{batch.lock_token}"', "Content-Type": CONTENT_TYPE})

    async def _complete_feedback(self, call: Call) -> Response:
        self._hub.feedback.complete(call.parameters["lock"])
        return Response(204)

    async def _abandon_feedback(self, call: Call) -> Response:
        self._hub.feedback.abandon(call.parameters["lock"])
        return Response(204)

    # ---- statistics

    def _device_statistics(self, _: Call) -> Response:
        return Response(200, self._hub.statistics())

    def _service_statistics(self, _: Call) -> Response:
        return Response(200, {"connectedDeviceCount": self._hub.connections.devices})

    # ---- twins and methods

    async def _call_method(self, call: Call) -> Response:
        address = _address(call)
        self._hub.twin(address)  # raises when there is none
        return await call_method(self._devices, address, call.body)

    def _get_twin(self, call: Call) -> Response:
        return _tagged(self._hub.twin(_address(call)))

    async def _patch_twin(self, call: Call) -> Response:
        return _tagged(self._hub.patch_twin(_address(call), call.body, call.header("if-match")))

    async def _replace_twin(self, call: Call) -> Response:
        return _tagged(self._hub.replace_twin(_address(call), call.body, call.header("if-match")))

    async def _query(self, call: Call) -> Response:
        body = json_object("The body", call.body)
        size = _page_size("x-ms-max-item-count", call.header("x-ms-max-item-count"))
        # an empty header means the same as none
        continuation = call.header("x-ms-continuation") or None
        page = await self._finished(self._hub.query(body.get("query"), page_size=size, continuation=continuation))
        headers = {"x-ms-item-type": page.item_type}
        if page.continuation is not None:
            headers["x-ms-continuation"] = page.continuation
        return Response(200, page.items, headers)

    async def _finished(self, steps: Steps) -> QueryPage:
        """Do the work step by step; everybody else has a turn after each, however many queries there are."""
        while True:
            async with self._one_query_at_a_time:
                try:
                    next(steps)
                except StopIteration as done:
                    page: QueryPage = done.value
                    return page
                await asyncio.sleep(0)


def _address(call: Call) -> str:
    """The device or module in the path."""
    device_id, module_id = check_id(call.parameters["id"]), call.parameters.get("module")
    return device_id if module_id is None else module_address(device_id, check_id(module_id, "module"))


def _tagged(document: dict[str, Any]) -> Response:
    """The document, with its ETag in quotes as a header."""
    return Response(200, document, {"ETag": f'"{document["etag"]}"'})


def _page_size(name: str, given: str | None) -> int:
    """How many a header or the query asks for."""
    if given is None:
        return MAX_PAGE
    if not (given.isascii() and given.isdigit() and int(given[:9]) > 0):
        raise invalid(f"{name} is {given!r:.60}; it must be a whole number of at least 1.")
    return min(int(given[:9]), MAX_PAGE)
