"""TPM attestation for devices: a TPM 2.0 at work, and the client that registers with it."""

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
    "TpmResponseError",
    "TpmUnavailableError",
    "open_tpm",
]
