import base64
import json
import types

import pytest

from helpers import workspace
from helpers.checks import ParameterError, check_parameters
from helpers.credentials import Secret
from helpers.recipes import cleanup
from helpers.recipes import symmetric_key as lessons
from helpers.recipes import tpm as tpm_lessons
from helpers.recipes.cleanup import LessonError
from helpers.recipes.tpm import ENROLLMENTS, FILES, REGISTRATIONS, TRIES, where_is
from helpers.tpm import open_tpm

pytestmark = pytest.mark.sdk


@pytest.fixture
def names():
    return {"tpm_kind": "embedded", "registration_id": "", "device_id": "greenhouse-gateway"}


@pytest.fixture
def strict(dps, monkeypatch):
    """The same target, but one that may have other people's things."""

    def check(_, kind, identifier):
        if (kind, identifier) not in workspace.claimed(dps):
            raise LessonError(f"{kind} {identifier!r}")

    monkeypatch.setattr(cleanup, "check_ours", check)
    return dps


def opened(dps):
    return open_tpm("embedded", workspace.folder(FILES, dps))


def own_id(dps):
    with opened(dps) as tpm:
        return tpm.registration_id


def enrolled(dps):
    found = dps.service_client().enrollment.query({"query": "SELECT *"})
    return sorted(each["registrationId"] for each in found)


def devices(dps):
    return sorted(each.device_id for hub in dps.hubs for each in dps.registry(hub).get_devices())


def test_the_enrollment_is_made_once_and_names_the_key_of_the_tpm(dps, names, capsys):
    first = workspace.need(ENROLLMENTS, dps, **names)
    assert workspace.need(ENROLLMENTS, dps, **names) == first
    with opened(dps) as tpm:
        assert first["registration_id"] == tpm.registration_id
        stands = dps.service_client().enrollment.get(tpm.registration_id)
        assert stands["attestation"]["tpm"]["endorsementKey"] == tpm.endorsement_key
    assert stands["deviceId"] == first["device_id"] == "greenhouse-gateway"
    line = "Enrolled: greenhouse-gateway, by the endorsement key of its TPM"
    assert capsys.readouterr().out.splitlines() == [line, line]


def test_what_is_kept_holds_no_key(dps, names):
    workspace.need(REGISTRATIONS, dps, **names)
    kept = workspace.load(REGISTRATIONS, dps)
    assert set(kept) == {"tpm_kind", "registration_id", "device_id", "hub", "assigned_id"}
    assert not [value for value in kept.values() if isinstance(value, Secret)]


def _without_enrollment(dps, names):
    dps.service_client().enrollment.delete(own_id(dps))


def _with_another_tpm(dps, names):
    workspace.empty_folder(FILES, dps)


def _with_the_key_of_another_tpm(dps, names):
    with open_tpm("embedded", workspace.folder(TRIES, dps)) as other:
        key = other.endorsement_key
    body = tpm_lessons.individual_enrollment(own_id(dps), names["device_id"], key)
    dps.service_client().enrollment.create_or_update(own_id(dps), body, if_match="*")


def _with_a_symmetric_key(dps, names):
    body = lessons.individual_enrollment(own_id(dps), names["device_id"])
    dps.service_client().enrollment.create_or_update(own_id(dps), body, if_match="*")


SPOILT = [_without_enrollment, _with_another_tpm, _with_the_key_of_another_tpm, _with_a_symmetric_key]


@pytest.mark.parametrize("spoil", SPOILT)
def test_it_is_made_anew_when_something_is_gone_or_other(dps, names, spoil):
    workspace.need(REGISTRATIONS, dps, **names)
    spoil(dps, names)
    workspace.need(ENROLLMENTS, dps, **names)
    # the enrollment and the device of an earlier TPM went, too; who deletes an enrollment leaves its device
    assert enrolled(dps) == [own_id(dps)]
    assert devices(dps) == (["greenhouse-gateway"] if spoil is _without_enrollment else [])
    workspace.need(REGISTRATIONS, dps, **names)
    assert devices(dps) == ["greenhouse-gateway"]
    assert not [each for each in workspace.files(dps) if each.startswith(TRIES)]


def test_other_names_mean_another_enrollment(dps, names):
    workspace.need(ENROLLMENTS, dps, **names)
    again = workspace.need(ENROLLMENTS, dps, tpm_kind="embedded", registration_id="gateway-7", device_id="")
    assert again == {"tpm_kind": "embedded", "registration_id": "gateway-7", "device_id": "gateway-7"}
    assert enrolled(dps) == ["gateway-7"]


def test_a_document_of_another_shape_is_made_anew(dps, names):
    workspace.save(ENROLLMENTS, dps, {"old": True})
    workspace.save(REGISTRATIONS, dps, {"old": True})
    assert workspace.need(REGISTRATIONS, dps, **names)["assigned_id"] == "greenhouse-gateway"


def test_registrations_bring_everything_before_them(dps, names, capsys):
    document = workspace.need(REGISTRATIONS, dps, **names)
    assert enrolled(dps) == [own_id(dps)]
    assert devices(dps) == ["greenhouse-gateway"]
    assert workspace.need(REGISTRATIONS, dps, **names) == document
    assert capsys.readouterr().out.splitlines() == ["Registered: greenhouse-gateway"] * 2
    with opened(dps) as tpm:
        assert tpm_lessons.has_hub_key(tpm, tpm_lessons.hub_key(dps, document["hub"], "greenhouse-gateway"))


def test_a_device_that_is_gone_is_registered_again(dps, names):
    workspace.need(REGISTRATIONS, dps, **names)
    cleanup.delete_device(dps, dps.hubs[0], "greenhouse-gateway")
    workspace.need(REGISTRATIONS, dps, **names)
    assert devices(dps) == ["greenhouse-gateway"]


def test_a_tpm_with_another_key_than_the_hub_is_registered_again(dps, names):
    document = workspace.need(REGISTRATIONS, dps, **names)
    before = tpm_lessons.hub_key(dps, document["hub"], "greenhouse-gateway")
    with opened(dps) as tpm:
        # somebody asked for a challenge and stopped half-way: the TPM has its key and no longer the hub's
        client = tpm_lessons.TpmProvisioningDeviceClient.create_from_tpm(
            provisioning_host=dps.provisioning_host,
            id_scope=dps.id_scope,
            tpm=tpm,
            registration_id=document["registration_id"],
            **dps.device_options,
        )
        tpm.activate(client.request_challenge())
        assert not tpm_lessons.has_hub_key(tpm, before)
    workspace.need(REGISTRATIONS, dps, **names)
    with opened(dps) as tpm:
        assert tpm_lessons.has_hub_key(tpm, tpm_lessons.hub_key(dps, document["hub"], "greenhouse-gateway"))


def test_a_key_is_compared_only_where_there_are_two(dps, names):
    with opened(dps) as tpm:
        assert not tpm_lessons.has_hub_key(tpm, Secret(base64.b64encode(bytes(32)).decode()))
    workspace.need(REGISTRATIONS, dps, **names)
    with opened(dps) as tpm:
        assert not tpm_lessons.has_hub_key(tpm, Secret("None"))
        assert not tpm_lessons.has_hub_key(tpm, Secret("no base64"))


def test_starting_over_with_registrations_keeps_the_enrollment(dps, names, capsys):
    workspace.need(REGISTRATIONS, dps, **names)
    workspace.start_over(REGISTRATIONS, dps, **names)
    assert enrolled(dps) == [own_id(dps)]
    assert devices(dps) == []
    workspace.start_over(REGISTRATIONS, dps, **names)
    assert capsys.readouterr().out.splitlines()[-1] == "Not registered yet: greenhouse-gateway"


def test_starting_over_with_the_enrollment_leaves_nothing_but_the_tpm(dps, names, capsys):
    workspace.need(REGISTRATIONS, dps, **names)
    before = own_id(dps)
    workspace.start_over(ENROLLMENTS, dps, **names)
    assert (enrolled(dps), devices(dps)) == ([], [])
    assert own_id(dps) == before
    assert capsys.readouterr().out.splitlines()[-1] == "Not enrolled yet: greenhouse-gateway"
    # claimed, because the notebook goes on to make it
    assert (cleanup.ENROLLMENT, before) in workspace.claimed(dps)


def test_a_device_without_names_is_called_by_its_tpm(dps, names, capsys):
    workspace.need(ENROLLMENTS, dps, **{**names, "device_id": ""})
    assert capsys.readouterr().out == "Enrolled: the device with this TPM, by the endorsement key of its TPM\n"
    assert dps.service_client().enrollment.get(own_id(dps))["deviceId"] == own_id(dps)


def test_nothing_is_removed_that_somebody_else_made(strict, names):
    with opened(strict) as tpm:
        body = tpm_lessons.individual_enrollment(tpm.registration_id, "theirs", tpm.endorsement_key)
        strict.service_client().enrollment.create_or_update(tpm.registration_id, body)
        with pytest.raises(LessonError, match="individual enrollment"):
            workspace.need(ENROLLMENTS, strict, **names)
        tpm_lessons.register_device(strict, tpm.registration_id, tpm)
        with pytest.raises(LessonError, match="individual enrollment"):
            workspace.start_over(REGISTRATIONS, strict, **names)
    assert devices(strict) == ["theirs"]


# --- the search for a key ---------------------------------------------------------------------------------------------

RAW = bytes(range(32))
KEY = Secret(base64.b64encode(RAW).decode())


class _Holder:
    def __init__(self, value):
        self.value = value


@pytest.mark.parametrize(
    "value",
    [
        KEY,
        KEY.reveal(),
        f"before {KEY.reveal()} after",
        RAW,
        bytearray(b"xx" + RAW),
        RAW.hex(),
        RAW.hex().upper(),
        {"a": [(KEY,)]},
        {1, RAW},
        _Holder(_Holder({"deep": RAW})),
    ],
)
def test_a_key_is_found_in_every_spelling(place, value):
    assert where_is(KEY, place, {"x": value, "y": 1}) == ["variable x"]


def test_what_is_no_hiding_place_is_passed_over(place):
    cycle = []
    cycle.append(cycle)
    with open_tpm("embedded", workspace.folder(FILES, place)) as tpm:
        tpm.device_key = RAW  # as if the chip had it
        variables = {"json": json, "kind": _Holder, "call": where_is, "cycle": cycle, "tpm": tpm, "none": None}
        variables["client"] = _Holder(tpm)
        variables["module"] = types.ModuleType("module")
        variables["module"].key = RAW
        assert where_is(KEY, place, variables) == []


def test_files_are_searched_but_for_the_chip(place):
    workspace.save("other.document", place, {"device_key": KEY})
    (workspace.folder(FILES, place) / "soft_tpm.json").write_text(KEY.reveal())
    (workspace.folder(TRIES, place) / "soft_tpm.json").write_bytes(RAW)
    (workspace.folder("x509", place) / "notes").write_bytes(b"..." + RAW)
    assert where_is(KEY, place, {}) == ["file other.document.json", "file x509/notes"]


def test_a_short_text_is_searched_as_it_stands(place):
    assert where_is("abcd", place, {"x": "xabcdx", "y": base64.b64decode("abcd")}) == ["variable x"]
    assert where_is("kitchen", place, {"x": b"the kitchen"}) == ["variable x"]


# --- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["embedded", "swtpm", "/dev/tpmrm0"])
def test_kinds_of_tpm(kind, capsys):
    check_parameters("11_name", target="simulator", tpm_kind=kind, registration_id="", device_id="")
    assert capsys.readouterr().out == "Parameters: ok\n"


@pytest.mark.parametrize("kind", ["", "Embedded", "tpm0", "/dev/tpm\n", 7])
def test_other_kinds_are_refused(kind):
    with pytest.raises(ParameterError, match="tpm_kind"):
        check_parameters("11_name", tpm_kind=kind)


def test_an_empty_registration_id_needs_a_tpm():
    with pytest.raises(ParameterError, match="registration_id"):
        check_parameters("11_name", target="simulator", registration_id="")
    with pytest.raises(ParameterError, match="registration_id"):
        check_parameters("11_name", tpm_kind="embedded", registration_id="no spaces please")
