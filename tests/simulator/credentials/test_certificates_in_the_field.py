"""What certificates look like that people make with everyday tools, renew, and paste where they do not belong."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from x509_family import CLIENT, DAY, NOW, SERVER, key_of, make, make_root

from dps_simulator.credentials.certificates import Certificate, read_certificate
from dps_simulator.credentials.chains import Finding, build_path, judge_leaf, judge_path
from dps_simulator.errors.table import Dps, ServiceError

PUMP = make("pump-1")
SHA256_WITH_RSA = bytes.fromhex("06092a864886f70d01010b")
SHA1_WITH_RSA = bytes.fromhex("06092a864886f70d010105")
ECDSA_WITH_SHA256 = bytes.fromhex("06082a8648ce3d040302")
NO_ALGORITHM = bytes.fromhex("06082a8648ce3d040377")


def refusal(text):
    with pytest.raises(ServiceError) as error:
        read_certificate("certificate", text)
    assert error.value.kind is Dps.INVALID_BODY
    return error.value.message


@pytest.mark.parametrize(
    "text",
    [
        # between the lines of a certificate, before a certificate, after one, and cut off
        f"-----BEGIN CERTIFICATE-----\n{PUMP.base64}\n{PUMP.key_pem}-----END CERTIFICATE-----\n",
        f"-----BEGIN CERTIFICATE-----\n{PUMP.base64}\n{PUMP.key_pem}{PUMP.pem}",
        PUMP.key_pem + PUMP.pem,
        PUMP.pem + PUMP.key_pem[:-40],
        PUMP.key_pem[:-40],
    ],
)
def test_a_private_key_is_found_wherever_it_hides(text):
    message = refusal(text)
    assert "a private key, which must never leave the device" in message
    assert PUMP.key_pem.splitlines()[1][:12] not in message
    assert refusal(base64.b64encode(text.encode()).decode()) == message


def test_a_private_key_with_a_pass_phrase_is_one_too():
    form = (serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret"))
    der = PUMP.key.private_bytes(serialization.Encoding.DER, *form)
    assert "a private key" in refusal(base64.b64encode(der).decode())
    assert "a private key" in refusal(PUMP.key.private_bytes(serialization.Encoding.PEM, *form).decode())


@pytest.mark.parametrize(
    ("label", "hint"),
    [
        ("CERTIFICATE REQUEST", "send the certificate that was made from it"),
        ("PUBLIC KEY", "a public key without a certificate"),
        ("X509 CRL", "PEM of the kind 'X509 CRL'. It must be one certificate"),
    ],
)
def test_other_kinds_of_pem_get_a_hint(label, hint):
    assert hint in refusal(f"-----BEGIN {label}-----\nMIIB\n-----END {label}-----")


@pytest.mark.parametrize(
    "after", ["# made in plant 7\n", "\x1a", "\0", PUMP.base64, "-----END CERTIFICATE-----", "----- 7 -----"]
)
def test_what_openssl_leaves_out_is_left_out(after):
    for text in (PUMP.pem + after, base64.b64encode(PUMP.der + after.encode()).decode()):
        read = read_certificate("certificate", text)
        assert (read, read.der) == (PUMP.parsed, PUMP.der)


def test_what_may_stand_beside_a_certificate():
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert read_certificate("certificate", parameters + PUMP.pem) == PUMP.parsed
    # the leaf twice is still one certificate
    assert read_certificate("certificate", PUMP.pem * 2) == PUMP.parsed


def test_a_private_key_behind_the_bytes_of_a_certificate():
    form = (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    behind = PUMP.der + PUMP.key.private_bytes(*form)
    assert "a private key" in refusal(base64.b64encode(behind).decode())


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_an_encoding_that_openssl_does_not_read_is_named(codec):
    wide = PUMP.pem.replace("\n", "\r\n").encode(codec)
    # the file in base64, and the file read as if it had one byte for every character
    for text in (base64.b64encode(wide).decode(), wide.decode("latin-1")):
        assert f"text in {codec[:6].upper()}, as Windows PowerShell" in refusal(text)
    assert "text in UTF-16" in refusal(base64.b64encode(PUMP.base64.encode("utf-16")).decode())


@pytest.mark.parametrize("piece", ["-----BEGIN A-----", "-----BEGIN CERTIFICATE-----", "-----BEGIN ", "-----"])
def test_hostile_pem_is_refused(piece):
    # a search that begins anew at every BEGIN would take long here
    assert "certificate is " in refusal("-----BEGIN " + piece * (32_000 // len(piece)))


def with_sha1(issuer, name):
    """A certificate that is correctly signed with SHA-1; libraries refuse to make such, so it is signed anew here."""
    der = issuer.issue(name).der
    assert der.count(SHA256_WITH_RSA) == 2
    der = der.replace(SHA256_WITH_RSA, SHA1_WITH_RSA)
    body = Certificate.from_der(der).parsed.tbs_certificate_bytes
    return Certificate.from_der(der[:-256] + issuer.key.sign(body, padding.PKCS1v15(), hashes.SHA1()))  # noqa: S303


def test_a_signature_with_sha1_is_called_weak_and_not_wrong():
    root = make_root("Root", kind="rsa")
    leaf = with_sha1(root, "pump-1")
    path = build_path([leaf], [root.parsed])
    assert path.problem.finding is Finding.WEAK_KEY
    assert "signed with SHA1" in path.problem.text
    assert judge_leaf(leaf, NOW) == judge_path([leaf, root.parsed], NOW) == path.problem


def test_a_wrong_signature_is_said_before_a_small_key():
    root = make_root("Root")
    leaf = root.issue("pump-1", kind="small rsa", signer=key_of("thief")).parsed
    assert build_path([leaf], [root.parsed]).problem.finding is Finding.SIGNATURE_INVALID
    assert judge_leaf(leaf, NOW).finding is Finding.WEAK_KEY


def test_a_signature_nobody_knows_is_refused():
    root = make_root("Root")
    leaf = Certificate.from_der(root.issue("pump-1").der.replace(ECDSA_WITH_SHA256, NO_ALGORITHM))
    path = build_path([leaf], [root.parsed])
    assert path.certificates == (leaf,)
    assert "is signed with 1.2.840.10045.4.3.119" in path.problem.text
    assert judge_leaf(leaf, NOW) == path.problem


@pytest.mark.parametrize("old_first", [True, False])
def test_an_authority_that_was_renewed_with_its_key_counts_as_it_is_now(old_first):
    old_root, root = make_root("Root", end=-DAY), make_root("Root")
    old_line, line = root.issue("Line", ca=True, end=-DAY), root.issue("Line", ca=True)
    device = line.issue("pump-1").parsed
    lines, roots = [line.parsed, old_line.parsed], [root.parsed, old_root.parsed]
    if old_first:
        lines.reverse()
        roots.reverse()
    path = build_path([device, *lines], roots, NOW)
    assert path.certificates == (device, line.parsed, root.parsed)
    assert judge_path(path.certificates, NOW) is None
    # a known authority counts more than a valid one: what is wrong with it has to be said
    path = build_path([device, *lines, root.parsed], [old_root.parsed], NOW)
    assert judge_path(path.certificates, NOW).finding is Finding.CERTIFICATE_EXPIRED


def test_an_authority_for_servers_signs_no_devices():
    root = make_root("Root")
    line = root.issue("Line", ca=True, extended=[SERVER])
    problem = judge_path([each.parsed for each in (line.issue("pump-1"), line, root)], NOW)
    assert problem.finding is Finding.WRONG_EXTENDED_KEY_USAGE
    assert "'CN=Line' is serverAuth" in problem.text
    line = root.issue("Line", ca=True, extended=[SERVER, CLIENT])
    assert judge_path([each.parsed for each in (line.issue("pump-1"), line, root)], NOW) is None


def wrap(tag, content):
    """DER of a value of up to 64 kilobytes."""
    size = len(content)
    length = (
        bytes([size]) if size < 128 else b"\x81" + bytes([size]) if size < 256 else b"\x82" + size.to_bytes(2, "big")
    )
    return bytes([tag]) + length + content


def with_version_one(issuer, name):
    """A certificate such as "openssl x509 -req" makes without a file of extensions: without version, signed anew."""
    body = issuer.issue(name).parsed.parsed.tbs_certificate_bytes
    version = bytes.fromhex("a003020102")
    body = wrap(0x30, body[body.index(version) + len(version) :])
    signature = issuer.key.sign(body, ec.ECDSA(hashes.SHA256()))
    return Certificate.from_der(wrap(0x30, body + wrap(0x30, ECDSA_WITH_SHA256) + wrap(0x03, b"\0" + signature)))


def test_devices_may_have_certificates_of_version_one():
    root = make_root("Root")
    line = root.issue("Line", ca=True)
    leaf = with_version_one(line, "pump-1")
    assert leaf.info()["version"] == 1
    path = build_path([leaf, line.parsed], [root.parsed])
    assert path.certificates == (leaf, line.parsed, root.parsed)
    assert judge_path(path.certificates, NOW) is None
    assert judge_path(path.certificates[:2], NOW) is None
    assert judge_leaf(leaf, NOW) is None
    # what is above is still judged, and an authority cannot be one of version 1
    assert judge_path(path.certificates, NOW + 30 * DAY).finding is Finding.CERTIFICATE_EXPIRED
    old = with_version_one(root, "Old")
    assert judge_path([make("pump-1", line).parsed, old, root.parsed], NOW).finding is Finding.ISSUER_NOT_AUTHORITY


def test_what_is_above_a_certificate_of_version_one_is_verified_by_the_library_too():
    permitted = x509.NameConstraints(permitted_subtrees=[x509.DNSName("contoso.test")], excluded_subtrees=None)
    root = make_root("Root", more=[(permitted, True)])
    name = x509.SubjectAlternativeName([x509.DNSName("line.fabrikam.test")])
    line = root.issue("Line", ca=True, more=[(name, False)])
    problem = judge_path([with_version_one(line, "pump-1"), line.parsed, root.parsed], NOW)
    assert problem.finding is Finding.CHAIN_INVALID
