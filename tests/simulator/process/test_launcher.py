"""The background simulator: found, started, kept alive, stopped; never two, never a wrong one."""

import gc
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from own_ports import own_port
from patience import PATIENCE, is_running, wait_until
from simulator_processes import COMMAND, Served, environment

from dps_simulator import Simulator
from dps_simulator.common.private_files import FolderLock, write_private
from dps_simulator.process import launcher
from dps_simulator.process.address import FILE_NAME, RunningSimulator, read
from dps_simulator.process.launcher import LaunchError
from dps_simulator.provisioning.enrollments.kinds import INDIVIDUAL

INSTANT = {"DPS_SIMULATOR_PACE": "instant"}
START = (
    "from pathlib import Path; from dps_simulator.process import launcher\n"
    "running = launcher.ensure_running(Path(sys.argv[1]))"
)


pytestmark = pytest.mark.usefixtures("own_environment")


def child(code, state, **keywords):
    """Another Python process, such as a notebook's kernel."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", "import sys, time\n" + textwrap.dedent(code), str(state)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **keywords,
    )


def lines(process):
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    return out.split()


def gone(process_id):
    return wait_until(lambda: not is_running(process_id), f"the end of process {process_id}")


def pace(running):
    return launcher.manage(running, "GET", "/pace")["pace"]


class TestStarting:
    def test_it_is_started_once_and_then_found(self, state):
        assert launcher.find(state) is None
        first = launcher.ensure_running(state, settings=INSTANT)
        second = launcher.ensure_running(state, settings={"DPS_SIMULATOR_PACE": "azure"})
        assert first == second == launcher.find(state)
        assert pace(second) == "instant"
        assert first.process_id != os.getpid()
        for path, mode in ((state, 0o700), (state / launcher.LOG_NAME, 0o600), (state / FILE_NAME, 0o600)):
            assert path.stat().st_mode & 0o777 == mode
        log = (state / launcher.LOG_NAME).read_text()
        assert json.loads(log)["ready"] is True
        assert first.management_token not in log
        assert first.management_token not in repr(first)

    def test_two_processes_at_once_get_the_same(self, state):
        code = START + "; print(running.process_id, running.tls_port)"
        first, second, third = (lines(process) for process in [child(code, state) for _ in range(3)])
        assert first == second == third

    def test_two_threads_at_once_get_the_same(self, state):
        found = []
        threads = [
            threading.Thread(target=lambda: found.append(launcher.ensure_running(state, settings=INSTANT)))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({running.process_id for running in found}) == 1

    def test_one_in_the_foreground_is_found_too(self, state):
        with Served("--json", "--state", state) as served:
            assert launcher.ensure_running(state).process_id == served.process.pid
            assert launcher.stop(state) is True
            assert served.process.wait(PATIENCE) == 0

    def test_one_that_is_just_starting_is_waited_for(self, state):
        process = subprocess.Popen(
            [*COMMAND, "serve", "--state", str(state)], env=environment(), stdout=subprocess.DEVNULL
        )
        with process:
            lock = state / launcher.LOCK_NAME
            wait_until(lambda: lock.exists() and FolderLock(lock).is_taken(), "a lock that is taken")
            assert launcher.stop(state) is True
        assert process.returncode == 0

    def test_it_starts_after_one_that_is_just_stopping(self, state):
        for _ in range(3):
            running = launcher.ensure_running(state, settings=INSTANT)
            launcher.manage(running, "POST", "/stop")
            # it still answers, but nobody is sent there any more
            assert launcher.find(state) is None
        assert launcher.ensure_running(state, settings=INSTANT).process_id != running.process_id

    def test_settings_reach_it(self, state, tmp_path, monkeypatch):
        # a folder that holds a module of a standard name must not get in its way
        (tmp_path / "json.py").write_text("raise SystemExit('wrong module')")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("DPS_SIMULATOR_PACE", "polls=4")
        running = launcher.ensure_running(state, settings={"DPS_SIMULATOR_ID_SCOPE": "0neMINE"})
        assert (running.id_scope, pace(running)) == ("0neMINE", "polls=4")

    def test_a_failed_start_quotes_the_end_of_the_log(self, state):
        launcher.ensure_running(state)
        launcher.stop(state)
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(LaunchError, match=rf"simulator\.log ends with: error: .*port {port} .*taken"):
                launcher.ensure_running(state, settings={"DPS_SIMULATOR_TLS_PORT": str(port)})
        with pytest.raises(LaunchError, match=r"variable DPS_SIMULATOR_PACE: 'slow'"):
            launcher.ensure_running(state, settings={"DPS_SIMULATOR_PACE": "slow"})
        assert launcher._children == {}

    def test_words_of_an_earlier_start_are_not_quoted(self, state, monkeypatch):
        state.mkdir()
        (state / launcher.LOG_NAME).write_text("old words\n")
        monkeypatch.setattr(launcher.sys, "executable", shutil.which("false"))
        with pytest.raises(LaunchError, match=r"did not start\. Its log .* has nothing about it"):
            launcher.ensure_running(state)

    def test_a_start_that_takes_too_long_is_given_up(self, state, tmp_path, monkeypatch):
        slow = tmp_path / "slow"
        slow.write_text("#!/bin/sh\ntrap '' TERM\necho thinking\nwhile :; do sleep 0.1; done\n")
        slow.chmod(0o755)
        monkeypatch.setattr(launcher.sys, "executable", str(slow))
        wait = subprocess.Popen.wait
        monkeypatch.setattr(subprocess.Popen, "wait", lambda self, timeout=None: wait(self, timeout and 0.2))
        # the time is over as soon as it has said something, however long that took
        log, monotonic = state / launcher.LOG_NAME, time.monotonic

        def now():
            return monotonic() + (3_600 if log.exists() and "thinking" in log.read_text() else 0)

        monkeypatch.setattr(launcher, "time", SimpleNamespace(monotonic=now, sleep=time.sleep))
        with pytest.raises(LaunchError, match=r"not ready in time\..*thinking"):
            launcher.ensure_running(state)
        assert psutil.Process().children() == []

    def test_a_lock_that_somebody_keeps_is_named(self, state):
        state.mkdir()
        lock = FolderLock(state / "launch.lock")
        assert lock.acquire()
        with pytest.raises(LaunchError, match=r"Another process has been starting .* for 0\.1 seconds"):
            launcher.ensure_running(state, timeout=0.1)
        lock.release()

    def test_a_folder_that_cannot_be_used_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(LaunchError, match="cannot be written to"):
            launcher.ensure_running(tmp_path / "file")
        (tmp_path / launcher.LOG_NAME).mkdir()
        with pytest.raises(LaunchError, match=r"simulator\.log cannot be written"):
            launcher.ensure_running(tmp_path)

    def test_a_long_log_is_begun_anew(self, state, monkeypatch):
        state.mkdir()
        (state / launcher.LOG_NAME).write_text("x" * 200)
        monkeypatch.setattr(launcher, "LOG_LIMIT", 100)
        launcher.ensure_running(state)
        assert "x" * 10 not in (state / launcher.LOG_NAME).read_text()


class TestSurviving:
    def test_an_interrupt_of_the_kernel(self, state):
        code = (
            START
            + "\ntry:\n    print(running.process_id, flush=True)\n    time.sleep(3600)\n"
            + "except KeyboardInterrupt: pass\n"
        )
        code += "print(launcher.find(Path(sys.argv[1])) == running)"
        kernel = child(code, state, start_new_session=True)
        process_id = int(kernel.stdout.readline())
        os.killpg(kernel.pid, signal.SIGINT)
        assert lines(kernel) == ["True"]
        assert launcher.find(state).process_id == process_id

    def test_the_death_of_the_kernel(self, state):
        kernel = child(START + "\nprint(running.process_id, flush=True)\ntime.sleep(3600)", state)
        process_id = int(kernel.stdout.readline())
        kernel.kill()
        kernel.communicate()
        assert launcher.ensure_running(state).process_id == process_id

    def test_a_process_that_started_one_ends_without_complaints(self, state):
        # -W error: a forgotten child would be a ResourceWarning
        assert lines(child(START, state)) == []
        assert launcher.find(state) is not None

    def test_an_end_of_its_own_leaves_no_zombie(self, state):
        running = launcher.ensure_running(state)
        os.kill(running.process_id, signal.SIGKILL)
        assert gone(running.process_id)
        assert launcher.find(state) is None

    def test_a_kill_and_a_restart(self, state):
        first = launcher.ensure_running(state)
        os.kill(first.process_id, signal.SIGKILL)
        second = launcher.ensure_running(state)
        assert second.process_id != first.process_id
        assert second.service_connection_string == first.service_connection_string
        # who trusted the first trusts the second, and finds it in the same place
        assert second.certificate_authority() == first.certificate_authority()
        assert (second.proxy_port, second.tls_port) == (first.proxy_port, first.tls_port)

    def test_ports_that_others_took_are_replaced(self, state):
        first = launcher.ensure_running(state)
        launcher.stop(state)
        with socket.create_server(("127.0.0.1", first.proxy_port)):
            second = launcher.ensure_running(state)
            assert second.proxy_port != first.proxy_port
        launcher.stop(state)
        assert launcher.ensure_running(state).proxy_port == second.proxy_port

    def test_idleness_stops_it_and_everything_is_there_afterwards(self, state):
        body = {
            "registrationId": "thermostat-1",
            "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": "", "secondaryKey": ""}},
        }
        with Simulator(state=state) as simulator:
            simulator.call(
                lambda runtime: runtime.services.provisioning.enrollments.of(INDIVIDUAL).put("thermostat-1", body, None)
            )
        first = launcher.ensure_running(state)
        launcher.manage(first, "PUT", "/hubs/contoso-hub-2.azure-devices.test")
        launcher.stop(state)
        # nobody talks to this one
        with Served("--json", "--state", state, "--idle-stop", "1") as served:
            assert served.process.wait(PATIENCE) == 0
        assert not (state / FILE_NAME).exists()
        second = launcher.ensure_running(state)
        assert [hub.host for hub in second.hubs][1:] == ["contoso-hub-2.azure-devices.test"]
        assert second.hubs[0] == first.hubs[0]
        assert second.tls_port == first.tls_port
        launcher.stop(state)
        with Simulator(state=state) as simulator:
            enrollments = simulator.call(lambda runtime: runtime.services.provisioning.enrollments.of(INDIVIDUAL))
            assert simulator.call(lambda _: enrollments.find("thermostat-1")) is not None


class TestCalling:
    def test_one_that_goes_before_the_handshake_leaves_no_socket(self, state, monkeypatch):
        connect = socket.create_connection
        with Simulator(state=state) as simulator, socket.create_server(("127.0.0.1", 0)) as other:

            def reset_at_once(_, timeout):
                plain = connect(other.getsockname(), timeout)
                accepted, _ = other.accept()
                # closed so, it sends a reset and no end
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                accepted.close()
                assert select.select([plain], [], [], PATIENCE)[0]
                return plain

            monkeypatch.setattr(launcher.socket, "create_connection", reset_at_once)
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                with pytest.raises(OSError, match="reset"):
                    launcher.manage(simulator.running, "GET", "/health")
                gc.collect()
            assert [str(each.message) for each in warned if each.category is ResourceWarning] == []


class TestStopping:
    def test_it_waits_until_all_is_gone(self, state):
        running = launcher.ensure_running(state)
        assert launcher.stop(state) is True
        assert not is_running(running.process_id)
        assert not (state / FILE_NAME).exists()
        assert launcher.stop(state) is False
        assert psutil.Process().children() == []

    def test_nothing_to_stop(self, tmp_path):
        assert launcher.stop(tmp_path / "none") is False
        assert launcher.stop(tmp_path) is False
        assert not list(tmp_path.iterdir())

    def test_one_that_ignores_the_request_gets_a_signal(self, state, monkeypatch):
        running = launcher.ensure_running(state)
        healthy = launcher.manage(running, "GET", "/health")
        monkeypatch.setattr(launcher, "manage", lambda *_, **__: healthy)
        # the first wait ends at once, the second lasts until it has gone
        wait_until_gone, waits = launcher._wait_until_gone, []

        def wait(*arguments):
            waits.append(arguments)
            return len(waits) > 1 and wait_until_gone(*arguments)

        monkeypatch.setattr(launcher, "_wait_until_gone", wait)
        assert launcher.stop(state, timeout=PATIENCE) is True
        assert len(waits) == 2
        assert gone(running.process_id)

    def test_one_that_stays_is_named(self, state, monkeypatch):
        running = launcher.ensure_running(state)
        healthy = launcher.manage(running, "GET", "/health")
        with monkeypatch.context() as patch:
            patch.setattr(launcher, "manage", lambda *_, **__: healthy)
            patch.setattr(launcher.os, "kill", lambda *_: None)
            with pytest.raises(LaunchError, match=rf"process {running.process_id}\) did not stop"):
                launcher.stop(state, timeout=0.2)

    def test_one_that_goes_between_two_calls(self, state, monkeypatch):
        running = launcher.ensure_running(state)
        manage = launcher.manage

        def going(running, method, path, *rest, **keywords):
            if path == "/stop":
                os.kill(running.process_id, signal.SIGKILL)
                raise ConnectionRefusedError("nobody there")
            return manage(running, method, path, *rest, **keywords)

        monkeypatch.setattr(launcher, "manage", going)
        assert launcher.stop(state) is True
        assert gone(running.process_id)

    def test_one_that_hangs_is_named(self, tmp_path):
        lock = FolderLock(tmp_path / launcher.LOCK_NAME)
        assert lock.acquire()
        for call in (launcher.stop, launcher.ensure_running):
            with pytest.raises(LaunchError, match=rf"does not answer \(process {os.getpid()}\)"):
                call(tmp_path, timeout=0.1)
        lock.release()

    def test_a_lock_that_is_none_is_named(self, tmp_path):
        (tmp_path / launcher.LOCK_NAME).mkdir()
        with pytest.raises(LaunchError, match=r"simulator\.lock cannot be opened"):
            launcher.stop(tmp_path)


class TestEndpointFile:
    """What stands in it is not believed, it is asked."""

    @pytest.fixture
    def stale(self, tmp_path):
        with Simulator(state=tmp_path, proxy_port=own_port(), tls_port=own_port()) as simulator:
            running = simulator.running
        running.write(tmp_path)
        return running

    def test_nobody_there(self, tmp_path, stale):
        assert read(tmp_path) == stale
        assert launcher.find(tmp_path) is None

    def test_another_program_on_its_port(self, tmp_path, stale):
        with socket.create_server(("127.0.0.1", stale.tls_port)) as other:

            def answer():
                connection, _ = other.accept()
                with connection:
                    connection.recv(1_000)
                    connection.sendall(b"220 smtp.example ready\r\n")

            thread = threading.Thread(target=answer)
            thread.start()
            assert launcher.find(tmp_path) is None
            thread.join()

    def test_another_simulator_on_its_port(self, tmp_path, stale):
        with Simulator(tls_port=stale.tls_port):
            assert launcher.find(tmp_path) is None

    def test_a_copy_of_its_folder(self, tmp_path):
        with Simulator(state=tmp_path / "original") as simulator:
            shutil.copytree(tmp_path / "original", tmp_path / "copy")
            document = json.loads((tmp_path / "copy" / FILE_NAME).read_text())
            write_private(tmp_path / "copy" / FILE_NAME, json.dumps({**document, "process_id": 1}))
            assert launcher.find(tmp_path / "copy") is None
            assert launcher.find(tmp_path / "original") == simulator.running

    def test_a_wrong_token(self, tmp_path):
        with Simulator(state=tmp_path) as simulator:
            other = replace(simulator.running, management_token="no")
            other.write(tmp_path)
            assert launcher.find(tmp_path) is None
            with pytest.raises(LaunchError, match=r"refused GET /health.*token"):
                launcher.manage(other, "GET", "/health")

    def test_an_authority_that_is_missing(self, tmp_path, stale):
        stale.certificate_authority_file.unlink()
        assert launcher.find(tmp_path) is None

    @pytest.mark.parametrize("body", [b"[]", b"null", b"{", b""])
    def test_an_answer_of_something_else(self, tmp_path, body, monkeypatch):
        with Simulator(state=tmp_path) as simulator:
            monkeypatch.setattr(launcher.http.client.HTTPResponse, "read", lambda _: body)
            assert launcher.find(tmp_path) is None
            with pytest.raises((LaunchError, ValueError)) if body == b"{" else warnings.catch_warnings():
                launcher.manage(simulator.running, "GET", "/health")

    def test_an_answer_that_is_not_http(self, tmp_path, monkeypatch):
        with Simulator(state=tmp_path) as simulator:

            def broken(_):
                raise launcher.http.client.BadStatusLine("what")

            monkeypatch.setattr(launcher.http.client.HTTPResponse, "begin", broken)
            with pytest.raises(OSError, match="no valid answer"):
                launcher.manage(simulator.running, "GET", "/health")
            assert launcher.find(tmp_path) is None

    @pytest.mark.parametrize(
        "change",
        [
            {"tls_port": "443"},
            {"tls_port": 70_000},
            {"proxy_port": 0},
            {"process_id": -1},
            {"process_id": True},
            {"address": "example.test"},
            {"hubs": 3},
            {"hubs": [{"host": "x"}]},
            {"hubs": ["x"]},
            {"standard_ports": [0]},
            {"version": None},
            {"certificate_authority_file": 3},
            {"management_token": ["x"]},
        ],
    )
    def test_a_wrong_field(self, tmp_path, stale, change):
        write_private(tmp_path / FILE_NAME, json.dumps({**stale.to_json(), **change}))
        assert read(tmp_path) is None

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"{}", b"[" * 100_000])
    def test_no_endpoint_file_at_all(self, tmp_path, content):
        write_private(tmp_path / FILE_NAME, content)
        assert read(tmp_path) is None

    def test_one_of_an_earlier_version_is_understood(self, tmp_path, stale):
        document = stale.to_json()
        del document["address"], document["standard_ports"]
        write_private(tmp_path / FILE_NAME, json.dumps(document))
        assert read(tmp_path) == stale

    def test_addresses_of_version_6_are_written_in_brackets(self, stale):
        six = replace(stale, address="::1")
        assert six.proxy_url == f"http://[::1]:{stale.proxy_port}"
        assert six.management_url == f"https://[::1]:{stale.tls_port}/simulator"


def test_a_handshake_that_fails_leaves_no_socket(tmp_path):
    with Simulator(state=tmp_path / "a") as simulator, Simulator(state=tmp_path / "b") as other:
        wrong = replace(simulator.running, certificate_authority_file=other.running.certificate_authority_file)
        # an open socket would be a ResourceWarning, which is an error here
        with pytest.raises(OSError, match=r"(?i)certificate"):
            launcher.manage(wrong, "GET", "/health")


def test_what_a_notebook_imports_is_light():
    code = (
        "import sys; import dps_simulator.process.launcher; "
        "print(*sorted({'aiohttp', 'OpenSSL', 'cryptography', 'sqlite3', 'asyncio'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert result.stdout.strip() == ""


def test_the_public_names():
    import dps_simulator as package

    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Simulater'"):
        _ = package.Simulater
    assert package.RunningSimulator is RunningSimulator
    assert Path(package.__file__).name == "__init__.py"
