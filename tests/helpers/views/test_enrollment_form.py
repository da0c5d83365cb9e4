"""The form: it shows what it sends, sends it, boots the device, and says what went wrong."""

import sys
import threading
import types
from html import unescape

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from patience import PATIENCE, wait_until

from helpers import workspace
from helpers.credentials import Secret, new_key
from helpers.recipes import cleanup
from helpers.recipes import symmetric_key as lessons
from helpers.views import enrollment_form
from helpers.views.enrollment_document import FormError

KEY, OTHER = new_key().reveal(), new_key().reveal()


class Collection:
    """As much of a collection of enrollments as a form needs."""

    def __init__(self):
        self.kept = {}
        self.problem = None

    def create_or_update(self, name, document):
        if self.problem:
            raise self.problem
        if name in self.kept:
            raise refusal(ResourceExistsError, 409)
        attestation = {"symmetricKey": {"primaryKey": KEY, "secondaryKey": OTHER}} | document["attestation"]
        self.kept[name] = {**document, "attestation": attestation, "etag": f"etag-{len(self.kept)}"}
        return self.kept[name]

    def get(self, name):
        if name not in self.kept:
            raise refusal(ResourceNotFoundError, 404)
        return self.kept[name]


def refusal(kind, status):
    problem = kind(f"status {status}")
    problem.status_code = status
    return problem


@pytest.fixture
def service():
    return types.SimpleNamespace(enrollment=Collection(), enrollment_group=Collection())


def make(service, **options):
    return enrollment_form(service, **({"registration_id": "my-device"} | options))


def message(form):
    return form.widget.children[1].children[0].children[-1].value


def preview(form):
    return form.widget.children[1].children[1].children[0].value


def press(form, label):
    buttons = form.widget.children[1].children[0].children[-2].children
    button = next(each for each in buttons if each.description == label)
    if not button.disabled:
        button.click()
    return button


def wait_for(form, words):
    wait_until(lambda: words in message(form), lambda: f"{words!r} in {message(form)!r}")


def test_it_shows_the_same_as_text_html_and_widget(service):
    form = make(service, desired={"speed": 3}, device_id="pump")
    data, metadata = form._repr_mimebundle_()
    assert data["text/plain"] == str(form) == repr(form)
    assert data["text/html"] == form.html()
    assert isinstance(metadata, dict)
    assert str(form).startswith("Enroll one device with a symmetric key\nfield ")
    assert '"deviceId": "pump"' in str(form)
    assert '{"speed": 3}' in str(form)
    assert form.widget is form.widget
    assert "&quot;speed&quot;: 3" in preview(form)


@pytest.mark.parametrize(
    ("kind", "attestation", "labels"),
    [
        ("individual", "symmetricKey", ["Registration ID", "Device ID", "Primary key", "Secondary key"]),
        ("individual", "x509", ["Registration ID", "Device ID", "Certificate"]),
        ("individual", "tpm", ["Registration ID", "Device ID", "Endorsement key", "Storage root key"]),
        ("group", "symmetricKey", ["Group ID", "Primary key", "Secondary key"]),
        ("group", "x509", ["Group ID", "Certificate"]),
    ],
)
def test_its_fields_have_labels_and_explanations_in_reading_order(service, kind, attestation, labels):
    form = enrollment_form(service, kind=kind, attestation=attestation)
    column = form.widget.children[1].children[0].children
    controls, marks = column[:-2:2], column[1:-2:2]
    assert [each.description for each in controls] == [*labels, "Choice of hub", "Desired properties", "Enabled"]
    buttons = [each for each in column[-2].children if each.description]
    assert all(each.tooltip for each in [*controls, *buttons])
    assert list(form.fields.values()) == list(controls)
    assert list(form.marks.values()) == list(marks), "each right below its field"
    assert "Not ready" in str(form)
    assert "is empty" in preview(form)


def test_what_will_be_sent_follows_what_is_typed(service):
    form = make(service)
    form.fields["registration_id"].value = "a-pump"
    assert "a-pump" in preview(form)
    form.fields["registration_id"].value = "a pump"
    assert "Registration ID is &#x27;a pump&#x27;" in preview(form)
    form.fields["registration_id"].value = "pump"
    form.fields["primary_key"].value = KEY
    assert "stands alone" in preview(form)
    form.fields["secondary_key"].value = OTHER
    form.fields["enabled"].value = False
    form.fields["allocation"].value = "geoLatency"
    assert "&quot;provisioningStatus&quot;: &quot;disabled&quot;" in preview(form)
    assert dict(form.rows)["Choice of hub"] == "lowest latency"
    everything = preview(form) + str(form) + form.html() + repr(form.document)
    assert KEY not in everything
    assert str(Secret(KEY)) in str(form)
    assert form.document["attestation"]["symmetricKey"]["primaryKey"].reveal() == KEY


def test_long_text_is_cut_and_a_private_key_is_never_shown(service):
    form = make(service, attestation="x509")
    form.fields["certificate"].value = "x" * 100 + "\nsecond"
    assert "x" * 60 + " …" in str(form)
    form.fields["certificate"].value = "-----BEGIN PRIVATE KEY-----\nsecret"
    assert "secret" not in str(form) + form.html() + preview(form)


def test_the_button_enrolls_and_code_then_gets_the_same(service):
    form = make(service)
    assert form.created is None
    press(form, "Enroll")
    assert "Enrolled: my-device." in message(form)
    assert 'role="status"' in message(form)
    created = form.created
    assert created["attestation"]["symmetricKey"]["primaryKey"] == Secret(KEY)
    assert form.enroll() == created
    press(form, "Enroll")
    assert "Enrolled: my-device." in message(form)
    assert (form.names, form.device_ids) == (["my-device"], ["my-device"])
    assert service.enrollment.kept["my-device"]["provisioningStatus"] == "enabled"


def test_a_group_goes_to_the_groups(service):
    form = enrollment_form(service, kind="group", group_id="pumps")
    form.enroll()
    assert list(service.enrollment_group.kept) == ["pumps"]
    assert (form.names, form.device_ids) == (["pumps"], [])


def test_keys_are_sent_in_clear(service):
    form = make(service)
    form.fields["primary_key"].value, form.fields["secondary_key"].value = OTHER, KEY
    form.enroll()
    assert service.enrollment.kept["my-device"]["attestation"]["symmetricKey"]["primaryKey"] == OTHER


def test_what_is_wrong_is_said_and_nothing_is_lost(service):
    form = make(service)
    form.fields["registration_id"].value = "my pump"
    # a browser lets nobody press it; whoever does it in code is told
    press(form, "Enroll").click()
    assert "Registration ID is &#x27;my pump&#x27;" in message(form)
    form.fields["desired"].value = "{'a': 1}"
    press(form, "Enroll").click()
    assert "Not sent.<br>Registration ID" in message(form)
    assert "double quotes" in message(form)
    assert form.fields["desired"].value == "{'a': 1}"
    assert service.enrollment.kept == {}
    with pytest.raises(FormError):
        form.enroll()


def test_a_name_that_is_taken_is_said(service):
    service.enrollment.kept["my-device"] = {"etag": "somebody's"}
    form = make(service)
    press(form, "Enroll")
    assert "is enrolled already (409)" in message(form)
    assert form.created is None


def test_something_else_under_the_same_name_is_no_repetition(service):
    form = make(service)
    form.enroll()
    form.fields["desired"].value = '{"a": 1}'
    with pytest.raises(FormError, match="enrolled already"):
        form.enroll()
    form.fields["desired"].value = ""
    service.enrollment.kept["my-device"] = {"etag": "changed meanwhile"}
    with pytest.raises(FormError, match="enrolled already"):
        form.enroll()


def test_what_vanishes_between_two_requests_is_no_repetition(service):
    form = make(service)
    form.enroll()
    service.enrollment.get = lambda name: Collection().get(name)
    with pytest.raises(FormError, match="enrolled already"):
        form.enroll()


def test_what_was_removed_meanwhile_is_made_anew(service):
    form = make(service)
    form.enroll()
    service.enrollment.kept.clear()
    press(form, "Enroll")
    assert list(service.enrollment.kept) == ["my-device"]
    assert form.names == ["my-device"]


@pytest.mark.parametrize(
    "problem", [refusal(HttpResponseError, 400), ConnectionError(f"SharedAccessKey={KEY}")], ids=["refused", "no way"]
)
def test_errors_of_the_service_are_shown_without_secrets(service, problem):
    service.enrollment.problem = problem
    form = make(service)
    press(form, "Enroll")
    assert "Not enrolled: " in message(form)
    assert type(problem).__name__ in message(form)
    assert KEY not in message(form)
    with pytest.raises(type(problem)):
        form.enroll()


def test_claims_are_made_before_and_taken_back_when_nothing_was_made(service, place):
    form = make(service, dps=place)
    claim = (cleanup.ENROLLMENT, "my-device")
    for problem, stays in (
        (refusal(HttpResponseError, 400), False),
        (refusal(ResourceExistsError, 409), False),
        (refusal(HttpResponseError, 503), True),
    ):
        service.enrollment.problem = problem
        with pytest.raises((FormError, HttpResponseError)):
            form.enroll()
        assert (claim in workspace.claimed(place)) is stays
    service.enrollment.problem = refusal(HttpResponseError, 400)
    with pytest.raises(HttpResponseError):
        form.enroll()
    assert claim in workspace.claimed(place), "what was noted before is not taken back"
    group = enrollment_form(service, kind="group", group_id="pumps", dps=place)
    group.enroll()
    assert (cleanup.GROUP, "pumps") in workspace.claimed(place)


def test_the_second_button_boots_the_device(service):
    began, go_on, got = threading.Event(), threading.Event(), []

    def start(registration_id, key):
        got.append((registration_id, key))
        began.set()
        go_on.wait(PATIENCE)
        return "It has a hub."

    form = make(service, start=start)
    assert press(form, "Start the device").disabled
    press(form, "Enroll")
    assert "Now you can start the device." in message(form)
    button = press(form, "Start the device")
    assert began.wait(PATIENCE)
    assert button.disabled
    assert "boots and asks" in message(form)
    form._start_clicked(button)
    go_on.set()
    form._booting.join(PATIENCE)
    assert "It has a hub." in message(form)
    assert got == [("my-device", Secret(KEY))]
    assert not button.disabled
    form.close()
    assert button.disabled
    assert form.created is None
    assert form.names == ["my-device"]
    form.close()


def test_a_device_that_does_not_get_through_is_told_of(service):
    def start(registration_id, key):
        raise OSError(f"refused, the key was {key.reveal()}")

    form = make(service, start=start)
    form.enroll()
    press(form, "Start the device")
    wait_for(form, "did not get through: OSError: refused")
    form.close()
    assert KEY not in message(form)


def test_code_can_start_it_as_well(service):
    form = make(service, start=lambda registration_id, key: f"{registration_id} {key}")
    with pytest.raises(FormError, match="press Enroll first"):
        form.start_device()
    form.enroll()
    assert form.start_device() == f"my-device {Secret(KEY)}"
    with pytest.raises(FormError, match="without start"):
        make(service).start_device()


def test_a_device_without_a_key_gets_none(service, device):
    form = enrollment_form(
        service, attestation="x509", registration_id="pump-101", start=lambda registration_id, key: str(key)
    )
    form.fields["certificate"].value = device.certificate
    form.enroll()
    form.created["attestation"].pop("symmetricKey")
    assert form.start_device() == "None"


def test_what_cannot_be_is_refused(service):
    with pytest.raises(ValueError, match="A group is no device"):
        enrollment_form(service, kind="group", start=lambda registration_id, key: "")
    with pytest.raises(ValueError, match="no enrollment groups for TPMs"):
        enrollment_form(service, kind="group", attestation="tpm")


@pytest.mark.sdk
def test_against_the_service(dps):
    service = dps.service_client()
    form = enrollment_form(
        service,
        registration_id="my-device",
        device_id="pump",
        desired={"speed": 3},
        dps=dps,
        start=lambda registration_id, key: lessons.register_device(dps, registration_id, key).device_id,
    )
    created = form.enroll()
    assert form.start_device() == "pump"
    assert form.enroll() == created, "a boot changes nothing in the enrollment"
    cleanup.remove_enrollment(dps, service, "my-device")
    dps.close()
    press(form, "Enroll")
    assert "Enrolled: my-device" in message(form), "also after the target was closed"
    cleanup.remove_enrollment(dps, service, "my-device")
    assert workspace.claimed(dps) == []


# --- ready, not ready, closed -----------------------------------------------------------------------------------------


def why(form):
    return form.widget.children[1].children[0].children[-2].children[-1].value


def marked(form):
    """The fields that are marked, with the words below them."""
    for name, mark in form.marks.items():
        shown = mark.layout.display != "none"
        assert shown is bool(mark.value) is ("dps-form-marked" in form.fields[name]._dom_classes)
    return {name: mark.value for name, mark in form.marks.items() if mark.value}


@pytest.mark.parametrize(
    ("kind", "attestation", "typed", "wrong"),
    [
        ("individual", "symmetricKey", {}, {"registration_id": "is empty; choose a name"}),
        ("individual", "symmetricKey", {"registration_id": "a b"}, {"registration_id": "Registration ID is"}),
        ("individual", "symmetricKey", {"registration_id": "x" * 129}, {"registration_id": "up to 128"}),
        ("individual", "symmetricKey", {"registration_id": "a", "device_id": "a;b"}, {"device_id": "Device ID is"}),
        ("individual", "symmetricKey", {"registration_id": "a", "desired": "{"}, {"desired": "Desired properties"}),
        ("individual", "symmetricKey", {"registration_id": "a", "secondary_key": KEY}, {"secondary_key": "alone"}),
        (
            "individual",
            "symmetricKey",
            {"registration_id": "a.", "primary_key": "short", "secondary_key": KEY, "desired": "[]"},
            {"registration_id": "at its end", "primary_key": "base64", "desired": "Desired properties"},
        ),
        ("individual", "x509", {"registration_id": "a", "certificate": "?"}, {"certificate": "neither PEM nor base64"}),
        ("individual", "tpm", {"registration_id": "a"}, {"endorsement_key": "is empty"}),
        ("individual", "tpm", {"registration_id": "a", "endorsement_key": "AAAA"}, {"endorsement_key": "TPM2B"}),
        ("group", "symmetricKey", {"group_id": "ä"}, {"group_id": "Group ID is"}),
        ("group", "x509", {"group_id": "g"}, {"certificate": "is empty"}),
    ],
)
def test_the_button_is_off_and_every_wrong_field_is_marked(service, kind, attestation, typed, wrong):
    form = enrollment_form(service, kind=kind, attestation=attestation)
    for name, value in typed.items():
        form.fields[name].value = value
    button = press(form, "Enroll")
    assert button.disabled
    assert "Not ready" in preview(form)
    found = marked(form)
    assert set(found) == set(wrong)
    for name, words in wrong.items():
        assert words in found[name]
        assert "✗" in found[name], "not by colour alone"
        assert form.fields[name].tooltip.splitlines()[0] in unescape(found[name])
    assert "Enroll is switched off" in why(form)
    assert ("fields marked" in why(form)) is (len(wrong) > 1)
    assert KEY not in "".join(found.values())


def test_it_is_ready_as_soon_as_the_last_field_is_right(service):
    form = make(service, registration_id="")
    button = press(form, "Enroll")
    assert button.disabled
    form.fields["registration_id"].value = "my-device"
    assert not button.disabled
    assert marked(form) == {}
    assert "switched off" not in why(form)
    press(form, "Enroll")
    assert "Enrolled: my-device." in message(form)


def test_after_closing_nothing_can_be_pressed_and_it_says_so(service):
    booted = []
    form = make(service, start=lambda registration_id, key: booted.append(registration_id) or "It has a hub.")
    press(form, "Enroll")
    form.close()
    assert "This form is closed" in message(form)
    assert "run the cell" in message(form)
    assert "Nothing will be sent any more" in preview(form)
    for label in ("Enroll", "Start the device"):
        button = press(form, label)
        assert button.disabled
        # a click that was on its way from the browser comes all the same
        button.click()
    assert all(control.disabled for control in form.fields.values())
    form.fields["registration_id"].value = "late"
    assert press(form, "Enroll").disabled, "typing does not wake it up"
    assert set(service.enrollment.kept) == {"my-device"}
    assert (form.created, booted) == (None, [])
    for call in (form.enroll, form.start_device):
        with pytest.raises(FormError, match="This form is closed"):
            call()
    form.close()
    assert "This form is closed" in message(form)


def test_a_device_that_boots_longer_than_closing_waits_says_nothing_more(service, monkeypatch):
    # the function of this name hides the module
    monkeypatch.setattr(sys.modules["helpers.views.enrollment_form"], "PATIENCE", 0.01)
    go_on = threading.Event()

    def start(registration_id, key):
        go_on.wait(PATIENCE)
        return "It has a hub."

    form = make(service, start=start)
    press(form, "Enroll")
    press(form, "Start the device")
    booting = form._booting
    form.close()
    go_on.set()
    booting.join(PATIENCE)
    assert "This form is closed" in message(form)
    assert press(form, "Start the device").disabled


def test_long_names_are_there_as_a_whole(service):
    name, device = "r" * 128, "d" * 128
    form = make(service, registration_id=name, device_id=device)
    assert name in form.fields["registration_id"].tooltip
    assert device in form.fields["device_id"].tooltip
    assert dict(form.rows)["Registration ID"] == name
    assert form.html().count("overflow-wrap:anywhere; min-width") == 2, "only such cells are broken"
    assert f"{name}" in preview(form)
    assert "overflow-wrap:anywhere" in preview(form)
    press(form, "Enroll")
    assert name in message(form)
    assert "overflow-wrap:anywhere" in message(form)
