import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from tpm_parts import PaperTpm, private_key, take_apart

from dps_simulator.credentials.tpm_blob import MAX_ADDRESS_SIZE, TpmBlobError, make_blob
from dps_simulator.credentials.tpm_keys import TpmPublicKey

KEY = bytes(range(32))
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"DUPLICATE\0")


def blob_for(tpm, secret=KEY, address=b""):
    endorsement, storage_root = (TpmPublicKey.parse(key) for key in (tpm.endorsement, tpm.storage_root))
    return make_blob(endorsement, storage_root, secret, address)


@pytest.mark.parametrize("size", [1, 31, 32, 64])
@pytest.mark.parametrize("address", [b"", b"hub/devices/device-1", b"x" * MAX_ADDRESS_SIZE])
def test_the_tpm_gets_secret_and_address_out(size, address):
    tpm = PaperTpm()
    secret = bytes(range(size))
    assert tpm.activate(blob_for(tpm, secret, address)) == secret
    assert tpm.address == address


def test_the_sizes_are_those_that_clients_know():
    fields = take_apart(blob_for(PaperTpm(), address=b"four"))
    assert [len(field) + 2 for field in fields] == [54, 258, 144, 258, 82, 6]


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_keys_with_longer_ciphers(bits):
    tpm = PaperTpm(changes=(("cipher", (6, bits, 0x43)),))
    assert tpm.activate(blob_for(tpm)) == KEY


def test_another_tpm_gets_nothing():
    with pytest.raises(ValueError, match="Decryption"):
        PaperTpm(endorsement_number=2).activate(blob_for(PaperTpm()))


@pytest.mark.parametrize("changed", [{"storage_number": 2}, {"changes": (("exponent", 65_537),)}])
def test_the_credential_is_bound_to_the_storage_root_key(changed):
    # another key, or the same one with another name
    with pytest.raises(ValueError, match="integrity"):
        PaperTpm(**changed).activate(blob_for(PaperTpm()))


def test_the_secret_itself_is_encrypted_for_the_storage_root_key():
    fields = take_apart(blob_for(PaperTpm()))
    with pytest.raises(ValueError, match="Decryption"):
        private_key(0).decrypt(fields[3], OAEP)
    assert len(private_key(1).decrypt(fields[3], OAEP)) == 32


def test_no_two_blobs_are_the_same():
    first, second = (take_apart(blob_for(PaperTpm(), address=b"address")) for _ in range(2))
    assert all(one != other for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("size", [0, 65])
def test_secrets_that_no_tpm_takes(size):
    with pytest.raises(TpmBlobError, match=f"has {size} bytes"):
        blob_for(PaperTpm(), bytes(size))


def test_an_address_that_is_too_long():
    with pytest.raises(TpmBlobError, match="at most"):
        blob_for(PaperTpm(), address=bytes(MAX_ADDRESS_SIZE + 1))


def test_a_key_that_cannot_encrypt():
    class Even:
        name = b"\x00\x0b" + bytes(32)
        symmetric_bits = 128
        public_key = rsa.RSAPublicNumbers(65_537, 2**2048 - 2).public_key()

    with pytest.raises(TpmBlobError, match="modulus"):
        make_blob(Even(), Even(), KEY)
