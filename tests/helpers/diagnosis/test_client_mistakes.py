"""Mistakes at the clients, made with the unmodified SDKs, and what the table says of them."""

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
from azure.iot.device import X509, IoTHubDeviceClient, IoTHubModuleClient, ProvisioningDeviceClient, ProxyOptions
from azure.iot.device.aio import ProvisioningDeviceClient as AsyncProvisioningDeviceClient
from azure.iot.deviceprovisioning import DeviceProvisioningClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from patience import wait_until

from dps_simulator import Simulator, TlsFiles
from helpers import certificates
from helpers.credentials import Secret
from helpers.diagnosis import explain
from helpers.target import TargetError, of_simulator, registry
from helpers.tpm.client.client_options import ClientOptions

pytestmark = pytest.mark.sdk

HUB, DPS = "contoso-hub-1.azure-devices.test", "global.azure-devices-provisioning.test"
# from the unit tests of the Azure CLI
KEY = "+XLy+MVZ+aTeOnVzN2kLeB16O+kSxmz6g3rS6fAf6rw="


def failure(function, *arguments, **options):
    with pytest.raises(Exception) as caught:  # noqa: PT011  (which class it is, is the SDK's business)
        function(*arguments, **options)
    return caught.value


def register(**options):
    given = {"provisioning_host": DPS, "registration_id": "a", "id_scope": "0ne00000A01", "symmetric_key": KEY}
    return ProvisioningDeviceClient.create_from_symmetric_key(**{**given, **options}).register()


def register_by(files):
    place = {"provisioning_host": DPS, "registration_id": "a", "id_scope": "0ne00000A01"}
    return ProvisioningDeviceClient.create_from_x509_certificate(x509=files, **place).register()


def connect(**options):
    client = IoTHubDeviceClient.create_from_symmetric_key(
        **{"symmetric_key": KEY, "hostname": HUB, "device_id": "a", **options}
    )
    try:
        client.connect()
    finally:
        client.shutdown()


async def nothing():
    """A program of somebody."""


def in_a_cell(begin):
    """A notebook has a loop that runs."""

    async def cell():
        work = nothing()
        try:
            begin(work)
        finally:
            work.close()

    asyncio.run(cell())


def not_awaited():
    work = asynchronous()
    try:
        return work.registration_state
    finally:
        work.close()


async def awaited_result():
    await register(symmetric_key="no key!")


def asynchronous():
    place = {"provisioning_host": DPS, "registration_id": "a", "id_scope": "0ne00000A01", "symmetric_key": KEY}
    return AsyncProvisioningDeviceClient.create_from_symmetric_key(**place).register()


def outside_of_a_loop():
    work = asynchronous()
    try:
        work.send(None)
    finally:
        work.close()


async def await_what_is_there():
    await Secret("a result of the synchronous client")


from_string = IoTHubDeviceClient.create_from_connection_string
of_policy = f"HostName={HUB};SharedAccessKeyName=iothubowner;SharedAccessKey={KEY}"
of_device = f"HostName={HUB};DeviceId=a;SharedAccessKey={KEY}"
PEM = "-----BEGIN CERTIFICATE-----\n" + "A" * 400 + "\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("name", "says", "make"),
    [
        ("event loop runs already", "await", lambda: in_a_cell(asyncio.run)),
        (
            "event loop runs already",
            "await",
            lambda: in_a_cell(lambda work: asyncio.get_running_loop().run_until_complete(work)),
        ),
        ("event loop missing", "coroutine", outside_of_a_loop),
        ("await forgotten", "await in front", not_awaited),
        ("await without need", "Leave await out", lambda: asyncio.run(await_what_is_there())),
        ("connection string of a policy", "DeviceId=", lambda: from_string(of_policy)),
        ("connection string of a policy", "DeviceId=", lambda: from_string(of_policy.replace(HUB, DPS))),
        ("connection string of a policy", "", lambda: IoTHubModuleClient.create_from_connection_string(of_policy)),
        (
            "connection string of a device",
            "manages nothing",
            lambda: DeviceProvisioningClient.from_connection_string(of_device),
        ),
        ("connection string not usable", "quotation marks", lambda: from_string(f"'{of_device}'")),
        ("connection string not usable", "Copy it again", lambda: from_string(None)),
        ("value of another kind", "another kind", lambda: DeviceProvisioningClient.from_connection_string(None)),
        ("certificate instead of a key", "x509=true", lambda: from_string(f"HostName={HUB};DeviceId=a;x509=true")),
        ("no IoT Edge", "IoT Edge has started", IoTHubModuleClient.create_from_edge_environment),
        *(
            ("proxy options not usable", "ProxyOptions(", lambda given=given, call=call: call(proxy_options=given))
            for given in (("HTTP", "127.0.0.1", 1, None, None), "http://127.0.0.1:1", {"proxy_addr": "127.0.0.1"})
            for call in (register, connect)
        ),
        ("proxy options not usable", "ProxyOptions(", lambda: ProxyOptions("https", "127.0.0.1", 1)),
        *(
            (
                "trusted certificates not usable",
                "text of the file",
                lambda given=given, call=call: call(server_verification_cert=given),
            )
            for given in ("/etc/ssl/ca.pem", Path("ca.pem"), True, PEM[:28] + PEM[-27:])
            for call in (register, connect)
        ),
        ("certificate files of another kind", "X509(", lambda: register_by(("c.pem", "k.pem"))),
        ("certificate files of another kind", "X509(", lambda: register_by(X509(None, None))),
        ("file not there", "does not exist", lambda: register_by(X509("/nowhere/c.pem", "/nowhere/k.pem"))),
        ("folder in the place of a file", "path of the file", lambda: register_by(X509("/", "/"))),
        ("text in the place of a path", "give the path", lambda: register_by(X509(PEM, PEM))),
        ("text in the place of a path", "give the path", lambda: register_by(X509("a\0b", "k.pem"))),
        ("key of another kind", "reveal()", lambda: register(symmetric_key=Secret(KEY))),
        ("key of another kind", "reveal()", lambda: connect(symmetric_key=None)),
        ("key not usable", "base64", lambda: register(symmetric_key="no key!")),
        ("cipher not known", "cipher", lambda: register(cipher="nonsense")),
        ("value not usable by the client", "bare host name", lambda: connect(hostname=7)),
    ],
)
def test_a_mistake_of_a_program_is_known(name, says, make):
    found = explain(failure(make))
    assert found.symptom.name == name, str(found)
    (cause,) = found.causes
    assert says in f"{cause.cause} {cause.remedy}"
    assert KEY[:8] not in str(found)


@pytest.mark.skipif(not registry.official_available(), reason=registry.WHY_REST)
def test_the_string_of_a_device_manages_no_hub():
    from azure.iot.hub import IoTHubRegistryManager

    found = explain(failure(IoTHubRegistryManager.from_connection_string, of_device))
    assert found.symptom.name == "connection string of a device"


def test_a_file_that_one_may_not_read(monkeypatch, tmp_path):
    files = certificates.create_self_signed("pump-1").save(tmp_path)

    def denied(self, *arguments, **options):
        # root may read everything, so this is said for the system
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", denied)
    found = explain(failure(register_by, X509(str(files.chain_file), str(files.key_file))))
    assert found.symptom.name == "file may not be read"
    assert "chmod" in found.causes[0].remedy


def test_what_the_client_for_tpms_is_given():
    def options(**given):
        return ClientOptions.read(DPS, "0ne00000A01", given)

    assert "ProxyOptions" in str(failure(options, proxy_options=("HTTP", "127.0.0.1", 1)))
    for host in (of_policy, KEY):
        problem = failure(ClientOptions.read, host, "0ne00000A01", {})
        assert "provisioning_host is " in str(problem)
        assert KEY[:8] not in str(problem)
        assert "id_scope" in str(failure(ClientOptions.read, DPS, "", {}))


@pytest.mark.parametrize("device_id", ["LightSensor#1", "Light+Sensor"])
def test_a_device_id_with_which_nothing_can_be_sent(dps, device_id):
    service = dps.service_client()
    body = {"registrationId": "light-1", "deviceId": device_id, "attestation": {"type": "symmetricKey"}}
    key = service.enrollment.create_or_update("light-1", body)["attestation"]["symmetricKey"]["primaryKey"]
    place = {"provisioning_host": dps.provisioning_host, "id_scope": dps.id_scope, "symmetric_key": key}
    state = register(**place, registration_id="light-1", **dps.device_options).registration_state
    client = IoTHubDeviceClient.create_from_symmetric_key(
        symmetric_key=key, hostname=state.assigned_hub, device_id=state.device_id, **dps.device_options
    )
    try:
        client.connect()
        problems = [failure(client.send_message, "x"), failure(setattr, client, "on_message_received", print)]
    finally:
        client.shutdown()
    for problem in problems:
        for found in (explain(problem, dps), explain(problem)):
            assert found.symptom.name == "wildcard in the device ID", str(found)
            assert "wildcards" in found.causes[0].cause
        assert f"has {device_id[5 if '+' in device_id else 11]!r} inside" in explain(problem, dps).given


def own_certificate(folder, begins, ends):
    """A certificate for all hosts of the simulator, good from and until so many days from now."""
    now = datetime.datetime.now(datetime.timezone.utc)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
    hosts = [DPS, "mydps.azure-devices-provisioning.test", "management.azure.test", HUB]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=begins))
        .not_valid_after(now + datetime.timedelta(days=ends))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "server.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.key").write_bytes(key.private_bytes(*plain))
    return TlsFiles(certificate=folder / "server.pem", key=folder / "server.key")


@pytest.mark.parametrize(("begins", "ends"), [(1, 9), (-9, -1)])
def test_a_device_whose_clock_is_wrong(tmp_path, begins, ends):
    with (
        Simulator(pace="instant", tls=own_certificate(tmp_path, begins, ends)) as simulator,
        of_simulator(simulator.running) as dps,
    ):
        found = explain(failure(register, **dps.device_options), dps)
        assert found.symptom.name == "server certificate outside its dates"
        assert found.causes[0].cause.startswith("The clock of the device is wrong")
        # neither is the simulator called gone, which answers
        with pytest.raises(TargetError, match="look at the clock"):
            dps.service_client()


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("the client does not hold the key of its certificate", "does not hold the private key"),
        ("unsupported protocol (the client knows no TLS version from 1.2 on)", "no TLS from version 1.2"),
        ("the first bytes were not TLS; the client has to switch TLS on", "does not begin with TLS"),
        ("it took longer than 20 seconds", "took too long"),
    ],
)
def test_why_a_handshake_failed_is_what_the_simulator_says(dps, simulator, reason, says):
    problem = failure(register, **{**dps.device_options, "server_verification_cert": None})
    # the simulator may notice later than the client
    wait_until(lambda: [each for each in dps.events() if each["operation"] == "connection refused"], "the own refusal")
    simulator.call(lambda runtime: runtime.connection_refused(DPS, f"the TLS handshake failed: {reason}"))
    problem.__cause__ = ssl.SSLError(1, "[SSL] handshake failure")
    found = explain(problem, dps)
    assert found.symptom.name == "TLS handshake failed"
    assert found.reason.endswith(reason)
    (cause,) = found.causes
    assert says in cause.cause
