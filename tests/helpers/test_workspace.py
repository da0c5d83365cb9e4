import json
import os
import stat
import threading

import pytest

from helpers import workspace
from helpers.credentials import Secret
from helpers.recipes import RECIPES
from helpers.workspace import WorkspaceError

NAME = "symmetric_key.enrollments"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_the_folder_of_the_setting_else_beside_helpers(monkeypatch, tmp_path):
    monkeypatch.setenv("DPS_WORKSPACE", str(tmp_path / "a" / "b"))
    assert workspace.root() == tmp_path / "a" / "b"
    assert workspace.simulator_state() == tmp_path / "a" / "b" / "simulator"
    monkeypatch.delenv("DPS_WORKSPACE")
    monkeypatch.setattr(workspace, "_private", lambda folder: folder)
    assert workspace.root().name == ".workspace"
    assert (workspace.root().parent / "helpers" / "workspace.py").exists()


def test_documents_come_back_with_guarded_keys(place):
    assert workspace.load(NAME, place) is None
    workspace.save(NAME, place, {"individual": {"registration_id": "a", "key": Secret("k" * 20)}, "n": 1})
    found = workspace.load(NAME, place)
    assert found == {"individual": {"registration_id": "a", "key": Secret("k" * 20)}, "n": 1}
    assert "k" * 20 not in str(found)
    assert workspace.documents(place) == [NAME]
    workspace.forget(NAME, place)
    workspace.forget(NAME, place)
    assert workspace.load(NAME, place) is None


@pytest.mark.skipif(os.name != "posix", reason="file modes are a matter of POSIX")
def test_only_the_owner_can_read(place, own_workspace):
    own_workspace.chmod(0o755)
    workspace.save(NAME, place, {"key": "x"})
    file = own_workspace / "simulator-0ne00000A01" / f"{NAME}.json"
    assert mode(file) == 0o600
    assert mode(file.parent) == mode(own_workspace) == 0o700


def test_targets_do_not_mix(place):
    workspace.save(NAME, place, {"a": 1})
    place.id_scope = "0ne00000B02"
    assert workspace.load(NAME, place) is None
    place.id_scope = "../../etc"
    workspace.save(NAME, place, {"a": 2})
    assert {path.name for path in workspace.root().iterdir()} == {
        "simulator-0ne00000A01",
        "simulator-______etc",
        "simulator-0ne00000B02",
    }


@pytest.mark.parametrize("content", ["{", "[]", '{"a": ' * 100_000, "\udcff"])
def test_a_damaged_file_is_named_and_kept(place, content):
    workspace.save(NAME, place, {"a": 1})
    file = workspace.root() / "simulator-0ne00000A01" / f"{NAME}.json"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    before = file.read_bytes()
    with pytest.raises(WorkspaceError, match="damaged") as problem:
        workspace.load(NAME, place)
    assert str(file) in str(problem.value)
    assert file.read_bytes() == before


def test_a_huge_file_is_refused(place):
    workspace.save(NAME, place, {"a": 1})
    file = workspace.root() / "simulator-0ne00000A01" / f"{NAME}.json"
    file.write_text(json.dumps({"a": "x" * workspace.SIZE_LIMIT}))
    with pytest.raises(WorkspaceError, match="1000000 bytes"):
        workspace.load(NAME, place)


def test_a_write_that_fails_keeps_the_old_document(place, monkeypatch):
    workspace.save(NAME, place, {"a": 1})

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workspace.os, "fsync", full)
    with pytest.raises(WorkspaceError, match="No space left"):
        workspace.save(NAME, place, {"a": 2})
    assert workspace.load(NAME, place) == {"a": 1}
    assert [path.name for path in (workspace.root() / "simulator-0ne00000A01").iterdir()] == [f"{NAME}.json"]


def test_readers_never_meet_half_a_document(place):
    workspace.save(NAME, place, {"text": "x" * 1000})
    wrong = []

    def read():
        for _ in range(200):
            if len(workspace.load(NAME, place)["text"]) != 1000:
                wrong.append(1)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(30):
        workspace.save(NAME, place, {"text": str(number % 10) * 1000})
    reader.join()
    assert not wrong


def test_a_folder_that_cannot_be_made_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DPS_WORKSPACE", str(tmp_path / "file" / "below"))
    with pytest.raises(WorkspaceError, match="DPS_WORKSPACE") as problem:
        workspace.root()
    assert str(tmp_path / "file" / "below") in str(problem.value)


def test_a_file_that_cannot_be_read_is_named(place):
    folder = workspace.root() / "simulator-0ne00000A01" / f"{NAME}.json"
    folder.mkdir(parents=True)
    with pytest.raises(WorkspaceError, match="cannot be read"):
        workspace.load(NAME, place)


def test_secrets_live_under_names_that_say_so(place):
    with pytest.raises(WorkspaceError, match="'password'"):
        workspace.save(NAME, place, {"password": Secret("x")})


def test_names_of_documents_are_checked(place):
    for name in ("../x", "A", "", "a/b"):
        with pytest.raises(WorkspaceError, match="no name for a document"):
            workspace.load(name, place)


def test_claims_are_kept_in_order_without_repeats(place):
    assert workspace.claimed(place) == []
    workspace.claim(place, "individual enrollment", "a")
    workspace.claim(place, "enrollment group", "g")
    workspace.claim(place, "individual enrollment", "a")
    assert workspace.claimed(place) == [("individual enrollment", "a"), ("enrollment group", "g")]
    workspace.release(place, "individual enrollment", "a")
    workspace.release(place, "individual enrollment", "never")
    assert workspace.claimed(place) == [("enrollment group", "g")]
    workspace.clear(place)
    workspace.clear(place)
    assert workspace.claimed(place) == []


def test_damaged_claims_are_named(place):
    workspace.claim(place, "enrollment group", "g")
    (workspace.root() / "simulator-0ne00000A01" / "claims.json").write_text('{"claims": [1]}')
    with pytest.raises(WorkspaceError, match="claims"):
        workspace.claimed(place)


class CountingRecipe:
    def __init__(self):
        self.calls = []

    def find(self, dps, stored, names):
        self.calls.append("find")
        return stored

    def make(self, dps, names):
        self.calls.append("make")
        return {"key": "k" * 20}

    def remove(self, dps, names):
        self.calls.append("remove")

    def ready(self, names):
        return [f"Ready: {names['registration_id']}"]

    def removed(self, names):
        return [f"Gone: {names['registration_id']}"]


@pytest.fixture
def recipe(monkeypatch):
    counting = CountingRecipe()
    monkeypatch.setitem(RECIPES, "test.recipe", counting)
    return counting


def test_what_is_needed_is_made_once_and_said_the_same_way(place, recipe, capsys):
    first = workspace.need("test.recipe", place, registration_id="a")
    assert recipe.calls == ["find", "remove", "make"]
    second = workspace.need("test.recipe", place, registration_id="a")
    assert recipe.calls == ["find", "remove", "make", "find"]
    assert first == second == {"key": Secret("k" * 20)}
    assert capsys.readouterr().out == "Ready: a\nReady: a\n"


def test_starting_over_forgets(place, recipe, capsys):
    workspace.need("test.recipe", place, registration_id="a")
    capsys.readouterr()
    workspace.start_over("test.recipe", place, registration_id="a")
    assert capsys.readouterr().out == "Gone: a\n"
    assert workspace.documents(place) == []


def test_an_unknown_need_lists_the_known_ones(place):
    with pytest.raises(WorkspaceError, match=r"symmetric_key\.enrollments"):
        workspace.need("nothing", place)


def test_folders_for_files_go_with_everything_else(place):
    folder = workspace.folder("x509", place)
    assert workspace.folder("x509", place) == folder
    if os.name == "posix":
        assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "pump.key").write_text("secret")
    workspace.save("a.document", place, {})
    assert workspace.files(place) == ["a.document.json", "x509/pump.key"]
    assert workspace.documents(place) == ["a.document"]
    workspace.empty_folder("x509", place)
    workspace.empty_folder("x509", place)
    assert workspace.files(place) == ["a.document.json"]
    workspace.clear(place)
    assert workspace.files(place) == []
    with pytest.raises(WorkspaceError, match="no name"):
        workspace.folder("../elsewhere", place)
