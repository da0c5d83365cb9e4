"""The side of an IoT hub that devices and modules talk to over HTTPS: telemetry, and messages from the cloud.

Every request stands for itself: it brings its token, which must still be valid, or comes over a connection with a
certificate. Nobody is connected by it, so there are neither twins nor direct methods.

Source: Microsoft documentation, rest/api/iothub/device (operations, statuses), iot-hub-devguide-messages-c2d, and what
the SDKs for Node.js, C and C# send and read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from dps_simulator.common.clock import Clock
from dps_simulator.common.http import Request, Response
from dps_simulator.common.trace import Trace
from dps_simulator.errors.table import ServiceError, hub_body
from dps_simulator.hub.checks import check_id
from dps_simulator.hub.devices import Identity
from dps_simulator.hub.faults import asked_fault
from dps_simulator.hub.hub import IotHub
from dps_simulator.hub.message_locks import LOCK_TIMEOUT
from dps_simulator.hub.modules import module_address
from dps_simulator.wire.http import Call, HttpEndpoint, Operation, Route, Transaction
from dps_simulator.wire.presented import presented_certificates

from .access import HubAccess, sender_facts
from .device import TRACED, HubDeviceEndpoint
from .failures import HUB_FAILURES, not_supported
from .https_messages import APPLICATION, Incoming, device_bound_headers, messages_in
from .limits import admit_telemetry

#: Every version since the first one of the service. Source: the SDK for C, which still says 2016-11-14.
API_VERSIONS = re.compile(r"20(?:1[6-9]|[2-9]\d)-\d\d-\d\d(?:-preview)?")

#: Routes of the real service that this simulator does not have: methods, path and name.
UNSUPPORTED = (
    ("POST", "/devices/{id}/files", "file upload"),
    ("POST", "/devices/{id}/files/notifications", "file upload"),
    ("POST", "/devices/{id}/files/notifications/{correlation}", "file upload"),
    # in no list that is published, but devices and their modules have much the same paths otherwise
    ("GET", "/devices/{id}/modules/{module}/messages/deviceBound", "messages to modules over HTTPS"),
)

_PATHS = re.compile(r"/devices/[^/]+(?:/modules/[^/]+)?/(?:messages|files)(?:/.*)?", re.IGNORECASE)

_Handler = Callable[[Call, str, Identity], Response]


def is_device_request(request: Request) -> bool:
    """Whether a request to the host name of a hub comes from a device; back ends use the same name."""
    return _PATHS.fullmatch(request.path) is not None


class HubHttpsEndpoint(HttpEndpoint):
    """Answers devices, and their modules, that use one hub over HTTPS.

    Arguments:
        hub: what keeps the devices and their messages.
        devices: where they connect by other protocols; it judges whoever asks, and begins the faults that they ask for.
        clock: gives messages and error answers their time.
        trace: where every message is recorded, with at most 4,000 bytes of each.
        transaction: a context manager factory around every operation.
    """

    def __init__(
        self, *, hub: IotHub, devices: HubDeviceEndpoint, clock: Clock, trace: Trace, transaction: Transaction
    ) -> None:
        self._hub = hub
        self._devices = devices
        self._time = clock
        self._access: HubAccess = devices.access
        device = "/devices/{id}"
        bound, events = f"{device}/messages/deviceBound", "messages/events"
        settled = f"{bound}/{{lock}}"
        super().__init__(
            service="hub",
            routes=[
                Route("POST", f"{device}/{events}", "telemetry", self._admitted(self._telemetry)),
                Route("POST", f"{device}/modules/{{module}}/{events}", "telemetry", self._admitted(self._telemetry)),
                Route("GET", bound, "receive message", self._admitted(self._receive)),
                Route("DELETE", settled, "complete or reject message", self._admitted(self._complete)),
                Route("POST", f"{settled}/abandon", "abandon message", self._admitted(self._abandon)),
                *(
                    Route(methods, template, f"{name} (not supported)", not_supported(name))
                    for methods, template, name in UNSUPPORTED
                ),
            ],
            failures=HUB_FAILURES,
            render_error=hub_body,
            clock=clock,
            trace=trace,
            transaction=transaction,
            api_version=API_VERSIONS,
            describe=_described,
        )

    def _admitted(self, handle: _Handler) -> Operation:
        """The operation for those who prove who they are, and whom no fault keeps out."""

        def run(call: Call) -> Response:
            address = _address(call)
            identity = self._access.check_request(call.request, address, self._hub.identity(address))
            fault = self._hub.connections.fault(address)
            if fault is not None and fault.is_cut:
                return Response(cut=True, facts={"reason": fault.error.reason})
            if fault is not None and not fault.is_of_mqtt:
                raise fault.error
            if self._hub.throttle.active:
                self._hub.throttle.check_faults(self._hub.host)  # also for what has no limit
            self._hub.connections.seen(address)
            return handle(call, address, identity)

        return run

    def _telemetry(self, call: Call, address: str, identity: Identity) -> Response:
        messages = messages_in(call.request)
        admit_telemetry(self._hub.throttle, self._hub.host, *(len(message.body) for message in messages))
        sender = sender_facts(identity, call.header("authorization"))
        for message in messages:
            self._hub.telemetry.append(
                identity.device_id,
                message.body,
                enqueued=self._time.now(),
                system=message.system,
                properties=message.properties,
                module_id=call.parameters.get("module", ""),
                connection=sender,
            )
        return Response(204, facts=self._fault_asked_for(address, messages))

    def _fault_asked_for(self, address: str, messages: list[Incoming]) -> Mapping[str, Any]:
        """Let the fault begin that a message asks for; what cannot be done is no mistake of the message."""
        for message in messages:
            try:
                fault = asked_fault(message.properties)
            except ServiceError as error:
                return {"reason": error.message}
            if fault is not None:
                self._devices.prepare_fault(address, fault)
        return {}

    def _receive(self, call: Call, address: str, identity: Identity) -> Response:
        self._hub.throttle.take("cloud_to_device_receives_per_minute", self._hub.host)
        taken = self._hub.cloud_to_device.take(address, most=1, lock_lasts=LOCK_TIMEOUT)
        if not taken:
            return Response(204)
        message, headers = taken[0].message, device_bound_headers(address, taken[0])
        facts = {
            "messageId": message.message_id,
            "deliveryCount": taken[0].deliveries,
            "properties": dict(message.properties),
            "body": message.body[:TRACED],
        }
        return Response(200, headers=headers, content=message.body, facts=facts)

    def _complete(self, call: Call, address: str, identity: Identity) -> Response:
        token = _lock_token(call)
        if "reject" in call.request.query:
            self._hub.cloud_to_device.reject(address, token)
            return Response(204, facts={"reason": "the device rejected the message: it is gone, a dead letter"})
        self._hub.cloud_to_device.complete(address, token)
        return Response(204)

    def _abandon(self, call: Call, address: str, identity: Identity) -> Response:
        if self._hub.cloud_to_device.abandon(address, _lock_token(call)):
            return Response(204)
        return Response(204, facts={"reason": "the message was delivered too often: it is gone, a dead letter"})


def _address(call: Call) -> str:
    """The device or module in the path."""
    device_id, module_id = check_id(call.parameters["id"]), call.parameters.get("module")
    return device_id if module_id is None else module_address(device_id, check_id(module_id, "module"))


def _lock_token(call: Call) -> str:
    """The token in the path, also in the quotes of an ETag. ``If-Match`` repeats it, and means nothing (inferred)."""
    return call.parameters["lock"].strip('"')


def _described(request: Request) -> dict[str, Any]:
    """What the trace keeps of a request: its beginning, its properties, and certificates where no token counts more."""
    properties = {
        request.spelt.get(name, name)[len(APPLICATION) :]: value
        for name, value in request.headers.items()
        if name.startswith(APPLICATION)
    }
    shows_certificates = request.peer.certificates and not request.headers.get("authorization")
    return {
        **({"body": request.body[:TRACED]} if request.body else {}),
        **({"properties": properties} if properties else {}),
        **({"certificates": presented_certificates(request.peer.certificates)} if shows_certificates else {}),
    }
