"""Services made of the official package for Node, unmodified: they send over AMQP and hear what became of it."""

import os
import threading

import pytest
from node_packages import Node, skip
from patience import PATIENCE, wait_until
from sdk_clients import Sdk

from dps_simulator import Simulator, SimulatorError

pytestmark = [pytest.mark.sdk, pytest.mark.clients]

ADDRESS = f"127.81.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
DEVICE = "pump-101"
TRANSPORTS = pytest.mark.parametrize("transport", ["amqp", "amqp-ws"])


@pytest.fixture(scope="module")
def simulator():
    try:
        with Simulator(standard_ports=True, bind=ADDRESS, pace="instant") as simulator:
            yield simulator
    except SimulatorError as error:
        skip(str(error))


@pytest.fixture
def node(repository, simulator):
    simulator.reset()
    clients = Sdk(simulator)
    yield Node(repository, clients.running)
    clients.close()


def send(node, transport, **what):
    connection = node.running.hubs[0].connection_string
    given = {"text": "open", "messageId": "m-1", "deviceId": DEVICE, **what}
    return node.run("service.js", address=ADDRESS, transport=transport, connection=connection, **given)


@pytest.mark.tried("Node SDKs", "sending")
@TRANSPORTS
def test_a_message_and_its_feedback(simulator, node, transport):
    def hub(runtime):
        return next(iter(runtime.hubs.all().values()))

    simulator.call(lambda runtime: hub(runtime).put_device(DEVICE, {}))
    answers = []
    options = {"feedback": True, "properties": {"valve": "7"}}
    sender = threading.Thread(target=lambda: answers.append(send(node, transport, **options)))
    sender.start()
    taken = wait_until(lambda: simulator.call(lambda runtime: hub(runtime).cloud_to_device.take(DEVICE)), "the message")
    assert [(each.message.body, dict(each.message.properties), each.message.ack) for each in taken] == [
        (b"open", {"valve": "7"}, "full")
    ]
    simulator.call(lambda runtime: hub(runtime).cloud_to_device.complete(DEVICE, taken[0].lock_token))
    sender.join(PATIENCE)
    ((record,),) = [answer["records"] for answer in answers]
    assert (record["originalMessageId"], record["deviceId"], record["statusCode"]) == ("m-1", DEVICE, "Success")
    # it was completed, and that is kept
    wait_until(lambda: simulator.call(lambda runtime: len(hub(runtime).feedback)) == 0, "the end of the feedback")


@TRANSPORTS
def test_a_device_that_there_is_not(node, transport):
    assert send(node, transport, deviceId="nobody")["error"] == "DeviceNotFoundError"
