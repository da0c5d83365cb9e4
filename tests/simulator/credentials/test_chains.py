"""Paths through certificates, and the parts of a verdict that no registration reaches."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from x509_family import DAY, NOW, key_of, make, make_root

from dps_simulator.credentials import chains
from dps_simulator.credentials.certificates import Certificate
from dps_simulator.credentials.chains import MAX_PATH, Finding, build_path, judge_leaf, judge_path


def parsed(*issued):
    return [each.parsed for each in issued]


def path_of(presented, known=()):
    return build_path(parsed(*presented), parsed(*known))


def test_a_path_that_reaches_a_known_certificate_is_preferred():
    # the same authority with two certificates: its own, and one that another root made for its key
    old_root, new_root = make_root("Old root"), make_root("New root")
    crossed = make("New root", old_root, ca=True, key_name="New root")
    device = new_root.issue("pump-101")
    assert path_of([device, crossed, new_root], [old_root]).certificates == tuple(parsed(device, crossed, old_root))
    assert path_of([device, crossed, new_root], [new_root]).certificates == tuple(parsed(device, new_root))


def test_a_ring_of_authorities_has_an_end():
    first, second = make_root("First"), make_root("Second")
    one = make("First", second, ca=True)
    two = make("Second", first, ca=True)
    path = path_of([make("pump-101", one), one, two])
    assert path.certificates[1:] == tuple(parsed(one, two))
    assert path.missing_issuer == "CN=First"


def test_a_very_long_path_is_cut():
    issuer = make_root("Authority 0")
    shown = [issuer]
    for number in range(1, MAX_PATH + 3):
        issuer = issuer.issue(f"Authority {number}", ca=True)
        shown.insert(0, issuer)
    path = path_of([issuer.issue("pump-101"), *shown])
    assert len(path.certificates) == MAX_PATH
    assert (path.problem.finding, path.missing_issuer) == (Finding.NOT_SUPPORTED, "")
    assert f"follows at most {MAX_PATH} certificates" in path.problem.text
    # a path that just fits is whole
    path = path_of([shown[-MAX_PATH], *shown[1 - MAX_PATH :]])
    assert (len(path.certificates), path.problem) == (MAX_PATH, None)


def test_many_authorities_of_one_name_do_not_take_for_ever():
    one, other = make_root("One"), make_root("Other")
    shown = [make("One", other, ca=True) for _ in range(7)] + [make("Other", one, ca=True) for _ in range(7)]
    path = path_of([make("pump-101", one), *shown])
    assert len(path.certificates) == MAX_PATH


def test_a_self_issued_certificate_that_did_not_sign_itself_goes_on():
    # a new key under the old name, signed with the old key
    old = make_root("Root")
    new = make("Root", old, ca=True, key_name="new key")
    path = path_of([new.issue("pump-101"), new], [old])
    assert path.certificates[1:] == tuple(parsed(new, old))
    assert judge_path(path.certificates, NOW) is None


def test_a_kind_of_key_that_nobody_uses_any_more():
    problem = judge_leaf(make("pump-101", key=dsa.generate_private_key(2048)).parsed, NOW)
    assert (problem.finding, "a DSA key" in problem.text) == (Finding.WEAK_KEY, True)


def signed_with(algorithm, monkeypatch):
    """A certificate that says it was signed with another hash; today's libraries refuse to make such signatures."""
    leaf = make_root("Root").issue("pump-101").parsed
    monkeypatch.setattr(chains, "_signature_hash", lambda certificate: algorithm)
    return judge_leaf(leaf, NOW)


@pytest.mark.parametrize("algorithm", ["sha1", "md5"])
def test_weak_hashes(algorithm, monkeypatch):
    problem = signed_with(algorithm, monkeypatch)
    assert problem.finding is Finding.WEAK_KEY
    assert f"signed with {algorithm.upper()}" in problem.text


def self_signed(key, algorithm=None):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pump-101")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .sign(key, algorithm)
    )
    return Certificate.from_der(certificate.public_bytes(Encoding.DER))


@pytest.mark.parametrize(
    ("key", "algorithm", "name"),
    [
        (ed25519.Ed25519PrivateKey.generate(), None, "of the kind Ed25519"),
        (ed448.Ed448PrivateKey.generate(), None, "of the kind Ed448"),
        (ec.generate_private_key(ec.SECP224R1()), hashes.SHA256(), "on the curve secp224r1"),
        (ec.generate_private_key(ec.SECP256K1()), hashes.SHA256(), "on the curve secp256k1"),
        (ec.generate_private_key(ec.BrainpoolP256R1()), hashes.SHA256(), "on the curve brainpoolP256r1"),
    ],
)
def test_kinds_of_keys_that_azure_does_not_speak_of(key, algorithm, name):
    problem = judge_leaf(self_signed(key, algorithm), NOW)
    assert problem.finding is Finding.NOT_SUPPORTED
    assert f"has a key {name} that is not supported" in problem.text


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()])
def test_kinds_of_keys_that_are_taken(curve):
    key = ec.generate_private_key(curve)
    root = make_root("Root", key=key)
    assert judge_path(parsed(make("pump-101", root, key=ec.generate_private_key(curve)), root), NOW) is None


def test_what_only_openssl_finds():
    # a name constraint that excludes the device's DNS name
    root = make_root(
        "Root",
        more=[(x509.NameConstraints(permitted_subtrees=[x509.DNSName("contoso.test")], excluded_subtrees=None), True)],
    )
    names = x509.SubjectAlternativeName([x509.DNSName("pump.fabrikam.test")])
    leaf = root.issue("pump-101", more=[(names, False)])
    problem = judge_path(parsed(leaf, root), NOW)
    assert problem.finding is Finding.CHAIN_INVALID
    assert "OpenSSL says of the certificate of 'CN=pump-101': permitted subtree violation" in problem.text


def test_a_critical_extension_that_nobody_knows_is_named():
    root = make_root("Root")
    leaf = root.issue("pump-101", more=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)])
    problem = judge_path(parsed(leaf, root), NOW)
    assert problem.finding is Finding.CHAIN_INVALID
    assert "its critical extension 1.2.3.4 is not known here" in problem.text


def test_policies_and_names_of_directories_are_understood():
    policies = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3.4"), None)])
    inhibited = x509.PolicyConstraints(require_explicit_policy=None, inhibit_policy_mapping=0)
    organization = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Contoso")])
    permitted = x509.NameConstraints(permitted_subtrees=[x509.DirectoryName(organization)], excluded_subtrees=None)
    root = make_root("Root", more=[(policies, True), (inhibited, True), (permitted, True)])
    own = x509.Name([*organization, x509.NameAttribute(x509.NameOID.COMMON_NAME, "pump-101")])
    assert judge_path(parsed(root.issue("pump-101", subject=own), root), NOW) is None
    assert judge_path(parsed(root.issue("pump-101"), root), NOW).finding is Finding.CHAIN_INVALID


def test_a_signature_by_a_key_of_another_kind_is_none():
    elliptic = make_root("Root")
    with_rsa = make_root("Root", kind="rsa")
    leaf = elliptic.issue("pump-101", hash_algorithm=hashes.SHA384())
    assert not chains.is_signed_by(leaf.parsed, with_rsa.parsed)
    assert chains.is_signed_by(leaf.parsed, elliptic.parsed)
    assert not chains.is_signed_by(elliptic.issue("x", signer=key_of("thief")).parsed, elliptic.parsed)
