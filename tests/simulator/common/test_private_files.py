import base64
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dps_simulator import StoreError
from dps_simulator import __main__ as command_line
from dps_simulator.common.private_files import (
    FolderError,
    FolderLock,
    is_no_place,
    make_folders,
    open_own,
    private_folder,
    write_private,
)
from dps_simulator.process import launcher
from dps_simulator.process.store import FILES, Store
from helpers.tpm import TpmUnavailableError, open_tpm

# Windows has no owners in numbers, and its links need rights
on_posix = pytest.mark.skipif(os.name != "posix", reason="needs owners and links")


def test_folders_and_files_are_for_their_owner_only(tmp_path):
    folder = private_folder(tmp_path / "a" / "b")
    assert folder.stat().st_mode & 0o777 == 0o700
    write_private(folder / "key", "first")
    write_private(folder / "key", b"second")
    assert (folder / "key").read_text() == "second"
    assert (folder / "key").stat().st_mode & 0o777 == 0o600
    assert os.listdir(folder) == ["key"]  # noqa: PTH208


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be written to"):
        private_folder(tmp_path / "file" / "folder")


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    write_private(tmp_path / "key", "old")
    (tmp_path / "target").mkdir()
    with pytest.raises(OSError, match="target"):
        write_private(tmp_path / "target", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "target"]


def test_only_one_process_holds_a_lock_and_its_death_frees_it(tmp_path):
    path = tmp_path / "lock"
    code = (
        "import sys, time; from pathlib import Path; from dps_simulator.common.private_files import FolderLock\n"
        f"lock = FolderLock(Path({str(path)!r})); print(lock.acquire(), flush=True); time.sleep(3600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "True"
        mine = FolderLock(path)
        assert mine.acquire() is False
        assert mine.holder() == str(other.pid)
        other.kill()
        other.wait()
    assert mine.acquire() is True
    mine.release()
    mine.release()


def test_an_unknown_holder_is_empty(tmp_path):
    assert FolderLock(tmp_path / "missing").holder() == ""


def test_an_empty_folder_is_closed_and_one_with_content_is_left_as_it_is(tmp_path):
    for mode, content, after in ((0o755, False, 0o700), (0o777, False, 0o700), (0o755, True, 0o755)):
        folder = tmp_path / f"{mode:o}-{content}"
        folder.mkdir()
        if content:
            (folder / "theirs").write_text("")
        folder.chmod(mode)
        private_folder(folder)
        assert folder.stat().st_mode & 0o777 == after


def test_a_folder_that_others_may_write_into_is_refused(tmp_path):
    (tmp_path / "theirs").write_text("")
    tmp_path.chmod(0o777)
    with pytest.raises(FolderError, match="Other users may put files into"):
        private_folder(tmp_path)
    tmp_path.chmod(0o700)


def test_what_is_no_process_number_is_no_holder(tmp_path):
    for content in (b"many words", b"\xff", b"1" * 30, b""):
        (tmp_path / "lock").write_bytes(content)
        assert FolderLock(tmp_path / "lock").holder() == ""


def test_whether_a_lock_is_taken(tmp_path):
    path = tmp_path / "lock"
    assert FolderLock(path).is_taken() is False
    assert not path.exists()
    mine = FolderLock(path)
    assert mine.acquire()
    assert FolderLock(path).is_taken() is True
    mine.release()
    assert FolderLock(path).is_taken() is False
    path.unlink()
    path.mkdir()
    with pytest.raises(FolderError, match="cannot be opened"):
        mine.acquire()


@pytest.fixture
def somebody_else(monkeypatch):
    """Let everything that is there belong to another user, whoever runs the tests."""
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)


@on_posix
def test_a_folder_of_somebody_else_is_refused_and_nothing_is_made_in_it(tmp_path, somebody_else, capsys):
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    for use in (
        lambda: private_folder(theirs),
        FolderLock(theirs / "simulator.lock").acquire,
        lambda: launcher.ensure_running(theirs),
    ):
        with pytest.raises((FolderError, launcher.LaunchError), match=r"belongs to another user .* folder of your own"):
            use()
    # nor is anybody believed who says in there where a simulator is
    (theirs / "endpoint.json").write_text("{}")
    with pytest.raises(launcher.LaunchError, match="belongs to another user"):
        launcher.ensure_running(theirs)
    (theirs / "endpoint.json").unlink()
    for command in ("serve", "reset"):
        assert command_line.main([command, "--state", str(theirs)]) == 1
        assert "belongs to another user" in capsys.readouterr().err
    assert not any(theirs.iterdir())


@on_posix
def test_a_link_to_a_folder_is_followed_when_it_is_ours(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "there")
    private_folder(tmp_path / "link")
    real = os.geteuid()
    # a link of somebody else that leads to a folder of ours
    monkeypatch.setattr(type(tmp_path), "lstat", lambda path: os.stat_result((0, 0, 0, 1, real + 1, 0, 0, 0, 0, 0)))
    with pytest.raises(FolderError, match=f"number {real + 1}"):
        private_folder(tmp_path / "link")


@pytest.fixture
def precious(tmp_path):
    file = tmp_path / "precious"
    file.write_text("precious")
    yield file
    assert file.read_text() == "precious"


@on_posix
@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "dangling link", "pipe"])
def test_nothing_is_written_through_a_link(tmp_path, precious, kind):
    planted = tmp_path / "planted"
    if kind == "symbolic link":
        planted.symlink_to(precious)
    elif kind == "hard link":
        planted.hardlink_to(precious)
    elif kind == "dangling link":
        planted.symlink_to(tmp_path / "made by us")
    else:
        os.mkfifo(planted)
    with pytest.raises(FolderError, match="planted cannot be opened"):
        FolderLock(planted).acquire()
    with pytest.raises(FolderError, match="planted cannot be written"):
        launcher._open_log(planted)
    assert not (tmp_path / "made by us").exists()
    # a file that is written anew takes the place of the link
    write_private(planted, "mine")
    assert (planted.read_text(), planted.is_symlink()) == ("mine", False)


@on_posix
@pytest.mark.parametrize("name", FILES)
def test_no_file_of_the_state_is_a_link(tmp_path, precious, name):
    folder = private_folder(tmp_path / "state")
    Store(folder).close()
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(precious)
    with pytest.raises(StoreError, match="it is a link"):
        Store(folder)


@on_posix
def test_the_lock_of_a_tpm_is_no_link(tmp_path, precious):
    with open_tpm("embedded", tmp_path / "tpm"):
        pass
    (lock,) = (tmp_path / "tpm").glob("*.lock")
    lock.unlink()
    lock.symlink_to(precious)
    with pytest.raises(TpmUnavailableError, match="lock"), open_tpm("embedded", tmp_path / "tpm"):
        pass


@on_posix
def test_whatever_the_umask_allows_others_get_nothing(tmp_path):
    before = os.umask(0)
    try:
        make_folders(tmp_path / "a" / "b" / "c")
        os.close(open_own(tmp_path / "a" / "lock", os.O_CREAT | os.O_RDWR))
        write_private(tmp_path / "a" / "key", "key")
        Store(tmp_path / "a").close()
    finally:
        os.umask(before)
    for made in (tmp_path / "a").rglob("*"):
        mode = stat.S_IMODE(made.stat().st_mode)
        assert mode == (0o700 if made.is_dir() else 0o600), made


def test_a_lock_holds_without_its_number(tmp_path, monkeypatch):
    """On a full disk the number of the process cannot be written, and the lock is taken all the same."""
    lock = FolderLock(tmp_path / "lock")
    with monkeypatch.context() as patch:

        def full():
            raise OSError("No space left on device")

        patch.setattr(os, "getpid", full)
        assert lock.acquire()
    assert FolderLock(tmp_path / "lock").is_taken()
    lock.release()


@pytest.mark.parametrize("last", ["2", "workspace", "x/y/z", "n-q8zr4k1p/dps-nbval-x7yq2abc/2"])
def test_folders_that_programs_name_at_random_are_places(tmp_path, last):
    # as mkdtemp and pytest call them; only the first of them is there
    folder = tmp_path / "n-q8Zr4k1pX0" / "dps-nbval-x7Yq2abc9"
    folder.mkdir(parents=True)
    assert not is_no_place(folder)
    assert not is_no_place(folder / last)


def test_a_key_is_no_place_wherever_it_is_said_to_be(tmp_path):
    key = base64.b64encode(bytes(range(65, 97))).decode()
    for place in (Path(key), Path("/" + key), tmp_path / key, tmp_path / "a" / key / "b", Path(f"keys/{key}")):
        assert is_no_place(place), place
    assert is_no_place(Path("-----BEGIN PRIVATE KEY-----\nMIG"))
    assert not is_no_place(tmp_path / ("x" * 300))
