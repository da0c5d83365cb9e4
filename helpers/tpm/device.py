"""A device's TPM, as attestation uses it: who the device is, answering a challenge, signing.

::

    with open_tpm("embedded", folder) as tpm:
        tpm.registration_id, tpm.endorsement_key      # what the enrollment needs
        tpm.activate(challenge)                       # afterwards the TPM holds the key that was in it
        tpm.sign(b"text")                             # HMAC-SHA256 under that key

Source: the SDKs for C (``hsm_client_tpm.c``) and Node (``azure-iot-security-tpm``), whose handles, templates and order
of commands these are.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from helpers.masking import shown
from helpers.tpm.embedded.tpm import SoftTpm
from helpers.tpm.transports.swtpm import Swtpm
from helpers.tpm.transports.transport import Closing, DeviceFileTransport

from .activation import FIELDS, ActivationBlob
from .commands import Exchange, Tpm
from .errors import ActivationError, TpmError, TpmResponseError, TpmUnavailableError
from .response_codes import FORMAT_ONE, PARAMETER, ResponseCode
from .structures import EK_HANDLE, EK_TEMPLATE, ID_KEY_HANDLE, SRK_HANDLE, SRK_TEMPLATE, Handle

EMBEDDED, SWTPM = "embedded", "swtpm"


class TpmDevice(Closing):
    """The TPM of one device. May be used by several threads.

    Arguments:
        tpm: the commands.
        description: what it is, for people.
        program: what runs the TPM and ends with it; ``None`` for one that runs anyway.
    """

    def __init__(self, tpm: Tpm, description: str, program: Swtpm | None = None) -> None:
        self._tpm = tpm
        self._program = program
        self.description = description
        self._endorsement_key = b""
        self._storage_root_key = b""

    @property
    def endorsement_key(self) -> str:
        """Public half of the endorsement key (EK): base64 of a TPM2B_PUBLIC, as an enrollment wants it.

        It is read from the TPM. Only where a TPM has none yet, it is made and kept; an existing one is never replaced.
        """
        return base64.b64encode(self._endorsement()).decode("ascii")

    @property
    def storage_root_key(self) -> str:
        """Public half of the storage root key (SRK): base64 of a TPM2B_PUBLIC. Made only where there is none."""
        return base64.b64encode(self._storage_root()).decode("ascii")

    @property
    def registration_id(self) -> str:
        """The name under which the device registers: SHA-256 of the endorsement key in base32, small, 52 characters.

        Only the usual choice: an enrollment may have any registration ID.
        """
        digest = hashlib.sha256(self._endorsement()).digest()
        return base64.b32encode(digest).decode("ascii").rstrip("=").lower()

    @property
    def history(self) -> list[Exchange]:
        """The newest commands that the TPM got, oldest first, without their contents."""
        return self._tpm.history

    def activate(self, blob: bytes | ActivationBlob) -> None:
        """Open a challenge inside the TPM, and keep the key that is in it there.

        The key takes the place of the one before, so whatever that one signed is worthless from now on. When the
        challenge cannot be opened, the key before stays.

        Arguments:
            blob: ``authenticationKey`` of an answer of DPS, decoded from base64, or taken apart already.

        Raises:
            ActivationError: it was made for another TPM, or changed on the way.
            TpmError: something else is wrong with the TPM.
        """
        parts = blob if isinstance(blob, ActivationBlob) else ActivationBlob.parse(blob)
        with self._tpm.lock:
            self._endorsement()
            self._storage_root()
            inner_key = self._open_credential(parts)
            with _explained(_IMPORT_FIELDS):
                private = self._tpm.import_key(
                    SRK_HANDLE, inner_key, parts.id_key_public, parts.duplicate, parts.encrypted_seed
                )
            with _explained({}):
                loaded = self._tpm.load(SRK_HANDLE, private, parts.id_key_public)
            try:
                self._keep(loaded)
            finally:
                self._tpm.flush_context(loaded)

    def sign(self, data: bytes) -> bytes:
        """HMAC-SHA256 of the data under the key that was activated last. The key stays in the TPM.

        Raises:
            TpmError: there is none yet, or something is wrong with the TPM.
        """
        try:
            return self._tpm.hmac(ID_KEY_HANDLE, data)
        except TpmResponseError as error:
            if not self.has_key:
                raise TpmError(
                    "The TPM has no key to sign with yet. It gets one when the device registers with DPS."
                ) from error
            raise

    @property
    def has_key(self) -> bool:
        """Whether a registration left a key to sign with in the TPM; asks it, and raises ``TpmError`` if it is gone."""
        return self._tpm.read_public(ID_KEY_HANDLE) is not None

    def close(self) -> None:
        """Let the TPM go, for others who may be waiting for it. Closing twice is fine."""
        self._tpm.close()
        if self._program is not None:
            self._program.close()

    def __repr__(self) -> str:
        return f"TpmDevice({self.description})"

    # --- keys ---------------------------------------------------------------------------------------------------

    def _endorsement(self) -> bytes:
        if not self._endorsement_key:
            self._endorsement_key = self._permanent(EK_HANDLE, Handle.ENDORSEMENT, EK_TEMPLATE)
        return self._endorsement_key

    def _storage_root(self) -> bytes:
        if not self._storage_root_key:
            self._storage_root_key = self._permanent(SRK_HANDLE, Handle.OWNER, SRK_TEMPLATE)
        return self._storage_root_key

    def _permanent(self, handle: int, hierarchy: int, template: bytes) -> bytes:
        """A key that is kept under a handle, made there when it is missing."""
        with self._tpm.lock:
            public = self._tpm.read_public(handle)
            if public is None:
                loaded, public = self._tpm.create_primary(hierarchy, template)
                try:
                    self._tpm.evict_control(Handle.OWNER, loaded, handle)
                except TpmResponseError as error:
                    if error.code != ResponseCode.NV_DEFINED:
                        raise
                    # another process was faster, and its key is the one that counts
                    public = self._tpm.read_public(handle) or public
                finally:
                    self._tpm.flush_context(loaded)
        return public

    def _keep(self, loaded: int) -> None:
        if self._tpm.read_public(ID_KEY_HANDLE) is not None:
            self._tpm.evict_control(Handle.OWNER, ID_KEY_HANDLE, ID_KEY_HANDLE)
        try:
            self._tpm.evict_control(Handle.OWNER, loaded, ID_KEY_HANDLE)
        except TpmResponseError as error:
            raise ActivationError(
                f"The TPM opened the challenge and did not keep the key in it ({error.name}), and the key before is "
                "gone. Close the TPM in other programs, then register again.",
                "id_key_public",
            ) from error

    def _open_credential(self, parts: ActivationBlob) -> bytes:
        """The inner key, which only this TPM gets out of the credential."""
        session = self._tpm.start_policy_session()
        try:
            self._tpm.policy_secret(Handle.ENDORSEMENT, session)
            with _explained(_CREDENTIAL_FIELDS):
                return self._tpm.activate_credential(
                    SRK_HANDLE, EK_HANDLE, session, parts.credential_blob, parts.secret
                )
        finally:
            # a session that a TPM ended by itself is not worth hiding an error for
            with suppress(TpmResponseError):
                self._tpm.flush_context(session)


#: Which part of the challenge is meant, by the number of the parameter in the response code. A part that is encrypted
#: for another key makes some TPMs answer "failure", without a number.
_CREDENTIAL_FIELDS = {1: "credential_blob", 2: "secret", 0: "secret"}
_IMPORT_FIELDS = {2: "id_key_public", 3: "duplicate", 4: "encrypted_seed", 0: "encrypted_seed"}

#: What a refusal of each part may mean, and what to do.
_MEANINGS = {
    "credential_blob": "It was changed on the way, or made for another storage root key. Register again.",
    "secret": "It was encrypted for another TPM, or changed on the way. Compare the endorsement key of the enrollment "
    "with that of this TPM, then register again.",
    "duplicate": "It, or part 5 that is bound to it, was changed on the way. Register again.",
    "encrypted_seed": "It was encrypted for another storage root key, or changed on the way. Register again.",
    "id_key_public": "It describes no key that a TPM may take in: it was changed on the way. Register again.",
}


@contextmanager
def _explained(by_parameter: dict[int, str]) -> Iterator[None]:
    """Say which part of the challenge a refusal of the TPM is about."""
    try:
        yield
    except TpmResponseError as error:
        is_about_a_parameter = error.code & FORMAT_ONE and error.code & PARAMETER
        number = (error.code >> 8) & 0xF if is_about_a_parameter else 0
        field = by_parameter.get(number, "") if number or error.code == ResponseCode.FAILURE else ""
        if not field:
            raise ActivationError(f"The challenge cannot be opened. {error} Register again.") from error
        raise ActivationError(
            f"The TPM cannot open part {list(FIELDS).index(field) + 1} of the challenge, {field} ({FIELDS[field]}): "
            f"{error.name}. {_MEANINGS[field]}",
            field,
        ) from error


def open_tpm(kind: str = EMBEDDED, folder: Path | None = None) -> TpmDevice:
    """Open the TPM of a device.

    Arguments:
        kind: ``embedded`` (a teaching aid in pure Python, nothing to install), ``swtpm`` (a real TPM 2.0 in software,
            as a program beside this one) or the path of a device file such as ``/dev/tpmrm0`` (a chip).
        folder: where the first two keep their state, one folder for each device.

    Raises:
        TpmUnavailableError: it cannot be opened; says why and what to do.
    """
    if kind.startswith("/"):
        return TpmDevice(Tpm(DeviceFileTransport(Path(kind))), f"the TPM of this machine, {kind}")
    if kind not in (EMBEDDED, SWTPM):
        raise TpmUnavailableError(
            f"The kind of TPM is {shown(kind)}; it must be {EMBEDDED!r}, {SWTPM!r} or the path of a device file "
            "such as '/dev/tpmrm0'."
        )
    if folder is None:
        raise TpmUnavailableError(f"The {kind} TPM keeps its keys in a folder; say in which.")
    if kind == SWTPM:
        program = Swtpm(folder / "swtpm")
        return TpmDevice(Tpm(program.transport()), "swtpm, a TPM 2.0 in software", program)
    return TpmDevice(Tpm(SoftTpm(folder / "soft_tpm.json")), "the embedded TPM, a teaching aid")
