"""Exercises of the notebooks on certificates: issue one, prove possession, build a chain, judge, renew, compare."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from helpers import checks
from helpers.certificates import authority as certificates
from helpers.certificates import mistakes
from helpers.certificates.authority import Authority, DeviceCertificate
from helpers.certificates.files import is_signed_by

from . import answers

_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]+")
#: Digits of the thumbprints. Source: FIPS 180-4, 160 and 256 bits.
_SHA1_DIGITS, _SHA256_DIGITS = 40, 64


def member_certificate(answer: object, line: Authority, name: str) -> None:
    """A certificate for one more device of the group.

    Arguments:
        answer: the device's certificate with its key.
        line: who has to sign it.
        name: the registration ID that it is for.
    """
    what = f"a certificate for {name}"
    hint = "Step 4 did the same for the first member; only the name changes."
    if not isinstance(answer, (DeviceCertificate, Authority)):
        text = "That is the text of a certificate. Keep all that line.issue_device(...) gives: the key belongs to it."
        checks.exercise(what, False, hint=text if "BEGIN" in answers.text(answer) else hint)
        return
    is_authority = isinstance(answer, Authority)
    signed = is_signed_by(answer.parsed, line.parsed)
    checks.exercise(
        what,
        not is_authority and signed and answer.common_name == name,
        hint=f"It is signed by {_name(answer.parsed.issuer)}, and must be signed by {line.common_name}.",
        mistakes=[
            answer.parsed == line.parsed and "That is the line itself. Let it issue a certificate for the pump.",
            is_authority and "This one may sign others. A pump may not: take issue_device.",
            answer.common_name.lower() == name
            and answer.common_name != name
            and f"Right letters, wrong case. The name is the registration ID, letter for letter: {name}.",
            answer.common_name != name and f"It is for {answer.common_name}. The name is the registration ID: {name}.",
            is_signed_by(answer.parsed, answer.parsed)
            and "It signs itself. That is enough for an individual enrollment; here, the line has to vouch for it.",
            not signed
            and answer.parsed.issuer == line.parsed.subject
            and "The signer has the name of your line and another key. Take the `line` that this notebook made.",
        ],
    )


def possession(answer: object, root: Authority, line: Authority, code: str) -> None:
    """A proof of possession for a verification code.

    Arguments:
        answer: the proof, a certificate in PEM.
        root: whose private key is to be proven.
        line: the authority below it, which people take by mistake.
        code: the verification code.
    """
    shown = _certificates(answer)
    proof = shown[0] if shown else root.parsed
    name = _name(proof.subject)
    signed = is_signed_by(proof, root.parsed)
    checks.exercise(
        "a proof that the root is yours",
        len(shown) == 1 and proof != root.parsed and signed and name == code and not _holds_a_key(answer),
        hint="Step 5 made such a proof in one line. Only the code is another one.",
        mistakes=[
            _holds_a_key(answer)
            and "There is a private key in it. A proof shows that you have the key, and never the key.",
            answers.text(answer).strip() == code
            and "That is the code itself, which others can read, too. Sign it: make a certificate with that name.",
            isinstance(answer, str) and answer.strip() and not shown and "That is not a certificate in PEM.",
            not shown and "Step 5 made such a proof in one line. Only the code is another one.",
            len(shown) > 1 and "One certificate is enough, the one with the code as its name.",
            proof == root.parsed and "That is the root's certificate. It is public: to show it proves nothing.",
            is_signed_by(proof, line.parsed)
            and "The line signed this. It proves that you have the line's key; asked for is the root's.",
            is_signed_by(proof, proof) and "It signs itself, which anybody could do. The root has to sign it.",
            not signed and "The root did not sign this: the signature does not fit its public key.",
            name == root.common_name
            and "The name of the proof is the verification code, and not the name of the authority.",
            name != code and "It was made for another code. Each proof is for one code, and each code for one proof.",
        ],
    )


def chain(answer: object, member: DeviceCertificate, line: Authority, root: Authority) -> None:
    """The shortest chain with which DPS lets a member of the group in.

    Arguments:
        answer: certificates in PEM, one after the other.
        member: the device.
        line: who signed its certificate, and is enrolled.
        root: who signed that one's.
    """
    given = "".join(answer) if isinstance(answer, (list, tuple)) and all(isinstance(e, str) for e in answer) else answer
    shown = _certificates(given)
    hint = "First whose key the device holds, then who signed that one. It ends where DPS knows the next one."
    checks.exercise(
        "the shortest chain that DPS accepts",
        isinstance(answer, str) and shown == [member.parsed, line.parsed] and not _holds_a_key(answer),
        hint=hint,
        mistakes=[
            _holds_a_key(given) and "There is a private key in it. A chain is shown to everybody; leave the key out.",
            isinstance(given, str)
            and given.count("BEGIN CERTIFICATE") != len(shown)
            and "That cannot be read as certificates. Join whole texts, from BEGIN line to END line.",
            not shown and hint,
            shown == [member.parsed]
            and "Only the device's own certificate: step 5 was refused with that. Who signed it must be shown, too.",
            shown == [member.parsed, line.parsed, root.parsed]
            and "This works, and it is not the shortest: DPS already has the root. Leave out what it knows for sure.",
            shown[:1] != [member.parsed]
            and member.parsed in shown
            and "The wrong order: the device comes first, as TLS takes the first certificate for the device's own.",
            member.parsed not in shown and f"The certificate of {member.common_name} itself is missing.",
            line.parsed not in shown
            and "There is a gap: the line's certificate is missing, and it signed the device's.",
            shown == [member.parsed, root.parsed, line.parsed]
            and "The wrong order: the line signed the device, so its certificate comes next.",
            len(shown) != len(set(shown)) and "One of them stands there twice.",
            isinstance(answer, (list, tuple))
            and "The right certificates. A chain file is one text, so join them with + or with ''.join(...).",
        ],
    )


#: Which certificate of :func:`suspects` DPS lets in.
_GOOD = "D"


def suspects(line: Authority, name: str) -> dict[str, DeviceCertificate]:
    """Five certificates for a device, of which one is good.

    Arguments:
        line: the authority that is enrolled.
        name: the registration ID of the device.
    """
    stranger = certificates.create_root(_name(line.parsed.issuer)).issue_intermediate(line.common_name)
    return {
        "A": stranger.issue_device(name),
        "B": mistakes.expired(line, name),
        "C": mistakes.authority_as_device(line.issue_intermediate(name)),
        _GOOD: line.issue_device(name),
        "E": mistakes.other_name(line, name),
    }


def good_suspect(answer: object) -> None:
    """Which of the five suspects is let in.

    Arguments:
        answer: its letter.
    """
    letter = answers.text(answer).strip().upper()
    checks.exercise(
        "the certificate that DPS lets in",
        letter == _GOOD,
        hint="Write one letter, A to E. Look at names, dates and signatures, as the notebook before did.",
        mistakes=[
            letter == "A"
            and "Its issuer has the right name and another key. Check the signature with verify_directly_issued_by.",
            letter == "B" and "Right name, right signature. Now print not_valid_after_utc of its .parsed.",
            letter == "C" and "It may sign others (CA:TRUE). DPS does not let an authority in as a device.",
            letter == "E" and "The name in it is not the registration ID. Compare them letter for letter.",
        ],
    )


def renewed_member(answer: object, result: object, member: DeviceCertificate, dps: Any) -> None:
    """A member of the group with a new certificate, known to its hub.

    Arguments:
        answer: the new certificate with its key.
        result: what DPS answered when the device registered with it.
        member: the device with its earlier certificate.
        dps: the target, from ``connect(...)``.
    """
    what = f"{member.common_name} has registered with a new certificate"
    if not isinstance(answer, DeviceCertificate):
        checks.exercise(what, False, hint="Step 7 renewed the other pump. This time it is `member`: member.renew().")
        return
    # the same authority, not only one of the same name
    issuers = member.chain_certificates[1:]
    signed = bool(issuers) and is_signed_by(answer.parsed, issuers[0])
    told = getattr(result, "registration_state", None)
    in_hub = _hub_thumbprints(dps, told)
    checks.exercise(
        what,
        answer.common_name == member.common_name
        and answer.parsed != member.parsed
        and signed
        and getattr(told, "device_id", None) == member.common_name
        and bool(in_hub & {answer.thumbprint, answer.sha1_thumbprint}),
        hint="The hub does not know the new certificate yet. It learns of it when the device registers.",
        mistakes=[
            answer.common_name != member.common_name
            and f"This one is for {answer.common_name}. To renew means: the same name, {member.common_name}.",
            answer.parsed == member.parsed and "That is the certificate it had already. renew() makes a new one.",
            is_signed_by(answer.parsed, answer.parsed)
            and "It signs itself, and the group lets in only whom the line has signed. member.renew() asks the line.",
            not signed and "Somebody else signed it. member.renew() asks the line that signed the old one.",
            told is None and "The new certificate is right. Save it, and let the device boot with its files.",
            getattr(told, "device_id", None) != member.common_name
            and f"Another device has booted. Call boot({member.common_name!r}, ...) with the new files.",
            in_hub & {member.thumbprint, member.sha1_thumbprint}
            and "It has booted with its old certificate. Save the new one, and give boot the files of that.",
            not in_hub and "The hub could not be asked. Is the device assigned, and are you still connected?",
        ],
    )


def thumbprint(answer: object, current: DeviceCertificate, former: DeviceCertificate) -> None:
    """The SHA-256 thumbprint of the device's present certificate.

    Arguments:
        answer: hexadecimal digits.
        current: the certificate that counts now.
        former: the one before, which people take by mistake.
    """
    text = answers.text(answer).strip()
    digits = re.sub(r"[:\s-]", "", text).upper()
    checks.exercise(
        "the thumbprint of the new certificate",
        text == current.thumbprint,
        hint="Load the file with x509.load_pem_x509_certificate, and take fingerprint(hashes.SHA256()) of it.",
        mistakes=[
            isinstance(answer, bytes) and "Those are bytes. A thumbprint is written in hexadecimal digits: .hex().",
            digits == current.sha1_thumbprint
            and "That is SHA-1, with 40 digits. Asked for is SHA-256, with 64. Never compare one kind with the other.",
            digits in (former.thumbprint, former.sha1_thumbprint)
            and "That is the thumbprint of the old certificate, which nobody accepts any more.",
            digits == current.thumbprint
            and text != text.replace(":", "")
            and "The right number, written as OpenSSL does. Take out the colons.",
            digits == current.thumbprint
            and text != text.upper()
            and "The right number in small letters. These notebooks write it in capitals: .upper().",
            digits == current.thumbprint and "The right number. Only the digits, please, with nothing in between.",
            digits == _of_text(current)
            and "You have hashed the text (PEM). A thumbprint is over the bytes that the text stands for (DER).",
            _HEXADECIMAL.fullmatch(digits)
            and len(digits) not in (_SHA1_DIGITS, _SHA256_DIGITS)
            and f"It has {len(digits)} digits. A SHA-256 thumbprint has 64.",
        ],
    )


def _of_text(device: DeviceCertificate) -> str:
    """The hash over the wrong thing: over base64 and not over what it stands for."""
    return hashlib.sha256(device.certificate.encode("ascii")).hexdigest().upper()


def _certificates(answer: object) -> list[x509.Certificate]:
    """The certificates in a PEM text, in order; none when it is something else."""
    if not isinstance(answer, str):
        return []
    try:
        return x509.load_pem_x509_certificates(answer.encode())
    except Exception:  # of several kinds, for what learners paste
        return []


def _holds_a_key(answer: object) -> bool:
    return "PRIVATE KEY" in answers.text(answer)


def _name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else "nobody"


def _hub_thumbprints(dps: Any, told: Any) -> set[str]:
    """The thumbprints that the device's hub has of it; none when it cannot be asked."""
    if told is None:
        return set()
    try:
        found = dps.registry(told.assigned_hub).get_device(told.device_id).authentication.x509_thumbprint
        both = (found.primary_thumbprint, found.secondary_thumbprint)
    except Exception:
        # an exercise never stops a notebook, not even when the hub is away
        return set()
    return {str(each).upper() for each in both if each}
