"""X.509 attestation: who may come, who may not, and that everybody who may not has a finding of their own."""

import base64

import pytest
from provisioning_parts import Provisioning
from x509_family import CLIENT, DAY, NOW, SERVER, key_of, make, make_root

from dps_simulator.credentials.evidence import MAX_CERTIFICATES, X509Evidence
from dps_simulator.errors.table import Dps, ResourceManager, ServiceError

DEVICE = "pump-101"


def signing(primary, secondary=None, part="signingCertificates"):
    slots = {"primary": primary, "secondary": secondary}
    if part != "caReferences":
        slots = {name: {"certificate": issued.pem} for name, issued in slots.items() if issued is not None}
    return {"type": "x509", "x509": {part: slots}}


def client(primary, secondary=None):
    return signing(primary, secondary, "clientCertificates")


class World:
    """A service, a root that is verified there, a line below it and a device of that line."""

    def __init__(self):
        self.parts = Provisioning("instant")
        self.root = make_root("Root")
        self.line = self.root.issue("Line", ca=True)
        self.device = self.line.issue(DEVICE)

    def upload(self, issued, name="root", verified=True):
        body = {"properties": {"certificate": issued.pem, "isVerified": verified}}
        return self.parts.service.authorities.put(name, body)

    def group(self, *certificates, name="pumps", **fields):
        return self.parts.enroll_group(name, attestation=signing(*certificates), **fields)

    def enroll(self, *certificates, registration_id=DEVICE, **fields):
        return self.parts.enroll(registration_id, attestation=client(*certificates), **fields)

    def attest(self, *chain, registration_id=DEVICE):
        evidence = X509Evidence.read([issued.der for issued in chain])
        return self.parts.attest(registration_id, evidence)

    def refused(self, finding, *chain, text="", registration_id=DEVICE):
        verdict = self.attest(*chain, registration_id=registration_id)
        assert verdict.enrollment is None
        assert (verdict.finding, text in verdict.reason) == (finding, True), verdict.reason
        return verdict.reason

    def accepted(self, by, *chain, registration_id=DEVICE):
        verdict = self.attest(*chain, registration_id=registration_id)
        assert verdict.enrollment is not None, verdict.reason
        assert verdict.enrollment.identifier == by
        assert verdict.leaf_thumbprint == chain[0].parsed.sha256_thumbprint
        return verdict


@pytest.fixture
def world():
    return World()


@pytest.fixture
def line_group(world):
    world.upload(world.root)
    world.group(world.line)
    return world


# --- individual enrollments -----------------------------------------------------------------------------------------


def test_an_enrolled_certificate_is_known_whoever_signed_it(world):
    alone = make(DEVICE)
    world.enroll(alone, world.device)
    assert "the primary certificate of individual enrollment" in world.accepted(DEVICE, alone).reason
    assert "the secondary certificate" in world.accepted(DEVICE, world.device).reason
    assert world.accepted(DEVICE, world.device, world.line, world.root, registration_id=DEVICE.upper())


@pytest.mark.parametrize("with_info", [False, True])
def test_the_secondary_certificate_stays_when_the_primary_one_is_removed(world, with_info):
    first, second = make(DEVICE, key_name="first"), make(DEVICE, key_name="second")
    world.enroll(first, second)
    shown = world.parts.individuals.get(DEVICE).to_json()
    parts = shown["attestation"]["x509"]["clientCertificates"]
    body = {**shown, "attestation": client(second) if not with_info else shown["attestation"]}
    slots = {"primary": None, "secondary": parts["secondary"] if with_info else {"certificate": second.pem}}
    body["attestation"]["x509"]["clientCertificates"] = slots
    kept = world.parts.individuals.put(DEVICE, body, "*")
    assert kept.to_json()["attestation"]["x509"]["clientCertificates"] == {"secondary": parts["secondary"]}
    assert "the secondary certificate of" in world.accepted(DEVICE, second).reason
    world.refused("unknownCertificate", first)
    # what was read is written again, and another one may come in its place
    world.parts.individuals.put(DEVICE, kept.to_json(), "*")
    world.enroll(first, second, if_match="*")
    assert "the primary certificate of" in world.accepted(DEVICE, first).reason


@pytest.mark.parametrize("part", ["signingCertificates", "caReferences"])
def test_the_secondary_certificate_of_a_group_stays(world, part):
    other = make_root("Other root")
    world.upload(world.root)
    world.upload(other, "other")
    named = part == "caReferences"
    body = signing("root", "other", part=part) if named else signing(world.root, other)
    group = world.parts.enroll_group("pumps", attestation=body)
    body = group.to_json()
    body["attestation"]["x509"][part].pop("primary")
    world.parts.groups.put("pumps", body, "*")
    world.accepted("pumps", other.issue(DEVICE), other)
    world.refused("unknownAuthority", world.device, world.line, world.root)


def test_an_individual_enrollment_decides_alone_even_inside_a_group(line_group):
    line_group.enroll(make(DEVICE), provisioningStatus="disabled")
    line_group.refused("unknownCertificate", line_group.device, line_group.line, line_group.root, text="decides alone")
    again = line_group.parts.individuals.get(DEVICE).document["etag"]
    line_group.enroll(line_group.device, if_match=again, provisioningStatus="disabled")
    assert line_group.accepted(DEVICE, line_group.device, line_group.line).enrollment.is_disabled


def test_a_certificate_that_is_not_enrolled(world):
    world.enroll(make(DEVICE, key_name="enrolled"))
    stranger = make(DEVICE)
    reason = world.refused("unknownCertificate", stranger, text=stranger.parsed.sha256_thumbprint)
    assert "enrolled is" in reason


def test_a_certificate_of_another_kind_of_enrollment(world):
    world.parts.enroll(DEVICE)
    world.refused("attestationMismatch", make(DEVICE), text="it is for symmetricKey")


def test_a_token_for_an_enrollment_with_certificates(world):
    world.enroll(make("device-1"), registration_id="device-1")
    evidence = token_evidence(world)
    verdict = world.parts.attest("device-1", evidence)
    assert verdict.enrollment is None
    assert verdict.finding == "attestationMismatch"


def token_evidence(world):
    from dps_simulator.credentials.sas import SharedAccessSignature
    from dps_simulator.provisioning.attestation.symmetric_key import SymmetricKeyEvidence

    token = SharedAccessSignature.parse(world.parts.token())
    return SymmetricKeyEvidence(token.resource_parts(), token.expiry, token.is_signed_by)


def test_tokens_pass_groups_with_certificates_by(line_group):
    line_group.parts.enroll_group("with-a-key")
    verdict = line_group.parts.attest("device-1", token_evidence(line_group))
    assert "1 enrollment groups with a symmetric key" not in verdict.reason
    assert "the key of enrollment group 'with-a-key' itself" in verdict.reason


def test_a_certificate_that_is_enrolled_elsewhere(world):
    alone = make(DEVICE)
    world.enroll(alone, registration_id="other")
    world.refused("enrolledElsewhere", alone, text="under the registration ID 'other'")
    world.parts.individuals.delete("other")
    world.refused("unknownCertificate", alone, text="self-signed")


@pytest.mark.parametrize(
    ("finding", "how", "text"),
    [
        ("certificateExpired", {"start": -3 * DAY, "end": -DAY}, "expired on 2025-12-31"),
        ("certificateNotYetValid", {"start": DAY}, "valid only from 2026-01-02"),
        ("wrongExtendedKeyUsage", {"extended": [SERVER]}, "serverAuth"),
        ("weakKey", {"kind": "small rsa"}, "1024 bits"),
        ("weakKey", {"kind": "small ec"}, "secp192r1"),
    ],
)
def test_an_enrolled_certificate_that_is_not_good(world, finding, how, text):
    alone = make(DEVICE, **how)
    world.enroll(alone)
    world.refused(finding, alone, text=text)


def test_a_self_signed_certificate_may_call_itself_an_authority(world):
    # openssl req -x509 makes such
    alone = make(DEVICE, ca=True, usage=True, extended=[CLIENT])
    world.enroll(alone)
    world.accepted(DEVICE, alone)


def test_the_common_name_is_the_registration_id(world):
    world.enroll(make(DEVICE))
    world.refused("commonNameMismatch", make("pump-102"), text="'pump-102', its registration ID is 'pump-101'")
    from cryptography import x509

    nameless = make(DEVICE, subject=x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Contoso")]))
    world.refused("commonNameMissing", nameless, text="'O=Contoso'")


# --- groups -----------------------------------------------------------------------------------------------------------


def test_a_group_by_its_root(world):
    world.upload(world.root)
    world.group(world.root)
    world.accepted("pumps", world.device, world.line, world.root)
    # what is verified need not be shown again
    world.accepted("pumps", world.device, world.line)


def test_a_group_by_an_intermediate_below_a_verified_root(line_group):
    line_group.accepted("pumps", line_group.device, line_group.line, line_group.root)
    verdict = line_group.accepted("pumps", line_group.device, line_group.line)
    assert "verified by 'CN=Root'" in verdict.reason


def test_a_group_by_a_verified_intermediate(world):
    world.upload(world.line, "line")
    world.group(world.line)
    world.accepted("pumps", world.device)
    world.accepted("pumps", world.device, world.line, world.root)


def test_a_group_by_its_secondary_certificate(world):
    other = make_root("Other root")
    world.upload(other, "other")
    world.group(world.root, other)
    world.accepted("pumps", other.issue(DEVICE), other)


def test_a_group_by_reference(world):
    world.upload(world.root, "Contoso")
    world.upload(make_root("Other root"), "other")
    world.parts.enroll_group("pumps", attestation=signing("contoso", "OTHER", "caReferences"))
    world.accepted("pumps", world.device, world.line)
    shown = world.parts.groups.get("pumps").to_json()["attestation"]
    assert shown == {"type": "x509", "x509": {"caReferences": {"primary": "Contoso", "secondary": "other"}}}
    world.parts.service.authorities.delete("contoso", "*")
    world.refused("unknownAuthority", world.device, world.line, world.root, text="no enrollment group has")


def test_a_group_whose_certificate_is_deleted_can_be_changed_and_comes_back_with_it(world):
    world.upload(world.root, "Contoso")
    reference = signing("contoso", part="caReferences")
    world.parts.enroll_group("pumps", attestation=reference)
    world.parts.service.authorities.delete("contoso", "*")
    shown = world.parts.groups.get("pumps").to_json()
    written = world.parts.groups.put("pumps", {**shown, "provisioningStatus": "disabled"}, shown["etag"])
    assert written.authority_names == ("Contoso",)
    assert written.is_disabled
    # what nobody refers to yet must exist
    for name, if_match in (("pumps", "*"), ("others", None)):
        body = {"enrollmentGroupId": name, "attestation": signing("fabrikam", part="caReferences")}
        with pytest.raises(ServiceError, match="uploaded: none"):
            world.parts.groups.put(name, body, if_match)
    world.upload(world.root, "contoso")
    assert world.accepted("pumps", world.device, world.line).enrollment.is_disabled


def test_the_first_certificate_on_the_way_up_decides(world):
    world.upload(world.root)
    world.group(world.root, name="all")
    world.group(world.line, name="line", provisioningStatus="disabled")
    assert world.accepted("line", world.device, world.line, world.root).enrollment.is_disabled
    world.accepted("all", world.root.issue("Line 2", ca=True).issue(DEVICE), world.root.issue("Line 2", ca=True))


def test_the_order_of_the_chain_does_not_matter_but_is_noted(world):
    deep = world.line.issue("Shift", ca=True)
    device = deep.issue(DEVICE)
    world.upload(world.root)
    world.group(world.root)
    assert "not in order" in world.accepted("pumps", device, world.root, world.line, deep).reason
    assert "not in order" not in world.accepted("pumps", device, deep, world.line, world.root).reason


def test_only_the_leaf(line_group):
    reason = line_group.refused("intermediateMissing", line_group.device, text="shows only its own certificate")
    assert "whose issuer is 'CN=Line'" in reason
    assert "an enrollment group has a certificate of that name, but the device has to show it, too" in reason


def test_a_missing_intermediate(world):
    deep = world.line.issue("Shift", ca=True)
    world.upload(world.root)
    world.group(world.root)
    reason = world.refused("intermediateMissing", deep.issue(DEVICE), deep, text="shows 2 certificates")
    assert (
        "the chain ends at 'CN=Shift', whose issuer is 'CN=Line'; the device has to show the certificate of that name"
        in reason
    )


def test_a_reference_whose_certificate_must_be_shown(world):
    world.upload(world.line, "line", verified=False)
    world.parts.enroll_group("pumps", attestation=signing("line", part="caReferences"))
    # to show it would not help: nothing above it is verified
    text = "knows the certificate 'CN=Line', but it is not verified"
    world.refused("authorityNotVerified", world.device, text=text)
    world.refused("authorityNotVerified", world.device, world.line, text=text)
    world.upload(world.root)
    world.refused("intermediateMissing", world.device, text="an enrollment group has a certificate of that name")
    world.accepted("pumps", world.device, world.line)


def test_an_unknown_authority(line_group):
    other = make_root("Other root")
    line_group.refused("unknownAuthority", other.issue(DEVICE), other, text="which ends at 'CN=Other root'")


@pytest.mark.parametrize("uploaded", [False, True])
def test_a_leaf_below_the_root_of_a_group_that_is_not_verified(world, uploaded):
    """Told at once what is wrong, and not first to show the root, and then that it is not verified."""
    leaf = world.root.issue(DEVICE)
    if uploaded:
        world.upload(world.root, verified=False)
        world.parts.enroll_group("pumps", attestation=signing("root", part="caReferences"))
    else:
        world.group(make_root("Another"), world.root)
    first = world.refused("authorityNotVerified", leaf, text="'CN=Root', but it is not verified;")
    assert first == world.refused("authorityNotVerified", leaf, world.root)


def test_a_group_whose_root_has_only_the_name_of_the_issuer(world):
    world.group(make_root("Root", key_name="another"))
    world.refused("intermediateMissing", world.root.issue(DEVICE), text="a certificate of that name")


@pytest.mark.parametrize("enrolled", [1, 9])
def test_more_authorities_than_are_followed(world, enrolled):
    chain = [world.root]
    for number in range(9):
        chain.insert(0, chain[0].issue(f"Level {number}", ca=True))
    chain.insert(0, chain[0].issue(DEVICE))
    world.upload(world.root)
    world.group(chain[enrolled])
    world.refused("notSupported", *chain, text="this simulator follows at most 8 certificates")


def test_an_authority_that_is_not_verified(world):
    world.group(world.line)
    text = "knows the certificate 'CN=Line', but it is not verified, nor is one above it"
    world.refused("authorityNotVerified", world.device, world.line, world.root, text=text)
    world.refused("authorityNotVerified", world.device, world.line, text="which ends below 'CN=Root'")
    world.upload(world.root, verified=False)
    world.refused("authorityNotVerified", world.device, world.line, world.root, text=text)
    world.group(world.root, name="root")
    world.parts.groups.delete("pumps")
    world.refused(
        "authorityNotVerified", world.device, world.line, world.root, text="'CN=Root', but it is not verified;"
    )


def test_a_certificate_of_the_same_name_with_another_key(world):
    world.upload(world.root)
    world.group(world.root)
    impostor = make_root("Root", key_name="another root").issue("Line", ca=True)
    world.refused("signatureInvalid", impostor.issue(DEVICE), impostor, text="did not sign it")


@pytest.mark.parametrize(
    ("finding", "line", "device", "text"),
    [
        ("certificateExpired", {"end": -DAY}, {}, "'CN=Line' expired"),
        ("certificateExpired", {}, {"end": -DAY}, f"'CN={DEVICE}' expired"),
        ("certificateNotYetValid", {"start": DAY}, {}, "'CN=Line' is valid only from"),
        ("issuerNotAuthority", {"ca": False}, {}, "which is no authority"),
        ("issuerNotAuthority", {"ca": None}, {}, "which is no authority"),
        ("issuerNotAuthority", {"usage": False}, {}, "which is no authority"),
        ("authorityUsedAsDevice", {}, {"ca": True}, "the certificate of an authority"),
        ("wrongExtendedKeyUsage", {}, {"extended": [SERVER]}, "serverAuth"),
        ("weakKey", {}, {"kind": "small rsa"}, "1024 bits"),
    ],
)
def test_a_chain_that_leads_to_a_group_and_is_not_good(world, finding, line, device, text):
    world.upload(world.root)
    world.group(world.root)
    line = world.root.issue("Line", **{"ca": True, **line})
    world.refused(finding, line.issue(DEVICE, **device), line, world.root, text=text)


def test_a_path_that_is_longer_than_an_authority_allows(world):
    root = make_root("Root", path_length=0)
    world.upload(root)
    world.group(root)
    line = root.issue("Line", ca=True)
    world.refused("pathTooLong", line.issue(DEVICE), line, text="allows 0 authorities")


def test_a_root_as_a_device(world):
    root = make_root("root-1")
    world.upload(root)
    world.group(root)
    world.refused("authorityUsedAsDevice", root, registration_id="root-1")


# --- registrations ----------------------------------------------------------


def test_the_hub_gets_the_thumbprints(line_group):
    parts = line_group.parts
    verdict = line_group.accepted("pumps", line_group.device, line_group.line)
    thumbprint = verdict.leaf_thumbprint
    told = parts.registrations.register(DEVICE, verdict.enrollment, thumbprint)
    assert told.state["x509"] == {"enrollmentGroupId": "pumps"}
    credentials = parts.hub.devices[DEVICE]["credentials"]
    assert (credentials.type, credentials.primary_thumbprint, credentials.secondary_thumbprint) == (
        "selfSigned",
        thumbprint,
        thumbprint,
    )
    # the record in the service API says nothing of it, what the device asks for does
    assert "x509" not in parts.registrations.get(DEVICE)
    assert parts.registrations.look_up(DEVICE)["x509"] == {"enrollmentGroupId": "pumps"}
    parts.groups.delete("pumps")
    with pytest.raises(ServiceError):
        parts.registrations.look_up(DEVICE)


def test_an_individual_enrollment_gives_both_its_thumbprints(world):
    old, new = make(DEVICE), make(DEVICE, key_name="new")
    enrollment = world.enroll(old, new)
    told = world.parts.registrations.register(DEVICE, enrollment, new.parsed.sha256_thumbprint)
    assert told.state["x509"] == {}
    credentials = world.parts.hub.devices[DEVICE]["credentials"]
    assert credentials.primary_thumbprint == old.parsed.sha256_thumbprint
    assert credentials.secondary_thumbprint == new.parsed.sha256_thumbprint


def test_a_group_that_meanwhile_asks_for_certificates(world):
    group = world.parts.enroll_group("pumps")
    world.parts.service.pace = type(world.parts.service.pace)("azure")
    told = world.parts.registrations.register(DEVICE, group)
    world.parts.enroll_group("pumps", attestation=signing(world.root), if_match=group.document["etag"])
    world.parts.clock.advance(1)
    state = world.parts.registrations.poll(DEVICE, told.operation_id).state
    assert (state["status"], state["errorCode"]) == ("failed", Dps.INVALID_CERTIFICATE.code)


def test_evidence_that_cannot_be_read():
    with pytest.raises(ValueError, match="no certificate"):
        X509Evidence.read([])
    with pytest.raises(ValueError, match=f"at most {MAX_CERTIFICATES}"):
        X509Evidence.read([b""] * (MAX_CERTIFICATES + 1))
    with pytest.raises(ValueError, match="not a certificate"):
        X509Evidence.read([b"nonsense"])


# --- uploaded authorities ---------------------------------------------------


class Uploads:
    """The uploaded authorities of a service."""

    def __init__(self):
        self.parts = Provisioning()
        self.book = self.parts.service.authorities
        self.root = make_root("Root")

    def put(self, name="root", certificate=None, if_match=None, **properties):
        certificate = self.root.base64 if certificate is None else certificate
        return self.book.put(name, {"properties": {"certificate": certificate, **properties}}, if_match)

    def fails(self, kind, call, text):
        with pytest.raises(ServiceError) as error:
            call()
        assert (error.value.kind, text in error.value.message) == (kind, True), error.value.message


@pytest.fixture
def uploads():
    return Uploads()


def test_possession_is_proved_by_signing_the_code(uploads):
    uploaded = uploads.put()
    assert not uploaded.is_verified
    assert uploads.book.verified() == []
    asked = uploads.book.generate_verification_code("ROOT", uploaded.etag)
    code = asked.verification_code
    assert len(code) == 48
    assert asked.etag != uploaded.etag
    proof = uploads.root.issue(code)
    verified = uploads.book.verify("root", {"certificate": proof.base64}, asked.etag)
    assert verified.is_verified
    assert verified.verification_code == ""
    assert uploads.book.verified() == [uploads.root.parsed]
    assert uploads.put(if_match=verified.etag).is_verified  # the same certificate once more keeps its proof
    other = make_root("Other root")
    assert not uploads.put(certificate=other.pem).is_verified
    uploads.book.delete("root", "*")
    assert uploads.book.find("root") is None


@pytest.mark.parametrize(
    ("proof", "text"),
    [
        (lambda root, code: root.issue("wrong"), "its common name is 'wrong', the verification code is"),
        (lambda root, code: make_root("Other").issue(code), "its issuer is 'CN=Other', not 'CN=Root'"),
        (lambda root, code: root.issue(code, signer=key_of("thief")), "the key of 'CN=Root' did not sign it"),
        (lambda root, code: root.issue(code, end=-DAY), "it is valid from"),
    ],
)
def test_a_proof_that_proves_nothing(uploads, proof, text):
    asked = uploads.book.generate_verification_code("root", uploads.put().etag)
    body = {"certificate": proof(uploads.root, asked.verification_code).pem}
    uploads.fails(ResourceManager.VERIFICATION_FAILED, lambda: uploads.book.verify("root", body, asked.etag), text)
    assert not uploads.book.get("root").is_verified


def test_no_code_was_asked_for(uploads):
    etag = uploads.put().etag
    body = {"certificate": uploads.root.issue("code").pem}
    uploads.fails(ResourceManager.VERIFICATION_FAILED, lambda: uploads.book.verify("root", body, etag), "generate one")


def test_uploads_that_cannot_be(uploads):
    fails = uploads.fails
    fails(ResourceManager.INVALID_REQUEST, lambda: uploads.put("a b"), "The name is 'a b'")
    fails(ResourceManager.INVALID_REQUEST, lambda: uploads.book.put("root", {"properties": {}}), "is missing")
    fails(ResourceManager.INVALID_REQUEST, lambda: uploads.put(certificate=make("pump-1").pem), "not that of an auth")
    fails(Dps.INVALID_BODY, lambda: uploads.book.put("root", []), "The body is an array")
    fails(Dps.INVALID_BODY, lambda: uploads.put(certificate=uploads.root.key_pem), "a private key")
    fails(ResourceManager.CERTIFICATE_NOT_FOUND, lambda: uploads.put(if_match="*"), "There is no certificate 'root'")
    uploads.put()
    fails(Dps.PRECONDITION_FAILED, lambda: uploads.put(if_match="other"), "has changed")
    fails(ResourceManager.PRECONDITION_REQUIRED, lambda: uploads.book.delete("root", None), "If-Match is missing")
    for number in range(24):
        uploads.put(f"root-{number}")
    fails(ResourceManager.LIMIT_REACHED, lambda: uploads.put("root-24"), "at most 25")
    assert len(uploads.book.all()) == 25
    uploads.parts.service.clear()
    assert uploads.book.all() == []


# --- what a client writes ---------------------------------------------------------------------------------------------


def test_certificates_come_back_as_info(world):
    shown = world.enroll(world.device).to_json(with_keys=True)["attestation"]
    info = world.device.parsed.info()
    assert shown == {
        "type": "x509",
        "x509": {"clientCertificates": {"primary": {"info": info}, "secondary": {"info": info}}},
    }
    assert world.parts.individuals.get(DEVICE).attestation_mechanism() == shown


@pytest.mark.parametrize(
    "text",
    [
        lambda issued: issued.pem,
        lambda issued: issued.base64,
        lambda issued: base64.b64encode(issued.pem.encode()).decode(),
        lambda issued: "\ufeff text before\n" + issued.pem.replace("\n", "\r\n") + "\n",
    ],
    ids=["PEM", "base64 of DER", "base64 of PEM", "PEM with something around it"],
)
def test_the_ways_to_write_a_certificate(world, text):
    attestation = {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": text(world.device)}}}}
    stored = world.parts.enroll(DEVICE, attestation=attestation)
    assert stored.thumbprints == (world.device.parsed.sha256_thumbprint,)


def test_what_was_read_can_be_written_back(world):
    first = world.enroll(world.device)
    again = world.parts.individuals.put(DEVICE, first.to_json(), first.document["etag"])
    assert again.document["attestation"] == first.document["attestation"]
    # roll: the new certificate becomes the secondary one, and then the only one, by its info alone
    new = make(DEVICE, key_name="new")
    body = again.to_json()
    body["attestation"]["x509"]["clientCertificates"]["secondary"] = {"certificate": new.pem}
    both = world.parts.individuals.put(DEVICE, body, again.document["etag"])
    assert both.thumbprints == (world.device.parsed.sha256_thumbprint, new.parsed.sha256_thumbprint)
    body = both.to_json()
    slots = body["attestation"]["x509"]["clientCertificates"]
    slots["primary"] = slots["secondary"]
    last = world.parts.individuals.put(DEVICE, body, both.document["etag"])
    assert last.thumbprints == (new.parsed.sha256_thumbprint,)
    world.refused("unknownCertificate", world.device)
    world.accepted(DEVICE, new)
    assert world.parts.individuals.with_thumbprint(world.device.parsed.sha256_thumbprint) is None


def attestation_of(part, **slots):
    return {"type": "x509", "x509": {part: slots}}


PEM = make("pump-1").pem


@pytest.mark.parametrize(
    ("kind", "attestation", "text"),
    [
        ("individual", {"type": "x509"}, "attestation.x509 is None"),
        ("individual", {"type": "x509", "x509": {}}, "attestation.x509 is empty; give clientCertificates"),
        ("individual", attestation_of("signingCertificates", primary={"certificate": PEM}), "takes clientCertificates"),
        ("individual", attestation_of("caReferences", primary="root"), "takes clientCertificates"),
        ("individual", attestation_of("clientCertificates", secondary=None), "primary is missing"),
        ("individual", attestation_of("clientCertificates", primary={}), "primary.certificate is missing"),
        ("individual", attestation_of("clientCertificates", primary={"info": {}}), "that of no certificate of this"),
        ("individual", attestation_of("clientCertificates", primary={"certificate": 1}), "certificate is 1."),
        ("individual", attestation_of("clientCertificates", primary="x"), "primary is a text"),
        (
            "individual",
            {"type": "x509", "symmetricKey": {}, **attestation_of("clientCertificates", primary={"certificate": PEM})},
            None,
        ),
        ("group", attestation_of("clientCertificates", primary={"certificate": PEM}), "an enrollment group takes"),
        (
            "group",
            {"type": "x509", "x509": {"signingCertificates": {}, "caReferences": {}}},
            "contains both signingCertificates and caReferences",
        ),
        ("group", attestation_of("caReferences", primary="nobody"), "(uploaded: root)"),
        ("group", attestation_of("caReferences", primary=PEM), "belongs into signingCertificates"),
        ("group", attestation_of("caReferences", primary={}), "primary is an object"),
    ],
)
def test_attestations_that_cannot_be(world, kind, attestation, text):
    world.upload(world.root)
    if text is None:
        attestation["type"], text = "symmetricKey", "must not contain 'x509'"
    put = world.parts.enroll if kind == "individual" else world.parts.enroll_group
    with pytest.raises(ServiceError) as error:
        put("pump-1", attestation=attestation)
    assert (error.value.kind, text in error.value.message) == (Dps.INVALID_BODY, True), error.value.message
    assert "BEGIN" not in error.value.message


def test_now_is_the_clock_of_the_tests():
    assert Provisioning().clock.now() == NOW
