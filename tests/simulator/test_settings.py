import base64
from pathlib import Path

import pytest

from helpers.simulator.domain.registration import MAX_POLLS, Pace
from helpers.simulator.settings import KEYS, HubSettings, Policy, Settings, SettingsError, TlsFiles, load

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
        ("[[hubs]]\nhost = 3", "all texts"),
        ("[[hubs]]\npolicy_name = 'x'", "no host"),
        ("[[hubs]]\nhost = 'x.y:443'", "hubs: 'x.y:443'"),
        ("[[hubs]]\nhost = 'x.y'\n[[hubs]]\nhost = 'x.y'", "more than once"),
        ("[tls]\ncertificate = 'server.pem'", "both certificate and key"),
        ("id_scope = ", "not valid TOML"),
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
