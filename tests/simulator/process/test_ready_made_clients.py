"""Whoever writes a test gets clients and options that know their simulator, and needs no single field of it."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from azure.iot.device import ProvisioningDeviceClient

from dps_simulator import HubSettings, Simulator
from dps_simulator.process import clients
from dps_simulator.provisioning.access_policies import new_key

NAME = "thermostat-001"
ENROLLMENT = {"registrationId": NAME, "attestation": {"type": "symmetricKey"}}
HUBS = (HubSettings("a.azure-devices.test"), HubSettings("b.azure-devices.test"))


@pytest.fixture(scope="module")
def simulator():
    with Simulator(pace="instant", hubs=HUBS) as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def _misled(monkeypatch):
    """The environment would lead every client elsewhere."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")


def test_a_device_is_enrolled_provisioned_and_found(simulator):
    with simulator.service_client() as service:
        keys = service.enrollment.create_or_update(NAME, ENROLLMENT)["attestation"]["symmetricKey"]
    device = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=simulator.provisioning_host,
        id_scope=simulator.id_scope,
        registration_id=NAME,
        symmetric_key=keys["primaryKey"],
        **simulator.device_options,
    )
    hub = device.register().registration_state.assigned_hub
    assert hub in {"a.azure-devices.test", "b.azure-devices.test"}
    # not for every machine and Python: see requirements.txt
    pytest.importorskip("azure.iot.hub")
    manager = simulator.registry_manager(hub)
    assert manager.get_device(NAME).device_id == NAME
    manager.protocol.close()


def test_what_is_read_from_the_endpoint_file_has_the_same(simulator):
    with simulator.running.service_client() as service:
        assert list(service.enrollment_group.query({"query": "SELECT * FROM enrollmentGroups"})) == []
    assert simulator.running.device_options.keys() == simulator.device_options.keys()


def test_the_login_of_the_management_client_shows_no_token():
    token = clients._Login("not-to-be-seen").get_token("https://management.azure.com/.default")
    # what azure-core reads of it
    assert (token.token, token.expires_on > 1_700_000_000) == ("not-to-be-seen", True)
    assert "not-to-be-seen" not in f"{token} {token!r} {[token]}"


def test_the_management_plane_has_its_client(simulator):
    with simulator.management_client() as manager:
        found = manager.iot_dps_resource.get("mydps", "any")
    assert found.properties.id_scope == simulator.id_scope


def test_the_client_has_the_key_that_is_good_now():
    with Simulator(pace="instant") as simulator:
        before = simulator.service_connection_string

        def renew(runtime):
            policies = runtime.services.policies
            policies.put(replace(policies.owner, primary_key=new_key()))

        simulator.call(renew)
        assert simulator.service_connection_string != before
        with simulator.service_client() as service:
            assert service.enrollment.create_or_update(NAME, ENROLLMENT)["registrationId"] == NAME


def test_connection_strings_of_hubs(simulator):
    assert simulator.hub_connection_string().startswith("HostName=a.azure-devices.test;")
    assert simulator.hub_connection_string("b.azure-devices.test").startswith("HostName=b.azure-devices.test;")
    with pytest.raises(ValueError, match=r"no hub 'c\.test'; there are a\.azure-devices\.test, b\."):
        simulator.hub_connection_string("c.test")


def test_a_child_process_finds_it_and_nothing_else(simulator, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    program = "import os, json; print(json.dumps(dict(os.environ)))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=simulator.environment(), check=True, capture_output=True, text=True
    )
    seen = json.loads(done.stdout)
    assert seen["PROVISIONING_HOST"] == simulator.provisioning_host
    assert seen["HTTPS_PROXY"] == simulator.running.proxy_url
    assert seen["PATH"] == os.environ["PATH"]
    assert not set(clients.MISLEADING) & set(seen)
    assert simulator.environment({"A": "1", "no_proxy": "*"}).keys() & {"A", "no_proxy", "PATH"} == {"A"}


@pytest.mark.parametrize(
    ("use", "package"),
    [
        (lambda simulator: simulator.device_options, "azure-iot-device"),
        (lambda simulator: simulator.service_client(), "azure-iot-deviceprovisioning"),
        (lambda simulator: simulator.registry_manager(), "azure-iot-hub"),
        (lambda simulator: simulator.management_client(), "azure-mgmt-iothubprovisioningservices"),
        (lambda simulator: simulator.session(), "requests"),
    ],
)
def test_a_package_that_is_missing_is_named_with_the_extra(simulator, monkeypatch, use, package):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])

    monkeypatch.setattr(clients, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match=rf"^{package} is not installed here; .*\[clients\] of dps-simulator"):
        use(simulator)


def test_a_package_that_lacks_another_one_says_so_itself(simulator, monkeypatch):
    def lacks(name):
        raise ModuleNotFoundError("No module named 'six'", name="six")

    monkeypatch.setattr(clients, "import_module", lacks)
    with pytest.raises(ModuleNotFoundError, match="'six'"):
        _ = simulator.device_options


def test_nothing_official_is_loaded_before_it_is_asked_for():
    program = """if True:
        import sys
        from dps_simulator import Simulator
        with Simulator() as simulator:
            simulator.environment()
        print(sorted(name for name in sys.modules if name.split(".")[0] in ("azure", "requests", "msrest")))
    """
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
