"""Asks a running simulator every published operation, over the wire as any client would, and tells what it supports.

An operation is supported when a good request for it succeeds. It is not when the answer says so: an error of the
simulator's own, a refused subscription, a closed connection, no AMQP. Anything else is a mistake in the question.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from dps_simulator.credentials import sas
from dps_simulator.errors import table as errors
from dps_simulator.errors.table import ErrorKind
from dps_simulator.process.address import RunningSimulator
from tools.fidelity.amqp import attach
from tools.fidelity.operations import (
    AmqpQuestion,
    Area,
    ConnectQuestion,
    Door,
    HttpQuestion,
    Operation,
    PublishQuestion,
    Question,
    SubscribeQuestion,
    Support,
)
from tools.fidelity.samples import Samples
from tools.fidelity.wire import MqttClient, ask_http, opens_websocket

_VERSIONS = {
    Door.SERVICE: "2021-10-01",
    Door.PROVISIONING: "2021-06-01",
    Door.HUB: "2021-04-12",
    Door.HUB_DEVICE: "2020-03-13",
    Door.MANAGEMENT: "2026-11-01",
}
#: Names of rows in the table of errors with which the simulator says that it does not have something.
_REFUSALS = (
    "NOT_SUPPORTED",
    "DEVICE_REQUEST_NOT_SUPPORTED",
    "ROUTE_NOT_FOUND",
    "METHOD_NOT_ALLOWED",
    "NO_WEBSOCKET_ROUTE",
)
_TOKEN_SECONDS = 600


class FidelityError(Exception):
    """An operation was neither done nor refused as not supported: the question is wrong, or the simulator is."""


def error_tables() -> dict[str, Mapping[str, ErrorKind]]:
    """The table of errors: the rows of each of its classes, such as ``Dps``, by name."""
    owners = {name: owner for name, owner in vars(errors).items() if isinstance(owner, type)}
    return {name: rows for name, owner in owners.items() if (rows := errors.table(owner))}


def refusal_codes() -> frozenset[int]:
    """Codes of errors that say "not supported by this simulator"."""
    return frozenset(rows[name].code for rows in error_tables().values() for name in _REFUSALS if name in rows)


class Prober:
    """Asks one simulator.

    Arguments:
        running: the simulator, at pace ``instant`` and empty.
    """

    def __init__(self, running: RunningSimulator) -> None:
        self._running = running
        self._refusals = refusal_codes()
        self._service_policy = _fields(running.service_connection_string)
        self._hub_policy = _fields(running.hubs[0].connection_string)
        self._hosts = {
            Door.SERVICE: running.service_host,
            Door.PROVISIONING: running.provisioning_host,
            Door.HUB: running.hubs[0].host,
            Door.HUB_DEVICE: running.hubs[0].host,
            Door.MANAGEMENT: running.management_host,
        }
        service = running.service_host.partition(".")[0]
        self._known = {
            "idScope": running.id_scope,
            "registrationId": "{device}",
            "provisioningServiceName": service,
            "resourceName": service,
            "keyName": self._service_policy["SharedAccessKeyName"],
        }
        self._samples = Samples(0, self._known)
        self._clients: dict[tuple[Door, str], MqttClient] = {}

    def areas(self, areas: Iterable[Area]) -> dict[str, Support]:
        """Ask the operations of all areas.

        Returns:
            What is supported, by title of the area and name of the operation, ``"area/operation"``.

        Raises:
            FidelityError: an operation was neither done nor refused.
        """
        found: dict[str, Support] = {}
        for number, area in enumerate(areas):
            self._samples = Samples(number, self._known)
            try:
                for question in area.setup:
                    if not self.ask(question, area.title):
                        raise FidelityError(f"{area.title}: the setup {question.shown()} is not supported.")
                for operation in area.operations:
                    found[key(area, operation)] = self._support(area, operation)
            finally:
                self._close_clients()
        return found

    def ask(self, question: Question, name: str) -> bool:
        """Ask one question; tells whether the simulator has it.

        Raises:
            FidelityError: it was neither done nor refused. The text begins with the name.
        """
        if isinstance(question, HttpQuestion):
            return self._ask_http(question, name)
        if isinstance(question, ConnectQuestion):
            return self._ask_connect(question, name)
        if isinstance(question, SubscribeQuestion):
            return self._client(question, name).subscribe(self._samples.text(question.topic_filter))
        if isinstance(question, PublishQuestion):
            return self._ask_publish(question, name)
        return self._ask_amqp(question)

    def _support(self, area: Area, operation: Operation) -> Support:
        if not self.ask(operation.question, f"{area.title}, {operation.name}"):
            return Support.NOT
        return Support.PARTLY if operation.missing else Support.SUPPORTED

    # --- HTTP -------------------------------------------------------------------------------------------------------

    def _ask_http(self, question: HttpQuestion, name: str) -> bool:
        samples, more = self._samples, question.samples
        path = quote(samples.text(question.path, more), safe="/")
        headers = {header: samples.text(value, more) for header, value in question.headers.items()}
        answer = ask_http(
            self._running,
            self._hosts[question.door],
            question.method,
            f"{path}?api-version={_VERSIONS[question.door]}",
            samples.filled(question.body, more),
            {**headers, "Authorization": self._authorization(question.door)},
        )
        if answer.code in self._refusals:
            return False
        if answer.status >= 300 and answer.code not in question.accepted:
            raise FidelityError(f"{name}: {answer.status} {answer.code} {answer.document}")
        if isinstance(answer.document, dict) and answer.document.get("isSuccessful") is False:
            raise FidelityError(f"{name}: {answer.document}")
        samples.learn(answer.document)
        running_operation = answer.headers.get("azure-asyncoperation", "")
        if running_operation:
            samples.learn({"operationId": running_operation.partition("?")[0].rpartition("/")[2]})
        return True

    def _authorization(self, door: Door) -> str:
        if door is Door.MANAGEMENT:
            return f"Bearer {self._running.management_token}"
        if door is Door.PROVISIONING:
            return self._device_token(door, self._samples.text("{registrationId}"))
        policy = self._service_policy if door is Door.SERVICE else self._hub_policy
        return sas.sign(
            self._hosts[door], sas.decode_key(policy["SharedAccessKey"]), _expiry(), policy["SharedAccessKeyName"]
        )

    def _device_token(self, door: Door, client: str) -> str:
        key = sas.decode_key(self._samples.text("{key}"))
        if door is Door.PROVISIONING:
            return sas.sign(f"{self._running.id_scope}/registrations/{client}", key, _expiry(), "registration")
        return sas.sign(f"{self._hosts[door]}/devices/{client.replace('/', '/modules/')}", key, _expiry())

    # --- MQTT -------------------------------------------------------------------------------------------------------

    def _ask_connect(self, question: ConnectQuestion, name: str) -> bool:
        try:
            self._open(question.door, question.client, name, will=question.will, websocket=question.websocket).close()
        except ConnectionError:
            return False
        return True

    def _ask_publish(self, question: PublishQuestion, name: str) -> bool:
        client = self._client(question, name)
        if question.subscription and not client.subscribe(question.subscription):
            return False
        payload = question.payload
        body = payload if isinstance(payload, str) else json.dumps(self._samples.filled(payload))
        topic = self._samples.text(question.topic, {"operation": "{operationId}"})
        if not client.publish(topic, body.encode("utf-8")):
            return False
        if not question.answer:
            return True
        message = client.receive()
        if message is None:
            return False
        document = json.loads(message[1]) if message[1] else {}
        if document.get("errorCode") in self._refusals:
            return False
        if not message[0].startswith(question.answer):
            raise FidelityError(f"{name}: {message[0]} {document}")
        self._samples.learn(document)
        return True

    def _client(self, question: SubscribeQuestion | PublishQuestion, name: str) -> MqttClient:
        """A connection of its own for the question, in place of an earlier one."""
        place = (question.door, question.client)
        earlier = self._clients.pop(place, None)
        if earlier is not None:
            earlier.close()
        client = self._clients[place] = self._open(question.door, question.client, name)
        return client

    def _open(self, door: Door, template: str, name: str, will: str = "", *, websocket: bool = False) -> MqttClient:
        host, identifier = self._hosts[door], self._samples.text(template)
        if door is Door.PROVISIONING:
            user_name = f"{self._running.id_scope}/registrations/{identifier}/api-version={_VERSIONS[door]}"
        else:
            user_name = f"{host}/{identifier}/?api-version={_VERSIONS[door]}"
        login = (user_name, self._device_token(door, identifier))
        client = MqttClient(self._running, host, identifier, login, will=self._samples.text(will), websocket=websocket)
        if client.code != 0:
            client.close()
            raise FidelityError(f"{name}: CONNACK {client.code}")
        return client

    def _close_clients(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    # --- AMQP -------------------------------------------------------------------------------------------------------

    def _ask_amqp(self, question: AmqpQuestion) -> bool:
        host = self._hosts[question.door]
        if question.websocket:
            return opens_websocket(self._running, host, "AMQPWSB10")
        address = self._samples.text(question.address)
        device = self._samples.text("{device}")
        if question.door is Door.PROVISIONING:
            user_name, token = address, self._device_token(question.door, device)
        elif question.door is Door.HUB_DEVICE:
            user_name, token = f"{device}@sas.{host.partition('.')[0]}", self._device_token(question.door, device)
        else:
            policy = self._hub_policy
            user_name = f"{policy['SharedAccessKeyName']}@sas.root.{host.partition('.')[0]}"
            key = sas.decode_key(policy["SharedAccessKey"])
            token = sas.sign(host, key, _expiry(), policy["SharedAccessKeyName"])
        version = _VERSIONS[question.door]
        refused = attach(self._running, host, (user_name, token), address, sends=question.sends, version=version)
        if refused and "not supported by this simulator" not in refused:
            raise FidelityError(f"{question.shown()}: {refused}")
        return not refused


def key(area: Area, operation: Operation) -> str:
    """What names an operation among all: ``"area/operation"``."""
    return f"{area.title}/{operation.name}"


def _expiry() -> int:
    return int(time.time()) + _TOKEN_SECONDS


def _fields(connection_string: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in connection_string.split(";"))
