"""The simulator as others get it: a wheel in an empty environment, beside a project that has a `helpers` of its own."""

import re
import zipfile

import pytest
from fresh_environments import Fresh, copy_of_simulator, environment, run_readme

#: What the simulator and everything that it needs may weigh, without the official clients, as installed.
MEGABYTES = 40

FIRST_DEVICE = """if True:
    import time
    from azure.iot.device import ProvisioningDeviceClient
    from azure.iot.deviceprovisioning import DeviceProvisioningClient
    from dps_simulator import Simulator

    began = time.perf_counter()
    with Simulator(pace="instant") as simulator:
        with simulator.service_client() as service:
            body = {"registrationId": "thermostat-001", "attestation": {"type": "symmetricKey"}}
            keys = service.enrollment.create_or_update("thermostat-001", body)["attestation"]["symmetricKey"]
        device = ProvisioningDeviceClient.create_from_symmetric_key(
            provisioning_host=simulator.provisioning_host, id_scope=simulator.id_scope,
            registration_id="thermostat-001", symmetric_key=keys["primaryKey"], **simulator.device_options)
        assert device.register().status == "assigned"
        print(f"{time.perf_counter() - began:.2f}")
"""
WITHOUT_CLIENTS = """if True:
    from dps_simulator import Simulator
    with Simulator() as simulator:
        try:
            simulator.device_options
        except ModuleNotFoundError as error:
            print(error)
"""


@pytest.fixture(scope="module")
def wheel(request, tmp_path_factory):
    """The wheel, built by pip."""
    folder = tmp_path_factory.mktemp("wheel")
    builder = Fresh(folder / "builder")
    source = copy_of_simulator(request.config.rootpath, folder)
    builder.install("setuptools>=77")
    done = builder.run("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder / "dist", source)
    assert done.returncode == 0, done.stderr
    (found,) = (folder / "dist").glob("*.whl")
    return found


@pytest.mark.anywhere
def test_the_wheel_holds_the_simulator_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
        points = archive.read(next(name for name in names if name.endswith("/entry_points.txt"))).decode()
    assert {re.sub(r"-[\d.]+\.dist-info", "", name.split("/")[0]) for name in names} == {"dps_simulator"}
    assert not [name for name in names if re.search(r"(^|/)(tests?|tools|benchmarks|helpers|build)/|/test_", name)]
    assert "dps_simulator/py.typed" in names
    assert any(name.endswith("/LICENSE") for name in names)
    assert "[pytest11]\ndps_simulator = dps_simulator.pytest_plugin" in points
    assert "dps-simulator = dps_simulator.__main__:main" in points
    assert "# dps-simulator" in metadata


@pytest.mark.anywhere
def test_it_works_beside_a_project_with_helpers_of_its_own(wheel, repository, tmp_path, record_property):
    fresh = Fresh(tmp_path / "environment")
    fresh.install(wheel)
    megabytes = fresh.megabytes()
    said = fresh.run("-W", "error", "-c", WITHOUT_CLIENTS)
    assert "it comes with the extra [clients] of dps-simulator" in said.stdout, said.stderr
    fresh.install(f"{wheel}[clients]", "pytest")
    codes, said = run_readme(fresh.python, repository, tmp_path / "foreign", environment(tmp_path))
    assert codes == [0, 0], said
    assert "3 passed" in said
    done = fresh.run("-c", FIRST_DEVICE)
    assert done.returncode == 0, done.stderr
    record_property("figure", f"the simulator weighs {megabytes:.1f} MB without the official clients")
    record_property("figure", f"its first device is registered {float(done.stdout)} seconds after the imports")
    assert megabytes <= MEGABYTES
    # the state of one that was started without a word lies with the data of the user
    where = "from dps_simulator.settings import state_folder; print(state_folder.state({}))"
    assert fresh.run("-c", where).stdout.strip() == str(fresh.folder / "data" / "dps-workspace" / "simulator")
