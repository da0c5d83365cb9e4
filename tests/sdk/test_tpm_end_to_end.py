"""Register with a TPM, and let the official SDK connect with tokens signed in it: both TPMs, both flavours."""

import asyncio
import base64
import hmac
import json
import re
import threading

import pytest
from azure.iot.device import IoTHubDeviceClient
from azure.iot.device.aio import IoTHubDeviceClient as AsyncIoTHubDeviceClient
from azure.iot.device.common import alarm
from azure.iot.device.exceptions import CredentialError
from patience import PATIENCE, wait_until
from tpm_devices import FLAVOURS, KINDS, TpmDevices

from helpers.tpm import hub_token, renew_tokens, tpm_sas_token
from helpers.tpm.client.tokens import RENEWAL_MARGIN

pytestmark = pytest.mark.sdk

DEVICE = "greenhouse-gateway"
INITIAL_TWIN = {"tags": {"site": "lab"}, "properties": {"desired": {"interval": 10}}}


@pytest.fixture(params=KINDS)
def devices(sdk, tmp_path, request):
    opened = TpmDevices(sdk, tmp_path, request.param)
    yield opened
    opened.close()


@pytest.fixture
def embedded(sdk, tmp_path):
    opened = TpmDevices(sdk, tmp_path)
    yield opened
    opened.close()


def has_key_of(tpm, sdk, device_id):
    """Whether the TPM holds the key that the hub has for the device."""
    device = sdk.registry().get_device(device_id)
    assert device.authentication.type == "sas"
    key = base64.b64decode(device.authentication.symmetric_key.primary_key)
    return hmac.compare_digest(hmac.digest(key, b"text", "sha256"), tpm.sign(b"text"))


def connect(sdk, token):
    device = IoTHubDeviceClient.create_from_sastoken(token.reveal(), connection_retry=False, **sdk.device_options())
    try:
        device.connect()
    except BaseException:
        device.shutdown()
        raise
    return device


@pytest.mark.tried("HTTPS without an SDK", "TPM")
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_from_the_enrollment_to_telemetry_and_twin(sdk, devices, flavour):
    tpm = devices.open()
    registration_id = devices.enroll(tpm, deviceId=DEVICE, initialTwin=INITIAL_TWIN)
    result = devices.register(tpm, flavour=flavour)
    state = result.registration_state
    assert (result.status, state.assigned_hub, state.device_id) == ("assigned", sdk.hub, DEVICE)
    assert state.sub_status == "initialAssignment"
    record = sdk.service().device_registration_state.get(registration_id)
    assert (record["status"], record["etag"]) == ("assigned", state.etag)
    assert has_key_of(tpm, sdk, DEVICE)

    token = hub_token(tpm, state.assigned_hub, state.device_id)
    if flavour == "sync":
        use(sdk, token)
    else:
        asyncio.run(use_async(sdk, token))
    (telemetry,) = [event for event in sdk.trace() if event["operation"] == "telemetry"]
    assert telemetry["device"] == DEVICE
    assert sdk.registry().get_twin(DEVICE).properties.reported["firmware"] == "1.2"


def use(sdk, token):
    device = connect(sdk, token)
    try:
        device.send_message("21.5")
        device.patch_twin_reported_properties({"firmware": "1.2"})
        assert device.get_twin()["desired"]["interval"] == 10
        assert sdk.registry().get_device(DEVICE).connection_state == "Connected"
    finally:
        device.shutdown()


async def use_async(sdk, token):
    device = AsyncIoTHubDeviceClient.create_from_sastoken(token.reveal(), **sdk.device_options())
    try:
        await device.connect()
        await device.send_message("21.5")
        await device.patch_twin_reported_properties({"firmware": "1.2"})
        assert (await device.get_twin())["desired"]["interval"] == 10
    finally:
        await device.shutdown()


def test_the_tpm_did_the_work(devices):
    tpm = devices.open()
    devices.enroll(tpm)
    devices.register(tpm)
    outcomes = {exchange.command for exchange in tpm.history if exchange.outcome == "success"}
    assert {"TPM2_ActivateCredential", "TPM2_Import", "TPM2_Load", "TPM2_EvictControl", "TPM2_HMAC"} <= outcomes
    assert [exchange.command for exchange in tpm.history].count("TPM2_Import") == 2


def test_the_answers_of_the_service_in_their_order(sdk, embedded):
    tpm = embedded.open()
    embedded.enroll(tpm)
    sdk.simulator.pace = "polls=2"
    embedded.register(tpm)
    answers = [
        (event["operation"], event["status"])
        for event in sdk.trace()
        if event["direction"] == "out" and event["operation"] in ("register", "poll")
    ]
    assert answers == [("register", 401), ("register", 202), ("poll", 202), ("poll", 202), ("poll", 200)]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_payload(sdk, embedded, flavour):
    tpm = embedded.open()
    embedded.enroll(tpm)
    client = embedded.client(tpm, flavour=flavour)
    client.provisioning_payload = {"modelId": "dtmi:contoso:greenhouse;1"}
    registered = client.register() if flavour == "sync" else asyncio.run(_of(client.register()))
    assert registered.status == "assigned"
    sent = [
        event["detail"]["body"]["payload"]
        for event in sdk.trace()
        if (event["operation"], event["direction"]) == ("register", "in")
    ]
    assert sent == [{"modelId": "dtmi:contoso:greenhouse;1"}] * 2


async def _of(awaitable):
    return await awaitable


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_challenge_alone_changes_nothing(sdk, devices, flavour):
    tpm = devices.open()
    devices.enroll(tpm)
    challenge = devices.client(tpm, flavour=flavour).request_challenge()
    challenge = challenge if flavour == "sync" else asyncio.run(_of(challenge))
    assert challenge.sizes()["secret"] == challenge.sizes()["encrypted_seed"] == 256
    assert not tpm.has_key
    assert devices.register(tpm, flavour=flavour).status == "assigned"


def test_registering_again_gives_another_hub_key(sdk, devices):
    tpm = devices.open()
    devices.enroll(tpm, deviceId=DEVICE)
    devices.register(tpm)
    old = hub_token(tpm, sdk.hub, DEVICE)
    connect(sdk, old).shutdown()

    again = devices.register(tpm)
    assert again.registration_state.device_id == DEVICE
    assert has_key_of(tpm, sdk, DEVICE)
    with pytest.raises(CredentialError):
        connect(sdk, old)
    connect(sdk, hub_token(tpm, sdk.hub, DEVICE)).shutdown()


def test_a_tpm_keeps_its_keys_when_it_is_closed(sdk, devices):
    tpm = devices.open()
    registration_id = devices.enroll(tpm, deviceId=DEVICE)
    devices.register(tpm)
    tpm.close()
    opened_again = devices.open()
    assert opened_again.registration_id == registration_id
    connect(sdk, hub_token(opened_again, sdk.hub, DEVICE)).shutdown()


def test_two_devices(sdk, devices):
    tpms = [devices.open(name) for name in ("one", "two")]
    names = [devices.enroll(tpm) for tpm in tpms]
    assert names[0] != names[1]
    for tpm, name in zip(tpms, names, strict=True):
        assert devices.register(tpm).registration_state.device_id == name
    connected = [connect(sdk, hub_token(tpm, sdk.hub, name)) for tpm, name in zip(tpms, names, strict=True)]
    assert sdk.registry().get_service_statistics().connected_device_count == 2
    for device in connected:
        device.shutdown()
    # the TPM of one cannot speak for the other
    with pytest.raises(CredentialError):
        connect(sdk, hub_token(tpms[0], sdk.hub, names[1]))


def test_a_registration_id_of_one_s_own(embedded):
    tpm = embedded.open()
    embedded.enroll(tpm, "Gateway-7")
    assert embedded.register(tpm, "Gateway-7").registration_state.device_id == "Gateway-7"


def test_no_secret_is_traced_or_kept_in_the_open(sdk, embedded, caplog):
    caplog.set_level("DEBUG")
    tpm = embedded.open()
    embedded.enroll(tpm, deviceId=DEVICE)
    embedded.register(tpm)
    connect(sdk, hub_token(tpm, sdk.hub, DEVICE)).shutdown()
    key = sdk.registry().get_device(DEVICE).authentication.symmetric_key.primary_key
    trace, log = json.dumps(sdk.trace()), "\n".join(record.getMessage() for record in caplog.records)
    assert "authenticationKey" in trace
    for text in (trace, log):
        assert key not in text
        assert not re.search(r"sig=[^*]", text)
        assert not re.search(r"authenticationKey\W+\w{5}", text)


# --- renewal ------------------------------------------------------------------------------------------------------


def connections(sdk):
    """With which tokens the device connected: one answer for each."""
    return [
        event
        for event in sdk.trace()
        if event["device"] == DEVICE and event["operation"] == "connect" and event["direction"] == "out"
    ]


@pytest.fixture
def connected(monkeypatch):
    """Set when the SDK may notice that a token is about to expire, so that it never does before it is connected."""
    event = threading.Event()
    event.alarms = []

    class Patient(alarm.Alarm):
        def run(self):
            event.alarms.append(self)
            event.wait(PATIENCE)
            super().run()

    monkeypatch.setattr(alarm, "Alarm", Patient)
    yield event
    event.set()


def about_to_expire(tpm, sdk):
    """A token that the SDK wants replaced within two seconds."""
    resource = f"{sdk.hub}/devices/{DEVICE}"
    return tpm_sas_token(tpm, resource, seconds=RENEWAL_MARGIN + 1).reveal()


def test_tokens_are_renewed_before_they_expire(sdk, devices, connected):
    tpm = devices.open()
    devices.enroll(tpm, deviceId=DEVICE)
    devices.register(tpm)
    device = IoTHubDeviceClient.create_from_sastoken(about_to_expire(tpm, sdk), **sdk.device_options())
    try:
        renew_tokens(device, tpm, sdk.hub, DEVICE)
        device.connect()
        signed = len(tpm.history)
        connected.set()
        wait_until(lambda: len(connections(sdk)) == 2 and device.connected)
        assert [exchange.command for exchange in tpm.history[signed:]] == ["TPM2_HMAC"]
        device.send_message("21.5")
        # the new token is good for an hour, and nothing more happens until then
        first, second = wait_until(lambda: len(connected.alarms) > 1 and connected.alarms, "the next alarm")
        assert second.alarm_time - first.alarm_time > 3_000
        assert len(connections(sdk)) == 2
    finally:
        device.shutdown()


def test_tokens_are_renewed_in_asyncio(sdk, embedded, connected):
    tpm = embedded.open()
    embedded.enroll(tpm, deviceId=DEVICE)
    embedded.register(tpm)

    async def scenario():
        device = AsyncIoTHubDeviceClient.create_from_sastoken(about_to_expire(tpm, sdk), **sdk.device_options())
        try:
            renew_tokens(device, tpm, sdk.hub, DEVICE)
            await device.connect()
            connected.set()
            await asyncio.to_thread(wait_until, lambda: len(connections(sdk)) == 2 and device.connected)
            await device.send_message("21.5")
        finally:
            await device.shutdown()

    asyncio.run(scenario())
    assert [event["device"] for event in sdk.trace() if event["operation"] == "telemetry"] == [DEVICE]
