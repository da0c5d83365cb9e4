import os
import subprocess
import sys

import pytest

from helpers.simulator.private_files import FolderError, FolderLock, private_folder, write_private


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
        "import sys, time; from pathlib import Path; from helpers.simulator.private_files import FolderLock\n"
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
