"""What services send to devices, and hear of what became of it, over AMQP.

Addresses and properties: what the SDKs for Python, Node and C# send and expect; Microsoft documentation,
iot-hub-devguide-messages-c2d.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from urllib.parse import unquote

from dps_simulator.common.ports import StorageError
from dps_simulator.errors.table import Hub, ServiceError, ascii_json
from dps_simulator.hub.api.device import TRACED
from dps_simulator.hub.checks import invalid, wrong_value
from dps_simulator.hub.cloud_to_device import CloudToDeviceMessage
from dps_simulator.hub.feedback import CONTENT_TYPE, FeedbackBatch
from dps_simulator.hub.hub import IotHub
from dps_simulator.protocols.amqp.errors import AmqpProtocolError
from dps_simulator.protocols.amqp.links import Delivery, Link, Sent
from dps_simulator.protocols.amqp.messages import Header, Message, Properties, decode_message
from dps_simulator.protocols.amqp.performatives import RECEIVER, SENDER, Accepted, Outcome, Rejected
from dps_simulator.protocols.amqp.types import Timestamp
from dps_simulator.wire.not_kept import not_kept

from .connection import HubConnection, ServiceRow
from .ends import LinkEnd, OneWay, refuse
from .message_form import application_properties_of, body_of, milliseconds, moment_of, text_of

_TO_DEVICE = re.compile(r"/?devices/([^/]+)/messages/devicebound", re.IGNORECASE)
_TO_MODULE = re.compile(r"/?devices/[^/]+/modules/.+", re.IGNORECASE)
#: The application property by which a sender asks to be told.
ACK = "iothub-ack"
#: How often feedback is looked for while somebody waits for it, if nothing else gives cause.
LOOK_AGAIN = timedelta(seconds=15)


def service_rows() -> tuple[ServiceRow, ...]:
    """What services can attach."""
    return (
        ServiceRow(re.compile("messages/devicebound", re.IGNORECASE), RECEIVER, _accepted(MessagesFromService)),
        ServiceRow(re.compile("messages/servicebound/feedback", re.IGNORECASE), SENDER, _accepted(FeedbackToService)),
        *(
            ServiceRow(re.compile(path, re.IGNORECASE), SENDER, partial(_not_supported, what))
            for path, what in (
                ("messages/servicebound/filenotifications", "Notifications of file uploads are"),
                ("jobs(?:/.*)?", "Jobs are"),
                ("configurations(?:/.*)?", "Configurations are"),
            )
        ),
    )


def _accepted(
    kind: type[MessagesFromService] | type[FeedbackToService],
) -> Callable[[Link, HubConnection, re.Match[str]], LinkEnd]:
    def make(link: Link, connection: HubConnection, _: re.Match[str]) -> LinkEnd:
        end = kind(link, connection)
        link.accept(properties=link.properties)
        return end

    return make


def _not_supported(what: str, *_: object) -> LinkEnd:
    raise ServiceError(Hub.NOT_SUPPORTED, f"{what} not supported by this simulator.")


class MessagesFromService(OneWay):
    """The end to which a service sends messages for devices. Each is accepted when it is kept."""

    def __init__(self, link: Link, connection: HubConnection) -> None:
        super().__init__(link)
        self._connection = connection

    def received(self, delivery: Delivery) -> None:
        """A message for some device."""
        hub, device_id = self._connection.endpoint.hub, ""
        try:
            message = decode_message(delivery.body)
            device_id = _addressee(hub, message)
            queued = hub.cloud_to_device.send(device_id, _to_queue(message))
        except AmqpProtocolError as error:
            refusal = ServiceError(Hub.FORMAT_ERROR, f"The message cannot be read: {error}.")
        except StorageError as error:
            refusal = not_kept(Hub.INTERNAL, error)
        except ServiceError as error:
            refusal = error
        else:
            delivery.accept()
            sent = queued.message
            detail = {"messageId": sent.message_id, "properties": sent.properties, "body": sent.body[:TRACED]}
            self._connection.record("in", "send message", device=device_id, status=200, detail=detail)
            return
        refuse(delivery, refusal)
        detail = {"reason": refusal.reason or refusal.message}
        self._connection.record("out", "send message", device=device_id, status=refusal.kind.status, detail=detail)


class FeedbackToService(OneWay):
    """The end from which a service hears what became of its messages. It completes or abandons each batch."""

    def __init__(self, link: Link, connection: HubConnection) -> None:
        super().__init__(link)
        self._connection = connection
        self._hub = connection.endpoint.hub
        self._held: set[str] = set()
        self._hub.feedback_waits.append(self.credited)

    def credited(self) -> None:
        """Send what is due, as far as the service takes it, and look again later."""
        endpoint = self._connection.endpoint
        try:
            self._hub.cloud_to_device.expire()
            while self.link.sendable > 0 and (batch := self._hub.feedback.take()) is not None:
                self._send(batch)
        except StorageError as error:
            self._connection.record("out", "feedback", status=Hub.INTERNAL.status, detail={"reason": str(error)})
        latest = endpoint.clock.now() + LOOK_AGAIN
        moment = min(self._hub.feedback.next_moment() or latest, latest)
        if self.link.has_ended:
            return
        endpoint.devices.expiries.add(self, max(moment, endpoint.clock.now()).timestamp(), self.credited)

    def _send(self, batch: FeedbackBatch) -> None:
        name = self._hub.host.partition(".")[0]
        message = Message(
            header=Header(delivery_count=batch.deliveries - 1),
            annotations={"iothub-enqueuedtime": Timestamp(milliseconds(batch.enqueued))},
            properties=Properties(
                message_id=batch.lock_token,
                user_id=name.encode(),
                to="/messages/serviceBound/feedback",
                content_type=CONTENT_TYPE,
                content_encoding="utf-8",
            ),
            data=ascii_json(list(batch.records)),
        )
        self._connection.record("out", "feedback", detail={"records": len(batch.records)})
        self._held.add(batch.lock_token)
        if self.link.send(message.encoded(), batch.lock_token) is None:
            self._settle(batch.lock_token, Accepted())

    def settled(self, sent: Sent, outcome: Outcome) -> None:
        """The service says what it did with a batch."""
        if self._settle(sent.key, outcome):
            sent.confirm()

    def _settle(self, token: str, outcome: Outcome) -> bool:
        """Do what the service says; tells whether it is kept."""
        feedback, is_final = self._hub.feedback, isinstance(outcome, (Accepted, Rejected))
        reason, is_kept = "", True
        self._held.discard(token)
        try:
            (feedback.complete if is_final else feedback.abandon)(token)
        except StorageError as error:
            reason, is_kept = f"it stays: {error}", False
        except ServiceError as error:
            reason = error.message
        detail = {"outcome": "complete" if is_final else "abandon", **({"reason": reason} if reason else {})}
        self._connection.record("in", "feedback", detail=detail)
        return is_kept

    def ended(self) -> None:
        """Whoever comes next gets what was not settled."""
        self._hub.feedback_waits.remove(self.credited)
        self._connection.endpoint.devices.expiries.remove(self)
        for token in list(self._held):
            self._hub.feedback.release(token)


def _addressee(hub: IotHub, message: Message) -> str:
    """The device that a message is for. Some SDKs encode its ID, and some do not."""
    to = message.properties.to or ""
    match = _TO_DEVICE.fullmatch(to)
    if match is not None:
        return match[1] if hub.has_device(match[1]) else unquote(match[1])
    if _TO_MODULE.fullmatch(to):
        text = "Messages for modules need IoT Edge: not supported by this simulator."
        raise ServiceError(Hub.NOT_SUPPORTED, text)
    raise wrong_value("to", to[:300], "/devices/{device ID}/messages/devicebound")


def _to_queue(message: Message) -> CloudToDeviceMessage:
    given = message.properties
    properties = {name: value or "" for name, value in application_properties_of(message).items()}
    expiry = None
    if given.absolute_expiry_time is not None:
        expiry = moment_of(given.absolute_expiry_time)
        if expiry is None:
            raise invalid(f"absolute-expiry-time is {given.absolute_expiry_time}, which no calendar has.")
    return CloudToDeviceMessage(
        body=body_of(message),
        ack=properties.pop(ACK, "") or "none",
        properties=properties,
        message_id=text_of(given.message_id),
        correlation_id=text_of(given.correlation_id),
        user_id=text_of(given.user_id),
        content_type=given.content_type or "",
        content_encoding=given.content_encoding or "",
        expiry=expiry,
    )
