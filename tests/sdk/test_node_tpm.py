"""The official packages for Node, unmodified, register a device by its TPM; the official Python SDK uses the token that
they had signed in the TPM.

Both languages work on one and the same TPM, Node through the protocol of Microsoft's simulator.
"""

import json
import re
import shutil
import stat

import pytest
from azure.iot.device import IoTHubDeviceClient
from azure.iot.device.exceptions import ClientError
from node_packages import Node
from other_programs import skip

from helpers.tpm.commands import Tpm
from helpers.tpm.device import TpmDevice
from helpers.tpm.embedded.front import MicrosoftSimulatorFront
from helpers.tpm.embedded.tpm import SoftTpm
from helpers.tpm.transports.swtpm import Swtpm

pytestmark = [pytest.mark.sdk, pytest.mark.clients]

KINDS = pytest.mark.parametrize("kind", ["embedded", "swtpm"])


class TpmNode:
    """Runs the script with the packages, which gets the TPM, the simulator and nothing else of this project."""

    def __init__(self, node, token_file):
        self.node = node
        self.token_file = token_file

    def run(self, port, **settings):
        return self.node.run("register_tpm.js", tpmPort=port, **settings)

    def register(self, port, **settings):
        self.token_file.unlink(missing_ok=True)
        running = self.node.running
        return self.run(
            port,
            provisioningHost=running.provisioning_host,
            idScope=running.id_scope,
            transport="https",
            proxyPort=running.proxy_port,
            tokenFile=str(self.token_file),
            **settings,
        )

    @property
    def token(self):
        return self.token_file.read_text(encoding="ascii")


@pytest.fixture
def node(repository, sdk, tmp_path):
    return TpmNode(Node(repository, sdk.running), tmp_path / "token")


@pytest.fixture
def tpms(tmp_path):
    """Opens TPMs: gives the port that Node uses, and the same TPM for Python."""
    opened = []

    def open_both(kind, name="tpm"):
        if kind == "embedded":
            transport = SoftTpm(tmp_path / f"{name}.json")
        elif shutil.which("swtpm") is None:
            skip("swtpm is not installed")
        else:
            transport = Swtpm(tmp_path / name).transport()
        front = MicrosoftSimulatorFront(transport)
        opened.append(front)
        return front, TpmDevice(Tpm(transport), kind)

    yield open_both
    for front in opened:
        front.close()
        assert front.failures == []


def attestation(endorsement_key):
    return {"type": "tpm", "tpm": {"endorsementKey": endorsement_key}}


def send(sdk, token, text):
    """Connect to the hub with a token and send a message."""
    client = IoTHubDeviceClient.create_from_sastoken(token, **sdk.device_options(), connection_retry=False)
    try:
        client.connect()
        client.send_message(text)
    finally:
        client.shutdown()


def answers(sdk, operation="register"):
    """The status of every answer to a device, and the finding where there is one."""
    events = [event for event in sdk.trace() if (event["operation"], event["direction"]) == (operation, "out")]
    return [(event["status"], event["detail"].get("finding")) for event in events]


# --- the same TPM in two languages ----------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("first", ["Node", "Python"])
def test_both_see_the_same_keys_whoever_makes_them(node, tpms, kind, first):
    front, device = tpms(kind)
    if first == "Python":
        assert device.endorsement_key
        assert device.storage_root_key
    seen = node.run(front.port)
    assert seen == {
        "registrationId": device.registration_id,
        "endorsementKey": device.endorsement_key,
        "storageRootKey": device.storage_root_key,
    }


# --- registration ---------------------------------------------------------------------------------------------------


@pytest.mark.tried("Node SDK, HTTPS", "TPM")
@KINDS
def test_node_registers_and_its_token_opens_the_hub(sdk, node, tpms, kind):
    front, device = tpms(kind)
    sdk.enroll(device.registration_id, attestation=attestation(device.endorsement_key), deviceId="greenhouse-gateway")

    answer = node.register(front.port, payload={"floor": 3})

    assert answer["registrationId"] == device.registration_id
    assert (answer["status"], answer["assignedHub"], answer["deviceId"]) == ("assigned", sdk.hub, "greenhouse-gateway")
    assert re.search(r"&sig=\*{4}[^&]{4}&se=\d+$", answer["token"])
    assert stat.S_IMODE(node.token_file.stat().st_mode) == 0o600
    known = sdk.registry().get_device("greenhouse-gateway")
    assert known.authentication.type == "sas"

    send(sdk, node.token, "opened by Node")
    trace = sdk.trace()
    assert [event["detail"]["body"] for event in trace if event["operation"] == "telemetry"] == ["opened by Node"]
    assert answers(sdk) == [(401, None), (202, None)]
    asked = [event for event in trace if (event["operation"], event["direction"]) == ("register", "in")]
    assert [event["detail"]["body"]["payload"] for event in asked] == [{"floor": 3}] * 2
    signature = re.search("sig=([^&]+)", node.token)[1]
    assert signature not in json.dumps(trace)

    # the key is in the TPM, so Python signs with the one that Node has put there
    resource, expiry = (re.search(rf"{name}=([^&]+)", node.token)[1] for name in ("sr", "se"))
    assert len(device.sign(f"{resource}\n{expiry}".encode())) == 32


@KINDS
def test_a_new_registration_makes_the_old_token_worthless(sdk, node, tpms, kind):
    front, device = tpms(kind)
    sdk.enroll(device.registration_id, attestation=attestation(device.endorsement_key))
    assert node.register(front.port)["status"] == "assigned"
    old = node.token
    assert node.register(front.port)["status"] == "assigned"
    send(sdk, node.token, "new")
    with pytest.raises(ClientError):
        send(sdk, old, "old")


def test_a_tpm_with_another_key_gets_no_challenge(sdk, node, tpms):
    front, device = tpms("embedded")
    _, other = tpms("embedded", "other")
    sdk.enroll(device.registration_id, attestation=attestation(other.endorsement_key))
    answer = node.register(front.port)
    assert (answer["error"], "appropriately formatted" in answer["message"]) == ("FormatError", True)
    assert not node.token_file.exists()
    assert answers(sdk) == [(401, "endorsementKeyMismatch")]


def test_a_tpm_that_nobody_enrolled_gets_no_challenge(sdk, node, tpms):
    front, _ = tpms("embedded")
    answer = node.register(front.port)
    assert (answer["error"], "unauthorized" in answer["message"]) == ("InvalidOperationError", True)
    assert [status for status, _ in answers(sdk)] == [404]
    assert not node.token_file.exists()
