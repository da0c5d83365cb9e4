"""What the notebooks of the TPM track make, as recipes: made here when the notebook that makes it did not run.

The SDK calls are those of the notebooks. The TPM keeps its state in a folder of the workspace, unless it is a chip. The
documents hold names only: which key a TPM has, the TPM itself is asked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from helpers import workspace
from helpers.credentials import Secret
from helpers.tpm import TpmDevice, TpmProvisioningDeviceClient, open_tpm
from helpers.workspace import Document, Recipe

from . import cleanup
from .cleanup import ENROLLMENT
from .recipe import boot

ENROLLMENTS, REGISTRATIONS = "tpm.enrollments", "tpm.registrations"
#: Where the device's TPM keeps its state, and where other TPMs do that the notebooks only try out.
FILES, TRIES = "tpm", "tpm_tries"

#: How deep :func:`where_is` looks into a variable.
_DEPTH = 4


def individual_enrollment(registration_id: str, device_id: str, endorsement_key: str) -> Document:
    """The individual enrollment of the TPM track, as the notebook writes it.

    Arguments:
        registration_id: of the device.
        device_id: what the hub calls it; empty: as the registration ID.
        endorsement_key: ``TPM2B_PUBLIC`` in base64, as ``TpmDevice.endorsement_key`` has it.
    """
    return {
        "registrationId": registration_id,
        "deviceId": device_id or registration_id,
        "attestation": {"type": "tpm", "tpm": {"endorsementKey": endorsement_key}},
    }


def register_device(dps: Any, registration_id: str, tpm: TpmDevice) -> Any:
    """Boot a device that proves itself with its TPM.

    Arguments:
        dps: the target.
        registration_id: of the device.
        tpm: opened.

    Returns:
        The state it was registered with, among others ``assigned_hub`` and ``device_id``.

    Raises:
        ClientError: DPS or the TPM refused, or DPS was not reached; :func:`helpers.diagnosis.explain` knows more.
    """
    return boot(dps, TpmProvisioningDeviceClient.create_from_tpm, registration_id=registration_id, tpm=tpm)


def hub_key(dps: Any, hub: str, device_id: str) -> Secret:
    """The primary key of a device as its hub knows it. Only who owns the hub may read it.

    Arguments:
        dps: the target.
        hub: host name of the hub.
        device_id: case counts.

    Raises:
        TargetError: the target does not have the hub.
        HttpOperationError: the hub does not have the device.
    """
    authentication = dps.registry(hub).get_device(device_id).authentication
    return Secret(str(authentication.symmetric_key.primary_key))


def has_hub_key(tpm: TpmDevice, key: Secret) -> bool:
    """Whether the key in the TPM is the one that the hub has: both sign the same."""
    text = b"the same key gives the same signature"
    if not tpm.has_key:
        return False
    try:
        raw = base64.b64decode(key.reveal(), validate=True)
    except binascii.Error:
        return False
    return hmac.compare_digest(hmac.new(raw, text, hashlib.sha256).digest(), tpm.sign(text))


def where_is(searched: Secret | str, dps: Any, variables: Mapping[str, Any]) -> list[str]:
    """Where a text stands, as it is, or as the bytes or hexadecimal digits that its base64 stands for.

    Looked through are the variables of a notebook, and the files of the workspace. Left out is the folder in which the
    TPM keeps its state, and the TPM itself: those play the chip.

    Arguments:
        searched: the text.
        dps: the target.
        variables: ``globals()`` of the notebook.

    Returns:
        The names of files and variables, sorted; empty when it stands nowhere.
    """
    forms = _forms(searched.reveal() if isinstance(searched, Secret) else searched)
    top = workspace.folder(FILES, dps).parent
    found = [f"file {name}" for name in workspace.files(dps) if _contains((top / name).read_bytes(), name, forms)]
    seen: set[int] = set()
    found += [f"variable {name}" for name, value in variables.items() if _holds(value, forms, seen, _DEPTH)]
    return sorted(found)


def _contains(content: bytes, name: str, forms: Sequence[bytes]) -> bool:
    is_chip = name.split("/", maxsplit=1)[0] in (FILES, TRIES)
    return not is_chip and any(form in content for form in forms)


def _forms(text: str) -> list[bytes]:
    forms = [text.encode()]
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return forms
    # shorter ones would be found by chance
    return [*forms, raw, raw.hex().encode(), raw.hex().upper().encode()] if len(raw) >= 16 else forms


def _holds(value: object, forms: Sequence[bytes], seen: set[int], depth: int) -> bool:
    if isinstance(value, Secret):
        value = value.reveal()
    if isinstance(value, str):
        value = value.encode(errors="replace")
    if isinstance(value, (bytes, bytearray)):
        return any(form in value for form in forms)
    if depth == 0 or id(value) in seen or isinstance(value, (type, ModuleType, FunctionType, TpmDevice)):
        return False
    seen.add(id(value))
    return any(_holds(part, forms, seen, depth - 1) for part in _parts(value))


def _parts(value: object) -> Iterator[object]:
    """What is inside a value; a copy, because another thread may change it meanwhile."""
    if isinstance(value, Mapping):
        yield from list(value.values())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from list(value)
    else:
        yield from list(getattr(value, "__dict__", {}).values())


class TpmEnrollments(Recipe):
    """One device, enrolled by the endorsement key of its TPM."""

    def find(self, dps: Any, stored: Document | None, names: Mapping[str, str]) -> Document | None:
        """What was kept, when DPS still has the enrollment and it names the key of this TPM."""
        with _opened(dps, names) as tpm:
            expected, endorsement_key = _document(tpm, names), tpm.endorsement_key
        if stored != expected:
            return None
        try:
            enrollment = dps.service_client().enrollment.get(expected["registration_id"])
        except ResourceNotFoundError:
            return None
        attestation = enrollment["attestation"].get("tpm") or {}
        same = (
            attestation.get("endorsementKey") == endorsement_key
            and (enrollment.get("deviceId") or expected["registration_id"]) == expected["device_id"]
        )
        return expected if same else None

    def make(self, dps: Any, names: Mapping[str, str]) -> Document:
        """Create the enrollment; without a name for it, the TPM gives one.

        Returns:
            ``tpm_kind``, ``registration_id`` and ``device_id``.
        """
        with _opened(dps, names) as tpm:
            document, endorsement_key = _document(tpm, names), tpm.endorsement_key
        registration_id = document["registration_id"]
        workspace.claim(dps, ENROLLMENT, registration_id)
        dps.service_client().enrollment.create_or_update(
            registration_id, individual_enrollment(registration_id, document["device_id"], endorsement_key)
        )
        return document

    def remove(self, dps: Any, names: Mapping[str, str]) -> None:
        """Remove the enrollment with its device, and note that it will be made. The TPM keeps its keys.

        When the TPM was replaced, the enrollment of the one before goes, too.
        """
        service = dps.service_client()
        current, *earlier = _registration_ids(dps, names)
        cleanup.remove_enrollment(dps, service, current, again=True)
        for registration_id in earlier:
            cleanup.remove_enrollment(dps, service, registration_id)
        workspace.empty_folder(TRIES, dps)

    def ready(self, names: Mapping[str, str]) -> list[str]:
        """One line, with a name that can be read."""
        return [f"Enrolled: {_called(names)}, by the endorsement key of its TPM"]

    def removed(self, names: Mapping[str, str]) -> list[str]:
        """One line, with a name that can be read."""
        return [f"Not enrolled yet: {_called(names)}"]


class TpmRegistrations(Recipe):
    """The device, registered: in a hub whose key for it lies in the TPM."""

    def find(self, dps: Any, stored: Document | None, names: Mapping[str, str]) -> Document | None:
        """What was kept, when the device is still in its hub, and the TPM still has the key of this hub."""
        workspace.empty_folder(TRIES, dps)
        enrolled = workspace.found(ENROLLMENTS, dps, names)
        if stored is None or enrolled is None or any(stored.get(name) != value for name, value in enrolled.items()):
            return None
        hub, device_id = str(stored.get("hub")), str(stored.get("assigned_id"))
        if hub not in dps.hubs or not cleanup.device_exists(dps, hub, device_id):
            return None
        key = hub_key(dps, hub, device_id)
        with _opened(dps, names) as tpm:
            return stored if has_hub_key(tpm, key) else None

    def make(self, dps: Any, names: Mapping[str, str]) -> Document:
        """Boot the device; enroll it first when nobody did.

        Returns:
            What :class:`TpmEnrollments` keeps, with ``hub`` (host name) and ``assigned_id``, the device ID there.
        """
        enrolled = workspace.made(ENROLLMENTS, dps, names)
        with _opened(dps, names) as tpm:
            state = register_device(dps, enrolled["registration_id"], tpm)
        return {**enrolled, "hub": state.assigned_hub, "assigned_id": state.device_id}

    def remove(self, dps: Any, names: Mapping[str, str]) -> None:
        """Remove the registration and the device, not the enrollment."""
        service = dps.service_client()
        workspace.empty_folder(TRIES, dps)
        for registration_id in _registration_ids(dps, names):
            cleanup.forget_our_registration(dps, service, registration_id, ENROLLMENT, registration_id)

    def ready(self, names: Mapping[str, str]) -> list[str]:
        """One line, with a name that can be read."""
        return [f"Registered: {_called(names)}"]

    def removed(self, names: Mapping[str, str]) -> list[str]:
        """One line, with a name that can be read."""
        return [f"Not registered yet: {_called(names)}"]


def _opened(dps: Any, names: Mapping[str, str]) -> TpmDevice:
    """The device's TPM, to be closed again soon: swtpm lets nobody else in meanwhile."""
    return open_tpm(names["tpm_kind"], workspace.folder(FILES, dps))


def _document(tpm: TpmDevice, names: Mapping[str, str]) -> Document:
    """What is known of the enrollment before it is made."""
    registration_id = names["registration_id"] or tpm.registration_id
    return {
        "tpm_kind": names["tpm_kind"],
        "registration_id": registration_id,
        "device_id": names["device_id"] or registration_id,
    }


def _registration_ids(dps: Any, names: Mapping[str, str]) -> list[str]:
    """The registration ID under these names and, when it is another one, that of an earlier TPM or parameter."""
    with _opened(dps, names) as tpm:
        current = str(_document(tpm, names)["registration_id"])
    stored = workspace.load(ENROLLMENTS, dps) or {}
    return list(dict.fromkeys([current, str(stored.get("registration_id") or current)]))


def _called(names: Mapping[str, str]) -> str:
    """What to call the device; the ID that is derived from a TPM is too long to be read."""
    return names["device_id"] or names["registration_id"] or "the device with this TPM"
