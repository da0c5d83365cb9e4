"""Uploaded CA certificates, and the proof that somebody holds their private keys.

Enrolling a CA certificate says "whoever it signs may come". Anybody can copy a certificate, so the service wants to
see that its key is at hand: it gives out a code, and takes a certificate that bears this code as its common name and
is signed by that key. Or the owner of the service vouches for it at the upload.

Source: Microsoft documentation, iot-dps how-to-verify-certificates; the published API description of the resource
provider for the fields. The shape of the code is inferred.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from dps_simulator.common import etags
from dps_simulator.common.clock import Clock
from dps_simulator.common.field_checks import checked_flag, checked_object
from dps_simulator.common.identifier_rules import CERTIFICATE_NAME
from dps_simulator.common.identifiers import lookup_key
from dps_simulator.common.ports import Document, Storage
from dps_simulator.credentials.certificates import Certificate, read_certificate
from dps_simulator.credentials.chains import is_signed_by
from dps_simulator.errors.table import ResourceManager, ServiceError

#: Source: Microsoft documentation, iot-dps limits.
MAX_AUTHORITIES = 25
CODE_BYTES = 24


class ProofFinding(StrEnum):
    """Why a proof of possession proves nothing, as programs may rely on it."""

    CODE_NOT_ASKED_FOR = "codeNotAskedFor"
    OTHER_CODE = "otherCode"
    OTHER_ISSUER = "otherIssuer"
    SIGNATURE_INVALID = "signatureInvalid"
    NOT_VALID_NOW = "notValidNow"


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """One uploaded CA certificate.

    Attributes:
        name: under which it was uploaded; case does not count.
        certificate: what was uploaded, which may sign the certificates of devices.
        is_verified: whether its private key was proved, or its owner vouched for it.
        etag: changes with every change, for ``If-Match``.
        created: when it was uploaded, Unix time in seconds.
        updated: when it was last changed, Unix time in seconds.
        verification_code: what the proof must bear; empty before it was asked for.
    """

    name: str
    certificate: Certificate
    is_verified: bool
    etag: str
    created: float
    updated: float
    verification_code: str = ""

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> CertificateAuthority:
        """The one that a stored document describes."""
        return cls(**{**document, "certificate": Certificate.from_der(base64.b64decode(document["certificate"]))})

    def to_document(self) -> Document:
        """The JSON object under which the store keeps it; :meth:`from_document` reads it."""
        document = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**document, "certificate": base64.b64encode(self.certificate.der).decode("ascii")}


class CertificateAuthorities:
    """All uploaded CA certificates of a provisioning service.

    Arguments:
        storage: the store, in whose collections they outlive this process.
        clock: gives the present time (aware, in UTC).
    """

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._documents = storage.collection("certificateAuthority")
        self._verified: Sequence[Certificate] | None = None

    def find(self, name: str) -> CertificateAuthority | None:
        """The one with this name, or ``None``."""
        document = self._documents.get(lookup_key(name))
        return None if document is None else CertificateAuthority.from_document(document)

    def get(self, name: str, if_match: str | None = None) -> CertificateAuthority:
        """The one with this name.

        Arguments:
            name: under which it was uploaded.
            if_match: the tag that it must have; ``None`` for any.

        Raises:
            ServiceError: there is none, or the tag is stale.
        """
        authority = self.find(name)
        if authority is None:
            raise ServiceError(
                ResourceManager.CERTIFICATE_NOT_FOUND, f"There is no certificate {name!r:.120} in this service."
            )
        etags.check(if_match, authority.etag)
        return authority

    def all(self) -> Sequence[CertificateAuthority]:
        """All of them, in the order of their upload."""
        return [
            CertificateAuthority.from_document(stored.body) for stored in self._documents.page(limit=MAX_AUTHORITIES)
        ]

    def verified(self) -> Sequence[Certificate]:
        """The certificates of those that are verified. Every registration by certificate asks for them."""
        if self._verified is None:
            self._verified = tuple(authority.certificate for authority in self.all() if authority.is_verified)
        return list(self._verified)

    def put(
        self, name: str, body: object, if_match: str | None = None, *, must_be_new: bool = False
    ) -> CertificateAuthority:
        """Upload a certificate, or replace the one of that name.

        Arguments:
            name: up to 64 letters, digits, dots, dashes and underscores.
            body: ``{"properties": {"certificate": …, "isVerified": …}}``.
            if_match: the tag of the one to replace; without it, whichever is there is replaced.
            must_be_new: refuses to replace one.

        Raises:
            ServiceError: the name, a field or the tag is wrong, or there are too many.
        """
        if not CERTIFICATE_NAME.fullmatch(name):
            raise _invalid(f"The name is {name!r:.120}; it must have 1 to 64 letters, digits and . _ -")
        properties = checked_object("properties", checked_object("The body", body).get("properties"))
        certificate = _read("properties.certificate", properties.get("certificate"))
        if not certificate.is_authority:
            raise _invalid(
                f"The certificate of {certificate.subject_name!r:.200} is not that of an authority "
                "(basicConstraints CA is not set); upload the certificate that signs those of devices."
            )
        with self._storage.transaction():
            earlier = self.find(name)
            if earlier is None and if_match is not None:
                self.get(name)
            if earlier is None and self._documents.count() >= MAX_AUTHORITIES:
                raise ServiceError(
                    ResourceManager.LIMIT_REACHED,
                    f"{name!r} would be one too many; a service has at most {MAX_AUTHORITIES} certificates.",
                )
            if earlier is not None and must_be_new:
                raise ServiceError(
                    ResourceManager.CERTIFICATE_EXISTS,
                    f"There is a certificate {earlier.name!r} already, and If-None-Match is '*'.",
                )
            if earlier is not None:
                etags.check(if_match, earlier.etag)
            # who replaces a certificate by itself does not take its proof away
            proved = earlier is not None and earlier.certificate == certificate and earlier.is_verified
            given = checked_flag("properties.isVerified", properties.get("isVerified"), False)
            now = self._clock.now()
            return self._keep(
                CertificateAuthority(
                    name=name if earlier is None else earlier.name,
                    certificate=certificate,
                    is_verified=given or proved,
                    etag=etags.new_etag(now),
                    created=now.timestamp() if earlier is None else earlier.created,
                    updated=now.timestamp(),
                )
            )

    def delete(self, name: str, if_match: str | None) -> None:
        """Remove it. Groups that refer to it stay, and their devices are refused until it comes back.

        Inferred: the documentation says neither that such a certificate cannot be deleted nor what becomes of groups.

        Raises:
            ServiceError: there is none, or the tag is missing or stale.
        """
        with self._storage.transaction():
            self._changing(name, if_match)
            self._verified = None
            self._documents.delete(lookup_key(name))

    def generate_verification_code(self, name: str, if_match: str | None) -> CertificateAuthority:
        """Give out a new code; a code from before is worthless then.

        Raises:
            ServiceError: there is none, or the tag is missing or stale.
        """
        with self._storage.transaction():
            authority = self._changing(name, if_match)
            return self._changed(authority, verification_code=secrets.token_hex(CODE_BYTES).upper())

    def verify(self, name: str, body: object, if_match: str | None) -> CertificateAuthority:
        """Take the proof of possession.

        Arguments:
            name: which certificate is proved.
            body: ``{"certificate": …}``, a certificate whose common name is the code.
            if_match: the tag that came with the code.

        Raises:
            ServiceError: there is none, the tag is missing or stale, or the proof does not hold.
        """
        with self._storage.transaction():
            authority = self._changing(name, if_match)
            proof = _read("certificate", checked_object("The body", body).get("certificate"))
            problem = _problem_of(proof, authority, self._clock.now())
            if problem is not None:
                finding, why = problem
                told = f"The certificate proves nothing: {why}."
                raise ServiceError(ResourceManager.VERIFICATION_FAILED, told, reason=why, finding=finding.value)
            return self._changed(authority, is_verified=True, verification_code="")

    def clear(self) -> None:
        """Forget all of them, as a reset of the simulator does; enrollments that name one stay."""
        self._verified = None
        self._documents.clear()

    def _changing(self, name: str, if_match: str | None) -> CertificateAuthority:
        authority = self.get(name)
        if if_match is None:
            raise ServiceError(
                ResourceManager.PRECONDITION_REQUIRED, "If-Match is missing; give the etag of the certificate."
            )
        etags.check(if_match, authority.etag)
        return authority

    def _changed(self, authority: CertificateAuthority, **changes: Any) -> CertificateAuthority:
        now = self._clock.now()
        return self._keep(replace(authority, etag=etags.new_etag(now), updated=now.timestamp(), **changes))

    def _keep(self, authority: CertificateAuthority) -> CertificateAuthority:
        self._verified = None
        self._documents.put(lookup_key(authority.name), authority.to_document())
        return authority


def _problem_of(proof: Certificate, authority: CertificateAuthority, now: datetime) -> tuple[ProofFinding, str] | None:
    """What is wrong with a proof of possession, ``None`` when it holds."""
    code, issuer = authority.verification_code, authority.certificate.subject_name
    name = proof.common_name or ""
    if not code:
        return ProofFinding.CODE_NOT_ASKED_FOR, "no verification code was asked for; generate one first"
    # names may hold what UTF-8 cannot express
    if not hmac.compare_digest(name.encode("utf-8", "surrogatepass"), code.encode()):
        return ProofFinding.OTHER_CODE, (
            f"its common name is {name!r:.120}, the verification code is {code!r} (a newer code replaces an older one)"
        )
    if proof.parsed.issuer != authority.certificate.parsed.subject:
        return ProofFinding.OTHER_ISSUER, f"its issuer is {proof.issuer_name!r:.200}, not {issuer!r:.200}"
    if not is_signed_by(proof, authority.certificate):
        return ProofFinding.SIGNATURE_INVALID, f"the key of {issuer!r:.200} did not sign it"
    if not proof.not_before <= now <= proof.not_after:
        return ProofFinding.NOT_VALID_NOW, f"it is valid from {proof.not_before} to {proof.not_after} only"
    return None


def _invalid(text: str) -> ServiceError:
    return ServiceError(ResourceManager.INVALID_REQUEST, text)


def _read(field: str, value: object) -> Certificate:
    if value is None:
        raise _invalid(f"{field} is missing.")
    return read_certificate(field, value)
