"""What was typed becomes the JSON of an enrollment, or a list of what is wrong."""

import base64
import datetime
from pathlib import Path

import cryptography_vectors
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from helpers.credentials import Secret, new_key
from helpers.views import enrollment_document
from helpers.views.enrollment_document import FormError, build, check_kind, guarded, revealed

EMPTY = dict.fromkeys(enrollment_document.FIELDS, "") | {"enabled": True, "registration_id": "pump-101"}
EK = base64.b64encode(b"\x00\x04abcd").decode()


def values(**typed):
    return EMPTY | typed


def problems(kind, attestation, **typed):
    with pytest.raises(FormError) as refused:
        build(kind, attestation, values(**typed))
    assert str(refused.value) == "\n".join(refused.value.problems)
    return str(refused.value)


def test_an_individual_enrollment_with_everything():
    primary, secondary = new_key(), new_key()
    document = build(
        "individual",
        "symmetricKey",
        values(
            device_id=" pump in the cellar".replace(" ", ""),
            primary_key=primary.reveal(),
            secondary_key=secondary.reveal(),
            allocation="hashed",
            desired='{"speed": 3}',
            enabled=False,
        ),
    )
    assert document == {
        "registrationId": "pump-101",
        "deviceId": "pumpinthecellar",
        "attestation": {
            "type": "symmetricKey",
            "symmetricKey": {"primaryKey": primary, "secondaryKey": secondary},
        },
        "allocationPolicy": "hashed",
        "initialTwin": {"properties": {"desired": {"speed": 3}}},
        "provisioningStatus": "disabled",
    }
    assert primary.reveal() not in str(document)
    sent = revealed(document)
    assert sent["attestation"]["symmetricKey"]["primaryKey"] == primary.reveal()
    assert guarded(sent) == document


def test_a_group_without_anything():
    document = build("group", "symmetricKey", values(group_id=" pumps "))
    assert document == {
        "enrollmentGroupId": "pumps",
        "attestation": {"type": "symmetricKey"},
        "provisioningStatus": "enabled",
    }


def test_the_keys_of_a_tpm():
    document = build("individual", "tpm", values(endorsement_key=f"{EK[:4]}\n{EK[4:]}", storage_root_key=EK))
    assert document["attestation"] == {"type": "tpm", "tpm": {"endorsementKey": EK, "storageRootKey": EK}}
    assert "storageRootKey" not in build("individual", "tpm", values(endorsement_key=EK))["attestation"]["tpm"]


def test_certificates_as_text_and_as_base64(device, line):
    document = build("individual", "x509", values(certificate=device.certificate))
    found = document["attestation"]["x509"]["clientCertificates"]["primary"]["certificate"]
    assert found == device.certificate.strip()
    body = "".join(device.certificate.split("-----")[2].split())
    document = build("individual", "x509", values(certificate=f"{body[:60]}\n{body[60:]}"))
    assert document["attestation"]["x509"]["clientCertificates"]["primary"]["certificate"] == body
    document = build("group", "x509", values(group_id="pumps", certificate=line.certificate))
    assert list(document["attestation"]["x509"]) == ["signingCertificates"]


def test_what_openssl_reads_is_taken(device):
    marked = device.certificate.replace(" CERT", " X509 CERT") + "# pump 7"
    document = build("individual", "x509", values(certificate=marked))
    assert document["attestation"]["x509"]["clientCertificates"]["primary"]["certificate"] == marked
    # strange ones: only the last one is that of an authority
    vectors = Path(cryptography_vectors.__file__).parent / "x509"
    for name in ("wosign-bc-invalid.pem", "custom/malformed-san.pem"):
        text = (vectors / name).read_text()
        assert "cannot sign others" in problems("group", "x509", group_id="g", certificate=text)
    text = (vectors / "custom" / "invalid_version.pem").read_text()
    assert build("group", "x509", values(group_id="g", certificate=text))["enrollmentGroupId"] == "g"


def test_certificates_in_the_wrong_place(device, line):
    assert "cannot sign others" in problems("group", "x509", group_id="g", certificate=device.certificate)
    assert "signs others" in problems("individual", "x509", certificate=line.certificate)
    said = problems("individual", "x509", certificate=device.certificate, registration_id="pump-102")
    assert "is for 'pump-101', and the registration ID is 'pump-102'" in said
    both = device.certificate + line.certificate
    assert "holds 2 certificates" in problems("individual", "x509", certificate=both)


def test_a_plain_certificate_is_no_authority():
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime(2026, 1, 1)
    nobody = x509.Name([])
    plain = x509.CertificateBuilder(nobody, nobody, key.public_key(), 1, now, now + datetime.timedelta(1))
    pem = plain.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    assert "cannot sign others" in problems("group", "x509", group_id="g", certificate=pem)
    assert "has no common name" in problems("individual", "x509", certificate=pem)


@pytest.mark.parametrize(
    ("kind", "attestation", "typed", "says"),
    [
        ("individual", "symmetricKey", {"registration_id": " "}, "Registration ID is empty"),
        ("individual", "symmetricKey", {"registration_id": "my pump"}, "Registration ID is 'my pump'"),
        ("individual", "symmetricKey", {"registration_id": "pump."}, "Registration ID is 'pump.'"),
        ("individual", "symmetricKey", {"registration_id": "x" * 129}, "up to 128"),
        ("group", "symmetricKey", {}, "Group ID is empty"),
        ("individual", "symmetricKey", {"device_id": "a b"}, "Device ID is 'a b'"),
        ("individual", "symmetricKey", {"primary_key": "AAAA"}, "Primary key stands alone"),
        ("individual", "symmetricKey", {"primary_key": "AAAA", "secondary_key": "?"}, "Primary key: This key has 3"),
        ("individual", "symmetricKey", {"primary_key": "AAAA", "secondary_key": "?"}, "Secondary key: This key is not"),
        ("individual", "symmetricKey", {"desired": "[]"}, "Desired properties is a list"),
        ("individual", "tpm", {}, "Endorsement key is empty"),
        ("individual", "tpm", {"endorsement_key": "?"}, "Endorsement key is not base64"),
        ("individual", "tpm", {"endorsement_key": "AAAAAAAA"}, "has 6 bytes and is not the public half"),
        ("individual", "tpm", {"endorsement_key": EK, "storage_root_key": "?"}, "Storage root key is not base64"),
        ("individual", "x509", {}, "Certificate is empty"),
        ("individual", "x509", {"certificate": "-----BEGIN PRIVATE KEY-----"}, "holds a private key"),
        ("individual", "x509", {"certificate": "hello"}, "neither PEM nor base64"),
        ("individual", "x509", {"certificate": "AAAA"}, "base64 of something that is not a certificate"),
        ("individual", "x509", {"certificate": "é"}, "neither PEM nor base64"),
        ("individual", "x509", {"certificate": "-----BEGIN CERTIFICATE-----é"}, "cut off: its END line is missing"),
    ],
)
def test_what_is_wrong_is_said(kind, attestation, typed, says):
    assert says in problems(kind, attestation, **typed)


def test_everything_that_is_wrong_is_said_at_once():
    said = problems("individual", "symmetricKey", registration_id="", desired="{", device_id=" a b ")
    assert len(said.splitlines()) == 3


def test_what_cannot_be_enrolled_is_refused():
    for kind, attestation in (("individual", "tpm"), ("group", "x509"), ("group", "symmetricKey")):
        check_kind(kind, attestation)
    with pytest.raises(ValueError, match="must be 'individual' or 'group'"):
        check_kind("both", "x509")
    with pytest.raises(ValueError, match="must be one of symmetricKey"):
        check_kind("group", "key")
    with pytest.raises(ValueError, match="no enrollment groups for TPMs"):
        check_kind("group", "tpm")


def test_only_keys_are_wrapped():
    answer = {"etag": "x", "attestation": {"symmetricKey": {"primaryKey": "k", "secondaryKey": None}}}
    kept = guarded(answer)
    assert kept["attestation"]["symmetricKey"] == {"primaryKey": Secret("k"), "secondaryKey": None}
    assert kept["etag"] == "x"
