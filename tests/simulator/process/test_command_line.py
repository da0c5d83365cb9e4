"""``serve``, ``status``, ``stop`` and ``reset``, as somebody at a terminal sees them."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
from pathlib import Path

import pytest
from patience import PATIENCE, wait_until
from simulator_processes import COMMAND, Served, command, environment

from dps_simulator import Simulator
from dps_simulator import __main__ as command_line
from dps_simulator.common.private_files import FolderLock
from dps_simulator.process import launcher
from dps_simulator.process.store import FILE_NAME as STORE_NAME
from dps_simulator.process.store import Store
from dps_simulator.provisioning.enrollments.kinds import INDIVIDUAL
from dps_simulator.settings.settings import KEYS, Settings, load

KEY = base64.b64encode(b"NOT-A-SECRET-PRIMARY-KEY-32-BYTES").decode()
ENROLLMENT = {
    "registrationId": "thermostat-1",
    "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}},
}


@pytest.fixture(autouse=True)
def _signals_stay():
    """``serve`` and ``run`` take signals for themselves; inside a test they must give them back."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    before = {name: signal.getsignal(getattr(signal, name)) for name in names}
    yield
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


pytestmark = pytest.mark.usefixtures("own_environment")


def mode(path):
    return oct(Path(path).stat().st_mode & 0o777)


def enroll(runtime, name="thermostat-1"):
    runtime.services.provisioning.enrollments.of(INDIVIDUAL).put(name, {**ENROLLMENT, "registrationId": name}, None)


def enrolled(state):
    store = Store(state)
    try:
        return store.collection("enrollment").count()
    finally:
        store.close()


class TestServe:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_it_says_that_it_is_ready_and_ends_cleanly(self, tmp_path, number):
        with Served("--json", "--state", tmp_path / "state") as served:
            ready = served.ready
            assert ready["ready"] is True
            assert ready["process_id"] == served.process.pid
            assert ready["hubs"] == ["contoso-hub-1.azure-devices.test"]
            assert ready["endpoint_file"] == str(tmp_path / "state" / "endpoint.json")
            assert (mode(ready["endpoint_file"]), mode(tmp_path / "state")) == ("0o600", "0o700")
            for port in (ready["proxy_port"], ready["tls_port"]):
                socket.create_connection(("127.0.0.1", port)).close()
            running = served.running
            secrets = [running.management_token, running.service_connection_string.split("SharedAccessKey=")[1]]
            assert not [secret for secret in secrets if secret in served.line]
            assert served.stop(number) == (0, "", "")
        assert not Path(ready["endpoint_file"]).exists()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", ready["tls_port"]))

    def test_the_plain_ready_line_names_every_place_and_no_key(self):
        with Served("--in-memory", "--hub", "a.azure-devices.test", "--hub", "b.azure-devices.test") as served:
            line = served.line
            file = Path(re.search(r"keys in (\S+)", line)[1])
            document = json.loads(file.read_text())
            for word in (
                "ready: ",
                "0ne00000A01",
                "global.azure-devices-provisioning.test",
                "a.azure-devices.test, b.",
            ):
                assert word in line
            assert str(document["proxy_port"]) in line
            assert str(document["tls_port"]) in line
            assert document["certificate_authority_file"] in line
            assert document["management_token"] not in line
            assert (mode(file), mode(file.parent)) == ("0o600", "0o700")
            assert served.stop() == (0, "", "")
        # without a state folder nothing stays
        assert not file.parent.exists()

    def test_a_second_signal_changes_nothing(self, tmp_path):
        with Served("--json", "--state", tmp_path) as served:
            for _ in range(20):
                served.process.send_signal(signal.SIGTERM)
            assert served.stop() == (0, "", "")

    def test_nohup_is_respected(self, tmp_path):
        process = subprocess.Popen(
            ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *COMMAND, "serve", "--json", "--state", str(tmp_path)],
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert json.loads(process.stdout.readline())["ready"]
            process.send_signal(signal.SIGHUP)
            # what it answers now, it answers after the signal
            assert launcher.find(tmp_path) is not None
            assert launcher.manage(launcher.find(tmp_path), "GET", "/health")["status"] == "ready"
            process.terminate()
        assert process.returncode == 0

    def test_a_reader_that_went_away_is_no_crash(self):
        served = subprocess.Popen(
            [*COMMAND, "status", "--state", "/nonexistent"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        served.stdout.close()
        with served:
            assert served.stderr.read() == ""
        assert served.returncode == 1

    def test_idleness_ends_it(self, tmp_path):
        with Served("--json", "--state", tmp_path, "--idle-stop", "1") as served:
            out, err = served.process.communicate(timeout=PATIENCE)
            assert (served.process.returncode, out, err) == (0, "", "")

    def test_it_runs_inside_a_process_too(self, tmp_path, capsys):
        state = tmp_path / "state"

        def end():
            wait_until((state / "endpoint.json").exists, "the endpoint file")
            os.kill(os.getpid(), signal.SIGINT)

        killer = threading.Thread(target=end)
        killer.start()
        try:
            assert command_line.main(["serve", "--state", str(state), "--pace", "instant"]) == 0
        finally:
            killer.join()
        assert capsys.readouterr().out.startswith("ready: ID scope 0ne00000A01")
        assert not (state / "endpoint.json").exists()

    def test_an_interrupt_before_anything_is_set_up_is_no_traceback(self, monkeypatch, capsys):
        def interrupted(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(command_line, "_settings", interrupted)
        assert command_line.main(["serve"]) == 130
        assert capsys.readouterr().err == ""


class TestSettings:
    def test_flags_beat_variables_which_beat_the_file(self, tmp_path):
        file = tmp_path / "simulator.toml"
        file.write_text('id_scope = "0neFILE"\nprovisioning_host = "file.test"\nservice_host = "file-api.test"\n')
        env = environment(
            DPS_SIMULATOR_PROVISIONING_HOST="variable.test", DPS_SIMULATOR_SERVICE_HOST="variable-api.test"
        )
        with Served("--json", "--config", file, "--service-host", "flag-api.test", env=env) as served:
            ready = served.ready
            assert (ready["id_scope"], ready["provisioning_host"], ready["service_host"]) == (
                "0neFILE",
                "variable.test",
                "flag-api.test",
            )
            served.stop()

    def test_keys_come_from_the_file_or_the_environment_and_are_shown_nowhere(self, tmp_path):
        file = tmp_path / "simulator.toml"
        file.write_text(f'[service_policy]\nkey = "{KEY}"\n')
        file.chmod(0o600)
        hub_key = base64.b64encode(b"NOT-A-SECRET-KEY-OF-THE-HUB!!").decode()
        env = environment(
            DPS_SIMULATOR_HUBS=f"HostName=h.azure-devices.test;SharedAccessKeyName=owner;SharedAccessKey={hub_key}"
        )
        with Served("--json", "--config", file, env=env) as served:
            running = served.running
            assert running.service_connection_string.endswith(f";SharedAccessKey={KEY}")
            assert running.hubs[0].connection_string.endswith(f"=owner;SharedAccessKey={hub_key}")
            assert "=" not in served.line
            assert served.stop() == (0, "", "")

    @pytest.mark.parametrize(
        ("arguments", "variables", "text", "said"),
        [
            (["--pace", "slow"], {}, "", ["the flag --pace", "'slow'", "instant"]),
            (["--proxy-port", "70000"], {}, "", ["the flag --proxy-port", "'70000'", "65535"]),
            (["--bind", "everywhere"], {}, "", ["the flag --bind", "'everywhere'", "IP address"]),
            (["--bind", "0.0.0.0"], {}, "", ["bind", "0.0.0.0", "other machines", "allow_remote"]),  # noqa: S104
            (["--provisioning-host", "10.0.0.1"], {}, "", ["the flag --provisioning-host", "'10.0.0.1'", "host name"]),
            (["--state", "~nobody-of-that-name/x"], {}, "", ["the flag --state", "'~nobody-of-that-name/x'"]),
            ([], {"DPS_SIMULATOR_ID_SCOPE": "0ne-1"}, "", ["variable DPS_SIMULATOR_ID_SCOPE", "'0ne-1'", "letters"]),
            (
                [],
                {"DPS_SIMULATOR_COLOUR": "red"},
                "",
                ["variable DPS_SIMULATOR_COLOUR is unknown", "DPS_SIMULATOR_PACE"],
            ),
            ([], {}, "idle_stop = -1", ["simulator.toml", "idle_stop", "'-1'"]),
            ([], {}, 'color = "red"', ["simulator.toml", "color is unknown", "pace"]),
            ([], {}, "pace = ", ["simulator.toml", "not valid TOML"]),
        ],
    )
    def test_what_is_wrong_is_named_by_source_key_and_value(self, tmp_path, arguments, variables, text, said):
        if text:
            file = tmp_path / "simulator.toml"
            file.write_text(text)
            arguments = [*arguments, "--config", file]
        result = command("serve", *arguments, env=environment(**variables))
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith("error: ")
        assert len(result.stderr.splitlines()) == 1
        for words in said:
            assert words in result.stderr

    def test_a_missing_file_is_named(self, tmp_path, capsys):
        assert command_line.main(["serve", "--config", str(tmp_path / "no.toml")]) == 2
        assert "no.toml cannot be read: No such file" in capsys.readouterr().err

    def test_a_key_on_the_command_line_is_refused_without_being_repeated(self, capsys):
        text = f"HostName=a.test;SharedAccessKeyName=b;SharedAccessKey={KEY}"
        assert command_line.main(["serve", "--hub", text]) == 2
        error = capsys.readouterr().err
        assert "the flag --hub" in error
        assert "DPS_SIMULATOR_HUBS" in error
        assert KEY not in error
        with pytest.raises(SystemExit) as caught:
            command_line.main(["serve", "--service-policy-key", KEY])
        assert caught.value.code == 2

    @pytest.mark.parametrize("verb", ["serve", "run"])
    def test_help_lists_every_key_with_its_variable(self, capsys, verb, monkeypatch):
        monkeypatch.setenv("COLUMNS", "10000")
        with pytest.raises(SystemExit) as caught:
            command_line.main([verb, "--help"])
        assert caught.value.code == 0
        text = capsys.readouterr().out
        for key in KEYS:
            assert f"[{key.variable}]" in text
            assert key.help in text
            assert (key.flag in text.split()) != key.secret

    def test_shortened_flags_are_refused(self, capsys):
        with pytest.raises(SystemExit) as caught:
            command_line.main(["serve", "--pac", "azure"])
        assert caught.value.code == 2
        assert "--pac" in capsys.readouterr().err


class TestWhatStandsInTheWay:
    """All of these end with code 1, one line on stderr and no port open."""

    @pytest.fixture
    def refused(self, capsys):
        def check(*arguments, words, code=1):
            assert command_line.main(["serve", "--json", *map(str, arguments)]) == code
            out, err = capsys.readouterr()
            assert out == ""
            assert err.startswith("error: ")
            assert len(err.splitlines()) == 1
            for word in words:
                assert word in err, err
            return err

        return check

    @pytest.mark.parametrize("which", ["proxy", "tls"])
    def test_a_taken_port(self, refused, which):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            refused(f"--{which}-port", port, words=[f"port {port} on 127.0.0.1 is taken", "another port"])

    def test_an_address_that_this_machine_lacks(self, refused):
        refused("--bind", "192.0.2.1", "--allow-remote", words=["192.0.2.1", "does not have that address"])

    def test_a_state_folder_that_is_a_file(self, refused, tmp_path):
        (tmp_path / "file").write_text("")
        refused("--state", tmp_path / "file", words=[str(tmp_path / "file"), "cannot be written to"])

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, where nobody can make a folder")
    def test_a_state_folder_that_cannot_be_written(self, refused):
        refused("--state", "/proc/self/state", words=["/proc/self/state", "cannot be written to", "Choose another"])

    @pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
    def test_a_state_folder_that_is_mounted_read_only(self, tmp_path):
        state = tmp_path / "state"
        state.mkdir(mode=0o700)
        mount = f'mount --bind "{state}" "{state}" && mount -o remount,ro,bind "{state}" && exec "$@"'
        prefix = ["unshare", "--mount", "--map-root-user", "sh", "-c", mount, "sh"]
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
            pytest.skip("this machine forbids private mounts")
        result = command("serve", "--state", state, prefix=prefix)
        assert (result.returncode, result.stdout) == (1, "")
        assert f"{state} cannot be written to (Read-only file system)" in result.stderr

    def test_a_folder_that_others_may_write_into(self, refused, tmp_path):
        state = tmp_path / "shared"
        state.mkdir()
        (state / "theirs").write_text("")
        state.chmod(0o777)
        refused("--state", state, words=["Other users", str(state)])
        assert mode(state) == "0o777"

    @pytest.mark.parametrize("name", ["simulator.lock", "endpoint.json", "simulator.sqlite3"])
    def test_something_else_in_the_place_of_a_file(self, refused, tmp_path, name):
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").write_text("")
        refused("--state", tmp_path, words=[name])

    def test_a_damaged_state_file(self, refused, tmp_path):
        with Simulator(state=tmp_path):
            pass
        (tmp_path / STORE_NAME).write_bytes(b"SQLite format 3\0" + os.urandom(8_000))
        refused("--state", tmp_path, words=[STORE_NAME, "is damaged", "Nothing was changed", "reset"])

    def test_a_database_of_another_program(self, refused, tmp_path):
        connection = sqlite3.connect(tmp_path / STORE_NAME)
        connection.executescript("CREATE TABLE songs (title)")
        connection.close()
        refused("--state", tmp_path, words=[STORE_NAME, "another program", "another state folder"])

    def test_a_database_that_somebody_has_locked(self, refused, tmp_path, monkeypatch):
        connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "timeout": 0.05}))
        other = connect(tmp_path / STORE_NAME)
        other.execute("BEGIN EXCLUSIVE")
        refused("--state", tmp_path, words=[STORE_NAME, "used by another program"])
        other.close()

    @pytest.mark.parametrize("name", ["authority.pem", "authority.key"])
    def test_damaged_files_of_the_certificate_authority(self, refused, tmp_path, name):
        with Simulator(state=tmp_path):
            pass
        content = (tmp_path / name).read_text()
        (tmp_path / name).write_text(content[: len(content) // 2])
        error = refused("--state", tmp_path, words=[name, "not a readable PEM", "Remove"])
        assert content.splitlines()[1] not in error

    def test_two_simulators_on_one_folder(self, refused, tmp_path):
        with Served("--json", "--state", tmp_path) as first:
            refused("--state", tmp_path, words=[f"process {first.process.pid}", str(tmp_path), "stop --state"])
            assert first.running is not None
            assert first.stop() == (0, "", "")

    def test_nothing_is_left_of_a_failed_start(self, refused, tmp_path):
        state = tmp_path / "state"
        with socket.create_server(("127.0.0.1", 0)) as other:
            refused("--state", state, "--tls-port", other.getsockname()[1], words=["taken"])
        assert not (state / "endpoint.json").exists()
        with Simulator(state=state):
            assert (state / "endpoint.json").exists()


@pytest.fixture
def background(tmp_path):
    state = tmp_path / "state"
    running = launcher.ensure_running(state, settings={"DPS_SIMULATOR_PACE": "instant"})
    yield running
    launcher.stop(state)


class TestStatusStopReset:
    def test_where_nothing_runs(self, tmp_path, capsys):
        for verb, text, document in (
            ("status", "No simulator runs on", {"running": False}),
            ("stop", "No simulator runs on", {"stopped": False}),
        ):
            assert command_line.main([verb, "--state", str(tmp_path)]) == 3
            assert text in capsys.readouterr().out
            assert command_line.main([verb, "--state", str(tmp_path / "none"), "--json"]) == 3
            assert json.loads(capsys.readouterr().out) == document
        assert command_line.main(["reset", "--state", str(tmp_path / "none")]) == 0
        assert not (tmp_path / "none").exists()

    def test_where_one_runs(self, tmp_path, background, capsys):
        state = ["--state", str(tmp_path / "state")]
        assert command_line.main(["status", *state]) == 0
        text = capsys.readouterr().out
        assert text.startswith(f"running (process {background.process_id}): ID scope")
        assert command_line.main(["status", "--json", *state]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["running"] is True
        assert document["process_id"] == background.process_id
        assert document["endpoint_file"] == str(tmp_path / "state" / "endpoint.json")
        for secret in (background.management_token, background.service_connection_string.split("SharedAccessKey=")[1]):
            assert secret not in text
            assert secret not in json.dumps(document)
        assert command_line.main(["reset", "--json", *state]) == 0
        assert json.loads(capsys.readouterr().out) == {"reset": True}
        assert command_line.main(["stop", *state]) == 0
        assert capsys.readouterr().out == "stopped\n"
        assert launcher.find(tmp_path / "state") is None

    def test_one_that_does_not_answer_is_told_apart_from_none(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(launcher.stop, "__kwdefaults__", {"timeout": 0.2})
        lock = FolderLock(tmp_path / launcher.LOCK_NAME)
        assert lock.acquire()
        try:
            for verb in ("status", "stop", "reset"):
                assert command_line.main([verb, "--state", str(tmp_path)]) == 1
                out, err = capsys.readouterr()
                assert out == ""
                assert f"does not answer (process {os.getpid()})" in err
                assert str(tmp_path) in err
        finally:
            lock.release()

    def test_reset_at_rest_forgets_the_same_as_reset_of_a_running_one(self, tmp_path, capsys):
        with Simulator(state=tmp_path) as simulator:
            simulator.link_hub("contoso-hub-9.azure-devices.test")
            simulator.call(enroll)
            before = simulator.running
        assert command_line.main(["reset", "--state", str(tmp_path)]) == 0
        assert capsys.readouterr().out == f"{tmp_path} holds no enrollments, registrations or devices.\n"
        with Simulator(state=tmp_path) as simulator:
            after = simulator.running
            enrollments = simulator.call(lambda runtime: runtime.services.provisioning.enrollments.of(INDIVIDUAL))
            assert simulator.call(lambda _: enrollments.find("thermostat-1")) is None
        assert after.service_connection_string == before.service_connection_string
        assert after.hubs == before.hubs
        assert (after.proxy_port, after.tls_port) == (before.proxy_port, before.tls_port)

    def test_reset_removes_a_damaged_state_and_spares_a_foreign_one(self, tmp_path, capsys):
        ours, theirs = tmp_path / "ours", tmp_path / "theirs"
        for folder in (ours, theirs):
            folder.mkdir()
        (ours / STORE_NAME).write_bytes(b"not a database, but long enough to be one " * 50)
        assert command_line.main(["reset", "--state", str(ours)]) == 0
        assert not (ours / STORE_NAME).exists()
        connection = sqlite3.connect(theirs / STORE_NAME)
        connection.executescript("CREATE TABLE songs (title)")
        connection.close()
        capsys.readouterr()
        assert command_line.main(["reset", "--state", str(theirs)]) == 1
        assert "another program" in capsys.readouterr().err
        assert (theirs / STORE_NAME).exists()
        # a folder in which no simulator ever ran stays empty of states
        (tmp_path / "empty").mkdir()
        assert command_line.main(["reset", "--state", str(tmp_path / "empty")]) == 0
        assert not (tmp_path / "empty" / STORE_NAME).exists()

    def test_one_that_stops_while_it_is_being_reset(self, tmp_path, monkeypatch, capsys):
        with Simulator(state=tmp_path):

            def gone(*_, **__):
                raise ConnectionRefusedError("nobody there")

            running = launcher.find(tmp_path)
            monkeypatch.setattr(launcher, "find", lambda _: running)
            monkeypatch.setattr(launcher, "manage", gone)
            assert command_line.main(["reset", "--state", str(tmp_path)]) == 1
            assert "stopped meanwhile" in capsys.readouterr().err

    def test_a_folder_that_cannot_be_looked_into(self, tmp_path, capsys):
        (tmp_path / "simulator.lock").mkdir()
        for verb in ("status", "stop", "reset"):
            assert command_line.main([verb, "--state", str(tmp_path)]) == 1
            assert "simulator.lock cannot be opened" in capsys.readouterr().err


def test_without_a_command_the_five_commands_are_named(capsys):
    with pytest.raises(SystemExit) as caught:
        command_line.main([])
    assert caught.value.code == 2
    assert "serve|run|status|stop|reset" in capsys.readouterr().err


def test_defaults_are_those_of_the_settings():
    for arguments in (["serve", "--in-memory"], ["run"]):
        assert command_line._settings(command_line._parser().parse_args(arguments)) == Settings()


class TestDocumentation:
    @pytest.fixture
    def text(self, repository):
        return (repository / "docs" / "simulator.md").read_text(encoding="utf-8")

    def test_its_table_is_the_list_of_settings(self, text):
        table = text[text.index("<!-- settings:") :].partition("-->")[2].strip().partition("\n\n")[0].splitlines()
        rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table[2:]]
        assert rows == [[key.name, "none" if key.secret else key.flag, key.variable, key.help] for key in KEYS]

    def test_its_example_is_a_valid_file_that_names_every_key(self, text, tmp_path):
        example = re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1]
        file = tmp_path / "simulator.toml"
        file.write_text(example)
        settings = load(file=file)
        assert settings.tls.authority == tmp_path / "root.pem"
        assert len(settings.hubs) == 2
        names = {key.name.rpartition(".")[2] for key in KEYS}
        assert names <= set(re.findall(r"^\W*(\w+)", example, re.MULTILINE))

    def test_it_lists_every_variable_that_run_sets_and_every_route(self, text):
        with Simulator() as simulator:
            for name in simulator.environment({}):
                assert f"`{name}`" in text
            routes = simulator.call(lambda runtime: runtime._management._routes)
        for route in routes:
            pattern = re.escape(route.template.replace("{host}", "HOST").replace("{id}", "ID"))
            assert re.search(rf"\| [^|]*`{route.method}[^|]*{pattern}[?`]", text), f"{route.method} {route.template}"

    def test_curl_reaches_it_as_described(self, tmp_path):
        curl = shutil.which("curl")
        if curl is None:
            pytest.skip("needs curl")
        with Simulator(state=tmp_path) as simulator:
            running = simulator.running
            trust = [curl, "--silent", "--show-error", "--cacert", str(running.certificate_authority_file)]
            header = f"Authorization: Bearer {running.management_token}"
            for ways in (
                [f"{running.management_url}/health"],
                ["--proxy", running.proxy_url, f"https://{running.service_host}/simulator/health"],
            ):
                clean = environment(NO_PROXY="", no_proxy="")
                result = subprocess.run(
                    [*trust, "-H", header, *ways], env=clean, capture_output=True, text=True, check=True
                )
                assert json.loads(result.stdout)["status"] == "ready"

    @pytest.mark.skipif(shutil.which("curl") is None or os.name == "nt", reason="needs curl and a shell")
    def test_the_lines_with_curl_do_what_they_say(self, text, tmp_path):
        """They are typed as they stand there; the dots of some are the options of the one that has no dots."""
        lines = re.findall(r"^curl .*", text, re.MULTILINE)
        (health,) = (line for line in lines if "…" not in line)
        (switch_on,) = (line for line in lines if " PUT " in line)
        (switch_off,) = (line for line in lines if " DELETE " in line)
        assert len(lines) == 3
        options = re.match(r"curl (.* -H \"[^\"]+\") ", health)[1]
        with Simulator(state=tmp_path) as simulator:
            running = simulator.running
            variables = {
                "TOKEN": running.management_token,
                "PORT": str(running.tls_port),
                "BASE": re.search(r"`BASE` is `([^`]+)`", text)[1].replace("$PORT", str(running.tls_port)),
            }

            def typed(line):
                done = subprocess.run(
                    ["sh", "-c", line.replace("curl …", f"curl {options}")],
                    cwd=tmp_path,
                    env=environment(NO_PROXY="*", no_proxy="*", **variables),
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, done.stderr
                return json.loads(done.stdout)

            assert typed(health)["status"] == "ready"
            (fault,) = typed(switch_on)["faults"]
            assert (fault["service"], fault["kind"], fault["cuts"], fault["count"]) == (
                "provisioning",
                "cut",
                "messages",
                2,
            )
            assert [each["kind"] for each in typed(switch_off)["faults"]] == ["cut"]
