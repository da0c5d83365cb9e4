"""The device endpoint of the provisioning service over AMQP 1.0, plain or in a WebSocket.

A device proves who it is in one of three ways: SASL PLAIN with a SAS token as the password, SASL TPM, or its
certificate in TLS, then without SASL. It attaches one link in each direction, both to
``{ID scope}/registrations/{registration ID}``, and sends its requests as messages.

Source: the official SDKs for Node, C, Java and C#, which agree in all of this. That refused requests have the outcome
``rejected``, whose description is the JSON object that other protocols answer with: the SDK for C#, which reads it. As
over MQTT, a wrong token is no reason to refuse the connection (inferred).
"""

from __future__ import annotations

import base64
import logging
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

from dps_simulator.common.clock import Clock
from dps_simulator.common.identifiers import lookup_key
from dps_simulator.common.ports import StorageError
from dps_simulator.common.trace import Trace
from dps_simulator.errors.masking import mask_in_name
from dps_simulator.errors.table import Dps, ServiceError, ascii_json, dps_body
from dps_simulator.protocols.amqp.application import AmqpApplication
from dps_simulator.protocols.amqp.errors import AmqpProtocolError, Condition
from dps_simulator.protocols.amqp.links import Delivery, Link, Sent
from dps_simulator.protocols.amqp.messages import Message, Properties, decode_message
from dps_simulator.protocols.amqp.performatives import RECEIVER, Error, Open, Outcome, SaslInit
from dps_simulator.protocols.amqp.types import Int
from dps_simulator.protocols.ending import SERVICE, Ending, ending
from dps_simulator.provisioning.service import ProvisioningService
from dps_simulator.wire.amqp import AmqpLine, amqp_error
from dps_simulator.wire.not_kept import not_kept
from dps_simulator.wire.presented import presented_certificates

from .registration import MAX_BODY_SIZE, DeviceIdentity, DeviceOperations, Refusals, told
from .sasl_tpm import SaslTpmError, SaslTpmExchange

_LOGGER = logging.getLogger(__name__)

#: Names of application properties, and of operations in the first of them.
OPERATION_TYPE, OPERATION_ID = "iotdps-operation-type", "iotdps-operation-id"
OPERATIONS = {"iotdps-register": "register", "iotdps-get-operationstatus": "poll"}
#: In the properties of a link.
API_VERSION = "com.microsoft:api-version"
#: Both spellings are looked up, by different SDKs.
RETRY_AFTER = ("retry-after", "Retry-After")
#: Bytes of a request with what stands around its body.
MAX_MESSAGE = MAX_BODY_SIZE + 16_384
#: Answers that may wait for a client that takes none.
MAX_WAITING = 16
#: Requests that a client may send before it hears of the first.
_CREDIT = 50


def read_address(text: str) -> tuple[str, str] | None:
    """Read the address of a link: ``{ID scope}/registrations/{registration ID}``, perhaps as a path or a whole URL.

    Returns:
        ID scope and registration ID, ``None`` when the text is malformed.
    """
    if text.lower().startswith(("amqps://", "amqp://")):
        try:
            text = urlsplit(text).path
        except ValueError:
            return None
    parts = text.lstrip("/").split("/")
    if len(parts) != 3 or parts[1] != "registrations" or not parts[0] or not parts[2]:
        return None
    return unquote(parts[0]), unquote(parts[2])


class DpsAmqpEndpoint:
    """Makes an application for every connection of a device.

    Arguments:
        service: what judges devices, and keeps enrollments and registrations.
        clock: gives error answers their time.
        trace: where every message is recorded.
        host: host name of the endpoint, for the trace of clients that name none.
    """

    def __init__(self, *, service: ProvisioningService, clock: Clock, trace: Trace, host: str) -> None:
        self._operations = DeviceOperations(
            service, Refusals(token=Dps.UNAUTHORIZED_DEVICE, certificate=Dps.INVALID_CERTIFICATE_AMQP)
        )
        self._clock = clock
        self._trace = trace
        self._host = host

    def application(self, line: AmqpLine) -> AmqpApplication:
        """What answers on one new connection.

        Arguments:
            line: the way back to the client.
        """
        return _DeviceConnection(line, self._operations, self._clock, self._trace, self._host)


class _DeviceConnection:
    """One connection of a device. Implements :class:`~dps_simulator.protocols.amqp.application.AmqpApplication`."""

    mechanisms = ("PLAIN", "EXTERNAL", "ANONYMOUS", "TPM")

    def __init__(self, line: AmqpLine, operations: DeviceOperations, clock: Clock, trace: Trace, host: str) -> None:
        self._line = line
        self._operations = operations
        self._clock = clock
        self._record = partial(
            trace.record, service="provisioning", host=line.peer.host or host, protocol=line.peer.transport
        )
        self._name: tuple[str, str] | None = None
        self._token = ""
        self._exchange: SaslTpmExchange | None = None
        # why the device got no good challenge
        self._refusal: ServiceError | None = None
        self._device: DeviceIdentity | None = None
        self._answers: Link | None = None
        self._waiting: list[bytes] = []

    # --- who it is ----------------------------------------------------------------------------------------------------

    def authenticate(self, init: SaslInit) -> None:
        """Take the evidence; whether it is right is judged when the device registers."""
        detail: dict[str, Any] = {"mechanism": init.mechanism}
        response = init.initial_response or b""
        if init.mechanism == "TPM":
            self._record(direction="in", operation="connect", detail={**detail, "hostname": init.hostname or ""})
            self._exchange = SaslTpmExchange()
            self._go_on(self._exchange, response)
        elif init.mechanism == "PLAIN":
            self._plain(response, detail)
        elif init.mechanism in self.mechanisms:
            self._record(direction="in", operation="connect", detail={**detail, **self._certificates()})
            self._line.approve()
        else:
            self._record(direction="in", operation="connect", detail=detail)
            self._deny(f"the mechanism {init.mechanism!r:.80} is not one of {', '.join(self.mechanisms)}")

    def _plain(self, response: bytes, detail: dict[str, Any]) -> None:
        """A user name and a SAS token. Source: RFC 4616."""
        _, _, rest = response.partition(b"\x00")
        user_name, _, password = rest.partition(b"\x00")
        try:
            name, self._token = str(user_name, "utf-8"), str(password, "utf-8")
        except UnicodeDecodeError:
            name = self._token = ""
        self._record(direction="in", operation="connect", detail={**detail, "userName": name})
        self._name = read_address(name)
        if self._name is None or not self._token:
            self._deny("the user name is not {ID scope}/registrations/{registration ID}, or there is no token")
        else:
            self._line.approve()

    def responded(self, response: bytes) -> None:
        """The next step of SASL TPM, the only mechanism with more than one."""
        if self._exchange is not None:
            self._go_on(self._exchange, response)

    def _go_on(self, exchange: SaslTpmExchange, data: bytes) -> None:
        try:
            answer = exchange.take(data)
            if answer is None and not exchange.token:
                answer = exchange.ask(self._challenge(exchange))
            if answer is not None:
                self._line.challenge(answer)
                return
            self._name, self._token = self._shown(exchange)[:2], exchange.token
            if self._refusal is None:
                self._operations.check(self._identity(*self._name, ""))
        except SaslTpmError as error:
            self._deny(str(error))
        except ServiceError as error:
            self._deny(error.reason or error.message, finding=error.finding)
        except StorageError as error:
            self._deny(str(error))
        else:
            self._line.approve()

    def _challenge(self, exchange: SaslTpmExchange) -> bytes:
        """What only the enrolled TPM can read.

        A device that is not enrolled gets something to read as well, and hears of its refusal when it registers: the
        SDK for C# expects an error with a code then (its end-to-end tests), and that for Node waits for ever when SASL
        fails before a challenge. That the service does so is inferred from both.
        """
        scope, identifier, endorsement_key, storage_root_key = self._shown(exchange)
        self._record = partial(self._record, device=identifier)
        keys = {
            "endorsementKey": base64.b64encode(endorsement_key).decode("ascii"),
            "storageRootKey": base64.b64encode(storage_root_key).decode("ascii"),
        }
        request = {"tpm": keys}
        try:
            challenge = self._operations.challenge(self._identity(scope, identifier, ""), request)
        except ServiceError as error:
            self._refusal, challenge = error, None
        challenge = challenge or self._operations.decoy(request)
        self._record(direction="out", operation="connect", detail={"challenge": True, "reason": challenge.reason})
        return base64.b64decode(challenge.authentication_key)

    @staticmethod
    def _shown(exchange: SaslTpmExchange) -> tuple[str, str, bytes, bytes]:
        if exchange.shown is None:
            raise SaslTpmError("the keys of the TPM have not come")
        return exchange.shown

    def _deny(self, reason: str, finding: str = "") -> None:
        self._line.deny()
        detail = {"reason": reason, **({"finding": finding} if finding else {})}
        self._record(direction="out", operation="connect", status=401, detail=detail)

    def _certificates(self) -> dict[str, Any]:
        given = self._line.peer.certificates
        return {"certificates": presented_certificates(given)} if given and not self._token else {}

    def opened(self, said: Open) -> None:
        """Everybody may open a connection; the links say what for."""
        if self._name is None and self._exchange is None:
            self._record(direction="in", operation="open", detail=self._certificates())
        self._line.accept()

    # --- links --------------------------------------------------------------------------------------------------------

    def attached(self, link: Link) -> None:
        """Both links go to the registration; the device is whom they name."""
        address = read_address(link.address)
        direction = "sender" if link.role is RECEIVER else "receiver"
        detail: dict[str, Any] = {"link": direction, "address": link.address}
        if address is None:
            self._record(direction="in", operation="attach", detail=detail)
            self._refuse(
                link,
                Condition.NOT_FOUND,
                f"{link.address!r:.300} is not the address of a registration; expected {{ID scope}}/registrations/"
                "{registration ID}.",
            )
            return
        if self._name is None:
            self._name = address
        if not _same(self._name, address):
            self._record(direction="in", operation="attach", detail=detail)
            self._refuse(
                link,
                Condition.UNAUTHORIZED_ACCESS,
                f"This connection belongs to {'/registrations/'.join(self._name)!r:.300}, and the link to another one.",
            )
            return
        if self._device is None:
            version = link.properties.get(API_VERSION, "")
            self._device = self._identity(*address, version if isinstance(version, str) else "")
            self._record = partial(self._record, device=self._device.registration_id)
        self._record(direction="in", operation="attach", detail=detail)
        link.accept(max_message_size=MAX_MESSAGE, credit=_CREDIT)
        if link.role is not RECEIVER:
            self._answers = link

    def _identity(self, scope: str, identifier: str, version: str) -> DeviceIdentity:
        return DeviceIdentity(
            id_scope=scope,
            registration_id=identifier,
            # SASL comes before the links, which tell it
            api_version=version or ("" if self._exchange is None or self._device is not None else _ANY_VERSION),
            token=self._token,
            certificates=self._line.peer.certificates,
        )

    def _refuse(self, link: Link, condition: Condition, reason: str) -> None:
        link.refuse(Error(condition=condition, description=mask_in_name(reason)))
        self._record(direction="out", operation="attach", detail={"condition": condition.value, "reason": reason})

    def detached(self, link: Link, error: Error | None) -> None:
        """A link has ended."""
        if self._answers is link:
            self._answers = None

    # --- requests -----------------------------------------------------------------------------------------------------

    def received(self, delivery: Delivery) -> None:
        """A request; it is settled after what it changes was kept, and before its answer."""
        device = self._device
        if device is None:  # a link was accepted, so it is known
            delivery.release()
            return
        operation = "unknown operation"
        try:
            message = decode_message(delivery.body)
            name = message.application_properties.get(OPERATION_TYPE)
            operation = OPERATIONS.get(name, operation) if isinstance(name, str) else operation
            body = self._answer(operation, device, message)
        except AmqpProtocolError as error:
            self._reject(delivery, operation, ServiceError(Dps.INVALID_BODY, f"The message cannot be read: {error}."))
        except ServiceError as error:
            self._reject(delivery, operation, error)
        except StorageError as error:
            self._reject(delivery, operation, not_kept(Dps.DEVICE_REQUEST_FAILED, error))
        except Exception:
            _LOGGER.exception("%s of %r failed", operation, mask_in_name(device.registration_id))
            self._reject(delivery, operation, ServiceError(Dps.DEVICE_REQUEST_FAILED))
        else:
            delivery.accept()
            self._send(body)

    def _answer(self, operation: str, device: DeviceIdentity, message: Message) -> bytes:
        """Run an operation; gives the message that answers it."""
        detail: dict[str, Any] = {}
        request: dict[str, Any] = {}
        try:
            if operation == "register":
                request = self._operations.parse(message.data or b"")
                if request:
                    detail["body"] = request
        finally:
            self._record(direction="in", operation=operation, detail=detail)
        if self._refusal is not None:
            raise self._refusal
        if operation == "register":
            outcome = self._operations.register(device, request)
        elif operation == "poll":
            operation_id = message.application_properties.get(OPERATION_ID)
            if not isinstance(operation_id, str) or not operation_id:
                raise ServiceError(Dps.INVALID_BODY, f"The application property {OPERATION_ID} is missing.")
            outcome = self._operations.poll(device, operation_id)
        else:
            name = message.application_properties.get(OPERATION_TYPE)
            raise ServiceError(
                Dps.INVALID_BODY,
                f"The application property {OPERATION_TYPE} is {name!r:.80}; expected {' or '.join(OPERATIONS)}.",
            )
        status = outcome.status
        body = ascii_json(told(status))
        properties = {}
        if status.retry_after is not None:
            properties = dict.fromkeys(RETRY_AFTER, Int(status.retry_after))
        self._record(
            direction="out",
            operation=operation,
            status=status.http_status,
            detail={"reason": outcome.reason},
            body=body if status.secret is None else ascii_json(status.to_json()),
        )
        return Message(
            properties=Properties(correlation_id=message.properties.correlation_id, content_type="application/json"),
            application_properties=properties,
            data=body,
        ).encoded()

    def _reject(self, delivery: Delivery, operation: str, error: ServiceError) -> None:
        body = ascii_json(dps_body(error, self._clock.now()))
        delivery.reject(amqp_error(error, body.decode("ascii")))
        self._record(direction="out", operation=operation, status=error.kind.status, detail=error.why(), body=body)

    def _send(self, message: bytes) -> None:
        """Send an answer, when the client takes it."""
        if len(self._waiting) >= MAX_WAITING:
            reason = f"{MAX_WAITING} answers wait for the client, which takes none."
            self._record(direction="out", operation="close", detail={"reason": reason})
            self._line.close(Error(condition=Condition.RESOURCE_LIMIT_EXCEEDED, description=reason))
            return
        self._waiting.append(message)
        if self._answers is not None:
            self.credited(self._answers)

    def credited(self, link: Link) -> None:
        """The client takes answers."""
        while self._waiting and link is self._answers and link.sendable > 0:
            link.send(self._waiting.pop(0))

    def settled(self, sent: Sent, outcome: Outcome) -> None:
        """The client has got an answer; what it thinks of it changes nothing."""
        sent.confirm()

    def disconnected(self, clean: bool, how: Ending | None = None) -> None:
        """Keep in the trace how the connection ended."""
        how = how or ending(clean)
        direction = "out" if how.by == SERVICE else "in"
        self._record(direction=direction, operation="disconnect", detail={"clean": clean, **how.told()})


def _same(one: tuple[str, str], other: tuple[str, str]) -> bool:
    return lookup_key(one[0]) == lookup_key(other[0]) and lookup_key(one[1]) == lookup_key(other[1])


#: Stands for the version that the device will tell with its links.
_ANY_VERSION = "2019-03-31"
