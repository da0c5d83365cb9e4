"""Exercises of the notebooks on TPMs: a name from a chip, an enrollment, a token, a damaged challenge, a signature."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from typing import Any
from urllib.parse import unquote

from helpers import checks
from helpers.credentials import Secret
from helpers.recipes import tpm as tpm_lessons
from helpers.tpm import ActivationBlob, ActivationError, TpmDevice, TpmError
from helpers.tpm.activation import FIELDS

from . import answers

#: How a TPM2B_PUBLIC shows which of the two keys it is: the attributes that follow size, type and hash.
#: Source: the templates of the SDKs for C and Node; TPM 2.0 Library, part 2, TPMA_OBJECT.
_ATTRIBUTES, _ATTRIBUTES_OF_SRK = slice(6, 10), bytes.fromhex("00030472")
#: How long the token of the exercise is good for, in seconds, and how much less is fine.
_LIFE, _TOLERANCE = 600, 60


def derived_name(answer: object, endorsement_key: str, own: str) -> None:
    """The registration ID that belongs to an endorsement key.

    Arguments:
        answer: the registration ID.
        endorsement_key: public half of the key, in base64.
        own: the registration ID of the other TPM of the notebook.
    """
    raw = base64.b64decode(endorsement_key)
    digest = hashlib.sha256(raw).digest()
    padded = base64.b32encode(digest).decode("ascii")
    of_text = base64.b32encode(hashlib.sha256(endorsement_key.encode()).digest()).decode("ascii").rstrip("=")
    text = answers.text(answer).strip()
    right = _derived(endorsement_key)
    checks.exercise(
        "the registration ID of the spare gateway",
        text == right,
        hint="Step 3 has the three lines: decode the key, hash the bytes, write the hash in base32.",
        mistakes=[
            isinstance(answer, bytes) and "Those are bytes. A registration ID is text: .decode('ascii').",
            text == own and "That is the name of the first TPM. Take `spare_key`.",
            text == endorsement_key and "That is the key itself. Its hash becomes the name.",
            text.rstrip("=").lower() == of_text.lower()
            and "You have hashed the base64 text. Decode it first: the hash is over the bytes of the key.",
            text.lower() == digest.hex() and "The right hash in hexadecimal digits. The name is written in base32.",
            text.rstrip("=") == base64.b64encode(digest).decode("ascii").rstrip("=")
            and "The right hash in base64. A registration ID cannot have all of those characters; take base32.",
            text == padded and "Nearly: in small letters, and without the = at the end, which only fill it up.",
            text.rstrip("=") == right and "Nearly: the = at the end only fill it up. Take them off: .rstrip('=').",
            text.lower() == right and "Nearly: in small letters, please: .lower().",
            text.rstrip("=").lower() == base64.b32encode(raw).decode("ascii").rstrip("=").lower()
            and "That is the whole key in base32, far too long for a name. Hash it first.",
        ],
    )


def enrollment(answer: object, endorsement_key: str, device_id: str, tpm: TpmDevice) -> None:
    """The individual enrollment of a second device.

    Arguments:
        answer: the enrollment, a dictionary.
        endorsement_key: of its TPM.
        device_id: its name in the hub.
        tpm: the TPM of the first device, whose keys people paste by mistake.
    """
    registration_id = _derived(endorsement_key)
    given = answers.mapping(answer)
    attestation, inner = answers.inside(given, "attestation"), answers.inside(given, "attestation", "tpm")
    name, text = given.get("registrationId"), answers.text(inner.get("endorsementKey"))
    surplus = {"enrollmentGroupId", "storageRootKey"} & {*given, *attestation, *inner}
    told = (name, given.get("deviceId"), attestation.get("type"), text)
    checks.exercise(
        "the enrollment of the spare gateway",
        told == (registration_id, device_id, "tpm", endorsement_key) and not surplus,
        hint="Look at `individual` in step 4: three fields, of which `attestation` has two again.",
        mistakes=[
            not given and "It is a dictionary, like the one that `individual` in step 4 gives.",
            "enrollmentGroupId" in given
            and "There are no groups for TPMs, as step 6 shows. An individual enrollment has a registrationId.",
            "storageRootKey" in surplus and "The device brings the SRK along itself; leave it out.",
            name != registration_id
            and str(name).lower() == registration_id
            and "The registration ID in small letters, please, as the TPM writes it.",
            name == tpm.registration_id and "That is the registration ID of the first TPM.",
            name != registration_id
            and "registrationId must be the name that belongs to `spare_key`, from the first exercise.",
            given.get("deviceId") != device_id
            and f"The name in the hub is the field deviceId, and it must be {device_id!r}.",
            attestation.get("type") != "tpm"
            and "How it proves its identity is missing: attestation of the type 'tpm'.",
            not text and "The key is missing: it stands in attestation, tpm, endorsementKey.",
            text == tpm.endorsement_key and "That is the EK of the first TPM. This would let the wrong device in.",
            _is_storage_root_key(text)
            and "That is a storage root key. It belongs to the owner; the EK says which chip it is.",
            "BEGIN" in text and "That is PEM. DPS wants the key as the TPM gives it: `spare_key`.",
            text != endorsement_key
            and text.strip("=\n ") == endorsement_key.strip("=")
            and "The end of the key got lost, or there is too much: the = belong to it, a line break does not.",
            text != endorsement_key and "That is not the EK of the spare gateway. It must be `spare_key`, whole.",
        ],
    )


def cleared(answer: object) -> None:
    """What changes in an enrollment when its TPM was cleared.

    Arguments:
        answer: ``endorsement key``, ``registration ID`` or ``nothing``.
    """
    text = answers.word(answer)
    checks.exercise(
        "what to change in DPS when a TPM was cleared",
        text == "nothing",
        hint="Which key stands in the enrollment, and which one changes when a TPM is cleared?",
        mistakes=[
            text in ("ek", "endorsement key")
            and "The EK comes from the maker's secret number and survives. With another chip, it would be another one.",
            text in ("srk", "storage root key")
            and "The SRK does change. Look at the enrollment again, though: does it stand there?",
            text.replace(" ", "") in ("registrationid", "id")
            and "The registration ID is a hash of the EK. Does the EK change?",
        ],
    )


def hub_token(answer: object, tpm: TpmDevice, hub: str, device_id: str, registration_id: str) -> None:
    """A token for the hub, signed in the TPM and good for ten minutes.

    Arguments:
        answer: the token.
        tpm: the TPM that must have signed it.
        hub: host name of the device's hub.
        device_id: name of the device there.
        registration_id: its name for DPS, which people take by mistake.
    """
    what = "a token for the hub, good for ten minutes"
    text = answers.text(answer.reveal() if isinstance(answer, Secret) else answer)
    kind, _, rest = text.partition(" ")
    fields = dict(part.split("=", 1) for part in rest.split("&") if "=" in part)
    if kind != "SharedAccessSignature" or not {"sr", "sig", "se"} <= set(fields):
        hint = "Step 4 signed a token for DPS with tpm_sas_token. This one is for another resource."
        checks.exercise(what, False, hint=hint)
        return
    resource, wanted = unquote(fields["sr"]), f"{hub}/devices/{device_id}"
    left = int(fields["se"]) - time.time() if fields["se"].isdecimal() else -1.0
    try:
        expected = base64.b64encode(tpm.sign(f"{fields['sr']}\n{fields['se']}".encode())).decode("ascii")
    except TpmError as problem:
        checks.exercise(what, False, hint=f"The TPM does not sign now: {problem}")
        return
    signed = hmac.compare_digest(expected.encode(), unquote(fields["sig"]).encode())
    in_time = _LIFE - _TOLERANCE <= left <= _LIFE + _TOLERANCE
    checks.exercise(
        what,
        resource == wanted and "skn" not in fields and in_time and signed,
        hint=f"It is for the wrong resource. It must be HUB/devices/DEVICE, here for {device_id}.",
        mistakes=[
            "/registrations/" in resource
            and "That token is for DPS. For the hub it is the hub's name, then /devices/, then the device ID.",
            "://" in resource and "Without https:// in front: the resource begins with the name of the hub.",
            resource == hub
            and "A token for the whole hub. A device may only speak for itself: add /devices/ and its ID.",
            resource == f"{hub}/devices/{registration_id}"
            and device_id != registration_id
            and "The hub does not know the registration ID. There the device is called by its device ID.",
            resource == f"{hub}/{device_id}" and "Nearly: /devices/ is missing between hub and device ID.",
            resource != wanted
            and resource.lower() == wanted.lower()
            and "The device ID must be written as the hub has it, capitals and small letters.",
            resource != wanted
            and f"It is for the wrong resource. It must be HUB/devices/DEVICE, here for {device_id}.",
            "skn" in fields and "It names a key. At the hub, the key of a device has no name; leave key_name out.",
            left <= 0 and "It has expired already. Leave expiry out; seconds counts from now.",
            not in_time and "It is not good for ten minutes. Ten minutes have 600 seconds: seconds=600.",
            not signed
            and "The signature does not fit the key that the TPM has now. Was it made before the device registered?",
        ],
    )


def damaged(answer: object, challenge: ActivationBlob, tpm: TpmDevice) -> None:
    """A challenge whose third part was changed on the way; the TPM must refuse it.

    Only such a challenge is given to the TPM: a whole one would put its key in the place of the one for the hub.

    Arguments:
        answer: the changed challenge.
        challenge: the challenge as DPS made it.
        tpm: the TPM that it was made for.
    """
    what = "a challenge with a damaged third part, refused by the TPM"
    given = answer if isinstance(answer, ActivationBlob) else challenge
    changed = [name for name in FIELDS if getattr(given, name) != getattr(challenge, name)]
    part = given.duplicate
    is_sound = isinstance(part, bytes) and len(part) == len(challenge.duplicate)
    refused = ""
    if changed == ["duplicate"] and is_sound:
        try:
            tpm.activate(given)
        except ActivationError as problem:
            refused = problem.field or "duplicate"
        except TpmError as problem:
            checks.exercise(what, False, hint=f"The TPM could not be asked: {problem}")
            return
    checks.exercise(
        what,
        refused == "duplicate",
        hint="The TPM refused it because of something else. Is this the challenge of step 2?",
        mistakes=[
            not isinstance(answer, ActivationBlob)
            and "It must be a challenge like `challenge`. replace(challenge, duplicate=...) gives a changed copy.",
            not changed and "This is the challenge as it came. Change one byte of its part `duplicate`.",
            changed != ["duplicate"] and f"Changed is {', '.join(changed)}. Change `duplicate` only, the third part.",
            not isinstance(part, bytes) and "A part is made of bytes: bytes(changed) makes them from a bytearray.",
            not is_sound and "It has another length now, which is seen at once. Change a byte and keep the length.",
            not refused and "The TPM took it. Such a challenge should have been refused: tell the authors.",
        ],
    )


def hub_signature(answer: object, tpm: TpmDevice, text: bytes, dps: Any, told: Any) -> None:
    """The signature that the hub computes, the same as the TPM's.

    Arguments:
        answer: the signature.
        tpm: the TPM of the device.
        text: what is signed.
        dps: the target, from ``connect(...)``.
        told: what DPS told the device: its hub and its device ID.
    """
    what = "the signature that the hub computes"
    try:
        expected = tpm.sign(text)
        key = tpm_lessons.hub_key(dps, told.assigned_hub, told.device_id).reveal()
        raw = base64.b64decode(key, validate=True)
    except Exception as problem:
        # an exercise never stops a notebook, not even when TPM or hub are away
        checks.exercise(what, False, hint=f"TPM or hub could not be asked: {type(problem).__name__}.")
        return
    given = bytes(answer) if isinstance(answer, (bytes, bytearray)) else b""
    written = answers.text(answer).strip()
    checks.exercise(
        what,
        hmac.compare_digest(given, expected),
        hint="hmac.new(key, text, hashlib.sha256).digest(), with the hub's key as bytes. Step 4 read that key.",
        mistakes=[
            given == hmac.new(key.encode(), text, hashlib.sha256).digest()
            and "The key was taken as text. It is base64: decode it, and sign with the bytes.",
            (
                given == hmac.new(raw, text, hashlib.sha512).digest()
                or given == hmac.new(raw, text, hashlib.sha1).digest()
            )
            and "Another hash was used. The TPM's key signs with SHA-256.",
            given == hashlib.sha256(text).digest() and "That is a hash without any key. An HMAC mixes the key in.",
            (given in (raw, key.encode()) or written == key)
            and "That is the key itself. It is for signing, not for showing.",
            written
            and written.lower() == expected.hex()
            and "The right signature in hexadecimal digits. Take .digest(), which gives bytes.",
            written
            and _base64(written) == expected
            and "The right signature in base64, as it stands in a token. Here the bytes are wanted.",
            len(given) == len(expected)
            and "A signature with another key or of another text. After step 8 the hub has a new key: read it again.",
        ],
    )


def copied_disk(answer: object) -> None:
    """What a copy of a gateway's disk can sign for the hub.

    Arguments:
        answer: ``everything``, ``tokens for an hour`` or ``nothing``.
    """
    text = answers.word(answer)
    checks.exercise(
        "what a copied disk can sign",
        text == "nothing",
        hint="Where is the key, and was it copied with the disk?",
        mistakes=[
            text == "everything"
            and "That would be so with a key in a file. Step 9 searched all files: is the key there?",
            "hour" in text
            and "A token on the disk can be used for an hour. To sign a new one takes the key: where is that?",
        ],
    )


def _derived(endorsement_key: str) -> str:
    digest = hashlib.sha256(base64.b64decode(endorsement_key)).digest()
    return base64.b32encode(digest).decode("ascii").rstrip("=").lower()


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_storage_root_key(text: str) -> bool:
    return _base64(text)[_ATTRIBUTES] == _ATTRIBUTES_OF_SRK
