import gc
import warnings

import pytest
from sdk_clients import Sdk


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "sdk":
            # the SDK leaves the sockets of a client to the garbage collector
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"))


@pytest.fixture(autouse=True)
def _sockets_that_the_sdk_left():
    yield
    # they must not be found during somebody else's test
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def sdk(dps_simulator):
    clients = Sdk(dps_simulator)
    yield clients
    clients.close()
