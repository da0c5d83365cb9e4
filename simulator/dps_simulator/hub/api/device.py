"""The side of an IoT hub that devices and modules talk to, over MQTT 3.1.1.

Topics, answers and return codes: Microsoft documentation, iot-mqtt-connect-to-iot-hub, and what the Python device SDK
sends and expects.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from dps_simulator.common.clock import Clock
from dps_simulator.common.ports import StorageError
from dps_simulator.common.trace import Trace
from dps_simulator.errors.table import Hub, ServiceError, ascii_json, dps_body
from dps_simulator.hub.cloud_to_device import QueuedMessage, property_bag
from dps_simulator.hub.faults import Fault, asked_fault
from dps_simulator.hub.hub import IotHub
from dps_simulator.hub.telemetry import MAX_MESSAGE_SIZE, parse_properties
from dps_simulator.protocols.ending import SERVICE, Ending, ending
from dps_simulator.protocols.mqtt import SUBSCRIPTION_REFUSED, Connect, Publish, Subscribe, Unsubscribe, Will
from dps_simulator.wire.mqtt import MqttLink
from dps_simulator.wire.not_kept import not_kept
from dps_simulator.wire.presented import presented_certificates

from .access import HubAccess, sender_facts
from .device_methods import Arrivals, MethodCalls, MethodResult, MethodTaker, device_json, method_payload
from .device_topics import (
    DESIRED_FILTER,
    METHODS_FILTER,
    TWIN_ANSWERS_FILTER,
    ClientName,
    UserNameError,
    check_user_name,
    desired_topic,
    method_topic,
    model_of,
    request_in,
    twin_answer_topic,
)
from .expiries import CallLater, Expiries, Timer
from .limits import MAX_UNKEPT, TWIN_LIMITS, admit_telemetry

_LOGGER = logging.getLogger(__name__)

#: CONNACK return codes.
ACCEPTED, BAD_CLIENT_ID, UNAVAILABLE, BAD_USER_NAME, NOT_AUTHORIZED = 0, 2, 3, 4, 5
#: Bytes of a message that are shown in the trace.
TRACED = 4_000


class HubDeviceEndpoint:
    """Serves the devices of one hub, and their modules; a module goes by the name ``{device ID}/{module ID}``.

    Arguments:
        hub: what keeps the devices, their twins and messages.
        clock: gives the present time (aware, in UTC).
        trace: gets what goes over the wire as events, with at most 4,000 bytes of each message.
        policy_name: a shared access policy of the hub; its token may stand in for a device's own.
        policy_key: the key of that policy, base64 of 16 to 64 bytes.
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
        self.expiries = Expiries(clock, call_later)
        self.access = HubAccess(
            host=hub.host, policy_name=policy_name, policy_key=policy_key, clock=clock, authorities=hub.authorities
        )
        self.arrivals = Arrivals()
        self._faults: dict[str, Timer] = {}

    def application(self, link: MqttLink) -> DeviceSession:
        """What answers on one new MQTT connection.

        Arguments:
            link: the way back to the client.
        """
        return DeviceSession(self, link)

    async def invoke_method(
        self, device_id: str, name: str, payload: bytes, *, response_timeout: float, connect_timeout: float
    ) -> MethodResult:
        """Call a direct method of a device or module.

        Arguments:
            device_id: a registered device, or ``{device ID}/{module ID}``.
            name: the method.
            payload: JSON, or nothing.
            response_timeout: seconds until the device must have answered.
            connect_timeout: seconds to wait for a device that is not connected.

        Raises:
            ServiceError: the device is not online, goes away, does not answer in time or answers nonsense.
        """
        session = self._ready(device_id)
        if session is None and connect_timeout > 0:
            await self.arrivals.wait(device_id, connect_timeout)
            session = self._ready(device_id)
        if session is None:
            is_connected = self.hub.connections.get(device_id) is not None
            why = "is connected but has not subscribed to methods" if is_connected else "is not connected"
            raise ServiceError(Hub.DEVICE_NOT_ONLINE, reason=f"the device {device_id!r} {why}")
        return await session.invoke(name, payload, response_timeout)

    def _ready(self, device_id: str) -> MethodTaker | None:
        connection = self.hub.connections.get(device_id)
        if isinstance(connection, MethodTaker) and connection.takes_methods:
            return connection
        return None

    def prepare_fault(self, name: str, fault: Fault) -> None:
        """Let a fault begin after its delay, in place of one that has not begun yet."""
        earlier = self._faults.pop(name, None)
        if earlier is not None:
            earlier.cancel()
        if fault.delay:
            self._faults[name] = self.call_later(fault.delay, lambda: self._begin_fault(name, fault))
        else:
            self.hub.connections.strike(name, fault)

    def _begin_fault(self, name: str, fault: Fault) -> None:
        del self._faults[name]
        with contextlib.suppress(StorageError):
            if self.hub.has_device(name):
                self.hub.connections.strike(name, fault)


class _RefusedError(Exception):
    """A CONNECT packet is answered with a return code other than 0."""

    def __init__(self, return_code: int, reason: str, finding: str = "") -> None:
        super().__init__(reason)
        self.return_code = return_code
        self.why = {"reason": reason, **({"finding": finding} if finding else {})}


class DeviceSession:
    """One connection of a device or module.

    Implements :class:`~dps_simulator.protocols.mqtt_application.MqttApplication` and
    :class:`~dps_simulator.hub.connections.DeviceConnection`.

    Arguments:
        endpoint: what all connections of the hub share.
        link: the connection.
    """

    __slots__ = (
        "_client",
        "_endpoint",
        "_expiry",
        "_held",
        "_hub",
        "_link",
        "_methods",
        "_name",
        "_open",
        "_persistent",
        "_sender",
        "_subscriptions",
        "_unkept",
        "_will",
    )

    def __init__(self, endpoint: HubDeviceEndpoint, link: MqttLink) -> None:
        self._endpoint = endpoint
        self._hub = endpoint.hub
        self._link = link
        self._name = ""  # by which the hub knows it: device ID, or device ID and module ID
        self._client = ClientName("")
        self._sender: Mapping[str, str] = {}
        self._open = False
        self._persistent = False
        self._subscriptions: dict[str, int] = {}
        self._will: Will | None = None
        self._expiry: int | None = None
        self._methods = MethodCalls()
        self._unkept = 0  # messages that were not kept, and so not acknowledged
        self._held: set[str] = set()  # lock tokens of messages from the cloud that wait for their PUBACK

    # ---- the connection begins and ends

    def connected(self, connect: Connect) -> None:
        """Admit the device, or refuse it and say why in the trace."""
        self._name = connect.client_id
        detail: dict[str, Any] = {"clientId": connect.client_id, "userName": connect.username}
        if self._link.peer.certificates and not connect.password:
            detail["certificates"] = presented_certificates(self._link.peer.certificates)
        self._record("in", "connect", detail=detail)
        try:
            self._admit(connect)
            self._subscriptions = self._begin_subscriptions(connect)
            self._hub.announce_model(self._name, model_of(connect.username))
        except (_RefusedError, StorageError) as error:
            # after this code alone SDKs try again (inferred)
            refusal = error if isinstance(error, _RefusedError) else _RefusedError(UNAVAILABLE, str(error))
            self._record("out", "connect", status=refusal.return_code, detail=refusal.why)
            self._link.refuse(refusal.return_code)
            return
        self._open = True
        self._will = connect.will
        self._persistent = not connect.clean_session
        previous = self._hub.connections.opened(self._name, self)
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

    def _begin_subscriptions(self, connect: Connect) -> dict[str, int]:
        """The subscriptions of a persistent session; a clean one forgets those of the sessions before."""
        if not connect.clean_session:
            return self._hub.subscriptions(self._name)
        self._hub.keep_subscriptions(self._name, {})
        return {}

    def disconnected(self, clean: bool, how: Ending | None = None) -> None:
        """The connection is gone: publish the will, unless the client took leave."""
        will, self._will = self._will, None
        if will is not None and not clean:
            self._keep_telemetry(will.topic, will.payload, will.retain, {"iothub-MessageType": "Will"})
        if self._open:
            self._end()
            how = how or ending(clean)
            self._record("out" if how.by == SERVICE else "in", "disconnect", detail={"clean": clean, **how.told()})

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
        self._hub.connections.closed(self._name, self)
        self._endpoint.expiries.remove(self)
        self._hub.cloud_to_device.release(self._name, self._held)
        self._methods.abandon()

    def _admit(self, connect: Connect) -> None:
        """Check a CONNECT packet.

        Raises:
            _RefusedError: it is not good enough.
        """
        name = self._checked_name(connect)
        access = self._endpoint.access
        try:
            identity = access.known(name, self._hub.identity(name))
            self._expiry = access.check_device(connect.password, identity, self._link.peer.certificates)
        except ServiceError as error:
            raise _RefusedError(NOT_AUTHORIZED, error.reason, error.finding) from error
        if connect.will is not None and self._client.telemetry_bag(connect.will.topic) is None:
            raise _RefusedError(
                NOT_AUTHORIZED,
                f"the will goes to {connect.will.topic!r:.200}; only {self._client.telemetry_topic}/ is possible",
            )
        fault = self._hub.connections.fault(name)
        if fault is not None:
            raise _RefusedError(
                NOT_AUTHORIZED if fault.is_refusal else UNAVAILABLE,
                f"the fault {fault.operation} that the device asked for lasts {fault.duration} s",
            )
        try:
            self._hub.throttle.take("connections_per_second", self._hub.host)
        except ServiceError as error:
            # the one code after which SDKs try again (inferred)
            raise _RefusedError(UNAVAILABLE, error.reason, error.finding) from error
        self._sender = sender_facts(identity, connect.password)

    def _checked_name(self, connect: Connect) -> str:
        """The client ID, when client ID and user name agree."""
        try:
            check_user_name(connect.username, connect.client_id, self._hub.host)
        except UserNameError as error:
            code = BAD_CLIENT_ID if error.names_other_client else BAD_USER_NAME
            raise _RefusedError(NOT_AUTHORIZED if error.names_other_host else code, str(error)) from error
        client = ClientName.parse(connect.client_id)
        if client is None:
            raise _RefusedError(
                BAD_CLIENT_ID,
                f"the client ID {connect.client_id!r:.300} is neither a device ID nor {{device ID}}/{{module ID}}",
            )
        self._client = client
        return connect.client_id

    def _watch_expiry(self) -> None:
        """The token is checked when it expires. MQTT cannot renew it, so SDKs reconnect before that."""
        if self._expiry is not None:
            self._endpoint.expiries.add(self, self._expiry, self._token_expired)

    def _token_expired(self) -> None:
        self.drop(ServiceError(Hub.TOKEN_EXPIRED, reason="the token expired while the device was connected"))

    # ---- messages from the device

    def published(self, message: Publish) -> None:
        """A message from the device. A topic that does not exist ends the connection, as on the real service."""
        self._hub.connections.heard(self._name)
        topic = message.topic
        operation, handle = self._handler(topic)
        if handle is None:
            self.drop(ServiceError(Hub.ROUTE_NOT_FOUND, reason=f"devices cannot publish to the topic {topic!r:.300}"))
            return
        self._record("in", operation, detail={"topic": topic, "qos": message.qos, "body": message.payload[:TRACED]})
        size = len(topic.encode()) + len(message.payload)
        if size > MAX_MESSAGE_SIZE:
            text = f"the message has {size} bytes; at most {MAX_MESSAGE_SIZE} are allowed"
            self.drop(ServiceError(Hub.MESSAGE_TOO_LARGE, reason=text))
            return
        handle(message)

    def _handler(self, topic: str) -> tuple[str, Callable[[Publish], None] | None]:
        """What a topic asks for, and what does it."""
        if self._client.telemetry_bag(topic) is not None:
            return "telemetry", self._telemetry
        operation, match = request_in(topic)
        return operation, None if match is None else partial(_HANDLERS[operation], self, match)

    def _telemetry(self, message: Publish) -> None:
        try:
            admit_telemetry(self._hub.throttle, self._hub.host, len(message.payload))
        except ServiceError as error:
            # MQTT has no other way to say so (that the connection ends is inferred)
            self.drop(error)
            return
        properties = self._keep_telemetry(message.topic, message.payload, message.retain, {})
        self._link.acknowledge(message)
        try:
            fault = asked_fault(properties)
        except ServiceError as error:
            self._record("out", "fault", status=error.kind.status, detail={"reason": error.message})
            return
        if fault is not None:
            self._endpoint.prepare_fault(self._name, fault)

    def _keep_telemetry(
        self, topic: str, body: bytes, retain: bool, more: Mapping[str, str]
    ) -> Mapping[str, str | None]:
        system, properties = parse_properties(self._client.telemetry_bag(topic) or "")
        if retain:  # nothing is retained, but the service can see that it was asked for
            properties["mqtt-retain"] = "true"
        properties.update(more)
        self._hub.telemetry.append(
            self._client.device_id,
            body,
            enqueued=self._endpoint.clock.now(),
            system=system,
            properties=properties,
            module_id=self._client.module_id,
            connection=self._sender,
        )
        return properties

    def _twin_get(self, match: re.Match[str], message: Publish) -> None:
        def read() -> tuple[int, int | None, bytes]:
            return 200, None, ascii_json(self._hub.device_twin(self._name))

        self._answer_twin("twin get", match[1], message, read)

    def _twin_reported(self, match: re.Match[str], message: Publish) -> None:
        def store() -> tuple[int, int | None, bytes]:
            return 204, self._hub.report(self._name, device_json(message.payload, "The reported properties")), b""

        self._answer_twin("twin reported", match[1], message, store)

    def _answer_twin(
        self, operation: str, request: str, message: Publish, run: Callable[[], tuple[int, int | None, bytes]]
    ) -> None:
        """Run an operation, acknowledge the message once its outcome is kept, and answer.

        What is not kept gets an answer and no acknowledgement. A client with too many of these would send nothing more,
        so the connection ends then; on the next one it sends them again.
        """
        refusal: ServiceError | None = None
        is_kept = True
        status, version, body = 200, None, b""
        try:
            self._hub.throttle.take(TWIN_LIMITS[operation], self._hub.host)
            status, version, body = run()
        except ServiceError as error:
            refusal = error
        except StorageError as error:
            refusal, is_kept = not_kept(Hub.INTERNAL, error), False
        except Exception:
            _LOGGER.exception("%s failed", operation)
            refusal, is_kept = ServiceError(Hub.INTERNAL), False
        reason = ""
        if refusal is not None:
            # the body of a refusal is not documented; this one has the fields of other Azure errors
            status, body = refusal.kind.status, ascii_json(dps_body(refusal, self._endpoint.clock.now()))
            reason = refusal.reason or refusal.message
        if is_kept:
            self._link.acknowledge(message)
        if TWIN_ANSWERS_FILTER in self._subscriptions:
            self._link.publish(twin_answer_topic(status, request, version), body)
        else:
            reason = f"not sent: the device has not subscribed to {TWIN_ANSWERS_FILTER}"
        detail: dict[str, Any] = {"body": body[:TRACED]}
        if reason:
            detail["reason"] = reason
        self._record("out", operation, status=status, detail=detail)
        self._unkept += not is_kept
        if refusal is not None and self._unkept >= MAX_UNKEPT:
            self.drop(refusal)

    # ---- subscriptions

    def subscribe(self, packet: Subscribe) -> None:
        """Grant what exists, with QoS 1 at most. A topic filter that does not exist ends the connection."""
        client = self._client
        possible = {METHODS_FILTER, TWIN_ANSWERS_FILTER, DESIRED_FILTER, client.devicebound_filter} - {""}
        self._record("in", "subscribe", detail={"filters": [topic_filter for topic_filter, _ in packet.filters]})
        granted: list[int] = []
        for topic_filter, qos in packet.filters:
            if topic_filter in possible:
                granted.append(min(qos, 1))
                self._subscriptions[topic_filter] = granted[-1]
            elif client.inputs_filter and topic_filter == client.inputs_filter:
                granted.append(SUBSCRIPTION_REFUSED)
                text = "inputs of modules need IoT Edge, which is not supported by this simulator"
                self._record("out", "subscribe", status=SUBSCRIPTION_REFUSED, detail={"reason": text})
            else:
                text = f"{'modules' if client.module_id else 'devices'} cannot subscribe to {topic_filter!r:.300}"
                self.drop(ServiceError(Hub.ROUTE_NOT_FOUND, reason=text))
                return
        if self._keep_subscriptions():
            self._link.grant(packet.packet_id, granted)
            self._announce()

    def unsubscribe(self, packet: Unsubscribe) -> None:
        """Take subscriptions back. A filter that was never subscribed to is acknowledged all the same."""
        self._record("in", "unsubscribe", detail={"filters": list(packet.filters)})
        for topic_filter in packet.filters:
            self._subscriptions.pop(topic_filter, None)
        if self._keep_subscriptions():
            self._link.unsubscribed(packet.packet_id)

    def _keep_subscriptions(self) -> bool:
        """Store what is subscribed: the SDK subscribes once and relies on the hub to remember it over reconnections.

        Tells whether it could be stored. Otherwise the connection has ended: the Python SDK takes every SUBACK packet
        for a yes, whatever it says, and subscribes again after a new connection.
        """
        try:
            if self._persistent:
                self._hub.keep_subscriptions(self._name, self._subscriptions)
        except StorageError as error:
            self.drop(not_kept(Hub.INTERNAL, error))
        return self._open

    def _announce(self) -> None:
        if self.takes_methods:
            self._endpoint.arrivals.arrived(self._name)
        self.message_waiting()

    # ---- messages to the device

    def desired_changed(self, patch: Mapping[str, Any]) -> None:
        """Tell the device its new desired properties; without a subscription it misses them, as on the real hub."""
        if DESIRED_FILTER not in self._subscriptions:
            return
        self._link.publish(desired_topic(patch["$version"]), ascii_json(patch))
        self._record("out", "twin desired", detail={"body": patch})

    def message_waiting(self) -> None:
        """Send what waits for the device and was not sent on this connection yet, if it has subscribed to it."""
        qos = self._subscriptions.get(self._client.devicebound_filter)
        if qos is None or not self._open:
            return
        for queued in self._taken():
            message, token = queued.message, queued.lock_token
            topic = self._client.devicebound_topic(property_bag(self._name, message))
            detail = {
                "messageId": message.message_id,
                "deliveryCount": queued.deliveries,
                "topic": topic,
                "body": message.body[:TRACED],
            }
            self._record("out", "cloud-to-device message", detail=detail)
            self._held.add(token)
            self._link.publish(topic, message.body, qos, partial(self._completed, token, message.message_id))
            if not qos:  # nothing will come back, so it is done
                self._complete(token)

    def _taken(self) -> Sequence[QueuedMessage]:
        """What waits. Where it cannot be counted as delivered, it goes on waiting, for whatever makes us look again."""
        try:
            return self._hub.cloud_to_device.take(self._name)
        except StorageError as error:
            self._record("out", "cloud-to-device message", status=Hub.INTERNAL.status, detail={"reason": str(error)})
            return ()

    def _completed(self, token: str, message_id: str) -> None:
        """The device has acknowledged a message from the cloud."""
        self._hub.connections.heard(self._name)
        reason = self._complete(token)
        detail = {"messageId": message_id, **({"reason": reason} if reason else {})}
        self._record("in", "cloud-to-device acknowledgement", detail=detail)

    def _complete(self, token: str) -> str:
        """Remove what was delivered, or say what stood in the way: then the next connection gets it again."""
        try:
            self._hub.cloud_to_device.complete(self._name, token)
        except StorageError as error:
            return f"it stays in the queue: {error}"
        except ServiceError:
            self._held.discard(token)
            return "it was purged or had expired meanwhile"
        self._held.discard(token)
        return ""

    @property
    def takes_methods(self) -> bool:
        """Whether direct methods can be called: it is connected and subscribed to their topics."""
        return self._open and METHODS_FILTER in self._subscriptions

    async def invoke(self, name: str, payload: bytes, timeout: float) -> MethodResult:
        """Call a direct method on this connection; see :meth:`HubDeviceEndpoint.invoke_method`.

        Arguments:
            name: of the method.
            payload: JSON, as it goes over the wire.
            timeout: seconds to wait for the answer.
        """
        request = self._methods.begin()
        self._link.publish(method_topic(name, request), payload)
        self._record("out", "method", detail={"method": name, "request": request, "body": payload[:TRACED]})
        return await self._methods.answer(request, timeout)

    def _method_answer(self, match: re.Match[str], message: Publish) -> None:
        self._link.acknowledge(message)
        if not self._methods.is_open(match[2]):
            reason = f"nobody waits for the answer {match[2]!r:.40} (any more)"
            self._record("out", "method", detail={"reason": reason})
            return
        try:
            outcome: MethodResult | ServiceError = MethodResult(int(match[1]), method_payload(message.payload))
        except ServiceError as error:
            outcome = error
        self._methods.settle(match[2], outcome)

    # ---- trace

    def _record(
        self, direction: str, operation: str, *, status: int | None = None, detail: Mapping[str, Any] | None = None
    ) -> None:
        self._endpoint.trace.record(
            service="hub",
            host=self._hub.host,
            device=self._name[:256],
            direction=direction,
            protocol=self._link.peer.transport,
            operation=operation,
            status=status,
            detail=detail,
        )


#: What answers each of :data:`~dps_simulator.hub.api.device_topics.REQUESTS`.
_HANDLERS = {
    "twin get": DeviceSession._twin_get,
    "twin reported": DeviceSession._twin_reported,
    "method": DeviceSession._method_answer,
}
