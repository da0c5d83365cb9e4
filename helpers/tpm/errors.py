"""What can go wrong with a TPM, as one tree of exceptions.

No text contains key material: the bytes of commands, responses and keys are never repeated.
"""

from __future__ import annotations

from helpers.masking import MaskedError

from .response_codes import meaning_of, name_of


class TpmError(MaskedError):
    """Something is wrong with the TPM, or with what it was given; the text says what and what to do."""


class TpmUnavailableError(TpmError):
    """The TPM cannot be opened: not installed, no such path, no permission, or in use by another process."""


class TpmConnectionError(TpmError):
    """The TPM stopped answering in the middle of the work."""


class TpmProtocolError(TpmError):
    """Bytes that should be a TPM structure are none: a response, a public key or a challenge."""


class TpmResponseError(TpmError):
    """The TPM refused a command.

    Attributes:
        command: name of the command as the specification writes it, e.g. ``TPM2_Import``.
        code: the response code, e.g. ``0x3DF``.
        name: its name without the position of the wrong argument, e.g. ``TPM_RC_INTEGRITY``.
    """

    def __init__(self, command: str, code: int) -> None:
        self.command = command
        self.code = code
        self.name = name_of(code)
        super().__init__(f"The TPM refused {command}: {self.name} (0x{code:03X}), {meaning_of(code)}.")


class ActivationError(TpmError):
    """The TPM cannot open a challenge, or what came instead of a hub key.

    Attributes:
        field: which of the six parts of the challenge is wrong, in the words of
            :data:`helpers.tpm.activation.FIELDS`; empty when it is the whole.
    """

    def __init__(self, text: str, field: str = "") -> None:
        self.field = field
        super().__init__(text)
