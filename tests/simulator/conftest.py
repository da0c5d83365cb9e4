import pytest
from hypothesis import settings
from provisioning_parts import Provisioning

# the same examples in every run, and no failure because the machine is busy
settings.register_profile("simulator", deadline=None, derandomize=True)
settings.load_profile("simulator")


@pytest.fixture
def provisioning():
    parts = Provisioning()
    yield parts
    parts.store.close()
