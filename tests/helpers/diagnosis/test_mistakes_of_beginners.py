"""Mistakes that beginners make with the unmodified SDKs: each has one cause, never that the simulator is gone."""

import asyncio

import pytest
from azure.iot.device import X509, IoTHubDeviceClient, ProvisioningDeviceClient, ProxyOptions
from azure.iot.deviceprovisioning import DeviceProvisioningClient

from helpers import certificates
from helpers.credentials import Secret
from helpers.diagnosis import explain

pytestmark = pytest.mark.sdk

# from the unit tests of the Azure CLI
KEY = "+XLy+MVZ+aTeOnVzN2kLeB16O+kSxmz6g3rS6fAf6rw="


def failure(function, *arguments, **options):
    with pytest.raises(Exception) as caught:  # noqa: PT011  (which class it is, is the SDK's business)
        function(*arguments, **options)
    return caught.value


def client(dps, **options):
    given = {"provisioning_host": dps.provisioning_host, "registration_id": "a", "id_scope": dps.id_scope}
    return ProvisioningDeviceClient.create_from_symmetric_key(
        **{**given, "symmetric_key": KEY, **dps.device_options, **options}
    )


def of_hub(dps, **options):
    given = {"hostname": dps.hubs[0], "device_id": "a", "symmetric_key": KEY, **dps.device_options}
    return IoTHubDeviceClient.create_from_symmetric_key(**{**given, **options})


def in_with(dps):
    with client(dps):
        """Nothing comes so far."""


async def in_async_with(dps):
    async with client(dps):
        """Nothing comes so far."""


def without_scope(dps):
    return ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=dps.provisioning_host, registration_id="a", symmetric_key=KEY
    )


@pytest.mark.parametrize(
    ("name", "says", "make"),
    [
        ("client in a with statement", "shutdown()", in_with),
        ("client in a with statement", "shutdown()", lambda dps: asyncio.run(in_async_with(dps))),
        ("await without need", "Leave await out", lambda dps: asyncio.new_event_loop().run_until_complete(1)),
        ("await outside of a coroutine", "async def", lambda dps: compile("await x", "program.py", "exec")),
        ("method of another client", "IoTHubDeviceClient has connect()", lambda dps: client(dps).connect()),
        ("method of another client", "register()", lambda dps: of_hub(dps).register()),
        (
            "method of another client",
            "register()",
            lambda dps: ProvisioningDeviceClient.create_from_connection_string("x"),
        ),
        ("method of another client", "enrollment", lambda dps: dps.service_client().enrollments),
        ("arguments of a call", "id_scope", without_scope),
        ("arguments of a call", "device_options", lambda dps: client(dps, transport="mqtt")),
        (
            "arguments of a call",
            "create_from",
            lambda dps: ProvisioningDeviceClient(dps.hubs[0], "a", "b", KEY),
        ),
        ("arguments of a call", "hostname", lambda dps: of_hub(dps, provisioning_host="x", id_scope="y")),
        ("arguments of a call", "Name every argument", lambda dps: X509("chain.pem")),
        ("number of an option not usable", "1740", lambda dps: of_hub(dps, keep_alive=0)),
        ("number of an option not usable", "numbers", lambda dps: of_hub(dps, connection_retry_interval="soon")),
        ("number of an option not usable", "proxy_port", lambda dps: ProxyOptions("HTTP", "127.0.0.1", None)),
        ("package or name not there", "make setup", lambda dps: __import__("azure.iot.devices")),
        ("package or name not there", "make setup", lambda dps: exec("from azure.iot.device import Client")),  # noqa: S102
        ("variable not known", "from the top", lambda dps: exec("registraton_id")),  # noqa: S102
        ("host name not usable", "bare host name", lambda dps: client(dps, provisioning_host=None).register()),
        ("host name not usable", "bare host name", lambda dps: of_hub(dps, hostname=None).connect()),
    ],
)
def test_a_mistake_has_one_cause(dps, name, says, make):
    for found in ((problem := failure(make, dps)) and explain(problem, dps), explain(problem)):
        assert found.symptom.name == name, str(found)
        (cause,) = found.causes
        assert says in f"{cause.cause} {cause.remedy}"
        assert KEY[:8] not in str(found)


def test_what_register_returns_is_read_one_level_deeper(dps):
    dps.service_client().enrollment.create_or_update(
        "a",
        {
            "registrationId": "a",
            "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}},
        },
    )
    result = client(dps).register()
    for read in (lambda: result.assigned_hub, lambda: result["registrationState"]):
        found = explain(failure(read), dps)
        assert found.symptom.name == "attribute of the registration"
        assert "registration_state.assigned_hub" in found.causes[0].remedy


@pytest.mark.parametrize(
    "problem", [OSError(24, "Too many open files"), RuntimeError("can't start new thread")], ids=["files", "threads"]
)
def test_a_program_that_keeps_all_its_clients(dps, problem):
    problem.__cause__ = None
    found = explain(problem, dps)
    assert found.symptom.name == "no more files or threads"
    assert "shutdown()" in found.causes[0].remedy


def by_certificate(dps, certificate, key, phrase=None):
    return ProvisioningDeviceClient.create_from_x509_certificate(
        provisioning_host=dps.provisioning_host,
        registration_id="pump-1",
        id_scope=dps.id_scope,
        x509=X509(str(certificate), str(key), phrase),
        **dps.device_options,
    ).register()


def test_a_file_that_a_client_cannot_use_is_named(dps, tmp_path):
    own = certificates.create_self_signed("pump-1").save(tmp_path)
    locked = certificates.create_self_signed("pump-2").save(tmp_path, pass_phrase=Secret("open sesame"))
    for certificate, key, phrase, says in (
        (own.key_file, own.chain_file, None, "pump-1.key holds a private key"),
        (own.cer_file, own.key_file, None, "looks like DER"),
        (own.chain_file, locked.key_file, "wrong one", "The pass phrase does not open the key in pump-2.key"),
    ):
        found = explain(failure(by_certificate, dps, certificate, key, phrase), dps)
        assert says in found.given, str(found)
        assert len(found.causes) == 1
        assert "sentence above" in found.causes[0].remedy
        assert "wrong one" not in str(found)


def test_a_secret_where_the_sdk_wants_a_pass_phrase(dps, tmp_path):
    own = certificates.create_self_signed("pump-1").save(tmp_path)
    found = explain(failure(by_certificate, dps, own.chain_file, own.key_file, Secret("open sesame")), dps)
    assert found.symptom.name == "pass phrase of another kind"
    assert "reveal()" in found.causes[0].remedy


def test_a_proxy_of_another_kind_leads_nowhere(dps):
    own = dps.device_options["proxy_options"]
    other = ProxyOptions("SOCKS5", own.proxy_address, own.proxy_port)
    found = explain(failure(client(dps, proxy_options=other).register), dps)
    (cause,) = found.causes
    assert cause.cause.startswith("The client was given another proxy")


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_in_the_environment_that_does_not_answer(dps, monkeypatch, variable):
    # nobody listens on this port
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    text = f"HostName={dps.service_host};SharedAccessKeyName=provisioningserviceowner;SharedAccessKey={KEY}"
    service = DeviceProvisioningClient.from_connection_string(text, retry_total=0)
    found = explain(failure(service.enrollment.get, "a"), dps)
    assert found.symptom.name == "proxy unreachable"
    (cause,) = found.causes
    assert "HTTPS_PROXY" in cause.remedy
    # nor does it stand in the way of those who take the client that was made for them
    with pytest.raises(Exception, match="404"):
        dps.service_client().enrollment.get("nobody")
