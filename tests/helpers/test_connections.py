import pytest
from azure.iot.device import IoTHubDeviceClient

from helpers import connections, workspace


class Client:
    """Like the SDK's: shutting it down twice is an error."""

    def __init__(self):
        self.shut_down = 0

    def shutdown(self):
        self.shut_down += 1
        assert self.shut_down == 1, "the pipeline is not running"


@pytest.fixture(autouse=True)
def nothing_left():
    connections.shut_down()
    yield
    connections.shut_down()


def test_a_second_client_takes_the_place_of_the_first():
    first, second, other = Client(), Client(), Client()
    assert connections.replace("kitchen", first) is first
    assert connections.replace("hall", other) is other
    assert connections.replace("kitchen", first) is first
    assert first.shut_down == 0
    assert connections.replace("kitchen", second) is second
    assert (first.shut_down, second.shut_down, other.shut_down) == (1, 0, 0)


def test_shutting_down_twice_is_fine():
    kitchen, hall = Client(), Client()
    connections.replace("kitchen", kitchen)
    connections.replace("hall", hall)
    connections.shut_down("kitchen", "cellar")
    connections.shut_down("kitchen")
    assert (kitchen.shut_down, hall.shut_down) == (1, 0)
    connections.shut_down()
    connections.shut_down()
    assert (kitchen.shut_down, hall.shut_down) == (1, 1)


def test_a_client_of_the_sdk_that_somebody_shut_down_already(dps, names):
    known = workspace.need("symmetric_key.registrations", dps, **names)["individual"]
    client = IoTHubDeviceClient.create_from_symmetric_key(
        symmetric_key=known["key"].reveal(), hostname=known["hub"], device_id=known["device_id"], **dps.device_options
    )
    connections.replace("kitchen", client).connect()
    client.shutdown()
    connections.shut_down()


def test_a_client_that_cannot_be_shut_down_is_forgotten():
    broken = Client()
    broken.shutdown()
    connections.replace("kitchen", broken)
    with pytest.raises(AssertionError, match="not running"):
        connections.shut_down()
    connections.shut_down()
