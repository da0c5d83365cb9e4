"""A simulator that is killed in the middle of its work has lost nothing that it acknowledged."""

import json
import signal
import subprocess
import sys
import threading

import psutil
import pytest
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient
from patience import PATIENCE, wait_until
from sdk_clients import KEY, Https, device_options, shut_down

from dps_simulator.process import launcher
from dps_simulator.process.address import read
from helpers import certificates

AUTHENTICATION = {"type": "sas", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}}
KEYS = {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}}
CERTIFICATE = certificates.create_root("Root that outlives a kill").certificate_base64
#: What a writer has done at least when the simulator is killed.
ROUNDS = 3
#: How many of the latest changes of each writer are looked for: those that a kill could have lost.
LATEST = 60


class Process:
    """A simulator in a process of its own."""

    def __init__(self, state):
        command = [sys.executable, "-m", "dps_simulator", "serve", "--json", "--state", str(state)]
        self.process = subprocess.Popen([*command, "--pace", "instant"], stdout=subprocess.PIPE, text=True)
        assert json.loads(self.process.stdout.readline())["ready"] is True
        self.running = read(state)
        self.hub = self.running.hubs[0]

    def end(self, number):
        self.process.send_signal(number)
        self.process.wait(timeout=PATIENCE)
        self.process.stdout.close()


class Writer(threading.Thread):
    """Changes things one after the other until the simulator is gone, and knows what was acknowledged.

    Arguments:
        simulator: where.
        change: does one round; gets a client, this writer and the number of the round.
    """

    def __init__(self, simulator, change):
        super().__init__(daemon=True)
        self._simulator, self._change = simulator, change
        self.rounds = 0
        self.kept, self.failure, self.killed = {}, None, threading.Event()

    def run(self):
        client = Https(self._simulator.running)
        with client.session:
            try:
                # a registration with the SDK would wait for half a minute whether somebody comes back
                while not self.killed.is_set() and (self._change is not register or self.rounds < ROUNDS):
                    self._change(client, self, self.rounds)
                    self.rounds += 1
            except Exception as error:  # whatever clients make of a dying simulator
                if not self.killed.is_set():
                    self.failure = error

    def acknowledged(self, thing, endpoint, path, expected=True, look=lambda answer: answer is not None):
        """Keep what was acknowledged: where it is found, and what must be seen there."""
        self.kept.pop(thing, None)  # the latest stand last
        self.kept[thing] = endpoint, path, expected, look

    def about_to_change(self, *things):
        """From here to the next acknowledgement, both may be true: what was, and what is to come."""
        for thing in things:
            self.kept.pop(thing, None)

    def check(self, client):
        for thing, (endpoint, path, expected, look) in list(self.kept.items())[-LATEST:]:
            assert (thing, look(getattr(client, endpoint)("GET", path))) == (thing, expected)


def shown(answer):
    return answer


def registry(client, writer, number):
    name = f"device-{number}"
    device, module, twin = f"/devices/{name}", f"/devices/{name}/modules/one", f"/twins/{name}"
    client.hub("PUT", device, {"deviceId": name})
    writer.acknowledged(device, "hub", device)
    client.hub("PUT", module, {"deviceId": name, "moduleId": "one"})
    writer.acknowledged(module, "hub", module)
    client.hub("PATCH", twin, {"tags": {"n": number}, "properties": {"desired": {"n": number}}})
    writer.acknowledged(
        twin, "hub", twin, [number] * 2, lambda twin: [twin["tags"]["n"], twin["properties"]["desired"]["n"]]
    )
    renewed = client.hub("POST", "/devices/keys/regenerate", {"policyKey": "primaryKey", "devices": [{"id": name}]})
    key = renewed["rotatedKeys"][0]["primaryKey"]
    writer.acknowledged(
        f"key of {name}", "hub", device, key, lambda device: device["authentication"]["symmetricKey"]["primaryKey"]
    )
    if number % 2:
        writer.about_to_change(device, module, twin, f"key of {name}")
        client.hub("DELETE", device)
        for path in (device, module, twin):
            writer.acknowledged(path, "hub", path, None, shown)


def messages(client, writer, number):
    device = f"/devices/box-{number}"
    client.hub("PUT", device, {"deviceId": f"box-{number}"})
    for count in (1, 2):
        writer.about_to_change(device)
        client.control("POST", f"/hubs/{client.hub_host}{device}/messages", {"body": count})
        writer.acknowledged(device, "hub", device, count, lambda device: device["cloudToDeviceMessageCount"])
    if number % 2:
        writer.about_to_change(device)
        client.hub("DELETE", f"{device}/commands")
        writer.acknowledged(device, "hub", device, 0, lambda device: device["cloudToDeviceMessageCount"])


def enrollments(client, writer, number):
    name, etag = f"one-{number}", lambda answer: answer["etag"]
    one, group, registration = f"/enrollments/{name}", f"/enrollmentGroups/all-{number}", f"/registrations/{name}"
    # others link more hubs meanwhile
    place = {"allocationPolicy": "static", "iotHubs": [client.hub_host]}
    answer = client.service("PUT", one, {"registrationId": name, "attestation": KEYS, **place})
    writer.acknowledged(one, "service", one, answer["etag"], etag)
    answer = client.service("PUT", group, {"enrollmentGroupId": f"all-{number}", "attestation": KEYS})
    writer.acknowledged(group, "service", group, answer["etag"], etag)
    operation = client.device("PUT", name, "register", {"registrationId": name})["operationId"]
    state = client.device("GET", name, f"operations/{operation}", None)["registrationState"]
    writer.acknowledged(registration, "service", registration, state["etag"], etag)
    writer.acknowledged(f"device of {name}", "hub", f"/devices/{name}")
    bulk = [{"registrationId": f"{name}-{each}", "attestation": KEYS} for each in range(3)]
    client.service("POST", "/enrollments", {"mode": "create", "enrollments": bulk})
    for each in range(3):
        writer.acknowledged(f"{one}-{each}", "service", f"{one}-{each}")
    if number % 2:
        for path in (registration, one, group):
            writer.about_to_change(path)
            client.service("DELETE", path)
            writer.acknowledged(path, "service", path, None, shown)


def resources(client, writer, number):
    certificate, policy, hub = f"/certificates/ca-{number}", f"policy-{number}", f"hub-{number}.azure-devices.test"
    client.resource("PUT", certificate, {"properties": {"certificate": CERTIFICATE, "isVerified": True}})
    writer.acknowledged(certificate, "resource", certificate)
    service = client.resource("GET")
    service["properties"] = {"authorizationPolicies": [client.policy("GET", "provisioningserviceowner")]}
    service["tags"] = {"n": policy}
    service["properties"]["authorizationPolicies"].append({"keyName": policy, "rights": "ServiceConfig"})
    writer.about_to_change("policies", "tags")
    client.resource("PUT", "", service)
    writer.acknowledged("policies", "policy", policy)
    writer.acknowledged("tags", "resource", "", policy, lambda service: service["tags"]["n"])
    client.control("PUT", f"/hubs/{hub}", {"allocationWeight": 7})
    linked = client.linked_hub("GET", hub)
    assert (linked["linked"], linked["allocationWeight"]) == (True, 7)
    writer.acknowledged(hub, "linked_hub", hub, linked, shown)
    if number % 2:
        writer.about_to_change(certificate, hub)
        client.resource("DELETE", certificate)
        writer.acknowledged(certificate, "resource", certificate, None, shown)
        client.control("PUT", f"/hubs/{hub}", {"linked": False})
        writer.acknowledged(hub, "linked_hub", hub, {"host": hub, "linked": False}, shown)
    if number >= 10:
        former = f"hub-{number - 10}.azure-devices.test"
        writer.about_to_change(former)
        client.control("DELETE", f"/hubs/{former}")
        writer.acknowledged(former, "linked_hub", former, None, shown)


class Reporter:
    """Reports properties with the official SDK: those whose acknowledgement it waited for must be there."""

    def __init__(self, simulator, name="reporter"):
        options = {"connection_retry": False, **device_options(simulator.running)}
        self.device = IoTHubDeviceClient.create_from_symmetric_key(KEY, simulator.hub.host, name, **options)

    def __call__(self, client, writer, number):
        writer.about_to_change("reported")
        self.device.patch_twin_reported_properties({"n": number})
        writer.acknowledged(
            "reported", "hub", "/twins/reporter", number, lambda twin: twin["properties"]["reported"]["n"]
        )


def register(client, writer, number):
    name = f"registered-{number}"
    client.service("PUT", f"/enrollments/{name}", {"registrationId": name, "attestation": KEYS})
    sdk = ProvisioningDeviceClient.create_from_symmetric_key(
        client.running.provisioning_host, name, client.running.id_scope, KEY, **device_options(client.running)
    )
    etag = sdk.register().registration_state.etag
    writer.acknowledged(name, "service", f"/registrations/{name}", etag, lambda answer: answer["etag"])


@pytest.mark.sdk
# the SDK's background threads complain when their connection dies under them
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nothing_acknowledged_is_lost(tmp_path):
    simulator = Process(tmp_path / "state")
    client = Https(simulator.running)
    with client.session:
        client.hub("PUT", "/devices/reporter", {"deviceId": "reporter", "authentication": AUTHENTICATION})
    reporter = Reporter(simulator)
    changes = (registry, messages, enrollments, resources, register, reporter)
    writers = [Writer(simulator, change) for change in changes]
    for writer in writers:
        writer.start()
    try:
        wait_until(
            lambda: all(writer.rounds >= ROUNDS or writer.failure for writer in writers),
            lambda: [w.rounds for w in writers],
        )
    finally:
        for writer in writers:
            writer.killed.set()
        simulator.end(signal.SIGKILL)
        shut_down(reporter.device, writers[-1])
    for writer in writers:
        writer.join(timeout=PATIENCE)
        assert (writer.is_alive(), writer.failure) == (False, None)

    again = Process(tmp_path / "state")
    try:
        assert again.running.service_connection_string == simulator.running.service_connection_string
        client = Https(again.running)
        with client.session:
            for writer in writers:
                writer.check(client)
    finally:
        again.end(signal.SIGTERM)
    assert again.process.returncode == 0


@pytest.mark.sdk
def test_whoever_calls_while_it_is_stopped_is_answered_when_it_goes_on(tmp_path):
    simulator = Process(tmp_path / "state")
    device = Reporter(simulator, "stopped").device
    answered = {}

    def ask(name, function, *arguments, **options):
        thread = threading.Thread(target=lambda: answered.update({name: function(*arguments, **options)}), daemon=True)
        thread.start()
        return thread

    try:
        client = Https(simulator.running)
        with client.session:
            client.hub("PUT", "/devices/stopped", {"deviceId": "stopped", "authentication": AUTHENTICATION})
            device.connect()
            process = psutil.Process(simulator.process.pid)
            for number in range(3):
                process.suspend()
                wait_until(lambda: process.status() == psutil.STATUS_STOPPED)
                waiting = [
                    ask("reported", device.patch_twin_reported_properties, {"n": number}),
                    ask("told", device.send_message, str(number)),
                    ask("kept alive", client.hub, "GET", "/devices/stopped"),
                    ask("new", launcher.manage, simulator.running, "GET", "/health", timeout=PATIENCE),
                ]
                assert answered == {}
                process.resume()
                for thread in waiting:
                    thread.join(PATIENCE)
                assert set(answered) == {"reported", "told", "kept alive", "new"}
                answered.clear()
                assert client.hub("GET", "/twins/stopped")["properties"]["reported"]["n"] == number
            told = client.control("GET", f"/hubs/{simulator.hub.host}/telemetry")["messages"]
            assert [each["body"] for each in told] == [0, 1, 2]
            assert device.connected
    finally:
        device.shutdown()
        simulator.end(signal.SIGTERM)
    assert simulator.process.returncode == 0
