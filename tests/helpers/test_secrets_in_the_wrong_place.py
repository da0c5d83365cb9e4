"""What looks like a secret is not repeated, whatever place it was given for; names that people choose are."""

import base64
import json
import os
import random
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from dps_simulator.errors.masking import is_no_path, mask_in_input
from helpers import certificates, checks, parameter_rules, target, workspace
from helpers.certificates import files as certificate_files
from helpers.certificates.files import CertificateError
from helpers.credentials import CredentialsError, derive_device_key
from helpers.diagnosis import explain
from helpers.masking import MaskedError, shown
from helpers.target import TargetError
from helpers.tpm.client.client_options import ClientOptions
from helpers.tpm.device import open_tpm
from helpers.views.enrollment_document import check_kind

#: Random, and at every run the same.
RANDOM = random.Random("secrets in the wrong place")  # noqa: S311  (no key opens anything)


def base64_of(count):
    return base64.b64encode(RANDOM.randbytes(count)).decode()


def lines_of_a_key():
    body = base64_of(138)
    frame = "-----{} PRIVATE KEY-----"
    return [frame.format("BEGIN"), body[:64], body[64:128], body[128:], frame.format("END")]


#: Each makes another text at every call, and the part of it that is secret.
KINDS = {
    "a short key": lambda: (key := base64_of(16), key),
    "without its end": lambda: (key := base64_of(32).rstrip("="), key),
    "half a key": lambda: (key := base64_of(64)[:44], key),
    "in quotes": lambda: (f'"{(key := base64_of(32))}"', key),
    "for URLs": lambda: (key := base64.urlsafe_b64encode(RANDOM.randbytes(32)).decode(), key),
    "hexadecimal": lambda: (key := RANDOM.randbytes(32).hex(), key),
    "in capitals": lambda: (key := RANDOM.randbytes(32).hex().upper(), key),
    "two keys": lambda: (f"{(key := base64_of(32))},{base64_of(32)}", key),
    "with an ending": lambda: (f"{(key := base64_of(32))}.pem", key),
    "in a folder": lambda: (f"/nowhere/{(key := base64_of(32))}", key),
    "with a blank": lambda: (f"{(key := base64_of(32))[:20]} {key[20:]}", key),
    "of a storage account": lambda: (f"AccountName=a;AccountKey={(key := base64_of(64))}", key),
    "a line of a key": lambda: (line := lines_of_a_key()[1], line),
    "the last line of a key": lambda: (line := lines_of_a_key()[3], line),
    "a key in a key": lambda: (key := base64.b64encode("\n".join(lines_of_a_key()).encode()).decode(), key),
    "other dashes": lambda: ("\n".join(lines := lines_of_a_key()).replace("-", "–"), lines[2]),
    "JWK": lambda: (json.dumps({"kty": "EC", "d": (key := base64_of(32))}), key),
    "PKCS #12": lambda: (str(b"0\x82\x04?" + RANDOM.randbytes(90)), "-" * 9),
}


def is_repeated(secret, text):
    text = text.replace("\\n", "").replace("\n", "")
    return any(secret[begin : begin + 8] in text for begin in range(len(secret) - 7))


PLACE = SimpleNamespace(name="simulator", id_scope="0ne00000A01")
CALLS = {
    "certificate": lambda given, folder: certificate_files.check(given, folder / "pump-1.key"),
    "key": lambda given, folder: certificate_files.check(folder / "pump-1-chain.pem", given),
    "key beside it": lambda given, folder: certificate_files.read_key(folder / given),
    "chain": lambda given, folder: certificate_files.read_chain(given),
    "folder to save": lambda given, folder: certificates.create_self_signed("pump-1").save(given),
    "folder to load": lambda given, folder: certificates.load(given, "pump-1"),
    "name to load": lambda given, folder: certificates.load(folder, given),
    "device": lambda given, folder: certificates.create_self_signed(given + " "),
    "authority": lambda given, folder: certificates.create_root(given + "\t" * 64),
    "kind of key": lambda given, folder: certificates.create_root("x", key=given),
    "days": lambda given, folder: certificates.create_root("x", days=given),
    "host": lambda given, folder: target.normalised_host(given + "_"),
    "scope": lambda given, folder: target.checked_id_scope(given),
    "target": lambda given, folder: target.connect(given),
    "document": lambda given, folder: workspace.load(given + " ", PLACE),
    "recipe": lambda given, folder: workspace.need(given + ".", PLACE),
    "notebook": lambda given, folder: checks.check_parameters(given),
    "attestation": lambda given, folder: explain(ValueError(), attestation=given),
    "TPM": lambda given, folder: open_tpm(given),
    "host of a TPM's client": lambda given, folder: ClientOptions.read(given + "_", "0ne00000A01", {}),
    "option": lambda given, folder: ClientOptions.read("dps.test", "0ne00000A01", {given: 1}),
    "enrollment": lambda given, folder: check_kind(given, given),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_looks_random_is_known(kind):
    for _ in range(100):
        given, secret = KINDS[kind]()
        assert is_no_path(given)
        assert not is_repeated(secret, shown(given))
        # in a sentence, nobody can say where what was given begins and ends
        if kind not in ("with a blank", "other dashes"):
            assert not is_repeated(secret, str(MaskedError(f"it is {given!r}.")))


@pytest.mark.parametrize("kind", KINDS)
def test_no_error_repeats_a_secret(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("DPS_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.chdir(tmp_path)
    certificates.create_self_signed("pump-1").save(tmp_path / "own")
    for name, call in CALLS.items():
        given, secret = KINDS[kind]()
        with pytest.raises((MaskedError, ValueError, TypeError, OSError)) as caught:
            call(given, tmp_path / "own")
        told = f"{caught.value} {caught.value!r} {explain(caught.value)} {explain(caught.value).html()}"
        assert not is_repeated(secret, told), name
        # nor does a folder carry it, which everybody can see
        assert sorted(each.name for each in tmp_path.iterdir()) in (["own"], ["own", "workspace"]), name


def test_parameters_do_not_repeat_a_secret():
    names = ("target", "registration_id", "group_id", "member_id", "device_id", "reset", "tpm_kind", "webhook_url")
    for make in KINDS.values():
        given, secret = make()
        told = parameter_rules.problems("11_symmetric_key_enroll", dict.fromkeys(names, given + " "))
        assert told
        assert not is_repeated(secret, str(told))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Contoso Pumps Line 1 Root 2024",
            "ContosoPumpsLine1Root",
            "DigiCertGlobalRootG2",
            "pump-001-certificate.pem",
        ),
        *("sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6", "/home/somebody/Documents/Contoso2024/pump-101-chain.pem"),
        *(
            "global.azure-devices-provisioning.net",
            "3f2b8c1a-9d4e-4b7a-8c5d-0e1f2a3b4c5d",
            "TpmProvisioningDeviceClient",
        ),
        *(
            "HostName=…;SharedAccessKeyName=…",
            "AABBCCDDEEFF",
            "first-thermostat",
            "C:/Users/Somebody/pump-1.key",
        ),
    ],
)
def test_a_name_that_people_choose_is_shown(name):
    assert mask_in_input(name) == name
    assert shown(name) == repr(name)
    assert not is_no_path(name)


def test_bytes_are_no_path(tmp_path):
    files = certificates.create_self_signed("pump-1").save(tmp_path)
    for call in (
        lambda: certificate_files.check(files.chain_file.read_bytes(), files.key_file),
        lambda: certificate_files.check(files.chain_file, files.key_file.read_bytes()),
        lambda: certificate_files.read_key(files.key_file.read_bytes()),
        lambda: certificates.load(b"folder", "pump-1"),
    ):
        with pytest.raises(CertificateError, match="of type bytes"):
            call()


def test_a_folder_that_is_there_may_be_called_as_it_likes(tmp_path):
    folder = tmp_path / base64.urlsafe_b64encode(RANDOM.randbytes(32)).decode()
    folder.mkdir()
    files = certificates.create_self_signed("pump-1").save(folder)
    assert files.check() == []
    with pytest.raises(CertificateError, match=r"There is no key file pump-2\.key"):
        certificate_files.read_key(folder / "pump-2.key")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("which", ["certificate", "key"])
def test_a_pipe_is_refused_before_anybody_waits_for_it(tmp_path, which):
    files = certificates.create_self_signed("pump-1").save(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    given = {"certificate": files.chain_file, "key": files.key_file, which: pipe}
    with pytest.raises(CertificateError, match="pipe is no file"):
        certificate_files.check(given["certificate"], given["key"])
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_large_file_that_openssl_takes(tmp_path):
    files = certificates.create_self_signed("pump-1").save(tmp_path)
    text = files.chain_file.read_text()
    files.chain_file.write_text("# a list\n" * 40_000 + text)
    (remark,) = files.check()
    assert "OpenSSL takes the files" in remark
    files.chain_file.write_text("# a list\n" * 40_000)
    with pytest.raises(CertificateError, match="too large"):
        files.check()


CERTIFICATE = certificates.create_root("Root").certificate
DER = base64.b64decode("".join(CERTIFICATE.splitlines()[1:-1]))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "It is empty"),
        (b"\xef\xbb\xbf\r\n", "It is empty"),
        (CERTIFICATE.replace("-----", "—————").encode(), "five hyphens"),
        (CERTIFICATE.replace("-----", "----").encode(), "five hyphens"),
        (CERTIFICATE.lower().encode(), "five hyphens"),
        (base64.b64encode(DER), "lines BEGIN and END around it"),
        (DER, "looks like DER"),
        (b"0\x82\x04\x3f\x02\x01\x030\x82\x03\xf5", "PKCS #12 file"),
        (bytes.fromhex("308203f506092a864886f70d010702a0"), "PKCS #7 file"),
        (b"-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n", "openssl pkcs7 -print_certs"),
        (
            b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
            "request for a certificate",
        ),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "public key"),
        (b"PuTTY-User-Key-File-3: ecdsa-sha2-nistp256\n", "PuTTYgen"),
        (b"\xfe\xed\xfe\xed\x00\x00\x00\x02", "keytool"),
        (b"PK\x03\x04", "ZIP"),
        (b"\x1f\x8b\x08", "gzip"),
        (b'{"kty": "EC"}', "JSON"),
        (b"<!DOCTYPE html>", "HTML"),
    ],
)
def test_what_a_file_is_that_holds_no_pem(tmp_path, content, says):
    files = certificates.create_self_signed("pump-1").save(tmp_path)
    for place in (files.chain_file, files.key_file):
        before = place.read_bytes()
        place.write_bytes(content)
        with pytest.raises(CertificateError, match=place.name) as caught:
            files.check()
        assert says in str(caught.value)
        place.write_bytes(before)


def test_a_key_of_openssh_is_not_called_damaged(tmp_path):
    files = certificates.create_self_signed("pump-1").save(tmp_path)
    files.key_file.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    with pytest.raises(CertificateError, match="ssh-keygen -p -m PKCS8"):
        files.check()


@pytest.mark.parametrize("line", ["-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"])
def test_a_certificate_without_one_of_its_lines_is_what_is_told(tmp_path, line):
    files = certificates.create_root("Root").issue_device("pump-1").save(tmp_path)
    whole = files.chain_file.read_text()
    begin = whole.index(line) if "BEGIN" in line else whole.rindex(line)
    files.chain_file.write_text(whole[:begin] + whole[begin + len(line) :])
    with pytest.raises(CertificateError, match="damaged certificate"):
        files.check()


def test_what_is_no_text_is_not_repeated_either():
    given, secret = KINDS["in capitals"]()
    with pytest.raises(CredentialsError):
        derive_device_key(given, "pump-1 ")
    with pytest.raises(TargetError) as caught:
        target.checked_id_scope(Path(given))
    assert not is_repeated(secret, str(caught.value))
