import base64
import hmac

import pytest
from provisioning_parts import ID_SCOPE, PRIMARY_KEY, Provisioning, symmetric_key
from tpm_parts import PaperTpm

from dps_simulator.common.identifiers import RegistrationId
from dps_simulator.credentials.sas import SharedAccessSignature
from dps_simulator.credentials.tpm_keys import TpmKeys, TpmPublicKey
from dps_simulator.errors.table import Dps, ServiceError
from dps_simulator.process.store import Store
from dps_simulator.provisioning.attestation.challenges import LIFETIME_SECONDS
from dps_simulator.provisioning.attestation.symmetric_key import SymmetricKeyEvidence, device_credentials
from dps_simulator.provisioning.attestation.tpm import TpmEvidence


class Device:
    """A device with a TPM; its secrets reach it without a blob."""

    def __init__(self, parts, tpm=None, registration_id="device-1"):
        self.parts = parts
        self.tpm = tpm or PaperTpm()
        self.registration_id = registration_id

    def enroll(self, **fields):
        return self.parts.enroll(self.registration_id, attestation=self.tpm.attestation(), **fields)

    @property
    def keys(self):
        return TpmKeys(TpmPublicKey.parse(self.tpm.endorsement), TpmPublicKey.parse(self.tpm.storage_root))

    def identify(self):
        return self.parts.service.identify_tpm(RegistrationId(self.registration_id), self.keys)

    def challenge(self):
        verdict = self.identify()
        assert verdict.enrollment is not None, verdict.reason
        secret = self.parts.service.challenges.issue(verdict.enrollment, self.keys.endorsement, self.keys.storage_root)
        self.tpm.key = secret.key
        return secret

    def evidence(self, seconds=3600, scope=ID_SCOPE, name=None):
        resource = f"{scope}%2fregistrations%2f{name or self.registration_id}"
        token = SharedAccessSignature.parse(self.tpm.token(resource, int(self.parts.now) + seconds))
        return SymmetricKeyEvidence(token.resource_parts(), token.expiry, token.is_signed_by)

    def attest(self, keys=None, **token):
        evidence = self.evidence(**token)
        return self.parts.attest(self.registration_id, evidence if keys is None else TpmEvidence(evidence, keys))

    def register(self):
        verdict = self.attest()
        return self.parts.registrations.register(
            verdict.registration_id, verdict.enrollment, verdict.leaf_thumbprint, verdict.tpm_keys
        )

    def poll(self, operation_id):
        return self.parts.registrations.poll(self.registration_id, operation_id)

    def at_the_hub(self, hub=0, device_id="device-1"):
        return self.parts.hubs[hub].devices[device_id]["credentials"]


@pytest.fixture
def device(provisioning):
    made = Device(provisioning)
    made.enroll()
    return made


def refused(verdict, finding, text):
    assert verdict.enrollment is None
    assert verdict.finding == finding
    assert text in verdict.reason
    assert verdict.reason.startswith("The ")
    assert verdict.reason.endswith(".")


# --- challenges ---------------------------------------------------------------------------------------------------


def test_who_signs_with_the_key_of_the_challenge_has_the_tpm(device):
    secret = device.challenge()
    assert len(secret.key) == 32
    assert secret.address == f"{ID_SCOPE}/registrations/device-1"
    assert secret.key.hex() not in repr(secret)
    for keys in (None, device.keys, TpmKeys(device.keys.endorsement)):
        verdict = device.attest(keys)
        assert verdict.enrollment.identifier == verdict.registration_id == "device-1"
        assert "the TPM of individual enrollment 'device-1'" in verdict.reason
        assert verdict.tpm_keys == (device.keys.endorsement.text, device.keys.storage_root.text)


def test_the_registration_id_ignores_case(provisioning):
    Device(provisioning, registration_id="Device-1").enroll()
    device = Device(provisioning, registration_id="dEVICE-1")
    device.challenge()
    assert device.attest(scope=ID_SCOPE.lower(), name="DEVICE-1").registration_id == "Device-1"


@pytest.mark.parametrize("jump", [-366 * 86_400, -3_600, 86_400])
def test_a_jump_of_the_clock_prolongs_no_challenge(device, jump):
    device.challenge()
    device.parts.clock.advance(jump)
    assert (device.attest().enrollment is not None) is (jump < 0)
    device.parts.clock.advance(LIFETIME_SECONDS)
    refused(device.attest(), "challengeExpired", "expired")


def test_the_newest_challenge_counts(device):
    old = device.challenge()
    new = device.challenge()
    assert old.key != new.key
    assert device.attest().enrollment
    device.tpm.key = old.key
    refused(device.attest(), "signatureInvalid", "newest challenge of individual enrollment 'device-1' did not sign")


def test_a_challenge_lasts_for_a_while(device):
    device.challenge()
    device.parts.clock.advance(LIFETIME_SECONDS - 1)
    assert device.attest().enrollment
    device.parts.clock.advance(1)
    refused(device.attest(), "challengeExpired", "expired 0 s ago; register without a token first")


def test_a_challenge_survives_a_restart(tmp_path):
    parts = Provisioning(store=Store(tmp_path))
    device = Device(parts)
    device.enroll()
    device.challenge()
    parts.store.close()
    device.parts = Provisioning(store=Store(tmp_path), clock=parts.clock)
    assert device.attest().enrollment


def test_a_challenge_goes_with_its_enrollment(device):
    device.challenge()
    device.parts.individuals.delete("device-1")
    device.enroll()
    refused(device.attest(), "challengeMissing", "no challenge")


def test_a_challenge_goes_with_the_enrolled_key(device):
    device.challenge()
    device.parts.enroll("device-1", "*", attestation=device.tpm.attestation(), deviceId="another")
    assert device.attest().enrollment
    device.parts.enroll("device-1", "*", attestation=PaperTpm(endorsement_number=2).attestation())
    device.parts.enroll("device-1", "*", attestation=device.tpm.attestation())
    refused(device.attest(), "challengeMissing", "no challenge")


def test_a_challenge_goes_when_everything_is_forgotten(device):
    device.challenge()
    device.parts.service.clear()
    device.enroll()
    refused(device.attest(), "challengeMissing", "given no challenge; register without a token first")


def test_a_device_of_a_disabled_enrollment_is_challenged(device):
    device.parts.enroll("device-1", "*", attestation=device.tpm.attestation(), provisioningStatus="disabled")
    device.challenge()
    assert device.register().status.value == "disabled"
    assert not device.parts.hub.devices


# --- refusals -----------------------------------------------------------------------------------------------------


def test_another_tpm(device):
    stranger = Device(device.parts, PaperTpm(endorsement_number=2))
    refused(stranger.identify(), "endorsementKeyMismatch", "is for another TPM")
    enrolled, shown = device.keys.endorsement.digest, stranger.keys.endorsement.digest
    assert stranger.identify().reason.index(enrolled) < stranger.identify().reason.index(shown)
    device.challenge()
    stranger.tpm.key = device.tpm.key
    refused(stranger.attest(stranger.keys), "endorsementKeyMismatch", "enroll the key that its TPM has now")


def test_another_storage_root_key_than_the_challenge_was_made_for(device):
    device.challenge()
    cleared = Device(device.parts, PaperTpm(storage_number=2, key=device.tpm.key))
    refused(cleared.attest(cleared.keys), "storageRootKeyMismatch", "its TPM was cleared in between")
    # it is not part of the enrollment's proof
    assert cleared.challenge()
    assert cleared.attest(cleared.keys).enrollment


def test_the_storage_root_key_of_the_enrollment_is_not_compared(provisioning):
    device = Device(provisioning)
    provisioning.enroll(attestation={"type": "tpm", "tpm": PaperTpm(storage_number=2).keys()})
    device.challenge()
    assert device.attest(device.keys).enrollment


@pytest.mark.parametrize("keys", [None, "shown"])
@pytest.mark.parametrize(
    ("token", "finding", "text"),
    [
        ({"seconds": -7}, "tokenExpired", "expired 7 s ago; set the device's clock"),
        ({"seconds": 0}, "tokenExpired", "expired 0 s ago"),
        ({"scope": "0ne0other"}, "resourceMismatch", "is for '0ne0other/registrations/device-1', not for"),
        ({"name": "device-2"}, "resourceMismatch", "not for '0ne00000A01/registrations/device-1'"),
    ],
)
def test_wrong_tokens(device, keys, token, finding, text):
    device.challenge()
    refused(device.attest(keys and device.keys, **token), finding, text)


def test_a_device_that_nobody_enrolled(provisioning):
    stranger = Device(provisioning)
    for call in (stranger.identify, lambda: stranger.attest(stranger.keys)):
        with pytest.raises(ServiceError) as error:
            call()
        assert error.value.kind is Dps.ENROLLMENT_NOT_FOUND
        assert "enrollment groups know no TPM attestation" in error.value.reason


def test_a_device_that_is_enrolled_under_another_name(device):
    with pytest.raises(ServiceError) as error:
        Device(device.parts, registration_id="device-2").identify()
    assert error.value.kind is Dps.ENROLLMENT_NOT_FOUND
    assert "under the registration ID 'device-1'" in error.value.reason


def test_a_device_that_is_enrolled_with_a_key(provisioning):
    provisioning.enroll()
    device = Device(provisioning)
    refused(device.identify(), "attestationMismatch", "is for symmetricKey, and the device registers with a TPM")
    device.tpm.key = base64.b64decode(PRIMARY_KEY)
    refused(device.attest(device.keys), "attestationMismatch", "or enroll the TPM")
    assert device.attest().enrollment


def test_a_key_of_a_group_opens_no_enrollment_for_a_tpm(device):
    device.parts.enroll_group()
    device.tpm.key = base64.b64decode(PRIMARY_KEY)
    refused(device.attest(), "challengeMissing", "shows a token although it was given no challenge")


# --- registrations ------------------------------------------------------------------------------------------------


def test_the_hub_gets_a_new_key_at_every_registration(device):
    seen = set()
    for _ in range(2):
        device.challenge()
        operation = device.register()
        told = device.poll(operation.operation_id)
        assert told.status.value == "assigned"
        credentials = device.at_the_hub()
        assert credentials.type == "sas"
        assert base64.b64decode(credentials.primary_key) == told.secret.key == operation.secret.key
        assert told.secret.address == f"{device.parts.hub.host}/devices/device-1"
        assert (told.secret.endorsement, told.secret.storage_root) == (
            device.keys.endorsement,
            device.keys.storage_root,
        )
        seen |= {credentials.primary_key, credentials.secondary_key, base64.b64encode(device.tpm.key).decode()}
    assert len(seen) == 6
    assert {len(base64.b64decode(key)) for key in seen} == {32}


def test_nobody_else_is_told_the_key(device):
    device.challenge()
    operation = device.register()
    hub_key = device.at_the_hub().primary_key
    registrations = device.parts.registrations
    (individual,) = device.parts.individuals.all()
    states = (registrations.get("device-1"), registrations.look_up("device-1"), registrations.state_of(individual))
    for shown in (operation, operation.to_json(), individual.to_json(with_keys=True), *states):
        assert hub_key not in repr(shown)
    assert not any("tpm" in state for state in states)


def test_an_operation_that_was_overtaken_gives_the_newer_key():
    parts = Provisioning(pace="azure")
    device = Device(parts)
    device.enroll()
    device.challenge()
    first = device.register()
    assert first.secret is None
    assert device.poll(first.operation_id).secret is None
    second = device.register()
    parts.clock.advance(1)
    secrets = [device.poll(operation.operation_id).secret.key for operation in (first, second)]
    assert secrets[0] == secrets[1] == base64.b64decode(device.at_the_hub().primary_key)


def test_the_key_that_the_hub_has_counts_until_it_gets_another():
    parts = Provisioning(pace="azure")
    device = Device(parts)
    device.enroll()
    device.challenge()
    first = device.register()
    parts.clock.advance(1)
    assert device.poll(first.operation_id).secret.key == base64.b64decode(device.at_the_hub().primary_key)
    second = device.register()
    # not decided yet: what the device asks about is its earlier assignment
    assert device.poll(first.operation_id).secret.key == base64.b64decode(device.at_the_hub().primary_key)
    parts.clock.advance(1)
    assert device.poll(second.operation_id).secret.key == base64.b64decode(device.at_the_hub().primary_key)


def test_a_tpm_that_was_cleared_gets_no_old_key():
    parts = Provisioning(pace="azure")
    device = Device(parts)
    device.enroll()
    device.challenge()
    first = device.register()
    parts.clock.advance(1)
    device.poll(first.operation_id)
    device.tpm = PaperTpm(storage_number=2)
    device.challenge()
    second = device.register()
    assert device.poll(first.operation_id).secret is None
    parts.clock.advance(1)
    assert device.poll(second.operation_id).secret.storage_root == device.keys.storage_root


def test_a_registration_that_fails_gives_no_key(device):
    device.parts.enroll("device-1", "*", attestation=device.tpm.attestation(), deviceId="refused-by-the-hub")
    device.challenge()
    told = device.register()
    assert (told.status.value, told.secret) == ("failed", None)


@pytest.mark.parametrize(
    ("attestation", "status"),
    [(PaperTpm(endorsement_number=2).attestation(), "failed"), (symmetric_key(), "assigned")],
)
def test_an_enrollment_that_changes_while_the_device_waits(attestation, status):
    parts = Provisioning(pace="azure")
    device = Device(parts)
    device.enroll()
    device.challenge()
    device.register()
    parts.clock.advance(1)
    operation = device.register()
    parts.enroll("device-1", "*", attestation=attestation)
    parts.clock.advance(1)
    told = device.poll(operation.operation_id)
    assert (told.status.value, told.secret) == (status, None)
    if status == "failed":
        assert told.state["errorCode"] == Dps.UNAUTHORIZED_DEVICE.code
    else:
        assert device.at_the_hub().primary_key == PRIMARY_KEY


def test_a_device_with_a_key_whose_enrollment_is_for_a_tpm_by_now(device):
    enrollment = device.parts.individuals.get("device-1")
    with pytest.raises(ServiceError, match="Unauthorized"):
        device_credentials(enrollment, "device-1")


def test_an_earlier_registration_with_a_key_leaves_nothing_of_it(provisioning):
    provisioning.enroll()
    provisioning.register()
    device = Device(provisioning)
    provisioning.enroll("device-1", "*", attestation=device.tpm.attestation())
    device.challenge()
    told = device.register()
    assert base64.b64decode(device.at_the_hub().primary_key) == told.secret.key
    assert hmac.compare_digest(told.secret.key, device.poll(told.operation_id).secret.key)


def test_the_assignment_moves_to_another_hub_with_a_new_key():
    parts = Provisioning(hubs=["hub-1.azure-devices.test", "hub-2.azure-devices.test"])
    device = Device(parts)
    device.enroll(iotHubHostName="hub-1.azure-devices.test")
    device.challenge()
    first = device.register().secret
    parts.enroll("device-1", "*", attestation=device.tpm.attestation(), iotHubHostName="hub-2.azure-devices.test")
    second = device.register().secret
    assert first.key != second.key
    assert second.address == "hub-2.azure-devices.test/devices/device-1"
    assert not parts.hubs[0].devices
    assert base64.b64decode(device.at_the_hub(1).primary_key) == second.key
