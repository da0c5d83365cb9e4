"""Files that other programs made: the certificates and keys of the package ``cryptography_vectors``, over a thousand.

Whatever is in them, only our own errors come out, and "damaged" is said only of what OpenSSL cannot read either.
"""

import shutil
import ssl
from pathlib import Path

import cryptography_vectors
import pytest
from OpenSSL import crypto

from helpers import certificates
from helpers.certificates import files as certificate_files
from helpers.certificates.files import CertificateError
from helpers.credentials import Secret

VECTORS = Path(cryptography_vectors.__file__).parent


@pytest.fixture(scope="module")
def files():
    return [path for path in sorted(VECTORS.rglob("*")) if path.is_file() and path.suffix not in {".py", ".pyc"}]


def refusal(call, *arguments):
    """What is said instead of an answer; any other exception fails the test."""
    try:
        call(*arguments)
    except CertificateError as error:
        return str(error)
    return ""


def openssl_reads(path):
    try:
        crypto.load_certificate(crypto.FILETYPE_PEM, path.read_bytes())
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (crypto.Error, ssl.SSLError):
        return False
    return True


def test_every_file_as_certificate_and_as_key(files, tmp_path):
    device = certificates.create_self_signed("pump-101")
    own = device.save(tmp_path)
    damaged = []
    for path in files:
        texts = [
            refusal(certificate_files.read_chain, path),
            refusal(certificate_files.check, path, own.key_file),
            refusal(certificate_files.check, own.chain_file, path),
        ]
        if path.stat().st_size < certificate_files.SIZE_LIMIT and b"ENCRYPTED" in path.read_bytes():
            texts.append(refusal(certificate_files.read_key, path, Secret("wrong one")))
        assert not any(word in text for text in texts for word in ("ParseError", "location:"))
        if any("damaged certificate" in text for text in texts):
            damaged.append(path)
    assert len(files) > 1_000
    assert damaged
    assert [path.name for path in damaged if openssl_reads(path)] == []


def test_every_certificate_where_one_of_ours_was(files, tmp_path):
    device = certificates.create_self_signed("x")
    taken = 0
    for number, path in enumerate(path for path in files if b"BEGIN CERTIFICATE-----" in path.read_bytes()):
        own = device.save(tmp_path / str(number))
        shutil.copyfile(path, own.certificate_file)
        shutil.copyfile(path, own.chain_file)
        taken += not refusal(certificates.load, own.chain_file.parent, "x")
        refusal(device.save, own.chain_file.parent)
        assert own.key_file.exists()
    assert taken > 50
