import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.mgmt.iothubprovisioningservices.models import IotHubDefinitionDescription

from helpers import certificates, workspace
from helpers.credentials import Secret, derive_device_key
from helpers.recipes import cleanup
from helpers.recipes import symmetric_key as lessons
from helpers.recipes.cleanup import BEFORE, ENROLLMENT, GROUP, HUBS, LessonError
from helpers.recipes.fleet import FLEET, KETTLES
from helpers.recipes.symmetric_key import register_device
from helpers.target import registry as registries

pytestmark = pytest.mark.sdk

ONE, TWO, THREE = (f"contoso-hub-{number}.azure-devices.test" for number in (1, 2, 3))
NAMES = {"registration_id": "kettle-001", "group_id": "kettles", "member_id": "kettle-101"}


@pytest.fixture
def strict(dps, monkeypatch):
    """The same target, but one that may have other people's things."""

    def check(_, kind, identifier):
        if (kind, identifier) not in workspace.claimed(dps):
            raise LessonError(f"{kind} {identifier!r}")

    monkeypatch.setattr(cleanup, "check_ours", check)
    return dps


def state_of(dps):
    """Weights of the linked hubs, whether each takes part, and the policy."""
    _, _, resource = cleanup.service_resource(dps)
    links = cleanup.links_of(resource)
    weights = {hub: (link.allocation_weight, link.apply_allocation_policy) for hub, link in links.items()}
    return weights, resource.properties["allocationPolicy"]


def change(dps, *, links=None, policy=None, without=()):
    """Change the service as somebody in a portal would."""
    manager, where, resource = cleanup.service_resource(dps)
    found = {hub: link for hub, link in cleanup.links_of(resource).items() if hub not in without}
    for hub, fields in (links or {}).items():
        text = dps.hub_connection_string(hub).reveal()
        found.setdefault(hub, IotHubDefinitionDescription(connection_string=text, location=resource.location))
        for name, value in fields.items():
            setattr(found[hub], name, value)
    resource.properties.iot_hubs = list(found.values())
    resource.properties.allocation_policy = policy or resource.properties.allocation_policy
    manager.begin_create_or_update(iot_dps_description=resource, **where).result()


def test_both_hubs_are_linked_alike_once_and_unlinked_again(dps, capsys):
    document = workspace.need(HUBS, dps)
    assert document == {"hubs": [ONE, TWO], "linked_before": [ONE]}
    assert state_of(dps) == ({ONE: (1, True), TWO: (1, True)}, "Hashed")
    assert workspace.need(HUBS, dps) == document
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == lines[1]

    assert cleanup.restore(dps) == (ONE,)
    assert state_of(dps) == ({ONE: (1, True)}, "Hashed")
    assert workspace.load(BEFORE, dps) is workspace.load(HUBS, dps) is None
    assert dps.release_hubs() == (ONE,)
    assert cleanup.restore(dps) == ()


def test_what_was_set_before_is_set_again(dps):
    dps.need_hubs(2)
    change(
        dps,
        links={ONE: {"allocation_weight": 7}, TWO: {"allocation_weight": 2, "apply_allocation_policy": False}},
        policy="GeoLatency",
    )
    before = state_of(dps)
    assert workspace.need(HUBS, dps)["linked_before"] == [ONE, TWO]
    assert state_of(dps) == ({ONE: (1, True), TWO: (1, True)}, "Hashed")
    dps.set_latencies({ONE: 12, TWO: 80})
    assert cleanup.restore(dps) == (ONE, TWO)
    assert state_of(dps) == before == ({ONE: (7, True), TWO: (2, False)}, "GeoLatency")
    assert {hub["latency"] for hub in dps.manage("GET", "/hubs")["hubs"]} == {None}


def test_a_hub_that_was_unlinked_meanwhile_is_linked_again_and_other_hubs_are_left_alone(dps):
    dps.need_hubs(3)
    change(dps, links={TWO: {"allocation_weight": 5}})
    workspace.need(HUBS, dps)
    change(dps, links={THREE: {"allocation_weight": 9}}, without={TWO})
    assert cleanup.restore(dps) == (ONE, TWO, THREE)
    assert state_of(dps)[0] == {ONE: (1, True), TWO: (5, True), THREE: (9, True)}


def test_a_hub_that_does_not_exist_any_more_stays_unlinked(dps):
    dps.need_hubs(2)
    change(dps, links={TWO: {}})
    workspace.need(HUBS, dps)
    assert dps.release_hubs() == (ONE,)
    assert cleanup.restore(dps) == (ONE,)
    assert state_of(dps)[0] == {ONE: (1, True)}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda dps: change(dps, without={TWO}),
        lambda dps: change(dps, links={ONE: {"allocation_weight": 3}}),
        lambda dps: change(dps, policy="Static"),
        lambda dps: workspace.forget(BEFORE, dps),
        lambda dps: workspace.forget(HUBS, dps),
    ],
    ids=["unlinked", "weight", "policy", "nothing noted", "forgotten"],
)
def test_links_are_made_anew_when_something_is_other(dps, spoil):
    workspace.need(HUBS, dps)
    spoil(dps)
    workspace.need(HUBS, dps)
    assert state_of(dps) == ({ONE: (1, True), TWO: (1, True)}, "Hashed")


def test_starting_over_notes_the_settings_and_a_second_note_does_not_replace_the_first(dps, capsys):
    workspace.start_over(HUBS, dps)
    assert workspace.load(BEFORE, dps)["links"] == {ONE: {"weight": 1, "applies": True}}
    assert dps.hubs == (ONE, TWO)
    change(dps, links={ONE: {"allocation_weight": 3}, TWO: {}})
    assert list(cleanup.remember(dps, dps.hubs)["links"]) == [ONE]
    workspace.start_over(HUBS, dps)
    assert state_of(dps)[0] == {ONE: (1, True)}
    assert capsys.readouterr().out.splitlines()[0].startswith("The settings of the service are noted")


def test_a_link_without_numbers_has_the_defaults():
    link = IotHubDefinitionDescription({"connectionString": "x", "location": "here"})
    assert cleanup.link_settings(link) == {"weight": 1, "applies": True}


def boot_members(dps, key, count):
    for number in range(count):
        name = f"ovens-{number}"
        register_device(dps, name, derive_device_key(key, name))


def devices(dps):
    return sorted(each.device_id for hub in dps.hubs for each in dps.registry(hub).get_devices())


@pytest.mark.parametrize("official", [True, False], ids=["official manager", "plain REST"])
def test_a_fleet_is_removed_with_its_devices_in_all_hubs(dps, capsys, monkeypatch, official):
    if not official:
        monkeypatch.setattr(registries, "IoTHubRegistryManager", None)
    workspace.need(HUBS, dps)
    key = workspace.need(FLEET, dps, group_id="ovens")["key"]
    boot_members(dps, key, 6)
    assert len({hub for hub in dps.hubs if dps.registry(hub).get_devices()}) == 2
    dps.registry(dps.hubs[0]).delete_device(dps.registry(dps.hubs[0]).get_devices()[0].device_id)
    cleanup.remove_fleet(dps, dps.service_client(), "ovens")
    assert devices(dps) == []
    with pytest.raises(ResourceNotFoundError):
        dps.service_client().enrollment_group.get("ovens")
    assert (GROUP, "ovens") not in workspace.claimed(dps)
    workspace.start_over(FLEET, dps, group_id="ovens")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["Enrolled: the group ovens", "There is no enrollment group ovens."]


def test_another_trouble_than_a_missing_device_is_told(dps, monkeypatch):
    class RefusedError(Exception):
        status_code = 403

    def refuse(device_id):
        raise RefusedError

    monkeypatch.setattr(dps.registry(ONE), "delete_device", refuse)
    with pytest.raises(RefusedError):
        cleanup.delete_device(dps, ONE, "a")


def test_a_group_that_somebody_else_made_is_left_alone(strict):
    service = strict.service_client()
    service.enrollment_group.create_or_update(
        "ovens", {"enrollmentGroupId": "ovens", "attestation": {"type": "symmetricKey"}}
    )
    with pytest.raises(LessonError, match="'ovens'"):
        workspace.start_over(FLEET, strict, group_id="ovens")
    assert service.enrollment_group.get("ovens")["enrollmentGroupId"] == "ovens"


def test_kettles_are_removed_also_when_their_enrollment_is_gone_already(dps, capsys):
    service = dps.service_client()
    dps.need_hubs(2)
    key = workspace.need(KETTLES, dps, **NAMES)["key"]
    assert isinstance(key, Secret)
    register_device(dps, "kettle-001", key)
    service.enrollment.delete("kettle-001")
    group = service.enrollment_group.create_or_update("kettles", lessons.enrollment_group("kettles"))
    group_key = group["attestation"]["symmetricKey"]["primaryKey"]
    for name in ("kettle-101", "kettle-102"):
        register_device(dps, name, derive_device_key(group_key, name))
    chip = certificates.create_self_signed("kettle-001-chip")
    service.enrollment.create_or_update(
        "kettle-001-chip",
        {
            "registrationId": "kettle-001-chip",
            "attestation": {
                "type": "x509",
                "x509": {"clientCertificates": {"primary": {"certificate": chip.certificate}}},
            },
        },
    )
    assert devices(dps) == ["kettle-001", "kettle-101", "kettle-102"]
    workspace.start_over(KETTLES, dps, **NAMES)
    assert devices(dps) == []
    assert list(service.enrollment.query({"query": "SELECT *"})) == []
    assert {(ENROLLMENT, "kettle-001"), (ENROLLMENT, "kettle-101"), (GROUP, "kettles")} <= set(workspace.claimed(dps))
    assert capsys.readouterr().out.splitlines() == [
        "Enrolled: kettle-001, individually",
        "Nothing is enrolled as kettle-001.",
        "There is no enrollment group kettles.",
    ]


def test_a_device_of_somebody_else_stays_in_its_hub(dps, monkeypatch):
    asked = []
    monkeypatch.setattr(cleanup, "delete_device", lambda *found: asked.append(found))
    monkeypatch.setattr(type(dps), "is_simulator", property(lambda self: False))
    workspace.start_over(KETTLES, dps, **NAMES)
    assert asked == []
    workspace.claim(dps, ENROLLMENT, "kettle-001")
    monkeypatch.setattr(cleanup, "remove_enrollment", lambda *_, **__: None)
    workspace.start_over(KETTLES, dps, **NAMES)
    assert (dps, ONE, "kettle-001") in asked
