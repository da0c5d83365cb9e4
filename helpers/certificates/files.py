"""Certificates and keys in files: written so that only you can read the keys, and checked before any connection.

A wrong file costs hours when it shows up as "connection failed". So :meth:`CertificateFiles.check` looks at everything
that can be wrong on the device's side, and says which file it is and what to do. The SDK gives the files to OpenSSL, so
OpenSSL decides whether they can be used; what is said here explains it.
"""

from __future__ import annotations

import itertools
import re
import ssl
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from azure.iot.device import X509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from OpenSSL import crypto

from dps_simulator.certificates import (
    CERTIFICATE_LABELS,
    PEM_BLOCK,
    Certificate,
    UnsupportedCertificateError,
    chains,
    from_base64,
)
from dps_simulator.rules import REGISTRATION_ID, is_no_place, make_folders, write_private
from helpers.credentials import Secret
from helpers.errors import HelperError
from helpers.masking import MaskedError

from .formats import instead_of_pem

ChainAndKey = tuple[list[x509.Certificate], Any]
"""A chain of certificates, the device's own first, and its private key."""

#: A chain has a few kilobytes; a larger file is not one.
SIZE_LIMIT = 256 * 1024
#: OpenSSL takes no longer ones; in bytes of UTF-8.
MAX_PASS_PHRASE = 1_023
_LAYOUT = (
    "In PEM, the lines BEGIN and END begin at the left margin and hold nothing else; between them is base64, without "
    "empty lines."
)
_STRENGTH = "Make certificate and key again: a key on the curve P-256, or RSA from 2048 bits, signed with SHA-256."
_DAMAGED = "{} holds a damaged certificate. Copy it again, with the lines BEGIN and END."
_NO_PATH = (
    "What was given as the path of the {} file is none; it may be what stands in the file. Give the path, not the text."
)
_NOT_LOOKED_AT = "OpenSSL takes the files, so the SDK will, too; nothing else could be checked."
#: The lines of the frame around a certificate.
_A_FRAME = re.compile(rf"(?m)^-----(BEGIN|END) (?:{'|'.join(CERTIFICATE_LABELS)})-----")
_A_KEY = re.compile(r"-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY)-----")


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

    @property
    def places(self) -> tuple[Path, ...]:
        """The four files, whether they are there or not."""
        return self.certificate_file, self.key_file, self.chain_file, self.cer_file

    def check(self, *, now: datetime | None = None) -> list[str]:
        """Look for everything that would make a connection fail on this side.

        Arguments:
            now: the time, unless it is that of this machine.

        Returns:
            Remarks: what may be meant so, but often is not, or depends on the enrollment.

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
    place, key_place = _as_path(certificate_file, "certificate"), _as_path(key_file, "key")
    moment = now or datetime.now(timezone.utc)
    try:
        given = (_read(place, "certificate"), _read(key_place, "key"))
    except _TooLargeError as problem:
        if _refusal_of_openssl(place, key_place, pass_phrase):
            raise
        return [f"{_NOT_LOOKED_AT} {problem}"]
    has_pem = all(b"-----BEGIN" in each for each in given)
    refusal = _refusal_of_openssl(place, key_place, pass_phrase) if has_pem else "it is no PEM"
    try:
        chain, key = _certificates(place), read_key(key_place, pass_phrase)
    except CertificateError as problem:
        if refusal:
            raise
        return [f"{_NOT_LOOKED_AT} {problem}"]
    if refusal:
        _complain_about_frames(given[0].decode("latin-1"), place)
        _complain_about_key(chain, key.public_key(), place, key_place)
    weakness = chains.strength_of(chain[0])
    if weakness is not None:
        raise CertificateError(f"{place.name} cannot be used: {weakness.text}.")
    _check_validity(chain[0], place, moment)
    if refusal:
        raise CertificateError(
            f"OpenSSL, which the SDK uses, does not take {place.name} with the key in {key_place.name}: {refusal}. "
            f"{_STRENGTH if 'too' in refusal.split() else _LAYOUT}"
        )
    remarks = [*_remarks_about_device(chain[0], place, moment), *_remarks_about_chain(chain, place, moment)]
    if pass_phrase is not None and not _is_encrypted(_key_block(key_place)):
        remarks.insert(0, f"The key in {key_place.name} is not encrypted, so that its pass phrase is not needed.")
    return remarks


class _TooLargeError(CertificateError):
    """A file is larger than is read here, whatever it holds."""


class _PassPhraseWantedError(HelperError):
    """OpenSSL asks for a pass phrase, and there is none; it would ask whoever sits at the terminal."""


def _refusal_of_openssl(place: Path, key_place: Path, pass_phrase: Secret | None) -> str:
    """Why OpenSSL does not take the two files, in its words; empty when it does."""

    def ask() -> str:
        raise _PassPhraseWantedError

    phrase = ask if pass_phrase is None else pass_phrase.reveal()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(place, key_place, phrase)
    except ssl.SSLError as problem:
        return (problem.reason or "it is no PEM").lower().replace("_", " ")
    except _PassPhraseWantedError:
        return "a pass phrase is missing"
    except (OSError, ValueError, TypeError) as problem:
        # of a file, or of a pass phrase that is too long
        return getattr(problem, "strerror", None) or "the names of the files or the pass phrase are not possible"
    return ""


def _complain_about_frames(text: str, place: Path) -> None:
    """A certificate without one of its lines is none, and those behind it seem to be the first."""
    found = [each[1] for each in _A_FRAME.finditer(text)]
    whole = sum(block[1] in CERTIFICATE_LABELS for block in PEM_BLOCK.finditer(text))
    if max(found.count("BEGIN"), found.count("END")) > whole:
        raise CertificateError(_DAMAGED.format(place.name))


def _complain_about_key(chain: Sequence[Certificate], public_key: Any, place: Path, key_place: Path) -> None:
    if _belongs(chain[0], public_key):
        return
    for position, other in enumerate(chain[1:], 2):
        if _belongs(other, public_key):
            raise CertificateError(
                f"{place.name} begins with the certificate of {chain[0].subject_name!r}, and the key in "
                f"{key_place.name} belongs to number {position} in it, {other.subject_name!r}. "
                "Put the device's own certificate first."
            )
    raise CertificateError(
        f"The key in {key_place.name} does not belong to the certificate in {place.name} "
        f"({chain[0].subject_name!r}). Take the key that was made together with it."
    )


def _belongs(certificate: Certificate, public_key: Any) -> bool:
    return bool(chains.public_key_of(certificate) == public_key)


def _check_validity(certificate: Certificate, place: Path, now: datetime) -> None:
    if now > certificate.not_after:
        raise CertificateError(
            f"The certificate of {certificate.subject_name!r} in {place.name} expired on "
            f"{certificate.not_after:%Y-%m-%d %H:%M} UTC. Renew it."
        )
    if now < certificate.not_before:
        raise CertificateError(
            f"The certificate of {certificate.subject_name!r} in {place.name} is not valid before "
            f"{certificate.not_before:%Y-%m-%d %H:%M} UTC; here it is {now:%Y-%m-%d %H:%M}. "
            "Is the clock right?"
        )


def _remarks_about_device(device: Certificate, place: Path, now: datetime) -> list[str]:
    """What OpenSSL does not mind, and every enrollment does."""
    remarks = []
    if not REGISTRATION_ID.fullmatch(device.common_name or ""):
        remarks.append(
            f"The common name of the first certificate in {place.name} ({device.subject_name!r}) cannot be a "
            "registration ID, which it must be in the certificate of a device."
        )
    problem = chains.judge_leaf(device, now)
    if problem is not None:
        remarks.append(f"In {place.name}, {problem.text}. It would be refused.")
    return remarks


def _remarks_about_chain(chain: Sequence[Certificate], place: Path, now: datetime) -> list[str]:
    """What only some enrollments mind: one that knows the device's own certificate does not look at those above it."""
    shown = list(dict.fromkeys(chain))
    path = chains.build_path(shown, (), now)
    top = path.certificates[-1]
    others = [each for each in shown if each not in path.certificates]
    remarks = []
    if len(shown) < len(chain):
        twice = next(each for each in shown if chain.count(each) > 1)
        remarks.append(f"{place.name} holds the certificate of {twice.subject_name!r} twice. Once is enough.")
    if path.out_of_order:
        remarks.append(
            f"The certificates in {place.name} are in the wrong order, which not every server takes. "
            "Begin with the device's; each is signed by the next."
        )
    if path.problem is not None:
        who = "the simulator" if path.problem.finding is chains.Finding.NOT_SUPPORTED else "the service"
        remarks.append(f"In {place.name}, {path.problem.text}: {who} would refuse a member of an enrollment group.")
    elif others and path.missing_issuer:
        remarks.append(
            f"In {place.name}, {others[0].subject_name!r} comes after {top.subject_name!r}, but that one is signed by "
            f"{path.missing_issuer!r}, whose certificate is missing. Put it in between; a member of an enrollment "
            "group would be refused."
        )
    elif others:
        remarks.append(
            f"In {place.name}, {others[0].subject_name!r} does not belong to the chain of {shown[0].subject_name!r}. "
            "Leave it out."
        )
    elif len(shown) == 1 and path.missing_issuer:
        remarks.append(
            f"{place.name} holds the device's certificate alone, which {path.missing_issuer!r} signed. A member of an "
            "enrollment group has to show the certificates above its own, too."
        )
    for each in path.certificates[1:]:
        try:
            _check_validity(each, place, now)
        except CertificateError as problem:
            remarks.append(f"{problem} A member of an enrollment group would be refused.")
    return remarks


def read_chain(place: Path | str) -> list[x509.Certificate]:
    """The certificates in a PEM file, at least one.

    Raises:
        CertificateError: the file is missing, or holds something else.
    """
    place = _as_path(place, "certificate")
    found = _certificates(place)
    for each in found:
        if not each.is_complete:
            raise CertificateError(
                f"The certificate of {each.subject_name!r} in {place.name} has fields that OpenSSL takes and the Python"
                " library cryptography does not, such as a serial number below one. Give the file to the SDK as it is."
            )
    return [each.parsed for each in found]


def _certificates(place: Path) -> list[Certificate]:
    """The certificates that OpenSSL takes out of a file."""
    data = _read(place, "certificate")
    blocks = [found for found in PEM_BLOCK.finditer(data.decode("latin-1")) if found[1] in CERTIFICATE_LABELS]
    if not blocks:
        raise CertificateError(_why_no_certificate(place, data))
    # with the first one, OpenSSL takes what it is trusted for; it goes past others of that kind
    taken = [found for found in blocks if found is blocks[0] or found[1] != CERTIFICATE_LABELS[-1]]
    try:
        return [Certificate.from_der(from_base64(found[2]) or b"") for found in taken]
    except UnsupportedCertificateError:
        raise CertificateError(
            f"{place.name} holds a certificate that OpenSSL reads, but its names, dates or key are not encoded as the "
            "standard asks for. Make it again with another program."
        ) from None
    except ValueError:
        raise CertificateError(_DAMAGED.format(place.name)) from None


def _why_no_certificate(place: Path, data: bytes) -> str:
    if _A_KEY.search(data.decode("latin-1")):
        return f"{place.name} holds a private key; name the file with the certificate here."
    if b"BEGIN CERTIFICATE-----" in data:
        return _DAMAGED.format(place.name)
    return f"{place.name} holds no certificate in PEM.{instead_of_pem(place.name, data)}"


def read_key(place: Path | str, pass_phrase: Secret | None = None) -> Any:
    """The private key in a PEM file.

    Raises:
        CertificateError: the file is missing, holds something else, or the pass phrase does not open it.
    """
    place = _as_path(place, "key")
    block = _key_block(place)
    is_encrypted = _is_encrypted(block)
    if is_encrypted and pass_phrase is None:
        raise CertificateError(f"The key in {place.name} is encrypted; give its pass phrase.")
    phrase = _encoded(pass_phrase) if is_encrypted and pass_phrase is not None else None
    try:
        return serialization.load_pem_private_key(block, phrase)
    except Exception:  # of many kinds; none is shown, as it could quote the file
        problem, remedy = _why_no_key(block, phrase)
    raise CertificateError(f"{problem} in {place.name}. {remedy}")


def _why_no_key(block: bytes, phrase: bytes | None) -> tuple[str, str]:
    if block.startswith(b"-----BEGIN OPENSSH"):
        return (
            "There is a private key in the format of OpenSSH, which the SDK does not read,",
            "Make PEM of a copy with: ssh-keygen -p -m PKCS8 -f COPY",
        )
    try:
        crypto.load_privatekey(crypto.FILETYPE_PEM, block, phrase)
    except Exception:  # of several kinds
        if phrase is None:
            return "There is a damaged private key", "Copy it again, with the lines BEGIN and END."
        return "The pass phrase does not open the key", "Give the one that it was saved with."
    return (
        "There is a private key that OpenSSL reads, and the Python library cryptography does not (its kind or form),",
        "Make one on the curve P-256.",
    )


def _key_block(place: Path) -> bytes:
    """The private key that OpenSSL takes out of a file: the first one."""
    data = _read(place, "key")
    text = data.decode("latin-1")
    begin = _A_KEY.search(text)
    if begin is None:
        what = "a certificate" if any(f"BEGIN {label}-----" in text for label in CERTIFICATE_LABELS) else ""
        raise CertificateError(
            f"{place.name} holds {what or 'no private key in PEM'}; name the file with the private key here."
            f"{'' if what else instead_of_pem(place.name, data)}"
        )
    mark = f"-----END {begin[1]}-----"
    end = text.find(mark, begin.end())
    # without its end it is damaged, and said to be
    return text[begin.start() : end + len(mark) if end >= 0 else None].encode("latin-1")


def _is_encrypted(block: bytes) -> bool:
    label, _, inside = block.partition(b"KEY-----")
    return b"ENCRYPTED" in label or inside.lstrip().startswith(b"Proc-Type: 4,ENCRYPTED")


def _encoded(pass_phrase: Secret) -> bytes:
    try:
        phrase = pass_phrase.reveal().encode()
    except UnicodeEncodeError:
        raise CertificateError("The pass phrase holds half of a character; type it anew.") from None
    if not 1 <= len(phrase) <= MAX_PASS_PHRASE:
        what = f"has {len(phrase)} bytes, and OpenSSL takes at most {MAX_PASS_PHRASE}" if phrase else "is empty"
        raise CertificateError(f"The pass phrase {what}; give another one, or none at all.")
    return phrase


def save(
    folder: Path | str,
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
    if pass_phrase is not None:
        _encoded(pass_phrase)
    if "\0" in str(folder):
        raise CertificateError("The name of the folder holds a NUL character; give another one.")
    folder = as_folder(folder)
    try:
        return _save(folder, name, chain, key, pass_phrase)
    except OSError as problem:
        raise CertificateError(
            f"The certificate of {name!r} cannot be written to {folder.name}: {problem.strerror}."
        ) from None


def _save(
    folder: Path, name: str, chain: Sequence[x509.Certificate], key: Any, pass_phrase: Secret | None
) -> CertificateFiles:
    make_folders(folder)
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
        write_private(place, content)
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
    present = [place for place in files.places if place.exists()]
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
    return tuple(place.name for place in files_in(Path(), name).places)


def stem(name: str) -> str:
    """A file name, without its ending, for a common name: what not every file system takes becomes a dash."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


def pem(certificate: x509.Certificate) -> str:
    """A certificate as a block of PEM, with a line break at its end."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def key_pem(key: Any, pass_phrase: Secret | None = None) -> bytes:
    """A private key as text (PKCS #8), encrypted when there is a pass phrase."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if pass_phrase is not None:
        encryption = serialization.BestAvailableEncryption(_encoded(pass_phrase))
    result: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return result


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's name and key fit."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # of many kinds: wrong, of a kind that is not known here, or not decodable
        return False
    return True


def name_of(certificate: x509.Certificate) -> str:
    """The subject of a certificate as RFC 4514 writes it, e.g. ``CN=pump-101``."""
    return certificate.subject.rfc4514_string()


def as_folder(given: Path | str) -> Path:
    """What was given as a folder, which need not be there.

    Raises:
        CertificateError: it is not even a path, or a key.
    """
    folder = _as_path(given, "certificate")
    if not _is_folder(folder) and is_no_place(folder):
        # it would be made, and would show the key to everybody
        raise CertificateError(
            "What was given as the folder is none; it may be a key or what stands in a file. Give the path of a folder."
        )
    return folder


def _is_folder(place: Path) -> bool:
    """Whether there is a folder; a path that cannot be one is none."""
    try:
        return place.is_dir()
    except (OSError, ValueError):
        return False


def _as_path(given: Path | str, what: str) -> Path:
    """What was given as a path, if it can be one."""
    try:
        return Path(given)
    except TypeError:
        # bytes can be a path elsewhere; here, they are what stands in a file
        raise CertificateError(f"{_NO_PATH.format(what)} It is of type {type(given).__name__}.") from None


def _read(place: Path, what: str) -> bytes:
    problem: Exception
    try:
        found = place.stat()
        if stat.S_ISFIFO(found.st_mode) or stat.S_ISSOCK(found.st_mode) or stat.S_ISCHR(found.st_mode):
            # reading it might never end, and the SDK reads after this
            raise CertificateError(
                f"{place.name} is no file, but a pipe, a socket or a device. Save what comes out of it in a file."
            )
        if found.st_size > SIZE_LIMIT:
            raise _TooLargeError(f"{place.name} is too large for a {what} file.")
        return place.read_bytes()
    except CertificateError:
        raise
    except OSError as error:
        problem = error
    except (UnicodeError, ValueError):
        raise CertificateError(_NO_PATH.format(what)) from None
    if is_no_place(place):
        raise CertificateError(_NO_PATH.format(what))
    if isinstance(problem, FileNotFoundError):
        raise CertificateError(f"There is no {what} file {place.name} in {place.parent.name}.") from None
    raise CertificateError(f"The {what} file {place.name} cannot be read: {problem.strerror}.") from None
