"""The side of an IoT hub that devices talk to, over MQTT 3.1.1.

Topics, answers and return codes: Microsoft documentation, iot-mqtt-connect-to-iot-hub, and what the Python device SDK
sends and expects.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from urllib.parse import parse_qs, quote

from ..clock import Clock
from ..domain.connections import DeviceConnection
from ..domain.hub import IotHub
from ..domain.telemetry import MAX_MESSAGE_SIZE, parse_properties
from ..errors import Hub, ServiceError, ascii_json, dps_body
from ..protocols.mqtt import Connect, Publish, Subscribe, Unsubscribe, Will
from ..trace import Trace
from .hub_access import HubAccess
from .json_body import load_json
from .mqtt import MqttLink
from .presented import presented_certificates

#: CONNACK return codes.
ACCEPTED, BAD_CLIENT_ID, BAD_USER_NAME, NOT_AUTHORIZED = 0, 2, 4, 5
#: Seconds after which a timer looks at the clock again, however far the expiry is.
_LONGEST_TIMER = 3_600.0
#: Bytes of a message that are shown in the trace.
_TRACED = 4_000
#: Methods that may wait for the answer of one device.
MAX_WAITING_METHODS = 100

_API_VERSION = re.compile(r"20\d\d-\d\d-\d\d(-preview)?")

METHODS_FILTER = "$iothub/methods/POST/#"
TWIN_ANSWERS_FILTER = "$iothub/twin/res/#"
DESIRED_FILTER = "$iothub/twin/PATCH/properties/desired/#"


class Timer(Protocol):
    """What ``call_later`` returns."""

    def cancel(self) -> None:
        """Forget it."""


CallLater = Callable[[float, Callable[[], object]], Timer]


@dataclass(frozen=True, slots=True)
class MethodResult:
    """What a device answered to a direct method."""

    status: int
    payload: Any


class HubDeviceEndpoint:
    """Serves the devices of one hub.

    Arguments:
        hub: the hub.
        clock: the time.
        trace: where messages are recorded.
        policy_name: a shared access policy of the hub; its token may stand in for a device's own.
        policy_key: the policy's base64 key.
        call_later: runs a function after some seconds, e.g. the method of an event loop.
    """

    def __init__(
        self,
        *,
        hub: IotHub,
        clock: Clock,
        trace: Trace,
        policy_name: str,
        policy_key: str,
        call_later: CallLater,
    ) -> None:
        self.hub = hub
        self.clock = clock
        self.trace = trace
        self.call_later = call_later
        self.access = HubAccess(host=hub.host, policy_name=policy_name, policy_key=policy_key, clock=clock)
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    def application(self, link: MqttLink) -> DeviceSession:
        """The application for a new connection."""
        return DeviceSession(self, link)

    async def invoke_method(
        self, device_id: str, name: str, payload: bytes, *, response_timeout: float, connect_timeout: float
    ) -> MethodResult:
        """Call a direct method of a device.

        Arguments:
            device_id: a registered device.
            name: the method.
            payload: JSON, or nothing.
            response_timeout: seconds until the device must have answered.
            connect_timeout: seconds to wait for a device that is not connected.

        Raises:
            ServiceError: the device is not online, goes away, does not answer in time or answers nonsense.
        """
        session = self._ready(device_id) or await self._arrival(device_id, connect_timeout)
        return await session.invoke(name, payload, response_timeout)

    def arrived(self, device_id: str) -> None:
        """A device is ready for direct methods: wake those that wait for it."""
        for waiting in self._waiting.pop(device_id, ()):
            waiting.set_result(None)

    def _ready(self, device_id: str) -> DeviceSession | None:
        connection = self.hub.connections.get(device_id)
        if isinstance(connection, DeviceSession) and connection.takes_methods:
            return connection
        return None

    async def _arrival(self, device_id: str, timeout: float) -> DeviceSession:
        if timeout > 0:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(device_id, set()).add(waiting)
            try:
                await asyncio.wait([waiting], timeout=timeout)
            finally:
                others = self._waiting.get(device_id, set())
                others.discard(waiting)
                if not others:
                    self._waiting.pop(device_id, None)
        session = self._ready(device_id)
        if session is None:
            is_connected = self.hub.connections.get(device_id) is not None
            why = "is connected but has not subscribed to methods" if is_connected else "is not connected"
            raise ServiceError(Hub.DEVICE_NOT_ONLINE, reason=f"the device {device_id!r} {why}")
        return session


class _RefusedError(Exception):
    """A CONNECT packet is answered with a return code other than 0."""

    def __init__(self, return_code: int, reason: str) -> None:
        super().__init__(reason)
        self.return_code = return_code


class DeviceSession(DeviceConnection):
    """One connection of a device. Implements :class:`.mqtt.MqttApplication`.

    Arguments:
        endpoint: what all connections of the hub share.
        link: the connection.
    """

    def __init__(self, endpoint: HubDeviceEndpoint, link: MqttLink) -> None:
        self._endpoint = endpoint
        self._hub = endpoint.hub
        self._link = link
        self._device_id = ""
        self._open = False
        self._persistent = False
        self._subscriptions: dict[str, int] = {}
        self._will: Will | None = None
        self._expiry: int | None = None
        self._timer: Timer | None = None
        self._methods: dict[str, asyncio.Future[MethodResult]] = {}
        self._last_request = 0

    # ---- the connection begins and ends

    def connected(self, connect: Connect) -> None:
        """Admit the device, or refuse it and say why in the trace."""
        self._device_id = connect.client_id
        detail: dict[str, Any] = {"clientId": connect.client_id, "userName": connect.username}
        if self._link.peer.certificates and not connect.password:
            detail["certificates"] = presented_certificates(self._link.peer.certificates)
        self._record("in", "connect", detail=detail)
        try:
            self._admit(connect)
        except _RefusedError as refusal:
            self._record("out", "connect", status=refusal.return_code, detail={"reason": str(refusal)})
            self._link.refuse(refusal.return_code)
            return
        self._open = True
        self._will = connect.will
        self._persistent = not connect.clean_session
        if self._persistent:
            self._subscriptions = self._hub.subscriptions(self._device_id)
        else:
            self._hub.keep_subscriptions(self._device_id, {})
        previous = self._hub.connections.opened(self._device_id, self)
        if previous is not None:
            previous.drop(
                ServiceError(
                    Hub.CONNECTION_TAKEN_OVER, reason="the device connected a second time; the newer one stays"
                )
            )
        self._watch_expiry()
        self._record("out", "connect", status=ACCEPTED)
        self._link.accept()
        self._announce()

    def disconnected(self, clean: bool) -> None:
        """The connection is gone: publish the will, unless the client took leave."""
        will, self._will = self._will, None
        if will is not None and not clean:
            self._keep_telemetry(will.topic, will.payload, will.retain, {"iothub-MessageType": "Will"})
        if self._open:
            self._end()
            self._record("in", "disconnect", detail={"clean": clean})

    def drop(self, error: ServiceError) -> None:
        """Close the connection; the error says why."""
        if not self._open:
            return
        self._end()
        detail = {"code": error.kind.code, "error": error.kind.name, "reason": error.reason or error.message}
        self._record("out", "disconnect", status=error.kind.status, detail=detail)
        self._link.close()

    def _end(self) -> None:
        self._open = False
        self._hub.connections.closed(self._device_id, self)
        if self._timer is not None:
            self._timer.cancel()
        for waiting in self._methods.values():
            if not waiting.done():
                waiting.set_exception(ServiceError(Hub.DEVICE_CONNECTION_CLOSED))
        self._methods.clear()

    def _admit(self, connect: Connect) -> None:
        """Check a CONNECT packet.

        Raises:
            _RefusedError: it is not good enough.
        """
        device_id = self._checked_names(connect)
        identity = self._hub.identity(device_id)
        if identity is None:
            raise _RefusedError(NOT_AUTHORIZED, f"the device {device_id!r:.140} is not registered in {self._hub.host}")
        try:
            self._expiry = self._endpoint.access.check_device(connect.password, identity, self._link.peer.certificates)
        except ServiceError as error:
            raise _RefusedError(NOT_AUTHORIZED, error.reason) from error
        if identity["status"] != "enabled":
            raise _RefusedError(NOT_AUTHORIZED, f"the device {device_id!r} is disabled")
        if connect.will is not None and self._telemetry_bag(connect.will.topic) is None:
            raise _RefusedError(
                NOT_AUTHORIZED,
                f"the will goes to {connect.will.topic!r:.200}; only devices/{device_id}/messages/events/ is possible",
            )

    def _checked_names(self, connect: Connect) -> str:
        """The device ID, when client ID and user name agree: ``{host}/{device ID}[/][?api-version=…]``."""
        client_id = connect.client_id
        host, slash, rest = (connect.username or "").partition("/")
        if not host or not slash or not rest:
            raise _RefusedError(
                BAD_USER_NAME,
                f"the user name is {connect.username!r:.300}; expected {{host}}/{{device ID}}/?api-version=…",
            )
        if host.lower() != self._hub.host:
            raise _RefusedError(
                NOT_AUTHORIZED, f"the user name is for the host {host!r:.260}, not for {self._hub.host}"
            )
        if "/" in client_id:
            raise _RefusedError(
                NOT_AUTHORIZED, f"{client_id!r:.300} is a module; modules are not supported by this simulator"
            )
        tail = rest.removeprefix(client_id).removeprefix("/")
        if not rest.startswith(client_id) or (tail and not tail.startswith("?")):
            raise _RefusedError(
                BAD_CLIENT_ID, f"the client ID {client_id!r:.140} is not the device ID in {rest!r:.140}"
            )
        version = parse_qs(tail[1:]).get("api-version", [""])[0]
        if version and not _API_VERSION.fullmatch(version):
            raise _RefusedError(BAD_USER_NAME, f"api-version {version!r:.80} is not supported by this simulator")
        return client_id

    def _watch_expiry(self) -> None:
        """The token is checked when it expires. MQTT cannot renew it, so SDKs reconnect before that."""
        if self._expiry is None:
            return
        left = self._expiry - self._endpoint.clock.now().timestamp()
        if left > 0:
            self._timer = self._endpoint.call_later(min(left, _LONGEST_TIMER), self._watch_expiry)
        else:
            self.drop(ServiceError(Hub.TOKEN_EXPIRED, reason="the token expired while the device was connected"))

    # ---- messages from the device

    def published(self, message: Publish) -> None:
        """A message from the device. A topic that does not exist ends the connection, as on the real service."""
        self._hub.connections.heard(self._device_id)
        topic = message.topic
        operation, handle = self._handler(topic)
        if handle is None:
            self.drop(ServiceError(Hub.ROUTE_NOT_FOUND, reason=f"devices cannot publish to the topic {topic!r:.300}"))
            return
        self._record("in", operation, detail={"topic": topic, "qos": message.qos, "body": message.payload[:_TRACED]})
        size = len(topic.encode()) + len(message.payload)
        if size > MAX_MESSAGE_SIZE:
            text = f"the message has {size} bytes; at most {MAX_MESSAGE_SIZE} are allowed"
            self.drop(ServiceError(Hub.MESSAGE_TOO_LARGE, reason=text))
            return
        handle(message)

    def _handler(self, topic: str) -> tuple[str, Callable[[Publish], None] | None]:
        """What a topic asks for, and what does it."""
        if self._telemetry_bag(topic) is not None:
            return "telemetry", self._telemetry
        for operation, pattern, handle in _REQUESTS:
            match = pattern.fullmatch(topic)
            if match is not None:
                return operation, partial(handle, self, match)
        return "", None

    def _telemetry(self, message: Publish) -> None:
        self._keep_telemetry(message.topic, message.payload, message.retain, {})
        self._link.acknowledge(message)

    def _keep_telemetry(self, topic: str, body: bytes, retain: bool, more: Mapping[str, str]) -> None:
        system, properties = parse_properties(self._telemetry_bag(topic) or "")
        if retain:  # nothing is retained, but the service can see that it was asked for
            properties["mqtt-retain"] = "true"
        self._hub.telemetry.append(
            self._device_id,
            body,
            enqueued=self._endpoint.clock.now(),
            system=system,
            properties={**properties, **more},
        )

    def _telemetry_bag(self, topic: str) -> str | None:
        """The property bag of a telemetry topic, ``None`` for any other topic."""
        base = f"devices/{self._device_id}/messages/events"
        return topic[len(base) + 1 :] if topic == base or topic.startswith(f"{base}/") else None

    def _twin_get(self, match: re.Match[str], message: Publish) -> None:
        self._link.acknowledge(message)
        self._answer_twin("twin get", match[1], lambda: (200, "", ascii_json(self._hub.device_twin(self._device_id))))

    def _twin_reported(self, match: re.Match[str], message: Publish) -> None:
        def store() -> tuple[int, str, bytes]:
            version = self._hub.report(self._device_id, _json(message.payload, "The reported properties"))
            return 204, f"&$version={version}", b""

        self._link.acknowledge(message)
        self._answer_twin("twin reported", match[1], store)

    def _answer_twin(self, operation: str, request: str, run: Callable[[], tuple[int, str, bytes]]) -> None:
        reason = ""
        try:
            status, more, body = run()
        except ServiceError as error:
            # the body of a refusal is not documented; this one has the fields of other Azure errors
            status, more, body = error.kind.status, "", ascii_json(dps_body(error, self._endpoint.clock.now()))
            reason = error.reason or error.message
        if TWIN_ANSWERS_FILTER in self._subscriptions:
            self._link.publish(f"$iothub/twin/res/{status}/?$rid={request}{more}", body)
        else:
            reason = f"not sent: the device has not subscribed to {TWIN_ANSWERS_FILTER}"
        detail: dict[str, Any] = {"body": body[:_TRACED]}
        if reason:
            detail["reason"] = reason
        self._record("out", operation, status=status, detail=detail)

    # ---- subscriptions

    def subscribe(self, packet: Subscribe) -> None:
        """Grant what exists, with QoS 1 at most. A topic filter that does not exist ends the connection."""
        possible = {
            METHODS_FILTER,
            TWIN_ANSWERS_FILTER,
            DESIRED_FILTER,
            f"devices/{self._device_id}/messages/devicebound/#",
        }
        self._record("in", "subscribe", detail={"filters": [topic_filter for topic_filter, _ in packet.filters]})
        for topic_filter, _ in packet.filters:
            if topic_filter not in possible:
                text = f"devices cannot subscribe to {topic_filter!r:.300}"
                self.drop(ServiceError(Hub.ROUTE_NOT_FOUND, reason=text))
                return
        granted = [min(qos, 1) for _, qos in packet.filters]
        self._link.grant(packet.packet_id, granted)
        self._subscriptions.update(
            (topic_filter, qos) for (topic_filter, _), qos in zip(packet.filters, granted, strict=True)
        )
        self._keep_subscriptions()
        self._announce()

    def unsubscribe(self, packet: Unsubscribe) -> None:
        """Forget topic filters, known or not."""
        self._record("in", "unsubscribe", detail={"filters": list(packet.filters)})
        for topic_filter in packet.filters:
            self._subscriptions.pop(topic_filter, None)
        self._keep_subscriptions()
        self._link.unsubscribed(packet.packet_id)

    def _keep_subscriptions(self) -> None:
        # the SDK subscribes once and relies on the hub to remember it over reconnections
        if self._persistent:
            self._hub.keep_subscriptions(self._device_id, self._subscriptions)

    def _announce(self) -> None:
        if self.takes_methods:
            self._endpoint.arrived(self._device_id)

    # ---- messages to the device

    def desired_changed(self, patch: Mapping[str, Any]) -> None:
        """Tell the device its new desired properties; without a subscription it misses them, as on the real hub."""
        if DESIRED_FILTER not in self._subscriptions:
            return
        version = patch["$version"]
        self._link.publish(f"$iothub/twin/PATCH/properties/desired/?$version={version}", ascii_json(patch))
        self._record("out", "twin desired", detail={"body": patch})

    @property
    def takes_methods(self) -> bool:
        """Whether direct methods can be called."""
        return self._open and METHODS_FILTER in self._subscriptions

    async def invoke(self, name: str, payload: bytes, timeout: float) -> MethodResult:
        """Call a direct method; see :meth:`HubDeviceEndpoint.invoke_method`."""
        if len(self._methods) >= MAX_WAITING_METHODS:
            raise ServiceError(
                Hub.THROTTLED,
                f"{MAX_WAITING_METHODS} methods already wait for the device; this simulator takes no more.",
            )
        self._last_request += 1
        request = f"{self._last_request:x}"
        waiting: asyncio.Future[MethodResult] = asyncio.get_running_loop().create_future()
        self._methods[request] = waiting
        try:
            self._link.publish(f"$iothub/methods/POST/{quote(name, safe='')}/?$rid={request}", payload)
            self._record("out", "method", detail={"method": name, "request": request, "body": payload[:_TRACED]})
            return await asyncio.wait_for(waiting, timeout)
        except asyncio.TimeoutError:
            raise ServiceError(
                Hub.GATEWAY_TIMEOUT, reason=f"the device {self._device_id!r} did not answer within {timeout:g} s"
            ) from None
        finally:
            self._methods.pop(request, None)

    def _method_answer(self, match: re.Match[str], message: Publish) -> None:
        self._link.acknowledge(message)
        waiting = self._methods.get(match[2])
        if waiting is None or waiting.done():
            reason = f"nobody waits for the answer {match[2]!r:.40} (any more)"
            self._record("out", "method", detail={"reason": reason})
            return
        try:
            payload = _json(message.payload, "The device's answer") if message.payload.strip() else None
        except ServiceError as error:
            waiting.set_exception(error)
            return
        waiting.set_result(MethodResult(int(match[1]), payload))

    # ---- trace

    def _record(
        self, direction: str, operation: str, *, status: int | None = None, detail: Mapping[str, Any] | None = None
    ) -> None:
        self._endpoint.trace.record(
            service="hub",
            host=self._hub.host,
            device=self._device_id[:256],
            direction=direction,
            protocol=self._link.peer.transport,
            operation=operation,
            status=status,
            detail=detail,
        )


#: Topics that devices publish to, besides telemetry: operation, topic and what answers it.
_REQUESTS = (
    ("twin get", re.compile(r"\$iothub/twin/GET/\?\$rid=([^&/#+]+)(?:&.*)?"), DeviceSession._twin_get),
    (
        "twin reported",
        re.compile(r"\$iothub/twin/PATCH/properties/reported/\?\$rid=([^&/#+]+)(?:&.*)?"),
        DeviceSession._twin_reported,
    ),
    (
        "method",
        re.compile(r"\$iothub/methods/res/(-?[0-9]{1,9})/\?\$rid=([^&/#+]+)(?:&.*)?"),
        DeviceSession._method_answer,
    ),
)


def _json(data: bytes, what: str) -> Any:
    """Parse JSON from a device.

    Raises:
        ServiceError: it is not valid.
    """
    try:
        return load_json(data)
    except ValueError as error:
        raise ServiceError(Hub.ARGUMENT_INVALID, f"{what} must be JSON: {error}"[:300]) from error
