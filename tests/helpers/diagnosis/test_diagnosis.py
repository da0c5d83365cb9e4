"""Errors as the unmodified SDKs show them, and what the table makes of them."""

import re
import socket
import ssl
import time
from pathlib import Path

import pytest
import requests
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient, ProxyOptions
from azure.iot.device.exceptions import ClientError
from azure.iot.deviceprovisioning import DeviceProvisioningClient
from msrest.exceptions import HttpOperationError

from dps_simulator.credentials.chains import Finding
from dps_simulator.process.launcher import LaunchError
from helpers import workspace
from helpers.credentials import ConnectionString, CredentialsError, new_key, sas_token
from helpers.diagnosis import causes, explain
from helpers.diagnosis.explain import SYMPTOMS
from helpers.recipes import symmetric_key as lessons
from helpers.recipes import x509 as x509_lessons
from helpers.target import registry
from helpers.workspace import NewerFormatError

pytestmark = pytest.mark.sdk

NOTEBOOKS = Path(__file__).resolve().parents[3] / "notebooks"


@pytest.fixture
def made(dps, names):
    return workspace.need("symmetric_key.registrations", dps, **names)


@pytest.fixture
def failing(dps):
    """Calls something that fails and explains the failure."""

    def call(function, *arguments, **options):
        try:
            function(*arguments, **options)
        except Exception as problem:
            return explain(problem, dps)
        return pytest.fail("nothing failed")

    return call


def register(dps, registration_id, key, *, host=None, scope=None, **options):
    ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=host or dps.provisioning_host,
        id_scope=scope or dps.id_scope,
        registration_id=registration_id,
        symmetric_key=key.reveal(),
        **{**dps.device_options, **options},
    ).register()


def connect(dps, device, *, key=None, device_id=None, **options):
    client = IoTHubDeviceClient.create_from_symmetric_key(
        symmetric_key=(key or device["key"]).reveal(),
        hostname=device["hub"],
        device_id=device_id or device["device_id"],
        **{**dps.device_options, **options},
    )
    try:
        client.connect()
    finally:
        client.shutdown()


def test_a_wrong_key(dps, made, failing):
    found = failing(register, dps, "thermostat-001", new_key())
    assert found.symptom.name == "registration refused"
    assert [each.cause for each in found.causes] == [causes.WRONG_KEY.cause]
    assert "neither of its keys" in found.reason
    assert found.chain[-1] == "ServiceError: register request returned a service error status code 401"


def test_a_group_key_used_as_device_key(dps, made, failing, names):
    group = dps.service_client().enrollment_group.get_attestation_mechanism("thermostats")
    key = lessons._primary(group)
    found = failing(register, dps, names["member_id"], key)
    assert found.causes == (causes.GROUP_KEY,)
    assert "derive the device key" in found.reason
    assert key.reveal() not in str(found) + found.html()


def test_an_unknown_registration_id(dps, made, failing):
    assert failing(register, dps, "nobody", new_key()).causes == (causes.UNKNOWN_DEVICE,)


def test_an_unknown_id_scope(dps, made, failing):
    found = failing(register, dps, "thermostat-001", made["individual"]["key"], scope="0ne0000FFFF")
    assert found.symptom.name == "registration not found"
    assert "0ne0000FFFF" in found.reason


def test_a_registration_id_that_cannot_be_shows_no_older_reason(dps, made, failing):
    failing(register, dps, "nobody", new_key())
    found = failing(register, dps, "bad id!", new_key())
    assert found.symptom.name == "registration malformed"
    assert "nobody" not in str(found)


def test_a_disabled_enrollment(simulator, dps, made, failing):
    simulator.pace = "azure"
    service = dps.service_client()
    body = lessons.individual_enrollment("thermostat-001", "kitchen-thermostat")
    body["attestation"] = service.enrollment.get_attestation_mechanism("thermostat-001")
    service.enrollment.create_or_update("thermostat-001", {**body, "provisioningStatus": "disabled"}, if_match="*")
    found = failing(register, dps, "thermostat-001", made["individual"]["key"])
    assert found.symptom.name == "enrollment disabled"


def test_a_wrong_key_at_the_hub(dps, made, failing):
    found = failing(connect, dps, made["individual"], key=new_key())
    assert found.symptom.name == "connection refused for these credentials"
    assert "another key" in found.causes[0].cause
    assert "kitchen-thermostat" in found.reason


def test_the_device_id_of_another_device(dps, made, failing):
    found = failing(connect, dps, made["individual"], device_id="thermostat-101")
    assert "under another device ID" in found.causes[0].cause
    assert "thermostat-101" in found.reason


def test_a_device_that_the_hub_does_not_know(dps, made, failing):
    found = failing(connect, dps, made["individual"], device_id="zzz")
    assert "does not know the device" in found.causes[0].cause


def test_a_device_that_is_disabled_in_the_hub(dps, made, failing):
    device = dps.registry(dps.hubs[0]).get_device("kitchen-thermostat")
    # without azure-iot-hub, a device is what the hub answered
    body = {**(device.document if isinstance(device, registry.Record) else device.serialize()), "status": "disabled"}
    registry.RestRegistry(dps._connection(dps.hubs[0]), **dps._way())._request(
        "PUT", "/devices/kitchen-thermostat", body=body, etag="*"
    )
    found = failing(connect, dps, made["individual"])
    assert "disabled" in found.reason
    assert "disabled in the hub" in found.causes[0].cause


def test_an_expired_token(dps, made, failing):
    device = made["individual"]
    resource = f"{device['hub']}/devices/{device['device_id']}"
    token = sas_token(resource, device["key"], expiry=int(time.time()) - 10).reveal()
    found = failing(IoTHubDeviceClient.create_from_sastoken, token, **dps.device_options)
    assert found.symptom.name == "token expired"
    assert token not in str(found)


def test_a_malformed_token(dps, failing):
    token = "SharedAccessSignature sr=x"
    assert failing(IoTHubDeviceClient.create_from_sastoken, token).symptom.name == "token not usable"


@pytest.mark.parametrize("host", ["wrong.azure-devices-provisioning.test", "global.azure-devices-provisioning.net"])
def test_a_wrong_host(dps, made, failing, host):
    found = failing(register, dps, "thermostat-001", made["individual"]["key"], host=host)
    assert found.symptom.name == "host refused by the way to it"


def test_a_certificate_that_is_not_trusted(dps, made, failing):
    found = failing(register, dps, "thermostat-001", new_key(), server_verification_cert=None)
    assert found.symptom.name == "certificate not trusted"
    assert failing(connect, dps, made["member"], server_verification_cert=None).symptom.name == found.symptom.name


def test_a_proxy_that_is_down(dps, made, failing):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        proxy = ProxyOptions("HTTP", "127.0.0.1", taken.getsockname()[1])
        found = failing(register, dps, "thermostat-001", new_key(), proxy_options=proxy)
    assert found.symptom.name == "proxy unreachable"


def test_a_simulator_that_has_gone(simulator, dps, made, failing):
    service = dps.service_client()
    simulator.stop()
    found = failing(register, dps, "thermostat-001", new_key())
    assert found.causes[0] == causes.SIMULATOR_GONE
    found = failing(service.enrollment.get, "thermostat-001")
    assert found.causes[0] == causes.SIMULATOR_GONE


def test_a_wrong_service_key(dps, made, failing):
    wrong = ConnectionString(dps._service.host, dps._service.policy, new_key()).text().reveal()
    service = DeviceProvisioningClient.from_connection_string(wrong, transport=dps._transport())
    found = failing(service.enrollment.get, "thermostat-001")
    assert found.symptom.name == "service key refused"
    assert "policy" in found.reason


def test_a_wrong_hub_policy(dps, made, failing):
    hub = dps.hubs[0]
    dps._registries.clear()
    dps._hubs[hub] = ConnectionString(hub, "nobody", new_key())
    found = failing(dps.registry(hub).get_device, "kitchen-thermostat")
    assert found.symptom.name == "service key refused"
    assert "policy" in found.reason


def test_creating_twice_and_changing_a_changed_one(dps, made, failing):
    write = dps.service_client().enrollment.create_or_update
    body = lessons.individual_enrollment("thermostat-001", "")
    assert failing(write, "thermostat-001", body).symptom.name == "exists already"
    found = failing(write, "thermostat-001", body, if_match="AAAA")
    assert found.symptom.name == "changed meanwhile"
    assert "Code:" not in str(found)


def test_what_is_not_there(dps, made, failing):
    assert failing(dps.service_client().enrollment.get, "zz").symptom.name == "not found"
    found = failing(dps.registry(dps.hubs[0]).get_device, "zz")
    assert found.symptom.name == "not found"
    assert "DeviceNotFound" in found.chain[0] or "404" in found.chain[0]


def test_a_body_that_is_not_valid(dps, failing):
    found = failing(dps.service_client().enrollment.create_or_update, "x y", {"registrationId": "x y"})
    assert found.symptom.name == "request not valid"


NEWER = "workspace of a newer version"


def registry_error(status, text):
    answer = requests.Response()
    answer.status_code, answer._content = status, text.encode()
    return HttpOperationError(None, answer)


@pytest.mark.parametrize(
    ("problem", "name"),
    [
        (LaunchError("port taken"), "simulator does not start"),
        (LaunchError("somebody started it by hand, so it is left alone"), "simulator of other code"),
        (LaunchError("Two checkouts cannot share it"), "simulator of other code"),
        (LaunchError("did not start. Its log ends with: error: x was written by a newer version"), NEWER),
        (NewerFormatError("x has format 2 of a newer version"), NEWER),
        (CredentialsError("wrong"), "setting or parameter wrong"),
        (registry_error(404, "ErrorCode:DeviceNotOnline;x"), "device not online"),
        (registry_error(429, "slow down"), "too much at once"),
        (RuntimeError("?"), "not in the table"),
        (RuntimeError(""), "not in the table"),
        (requests.ConnectionError("Max retries"), "host not reachable"),
        (ConnectionRefusedError(111, "refused"), "host not reachable"),
    ],
)
def test_other_errors_by_their_class(problem, name):
    found = explain(problem)
    assert found.symptom.name == name
    assert found.causes
    assert not found.reason


def test_the_result_of_a_registration_can_be_explained_too():
    class Result:
        status = "disabled"

    assert explain(Result()).symptom.name == "enrollment disabled"
    Result.status = "failed"
    assert explain(Result()).symptom.name == "registration failed"
    assert explain("odd").symptom.name == "registration ended oddly"


def test_on_azure_all_causes_are_listed():
    found = explain(refusal())
    assert found.causes == (*causes.TOKENS_REFUSED, *causes.TPMS_REFUSED, *causes.CERTIFICATES_REFUSED)
    assert "Why (one of these)" in str(found)
    assert "What only the simulator tells you" not in str(found) + found.html()


class Watching:
    """As much of a target as the explanation of a refusal needs."""

    is_simulator = True

    def __init__(self, *events):
        self.seen = [{"service": "provisioning", "operation": "register", **event} for event in events]

    def last_event(self):
        return len(self.seen)

    def events(self, after=0):
        return self.seen[after:]


def refusal():
    error = ClientError("Unexpected failure")
    error.__cause__ = Exception("register request returned a service error status code 401")
    return error


def test_on_azure_the_proof_of_identity_shortens_the_list():
    assert explain(refusal(), attestation="x509").causes == causes.CERTIFICATES_REFUSED
    assert explain(refusal(), attestation="symmetricKey").causes == (*causes.TOKENS_REFUSED, causes.OTHER_PROOF)
    assert explain(refusal(), attestation="tpm").causes == (*causes.TPMS_REFUSED, causes.OTHER_PROOF)
    with pytest.raises(ValueError, match="'certificate'; it must be 'symmetricKey', 'x509' or 'tpm'"):
        explain(refusal(), attestation="certificate")
    # a list that does not tell proofs apart stays whole
    assert explain(registry_error(429, "slow down"), attestation="x509").causes


@pytest.mark.parametrize("finding", list(Finding))
def test_every_finding_about_certificates_has_its_cause(finding):
    detail = {"finding": finding.value, "reason": "some sentence"}
    found = explain(refusal(), Watching({"status": 401, "detail": detail}))
    (cause,) = found.causes
    assert finding.value in cause.findings
    assert found.reason == "some sentence"


def test_a_reason_tells_causes_with_the_same_finding_apart():
    def cause(finding, reason):
        detail = {"finding": finding.value, "reason": reason}
        return explain(refusal(), Watching({"status": 401, "detail": detail})).causes

    alone = "there is no individual enrollment 'a', and the device shows only its own certificate: the chain ends"
    assert cause(Finding.INTERMEDIATE_MISSING, alone) == (causes.ONLY_THE_LEAF,)
    assert cause(Finding.INTERMEDIATE_MISSING, "the device shows 2 certificates") == (causes.GAP_IN_CHAIN,)
    decided = "individual enrollment 'a' decides alone, and the device's certificate is another one"
    assert cause(Finding.UNKNOWN_CERTIFICATE, decided) == (causes.OTHER_CERTIFICATE,)
    assert cause(Finding.UNKNOWN_CERTIFICATE, "there is no individual enrollment") == (causes.NOT_ENROLLED,)


@pytest.mark.parametrize(
    "reason", ["the primary certificate of individual enrollment 'a'", "... of enrollment group 'g'"]
)
def test_a_disabled_enrollment_is_told_from_a_disabled_group(reason):
    class Result:
        status = "disabled"

    answer = {"status": 200, "detail": {"body": {"status": "disabled"}, "reason": reason}}
    found = explain(Result(), Watching({"status": 401, "detail": {"reason": "older"}}, answer))
    (cause,) = found.causes
    assert ("its individual enrollment is disabled" in cause.cause) is ("individual" in reason)
    assert len(explain(Result()).causes) == 2


@pytest.mark.parametrize(
    ("problem", "name"),
    [
        (
            ssl.SSLError(116, "[X509: KEY_VALUES_MISMATCH] key values mismatch (_ssl.c:3926)"),
            "key of another certificate",
        ),
        (ssl.SSLError(9, "[SSL] PEM lib (_ssl.c:3926)"), "certificate or key not readable"),
        (FileNotFoundError(2, "No such file or directory"), "file not there"),
    ],
)
def test_certificate_files_that_the_device_sdk_cannot_use(problem, name):
    assert explain(problem).symptom.name == name


@pytest.mark.parametrize(
    ("pasted", "name"),
    [
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private key sent as certificate"),
        ("chain", "chain sent as certificate"),
        ("pump-001.pem", "something else sent as certificate"),
    ],
)
def test_what_is_no_certificate_in_an_enrollment(dps, failing, device, pasted, name):
    # a new one in every process, so it stands in no name of a test
    pasted = device.chain if pasted == "chain" else pasted
    body = x509_lessons.individual_enrollment("pump-001", "", pasted)
    found = failing(dps.service_client().enrollment.create_or_update, "pump-001", body)
    assert found.symptom.name == name
    assert "AAAA" not in str(found)


def test_secrets_and_what_changes_every_time_are_left_out():
    text = (
        "SharedAccessKey=abcdefg;x sig=abcdef&se=1 object at 0x7f00deadbeef "
        "Tracking ID:0123456789abcdef0123456789abcdef-TimeStamp:11/24/2026 06:00:00"
    )
    line = explain(RuntimeError(text)).chain[0]
    assert line == "RuntimeError: SharedAccessKey=****;x sig=****&se=1 object at 0x… tracking ID …"


def test_html_is_escaped_and_says_the_same():
    found = explain(RuntimeError("<b>"))
    bundle = found._repr_mimebundle_()
    assert bundle["text/plain"] == str(found) == repr(found)
    assert "&lt;b&gt;" in bundle["text/html"]
    assert "<b>" not in bundle["text/html"]


def test_every_place_where_something_is_taught_is_there():
    headings = {
        path.stem: path.read_text(encoding="utf-8").replace("Step ", "step ") for path in NOTEBOOKS.glob("*.ipynb")
    }
    assert headings
    for symptom in SYMPTOMS:
        for cause in symptom.causes:
            name, _, place = cause.taught.partition(", ")
            assert name in headings, cause.taught
            assert f"## {place}" in headings[name], cause.taught


def test_names_are_unique_and_patterns_compile():
    assert len({symptom.name for symptom in SYMPTOMS}) == len(SYMPTOMS)
    for symptom in SYMPTOMS:
        re.compile(symptom.text)
        for cause in symptom.causes:
            re.compile(cause.reason)
            assert cause.cause.endswith(".")
            assert cause.remedy.endswith(".")
