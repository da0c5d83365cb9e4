"""Everything that can be wrong with a TPM on its way to a hub: what the person reads, and that nothing stays behind."""

import base64
import datetime
import json
import os
import signal
import time
import traceback
from urllib.parse import quote, unquote

import psutil
import pytest
import requests
from azure.core.exceptions import HttpResponseError
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient
from azure.iot.device.exceptions import ClientError, CredentialError, ServiceError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from patience import PATIENCE
from sdk_clients import KEY, Sdk
from tpm_devices import KINDS, TpmDevices

from dps_simulator import Simulator
from dps_simulator.common.clock import SystemClock
from helpers import certificates
from helpers.tpm import (
    ActivationBlob,
    ActivationError,
    TpmConnectionError,
    TpmUnavailableError,
    hub_token,
    tpm_sas_token,
)
from helpers.tpm.activation import FIELDS

pytestmark = pytest.mark.sdk

DEVICE = "greenhouse-gateway"
GONE = "took the place of the hub key that the TPM had before"


@pytest.fixture
def devices(sdk, tmp_path):
    opened = TpmDevices(sdk, tmp_path)
    yield opened
    opened.close()


@pytest.fixture(params=KINDS)
def any_devices(sdk, tmp_path, request):
    opened = TpmDevices(sdk, tmp_path, request.param)
    yield opened
    opened.close()


def chain(error):
    found = []
    while error is not None:
        found.append(error)
        error = error.__cause__
    return found


def refused(devices, tpm, *says, cause=ServiceError, **arguments):
    """Register in vain; gives the error after checking that its texts say all of this and nothing secret."""
    with pytest.raises(ClientError) as caught:
        devices.register(tpm, **arguments)
    assert isinstance(caught.value.__cause__, cause)
    text = "".join(traceback.format_exception(caught.value))
    for words in says:
        assert words in text
    assert "SharedAccessSignature" not in text
    return caught.value


def answer_in_trace(sdk):
    """The last answer to a registration."""
    answers = [e for e in sdk.trace() if (e["operation"], e["direction"]) == ("register", "out")]
    return answers[-1]["detail"]


# --- the enrollment -----------------------------------------------------------------------------------------------


def test_the_key_of_another_tpm(sdk, any_devices):
    mine, other = any_devices.open("mine"), any_devices.open("other")
    any_devices.enroll(mine, endorsement_key=other.endorsement_key)
    error = refused(any_devices, mine, "status code 401 (401002; Unauthorized; The simulator says:", "another TPM")
    assert GONE not in str(error)
    assert answer_in_trace(sdk)["finding"] == "endorsementKeyMismatch"
    assert not mine.has_key


def test_the_tpm_was_replaced_since_the_enrollment(sdk, any_devices):
    first = any_devices.open("first")
    registration_id = any_devices.enroll(first)
    any_devices.register(first)
    replaced = any_devices.open("replaced")
    # under its old name it is recognized as another TPM, under the name of its new key nobody knows it
    refused(any_devices, replaced, "another TPM", registration_id=registration_id)
    assert answer_in_trace(sdk)["finding"] == "endorsementKeyMismatch"
    refused(any_devices, replaced, "status code 404 (404201; Enrollment not found.)")
    # and the remedy
    any_devices.change_enrollment(replaced, registration_id)
    assert any_devices.register(replaced, registration_id).status == "assigned"


def test_nobody_enrolled_it(sdk, devices):
    refused(devices, devices.open(), "register request returned a service error status code 404 (404201;")
    assert "no individual enrollment" in answer_in_trace(sdk)["reason"]


def test_enrolled_for_another_proof(sdk, devices):
    tpm = devices.open()
    sdk.enroll(tpm.registration_id)
    refused(devices, tpm, "status code 401", "is for symmetricKey, and the device registers with a TPM")
    assert answer_in_trace(sdk)["finding"] == "attestationMismatch"


def test_a_disabled_enrollment(devices):
    tpm = devices.open()
    devices.enroll(tpm, provisioningStatus="disabled")
    error = refused(devices, tpm, "invalid registration status disabled", "set its provisioningStatus to 'enabled'")
    # the challenge was answered before the service said so
    assert GONE in str(error)


def test_disabled_after_it_was_registered(sdk, devices):
    tpm = devices.open()
    devices.enroll(tpm, deviceId=DEVICE)
    devices.register(tpm)
    devices.change_enrollment(tpm, provisioningStatus="disabled")
    refused(devices, tpm, "invalid registration status disabled", GONE)
    with pytest.raises(CredentialError):
        connect(sdk, hub_token(tpm, sdk.hub, DEVICE))
    devices.change_enrollment(tpm, provisioningStatus="enabled")
    devices.register(tpm)
    connect(sdk, hub_token(tpm, sdk.hub, DEVICE))


def connect(sdk, token):
    device = IoTHubDeviceClient.create_from_sastoken(token.reveal(), connection_retry=False, **sdk.device_options())
    try:
        device.connect()
    finally:
        device.shutdown()


def public_area(bits=2048, attributes=0x000300B2):
    key = rsa.generate_private_key(65537, bits).public_key()
    modulus = key.public_numbers().n.to_bytes(bits // 8, "big")
    policy = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
    area = bytes.fromhex("0001 000b") + attributes.to_bytes(4, "big") + b"\0\x20" + policy
    area += bytes.fromhex("0006 0080 0043 0010") + bits.to_bytes(2, "big") + bytes(4)
    area += len(modulus).to_bytes(2, "big") + modulus
    return len(area).to_bytes(2, "big") + area, key


def pasted(encoding, form):
    _, key = public_area()
    return key.public_bytes(encoding, form)


PASTED = {
    "no base64": (lambda ek: "my endorsement key!", "is not base64"),
    "truncated": (lambda ek: text(raw(ek)[:200]), "is cut off"),
    "cut off while copying": (lambda ek: ek[:-3], "is not base64"),
    "more behind it": (lambda ek: text(raw(ek) + b"\0"), "after its end"),
    "without its size": (lambda ek: text(raw(ek)[2:]), "is a TPMT_PUBLIC"),
    "PEM": (
        lambda ek: pasted(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode(),
        "is PEM; it must be the public key as the TPM gives it",
    ),
    "DER": (
        lambda ek: text(pasted(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)),
        "is a DER SubjectPublicKeyInfo",
    ),
    "RSA-3072": (lambda ek: text(public_area(3072)[0]), "is an RSA key of 3072 bits; it must have 2048"),
    "ECC": (
        lambda ek: text(bytes.fromhex("001a 0023 000b 000300b2 0000 0006 0080 0043 0010 0003 0010 0000 0000")),
        "is a key of the kind ECC; this simulator encrypts for RSA keys only",
    ),
    "a key for signing": (lambda ek: text(public_area(attributes=0x00050072)[0]), "is a key for signing"),
    "nothing": (lambda ek: "", "is missing"),
}


def raw(key):
    return base64.b64decode(key)


def text(data):
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("case", PASTED)
def test_something_else_pasted_as_endorsement_key(sdk, devices, case):
    paste, says = PASTED[case]
    tpm = devices.open()
    wrong = paste(tpm.endorsement_key)
    attestation = {"type": "tpm", "tpm": {"endorsementKey": wrong}}
    with pytest.raises(HttpResponseError) as error:
        sdk.enroll("gateway", attestation=attestation)
    assert error.value.status_code == 400
    assert "attestation.tpm.endorsementKey" in str(error.value)
    assert says in str(error.value)
    # and what to paste instead
    assert "tpm2_readpublic -c 0x81010001" in str(error.value)


def test_the_other_key_of_the_tpm_pasted(sdk, devices):
    tpm = devices.open()
    with pytest.raises(HttpResponseError, match="is a storage root key"):
        devices.enroll(tpm, endorsement_key=tpm.storage_root_key)


def test_a_tpm_in_a_group(sdk, devices):
    attestation = {"type": "tpm", "tpm": {"endorsementKey": devices.open().endorsement_key}}
    with pytest.raises(HttpResponseError, match="enrollment groups know no TPM attestation"):
        sdk.enroll_group("gateways", attestation=attestation)


def test_a_tpm_enrollment_and_a_device_with_a_key(sdk, devices):
    registration_id = devices.enroll(devices.open())
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        sdk.running.provisioning_host, registration_id, sdk.running.id_scope, KEY, **sdk.device_options()
    )
    with pytest.raises(ClientError) as error:
        client.register()
    assert "status code 401" in str(error.value.__cause__)
    assert "is for a TPM. MQTT carries no TPM attestation" in answer_in_trace(sdk)["reason"]


# --- the challenge ------------------------------------------------------------------------------------------------


def on_the_way(monkeypatch, tpm, change):
    """Let something happen between the service and the TPM: change the challenge, or anything else."""
    activate = tpm.activate

    def changed(blob):
        activate(change(blob) or blob)

    monkeypatch.setattr(tpm, "activate", changed)


def tampered(blob, field):
    """The challenge with one bit turned round in one of its parts."""
    position = 0
    for name, size in ActivationBlob.parse(blob).sizes().items():
        if name == field:
            position += 2 + size // 2
            break
        position += 2 + size
    return blob[:position] + bytes([blob[position] ^ 1]) + blob[position + 1 :]


#: Which part the TPM complains of. The third is bound to the fifth, and nothing protects the last.
COMPLAINTS = {
    "credential_blob": ("credential_blob",),
    "secret": ("secret",),
    "duplicate": ("duplicate",),
    "encrypted_seed": ("encrypted_seed",),
    "id_key_public": ("id_key_public", "duplicate"),
}


@pytest.mark.parametrize("field", COMPLAINTS)
def test_a_challenge_that_was_tampered_with(any_devices, monkeypatch, field):
    tpm = any_devices.open()
    any_devices.enroll(tpm)
    any_devices.register(tpm)
    before = tpm.sign(b"text")
    with monkeypatch.context() as patch:
        on_the_way(patch, tpm, lambda blob: tampered(blob, field))
        error = refused(
            any_devices, tpm, "The TPM cannot open what the provisioning service sent.", cause=ActivationError
        )
    assert error.__cause__.field in COMPLAINTS[field]
    assert f"of the challenge, {error.__cause__.field} (" in str(error.__cause__)
    assert "Register again." in str(error.__cause__) or "register again" in str(error.__cause__)
    # the key for the hub is still there, and the next registration goes well
    assert GONE not in str(error)
    assert tpm.sign(b"text") == before
    assert any_devices.register(tpm).status == "assigned"


def test_the_last_part_of_a_challenge_is_not_protected(any_devices, monkeypatch):
    tpm = any_devices.open()
    any_devices.enroll(tpm)
    assert set(FIELDS) - set(COMPLAINTS) == {"encrypted_uri"}
    on_the_way(monkeypatch, tpm, lambda blob: tampered(blob, "encrypted_uri"))
    assert any_devices.register(tpm).status == "assigned"


@pytest.mark.parametrize("field", FIELDS)
def test_a_challenge_that_was_cut_off(devices, monkeypatch, field):
    tpm = devices.open()
    devices.enroll(tpm)

    def cut(blob):
        size = 0
        for name, part in ActivationBlob.parse(blob).sizes().items():
            if name == field:
                return blob[: size + 2 + part // 2]
            size += 2 + part
        raise AssertionError

    on_the_way(monkeypatch, tpm, cut)
    error = refused(devices, tpm, "it was cut off on the way", cause=ActivationError)
    assert error.__cause__.field == field


def test_the_hub_key_was_tampered_with(any_devices, monkeypatch):
    tpm = any_devices.open()
    any_devices.enroll(tpm)
    seen = []

    def second(blob):
        seen.append(blob)
        return tampered(blob, "duplicate") if len(seen) == 2 else blob

    with monkeypatch.context() as patch:
        on_the_way(patch, tpm, second)
        error = refused(any_devices, tpm, "duplicate", cause=ActivationError)
    assert GONE in str(error)
    assert any_devices.register(tpm).status == "assigned"


def test_the_challenge_of_another_device(any_devices, monkeypatch):
    mine, other = any_devices.open("mine"), any_devices.open("other")
    any_devices.enroll(mine)
    challenges = []
    on_the_way(monkeypatch, mine, challenges.append)
    any_devices.register(mine)
    with pytest.raises(ActivationError, match="Compare the endorsement key"):
        other.activate(challenges[0])


class MovedClock:
    """The time of this machine, moved on."""

    def __init__(self):
        self.seconds = 0

    def now(self):
        return SystemClock().now() + datetime.timedelta(seconds=self.seconds)


@pytest.mark.parametrize(
    ("token_seconds", "finding", "says"),
    [
        (7_200, "challengeExpired", "The challenge of individual enrollment"),
        (3_600, "tokenExpired", "The token expired"),
    ],
)
def test_a_challenge_answered_late(tmp_path, monkeypatch, token_seconds, finding, says):
    clock = MovedClock()
    with Simulator(pace="instant", clock=clock) as simulator:
        sdk = Sdk(simulator)
        devices = TpmDevices(sdk, tmp_path)
        try:
            tpm = devices.open()
            devices.enroll(tpm)

            def wait(blob):
                clock.seconds = 3_605

            with monkeypatch.context() as patch:
                on_the_way(patch, tpm, wait)
                refused(devices, tpm, "status code 401", says, GONE, sastoken_ttl=token_seconds)
            assert answer_in_trace(sdk)["finding"] == finding
            clock.seconds = 0
            assert devices.register(tpm).status == "assigned"
        finally:
            devices.close()
            sdk.close()


def test_two_programs_register_the_same_tpm(sdk, devices, monkeypatch):
    tpm = devices.open()
    devices.enroll(tpm)
    with monkeypatch.context() as patch:
        # another one asks for a challenge while this one is at work, so the newest challenge is not its own
        on_the_way(patch, tpm, lambda blob: devices.client(tpm).request_challenge() and None)
        refused(devices, tpm, "status code 401", "Only one program at a time can register a device", GONE)
    assert answer_in_trace(sdk)["finding"] == "signatureInvalid"
    assert devices.register(tpm).status == "assigned"


# --- plain requests: what our client would never send -------------------------------------------------------------


class Wire:
    """Registers by plain HTTPS."""

    def __init__(self, sdk, tpm):
        self.sdk, self.tpm = sdk, tpm
        self.resource = f"{sdk.running.id_scope}/registrations/{tpm.registration_id}"
        self.keys = {"endorsementKey": tpm.endorsement_key, "storageRootKey": tpm.storage_root_key}

    def put(self, token="", **body):
        with requests.Session() as session:
            session.trust_env = False
            session.proxies = {"https": self.sdk.running.proxy_url}
            session.verify = str(self.sdk.running.certificate_authority_file)
            return session.put(
                f"https://{self.sdk.running.provisioning_host}/{self.resource}/register?api-version=2021-06-01",
                json={"registrationId": self.tpm.registration_id, **body},
                headers={"Authorization": token} if token else {},
                timeout=PATIENCE,
            )

    def challenged(self):
        answer = self.put(tpm=self.keys)
        assert (answer.status_code, set(answer.json())) == (401, {"message", "authenticationKey", "keyName"})
        self.tpm.activate(raw(answer.json()["authenticationKey"]))

    def token(self, resource="", **options):
        return tpm_sas_token(self.tpm, resource or self.resource, key_name="registration", **options).reveal()


@pytest.fixture
def wire(sdk, devices):
    tpm = devices.open()
    devices.enroll(tpm)
    return Wire(sdk, tpm)


def read(answer, status, says, finding=""):
    body = answer.json()
    assert answer.status_code == body["errorCode"] // 1000 == status
    assert says in json.dumps(body)
    if finding:
        assert body["info"]["simulatorFinding"] == finding
        assert says in body["info"]["simulatorReason"]


def test_the_second_request_needs_no_keys(wire):
    wire.challenged()
    assert wire.put(wire.token()).status_code == 202


def test_no_storage_root_key(wire):
    answer = wire.put(tpm={"endorsementKey": wire.keys["endorsementKey"]})
    read(answer, 400, "tpm.storageRootKey is missing", "storageRootKeyMissing")


def test_no_endorsement_key(wire):
    read(wire.put(tpm={"storageRootKey": wire.keys["storageRootKey"]}), 400, "tpm.endorsementKey is missing")


def test_the_keys_mixed_up(wire):
    endorsement, storage = wire.keys["endorsementKey"], wire.keys["storageRootKey"]
    answer = wire.put(tpm={"endorsementKey": storage, "storageRootKey": endorsement})
    read(answer, 400, "tpm.endorsementKey is a storage root key")


def test_a_token_without_challenge(wire, devices):
    # the hub key of an earlier registration signs, and nobody asked for a challenge
    other = devices.open("other")
    devices.enroll(other)
    devices.register(other)
    token = tpm_sas_token(other, wire.resource, key_name="registration").reveal()
    read(wire.put(token, tpm=wire.keys), 401, "it was given no challenge", "challengeMissing")


def test_a_token_with_a_wrong_signature(wire):
    wire.challenged()
    before, between, rest = wire.token().partition("sig=")
    signature, ampersand, after = rest.partition("&")
    # the bytes are changed, and not the text, whose first character may be the percent sign of an escape
    first, *others = base64.b64decode(unquote(signature))
    spoilt = quote(base64.b64encode(bytes([first ^ 1, *others])), safe="")
    wrong = "".join([before, between, spoilt, ampersand, after])
    read(wire.put(wrong, tpm=wire.keys), 401, "did not sign the token", "signatureInvalid")


def test_a_token_that_has_expired(wire):
    wire.challenged()
    read(wire.put(wire.token(expiry=int(time.time()) - 5), tpm=wire.keys), 401, "The token expired", "tokenExpired")


@pytest.mark.parametrize("resource", ["0ne0000FFFF/registrations/{id}", "{scope}/registrations/another", "x"])
def test_a_token_for_something_else(wire, resource):
    wire.challenged()
    token = wire.token(resource.format(id=wire.tpm.registration_id, scope=wire.sdk.running.id_scope))
    read(wire.put(token, tpm=wire.keys), 401, "let the TPM sign a token for that", "resourceMismatch")


def test_a_challenge_is_good_until_the_next_one(wire):
    wire.challenged()
    token = wire.token()
    assert wire.put(token, tpm=wire.keys).status_code == 202
    wire.put(tpm=wire.keys)
    read(wire.put(token, tpm=wire.keys), 401, "the newest challenge", "signatureInvalid")


# --- the TPM itself -----------------------------------------------------------------------------------------------


def programs():
    return {process for process in psutil.Process().children(recursive=True) if "swtpm" in process.name()}


def kill_swtpm(_blob=b""):
    (program,) = programs()
    os.kill(program.pid, signal.SIGKILL)


@pytest.fixture
def swtpm_devices(sdk, tmp_path):
    opened = TpmDevices(sdk, tmp_path, "swtpm")
    yield opened
    opened.close()
    assert programs() == set()


def test_swtpm_dies_after_the_challenge_came(swtpm_devices, monkeypatch):
    tpm = swtpm_devices.open()
    swtpm_devices.enroll(tpm)
    on_the_way(monkeypatch, tpm, kill_swtpm)
    error = refused(
        swtpm_devices,
        tpm,
        "The TPM of the device failed.",
        "swtpm ended in the middle of the work",
        "Open the TPM again: its keys are kept.",
        cause=TpmConnectionError,
    )
    assert GONE not in str(error)
    opened_again = swtpm_devices.open()
    assert swtpm_devices.register(opened_again).status == "assigned"


def test_swtpm_dies_before_the_hub_key_came(swtpm_devices, monkeypatch):
    tpm = swtpm_devices.open()
    swtpm_devices.enroll(tpm)
    seen = []

    def second(blob):
        seen.append(blob)
        if len(seen) == 2:
            kill_swtpm()

    on_the_way(monkeypatch, tpm, second)
    error = refused(swtpm_devices, tpm, "swtpm ended in the middle of the work", cause=TpmConnectionError)
    assert GONE in str(error)
    assert swtpm_devices.register(swtpm_devices.open()).status == "assigned"


def test_swtpm_dies_before_anything_is_sent(sdk, swtpm_devices):
    tpm = swtpm_devices.open()
    kill_swtpm()
    refused(swtpm_devices, tpm, "swtpm ended in the middle of the work", cause=TpmConnectionError)
    assert sdk.trace() == []


def test_two_programs_open_the_same_swtpm(swtpm_devices):
    swtpm_devices.open()
    with pytest.raises(TpmUnavailableError, match=r"another process|in use"):
        swtpm_devices.open()


def test_another_service_is_not_trusted(devices):
    tpm = devices.open()
    foreign = certificates.create_root("Somebody else").certificate
    error = refused(
        devices,
        tpm,
        "server_verification_cert",
        cause=requests.exceptions.SSLError,
        server_verification_cert=foreign,
    )
    assert GONE not in str(error)
