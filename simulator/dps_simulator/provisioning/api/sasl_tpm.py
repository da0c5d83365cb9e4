"""The SASL mechanism TPM: a device shows the keys of its TPM, and signs with the key that only this TPM can open.

The exchange, after the names of the official SDKs for Node, C, Java and C#, from which all of this was learned::

    init       control 0x00, then: ID scope, NUL, registration ID, NUL, endorsement key
    challenge  0x00
    response   control 0x00, then: storage root key
    challenge  0x80, then: first half of the challenge for the TPM
    response   0x00
    challenge  0xC1, then: second half
    response   control 0x00, then: SAS token

What does not fit into a frame comes in parts: their control byte has 0x80, that of the last one 0x40 as well.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

#: Bytes of a message of this exchange together; keys and tokens are below a thousand.
MAX_SIZE = 8_192
#: In the control byte: that it counts, that the part is the last one, and which one it is.
_VALID, _LAST, _NUMBER = 0x80, 0x40, 0x03
_CONTINUE = b"\x00"


class Step(Enum):
    """What the client sends next."""

    ENDORSEMENT_KEY = "the endorsement key"
    STORAGE_ROOT_KEY = "the storage root key"
    FIRST_HALF_READ = "that it read the first half of the challenge"
    TOKEN = "a token"  # noqa: S105  (a name)


class Shown(NamedTuple):
    """What a device shows at the beginning.

    Attributes:
        id_scope, registration_id: who it says it is.
        endorsement_key, storage_root_key: the public keys of its TPM, as they come.
    """

    id_scope: str
    registration_id: str
    endorsement_key: bytes
    storage_root_key: bytes


class SaslTpmError(ValueError):
    """The client left the exchange; the text says how."""


class SaslTpmExchange:
    """One exchange, without the judgement: :meth:`take` says what to answer, or what has come.

    Attributes:
        shown: what the device showed, once both keys have come.
        token: the token, once it has come.
    """

    def __init__(self) -> None:
        self.shown: Shown | None = None
        self.token = ""
        self._step = Step.ENDORSEMENT_KEY
        self._name: tuple[str, str] = ("", "")
        self._endorsement_key = b""
        self._parts = bytearray()
        self._second_half = b""

    def __repr__(self) -> str:
        return f"SaslTpmExchange(waits for {self._step.value})"

    def take(self, data: bytes) -> bytes | None:
        """Take what the client sent.

        Returns:
            The bytes of the next challenge; ``None`` when the keys are there and :meth:`ask` is due, or the token is.

        Raises:
            SaslTpmError: it is not what belongs here.
        """
        if self._step is Step.FIRST_HALF_READ:
            self._step = Step.TOKEN
            return bytes((_VALID | _LAST | 1,)) + self._second_half
        message = self._whole(data)
        if message is None:
            return _CONTINUE
        if self._step is Step.ENDORSEMENT_KEY:
            parts = message.split(b"\x00", 2)
            if len(parts) < 3:
                raise SaslTpmError("ID scope, registration ID and endorsement key must be parted by NUL")
            self._name = _text(parts[0]), _text(parts[1])
            self._endorsement_key = parts[2]
            self._step = Step.STORAGE_ROOT_KEY
            return _CONTINUE
        if self._step is Step.STORAGE_ROOT_KEY:
            self.shown = Shown(*self._name, self._endorsement_key, message)
        else:
            self.token = _text(message)
        return None

    def ask(self, blob: bytes) -> bytes:
        """The first half of a challenge; two halves are what one SDK insists on."""
        middle = (len(blob) + 1) // 2
        self._second_half = blob[middle:]
        self._step = Step.FIRST_HALF_READ
        return bytes((_VALID,)) + blob[:middle]

    def _whole(self, data: bytes) -> bytes | None:
        """A message without control bytes, ``None`` until its last part has come."""
        if not data:
            raise SaslTpmError(f"{self._step.value} should come, and nothing did")
        control = data[0]
        self._parts += data[1:]
        if len(self._parts) > MAX_SIZE:
            raise SaslTpmError(f"{self._step.value} has more than {MAX_SIZE} bytes")
        if control & _VALID and not control & _LAST:
            return None
        message = bytes(self._parts)
        self._parts.clear()
        return message


def _text(data: bytes) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise SaslTpmError("a name or a token is not UTF-8") from error
