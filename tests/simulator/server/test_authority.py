from __future__ import annotations

import contextlib
import os
import ssl
import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from dps_simulator.common.clock import ManualClock
from dps_simulator.common.private_files import FolderError
from dps_simulator.server.tls.authority import AUTHORITY_NAME, AuthorityError, CertificateAuthority
from dps_simulator.server.tls.context import AcceptingContext, TlsSession

HOSTS = ["global.azure-devices-provisioning.test", "Contoso-Hub-1.azure-devices.test"]


def connect(authority: CertificateAuthority, files: tuple[Path, Path], host: str) -> None:
    """A handshake as strict as OpenSSL can be; raises when the client does not accept the server."""
    settings = ssl.create_default_context(cafile=str(authority.certificate_file))
    settings.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = TlsSession(AcceptingContext(*files))
    client = settings.wrap_bio(to_client, to_server, server_hostname=host)
    for _ in range(4):
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        server.receive(to_server.read())
        if server.handshake():
            return
        to_client.write(server.outgoing())
    raise AssertionError("the handshake does not end")


def server_certificate(files: tuple[Path, Path]) -> x509.Certificate:
    return x509.load_pem_x509_certificates(files[0].read_bytes())[0]


def root(authority: CertificateAuthority) -> x509.Certificate:
    return x509.load_pem_x509_certificate(authority.certificate_file.read_bytes())


@pytest.mark.parametrize(
    "host",
    [
        "global.azure-devices-provisioning.test",
        "contoso-hub-1.azure-devices.test",
        "a-hub-linked-later.azure-devices.test",
        "localhost",
        "127.0.0.1",
        "::1",
    ],
)
def test_strict_clients_accept_the_server(tmp_path: Path, host: str) -> None:
    authority = CertificateAuthority(tmp_path / "state")
    connect(authority, authority.issue_server_certificate(HOSTS), host)


def test_strict_clients_accept_it_for_real_names_when_told_to(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "state")
    connect(
        authority, authority.issue_server_certificate(["global.azure-devices-provisioning.net"]), HOSTS[0][:-4] + "net"
    )


def test_clients_refuse_other_names(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "state")
    files = authority.issue_server_certificate(HOSTS)
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(authority, files, "global.azure-devices-provisioning.net")


def test_root_vouches_for_test_names_only(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "state")
    authority.issue_server_certificate(HOSTS)
    certificate = root(authority)
    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    permitted = [str(name.value) for name in constraints.value.permitted_subtrees or []]
    assert permitted == ["test", "localhost", "127.0.0.0/8", "::1/128"]
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert "not Azure" in AUTHORITY_NAME


def test_lifetimes(tmp_path: Path) -> None:
    clock = ManualClock()
    authority = CertificateAuthority(tmp_path / "state", clock)
    files = authority.issue_server_certificate(HOSTS)
    assert root(authority).not_valid_after_utc == clock.now() + timedelta(days=30)
    assert server_certificate(files).not_valid_after_utc == clock.now() + timedelta(days=7)
    assert root(authority).not_valid_before_utc < clock.now()


def test_authority_stays_and_server_certificate_is_new_at_every_start(tmp_path: Path) -> None:
    first = CertificateAuthority(tmp_path / "state")
    files = first.issue_server_certificate(HOSTS)
    old_root, old_server = root(first), server_certificate(files)
    second = CertificateAuthority(tmp_path / "state")
    assert second.issue_server_certificate(HOSTS) == files
    assert root(second) == old_root
    assert server_certificate(files) != old_server
    assert server_certificate(files).public_key() != old_server.public_key()


@pytest.mark.parametrize(("days", "renewed"), [(22, False), (24, True), (40, True), (-2, True)])
def test_authority_is_renewed_in_time(tmp_path: Path, days: int, renewed: bool) -> None:
    CertificateAuthority(tmp_path, ManualClock()).issue_server_certificate(HOSTS)
    old = root(CertificateAuthority(tmp_path))
    later = ManualClock(datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(days=days))
    authority = CertificateAuthority(tmp_path, later)
    files = authority.issue_server_certificate(HOSTS)
    assert (root(authority) != old) is renewed
    assert server_certificate(files).not_valid_after_utc <= root(authority).not_valid_after_utc


def test_a_constrained_authority_is_replaced_when_a_host_needs_it(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    authority.issue_server_certificate(HOSTS)
    constrained = root(authority)
    authority.issue_server_certificate([*HOSTS, "10.0.0.7"])
    free = root(authority)
    assert free != constrained
    with pytest.raises(x509.ExtensionNotFound):
        free.extensions.get_extension_for_class(x509.NameConstraints)
    authority.issue_server_certificate(HOSTS)
    assert root(authority) == free


@pytest.mark.skipif(os.name != "posix", reason="file modes are those of POSIX")
def test_files_are_private(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "state")
    authority.issue_server_certificate(HOSTS)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    names = {path.name for path in (tmp_path / "state").iterdir()}
    assert names == {"authority.pem", "authority.der", "authority.key", "server.pem", "server.key"}
    for path in (tmp_path / "state").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_in_memory_leaves_nothing() -> None:
    authority = CertificateAuthority()
    certificate, _ = authority.issue_server_certificate(HOSTS)
    assert certificate.exists()
    authority.close()
    assert not certificate.parent.exists()
    authority.close()


def test_closing_keeps_a_state_folder(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    authority.issue_server_certificate(HOSTS)
    authority.close()
    assert authority.certificate_file.exists()


def test_a_first_start_that_was_interrupted_is_repeated(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    authority.issue_server_certificate(HOSTS)
    authority.certificate_file.unlink()
    connect(authority, authority.issue_server_certificate(HOSTS), HOSTS[0])


def _rsa_key() -> bytes:
    return rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize("kind", ["certificate", "foreign", "no key", "key", "other key", "rsa key", "encrypted key"])
def test_damaged_and_foreign_files_are_named(tmp_path: Path, kind: str, issue: Any) -> None:
    folder = tmp_path / "state"
    authority = CertificateAuthority(folder)
    authority.issue_server_certificate(HOSTS)
    foreign = issue("foreign", authority=True)
    key_file = folder / "authority.key"
    secret = key_file.read_text().splitlines()[1]
    culprit = "authority.pem" if kind in {"certificate", "foreign"} else "authority.key"
    if kind == "certificate":
        authority.certificate_file.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    elif kind == "foreign":
        authority.certificate_file.write_bytes(foreign.certificate_file.read_bytes())
    elif kind == "no key":
        key_file.unlink()
    elif kind == "key":
        key_file.write_text(f"-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n")
    elif kind == "other key":
        key_file.write_bytes(foreign.key_file.read_bytes())
    elif kind == "rsa key":
        key_file.write_bytes(_rsa_key())
    else:
        key_file.write_bytes(
            foreign.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"password"),
            )
        )
    with pytest.raises(AuthorityError, match=rf"{culprit}.*Remove authority\.pem and authority\.key") as caught:
        CertificateAuthority(folder).issue_server_certificate(HOSTS)
    assert isinstance(caught.value, FolderError)
    assert secret not in str(caught.value)


def test_impossible_host_names_are_named(tmp_path: Path) -> None:
    with pytest.raises(AuthorityError, match="hüb"):
        CertificateAuthority(tmp_path).issue_server_certificate(["hüb.azure-devices.test"])


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="file"):
        CertificateAuthority(tmp_path / "file")


def test_a_folder_that_vanishes_is_named(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "state")
    (tmp_path / "state").rmdir()
    with pytest.raises(AuthorityError, match="cannot be written"):
        authority.issue_server_certificate(HOSTS)


@pytest.mark.parametrize(
    ("before", "wished", "kept", "constrained"),
    [
        (None, None, True, True),
        (None, True, True, True),
        (None, False, False, False),
        (False, None, True, False),
        (False, False, True, False),
        (False, True, False, True),
    ],
)
def test_name_constraints_are_as_wished(
    tmp_path: Path, before: Any, wished: Any, kept: bool, constrained: bool
) -> None:
    """An authority that is trusted already stays as long as it is not the other kind of what was asked for."""
    earlier = CertificateAuthority(tmp_path / "state", constrained=before)
    earlier.issue_server_certificate(HOSTS)
    known = root(earlier)
    later = CertificateAuthority(tmp_path / "state", constrained=wished)
    connect(later, later.issue_server_certificate(HOSTS), HOSTS[0])
    assert (root(later) == known) == kept
    names = [extension.oid for extension in root(later).extensions]
    assert (x509.NameConstraints.oid in names) == constrained
    assert x509.load_der_x509_certificate(later.der_file.read_bytes()) == root(later)


def test_name_constraints_and_a_name_outside_of_them(tmp_path: Path) -> None:
    with pytest.raises(AuthorityError, match=r"'contoso\.azure-devices\.net' lies outside.*name_constraints"):
        CertificateAuthority(tmp_path, constrained=True).issue_server_certificate(["contoso.azure-devices.net"])
