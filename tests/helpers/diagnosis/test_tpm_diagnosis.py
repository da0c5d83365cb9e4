"""What goes wrong with TPMs, as this project's client shows it, and what the table makes of it."""

import pytest
from azure.core.exceptions import HttpResponseError
from azure.iot.device import IoTHubDeviceClient
from azure.iot.device.exceptions import ClientError

from dps_simulator.provisioning.attestation.tpm import TpmFinding
from helpers.diagnosis import causes, explain
from helpers.tpm import TpmError, TpmProvisioningDeviceClient, TpmUnavailableError, hub_token, open_tpm

pytestmark = pytest.mark.sdk


@pytest.fixture
def tpm(tmp_path):
    with open_tpm("embedded", tmp_path / "tpm") as device:
        yield device


@pytest.fixture
def client(dps, tpm):
    return TpmProvisioningDeviceClient.create_from_tpm(
        dps.provisioning_host, dps.id_scope, tpm, "gateway-1", **dps.device_options
    )


def enroll(dps, attestation, registration_id="gateway-1"):
    body = {"registrationId": registration_id, "attestation": attestation}
    return dps.service_client().enrollment.create_or_update(registration_id, body)


def tpm_attestation(endorsement_key):
    return {"type": "tpm", "tpm": {"endorsementKey": endorsement_key}}


def refused(dps, client):
    with pytest.raises(ClientError) as caught:
        client.register()
    for attestation in ("", "tpm"):
        found = explain(caught.value, dps, attestation=attestation)
        assert found.reason
        (cause,) = found.causes
    return cause


def test_a_tpm_that_nobody_enrolled(dps, client):
    assert refused(dps, client) is causes.UNKNOWN_TPM


def test_the_enrollment_of_another_tpm(dps, client, tmp_path):
    with open_tpm("embedded", tmp_path / "other") as other:
        enroll(dps, tpm_attestation(other.endorsement_key))
    assert refused(dps, client) is causes.OTHER_ENDORSEMENT_KEY


def test_an_enrollment_with_a_key(dps, client):
    enroll(dps, {"type": "symmetricKey"})
    assert refused(dps, client) is causes.OTHER_PROOF


def test_a_challenge_for_another_tpm(dps, client, tpm, monkeypatch, tmp_path):
    enroll(dps, tpm_attestation(tpm.endorsement_key))
    with open_tpm("embedded", tmp_path / "other") as other:
        # a device that shows the public key of somebody else's TPM gets a challenge, and cannot open it
        monkeypatch.setattr(tpm, "activate", other.activate)
        with pytest.raises(ClientError) as caught:
            client.register()
    found = explain(caught.value, dps, attestation="tpm")
    assert found.causes == (causes.CHALLENGE_FOR_ANOTHER_TPM,)
    assert "part 2 of the challenge, secret" in str(found)


def test_a_token_from_before_the_newest_registration(dps, client, tpm):
    enroll(dps, tpm_attestation(tpm.endorsement_key))
    state = client.register().registration_state
    token = hub_token(tpm, state.assigned_hub, state.device_id)
    client.register()
    device = IoTHubDeviceClient.create_from_sastoken(token.reveal(), **dps.device_options)
    try:
        with pytest.raises(ClientError) as caught:
            device.connect()
    finally:
        device.shutdown()
    assert explain(caught.value, dps, attestation="tpm").symptom.name == "connection refused for these credentials"
    assert explain(caught.value, dps, attestation="tpm").causes == (causes.OLDER_HUB_KEY,)


@pytest.mark.parametrize(
    ("attestation", "name"),
    [
        (tpm_attestation("not base64!"), "endorsement key not usable"),
        (tpm_attestation(""), "endorsement key not usable"),
        (tpm_attestation("AToAAQAL"), "endorsement key not usable"),
    ],
)
def test_what_is_no_endorsement_key(dps, attestation, name):
    with pytest.raises(HttpResponseError) as caught:
        enroll(dps, attestation)
    assert explain(caught.value, dps).symptom.name == name


def test_a_group_of_tpms(dps, tpm):
    body = {"enrollmentGroupId": "gateways", "attestation": tpm_attestation(tpm.endorsement_key)}
    with pytest.raises(HttpResponseError) as caught:
        dps.service_client().enrollment_group.create_or_update("gateways", body)
    assert explain(caught.value, dps).symptom.name == "TPM in an enrollment group"


def test_a_tpm_that_cannot_be_opened(tmp_path):
    with pytest.raises(TpmUnavailableError) as caught:
        open_tpm(str(tmp_path / "tpmrm0"))
    assert explain(caught.value).causes == (causes.TPM_NOT_OPENED,)


def test_a_tpm_without_a_key_says_how_it_gets_one(tpm):
    with pytest.raises(TpmError, match="when the device registers"):
        tpm.sign(b"text")


@pytest.mark.parametrize("finding", list(TpmFinding))
def test_every_finding_about_tpms_has_its_cause(finding):
    known = (*causes.TPMS_REFUSED, causes.NO_STORAGE_ROOT_KEY, causes.OTHER_PROOF)
    assert [each for each in known if finding.value in each.findings]
