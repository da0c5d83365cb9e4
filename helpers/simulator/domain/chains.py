"""Chains of certificates: the path from a device's certificate up to one that is trusted, and what is wrong with it.

Pure. The specific findings come first, so that whoever is refused learns what to mend; then
``cryptography.x509.verification`` has the last word, with extension policies for devices: a common name instead of a
subject alternative name, and authorities without key usage, are normal there.

Source: RFC 5280, section 6 (path validation); RFC 8446, section 4.4.2 (the order in which a client sends its chain
should not matter). What counts as weak, and that a trusted certificate has to be valid, too, is inferred.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from .certificates import Certificate

#: Longest path that is followed. Chains of devices have two to four certificates.
MAX_PATH = 8
MIN_RSA_BITS = 2048
MIN_CURVE_BITS = 224
_WEAK_HASHES = frozenset({"md5", "sha1"})
_ExtensionT = TypeVar("_ExtensionT", bound=x509.ExtensionType)


class Finding(StrEnum):
    """What is wrong with the certificates of a device, as a word that programs can rely on. Simulator-only."""

    CERTIFICATE_EXPIRED = "certificateExpired"
    CERTIFICATE_NOT_YET_VALID = "certificateNotYetValid"
    ISSUER_NOT_AUTHORITY = "issuerNotAuthority"
    AUTHORITY_USED_AS_DEVICE = "authorityUsedAsDevice"
    WRONG_EXTENDED_KEY_USAGE = "wrongExtendedKeyUsage"
    WEAK_KEY = "weakKey"
    SIGNATURE_INVALID = "signatureInvalid"
    PATH_TOO_LONG = "pathTooLong"
    INTERMEDIATE_MISSING = "intermediateMissing"
    UNKNOWN_AUTHORITY = "unknownAuthority"
    AUTHORITY_NOT_VERIFIED = "authorityNotVerified"
    UNKNOWN_CERTIFICATE = "unknownCertificate"
    ENROLLED_ELSEWHERE = "enrolledElsewhere"
    COMMON_NAME_MISMATCH = "commonNameMismatch"
    COMMON_NAME_MISSING = "commonNameMissing"
    ATTESTATION_MISMATCH = "attestationMismatch"
    CHAIN_INVALID = "chainInvalid"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong.

    Attributes:
        finding: the word for it.
        text: the sentence for it, without a full stop; begins in lower case.
    """

    finding: Finding
    text: str


@dataclass(frozen=True, slots=True)
class Path:
    """A way from a device's certificate upwards.

    Attributes:
        certificates: the device's own first, each signed by the next.
        out_of_order: whether the device showed them in another order.
        missing_issuer: name of the issuer of the last one, when nobody has its certificate; else empty.
        problem: why the path ends early, when a certificate has the issuer's name but not its key.
    """

    certificates: tuple[Certificate, ...]
    out_of_order: bool = False
    missing_issuer: str = ""
    problem: Problem | None = None


def build_path(presented: Sequence[Certificate], known: Iterable[Certificate], now: datetime | None = None) -> Path:
    """Follow the issuers from the first presented certificate upwards, by name and signature, as far as possible.

    Of several ways, which exist where an authority has several certificates, one that reaches a known certificate is
    preferred, then one on which everything is valid now (authorities are renewed with the same key), then the longest.

    Arguments:
        presented: what the device shows, its own certificate first, the others in any order; at least one.
        known: certificates that the service has and trusts.
        now: the time, if it is to count.
    """
    trusted = list(dict.fromkeys(known))
    pool = [*trusted, *(each for each in dict.fromkeys(presented[1:]) if each not in trusted)]
    best: tuple[Certificate, ...] = ()
    rank = (False, False, 0)
    for certificates in _ways((presented[0],), pool):
        valid = now is None or all(_validity(each, now) is None for each in certificates)
        own = (any(each in trusted for each in certificates), valid, len(certificates))
        if own > rank:
            best, rank = certificates, own
    top = best[-1]
    places = [presented.index(each) for each in best if each in presented]
    out_of_order = places != sorted(places)
    if _is_end(top) or len(best) == MAX_PATH:
        return Path(best, out_of_order)
    if any(each.parsed.subject == top.parsed.issuer for each in pool if each not in best):
        weakness = _weak_signature(top)
        if weakness:  # such signatures are not even looked at
            return Path(best, out_of_order, problem=_weak(top, weakness))
        text = (
            f"the certificate of {top.subject_name!r:.200} names {top.issuer_name!r:.200} as its issuer, and the "
            "certificate of that name did not sign it (an authority that was made anew has a new key)"
        )
        return Path(best, out_of_order, problem=Problem(Finding.SIGNATURE_INVALID, text))
    return Path(best, out_of_order, missing_issuer=top.issuer_name)


def _ways(
    way: tuple[Certificate, ...], pool: Sequence[Certificate], budget: list[int] | None = None
) -> Iterable[tuple[Certificate, ...]]:
    """Every way upwards that cannot be continued; of very many, only the first ones."""
    budget = budget if budget is not None else [64]
    above = [each for each in pool if not _is_end(way[-1]) and each not in way and is_signed_by(way[-1], each)]
    if not above or len(way) == MAX_PATH:
        yield way
        return
    for each in above:
        if budget[0] > 0:
            budget[0] -= 1
            yield from _ways((*way, each), pool, budget)


def _is_end(certificate: Certificate) -> bool:
    return certificate.is_self_issued and is_signed_by(certificate, certificate)


def is_signed_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Whether the issuer has the right name and its key made the signature."""
    return certificate.parsed.issuer == issuer.parsed.subject and _is_signature_of(certificate, issuer)


@lru_cache(maxsize=4096)
def _is_signature_of(certificate: Certificate, issuer: Certificate) -> bool:
    try:
        certificate.parsed.verify_directly_issued_by(issuer.parsed)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def judge_leaf(leaf: Certificate, now: datetime) -> Problem | None:
    """Say what is wrong with a certificate that is enrolled itself; its issuer does not matter then."""
    return _validity(leaf, now) or _purpose(leaf) or _strength(leaf)


def judge_path(path: Sequence[Certificate], now: datetime) -> Problem | None:
    """Say what is wrong with a path, or nothing.

    Arguments:
        path: the device's certificate first, each signed by the next, the last one trusted.
        now: the time.
    """
    for certificate in path:
        problem = _validity(certificate, now)
        if problem is not None:
            return problem
    # stricter than RFC 5280 (6.1.4 l): authorities that only change their own key count, as the library counts them
    for below, issuer in enumerate(path[1:]):
        problem = _authority(issuer, below, path[below])
        if problem is not None:
            return problem
    leaf = path[0]
    if leaf.is_authority:
        return Problem(
            Finding.AUTHORITY_USED_AS_DEVICE,
            f"the device uses the certificate of an authority ({leaf.subject_name!r:.200}) as its own; give every "
            "device a certificate of its own, which the authority signs",
        )
    problem = None
    for check in (_purpose, _strength):
        for certificate in path:
            problem = problem or check(certificate)
    return problem or _verified(path, now)


def _validity(certificate: Certificate, now: datetime) -> Problem | None:
    name = certificate.subject_name
    if now > certificate.not_after:
        return Problem(
            Finding.CERTIFICATE_EXPIRED,
            f"the certificate of {name!r:.200} expired on {certificate.not_after:%Y-%m-%d at %H:%M:%S} UTC",
        )
    if now < certificate.not_before:
        return Problem(
            Finding.CERTIFICATE_NOT_YET_VALID,
            f"the certificate of {name!r:.200} is valid only from {certificate.not_before:%Y-%m-%d at %H:%M:%S} UTC "
            "on; is a clock wrong?",
        )
    return None


def _authority(issuer: Certificate, authorities_below: int, child: Certificate) -> Problem | None:
    constraints = _extension(issuer, x509.BasicConstraints)
    usage = _extension(issuer, x509.KeyUsage)
    if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
        return Problem(
            Finding.ISSUER_NOT_AUTHORITY,
            f"the certificate of {child.subject_name!r:.200} is signed by {issuer.subject_name!r:.200}, which is no "
            "authority: its certificate does not allow it to sign others (basicConstraints CA, keyUsage keyCertSign)",
        )
    if constraints.path_length is not None and authorities_below > constraints.path_length:
        return Problem(
            Finding.PATH_TOO_LONG,
            f"{issuer.subject_name!r:.200} allows {constraints.path_length} authorities between itself and a device, "
            f"and there are {authorities_below}",
        )
    return None


def _purpose(certificate: Certificate) -> Problem | None:
    """Whether it is for clients; in an authority, whether those that it signs can be."""
    usage = _extension(certificate, x509.ExtendedKeyUsage)
    wanted = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if usage is None or wanted & set(usage):
        return None
    names = ", ".join(getattr(each, "_name", each.dotted_string) for each in usage)
    return Problem(
        Finding.WRONG_EXTENDED_KEY_USAGE,
        f"the extended key usage of the certificate of {certificate.subject_name!r:.200} is {names:.200}; a device, "
        "and every authority above it, needs clientAuth, or no such extension at all",
    )


def _strength(certificate: Certificate) -> Problem | None:
    key = certificate.parsed.public_key()
    weakness = ""
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        weakness = f"has an RSA key of {key.key_size} bits; at least {MIN_RSA_BITS} are needed"
    elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size < MIN_CURVE_BITS:
        weakness = f"has a key on the curve {key.curve.name}; P-256 or a stronger one is needed"
    elif isinstance(key, dsa.DSAPublicKey):
        weakness = "has a DSA key; RSA or an elliptic curve is needed"
    else:
        weakness = _weak_signature(certificate)
    return _weak(certificate, weakness) if weakness else None


def _weak(certificate: Certificate, weakness: str) -> Problem:
    return Problem(Finding.WEAK_KEY, f"the certificate of {certificate.subject_name!r:.200} {weakness}")


def _weak_signature(certificate: Certificate) -> str:
    """What is weak in the signature, or nothing. Nobody relies on the signature of a root."""
    algorithm = _signature_hash(certificate)
    if certificate.is_self_issued or not (algorithm in _WEAK_HASHES or "." in algorithm):
        return ""
    return f"is signed with {algorithm.upper()}; SHA-256 or a stronger hash is needed"


def _signature_hash(certificate: Certificate) -> str:
    """The name of the hash, empty where there is none; of an algorithm that is not known here, its number."""
    try:
        algorithm = certificate.parsed.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return certificate.parsed.signature_algorithm_oid.dotted_string
    return "" if algorithm is None else algorithm.name


_AUTHORITY_POLICY = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
_DEVICE_POLICY = ExtensionPolicy.permit_all()


def _verified(path: Sequence[Certificate], now: datetime) -> Problem | None:
    # the library takes no certificate of version 1, such as "openssl x509 -req" makes without extensions; it has no
    # alternative names either, which authorities could constrain, so what is above it is all that is left to verify
    if path[0].parsed.version is x509.Version.v1:
        path = path[1:]
    if len(path) == 1:
        return None
    builder = PolicyBuilder().store(Store([path[-1].parsed])).time(now).max_chain_depth(MAX_PATH)
    builder = builder.extension_policies(ca_policy=_AUTHORITY_POLICY, ee_policy=_DEVICE_POLICY)
    try:
        builder.build_client_verifier().verify(path[0].parsed, [each.parsed for each in path[1:-1]])
    except VerificationError as error:
        return Problem(Finding.CHAIN_INVALID, f"the chain does not hold: {error}"[:400])
    return None


def _extension(certificate: Certificate, kind: type[_ExtensionT]) -> _ExtensionT | None:
    try:
        return certificate.parsed.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
