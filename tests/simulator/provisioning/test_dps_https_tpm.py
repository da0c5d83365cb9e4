import asyncio
import base64
import hmac
import json
import shutil
import uuid
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from provisioning_parts import ID_SCOPE, Provisioning
from thoroughness import examples
from tpm_parts import PaperTpm, text
from x509_family import make_root

from dps_simulator.common.http import Peer, Request
from dps_simulator.common.trace import Trace
from dps_simulator.errors.table import Dps
from dps_simulator.provisioning.api.https import DpsHttpsEndpoint
from helpers.tpm import open_tpm

HOST = "global.azure-devices-provisioning.test"
NAME = "device-1"


class Device:
    """A device with a TPM that registers, without a network."""

    def __init__(self, parts, tpm=None, certificates=()):
        self.parts = parts
        self.tpm = tpm or PaperTpm()
        self.peer = Peer(HOST, "https", certificates)
        self.trace = Trace(parts.clock)
        self.endpoint = DpsHttpsEndpoint(
            service=parts.service, clock=parts.clock, trace=self.trace, host=HOST, transaction=parts.store.transaction
        )

    def enroll(self, **fields):
        return self.parts.enroll(NAME, attestation=self.tpm.attestation(), **fields)

    def token(self, seconds=3600, name=NAME):
        return self.tpm.token(f"{ID_SCOPE}%2Fregistrations%2F{name}", int(self.parts.now) + seconds)

    def send(self, method, path, body=None, token="", scope=ID_SCOPE, name=NAME, version="2019-03-31"):
        headers = {"content-type": "application/json; charset=utf-8", **({"authorization": token} if token else {})}
        raw = b"" if body is None else json.dumps(body).encode()
        path = f"/{scope}/registrations/{name}{path}"
        return asyncio.run(
            self.endpoint.handle(Request(method, path, {"api-version": version}, headers, raw, self.peer))
        )

    def register(self, body="keys", token="", **how):
        body = {"registrationId": NAME, "tpm": self.tpm.keys()} if body == "keys" else body
        return self.send("PUT", "/register", body, token, **how)

    def activate(self, response):
        self.tpm.activate(base64.b64decode(response.body["authenticationKey"]))

    def challenged(self):
        response = self.register()
        assert response.status == 401
        self.activate(response)
        return self

    def refused(self, response, kind, finding, text=""):
        assert (response.status, response.body["errorCode"]) == (kind.status, kind.code)
        assert response.headers["x-ms-error-code"] == str(kind.code)
        assert "authenticationKey" not in response.body
        assert response.body["info"]["simulatorFinding"] == finding
        assert text in response.body["info"]["simulatorReason"]
        detail = self.trace.events()[-1].detail
        assert (detail["finding"], detail["reason"]) == (finding, response.body["info"]["simulatorReason"])


@pytest.fixture
def device(provisioning):
    made = Device(provisioning)
    made.enroll()
    return made


# --- the way that devices go --------------------------------------------------------------------------------------


def test_challenge_register_poll(device):
    challenge = device.register()
    assert challenge.status == 401
    # it is told from an error by what it lacks
    assert list(challenge.body) == ["message", "authenticationKey", "keyName"]
    assert challenge.body["keyName"] == "registration"
    assert uuid.UUID(challenge.headers["x-ms-request-id"])
    assert "x-ms-error-code" not in challenge.headers
    device.activate(challenge)
    assert device.tpm.address == f"{ID_SCOPE}/registrations/{NAME}".encode()

    token = device.token()
    registered = device.register(token=token)
    assert (registered.status, set(registered.body)) == (202, {"operationId", "status"})
    polled = device.send("GET", f"/operations/{registered.body['operationId']}", {}, token)
    state = polled.body["registrationState"]
    assert (polled.status, state["status"], next(iter(state)), list(state["tpm"])) == (
        200,
        "assigned",
        "tpm",
        ["authenticationKey"],
    )
    again = device.send("GET", f"/operations/{registered.body['operationId']}", {}, token).body["registrationState"]
    assert again["tpm"] != state["tpm"]

    found = device.send("POST", "", {"registrationId": NAME, "tpm": device.tpm.keys()}, token)
    assert found.status == 200
    assert "tpm" not in found.body

    device.tpm.activate(base64.b64decode(state["tpm"]["authenticationKey"]))
    assert base64.b64encode(device.tpm.key).decode() == device.parts.hub.devices[NAME]["credentials"].primary_key
    assert device.tpm.address == f"{device.parts.hub.host}/devices/{NAME}".encode()


def test_the_second_request_may_leave_out_the_keys(device):
    device.challenged()
    assert device.register(None, device.token()).status == 202
    assert device.register({"tpm": None}, device.token()).status == 202
    assert device.register({"tpm": {"endorsementKey": text(device.tpm.endorsement)}}, device.token()).status == 202


def test_a_device_that_waits_is_told_no_key():
    parts = Provisioning(pace="azure")
    device = Device(parts)
    device.enroll()
    device.challenged()
    operation = device.register(token=device.token()).body["operationId"]
    waiting = device.send("GET", f"/operations/{operation}", None, device.token())
    assert (waiting.status, set(waiting.body["registrationState"])) == (202, {"registrationId", "status"})
    parts.clock.advance(60)
    assert "tpm" in device.send("GET", f"/operations/{operation}", None, device.token()).body["registrationState"]


def test_a_certificate_beside_the_keys_means_nothing(provisioning):
    device = Device(provisioning, certificates=(make_root().der,))
    device.enroll()
    assert device.challenged().register(token=device.token()).status == 202


def test_the_trace_shows_the_challenge_without_secrets(device):
    device.challenged()
    challenge_key = base64.b64encode(device.tpm.key).decode()
    operation = device.register(token=device.token()).body["operationId"]
    polled = device.send("GET", f"/operations/{operation}", None, device.token())
    hub_key = device.parts.hub.devices[NAME]["credentials"].primary_key
    events = device.trace.events()
    asked, challenge = events[:2]
    assert asked.detail["body"]["tpm"] == device.tpm.keys()
    assert (challenge.operation, challenge.status, challenge.detail["challenge"]) == ("register", 401, True)
    assert "endorsement key of individual enrollment 'device-1'" in challenge.detail["reason"]
    assert challenge.detail["body"]["authenticationKey"].startswith("****")
    assert not any("challenge" in event.detail for event in events[2:])
    written = json.dumps([event.to_json() for event in events])
    for secret in (challenge_key, hub_key, polled.body["registrationState"]["tpm"]["authenticationKey"]):
        assert secret not in written


@pytest.mark.parametrize("kind", ["embedded", "swtpm"])
def test_real_tpms_open_what_they_get(provisioning, tmp_path, kind):
    if kind == "swtpm" and not shutil.which("swtpm"):
        pytest.skip("swtpm is not installed")
    with open_tpm(kind, tmp_path) as tpm:
        device = Device(provisioning)
        attestation = {"type": "tpm", "tpm": {"endorsementKey": tpm.endorsement_key}}
        provisioning.enroll(NAME, attestation=attestation)
        keys = {"endorsementKey": tpm.endorsement_key, "storageRootKey": tpm.storage_root_key}
        tpm.activate(base64.b64decode(device.register({"tpm": keys}).body["authenticationKey"]))

        def token():
            resource, expiry = f"{ID_SCOPE}%2Fregistrations%2F{NAME}", int(provisioning.now) + 60
            signature = quote(base64.b64encode(tpm.sign(f"{resource}\n{expiry}".encode())), safe="")
            return f"SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn=registration"

        operation = device.register({"tpm": keys}, token()).body["operationId"]
        state = device.send("GET", f"/operations/{operation}", None, token()).body["registrationState"]
        tpm.activate(base64.b64decode(state["tpm"]["authenticationKey"]))
        hub_key = base64.b64decode(provisioning.hub.devices[NAME]["credentials"].primary_key)
        assert tpm.sign(b"to the hub") == hmac.digest(hub_key, b"to the hub", "sha256")


# --- refusals -----------------------------------------------------------------------------------------------------


def test_an_unknown_registration_id(provisioning):
    device = Device(provisioning)
    for response in (device.register(), device.register(token=device.token())):
        assert (response.status, response.body["errorCode"]) == (404, 404201)
        assert "no individual enrollment 'device-1'" in device.trace.events()[-1].detail["reason"]


def test_another_tpm_than_the_enrolled_one(device):
    device.challenged()
    stranger = Device(device.parts, PaperTpm(endorsement_number=2, key=device.tpm.key))
    stranger.refused(stranger.register(), Dps.UNAUTHORIZED_DEVICE, "endorsementKeyMismatch")
    response = stranger.register(token=stranger.token())
    stranger.refused(response, Dps.UNAUTHORIZED_DEVICE, "endorsementKeyMismatch")
    # it spoiled nothing
    assert device.register(token=device.token()).status == 202


def test_no_challenge_without_a_storage_root_key(device):
    for keys in ({"storageRootKey": None}, {}):
        body = {"tpm": {"endorsementKey": text(device.tpm.endorsement), **keys}}
        device.refused(
            device.register(body), Dps.INVALID_BODY, "storageRootKeyMissing", "tpm.storageRootKey is missing"
        )


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"endorsementKey": None}, "tpm.endorsementKey is missing"),
        ({"endorsementKey": "AToA"}, "tpm.endorsementKey has 3 bytes"),
        ({"storageRootKey": ""}, "tpm.storageRootKey is missing"),
        ({"storageRootKey": "?"}, "tpm.storageRootKey is not base64"),
        ({"storageRootKey": text(PaperTpm().endorsement)}, "tpm.storageRootKey is an endorsement key"),
    ],
)
@pytest.mark.parametrize("with_token", [False, True])
def test_keys_that_are_none(device, keys, problem, with_token):
    token = device.challenged().token() if with_token else ""
    response = device.register({"tpm": device.tpm.keys(**keys)}, token)
    assert (response.status, response.body["errorCode"]) == (400, Dps.INVALID_BODY.code)
    assert problem in response.body["message"]


def test_a_token_before_the_challenge(device):
    device.tpm.key = b"k" * 32
    for response in (
        device.register(token=device.token()),
        device.send("GET", "/operations/5.a", token=device.token()),
    ):
        device.refused(response, Dps.UNAUTHORIZED_DEVICE, "challengeMissing", "register without a token first")


def test_a_token_of_another_key(device):
    device.challenged()
    device.tpm.key = b"k" * 32
    device.refused(device.register(token=device.token()), Dps.UNAUTHORIZED_DEVICE, "signatureInvalid")


def test_a_token_that_expired(device):
    device.challenged()
    device.refused(device.register(token=device.token(-5)), Dps.UNAUTHORIZED_DEVICE, "tokenExpired")


def test_a_token_for_another_device(device):
    response = device.challenged().register(token=device.token(name="device-2"))
    device.refused(response, Dps.UNAUTHORIZED_DEVICE, "resourceMismatch")


def test_a_challenge_that_was_answered_too_late(device):
    device.challenged()
    device.parts.clock.advance(3600)
    device.refused(device.register(token=device.token()), Dps.UNAUTHORIZED_DEVICE, "challengeExpired")


def test_a_tpm_that_was_cleared_after_the_challenge(device):
    device.challenged()
    device.tpm.storage_number = 2
    device.refused(device.register(token=device.token()), Dps.UNAUTHORIZED_DEVICE, "storageRootKeyMismatch")


def test_a_device_that_is_enrolled_otherwise(provisioning):
    provisioning.enroll()
    device = Device(provisioning)
    device.refused(device.register(), Dps.UNAUTHORIZED_DEVICE, "attestationMismatch", "is for symmetricKey")
    token = provisioning.token(NAME)
    device.refused(device.register(token=token), Dps.UNAUTHORIZED_DEVICE, "attestationMismatch", "enroll the TPM")
    assert device.register(None, token).status == 202


def test_a_device_with_a_certificate_that_is_enrolled_with_a_tpm(provisioning):
    root = make_root(NAME)
    device = Device(provisioning, certificates=(root.der,))
    device.enroll()
    device.refused(device.register(None), Dps.INVALID_CERTIFICATE, "attestationMismatch", "it is for tpm")


def test_a_look_up_gives_no_challenge(device):
    response = device.send("POST", "", {"tpm": device.tpm.keys()})
    device.refused(response, Dps.UNAUTHORIZED_DEVICE, "challengeMissing", "register first")


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ({"scope": "0ne00000B02"}, Dps.ID_SCOPE_NOT_FOUND),
        ({"version": "1.0"}, Dps.API_VERSION_NOT_SUPPORTED),
        ({"name": "no%20name"}, Dps.INVALID_BODY),
    ],
)
def test_wrong_addresses_are_not_challenged(device, how, kind):
    response = device.register({"tpm": device.tpm.keys()}, **how)
    assert (response.status, response.body["errorCode"]) == (kind.status, kind.code)


def test_a_disabled_enrollment_is_told_at_the_end(provisioning):
    device = Device(provisioning)
    device.enroll(provisioningStatus="disabled")
    operation = device.challenged().register(token=device.token()).body["operationId"]
    state = device.send("GET", f"/operations/{operation}", None, device.token()).body["registrationState"]
    assert state["status"] == "disabled"
    assert "tpm" not in state


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=20), st.binary(max_size=330).map(text), st.just({})
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60))
@given(st.one_of(VALUES, st.fixed_dictionaries({}, optional={"endorsementKey": VALUES, "storageRootKey": VALUES})))
def test_whatever_a_device_sends_is_answered(device, tpm):
    for token in ("", device.tpm.token("r", 5)):
        assert device.register({"tpm": tpm}, token).status in (400, 401)
