"""The development mode: keys and ports that everybody knows, and nobody else who gets in."""

import re
import subprocess

import pytest
from own_ports import own_port
from simulator_processes import COMMAND, environment

from dps_simulator import HubSettings, Policy, Settings, SettingsError, Simulator
from dps_simulator.settings import development
from dps_simulator.settings.settings import load

STRING = (
    "HostName=mydps.azure-devices-provisioning.test;SharedAccessKeyName=provisioningserviceowner;"
    f"SharedAccessKey={development.KEY}"
)
OWN_KEY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="


def test_every_policy_has_the_published_key_and_every_port_is_known():
    settings = load(flags={"development": True, "hubs": ["a.test", "b.test"]})
    assert settings.service_policy.key == development.KEY
    assert {hub.policy.key for hub in settings.hubs} == {development.KEY}
    assert (settings.id_scope, settings.proxy_port, settings.tls_port) == ("0ne00000A01", 10_050, 10_051)
    assert load(environment={"DPS_SIMULATOR_DEVELOPMENT": "true"}).development


@pytest.mark.parametrize(
    "change",
    [
        {"bind": "0.0.0.0", "allow_remote": True},  # noqa: S104 - is refused
        {"bind": "192.0.2.1", "allow_remote": True},
        {"allow_remote": True},
    ],
)
def test_what_would_expose_it_is_refused(change):
    with pytest.raises(SettingsError, match="published, so no other machine may be let in"):
        Settings(development=True, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"service_policy": Policy("provisioningserviceowner", development.KEY)},
        {"hubs": (HubSettings("a.test", Policy("iothubowner", development.KEY)),)},
    ],
)
def test_the_published_key_is_refused_where_others_get_in_with_or_without_the_mode(change):
    with pytest.raises(SettingsError, match="published"):
        Settings(bind="192.0.2.1", allow_remote=True, **change)
    assert not Settings(**change).development


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"service_policy": Policy("owner", OWN_KEY)}, "service_policy"),
        ({"hubs": (HubSettings("a.test", Policy("iothubowner", OWN_KEY)),)}, "the hub a.test"),
    ],
)
def test_a_key_of_one_s_own_does_not_go_with_it(change, name):
    with pytest.raises(SettingsError, match=f"{name}: with development every policy") as caught:
        Settings(development=True, **change)
    assert OWN_KEY not in str(caught.value)


def test_serve_prints_the_connection_string_that_the_documents_name(tmp_path, repository):
    proxy, tls = own_port(), own_port()
    arguments = ["--development", "--proxy-port", str(proxy), "--tls-port", str(tls), "--in-memory"]
    process = subprocess.Popen(
        [*COMMAND, "serve", *arguments], env=environment(), stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    try:
        assert process.stdout.readline().startswith("ready: ID scope 0ne00000A01")
        assert process.stdout.readline() == f"development: {STRING}\n"
    finally:
        process.terminate()
        process.communicate()
    for name in ("simulator/README.md", "docs/simulator.md"):
        text = (repository / name).read_text(encoding="utf-8")
        assert re.search(rf"^{re.escape(STRING)}$", text, re.MULTILINE)
        assert str(development.PROXY_PORT) in text


def test_without_it_the_same_state_has_keys_of_its_own_again(tmp_path):
    proxy, tls = own_port(), own_port()
    with Simulator(state=tmp_path / "state", development=True, proxy_port=proxy, tls_port=tls) as simulator:
        assert simulator.service_connection_string == STRING
        assert development.KEY in simulator.hub_connection_string()
    with Simulator(state=tmp_path / "state") as simulator:
        assert development.KEY not in simulator.service_connection_string
        assert development.KEY not in simulator.hub_connection_string()
