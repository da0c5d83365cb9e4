"""Messages between devices and a hub as AMQP has them.

Source: Microsoft documentation, iot-hub-devguide-messages-construct; what the SDKs for Node and C send and read.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from dps_simulator.errors.timestamps import azure_timestamp
from dps_simulator.hub.cloud_to_device import QueuedMessage, device_bound_address
from dps_simulator.protocols.amqp.messages import Header, Message, Properties, decode_message
from dps_simulator.protocols.amqp.types import Timestamp

#: Annotations of messages from devices, and what the hub calls the system property.
_ANNOTATIONS = {"iothub-interface-id": "interface-id", "dt-subject": "dt-subject"}
#: The message format of several messages in one, each in a data section of its own. Source: the SDK for C.
BATCH_FORMAT = 0x80013700


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return int(moment.timestamp() * 1000)


def moment_of(milliseconds_since_1970: int) -> datetime | None:
    """The moment; ``None`` for one that no calendar has."""
    try:
        return datetime.fromtimestamp(milliseconds_since_1970 / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def text_of(value: Any) -> str:
    """An ID or the value of a property as text, which is what all other protocols know."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (str, int, float, UUID)):
        return str(value)
    return "" if value is None else f"({type(value).__name__})"


def body_of(message: Message) -> bytes:
    """The bytes of a message; a value that is text counts as its bytes."""
    if message.data is not None:
        return message.data
    return b"" if message.value is None else text_of(message.value).encode("utf-8", "replace")


def system_properties_of(message: Message) -> dict[str, str | None]:
    """System properties by the hub's name."""
    given = message.properties
    found: dict[str, str | None] = {
        "message-id": text_of(given.message_id),
        "correlation-id": text_of(given.correlation_id),
        "user-id": text_of(given.user_id),
        "to": given.to,
        "content-type": given.content_type,
        "content-encoding": given.content_encoding,
    }
    for name, value in (
        ("absolute-expiry-time", given.absolute_expiry_time),
        ("creation-time-utc", given.creation_time),
    ):
        moment = None if value is None else moment_of(value)
        found[name] = None if moment is None else azure_timestamp(moment)
    for annotation, name in _ANNOTATIONS.items():
        found[name] = text_of((message.annotations or {}).get(annotation))
    return {name: value for name, value in found.items() if value}


def application_properties_of(message: Message) -> dict[str, str | None]:
    """Application properties as texts."""
    return {text_of(name): text_of(value) for name, value in message.application_properties.items()}


def messages_in(body: bytes, message_format: int) -> Iterator[Message]:
    """The messages that a delivery brings: one, or several in one.

    Raises:
        AmqpProtocolError: it is none.
    """
    message = decode_message(body)
    if message_format != BATCH_FORMAT:
        yield message
        return
    for part in message.parts:
        yield decode_message(part)


def to_device(device_id: str, queued: QueuedMessage) -> Message:
    """A message from the cloud as a device gets it."""
    message = queued.message
    properties = Properties(
        message_id=message.message_id,
        to=device_bound_address(device_id),
        correlation_id=message.correlation_id or None,
        user_id=message.user_id.encode() or None,
        content_type=message.content_type or None,
        content_encoding=message.content_encoding or None,
        absolute_expiry_time=None if message.expiry is None else milliseconds(message.expiry),
    )
    acknowledgement = {"iothub-ack": message.ack} if message.ack != "none" else {}
    return Message(
        header=Header(delivery_count=queued.deliveries - 1),
        annotations={
            "x-opt-sequence-number": queued.sequence,
            "x-opt-enqueued-time": Timestamp(milliseconds(queued.enqueued)),
        },
        properties=properties,
        application_properties={**message.properties, **acknowledgement},
        data=message.body,
    )
