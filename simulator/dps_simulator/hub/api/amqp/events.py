"""The Event Hubs-compatible endpoint of a hub: telemetry as it comes, or from a position on.

Addresses, annotations and the management node: what the SDKs of Event Hubs for Python, JavaScript and C# send and
expect; Microsoft documentation, iot-hub-devguide-messages-read-builtin.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from dps_simulator.common.clock import Clock
from dps_simulator.errors.table import EventHubs, Hub, ServiceError
from dps_simulator.hub.api.access import SERVICE_CONNECT
from dps_simulator.hub.event_positions import start_of
from dps_simulator.hub.event_readers import CONSUMER_GROUP, EventReaders
from dps_simulator.hub.hub import IotHub
from dps_simulator.hub.telemetry import PARTITIONS, Partition, TelemetryMessage
from dps_simulator.protocols.amqp.errors import AmqpProtocolError, Condition
from dps_simulator.protocols.amqp.links import Delivery, Link
from dps_simulator.protocols.amqp.messages import Message, Properties, decode_message
from dps_simulator.protocols.amqp.performatives import RECEIVER, SENDER, Source, Target
from dps_simulator.protocols.amqp.types import Array, Described, Int, Symbol, Timestamp
from dps_simulator.wire.amqp import condition_of

from .connection import HubConnection, ServiceRow
from .ends import LinkEnd, OneWay, refuse
from .message_form import milliseconds, text_of, to_reader
from .tokens import MANAGEMENT, MAX_WAITING

#: The filter that says where to begin: its name, and its number.
_SELECTOR, _SELECTOR_CODE = "apache.org:selector-filter:string", 0x468C_0000_0004
_EPOCH = "com.microsoft:epoch"
_METRICS = "com.microsoft:enable-receiver-runtime-metric"
#: Messages that are looked up at a time.
_AT_ONCE = 64
#: Kinds of things that the management node tells about.
_HUB, _PARTITION = "com.microsoft:eventhub", "com.microsoft:partition"

_READING = re.compile(r"([^/]+)/ConsumerGroups/([^/]+)/Partitions/([^/]*)", re.IGNORECASE)
_SENDING = re.compile(r"(?!messages/|devices/|\$)[^/]+(?:/Partitions/[^/]*|/Publishers/[^/]*)?", re.IGNORECASE)
_REDIRECTING = re.compile(r"messages/events(?:/.*)?", re.IGNORECASE)


class EventEndpoint:
    """The endpoint of one hub. Its entity has the hub's name; on Azure that is a name that nobody chose.

    Arguments:
        hub: the hub.
        clock: gives the present time (aware, in UTC).
        call_soon: calls a function when what runs now is over, e.g. the method of an event loop.
    """

    def __init__(self, *, hub: IotHub, clock: Clock, call_soon: Callable[[Callable[[], object]], object]) -> None:
        self.clock = clock
        self.telemetry = hub.telemetry
        self.host = hub.host
        self.entity = hub.host.partition(".")[0]
        self.created = clock.now()
        self.readers = EventReaders()
        self._call_soon = call_soon
        self._changed: set[int] = set()
        self._answers: dict[HubConnection, list[ManagementAnswers]] = {}
        hub.telemetry.appended = self._appended

    def rows(self) -> tuple[ServiceRow, ...]:
        """What can be attached."""
        management = re.compile(re.escape(MANAGEMENT), re.IGNORECASE)
        return (
            ServiceRow(_READING, SENDER, self._read, of_events=True),
            ServiceRow(management, RECEIVER, self._ask, of_events=True),
            ServiceRow(management, SENDER, self._answer, of_events=True),
            ServiceRow(_SENDING, RECEIVER, _refuse_sender, of_events=True),
            ServiceRow(_REDIRECTING, SENDER, _refuse_redirect),
            ServiceRow(_REDIRECTING, RECEIVER, _refuse_redirect),
        )

    def partition(self, number: str) -> tuple[int, Partition]:
        """A partition by what a client calls it.

        Raises:
            ServiceError: there is none.
        """
        if number not in map(str, range(PARTITIONS)):
            raise ServiceError(
                EventHubs.PARTITION_INVALID,
                "The specified partition is invalid for an EventHub partition sender or receiver. It should be between "
                f"0 and {PARTITIONS - 1}.",
            )
        return int(number), self.telemetry.partitions[int(number)]

    def check_entity(self, name: str, path: str = "") -> None:
        """Look whether a client means this endpoint.

        Arguments:
            name: of the entity.
            path: what is asked for, for the error; as a rule the entity itself.

        Raises:
            ServiceError: it does not.
        """
        if name.lower() != self.entity:
            raise self.not_found(path or name)

    def not_found(self, path: str) -> ServiceError:
        """What a client gets for what does not exist."""
        address = f"sb://{self.host}/{path.lower()}"
        return ServiceError(
            EventHubs.ENTITY_NOT_FOUND,
            f"The messaging entity '{address:.400}' could not be found.",
            reason=f"{path!r:.200} does not exist; the entity is {self.entity!r}, its only consumer group $Default",
        )

    def answers_of(self, connection: HubConnection, reply_to: object) -> ManagementAnswers | None:
        """Where an answer goes: to the link that the request names, else to the newest."""
        answers = self._answers.get(connection, [])
        return next((each for each in answers if each.name == reply_to), answers[-1] if answers else None)

    def forget(self, answers: ManagementAnswers) -> None:
        """A link for answers is gone."""
        others = [each for each in self._answers.pop(answers.connection, []) if each is not answers]
        if others:
            self._answers[answers.connection] = others

    # ---- links

    def _read(self, link: Link, connection: HubConnection, match: re.Match[str]) -> LinkEnd:
        entity, group, number = match.groups()
        self.check_entity(entity, match[0])
        if group.lower() != CONSUMER_GROUP:
            raise self.not_found(match[0])
        place, partition = self.partition(number)
        start = start_of(_selector(link), partition)
        reader = EventReader(link, connection, self, place, start)
        self.readers.enter(place, reader)
        link.accept(properties=link.properties)
        return reader

    def _ask(self, link: Link, connection: HubConnection, _: re.Match[str]) -> LinkEnd:
        link.accept(properties=link.properties)
        return ManagementRequests(link, connection, self)

    def _answer(self, link: Link, connection: HubConnection, _: re.Match[str]) -> LinkEnd:
        answers = ManagementAnswers(link, connection, self)
        self._answers.setdefault(connection, []).append(answers)
        link.accept(properties=link.properties)
        return answers

    # ---- what is new

    def _appended(self, partition: int) -> None:
        if self.readers.of(partition):
            if not self._changed:
                self._call_soon(self._wake)
            self._changed.add(partition)

    def _wake(self) -> None:
        changed, self._changed = self._changed, set()
        for partition in changed:
            self.readers.wake(partition)


class EventReader(OneWay):
    """The end from which a client reads a partition. Implements :class:`~dps_simulator.hub.event_readers.Reader`.

    Arguments:
        link: the link.
        connection: the connection that it belongs to.
        endpoint: what is read.
        partition: its number.
        start: the sequence number of the first message that the client wants.
    """

    def __init__(
        self, link: Link, connection: HubConnection, endpoint: EventEndpoint, partition: int, start: int
    ) -> None:
        super().__init__(link)
        self._connection = connection
        self._endpoint = endpoint
        self._number = partition
        self._partition = endpoint.telemetry.partitions[partition]
        self._next = start
        self._wants_metrics = _METRICS in (link.attach.desired_capabilities or ())
        epoch = link.properties.get(_EPOCH)
        self.epoch = int(epoch) if isinstance(epoch, int) and not isinstance(epoch, bool) and epoch >= 0 else None

    def wake(self) -> None:
        """There is something new to read."""
        self.credited()

    def drop(self, error: ServiceError) -> None:
        """Make room for another reader."""
        self._connection.end(self.link, error)

    def credited(self) -> None:
        """Send what comes next, as far as the client takes it."""
        while (room := self.link.sendable) > 0:
            messages = self._partition.read(self._next, min(room, _AT_ONCE))
            if not messages:
                return
            missed = messages[0].position - self._next
            if missed > 0:
                text = f"{missed} messages made room for newer ones before they were read"
                self._connection.record("out", "telemetry", detail={"address": self.link.address, "reason": text})
            for message in messages:
                self._next = message.position + 1
                # its place is the client's own affair; azure-eventhub asks for messages to settle, and never does
                self.link.send(self._encoded(message), needs_word=False)
                if self.link.sendable <= 0:
                    break

    def _encoded(self, message: TelemetryMessage) -> bytes:
        made = to_reader(message)
        if self._wants_metrics:
            made.delivery_annotations = _last_of(self._partition, self._endpoint.clock)
        return made.encoded()

    def ended(self) -> None:
        """The client reads no more."""
        self._endpoint.readers.leave(self._number, self)


class ManagementAnswers(OneWay):
    """The end on which answers of the management node go."""

    def __init__(self, link: Link, connection: HubConnection, endpoint: EventEndpoint) -> None:
        super().__init__(link)
        self.connection = connection
        self._endpoint = endpoint
        self._waiting: list[bytes] = []
        target = link.attach.target
        #: what requests call it
        self.name = target.address if isinstance(target, Target) else None

    def send(self, message: Message) -> None:
        """Send an answer as soon as the client takes it.

        Raises:
            AmqpProtocolError: the client takes none.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise AmqpProtocolError(
                f"{MAX_WAITING} answers of {MANAGEMENT} wait for the client, which takes none",
                Condition.RESOURCE_LIMIT_EXCEEDED,
            )
        self._waiting.append(message.encoded())
        self.credited()

    def credited(self) -> None:
        """The client takes answers."""
        while self._waiting and self.link.sendable > 0:
            self.link.send(self._waiting.pop(0), needs_word=False)

    def ended(self) -> None:
        """Nobody waits for answers here any more."""
        self._endpoint.forget(self)


class ManagementRequests(OneWay):
    """The end to which a client sends its questions about hub and partitions."""

    def __init__(self, link: Link, connection: HubConnection, endpoint: EventEndpoint) -> None:
        super().__init__(link)
        self._connection = connection
        self._endpoint = endpoint

    def received(self, delivery: Delivery) -> None:
        """A question, which is answered on the other link."""
        try:
            message = decode_message(delivery.body)
        except AmqpProtocolError as error:
            refuse(delivery, ServiceError(Hub.FORMAT_ERROR, f"The message cannot be read: {error}."))
            return
        answers = self._endpoint.answers_of(self._connection, message.properties.reply_to)
        if answers is None:
            refuse(delivery, ServiceError(Hub.ARGUMENT_INVALID, "There is no link for the answer; attach it first."))
            return
        delivery.accept()
        answer, condition = None, {}
        status, text = 200, "OK"
        try:
            answer = self._answer(message.application_properties)
        except ServiceError as error:
            status, text = error.kind.status, error.message
            condition = {"error-condition": Symbol(condition_of(error))}
            detail = {"reason": error.reason or error.message}
            self._connection.record("out", MANAGEMENT, status=status, detail=detail)
        answers.send(
            Message(
                properties=Properties(correlation_id=message.properties.message_id),
                application_properties={"status-code": Int(status), "status-description": text, **condition},
                value=answer,
            )
        )

    def _answer(self, asked: Mapping[Any, Any]) -> dict[str, Any]:
        endpoint = self._endpoint
        operation, kind, name, partition = (
            text_of(asked.get(each)) for each in ("operation", "type", "name", "partition")
        )
        if operation != "READ" or kind not in (_HUB, _PARTITION):
            raise ServiceError(
                EventHubs.OPERATION_NOT_KNOWN,
                f"The operation {operation!r:.40} of {kind!r:.80} is not known; there is READ of {_HUB} and "
                f"{_PARTITION}.",
            )
        self._check_token(asked.get("security_token"))
        endpoint.check_entity(name)
        if kind == _HUB:
            return {
                "name": endpoint.entity,
                "type": _HUB,
                "created_at": Timestamp(milliseconds(endpoint.created)),
                "partition_count": Int(PARTITIONS),
                "partition_ids": Array(str, tuple(map(str, range(PARTITIONS)))),
            }
        number, found = endpoint.partition(partition)
        return {
            "name": endpoint.entity,
            "type": _PARTITION,
            "partition": str(number),
            "begin_sequence_number": found.first_sequence,
            "is_partition_empty": not len(found),
            **_last_of(found, endpoint.clock),
        }

    def _check_token(self, token: object) -> None:
        """Some clients send a token with every question; it is as good as the one that was put to ``$cbs``, or not."""
        text = text_of(token)
        if text:
            self._connection.endpoint.access.check_event_token(text, (self._endpoint.host,), SERVICE_CONNECT)


def _last_of(partition: Partition, clock: Clock) -> dict[str, Any]:
    """What a client is told about the newest message. Source of the names: the SDKs of Event Hubs."""
    enqueued = 0 if partition.last_enqueued is None else milliseconds(partition.last_enqueued)
    return {
        "last_enqueued_sequence_number": partition.last_sequence,
        "last_enqueued_offset": str(partition.last_offset),
        "last_enqueued_time_utc": Timestamp(enqueued),
        "runtime_info_retrieval_time_utc": Timestamp(milliseconds(clock.now())),
    }


def _selector(link: Link) -> str | None:
    """The filter of a link.

    Raises:
        ServiceError: it is another one.
    """
    source = link.attach.source
    given = source.filter if isinstance(source, Source) else None
    for name, value in (given or {}).items():
        kind, text = value if isinstance(value, Described) else (name, value)
        if kind in (_SELECTOR, _SELECTOR_CODE) and isinstance(text, str):
            return text
        raise ServiceError(
            EventHubs.FILTER_INVALID, f"The filter {text_of(name)!r:.100} is not known; there is {_SELECTOR}, a text."
        )
    return None


def _refuse_sender(*_: object) -> LinkEnd:
    raise ServiceError(
        EventHubs.SEND_NOT_ALLOWED, reason="nobody can send to the endpoint of a hub; devices send telemetry"
    )


def _refuse_redirect(*_: object) -> LinkEnd:
    raise ServiceError(
        Hub.NOT_SUPPORTED,
        "Being redirected from messages/events is not supported by this simulator; read with the Event Hubs-compatible "
        "connection string instead.",
    )
