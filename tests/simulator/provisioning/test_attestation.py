import pytest
from provisioning_parts import ID_SCOPE, OTHER_KEY, PRIMARY_KEY, SECONDARY_KEY, derived_key, symmetric_key

from dps_simulator.credentials.sas import SharedAccessSignature
from dps_simulator.provisioning.attestation.symmetric_key import (
    SymmetricKeyEvidence,
    device_credentials,
)


def attest(parts, registration_id="device-1", check_expiry=True, **token):
    sas = SharedAccessSignature.parse(parts.token(**{"registration_id": registration_id, **token}))
    evidence = SymmetricKeyEvidence(sas.resource_parts(), sas.expiry, sas.is_signed_by)
    return parts.attest(registration_id, evidence, check_expiry=check_expiry)


@pytest.mark.parametrize("key", [PRIMARY_KEY, SECONDARY_KEY])
def test_both_keys_of_an_individual_enrollment(provisioning, key):
    provisioning.enroll("Device-1")
    verdict = attest(provisioning, "dEVICE-1", key=key)
    assert verdict.enrollment.identifier == verdict.registration_id == "Device-1"
    assert "individual enrollment 'Device-1'" in verdict.reason
    credentials = device_credentials(verdict.enrollment, verdict.registration_id)
    assert (credentials.type, credentials.primary_key, credentials.secondary_key) == ("sas", PRIMARY_KEY, SECONDARY_KEY)


@pytest.mark.parametrize("key", [PRIMARY_KEY, SECONDARY_KEY])
@pytest.mark.parametrize("spelling", ["Device-1", "device-1"])
def test_keys_derived_from_both_keys_of_a_group(provisioning, key, spelling):
    provisioning.enroll_group("other", attestation=symmetric_key(OTHER_KEY, OTHER_KEY))
    provisioning.enroll_group()
    verdict = attest(provisioning, "Device-1", key=derived_key(key, spelling))
    assert verdict.enrollment.identifier == "group-1"
    assert verdict.registration_id == spelling
    credentials = device_credentials(verdict.enrollment, verdict.registration_id)
    assert credentials.primary_key == derived_key(PRIMARY_KEY, spelling)
    assert credentials.secondary_key == derived_key(SECONDARY_KEY, spelling)


def refused(parts, text, **arguments):
    verdict = attest(parts, **arguments)
    assert verdict.enrollment is None
    assert text in verdict.reason
    assert PRIMARY_KEY not in verdict.reason


def test_a_wrong_key(provisioning):
    provisioning.enroll()
    refused(provisioning, "'device-1' decides alone, and neither of its keys signed the token", key=OTHER_KEY)


def test_the_individual_enrollment_decides_alone(provisioning):
    provisioning.enroll(attestation=symmetric_key(OTHER_KEY, OTHER_KEY))
    provisioning.enroll_group("other", attestation=symmetric_key(OTHER_KEY, OTHER_KEY))
    provisioning.enroll_group()
    derived = derived_key(PRIMARY_KEY, "device-1")
    refused(provisioning, "(a key derived from enrollment group 'group-1' did)", key=derived)


def test_a_device_that_nobody_enrolled(provisioning):
    refused(provisioning, "there is no individual enrollment 'device-1'")
    provisioning.enroll_group()
    refused(provisioning, "one of the 1 enrollment groups", key=OTHER_KEY)


@pytest.mark.parametrize("key", [PRIMARY_KEY, SECONDARY_KEY])
def test_the_key_of_the_group_itself(provisioning, key):
    provisioning.enroll_group("other", attestation=symmetric_key(OTHER_KEY, OTHER_KEY))
    provisioning.enroll_group()
    refused(provisioning, "key of enrollment group 'group-1' itself; derive the device key", key=key)


def test_a_key_derived_for_another_device(provisioning):
    provisioning.enroll_group()
    refused(provisioning, "no key derived from", key=derived_key(PRIMARY_KEY, "device-2"))


def test_an_expired_token(provisioning):
    provisioning.enroll()
    refused(provisioning, "the token expired 12 s ago", seconds=-12)
    refused(provisioning, "expired 0 s ago", seconds=0)
    assert attest(provisioning, check_expiry=False, seconds=-12).enrollment


def test_a_token_for_something_else(provisioning):
    provisioning.enroll()
    refused(provisioning, "for '0ne0other/registrations/device-1', not for", scope="0ne0other")
    token = SharedAccessSignature.parse(provisioning.token("device-2"))
    evidence = SymmetricKeyEvidence(token.resource_parts(), token.expiry, token.is_signed_by)
    assert provisioning.attest("device-1", evidence).enrollment is None


def test_the_resource_ignores_case(provisioning):
    provisioning.enroll("Device-1")
    assert attest(provisioning, "Device-1", scope=ID_SCOPE.lower()).enrollment
    assert provisioning.service.is_own_scope(ID_SCOPE.lower())
    assert not provisioning.service.is_own_scope("0ne")


def test_a_disabled_enrollment_still_attests(provisioning):
    # the device is told at the end of its registration, not before
    provisioning.enroll(provisioningStatus="disabled")
    assert attest(provisioning).enrollment.is_disabled
