"""Yesterday's workspaces open, work and lose nothing; tomorrow's are refused in words and stay as they are."""

import base64
import hashlib
import json
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import keep
import pytest
from azure.iot.device import X509

from dps_simulator import ManualClock, Simulator, StoreError
from dps_simulator.process import launcher, store
from dps_simulator.process.address import read
from helpers import certificates, workspace
from helpers.course import progress
from helpers.recipes import cleanup
from helpers.recipes import symmetric_key as lessons
from helpers.recipes import tpm as tpm_lessons
from helpers.recipes import x509 as x509_lessons
from helpers.recipes.cleanup import service_resource
from helpers.target import of_simulator
from helpers.tpm import TpmUnavailableError, open_tpm
from helpers.workspace import WorkspaceError

KEPT = sorted(keep.HERE.glob("format_*"))
#: When certificates in the kept workspaces are valid, whatever the time is now.
THEN = datetime(2026, 12, 1, tzinfo=timezone.utc)
FIRST_HUB, SECOND_HUB = "contoso-hub-1.azure-devices.test", "contoso-hub-2.azure-devices.test"
PLACE = "simulator-0ne00000A01"


@pytest.fixture(params=KEPT, ids=lambda folder: folder.name)
def kept(request, tmp_path, monkeypatch):
    """A kept workspace, as it stood on a learner's machine."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    keep.unpack(request.param, folder)
    monkeypatch.setenv("DPS_WORKSPACE", str(folder))
    return folder


@pytest.fixture
def dps(kept):
    """The simulator of the kept workspace, run by the code of today."""
    with Simulator(state=kept / "simulator", pace="instant") as simulator, of_simulator(simulator.running) as target:
        yield target


def document(kept, name):
    return json.loads((kept / PLACE / f"{name}.json").read_text())


def contents(folder):
    """Every file with what it holds."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def query(state, statement):
    with closing(sqlite3.connect(state / store.FILE_NAME)) as connection:
        return connection.execute(statement).fetchall()


def test_every_format_is_kept():
    """Whoever counts a format on keeps a workspace of the one before, and of the new one."""
    states = {int(re.search(r"user_version=(\d+)", (each / "state.sql").read_text())[1]) for each in KEPT}
    assert states == set(range(1, store.FORMAT + 1))
    documents = set()
    for each in KEPT:
        for file in json.loads((each / "files.json").read_text()).values():
            found = re.search(r'"format_version": (\d+)', "\n".join(file.get("lines", [])))
            documents.add(int(found[1]) if found else 1)
    assert documents == set(range(1, workspace.FORMAT + 1))
    assert set(store.MIGRATIONS) == set(range(1, store.FORMAT))
    assert set(workspace.UPGRADES) == set(range(1, workspace.FORMAT))


def test_the_state_has_the_format_of_today_afterwards(kept):
    with closing(store.Store(kept / "simulator")):
        pass
    assert query(kept / "simulator", "PRAGMA user_version") == [(store.FORMAT,)]
    assert query(kept / "simulator", "PRAGMA integrity_check") == [("ok",)]


def test_enrollments_and_registrations_are_there(kept, dps):
    service = dps.service_client()
    everything = {"query": "SELECT *"}
    gateway = document(kept, "tpm.registrations")["registration_id"]
    found = {each["registrationId"]: each for each in service.enrollment.query(everything)}
    assert set(found) == {"thermostat-001", "pump-001", gateway, "recalled", "static-001"}
    kinds = {name: each["attestation"]["type"] for name, each in found.items()}
    assert (kinds["thermostat-001"], kinds["pump-001"], kinds[gateway]) == ("symmetricKey", "x509", "tpm")
    assert found["recalled"]["provisioningStatus"] == "disabled"
    static = found["static-001"]
    assert (static["allocationPolicy"], static["iotHubs"]) == ("static", [FIRST_HUB])
    assert static["reprovisionPolicy"] == {"updateHubAssignment": True, "migrateDeviceData": False}
    assert static["optionalDeviceInformation"] == {"colour": "green"}
    groups = {each["enrollmentGroupId"]: each for each in service.enrollment_group.query(everything)}
    assert set(groups) == {"thermostats", "pumps", "chosen", "referred"}
    assert groups["chosen"]["customAllocationDefinition"]["webhookUrl"] == "https://127.0.0.1:1/choose"
    assert groups["referred"]["attestation"]["x509"]["caReferences"]["primary"] == "contoso-pumps-root"
    key = service.enrollment_group.get_attestation_mechanism("thermostats")["symmetricKey"]["primaryKey"]
    assert key == document(kept, "symmetric_key.enrollments")["group"]["key"]
    for group, member in (("thermostats", "thermostat-101"), ("pumps", "pump-101")):
        (record,) = service.device_registration_state.query(group)
        assert (record["registrationId"], record["status"], record["assignedHub"]) == (member, "assigned", FIRST_HUB)
    assert cleanup.registration(service, gateway)["deviceId"] == "greenhouse-gateway"


def test_the_service_and_its_hubs_are_there(kept, dps):
    manager, where, resource = service_resource(dps)
    assert resource.tags == {"course": "kept"}
    assert [link.name for link in resource.properties.iot_hubs] == [FIRST_HUB, SECOND_HUB]
    assert "reader" in [rule.key_name for rule in manager.list_keys(**where)]
    assert cleanup.authority(dps, "contoso-pumps-root").properties.is_verified
    assert dps.hubs == (FIRST_HUB, SECOND_HUB)
    # what the simulator that was killed left behind is understood, and its keys are those of today
    before = json.loads((kept / "simulator" / "endpoint.json").read_text())
    assert dps.manage("GET", "/connection")["hubConnectionStrings"] == [
        each["connection_string"] for each in before["hubs"]
    ]


def test_devices_and_what_waits_for_them_are_there(kept, dps):
    registry = dps.registry(FIRST_HUB)
    devices = {each.device_id: each for each in registry.get_devices()}
    assert set(devices) == {
        *("kitchen-thermostat", "thermostat-101", "cellar-pump", "pump-101", "greenhouse-gateway"),
        *("by-hand", "by-authority"),
    }
    assert (devices["by-hand"].status, devices["by-hand"].status_reason) == ("disabled", "lent")
    twin = registry.get_twin("kitchen-thermostat")
    assert twin.tags == {"room": "kitchen", "floor": 2}
    assert {name: twin.properties.desired[name] for name in ("targetTemperature", "interval")} == {
        "targetTemperature": 21,
        "interval": 30,
    }
    assert twin.properties.reported["firmware"] == "1.2.0"
    assert devices["kitchen-thermostat"].cloud_to_device_message_count == 2
    assert [each.module_id for each in registry.get_modules("kitchen-thermostat")] == ["display"]


def test_notebooks_find_what_they_kept_and_make_nothing_anew(kept, dps, capsys):
    before = contents(kept / PLACE)
    thermostats = workspace.need("symmetric_key.registrations", dps, **keep.THERMOSTATS)
    assert thermostats["member"]["key"].reveal() == document(kept, "symmetric_key.registrations")["member"]["key"]
    for name, names in (
        ("symmetric_key.enrollments", keep.THERMOSTATS),
        ("x509.registrations", keep.PUMPS),
        ("tpm.registrations", keep.GATEWAY),
        ("fleet.hubs", {}),
    ):
        assert workspace.need(name, dps, **names)
    # the lock of the TPM has come back
    after = {path: content for path, content in contents(kept / PLACE).items() if path.suffix != ".lock"}
    assert after == before
    assert cleanup.enrollments_of(dps, dps.service_client())[1] == ["pumps", "thermostats"]
    assert "Registered: greenhouse-gateway" in capsys.readouterr().out


def test_devices_prove_themselves_with_what_they_kept(kept, dps):
    member = workspace.load("symmetric_key.enrollments", dps)["member"]
    # two hubs are linked since it registered first, and DPS may choose either
    assert lessons.register_device(dps, member["registration_id"], member["key"]).assigned_hub in dps.hubs
    gateway = document(kept, "tpm.registrations")["registration_id"]
    with open_tpm("embedded", workspace.folder(tpm_lessons.FILES, dps)) as tpm:
        assert tpm.registration_id == gateway
        state = tpm_lessons.register_device(dps, gateway, tpm)
        assert state.device_id == "greenhouse-gateway"
        assert tpm_lessons.has_hub_key(tpm, tpm_lessons.hub_key(dps, state.assigned_hub, "greenhouse-gateway"))


def test_certificates_prove_what_they_proved(kept):
    with Simulator(state=kept / "simulator", pace="instant", clock=ManualClock(THEN)) as simulator:
        dps = of_simulator(simulator.running)
        for name, device_id in (("pump-001", "cellar-pump"), ("pump-101", "pump-101")):
            files = certificates.load(workspace.folder(x509_lessons.FILES, dps), name).files
            files.check(now=THEN)
            # files.x509() would look at the clock of this machine
            shown = X509(str(files.chain_file), str(files.key_file))
            assert x509_lessons.register_device(dps, name, shown).device_id == device_id
        dps.close()


def test_progress_is_there(kept):
    standings = progress.standings()
    assert {name: (each.steps, len(each.solved)) for name, each in standings.items()} == {
        "11_symmetric_key_enroll": (1, 1),
        "12_symmetric_key_start": (1, 1),
    }


def test_what_a_simulator_of_the_time_told_about_itself_is_understood(kept):
    found = read(kept / "simulator")
    assert found is not None
    assert found.id_scope == "0ne00000A01"
    # nobody answers there any more
    assert launcher.find(kept / "simulator") is None


# --- formats to come --------------------------------------------------------------------------------------------


def mark(text):
    def migrate(connection):
        walked = "json_extract(body, '$.walked') || ?"
        connection.execute(f"UPDATE documents SET body = json_set(body, '$.walked', {walked})", (text,))  # noqa: S608

    return migrate


@pytest.fixture
def later(monkeypatch):
    """The code of a later version, which knows two more formats."""
    monkeypatch.setattr(store, "FORMAT", store.FORMAT + 2)
    first = store.FORMAT - 2

    def begin(connection):
        connection.execute("UPDATE documents SET body = json_set(body, '$.walked', 'a')")

    monkeypatch.setattr(store, "MIGRATIONS", {**store.MIGRATIONS, first: begin, first + 1: mark("b")})


def test_a_state_walks_through_all_formats(kept, later):
    count = query(kept / "simulator", "SELECT count(*) FROM documents")
    with closing(store.Store(kept / "simulator")) as opened:
        assert opened.collection("enrollment").get("recalled")["walked"] == "ab"
    assert query(kept / "simulator", "PRAGMA user_version") == [(store.FORMAT,)]
    assert query(kept / "simulator", "SELECT count(*) FROM documents") == count
    # once
    with closing(store.Store(kept / "simulator")) as opened:
        assert opened.collection("enrollment").get("recalled")["walked"] == "ab"


def test_a_migration_that_fails_changes_nothing(kept, later, monkeypatch):
    before, version = (query(kept / "simulator", each) for each in ("SELECT * FROM documents", "PRAGMA user_version"))
    monkeypatch.setitem(store.MIGRATIONS, store.FORMAT - 1, lambda connection: connection.execute("SELECT nonsense"))
    with pytest.raises(StoreError, match="Nothing was changed"):
        store.Store(kept / "simulator")
    assert query(kept / "simulator", "SELECT * FROM documents") == before
    assert query(kept / "simulator", "PRAGMA user_version") == version


def test_a_kill_in_the_middle_of_a_migration_loses_nothing(kept):
    everything = "SELECT sequence, collection, key, parent, body FROM documents"
    before = query(kept / "simulator", everything)
    code = """
        import os, signal, sys
        from pathlib import Path
        from dps_simulator.process import store
        def begin(connection):
            connection.execute("DELETE FROM documents WHERE collection = 'device'")
            connection.execute("CREATE TABLE other (name TEXT)")
        def die(connection):
            os.kill(os.getpid(), signal.SIGKILL)
        store.MIGRATIONS.update({store.FORMAT: begin, store.FORMAT + 1: die})
        store.FORMAT += 2
        store.Store(Path(sys.argv[1]))
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(kept / "simulator")], check=False)
    assert killed.returncode == -signal.SIGKILL
    with closing(store.Store(kept / "simulator")) as opened:
        assert opened.collection("device").count() == 7
    assert query(kept / "simulator", everything) == before


#: What a later version does with its format.
SEALED = "; ".join(
    ("PRAGMA user_version=99", store._SEAL_SCHEMA, f"INSERT INTO seal VALUES (99, {store._seal_checksum(99)})")  # noqa: S608
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (SEALED, ["format 99", "newer version", "Update the project", "another state folder"]),
        ("PRAGMA user_version=99", ["format 99", "damaged", "another state folder"]),
        ("PRAGMA user_version=-3", ["format -3", "cannot read", "another state folder"]),
        ("PRAGMA application_id=7", ["another program", "another state folder"]),
        ("PRAGMA application_id=0", ["another program", "another state folder"]),
        ("DROP TABLE documents", ["damaged", "reset --state"]),
    ],
)
def test_a_state_that_is_refused_stays_as_it_is(kept, change, words):
    state = kept / "simulator"
    with closing(sqlite3.connect(state / store.FILE_NAME)) as connection:
        connection.executescript(change)
    before = contents(kept)
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            store.Store(state)
        for word in [str(state / store.FILE_NAME), *words]:
            assert word in str(caught.value)
    kept_now = contents(kept)
    assert {path: kept_now[path] for path in before} == before
    # a reader may leave its empty log and index, and nothing else
    assert {path.suffix for path in set(kept_now) - set(before)} <= {".sqlite3-wal", ".sqlite3-shm"}


def test_a_format_that_is_too_old_is_refused(kept, monkeypatch):
    monkeypatch.setattr(store, "FORMAT", store.FORMAT + 1)
    with pytest.raises(StoreError, match=r"format \d+, which this version cannot read .* version in between"):
        store.Store(kept / "simulator")


# --- documents of the workspace ---------------------------------------------------------------------------------


class Place:
    name, id_scope = "simulator", "0ne00000A01"


def test_a_document_is_brought_up_to_date_when_it_is_read(kept, monkeypatch):
    before = contents(kept)
    monkeypatch.setattr(workspace, "FORMAT", workspace.FORMAT + 2)
    first = workspace.FORMAT - 2
    steps = {
        first: lambda name, found: {**found, "walked": f"{name} a"},
        first + 1: lambda name, found: {**found, "walked": found["walked"] + "b"},
    }
    monkeypatch.setattr(workspace, "UPGRADES", {**workspace.UPGRADES, **steps})
    found = workspace.load("fleet.hubs", Place)
    assert found["walked"] == "fleet.hubs ab"
    assert "format_version" not in found
    assert contents(kept) == before
    workspace.save("fleet.hubs", Place, found)
    assert document(kept, "fleet.hubs")["format_version"] == workspace.FORMAT
    assert workspace.load("fleet.hubs", Place) == found


def test_a_document_of_a_newer_version_is_neither_read_nor_replaced_nor_deleted(kept, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(workspace, "FORMAT", workspace.FORMAT + 1)
        patch.setattr(workspace, "UPGRADES", {**workspace.UPGRADES, workspace.FORMAT - 1: lambda _, found: found})
        workspace.save("fleet.hubs", Place, {"hubs": []})
        workspace.claim(Place, "hub", "x")
        progress.restore(progress.line())
    before = contents(kept)
    for call in (
        lambda: workspace.load("fleet.hubs", Place),
        lambda: workspace.save("fleet.hubs", Place, {}),
        lambda: workspace.forget("fleet.hubs", Place),
        lambda: workspace.claim(Place, "hub", "y"),
        lambda: workspace.claimed(Place),
    ):
        with pytest.raises(WorkspaceError, match=r"format \d+ of a newer version .* Get the newer version"):
            call()
    # progress never stops a notebook; it is not counted then
    progress.begin("11_symmetric_key_enroll")
    progress.passed("another step")
    assert contents(kept) == before


@pytest.mark.parametrize("found", ["2", 0, -1, None, True, 1.5])
def test_a_format_that_is_none_is_damage(kept, found):
    path = kept / PLACE / "fleet.hubs.json"
    path.write_text(json.dumps({**document(kept, "fleet.hubs"), "format_version": found}))
    with pytest.raises(WorkspaceError, match="is damaged: its format_version is"):
        workspace.load("fleet.hubs", Place)


def test_the_memory_of_a_tpm_of_a_newer_version_stays_as_it_is(kept):
    file = kept / PLACE / "tpm" / "soft_tpm.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": 2}))
    before = file.read_bytes()
    with pytest.raises(TpmUnavailableError, match=r"format 2 .*version 1.*left as it is.* Use it with that"):
        open_tpm("embedded", file.parent)
    assert file.read_bytes() == before


def test_the_archive_holds_what_it_says_and_stays_small():
    for each in KEPT:
        assert sum(path.stat().st_size for path in each.iterdir()) < 150_000
        files = json.loads((each / "files.json").read_text())
        assert not [name for name in files if Path(name).is_absolute() or ".." in Path(name).parts]
        for name, file in files.items():
            assert file["mode"] == "0600", name
            if "base64" in file:
                # a certificate in DER, that of the PEM file beside it
                pem = files[name.replace(".cer", ".pem")]["lines"]
                inside = base64.b64decode("".join(pem[1 : pem.index("-----END CERTIFICATE-----")]))
                digests = {hashlib.sha256(each).digest() for each in (inside, base64.b64decode(file["base64"]))}
                assert len(digests) == 1
