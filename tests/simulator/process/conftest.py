"""What the tests of the simulator as a process have in common."""

import pytest

from dps_simulator.process import launcher


@pytest.fixture
def state(tmp_path):
    """A state folder; what runs on it is stopped in the end."""
    folder = tmp_path / "state"
    yield folder
    launcher.stop(folder)
