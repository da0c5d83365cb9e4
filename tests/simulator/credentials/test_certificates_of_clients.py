"""Certificates: read from whatever clients send, and never repeated when it is something else."""

import base64
import contextlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import given
from hypothesis import strategies as st
from x509_family import NOW, key_of, make, make_root

from dps_simulator.credentials.certificates import MAX_TEXT_SIZE, Certificate, read_certificate
from dps_simulator.errors.table import Dps, ServiceError

PUMP = make("pump-1")
KEY = key_of("pump-1")
DER_KEY = KEY.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo
REQUEST = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pump-1")]))
    .sign(KEY, hashes.SHA256())
)


def encoded(data):
    return base64.b64encode(data).decode()


def pem(label, data):
    return f"-----BEGIN {label}-----\n{encoded(data)}\n-----END {label}-----\n"


def test_what_a_certificate_tells():
    issued = make_root("Root").issue("pump-1")
    certificate = issued.parsed
    assert certificate.info() == {
        "subjectName": "CN=pump-1",
        "sha1Thumbprint": issued.certificate.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303  (the API's field)
        "sha256Thumbprint": issued.certificate.fingerprint(hashes.SHA256()).hex().upper(),
        "issuerName": "CN=Root",
        "notBeforeUtc": "2025-12-22T00:00:00Z",
        "notAfterUtc": "2026-01-21T00:00:00Z",
        "serialNumber": f"{issued.certificate.serial_number:X}".zfill(
            2 * ((issued.certificate.serial_number.bit_length() + 7) // 8)
        ),
        "version": 3,
    }
    assert list(certificate.info())[:2] == ["subjectName", "sha1Thumbprint"]
    assert (certificate.common_name, certificate.is_authority, certificate.is_self_issued) == ("pump-1", False, False)
    assert certificate.not_before < NOW < certificate.not_after
    assert certificate.pem == issued.pem
    assert "pump-1" in repr(certificate)


def test_equality_is_that_of_the_encoding():
    assert PUMP.parsed == Certificate.from_der(PUMP.der)
    assert PUMP.parsed != make("pump-1").parsed
    assert PUMP.parsed != PUMP.der
    assert len({PUMP.parsed, Certificate.from_der(PUMP.der)}) == 1


def test_what_a_subject_may_be():
    nameless = make("pump-1", subject=x509.Name([]))
    assert (nameless.parsed.common_name, nameless.parsed.subject_name) == (None, "")
    two = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name) for name in ("Contoso", "pump-1")])
    assert make("x", subject=two).parsed.common_name == "pump-1"


@pytest.mark.parametrize(
    "text",
    [
        PUMP.pem,
        f"  {PUMP.pem}\n",
        "\ufeff" + PUMP.pem,
        PUMP.pem.replace("\n", "\r\n"),
        "subject=CN = pump-1\n" + PUMP.pem,
        PUMP.base64,
        "\n".join(PUMP.base64[start : start + 64] for start in range(0, len(PUMP.base64), 64)),
        encoded(PUMP.pem.encode()),
        PUMP.pem.replace("CERTIFICATE", "X509 CERTIFICATE"),
        # what "openssl x509 -addtrust clientAuth" makes: the certificate, and behind it for what it is trusted
        pem("TRUSTED CERTIFICATE", PUMP.der + bytes.fromhex("300c300a06082b06010505070302")),
    ],
)
def test_the_ways_to_write_one(text):
    assert read_certificate("certificate", text) == PUMP.parsed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "certificate is None"),
        ({}, "certificate is an object"),
        ("", "neither PEM nor base64"),
        ("pump-1.pem", "neither PEM nor base64"),
        ("x" * (MAX_TEXT_SIZE + 1), f"a text of {MAX_TEXT_SIZE + 1} characters"),
        (encoded(b"nonsense"), "base64 of something that is not a certificate"),
        (PUMP.key_pem, "a private key"),
        (PUMP.key_pem.replace("PRIVATE KEY", "EC PRIVATE KEY"), "a private key"),
        (PUMP.pem + PUMP.key_pem, "a private key"),
        (encoded(DER_KEY), "a private key"),
        (encoded(PUMP.key_pem.encode()), "a private key"),
        (REQUEST.public_bytes(serialization.Encoding.PEM).decode(), "PEM of the kind 'CERTIFICATE REQUEST'"),
        (encoded(REQUEST.public_bytes(serialization.Encoding.DER)), "a certificate signing request"),
        (encoded(KEY.public_key().public_bytes(serialization.Encoding.DER, PUBLIC)), "a public key without"),
        (PUMP.pem + make_root("Root").pem, "a chain of 2 certificates"),
        (PUMP.pem + "-----BEGIN CERTIFICATE-----\nMIIB", "something unfinished beside it"),
        (PUMP.pem[:-30], "cut off"),
        (pem("CERTIFICATE", b"nonsense"), "not a certificate"),
        ("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----", "not base64"),
    ],
)
def test_something_else_is_named_and_not_repeated(text, expected):
    with pytest.raises(ServiceError) as error:
        read_certificate("certificate", text)
    assert error.value.kind is Dps.INVALID_BODY
    assert expected in error.value.message
    for secret in (PUMP.key_pem.splitlines()[1], encoded(DER_KEY)):
        assert secret not in str(error.value)


@given(st.binary(max_size=300))
def test_random_bytes_are_read_or_refused(data):
    with pytest.raises(ValueError, match="not a certificate"):
        Certificate.from_der(data)


@given(st.text(max_size=300))
def test_random_text_is_refused(text):
    with pytest.raises(ServiceError):
        read_certificate("certificate", text)


@given(st.integers(0, len(PUMP.der) - 1), st.integers(1, 255))
def test_a_damaged_certificate_is_read_or_refused(place, change):
    damaged = bytearray(PUMP.der)
    damaged[place] ^= change
    # nothing but the documented exception comes out, whatever was damaged
    with contextlib.suppress(ValueError):
        Certificate.from_der(bytes(damaged)).info()
