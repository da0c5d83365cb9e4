"""Authorizations of commands, and policy sessions, in the embedded TPM.

Source: TPM 2.0 Library, Part 1 "Architecture", section 19 (authorizations and sessions); Part 3 "Commands", section 23
(enhanced authorization).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from helpers.tpm.response_codes import ResponseCode
from helpers.tpm.structures import CommandCode, Handle, sized, u32

from .arguments import Bytes, RefusedError, in_session, refuse

NONCE_SIZE = 32
CONTINUE_SESSION = 0x01
#: Bits of a session's attributes that have no meaning.
_RESERVED_ATTRIBUTES = 0x18
_MOST_AUTHORIZATIONS = 3
_SMALLEST_AUTHORIZATION = 9
_MAX_AUTH = 64
#: As many as swtpm knows, of which few may be in use. Sessions with an HMAC cannot be started here.
POLICY_HANDLES, _HMAC_HANDLES = range(0x03000000, 0x03000040), range(0x02000000, 0x02000040)


@dataclass(frozen=True, repr=False)
class Authorization:
    """What a command brings to show that it may use a handle.

    Attributes:
        session: ``Handle.PASSWORD`` for a password, or the handle of a session.
        nonce: of the caller.
        attributes: of the session, such as whether it goes on.
        proof: the password, or an HMAC over the command.
    """

    session: int
    nonce: bytes
    attributes: int
    proof: bytes

    @property
    def is_password(self) -> bool:
        """Whether the command brings a password and no session."""
        return self.session == Handle.PASSWORD


def parse_authorizations(reader: Bytes) -> list[Authorization]:
    """Read the authorizations of a command, of which there are one to three.

    Raises:
        RefusedError: they are none.
    """
    size = reader.number(4)
    refuse(not _SMALLEST_AUTHORIZATION <= size <= reader.remaining, ResponseCode.SIZE)
    area = Bytes(reader.take(size))
    authorizations: list[Authorization] = []
    while area.remaining:
        refuse(len(authorizations) == _MOST_AUTHORIZATIONS, in_session(ResponseCode.SIZE, _MOST_AUTHORIZATIONS + 1))
        authorizations.append(_authorization(area, len(authorizations) + 1))
    return authorizations


def _authorization(area: Bytes, number: int) -> Authorization:
    try:
        session = area.number(4)
        if session != Handle.PASSWORD and session not in POLICY_HANDLES and session not in _HMAC_HANDLES:
            raise RefusedError(ResponseCode.VALUE)
        nonce, attributes = area.buffer(_MAX_AUTH), area.number(1)
        refuse(attributes & _RESERVED_ATTRIBUTES, ResponseCode.RESERVED_BITS)
        authorization = Authorization(session, nonce, attributes, area.buffer(_MAX_AUTH))
    except RefusedError as error:
        raise RefusedError(in_session(error.code, number)) from error
    refuse(authorization.is_password and authorization.nonce, in_session(ResponseCode.NONCE, number))
    if authorization.attributes & ~CONTINUE_SESSION:
        # parameters are never encrypted here, and nothing is audited
        raise RefusedError(in_session(ResponseCode.ATTRIBUTES, number))
    return authorization


@dataclass(repr=False)
class PolicySession:
    """A session that collects what was shown, as a digest to be compared with the policy of a key.

    Attributes:
        digest: what was shown so far.
        nonce: the TPM's last nonce.
        command: hash of the only command and parameters it may be used for, empty for any.
    """

    digest: bytes = bytes(NONCE_SIZE)
    nonce: bytes = field(default_factory=lambda: secrets.token_bytes(NONCE_SIZE))
    command: bytes = b""

    def add_secret(self, entity_name: bytes, reference: bytes) -> None:
        """Remember that somebody knew the password of an entity."""
        shown = hashlib.sha256(self.digest + u32(CommandCode.PolicySecret) + entity_name).digest()
        self.digest = hashlib.sha256(shown + reference).digest()

    def check_proof(self, authorization: Authorization, command_hash: bytes, number: int) -> None:
        """Check the HMAC that a caller may send, though a session without a password needs none.

        Raises:
            RefusedError: it is wrong.
        """
        if not authorization.proof:
            return
        message = command_hash + authorization.nonce + self.nonce + bytes([authorization.attributes])
        if not hmac.compare_digest(authorization.proof, hmac.digest(b"", message, "sha256")):
            raise RefusedError(in_session(ResponseCode.BAD_AUTH, number))

    def answer(self, authorization: Authorization, response_hash: bytes) -> bytes:
        """What follows the parameters of a response: a new nonce, and an HMAC when the command had one.

        What was shown is used up then.
        """
        self.digest, self.command, self.nonce = bytes(NONCE_SIZE), b"", secrets.token_bytes(NONCE_SIZE)
        attributes = bytes([authorization.attributes])
        proof = b""
        if authorization.proof:
            proof = hmac.digest(b"", response_hash + self.nonce + authorization.nonce + attributes, "sha256")
        return sized(self.nonce) + attributes + sized(proof)


def password_answer() -> bytes:
    """What follows the parameters of a response to a command with a password."""
    return sized(b"") + bytes([CONTINUE_SESSION]) + sized(b"")
