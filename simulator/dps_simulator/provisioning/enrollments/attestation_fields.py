"""The field ``attestation`` of an enrollment: what a client may write, what is stored and what answers show.

Source: recorded answers of the service (2023-05-19) and the published API description 2021-10-01. Certificates come
back as ``info`` only, never as they were sent, and a secondary certificate that nobody gave looks like the primary one
(recorded). That ``info`` alone means a certificate that is already there is required by the clients, which send back
what they read. A secondary certificate may stay alone when the primary one is removed (azure-iot-cli-extension, its
live tests, for individual enrollments); that it is the same for groups, and that the primary one is left out of answers
then, are inferred.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from dps_simulator.common.field_checks import checked_choice, checked_object, checked_text, invalid, wrong_body
from dps_simulator.common.identifiers import lookup_key
from dps_simulator.common.ports import Document
from dps_simulator.credentials import symmetric_keys
from dps_simulator.credentials.certificates import read_certificate
from dps_simulator.credentials.tpm_keys import ENDORSEMENT, STORAGE_ROOT, read_tpm_key
from dps_simulator.errors.table import Dps, ServiceError, described

from .kinds import GROUP, INDIVIDUAL, EnrollmentKind, Situation

#: Bytes of a key that the service makes. The recordings hide theirs; inferred from keys shown in the documentation.
GENERATED_KEY_SIZE = 64

SYMMETRIC_KEY, X509, TPM, NONE = "symmetricKey", "x509", "tpm", "none"
PRIMARY, SECONDARY = "primary", "secondary"
ENDORSEMENT_KEY, STORAGE_ROOT_KEY = "endorsementKey", "storageRootKey"
CLIENT_CERTIFICATES, SIGNING_CERTIFICATES, CA_REFERENCES = "clientCertificates", "signingCertificates", "caReferences"

#: Which parts of an X.509 attestation each kind of enrollment takes. Source: the documentation of the service SDKs.
_CERTIFICATE_PARTS: Mapping[EnrollmentKind, tuple[str, ...]] = {
    INDIVIDUAL: (CLIENT_CERTIFICATES,),
    GROUP: (SIGNING_CERTIFICATES, CA_REFERENCES),
}


def checked_attestation(field: str, value: Any, situation: Situation) -> Document:
    """What is to be stored of an attestation that a client wrote.

    Raises:
        ServiceError: something in it is wrong, missing or not supported; keys and certificates are not repeated.
    """
    mechanism = checked_object(field, value)
    kind = checked_choice(f"{field}.type", mechanism.get("type"), (SYMMETRIC_KEY, X509, TPM, NONE))
    if kind == TPM and situation.kind is GROUP:
        # Source: Microsoft documentation, iot-dps concepts-service ("Attestation mechanism")
        raise invalid(
            f"{field}.type",
            kind,
            "symmetricKey or x509: enrollment groups know no TPM attestation; enroll every TPM individually",
        )
    if kind == NONE:
        raise ServiceError(
            Dps.NOT_SUPPORTED,
            f"{field}.type {kind!r} is not supported by this simulator; use {SYMMETRIC_KEY!r}, {X509!r} or {TPM!r}.",
        )
    for other in {SYMMETRIC_KEY, X509, TPM} - {kind}:
        if mechanism.get(other) is not None:
            raise wrong_body(f"{field} has the type {kind} and must not contain {other!r}.")
    stored = (situation.stored or {}).get(field, {}).get(kind, {})
    given = mechanism.get(kind)
    inner = f"{field}.{kind}"
    if kind == X509:
        return {"type": kind, kind: _certificates(inner, given, stored, situation)}
    keys = {} if given is None else checked_object(inner, given)
    return {"type": kind, kind: _tpm(inner, keys) if kind == TPM else _keys(inner, keys, stored)}


def shown_attestation(attestation: Mapping[str, Any], *, with_keys: bool) -> Document:
    """A stored attestation as answers show it.

    Arguments:
        attestation: as :func:`checked_attestation` made it.
        with_keys: whether symmetric keys are shown; certificates show their ``info`` and TPMs their public keys
            (recorded) in either case.
    """
    kind = attestation["type"]
    if kind == TPM:
        return dict(attestation)
    if kind == SYMMETRIC_KEY:
        return dict(attestation) if with_keys else {"type": kind}
    shown: Document = {}
    for part, slots in attestation[kind].items():
        shown[part] = dict(slots)
        if part != CA_REFERENCES:
            shown[part] = {name: {"info": slot["info"]} for name, slot in slots.items()}
            if PRIMARY in slots:
                shown[part].setdefault(SECONDARY, shown[part][PRIMARY])
    return {"type": kind, kind: shown}


# --- symmetric keys -----------------------------------------------------------------------------------------------


def _keys(field: str, keys: Mapping[str, Any], stored: Mapping[str, Any]) -> Document:
    return {name: _key(f"{field}.{name}", keys.get(name), stored.get(name)) for name in ("primaryKey", "secondaryKey")}


def _key(field: str, given: Any, stored: str | None) -> str:
    """A key as it is to be stored: the given one, else the one from before, else a new one."""
    if given is None or given == "":
        return stored or symmetric_keys.SymmetricKey.new(GENERATED_KEY_SIZE).text
    problem = symmetric_keys.problem(given)
    if problem:
        raise wrong_body(f"{field} {problem}")
    return str(given)


# --- TPMs ---------------------------------------------------------------------------------------------------------


def _tpm(field: str, keys: Mapping[str, Any]) -> Document:
    """The public keys of a TPM; the storage root key comes back as well when it was given (inferred)."""
    return {
        name: read_tpm_key(f"{field}.{name}", keys.get(name), kind).text
        for name, kind in ((ENDORSEMENT_KEY, ENDORSEMENT), (STORAGE_ROOT_KEY, STORAGE_ROOT))
        if name == ENDORSEMENT_KEY or keys.get(name) is not None
    }


# --- certificates -------------------------------------------------------------------------------------------------


def _certificates(field: str, given: Any, stored: Mapping[str, Any], situation: Situation) -> Document:
    allowed = _CERTIFICATE_PARTS[situation.kind]
    parts = {name: part for name, part in checked_object(field, given).items() if part is not None}
    expected = " or ".join(allowed)
    for name in (CLIENT_CERTIFICATES, SIGNING_CERTIFICATES, CA_REFERENCES):
        if name in parts and name not in allowed:
            raise wrong_body(f"{field} contains {name!r}; an {situation.kind.label} takes {expected}.")
    chosen = [name for name in allowed if name in parts]
    if len(chosen) != 1:
        what = "is empty" if not chosen else f"contains both {' and '.join(chosen)}"
        raise wrong_body(f"{field} {what}; give {expected}.")
    (part,) = chosen
    slots = checked_object(f"{field}.{part}", parts[part])
    if slots.get(PRIMARY) is None and slots.get(SECONDARY) is None:
        raise wrong_body(f"{field}.{part}.{PRIMARY} is missing.")
    checked = {
        name: _reference(f"{field}.{part}.{name}", slots[name], stored.get(part, {}), situation)
        if part == CA_REFERENCES
        else _certificate(f"{field}.{part}.{name}", slots[name], stored.get(part, {}))
        for name in (PRIMARY, SECONDARY)
        if slots.get(name) is not None
    }
    if checked.get(SECONDARY) == checked.get(PRIMARY):
        # whoever writes back what was read gives the primary certificate twice
        del checked[SECONDARY]
    return {part: checked}


def _certificate(field: str, given: Any, stored: Mapping[str, Any]) -> Document:
    """One certificate as it is to be stored: base64 DER and what answers tell about it."""
    slot = checked_object(field, given)
    text = slot.get("certificate")
    if text is not None and text != "":
        certificate = read_certificate(f"{field}.certificate", text)
        return {"certificate": base64.b64encode(certificate.der).decode("ascii"), "info": certificate.info()}
    info = slot.get("info")
    if info is None:
        raise wrong_body(f"{field}.certificate is missing.")
    thumbprint = checked_object(f"{field}.info", info).get("sha256Thumbprint")
    for known in stored.values():
        if isinstance(thumbprint, str) and known["info"]["sha256Thumbprint"] == thumbprint.upper():
            return dict(known)
    raise wrong_body(
        f"{field} has an info but no certificate, and the sha256Thumbprint in it is that of no certificate of this "
        "enrollment; give the certificate itself.",
    )


def _reference(field: str, given: Any, stored: Mapping[str, str], situation: Situation) -> str:
    """The name of an uploaded certificate, in the spelling of the upload."""
    if not isinstance(given, str):
        raise wrong_body(f"{field} is {described(given)}; it must be the name of an uploaded CA certificate.")
    name = checked_text(field, given)
    if "-----BEGIN" in name:
        raise wrong_body(
            f"{field} is a certificate; it must be the name of an uploaded CA certificate. "
            f"A certificate itself belongs into {SIGNING_CERTIFICATES}.",
        )
    for known in situation.authority_names:
        if lookup_key(known) == lookup_key(name):
            return known
    if name in stored.values():
        # its certificate is gone since; the group must still be disabled or changed otherwise, e.g. by this very write
        return name
    uploaded = ", ".join(situation.authority_names) or "none"
    raise invalid(field, name, f"the name of an uploaded CA certificate (uploaded: {uploaded})")
