"""Uploaded CA certificates, as far as their use in attestation does not show them."""

import pytest
from provisioning_parts import Provisioning
from x509_family import DAY, key_of, make, make_root

from dps_simulator.errors.table import Dps, ResourceManager, ServiceError
from dps_simulator.provisioning.attestation.authorities import CertificateAuthorities, ProofFinding


@pytest.fixture
def parts():
    return Provisioning()


@pytest.fixture
def book(parts):
    return CertificateAuthorities(parts.store, parts.clock)


@pytest.fixture
def root():
    return make_root()


def body(issued, **properties):
    return {"properties": {"certificate": issued.pem, **properties}}


def fails(kind, what):
    with pytest.raises(ServiceError) as caught:
        what()
    assert caught.value.kind is kind
    return caught.value


def test_who_vouches_for_a_certificate_needs_no_proof(book, root):
    book.put("root", body(root, isVerified=True))
    assert book.verified() == [root.parsed]
    assert book.find("ROOT").is_verified
    fails(Dps.INVALID_BODY, lambda: book.put("root", body(root, isVerified="yes")))


def test_the_verified_are_up_to_date_after_every_change(book, parts, root):
    assert book.verified() == []
    book.put("root", body(root, isVerified=True))
    assert book.verified() == book.verified() == [root.parsed]
    book.verified().clear()
    other = make_root("Other root")
    book.put("other", body(other, isVerified=True))
    assert book.verified() == [root.parsed, other.parsed]
    book.put("root", body(other, isVerified=False))
    assert book.verified() == [other.parsed]
    book.delete("other", "*")
    assert book.verified() == []
    book.put("root", body(root, isVerified=True))
    assert CertificateAuthorities(parts.store, parts.clock).verified() == [root.parsed]
    book.clear()
    assert book.verified() == []


def test_all_that_is_known_survives(book, parts, root):
    asked = book.generate_verification_code("root", book.put("root", body(root)).etag)
    assert CertificateAuthorities(parts.store, parts.clock).get("root") == asked


def test_times_tell_the_upload_and_the_last_change(book, parts, root):
    uploaded = book.put("root", body(root))
    parts.clock.advance(60)
    again = book.put("Root", body(root))
    assert (again.name, again.created, again.updated - uploaded.updated) == ("root", uploaded.created, 60)


@pytest.mark.parametrize("name", ["", "a" * 65, "a/b", "ä", "a b"])
def test_names(book, root, name):
    assert "1 to 64" in fails(ResourceManager.INVALID_REQUEST, lambda: book.put(name, body(root))).message


@pytest.mark.parametrize("change", ["delete", "generate_verification_code"])
def test_changes_need_the_tag_of_the_present_version(book, root, change):
    uploaded = book.put("root", body(root))
    run = getattr(book, change)
    fails(ResourceManager.PRECONDITION_REQUIRED, lambda: run("root", None))
    fails(Dps.PRECONDITION_FAILED, lambda: run("root", "stale"))
    fails(ResourceManager.CERTIFICATE_NOT_FOUND, lambda: run("other", uploaded.etag))
    run("root", f'"{uploaded.etag}"')


def test_reading_can_insist_on_a_version_and_uploading_on_a_new_name(book, root):
    uploaded = book.put("root", body(root), must_be_new=True)
    assert book.get("root", uploaded.etag) == uploaded
    fails(Dps.PRECONDITION_FAILED, lambda: book.get("root", "stale"))
    error = fails(ResourceManager.CERTIFICATE_EXISTS, lambda: book.put("ROOT", body(root), must_be_new=True))
    assert "a certificate 'root' already" in error.message


def test_a_certificate_of_no_authority_is_refused(book):
    error = fails(ResourceManager.INVALID_REQUEST, lambda: book.put("pump", body(make("pump-101"))))
    assert "CN=pump-101" in error.message


@pytest.mark.parametrize(
    ("finding", "proof"),
    [
        (ProofFinding.OTHER_CODE, lambda root, code: root.issue(code.lower())),
        (ProofFinding.OTHER_ISSUER, lambda root, code: make_root("Other").issue(code)),
        (ProofFinding.SIGNATURE_INVALID, lambda root, code: root.issue(code, signer=key_of("thief"))),
        (ProofFinding.NOT_VALID_NOW, lambda root, code: root.issue(code, end=-DAY)),
        (ProofFinding.NOT_VALID_NOW, lambda root, code: root.issue(code, start=DAY)),
    ],
)
def test_every_wrong_proof_has_its_own_finding(book, root, finding, proof):
    asked = book.generate_verification_code("root", book.put("root", body(root)).etag)
    proof = {"certificate": proof(root, asked.verification_code).pem}
    error = fails(ResourceManager.VERIFICATION_FAILED, lambda: book.verify("root", proof, asked.etag))
    assert error.finding == finding.value
    assert error.reason in error.message
    assert book.verified() == []
    # the code is still good
    right = {"certificate": root.issue(asked.verification_code).base64}
    assert book.verify("root", right, asked.etag).is_verified


def test_a_code_is_good_once_and_only_the_newest(book, root):
    uploaded = book.put("root", body(root))
    first = book.generate_verification_code("root", uploaded.etag)
    second = book.generate_verification_code("root", first.etag)
    assert first.verification_code != second.verification_code
    old = {"certificate": root.issue(first.verification_code).pem}
    new = {"certificate": root.issue(second.verification_code).pem}
    assert fails(ResourceManager.VERIFICATION_FAILED, lambda: book.verify("root", old, "*")).finding == "otherCode"
    book.verify("root", new, second.etag)
    error = fails(ResourceManager.VERIFICATION_FAILED, lambda: book.verify("root", new, "*"))
    assert error.finding == ProofFinding.CODE_NOT_ASKED_FOR.value


def test_a_proof_must_be_a_certificate(book, root):
    asked = book.generate_verification_code("root", book.put("root", body(root)).etag)
    for wrong, kind, text in (
        ({}, ResourceManager.INVALID_REQUEST, "certificate is missing"),
        ([], Dps.INVALID_BODY, "The body is an array"),
        (None, Dps.INVALID_BODY, "The body is None"),
        ({"certificate": asked.verification_code}, Dps.INVALID_BODY, "base64 of something"),
        ({"certificate": root.key_pem}, Dps.INVALID_BODY, "a private key"),
    ):
        error = fails(kind, lambda wrong=wrong: book.verify("root", wrong, asked.etag))
        assert text in error.message
        assert root.key_pem.splitlines()[1] not in error.message


def test_a_new_certificate_under_an_old_name_has_to_be_proved_anew(book, root):
    asked = book.generate_verification_code("root", book.put("root", body(root)).etag)
    other = make_root("Root", key_name="another key")
    replaced = book.put("root", body(other), asked.etag)
    assert replaced.verification_code == ""
    proof = {"certificate": root.issue(asked.verification_code).pem}
    fails(ResourceManager.VERIFICATION_FAILED, lambda: book.verify("root", proof, replaced.etag))
