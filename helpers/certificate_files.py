"""Certificates and keys in files: written so that only you can read the keys, and checked before any connection.

A wrong file costs hours when it shows up as "connection failed". So :meth:`CertificateFiles.check` looks at everything
that can be wrong on the device's side, and says which file it is and what to do.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from azure.iot.device import X509
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from helpers.credentials import Secret
from helpers.masking import MaskedError, is_no_path

ChainAndKey = tuple[list[x509.Certificate], Any]
"""A chain of certificates, the device's own first, and its private key."""

#: A chain has a few kilobytes; a larger file is not one.
SIZE_LIMIT = 256 * 1024
MIN_RSA_BITS = 2_048


class CertificateError(MaskedError, ValueError):
    """A certificate, key or file that cannot be used; the text says what is wrong, which file it is and what to do."""


@dataclass(frozen=True)
class CertificateFiles:
    """The files of one certificate.

    Attributes:
        certificate_file: the certificate alone, PEM.
        key_file: the private key, PEM.
        chain_file: the certificate, those above it up to the root, PEM: what the SDK wants for a member of a group.
        cer_file: the certificate alone in DER, as Windows and the portal know it.
        pass_phrase: of the key file, ``None`` when it is not encrypted.
    """

    certificate_file: Path
    key_file: Path
    chain_file: Path
    cer_file: Path
    pass_phrase: Secret | None = field(default=None, repr=False)

    def check(self, *, now: datetime | None = None) -> list[str]:
        """Look for everything that would make a connection fail on this side.

        Arguments:
            now: the time, unless it is that of this machine.

        Returns:
            Remarks: what may be meant so, but often is not.

        Raises:
            CertificateError: names what is wrong.
        """
        return check(self.chain_file, self.key_file, self.pass_phrase, now=now)

    def x509(self) -> X509:
        """The SDK's object for chain and key, after a :meth:`check`.

        Raises:
            CertificateError: names what is wrong.
        """
        self.check()
        phrase = None if self.pass_phrase is None else self.pass_phrase.reveal()
        return X509(str(self.chain_file), str(self.key_file), phrase)

    def read(self) -> ChainAndKey:
        """The chain and the private key.

        Raises:
            CertificateError: a file is missing or is not what it should be.
        """
        return read_chain(self.chain_file), read_key(self.key_file, self.pass_phrase)


def check(
    certificate_file: Path | str,
    key_file: Path | str,
    pass_phrase: Secret | None = None,
    *,
    now: datetime | None = None,
) -> list[str]:
    """Check the two files that an SDK is given; see :meth:`CertificateFiles.check`."""
    place, moment = Path(certificate_file), now or datetime.now(timezone.utc)
    chain, key = read_chain(place), read_key(Path(key_file), pass_phrase)
    public_key = key.public_key()
    if not _belongs(chain[0], public_key):
        for position, other in enumerate(chain[1:], 2):
            if _belongs(other, public_key):
                raise CertificateError(
                    f"{place.name} begins with the certificate of {name_of(chain[0])!r}, and the key in "
                    f"{Path(key_file).name} belongs to number {position} in it, {name_of(other)!r}. "
                    "Put the device's own certificate first."
                )
        raise CertificateError(
            f"The key in {Path(key_file).name} does not belong to the certificate in {place.name} "
            f"({name_of(chain[0])!r}). Take the key that was made together with it."
        )
    if isinstance(public_key, rsa.RSAPublicKey) and public_key.key_size < MIN_RSA_BITS:
        raise CertificateError(
            f"The key in {Path(key_file).name} is an RSA key of {public_key.key_size} bits, which is too weak; "
            f"make one of at least {MIN_RSA_BITS} bits, or on the curve P-256."
        )
    for certificate in chain:
        _check_validity(certificate, place, moment)
    for position, (below, above) in enumerate(itertools.pairwise(chain), 2):
        if not is_signed_by(below, above):
            _complain_about_order(chain, position, place)
    remarks = []
    if pass_phrase is not None and not _is_encrypted(_read(Path(key_file), "key")):
        remarks.append(f"The key in {Path(key_file).name} is not encrypted, so that its pass phrase is not needed.")
    if len(chain) == 1 and chain[0].issuer != chain[0].subject:
        remarks.append(
            f"{place.name} holds the device's certificate alone, which {issuer_of(chain[0])!r} signed. A member of an "
            "enrollment group has to show the certificates above its own, too."
        )
    return remarks


def _belongs(certificate: x509.Certificate, public_key: Any) -> bool:
    try:
        return bool(certificate.public_key() == public_key)
    except (ValueError, UnsupportedAlgorithm):
        # a kind of key that is not known here is not the key that was read
        return False


def _is_encrypted(data: bytes) -> bool:
    return b"ENCRYPTED" in data


def _check_validity(certificate: x509.Certificate, place: Path, now: datetime) -> None:
    if now > certificate.not_valid_after_utc:
        raise CertificateError(
            f"The certificate of {name_of(certificate)!r} in {place.name} expired on "
            f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC. Renew it."
        )
    if now < certificate.not_valid_before_utc:
        raise CertificateError(
            f"The certificate of {name_of(certificate)!r} in {place.name} is not valid before "
            f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; here it is {now:%Y-%m-%d %H:%M}. "
            "Is the clock right?"
        )


def _complain_about_order(chain: Sequence[x509.Certificate], position: int, place: Path) -> None:
    below, above = chain[position - 2], chain[position - 1]
    if below.issuer == below.subject:
        raise CertificateError(
            f"In {place.name}, {name_of(above)!r} comes after {name_of(below)!r}, which signs itself and so ends the "
            "chain. Begin with the device's certificate, and leave out what does not belong to it."
        )
    if any(is_signed_by(below, other) for other in chain):
        raise CertificateError(
            f"The certificates in {place.name} are in the wrong order: {name_of(below)!r} is signed by "
            f"{issuer_of(below)!r}, and {name_of(above)!r} comes after it. "
            "Begin with the device's; each is signed by the next."
        )
    raise CertificateError(
        f"In {place.name}, {name_of(above)!r} comes after {name_of(below)!r}, but that one is signed by "
        f"{issuer_of(below)!r}, whose certificate is missing. Put it in between."
    )


def read_chain(place: Path) -> list[x509.Certificate]:
    """The certificates in a PEM file, at least one.

    Raises:
        CertificateError: the file is missing, or holds something else.
    """
    data = _read(place, "certificate")
    if b"PRIVATE KEY-----" in data and b"BEGIN CERTIFICATE" not in data:
        raise CertificateError(f"{place.name} holds a private key; name the file with the certificate here.")
    if b"BEGIN CERTIFICATE-----" not in data:
        hint = " It looks like DER (.cer); the SDK wants PEM (.pem)." if data[:1] == b"\x30" else ""
        raise CertificateError(f"{place.name} holds no certificate in PEM.{hint}")
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise CertificateError(
            f"{place.name} holds a damaged certificate. Copy it again, with the lines BEGIN and END."
        ) from None


def read_key(place: Path, pass_phrase: Secret | None = None) -> Any:
    """The private key in a PEM file.

    Raises:
        CertificateError: the file is missing, holds something else, or the pass phrase does not open it.
    """
    data = _read(place, "key")
    if b"PRIVATE KEY-----" not in data:
        what = "a certificate" if b"BEGIN CERTIFICATE" in data else "no private key in PEM"
        raise CertificateError(f"{place.name} holds {what}; name the file with the private key here.")
    is_encrypted = _is_encrypted(data)
    if is_encrypted and pass_phrase is None:
        raise CertificateError(f"The key in {place.name} is encrypted; give its pass phrase.")
    try:
        phrase = pass_phrase.reveal().encode() if is_encrypted and pass_phrase is not None else None
        return serialization.load_pem_private_key(data, phrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # the cause is not shown: it could quote the file
        if is_encrypted:
            problem, remedy = "The pass phrase does not open the key", "Give the one that it was saved with."
        else:
            problem, remedy = "There is a damaged private key", "Copy it again, with the lines BEGIN and END."
        raise CertificateError(f"{problem} in {place.name}. {remedy}") from None


def save(
    folder: Path,
    name: str,
    chain: Sequence[x509.Certificate],
    key: Any,
    pass_phrase: Secret | None = None,
) -> CertificateFiles:
    """Write a certificate, its key and its chain; see ``save`` of the certificates.

    Raises:
        CertificateError: the files belong to a certificate of another name, the pass phrase is empty, or the folder
            cannot be written.
    """
    if pass_phrase is not None and not pass_phrase.reveal():
        raise CertificateError("The pass phrase is empty; give one, or none at all.")
    try:
        return _save(folder, name, chain, key, pass_phrase)
    except OSError as problem:
        raise CertificateError(
            f"The certificate of {name!r} cannot be written to {folder.name}: {problem.strerror}."
        ) from None


def _save(
    folder: Path, name: str, chain: Sequence[x509.Certificate], key: Any, pass_phrase: Secret | None
) -> CertificateFiles:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = files_in(folder, name, pass_phrase)
    contents = {
        files.key_file: key_pem(key, pass_phrase),
        files.certificate_file: pem(chain[0]).encode("ascii"),
        files.chain_file: "".join(map(pem, chain)).encode("ascii"),
        files.cer_file: chain[0].public_bytes(serialization.Encoding.DER),
    }
    for place in (files.certificate_file, files.chain_file):
        _refuse_other_name(place, chain[0])
    if not _holds(files, chain[0], key):
        _set_aside(files)
    for place, content in contents.items():
        # complete before it takes its name, so that nobody meets half a file
        temporary = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            temporary.replace(place)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    return files


def _refuse_other_name(place: Path, certificate: x509.Certificate) -> None:
    """Two names can lead to one file name: ``a:b`` and ``a-b``, or ``a``'s chain and ``a-chain``."""
    try:
        there = read_chain(place)[0]
    except CertificateError:
        return
    if there.subject != certificate.subject:
        raise CertificateError(
            f"{place.name} in {place.parent.name} belongs to {name_of(there)!r}, not to {name_of(certificate)!r}. "
            "Save this one in another folder."
        )


def _holds(files: CertificateFiles, certificate: x509.Certificate, key: Any) -> bool:
    """Whether the files are those of this certificate and this key, so that writing them again loses nothing."""
    try:
        there, its_key = files.read()
    except CertificateError:
        return False
    return there[0] == certificate and bool(its_key.public_key() == key.public_key())


def _set_aside(files: CertificateFiles) -> None:
    """Rename the files of an earlier certificate of that name: a key that is lost cannot be made again."""
    present = [
        place for place in (files.certificate_file, files.key_file, files.chain_file, files.cer_file) if place.exists()
    ]
    try:
        mark = read_chain(files.certificate_file)[0].fingerprint(hashes.SHA256()).hex()[:8]
    except CertificateError:
        mark = "damaged"
    for number in itertools.count(1):
        ending = mark if number == 1 else f"{mark}-{number}"
        targets = [place.with_name(f"{place.stem}.{ending}{place.suffix}") for place in present]
        if not any(target.exists() for target in targets):
            break
    for place, target in zip(present, targets, strict=True):
        place.rename(target)


def files_in(folder: Path, name: str, pass_phrase: Secret | None = None) -> CertificateFiles:
    """Where the files of a certificate lie in a folder."""
    own = stem(name)
    return CertificateFiles(
        certificate_file=folder / f"{own}.pem",
        key_file=folder / f"{own}.key",
        chain_file=folder / f"{own}-chain.pem",
        cer_file=folder / f"{own}.cer",
        pass_phrase=pass_phrase,
    )


def file_names(name: str) -> tuple[str, ...]:
    """The names of all files that belong to the certificate with this common name."""
    own = files_in(Path(), name)
    return tuple(each.name for each in (own.certificate_file, own.key_file, own.chain_file, own.cer_file))


def stem(name: str) -> str:
    """A file name, without its ending, for a common name: what not every file system takes becomes a dash."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


def pem(certificate: x509.Certificate) -> str:
    """A certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def key_pem(key: Any, pass_phrase: Secret | None = None) -> bytes:
    """A private key as text (PKCS #8), encrypted when there is a pass phrase."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if pass_phrase is not None:
        encryption = serialization.BestAvailableEncryption(pass_phrase.reveal().encode())
    result: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return result


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's name and key fit."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def name_of(certificate: x509.Certificate) -> str:
    """Whom a certificate is about."""
    return certificate.subject.rfc4514_string()


def issuer_of(certificate: x509.Certificate) -> str:
    """Who signed it."""
    return certificate.issuer.rfc4514_string()


def _read(place: Path, what: str) -> bytes:
    try:
        if place.stat().st_size > SIZE_LIMIT:
            raise CertificateError(f"{place.name} is too large for a {what} file.")
        return place.read_bytes()
    except (OSError, UnicodeError, ValueError) as problem:
        if isinstance(problem, CertificateError):
            raise
        if is_no_path(str(place)) or not isinstance(problem, OSError):
            # not even a part of it is repeated: it may be a private key
            error = CertificateError(
                f"What was given as the path of the {what} file is none; it may be what stands in the file. Give the "
                "path, not the text."
            )
        elif isinstance(problem, FileNotFoundError):
            error = CertificateError(f"There is no {what} file {place.name} in {place.parent.name}.")
        else:
            error = CertificateError(f"The {what} file {place.name} cannot be read: {problem.strerror}.")
    raise error
