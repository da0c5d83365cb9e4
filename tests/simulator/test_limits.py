"""Limits are switched while the simulator runs, in Python and by its management API, and documented."""

import pytest
import requests
from patience import PATIENCE

from dps_simulator import Settings, Simulator
from dps_simulator.common.throttling import LIMITS, Limits
from dps_simulator.process import launcher


@pytest.fixture(scope="module")
def simulator():
    with Simulator(pace="instant") as simulator:
        yield simulator


@pytest.fixture
def api(simulator):
    running = simulator.running
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(running.certificate_authority_file)
        session.headers["Authorization"] = f"Bearer {running.management_token}"
        yield lambda method, **options: session.request(
            method, f"{running.management_url}/limits", timeout=PATIENCE, **options
        )
    simulator.limits = "off"


def test_they_come_from_the_settings():
    with Simulator(Settings(limits="azure,registrations_per_minute=20")) as simulator:
        assert simulator.limits == "azure,registrations_per_minute=20"


def test_they_are_off_and_can_be_switched(simulator, api):
    assert simulator.limits == "off"
    off = api("GET").json()
    assert off == Limits().to_json()
    simulator.limits = "azure"
    azure = api("GET").json()
    assert (azure["mode"], azure["polls_per_ten_seconds"]) == ("azure", 5)
    answer = api("PUT", json={"mode": "azure", "hub_units": 2, "polls_per_ten_seconds": None})
    assert (answer.status_code, answer.json()["queries_per_minute"]) == (200, 40)
    assert simulator.limits == "azure,hub_units=2,polls_per_ten_seconds=off"
    # what was read can be put back
    assert api("PUT", json=azure).json() == azure
    assert api("PUT", json=off).json() == off
    assert launcher.manage(simulator.running, "GET", "/limits") == off
    assert api("PUT", json={}).json() == off


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "must be a JSON object"),
        ({"mode": "on"}, "mode is 'on'"),
        ({"mode": 5}, "mode is 5"),
        ({"registrations": 0}, "registrations is 0"),
        ({"registrations": "many"}, "registrations is 'many'"),
        ({"registration": 5}, "'registration' is no limit"),
        ({"hub_units": None}, "hub_units is None"),
    ],
)
def test_wrong_limits_change_nothing(simulator, api, body, said):
    simulator.limits = "registrations_per_minute=7"
    answer = api("PUT", json=body)
    assert answer.status_code == 400
    assert said in answer.json()["message"]
    with pytest.raises(ValueError, match="mode is 'on'"):
        simulator.limits = "on"
    assert simulator.limits == "registrations_per_minute=7"


def test_all_services_of_one_simulator_have_them(simulator):
    def throttles(runtime):
        services = runtime.services
        hubs = [services.hubs.find(endpoint.host) for endpoint in services.hubs.endpoints()]
        return {services.throttle, services.provisioning.throttle, *(hub.throttle for hub in hubs)}

    assert len(simulator.call(throttles)) == 1


def test_linked_hubs_have_a_limit():
    with Simulator(limits="linked_hubs=1") as simulator:
        answer = requests.put(
            f"{simulator.running.management_url}/hubs/second.azure-devices.test",
            headers={"Authorization": f"Bearer {simulator.running.management_token}"},
            verify=str(simulator.running.certificate_authority_file),
            proxies={"https": ""},
            timeout=PATIENCE,
        )
        assert (answer.status_code, answer.json()["errorCode"]) == (403, 403_001)
        assert len(simulator.running.hubs) == 1


def test_the_documentation_has_the_numbers(repository):
    text = (repository / "docs" / "simulator.md").read_text(encoding="utf-8")
    table = text[text.index("<!-- limits:") :].partition("-->")[2].strip().partition("\n\n")[0].splitlines()
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table[2:]]

    def number(limit):
        if limit.per_unit == limit.published:
            return f"{limit.published} per unit"
        return f"{limit.published}, or {limit.per_unit} per unit" if limit.per_unit else str(limit.published)

    assert rows == [[limit.name, number(limit), limit.meaning] for limit in LIMITS]
