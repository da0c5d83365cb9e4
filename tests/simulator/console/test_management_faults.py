"""Faults are switched while the simulator runs, in Python and by its management API, which they never strike."""

import pytest
import requests
from patience import PATIENCE

from dps_simulator import Simulator

SECOND = "contoso-hub-2.azure-devices.test"


@pytest.fixture(scope="module")
def simulator():
    with Simulator(pace="instant") as simulator:
        yield simulator


@pytest.fixture
def session(simulator):
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(simulator.running.certificate_authority_file)
        yield session
    simulator.switch_off_faults()


@pytest.fixture
def api(simulator, session):
    running = simulator.running
    headers = {"Authorization": f"Bearer {running.management_token}"}

    def call(method, path="/faults", **options):
        return session.request(method, running.management_url + path, headers=headers, timeout=PATIENCE, **options)

    return call


def ask(simulator, session, host):
    proxies = {"https": simulator.running.proxy_url}
    return session.get(f"https://{host}/anything/at/all?api-version=2021-10-01", proxies=proxies, timeout=PATIENCE)


def test_nobody_gets_in_without_the_token(simulator, session):
    for method in ("GET", "PUT", "DELETE"):
        answer = session.request(method, f"{simulator.running.management_url}/faults", timeout=PATIENCE)
        assert answer.status_code == 401


def test_they_are_switched_on_read_and_switched_off(simulator, api):
    assert api("GET").json() == {"faults": []}
    answer = api("PUT", json={"service": "provisioning", "kind": "latency", "delay": 0.5})
    (fault,) = answer.json()["faults"]
    assert fault.pop("left") > 50
    assert fault == {
        "service": "provisioning",
        "kind": "latency",
        "delay": 0.5,
        "duration": 60.0,
        "count": None,
        "struck": 0,
    }
    simulator.switch_on_fault(simulator.running.hubs[0].host, "cut", count=3)
    assert [each["kind"] for each in api("GET").json()["faults"]] == ["latency", "cut"]
    gone = api("DELETE", "/faults?service=provisioning&kind=latency").json()["faults"]
    assert [each["kind"] for each in gone] == ["latency"]
    assert [each["kind"] for each in simulator.switch_off_faults(kind="cut")] == ["cut"]
    assert api("DELETE").json() == {"faults": []}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "must be a JSON object such as"),
        (None, "must be a JSON object such as"),
        ({"service": "provisioning", "kind": "fire"}, "kind is 'fire'; it must be one of"),
        ({"service": "management", "kind": "cut"}, "service is 'management'; it must be one of"),
        ({"service": "provisioning", "kind": "latency", "delay": 60}, "delay is 60; it must be"),
    ],
)
def test_wrong_ones_change_nothing(simulator, api, body, said):
    answer = api("PUT", json=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 400_901)
    assert said in answer.json()["message"]
    assert api("GET").json() == {"faults": []}


def test_a_misspelt_query_switches_nothing_off(simulator, api):
    simulator.switch_on_fault("provisioning", "latency")
    answer = api("DELETE", "/faults?kinds=cut")
    assert (answer.status_code, "'kinds' is unknown" in answer.json()["message"]) == (400, True)
    assert len(api("GET").json()["faults"]) == 1


@pytest.mark.parametrize("service", ["enrollments", "provisioning", "hub"])
def test_requests_are_cut_without_an_answer(simulator, session, api, service):
    running = simulator.running
    hosts = {
        "enrollments": running.service_host,
        "provisioning": running.provisioning_host,
        "hub": running.hubs[0].host,
    }
    simulator.switch_on_fault(hosts["hub"] if service == "hub" else service, "cut", count=1)
    for other in set(hosts) - {service}:
        assert ask(simulator, session, hosts[other]).status_code >= 400
    with pytest.raises(requests.ConnectionError):
        ask(simulator, session, hosts[service])
    assert ask(simulator, session, hosts[service]).status_code >= 400


def test_the_management_api_is_never_struck(simulator, session, api):
    for service in ("provisioning", "enrollments", simulator.running.hubs[0].host):
        for kind in ("cut", "throttling", "unavailable"):
            simulator.switch_on_fault(service, kind)
    assert api("GET", "/health").json()["status"] == "ready"
    # also under the name of a service, through the proxy
    answer = session.get(
        f"https://{simulator.running.service_host}/simulator/health",
        headers={"Authorization": f"Bearer {simulator.running.management_token}"},
        proxies={"https": simulator.running.proxy_url},
        timeout=PATIENCE,
    )
    assert answer.status_code == 200
    assert ask(simulator, session, simulator.running.management_host).status_code in (400, 401, 404)


def test_a_reset_and_the_end_of_a_hub_end_them(simulator, api):
    simulator.link_hub(SECOND)
    simulator.switch_on_fault(SECOND, "cut")
    simulator.switch_on_fault("provisioning", "cut")
    simulator.remove_hub(SECOND)
    assert [each["service"] for each in api("GET").json()["faults"]] == ["provisioning"]
    simulator.reset()
    assert api("GET").json() == {"faults": []}


def test_wrong_values_in_python(simulator):
    with pytest.raises(ValueError, match="service is 'nowhere'"):
        simulator.switch_on_fault("nowhere", "cut")
    with pytest.raises(ValueError, match="'speed' means nothing for cut"):
        simulator.switch_on_fault("provisioning", "cut", speed=1)
