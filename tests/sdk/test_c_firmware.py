"""A device in C without an SDK, from examples/: registers by key and by certificate, and works with its hub.

The program is compiled as its first lines say, with every warning an error.
"""

import subprocess
import threading
from pathlib import Path

import pytest
from other_programs import compiled, environment
from patience import PATIENCE
from sdk_clients import KEY, OTHER_KEY, Https, derive
from test_wolfssl import other_authority
from test_x509_end_to_end import prepare

from dps_simulator import CloudToDeviceMessage
from helpers import certificates

pytestmark = pytest.mark.clients

SOURCE = Path(__file__).parents[2] / "examples" / "firmware" / "device.c"
PACKAGES = "libmosquitto-dev libssl-dev"
#: Exit codes of the program.
DONE, WRONG_SETTING, NO_CONNECTION, NOT_PROVISIONED, NOT_AT_THE_HUB, NOTHING_CAME = 0, 2, 3, 4, 5, 6


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return compiled(
        tmp_path_factory.mktemp("firmware"),
        SOURCE,
        "-lmosquitto",
        "-lcrypto",
        needs=(PACKAGES, "mosquitto.h", "openssl/hmac.h"),
    )


@pytest.fixture
def settings(sdk):
    """What the program is told: as it comes, all names lead to this machine by an address."""

    def make(registration_id="pump-1", key=KEY, **changes):
        running = sdk.running
        return environment(
            **{
                "PROVISIONING_HOST": running.provisioning_host,
                "PROVISIONING_IDSCOPE": running.id_scope,
                "PROVISIONING_REGISTRATION_ID": registration_id,
                "PROVISIONING_SYMMETRIC_KEY": key,
                "SSL_CERT_FILE": running.certificate_authority_file,
                "MQTT_PORT": running.tls_port,
                "GATEWAY_HOST": "127.0.0.1",
                **changes,
            }
        )

    return make


@pytest.fixture
def run(program, settings):
    """Runs the program; gives its exit code, its lines, and what it says on stderr."""

    def run(*arguments, **changes):
        done = subprocess.run(
            [program],
            env=settings(*arguments, **changes),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert not any(key in done.stdout + done.stderr for key in (KEY, OTHER_KEY, "sig="))
        return done.returncode, done.stdout.splitlines(), done.stderr

    return run


def bodies(sdk, device):
    return [message.body for message in sdk.simulator.telemetry(device_id=device)]


@pytest.mark.tried("C firmware", "key", "telemetry")
@pytest.mark.parametrize("pace", ["instant", "polls=2"])
def test_it_registers_with_a_key_and_sends(sdk, run, pace):
    sdk.enroll("pump-1", deviceId="cellar-pump")
    sdk.simulator.pace = pace
    hub, dps = sdk.hub, sdk.running.provisioning_host
    waits = ["answer 202, asking again in 0 s"] * (3 if pace == "polls=2" else 0)
    assert run(TELEMETRY='{"pressure": 2.5}') == (
        DONE,
        [
            f"connected to {dps} as pump-1",
            *waits,
            f"assigned to {hub} as cellar-pump",
            f"connected to {hub} as cellar-pump",
            "telemetry sent",
            "done",
        ],
        "",
    )
    assert bodies(sdk, "cellar-pump") == [b'{"pressure": 2.5}']


@pytest.mark.tried("C firmware", "group key")
def test_it_registers_with_a_key_that_was_derived_elsewhere(sdk, run):
    sdk.enroll_group("pumps")
    code, lines, _ = run("pump-7", derive(KEY, "pump-7"))
    assert (code, lines[-1]) == (DONE, "done")
    # the key of the group is nobody's
    assert run("pump-7", KEY)[0] == NOT_PROVISIONED


@pytest.mark.tried("C firmware", "certificate", "group certificate")
@pytest.mark.parametrize("kind", ["self-signed individual", "group by root", "group by intermediate"])
def test_it_registers_with_a_certificate(sdk, run, kind, tmp_path):
    files, _, device = prepare(sdk, kind, tmp_path)
    own = {"X509_CERT_FILE": files.chain_file, "X509_KEY_FILE": files.key_file}
    code, lines, said = run("pump-101", None, **own)
    assert (code, said) == (DONE, "")
    assert lines[-2:] == ["telemetry sent", "done"]
    assert bodies(sdk, device) == [b'{"temperature": 21.5}']


@pytest.mark.tried("C firmware", "messages", "twin")
@pytest.mark.parametrize("kind", ["message", "desired property"])
def test_it_receives(sdk, program, settings, kind):
    sdk.enroll("pump-1")
    with subprocess.Popen(
        [program], env=settings(RECEIVE_SECONDS=PATIENCE), stdout=subprocess.PIPE, text=True
    ) as device:
        # whatever happens, it ends
        watchdog = threading.Timer(PATIENCE, device.kill)
        watchdog.start()
        lines = iter(device.stdout.readline, "")
        assert "telemetry sent\n" in lines
        if kind == "message":
            sdk.simulator.send_message("pump-1", CloudToDeviceMessage(b"open"))
        else:
            client = Https(sdk.running)
            client.hub("PATCH", "/twins/pump-1", {"properties": {"desired": {"interval": 5}}})
            client.session.close()
        said = list(lines)
        watchdog.cancel()
    expected = "open" if kind == "message" else '{"interval":5,"$version":2}'
    assert (device.returncode, said) == (DONE, [f"received {expected}\n", "done\n"])


def test_a_message_that_waited_is_received(sdk, run):
    sdk.enroll("pump-1")
    assert run()[0] == DONE
    sdk.simulator.send_message("pump-1", CloudToDeviceMessage(b"while you were away"))
    assert run(RECEIVE_SECONDS=PATIENCE)[1][-2:] == ["received while you were away", "done"]
    code, lines, _ = run(RECEIVE_SECONDS=1)
    assert (code, lines[-1]) == (NOTHING_CAME, "nothing came")


def test_it_comes_again_when_there_is_too_much(sdk, run):
    sdk.enroll("pump-1")
    sdk.simulator.switch_on_fault("provisioning", "throttling", retryAfter=1, count=1)
    try:
        code, lines, _ = run()
    finally:
        sdk.simulator.switch_off_faults()
    assert (code, lines[1]) == (DONE, "answer 429, asking again in 1 s")


def test_names_lead_to_it_as_in_the_hosts_file(sdk, run, repository, tmp_path):
    sdk.enroll("pump-1")
    source = repository / "tests" / "sdk" / "hosts_file.c"
    hosts = compiled(tmp_path, source, "-shared", "-fPIC", "-ldl", needs=("libc6-dev", "dlfcn.h"))
    code, lines, said = run(GATEWAY_HOST=None, LD_PRELOAD=hosts)
    assert (code, lines[-1], said) == (DONE, "done", "")
    served = [event.host for event in sdk.simulator.trace() if event.operation == "connect" and event.direction == "in"]
    assert served == [sdk.running.provisioning_host, sdk.hub]


def test_what_it_refuses_and_why_others_refuse_it(sdk, run, tmp_path):
    sdk.enroll("pump-1")
    other = other_authority(tmp_path)
    for changes, code, reason in (
        ({"SSL_CERT_FILE": other}, NO_CONNECTION, "certificate verify failed"),
        # an address of this machine for which the certificate does not stand
        ({"GATEWAY_HOST": "127.1"}, NO_CONNECTION, "host name verification failed"),
        ({"SSL_CERT_FILE": tmp_path / "none.pem"}, NO_CONNECTION, "files for TLS"),
        ({"SSL_CERT_FILE": None}, WRONG_SETTING, "SSL_CERT_FILE is not set"),
        ({"PROVISIONING_IDSCOPE": None}, WRONG_SETTING, "PROVISIONING_IDSCOPE is not set"),
        ({"PROVISIONING_REGISTRATION_ID": 'a"b'}, WRONG_SETTING, "may hold letters"),
        ({"MQTT_PORT": "70000"}, WRONG_SETTING, "MQTT_PORT is no number from 0 to 65535"),
        ({"RECEIVE_SECONDS": "soon"}, WRONG_SETTING, "RECEIVE_SECONDS is no number"),
        ({"X509_CERT_FILE": "a.pem"}, WRONG_SETTING, "set one of"),
        ({"PROVISIONING_HOST": "h" * 5_000, "GATEWAY_HOST": "127.1"}, NO_CONNECTION, "verification failed"),
        ({"PROVISIONING_IDSCOPE": "0" * 5_000}, WRONG_SETTING, "too long"),
        ({"PROVISIONING_IDSCOPE": "0ne0FFFFFFF"}, NOT_PROVISIONED, "answer 404 with error code 404002"),
    ):
        said = run(**changes)
        assert (said[0], reason in said[2]) == (code, True), (changes, said)
    for key, code, reason in (
        (derive(KEY, "another"), NOT_PROVISIONED, "answer 401 with error code 401000"),
        ("no base64!", WRONG_SETTING, "no base64"),
        ("A" * 100, WRONG_SETTING, "no base64"),
        (None, WRONG_SETTING, "set one of"),
    ):
        said = run("pump-1", key)
        assert (said[0], reason in said[2]) == (code, True), (reason, said)


def test_a_certificate_that_nobody_enrolled_and_a_registration_that_failed(sdk, run, tmp_path):
    files = certificates.create_self_signed("pump-1").save(tmp_path)
    code, _, said = run("pump-1", None, X509_CERT_FILE=files.chain_file, X509_KEY_FILE=files.key_file)
    assert (code, said) == (NOT_PROVISIONED, "failed: answer 401 with error code 401002\n")
    sdk.enroll("pump-1", provisioningStatus="disabled")
    code, _, said = run()
    assert (code, said) == (NOT_PROVISIONED, "failed: the registration is disabled\n")


def test_the_hub_refuses_it(sdk, run):
    sdk.enroll("pump-1")
    sdk.simulator.pace = "azure"
    sdk.simulator.switch_on_fault(sdk.hub, "unavailable")
    try:
        code, lines, said = run()
    finally:
        sdk.simulator.switch_off_faults()
    assert (code, lines[-1]) == (NOT_AT_THE_HUB, f"assigned to {sdk.hub} as pump-1")
    assert said == f"failed: {sdk.hub}: Connection Refused: broker unavailable.\n"
