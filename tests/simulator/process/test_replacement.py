"""A background simulator of other code is replaced: once, by whoever comes first, and nothing is lost."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap

import pytest
from patience import is_running, wait_until
from simulator_processes import COMMAND, ROOT, command, environment

from dps_simulator.common.private_files import write_private
from dps_simulator.process import fingerprint, launcher, replacement, store
from dps_simulator.process.launcher import LaunchError
from dps_simulator.process.store import FILE_NAME as STORE_NAME

CONNECT = """
    import json, sys
    from pathlib import Path
    from dps_simulator.process import launcher
    said = []
    options = {"say": said.append} if sys.argv[2:] else {}
    try:
        running = launcher.ensure_running(Path(sys.argv[1]), **options)
    except launcher.LaunchError as error:
        print(json.dumps({"error": str(error)}))
    else:
        print(json.dumps({"process": running.process_id, "tls_port": running.tls_port, "said": said}))
"""
HUB = "contoso-hub-7.azure-devices.test"
#: What 22de1ab did not write into its endpoint file, nor answer.
WITHOUT_FINGERPRINT = [
    (
        "process/address.py",
        "        document = asdict(self)\n",
        '        document = asdict(self)\n        del document["code"], document["code_folder"]\n',
    ),
    (
        "runtime.py",
        '            "code": fingerprint.loaded(),\n            "codeFolder": str(fingerprint.FOLDER),\n',
        "",
    ),
]
CHANGED = [("errors/table.py", "from __future__", "# another version\nfrom __future__")]


pytestmark = pytest.mark.usefixtures("own_environment")


@pytest.fixture
def checkout(tmp_path):
    """Makes another checkout: a copy of the simulator with changes."""

    def make(name, changes):
        root = tmp_path / name
        package = root / "dps_simulator"
        shutil.copytree(fingerprint.FOLDER, package, ignore=shutil.ignore_patterns("__pycache__"))
        for file, old, new in changes:
            text = (package / file).read_text(encoding="utf-8")
            assert old in text
            (package / file).write_text(text.replace(old, new, 1), encoding="utf-8")
        return root

    return make


def begin(root, state, *words):
    """A process of a checkout that connects, such as a notebook's kernel."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(CONNECT), str(state), *words],
        env=environment(PYTHONPATH=str(root), DPS_SIMULATOR_PACE="instant"),
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    out, err = process.communicate(timeout=110)
    assert (process.returncode, err) == (0, "")
    return json.loads(out)


def connect(root, state):
    return end(begin(root, state, "say"))


class TestFingerprint:
    def test_it_is_that_of_the_contents_and_not_of_times_or_places(self, checkout):
        copy = checkout("copy", []) / "dps_simulator"
        os.utime(copy / "errors" / "table.py", (1, 1))
        (copy / "notes.txt").write_text("no code")
        (copy / ".ipynb_checkpoints").mkdir()
        (copy / ".ipynb_checkpoints" / "errors-checkpoint.py").write_text("old = True")
        assert fingerprint.on_disk(copy) == fingerprint.on_disk()
        (copy / "hub" / "query.py").write_bytes((copy / "hub" / "query.py").read_bytes() + b"\n")
        assert fingerprint.on_disk(copy) != fingerprint.on_disk()

    def test_every_file_counts(self, tmp_path):
        seen = {fingerprint.on_disk(tmp_path)}
        for number, name in enumerate(["a.py", "b.py", "c/a.py"], 2):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("")
            seen.add(fingerprint.on_disk(tmp_path))
            assert len(seen) == number
        (tmp_path / "d.py").symlink_to(tmp_path / "nowhere")
        assert fingerprint.on_disk(tmp_path) in seen


@pytest.mark.parametrize("changes", [CHANGED, WITHOUT_FINGERPRINT], ids=["changed", "without a fingerprint"])
def test_who_connects_after_an_upgrade_gets_the_new_code_and_finds_everything(state, checkout, changes):
    old = connect(checkout("old", changes), state)
    launcher.manage(launcher.find(state), "PUT", f"/hubs/{HUB}")
    before = launcher.find(state)
    came = [end(each) for each in [begin(ROOT, state, "say") for _ in range(3)]]
    after = launcher.find(state)
    # all of them got the same new one, and one of them replaced the old one and said so
    assert {each["process"] for each in came} == {after.process_id} != {old["process"]}
    assert sorted(len(each["said"]) for each in came) == [0, 0, 1]
    (line,) = [line for each in came for line in each["said"]]
    assert "was replaced" in line
    assert "\n" not in line
    wait_until(lambda: not is_running(old["process"]), "the end of the old one")
    assert (after.code, after.code_folder) == (fingerprint.on_disk(), str(fingerprint.FOLDER))
    assert HUB in [hub.host for hub in after.hubs]
    assert after.service_connection_string == before.service_connection_string
    assert after.tls_port == before.tls_port
    with pytest.raises(launcher.TokenError, match=r"connect\(\.\.\.\) again"):
        launcher.manage(before, "GET", "/hubs")


def test_a_copy_of_the_same_code_shares_it_and_a_kernel_whose_code_is_older_is_told(state, checkout, monkeypatch):
    theirs = connect(checkout("copy", []), state)
    said = []
    assert launcher.ensure_running(state, say=said.append).process_id == theirs["process"]
    assert said == []
    # the files have changed since this process, a kernel perhaps, began
    monkeypatch.setattr(fingerprint, "loaded", lambda: "what it was then")
    assert launcher.ensure_running(state, say=said.append).process_id == theirs["process"]
    (line,) = said
    assert "Restart" in line


def test_one_that_was_started_by_hand_is_left_alone(state, checkout):
    root = checkout("old", WITHOUT_FINGERPRINT)
    arguments = ["serve", "--json", "--state", str(state)]
    with subprocess.Popen(
        [*COMMAND, *arguments], env=environment(PYTHONPATH=str(root)), cwd=root, stdout=subprocess.PIPE, text=True
    ) as served:
        served.stdout.readline()
        with pytest.raises(
            LaunchError, match=rf"process {served.pid}\).*by hand.*left alone.* stop --state "
        ) as caught:
            launcher.ensure_running(state)
        status = command("status", "--state", state)
        assert "It runs other code than this one. Somebody started it by hand" in status.stdout
        assert launcher.find(state).process_id == served.pid
        # what the error says to type works
        subprocess.run(str(caught.value).split("`")[1], shell=True, check=True, stdout=subprocess.DEVNULL)  # noqa: S602
        assert served.wait(60) == 0


def test_two_checkouts_that_share_a_workspace_do_not_fight(state, checkout):
    root = checkout("theirs", CHANGED)
    ours = connect(ROOT, state)
    theirs = connect(root, state)
    assert str(ROOT) in theirs["said"][0]
    assert theirs["process"] != ours["process"]
    told = connect(ROOT, state)["error"]
    for words in ("Two checkouts cannot share", str(root), "DPS_WORKSPACE", f"process {theirs['process']}"):
        assert words in told
    # and again, and it still runs
    assert connect(ROOT, state)["error"] == told
    assert connect(root, state)["process"] == theirs["process"]
    assert "The next notebook that connects replaces it" in command("status", "--state", state).stdout
    assert launcher.stop(state)
    assert launcher.ensure_running(state).code == fingerprint.on_disk()


def test_nothing_is_stopped_for_a_version_that_could_not_open_the_state(state, monkeypatch):
    running = launcher.ensure_running(state)
    connection = sqlite3.connect(state / STORE_NAME)
    connection.execute("PRAGMA user_version=99")
    connection.execute("UPDATE seal SET format = 99, checksum = ?", (store._seal_checksum(99),))
    connection.commit()
    connection.close()
    monkeypatch.setattr(replacement, "here", lambda: replacement.Code("/older", "older"))
    with pytest.raises(LaunchError, match=r"newer version.*format 99"):
        launcher.ensure_running(state)
    assert launcher.find(state) == running


@pytest.mark.parametrize("content", ["", "{", "[]", '{"process_id": 1}', '{"process_id": 2, "replaced": []}'])
def test_a_note_that_is_none_counts_for_nothing(tmp_path, content, running):
    write_private(tmp_path / replacement.FILE_NAME, content)
    assert replacement.replaced_by(tmp_path, running) == []


def test_notes_are_of_one_process_and_do_not_grow_for_ever(tmp_path, running):
    codes = [replacement.Code(f"/checkout/{number}", "x") for number in range(200)]
    replacement.note(tmp_path, running, codes)
    kept = replacement.replaced_by(tmp_path, running)
    assert kept == codes[-len(kept) :]
    assert 1 < len(kept) < 200
    replacement.note(tmp_path / "nowhere", running, codes)


@pytest.fixture
def running(tmp_path):
    """What a simulator wrote that is not there."""
    from dps_simulator.process.address import RunningSimulator

    words = dict.fromkeys(
        ("version", "id_scope", "provisioning_host", "service_host", "management_host", "management_token"), "x"
    )
    return RunningSimulator(
        process_id=1,
        **words,
        service_connection_string="",
        hubs=(),
        proxy_port=1,
        tls_port=2,
        certificate_authority_file=tmp_path / "authority.pem",
    )


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (None, False),
        ("", False),
        ('{"ready": true, "process_id": 1, "tls_port": 2}\n', True),
        ('noise\n{"ready": true, "process_id": 1, "tls_port": 2}\nnoise\n', True),
        ('{"ready": true, "process_id": 1, "tls_port": 3}\n', False),
        ('{"ready": true, "process_id": 1, "tls_po', False),
    ],
)
def test_the_log_tells_who_was_started_in_the_background(tmp_path, running, log, found):
    if log is not None:
        (tmp_path / "simulator.log").write_text(log)
    assert replacement.is_background(running, tmp_path / "simulator.log") is found
