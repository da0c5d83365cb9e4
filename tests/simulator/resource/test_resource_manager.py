import asyncio
import base64
import json
import re

import pytest
from provisioning_parts import PRIMARY_KEY, Provisioning
from x509_family import make, make_root

from dps_simulator.common.http import Peer, Request
from dps_simulator.common.trace import Trace
from dps_simulator.errors.table import Dps, ResourceManager, ServiceError, table
from dps_simulator.provisioning.access_policies import AccessPolicies
from dps_simulator.resource.api import endpoint as resource_manager
from dps_simulator.resource.api.endpoint import API_VERSIONS, ResourceManagerEndpoint
from dps_simulator.resource.service_description import ServiceDescription

TOKEN = "the-token-of-the-management-api"
HOST = "management.azure.test"
GROUP = "/subscriptions/0000/resourceGroups/Contoso%20Pumps"
SERVICE = f"{GROUP}/providers/Microsoft.Devices/provisioningServices/mydps"
ONE = f"{SERVICE}/certificates/contoso-pumps-root"


def description_of(parts):
    return ServiceDescription(
        storage=parts.store,
        links=parts.service.links,
        policies=AccessPolicies(parts.store, owner_name="owner", owner_key=PRIMARY_KEY),
        hub_door={}.get,
        service_host="mydps.azure-devices-provisioning.test",
        device_host="global.azure-devices-provisioning.test",
        id_scope="0ne00000A01",
    )


class Client:
    """Sends requests to the endpoint, without a network."""

    def __init__(self):
        parts = Provisioning()
        self.trace = Trace(parts.clock)
        self.authorities = parts.service.authorities
        self.endpoint = ResourceManagerEndpoint(
            authorities=self.authorities,
            description=description_of(parts),
            token=TOKEN,
            clock=parts.clock,
            trace=self.trace,
            transaction=parts.store.transaction,
        )

    def send(self, method, path, body=None, *, token=f"Bearer {TOKEN}", version="2026-11-01", raw=None, **headers):
        sent = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        if token is not None:
            sent["authorization"] = token
        if raw is None:
            raw = b"" if body is None else json.dumps(body).encode()
        query = {"api-version": version} if version else {}
        return asyncio.run(self.endpoint.handle(Request(method, path, query, sent, raw, Peer(HOST))))

    def fails(self, kind, *args, **kwargs):
        response = self.send(*args, **kwargs)
        assert (response.status, response.body["code"]) == (kind.status, kind.code)
        assert set(response.body) == {"code", "httpStatusCode", "message", "details"}
        return response.body["message"]

    def upload(self, certificate, **properties):
        return self.send("PUT", ONE, {"properties": {"certificate": certificate, **properties}})


@pytest.fixture
def client():
    return Client()


@pytest.fixture
def root():
    return make_root("Contoso Pumps Root")


def test_the_way_from_the_upload_to_the_proof(client, root):
    uploaded = client.upload(root.base64)
    assert uploaded.status == 200
    properties = uploaded.body["properties"]
    assert properties["subject"] == "CN=Contoso Pumps Root"
    assert properties["expiry"] == "Wed, 21 Jan 2026 00:00:00 GMT"
    assert properties["created"] == properties["updated"] == "Thu, 01 Jan 2026 00:00:00 GMT"
    assert re.fullmatch("[0-9A-F]{40}", properties["thumbprint"])
    assert properties["isVerified"] is False
    assert base64.b64decode(properties["certificate"]) == root.der
    assert uploaded.body["id"].endswith("/resourceGroups/Contoso Pumps" + ONE[len(GROUP) :])
    assert uploaded.body["name"] == "contoso-pumps-root"
    assert uploaded.body["type"] == "Microsoft.Devices/provisioningServices/certificates"

    asked = client.send("POST", f"{ONE}/generateVerificationCode", if_match=uploaded.body["etag"])
    code = asked.body["properties"]["verificationCode"]
    assert re.fullmatch("[0-9A-F]{48}", code)
    proof = {"certificate": base64.b64encode(root.issue(code).pem.encode()).decode()}
    verified = client.send("POST", f"{ONE}/verify", proof, if_match=f'"{asked.body["etag"]}"')
    assert verified.status == 200
    assert verified.body["properties"]["isVerified"] is True
    assert "verificationCode" not in verified.body["properties"]
    assert client.send("GET", ONE).body == verified.body
    assert client.send("GET", f"{SERVICE}/certificates").body == {"value": [verified.body]}
    removed = client.send("DELETE", ONE, if_match="*")
    assert (removed.status, removed.body) == (200, None)
    assert client.send("GET", f"{SERVICE}/certificates").body == {"value": []}


@pytest.mark.parametrize("form", ["pem", "base64"])
def test_a_certificate_as_text_and_as_file(client, root, form):
    assert client.upload(getattr(root, form), isVerified=True).body["properties"]["isVerified"] is True
    assert client.authorities.verified() == [root.parsed]


def test_addresses_ignore_case(client, root):
    client.upload(root.pem)
    address = ONE.lower().replace("/microsoft.devices/", "/MICROSOFT.devices/").replace("mydps", "MyDps")
    shown = client.send("GET", address)
    assert shown.body["name"] == "contoso-pumps-root"
    assert "/provisioningServices/MyDps/certificates/" in shown.body["id"]


def test_another_service_is_not_there(client, root):
    for method, path in (
        ("GET", "/certificates"),
        ("GET", "/certificates/x"),
        ("PUT", "/certificates/x"),
        ("DELETE", "/certificates/x"),
        ("POST", "/certificates/x/generateVerificationCode"),
        ("POST", "/certificates/x/verify"),
    ):
        text = client.fails(ResourceManager.SERVICE_NOT_FOUND, method, SERVICE.replace("mydps", "yours") + path)
        assert "'yours'" in text
        assert "'mydps'" in text


@pytest.mark.parametrize("token", [None, "", "Bearer", f"bearer-{TOKEN}", "Bearer wrong", f"Bearer {TOKEN}x", "\udcff"])
def test_without_the_token_nothing_happens(client, root, token):
    text = client.fails(
        ResourceManager.UNAUTHORIZED, "PUT", ONE, {"properties": {"certificate": root.pem}}, token=token
    )
    assert TOKEN not in text
    assert client.authorities.all() == []
    assert "bearer token" in client.trace.events()[-1].detail["reason"]
    assert TOKEN not in str([event.to_json() for event in client.trace.events()])


def test_what_the_pipeline_refuses(client, root):
    assert "missing" in client.fails(ResourceManager.INVALID_REQUEST, "GET", ONE, version="")
    for version in ("2021-10-15", "2026-11-01-preview", "2099-01-01", "x"):
        text = client.fails(ResourceManager.API_VERSION_NOT_SUPPORTED, "GET", ONE, version=version)
        assert "not supported by this simulator" in text
    nowhere = client.fails(ResourceManager.ROUTE_NOT_FOUND, "GET", f"{SERVICE}/nowhere")
    assert nowhere.endswith("not supported by this simulator.")
    assert "DELETE, GET, PUT" in client.fails(ResourceManager.METHOD_NOT_ALLOWED, "POST", ONE)
    client.fails(ResourceManager.INVALID_REQUEST, "PUT", ONE, raw=b"{")
    client.fails(ResourceManager.UNSUPPORTED_MEDIA_TYPE, "PUT", ONE, raw=b"<a/>", content_type="text/xml")


@pytest.mark.parametrize("version", API_VERSIONS)
def test_versions(client, root, version):
    assert client.send("GET", f"{SERVICE}/certificates", version=version).status == 200


def test_conditions(client, root):
    upload = {"properties": {"certificate": root.pem}}
    first = client.send("PUT", ONE, upload, if_none_match="*")
    assert first.status == 200
    client.fails(ResourceManager.CERTIFICATE_EXISTS, "PUT", ONE, upload, if_none_match="*")
    client.fails(Dps.PRECONDITION_FAILED, "PUT", ONE, upload, if_match='"stale"')
    client.fails(Dps.PRECONDITION_FAILED, "GET", ONE, if_match="stale")
    for method, path in (("DELETE", ""), ("POST", "/generateVerificationCode"), ("POST", "/verify")):
        client.fails(ResourceManager.PRECONDITION_REQUIRED, method, ONE + path)
        client.fails(Dps.PRECONDITION_FAILED, method, ONE + path, if_match="stale")
    assert client.send("GET", ONE, if_match=first.body["etag"]).body == first.body


def test_the_trace_knows_why_a_proof_failed(client, root):
    etag = client.upload(root.pem).body["etag"]
    asked = client.send("POST", f"{ONE}/generateVerificationCode", if_match=etag).body
    text = client.fails(
        ResourceManager.VERIFICATION_FAILED,
        "POST",
        f"{ONE}/verify",
        {"certificate": root.issue("wrong").pem},
        if_match=asked["etag"],
    )
    assert asked["properties"]["verificationCode"] in text
    event = client.trace.events()[-1]
    assert (event.service, event.operation, event.status) == ("management", "prove possession", 400)
    assert event.detail["finding"] == "otherCode"
    assert "'wrong'" in event.detail["reason"]


@pytest.mark.parametrize(
    ("certificate", "text"),
    [
        (None, "properties.certificate is missing"),
        (7, "properties.certificate is 7"),
        ("cm9vdC5wZW0=", "not a certificate"),
        (make("pump-101").pem, "not that of an authority"),
        (make("pump-101").key_pem, "a private key"),
        (make_root("a").pem + make_root("b").pem, "a chain of 2 certificates"),
    ],
)
def test_what_cannot_be_uploaded(client, certificate, text):
    response = client.send("PUT", ONE, {"properties": {"certificate": certificate}})
    assert (response.status, response.body["httpStatusCode"]) == (400, "BadRequest")
    assert text in response.body["message"]
    assert client.authorities.all() == []


def test_every_error_has_a_body(client):
    for kind in table(ResourceManager).values():
        body = resource_manager._error_body(ServiceError(kind), None)
        assert body["message"] == kind.message
        assert re.fullmatch("[A-Za-z]+", body["httpStatusCode"])


def test_a_failure_inside_becomes_an_answer(client, monkeypatch, caplog):
    monkeypatch.setattr(client.authorities, "all", lambda: 1 / 0)
    client.fails(ResourceManager.INTERNAL, "GET", f"{SERVICE}/certificates")
    assert "list CA certificates failed" in caplog.text
