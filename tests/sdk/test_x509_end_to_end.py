"""Register with a certificate, connect to the hub with it, send: every way to enroll, both transports, both flavours.

The certificates are made by the helpers that the notebooks use; the hub is asked what it knows by the official registry
manager.
"""

import asyncio
import http.client
import json
import socket
import ssl
import time

import pytest
import wrong_certificates
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient
from azure.iot.device.aio import IoTHubDeviceClient as AsyncIoTHubDeviceClient
from azure.iot.device.aio import ProvisioningDeviceClient as AsyncProvisioningDeviceClient
from patience import PATIENCE
from sdk_clients import KEY

from dps_simulator.credentials import sas
from helpers import certificates
from helpers.credentials import Secret

pytestmark = pytest.mark.sdk

DEVICE = "pump-101"
KINDS = ["self-signed individual", "individual signed by an authority", "group by root", "group by intermediate"]


def prepare(sdk, kind, folder, key="ec"):
    """Enroll a device in one of the ways; returns its files and its certificate."""
    root = certificates.create_root("Contoso Root", key=key)
    line = root.issue_intermediate("Contoso Line", key=key)
    issued = line.issue_device(DEVICE, key=key)
    if kind == "self-signed individual":
        issued = certificates.create_self_signed(DEVICE, key=key)
    if "individual" in kind:
        sdk.enroll(DEVICE, attestation=x509("clientCertificates", issued), deviceId="cellar-pump")
        return issued.save(folder), issued, "cellar-pump"
    sdk.upload("root", root)
    sdk.enroll_group("pumps", attestation=x509("signingCertificates", root if kind.endswith("root") else line))
    return issued.save(folder), issued, DEVICE


def x509(part, primary):
    return {"type": "x509", "x509": {part: {"primary": {"certificate": primary.certificate}}}}


def check(sdk, result, issued, device_id):
    state = result.registration_state
    assert (result.status, state.assigned_hub, state.device_id) == ("assigned", sdk.hub, device_id)
    device = sdk.registry().get_device(device_id)
    assert device.authentication.type == "selfSigned"
    prints = device.authentication.x509_thumbprint
    assert {prints.primary_thumbprint, prints.secondary_thumbprint} == {issued.thumbprint}


def check_telemetry(sdk, device_id):
    arrived = [
        event["detail"]["body"]
        for event in sdk.trace()
        if (event["device"], event["operation"], event["direction"]) == (device_id, "telemetry", "in")
    ]
    assert len(arrived) == 1
    assert "2.5" in str(arrived[0])


@pytest.mark.tried("Python SDK, MQTT", "certificate", "group certificate")
@pytest.mark.tried("Python SDK, MQTT over WebSockets", "certificate", "group certificate")
@pytest.mark.parametrize("websockets", [False, True], ids=["mqtt", "websocket"])
@pytest.mark.parametrize("kind", KINDS)
def test_sync(sdk, kind, websockets, tmp_path):
    files, issued, device_id = prepare(sdk, kind, tmp_path)
    options = sdk.device_options(websockets=websockets)
    provisioning = ProvisioningDeviceClient.create_from_x509_certificate(
        sdk.running.provisioning_host, DEVICE, sdk.running.id_scope, files.x509(), **options
    )
    check(sdk, provisioning.register(), issued, device_id)
    device = IoTHubDeviceClient.create_from_x509_certificate(files.x509(), sdk.hub, device_id, **options)
    try:
        device.connect()
        device.send_message('{"pressure": 2.5}')
        assert sdk.registry().get_device(device_id).connection_state == "Connected"
    finally:
        device.shutdown()
    check_telemetry(sdk, device_id)


@pytest.mark.parametrize("websockets", [False, True], ids=["mqtt", "websocket"])
@pytest.mark.parametrize("kind", KINDS)
def test_async(sdk, kind, websockets, tmp_path):
    files, issued, device_id = prepare(sdk, kind, tmp_path)
    options = sdk.device_options(websockets=websockets)

    async def run():
        provisioning = AsyncProvisioningDeviceClient.create_from_x509_certificate(
            sdk.running.provisioning_host, DEVICE, sdk.running.id_scope, files.x509(), **options
        )
        result = await provisioning.register()
        device = AsyncIoTHubDeviceClient.create_from_x509_certificate(files.x509(), sdk.hub, device_id, **options)
        try:
            await device.connect()
            await device.send_message('{"pressure": 2.5}')
        finally:
            await device.shutdown()
        return result

    check(sdk, asyncio.run(run()), issued, device_id)
    check_telemetry(sdk, device_id)


@pytest.mark.parametrize("kind", ["self-signed individual", "group by intermediate"])
def test_rsa(sdk, kind, tmp_path):
    files, issued, device_id = prepare(sdk, kind, tmp_path, key="rsa")
    provisioning = ProvisioningDeviceClient.create_from_x509_certificate(
        sdk.running.provisioning_host, DEVICE, sdk.running.id_scope, files.x509(), **sdk.device_options()
    )
    check(sdk, provisioning.register(), issued, device_id)


def test_an_encrypted_key_file(sdk, tmp_path):
    issued = certificates.create_self_signed(DEVICE)
    sdk.enroll(DEVICE, attestation=x509("clientCertificates", issued))
    files = issued.save(tmp_path, pass_phrase=Secret("open sesame"))
    provisioning = ProvisioningDeviceClient.create_from_x509_certificate(
        sdk.running.provisioning_host, DEVICE, sdk.running.id_scope, files.x509(), **sdk.device_options()
    )
    check(sdk, provisioning.register(), issued, DEVICE)


def test_a_hub_device_with_another_certificate_is_refused(sdk, tmp_path):
    issued, other = certificates.create_self_signed(DEVICE), certificates.create_self_signed(DEVICE)
    sdk.registry().create_device_with_x509(DEVICE, issued.sha1_thumbprint, issued.thumbprint[:64], "enabled")
    files, wrong = issued.save(tmp_path / "right"), other.save(tmp_path / "wrong")
    options = sdk.device_options()
    device = IoTHubDeviceClient.create_from_x509_certificate(files.x509(), sdk.hub, DEVICE, **options)
    device.connect()
    device.shutdown()
    device = IoTHubDeviceClient.create_from_x509_certificate(wrong.x509(), sdk.hub, DEVICE, **options)
    with pytest.raises(Exception, match=r"(?i)credentials|connect"):
        device.connect()
    device.shutdown()
    assert "Thumbprint does not match configuration" in sdk.trace()[-1]["detail"]["reason"]


# --- over HTTPS, by a client that knows nothing of Azure ------------------------------------------------


class PlainClient:
    """Registers over HTTPS, directly at the simulator's TLS port."""

    def __init__(self, sdk, version, files=None, token=None):
        self.sdk = sdk
        context = ssl.create_default_context(cadata=sdk.running.certificate_authority())
        context.minimum_version = context.maximum_version = version
        if files is not None:
            # whatever this machine thinks of weak keys: the service is to judge
            context.set_ciphers("DEFAULT@SECLEVEL=0")
            context.load_cert_chain(files.chain_file, files.key_file)
        # the name goes into the handshake, the connection to this machine
        self.connection = http.client.HTTPSConnection(sdk.running.provisioning_host, context=context, timeout=PATIENCE)
        self.connection._create_connection = lambda address, *rest: socket.create_connection(
            ("127.0.0.1", sdk.running.tls_port), *rest
        )
        self.headers = {} if token is None else {"authorization": token}

    def ask(self, method, path, body=None):
        path = f"/{self.sdk.running.id_scope}/registrations/{DEVICE}{path}?api-version=2021-06-01"
        headers = {**self.headers, "Content-Type": "application/json; charset=utf-8", "Content-Encoding": "utf-8"}
        self.connection.request(method, path, json.dumps(body).encode() if body is not None else None, headers)
        response = self.connection.getresponse()
        return response, json.loads(response.read())

    def register(self):
        response, body = self.ask("PUT", "/register", {"registrationId": DEVICE})
        assert (response.status, body["status"]) == (202, "assigning")
        assert response.headers["Retry-After"].isdigit()
        assert response.headers["Location"].endswith(f"/registrations/{DEVICE}/register")
        response, body = self.ask("GET", f"/operations/{body['operationId']}", {})
        assert response.status == 200
        return body


@pytest.mark.tried("HTTPS without an SDK", "key", "certificate", "group certificate")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize("kind", ["symmetric key", *KINDS])
def test_https(sdk, kind, version, tmp_path):
    if kind == "symmetric key":
        sdk.enroll(DEVICE)
        resource = f"{sdk.running.id_scope}%2Fregistrations%2F{DEVICE}"
        client = PlainClient(sdk, version, token=sas.sign(resource, sas.decode_key(KEY), int(time.time()) + 600))
        proof, device_id = None, DEVICE
    else:
        files, _, device_id = prepare(sdk, kind, tmp_path)
        client = PlainClient(sdk, version, files)
        proof = {"enrollmentGroupId": "pumps"} if "group" in kind else {}
    state = client.register()["registrationState"]
    assert (state["status"], state["assignedHub"], state["deviceId"]) == ("assigned", sdk.hub, device_id)
    assert state.get("x509") == proof
    response, found = client.ask("POST", "", {"registrationId": DEVICE})
    assert (response.status, found) == (200, state)
    client.connection.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
def test_a_weak_key(sdk, version, tmp_path):
    root = certificates.create_root("Contoso Root")
    sdk.upload("root", root)
    sdk.enroll_group("pumps", attestation=x509("signingCertificates", root))
    client = PlainClient(sdk, version, wrong_certificates.weak_key(root, DEVICE).save(tmp_path))
    response, body = client.ask("PUT", "/register", {})
    client.connection.close()
    assert (response.status, body["info"]["simulatorFinding"]) == (401, "weakKey")
    assert "1024 bits" in body["info"]["simulatorReason"]


def test_https_refuses_with_a_reason(sdk, tmp_path):
    sdk.enroll(DEVICE, attestation=x509("clientCertificates", certificates.create_self_signed(DEVICE)))
    files = certificates.create_self_signed(DEVICE).save(tmp_path)
    client = PlainClient(sdk, ssl.TLSVersion.TLSv1_3, files)
    response, body = client.ask("PUT", "/register", {})
    client.connection.close()
    assert (response.status, body["errorCode"], body["message"]) == (401, 401002, "Invalid certificate")
    assert body["info"]["simulatorFinding"] == "unknownCertificate"
    asked = next(event["detail"] for event in sdk.trace() if event["operation"] == "register")
    assert [each["subject"] for each in asked["certificates"]] == [f"CN={DEVICE}"]
    assert response.headers["x-ms-request-id"] == body["trackingId"]
