"""Files with certificates and keys: private, checked before any connection, in agreement with OpenSSL."""

import base64
import re
import ssl
from collections import Counter
from datetime import timedelta

import pytest
import wrong_certificates
from azure.iot.device import X509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from helpers import certificates
from helpers.certificates import files as certificate_files
from helpers.certificates import mistakes
from helpers.certificates.files import CertificateError, check
from helpers.credentials import Secret

PHRASE = Secret("open sesame")


def opens(files):
    """Whether OpenSSL takes chain and key; a pass phrase it would ask the terminal for is given as empty."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    phrase = files.pass_phrase.reveal() if files.pass_phrase else ""
    try:
        context.load_cert_chain(str(files.chain_file), str(files.key_file), phrase)
    except (ssl.SSLError, OSError):
        return False
    return True


def test_files_that_only_you_can_read(tmp_path, device):
    files = device.save(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    paths = [files.certificate_file, files.key_file, files.chain_file, files.cer_file]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(path.name for path in paths)
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    assert files.certificate_file.read_text() == device.certificate
    assert files.chain_file.read_text() == device.chain
    assert b"BEGIN" not in files.cer_file.read_bytes()


def test_right_files_serve_the_sdk(tmp_path, device):
    files = device.save(tmp_path)
    assert files.check() == []
    assert opens(files)
    made = files.x509()
    assert isinstance(made, X509)
    assert (made.certificate_file, made.key_file, made.pass_phrase) == (
        str(files.chain_file),
        str(files.key_file),
        None,
    )


def test_an_encrypted_key(tmp_path, device):
    files = device.save(tmp_path, pass_phrase=PHRASE)
    assert b"ENCRYPTED" in files.key_file.read_bytes()
    assert PHRASE.reveal() not in repr(files)
    assert files.check() == []
    assert opens(files)
    assert files.x509().pass_phrase == PHRASE.reveal()
    assert certificates.load(tmp_path, "pump-101", pass_phrase=PHRASE).key == device.key


@pytest.mark.parametrize("phrase", [None, Secret("wrong one")])
def test_pass_phrases_that_do_not_open(tmp_path, device, phrase):
    device.save(tmp_path, pass_phrase=PHRASE)
    files = certificate_files.files_in(tmp_path, "pump-101", phrase)
    with pytest.raises(CertificateError, match=r"pump-101\.key") as caught:
        files.check()
    assert "pass phrase" in str(caught.value)
    assert "wrong one" not in str(caught.value)
    assert not opens(files)


def test_a_pass_phrase_too_many_is_worth_a_remark(tmp_path, device):
    device.save(tmp_path)
    files = certificate_files.files_in(tmp_path, "pump-101", PHRASE)
    assert [remark for remark in files.check() if "not encrypted" in remark]
    assert opens(files)


def test_an_empty_pass_phrase(tmp_path, device):
    with pytest.raises(CertificateError, match="empty"):
        device.save(tmp_path, pass_phrase=Secret(""))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("which", ["chain_file", "key_file"])
def test_missing_files(tmp_path, device, which):
    files = device.save(tmp_path)
    getattr(files, which).unlink()
    with pytest.raises(CertificateError, match=f"There is no .* {getattr(files, which).name}"):
        files.x509()
    assert not opens(files)


def test_a_folder_instead_of_a_file(tmp_path, device):
    files = device.save(tmp_path)
    files.key_file.unlink()
    files.key_file.mkdir()
    with pytest.raises(CertificateError, match="cannot be read"):
        files.check()


@pytest.mark.parametrize("which", ["chain_file", "key_file"])
@pytest.mark.parametrize("content", ["", "hello", "-----BEGIN CERTIFICATE-----\nx\n", "x" * 300_000])
def test_files_with_something_else(tmp_path, device, which, content):
    files = device.save(tmp_path)
    getattr(files, which).write_text(content)
    with pytest.raises(CertificateError, match=getattr(files, which).name):
        files.check()
    assert not opens(files)


def test_a_damaged_key_is_not_repeated(tmp_path, device):
    files = device.save(tmp_path)
    lines = files.key_file.read_text().splitlines()
    files.key_file.write_text("\n".join([lines[0], "AAAA" + lines[1][4:], *lines[2:]]))
    with pytest.raises(CertificateError, match="damaged") as caught:
        files.check()
    assert lines[2] not in str(caught.value)
    assert caught.value.__cause__ is None
    assert not opens(files)


def test_exchanged_files(tmp_path, device):
    files = device.save(tmp_path)
    with pytest.raises(CertificateError, match="holds a private key"):
        check(files.key_file, files.key_file)
    with pytest.raises(CertificateError, match="holds a certificate"):
        check(files.chain_file, files.chain_file)
    with pytest.raises(CertificateError, match="DER"):
        check(files.cer_file, files.key_file)


def test_a_key_that_belongs_to_another_certificate(tmp_path, device):
    files = wrong_certificates.forged(device).save(tmp_path)
    with pytest.raises(CertificateError, match="does not belong"):
        files.check()
    assert not opens(files)


def test_the_authority_first(tmp_path, device):
    files = device.save(tmp_path)
    chain = [certificate_files.pem(each) for each in device.chain_certificates]
    files.chain_file.write_text("".join([chain[1], chain[0], chain[2]]))
    with pytest.raises(CertificateError, match=r"number 2 .*own certificate first"):
        files.check()
    assert not opens(files)


@pytest.mark.parametrize(
    ("chain", "remark"),
    [
        (lambda own, line, root, other: [own, line], None),
        (lambda own, line, root, other: [own, root, line], "wrong order"),
        (lambda own, line, root, other: [own, root], r"'CN=Contoso Pumps Line 1', whose certificate is missing"),
        (lambda own, line, root, other: [own, line, other], r"Root', whose certificate is missing"),
        (lambda own, line, root, other: [own, own, line, root], r"'CN=pump-101' twice"),
        (lambda own, line, root, other: [own, line, root, line], r"Line 1' twice"),
        (lambda own, line, root, other: [own, line, root, other], r"'CN=Other' does not belong to the chain"),
    ],
)
def test_what_openssl_takes_and_a_service_may_mind_is_worth_a_remark(tmp_path, device, chain, remark):
    files = device.save(tmp_path)
    other = certificates.create_root("Other").parsed
    shown = chain(*device.chain_certificates, other)
    files.chain_file.write_text("".join(map(certificate_files.pem, shown)))
    assert opens(files)
    remarks = files.check()
    assert len(remarks) == (remark is not None)
    assert all(re.search(remark, each) for each in remarks)


def test_an_authority_that_expired_matters_to_members_of_a_group_only(tmp_path, root):
    line = root.issue_intermediate("Line", days=1)
    files = line.issue_device("pump-101", days=30).save(tmp_path)
    (remark,) = files.check(now=line.parsed.not_valid_after_utc + timedelta(hours=1))
    assert "'CN=Line' in pump-101-chain.pem expired" in remark
    assert "member of an enrollment group would be refused" in remark


def test_an_authority_of_that_name_with_another_key(tmp_path, device):
    files = device.save(tmp_path)
    again = certificates.create_root("Contoso Pumps Line 1")
    files.chain_file.write_text(device.certificate + again.certificate)
    (remark,) = files.check()
    assert "did not sign it" in remark
    assert "the service would refuse a member of an enrollment group" in remark


def test_a_chain_that_is_too_long_for_the_simulator_alone(tmp_path):
    authority = certificates.create_root("Root")
    for number in range(8):
        authority = authority.issue_intermediate(f"Level {number}")
    files = authority.issue_device("pump-101").save(tmp_path)
    (remark,) = files.check()
    assert "follows at most 8 certificates" in remark
    assert "the simulator would refuse a member" in remark


def test_the_device_alone_is_worth_a_remark(tmp_path, device):
    files = mistakes.leaf_only(device).save(tmp_path)
    (remark,) = files.check()
    assert "Contoso Pumps Line 1" in remark
    assert certificates.create_self_signed("pump-001").save(tmp_path).check() == []


def test_validity_here_and_now(tmp_path, line, device):
    with pytest.raises(CertificateError, match=r"pump-101.*expired on"):
        mistakes.expired(line, "pump-101").save(tmp_path / "expired").check()
    with pytest.raises(CertificateError, match="not valid before"):
        wrong_certificates.not_yet_valid(line, "pump-101").save(tmp_path / "early").check()
    files = device.save(tmp_path)
    start, end = device.parsed.not_valid_before_utc, device.parsed.not_valid_after_utc
    second = timedelta(seconds=1)
    assert files.check(now=start) == files.check(now=end) == []
    for moment in (start - second, end + second):
        with pytest.raises(CertificateError):
            files.check(now=moment)


def test_a_weak_key(tmp_path, line):
    files = wrong_certificates.weak_key(line, "pump-101").save(tmp_path)
    with pytest.raises(CertificateError, match="1024 bits"):
        files.check()
    assert not opens(files)


def test_what_every_service_minds_in_the_certificate_of_a_device(tmp_path, line):
    files = wrong_certificates.wrong_usage(line, "pump-101").save(tmp_path)
    (remark,) = files.check()
    assert "is serverAuth; a device" in remark
    assert opens(files)
    files = certificates.create_root("Contoso Pumps").save(tmp_path)
    (remark,) = files.check()
    assert "('CN=Contoso Pumps') cannot be a registration ID" in remark


def layouts(text):
    """What happens to the text of a certificate: what OpenSSL takes, and what it does not."""
    lines = text.splitlines()
    damaged = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    request = damaged.replace("CERTIFICATE", "CERTIFICATE REQUEST")
    yield from (text, "\ufeff" + text, text.rstrip(), text.replace("\n", "\r\n"), text.replace("\n", "\r"))
    yield from ("".join(lines), text.replace("\n", "\\n"), text.replace("\n", "\n\n"), text.replace("\n", "  \n"))
    yield from ("\n".join(f"  {line}" for line in lines), "\n".join(f"> {line}" for line in lines))
    yield from (f"{lines[0]}\n{''.join(lines[1:-1])}\n{lines[-1]}\n", f"Subject: {text}", f"Bag Attributes\n{text}")
    yield from (text + "# line 7\n", text + "\x1a", text + "\0", text + "-----END CERTIFICATE-----", "--- 7\n" + text)
    yield from (text + damaged, damaged + text, request + text, text + lines[0], lines[0] + "\n" + text)
    yield from (text.replace(" CERT", " X509 CERT"), text.replace("END CERT", "END X509 CERT"), text.lower())
    yield from (text.replace("-----", "----"), text.replace("-----", "\N{EN DASH}----"), text.replace("=", ""))
    yield from (lines[0] + "\nX-Made-By: us\n\n" + "\n".join(lines[1:]), "\n".join(lines[:-1]), text[:-40], "x" * 5_000)


def test_openssl_decides_what_is_taken(tmp_path):
    device = certificates.create_self_signed("pump-101")
    files = device.save(tmp_path)
    verdicts = Counter()
    for text in layouts(device.certificate):
        files.chain_file.write_text(text, newline="")
        try:
            taken = files.check() == []
        except CertificateError:
            taken = False
        assert taken == opens(files), text
        verdicts[taken] += 1
    assert verdicts[True] > 10
    assert verdicts[False] > 10


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("which", ["chain_file", "key_file"])
def test_text_that_openssl_does_not_read_is_named(tmp_path, device, which, codec):
    files = device.save(tmp_path)
    place = getattr(files, which)
    place.write_bytes(place.read_text().replace("\n", "\r\n").encode(codec))
    with pytest.raises(CertificateError, match=rf"text in {codec[:6].upper()}, as Windows PowerShell.*Set-Content"):
        files.check()
    assert not opens(files)


def test_a_container_is_named(tmp_path, device):
    files = device.save(tmp_path)
    (tmp_path / "pump.pfx").write_bytes(b"\x30\x82")
    with pytest.raises(CertificateError, match=r"PKCS #12 file; take it apart with: openssl pkcs12 -in pump\.pfx"):
        check(tmp_path / "pump.pfx", files.key_file)


def test_a_certificate_with_what_it_is_trusted_for(tmp_path, device):
    # what "openssl x509 -addtrust clientAuth" makes; OpenSSL goes past those that are not the first
    files = device.save(tmp_path)
    trusted = bytes.fromhex("300c300a06082b06010505070302")
    texts = [certificate_files.pem(each) for each in device.chain_certificates]
    for place, remarks in ((0, 0), (1, 1)):
        text = base64.encodebytes(ssl.PEM_cert_to_DER_cert(texts[place]) + trusted).decode()
        marked = f"-----BEGIN TRUSTED CERTIFICATE-----\n{text}-----END TRUSTED CERTIFICATE-----\n"
        files.chain_file.write_text("".join([*texts[:place], marked, *texts[place + 1 :]]))
        assert opens(files)
        assert len(files.check()) == remarks


def test_an_unencrypted_key_with_the_word_in_front_of_it(tmp_path, device):
    # where "openssl pkcs12" writes the friendly name
    files = device.save(tmp_path)
    files.key_file.write_text(f"    friendlyName: NOT ENCRYPTED\n{files.key_file.read_text()}")
    assert files.check() == []
    assert opens(files)


@pytest.mark.parametrize("phrase", [None, PHRASE])
def test_a_key_that_is_encrypted_in_the_old_way(tmp_path, device, phrase):
    device.save(tmp_path)
    files = certificate_files.files_in(tmp_path, "pump-101", phrase)
    files.key_file.write_bytes(
        device._private_key.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(PHRASE.reveal().encode())
        )
    )
    assert b"Proc-Type: 4,ENCRYPTED" in files.key_file.read_bytes()
    if phrase is None:
        with pytest.raises(CertificateError, match="is encrypted; give its pass phrase"):
            files.check()
    else:
        assert files.check() == []
    assert opens(files) == (phrase is not None)


@pytest.mark.parametrize("phrase", ["x" * 1_024, "\ud800"])
def test_pass_phrases_that_openssl_does_not_take(tmp_path, device, phrase):
    with pytest.raises(CertificateError, match="pass phrase"):
        device.save(tmp_path, pass_phrase=Secret(phrase))
    device.save(tmp_path, pass_phrase=PHRASE)
    with pytest.raises(CertificateError, match="pass phrase"):
        certificate_files.files_in(tmp_path, "pump-101", Secret(phrase)).check()


def test_kinds_of_keys_that_no_service_takes(tmp_path):
    key = ed25519.Ed25519PrivateKey.generate()
    issuer = certificates.create_root("Root")
    extensions = certificates.device_extensions()
    made = certificates.build("pump-101", key.public_key(), issuer, days=3, extensions=extensions)
    files = certificate_files.save(tmp_path, "pump-101", [made], key)
    assert opens(files)
    with pytest.raises(CertificateError, match=r"key of the kind Ed25519 that is not supported; Azure's documentation"):
        files.check()


def test_a_weak_authority_in_the_chain(tmp_path, device):
    # OpenSSL does not take it, whatever the device's own certificate is
    key = rsa.generate_private_key(public_exponent=65_537, key_size=1_024)  # noqa: S505  (that is the mistake)
    weak = certificates.build("Weak", key.public_key(), key, days=3, extensions=certificates.authority_extensions())
    files = device.save(tmp_path)
    files.chain_file.write_text(device.chain + certificate_files.pem(weak))
    with pytest.raises(CertificateError, match=r"OpenSSL, which the SDK uses, does not take .* too .*P-256"):
        files.check()
    assert not opens(files)


def test_saving_again_changes_nothing(tmp_path, device):
    device.save(tmp_path)
    device.save(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_renewed_certificate_keeps_the_earlier_one_beside_it(tmp_path, device):
    device.save(tmp_path)
    renewed = device.renew()
    files = renewed.save(tmp_path)
    assert files.check() == []
    mark = device.thumbprint[:8].lower()
    kept = certificate_files.read_key(tmp_path / f"pump-101.{mark}.key")
    assert kept.public_key() == device.parsed.public_key()
    assert len(list(tmp_path.iterdir())) == 8


def test_no_key_is_ever_overwritten(tmp_path, device):
    device.save(tmp_path)
    for _ in range(2):
        wrong_certificates.forged(device).save(tmp_path)
    keys = list(tmp_path.glob("*.key"))
    assert len(keys) == 3
    assert device.parsed.public_key() in [certificate_files.read_key(key).public_key() for key in keys]


def test_a_key_without_its_certificate_is_kept_too(tmp_path, device):
    files = device.save(tmp_path)
    files.certificate_file.unlink()
    files.chain_file.unlink()
    device.renew().save(tmp_path)
    kept = certificate_files.read_key(tmp_path / "pump-101.damaged.key")
    assert kept.public_key() == device.parsed.public_key()


def test_two_names_for_one_file(tmp_path, root):
    root.issue_device("pump:1").save(tmp_path)
    with pytest.raises(CertificateError, match=r"belongs to 'CN=pump:1'.*another folder"):
        root.issue_device("pump-1").save(tmp_path)
    root.issue_device("a").save(tmp_path)
    with pytest.raises(CertificateError, match=r"a-chain\.pem"):
        root.issue_device("a-chain").save(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path, device):
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateError, match="cannot be written"):
        device.save(tmp_path / "file")


def test_half_a_file_is_never_left(tmp_path, device, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(CertificateError, match="No space left"):
        device.save(tmp_path)
    assert list(tmp_path.iterdir()) == []
