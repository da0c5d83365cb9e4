import pytest
from azure.iot.device.exceptions import ClientError
from azure.mgmt.iothubprovisioningservices.models import CertificateProperties, CertificateResponse

from helpers import certificates, workspace
from helpers.recipes import cleanup
from helpers.recipes import symmetric_key as lessons
from helpers.recipes import x509 as x509_lessons
from helpers.recipes.cleanup import AUTHORITY, LessonError
from helpers.recipes.x509 import ENROLLMENTS, FILES, LINE_NAME, REGISTRATIONS, ROOT_NAME, TRIES

pytestmark = pytest.mark.sdk

DEVICES = ["cellar-pump", "pump-101"]


@pytest.fixture
def names():
    return {
        "registration_id": "pump-001",
        "device_id": "cellar-pump",
        "group_id": "pumps",
        "member_id": "pump-101",
        "authority_name": "contoso-pumps-root",
    }


@pytest.fixture
def like_azure(dps, monkeypatch):
    """The same target, but one that may have other people's things."""
    monkeypatch.setattr(cleanup, "check_ours", _strict(dps))
    return dps


def _strict(dps):
    def check(_, kind, identifier):
        if (kind, identifier) not in workspace.claimed(dps):
            raise LessonError(f"{kind} {identifier!r}")

    return check


def everything_of(dps):
    service = dps.service_client()
    everything = {"query": "SELECT *"}
    manager = dps.management_client().dps_certificate
    uploaded = manager.list(resource_group_name=dps.resource_group, provisioning_service_name=dps.service_name)
    return (
        [each["registrationId"] for each in service.enrollment.query(everything)],
        [each["enrollmentGroupId"] for each in service.enrollment_group.query(everything)],
        [each.name for each in uploaded.value],
        sorted(each.device_id for hub in dps.hubs for each in dps.registry(hub).get_devices()),
    )


def load(dps, name):
    return certificates.load(workspace.folder(FILES, dps), name)


def test_enrollments_are_made_once(dps, names, capsys):
    first = workspace.need(ENROLLMENTS, dps, **names)
    second = workspace.need(ENROLLMENTS, dps, **names)
    assert first == second
    assert first["thumbprint"] == load(dps, "pump-001").thumbprint
    assert everything_of(dps) == (["pump-001"], ["pumps"], ["contoso-pumps-root"], [])
    assert cleanup.authority(dps, "contoso-pumps-root").properties.is_verified
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == lines[2:]
    assert lines[0] == "Enrolled: pump-001, with its own certificate"


def _without_group(dps, names):
    dps.service_client().enrollment_group.delete(names["group_id"])


def _without_authority(dps, names):
    cleanup.delete_authority(dps, names["authority_name"])


def _without_files(dps, _):
    workspace.empty_folder(FILES, dps)


def _with_another_certificate(dps, names):
    service = dps.service_client()
    other = certificates.create_self_signed(names["registration_id"])
    body = x509_lessons.individual_enrollment(names["registration_id"], names["device_id"], other.certificate)
    service.enrollment.create_or_update(names["registration_id"], body, if_match="*")


def _with_a_symmetric_key(dps, names):
    service = dps.service_client()
    body = lessons.individual_enrollment(names["registration_id"], names["device_id"])
    service.enrollment.create_or_update(names["registration_id"], body, if_match="*")


def _with_an_unverified_root(dps, names):
    manager, where = cleanup.authorities(dps), cleanup.authority_address(dps, names["authority_name"])
    cleanup.delete_authority(dps, names["authority_name"])
    properties = CertificateProperties(certificate=load(dps, ROOT_NAME).certificate.encode())
    manager.create_or_update(certificate_description=CertificateResponse(properties=properties), **where)


@pytest.mark.parametrize(
    "spoil",
    [
        _without_group,
        _without_authority,
        _without_files,
        _with_another_certificate,
        _with_a_symmetric_key,
        _with_an_unverified_root,
    ],
)
def test_enrollments_are_made_anew_when_something_is_gone_or_other(dps, names, spoil):
    first = workspace.need(ENROLLMENTS, dps, **names)
    spoil(dps, names)
    second = workspace.need(ENROLLMENTS, dps, **names)
    assert second["thumbprint"] != first["thumbprint"]
    assert everything_of(dps) == (["pump-001"], ["pumps"], ["contoso-pumps-root"], [])
    assert workspace.need(ENROLLMENTS, dps, **names) == second


def test_other_names_mean_other_enrollments(dps, names):
    workspace.need(ENROLLMENTS, dps, **names)
    again = workspace.need(ENROLLMENTS, dps, **{**names, "device_id": ""})
    assert again["device_id"] == ""
    assert dps.service_client().enrollment.get("pump-001")["deviceId"] == "pump-001"


def test_a_document_of_another_shape_is_made_anew(dps, names):
    workspace.save(ENROLLMENTS, dps, {"old": True})
    workspace.save(REGISTRATIONS, dps, {"old": True})
    assert workspace.need(REGISTRATIONS, dps, **names)["member"]["device_id"] == "pump-101"


def test_registrations_bring_everything_before_them(dps, names, capsys):
    document = workspace.need(REGISTRATIONS, dps, **names)
    assert everything_of(dps) == (["pump-001"], ["pumps"], ["contoso-pumps-root"], DEVICES)
    assert workspace.need(REGISTRATIONS, dps, **names) == document
    assert capsys.readouterr().out.splitlines()[:2] == ["Registered: pump-001", "Registered: pump-101"]
    entry = dps.registry(dps.hubs[0]).get_device("pump-101").authentication
    assert entry.type == "selfSigned"
    assert entry.x509_thumbprint.primary_thumbprint == document["member_thumbprint"]


def test_a_device_that_is_gone_is_registered_again(dps, names):
    workspace.need(REGISTRATIONS, dps, **names)
    cleanup.delete_device(dps, dps.hubs[0], "pump-101")
    workspace.need(REGISTRATIONS, dps, **names)
    assert cleanup.device_exists(dps, dps.hubs[0], "pump-101")


def test_a_rolled_certificate_means_a_new_start(dps, names):
    first = workspace.need(REGISTRATIONS, dps, **names)
    load(dps, "pump-001").renew().save(workspace.folder(TRIES, dps))
    _with_another_certificate(dps, names)
    second = workspace.need(REGISTRATIONS, dps, **names)
    assert second["thumbprint"] != first["thumbprint"]
    assert not [each for each in workspace.files(dps) if each.startswith(TRIES)]


def test_starting_over_with_registrations_keeps_the_enrollments(dps, names, capsys):
    workspace.need(REGISTRATIONS, dps, **names)
    workspace.start_over(REGISTRATIONS, dps, **names)
    assert everything_of(dps) == (["pump-001"], ["pumps"], ["contoso-pumps-root"], [])
    workspace.start_over(REGISTRATIONS, dps, **names)
    assert capsys.readouterr().out.splitlines()[-2:] == ["Not registered yet: pump-001", "Not registered yet: pump-101"]


def test_starting_over_with_enrollments_leaves_nothing(dps, names, capsys):
    workspace.need(REGISTRATIONS, dps, **names)
    workspace.start_over(ENROLLMENTS, dps, **names)
    assert everything_of(dps) == ([], [], [], [])
    assert not [each for each in workspace.files(dps) if each.startswith(f"{FILES}/")]
    assert capsys.readouterr().out.splitlines()[-1] == "There is no CA certificate contoso-pumps-root."


def test_what_this_workspace_uploaded_is_listed_for_cleaning(dps, names):
    assert cleanup.authorities_of(dps) == []
    workspace.claim(dps, AUTHORITY, "never-uploaded")
    workspace.need(ENROLLMENTS, dps, **names)
    assert cleanup.authorities_of(dps) == ["contoso-pumps-root"]
    cleanup.delete_authority(dps, "contoso-pumps-root")
    cleanup.delete_authority(dps, "contoso-pumps-root")
    assert cleanup.authorities_of(dps) == []


def test_without_uploads_the_management_plane_is_left_alone(dps, monkeypatch):
    monkeypatch.setattr(type(dps), "management_client", lambda self: pytest.fail("asked for a login"))
    assert cleanup.authorities_of(dps) == []


def test_nothing_is_removed_that_somebody_else_made(like_azure, names):
    x509_lessons.upload_authority(like_azure, names["authority_name"], certificates.create_root("Theirs"))
    with pytest.raises(LessonError, match="CA certificate 'contoso-pumps-root'"):
        workspace.need(ENROLLMENTS, like_azure, **names)
    assert everything_of(like_azure)[2] == ["contoso-pumps-root"]


def test_what_this_workspace_made_is_removed(like_azure, names):
    workspace.need(REGISTRATIONS, like_azure, **names)
    workspace.start_over(REGISTRATIONS, like_azure, **names)
    workspace.start_over(ENROLLMENTS, like_azure, **names)
    assert everything_of(like_azure) == ([], [], [], [])


def test_the_line_can_issue_after_it_was_loaded(dps, names):
    workspace.need(ENROLLMENTS, dps, **names)
    another = load(dps, LINE_NAME).issue_device("pump-102")
    files = another.save(workspace.folder(TRIES, dps))
    assert x509_lessons.register_device(dps, "pump-102", files.x509()).device_id == "pump-102"


def test_a_device_of_another_authority_is_refused(dps, names):
    workspace.need(ENROLLMENTS, dps, **names)
    stranger = certificates.create_root("Stranger").issue_device("pump-102")
    files = stranger.save(workspace.folder(TRIES, dps))
    with pytest.raises(ClientError):
        x509_lessons.register_device(dps, "pump-102", files.x509())
