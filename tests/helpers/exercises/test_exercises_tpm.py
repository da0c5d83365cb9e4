import base64
import hashlib
import hmac
from dataclasses import fields, replace
from types import SimpleNamespace

import pytest

from helpers import workspace
from helpers.credentials import Secret
from helpers.exercises import tpm as exercises
from helpers.recipes import tpm as tpm_lessons
from helpers.tpm import (
    ActivationBlob,
    ActivationError,
    TpmError,
    TpmProvisioningDeviceClient,
    open_tpm,
    tpm_sas_token,
)

NONSENSE = [None, 7, "x", [], [7], {}, {"attestation": 7}, True, object(), b"bytes", len, "SharedAccessSignature sr=&"]
HUB, DEVICE, REGISTRATION = "hub-1.azure-devices.test", "greenhouse-gateway", "iapljgc7"
KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(scope="module")
def tpms(tmp_path_factory):
    """Two TPMs: that of the device, and that of the spare one; no key is activated in either."""
    own = open_tpm("embedded", tmp_path_factory.mktemp("own"))
    spare = open_tpm("embedded", tmp_path_factory.mktemp("spare"))
    yield SimpleNamespace(own=own, spare=spare, key=spare.endorsement_key)
    own.close()
    spare.close()


def _base32(data):
    return base64.b32encode(data).decode()


def _hash(key):
    return hashlib.sha256(base64.b64decode(key)).digest()


NAMES = {
    "right": (lambda t: t.spare.registration_id, "solved"),
    "nothing": (lambda t: "", "three lines"),
    "of the first TPM": (lambda t: t.own.registration_id, "the first TPM"),
    "the key": (lambda t: t.key, "the key itself"),
    "hash of the text": (lambda t: _base32(hashlib.sha256(t.key.encode()).digest()).lower().rstrip("="), "base64 text"),
    "hexadecimal": (lambda t: _hash(t.key).hex(), "hexadecimal"),
    "base64": (lambda t: base64.b64encode(_hash(t.key)).decode(), "take base32"),
    "capitals and filled up": (lambda t: _base32(_hash(t.key)), "in small letters, and without"),
    "filled up": (lambda t: _base32(_hash(t.key)).lower(), "rstrip"),
    "capitals": (lambda t: _base32(_hash(t.key)).rstrip("="), "lower()"),
    "not hashed": (lambda t: _base32(base64.b64decode(t.key)).lower(), "Hash it first"),
    "bytes": (lambda t: base64.b32encode(_hash(t.key)), "Those are bytes"),
}


@pytest.mark.parametrize(("make", "says"), NAMES.values(), ids=NAMES)
def test_derived_name(said, tpms, make, says):
    assert says in said(exercises.derived_name, make(tpms), tpms.key, own=tpms.own.registration_id)


def _enrollment(tpms, key=None, **changes):
    attestation = {"type": "tpm", "tpm": {"endorsementKey": tpms.key if key is None else key}}
    whole = {"registrationId": tpms.spare.registration_id, "deviceId": "spare-gateway", "attestation": attestation}
    return {**whole, **changes}


ENROLLMENTS = {
    "right": (_enrollment, "solved"),
    "nothing": (lambda t: {}, "It is a dictionary"),
    "a group": (lambda t: _enrollment(t, enrollmentGroupId="spares"), "no groups for TPMs"),
    "the SRK in it": (
        lambda t: _enrollment(t, attestation={"type": "tpm", "tpm": {"endorsementKey": t.key, "storageRootKey": "x"}}),
        "brings the SRK along",
    ),
    "capitals": (lambda t: _enrollment(t, registrationId=t.spare.registration_id.upper()), "small letters"),
    "name of the first": (lambda t: _enrollment(t, registrationId=t.own.registration_id), "of the first TPM"),
    "another name": (lambda t: _enrollment(t, registrationId="spare-gateway"), "the name that belongs"),
    "no name": (lambda t: {"deviceId": "spare-gateway"}, "the name that belongs"),
    "no device ID": (lambda t: _enrollment(t, deviceId=""), "'spare-gateway'"),
    "no attestation": (lambda t: _enrollment(t, attestation=None), "attestation of the type"),
    "no key": (lambda t: _enrollment(t, attestation={"type": "tpm"}), "The key is missing"),
    "key of the first": (lambda t: _enrollment(t, t.own.endorsement_key), "the wrong device in"),
    "SRK as EK": (lambda t: _enrollment(t, t.spare.storage_root_key), "storage root key"),
    "PEM": (lambda t: _enrollment(t, "-----BEGIN PUBLIC KEY-----"), "That is PEM"),
    "end lost": (lambda t: _enrollment(t, t.key.rstrip("=") + "\n"), "a line break does not"),
    "key cut": (lambda t: _enrollment(t, t.key[:-8]), "must be `spare_key`, whole"),
}


@pytest.mark.parametrize(("make", "says"), ENROLLMENTS.values(), ids=ENROLLMENTS)
def test_enrollment(said, tpms, make, says):
    assert says in said(exercises.enrollment, make(tpms), tpms.key, "spare-gateway", tpms.own)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("nothing", "solved"),
        (" Nothing ", "solved"),
        ("", "which one changes"),
        ("endorsement key", "survives"),
        ("EK", "survives"),
        ("SRK", "does it stand there"),
        ("registration ID", "a hash of the EK"),
    ],
)
def test_cleared(said, answer, says):
    assert says in said(exercises.cleared, answer)


class Signer:
    """A TPM that has a key, which can be seen here, or whose signing fails."""

    def __init__(self, key=KEY, failure=None):
        self.raw, self.failure = base64.b64decode(key), failure

    def sign(self, data):
        if self.failure:
            raise self.failure
        return hmac.new(self.raw, data, hashlib.sha256).digest()


def _token(resource=f"{HUB}/devices/{DEVICE}", seconds=600, key=KEY, name=""):
    return tpm_sas_token(Signer(key), resource, key_name=name, seconds=seconds)


TOKENS = {
    "right": (_token, "solved"),
    "right, as text": (lambda: _token().reveal(), "solved"),
    "nothing": (lambda: "", "Step 4 signed"),
    "for DPS": (lambda: _token(f"0ne1/registrations/{REGISTRATION}", name="registration"), "That token is for DPS"),
    "https": (lambda: _token(f"https://{HUB}/devices/{DEVICE}"), "Without https://"),
    "for the hub": (lambda: _token(HUB), "the whole hub"),
    "registration ID": (lambda: _token(f"{HUB}/devices/{REGISTRATION}"), "does not know the registration ID"),
    "without devices": (lambda: _token(f"{HUB}/{DEVICE}"), "/devices/ is missing"),
    "capitals": (lambda: _token(f"{HUB}/devices/{DEVICE.upper()}"), "capitals and small"),
    "for another device": (lambda: _token(f"{HUB}/devices/kettle"), "the wrong resource"),
    "with a name": (lambda: _token(name="registration"), "leave key_name out"),
    "expired": (lambda: _token(seconds=-1), "expired already"),
    "an hour": (lambda: _token(seconds=3600), "600 seconds"),
    "no number": (lambda: _token().reveal().replace("se=", "se=x"), "expired already"),
    "another key": (lambda: _token(key=base64.b64encode(b"x" * 32).decode()), "before the device registered"),
}


@pytest.mark.parametrize(("make", "says"), TOKENS.values(), ids=TOKENS)
def test_hub_token(said, make, says):
    answer = make()
    hint = said(exercises.hub_token, answer, Signer(), HUB, DEVICE, REGISTRATION)
    assert says in hint
    assert "sig=" not in hint


def test_a_tpm_that_does_not_sign_is_said(said):
    signer = Signer(failure=TpmError("The TPM is closed."))
    assert "is closed" in said(exercises.hub_token, _token(), signer, HUB, DEVICE, REGISTRATION)


CHALLENGE = ActivationBlob(**{field.name: bytes(8) for field in fields(ActivationBlob)})


class Activating:
    """A TPM that takes a challenge, or fails as told."""

    def __init__(self, failure=None):
        self.failure, self.tried = failure, 0

    def activate(self, blob):
        self.tried += 1
        if self.failure:
            raise self.failure


REFUSED = ActivationError("no", "duplicate")
CHANGED = replace(CHALLENGE, duplicate=b"x" * 8)


@pytest.mark.parametrize(
    ("answer", "failure", "tried", "says"),
    [
        (CHANGED, REFUSED, 1, "solved"),
        (CHANGED, ActivationError("no"), 1, "solved"),
        (CHANGED, ActivationError("no", "secret"), 1, "because of something else"),
        (CHANGED, TpmError("It is closed."), 1, "It is closed."),
        (CHANGED, None, 1, "The TPM took it"),
        (CHALLENGE, REFUSED, 0, "as it came"),
        (replace(CHALLENGE, secret=b"x" * 8), REFUSED, 0, "Changed is secret"),
        (replace(CHANGED, secret=b"x" * 8), REFUSED, 0, "secret, duplicate"),
        (replace(CHALLENGE, duplicate=b"x"), REFUSED, 0, "another length"),
        (replace(CHALLENGE, duplicate=bytearray(b"x" * 8)), REFUSED, 0, "made of bytes"),
        (replace(CHALLENGE, duplicate=None), REFUSED, 0, "made of bytes"),
        (b"x" * 8, REFUSED, 0, "must be a challenge"),
    ],
    ids=range(12),
)
def test_damaged(said, answer, failure, tried, says):
    tpm = Activating(failure)
    assert says in said(exercises.damaged, answer, CHALLENGE, tpm)
    # a whole challenge must not reach the TPM: it would take the place of the hub's key
    assert tpm.tried == tried


TEXT = b"who signs?"
RAW = base64.b64decode(KEY)
TOLD = SimpleNamespace(assigned_hub=HUB, device_id=DEVICE)


class Registry:
    """A target whose hub knows the key of the device."""

    def registry(self, hub):
        assert hub == HUB
        return self

    def get_device(self, device_id):
        assert device_id == DEVICE
        return SimpleNamespace(authentication=SimpleNamespace(symmetric_key=SimpleNamespace(primary_key=KEY)))


def _hmac(key, digest="sha256", text=TEXT):
    return hmac.new(key, text, digest).digest()


SIGNATURES = {
    "right": (_hmac(RAW), "solved"),
    "nothing": (b"", "with the hub's key as bytes"),
    "key as text": (_hmac(KEY.encode()), "taken as text"),
    "SHA-512": (_hmac(RAW, "sha512"), "Another hash"),
    "SHA-1": (_hmac(RAW, "sha1"), "Another hash"),
    "no key": (hashlib.sha256(TEXT).digest(), "without any key"),
    "the key": (KEY, "the key itself"),
    "the bytes of the key": (RAW, "the key itself"),
    "hexadecimal": (_hmac(RAW).hex(), "Take .digest()"),
    "base64": (base64.b64encode(_hmac(RAW)).decode(), "in base64"),
    "another text": (_hmac(RAW, text=b"x"), "of another text"),
    "another key": (_hmac(b"another"), "a new key"),
}


@pytest.mark.parametrize(("answer", "says"), SIGNATURES.values(), ids=SIGNATURES)
def test_hub_signature(said, answer, says):
    hint = said(exercises.hub_signature, answer, Signer(), TEXT, Registry(), TOLD)
    assert says in hint
    assert KEY not in hint


@pytest.mark.parametrize(
    ("tpm", "dps"), [(Signer(failure=TpmError("closed")), Registry()), (Signer(), None)], ids=["no TPM", "no hub"]
)
def test_without_tpm_or_hub_the_exercise_says_so(said, tpm, dps):
    assert "could not be asked" in said(exercises.hub_signature, b"", tpm, TEXT, dps, TOLD)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("nothing", "solved"),
        ("", "copied with the disk"),
        ("everything", "searched all files"),
        ("tokens for an hour", "sign a new one"),
    ],
)
def test_copied_disk(said, answer, says):
    assert says in said(exercises.copied_disk, answer)


@pytest.mark.parametrize("answer", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_gets_a_hint(said, tpms, answer):
    hints = [
        said(exercises.derived_name, answer, tpms.key, own=tpms.own.registration_id),
        said(exercises.enrollment, answer, tpms.key, "spare-gateway", tpms.own),
        said(exercises.cleared, answer),
        said(exercises.hub_token, answer, Signer(), HUB, DEVICE, REGISTRATION),
        said(exercises.hub_token, Secret(str(answer)), Signer(), HUB, DEVICE, REGISTRATION),
        said(exercises.damaged, answer, CHALLENGE, Activating()),
        said(exercises.hub_signature, answer, Signer(), TEXT, Registry(), TOLD),
        said(exercises.copied_disk, answer),
    ]
    assert all(hint not in ("", "solved") for hint in hints)


def test_a_token_may_be_a_little_older(said, monkeypatch):
    # ten seconds pass between the learner's cell and the exercise, and no more
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.0)
    resource = f"{HUB}/devices/{DEVICE}"
    token = tpm_sas_token(Signer(), resource, expiry=1_800_000_590)
    assert said(exercises.hub_token, token, Signer(), HUB, DEVICE, REGISTRATION) == "solved"


@pytest.mark.sdk
def test_a_damaged_challenge_of_dps_is_refused_and_the_key_for_the_hub_stays(said, dps):
    names = {"tpm_kind": "embedded", "registration_id": "", "device_id": DEVICE}
    known = workspace.need(tpm_lessons.REGISTRATIONS, dps, **names)
    told = SimpleNamespace(assigned_hub=known["hub"], device_id=DEVICE)
    with open_tpm("embedded", workspace.folder(tpm_lessons.FILES, dps)) as tpm:
        client = TpmProvisioningDeviceClient.create_from_tpm(
            provisioning_host=dps.provisioning_host,
            id_scope=dps.id_scope,
            tpm=tpm,
            registration_id=known["registration_id"],
            **dps.device_options,
        )
        challenge = client.request_challenge()
        part = bytearray(challenge.duplicate)
        part[-1] ^= 1
        changed = replace(challenge, duplicate=bytes(part))
        assert said(exercises.damaged, changed, challenge, tpm) == "solved"
        key = tpm_lessons.hub_key(dps, told.assigned_hub, DEVICE).reveal()
        signature = _hmac(base64.b64decode(key))
        assert said(exercises.hub_signature, signature, tpm, TEXT, dps, told) == "solved"
        token = tpm_sas_token(tpm, f"{told.assigned_hub}/devices/{DEVICE}", seconds=600)
        arguments = (token, tpm, told.assigned_hub, DEVICE, tpm.registration_id)
        assert said(exercises.hub_token, *arguments) == "solved"
