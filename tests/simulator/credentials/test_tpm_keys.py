import base64
import hashlib
from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from tpm_parts import (
    DOCUMENTED_EK,
    EK_ATTRIBUTES,
    EK_POLICY,
    SRK_ATTRIBUTES,
    endorsement,
    modulus,
    private_key,
    public_area,
    sized,
    storage_root,
    text,
)

from dps_simulator.credentials.tpm_blob import make_blob
from dps_simulator.credentials.tpm_keys import ENDORSEMENT, MAX_TEXT_SIZE, STORAGE_ROOT, TpmPublicKey, read_tpm_key
from dps_simulator.errors.table import Dps, ServiceError

FIELD = "attestation.tpm.endorsementKey"


def refused(value, role=ENDORSEMENT):
    with pytest.raises(ServiceError) as error:
        read_tpm_key(FIELD, value, role)
    assert error.value.kind is Dps.INVALID_BODY
    message = error.value.message
    assert message.startswith(FIELD)
    # whatever was wrong, it says what to do
    assert message.endswith("-o key.pub && base64 -w0 key.pub")
    assert role.name in message
    return message


def pem(key=None, encoding=serialization.Encoding.PEM):
    public = (key or private_key(0)).public_key()
    return public.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


def private_pem(encoding=serialization.Encoding.PEM):
    return private_key(0).private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def certificate(encoding):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "EK")])
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    made = x509.CertificateBuilder(name, name, private_key(0).public_key(), 5, now, now + timedelta(days=1))
    return made.sign(private_key(0), hashes.SHA256()).public_bytes(encoding)


# --- what is accepted -----------------------------------------------------------------------------------------


def test_the_key_of_the_documentation():
    key = read_tpm_key(FIELD, DOCUMENTED_EK, ENDORSEMENT)
    assert key.text == DOCUMENTED_EK
    assert (len(key.encoded), key.attributes, key.policy, key.symmetric_bits) == (316, EK_ATTRIBUTES, EK_POLICY, 128)
    numbers = key.public_key.public_numbers()
    assert numbers.e == 65_537
    assert (
        hashlib.sha256(numbers.n.to_bytes(256, "big")).hexdigest()
        == "7475943e39c83b8d69a4491bc172d6bf3ef001f90ff58b255d5b05dbde95dd7a"
    )
    # what SDKs derive the registration ID sizmf6sllrqe4op4wm576nl26la72rssxmf7i7oag2fbuy7uvbaq from
    name = base64.b32encode(bytes.fromhex(key.digest)).decode().rstrip("=").lower()
    assert name == "sizmf6sllrqe4op4wm576nl26la72rssxmf7i7oag2fbuy7uvbaq"
    assert key.name == b"\x00\x0b" + hashlib.sha256(base64.b64decode(DOCUMENTED_EK)[2:]).digest()


def test_lines_of_base64_are_one_text():
    wrapped = "\r\n".join(DOCUMENTED_EK[start : start + 76] for start in range(0, len(DOCUMENTED_EK), 76)) + "\n"
    assert read_tpm_key(FIELD, wrapped, ENDORSEMENT).text == DOCUMENTED_EK


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": b""},
        {"policy": b"p" * 48},
        # the templates of TCG for larger keys allow the password, too
        {"attributes": EK_ATTRIBUTES | 0x40},
        {"attributes": 0x00030000},
        {"cipher": (6, 256, 0x43)},
        {"exponent": 65_537},
        {"exponent": 3},
    ],
)
def test_endorsement_keys_of_other_manufacturers(changes):
    key = read_tpm_key(FIELD, text(endorsement(**changes)), ENDORSEMENT)
    assert key.public_key.public_numbers().e == changes.get("exponent", 65_537)


def test_a_storage_root_key():
    key = read_tpm_key(FIELD, text(storage_root()), STORAGE_ROOT)
    assert (key.attributes, key.policy) == (SRK_ATTRIBUTES, b"")
    assert key != TpmPublicKey.parse(endorsement())
    assert read_tpm_key(FIELD, text(endorsement(policy=b"")), STORAGE_ROOT)


# --- what is not ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("role", [ENDORSEMENT, STORAGE_ROOT])
def test_nothing(value, role):
    assert "is missing" in refused(value, role)
    assert f"{role.handle:x}" in refused(value, role)


WRONG_TEXTS = [
    (5, "is 5; it must be a text"),
    (["AToA"], "is an array"),
    ("not base64!", "is not base64"),
    (DOCUMENTED_EK[:-1], "is not base64"),
    ("A" * (MAX_TEXT_SIZE + 4), "characters; at most"),
    ("   ", "has 0 bytes"),
    ("AToA", "has 3 bytes"),
    (pem().decode(), "is PEM"),
    (private_pem().decode(), "is a private key"),
    (certificate(serialization.Encoding.PEM).decode(), "is a certificate (PEM)"),
    (text(certificate(serialization.Encoding.PEM)), "is a certificate (PEM)"),
    (text(certificate(serialization.Encoding.DER)), "is a certificate (DER)"),
    (text(pem(encoding=serialization.Encoding.DER)), "is a DER SubjectPublicKeyInfo"),
    (text(pem(ec.generate_private_key(ec.SECP256R1()), serialization.Encoding.DER)), "SubjectPublicKeyInfo"),
    (text(private_pem(serialization.Encoding.DER)), "is ASN.1 (DER) of another kind"),
    (text(endorsement()[2:]), "is a TPMT_PUBLIC"),
    (text(endorsement()[:-1]), "is cut off: 314 bytes should follow its size, and 313 do"),
    (text(endorsement() + b"\0\0"), "has 2 bytes after its end"),
    (text(sized(public_area(modulus()) + b"\0\0\0")), "has 3 bytes after the modulus"),
    (text(sized(public_area(modulus())[:60])), "ends within one of its parts"),
    (text(sized(b"\x00\x01")), "ends within one of its parts"),
    (text(endorsement(kind=0x23)), "of the kind ECC"),
    (text(endorsement(kind=0x08)), "of the kind keyed hash"),
    (text(endorsement(kind=0x77)), "of the kind 0x0077"),
    (text(endorsement(name_algorithm=0x0C)), "a name by SHA-384"),
    (text(endorsement(name_algorithm=0x99)), "a name by 0x0099"),
    (text(endorsement(attributes=0x00050072)), "is a key for signing"),
    (text(endorsement(attributes=0x00070072)), "is a key for signing"),
    (text(endorsement(attributes=0x00010072)), "is a key for signing"),
    (text(endorsement(attributes=0x00020072)), "decrypting anything"),
    (text(endorsement(cipher=(0x10, 128, 0x43))), "with the cipher 0x0010"),
    (text(endorsement(cipher=(6, 64, 0x43))), "AES-64"),
    (text(endorsement(cipher=(6, 128, 0x42))), "in the mode 0x0042"),
    (text(endorsement(scheme=0x17)), "has the scheme 0x0017"),
    (text(endorsement(bits=3072)), "is an RSA key of 3072 bits"),
    (text(endorsement(bits=1024)), "is an RSA key of 1024 bits"),
    (text(sized(public_area(b""))), "is a template"),
    (text(sized(public_area(bytes(256)))), "is a template"),
    (text(sized(public_area(modulus()[1:]))), "no RSA key of 2048 bits can have"),
    (text(sized(public_area(b"\0" + modulus()))), "no RSA key of 2048 bits can have"),
    (text(sized(public_area(b"\x7f" + modulus()[1:]))), "no RSA key of 2048 bits can have"),
    (text(sized(public_area(modulus()[:-1] + b"\x02"))), "no RSA key of 2048 bits can have"),
    (text(endorsement(exponent=1)), "has the exponent 1"),
    (text(endorsement(exponent=65_536)), "has the exponent 65536"),
    (text(storage_root()), "is a storage root key"),
]


# named by their problem: the keys differ from one process to the next
@pytest.mark.parametrize(("value", "problem"), WRONG_TEXTS, ids=[problem for _, problem in WRONG_TEXTS])
def test_wrong_texts_are_told_what_they_are(value, problem):
    message = refused(value)
    assert problem in message
    assert not isinstance(value, str) or len(value.strip()) < 5 or value[:40] not in message


def test_an_endorsement_key_in_the_place_of_a_storage_root_key():
    assert "is an endorsement key" in refused(DOCUMENTED_EK, STORAGE_ROOT)


# --- whatever comes -----------------------------------------------------------------------------------------------


@given(st.binary(max_size=400))
def test_any_bytes_are_a_key_or_refused(data):
    refused(text(data))


@given(st.text(max_size=60))
def test_any_text_is_refused(value):
    refused(value)


@given(st.integers(0, 315), st.integers(0, 255))
def test_a_changed_key_is_refused_or_can_be_encrypted_to(place, byte):
    changed = bytearray(base64.b64decode(DOCUMENTED_EK))
    changed[place] = byte
    try:
        key = TpmPublicKey.parse(bytes(changed))
    except ValueError:
        return
    assert len(make_blob(key, key, bytes(32))) == 798


@pytest.mark.parametrize("number", [2**2047 + 1, 2**2048 - 1, 3 * (2**2047 // 3 * 2 // 3 | 1) | 2**2047])
def test_a_modulus_with_small_factors_does_no_harm(number):
    key = TpmPublicKey.parse(sized(public_area(number.to_bytes(256, "big"))))
    assert isinstance(key.public_key, rsa.RSAPublicKey)
    assert len(make_blob(key, key, bytes(32))) == 798
