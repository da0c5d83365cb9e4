"""The device endpoint of the provisioning service over MQTT, plain or in a WebSocket.

Source for topics and answers: Microsoft documentation, iot-dps-mqtt-support, and what the official SDKs send and
accept. A wrong key is no reason to refuse the connection: the service accepts it and answers the register request
with 401 (captured in azure-docs issue 43157).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import unquote

from dps_simulator.common.clock import Clock
from dps_simulator.common.identifiers import lookup_key
from dps_simulator.common.ports import StorageError
from dps_simulator.common.trace import Trace
from dps_simulator.errors.masking import mask_in_name
from dps_simulator.errors.table import Dps, ServiceError, ascii_json, dps_body
from dps_simulator.protocols.ending import SERVICE, Ending, ending
from dps_simulator.protocols.mqtt import Connect, Publish, Subscribe, Unsubscribe
from dps_simulator.protocols.mqtt_application import MqttApplication
from dps_simulator.provisioning.service import ProvisioningService
from dps_simulator.wire.mqtt import MqttLink
from dps_simulator.wire.not_kept import not_kept
from dps_simulator.wire.presented import presented_certificates

from .registration import MAX_BODY_SIZE, DeviceIdentity, DeviceOperations, Outcome, Refusals

_LOGGER = logging.getLogger(__name__)

RESPONSE_FILTER = "$dps/registrations/res/#"
_REGISTER = "$dps/registrations/PUT/iotdps-register/"
_POLL = "$dps/registrations/GET/iotdps-get-operationstatus/"
_REFUSED_FILTER = 0x80
#: CONNACK return codes (MQTT 3.1.1, table 3.1).
_MALFORMED_USER_NAME = 4
_NOT_AUTHORIZED = 5
_MAX_QUERY_LENGTH = 1_024

_USER_NAME = re.compile(r"(?P<scope>[^/]{1,64})/registrations/(?P<id>[^/]{1,256})(?:/\??(?P<query>[^/]{0,2048}))?")


def read_user_name(text: str) -> tuple[str, str, Mapping[str, str]] | None:
    """Read ``{ID scope}/registrations/{registration ID}/api-version=…&ClientVersion=…``.

    Returns:
        ID scope, registration ID and the parameters, or ``None`` when the text is malformed.
    """
    match = _USER_NAME.fullmatch(text)
    return None if match is None else (match["scope"], match["id"], _query(match["query"] or ""))


def _query(text: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for part in text.split("&"):
        name, _, value = part.partition("=")
        parameters.setdefault(name, value)
    return parameters


class DpsDeviceEndpoint:
    """Makes an application for every connection of a device.

    Arguments:
        service: what judges devices, and keeps enrollments and registrations.
        clock: gives error answers their time.
        trace: where every message is recorded.
        host: host name of the endpoint, for the trace of clients that name none.
    """

    def __init__(self, *, service: ProvisioningService, clock: Clock, trace: Trace, host: str) -> None:
        self._operations = DeviceOperations(
            service,
            Refusals(
                token=Dps.UNAUTHORIZED_DEVICE_MQTT,
                certificate=Dps.INVALID_CERTIFICATE_MQTT,
                tpm=Dps.TPM_NOT_OVER_MQTT,
            ),
        )
        self._clock = clock
        self._trace = trace
        self._host = host

    def application(self, link: MqttLink) -> MqttApplication:
        """What answers on one new MQTT connection.

        Arguments:
            link: the way back to the client.
        """
        return _DeviceConnection(link, self._operations, self._clock, self._trace, self._host)


class _Answer(NamedTuple):
    """What a device is told.

    Attributes:
        status, body: as in HTTP.
        retry_after: seconds until the next request, ``None`` where nothing is said about that.
        why: the reason, for the trace.
        is_kept: whether everything is stored that the request changed, or that it changed nothing.
    """

    status: int
    body: Mapping[str, Any]
    retry_after: int | None
    why: Mapping[str, str]
    is_kept: bool = True

    def __repr__(self) -> str:
        # the body may hold what a webhook tells the device, which is nobody else's
        return f"_Answer(status={self.status}, body=****, retry_after={self.retry_after}, why={self.why})"


class _DeviceConnection:
    """One connection of a device. Implements :class:`~dps_simulator.protocols.mqtt_application.MqttApplication`."""

    def __init__(self, link: MqttLink, operations: DeviceOperations, clock: Clock, trace: Trace, host: str) -> None:
        self._link = link
        self._operations = operations
        self._clock = clock
        self._record = partial(
            trace.record, service="provisioning", host=link.peer.host or host, protocol=link.peer.transport
        )
        self._device = DeviceIdentity("", "", "")

    def connected(self, connect: Connect) -> None:
        """Accept everybody who gives a well-formed name and some evidence, right or wrong."""
        user_name = connect.username or ""
        detail: dict[str, Any] = {"clientId": connect.client_id, "userName": user_name}
        if self._link.peer.certificates and not connect.password:
            detail["certificates"] = presented_certificates(self._link.peer.certificates)
        self._record(direction="in", operation="connect", detail=detail)
        read = read_user_name(user_name)
        if read is None:
            # the client ID is the registration ID as well
            self._record = partial(self._record, device=connect.client_id)
            self._refuse(
                _MALFORMED_USER_NAME,
                "the user name is not {ID scope}/registrations/{registration ID}/api-version=…&ClientVersion=…",
            )
            return
        scope, identifier, parameters = read
        self._record = partial(self._record, device=identifier)
        self._device = DeviceIdentity(
            id_scope=scope,
            registration_id=identifier,
            api_version=parameters.get("api-version", ""),
            token=connect.password or "",
            certificates=self._link.peer.certificates,
        )
        if lookup_key(connect.client_id) != lookup_key(identifier):
            # Source: azure-docs issue 69882
            self._refuse(
                _NOT_AUTHORIZED,
                f"the client ID is {connect.client_id!r:.160}, "
                f"the registration ID in the user name is {identifier!r:.160}",
            )
        elif not self._device.token and not self._device.certificates:
            self._refuse(_NOT_AUTHORIZED, "the device shows neither a token nor a certificate")
        else:
            self._link.accept()
            self._record(direction="out", operation="connect", status=0)

    def published(self, message: Publish) -> None:
        """A request; its PUBACK goes out before its answer, as one SDK requires, and after it was kept.

        What was not kept is answered, and not acknowledged.
        """
        path, question, query = message.topic.partition("?")
        parameters = _query(query)
        operation = {_REGISTER: "register", _POLL: "poll"}.get(path, "")
        problem = ""
        if not operation or not question or not query.startswith("$rid=") or len(query) > _MAX_QUERY_LENGTH:
            problem = f"the topic {message.topic!r:.300} is not one of the provisioning service"
        elif len(message.payload) > MAX_BODY_SIZE:
            problem = f"the body has {len(message.payload)} bytes, at most {MAX_BODY_SIZE} are allowed"
        if problem:
            self._record(direction="in", operation=operation or "unknown topic", detail={"topic": message.topic})
            self._record(direction="out", operation="close", detail={"reason": problem})
            self._link.close()
            return
        answer = self._answer(operation, message, parameters)
        if answer.is_kept:
            self._link.acknowledge(message)
        topic = f"$dps/registrations/res/{answer.status}/?$rid={parameters['$rid']}"
        if answer.retry_after is not None:
            topic += f"&retry-after={answer.retry_after}"
        body = ascii_json(answer.body)
        self._link.publish(topic, body, qos=1)
        detail = {"topic": topic, **answer.why}
        self._record(direction="out", operation=operation, status=answer.status, detail=detail, body=body)

    def _answer(self, operation: str, message: Publish, parameters: Mapping[str, str]) -> _Answer:
        """Run an operation."""
        detail: dict[str, Any] = {"topic": message.topic}
        try:
            try:
                # polls carry anything from nothing to a whole registration: it means nothing
                request = self._operations.parse(message.payload) if operation == "register" else {}
                if request:
                    detail["body"] = request
            finally:
                self._record(direction="in", operation=operation, detail=detail)
            outcome = self._run(operation, parameters, request)
        except ServiceError as error:
            return self._refusal(error, is_kept=True)
        except StorageError as error:
            return self._refusal(not_kept(Dps.DEVICE_REQUEST_FAILED, error), is_kept=False)
        except Exception:
            _LOGGER.exception("%s of %r failed", operation, mask_in_name(self._device.registration_id))
            return self._refusal(ServiceError(Dps.DEVICE_REQUEST_FAILED), is_kept=False)
        told = outcome.status
        return _Answer(told.http_status, told.to_json(), told.retry_after, {"reason": outcome.reason})

    def _refusal(self, error: ServiceError, *, is_kept: bool) -> _Answer:
        body = dps_body(error, self._clock.now())
        return _Answer(error.kind.status, body, error.retry_after, error.why(), is_kept)

    def _run(self, operation: str, parameters: Mapping[str, str], request: dict[str, Any]) -> Outcome:
        if operation == "register":
            return self._operations.register(self._device, request)
        operation_id = unquote(parameters.get("operationId", ""))
        if not operation_id:
            raise ServiceError(Dps.INVALID_BODY, "The topic lacks operationId.")
        return self._operations.poll(self._device, operation_id)

    def subscribe(self, packet: Subscribe) -> None:
        """Grant the filter of the answers, at most with QoS 1; refuse all others."""
        codes = [min(qos, 1) if name == RESPONSE_FILTER else _REFUSED_FILTER for name, qos in packet.filters]
        self._record(direction="in", operation="subscribe", detail={"filters": [name for name, _ in packet.filters]})
        self._link.grant(packet.packet_id, codes)
        self._record(direction="out", operation="subscribe", detail={"returnCodes": codes})

    def unsubscribe(self, packet: Unsubscribe) -> None:
        """Nothing to undo here: the link knows what is subscribed."""
        self._record(direction="in", operation="unsubscribe", detail={"filters": list(packet.filters)})
        self._link.unsubscribed(packet.packet_id)

    def disconnected(self, clean: bool, how: Ending | None = None) -> None:
        """Keep in the trace how the connection ended."""
        how = how or ending(clean)
        direction = "out" if how.by == SERVICE else "in"
        self._record(direction=direction, operation="disconnect", detail={"clean": clean, **how.told()})

    def _refuse(self, code: int, reason: str) -> None:
        self._link.refuse(code)
        self._record(direction="out", operation="connect", status=code, detail={"reason": reason})
