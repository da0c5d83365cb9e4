"""With the umask 000, whoever does not say how open a file may be makes it for everybody. Here nobody forgets."""

import os
import shutil
import stat
from types import SimpleNamespace

import pytest

from dps_simulator import Simulator
from dps_simulator.process import launcher
from dps_simulator.process.launcher import LOG_NAME
from helpers import certificates, workspace
from helpers.tpm import open_tpm

pytestmark = pytest.mark.skipif(os.name != "posix", reason="file modes are a matter of POSIX")


@pytest.fixture(autouse=True)
def _open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def check(folder):
    """Everything from this folder on is for its owner only; gives the names of what is there."""
    everything = [folder, *folder.rglob("*")]
    open_for_others = {
        path: oct(path.stat().st_mode)
        for path in everything
        if path.stat().st_mode & 0o077 and not stat.S_ISSOCK(path.stat().st_mode)
    }
    assert open_for_others == {}
    return {path.name for path in everything}


def test_the_simulator(tmp_path):
    state = tmp_path / "a" / "b" / "state"
    for number in range(2):
        with Simulator(state=state) as simulator:
            simulator.link_hub(f"hub-{number}.azure-devices.test")
            launcher.manage(simulator.running, "POST", "/reset")
            names = check(tmp_path / "a")
            assert names >= {
                "simulator.sqlite3",
                "simulator.sqlite3-wal",
                "endpoint.json",
                "authority.key",
                "server.key",
            }
    launcher._open_log(state / LOG_NAME).close()
    assert LOG_NAME in check(tmp_path / "a")


def test_what_notebooks_keep(tmp_path, monkeypatch):
    monkeypatch.setenv("DPS_WORKSPACE", str(tmp_path / "a" / "b" / "workspace"))
    place = SimpleNamespace(name="simulator", id_scope="0ne00000A01")
    workspace.save("symmetric_key.enrollments", place, {"key": "x"})
    workspace.folder("x509.enrollments", place)
    assert "symmetric_key.enrollments.json" in check(tmp_path / "a")


def test_certificates(tmp_path):
    certificates.create_root("Root").issue_device("device-1").save(tmp_path / "a" / "b" / "c")
    assert len(check(tmp_path / "a")) > 3


def test_tpms(tmp_path):
    with open_tpm("embedded", tmp_path / "a" / "b" / "embedded"):
        assert "soft_tpm.json" in check(tmp_path / "a")
    if shutil.which("swtpm") is not None:
        with open_tpm("swtpm", tmp_path / "a" / "c" / "swtpm"):
            check(tmp_path / "a")
