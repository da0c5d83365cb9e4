"""Chains of certificates: the path from a device's certificate up to one that is trusted, and what is wrong with it.

Pure. The specific findings come first, so that whoever is refused learns what to mend; then OpenSSL has the last word,
as in ``openssl verify -partial_chain``.

Source: RFC 5280, section 6 (path validation); RFC 8446, section 4.4.2 (the order in which a client sends its chain
should not matter); Microsoft documentation, iot-dps tls-support (cipher suites for RSA and ECDSA, and no others). What
counts as weak, which curves are taken, and that a trusted certificate has to be valid, too, is inferred.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import crypto

from .certificates import CACHED_SIZE, Certificate

#: Longest path that is followed. Chains of devices have two to four certificates.
MAX_PATH = 8
MIN_RSA_BITS = 2048
MIN_CURVE_BITS = 224
CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_PURPOSES = {each.dotted_string: each._name for each in vars(ExtendedKeyUsageOID).values() if hasattr(each, "_name")}
_FOR_DEVICES = frozenset(
    each.dotted_string for each in (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
)
#: How the numbers of the extensions begin that RFC 5280 describes.
_WIDELY_KNOWN = "2.5.29."
_WEAK_HASHES = frozenset({"md5", "sha1"})


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
    NOT_SUPPORTED = "notSupported"
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
        problem: why the path ends early: a certificate has the issuer's name but not its key, or a limit is reached.
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
        now: the present time (aware, in UTC), if it is to count.
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
    if _is_end(top):
        return Path(best, out_of_order)
    if any(each not in best and is_signed_by(top, each) for each in pool):
        text = (
            f"the chain goes on above {top.subject_name!r:.200}, and this simulator follows at most {MAX_PATH} "
            "certificates, counted from the device's own (a limit of its own)"
        )
        return Path(best, out_of_order, problem=Problem(Finding.NOT_SUPPORTED, text))
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
    judge = (
        _is_signature_of if max(len(certificate.der), len(issuer.der)) <= CACHED_SIZE else _is_signature_of.__wrapped__
    )
    return certificate.parsed.issuer == issuer.parsed.subject and judge(certificate, issuer)


# keeps both certificates in memory
@lru_cache(maxsize=512)
def _is_signature_of(certificate: Certificate, issuer: Certificate) -> bool:
    parsed = certificate.parsed
    try:
        key = issuer.parsed.public_key()
        if certificate.is_complete:
            parsed.verify_directly_issued_by(issuer.parsed)
        elif isinstance(key, rsa.RSAPublicKey):
            # the library reads it only in parts, and could not know what was signed
            how, algorithm = parsed.signature_algorithm_parameters, parsed.signature_hash_algorithm
            key.verify(parsed.signature, certificate.fields.signed, how, algorithm)  # type: ignore[arg-type]
        else:
            how = parsed.signature_algorithm_parameters
            key.verify(parsed.signature, certificate.fields.signed, how)  # type: ignore[call-arg,arg-type,union-attr]
    except Exception:  # of many kinds: the key does not fit the signature, or the library does not know one of them
        return False
    return True


def judge_leaf(leaf: Certificate, now: datetime) -> Problem | None:
    """Say what is wrong with a certificate that is enrolled itself; its issuer does not matter then."""
    return _validity(leaf, now) or _purpose(leaf) or strength_of(leaf)


def judge_path(path: Sequence[Certificate], now: datetime) -> Problem | None:
    """Say what is wrong with a path, or nothing.

    Arguments:
        path: the device's certificate first, each signed by the next, the last one trusted.
        now: the present time (aware, in UTC).
    """
    problems = itertools.chain(
        (_validity(each, now) for each in path),
        # stricter than RFC 5280 (6.1.4 l): authorities that only change their own key count, as the library counts them
        (_authority(issuer, below, path[below]) for below, issuer in enumerate(path[1:])),
        (_device(each) for each in path[:1]),
        (_purpose(each) for each in path),
        (strength_of(each) for each in path),
    )
    return next((problem for problem in problems if problem is not None), None) or _verified(path, now)


def _device(leaf: Certificate) -> Problem | None:
    if not leaf.is_authority:
        return None
    return Problem(
        Finding.AUTHORITY_USED_AS_DEVICE,
        f"the device uses the certificate of an authority ({leaf.subject_name!r:.200}) as its own; give every "
        "device a certificate of its own, which the authority signs",
    )


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
    is_authority, below_at_most = issuer.fields.authority() or (False, None)
    if not is_authority or issuer.fields.may_sign() is False:
        return Problem(
            Finding.ISSUER_NOT_AUTHORITY,
            f"the certificate of {child.subject_name!r:.200} is signed by {issuer.subject_name!r:.200}, which is no "
            "authority: its certificate does not allow it to sign others (basicConstraints CA, keyUsage keyCertSign)",
        )
    if below_at_most is not None and authorities_below > below_at_most:
        return Problem(
            Finding.PATH_TOO_LONG,
            f"{issuer.subject_name!r:.200} allows {below_at_most} authorities between itself and a device, "
            f"and there are {authorities_below}",
        )
    return None


def _purpose(certificate: Certificate) -> Problem | None:
    """Whether it is for clients; in an authority, whether those that it signs can be."""
    purposes = certificate.fields.purposes()
    if purposes is None or _FOR_DEVICES & set(purposes):
        return None
    names = ", ".join(_PURPOSES.get(each, each) for each in purposes)
    return Problem(
        Finding.WRONG_EXTENDED_KEY_USAGE,
        f"the extended key usage of the certificate of {certificate.subject_name!r:.200} is {names or 'empty':.200}; a "
        "device, and every authority above it, needs clientAuth, or no such extension at all",
    )


def strength_of(certificate: Certificate) -> Problem | None:
    """Say what is wrong with the kind or the size of a key, or with the hash that was signed."""
    key = public_key_of(certificate)
    weakness = unsupported = ""
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            weakness = f"has an RSA key of {key.key_size} bits; at least {MIN_RSA_BITS} are needed"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.key_size < MIN_CURVE_BITS:
            weakness = f"has a key on the curve {key.curve.name}; P-256 or a stronger one is needed"
        elif not isinstance(key.curve, CURVES):
            unsupported = f"on the curve {key.curve.name}"
    elif isinstance(key, dsa.DSAPublicKey):
        weakness = "has a DSA key; RSA or an elliptic curve is needed"
    else:
        # the classes are named after what people call these keys
        unsupported = "of a kind" if key is None else f"of the kind {type(key).__name__.removesuffix('PublicKey')}"
    if unsupported:
        return Problem(
            Finding.NOT_SUPPORTED,
            f"the certificate of {certificate.subject_name!r:.200} has a key {unsupported} that is not supported; "
            "Azure's documentation knows RSA and ECDSA, so here are taken RSA and the curves P-256, P-384 and P-521",
        )
    weakness = weakness or _weak_signature(certificate)
    return _weak(certificate, weakness) if weakness else None


def public_key_of(certificate: Certificate) -> PublicKeyTypes | None:
    """The public key, ``None`` when it is of a kind that is not known here."""
    try:
        return certificate.parsed.public_key()
    except Exception:  # of many kinds, for what OpenSSL takes or leaves until the key is used
        return None


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
    except (UnsupportedAlgorithm, ValueError):  # the latter for parameters that say nothing
        return certificate.fields.signature_algorithm
    return "" if algorithm is None else algorithm.name


def _verified(path: Sequence[Certificate], now: datetime) -> Problem | None:
    # OpenSSL looks for issuers by name: where two have the same one, it is shown every pair for itself, and none in
    # which an authority takes a new key under its old name
    names = {each.parsed.subject for each in path}
    pairs = [pair for pair in itertools.pairwise(path) if not pair[0].is_self_issued]
    parts = [path] if len(names) == len(path) else pairs
    return next((problem for part in parts if (problem := _refused_by_openssl(part, now)) is not None), None)


def _refused_by_openssl(path: Sequence[Certificate], now: datetime) -> Problem | None:
    shown = [crypto.load_certificate(crypto.FILETYPE_ASN1, each.der) for each in path]
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    store.set_time(now)
    store.add_cert(shown[-1])
    try:
        crypto.X509StoreContext(store, shown[0], shown[1:-1]).verify_certificate()
    except crypto.X509StoreContextError as error:
        _, at, words = error.errors
    else:
        return None
    own = path[min(at, len(path) - 1)]
    unknown = [each for each in own.fields.critical if not each.startswith(_WIDELY_KNOWN)]
    more = f" (its critical extension {', '.join(unknown):.120} is not known here)" if unknown else ""
    return Problem(
        Finding.CHAIN_INVALID,
        f"the chain does not hold: OpenSSL says of the certificate of {own.subject_name!r:.200}: {words}{more}",
    )
