"""What OpenSSL reads is read here, too, or refused with the name of a limit; nothing else ever comes out.

The files are those of the package ``cryptography_vectors``: right, strange and damaged ones.
"""

import ssl
from collections import Counter
from pathlib import Path

import cryptography_vectors
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from x509_family import NOW, make, make_root

from dps_simulator.credentials.certificate_encoding import (
    CERTIFICATE_LABELS,
    PEM_BLOCK,
    dotted,
    from_base64,
    read_fields,
)
from dps_simulator.credentials.certificates import Certificate, UnsupportedCertificateError, read_certificate
from dps_simulator.credentials.chains import Finding, build_path, is_signed_by, judge_leaf, judge_path
from dps_simulator.credentials.evidence import X509Evidence, finding_of_unreadable
from dps_simulator.errors.table import ServiceError

PUMP = make("pump-1")
VECTORS = Path(cryptography_vectors.__file__).parent
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
VERSION_THREE = bytes.fromhex("a003020102")
SHA256_WITH_RSA = bytes.fromhex("06092a864886f70d01010b0500")
ECDSA_WITH_SHA256 = bytes.fromhex("06082a8648ce3d040302")


def vectors():
    """The certificates in all files, by the names of the files."""
    for path in sorted(VECTORS.rglob("*")):
        if path.is_file() and path.suffix not in {".py", ".pyc"}:
            data = path.read_bytes()
            yield path.name, data
            if b"-----BEGIN" in data:
                for block in PEM_BLOCK.finditer(data.decode("latin-1")):
                    if block[1] in CERTIFICATE_LABELS:
                        yield path.name, from_base64(block[2]) or b""


def openssl_reads(der):
    try:
        CONTEXT.load_verify_locations(cadata=der)
    except ssl.SSLError:
        return False
    return True


def read(der):
    try:
        return Certificate.from_der(der)
    except ValueError as error:
        return error


def test_every_certificate_of_the_vectors():
    found, unsupported, refused = [], set(), Counter()
    for name, der in vectors():
        result = read(der)
        if isinstance(result, Certificate):
            found.append(result)
        elif isinstance(result, UnsupportedCertificateError):
            unsupported.add((name, "a limit of its own" in str(result)))
        else:
            refused[str(result), openssl_reads(der)] += 1
    # what OpenSSL reads is never called damaged
    assert set(refused) == {("it is not a certificate, or a damaged one", False)}
    assert unsupported == {
        ("DSAParametersInheritedCACert.crt", True),
        ("ValidDSAParameterInheritanceTest5EE.crt", True),
        ("badasn1time.pem", True),
    }
    assert len(found) > 500
    by_subject = {}
    for each in found:
        by_subject.setdefault(each.parsed.subject, []).append(each)
    verdicts = Counter()
    for each in found:
        assert read_certificate("certificate", each.pem) == each
        path = build_path([each, *by_subject.get(each.parsed.issuer, [])], [], NOW)
        for problem in (judge_leaf(each, NOW), judge_path(path.certificates, each.not_before)):
            verdicts[problem and problem.finding] += 1
            assert problem is None or not any(word in problem.text for word in ("ParseError", "PhantomData", "asn1"))
    assert verdicts[None] > 300
    assert verdicts[Finding.CHAIN_INVALID] > 10


def wrapped(tag, content):
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x81, size]) if size < 256 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def with_serial_number(number, issuer):
    """A certificate with this serial number, signed anew: libraries refuse to make some."""
    fields = issuer.issue("pump-1").parsed.fields
    signed = fields.signed
    signed = signed[signed.index(VERSION_THREE) :].replace(wrapped(2, fields.serial_number), wrapped(2, number))
    signed = wrapped(0x30, signed)
    rsa = isinstance(issuer.key, RSAPrivateKey)
    how = (padding.PKCS1v15(), hashes.SHA256()) if rsa else (ec.ECDSA(hashes.SHA256()),)
    signature = wrapped(3, b"\0" + issuer.key.sign(signed, *how))
    algorithm = wrapped(0x30, SHA256_WITH_RSA if rsa else ECDSA_WITH_SHA256)
    return Certificate.from_der(wrapped(0x30, signed + algorithm + signature))


@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("number", ["00", "f9", "80" + 20 * "00", "7f" + 20 * "ff"])
def test_serial_numbers_that_libraries_refuse(number, kind):
    root = make_root("Root", kind=kind)
    leaf = with_serial_number(bytes.fromhex(number), root)
    assert leaf.info()["serialNumber"] == number.upper()
    path = build_path([leaf], [root.parsed])
    assert path.certificates == (leaf, root.parsed)
    assert judge_path(path.certificates, NOW) is None
    assert not is_signed_by(leaf, make_root("Root", kind=kind, key_name="another").parsed)


def test_extensions_that_say_nothing():
    root = make_root("Root", usage=True, extended=[])
    fields = root.parsed.fields
    assert (fields.authority(), fields.may_sign()) == ((True, None), True)
    problem = judge_leaf(root.parsed, NOW)
    assert (problem.finding, "is empty; a device" in problem.text) == (Finding.WRONG_EXTENDED_KEY_USAGE, True)
    constraints = fields.extensions["2.5.29.19"]
    damaged = fields.encoding.replace(constraints, b"\x30\x09" + constraints[2:])
    assert read_fields(damaged).authority() == (False, None)
    usage = fields.extensions["2.5.29.15"]
    assert read_fields(fields.encoding.replace(usage, b"\3\x09" + usage[2:])).may_sign() is False


def test_what_has_not_the_shape_of_a_certificate():
    for data in (b"", b"\x30", b"\x30\0", b"\x30\x80\0\0", b"\x30\x05\x30\0", b"\x30\x82"):
        with pytest.raises(ValueError, match=r"shape|cut off|unpack"):
            read_fields(data)
    assert (dotted(b""), dotted(bytes.fromhex("2a864886f70d"))) == ("0", "1.2.840.113549")
    assert dotted(bytes.fromhex("813403")) == "2.100.3"


def test_limits_are_told_from_damage():
    shown = [PUMP.der] * 17
    with pytest.raises(UnsupportedCertificateError, match=r"17 certificates.* at most 16 \(a limit") as caught:
        X509Evidence.read(shown)
    assert finding_of_unreadable(caught.value) is Finding.NOT_SUPPORTED
    with pytest.raises(ValueError, match="not a certificate") as caught:
        X509Evidence.read([b"nonsense"])
    assert finding_of_unreadable(caught.value) is Finding.CHAIN_INVALID
    time = (VECTORS / "x509" / "badasn1time.pem").read_text()
    with pytest.raises(ServiceError, match="OpenSSL reads the certificate, and this simulator does not"):
        read_certificate("certificate", time)
