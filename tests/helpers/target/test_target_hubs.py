import pytest

from helpers import workspace
from helpers.credentials import new_key
from helpers.target import TargetError, connect, of_simulator
from helpers.target import azure as azure_target
from helpers.target.simulator import _next_name

ONE, TWO, THREE = (f"contoso-hub-{number}.azure-devices.test" for number in (1, 2, 3))


def settings(*hubs):
    key = new_key().reveal()
    return {
        "PROVISIONING_IDSCOPE": "0ne00000A01",
        "PROVISIONING_SERVICE_CONNECTION_STRING": f"HostName=my.azure.net;SharedAccessKeyName=p;SharedAccessKey={key}",
        "IOTHUB_CONNECTION_STRING": " ".join(f"HostName={h};SharedAccessKeyName=p;SharedAccessKey={key}" for h in hubs),
    }


@pytest.fixture
def azure(monkeypatch, own_workspace):
    monkeypatch.setattr(azure_target, "port_is_open", lambda host, port: True)

    def make(*hubs):
        return connect("azure", settings=settings(*hubs))

    return make


def links(dps):
    found = dps.manage("GET", "/hubs")["hubs"]
    return {hub["host"]: hub for hub in found}


def test_the_simulator_makes_missing_hubs_unlinked_and_removes_them_again(dps):
    assert dps.hubs == (ONE,)
    assert dps.need_hubs(1) == (ONE,)
    assert dps.need_hubs(3) == (ONE, TWO, THREE) == dps.hubs
    assert dps.need_hubs(2) == (ONE, TWO)
    assert [hub["linked"] for hub in links(dps).values()] == [True, False, False]
    assert dps.registry(TWO).get_devices() == []
    assert dps.hub_connection_string(TWO).reveal().startswith(f"HostName={TWO};")
    assert TWO in dps._repr_mimebundle_()["text/plain"]

    assert dps.release_hubs() == (ONE,)
    assert set(links(dps)) == {ONE}
    assert workspace.claimed(dps) == []
    with pytest.raises(TargetError, match="is not known here"):
        dps.registry(TWO)
    assert dps.release_hubs() == (ONE,)


def test_another_kernel_finds_the_hub_and_can_remove_it(simulator, dps):
    dps.need_hubs(2)
    with of_simulator(simulator.running) as other:
        assert other.hubs == (ONE, TWO)
        assert other.need_hubs(2) == (ONE, TWO)
        assert other.release_hubs() == (ONE,)
    # this one does not know yet
    assert dps.need_hubs(1) == (ONE,)
    assert dps.release_hubs() == (ONE,)


def test_a_hub_that_somebody_else_made_stays(dps):
    dps.manage("PUT", f"/hubs/{TWO}", {"linked": True})
    assert dps.need_hubs(2) == (ONE, TWO)
    assert dps.release_hubs() == (ONE, TWO)


def test_a_claimed_hub_that_is_gone_is_forgotten(dps):
    dps.need_hubs(2)
    dps.manage("DELETE", f"/hubs/{TWO}")
    assert dps.release_hubs() == (ONE,)
    assert workspace.claimed(dps) == []


@pytest.mark.parametrize(
    ("hosts", "following"),
    [
        (["hub.test"], "hub-1.test"),
        (["hub-1.test"], "hub-2.test"),
        (["hub-1.test", "hub-2.test"], "hub-3.test"),
        (["hub-7.test", "hub-1.test"], "hub-2.test"),
        (["hub.test", "hub-1.test", "hub-3.test"], "hub-2.test"),
    ],
)
def test_the_next_name_is_counted_on(hosts, following):
    assert _next_name(hosts) == following


def test_latencies_are_for_the_simulator_only(dps, azure):
    assert dps.set_latencies({ONE: 12.5})
    assert links(dps)[ONE]["latency"] == 12.5
    assert dps.set_latencies({ONE: None})
    assert links(dps)[ONE]["latency"] is None
    with pytest.raises(TargetError, match="latency"):
        dps.set_latencies({ONE: -1})
    with azure("one.azure.net") as other:
        assert not other.set_latencies({"one.azure.net": 3})


def test_on_azure_the_settings_name_the_hubs(azure):
    with azure("one.azure.net", "two.azure.net") as dps:
        assert dps.need_hubs(2) == ("one.azure.net", "two.azure.net")
        assert dps.need_hubs(1) == ("one.azure.net",)
        assert dps.release_hubs() == ("one.azure.net", "two.azure.net")
        assert "SharedAccessKeyName=p" in dps.hub_connection_string("TWO.azure.net").reveal()
        with pytest.raises(TargetError) as problem:
            dps.need_hubs(3)
    assert "needs 3 hubs, and IOTHUB_CONNECTION_STRING names 2: one.azure.net, two.azure.net." in str(problem.value)
    assert "az iot hub create" in str(problem.value)
    assert "SharedAccessKey=" not in str(problem.value)


def test_a_simulator_that_has_gone_says_so(simulator, dps):
    simulator.stop()
    with pytest.raises(TargetError, match=r"connect\(\.\.\.\) again"):
        dps.need_hubs(2)
