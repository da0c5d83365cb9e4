"""The two operations of a device, register and poll, as every protocol offers them."""

from __future__ import annotations

import base64
import re
import secrets
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dps_simulator.common.field_checks import checked_object
from dps_simulator.common.identifiers import RegistrationId, lookup_key
from dps_simulator.common.ports import Document
from dps_simulator.credentials.chains import Finding
from dps_simulator.credentials.evidence import X509Evidence, finding_of_unreadable
from dps_simulator.credentials.sas import SasError, SharedAccessSignature
from dps_simulator.credentials.tpm_blob import make_blob
from dps_simulator.credentials.tpm_keys import ENDORSEMENT, STORAGE_ROOT, SecretForTpm, TpmKeys, read_tpm_key
from dps_simulator.errors.table import Dps, ErrorKind, ServiceError
from dps_simulator.provisioning.attestation.symmetric_key import TPM_KEY_SIZE, SymmetricKeyEvidence, Verdict
from dps_simulator.provisioning.attestation.tpm import TpmEvidence, TpmFinding
from dps_simulator.provisioning.enrollments.book import Enrollment
from dps_simulator.provisioning.registration.states import OperationStatus
from dps_simulator.provisioning.service import ProvisioningService
from dps_simulator.wire.json_body import load_json

#: Source: Microsoft documentation, iot-dps limits ("Maximum message size: 96 KB").
MAX_BODY_SIZE = 96 * 1024

#: Every version that was ever published, and those to come.
API_VERSION = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}(?:-preview)?")


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """Who a device says it is, and with what it proves that.

    Attributes:
        id_scope: the ID scope that it gives.
        registration_id: the registration ID that it gives.
        api_version: empty when it gives none.
        token: the text of its SAS token, empty without one.
        certificates: the DER certificates that it presented in the TLS handshake, its own first.
    """

    id_scope: str
    registration_id: str
    api_version: str
    token: str = field(default="", repr=False)
    certificates: tuple[bytes, ...] = field(default=(), repr=False)
    _name: RegistrationId | None = field(init=False, repr=False, compare=False, default=None)

    @property
    def name(self) -> RegistrationId:
        """The registration ID, checked once.

        Raises:
            ServiceError: it is too long, or has characters that a registration ID cannot have.
        """
        name = self._name
        if name is None:
            name = RegistrationId(self.registration_id)
            object.__setattr__(self, "_name", name)
        return name


@dataclass(frozen=True, slots=True)
class Refusals:
    """Rows of the error table for refused devices; the protocols differ in them.

    Attributes:
        token: no evidence, or a token that does not fit.
        certificate: a certificate that does not fit.
        tpm: the keys of a TPM, where the protocol carries no TPM attestation; ``None`` where it does.
    """

    token: ErrorKind
    certificate: ErrorKind
    tpm: ErrorKind | None = None


#: Findings about the authorities above a device's certificate, which the service answers with a text of its own.
_ABOUT_AUTHORITIES = frozenset(
    {Finding.UNKNOWN_AUTHORITY, Finding.INTERMEDIATE_MISSING, Finding.AUTHORITY_NOT_VERIFIED}
)


class Outcome(NamedTuple):
    """The answer to a device.

    Attributes:
        status: the operation and how far it has come, as the device is told.
        reason: why no hub took it, else which key fitted; for the trace.
    """

    status: OperationStatus
    reason: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a device with a TPM is asked to prove first.

    Attributes:
        authentication_key: what it must let its TPM open, base64.
        reason: whose key it showed, for the trace.
    """

    authentication_key: str = field(repr=False)
    reason: str


def sealed(secret: SecretForTpm) -> str:
    """A secret so that only the TPM can read it, base64. No two times the same."""
    blob = make_blob(secret.endorsement, secret.storage_root, secret.key, secret.address.encode())
    return base64.b64encode(blob).decode("ascii")


def told(status: OperationStatus) -> dict[str, Any]:
    """The body of an answer, with the key for the hub where the device has a TPM to open it."""
    body = status.to_json()
    if status.secret is not None:
        body["registrationState"] = {"tpm": {"authenticationKey": sealed(status.secret)}, **body["registrationState"]}
    return body


class DeviceOperations:
    """Register and poll, whichever protocol a device speaks.

    Arguments:
        service: what judges devices and keeps their registrations.
        refusals: how refused devices are answered.
    """

    def __init__(self, service: ProvisioningService, refusals: Refusals) -> None:
        self._service = service
        self._refusals = refusals

    def challenge(self, device: DeviceIdentity, request: dict[str, Any]) -> Challenge | None:
        """Challenge a device that shows the keys of its TPM and no token yet.

        Returns:
            The challenge, or ``None`` when the device proves itself in another way.

        Raises:
            ServiceError: the TPM is not the enrolled one, or the request is wrong.
        """
        if request.get("tpm") is None or device.token or self._refusals.tpm is not None:
            return None
        self._admit_registration(device)
        keys = self._check_request(device, request)
        self._check_address(device)
        if keys is None or keys.storage_root is None:
            text = f"tpm.storageRootKey is missing; a challenge needs it. {STORAGE_ROOT.advice}"
            finding = TpmFinding.STORAGE_ROOT_KEY_MISSING.value
            raise ServiceError(Dps.INVALID_BODY, text, reason=text, finding=finding)
        verdict = self._service.identify_tpm(device.name, keys)
        enrollment = self._accepted(verdict, self._refusals.token)
        secret = self._service.challenges.issue(enrollment, keys.endorsement, keys.storage_root)
        return Challenge(sealed(secret), verdict.reason)

    def decoy(self, request: dict[str, Any]) -> Challenge:
        """A challenge that leads nowhere, for a device that would get none, where the protocol cannot say so yet.

        Raises:
            ServiceError: what it shows are no keys of a TPM.
        """
        keys = self._tpm_keys(request.get("tpm"))
        if keys.storage_root is None:
            raise ServiceError(Dps.INVALID_BODY, f"tpm.storageRootKey is missing. {STORAGE_ROOT.advice}")
        secret = SecretForTpm(keys.endorsement, keys.storage_root, secrets.token_bytes(TPM_KEY_SIZE), "nowhere")
        return Challenge(sealed(secret), "a challenge that leads nowhere: the device is told when it registers")

    def register(self, device: DeviceIdentity, request: dict[str, Any]) -> Outcome:
        """Start a registration.

        Arguments:
            device: the device that registers, with what it brings as proof.
            request: the body, see :meth:`parse`.

        Raises:
            ServiceError: the device is refused, the request is wrong, or as many registrations as possible are kept.
        """
        self._admit_registration(device)
        keys = self._check_request(device, request)
        enrollment, verdict = self._attest(device, check_expiry=True, keys=keys)
        registrations, throttle = self._service.registrations, self._service.throttle
        if throttle.active and registrations.find(device.registration_id) is None:
            throttle.claim("registrations", registrations.count)
        status = registrations.register(
            verdict.registration_id,
            enrollment,
            verdict.leaf_thumbprint,
            verdict.tpm_keys,
            api_version=device.api_version,
            payload=request.get("payload"),
        )
        return Outcome(status, status.reason or verdict.reason)

    def poll(self, device: DeviceIdentity, operation_id: str, *, check_expiry: bool = False) -> Outcome:
        """Ask how far a registration is.

        Over one connection the token's expiry counts when a device registers, not while it waits for the result
        (inferred).

        Raises:
            ServiceError: the device is refused, or has no such operation.
        """
        _, verdict = self._attest(device, check_expiry=check_expiry)
        self._service.throttle.take("polls_per_ten_seconds", device.name.key)
        status = self._service.registrations.poll(device.name, operation_id)
        return Outcome(status, status.reason or verdict.reason)

    def check(self, device: DeviceIdentity) -> None:
        """Judge a device's evidence, and nothing else.

        Raises:
            ServiceError: it does not fit.
        """
        self._attest(device, check_expiry=True)

    def look_up(self, device: DeviceIdentity, request: dict[str, Any]) -> Document:
        """Read the device's registration without registering; it proves itself all the same.

        Raises:
            ServiceError: the device is refused, never registered, or the request is wrong.
        """
        self._admit_registration(device)
        keys = self._check_request(device, request)
        self._attest(device, check_expiry=True, keys=keys)
        return self._service.registrations.look_up(device.registration_id)

    def _admit_registration(self, device: DeviceIdentity) -> None:
        """Count a registration, whether it is a good one or not; looking one up counts as one (documented).

        Raises:
            ServiceError: there are too many, or the device means another service.
        """
        if self._service.throttle.active:
            self._check_address(device)
            self._service.throttle.take("registrations_per_minute")

    @staticmethod
    def parse(body: bytes) -> dict[str, Any]:
        """Read the body of a registration; one SDK sends none, which means an empty object.

        Raises:
            ServiceError: it is too large, not JSON or no object.
        """
        if len(body) > MAX_BODY_SIZE:
            raise ServiceError(Dps.TOO_LARGE, f"The body has {len(body)} bytes; at most {MAX_BODY_SIZE} are allowed.")
        if not body.strip():
            return {}
        try:
            request = load_json(body)
        except ValueError as error:
            raise ServiceError(Dps.MALFORMED_JSON, reason=f"The body is not valid JSON: {error}") from error
        if not isinstance(request, dict):
            raise ServiceError(Dps.INVALID_BODY, "The body must be a JSON object.")
        return request

    def _check_request(self, device: DeviceIdentity, request: dict[str, Any]) -> TpmKeys | None:
        """Check the body; gives the keys of the TPM that are in it."""
        given = request.get("registrationId")
        name = device.name if given == device.registration_id else None if given is None else RegistrationId(given)
        if name is not None and given != device.registration_id and name.key != lookup_key(device.registration_id):
            raise ServiceError(
                Dps.INVALID_BODY,
                f"registrationId in the body is {given!r}, that of the connection is {device.registration_id!r:.160}; "
                "they must agree.",
            )
        if request.get("csr") is not None:
            raise ServiceError(
                Dps.DEVICE_REQUEST_NOT_SUPPORTED, "A certificate signing request is not supported by this simulator."
            )
        tpm = request.get("tpm")
        return None if tpm is None else self._tpm_keys(tpm)

    def _tpm_keys(self, given: object) -> TpmKeys:
        if self._refusals.tpm is not None:
            raise ServiceError(self._refusals.tpm)
        tpm = checked_object("tpm", given)
        endorsement = read_tpm_key("tpm.endorsementKey", tpm.get("endorsementKey"), ENDORSEMENT)
        storage_root = tpm.get("storageRootKey")
        if storage_root is None:
            return TpmKeys(endorsement)
        return TpmKeys(endorsement, read_tpm_key("tpm.storageRootKey", storage_root, STORAGE_ROOT))

    def _attest(
        self, device: DeviceIdentity, *, check_expiry: bool, keys: TpmKeys | None = None
    ) -> tuple[Enrollment, Verdict]:
        """Find the enrollment of a device whose evidence fits.

        Raises:
            ServiceError: it does not, or the request is not one that can be judged.
        """
        name = self._check_address(device)
        individual = self._service.individual(name)
        no_tpm = self._refusals.tpm
        if no_tpm is not None and individual is not None and individual.is_for_tpm:
            raise ServiceError(
                self._refusals.token,
                reason=f"The individual enrollment {device.registration_id!r} is for a TPM. {no_tpm.message}",
                finding=TpmFinding.ATTESTATION_MISMATCH.value,
            )
        refusal, evidence = self._evidence(device, keys)
        verdict = self._service.attest(name, evidence, individual, check_expiry=check_expiry)
        return self._accepted(verdict, refusal), verdict

    def _check_address(self, device: DeviceIdentity) -> RegistrationId:
        """Check to which service the device talks; gives as whom, which is checked as well."""
        if not device.api_version:
            raise ServiceError(Dps.INVALID_API_VERSION)
        if not API_VERSION.fullmatch(device.api_version):
            raise ServiceError(
                Dps.API_VERSION_NOT_SUPPORTED,
                f"api-version {device.api_version!r:.80} is not supported by this simulator.",
            )
        if not self._service.is_own_scope(device.id_scope):
            raise ServiceError(
                Dps.ID_SCOPE_NOT_FOUND,
                reason=f"the ID scope is {device.id_scope!r:.80}, this service has {self._service.id_scope!r}",
            )
        return device.name

    @staticmethod
    def _accepted(verdict: Verdict, refusal: ErrorKind) -> Enrollment:
        """The enrollment that was found.

        Raises:
            ServiceError: the device was refused.
        """
        if verdict.enrollment is None:
            if verdict.finding in _ABOUT_AUTHORITIES:
                refusal = Dps.CA_CERTIFICATE_NOT_FOUND
            raise ServiceError(refusal, reason=verdict.reason, finding=verdict.finding)
        return verdict.enrollment

    def _evidence(
        self, device: DeviceIdentity, keys: TpmKeys | None
    ) -> tuple[ErrorKind, SymmetricKeyEvidence | X509Evidence | TpmEvidence]:
        """What the device shows, and how it is answered when that does not fit. A token goes before a certificate."""
        if device.token:
            try:
                token = SharedAccessSignature.parse(device.token)
            except SasError as error:
                raise ServiceError(self._refusals.token, reason=str(error)) from error
            shown = SymmetricKeyEvidence(token.resource_parts(), token.expiry, token.is_signed_by)
            return self._refusals.token, shown if keys is None else TpmEvidence(shown, keys)
        if keys is not None:
            raise ServiceError(
                self._refusals.token,
                reason="The device shows the keys of its TPM without a token; register first, which gives it a "
                "challenge, and let the TPM sign a token.",
                finding=TpmFinding.CHALLENGE_MISSING.value,
            )
        if device.certificates:
            try:
                return self._refusals.certificate, X509Evidence.read(device.certificates)
            except ValueError as error:
                raise ServiceError(
                    self._refusals.certificate, reason=str(error), finding=finding_of_unreadable(error).value
                ) from error
        raise ServiceError(self._refusals.token, reason="the device shows neither a token nor a certificate")
