import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.iot.device.exceptions import ClientError

from helpers import workspace
from helpers.recipes import cleanup
from helpers.recipes import symmetric_key as lessons
from helpers.recipes.cleanup import LessonError
from helpers.target.registry import twin_patch

pytestmark = pytest.mark.sdk

ENROLLMENTS, REGISTRATIONS = "symmetric_key.enrollments", "symmetric_key.registrations"


def everything_of(dps):
    service = dps.service_client()
    everything = {"query": "SELECT *"}
    return (
        sorted(each["registrationId"] for each in service.enrollment.query(everything)),
        sorted(each["enrollmentGroupId"] for each in service.enrollment_group.query(everything)),
        sorted(each.device_id for hub in dps.hubs for each in dps.registry(hub).get_devices()),
    )


def test_enrollments_are_made_once(dps, names, capsys):
    first = workspace.need(ENROLLMENTS, dps, **names)
    second = workspace.need(ENROLLMENTS, dps, **names)
    assert first == second
    assert first["individual"]["device_id"] == "kitchen-thermostat"
    assert everything_of(dps) == (["thermostat-001"], ["thermostats"], [])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == lines[2:]


def test_enrollments_are_made_anew_when_they_are_gone_or_other(dps, names):
    first = workspace.need(ENROLLMENTS, dps, **names)
    service = dps.service_client()
    service.enrollment_group.delete("thermostats")
    second = workspace.need(ENROLLMENTS, dps, **names)
    assert second["group"]["key"] != first["group"]["key"]
    service.enrollment.delete("thermostat-001")
    service.enrollment.create_or_update("thermostat-001", lessons.individual_enrollment("thermostat-001", ""))
    third = workspace.need(ENROLLMENTS, dps, **names)
    assert third["individual"]["key"] != second["individual"]["key"]
    fourth = workspace.need(ENROLLMENTS, dps, **{**names, "device_id": ""})
    assert fourth["individual"]["device_id"] == "thermostat-001"


def test_a_document_of_another_shape_is_made_anew(dps, names):
    workspace.save(ENROLLMENTS, dps, {"old": True})
    assert set(workspace.need(ENROLLMENTS, dps, **names)) == {"individual", "group", "member"}


def test_registrations_bring_everything_before_them(dps, names, capsys):
    document = workspace.need(REGISTRATIONS, dps, **names)
    assert document["individual"]["device_id"] == "kitchen-thermostat"
    assert document["member"]["hub"] == dps.hubs[0]
    assert everything_of(dps) == (["thermostat-001"], ["thermostats"], ["kitchen-thermostat", "thermostat-101"])
    assert workspace.need(REGISTRATIONS, dps, **names) == document
    assert capsys.readouterr().out.splitlines()[:2] == ["Registered: thermostat-001", "Registered: thermostat-101"]


def test_a_twin_that_an_earlier_run_changed_starts_again(dps, names):
    workspace.need(REGISTRATIONS, dps, **names)
    registry = dps.registry(dps.hubs[0])
    registry.update_twin("kitchen-thermostat", twin_patch(desired={"targetTemperature": 23}))
    workspace.need(REGISTRATIONS, dps, **names)
    assert registry.get_twin("kitchen-thermostat").properties.desired["targetTemperature"] == 21


def test_a_device_that_is_gone_is_registered_again(dps, names):
    workspace.need(REGISTRATIONS, dps, **names)
    cleanup.delete_device(dps, dps.hubs[0], "thermostat-101")
    workspace.need(REGISTRATIONS, dps, **names)
    assert cleanup.device_exists(dps, dps.hubs[0], "thermostat-101")


def test_new_enrollments_mean_new_registrations(dps, names):
    first = workspace.need(REGISTRATIONS, dps, **names)
    workspace.start_over(ENROLLMENTS, dps, **names)
    assert everything_of(dps) == ([], [], [])
    workspace.need(ENROLLMENTS, dps, **names)
    assert workspace.need(REGISTRATIONS, dps, **names)["member"]["key"] != first["member"]["key"]


def test_starting_over_with_registrations_keeps_the_enrollments(dps, names, capsys):
    workspace.need(REGISTRATIONS, dps, **names)
    workspace.start_over(REGISTRATIONS, dps, **names)
    assert everything_of(dps) == (["thermostat-001"], ["thermostats"], [])
    with pytest.raises(ResourceNotFoundError):
        dps.service_client().device_registration_state.get("thermostat-001")
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "Not registered yet: thermostat-001",
        "Not registered yet: thermostat-101",
    ]


def test_the_first_device_comes_and_goes(dps, capsys):
    document = workspace.need("first_device", dps, registration_id="first")
    assert lessons.register_device(dps, "first", document["key"]).device_id == "first"
    workspace.start_over("first_device", dps, registration_id="first")
    assert everything_of(dps) == ([], [], [])
    assert capsys.readouterr().out == "Enrolled: first\nNothing is enrolled as first.\n"


def test_a_registration_that_does_not_end_as_assigned_fails(dps, names):
    document = workspace.need(ENROLLMENTS, dps, **names)
    service = dps.service_client()
    found = lessons.individual_enrollment("thermostat-001", "")
    found["attestation"] = service.enrollment.get_attestation_mechanism("thermostat-001")
    service.enrollment.create_or_update("thermostat-001", {**found, "provisioningStatus": "disabled"}, if_match="*")
    with pytest.raises(ClientError):
        lessons.register_device(dps, "thermostat-001", document["individual"]["key"])


def test_what_this_workspace_made_is_listed_for_cleaning(dps, names):
    service = dps.service_client()
    assert cleanup.enrollments_of(dps, service) == ([], [])
    workspace.need(REGISTRATIONS, dps, **names)
    service.enrollment.create_or_update("somebody-elses", lessons.individual_enrollment("somebody-elses", ""))
    enrollments, groups = cleanup.enrollments_of(dps, service)
    assert (enrollments, groups) == (["thermostat-001"], ["thermostats"])
    records = cleanup.records_of(service, [*enrollments, "somebody-elses"], groups)
    assert sorted(record["deviceId"] for record in records) == ["kitchen-thermostat", "thermostat-101"]


@pytest.fixture
def like_azure(dps, monkeypatch):
    """The same target, but one that may have other people's things."""
    monkeypatch.setattr(type(dps), "is_simulator", property(lambda self: False))
    return dps


def test_on_azure_nothing_is_removed_that_somebody_else_made(like_azure, names):
    service = like_azure.service_client()
    theirs = lessons.individual_enrollment("thermostat-001", "")
    service.enrollment.create_or_update("thermostat-001", theirs)
    with pytest.raises(LessonError, match="already an individual enrollment 'thermostat-001'"):
        workspace.need(ENROLLMENTS, like_azure, **names)
    service.enrollment.delete("thermostat-001")
    service.enrollment_group.create_or_update("thermostats", lessons.enrollment_group("thermostats"))
    with pytest.raises(LessonError, match="already an enrollment group 'thermostats'"):
        workspace.start_over(ENROLLMENTS, like_azure, **names)
    assert everything_of(like_azure) == ([], ["thermostats"], [])


def test_on_azure_what_this_workspace_made_is_removed(like_azure, names):
    workspace.need(REGISTRATIONS, like_azure, **names)
    workspace.start_over(REGISTRATIONS, like_azure, **names)
    workspace.start_over(ENROLLMENTS, like_azure, **names)
    assert everything_of(like_azure) == ([], [], [])


def test_on_azure_what_is_removed_to_be_made_again_stays_noted(like_azure, names):
    service = like_azure.service_client()
    workspace.need(ENROLLMENTS, like_azure, **names)
    for again in (True, True):
        cleanup.remove_enrollment(like_azure, service, "thermostat-001", again=again)
        cleanup.remove_group(like_azure, service, "thermostats", again=again)
        assert everything_of(like_azure) == ([], [], [])
        body = {"registrationId": "thermostat-001", "attestation": {"type": "symmetricKey"}}
        service.enrollment.create_or_update("thermostat-001", body)
        body = {"enrollmentGroupId": "thermostats", "attestation": {"type": "symmetricKey"}}
        service.enrollment_group.create_or_update("thermostats", body)
    workspace.start_over(ENROLLMENTS, like_azure, **names)
    assert everything_of(like_azure) == ([], [], [])


def test_a_device_in_an_unknown_hub_is_left_alone(dps, names, monkeypatch):
    workspace.need(REGISTRATIONS, dps, **names)
    hubs = dict(dps._hubs)
    monkeypatch.setattr(dps, "_hubs", {"other.azure-devices.test": next(iter(hubs.values()))})
    cleanup.forget_registration(dps, dps.service_client(), "thermostat-001")
    monkeypatch.setattr(dps, "_hubs", hubs)
    assert cleanup.device_exists(dps, dps.hubs[0], "kitchen-thermostat")
