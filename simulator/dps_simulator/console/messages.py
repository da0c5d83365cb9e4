"""Messages between back ends and devices: purging a queue, and what Azure does by AMQP and the simulator by JSON.

The service API of a hub can only purge. Sending to a device and reading telemetry are AMQP on Azure; here they are
also routes of the simulator's own management API.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from dps_simulator.common.http import Response
from dps_simulator.errors.table import described
from dps_simulator.errors.timestamps import azure_timestamp
from dps_simulator.hub.cloud_to_device import TEXTS, CloudToDeviceMessage, QueuedMessage
from dps_simulator.hub.hub import IotHub
from dps_simulator.hub.telemetry import MAX_MESSAGES, TelemetryMessage
from dps_simulator.wire.http import Call, Route
from dps_simulator.wire.json_body import load_json

from .refusals import invalid, no_hub, whole_number

#: Fields of a message to a device that are texts: the API's name and the domain's.
_TEXTS = {**TEXTS, "ack": "ack"}
_TIME = re.compile(
    # the hour 24 is one for Python from 3.13 on only
    r"\d{4}-\d\d-\d\d[Tt ](?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{1,9})?(?P<zone>[Zz]|[+-]\d\d:\d\d)?",
    re.ASCII,
)
_FIELDS = ("body", "bodyBase64", "properties", "expiryTimeUtc", *_TEXTS)


class HubMessages:
    """The routes of the management API that send to devices and read what they sent.

    Arguments:
        find: the hub of a host name, ``None`` when there is none.
    """

    def __init__(self, find: Callable[[str], IotHub | None]) -> None:
        self._find = find

    def routes(self) -> tuple[Route, ...]:
        """Rows for the table of an endpoint."""
        hub = "/simulator/hubs/{host}"
        return (
            Route("GET", f"{hub}/telemetry", "read telemetry", self._read, right="all"),
            Route("POST", f"{hub}/devices/{{id}}/messages", "send message", self._send, right="all", takes_body=True),
        )

    def _hub(self, call: Call) -> IotHub:
        host = call.parameters["host"]
        hub = self._find(host)
        if hub is None:
            raise no_hub(host)
        return hub

    def _read(self, call: Call) -> Response:
        telemetry = self._hub(call).telemetry
        after = whole_number(call, "after", 0)
        limit = whole_number(call, "limit", MAX_MESSAGES)
        messages = telemetry.read(after, limit, call.request.query.get("device", ""))
        return Response(body={"messages": [rendered(each) for each in messages], "last": telemetry.last_sequence})

    def _send(self, call: Call) -> Response:
        hub, device_id = self._hub(call), call.parameters["id"]
        queued = hub.cloud_to_device.send(device_id, _message(call.body))
        return Response(201, {**_receipt(queued), "cloudToDeviceMessageCount": hub.cloud_to_device.waiting(device_id)})


def _message(body: object) -> CloudToDeviceMessage:
    if not isinstance(body, Mapping):
        raise invalid(f"The body must be a JSON object, not {described(body)}.")
    unknown = sorted(set(body) - set(_FIELDS))
    if unknown:
        raise invalid(f"{unknown[0]!r:.100} is no field of a message; there are {', '.join(_FIELDS)}.")
    if "body" in body and "bodyBase64" in body:
        raise invalid("body and bodyBase64 exclude each other.")
    texts = {}
    for name, own in _TEXTS.items():
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise invalid(f"{name} is {described(value)}; it must be a text.")
        texts[own] = value
    properties = body.get("properties")
    if properties is None:
        properties = {}
    if not isinstance(properties, Mapping):
        raise invalid(f"properties is {described(properties)}; it must be a JSON object of texts.")
    return CloudToDeviceMessage(
        body=_bytes(body), properties=properties, expiry=_expiry(body.get("expiryTimeUtc")), **texts
    )


def _bytes(body: Mapping[str, Any]) -> bytes:
    """The body: a text as it is, any other JSON as JSON, or bytes in base64."""
    encoded = body.get("bodyBase64")
    if encoded is not None:
        try:
            return base64.b64decode(encoded, validate=True)
        except (ValueError, TypeError) as error:
            raise invalid(f"bodyBase64 is no base64: {error}") from error
    value = body.get("body", "")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode()


def _expiry(given: object) -> datetime | None:
    if given is None:
        return None
    match = _TIME.fullmatch(str(given))
    try:
        if match is None:
            raise ValueError
        # Azure's fractions have seven digits; those after the sixth are dropped
        text = match[0].upper() if match["zone"] else f"{match[0]}Z"
        return datetime.fromisoformat(text).astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise invalid(f"expiryTimeUtc is {given!r:.60}; it must be a time such as 2026-01-31T12:00:00Z.") from error


def rendered(message: TelemetryMessage) -> dict[str, Any]:
    """A telemetry message as JSON: its body as JSON when it is that, else as ``bodyBase64``."""
    try:
        body = {"body": load_json(message.body)}
    except ValueError:
        body = {"bodyBase64": base64.b64encode(message.body).decode("ascii")}
    return {
        "sequence": message.sequence,
        "deviceId": message.device_id,
        **({"moduleId": message.module_id} if message.module_id else {}),
        "enqueuedTimeUtc": azure_timestamp(message.enqueued),
        "systemProperties": message.system_properties,
        "properties": dict(message.properties),
        **body,
    }


def _receipt(queued: QueuedMessage) -> dict[str, Any]:
    return {
        "messageId": queued.message.message_id,
        "sequence": queued.sequence,
        "enqueuedTimeUtc": azure_timestamp(queued.enqueued),
        "expiryTimeUtc": azure_timestamp(queued.expiry),
    }
