"""The simulator inside one's own process: starting, stopping, calling, resetting; its own certificate; its secrets."""

import asyncio
import base64
import datetime
import gc
import http.client
import json
import logging
import os
import re
import socket
import ssl
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cryptography_vectors
import pytest
import requests
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient, ProxyOptions
from azure.iot.device import exceptions as device_errors
from azure.iot.deviceprovisioning import DeviceProvisioningClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from own_ports import own_port
from patience import PATIENCE, wait_until
from simulator_processes import Served, command, environment

from benchmarks import wire
from dps_simulator import (
    CloudToDeviceMessage,
    ManualClock,
    Settings,
    SettingsError,
    Simulator,
    SimulatorError,
    StoreError,
    TlsFiles,
)
from dps_simulator.credentials import sas
from dps_simulator.errors.table import ServiceError
from dps_simulator.process import launcher
from dps_simulator.process.store import Store
from dps_simulator.provisioning.enrollments.kinds import INDIVIDUAL
from dps_simulator.runtime import SimulatorRuntime, version
from dps_simulator.settings.own_certificate import OwnCertificateError, check
from dps_simulator.settings.settings import HubSettings, Policy

KEY_BYTES = b"NOT-A-SECRET-PRIMARY-KEY-32-BYTES"
KEY = base64.b64encode(KEY_BYTES).decode()
DPS = "global.azure-devices-provisioning.test"
HUB = "contoso-hub-1.azure-devices.test"


def threads():
    return {thread for thread in threading.enumerate() if thread.name == "dps-simulator"}


@pytest.fixture(autouse=True)
def _no_thread_stays():
    before = threads()
    yield
    assert threads() <= before


@pytest.fixture
def others():
    """Threads of simulators that run for other tests, such as that of the session."""
    return threads()


def enroll(simulator, name="thermostat-1"):
    keys = {"primaryKey": KEY, "secondaryKey": KEY}
    body = {"registrationId": name, "attestation": {"type": "symmetricKey", "symmetricKey": keys}}
    simulator.call(lambda runtime: runtime.services.provisioning.enrollments.of(INDIVIDUAL).put(name, body, None))


def trusting(running):
    return ssl.create_default_context(cafile=str(running.certificate_authority_file))


def register(simulator, name="thermostat-1"):
    running = simulator.running
    wire.register(running.tls_port, trusting(running), running.provisioning_host, running.id_scope, name, KEY_BYTES)


def connect(simulator, name="thermostat-1", host=HUB):
    """A live connection of a device to its hub."""
    running = simulator.running
    token = sas.sign(f"{host}/devices/{name}", KEY_BYTES, int(time.time()) + 600)
    connection = wire.Wire(running.tls_port, trusting(running), host)
    if connection.ask(wire.connect_packet(name, f"{host}/{name}/?api-version=2019-10-01", token))[-1]:
        connection.abandon()
        raise ConnectionRefusedError(name)
    return connection


class TestStartingAndStopping:
    def test_a_block(self, others):
        with Simulator(pace="instant") as simulator:
            running = simulator.running
            folder = running.certificate_authority_file.parent
            assert running.process_id == os.getpid()
            assert (folder.stat().st_mode & 0o777, (folder / "endpoint.json").stat().st_mode & 0o777) == (0o700, 0o600)
            enroll(simulator)
            register(simulator)
        assert not folder.exists()
        assert threads() == others
        for port in (running.proxy_port, running.tls_port):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))

    def test_starting_twice_is_refused_and_stopping_twice_is_fine(self, others):
        simulator = Simulator()
        simulator.stop()
        assert simulator.start() is simulator
        with pytest.raises(RuntimeError, match="started already"):
            simulator.start()
        simulator.stop()
        simulator.stop()
        with simulator:
            assert simulator.pace == "azure"
        assert threads() == others

    @pytest.mark.parametrize("use", [lambda s: s.running, lambda s: s.reset(), lambda s: s.trace(), lambda s: s.pace])
    def test_what_needs_a_running_one_says_so(self, use):
        simulator = Simulator()
        with pytest.raises(RuntimeError, match="not running; use it inside its with block"):
            use(simulator)
        with simulator:
            use(simulator)
        with pytest.raises(RuntimeError, match="not running"):
            use(simulator)

    def test_a_failed_start_leaves_nothing_and_may_be_repeated(self, tmp_path, others):
        port = own_port()
        with socket.create_server(("127.0.0.1", port)):
            simulator = Simulator(tls_port=port, state=tmp_path)
            with pytest.raises(SimulatorError, match=f"port {port} on 127.0.0.1 is taken"):
                simulator.start()
            assert threads() == others
            simulator.stop()
        with simulator:
            assert simulator.running.tls_port == port

    def test_previous_ports_that_are_taken_are_replaced(self, tmp_path):
        with Simulator(state=tmp_path) as simulator:
            before = simulator.running
        with socket.create_server(("127.0.0.1", before.tls_port)), Simulator(state=tmp_path) as simulator:
            assert simulator.running.tls_port != before.tls_port
            after = simulator.running
        with Simulator(state=tmp_path) as simulator:
            assert simulator.running.tls_port == after.tls_port

    def test_an_error_inside_the_block_stops_it_too(self, others):
        with pytest.raises(ZeroDivisionError), Simulator():
            raise ZeroDivisionError
        assert threads() == others

    def test_an_error_while_it_runs_comes_out_at_the_end(self, monkeypatch, others):
        started = threading.Event()

        async def broken(_):
            # one that breaks before start() has returned is told by start() itself
            await asyncio.to_thread(started.wait, PATIENCE)
            raise ZeroDivisionError("while running")

        monkeypatch.setattr(SimulatorRuntime, "run_until_stopped", broken)
        simulator = Simulator().start()
        started.set()
        with pytest.raises(ZeroDivisionError, match="while running"):
            simulator.stop()
        simulator.stop()
        assert threads() == others

    def test_several_side_by_side(self):
        with Simulator(pace="instant") as first, Simulator() as second:
            enroll(first)
            register(first)
            assert not second.call(lambda runtime: runtime.hubs.find(HUB).has_device("thermostat-1"))
            one, other = first.running, second.running
            assert len({one.proxy_port, one.tls_port, other.proxy_port, other.tls_port}) == 4
            assert one.service_connection_string != other.service_connection_string
            # neither trusts the other
            with pytest.raises(ssl.SSLCertVerificationError):
                wire.Wire(one.tls_port, trusting(other), DPS)

    def test_idleness_ends_it(self, caplog, monkeypatch):
        from dps_simulator import runtime

        stands, looks = [time.monotonic()], []

        def now():
            looks.append(None)
            return stands[0] if stands else time.monotonic()

        # until somebody is connected, no time passes
        monkeypatch.setattr(runtime, "time", SimpleNamespace(monotonic=now))
        with caplog.at_level(logging.INFO), Simulator(idle_stop=0.2) as simulator:
            running = simulator.running
            connection = wire.Wire(running.tls_port, trusting(running), DPS)
            # as long as somebody is connected it goes on
            stands.clear()
            looked = len(looks)
            wait_until(lambda: len(looks) > looked + 2, "a look after the time was over")
            assert simulator.pace == "azure"
            connection.abandon()
            simulator._thread.join(PATIENCE)
            with pytest.raises(RuntimeError, match="not running"):
                simulator.call(lambda _: None)
        assert "nobody has called for 0.2 seconds" in caplog.text

    def test_settings_are_checked_when_it_is_made(self):
        with pytest.raises(SettingsError, match=r"pace: 'slow'"):
            Simulator(pace="slow")
        with pytest.raises(TypeError, match="colour"):
            Simulator(colour="red")
        assert Simulator(Settings(pace="instant"), id_scope="0neX")._settings == Settings(
            pace="instant", id_scope="0neX"
        )

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"id_scope": ""}, "id_scope: ''"),
            ({"pace": None}, "pace: None"),
            ({"provisioning_host": "127.0.0.1"}, "provisioning_host: '127.0.0.1' is an IP address"),
            ({"service_host": "x"}, "service_host: 'x'"),
            ({"service_policy": Policy("a b")}, "service_policy, policy name: 'a b'"),
            ({"service_policy": Policy("a", "short")}, "service_policy, policy key: a key is not base64"),
            ({"hubs": (HubSettings("h"),)}, "hubs, 1, host: 'h'"),
            ({"hubs": (HubSettings("h.test", Policy("x", "YQ==")),)}, "hubs, 1, policy key: a key has 1 bytes"),
            ({"hubs": tuple(HubSettings(f"h{n}.test") for n in range(101))}, "hubs has 101 entries"),
            ({"hubs": (HubSettings("A.test"), HubSettings("a.test"))}, "a.test is used more than once"),
            ({"management_host": "x"}, "management_host: 'x'"),
            ({"management_host": "MyDPS.azure-devices-provisioning.test"}, "is used more than once"),
            ({"bind": "here"}, "bind: 'here'"),
            ({"bind": "::"}, "bind: :: would let other machines in"),
            ({"proxy_port": 65_536}, "proxy_port: 65536"),
            ({"tls_port": True}, "tls_port: True"),
            ({"idle_stop": -0.5}, "idle_stop: -0.5"),
            ({"idle_stop": float("nan")}, "idle_stop: nan"),
            ({"state": ""}, "state: a path is empty"),
            ({"state": "a\0b"}, "state: 'a\\x00b'"),
        ],
    )
    def test_wrong_settings_are_named(self, changes, said):
        with pytest.raises(SettingsError, match=re.escape(said)):
            Settings(**changes)

    def test_settings_are_brought_into_one_form(self):
        settings = Settings(provisioning_host="DPS.Test.", hubs=(HubSettings("Hub.Test"),), state="folder")
        assert (settings.provisioning_host, settings.hubs[0].host) == ("dps.test", "hub.test")
        assert settings.state == Path("folder")

    def test_the_version_without_an_installation(self, monkeypatch):
        from dps_simulator import runtime

        def missing(name):
            raise runtime.metadata.PackageNotFoundError(name)

        monkeypatch.setattr(runtime.metadata, "version", missing)
        version.cache_clear()
        assert version() == "0"
        version.cache_clear()


class TestCalling:
    def test_results_and_errors_come_back(self):
        with Simulator() as simulator:
            assert simulator.call(lambda runtime: runtime.pace) == "azure"
            for error in (ZeroDivisionError("mine"), TimeoutError("mine"), KeyboardInterrupt("mine")):

                def fail(_, error=error):
                    raise error

                with pytest.raises(type(error), match="mine"):
                    simulator.call(fail)
            assert simulator.pace == "azure"

    def test_it_runs_on_the_simulator_s_thread_also_from_there(self):
        with Simulator() as simulator:
            outer = simulator.call(lambda _: threading.current_thread())
            assert outer.name == "dps-simulator"
            assert simulator.call(lambda _: simulator.call(lambda _: threading.current_thread())) is outer

    def test_pace(self):
        with Simulator() as simulator:
            simulator.pace = "polls=2"
            assert simulator.pace == "polls=2"
            with pytest.raises(ValueError, match="slow"):
                simulator.pace = "slow"

    def test_a_clock_of_one_s_own(self):
        clock = ManualClock(datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc))
        with Simulator(clock=clock) as simulator:
            simulator.call(lambda runtime: runtime.connection_refused("x.test", "for the test"))
            assert simulator.trace()[0].time == "2030-01-01T00:00:00Z"
            assert simulator.trace(after=1) == []

    def test_a_call_that_the_end_overtakes_is_not_waited_for(self, monkeypatch):
        simulator = Simulator().start()
        loop = simulator._loop
        # what was asked after the last turn of the loop is never done
        monkeypatch.setattr(simulator, "_loop", type("Deaf", (), {"call_soon_threadsafe": lambda *_: None})())
        loop.call_soon_threadsafe(simulator._runtime.stopping.set)
        with pytest.raises(RuntimeError, match="not running"):
            simulator.call(lambda _: None)
        simulator.stop()


class TestHubs:
    def test_a_new_hub_is_there_at_once_and_remembered(self, tmp_path):
        second = "contoso-hub-2.azure-devices.test"
        with Simulator(state=tmp_path, pace="instant") as simulator:
            simulator.link_hub(second)
            first = simulator.running
            assert json.loads((tmp_path / "endpoint.json").read_text())["hubs"][1]["host"] == second
            # devices get to it through the proxy and by its own name
            for port, target in ((first.proxy_port, second), (first.tls_port, None)):
                connection = http.client.HTTPSConnection("127.0.0.1", port, context=trusting(first), timeout=PATIENCE)
                if target:
                    connection.set_tunnel(target, 443)
                    connection.request("GET", "/devices/x?api-version=2021-04-12")
                    assert connection.getresponse().status == 401
                connection.close()
        with Simulator(state=tmp_path) as simulator:
            assert simulator.running.hubs == first.hubs
            assert simulator.remove_hub(second) is True
            assert simulator.remove_hub(second) is False
        with Simulator(state=tmp_path) as simulator:
            assert [hub.host for hub in simulator.running.hubs] == [HUB]

    def test_a_removed_hub_drops_its_devices(self, device_on_a_linked_hub):
        simulator, host, connection = device_on_a_linked_hub
        assert simulator.remove_hub(host)
        assert connection._stream.read(1) == b""
        connection.abandon()

    @pytest.fixture
    def device_on_a_linked_hub(self):
        host = "contoso-hub-2.azure-devices.test"
        with Simulator(pace="instant") as simulator:
            simulator.link_hub(host)
            keys = {"primaryKey": KEY, "secondaryKey": KEY}
            body = {"deviceId": "thermostat-1", "authentication": {"type": "sas", "symmetricKey": keys}}
            simulator.call(lambda runtime: runtime.hubs.find(host).put_device("thermostat-1", body))
            yield simulator, host, connect(simulator, host=host)


def test_reset_forgets_everything_and_drops_live_connections():
    with Simulator(pace="instant") as simulator:
        enroll(simulator)
        register(simulator)
        before = simulator.running
        connection = connect(simulator)
        simulator.reset()
        # the connection ends without a word, as MQTT 3.1.1 has none
        assert connection._stream.read(1) == b""
        connection.abandon()
        assert simulator.running == before
        assert [event for event in simulator.trace() if event.status is not None] == []
        enrollments = simulator.call(lambda runtime: runtime.services.provisioning.enrollments.of(INDIVIDUAL))
        assert simulator.call(lambda _: enrollments.find("thermostat-1")) is None
        assert simulator.call(lambda runtime: runtime.hubs.find(HUB).devices()) == []
        with pytest.raises(ConnectionRefusedError):
            connect(simulator)
        enroll(simulator)
        register(simulator)


def test_requests_that_no_service_is_there_for():
    with Simulator() as simulator:
        running = simulator.running
        for host, status, words in (
            (running.provisioning_host, 404, "GET /x is not supported by this simulator"),
            ("stranger.test", 404, "'stranger.test' is not simulated here; simulated are global.azure"),
        ):
            # the name that TLS asks for is not checked here: a client that does not care gets an answer that helps
            context = trusting(running)
            context.check_hostname = False
            plain = socket.create_connection(("127.0.0.1", running.tls_port), timeout=PATIENCE)
            with context.wrap_socket(plain, server_hostname=host) as connection:
                connection.sendall(f"GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                answer = connection.makefile("rb").read()
            assert int(answer.split()[1]) == status
            assert words in answer.decode()
            event = simulator.trace()[-1]
            assert (event.host, event.operation, event.status) == (host, "GET /x", status)


def test_a_start_that_fails_is_told_once(tmp_path, monkeypatch, caplog):
    original = Store.__init__

    def refuse(store, *arguments):
        original(store, *arguments)
        store.rows("PRAGMA query_only=1", ())

    monkeypatch.setattr(Store, "__init__", refuse)
    with pytest.raises(StoreError, match="is read-only"), Simulator(state=tmp_path / "state"):
        pass
    assert caplog.text == ""


def test_devices_that_no_service_is_there_for():
    with Simulator() as simulator:
        running = simulator.running
        connection = wire.Wire(running.tls_port, trusting(running), running.management_host)
        answer = connection.ask(wire.connect_packet("thermostat-1", f"{HUB}/thermostat-1", "x"))
        # CONNACK, not authorized
        assert answer == b"\x20\x02\x00\x05"
        connection.abandon()
        assert "no device endpoint has the host name" in simulator.trace()[-1].detail["reason"]


class TestBind:
    def test_another_loopback_address(self, tmp_path):
        address = "127.0.0.77"
        try:
            socket.create_server((address, 0)).close()
        except OSError:
            pytest.skip(f"this machine does not have {address}")
        with Simulator(bind=address, state=tmp_path) as simulator:
            running = simulator.running
            assert running.proxy_url == f"http://{address}:{running.proxy_port}"
            assert running.management_url == f"https://{address}:{running.tls_port}/simulator"
            assert launcher.find(tmp_path) == running
            # its certificate stands for the address
            connection = http.client.HTTPSConnection(
                address, running.tls_port, context=trusting(running), timeout=PATIENCE
            )
            connection.request("GET", "/simulator/health")
            assert connection.getresponse().status == 401
            connection.close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", running.tls_port))

    @pytest.mark.parametrize(("bind", "reached"), [("0.0.0.0", "127.0.0.1"), ("::1", "::1"), ("::", "::1")])  # noqa: S104
    def test_all_addresses_and_version_6(self, tmp_path, bind, reached):
        try:
            with Simulator(bind=bind, allow_remote=True, state=tmp_path) as simulator:
                assert simulator.running.address == reached
                assert launcher.find(tmp_path) == simulator.running
        except SimulatorError as error:
            pytest.skip(str(error))


class Issued:
    """A certificate for a server, or an authority, and its files."""

    def __init__(self, folder, name, issuer=None, hosts=(), days=1):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        above = issuer or self
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(above.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=2))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=not hosts, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above.key.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(bool(hosts), False, False, False, False, not hosts, not hosts, False, False),
                critical=True,
            )
        )
        if hosts:
            names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        self.certificate = builder.sign(above.key, hashes.SHA256())
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)
        self.file, self.key_file = folder / f"{name}.pem", folder / f"{name}.key"
        self.file.write_bytes(self.pem)
        self.save_key()

    def save_key(self, encryption=None):
        self.key_file.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                encryption or serialization.NoEncryption(),
            )
        )


@pytest.fixture
def root(tmp_path):
    return Issued(tmp_path, "root")


@pytest.fixture
def server(tmp_path, root):
    """A server certificate with its chain: server, intermediate."""
    intermediate = Issued(tmp_path, "intermediate", root)
    hosts = [DPS, "*.azure-devices-provisioning.test", "*.azure-devices.test"]
    issued = Issued(tmp_path, "server", intermediate, hosts)
    issued.file.write_bytes(issued.pem + intermediate.pem)
    return issued


class TestOwnCertificate:
    def test_it_is_served_and_its_authority_is_what_clients_trust(self, tmp_path, server, root, caplog):
        state = tmp_path / "state"
        tls = TlsFiles(server.file, server.key_file, root.file)
        with Simulator(tls=tls, state=state, pace="instant") as simulator:
            running = simulator.running
            assert running.certificate_authority() == root.pem.decode()
            enroll(simulator)
            register(simulator)
            # the management API is found although the certificate does not stand for 127.0.0.1
            assert launcher.find(state) == running
            assert not (state / "server.key").exists()
        assert caplog.records == []

    def test_without_an_authority_the_certificate_itself_is_trusted(self, tmp_path, server, monkeypatch):
        # relative paths are meant from here, although the simulator has another working directory
        monkeypatch.chdir(tmp_path)
        state = tmp_path / "state"
        settings = {
            "DPS_SIMULATOR_TLS_CERTIFICATE": "server.pem",
            "DPS_SIMULATOR_TLS_KEY": "server.key",
        }
        running = launcher.ensure_running(state, settings=settings)
        assert running.certificate_authority_file == server.file
        assert launcher.stop(state)

    def test_the_endpoint_file_stays_in_the_state_folder(self, tmp_path, server, root):
        file = tmp_path / "simulator.toml"
        file.write_text(
            'state = "state"\n[tls]\ncertificate = "server.pem"\nkey = "server.key"\nauthority = "root.pem"\n'
        )
        with Served("--json", "--config", file, env=environment(), cwd="/") as served:
            assert served.ready["endpoint_file"] == str(tmp_path / "state" / "endpoint.json")
            assert served.ready["certificate_authority_file"] == str(root.file)
            assert served.running.tls_port == served.ready["tls_port"]
            assert served.stop() == (0, "", "")

    def test_what_cannot_be_served_is_refused_before_a_port_opens(self, tmp_path, server, root, monkeypatch):
        started = []
        monkeypatch.setattr(socket.socket, "bind", lambda *_: started.append(1))

        def refused(certificate=server.file, key=server.key_file, authority=None):
            simulator = Simulator(tls=TlsFiles(certificate, key, authority))
            with pytest.raises(SimulatorError) as caught:
                simulator.start()
            assert started == []
            return str(caught.value)

        nothing = tmp_path / "nothing.pem"
        assert "nothing.pem cannot be read (No such file or directory)" in refused(certificate=nothing)
        assert "nothing.pem cannot be read" in refused(key=nothing)
        assert "nothing.pem cannot be read" in refused(authority=nothing)
        assert "server.key is not a readable certificate" in refused(certificate=server.key_file)
        assert "server.pem is not a readable private key" in refused(key=server.file)
        assert "root.key does not belong to the certificate" in refused(key=root.key_file)
        upside_down = tmp_path / "upside-down.pem"
        upside_down.write_bytes(root.pem + server.pem)
        assert "does not begin with the certificate of the key" in refused(certificate=upside_down)
        # OpenSSL would ask for the password at the terminal
        server.save_key(serialization.BestAvailableEncryption(b"NOT-A-SECRET"))
        assert "server.key has a password" in refused()

    def test_the_command_line_says_the_same(self, tmp_path, server):
        result = command("serve", "--tls-certificate", server.file, "--tls-key", tmp_path / "no.key")
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == (
            f"error: The file {tmp_path / 'no.key'} cannot be read (No such file or directory). "
            "Correct tls in the settings.\n"
        )
        result = command("serve", "--tls-certificate", server.file)
        assert (result.returncode, result.stderr) == (2, "error: tls needs both certificate and key.\n")
        result = command("serve", "--tls-authority", server.file)
        assert result.returncode == 2

    def test_what_clients_will_refuse_is_said(self, tmp_path, root, caplog):
        now = datetime.datetime.now(datetime.timezone.utc)
        expired = Issued(tmp_path, "expired", root, [DPS], days=-1)
        check(TlsFiles(expired.file, expired.key_file), [DPS, HUB], now)
        assert "expired.pem: it has expired" in caplog.text
        assert f"it does not stand for {HUB}" in caplog.text
        assert DPS not in caplog.text
        caplog.clear()
        # a root of one's own as server certificate, which stands for no name at all
        check(TlsFiles(root.file, root.key_file), [DPS], now)
        assert f"it does not stand for {DPS}" in caplog.text

    def test_other_kinds_of_keys_do_not_fit_either(self, tmp_path, server):
        other = tmp_path / "other.key"
        other.write_bytes(
            ed25519.Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        now = datetime.datetime.now(datetime.timezone.utc)
        with pytest.raises(OwnCertificateError, match="does not belong"):
            check(TlsFiles(server.file, other), [], now)

    @pytest.mark.parametrize("which", ["file", "key_file"])
    def test_an_encoding_that_openssl_does_not_read_is_named(self, server, which):
        place = getattr(server, which)
        place.write_bytes(place.read_text().encode("utf-16"))
        with pytest.raises(OwnCertificateError, match=r"in PEM\. It is text in UTF-16; save it as ASCII"):
            check(TlsFiles(server.file, server.key_file), [], datetime.datetime.now(datetime.timezone.utc))

    def test_a_certificate_of_a_version_that_nobody_knows(self, tmp_path, server):
        strange = Path(cryptography_vectors.__file__).parent / "x509" / "custom" / "invalid_version.pem"
        with pytest.raises(OwnCertificateError, match="not a readable certificate"):
            check(TlsFiles(strange, server.key_file), [], datetime.datetime.now(datetime.timezone.utc))


class TestSecrets:
    """Keys that are known here go through everything that may go wrong, and come out nowhere."""

    @pytest.mark.sdk
    @pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning")
    def test_they_are_in_no_trace_log_output_or_exception(self, tmp_path, caplog, capfd):
        caplog.set_level(logging.DEBUG, "dps_simulator")
        service_key, hub_key, device_key, wrong_key = (base64.b64encode(os.urandom(32)).decode() for _ in range(4))
        errors = []

        def expect(error, function):
            with pytest.raises(error) as caught:
                function()
            cause = caught.value
            while cause is not None:
                errors.append(f"{cause!s} {cause!r}")
                cause = cause.__cause__

        simulator = Simulator(
            pace="instant",
            state=tmp_path,
            service_policy=Policy("provisioningserviceowner", service_key),
            hubs=(HubSettings(HUB, Policy("iothubowner", hub_key)),),
        )
        with simulator:
            running = simulator.running
            management_token = running.management_token

            def service(connection_string):
                session = requests.Session()
                session.trust_env, session.proxies = False, {"https": running.proxy_url}
                transport = RequestsTransport(
                    session=session, session_owner=True, connection_verify=str(running.certificate_authority_file)
                )
                return DeviceProvisioningClient.from_connection_string(
                    connection_string, transport=transport, retry_total=0
                )

            options = {
                "proxy_options": ProxyOptions("HTTP", "127.0.0.1", running.proxy_port),
                "server_verification_cert": running.certificate_authority(),
            }

            def provisioning(key, name="thermostat-1"):
                return ProvisioningDeviceClient.create_from_symmetric_key(
                    running.provisioning_host, name, running.id_scope, key, **options
                )

            keys = {"primaryKey": device_key, "secondaryKey": wrong_key[:-4] + "AAA="}
            body = {"registrationId": "thermostat-1", "attestation": {"type": "symmetricKey", "symmetricKey": keys}}
            with service(running.service_connection_string) as client:
                client.enrollment.create_or_update("thermostat-1", body)
                client.enrollment.get_attestation_mechanism("thermostat-1")
                broken = {"type": "symmetricKey", "symmetricKey": {**keys, "primaryKey": "§" + device_key}}
                other = {"registrationId": "other", "attestation": broken}
                expect(HttpResponseError, lambda: client.enrollment.create_or_update("other", other))
            wrong = running.service_connection_string.replace(service_key, wrong_key)
            with service(wrong) as client:
                expect(HttpResponseError, lambda: client.enrollment.get("thermostat-1"))
            provisioning(device_key).register()
            expect(device_errors.ClientError, lambda: provisioning(wrong_key).register())
            for key, fails in ((device_key, False), (wrong_key, True)):
                device = IoTHubDeviceClient.create_from_symmetric_key(key, HUB, "thermostat-1", **options)
                if fails:
                    expect(device_errors.ClientError, device.connect)
                else:
                    device.connect()
                    device.send_message("21.5")
                device.shutdown()
            stranger = replace(running, management_token="x")
            expect(launcher.LaunchError, lambda: launcher.manage(stranger, "GET", "/pace"))
            trace = json.dumps([event.to_json() for event in simulator.trace()])
            words = [trace, repr(running), repr(simulator._settings), json.dumps(running.public_json())]
        expect(SettingsError, lambda: Settings(service_policy=Policy("x", "§" + service_key)))
        out, err = capfd.readouterr()
        heap = "\n".join([*words, *errors, out, err, caplog.text])
        assert "thermostat-1" in trace
        assert "****" in trace
        for secret in (service_key, hub_key, device_key, wrong_key, management_token):
            # of a masked one the last four characters stay
            for length in (len(secret), 5 + secret.endswith("=")):
                assert secret[-length:] not in heap, f"{length} characters of a secret"
            assert secret[:12] not in heap
        for signature in re.findall(r"sig=([^&\s\"']+)", heap):
            assert re.fullmatch(r"\*{4}.{0,4}", signature)
        # the SDK leaves sockets to the garbage collector; they must not be found during somebody else's test
        del device
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        assert not re.search(r"SharedAccessKey=(?!\*{4})", heap)


def test_messages_from_and_to_devices():
    with Simulator() as simulator:
        simulator.call(lambda runtime: runtime.hubs.find(HUB).put_device("d", {}))
        sent = simulator.send_message("d", CloudToDeviceMessage(b"x"), HUB.upper())
        assert simulator.call(lambda runtime: runtime.hubs.find(HUB).cloud_to_device.waiting("d")) == 1
        assert sent.message.message_id
        assert simulator.telemetry() == simulator.telemetry(HUB) == []
        for function in (lambda: simulator.telemetry("other.test"), lambda: simulator.send_message("d", None, "other")):
            with pytest.raises(ValueError, match=f"there are {HUB}"):
                function()
        with pytest.raises(ServiceError, match="not registered"):
            simulator.send_message("e", CloudToDeviceMessage())


def test_messages_for_devices_survive_a_restart_and_no_reset(tmp_path):
    def waiting(runtime):
        return runtime.hubs.find(HUB).device("d")["cloudToDeviceMessageCount"]

    with Simulator(state=tmp_path / "state") as simulator:
        simulator.call(lambda runtime: runtime.hubs.find(HUB).put_device("d", {}))
        simulator.send_message("d", CloudToDeviceMessage(b"x"))
    with Simulator(state=tmp_path / "state") as simulator:
        assert simulator.call(waiting) == 1
        simulator.reset()
        simulator.call(lambda runtime: runtime.hubs.find(HUB).put_device("d", {}))
        assert simulator.call(waiting) == 0
