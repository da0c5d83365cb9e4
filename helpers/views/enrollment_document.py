"""What somebody typed into a form, made into the JSON of an enrollment; or what is wrong with it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dps_simulator.certificates import Certificate, ServiceError, read_certificate
from dps_simulator.rules import DEVICE_ID, DEVICE_ID_RULE, REGISTRATION_ID, REGISTRATION_ID_RULE
from helpers.credentials import CredentialsError, Secret, decode_key, mask
from helpers.masking import MaskedError, mask_in_input, shown

from .json_text import JsonTextError, json_object

Document = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A field of the form.

    Attributes:
        label: what stands before it.
        hint: what belongs into it.
        empty: what stands in it as long as it is empty; short enough to be seen whole.
        lines: how many lines it has; one for a name, which is shown whole; 0 for what is no text.
        secret: whether what is typed must not be seen.
    """

    label: str
    hint: str
    empty: str = ""
    lines: int = 1
    secret: bool = False


_KEY = ("Base64 of 16 to 64 bytes; empty: DPS makes it", "empty: DPS makes it")
_CERTIFICATE = "Text of a .pem file, or base64 of a .cer file; never a private key"
_STORAGE_ROOT_KEY = "Public half of the TPM's storage root key, in base64; may be empty"
_DEVICE_ID = "What the hub shall call the device; empty: its registration ID"
_DESIRED = "What the twin of a new device asks for at first, as a JSON object; may be empty"

#: By the names under which their values are kept, in reading order.
FIELDS: Mapping[str, Field] = {
    "registration_id": Field("Registration ID", "How the device names itself to DPS", "my-device"),
    "group_id": Field("Group ID", "Name of the enrollment group", "my-devices"),
    "device_id": Field("Device ID", _DEVICE_ID, "empty: the registration ID"),
    "primary_key": Field("Primary key", *_KEY, secret=True),
    "secondary_key": Field("Secondary key", *_KEY, secret=True),
    "certificate": Field("Certificate", _CERTIFICATE, "-----BEGIN CERTIFICATE-----", lines=5),
    "endorsement_key": Field(
        "Endorsement key", "Public half of the TPM's endorsement key, in base64", "base64", lines=5
    ),
    "storage_root_key": Field("Storage root key", _STORAGE_ROOT_KEY, "base64; may be empty", lines=5),
    "allocation": Field("Choice of hub", "How DPS chooses among the hubs", lines=0),
    "desired": Field("Desired properties", _DESIRED, '{"targetTemperature": 21}', lines=3),
    "enabled": Field("Enabled", "Whether devices may come in", lines=0),
}
#: Policies by what they do; a custom one needs a webhook, which a form does not make.
ALLOCATIONS: Mapping[str, str] = {
    "as the service is set": "",
    "spread evenly": "hashed",
    "lowest latency": "geoLatency",
    "static": "static",
}

_FIELDS_OF_PROOF: Mapping[str, tuple[str, ...]] = {
    "symmetricKey": ("primary_key", "secondary_key"),
    "x509": ("certificate",),
    "tpm": ("endorsement_key", "storage_root_key"),
}
_BEGIN = "-----BEGIN CERTIFICATE-----"


class FormError(MaskedError, ValueError):
    """Something in the form cannot be sent.

    Arguments:
        problems: each names the field, the value and what to do.
        by_field: the same by the name of the field, for those that one field has.
    """

    def __init__(self, problems: Sequence[str], by_field: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(map(mask_in_input, problems))
        self.by_field = {name: tuple(map(mask_in_input, texts)) for name, texts in (by_field or {}).items()}


class _Problems(dict[str, list[str]]):
    """What is wrong, by the names of the fields, in the order in which it is found."""

    def add(self, field: str, text: str) -> None:
        """Note what is wrong.

        Arguments:
            field: its name.
            text: the end of a sentence that begins with the label of the field; empty when nothing is wrong.
        """
        if text:
            self.setdefault(field, []).append(f"{FIELDS[field].label}{text}")


def check_kind(kind: str, attestation: str) -> None:
    """Refuse what no enrollment can be.

    Arguments:
        kind: ``individual`` or ``group``.
        attestation: ``symmetricKey``, ``x509`` or ``tpm``; the last one for individual enrollments only.

    Raises:
        ValueError: says which words there are, or why the two do not go together.
    """
    if kind not in ("individual", "group"):
        raise ValueError(f"kind is {shown(kind)}; it must be 'individual' or 'group'.")
    if attestation not in _FIELDS_OF_PROOF:
        raise ValueError(f"attestation is {shown(attestation)}; it must be one of {', '.join(_FIELDS_OF_PROOF)}.")
    if (kind, attestation) == ("group", "tpm"):
        raise ValueError(
            "There are no enrollment groups for TPMs: each TPM has an endorsement key of its own, and nothing that a "
            "whole group would share. Take kind='individual', once for each device."
        )


def fields(kind: str, attestation: str) -> tuple[str, ...]:
    """The names of the fields that such a form has, in reading order; :data:`FIELDS` describes them.

    Arguments:
        kind: ``individual`` or ``group``.
        attestation: ``symmetricKey``, ``x509`` or ``tpm``.
    """
    named = ("registration_id", "device_id") if kind == "individual" else ("group_id",)
    return (*named, *_FIELDS_OF_PROOF[attestation], "allocation", "desired", "enabled")


def build(kind: str, attestation: str, values: Mapping[str, Any]) -> Document:
    """The JSON of the enrollment. Keys in it are wrapped as ``Secret``; :func:`revealed` takes them out.

    Arguments:
        kind: ``individual`` or ``group``.
        attestation: ``symmetricKey``, ``x509`` or ``tpm``.
        values: what was typed, by the name of the field.

    Raises:
        FormError: everything that is wrong, at once.
    """
    problems = _Problems()
    document = _names(kind, values, problems)
    document["attestation"] = _attestation(kind, attestation, values, problems)
    if values["allocation"]:
        document["allocationPolicy"] = values["allocation"]
    if values["desired"].strip():
        try:
            desired = json_object(values["desired"], field=FIELDS["desired"].label)
            document["initialTwin"] = {"properties": {"desired": desired}}
        except JsonTextError as problem:
            problems["desired"] = [str(problem)]
    document["provisioningStatus"] = "enabled" if values["enabled"] else "disabled"
    if problems:
        raise FormError([text for texts in problems.values() for text in texts], problems)
    return document


def revealed(document: Mapping[str, Any]) -> Document:
    """A copy with every ``Secret`` in clear, at any depth: to be sent, and never to be shown or kept."""
    return _copied(document, lambda _, value: value.reveal() if isinstance(value, Secret) else value)


def guarded(answer: Mapping[str, Any]) -> Document:
    """A copy of what the service answered; its primary and secondary keys are wrapped as ``Secret`` at any depth."""

    def guard(name: str, value: Any) -> Any:
        return Secret(value) if name in ("primaryKey", "secondaryKey") and isinstance(value, str) else value

    return _copied(answer, guard)


def _copied(document: Mapping[str, Any], change: Callable[[str, Any], Any]) -> Document:
    return {
        name: _copied(value, change) if isinstance(value, Mapping) else change(name, value)
        for name, value in document.items()
    }


def _names(kind: str, values: Mapping[str, Any], problems: _Problems) -> Document:
    field, key = ("registration_id", "registrationId") if kind == "individual" else ("group_id", "enrollmentGroupId")
    name = values[field].strip()
    if not name:
        problems.add(field, f" is empty; choose a name, such as {FIELDS[field].empty}.")
    elif not REGISTRATION_ID.fullmatch(name):
        problems.add(field, f" is {shown(name)}; it takes {REGISTRATION_ID_RULE}.")
    document: Document = {key: name}
    device_id = values["device_id"].strip() if kind == "individual" else ""
    if device_id and not DEVICE_ID.fullmatch(device_id):
        rule = f"it takes {DEVICE_ID_RULE} without blanks. Leave it empty to take the registration ID."
        problems.add("device_id", f" is {shown(device_id)}; {rule}")
    if device_id:
        document["deviceId"] = device_id
    return document


def _attestation(kind: str, attestation: str, values: Mapping[str, Any], problems: _Problems) -> Document:
    proof: Document = {"type": attestation}
    if attestation == "symmetricKey":
        keys = _symmetric_keys(values, problems)
        if keys:
            proof["symmetricKey"] = keys
    elif attestation == "x509":
        place = "clientCertificates" if kind == "individual" else "signingCertificates"
        text = values["certificate"].strip()
        text = text if "-----BEGIN" in text else "".join(text.split())
        problems.add("certificate", _certificate_problem(kind, text, values))
        proof["x509"] = {place: {"primary": {"certificate": text}}}
    else:
        proof["tpm"] = _tpm_keys(values, problems)
    return proof


def _symmetric_keys(values: Mapping[str, Any], problems: _Problems) -> Document:
    typed = {field: values[field].strip() for field in ("primary_key", "secondary_key")}
    given = [field for field, text in typed.items() if text]
    if len(given) == 1:
        problems.add(given[0], " stands alone; give both keys, or none, and DPS makes both.")
    for field in given:
        try:
            decode_key(typed[field])
        except CredentialsError as problem:
            problems.add(field, f": {problem}")
    if len(given) < 2:
        return {}
    return {"primaryKey": Secret(typed["primary_key"]), "secondaryKey": Secret(typed["secondary_key"])}


def _tpm_keys(values: Mapping[str, Any], problems: _Problems) -> Document:
    keys: Document = {}
    for field, name in (("endorsement_key", "endorsementKey"), ("storage_root_key", "storageRootKey")):
        text = "".join(values[field].split())
        if text:
            keys[name] = text
            problems.add(field, _tpm_key_problem(text))
        elif field == "endorsement_key":
            problems.add(field, " is empty; paste the public half of the TPM's key, in base64.")
    return keys


def _tpm_key_problem(text: str) -> str:
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return f" is not base64 ({mask(text)}); copy it again, up to the '=' at its end."
    # a TPM2B_PUBLIC begins with its own length. Source: TPM 2.0 Library, part 2, TPM2B_PUBLIC
    if len(decoded) >= 3 and int.from_bytes(decoded[:2], "big") == len(decoded) - 2:
        return ""
    what = "the public half of a TPM's key (TPM2B_PUBLIC); part of it may be missing."
    return f" has {len(decoded)} bytes and is not {what}"


def _certificate_problem(kind: str, text: str, values: Mapping[str, Any]) -> str:
    """Why a text is not the certificate that belongs here, empty when it is."""
    label = FIELDS["certificate"].label
    if not text:
        return " is empty; paste the text of a .pem file, or the base64 of a .cer file."
    if "PRIVATEKEY" in "".join(text.split()):
        return " holds a private key. It never leaves the device: paste only the certificate."
    if text.count(_BEGIN) > 1:
        return f" holds {text.count(_BEGIN)} certificates; paste one, not the whole chain."
    try:
        return _misplaced(kind, read_certificate(label, text), values)
    except ServiceError as error:
        # never repeats what was pasted, which may be a key
        return error.message.removeprefix(label)


def _misplaced(kind: str, certificate: Certificate, values: Mapping[str, Any]) -> str:
    """Why a certificate cannot stand here, empty when it can."""
    signs, name = certificate.is_authority, certificate.common_name or ""
    if kind == "group":
        other = f" of {name!r} cannot sign others; a group takes the certificate that signed its members."
        return "" if signs else other
    if signs:
        return f" of {name!r} signs others; an individual enrollment takes the device's own certificate."
    wanted: str = values["registration_id"].strip()
    if not name:
        return " has no common name; it must be the registration ID."
    if wanted and name.lower() != wanted.lower():
        return f" is for {name!r}, and the registration ID is {wanted!r}; the two must be the same."
    return ""
