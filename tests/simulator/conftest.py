import os

import pytest
from hypothesis import settings
from provisioning_parts import Provisioning
from thoroughness import examples

from dps_simulator.process.store import Store

# the same examples in every run, and no failure because the machine is busy
settings.register_profile("simulator", deadline=None, derandomize=True, max_examples=examples())
settings.load_profile("simulator")


@pytest.fixture(autouse=True)
def _no_store_stays_open(request):
    """Close what a test leaves open: from 3.13 on, Python complains about forgotten databases."""
    opened = []
    # the one for all tests may be started anew here, and stays open
    if "dps_simulator" in request.fixturenames:
        request.getfixturevalue("dps_simulator")
    original = Store.__init__

    def init(self, *arguments, **options):
        original(self, *arguments, **options)
        opened.append(self)

    Store.__init__ = init
    try:
        yield
    finally:
        Store.__init__ = original
        for store in opened:
            store.close()


@pytest.fixture
def own_environment(monkeypatch):
    """Settings of whoever runs the tests do not count."""
    for name in list(os.environ):
        if name.startswith("DPS_SIMULATOR_"):
            monkeypatch.delenv(name)


@pytest.fixture
def provisioning():
    parts = Provisioning()
    yield parts
    parts.store.close()
