"""What a new simulator begins with: read from a settings file, put in once and as a whole, never over anything."""

import base64
import dataclasses
import re

import pytest
from provisioning_parts import PRIMARY_KEY, SECONDARY_KEY, group_body, individual_body
from x509_family import make_root

from dps_simulator import HubSettings, Settings, SettingsError, Simulator
from dps_simulator.settings.seeds_in_file import MAX_CERTIFICATE_SIZE, MAX_SEEDS
from dps_simulator.settings.settings import Seeds, load

HUBS = ("hub-1.azure-devices.test", "hub-2.azure-devices.test")
FILE = f"""
pace = "instant"
[[hubs]]
host = "{HUBS[0]}"
[[hubs]]
host = "{HUBS[1]}"

[[certificates]]
name = "root"
file = "root.pem"
isVerified = true

[[certificates]]
name = "other"
file = "root.cer"

[[enrollment_groups]]
enrollmentGroupId = "line-1"
attestation = {{ type = "x509", x509 = {{ caReferences = {{ primary = "root" }} }} }}
initialTwin = {{ tags = {{ line = 1 }}, properties = {{ desired = {{ interval = 5 }} }} }}

[[enrollments]]
registrationId = "Thermostat-001"
iotHubs = ["{HUBS[1]}"]
allocationPolicy = "static"
[enrollments.attestation]
type = "symmetricKey"
symmetricKey = {{ primaryKey = "{PRIMARY_KEY}", secondaryKey = "{SECONDARY_KEY}" }}

[[enrollments]]
registrationId = "thermostat-002"
attestation = {{ type = "symmetricKey" }}

[[devices]]
hub = "Hub-2.azure-devices.test"
deviceId = "veteran-001"
status = "disabled"
twin = {{ tags = {{ since = "2019" }}, properties = {{ desired = {{ interval = 7 }} }} }}
"""
ROOT = make_root()


@pytest.fixture
def file(tmp_path):
    (tmp_path / "root.pem").write_text(ROOT.pem)
    (tmp_path / "root.cer").write_bytes(ROOT.der)
    file = tmp_path / "simulator.toml"
    file.write_text(FILE)
    file.chmod(0o600)
    return file


def state(simulator):
    """Everything that the seeds could have made."""

    def read(runtime):
        service = runtime.services.provisioning
        enrollments = service.enrollments
        return {
            "certificates": {authority.name: authority.is_verified for authority in service.authorities.all()},
            "groups": [group.document for group in enrollments.groups.all()],
            "enrollments": [individual.document for individual in enrollments.individuals.all()],
            "devices": [
                (host, device["deviceId"])
                for host in HUBS
                for device in (runtime.services.hubs.find(host) or _NO_HUB).devices()
            ],
        }

    return simulator.call(read)


class _NoHub:
    def devices(self):
        return []


_NO_HUB = _NoHub()
NOTHING = {"certificates": {}, "groups": [], "enrollments": [], "devices": []}


def test_a_new_simulator_begins_with_them(file):
    with Simulator(load(file=file)) as simulator:
        found = state(simulator)
        twin = simulator.call(lambda runtime: runtime.services.hubs.find(HUBS[1]).twin("veteran-001"))
        device = simulator.call(lambda runtime: runtime.services.hubs.find(HUBS[1]).device("veteran-001"))
    assert found["certificates"] == {"root": True, "other": False}
    assert [group["enrollmentGroupId"] for group in found["groups"]] == ["line-1"]
    assert found["groups"][0]["initialTwin"]["properties"]["desired"] == {"interval": 5}
    first, second = found["enrollments"]
    assert (first["registrationId"], first["allocationPolicy"], first["iotHubs"]) == (
        "Thermostat-001",
        "static",
        [HUBS[1]],
    )
    assert first["attestation"]["symmetricKey"] == {"primaryKey": PRIMARY_KEY, "secondaryKey": SECONDARY_KEY}
    assert len(base64.b64decode(second["attestation"]["symmetricKey"]["primaryKey"])) == 64
    assert found["devices"] == [(HUBS[1], "veteran-001")]
    assert (device["status"], twin["tags"], twin["properties"]["desired"]["interval"]) == (
        "disabled",
        {"since": "2019"},
        7,
    )


def test_they_come_once_and_again_after_a_reset(file, tmp_path):
    settings = dataclasses.replace(load(file=file), state=tmp_path / "state")
    with Simulator(settings) as simulator:
        before = state(simulator)
        simulator.call(lambda runtime: runtime.services.provisioning.enrollments.individuals.delete("thermostat-001"))
        simulator.call(lambda runtime: runtime.services.hubs.find(HUBS[1]).delete_device("veteran-001"))
    with Simulator(settings) as simulator:
        after = state(simulator)
        assert (len(after["enrollments"]), after["devices"], after["groups"]) == (1, [], before["groups"])
        simulator.reset()
        again = state(simulator)
        assert [item["registrationId"] for item in again["enrollments"]] == ["Thermostat-001", "thermostat-002"]
        assert (again["devices"], again["certificates"]) == (before["devices"], before["certificates"])
        simulator.reset()
        assert len(state(simulator)["enrollments"]) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda services: services.provisioning.enrollments.individuals.put("mine", individual_body("mine")),
        lambda services: services.provisioning.enrollments.groups.put("mine", group_body("mine")),
        lambda services: services.provisioning.authorities.put("mine", {"properties": {"certificate": ROOT.base64}}),
        lambda services: services.hubs.find(HUBS[0]).put_device("mine", {}),
    ],
)
def test_where_something_is_already_none_is_put_in(file, tmp_path, make):
    settings = dataclasses.replace(load(file=file), state=tmp_path / "state")
    with Simulator(dataclasses.replace(settings, seeds=Seeds())) as simulator:
        simulator.call(lambda runtime: make(runtime.services))
        before = state(simulator)
    with Simulator(settings) as simulator:
        assert state(simulator) == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "[[enrollments]]\nregistrationId = 'bad'\nattestation = {type = 'magic'}",
            "[[enrollments]] 3 ('bad'): attestation.type is 'magic'",
        ),
        ("[[enrollments]]\nregistrationId = 'a b'", "[[enrollments]] 3 ('a b'): registrationId is 'a b'"),
        (
            "[[enrollments]]\nregistrationId = 'x'\nattestation = {type = 'symmetricKey'}\niotHubs = ['no.where.test']",
            "[[enrollments]] 3 ('x'): ",
        ),
        ("[[enrollment_groups]]\nenrollmentGroupId = 'g'", "[[enrollment_groups]] 2 ('g'): attestation is missing"),
        (
            (
                "[[enrollments]]\nregistrationId = 'x'\n[enrollments.attestation]\ntype = 'symmetricKey'\n"
                "symmetricKey = {primaryKey = 'NOT-A-SECRET!', secondaryKey = 'NOT-A-SECRET!'}"
            ),
            "[[enrollments]] 3 ('x'): attestation.symmetricKey.primaryKey",
        ),
        (
            "[[devices]]\nhub = 'hub-1.azure-devices.test'\ndeviceId = 'a b'",
            "[[devices]] 2 ('a b'): The device ID 'a b'",
        ),
        (
            "[[devices]]\nhub = 'hub-1.azure-devices.test'\ndeviceId = 'd'\nstatus = 'asleep'",
            "[[devices]] 2 ('d'): ",
        ),
        (
            "[[devices]]\nhub = 'hub-1.azure-devices.test'\ndeviceId = 'd'\ntwin = {tags = {'a.b' = 1}}",
            "[[devices]] 2 ('d'): ",
        ),
        (
            "[[certificates]]\nname = 'leaf'\nfile = 'simulator.toml'",
            "[[certificates]] 3 ('leaf'): properties.certificate",
        ),
        ("[[certificates]]\nname = 'a b'\nfile = 'root.pem'", "[[certificates]] 3 ('a b'): The name is 'a b'"),
    ],
)
def test_one_that_a_service_refuses_stops_all(file, tmp_path, more, said):
    file.write_text(FILE + more)
    settings = dataclasses.replace(load(file=file), state=tmp_path / "state")
    with pytest.raises(SettingsError) as caught:
        Simulator(settings).start()
    assert str(caught.value).startswith(f"{file}: {said}")
    assert "NOT-A-SECRET" not in str(caught.value)
    # nothing is half done
    with Simulator(dataclasses.replace(settings, seeds=Seeds())) as simulator:
        assert state(simulator) == NOTHING
    with Simulator(dataclasses.replace(load(file=_repaired(file)), state=tmp_path / "state")) as simulator:
        assert len(state(simulator)["enrollments"]) == 2


def _repaired(file):
    file.write_text(FILE)
    return file


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[enrolments]\nx = 1", "the key enrolments.x is unknown; known are id_scope, "),
        ("[[enrollments]]\nattestation = {}", "[[enrollments]] 3: registrationId is missing; it must be a text"),
        ("[[enrollments]]\nregistrationId = 5", "[[enrollments]] 3: registrationId is missing"),
        ("[[enrollments]]\nregistrationId = ''", "[[enrollments]] 3 (''): registrationId is missing"),
        (
            "[[enrollments]]\nregistrationId = 'THERMOSTAT-002'",
            "[[enrollments]] 3 ('THERMOSTAT-002'): registrationId stands in [[enrollments]] 2 already",
        ),
        (
            "[[enrollments]]\nregistrationId = 'x'\ninitialTwin = {tags = {at = 2026-01-01}}",
            "[[enrollments]] 3 ('x'), initialTwin, tags, at is a date; write it as a text",
        ),
        (
            "[[enrollments]]\nregistrationId = 'x'\niotHubs = ['a', nan]",
            "[[enrollments]] 3 ('x'), iotHubs, 2 is nan; it must be a finite number",
        ),
        (
            f"[[enrollments]]\nregistrationId = 'x'\ninitialTwin = {'{a = ' * 21}1{'}' * 21}",
            "there are more than 20 tables in each other",
        ),
        ("[[devices]]\ndeviceId = 'd'", f"[[devices]] 2 ('d'): hub is missing; it must be one of {', '.join(HUBS)}"),
        ("[[devices]]\ndeviceId = 'd'\nhub = 5", "[[devices]] 2 ('d'), hub: 5 is not possible"),
        (
            "[[devices]]\ndeviceId = 'd'\nhub = 'hub-3.azure-devices.test'",
            "hub is 'hub-3.azure-devices.test', which is not",
        ),
        (
            f"[[devices]]\ndeviceId = 'veteran-001'\nhub = '{HUBS[1]}'",
            "deviceId stands in [[devices]] 1 already",
        ),
        ("[[certificates]]\nfile = 'root.pem'", "[[certificates]] 3: name is missing"),
        ("[[certificates]]\nname = 'x'", "[[certificates]] 3, file: None is not possible; expected the path of a PEM"),
        ("[[certificates]]\nname = 'x'\nfile = ' '", "[[certificates]] 3, file: a path is empty"),
        ("[[certificates]]\nname = 'x'\nfile = \"a\\u0000\"", "[[certificates]] 3, file: 'a\\x00' is not possible"),
        ("[[certificates]]\nname = 'x'\nfile = 'none.pem'", "none.pem cannot be read: No such file"),
        ("[[certificates]]\nname = 'x'\nfile = 'big.pem'", f"big.pem has more than {MAX_CERTIFICATE_SIZE} bytes"),
        (
            "[[certificates]]\nname = 'x'\nfile = 'root.pem'\ncertificate = ''",
            "certificate is unknown; a certificate has name",
        ),
    ],
)
def test_what_needs_no_service_is_refused_when_it_is_read(file, more, said):
    (file.parent / "big.pem").write_bytes(b"x" * (MAX_CERTIFICATE_SIZE + 1))
    file.write_text(FILE + more)
    with pytest.raises(SettingsError) as caught:
        load(file=file)
    assert str(file) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "table", ["enrollments = 3", "devices = ['x']", "certificates = {}", "enrollment_groups = 'x'"]
)
def test_tables_that_are_none(file, table):
    file.write_text(table)
    name = table.partition(" ")[0]
    with pytest.raises(SettingsError) as caught:
        load(file=file)
    assert f"{name} must be written as [[{name}]] tables" in str(caught.value)


def test_seeds_without_a_file():
    seeds = Seeds(enrollments=(individual_body("a"),), devices=({"deviceId": "A"}, {"deviceId": "a"}))
    assert PRIMARY_KEY not in repr(seeds)
    settings = Settings(hubs=(HubSettings(HUBS[0]),), seeds=seeds)
    with Simulator(settings) as simulator:
        assert state(simulator)["devices"] == [(HUBS[0], "A"), (HUBS[0], "a")]
        assert len(state(simulator)["enrollments"]) == 1
    for wrong, said in (
        ({"enrollments": ("x",)}, "seeds: [[enrollments]] 1 is a str; it must be a table"),
        ({"enrollments": ({"registrationId": "x", 5: 1},)}, "the key 5 is no text"),
        ({"devices": ({"deviceId": "d"},) * (MAX_SEEDS + 1)}, f"devices has {MAX_SEEDS + 1} entries"),
    ):
        with pytest.raises(SettingsError) as caught:
            Settings(seeds=Seeds(**wrong))
        assert said in str(caught.value)


def test_without_seeds_nothing_is_noted():
    with Simulator() as simulator:
        assert simulator.call(lambda runtime: runtime.services._store.collection("seeds").count()) == 0
        assert not Seeds()


def test_the_documented_examples(repository, tmp_path):
    text = (repository / "docs" / "simulator.md").read_text(encoding="utf-8")
    seeds, limits = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[1:3]
    (tmp_path / "root.pem").write_text(ROOT.pem)
    file = tmp_path / "simulator.toml"
    file.write_text(f"{limits}\n{seeds}")
    settings = load(file=file)
    assert f"`{settings.limits}`" in text.replace("\n", " ")
    with Simulator(settings) as simulator:
        runtime_hub = simulator.call(lambda runtime: runtime.services.hubs.find(settings.hubs[0].host).devices())
        assert [device["deviceId"] for device in runtime_hub] == ["veteran-001"]
        assert len(state(simulator)["groups"]) == len(state(simulator)["enrollments"]) == 1
