"""A device or module on an AMQP connection: telemetry, messages from the cloud, twin and direct methods.

Addresses, annotations and properties: what the official SDKs for Node, C and Java send and expect.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from dps_simulator.common.ports import StorageError
from dps_simulator.errors.table import Hub, ServiceError, ascii_json, dps_body
from dps_simulator.hub.api.device import TRACED
from dps_simulator.hub.api.device_methods import MethodCalls, MethodResult, device_json, method_payload
from dps_simulator.hub.api.limits import TWIN_LIMITS, admit_telemetry
from dps_simulator.hub.cloud_to_device import QueuedMessage
from dps_simulator.hub.faults import asked_fault
from dps_simulator.hub.message_locks import LOCK_TIMEOUT
from dps_simulator.hub.telemetry import MAX_MESSAGE_SIZE
from dps_simulator.protocols.amqp.errors import AmqpProtocolError
from dps_simulator.protocols.amqp.links import Delivery, Link, Sent
from dps_simulator.protocols.amqp.messages import Message, Properties
from dps_simulator.protocols.amqp.performatives import Accepted, Outcome, Rejected
from dps_simulator.protocols.amqp.types import Int
from dps_simulator.wire.not_kept import not_kept

from .ends import OneWay, read, refuse
from .message_form import (
    application_properties_of,
    body_of,
    messages_in,
    system_properties_of,
    text_of,
    to_device,
)

if TYPE_CHECKING:
    from .connection import HubConnection

_LOGGER = logging.getLogger(__name__)

#: Application properties of a method and of its answer.
METHOD_NAME, METHOD_STATUS = "IoThub-methodname", "IoThub-status"
#: In the properties of a link: which link in the other direction belongs to it.
CORRELATION = "com.microsoft:channel-correlation-id"
#: Resources of twin requests.
_REPORTED, _NOTIFICATIONS = "/properties/reported", "/notifications/twin/properties/desired"
#: Answers to twin requests that may wait for a client that takes none, and messages from telemetry in one delivery.
MAX_WAITING = 50


class DeviceOverAmqp:
    """All links of one device, or module, on one connection.

    Implements :class:`~dps_simulator.hub.connections.DeviceConnection` and
    :class:`~dps_simulator.hub.api.device_methods.MethodTaker`.

    Arguments:
        connection: the connection.
        name: device ID, or ``{device ID}/{module ID}``.
        sender: what the hub adds to messages about who sent them.
    """

    def __init__(self, connection: HubConnection, name: str, sender: Mapping[str, str]) -> None:
        self.connection = connection
        self.endpoint = connection.endpoint
        self.hub = connection.endpoint.hub
        self.name = name
        self.device_id, _, self.module_id = name.partition("/")
        self.sender = sender
        self.links: list[Link] = []
        self.methods = MethodCalls()
        self.method_requests: MethodRequests | None = None
        self.calls: dict[UUID, str] = {}
        self.twin_answers: list[TwinAnswers] = []
        self.messages: list[MessagesToDevice] = []
        self.is_open = True

    # ---- what the hub asks

    def drop(self, error: ServiceError) -> None:
        """End the device's links, and the connection when it is nobody else's; the error says why."""
        if self.is_open:
            detail = {"code": error.kind.code, "error": error.kind.name, "reason": error.reason or error.message}
            self.record("out", "disconnect", status=error.kind.status, detail=detail)
            self.connection.drop(self, error)

    def desired_changed(self, patch: Mapping[str, Any]) -> None:
        """Tell the device its new desired properties, if it wants to hear of them."""
        for answers in self.twin_answers:
            if answers.is_notified:
                answers.send(Message(annotations={"version": patch["$version"]}, data=ascii_json(patch)))
                self.record("out", "twin desired", detail={"body": patch})

    def message_waiting(self) -> None:
        """Send what waits for the device, as far as it takes messages."""
        for end in self.messages:
            end.credited()

    @property
    def takes_methods(self) -> bool:
        """Whether direct methods can be called."""
        return self.is_open and self.method_requests is not None and self.method_requests.link.asked_for > 0

    async def invoke(self, name: str, payload: bytes, timeout: float) -> MethodResult:
        """Call a direct method.

        Arguments:
            name: of the method.
            payload: JSON, as it goes over the wire.
            timeout: seconds to wait for the answer.
        """
        requests = self.method_requests
        if requests is None:
            raise ServiceError(Hub.DEVICE_NOT_ONLINE)
        request, correlation = self.methods.begin(), uuid4()
        self.calls[correlation] = request
        try:
            message = Message(
                properties=Properties(correlation_id=correlation),
                application_properties={METHOD_NAME: name},
                data=payload,
            )
            requests.link.send(message.encoded())
            detail = {"method": name, "request": str(correlation), "body": payload[:TRACED]}
            self.record("out", "method", detail=detail)
            return await self.methods.answer(request, timeout)
        finally:
            del self.calls[correlation]

    def closed(self) -> None:
        """The last link of the device is gone."""
        if self.is_open:
            self.is_open = False
            self.hub.connections.closed(self.name, self)
            self.methods.abandon()

    def heard(self) -> None:
        """The device has sent something."""
        self.hub.connections.heard(self.name)

    def record(
        self, direction: str, operation: str, *, status: int | None = None, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Keep something in the trace."""
        self.connection.record(direction, operation, device=self.name, status=status, detail=detail)


class Telemetry(OneWay):
    """The end to which a device sends telemetry."""

    def __init__(self, link: Link, device: DeviceOverAmqp) -> None:
        super().__init__(link)
        self._device = device

    def received(self, delivery: Delivery) -> None:
        """Keep a message, or several; they are accepted together, or none is."""
        device = self._device
        device.heard()
        try:
            messages = list(messages_in(delivery.body, delivery.message_format))
            if len(delivery.body) > MAX_MESSAGE_SIZE:
                raise ServiceError(
                    Hub.MESSAGE_TOO_LARGE,
                    f"The message has {len(delivery.body)} bytes; at most {MAX_MESSAGE_SIZE} are allowed.",
                )
            bodies = [body_of(message) for message in messages]
            admit_telemetry(device.hub.throttle, device.hub.host, *map(len, bodies))
        except AmqpProtocolError as error:
            self._refuse(delivery, ServiceError(Hub.FORMAT_ERROR, f"The message cannot be read: {error}."))
            return
        except ServiceError as error:
            self._refuse(delivery, error)
            return
        asked = [self._keep(message, body) for message, body in zip(messages, bodies, strict=True)]
        delivery.accept()
        for properties in asked:
            self._ask_for_fault(properties)

    def _keep(self, message: Message, body: bytes) -> Mapping[str, str | None]:
        device = self._device
        properties = application_properties_of(message)
        device.record("in", "telemetry", detail={"properties": properties, "body": body[:TRACED]})
        device.hub.telemetry.append(
            device.device_id,
            body,
            enqueued=device.endpoint.clock.now(),
            system=system_properties_of(message),
            properties=properties,
            module_id=device.module_id,
            connection=device.sender,
        )
        return properties

    def _ask_for_fault(self, properties: Mapping[str, str | None]) -> None:
        device = self._device
        try:
            fault = asked_fault(properties)
        except ServiceError as error:
            device.record("out", "fault", status=error.kind.status, detail={"reason": error.message})
            return
        if fault is not None:
            device.endpoint.devices.prepare_fault(device.name, fault)

    def _refuse(self, delivery: Delivery, error: ServiceError) -> None:
        refuse(delivery, error)
        detail = {"reason": error.reason or error.message}
        self._device.record("out", "telemetry", status=error.kind.status, detail=detail)


class MessagesToDevice(OneWay):
    """The end from which a device gets messages from the cloud. It completes, abandons or rejects each of them."""

    def __init__(self, link: Link, device: DeviceOverAmqp) -> None:
        super().__init__(link)
        self._device = device
        self._held: set[str] = set()
        device.messages.append(self)

    def credited(self) -> None:
        """Send what waits, as far as the device takes it."""
        device, room = self._device, self.link.sendable
        if room <= 0 or not device.is_open:
            return
        try:
            taken = device.hub.cloud_to_device.take(device.name, most=room, lock_lasts=LOCK_TIMEOUT)
        except StorageError as error:
            detail = {"reason": str(error)}
            device.record("out", "cloud-to-device message", status=Hub.INTERNAL.status, detail=detail)
            return
        for queued in taken:
            self._send(queued)
        if taken:
            # what the device does not settle is delivered again when its lock is over
            moment = (device.endpoint.clock.now() + LOCK_TIMEOUT).timestamp()
            device.endpoint.devices.expiries.add(self, moment, self.credited)

    def _send(self, queued: QueuedMessage) -> None:
        device, message = self._device, queued.message
        detail = {
            "messageId": message.message_id,
            "deliveryCount": queued.deliveries,
            "properties": message.properties,
            "body": message.body[:TRACED],
        }
        device.record("out", "cloud-to-device message", detail=detail)
        key = (queued.lock_token, message.message_id)
        self._held.add(queued.lock_token)
        if self.link.send(to_device(device.name, queued).encoded(), key) is None:
            self._settle(*key, Accepted())  # nothing will come back, so it is done

    def settled(self, sent: Sent, outcome: Outcome) -> None:
        """The device says what it did with a message."""
        self._device.heard()
        token, message_id = sent.key
        if self._settle(token, message_id, outcome):
            sent.confirm()

    def _settle(self, token: str, message_id: str, outcome: Outcome) -> bool:
        """Do what the device says; tells whether it is kept."""
        device, queues = self._device, self._device.hub.cloud_to_device
        what = {Accepted: "complete", Rejected: "reject"}.get(type(outcome), "abandon")
        reason, is_kept = "", True
        try:
            {"complete": queues.complete, "reject": queues.reject, "abandon": queues.abandon}[what](device.name, token)
        except StorageError as error:
            reason, is_kept = f"it stays in the queue: {error}", False
        except ServiceError as error:
            reason = error.reason or error.message
        self._held.discard(token)
        detail = {"messageId": message_id, "outcome": what, **({"reason": reason} if reason else {})}
        device.record("in", "cloud-to-device acknowledgement", detail=detail)
        return is_kept

    def ended(self) -> None:
        """Whoever comes next gets what was not settled."""
        self._device.messages.remove(self)
        self._device.endpoint.devices.expiries.remove(self)
        self._device.hub.cloud_to_device.release(self._device.name, self._held)


class TwinAnswers(OneWay):
    """The end from which a device hears of its twin."""

    def __init__(self, link: Link, device: DeviceOverAmqp) -> None:
        super().__init__(link)
        self._device = device
        self._waiting: list[bytes] = []
        self.is_notified = False
        device.twin_answers.append(self)

    @property
    def correlation(self) -> object:
        """Which requests it is for."""
        return self.link.properties.get(CORRELATION)

    def send(self, message: Message) -> None:
        """Send an answer or a change; when too many wait, the oldest makes room, as the device asks again then."""
        self._waiting.append(message.encoded())
        del self._waiting[:-MAX_WAITING]
        self.credited()

    def credited(self) -> None:
        """The device takes answers."""
        while self._waiting and self.link.sendable > 0:
            self.link.send(self._waiting.pop(0))

    def ended(self) -> None:
        """Nobody listens any more."""
        self._device.twin_answers.remove(self)


class TwinRequests(OneWay):
    """The end to which a device sends requests about its twin."""

    def __init__(self, link: Link, device: DeviceOverAmqp) -> None:
        super().__init__(link)
        self._device = device

    def received(self, delivery: Delivery) -> None:
        """A request; it is accepted after what it changes was kept, and before it is answered."""
        device = self._device
        device.heard()
        message = read(delivery)
        if message is None:
            return
        annotations = message.annotations or {}
        operation = {"GET": "twin get", "PATCH": "twin reported"}.get(text_of(annotations.get("operation")), "twin")
        detail = {
            "operation": text_of(annotations.get("operation")),
            "resource": text_of(annotations.get("resource")),
            "body": (message.data or b"")[:TRACED],
        }
        device.record("in", operation, detail=detail)
        status, version, body, reason = self._answered(operation, annotations, message)
        delivery.accept()
        answer = Message(
            annotations={"status": Int(status), **({} if version is None else {"version": version})},
            properties=Properties(correlation_id=message.properties.correlation_id),
            data=body,
        )
        answers = self._answers()
        if answers is None:
            reason = "not sent: the device has not attached the link for answers"
        else:
            answers.send(answer)
        device.record(
            "out", operation, status=status, detail={"body": body[:TRACED], **({"reason": reason} if reason else {})}
        )

    def _answered(
        self, operation: str, annotations: Mapping[Any, Any], message: Message
    ) -> tuple[int, int | None, bytes, str]:
        """Run a request: status, version, body, and the reason of a refusal."""
        try:
            return (*self._run(operation, annotations, message), "")
        except ServiceError as error:
            refusal = error
        except StorageError as error:
            refusal = not_kept(Hub.INTERNAL, error)
        except Exception:
            _LOGGER.exception("%s failed", operation)
            refusal = ServiceError(Hub.INTERNAL)
        # the body of a refusal is not documented; this one has the fields of other Azure errors
        body = ascii_json(dps_body(refusal, self._device.endpoint.clock.now()))
        return refusal.kind.status, None, body, refusal.reason or refusal.message

    def _run(self, operation: str, annotations: Mapping[Any, Any], message: Message) -> tuple[int, int | None, bytes]:
        device = self._device
        verb, resource = (text_of(annotations.get(name)) for name in ("operation", "resource"))
        if operation in TWIN_LIMITS:
            device.hub.throttle.take(TWIN_LIMITS[operation], device.hub.host)
        if verb == "GET" and resource in ("", "/"):
            return 200, None, ascii_json(device.hub.device_twin(device.name))
        if verb == "PATCH" and resource == _REPORTED:
            version = device.hub.report(device.name, device_json(message.data or b"", "The reported properties"))
            return 204, version, b""
        if verb in ("PUT", "DELETE") and resource == _NOTIFICATIONS:
            answers = self._answers()
            if answers is not None:
                answers.is_notified = verb == "PUT"
            return 200, None, b""
        raise ServiceError(
            Hub.ARGUMENT_INVALID,
            f"The operation {verb!r:.40} of {resource!r:.100} does not exist; a twin has GET, PATCH of {_REPORTED}, "
            f"and PUT and DELETE of {_NOTIFICATIONS}.",
        )

    def _answers(self) -> TwinAnswers | None:
        """Where the answers go: to the link that the device has tied to this one, else to its newest."""
        own = self.link.properties.get(CORRELATION)
        answers = self._device.twin_answers
        return next((each for each in answers if each.correlation == own), answers[-1] if answers else None)


class MethodRequests(OneWay):
    """The end from which a device hears that a direct method is called."""

    def __init__(self, link: Link, device: DeviceOverAmqp) -> None:
        super().__init__(link)
        self._device = device
        device.method_requests = self

    def credited(self) -> None:
        """The device takes calls: whoever waits for it is told."""
        if self._device.takes_methods:
            self._device.endpoint.devices.arrivals.arrived(self._device.name)

    def ended(self) -> None:
        """No more calls."""
        if self._device.method_requests is self:
            self._device.method_requests = None


class MethodAnswers(OneWay):
    """The end to which a device sends what a method gave."""

    def __init__(self, link: Link, device: DeviceOverAmqp) -> None:
        super().__init__(link)
        self._device = device

    def received(self, delivery: Delivery) -> None:
        """An answer, for the call with the same correlation ID."""
        device = self._device
        device.heard()
        message = read(delivery)
        if message is None:
            return
        delivery.accept()
        body, status = message.data or b"", message.application_properties.get(METHOD_STATUS)
        correlation = _uuid(message.properties.correlation_id)
        detail = {"status": text_of(status), "request": str(correlation or ""), "body": body[:TRACED]}
        device.record("in", "method", detail=detail)
        request = None if correlation is None else device.calls.get(correlation)
        if request is None or not device.methods.is_open(request):
            device.record("out", "method", detail={"reason": "nobody waits for this answer (any more)"})
            return
        try:
            if not isinstance(status, int) or isinstance(status, bool):
                raise ServiceError(Hub.ARGUMENT_INVALID, f"The device's answer has no whole number as {METHOD_STATUS}.")
            outcome: MethodResult | ServiceError = MethodResult(int(status), method_payload(body))
        except ServiceError as error:
            outcome = error
        device.methods.settle(request, outcome)


def _uuid(value: object) -> UUID | None:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value) if isinstance(value, str) else UUID(bytes=value) if isinstance(value, bytes) else None
    except ValueError:
        return None
