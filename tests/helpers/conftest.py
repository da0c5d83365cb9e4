from pathlib import Path

import pytest

from helpers import certificates, workspace
from helpers.target import of_simulator

#: Rooms whose tests leave nothing to the garbage collector.
WITHOUT_SDK = ("tpm", "runner")

NAMES = {
    "registration_id": "thermostat-001",
    "device_id": "kitchen-thermostat",
    "group_id": "thermostats",
    "member_id": "thermostat-101",
}


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and item.path.parent.name not in WITHOUT_SDK:
            # the device SDK leaves the sockets of a client to the garbage collector
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"))


@pytest.fixture
def names():
    return dict(NAMES)


@pytest.fixture
def own_workspace(tmp_path, monkeypatch):
    """A workspace for one test."""
    folder = tmp_path / "workspace"
    monkeypatch.setenv("DPS_WORKSPACE", str(folder))
    return folder


@pytest.fixture
def simulator(dps_simulator):
    """An empty simulator; one for all tests of a worker, as starting one takes longer than many of them."""
    return dps_simulator


@pytest.fixture
def dps(simulator, own_workspace):
    """A target with a simulator and a workspace of its own."""
    with of_simulator(simulator.running) as target:
        yield target


@pytest.fixture(scope="module")
def root():
    return certificates.create_root("Contoso Pumps Root")


@pytest.fixture(scope="module")
def line(root):
    return root.issue_intermediate("Contoso Pumps Line 1")


@pytest.fixture(scope="module")
def device(line):
    return line.issue_device("pump-101")


class FakePlace:
    """As much of a target as the workspace needs."""

    name = "simulator"
    id_scope = "0ne00000A01"
    is_simulator = True


@pytest.fixture
def place(own_workspace):
    assert workspace.root() == own_workspace
    return FakePlace()


@pytest.fixture
def said(capsys):
    """What an exercise says: ``solved``, or its hint."""

    def call(check, *arguments, **options):
        # what was said before is not about this exercise
        capsys.readouterr()
        check(*arguments, **options)
        shown = capsys.readouterr().out
        if shown.startswith("✓ solved: "):
            return "solved"
        assert shown.startswith("○ not yet: ")
        return shown.partition("Hint: ")[2].strip()

    return call
