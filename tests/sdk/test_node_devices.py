"""Devices made of the official packages for Node, unmodified, over every transport that the simulator has.

They know no other ports than 8883, 5671 and 443, so the simulator listens there, on an address of this process alone.
"""

import json
import os

import pytest
from azure.iot.device import IoTHubDeviceClient
from node_packages import Node
from other_programs import skip
from sdk_clients import KEY, Sdk, derive

from dps_simulator import Simulator, SimulatorError
from dps_simulator.hub.cloud_to_device import CloudToDeviceMessage
from helpers import certificates
from helpers.tpm.commands import Tpm
from helpers.tpm.device import TpmDevice
from helpers.tpm.embedded.front import MicrosoftSimulatorFront
from helpers.tpm.embedded.tpm import SoftTpm

pytestmark = [pytest.mark.sdk, pytest.mark.clients]

ADDRESS = f"127.79.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
DEVICE = "pump-101"
TRANSPORTS = pytest.mark.parametrize("transport", ["mqtt", "mqtt-ws", "amqp", "amqp-ws", "https"])
KINDS = pytest.mark.parametrize(
    "kind",
    [
        "key of an individual",
        "key of a group",
        "certificate of an individual",
        "group by root",
        "group by intermediate",
    ],
)
#: How a transport is called in traces.
PROTOCOLS = {
    "mqtt": "mqtt",
    "mqtt-ws": "websocket",
    "amqp": "amqp",
    "amqp-ws": "amqp-websocket",
    "https": "https",
}
PACKAGES = {
    "azure-iot-device",
    "azure-iot-device-amqp",
    "azure-iot-device-http",
    "azure-iot-device-mqtt",
    "azure-iot-provisioning-device",
    "azure-iot-provisioning-device-amqp",
    "azure-iot-provisioning-device-http",
    "azure-iot-provisioning-device-mqtt",
    "azure-iot-security-symmetric-key",
    "azure-iot-security-tpm",
    "azure-iot-security-x509",
    "azure-iothub",
    "tss.js",
}


@pytest.fixture(scope="module")
def simulator():
    try:
        with Simulator(standard_ports=True, bind=ADDRESS, pace="instant") as simulator:
            yield simulator
    except SimulatorError as error:
        skip(str(error))


@pytest.fixture
def sdk(simulator):
    simulator.reset()
    clients = Sdk(simulator)
    yield clients
    clients.close()


@pytest.fixture
def node(repository, sdk):
    return Node(repository, sdk.running)


def x509(part, primary):
    return {"type": "x509", "x509": {part: {"primary": {"certificate": primary.certificate}}}}


def enrolled(sdk, kind):
    """Enroll the device in one of the ways; returns its credentials for the script."""
    if kind.startswith("key"):
        if kind.endswith("individual"):
            sdk.enroll(DEVICE)
            return {"registrationId": DEVICE, "key": KEY}
        sdk.enroll_group("pumps")
        return {"registrationId": DEVICE, "key": derive(KEY, DEVICE)}
    root = certificates.create_root("Contoso Root")
    line = root.issue_intermediate("Contoso Line")
    issued = line.issue_device(DEVICE)
    if kind.endswith("individual"):
        issued = certificates.create_self_signed(DEVICE)
        sdk.enroll(DEVICE, attestation=x509("clientCertificates", issued))
    else:
        sdk.upload("root", root)
        signing = root if kind.endswith("root") else line
        sdk.enroll_group("pumps", attestation=x509("signingCertificates", signing))
    return {"registrationId": DEVICE, "certificate": issued.chain, "certificateKey": issued.key.reveal()}


class Device:
    """The script, again and again, for one device over one transport."""

    def __init__(self, node, transport, credentials):
        self.node = node
        self.settings = {"address": ADDRESS, "transport": transport, "credentials": credentials}

    def register(self, **more):
        running = self.node.running
        wanted = {"provisioningHost": running.provisioning_host, "idScope": running.id_scope, **more}
        return self.node.run("device.js", **self.settings, register=wanted)

    def use(self, **what):
        hub = {"hub": self.node.running.hubs[0].host, "deviceId": DEVICE, **what}
        answer = self.node.run("device.js", **self.settings, use=hub)
        return answer if "error" in answer else answer["hub"]


@pytest.mark.tried(
    "Node SDK, MQTT",
    "key",
    "group key",
    "certificate",
    "group certificate",
    "telemetry",
    "messages",
    "twin",
    "methods",
)
@pytest.mark.tried(
    "Node SDK, MQTT over WebSockets",
    "key",
    "group key",
    "certificate",
    "group certificate",
    "telemetry",
    "messages",
    "twin",
    "methods",
)
@pytest.mark.tried(
    "Node SDK, AMQP",
    "key",
    "group key",
    "certificate",
    "group certificate",
    "telemetry",
    "messages",
    "twin",
    "methods",
)
@pytest.mark.tried(
    "Node SDK, AMQP over WebSockets",
    "key",
    "group key",
    "certificate",
    "group certificate",
    "telemetry",
    "messages",
    "twin",
    "methods",
)
@pytest.mark.tried("Node SDK, HTTPS", "key", "group key", "certificate", "group certificate", "telemetry", "messages")
@TRANSPORTS
@KINDS
def test_a_device_registers_sends_and_receives(sdk, simulator, node, kind, transport):
    device = Device(node, transport, enrolled(sdk, kind))
    registration = device.register(payload={"floor": 3})["registration"]
    assert (registration["status"], registration["assignedHub"]) == ("assigned", sdk.hub)
    assert registration["deviceId"] == DEVICE
    facts = {"properties": {"valve": "7"}, "message_id": "m-1", "correlation_id": "c-1"}
    simulator.send_message(DEVICE, CloudToDeviceMessage(b"open", **facts))

    did = device.use(
        messages=[{"text": '{"pressure":2.5}', "properties": {"Room": "2: left"}, "messageId": "t-1"}],
        settle=["complete"],
        reported={"valve": "open"},
        method={"name": "close", "payload": {"valve": 7}},
        serviceConnection=sdk.running.hubs[0].connection_string,
    )

    assert did["sent"] == 1
    (received,) = did["received"]
    name = "iothub-app-valve" if transport == "https" else "valve"  # the package keeps the names of headers
    assert (received["text"], received["messageId"], received["correlationId"]) == ("open", "m-1", "c-1")
    assert [name, "7"] in received["properties"]
    if transport == "https":
        assert (did["twin"], did["method"]) == ({"error": "NotImplementedError"}, {"error": "NotImplementedError"})
    else:
        assert did["twin"]["desired"]["$version"] == 1
        assert did["method"]["asked"] == [{"valve": 7}]
        assert did["method"]["answered"] == {"status": 200, "payload": {"heard": {"valve": 7}}}

    (message,) = simulator.telemetry()
    assert (message.device_id, message.body) == (DEVICE, b'{"pressure":2.5}')
    assert dict(message.properties) == {"Room": "2: left"}
    assert message.system_properties["message-id"] == "t-1"
    method = json.loads(message.system_properties["iothub-connection-auth-method"])
    assert method["type"] == ("sas" if "key" in kind else "x509")
    used = {event.protocol for event in simulator.trace() if event.service in ("hub", "provisioning")}
    assert used == {PROTOCOLS[transport]}
    identity = sdk.registry().get_device(DEVICE)
    assert (identity.connection_state, identity.cloud_to_device_message_count) == ("Disconnected", 0)
    assert not str(identity.last_activity_time).startswith("0001")
    reported = sdk.registry().get_twin(DEVICE).properties.reported
    assert reported.get("valve") == (None if transport == "https" else "open")


def test_over_https_messages_go_in_batches_and_are_settled_in_every_way(sdk, simulator, node):
    device = Device(node, "https", enrolled(sdk, "key of an individual"))
    device.register()
    for text in ("first", "second"):
        simulator.send_message(DEVICE, CloudToDeviceMessage(text.encode()))
    did = device.use(
        batch=True,
        messages=[{"text": "1", "properties": {"a": "b"}}, {"text": "gr\xfc\xdf"}],
        settle=["abandon", "reject", "complete"],
    )
    assert did["sent"] == 2
    # one was there again after the other was asked for
    assert sorted(each["text"] for each in did["received"]) == ["first", "first", "second"]
    one, two = simulator.telemetry()
    assert (one.body, dict(one.properties)) == (b"1", {"a": "b"})
    assert (two.body, dict(two.properties)) == ("gr\xfc\xdf".encode(), {})
    assert sdk.registry().get_device(DEVICE).cloud_to_device_message_count == 0


@pytest.mark.parametrize("transport", ["amqp", "amqp-ws"])
def test_over_amqp_messages_are_settled_in_every_way(sdk, simulator, node, transport):
    device = Device(node, transport, enrolled(sdk, "key of an individual"))
    device.register()
    # one after the other: the AMQP library of the packages makes one word of several that it says at once
    for text, settle in (("first", ["abandon", "reject"]), ("second", ["complete"])):
        simulator.send_message(DEVICE, CloudToDeviceMessage(text.encode()))
        did = device.use(settle=settle)
        assert [each["text"] for each in did["received"]] == [text] * len(settle)
    settled = [event for event in simulator.trace() if event.operation == "cloud-to-device acknowledgement"]
    assert [event.detail["outcome"] for event in settled] == ["abandon", "reject", "complete"]
    assert sdk.registry().get_device(DEVICE).cloud_to_device_message_count == 0


@pytest.fixture
def tpm(tmp_path):
    """A TPM: the port that Node uses, and the same TPM for Python."""
    transport = SoftTpm(tmp_path / "tpm.json")
    front = MicrosoftSimulatorFront(transport)
    yield front.port, TpmDevice(Tpm(transport), "embedded")
    front.close()
    assert front.failures == []


@pytest.mark.tried("Node SDK, AMQP", "TPM")
@pytest.mark.tried("Node SDK, AMQP over WebSockets", "TPM")
@pytest.mark.parametrize("transport", ["amqp", "amqp-ws"])
def test_a_tpm_proves_itself_by_sasl(sdk, simulator, node, tpm, tmp_path, transport):
    port, device = tpm
    attestation = {"type": "tpm", "tpm": {"endorsementKey": device.endorsement_key}}
    sdk.enroll(device.registration_id, attestation=attestation, deviceId=DEVICE)
    running, token_file = node.running, tmp_path / "token"
    settings = {"tpmPort": port, "transport": transport, "address": ADDRESS, "tokenFile": str(token_file)}
    answer = node.run(
        "register_tpm.js", provisioningHost=running.provisioning_host, idScope=running.id_scope, **settings
    )
    assert (answer["status"], answer["assignedHub"], answer["deviceId"]) == ("assigned", sdk.hub, DEVICE)
    trace = [event for event in simulator.trace() if event.service == "provisioning"]
    assert {event.protocol for event in trace} == {PROTOCOLS[transport]}
    assert [event.status for event in trace if (event.operation, event.direction) == ("register", "out")] == [200]
    token = token_file.read_text(encoding="ascii")
    client = IoTHubDeviceClient.create_from_sastoken(token, **sdk.device_options(), connection_retry=False)
    client.connect()
    client.send_message("opened by the TPM")
    client.shutdown()
    assert [message.body for message in simulator.telemetry()] == [b"opened by the TPM"]


@pytest.mark.parametrize("transport", ["amqp", "amqp-ws"])
def test_a_tpm_with_another_key_gets_no_challenge_by_sasl(sdk, simulator, node, tpm, tmp_path, transport):
    port, device = tpm
    other = TpmDevice(Tpm(SoftTpm(tmp_path / "other.json")), "embedded")
    attestation = {"type": "tpm", "tpm": {"endorsementKey": other.endorsement_key}}
    sdk.enroll(device.registration_id, attestation=attestation)
    running, token_file = node.running, tmp_path / "token"
    settings = {"tpmPort": port, "transport": transport, "address": ADDRESS, "tokenFile": str(token_file)}
    answer = node.run(
        "register_tpm.js", provisioningHost=running.provisioning_host, idScope=running.id_scope, **settings
    )
    assert answer["error"] == "amqp:unauthorized-access"
    assert json.loads(answer["message"])["info"]["simulatorFinding"] == "endorsementKeyMismatch"
    assert not token_file.exists()
    (refused,) = [event for event in simulator.trace() if (event.operation, event.direction) == ("register", "out")]
    assert (refused.status, refused.detail["finding"]) == (401, "endorsementKeyMismatch")


def test_what_a_device_hears_of_its_refusal_over_amqp(sdk, node):
    enrolled(sdk, "key of an individual")
    device = Device(node, "amqp", {"registrationId": DEVICE, "key": derive(KEY, "another")})
    answer = device.register()
    assert answer["error"] == "amqp:unauthorized-access"
    assert json.loads(answer["message"])["errorCode"] == 401002
    assert "putToken" in device.use(messages=[{"text": "nobody knows me"}])["message"]


@TRANSPORTS
def test_a_device_with_a_wrong_key_is_refused(sdk, node, transport):
    enrolled(sdk, "key of an individual")
    answer = Device(node, transport, {"registrationId": DEVICE, "key": derive(KEY, "another")}).register()
    assert answer["error"]


def test_what_a_hub_refuses_over_https_has_its_name_in_the_package(sdk, node):
    device = Device(node, "https", enrolled(sdk, "key of an individual"))
    answer = device.use(messages=[{"text": "nobody knows me"}])
    assert answer["error"] == "UnauthorizedError"


# --- what is installed ----------------------------------------------------------------------------------------------


def test_the_packages_are_pinned_and_come_from_anywhere_with_the_right_hash(repository):
    folder = repository / "tests" / "node"
    wanted = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    assert set(wanted["dependencies"]) == PACKAGES
    lock = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))
    assert lock["packages"].pop("")["dependencies"] == wanted["dependencies"]
    for place, package in lock["packages"].items():
        assert package["integrity"].startswith("sha512-"), place
        assert "resolved" not in package, place
    for name, version in wanted["dependencies"].items():
        assert lock["packages"][f"node_modules/{name}"]["version"] == version
