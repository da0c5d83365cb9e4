import base64
import logging
import os
from pathlib import Path

import pytest

from dps_simulator import Simulator
from dps_simulator.common.hub_links import HubLink
from dps_simulator.provisioning.registration.states import MAX_POLLS, Pace
from dps_simulator.settings.settings import KEYS, HubSettings, Policy, Settings, SettingsError, TlsFiles, load

KEY = base64.b64encode(b"NOT-A-SECRET-NOT-A-SECRET").decode()

FILE = f"""
id_scope = "0ne00000B02"
provisioning_host = "global.azure-devices-provisioning.test"
service_host = "mydps.azure-devices-provisioning.test"
pace = "polls=3"
state = "folder"
standard_ports = true
proxy_port = 4711
[service_policy]
name = "owner"
key = "{KEY}"
[[hubs]]
host = "contoso-hub-1.azure-devices.test"
policy_name = "iothubowner"
policy_key = "{KEY}"
[[hubs]]
host = "contoso-hub-2.azure-devices.test"
[tls]
certificate = "server.pem"
key = "server.key"
"""


def test_the_documented_file_sets_everything(tmp_path):
    file = tmp_path / "simulator.toml"
    file.write_text(FILE)
    settings = load(file=file)
    assert settings.id_scope == "0ne00000B02"
    assert settings.pace == "polls=3"
    assert settings.state == tmp_path / "folder"
    assert settings.standard_ports is True
    assert settings.proxy_port == 4711
    assert settings.service_policy == Policy("owner", KEY)
    assert settings.hubs == (
        HubSettings("contoso-hub-1.azure-devices.test", Policy("iothubowner", KEY)),
        HubSettings("contoso-hub-2.azure-devices.test", Policy("iothubowner", "")),
    )
    assert settings.tls is not None
    assert settings.tls.certificate == tmp_path / "server.pem"


def test_nothing_given_gives_the_defaults():
    assert load() == Settings()


def test_flags_win_over_environment_which_wins_over_the_file(tmp_path):
    file = tmp_path / "simulator.toml"
    file.write_text('id_scope = "0neFILE"\npace = "polls=1"\nbind = "127.0.0.2"\n')
    settings = load(
        file=file,
        environment={"DPS_SIMULATOR_ID_SCOPE": "0neENV", "DPS_SIMULATOR_PACE": "azure", "PATH": "ignored"},
        flags={"id_scope": "0neFLAG", "pace": None, "standard_ports": False, "hubs": []},
    )
    assert (settings.id_scope, settings.pace, settings.bind) == ("0neFLAG", "azure", "127.0.0.2")


def test_every_key_has_a_variable_and_every_open_key_a_flag():
    assert {key.variable for key in KEYS} >= {"DPS_SIMULATOR_SERVICE_POLICY_KEY", "DPS_SIMULATOR_HUBS"}
    assert {key.flag for key in KEYS} >= {"--hub", "--service-policy-name", "--standard-ports", "--tls-certificate"}


def test_hubs_in_the_environment_are_names_or_connection_strings():
    settings = load(
        environment={
            "DPS_SIMULATOR_HUBS": "A.azure-devices.test\n"
            f"HostName=b.azure-devices.test;SharedAccessKeyName=service;SharedAccessKey={KEY}"
        }
    )
    assert settings.hubs == (
        HubSettings("a.azure-devices.test"),
        HubSettings("b.azure-devices.test", Policy("service", KEY)),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('pace = "slow"', "'slow'"),
        ('id_scope = "0ne-00"', "'0ne-00'"),
        ('id_scop = "0ne"', "id_scop is unknown"),
        ("pace = 1.5", "pace is a float"),
        ('provisioning_host = "https://global.test"', "without https://"),
        ('bind = "all"', "'all'"),
        ("proxy_port = 70000", "0 to 65535"),
        ('standard_ports = "perhaps"', "'perhaps'"),
        ('state = " "', "a path is empty"),
        ("[service_policy]\nkey = 'not base64'", "not base64"),
        ("[service_policy]\nkey = 'c2hvcnQ='", "5 bytes"),
        ("[service_policy]\nname = 'a b'", "'a b'"),
        ("hubs = 3", "[[hubs]]"),
        ("hubs = []", "hubs is empty"),
        ("[[hubs]]\nname = 'x'", "name is unknown"),
        ("[[hubs]]\nhost = 3", "simulator.toml: [[hubs]] 1, host: 3 is not possible; expected a host name"),
        ("[[hubs]]\npolicy_name = 'x'", "[[hubs]] 1: a hub has no host"),
        ("[[hubs]]\nhost = 'a.b'\n[[hubs]]\nhost = 'x.y:443'", "[[hubs]] 2, host: 'x.y:443'"),
        (
            "[[hubs]]\nhost = 'x.y'\nweight = 0",
            "[[hubs]] 1, weight: 0 is not possible; expected a whole number from 1 to",
        ),
        ("[[hubs]]\nhost = 'x.y'\nweight = 1001", "weight: 1001"),
        ("[[hubs]]\nhost = 'x.y'\nweight = true", "weight: True"),
        ("[[hubs]]\nhost = 'x.y'\nweight = 1.5", "weight: 1.5"),
        ("[[hubs]]\nhost = 'x.y'\nlatency = -1", "latency: -1 is not possible; expected a number from 0 to"),
        ("[[hubs]]\nhost = 'x.y'\nlatency = inf", "latency: inf"),
        ("[[hubs]]\nhost = 'x.y'\nlatency = 'far'", "latency: 'far'"),
        ("[[hubs]]\nhost = 'x.y'\nlinked = 'no'", "linked: 'no' is not possible; expected true or false"),
        ("[[hubs]]\nhost = 'x.y'\napply_allocation_policy = 1", "apply_allocation_policy: 1"),
        ("[[hubs]]\nhost = 'x.y'\npolicy_name = 'a b'", "policy_name: 'a b'"),
        ("[[hubs]]\nhost = 'x.y'\npolicy_key = 5", "policy_key: a key is not a text"),
        ("allocation_policy = 'custom'", "allocation_policy: 'custom' is not possible; expected one of hashed, "),
        ("limits = 'on'", "limits: mode is 'on'"),
        ("limits = 'registrations_per_minute=0'", "limits: registrations_per_minute is 0"),
        ("[limits]\nregistrations_per_hour = 3", "[limits], 'registrations_per_hour' is no limit"),
        ("[limits]\nmode = 'azure'\ndevices = 2.5", "[limits], devices is 2.5"),
        ("limits = 5", "limits: mode is '5'"),
        ("[[hubs]]\nhost = 'x.y'\n[[hubs]]\nhost = 'x.y'", "more than once"),
        ("[tls]\ncertificate = 'server.pem'", "both certificate and key"),
        ("id_scope = ", "not valid TOML"),
        (f"id_scope = {'[' * 5000}", "not valid TOML"),
        (f"id_scope{'.x' * 900} = 1", "the key id_scope.x is unknown"),
        (f"[[enrollments]]\nregistrationId = 'd'\nx = {'{a = ' * 330}1{'}' * 330}", "simulator.toml"),
        ('state = "~no-such-user/x"', "'~no-such-user/x'"),
        ('state = "a\\u0000b"', "'a\\x00b'"),
    ],
)
def test_what_cannot_be_is_refused_with_file_key_and_value(tmp_path, text, said):
    file = tmp_path / "simulator.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(file=file)
    assert said in str(caught.value)


def test_a_secret_never_stands_in_an_error_or_a_repr():
    secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0*"
    with pytest.raises(SettingsError) as caught:
        load(environment={"DPS_SIMULATOR_SERVICE_POLICY_KEY": secret})
    assert secret not in str(caught.value)
    assert "DPS_SIMULATOR_SERVICE_POLICY_KEY" in str(caught.value)
    assert KEY not in repr(Policy("owner", KEY))


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"DPS_SIMULATOR_PAC": "azure"}, "DPS_SIMULATOR_PAC is unknown"),
        ({"DPS_SIMULATOR_HUBS": "HostName=a.b;SharedAccessKey=x"}, "exactly HostName"),
        ({"DPS_SIMULATOR_STANDARD_PORTS": "on"}, "'on'"),
    ],
)
def test_the_environment_is_checked_too(environment, said):
    with pytest.raises(SettingsError) as caught:
        load(environment=environment)
    assert said in str(caught.value)


def test_an_empty_variable_counts_as_not_set():
    assert load(environment={"DPS_SIMULATOR_PACE": ""}).pace == "azure"


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"missing\.toml cannot be read"):
        load(file=tmp_path / "missing.toml")


def test_switches_come_from_the_environment():
    assert load(environment={"DPS_SIMULATOR_STANDARD_PORTS": "yes"}).standard_ports is True
    assert load(environment={"DPS_SIMULATOR_STANDARD_PORTS": "0"}).standard_ports is False


def test_the_pace_is_understood_by_the_service():
    for pace in ("azure", "instant", "polls=0", f"polls={MAX_POLLS}"):
        assert str(Pace.parse(Settings(pace=pace).pace)) == pace
    for pace in (f"polls={MAX_POLLS + 1}", "polls=9999", "polls=-1", "polls=٣"):
        with pytest.raises(SettingsError, match="n up to 1000"):
            Settings(pace=pace)
        with pytest.raises(ValueError, match="up to"):
            Pace.parse(pace)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    file = tmp_path / "simulator.toml"
    file.write_bytes(b"\xef\xbb\xbf" + b'pace = "instant"')
    assert load(file=file).pace == "instant"


def test_the_authority_of_an_own_certificate(tmp_path):
    file = tmp_path / "simulator.toml"
    file.write_text('[tls]\ncertificate = "a.pem"\nkey = "/b.key"\nauthority = "c.pem"')
    tls = load(file=file).tls
    assert tls == TlsFiles(tmp_path / "a.pem", Path("/b.key"), tmp_path / "c.pem")
    with pytest.raises(SettingsError, match="both certificate and key"):
        load(environment={"DPS_SIMULATOR_TLS_AUTHORITY": "c.pem"})


def test_how_a_hub_is_linked(tmp_path):
    file = tmp_path / "simulator.toml"
    file.write_text(
        'allocation_policy = "geoLatency"\n'
        '[[hubs]]\nhost = "Hub-1.azure-devices.test"\nweight = 3\nlatency = 12\npolicy_key = ""\n'
        '[[hubs]]\nhost = "hub-2.azure-devices.test"\nlinked = false\napply_allocation_policy = false\n'
    )
    settings = load(file=file)
    assert settings.allocation_policy == "geoLatency"
    assert settings.hubs == (
        HubSettings("hub-1.azure-devices.test", weight=3, latency=12.0),
        HubSettings("hub-2.azure-devices.test", apply_allocation_policy=False, linked=False),
    )
    assert settings.hubs[0].link == HubLink("hub-1.azure-devices.test", True, 3, 12.0)
    with Simulator(settings) as simulator:
        links = simulator.call(lambda runtime: runtime.services.provisioning.links.all())
        policy = simulator.call(lambda runtime: runtime.services.provisioning.links.allocation_policy)
    assert (links, policy) == ((settings.hubs[0].link,), "geoLatency")


@pytest.mark.parametrize(
    ("hub", "said"),
    [
        ({"weight": 0}, "hubs, 2, weight: 0"),
        ({"latency": float("nan")}, "hubs, 2, latency: nan"),
        ({"linked": None}, "hubs, 2, linked: None"),
        ({"policy": Policy("a b")}, "hubs, 2, policy name: 'a b'"),
        ({"policy": Policy("a", "short")}, "hubs, 2, policy key: a key is not base64"),
    ],
)
def test_hubs_are_checked_without_a_file_too(hub, said):
    with pytest.raises(SettingsError) as caught:
        Settings(hubs=(HubSettings("a.b"), HubSettings("b.c", **hub)))
    assert said in str(caught.value)


def test_limits_come_from_everywhere(tmp_path):
    file = tmp_path / "simulator.toml"
    file.write_text(
        '[limits]\nmode = "azure"\nregistrations_per_minute = 20\npolls_per_ten_seconds = "off"\nhub_units = 2'
    )
    text = "azure,hub_units=2,registrations_per_minute=20,polls_per_ten_seconds=off"
    assert load(file=file).limits == text
    assert load(environment={"DPS_SIMULATOR_LIMITS": text}).limits == text
    assert load(file=file, flags={"limits": "registrations_per_minute=5"}).limits == "registrations_per_minute=5"
    file.write_text('limits = "azure"')
    assert load(file=file).limits == "azure"
    with pytest.raises(SettingsError, match="limits: mode is"):
        Settings(limits="on")


@pytest.mark.skipif(os.name != "posix", reason="needs modes of files")
@pytest.mark.parametrize(
    ("text", "is_secret"),
    [
        (FILE, True),
        (f'[[hubs]]\nhost = "x.y"\npolicy_key = "{KEY}"', True),
        (f'[[enrollments]]\nregistrationId = "d"\nattestation = {{symmetricKey = {{primaryKey = "{KEY}"}}}}', True),
        ('[tls]\ncertificate = "a.pem"\nkey = "a.key"', False),
        ('[[hubs]]\nhost = "x.y"\npolicy_key = ""', False),
        ('[[devices]]\ndeviceId = "d"\ntwin = {tags = {key = "of the house"}}', False),
        ('pace = "instant"', False),
    ],
)
@pytest.mark.parametrize("mode", [0o644, 0o620, 0o600, 0o400])
def test_keys_that_others_can_read_are_warned_about(tmp_path, caplog, text, is_secret, mode):
    file = tmp_path / "simulator.toml"
    file.write_text(text)
    file.chmod(mode)
    load(file=file)
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert bool(warned) is (is_secret and mode & 0o077 != 0)
    assert all(f"chmod 600 {file}" in message and KEY not in message for message in warned)


@pytest.mark.parametrize(
    ("settings", "constrained"),
    [
        ({}, None),
        ({"standard_ports": True}, False),
        ({"name_constraints": "off"}, False),
        ({"standard_ports": True, "name_constraints": "on"}, True),
    ],
)
def test_small_devices_come_to_the_standard_ports(settings, constrained):
    assert Settings(**settings).constrained is constrained
