import pytest
from azure.core.exceptions import ResourceNotFoundError

from helpers import certificates, workspace
from helpers.checks import ParameterError
from helpers.credentials import derive_device_key
from helpers.recipes import cleanup
from helpers.recipes import symmetric_key as lessons
from helpers.recipes import x509 as x509_lessons
from helpers.recipes.failures import FILES, FREEZERS
from helpers.runner import documents

pytestmark = pytest.mark.sdk

NAMES = {
    "registration_id": "freezer-001",
    "group_id": "freezers",
    "member_id": "freezer-101",
    "authority_name": "contoso-freezers-root",
}


def test_the_freezers_work_before_they_fail_and_nothing_is_left(dps, capsys):
    workspace.start_over(FREEZERS, dps, **NAMES)
    freezers = workspace.need(FREEZERS, dps, **NAMES)
    assert capsys.readouterr().out.splitlines() == [
        "Nothing is enrolled as freezer-001.",
        "There is no enrollment group freezers, nor freezers-certified.",
        "Enrolled: freezer-001, individually, with a key",
        "Enrolled: the group freezers, with a key",
        "Enrolled: the group freezers-certified, with certificates",
    ]
    hub = dps.hubs[0]
    member = lessons.register_device(dps, "freezer-101", derive_device_key(freezers["group_key"], "freezer-101"))
    single = lessons.register_device(dps, "freezer-001", freezers["key"])
    certified_id = freezers["certified_id"]
    files = certificates.load(workspace.folder(FILES, dps), certified_id).files
    certified = x509_lessons.register_device(dps, certified_id, files.x509())
    ids = [each.device_id for each in (member, single, certified)]
    assert ids == ["freezer-101", "freezer-001", "freezer-101-certified"]

    workspace.start_over(FREEZERS, dps, **NAMES)
    service = dps.service_client()
    with pytest.raises(ResourceNotFoundError):
        service.enrollment.get("freezer-001")
    assert list(service.enrollment_group.query({"query": "SELECT *"})) == []
    assert not any(cleanup.device_exists(dps, hub, each) for each in ids)
    assert (workspace.claimed(dps), workspace.files(dps)) == ([], ["claims.json"])


def test_a_second_run_makes_them_anew(dps):
    first = workspace.need(FREEZERS, dps, **NAMES)
    workspace.start_over(FREEZERS, dps, **NAMES)
    assert workspace.need(FREEZERS, dps, **NAMES)["group_key"] != first["group_key"]


def test_the_notebook_refuses_azure_before_it_does_anything():
    cells = {cell.id: cell.source for cell in documents.read(documents.NOTEBOOKS / "51_when_it_fails.ipynb").cells}
    given = {}
    exec(cells["parameters"], given)  # noqa: S102  (the notebook's own cells)
    with pytest.raises(ParameterError, match="runs on the simulator only: it switches on faults"):
        exec(cells["check-parameters"], {**given, "target": "azure"})  # noqa: S102
