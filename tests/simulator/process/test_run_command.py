"""``run -- PROGRAM``: programs that know nothing of a simulator reach it, and nobody else."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
from patience import PATIENCE, wait_until
from simulator_processes import COMMAND, command, environment

from dps_simulator import __main__ as command_line

# As somebody would write it for Azure. Nothing in it is about a simulator.
PROGRAM = """
    import base64, hmac, os, sys, warnings
    warnings.simplefilter("ignore")
    from azure.iot.device import IoTHubDeviceClient, Message, ProvisioningDeviceClient
    from azure.iot.deviceprovisioning import DeviceProvisioningClient
    from azure.iot.hub import IoTHubRegistryManager

    group_key = base64.b64encode(os.urandom(32)).decode()
    attestation = {"type": "symmetricKey", "symmetricKey": {"primaryKey": group_key, "secondaryKey": group_key}}
    with DeviceProvisioningClient.from_connection_string(
        os.environ["PROVISIONING_SERVICE_CONNECTION_STRING"]
    ) as service:
        service.enrollment_group.create_or_update(
            "thermostats", {"enrollmentGroupId": "thermostats", "attestation": attestation}
        )
    key = base64.b64encode(hmac.digest(base64.b64decode(group_key), b"thermostat-7", "sha256")).decode()
    provisioning = ProvisioningDeviceClient.create_from_symmetric_key(
        os.environ["PROVISIONING_HOST"], "thermostat-7", os.environ["PROVISIONING_IDSCOPE"], key,
        websockets=sys.argv[1] == "websockets",
    )
    state = provisioning.register().registration_state
    device = IoTHubDeviceClient.create_from_symmetric_key(
        key, state.assigned_hub, state.device_id, websockets=sys.argv[1] == "websockets"
    )
    device.connect()
    device.send_message(Message("21.5"))
    registry = IoTHubRegistryManager.from_connection_string(os.environ["IOTHUB_CONNECTION_STRING"])
    print(state.assigned_hub, registry.get_device("thermostat-7").connection_state)
    device.shutdown()
    sys.exit(7)
"""


def run(*program, options=(), env=None):
    return command("run", "--pace", "instant", *options, "--", *program, env=env)


def shell(text, **keywords):
    return run("sh", "-c", text, **keywords)


@pytest.mark.sdk
@pytest.mark.parametrize("transport", ["mqtt", "websockets"])
@pytest.mark.parametrize("hostile", [False, True], ids=["plain", "hostile"])
def test_an_unmodified_program_enrolls_registers_and_connects(tmp_path, transport, hostile):
    pytest.importorskip("azure.iot.hub")
    program = tmp_path / "device.py"
    program.write_text(textwrap.dedent(PROGRAM))
    changes = {}
    if hostile:
        nowhere = "http://127.0.0.1:9"
        changes = dict.fromkeys(
            ("https_proxy", "HTTPS_PROXY", "mqtt_proxy", "MQTT_PROXY", "ALL_PROXY", "all_proxy"), nowhere
        )
        changes.update({"NO_PROXY": "*", "no_proxy": ".test,localhost", "REQUESTS_CA_BUNDLE": "/dev/null"})
        changes.update({"SSL_CERT_FILE": "/dev/null", "SSL_CERT_DIR": "/nonexistent", "CURL_CA_BUNDLE": "/dev/null"})
        changes.update({"PROVISIONING_HOST": "global.azure-devices-provisioning.net"})
    result = run(sys.executable, program, transport, env=environment(**changes))
    assert result.stderr == ""
    assert result.stdout.split() == ["contoso-hub-1.azure-devices.test", "Connected"]
    assert result.returncode == 7


def test_the_environment_of_the_program():
    names = [
        "MQTT_PROXY",
        "HTTPS_PROXY",
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
        "PROVISIONING_HOST",
    ]
    more = ["PROVISIONING_IDSCOPE", "PROVISIONING_SERVICE_CONNECTION_STRING", "IOTHUB_CONNECTION_STRING"]
    script = "; ".join(f'echo "${{{name}}}"' for name in names + more)
    options = ["--hub", "a.azure-devices.test", "--hub", "b.azure-devices.test"]
    result = shell(script, options=options, env=environment(PROVISIONING_IDSCOPE="0neREAL"))
    values = dict(zip(names + more, result.stdout.splitlines(), strict=True))
    assert values["MQTT_PROXY"] == values["HTTPS_PROXY"]
    assert values["MQTT_PROXY"].startswith("http://127.0.0.1:")
    assert values["SSL_CERT_FILE"] == values["REQUESTS_CA_BUNDLE"] == values["NODE_EXTRA_CA_CERTS"]
    assert values["PROVISIONING_HOST"] == "global.azure-devices-provisioning.test"
    assert values["PROVISIONING_IDSCOPE"] == "0ne00000A01"
    assert values["PROVISIONING_SERVICE_CONNECTION_STRING"].startswith("HostName=mydps.")
    assert [text.split(";")[0] for text in values["IOTHUB_CONNECTION_STRING"].split()] == [
        "HostName=a.azure-devices.test",
        "HostName=b.azure-devices.test",
    ]
    # the simulator went with the program, and its temporary folder too
    assert not os.path.exists(values["SSL_CERT_FILE"])  # noqa: PTH110


@pytest.mark.parametrize(("text", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -TERM $$", 143)])
def test_the_exit_code_is_passed_on(text, code):
    result = shell(text)
    assert (result.returncode, result.stdout, result.stderr) == (code, "", "")


def test_input_and_output_are_the_program_s_own():
    result = subprocess.run(
        [*COMMAND, "run", "--", "cat", "--", "-"], input=b"42", env=environment(), capture_output=True, check=True
    )
    assert (result.stdout, result.stderr) == (b"42", b"")


@pytest.mark.parametrize(
    ("program", "said"),
    [(["no-such-program"], "'no-such-program'"), (["/etc/passwd"], "'/etc/passwd'"), (["a\0b"], "null byte")],
)
def test_a_program_that_cannot_be_started_is_named(capsys, program, said):
    assert command_line.main(["run", "--", *program]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "cannot be started" in err
    assert said in err


@pytest.mark.parametrize("arguments", [["run"], ["run", "--"], ["run", "--pace", "instant", "--"]])
def test_a_missing_program_is_asked_for(capsys, arguments):
    assert command_line.main(arguments) == 2
    assert "after `--`" in capsys.readouterr().err


def test_a_program_without_dashes_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        command_line.main(["run", "echo", "hello"])
    assert caught.value.code == 2
    assert "echo" in capsys.readouterr().err


def test_settings_are_those_of_serve(capfd):
    program = ["sh", "-c", "echo $PROVISIONING_IDSCOPE; exit 5"]
    assert command_line.main(["run", "--id-scope", "0neMINE", "--", *program]) == 5
    assert capfd.readouterr().out == "0neMINE\n"
    assert command_line.main(["run", "--pace", "slow", "--", *program]) == 2
    assert "the flag --pace" in capfd.readouterr().err


class Started:
    """``run`` in a process group of its own, like a job of a shell; ``script`` says READY when signals may come."""

    def __init__(self, script, tmp_path):
        self.marker = tmp_path / "authority"
        quoted = shlex.quote(str(self.marker))
        ready = f'echo "$SSL_CERT_FILE" > {quoted}.new; mv {quoted}.new {quoted}'
        program = ["sh", "-c", script.replace("READY", ready)]
        self.process = subprocess.Popen(
            [*COMMAND, "run", "--", *program],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        wait_until(self.marker.exists, "the program that was to be started")
        self.authority = self.marker.read_text().strip()

    def end(self):
        try:
            out, err = self.process.communicate(timeout=PATIENCE)
        finally:
            # with the program, which a signal that was not handed on leaves running
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        assert not os.path.exists(self.authority)  # noqa: PTH110
        return self.process.returncode, out, err


def test_control_c_reaches_the_program_which_decides_when_to_end(tmp_path):
    started = Started('trap "echo tidying up; exit 9" INT; READY; while :; do sleep 0.05; done', tmp_path)
    os.killpg(started.process.pid, signal.SIGINT)
    assert started.end() == (9, "tidying up\n", "")


def test_control_c_ends_a_program_that_does_not_care(tmp_path):
    started = Started("READY; exec sleep 60", tmp_path)
    os.killpg(started.process.pid, signal.SIGINT)
    assert started.end() == (130, "", "")


@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_other_signals_are_handed_on(tmp_path, name):
    started = Started(f'trap "echo got {name}; exit 4" {name}; READY; while :; do sleep 0.05; done', tmp_path)
    started.process.send_signal(getattr(signal, f"SIG{name}"))
    assert started.end() == (4, f"got {name}\n", "")


def test_an_interrupt_during_the_start_starts_no_program(monkeypatch, capfd):
    class Interrupting(command_line.Simulator):
        def start(self):
            os.kill(os.getpid(), signal.SIGINT)
            return super().start()

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(command_line, "Simulator", Interrupting)
    assert command_line.main(["run", "--", "echo", "started"]) == 130
    assert capfd.readouterr().out == ""
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_that_comes_while_the_program_is_being_started_is_handed_on(monkeypatch):
    start = subprocess.Popen

    def start_and_be_ended(*arguments, **options):
        process = start(*arguments, **options)
        os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr(command_line.subprocess, "Popen", start_and_be_ended)
    assert command_line.main(["run", "--", "sleep", "5"]) == 143


def test_signals_are_handed_on_inside_a_process_too(tmp_path):
    program = f"echo $$ > {tmp_path}/pid; exec sleep 60"

    def end():
        wait_until((tmp_path / "pid").exists, "the program that was to be started")
        os.kill(os.getpid(), signal.SIGTERM)

    killer = threading.Thread(target=end)
    killer.start()
    assert command_line.main(["run", "--", "sh", "-c", program]) == 143
    killer.join()
