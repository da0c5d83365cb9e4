"""Certificates that are wrong in every way, shown by the unmodified SDK, and what is made of the refusals."""

import pytest
import wrong_certificates
from azure.core import MatchConditions
from azure.iot.device import X509, IoTHubDeviceClient
from azure.iot.device.exceptions import ClientError
from azure.mgmt.iothubprovisioningservices.models import VerificationCodeRequest

from helpers import certificates, workspace
from helpers.certificates import CertificateError, mistakes
from helpers.diagnosis import causes, explain
from helpers.recipes import cleanup
from helpers.recipes import x509 as x509_lessons
from helpers.recipes.x509 import FILES, LINE_NAME, REGISTRATIONS, ROOT_NAME

pytestmark = pytest.mark.sdk

NAMES = {
    "registration_id": "pump-001",
    "device_id": "cellar-pump",
    "group_id": "pumps",
    "member_id": "pump-101",
    "authority_name": "contoso-pumps-root",
}


@pytest.fixture
def made(dps):
    return workspace.need(REGISTRATIONS, dps, **NAMES)


@pytest.fixture
def line(dps, made):
    return certificates.load(workspace.folder(FILES, dps), LINE_NAME)


@pytest.fixture
def root(dps, made):
    return certificates.load(workspace.folder(FILES, dps), ROOT_NAME)


def unchecked(files):
    """The SDK's object without the checks that would find most mistakes before any connection."""
    return X509(str(files.chain_file), str(files.key_file))


@pytest.fixture
def refused(dps, tmp_path):
    """Boots a device with a certificate that is refused, and explains the refusal."""

    def boot(device, registration_id="pump-101"):
        with pytest.raises(ClientError) as caught:
            x509_lessons.register_device(dps, registration_id, unchecked(device.save(tmp_path)))
        found = explain(caught.value, dps, attestation="x509")
        assert found.reason
        (cause,) = found.causes
        return cause

    return boot


@pytest.mark.parametrize(
    ("mistake", "cause"),
    [
        (mistakes.expired, causes.EXPIRED_CERTIFICATE),
        (wrong_certificates.not_yet_valid, causes.NOT_YET_VALID),
        (wrong_certificates.wrong_usage, causes.WRONG_USAGE),
        (mistakes.other_name, causes.OTHER_NAME),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_certificate_that_the_line_should_not_have_issued(line, refused, mistake, cause):
    assert refused(mistake(line, "pump-101")) is cause


def test_a_weak_key_is_refused_here_or_there(dps, line, tmp_path):
    files = wrong_certificates.weak_key(line, "pump-101").save(tmp_path)
    # newer versions of OpenSSL refuse to use it, older ones send it
    with pytest.raises((OSError, ClientError)) as caught:
        x509_lessons.register_device(dps, "pump-101", unchecked(files))
    assert explain(caught.value, dps).causes == (causes.WEAK_KEY,)


def test_a_chain_that_is_not_complete(line, refused):
    device = line.issue_device("pump-101")
    assert refused(mistakes.leaf_only(device)) is causes.ONLY_THE_LEAF
    assert refused(wrong_certificates.without_intermediate(device)) is causes.GAP_IN_CHAIN


def test_a_device_that_signs_for_another(line, refused):
    assert (
        refused(wrong_certificates.issued_by_device(line.issue_device("pump-100"), "pump-101"))
        is causes.SIGNED_BY_NO_AUTHORITY
    )


def test_an_authority_that_plays_device(line, refused):
    authority = line.issue_intermediate("pump-101")
    assert refused(mistakes.authority_as_device(authority)) is causes.AUTHORITY_AS_DEVICE


def test_an_authority_that_nobody_knows(refused):
    stranger = certificates.create_root("Stranger").issue_intermediate("Line").issue_device("pump-101")
    assert refused(stranger) is causes.UNKNOWN_AUTHORITY


def test_an_authority_that_is_not_verified(dps, made, root, line, refused):
    cleanup.delete_authority(dps, NAMES["authority_name"])
    assert refused(line.issue_device("pump-101")) is causes.NOT_VERIFIED


def test_an_authority_that_was_made_anew(line, refused):
    device = line.issue_device("pump-101")
    again = certificates.create_root(ROOT_NAME).issue_intermediate(LINE_NAME)
    mixed = certificates.DeviceCertificate(device.parsed, device._private_key, again.chain_certificates)
    assert refused(mixed) is causes.OTHER_SIGNER


def test_individual_enrollments_and_other_certificates(dps, made, refused):
    assert refused(certificates.create_self_signed("pump-001"), "pump-001") is causes.OTHER_CERTIFICATE
    assert refused(certificates.create_self_signed("pump-900"), "pump-900") is causes.NOT_ENROLLED
    body = {"registrationId": "by-key", "attestation": {"type": "symmetricKey"}}
    dps.service_client().enrollment.create_or_update("by-key", body)
    assert refused(certificates.create_self_signed("by-key"), "by-key") is causes.OTHER_PROOF


def test_a_certificate_that_is_enrolled_under_another_name(dps, made, refused):
    device = certificates.create_self_signed("pump-007")
    body = x509_lessons.individual_enrollment("pump-008", "", device.certificate)
    dps.service_client().enrollment.create_or_update("pump-008", body)
    assert refused(device, "pump-007") is causes.ENROLLED_ELSEWHERE


@pytest.mark.parametrize(
    ("kind", "word"), [("individual", "its individual enrollment"), ("group", "its enrollment group")]
)
def test_what_is_disabled(dps, made, line, tmp_path, kind, word):
    service = dps.service_client()
    if kind == "individual":
        device = certificates.load(workspace.folder(FILES, dps), "pump-001")
        found = service.enrollment.get("pump-001")
        service.enrollment.create_or_update("pump-001", {**found, "provisioningStatus": "disabled"}, if_match="*")
    else:
        device = line.issue_device("pump-101")
        found = service.enrollment_group.get("pumps")
        service.enrollment_group.create_or_update("pumps", {**found, "provisioningStatus": "disabled"}, if_match="*")
    with pytest.raises(ClientError) as caught:
        x509_lessons.register_device(dps, device.common_name, unchecked(device.save(tmp_path)))
    explained = explain(caught.value, dps)
    assert explained.symptom.name == "enrollment disabled"
    (cause,) = explained.causes
    assert word in cause.cause


def test_an_individual_enrollment_locks_one_member_of_an_enabled_group_out(dps, made, line, tmp_path):
    device = line.issue_device("pump-101")
    body = x509_lessons.individual_enrollment("pump-101", "", device.certificate)
    dps.service_client().enrollment.create_or_update("pump-101", {**body, "provisioningStatus": "disabled"})
    with pytest.raises(ClientError) as caught:
        x509_lessons.register_device(dps, "pump-101", unchecked(device.save(tmp_path)))
    (cause,) = explain(caught.value, dps).causes
    assert "its individual enrollment is disabled" in cause.cause


def test_the_hub_knows_another_certificate(dps, made, tmp_path):
    files = certificates.create_self_signed("cellar-pump").save(tmp_path)
    client = IoTHubDeviceClient.create_from_x509_certificate(
        x509=files.x509(), hostname=dps.hubs[0], device_id="cellar-pump", **dps.device_options
    )
    try:
        with pytest.raises(Exception) as caught:  # noqa: PT011  (which class it is, is the SDK's business)
            client.connect()
    finally:
        client.shutdown()
    found = explain(caught.value, dps)
    assert found.symptom.name == "connection refused for these credentials"
    assert found.causes == (causes.AT_THE_HUB,)


def test_a_forged_certificate_does_not_get_past_this_side(line, dps, tmp_path):
    files = wrong_certificates.forged(line.issue_device("pump-101")).save(tmp_path)
    with pytest.raises(CertificateError) as caught:
        files.x509()
    assert explain(caught.value).symptom.name == "certificate files not usable"
    with pytest.raises(OSError, match="KEY_VALUES_MISMATCH") as caught:
        x509_lessons.register_device(dps, "pump-101", unchecked(files))
    assert explain(caught.value).symptom.name == "key of another certificate"


def test_a_proof_that_proves_nothing(dps, made, root):
    manager, where = cleanup.authorities(dps), cleanup.authority_address(dps, NAMES["authority_name"])
    unchanged = MatchConditions.IfNotModified
    uploaded = manager.get(**where)
    asked = manager.generate_verification_code(etag=uploaded.etag, match_condition=unchanged, **where)
    request = VerificationCodeRequest(certificate=root.prove_possession("another code"))
    with pytest.raises(Exception, match="proves nothing") as caught:
        manager.verify_certificate(request=request, etag=asked.etag, match_condition=unchanged, **where)
    assert explain(caught.value, dps).symptom.name == "possession not proven"
