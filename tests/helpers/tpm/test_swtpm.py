import contextlib
import gc
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
from patience import PATIENCE, is_running, wait_until

from helpers.tpm.commands import Tpm
from helpers.tpm.device import TpmDevice
from helpers.tpm.errors import TpmConnectionError, TpmUnavailableError
from helpers.tpm.transports import swtpm
from helpers.tpm.transports.swtpm import Swtpm

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def installed():
    """The test runs the real swtpm."""
    if shutil.which("swtpm") is None:
        if "CI" in os.environ:
            pytest.fail("CI needs swtpm: apt-get install --no-install-recommends swtpm")
        pytest.skip("swtpm is not installed (apt-get install --no-install-recommends swtpm)")


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files of this test alone, with a path that is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "swtpm"


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """Installs a shell script in place of swtpm."""

    def install(script):
        binary = tmp_path / "bin" / "swtpm"
        binary.parent.mkdir()
        binary.write_text(script)
        binary.chmod(0o700)
        monkeypatch.setenv("PATH", f"{binary.parent}:{os.environ['PATH']}")

    return install


def programs(folder):
    """The swtpm that this process has started for a folder."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if child.cwd() == str(folder):
                found.append(child)
        except psutil.Error:  # it ended just now
            continue
    return found


@contextlib.contextmanager
def impatient(program, seconds):
    """Transports that are made meanwhile wait no longer than so many seconds for an answer."""
    patience, program._timeout = program._timeout, seconds
    try:
        yield
    finally:
        program._timeout = patience


def gone(pids):
    return wait_until(lambda: not any(map(is_running, pids)), f"the end of {pids}")


# --- what it is for -------------------------------------------------------------------------------------------------


def test_its_keys_outlast_it(installed, folder):
    def keys():
        with Swtpm(folder) as program, TpmDevice(Tpm(program.transport()), "swtpm") as device:
            assert program.is_running
            return device.endorsement_key, device.storage_root_key

    first = keys()
    assert keys() == first
    assert programs(folder) == []


def test_another_folder_is_another_tpm(installed, tmp_path):
    with Swtpm(tmp_path / "one") as one, Swtpm(tmp_path / "two") as two:
        ids = [TpmDevice(Tpm(each.transport()), "swtpm").registration_id for each in (one, two)]
    assert ids[0] != ids[1]


@pytest.mark.parametrize("name", ["with space", "with,comma", "mode=0777,x", "größe", "-t"])
def test_the_folder_may_have_any_name_and_is_private(installed, tmp_path, name):
    folder = tmp_path / "deep" / name
    with Swtpm(folder) as program:
        assert Tpm(program.transport()).random(16)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert "tpm2-00.permall" in {path.name for path in folder.iterdir()}


def test_a_relative_folder_is_meant_from_where_one_is(installed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Swtpm(Path("here")):
        assert (tmp_path / "here").is_dir()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_nothing_stays(installed, folder, temporary):
    gc.collect()
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208
    for _ in range(3):
        with Swtpm(folder) as program:
            assert list(temporary.iterdir()) == []
            transport = program.transport()
            assert Tpm(transport).random(4)
            pids = [each.pid for each in programs(folder)]
            assert pids
            transport.close()
        program.close()
        assert not program.is_running
        assert gone(pids)
    assert len(os.listdir("/proc/self/fd")) <= files  # noqa: PTH208
    assert threading.active_count() <= threads
    assert list(temporary.iterdir()) == []


def test_it_ends_when_its_only_client_lets_go(installed, folder):
    program = Swtpm(folder)
    assert program.transport() is program.transport()
    tpm = Tpm(program.transport())
    assert tpm.random(4)
    tpm.close()
    assert programs(folder) == []
    assert not program.is_running
    assert "it was closed; it said nothing" in program.ending()  # its log is gone as well
    # on a busy machine our signal comes just before it has ended by itself, and after it listened to signals
    program._process.returncode = -signal.SIGTERM
    assert "killed" not in program.ending()
    with pytest.raises(TpmConnectionError, match=r"was closed. Open it again"):
        tpm.random(4)
    with pytest.raises(TpmUnavailableError, match=r"was closed. Open it again"):
        program.transport()


def test_one_that_was_forgotten_ends(installed, folder):
    program = Swtpm(folder)
    assert programs(folder)
    del program
    gc.collect()
    assert programs(folder) == []


def test_threads_share_one_connection(installed, folder):
    def use(tpm):
        got.extend(tpm.random(8) for _ in range(100))

    got = []
    with Swtpm(folder) as program:
        # each with a lock of its own
        threads = [threading.Thread(target=use, args=(Tpm(program.transport()),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(got)) == 400


# --- it does not start ----------------------------------------------------------------------------------------------


def test_a_missing_swtpm_is_named_with_the_way_out(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TpmUnavailableError) as caught:
        Swtpm(folder)
    for words in ("apt-get install --no-install-recommends swtpm", "brew install swtpm", "embedded TPM"):
        assert words in str(caught.value)
    assert not folder.exists()


def test_a_folder_in_use_is_named(installed, folder):
    with Swtpm(folder) as program:
        with pytest.raises(TpmUnavailableError, match=r"in use already. Close it in the other notebook") as caught:
            Swtpm(folder)
        assert str(folder) in str(caught.value)
        assert Tpm(program.transport()).random(4)
    with Swtpm(folder):
        pass


def test_a_damaged_state_is_said(installed, folder):
    folder.mkdir()
    (folder / "tpm2-00.permall").write_bytes(b"garbage")
    with pytest.raises(
        TpmUnavailableError, match=r"ended at its start \(exit status 1: .*Could not initialize"
    ) as caught:
        Swtpm(folder)
    assert str(folder) in str(caught.value)
    assert programs(folder) == []


def test_an_end_at_the_start_shows_the_end_of_the_log(pretend, folder, temporary):
    pretend("#!/bin/sh\nfor i in 1 2 3; do echo swtpm: line $i; done\necho 'swtpm: what went wrong' >&2\nexit 3\n")
    with pytest.raises(TpmUnavailableError, match=r"\(exit status 3: line 2; line 3; what went wrong\)"):
        Swtpm(folder)
    assert list(temporary.iterdir()) == []


def test_a_death_at_the_start_is_said(pretend, folder):
    pretend("#!/bin/sh\nkill -SEGV $$\n")
    with pytest.raises(TpmUnavailableError, match=r"ended at its start \(killed by signal 11\)"):
        Swtpm(folder)


def test_a_start_that_never_comes_is_waited_for_no_longer_than_said(pretend, folder, temporary):
    pretend("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(TpmUnavailableError, match=r"did not start within 0.2 seconds \(it said nothing\)"):
        Swtpm(folder, timeout=0.2)
    assert programs(folder) == []
    assert list(temporary.iterdir()) == []


def test_a_connection_that_breaks_at_the_start_is_no_start(pretend, folder):
    # it looks as if it listened
    pretend('#!/bin/sh\nfor word; do case $word in file=*) : >"${word#file=}";; esac; done\nsleep 0.1; exit 4\n')
    with pytest.raises(TpmUnavailableError, match="exit status 4"):
        Swtpm(folder)


def test_a_file_that_cannot_run_is_said(pretend, folder):
    pretend("\x7fELF and no more")
    with pytest.raises(TpmUnavailableError, match=r"cannot be run \(Exec format error\)"):
        Swtpm(folder)


def test_a_path_that_is_too_long_for_a_socket_is_named(installed, folder, tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(TpmUnavailableError) as caught:
        Swtpm(folder)
    assert str(long) in str(caught.value)
    assert "bytes" in str(caught.value)
    assert "set TMPDIR to a shorter one" in str(caught.value)
    assert list(long.iterdir()) == []


def test_no_folder_for_temporary_files_is_said(installed, folder, tmp_path, monkeypatch):
    log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by Swtpm
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: log)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(TpmUnavailableError, match="Set TMPDIR"):
        Swtpm(folder)
    assert log.closed


def test_a_folder_that_is_a_file_is_said(installed, folder):
    folder.write_text("not a folder")
    with pytest.raises(TpmUnavailableError, match=r"cannot be made \(File exists\)"):
        Swtpm(folder)


# --- it dies, or says nothing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "killed by signal 9"), (signal.SIGTERM, "exit status 0")]
)
def test_the_next_exchange_after_its_end_says_so(installed, folder, number, words):
    with Swtpm(folder) as program:
        tpm = Tpm(program.transport())
        assert tpm.random(4)
        process = programs(folder)[0]
        process.send_signal(number)
        assert gone([process.pid])
        with pytest.raises(TpmConnectionError, match=f"swtpm ended in the middle of the work .{words}.*keys are kept"):
            tpm.random(4)
        assert tpm.history[-1].outcome == "no answer"
        with pytest.raises(TpmUnavailableError, match=words):
            program.transport()
        assert not program.is_running
        tpm.close()
    with Swtpm(folder) as program:
        assert Tpm(program.transport()).random(4)


def test_one_that_says_nothing_is_not_waited_for_and_ended(installed, folder, monkeypatch):
    monkeypatch.setattr(swtpm, "_END_TIMEOUT", 0.2)
    with Swtpm(folder) as program:
        transport = program.transport()
        # from now on, and not while it starts
        socket_transport = transport._connection
        socket_transport._timeout = 0.3
        socket_transport._connection.settimeout(0.3)
        tpm = Tpm(transport)
        programs(folder)[0].suspend()
        with pytest.raises(TpmConnectionError, match=r"did not answer within 0.3 seconds"):
            tpm.random(4)
        with pytest.raises(TpmConnectionError, match="was closed"):
            tpm.random(4)
    assert programs(folder) == []


def test_a_connection_that_breaks_for_another_reason_is_said_as_it_is(installed, folder):
    with Swtpm(folder) as program:
        transport = program.transport()
        process = programs(folder)[0]
        # it does not end with its connection, and that need not be waited for
        process.suspend()
        transport._connection.close()
        with impatient(program, 0.1), pytest.raises(TpmConnectionError, match="The connection to the TPM broke"):
            Tpm(transport).random(4)
        assert program.is_running
        process.resume()


def test_the_end_can_be_asked_for_while_somebody_waits(installed, folder):
    def wait():
        try:
            tpm.random(4)
        except TpmConnectionError as error:
            said.append(str(error))

    said = []
    program = Swtpm(folder, timeout=PATIENCE)
    tpm = Tpm(program.transport())
    process = programs(folder)[0]
    process.suspend()
    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.1)
    process.kill()
    waiting.join(PATIENCE)
    program.close()
    assert not waiting.is_alive()
    assert "killed by signal 9" in said[0]


OWNER = """\
import signal, sys, time
from pathlib import Path
import psutil
from helpers.tpm.commands import Tpm
from helpers.tpm.transports.swtpm import Swtpm

signal.signal(signal.SIGINT, lambda *_: None)
program = Swtpm(Path(sys.argv[1]))
tpm = Tpm(program.transport())
print(*[child.pid for child in psutil.Process().children(recursive=True)], flush=True)
for line in sys.stdin:
    print(len(tpm.random(4)), flush=True)
"""


@pytest.fixture
def owner(installed, folder):
    """Another process that has opened a TPM, as a kernel does, and the processes below it."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) >= 1
    yield process, pids
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_it_does_not_outlive_a_process_that_is_killed(owner, folder):
    process, pids = owner
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert gone(pids)
    with Swtpm(folder):  # its state is free again
        pass


def test_it_does_not_outlive_a_process_that_ends(owner):
    process, pids = owner
    process.stdin.close()
    assert process.wait(PATIENCE) == 0
    assert gone(pids)


def test_an_interrupt_of_the_notebook_does_not_end_it(owner):
    process, _ = owner
    os.killpg(process.pid, signal.SIGINT)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "4\n"
