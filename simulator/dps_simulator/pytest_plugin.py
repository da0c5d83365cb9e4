"""Fixtures for the tests of other projects: a simulator per session, empty at the start of every test.

.. code-block:: python

    def test_my_device(dps_simulator):
        running = dps_simulator.running
        ...  # running.provisioning_host, running.proxy_url, running.certificate_authority()

Set other settings by overriding the session fixture ``dps_simulator_settings``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from dps_simulator.settings.settings import Settings

if TYPE_CHECKING:
    from .simulator import Simulator


@pytest.fixture(scope="session")
def dps_simulator_settings() -> Settings:
    """Settings of the simulator; override it to change them. The pace is ``instant``."""
    return Settings(pace="instant")


@pytest.fixture(scope="session")
def _dps_simulator_of_session(dps_simulator_settings: Settings) -> Iterator[Simulator]:
    # imported late, so that a test run which never asks for the fixture does not pay for it
    from .simulator import Simulator  # noqa: PLC0415

    with Simulator(dps_simulator_settings) as simulator:
        yield simulator


@pytest.fixture
def dps_simulator(_dps_simulator_of_session: Simulator, dps_simulator_settings: Settings) -> Simulator:
    """A running simulator without enrollments, registrations and devices; started anew if a test stopped it."""
    simulator = _dps_simulator_of_session
    if not simulator.is_running:
        # one that stopped by itself, because it was asked to, has a thread to be waited for
        simulator.stop()
        simulator.start()
    for hub in simulator.running.hubs:
        if hub.host not in {configured.host for configured in dps_simulator_settings.hubs}:
            simulator.remove_hub(hub.host)
    simulator.reset()
    simulator.call(lambda runtime: runtime.hubs.links.restore())
    simulator.pace = dps_simulator_settings.pace
    simulator.limits = dps_simulator_settings.limits
    return simulator
