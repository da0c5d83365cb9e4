"""TPM attestation for devices: a TPM 2.0 at work, and the client that registers with it."""

from helpers.tpm.client.provisioning import TpmProvisioningDeviceClient
from helpers.tpm.client.tokens import hub_token, renew_tokens, tpm_sas_token

from .activation import ActivationBlob
from .device import TpmDevice, open_tpm
from .errors import (
    ActivationError,
    TpmConnectionError,
    TpmError,
    TpmProtocolError,
    TpmResponseError,
    TpmUnavailableError,
)

__all__ = [
    "ActivationBlob",
    "ActivationError",
    "TpmConnectionError",
    "TpmDevice",
    "TpmError",
    "TpmProtocolError",
    "TpmProvisioningDeviceClient",
    "TpmResponseError",
    "TpmUnavailableError",
    "hub_token",
    "open_tpm",
    "renew_tokens",
    "tpm_sas_token",
]
