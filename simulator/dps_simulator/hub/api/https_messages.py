"""Messages as they travel over HTTPS: properties are headers, and several messages at once are a JSON array.

Source: Microsoft documentation, rest/api/iothub/device and iot-hub-devguide-messages-construct; what the SDKs for
Node.js, C and C# send and read.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from dps_simulator.common.http import Request
from dps_simulator.errors.table import Hub, ServiceError, described
from dps_simulator.errors.timestamps import azure_timestamp
from dps_simulator.hub.checks import invalid
from dps_simulator.hub.cloud_to_device import QueuedMessage, device_bound_address
from dps_simulator.hub.telemetry import MAX_BATCH, MAX_MESSAGE_SIZE
from dps_simulator.wire.json_body import load_json

#: How the name of a header begins whose rest names an application property.
APPLICATION = "iothub-app-"
#: Other headers: wire name, and what the hub calls the system property. Those of the SDKs for Node.js and C#.
SYSTEM_HEADERS: Mapping[str, str] = {
    "iothub-messageid": "message-id",
    "iothub-correlationid": "correlation-id",
    "iothub-userid": "user-id",
    "iothub-to": "to",
    "iothub-expiry": "absolute-expiry-time",
    "iothub-ack": "ack",
    "iothub-contenttype": "content-type",
    "iothub-contentencoding": "content-encoding",
    "iothub-interface-id": "interface-id",
    "iothub-messageschema": "message-schema",
    "iothub-creationtimeutc": "creation-time-utc",
    "dt-subject": "dt-subject",
}
#: Content type of several messages in one request.
BATCH = "application/vnd.microsoft.iothub.json"

#: What a property may consist of here. Documented for messages that devices send over HTTPS are letters, digits and
#: some of the other characters; SDKs send more of them, such as the colons of a time.
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
#: A name that can be part of that of a header (RFC 9110, section 5.6.2).
_SIGNS = "!#$%&'*+-.^_`|~"  # beside letters and digits
_NAME = re.compile(rf"[0-9A-Za-z{re.escape(_SIGNS)}]+")
#: What a header cannot carry: other characters, and blanks at both ends.
_NOT_CARRIED = re.compile(r"[^\x20-\x7e]|^ +| +$")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message from a device or module.

    Attributes:
        body: its bytes.
        system: system properties by the hub's name.
        properties: application properties.
    """

    body: bytes = field(repr=False)
    system: Mapping[str, str]
    properties: Mapping[str, str]

    @property
    def size(self) -> int:
        """Bytes of body and properties together."""
        pairs = (*self.system.items(), *self.properties.items())
        return len(self.body) + sum(len(name) + len(value) for name, value in pairs)


def messages_in(request: Request) -> list[Incoming]:
    """The messages that a request brings: one that is its body, or several.

    Raises:
        ServiceError: something is wrong with one of them, or they are too large; then none is good.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    messages = _batch(request.body) if media_type == BATCH else [_single(request)]
    size = sum(message.size for message in messages)
    if size > MAX_MESSAGE_SIZE:
        what = "The message has" if len(messages) == 1 else f"The {len(messages)} messages have together"
        raise ServiceError(Hub.MESSAGE_TOO_LARGE, f"{what} {size} bytes; at most {MAX_MESSAGE_SIZE} are allowed.")
    return messages


def _single(request: Request) -> Incoming:
    pairs = {request.spelt.get(name, name): value for name, value in request.headers.items()}
    return _incoming(request.body, pairs, "The header {}")


def _batch(body: bytes) -> list[Incoming]:
    try:
        given = load_json(body)
    except ValueError as error:
        raise ServiceError(Hub.FORMAT_ERROR, f"The batch is not valid JSON: {error}") from error
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise invalid("A batch must be a JSON array of messages, with one at least.")
    if len(given) > MAX_BATCH:
        raise invalid(f"The batch has {len(given)} messages; this simulator takes {MAX_BATCH} at the most.")
    return [_of_batch(f"message {number} of the batch", each) for number, each in enumerate(given, 1)]


def _of_batch(which: str, given: object) -> Incoming:
    if not isinstance(given, Mapping):
        raise invalid(f"{which[0].upper()}{which[1:]} is {described(given)}; it must be a JSON object.")
    properties = given.get("properties")
    if properties is None:
        properties = {}
    if not isinstance(properties, Mapping):
        raise invalid(f"properties of {which} is {described(properties)}; it must be a JSON object of texts.")
    return _incoming(_body(which, given), properties, f"The property {{}} of {which}")


def _body(which: str, given: Mapping[str, Any]) -> bytes:
    body, is_encoded = given.get("body"), given.get("base64Encoded", True)
    if not isinstance(body, str):
        raise invalid(f"body of {which} is {described(body)}; it must be a text, in base64.")
    if not isinstance(is_encoded, bool):
        raise invalid(f"base64Encoded of {which} is {described(is_encoded)}; it must be true or false.")
    if not is_encoded:
        return body.encode()
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:
        # not what it is instead: a text that should not have come here may be a secret
        raise invalid(f"body of {which} is not base64. A text as it is needs base64Encoded: false.") from error


def _incoming(body: bytes, pairs: Mapping[str, Any], named: str) -> Incoming:
    """A message with those properties whose names mean any."""
    system: dict[str, str] = {}
    properties: dict[str, str] = {}
    for name, value in pairs.items():
        lower = name.lower()
        if lower in SYSTEM_HEADERS:
            system[SYSTEM_HEADERS[lower]] = _checked(named, name, value)
        elif lower.startswith(APPLICATION):
            own = name[len(APPLICATION) :]
            if not _NAME.fullmatch(own):
                raise invalid(
                    f"{named.format(repr(name[:120]))} names no application property: letters, digits and {_SIGNS} "
                    f"may follow {APPLICATION}."
                )
            properties[own] = _checked(named, name, value)
    return Incoming(body, system, properties)


def _checked(named: str, name: str, value: object) -> str:
    if not isinstance(value, str):
        raise invalid(f"{named.format(name[:120])} is {described(value)}; it must be a text.")
    if not _PRINTABLE.fullmatch(value):
        raise invalid(f"{named.format(name[:120])} is {value!r:.100}; it must consist of printable ASCII characters.")
    return value


def device_bound_headers(device_id: str, queued: QueuedMessage) -> dict[str, str]:
    """The headers with which a device gets a message.

    Arguments:
        device_id: who gets it.
        queued: the message, handed out just now.
    """
    message = queued.message
    headers = {
        "Content-Type": "application/octet-stream",
        "ETag": f'"{queued.lock_token}"',
        "iothub-messageid": message.message_id,
        "iothub-sequencenumber": str(queued.sequence),
        "iothub-to": device_bound_address(device_id),
        "iothub-enqueuedtime": azure_timestamp(queued.enqueued),
        # how often it went to the device before (reference of the SDK for C#)
        "iothub-deliverycount": str(queued.deliveries - 1),
        "iothub-correlationid": message.correlation_id,
        "iothub-userid": message.user_id,
        "iothub-expiry": "" if message.expiry is None else azure_timestamp(message.expiry),
        "iothub-ack": "" if message.ack == "none" else message.ack,
        # as the SDK for C reads them
        "ContentType": message.content_type,
        "ContentEncoding": message.content_encoding,
    }
    properties = {f"{APPLICATION}{quote(name, safe=_SIGNS)}": value for name, value in message.properties.items()}
    return {
        **{name: _carried(value) for name, value in headers.items() if value},
        **{name: _carried(value) for name, value in properties.items()},
    }


def _carried(value: str) -> str:
    """The value; what a header cannot carry of it is percent-encoded, as it is in a topic of MQTT (simulator-only)."""
    return _NOT_CARRIED.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), value)
