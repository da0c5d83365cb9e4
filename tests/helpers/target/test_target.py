import base64
import datetime
import io
import json
import logging
import os
import socket
from contextlib import closing

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError, ResourceNotFoundError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from own_ports import own_port

from dps_simulator import Simulator
from dps_simulator.process import launcher
from helpers import workspace
from helpers.credentials import derive_device_key, new_key
from helpers.recipes.symmetric_key import register_device
from helpers.target import (
    TargetError,
    azure_settings,
    checked_id_scope,
    connect,
    normalised_host,
    of_simulator,
    port_is_open,
)
from helpers.target import azure as azure_target
from helpers.target import registry as registries

KEY = new_key().reveal()
SETTINGS = {
    "PROVISIONING_HOST": "https://global.azure-devices-provisioning.net/",
    "PROVISIONING_IDSCOPE": " 0ne00000A01 ",
    "PROVISIONING_SERVICE_CONNECTION_STRING": f"HostName=my.azure-devices-provisioning.net;SharedAccessKeyName=p;"
    f"SharedAccessKey={KEY}",
    "IOTHUB_CONNECTION_STRING": f"HostName=one.azure-devices.net;SharedAccessKeyName=p;SharedAccessKey={KEY}\n"
    f"HostName=two.azure-devices.net;SharedAccessKeyName=p;SharedAccessKey={KEY}",
}

MANAGEMENT = {
    "AZURE_SUBSCRIPTION_ID": "11111111-2222-3333-4444-555555555555",
    "AZURE_RESOURCE_GROUP": "pumps-group",
}


def certificate_of_an_authority():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Contoso Pumps Root")])
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )


@pytest.fixture
def ports_open(monkeypatch):
    asked = []
    monkeypatch.setattr(azure_target, "port_is_open", lambda host, port: asked.append((host, port)) or True)
    return asked


@pytest.fixture
def hostile(monkeypatch):
    """An environment that would lead every request astray."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "MQTT_PROXY"):
            monkeypatch.setenv(name, nowhere)
            monkeypatch.setenv(name.lower(), nowhere)
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/bundle.pem")
        monkeypatch.setenv("CURL_CA_BUNDLE", "/nowhere/bundle.pem")
        monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/bundle.pem")
        yield


def provision(dps, registration_id="a"):
    service = dps.service_client()
    made = service.enrollment.create_or_update(
        registration_id, {"registrationId": registration_id, "attestation": {"type": "symmetricKey"}}
    )
    from helpers.credentials import Secret

    key = Secret(made["attestation"]["symmetricKey"]["primaryKey"])
    return register_device(dps, registration_id, key)


@pytest.mark.sdk
def test_everything_reaches_the_simulator_whatever_the_environment_says(dps, hostile):
    before = dict(os.environ)
    state = provision(dps)
    assert state.assigned_hub == dps.hubs[0]
    assert dps.registry(dps.hubs[0]).get_device("a").device_id == "a"
    rest = rest_registry(dps)
    assert rest.get_device("a").device_id == "a"
    rest.close()
    assert {event["service"] for event in dps.events()} == {"enrollments", "provisioning", "registry"}
    assert dict(os.environ) == before


def rest_registry(dps):
    return registries.RestRegistry(dps._connection(dps.hubs[0]), **dps._way())


@pytest.mark.sdk
def test_events_can_be_had_from_a_point_on_and_for_one_device(dps):
    provision(dps, "a")
    after = dps.last_event()
    provision(dps, "b")
    assert after > 0
    assert min(event["sequence"] for event in dps.events(after)) == after + 1
    assert {event["operation"] for event in dps.events(after, "a")} == set()
    mine = dps.events(device=["b"])
    assert [event["operation"] for event in mine if event["service"] == "provisioning"][:1] == ["connect"]
    assert {event["direction"] for event in mine if event["operation"] == "connect"} == {"in", "out"}


def test_the_banner_says_that_this_is_not_azure(dps):
    bundle = dps._repr_mimebundle_()
    assert bundle["text/plain"].startswith("Simulator on this machine — not Azure\n")
    assert dps.provisioning_host in bundle["text/html"]
    assert "Target(simulator" in repr(dps)
    assert "SharedAccessKey" not in str(bundle) + repr(dps)
    assert dps.provisioning_host.endswith(".test")


@pytest.mark.parametrize("name", ["azure.iot.device", "azure.iot.device.common.pipeline", "paho"])
def test_what_the_sdk_and_its_mqtt_client_complain_of_stays_from_below_the_cell(dps, name, monkeypatch):
    """Where nobody configured logging, Python prints warnings itself; a cell that writes to stderr fails a run."""
    printed = io.StringIO()
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler(printed))
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logging.getLogger("somebody else").error("Client is not connected.")
    assert printed.getvalue() == "Client is not connected.\n"
    logging.getLogger(name).error("Client is not connected.")
    assert printed.getvalue() == "Client is not connected.\n"


def test_an_unknown_hub_lists_the_known_ones(dps):
    with pytest.raises(TargetError, match=r"contoso-hub-1\.azure-devices\.test"):
        dps.registry("other")


def test_closing_twice_is_fine_and_a_client_is_made_once(dps):
    hub = dps.hubs[0]
    assert dps.registry(hub) is dps.registry(hub)
    dps.last_event()
    dps.close()
    dps.close()


def test_the_official_manager_is_asked_for_by_name(dps, monkeypatch):
    if registries.official_available():
        assert type(dps.registry_manager(dps.hubs[0])).__name__ == "IoTHubRegistryManager"
    monkeypatch.setattr(registries, "IoTHubRegistryManager", None)
    with pytest.raises(ImportError, match="uamqp"):
        dps.registry_manager(dps.hubs[0])


def test_a_simulator_that_has_gone_says_so(simulator, dps):
    dps.last_event()
    simulator.stop()
    with pytest.raises(TargetError, match=r"connect\(\.\.\.\) again"):
        dps.events()


def test_a_refused_management_call_says_so(dps):
    with pytest.raises(TargetError, match=r"refused GET /nothing: .*not supported"):
        dps.manage("GET", "/nothing")


def replaced(folder):
    """A target, a client of it, and the simulator that took the place of theirs: same ports, same keys."""
    place = {"state": folder, "proxy_port": own_port(), "tls_port": own_port()}
    with Simulator(**place) as simulator:
        dps = of_simulator(simulator.running)
        service = dps.service_client()
    return dps, service, Simulator(**place).start()


def test_a_notebook_that_connected_to_a_simulator_which_was_replaced_is_told(tmp_path):
    dps, service, another = replaced(tmp_path)
    try:
        for call in (dps.service_client, dps.last_event, lambda: dps.need_hubs(2)):
            with pytest.raises(TargetError, match=r"started anew since .*connect\(\.\.\.\) again"):
                call()
        # what does not need the token goes on
        assert list(service.enrollment.query({"query": "SELECT *"})) == []
        dps.close()
    finally:
        another.stop()


def test_only_what_is_the_simulators_own_is_removed_with_it(tmp_path, monkeypatch, dps):
    state = tmp_path / "mine"
    state.mkdir(mode=0o700)
    (state / "notes.txt").write_text("mine")
    monkeypatch.setenv("DPS_SIMULATOR_STATE", str(state))
    with Simulator(state=state):
        pass
    assert len(list(state.iterdir())) > 1
    assert dps.remove_simulator() is False
    assert [each.name for each in state.iterdir()] == ["notes.txt"]


def test_connect_starts_the_simulator_of_the_workspace_and_removes_it(own_workspace):
    first = connect("simulator")
    second = connect()
    try:
        assert second.provisioning_host == first.provisioning_host
        assert launcher.find(workspace.simulator_state()) is not None
        second.close()
    finally:
        assert first.remove_simulator()
    assert launcher.find(workspace.simulator_state()) is None
    assert not workspace.simulator_state().exists()


def test_an_unknown_target_is_refused():
    with pytest.raises(TargetError, match="'aws'; it must be one of simulator, azure"):
        connect("aws")


def test_azure_is_configured_by_settings(ports_open):
    with connect("azure", settings=SETTINGS) as dps:
        assert not dps.is_simulator
        assert dps.provisioning_host == "global.azure-devices-provisioning.net"
        assert dps.id_scope == "0ne00000A01"
        assert dps.hubs == ("one.azure-devices.net", "two.azure-devices.net")
        assert dps.service_host == "my.azure-devices-provisioning.net"
        assert dps.device_options == {}
        assert ports_open == [("global.azure-devices-provisioning.net", 8883)]
        assert dps._repr_mimebundle_()["text/plain"].startswith("Azure — your own resources")
        assert dps.service_client() is not None
        assert dps.registry("ONE.azure-devices.net") is not None
        assert not dps.remove_simulator()
        assert KEY not in repr(dps) + str(vars(dps))
        with pytest.raises(TargetError, match="add this hub's connection string"):
            dps.registry("three.azure-devices.net")


def test_where_8883_is_closed_azure_is_reached_by_websockets(monkeypatch):
    monkeypatch.setattr(azure_target, "port_is_open", lambda host, port: False)
    with connect("azure", settings=SETTINGS) as dps:
        assert dps.device_options == {"websockets": True}


def test_all_missing_settings_are_listed_with_where_to_find_them():
    with pytest.raises(TargetError) as problem:
        connect("azure", settings={"PROVISIONING_IDSCOPE": "0ne00000A01"})
    text = str(problem.value)
    assert "PROVISIONING_SERVICE_CONNECTION_STRING\n" in text
    assert "IOTHUB_CONNECTION_STRING\n" in text
    assert "PROVISIONING_IDSCOPE" not in text
    assert "az iot hub connection-string show" in text


def test_all_wrong_settings_are_listed_at_once_without_secrets(ports_open):
    wrong = {
        "PROVISIONING_HOST": "not a host",
        "PROVISIONING_IDSCOPE": "mydps",
        "PROVISIONING_SERVICE_CONNECTION_STRING": f"HostName=a.b;SharedAccessKey={KEY}",
        "IOTHUB_CONNECTION_STRING": f"HostName=a.b;SharedAccessKeyName=p;SharedAccessKey={KEY[:-3]}",
    }
    with pytest.raises(TargetError) as problem:
        connect("azure", settings=wrong)
    text = str(problem.value)
    for expected in ("'not a host'", "'mydps'", "lacks SharedAccessKeyName", "not valid base64"):
        assert expected in text
    assert KEY[:12] not in text


def test_settings_come_from_the_file_and_the_environment_wins(monkeypatch, tmp_path):
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    package = tmp_path / "helpers" / "target"
    package.mkdir(parents=True)
    (tmp_path / ".env").write_text('PROVISIONING_IDSCOPE="0ne00000A01"\nPROVISIONING_HOST=a.b\nOTHER=${HOME}\n')
    monkeypatch.setattr(azure_target, "__file__", str(package / "azure.py"))
    monkeypatch.setenv("PROVISIONING_HOST", "c.d")
    assert azure_settings() == {"PROVISIONING_IDSCOPE": "0ne00000A01", "PROVISIONING_HOST": "c.d"}
    assert "PROVISIONING_IDSCOPE" not in os.environ
    monkeypatch.setenv("PROVISIONING_IDSCOPE", "nonsense")
    with pytest.raises(TargetError, match="PROVISIONING_SERVICE_CONNECTION_STRING"):
        connect("azure")


def upload_root(dps):
    content = base64.b64encode(certificate_of_an_authority()).decode()
    return dps.management_client().dps_certificate.create_or_update(
        resource_group_name=dps.resource_group,
        provisioning_service_name=dps.service_name,
        certificate_name="contoso-pumps-root",
        certificate_description={"properties": {"certificate": content}},
    )


@pytest.mark.sdk
def test_the_management_client_reaches_the_simulator_whatever_the_environment_says(dps, hostile, monkeypatch):
    monkeypatch.setenv("AZURE_CLOUD", "nonsense")
    before = dict(os.environ)
    uploaded = upload_root(dps)
    assert uploaded.name == "contoso-pumps-root"
    assert f"/resourceGroups/{dps.resource_group}/" in uploaded.id
    assert dps.service_host.startswith(f"{dps.service_name}.")
    events = [event for event in dps.events() if event["service"] == "management"]
    assert [event["operation"] for event in events] == ["upload CA certificate"] * 2
    assert dps._running.management_token not in json.dumps(events) + repr(dps) + repr(vars(dps))
    assert dict(os.environ) == before


@pytest.mark.sdk
def test_a_replaced_key_is_good_from_the_next_client_on(dps):
    before = dps.service_client()
    where = {"resource_group_name": dps.resource_group, "provisioning_service_name": dps.service_name}
    service = dps.management_client().iot_dps_resource
    description = service.get(**where)
    [owner] = service.list_keys(**where)
    owner.primary_key = KEY
    description.properties.authorization_policies = [owner]
    service.begin_create_or_update(dps.resource_group, dps.service_name, description).result()
    with pytest.raises(ClientAuthenticationError):
        before.enrollment.get("a")
    with pytest.raises(ResourceNotFoundError):
        dps.service_client().enrollment.get("a")
    assert KEY not in repr(vars(dps))


def test_there_is_one_management_client_until_the_target_is_closed(dps):
    first = dps.management_client()
    assert dps.management_client() is first
    dps.close()
    assert dps.management_client() is not first


def test_a_client_of_a_simulator_that_has_gone(simulator, dps):
    simulator.stop()
    with pytest.raises(TargetError, match=r"connect\(\.\.\.\) again"):
        dps.service_client()


class Login:
    """As much of a login as the client needs before its first request."""

    made = ()

    def __init__(self):
        Login.made = (*Login.made, self)
        self.closed = False

    def get_token(self, *scopes, **options):
        raise NotImplementedError

    def close(self):
        self.closed = True


def test_azure_is_managed_with_the_login_of_the_machine(ports_open, monkeypatch):
    monkeypatch.setattr("azure.identity.DefaultAzureCredential", Login)
    monkeypatch.setattr(Login, "made", ())
    with connect("azure", settings={**SETTINGS, **MANAGEMENT}) as dps:
        assert (dps.resource_group, dps.service_name) == ("pumps-group", "my")
        assert Login.made == ()
        client = dps.management_client()
        assert client._config.subscription_id == MANAGEMENT["AZURE_SUBSCRIPTION_ID"]
        assert client._config.base_url.rstrip("/") == "https://management.azure.com"
        assert client._config.credential is Login.made[0]
        assert dps.management_client() is client
        assert len(Login.made) == 1
    assert Login.made[0].closed


@pytest.mark.parametrize("missing", [{"AZURE_RESOURCE_GROUP"}, {"AZURE_SUBSCRIPTION_ID"}, set(MANAGEMENT)])
def test_what_only_management_needs_is_asked_for_late(ports_open, missing):
    settings = {name: value for name, value in {**SETTINGS, **MANAGEMENT}.items() if name not in missing}
    with connect("azure", settings=settings) as dps:
        assert dps.service_client() is not None
        with pytest.raises(TargetError) as problem:
            dps.management_client()
        assert {name for name in MANAGEMENT if f"  {name}\n" in str(problem.value)} == missing
        assert "az login" in str(problem.value)
        if "AZURE_RESOURCE_GROUP" in missing:
            with pytest.raises(TargetError, match="AZURE_RESOURCE_GROUP"):
                dps.resource_group  # noqa: B018


def test_settings_of_the_management_plane_are_read_like_the_others(monkeypatch, tmp_path):
    for name in (*SETTINGS, *MANAGEMENT):
        monkeypatch.delenv(name, raising=False)
    package = tmp_path / "helpers" / "target"
    package.mkdir(parents=True)
    (tmp_path / ".env").write_text("AZURE_RESOURCE_GROUP=from-file\nAZURE_CLIENT_SECRET=other\n")
    monkeypatch.setattr(azure_target, "__file__", str(package / "azure.py"))
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "of-environment")
    assert azure_settings() == {"AZURE_RESOURCE_GROUP": "from-file", "AZURE_SUBSCRIPTION_ID": "of-environment"}


@pytest.mark.parametrize(
    "text", ["global.azure-devices-provisioning.net", "HTTPS://Global.azure-devices-provisioning.net/x", " a.b/ "]
)
def test_hosts_are_normalised(text):
    assert normalised_host(text) in {"global.azure-devices-provisioning.net", "a.b"}


@pytest.mark.parametrize("text", ["", "a b.c", "localhost", "http://", "a..b", "-a.b", "x" * 300 + ".net"])
def test_what_is_no_host_is_refused(text):
    with pytest.raises(TargetError, match="host name"):
        normalised_host(text)


@pytest.mark.parametrize("text", ["", "0ne", "one00000A01", "0ne00000A0!", "0ne00000A012", "mydps.net"])
def test_what_is_no_id_scope_is_refused(text):
    with pytest.raises(TargetError, match="0ne"):
        checked_id_scope(text)


def test_the_probe_tells_open_from_closed():
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert not port_is_open("127.0.0.1", port, 0.5)
        server.listen()
        assert port_is_open("127.0.0.1", port, 0.5)


def test_nobody_else_trusts_the_simulator(dps):
    with requests.Session() as session:
        session.trust_env = False
        session.proxies = {"https": dps._running.proxy_url}
        with pytest.raises(requests.exceptions.SSLError):
            session.get(f"https://{dps.service_host}/")


def test_derived_keys_agree_with_the_simulator(dps, names):
    document = workspace.need("symmetric_key.enrollments", dps, **names)
    assert document["member"]["key"] == derive_device_key(document["group"]["key"], names["member_id"])
    assert register_device(dps, names["member_id"], document["member"]["key"]).device_id == names["member_id"]
