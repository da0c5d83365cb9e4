"""The fixture ``dps_simulator`` in the tests of somebody else's project."""

import os
import subprocess
import sys
import textwrap

import pytest
from patience import PATIENCE

from dps_simulator import Simulator

FOREIGN_TEST = """
    import ssl, threading
    import pytest
    from dps_simulator import HubSettings, Settings

    SEEN = []

    def count(simulator):
        return simulator.call(lambda runtime: runtime.services._store.collection("enrollment").count())

    def enroll(simulator, name):
        body = {"registrationId": name, "attestation": {"type": "symmetricKey"}}
        simulator.call(lambda runtime: runtime.services._store.collection("enrollment").put(name, body))

    @pytest.mark.parametrize("turn", [1, 2, 3])
    def test_every_test_finds_it_empty(dps_simulator, turn):
        assert count(dps_simulator) == 0
        assert dps_simulator.trace() == []
        assert (dps_simulator.pace, dps_simulator.limits) == ("instant", "off")
        assert len(dps_simulator.running.hubs) == 1
        enroll(dps_simulator, f"thermostat-{turn}")
        dps_simulator.pace = dps_simulator.limits = "azure"
        dps_simulator.link_hub("contoso-hub-2.azure-devices.test")
        dps_simulator.call(lambda runtime: runtime.connection_refused("x.test", "for the test"))
        SEEN.append(dps_simulator.running.process_id)

    def test_it_is_the_same_all_the_time(dps_simulator):
        assert len(set(SEEN)) == 1 and len(SEEN) == 3

    @pytest.mark.parametrize("how", ["stop", "management"])
    def test_one_that_a_test_stopped_is_started_anew(dps_simulator, how):
        assert dps_simulator.is_running
        if how == "stop":
            dps_simulator.stop()
        else:
            dps_simulator.call(lambda runtime: runtime.stopping.set())
        assert not dps_simulator.is_running

    def test_and_is_there_again(dps_simulator):
        assert dps_simulator.is_running and count(dps_simulator) == 0

    def test_without_it():
        pass
"""

OTHER_SETTINGS = """
    import pytest
    from dps_simulator import HubSettings, Settings

    @pytest.fixture(scope="session")
    def dps_simulator_settings():
        return Settings(pace="polls=2", id_scope="0neMINE", hubs=(HubSettings("a.test"), HubSettings("b.test")))

    def test_settings_of_one_s_own(dps_simulator):
        assert dps_simulator.pace == "polls=2"
        assert dps_simulator.running.id_scope == "0neMINE"
        assert [hub.host for hub in dps_simulator.running.hubs] == ["a.test", "b.test"]
"""

WITHOUT = """
    import sys

    def test_nothing_of_it_is_loaded():
        heavy = {"aiohttp", "OpenSSL", "cryptography", "sqlite3", "dps_simulator.simulator"}
        if sys.version_info < (3, 14):
            # later, pytest brings it with the debugger
            heavy.add("asyncio")
        assert heavy & set(sys.modules) == set()
"""


def foreign(folder, text, *arguments):
    """Run a test file as its project would: with what is installed, and none of our own configuration."""
    (folder / "test_foreign.py").write_text(textwrap.dedent(text))
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV_", "DPS_SIM"))
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture(autouse=True)
def _installed(request):
    from importlib.metadata import entry_points

    if not any(point.name == "dps_simulator" for point in entry_points(group="pytest11")):
        pytest.skip("the project is not installed here, so others do not see its plugin")


def test_the_installed_fixture_gives_every_test_an_empty_simulator(tmp_path):
    result = foreign(tmp_path, FOREIGN_TEST)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert "8 passed" in result.stdout


def test_settings_are_overridden_by_a_fixture(tmp_path):
    result = foreign(tmp_path, OTHER_SETTINGS)
    assert result.returncode == 0, result.stdout
    assert "1 passed" in result.stdout


def test_who_does_not_use_it_does_not_pay_for_it(tmp_path):
    # other plugins that happen to be installed may load what they like
    others = ["anyio", "hypothesispytest", "xdist", "pytest_cov", "nbval", "timeout"]
    result = foreign(tmp_path, WITHOUT, *[f"-pno:{name}" for name in others])
    assert result.returncode == 0, result.stdout
    assert "1 passed" in result.stdout


def test_it_is_listed_with_its_words(tmp_path):
    result = foreign(tmp_path, WITHOUT, "--fixtures")
    assert "dps_simulator -- " in result.stdout
    assert "A running simulator without enrollments, registrations and devices;" in result.stdout
    assert "Settings of the simulator; override it to change them." in result.stdout


def test_here_it_is_loaded_by_its_module(dps_simulator):
    assert isinstance(dps_simulator, Simulator)
    assert dps_simulator.pace == "instant"


@pytest.mark.parametrize("turn", [1, 2])
def test_linked_hubs_are_gone_in_the_next_test(dps_simulator, turn):
    assert len(dps_simulator.running.hubs) == 1
    dps_simulator.link_hub("contoso-hub-2.azure-devices.test")
