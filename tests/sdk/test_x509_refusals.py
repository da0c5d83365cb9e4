"""Every certificate that is wrong in its own way, through the real SDK: what it raises, and what the trace says."""

import ssl

import pytest
import wrong_certificates
from azure.core.exceptions import HttpResponseError
from azure.iot.device import X509, ProvisioningDeviceClient
from azure.iot.device.exceptions import ClientError

from helpers import certificates
from helpers.problems import causes

pytestmark = pytest.mark.sdk

DEVICE = "pump-101"
INVALID, NO_AUTHORITY = "Invalid certificate.", "CA certificate not found."
mistakes = certificates.mistakes


class Factory:
    """A verified root, a line below it that is enrolled as group, and a device of it."""

    def __init__(self, sdk, folder):
        self.sdk, self.folder = sdk, folder
        self.root = certificates.create_root("Contoso Root")
        self.line = self.root.issue_intermediate("Contoso Line")
        self.device = self.line.issue_device(DEVICE)

    def verify(self, authority=None, name="root", verified=True):
        self.sdk.upload(name, authority or self.root, verified)

    def group(self, authority=None, **changes):
        primary = {"certificate": (authority or self.line).certificate}
        attestation = {"type": "x509", "x509": {"signingCertificates": {"primary": primary}}}
        self.sdk.enroll_group("pumps", attestation=attestation, **changes)

    def enroll(self, issued, registration_id=DEVICE, **changes):
        attestation = {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": issued.certificate}}}}
        self.sdk.enroll(registration_id, attestation=attestation, **changes)

    def register(self, issued, registration_id=DEVICE):
        files = issued.save(self.folder)
        client = ProvisioningDeviceClient.create_from_x509_certificate(
            self.sdk.running.provisioning_host,
            registration_id,
            self.sdk.running.id_scope,
            X509(str(files.chain_file), str(files.key_file)),
            **self.sdk.device_options(),
        )
        return client.register()


@pytest.fixture
def factory(sdk, tmp_path):
    return Factory(sdk, tmp_path)


def enrolled_elsewhere(factory):
    factory.enroll(factory.device, "another-pump")
    return factory.device


def another_root(factory):
    factory.verify()
    factory.group(factory.root)
    return certificates.create_root("Fabrikam Root").issue_device(DEVICE)


def only_the_intermediate_enrolled(factory):
    factory.group()
    return factory.device


def unverified_reference(factory):
    factory.verify(factory.line, "line", verified=False)
    attestation = {"type": "x509", "x509": {"caReferences": {"primary": "line"}}}
    factory.sdk.enroll_group("pumps", attestation=attestation)
    return factory.device


def below_the_root(mistake):
    def make(factory):
        factory.verify()
        factory.group(factory.root)
        return mistake(factory)

    return make


def stranger(factory):
    factory.enroll(certificates.create_self_signed(DEVICE))
    return certificates.create_self_signed(DEVICE)


def authority_as_device(factory):
    return mistakes.authority_as_device(factory.root.issue_intermediate(DEVICE))


def issued_by_a_device(factory):
    return wrong_certificates.issued_by_device(factory.line.issue_device("pump-1"), DEVICE)


REFUSALS = {
    "unknown certificate": (stranger, INVALID, "unknownCertificate"),
    "nobody knows it": (lambda factory: certificates.create_self_signed(DEVICE), INVALID, "unknownCertificate"),
    "enrolled elsewhere": (enrolled_elsewhere, INVALID, "enrolledElsewhere"),
    "other name": (below_the_root(lambda f: mistakes.other_name(f.line, DEVICE)), INVALID, "commonNameMismatch"),
    "only the leaf": (below_the_root(lambda f: mistakes.leaf_only(f.device)), NO_AUTHORITY, "intermediateMissing"),
    "missing intermediate": (
        below_the_root(lambda f: wrong_certificates.without_intermediate(f.device)),
        NO_AUTHORITY,
        "intermediateMissing",
    ),
    "another root": (another_root, NO_AUTHORITY, "unknownAuthority"),
    "only the intermediate enrolled": (only_the_intermediate_enrolled, NO_AUTHORITY, "authorityNotVerified"),
    "unverified reference": (unverified_reference, NO_AUTHORITY, "authorityNotVerified"),
    "expired": (below_the_root(lambda f: mistakes.expired(f.line, DEVICE)), INVALID, "certificateExpired"),
    "not yet valid": (
        below_the_root(lambda f: wrong_certificates.not_yet_valid(f.line, DEVICE)),
        INVALID,
        "certificateNotYetValid",
    ),
    "signed by a device": (below_the_root(issued_by_a_device), INVALID, "issuerNotAuthority"),
    "authority as device": (below_the_root(authority_as_device), INVALID, "authorityUsedAsDevice"),
    "for servers": (
        below_the_root(lambda f: wrong_certificates.wrong_usage(f.line, DEVICE)),
        INVALID,
        "wrongExtendedKeyUsage",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(factory, case):
    make, message, finding = REFUSALS[case]
    issued = make(factory)
    with pytest.raises(ClientError) as error:
        factory.register(issued)
    assert any("status code 401" in str(each) for each in causes(error.value))
    (answer,) = [
        event["detail"]
        for event in factory.sdk.trace()
        if (event["operation"], event["direction"]) == ("register", "out")
    ]
    assert (answer["body"]["errorCode"], answer["body"]["message"]) == (401002, message)
    assert answer["finding"] == answer["body"]["info"]["simulatorFinding"] == finding
    assert answer["reason"] == answer["body"]["info"]["simulatorReason"]
    # a whole sentence, not a code
    assert len(answer["reason"]) > 40


def test_the_refusals_reach_as_many_findings_as_they_say():
    findings = {finding for _, _, finding in REFUSALS.values()}
    assert len(findings) == len(REFUSALS) - 3  # three of them are met in two ways each


def test_a_weak_key_does_not_even_leave_the_device(factory):
    weak = wrong_certificates.weak_key(factory.line, DEVICE)
    with pytest.raises(certificates.CertificateError, match="1024 bits"):
        weak.save(factory.folder).check()
    # the SDK finds it as well, before it connects; what the service says of it, see the plain client over HTTPS
    with pytest.raises(ssl.SSLError, match="KEY_TOO_SMALL"):
        factory.register(weak)


def test_a_chain_in_the_wrong_order_is_put_in_order(factory):
    factory.verify()
    factory.group(factory.root)
    device = factory.line.issue_intermediate("Contoso Shift").issue_device(DEVICE)
    assert factory.register(wrong_certificates.wrong_order(device)).status == "assigned"
    (answer,) = [event for event in factory.sdk.trace() if event["operation"] == "register" and event["status"]]
    assert "not in order" in answer["detail"]["reason"]


def test_a_disabled_group(factory):
    factory.verify()
    factory.group(provisioningStatus="disabled")
    with pytest.raises(ClientError) as error:
        factory.register(factory.device)
    assert any("disabled" in str(each) for each in causes(error.value))


def test_a_disabled_individual_inside_an_enabled_group(factory):
    factory.verify()
    factory.group()
    assert factory.register(factory.device).status == "assigned"
    factory.enroll(factory.device, provisioningStatus="disabled")
    with pytest.raises(ClientError) as error:
        factory.register(factory.device)
    assert any("disabled" in str(each) for each in causes(error.value))


def test_a_closer_group_that_is_disabled_goes_before_an_enabled_one(factory):
    factory.verify()
    factory.group(factory.root)
    attestation = {
        "type": "x509",
        "x509": {"signingCertificates": {"primary": {"certificate": factory.line.certificate}}},
    }
    factory.sdk.enroll_group("line", attestation=attestation, provisioningStatus="disabled")
    with pytest.raises(ClientError) as error:
        factory.register(factory.device)
    assert any("disabled" in str(each) for each in causes(error.value))
    sibling = factory.root.issue_intermediate("Line 2").issue_device("pump-201")
    assert factory.register(sibling, "pump-201").status == "assigned"


@pytest.mark.parametrize(
    ("paste", "says"),
    [
        (lambda issued: "garbage!", "neither PEM nor base64"),
        (lambda issued: issued.key.reveal(), "a private key, which must never leave the device"),
        (lambda issued: issued.chain, "a chain of 3 certificates"),
    ],
)
def test_something_else_pasted_into_an_enrollment(factory, paste, says):
    text = paste(factory.device)
    attestation = {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": text}}}}
    with pytest.raises(HttpResponseError) as error:
        factory.sdk.enroll(DEVICE, attestation=attestation)
    assert error.value.status_code == 400
    assert says in str(error.value)
    assert "attestation.x509.clientCertificates.primary.certificate" in str(error.value)
    secret = factory.device.key.reveal().splitlines()[1]
    assert secret not in str(error.value)
    assert secret not in str(factory.sdk.trace())
