"""The vocabulary of the lists: areas of published operations, each with the question that tells whether it is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, Union

from dps_simulator.errors.table import Provenance


class Door(Enum):
    """Where a question is asked, and thereby who asks."""

    SERVICE = "service API of DPS, with a shared access policy"
    PROVISIONING = "device endpoint of DPS, with the device's key"
    HUB = "service API of a hub, with a shared access policy"
    HUB_DEVICE = "device endpoint of a hub, with the device's key"
    MANAGEMENT = "Azure Resource Manager, with a bearer token"


@dataclass(frozen=True, slots=True)
class HttpQuestion:
    """One HTTP request. A name in braces, in path, body and headers, stands for a sample or for what was answered.

    Attributes:
        door: where it goes.
        method: HTTP method.
        path: as published, without the query.
        body: JSON, ``None`` for none.
        headers: besides those that every request has.
        samples: samples for this question alone, by the name in braces.
        accepted: six-digit codes of errors that tell as well that the operation is there.
    """

    door: Door
    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    samples: Mapping[str, str] = field(default_factory=dict)
    accepted: tuple[int, ...] = ()

    def shown(self) -> str:
        """The request as the document shows it."""
        return f"`{self.method} {self.path}`"


@dataclass(frozen=True, slots=True)
class ConnectQuestion:
    """A CONNECT packet over MQTT.

    Attributes:
        door: where it goes.
        client: the client ID.
        will: topic of the will, empty for none.
        websocket: whether it goes through a WebSocket.
    """

    door: Door
    client: str = "{device}"
    will: str = ""
    websocket: bool = False

    def shown(self) -> str:
        """The request as the document shows it."""
        name = self.client.replace("{device}", "{deviceId}").replace("{module}", "{moduleId}")
        if self.door is Door.PROVISIONING:
            name = "{registrationId}"
        over = " in a WebSocket" if self.websocket else ""
        will = f", will to `{self.will.replace('{device}', '{deviceId}')}`" if self.will else ""
        return f"CONNECT{over} as `{name}`{will}"


@dataclass(frozen=True, slots=True)
class SubscribeQuestion:
    """A SUBSCRIBE packet over MQTT.

    Attributes:
        door: where it goes.
        topic_filter: what it asks for.
        client: the client ID.
    """

    door: Door
    topic_filter: str
    client: str = "{device}"

    def shown(self) -> str:
        """The request as the document shows it."""
        return f"SUBSCRIBE `{_with_ids(self.topic_filter)}`"


@dataclass(frozen=True, slots=True)
class PublishQuestion:
    """A PUBLISH packet over MQTT.

    Attributes:
        door: where it goes.
        topic: the topic.
        payload: the message, JSON in which names in braces stand for samples; a text goes as it is.
        answer: how the topic of a good answer begins; empty when PUBACK is all that comes.
        subscription: what the client has to subscribe to before, to get the answer.
        client: the client ID.
    """

    door: Door
    topic: str
    payload: Any = ""
    answer: str = ""
    subscription: str = ""
    client: str = "{device}"

    def shown(self) -> str:
        """The request as the document shows it."""
        return f"PUBLISH `{_with_ids(self.topic)}`"


@dataclass(frozen=True, slots=True)
class AmqpQuestion:
    """A link of an AMQP connection, which the simulator accepts or refuses.

    Attributes:
        door: where it goes.
        address: of the link, in which names in braces stand for samples.
        sends: whether the client sends on it, and does not receive.
        purpose: what is sent on it, for the document; empty where the address says that.
        websocket: whether it goes through a WebSocket.
    """

    door: Door
    address: str
    sends: bool = True
    purpose: str = ""
    websocket: bool = False

    def shown(self) -> str:
        """The request as the document shows it."""
        direction = "sender to" if self.sends else "receiver from"
        purpose = f"{self.purpose}, " if self.purpose else ""
        return f"{purpose}{direction} `{_with_ids(self.address)}`{', in a WebSocket' if self.websocket else ''}"


Question = Union[HttpQuestion, ConnectQuestion, SubscribeQuestion, PublishQuestion, AmqpQuestion]  # noqa: UP007


@dataclass(frozen=True, slots=True)
class Operation:
    """One published operation.

    Attributes:
        name: its name in the published description, or what it does where it has none.
        question: tells whether the simulator has it.
        differences: what is known to be different from Azure, in one line.
        missing: the same where a part of the operation is not there: it is supported partly then.
        instead: what one can do while it is not supported.
        provenance: where its answer comes from.
    """

    name: str
    question: Question
    differences: str = ""
    missing: str = ""
    instead: str = ""
    provenance: Provenance = field(kw_only=True)


#: An operation by where its answer comes from.
recorded = partial(Operation, provenance=Provenance.RECORDED)
documented = partial(Operation, provenance=Provenance.DOCUMENTED)
observed = partial(Operation, provenance=Provenance.SDK_OBSERVED)


@dataclass(frozen=True, slots=True)
class Area:
    """Operations that belong together.

    Attributes:
        title: a heading.
        source: where the list of the operations is published.
        operations: asked in this order, on one simulator.
        setup: asked before; each must succeed.
        notes: sentences below the heading.
    """

    title: str
    source: str
    operations: tuple[Operation, ...]
    setup: tuple[Question, ...] = ()
    notes: str = ""


class Support(Enum):
    """What was measured: the word in the column "here" of the document."""

    SUPPORTED = "yes"
    PARTLY = "partly"
    NOT = "no"


def _with_ids(text: str) -> str:
    return (
        text.replace("{device}", "{deviceId}")
        .replace("{module}", "{moduleId}")
        .replace("{request}", "{requestId}")
        .replace("{operation}", "{operationId}")
    )
