"""CA certificates through the official management client, unmodified."""

import base64
import datetime
import json
import time
from contextlib import contextmanager

import pytest
import requests
from azure.core import AzureClouds, MatchConditions
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.core.pipeline.transport import RequestsTransport
from azure.mgmt.iothubprovisioningservices import IotDpsClient
from x509_family import make, make_root

from dps_simulator import Simulator
from dps_simulator.common.clock import ManualClock
from dps_simulator.process import launcher
from dps_simulator.process.address import RunningSimulator

pytestmark = pytest.mark.sdk

NOW = datetime.datetime.now(datetime.timezone.utc)
NAME = "contoso-pumps-root"
WHERE = {"resource_group_name": "any group", "provisioning_service_name": "mydps"}
UNCHANGED = MatchConditions.IfNotModified


class Login:
    def __init__(self, token):
        self.token = token

    def get_token(self, *scopes, **options):
        return AccessToken(self.token, int(time.time()) + 3600)


@contextmanager
def opened(running):
    """Makes clients for a simulator; they share one session, which is closed in the end."""
    with requests.Session() as session:
        session.trust_env = False
        session.proxies = {"https": running.proxy_url}

        def make_client(token=running.management_token, part="dps_certificate"):
            client = IotDpsClient(
                Login(token),
                "00000000-0000-0000-0000-000000000000",
                base_url=f"https://{running.management_host}",
                cloud_setting=AzureClouds.AZURE_PUBLIC_CLOUD,
                transport=RequestsTransport(
                    session=session, session_owner=False, connection_verify=str(running.certificate_authority_file)
                ),
                retry_total=0,
            )
            return getattr(client, part)

        yield make_client


@pytest.fixture
def open_client(dps_simulator):
    with opened(dps_simulator.running) as make_client:
        yield make_client


@pytest.fixture
def client(open_client):
    return open_client()


@pytest.fixture(scope="module")
def root():
    return make_root("Contoso Pumps Root", now=NOW)


def upload(client, certificate, **options):
    properties = {"certificate": base64.b64encode(certificate).decode(), **options}
    return client.create_or_update(**WHERE, certificate_name=NAME, certificate_description={"properties": properties})


def ask(client, etag):
    return client.generate_verification_code(certificate_name=NAME, **WHERE, etag=etag, match_condition=UNCHANGED)


def verify(client, etag, proof):
    return client.verify_certificate(
        certificate_name=NAME, **WHERE, request={"certificate": proof}, etag=etag, match_condition=UNCHANGED
    )


@pytest.mark.parametrize("form", ["der", "pem"])
def test_possession_is_proved(client, root, form, dps_simulator, monkeypatch):
    # long after the certificate was made, at a time that no clock shows by chance
    moment = NOW.replace(microsecond=0) + datetime.timedelta(hours=3)
    certificates = dps_simulator.call(lambda runtime: runtime.services.provisioning.authorities)
    monkeypatch.setattr(certificates, "_clock", ManualClock(moment))
    content = root.der if form == "der" else root.pem.encode()
    uploaded = upload(client, content)
    assert uploaded.name == NAME
    assert uploaded.properties.subject == "CN=Contoso Pumps Root"
    assert uploaded.properties.is_verified is False
    assert bytes(uploaded.properties.certificate) == root.der
    assert uploaded.properties.expiry == root.certificate.not_valid_after_utc
    assert uploaded.properties.created == moment
    asked = ask(client, uploaded.etag)
    proof = root.issue(asked.properties.verification_code, now=NOW)
    verified = verify(client, asked.etag, proof.pem if form == "pem" else proof.base64)
    assert verified.properties.is_verified is True
    assert [each.name for each in client.list(**WHERE).value] == [NAME]
    assert client.get(certificate_name=NAME, **WHERE).etag == verified.etag
    client.delete(certificate_name=NAME, **WHERE, etag=verified.etag, match_condition=UNCHANGED)
    with pytest.raises(ResourceNotFoundError, match="There is no certificate 'contoso-pumps-root'"):
        client.get(certificate_name=NAME, **WHERE)


def test_the_models_of_the_client_can_be_sent_as_well(client, root):
    from azure.mgmt.iothubprovisioningservices import models

    properties = models.CertificateProperties(certificate=root.pem.encode(), is_verified=True)
    description = models.CertificateResponse(properties=properties)
    assert client.create_or_update(
        **WHERE, certificate_name=NAME, certificate_description=description
    ).properties.is_verified


def test_the_reason_of_a_refusal_reaches_who_asked(client, root):
    asked = ask(client, upload(client, root.der).etag)
    with pytest.raises(HttpResponseError) as caught:
        verify(client, asked.etag, root.issue("wrong", now=NOW).pem)
    assert caught.value.status_code == 400
    assert caught.value.model.code == 400001
    assert caught.value.model.http_status_code == "BadRequest"
    assert "its common name is 'wrong', the verification code is" in str(caught.value)
    with pytest.raises(HttpResponseError, match="not that of an authority"):
        upload(client, make("pump-101", now=NOW).der)


def test_conditions(client, root):
    first = upload(client, root.der)
    second = upload(client, root.der)
    with pytest.raises(ResourceModifiedError, match="has changed"):
        ask(client, first.etag)
    everywhere = {"certificate_name": NAME, **WHERE}
    with pytest.raises(HttpResponseError, match="already"):
        client.create_or_update(
            **everywhere,
            certificate_description={"properties": {"certificate": root.base64}},
            etag="*",
            match_condition=MatchConditions.IfMissing,
        )
    assert client.get(**everywhere, etag=second.etag, match_condition=UNCHANGED).name == NAME
    client.delete(**everywhere, etag="*", match_condition=MatchConditions.IfPresent)


def test_a_wrong_token_and_a_wrong_service(open_client, client):
    with pytest.raises(ClientAuthenticationError) as caught:
        open_client("wrong").list(**WHERE)
    assert "Authentication failed" in str(caught.value)
    with pytest.raises(ResourceNotFoundError, match="no provisioning service 'yours'"):
        client.list(**{**WHERE, "provisioning_service_name": "yours"})


def test_the_token_stands_nowhere_in_the_trace(client, dps_simulator, root):
    upload(client, root.der)
    shown = json.dumps(launcher.manage(dps_simulator.running, "GET", "/trace"))
    assert "upload CA certificate" in shown
    assert dps_simulator.running.management_token not in shown


def test_certificates_survive_a_restart_and_no_reset(tmp_path, root):
    for step in ("upload", "restart", "reset"):
        with Simulator(state=tmp_path / "state") as simulator, opened(simulator.running) as make_client:
            if step == "upload":
                etag = upload(make_client(), root.der, isVerified=True).etag
            if step == "reset":
                simulator.reset()
            listed = make_client().list(**WHERE).value
            assert [each.etag for each in listed] == ([] if step == "reset" else [etag])


def test_a_key_is_replaced_even_when_the_endpoint_file_cannot_be_renewed(tmp_path, monkeypatch, caplog):
    key = base64.b64encode(bytes(32)).decode()
    rule = {"keyName": "provisioningserviceowner", "rights": "EnrollmentWrite", "primaryKey": key}
    body = {"location": "simulator", "sku": {"name": "S1"}, "properties": {"authorizationPolicies": [rule]}}

    def refuse(*arguments):
        raise PermissionError("not here")

    with Simulator(state=tmp_path / "state") as simulator, opened(simulator.running) as make_client:
        service = make_client(part="iot_dps_resource")
        monkeypatch.setattr(RunningSimulator, "write", refuse)
        assert service.begin_create_or_update("any", "mydps", body).result().name == "mydps"
        assert key in simulator.running.service_connection_string
    assert "endpoint.json could not be renewed" in caplog.text
    assert key not in caplog.text


def test_the_host_may_have_another_name(root):
    with Simulator(management_host="Management.Azure.com") as simulator:
        running = simulator.running
        assert running.management_host == "management.azure.com"
        assert "management.azure.com" in running.to_json().values()
        with opened(running) as make_client:
            assert upload(make_client(), root.der).name == NAME
            assert launcher.manage(running, "GET", "/health")["status"] == "ready"
