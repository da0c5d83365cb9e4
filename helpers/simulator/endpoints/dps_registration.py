"""The two operations of a device, register and poll, as every protocol offers them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ..domain.attestation import SymmetricKeyEvidence, Verdict
from ..domain.identifiers import lookup_key, registration_id
from ..domain.provisioning import ProvisioningService
from ..domain.registration import OperationStatus
from ..errors import Dps, ErrorKind, ServiceError
from ..protocols.sas import SasError, SharedAccessSignature
from .json_body import load_json

#: Source: Microsoft documentation, iot-dps limits ("Maximum message size: 96 KB").
MAX_BODY_SIZE = 96 * 1024

_API_VERSION = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}(?:-preview)?")


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """Who a device says it is, and with what it proves that.

    Attributes:
        id_scope: the ID scope that it gives.
        registration_id: the registration ID that it gives.
        api_version: empty when it gives none.
        token: the text of its SAS token, empty without one.
        has_certificate: whether it presented a certificate in the TLS handshake.
    """

    id_scope: str
    registration_id: str
    api_version: str
    token: str = field(default="", repr=False)
    has_certificate: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a device.

    Attributes:
        status: what it is told.
        reason: which key fitted, for the trace.
    """

    status: OperationStatus
    reason: str


class DeviceOperations:
    """Register and poll.

    Arguments:
        service: the provisioning service.
        unauthorized: the row of the error table for refused devices; protocols differ in it.
    """

    def __init__(self, service: ProvisioningService, unauthorized: ErrorKind) -> None:
        self._service = service
        self._unauthorized = unauthorized

    def register(self, device: DeviceIdentity, request: dict[str, Any]) -> Outcome:
        """Start a registration.

        Arguments:
            device: who registers.
            request: the body, see :meth:`parse`.

        Raises:
            ServiceError: the device is refused, or the request is wrong.
        """
        self._check_request(device, request)
        verdict = self._attest(device, check_expiry=True)
        if verdict.enrollment is None:
            raise ServiceError(self._unauthorized, reason=verdict.reason)
        return Outcome(
            self._service.registrations.register(verdict.registration_id, verdict.enrollment), verdict.reason
        )

    def poll(self, device: DeviceIdentity, operation_id: str) -> Outcome:
        """Ask how far a registration is.

        The token's expiry counts when a device registers, not while it waits for the result (inferred).

        Raises:
            ServiceError: the device is refused, or has no such operation.
        """
        verdict = self._attest(device, check_expiry=False)
        if verdict.enrollment is None:
            raise ServiceError(self._unauthorized, reason=verdict.reason)
        return Outcome(self._service.registrations.poll(device.registration_id, operation_id), verdict.reason)

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
            raise ServiceError(Dps.INVALID_BODY, f"The body is not valid JSON: {error}") from error
        if not isinstance(request, dict):
            raise ServiceError(Dps.INVALID_BODY, "The body must be a JSON object.")
        return request

    def _check_request(self, device: DeviceIdentity, request: dict[str, Any]) -> None:
        given = request.get("registrationId")
        if given is not None and lookup_key(registration_id(given)) != lookup_key(device.registration_id):
            raise ServiceError(
                Dps.INVALID_BODY,
                f"registrationId in the body is {given!r}, that of the connection is {device.registration_id!r:.160}; "
                "they must agree.",
            )
        for name, what in (("tpm", "TPM attestation"), ("csr", "A certificate signing request")):
            if request.get(name) is not None:
                raise ServiceError(Dps.DEVICE_REQUEST_NOT_SUPPORTED, f"{what} is not supported by this simulator.")

    def _attest(self, device: DeviceIdentity, *, check_expiry: bool) -> Verdict:
        if not device.api_version:
            raise ServiceError(Dps.INVALID_API_VERSION)
        if not _API_VERSION.fullmatch(device.api_version):
            raise ServiceError(
                Dps.API_VERSION_NOT_SUPPORTED,
                f"api-version {device.api_version!r:.80} is not supported by this simulator.",
            )
        if not self._service.is_own_scope(device.id_scope):
            raise ServiceError(
                Dps.ID_SCOPE_NOT_FOUND,
                reason=f"the ID scope is {device.id_scope!r:.80}, this service has {self._service.id_scope!r}",
            )
        registration_id(device.registration_id)
        if not device.token:
            if device.has_certificate:
                raise ServiceError(
                    Dps.DEVICE_REQUEST_NOT_SUPPORTED, "X.509 attestation is not supported by this simulator."
                )
            raise ServiceError(self._unauthorized, reason="the device shows neither a token nor a certificate")
        try:
            token = SharedAccessSignature.parse(device.token)
        except SasError as error:
            raise ServiceError(self._unauthorized, reason=str(error)) from error
        evidence = SymmetricKeyEvidence(token.resource_parts(), token.expiry, token.is_signed_by)
        return self._service.attest(device.registration_id, evidence, check_expiry=check_expiry)
