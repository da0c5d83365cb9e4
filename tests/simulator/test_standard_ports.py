"""Ports 8883 and 443, for clients that know no others: found by name, without a proxy."""

import os
import shutil
import socket
import ssl
import subprocess
import time

import pytest
import requests
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient
from patience import PATIENCE
from simulator_processes import COMMAND, Served, environment

from benchmarks import wire
from dps_simulator import Simulator, SimulatorError
from dps_simulator.credentials import sas
from dps_simulator.provisioning.enrollments.kinds import INDIVIDUAL

KEY_BYTES = b"NOT-A-SECRET-PRIMARY-KEY-32-BYTES"
KEY = "Tk9ULUEtU0VDUkVULVBSSU1BUlktS0VZLTMyLUJZVEVT"
#: Addresses of its own for every test process, so that tests may run side by side, and beside a real broker.
ADDRESS = f"127.77.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
FREE = ADDRESS.replace("127.77", "127.78")
PORTS = (8883, 5671, 443)


def why_not():
    for port in PORTS:
        try:
            socket.create_server((ADDRESS, port)).close()
        except OSError as error:
            return f"{ADDRESS}:{port} cannot be opened here: {error.strerror}"
    return ""


needs_ports = pytest.mark.skipif(bool(why_not()), reason=why_not() or "possible")


@pytest.fixture(scope="module")
def simulator():
    with Simulator(standard_ports=True, bind=ADDRESS, pace="instant") as simulator:
        keys = {"primaryKey": KEY, "secondaryKey": KEY}
        body = {"registrationId": "thermostat-1", "attestation": {"type": "symmetricKey", "symmetricKey": keys}}
        simulator.call(
            lambda runtime: runtime.services.provisioning.enrollments.of(INDIVIDUAL).put("thermostat-1", body, None)
        )
        yield simulator


@pytest.fixture
def hosts_file(monkeypatch):
    """What the line ``127.77.x.y  every.simulated.name`` in the hosts file does."""
    ask = socket.getaddrinfo

    def answer(host, *arguments, **keywords):
        return ask(ADDRESS if str(host).endswith(".test") else host, *arguments, **keywords)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@needs_ports
@pytest.mark.sdk
@pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning")
@pytest.mark.parametrize("websockets", [False, True], ids=["8883", "443"])
def test_the_sdk_finds_its_way_by_name(simulator, hosts_file, websockets):
    running = simulator.running
    assert running.standard_ports == PORTS
    # nothing but what every private cloud needs: whom to trust
    options = {"server_verification_cert": running.certificate_authority(), "websockets": websockets}
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        running.provisioning_host, "thermostat-1", running.id_scope, KEY, **options
    )
    state = client.register().registration_state
    device = IoTHubDeviceClient.create_from_symmetric_key(KEY, state.assigned_hub, state.device_id, **options)
    device.connect()
    device.send_message("21.5")
    device.shutdown()
    session = requests.Session()
    session.trust_env, session.verify = False, str(running.certificate_authority_file)
    with session:
        hub = running.hubs[0]
        fields = dict(part.split("=", 1) for part in hub.connection_string.split(";"))
        key = sas.decode_key(fields["SharedAccessKey"])
        token = sas.sign(hub.host, key, int(time.time()) + 600, fields["SharedAccessKeyName"])
        answer = session.get(
            f"https://{hub.host}/devices/thermostat-1?api-version=2021-04-12",
            headers={"Authorization": token},
            timeout=PATIENCE,
        )
        assert (answer.status_code, answer.json()["deviceId"]) == (200, "thermostat-1")
    transports = {event.protocol for event in simulator.trace() if event.operation == "telemetry"}
    assert ("websocket" if websockets else "mqtt") in transports


@needs_ports
def test_a_device_that_sends_no_server_name_is_known_by_its_user_name(simulator):
    running = simulator.running
    context = ssl.create_default_context(cafile=str(running.certificate_authority_file))
    plain = socket.create_connection((ADDRESS, 8883), timeout=PATIENCE)
    # an address is no server name, so none is sent; the certificate stands for the address
    with context.wrap_socket(plain, server_hostname=ADDRESS) as connection:
        name = f"{running.id_scope}/registrations/thermostat-1"
        token = sas.sign(name, KEY_BYTES, int(time.time()) + 600)
        connection.sendall(wire.connect_packet("thermostat-1", f"{name}/api-version=2019-03-31", token))
        assert connection.recv(4) == b"\x20\x02\x00\x00"
        connection.sendall(b"\xe0\x00")
    events = [event for event in simulator.trace() if event.operation == "connect" and event.device == "thermostat-1"]
    assert events[-1].service == "provisioning"


@needs_ports
def test_the_ready_line_names_them():
    with Served("--bind", FREE, "--standard-ports") as served:
        assert f"on {FREE} the proxy has port" in served.line
        assert " and 8883 and 5671 and 443; trust" in served.line
        assert served.stop() == (0, "", "")
    with Served("--json", "--bind", FREE, env=environment(DPS_SIMULATOR_STANDARD_PORTS="true")) as served:
        assert served.ready["standard_ports"] == [8883, 5671, 443]
        assert served.ready["address"] == FREE
        assert served.stop() == (0, "", "")


@needs_ports
@pytest.mark.parametrize("port", PORTS)
def test_a_taken_one_is_named_and_nothing_stays_open(port):
    with socket.create_server((FREE, port)):
        with pytest.raises(SimulatorError, match=f"port {port} on {FREE} is taken by another program"):
            Simulator(standard_ports=True, bind=FREE).start()
        if port == 443:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((FREE, 8883))


@needs_ports
def test_one_of_them_may_be_the_direct_port():
    with Simulator(standard_ports=True, bind=FREE, tls_port=8883) as simulator:
        assert simulator.running.tls_port == 8883


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv, to give up the right to low ports")
def test_without_the_right_to_low_ports():
    if os.geteuid() != 0:
        prefix = []
    else:
        prefix = ["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"]
    probe = f"import socket; socket.create_server(({FREE!r}, 443))"
    python = COMMAND[0]
    tried = subprocess.run([*prefix, python, "-c", probe], capture_output=True, text=True, check=False)
    if "PermissionError" not in tried.stderr:
        pytest.skip("this machine lets everybody open low ports")
    result = subprocess.run(
        [*prefix, *COMMAND, "serve", "--standard-ports", "--bind", FREE],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: The standard port 443 on {FREE} needs privileges. ")
    assert len(result.stderr.splitlines()) == 1
