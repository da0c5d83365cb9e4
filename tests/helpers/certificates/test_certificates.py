"""Certificates as learners make them, right and wrong."""

import base64
import copy
import pickle

import pytest
import wrong_certificates
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from helpers import certificates
from helpers.certificates import Authority, CertificateError, DeviceCertificate, mistakes
from helpers.certificates.files import is_signed_by
from helpers.credentials import Secret

CODE = "106A5SD242AF512B3498BD6098C4941E66R34H268DDB3288"


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def test_a_chain_is_signed_from_the_root_down(root, line, device):
    chain = device.chain_certificates
    assert [each.subject.rfc4514_string() for each in chain] == [
        "CN=pump-101",
        "CN=Contoso Pumps Line 1",
        "CN=Contoso Pumps Root",
    ]
    assert is_signed_by(chain[0], chain[1])
    assert is_signed_by(chain[1], chain[2])
    assert is_signed_by(chain[2], chain[2])
    assert not is_signed_by(chain[0], chain[2])
    assert x509.load_pem_x509_certificates(device.chain.encode()) == list(chain)
    assert device.certificate == device.chain[: len(device.certificate)]


def test_extensions_say_who_may_do_what(line, device):
    basic = extension(line.parsed, x509.BasicConstraints)
    assert (basic.critical, basic.value.ca) == (True, True)
    usage = extension(line.parsed, x509.KeyUsage)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (True, True, False)
    assert not extension(device.parsed, x509.BasicConstraints).value.ca
    assert extension(device.parsed, x509.KeyUsage).value.digital_signature
    assert list(extension(device.parsed, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    above = extension(line.parsed, x509.SubjectKeyIdentifier).value.digest
    assert extension(device.parsed, x509.AuthorityKeyIdentifier).value.key_identifier == above


def test_forms_of_a_certificate(device):
    der = device.parsed.public_bytes(serialization.Encoding.DER)
    assert base64.b64decode(device.certificate_base64) == der
    assert device.thumbprint == device.parsed.fingerprint(hashes.SHA256()).hex().upper()
    assert device.sha1_thumbprint == device.parsed.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303
    assert (len(device.thumbprint), len(device.sha1_thumbprint)) == (64, 40)
    loaded = serialization.load_pem_private_key(device.key.reveal().encode(), None)
    assert loaded.public_key() == device.parsed.public_key()


def test_no_key_is_shown_or_pickled(device, line):
    request = certificates.create_signing_request("pump-102")
    middle = device.key.reveal().splitlines()[1]
    for each in (device, line, request):
        assert "PRIVATE" not in repr(each) + str(each)
        with pytest.raises(TypeError, match="private key"):
            pickle.dumps(each)
        with pytest.raises(TypeError, match="private key"):
            copy.copy(each)
    assert middle not in repr(device) + str(device) + repr(device.key)
    assert isinstance(device.key, Secret)


def test_a_representation_that_is_the_same_in_every_run(root, line, device):
    assert repr(device) == ("Certificate of pump-101 (device), signed by Contoso Pumps Line 1, valid for 365 days")
    assert repr(root) == "Certificate of Contoso Pumps Root (authority), signed by itself, valid for 3650 days"
    assert "pump-102" in repr(certificates.create_signing_request("pump-102"))


def test_days_and_serial_numbers(root):
    one, two = root.issue_device("pump-1", days=7), root.issue_device("pump-1", days=7)
    assert one.parsed.serial_number != two.parsed.serial_number
    assert (one.parsed.not_valid_after_utc - one.parsed.not_valid_before_utc).days == 7


@pytest.mark.parametrize("days", [0, -1, 36_501])
def test_impossible_days(root, days):
    with pytest.raises(CertificateError, match=f"days is {days}"):
        root.issue_device("pump-1", days=days)


def test_kinds_of_keys():
    assert isinstance(certificates.create_self_signed("p").parsed.public_key(), ec.EllipticCurvePublicKey)
    key = certificates.create_self_signed("p", key="rsa").parsed.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2_048


@pytest.mark.parametrize("kind", ["dsa", "rsa-1024", "rsa-9999", "RSA", ""])
def test_unknown_kinds_of_keys(kind):
    with pytest.raises(CertificateError, match="must be 'ec'"):
        certificates.create_root("Root", key=kind)


@pytest.mark.parametrize("name", ["", "pump 1", "pump/1", "pump.", "ä", "x" * 65, None, 7])
def test_names_that_no_device_can_have(root, name):
    for make in (root.issue_device, certificates.create_self_signed, certificates.create_signing_request):
        with pytest.raises(CertificateError, match="registration ID"):
            make(name)


@pytest.mark.parametrize("name", ["", "x" * 65, "ä" * 33, "two\nlines", None])
def test_names_that_no_authority_can_have(name):
    with pytest.raises(CertificateError, match="common name has 1 to 64"):
        certificates.create_root(name)


def test_the_longest_name(root):
    assert root.issue_device("x" * 64).common_name == "x" * 64


def test_proof_of_possession_is_signed_by_the_authority(line):
    proof = x509.load_pem_x509_certificate(line.prove_possession(f"{CODE}\n").encode())
    assert proof.subject.rfc4514_string() == f"CN={CODE}"
    assert is_signed_by(proof, line.parsed)


def test_a_request_is_signed_without_the_key_changing_hands(line):
    request = certificates.create_signing_request("pump-102")
    device = line.sign(request)
    asked = x509.load_pem_x509_csr(request.request.encode())
    assert asked.public_key() == device.parsed.public_key()
    assert device.common_name == "pump-102"
    assert is_signed_by(device.parsed, line.parsed)
    assert "PRIVATE" not in request.request


def test_renewal_overlaps_with_a_new_key(device, line):
    renewed = device.renew()
    assert renewed.parsed.subject == device.parsed.subject
    assert renewed.parsed.issuer == device.parsed.issuer
    assert is_signed_by(renewed.parsed, line.parsed)
    assert renewed.parsed.public_key() != device.parsed.public_key()
    assert renewed.parsed.not_valid_before_utc <= device.parsed.not_valid_after_utc
    alone = certificates.create_self_signed("pump-001", key="rsa")
    again = alone.renew(days=3)
    assert is_signed_by(again.parsed, again.parsed)
    assert isinstance(again.parsed.public_key(), rsa.RSAPublicKey)


def test_renewal_without_the_authority_is_refused_even_for_a_lone_certificate(device):
    with pytest.raises(CertificateError, match="Contoso Pumps Line 1"):
        mistakes.leaf_only(device).renew()


def test_nothing_is_in_files_before_it_is_saved(line):
    with pytest.raises(CertificateError, match="save"):
        line.issue_device("pump-9").files  # noqa: B018


def test_loading_gives_back_what_was_saved(tmp_path, root, line, device):
    for each in (root, line, device):
        each.save(tmp_path)
    loaded = certificates.load(tmp_path, "pump-101")
    assert isinstance(loaded, DeviceCertificate)
    assert loaded.chain == device.chain
    assert loaded.key == device.key
    assert loaded.files.key_file == device.files.key_file
    assert is_signed_by(loaded.renew().parsed, line.parsed)
    authority = certificates.load(tmp_path, "Contoso Pumps Root")
    assert isinstance(authority, Authority)
    assert is_signed_by(authority.issue_device("pump-2").parsed, root.parsed)


def test_loading_a_device_whose_authority_cannot_be_opened(tmp_path, line):
    line.save(tmp_path, pass_phrase=Secret("only the factory knows"))
    line.issue_device("pump-3").save(tmp_path)
    loaded = certificates.load(tmp_path, "pump-3")
    with pytest.raises(CertificateError, match="has to sign"):
        loaded.renew()


def test_loading_a_device_beside_another_authority_of_the_same_name(tmp_path, root, line):
    line.issue_device("pump-3").save(tmp_path)
    root.issue_intermediate("Contoso Pumps Line 1").save(tmp_path)
    with pytest.raises(CertificateError, match="has to sign"):
        certificates.load(tmp_path, "pump-3").renew()


def test_loading_a_chain_that_names_itself_above_itself(tmp_path, root):
    twin = root.issue_intermediate("Contoso Pumps Root")
    twin.save(tmp_path)
    assert certificates.load(tmp_path, "Contoso Pumps Root").chain == twin.chain


def test_mistakes_are_what_they_say(tmp_path, root, line, device):
    name = "pump-101"
    expired, early = mistakes.expired(line, name).parsed, wrong_certificates.not_yet_valid(line, name).parsed
    assert expired.not_valid_after_utc < device.parsed.not_valid_before_utc < early.not_valid_before_utc
    usage = extension(wrong_certificates.wrong_usage(line, name).parsed, x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert wrong_certificates.weak_key(line, name).parsed.public_key().key_size == 1_024
    assert is_signed_by(wrong_certificates.issued_by_device(device, "pump-7").parsed, device.parsed)
    assert mistakes.other_name(line, name).common_name != name
    assert mistakes.leaf_only(device).chain == device.certificate
    assert wrong_certificates.without_intermediate(device).chain_certificates == (device.parsed, root.parsed)
    assert wrong_certificates.wrong_order(device).chain_certificates == (device.parsed, root.parsed, line.parsed)
    assert extension(mistakes.authority_as_device(line).parsed, x509.BasicConstraints).value.ca
    forged = wrong_certificates.forged(device)
    assert forged.certificate == device.certificate
    assert forged.key != device.key
    for number, each in enumerate([mistakes.expired(line, name), forged, wrong_certificates.wrong_order(device)]):
        assert isinstance(each, DeviceCertificate)
        assert each.save(tmp_path / str(number)).key_file.exists()


def test_a_request_whose_signature_is_not_its_own(line):
    pem = certificates.create_signing_request("pump-102").request.encode()
    parsed = x509.load_pem_x509_csr(pem)
    der = bytearray(parsed.public_bytes(serialization.Encoding.DER))
    der[der.index(b"pump-102") + 7] ^= 1
    request = certificates.SigningRequest(x509.load_der_x509_csr(bytes(der)), certificates.new_key("ec"))
    with pytest.raises(CertificateError, match="not signed"):
        line.sign(request)


def test_a_certificate_without_basic_constraints_is_no_authority(tmp_path):
    key = certificates.new_key("ec")
    plain = certificates.build("pump-1", key.public_key(), key, days=1, extensions=[])
    DeviceCertificate(plain, key).save(tmp_path)
    assert isinstance(certificates.load(tmp_path, "pump-1"), DeviceCertificate)


def test_authorities_that_signed_each_other_are_loaded(tmp_path):
    one, other = certificates.create_root("One"), certificates.create_root("Other")
    for below, above in ((one, other), (other, one)):
        crossed = certificates.build(
            below.common_name, below.parsed.public_key(), above, days=3, extensions=certificates.authority_extensions()
        )
        certificates.Authority(crossed, below._private_key, [above.parsed]).save(tmp_path)
    assert certificates.load(tmp_path, "One").common_name == "One"
