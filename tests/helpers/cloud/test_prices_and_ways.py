"""Every price has a day and a source; what is said of ports is what the probe found."""

import re
from datetime import date
from types import SimpleNamespace

import pytest

from helpers.cloud import estimate, price_list, prices, ways
from helpers.parameter_rules import _RULES
from helpers.target import HTTPS_PORT, MQTT_PORT, PortState, Probe


def test_each_price_has_a_day_and_a_source():
    day = date.fromisoformat(prices.AS_OF)
    assert day >= date(2026, 11, 30)
    listed = price_list()
    assert f"As listed on {day}" in listed
    for each in prices.TIERS:
        assert re.search(r"\w+\.(?:com|cn|dev)\b", each.source), each.name
        assert f"  {each.name}: {each.source}" in listed
    assert f"DPS: {prices.DPS_SOURCE}" in listed


def test_an_estimate_adds_up():
    assert "USD 0 a month" in estimate(["F1"])
    assert "Hubs (F1, S1): USD 25 a month. A thirtieth of it, for a day: USD 0.83" in estimate(["F1", "S1"])
    assert "USD 50 a month" in estimate(["S1", "S1"])
    with pytest.raises(ValueError, match="P9"):
        estimate(["P9"])


def test_what_the_notebook_may_choose_has_a_price_and_can_run_the_notebooks():
    chosen = [each.name for each in prices.TIERS if _RULES["tier"].pattern.fullmatch(each.name)]
    assert chosen == ["F1", "S1"]


@pytest.fixture
def azure():
    return SimpleNamespace(
        is_simulator=False, provisioning_host="global.example", hubs=("a.example", "b.example"), device_options={}
    )


@pytest.mark.parametrize(
    ("closed", "told", "says"),
    [
        ([], False, "Devices use MQTT on port 8883"),
        ([("global.example", MQTT_PORT)], True, "Devices use WebSockets on port 443"),
        ([("b.example", MQTT_PORT)], False, "open to some hosts only"),
        ([("global.example", MQTT_PORT), ("a.example", HTTPS_PORT)], True, "nothing reaches Azure"),
    ],
)
@pytest.mark.parametrize("state", [PortState.REFUSED, PortState.SILENT, PortState.NAMELESS])
def test_the_way_of_the_devices_follows_from_the_ports(azure, closed, told, says, state):
    azure.device_options = {"websockets": True} if told else {}

    def look(host, port):
        return Probe(host, port, state if (host, port) in closed else PortState.OPEN)

    lines = ways(azure, look=look)
    assert says in lines[-1]
    assert len(lines) == 7
    assert sum(state.value in line for line in lines[:-1]) == len(closed)
    # whoever shows this to others shows no names of theirs
    assert not [line for line in lines if "example" in line]


def test_nothing_is_tried_for_the_simulator(azure):
    azure.is_simulator = True

    def look(host, port):
        raise AssertionError("it was tried")

    assert len(ways(azure, look=look)) == 1
