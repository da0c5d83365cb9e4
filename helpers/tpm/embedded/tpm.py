"""A TPM 2.0 in pure Python, for learning. It protects nothing: its keys lie in a file that you can read.

It takes the same bytes as a chip and answers with the same bytes, as far as attestation goes: sixteen commands,
RSA-2048 storage keys, HMAC-SHA256 keys, passwords and policy sessions. What real TPMs have beyond that (PCRs, NV
indices, other algorithms, encrypted parameters, protection against guessing passwords) is not there. Use it to see how
attestation works; use a chip, or at least swtpm, for anything that should stay secret.

Source: TPM 2.0 Library, Part 1 "Architecture", sections 18 and 19 (commands and authorizations).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import threading
from pathlib import Path

from helpers.tpm.errors import TpmConnectionError
from helpers.tpm.response_codes import ResponseCode
from helpers.tpm.structures import MAX_MESSAGE_SIZE, Attribute, CommandCode, Tag, u32

from .arguments import Bytes, RefusedError, in_handle, in_session, read_parameters, refuse
from .commands import PERSISTENT_HANDLES, SHAPES, TRANSIENT_HANDLES, HmacSequence, Needed, Role, Shape, SoftCommands
from .memory import LOCK_TIMEOUT, PermanentMemory
from .objects import SoftObject
from .sessions import CONTINUE_SESSION, POLICY_HANDLES, Authorization, parse_authorizations, password_answer

_HEADER_SIZE = 10
_RESPONSE_TAG_OF_TPM_1 = 0x00C4


class SoftTpm:
    """The embedded TPM, as a transport. May be used by several threads.

    Arguments:
        state_file: where it keeps its keys; several processes may use the same one. ``None`` forgets them at the end.
        lock_timeout: how many seconds to wait for another process that is changing the file.

    Raises:
        TpmUnavailableError: the file cannot be used. It is left as it is.
    """

    def __init__(self, state_file: Path | None = None, lock_timeout: float = LOCK_TIMEOUT) -> None:
        self._commands = SoftCommands(PermanentMemory(state_file, lock_timeout))
        self._lock = threading.Lock()
        self._closed = False

    def exchange(self, command: bytes) -> bytes:
        """Run a command; gives the response, whatever the bytes.

        Raises:
            TpmConnectionError: it was closed.
            TpmUnavailableError: the state file cannot be used any more, or another process holds it.
        """
        with self._lock:
            if self._closed:
                raise TpmConnectionError("The embedded TPM was closed already. Open it again.")
            try:
                return self._run(command)
            except RefusedError as error:
                if error.code == ResponseCode.BAD_TAG:
                    return _message(_RESPONSE_TAG_OF_TPM_1, error.code)
                return _message(Tag.NO_SESSIONS, error.code)

    def close(self) -> None:
        """Forget everything but the kept keys, as when the machine is switched off. Closing twice is fine."""
        with self._lock:
            self._closed = True
            self._commands.working.objects.clear()
            self._commands.working.sessions.clear()

    def __repr__(self) -> str:
        return "SoftTpm()"

    def _run(self, command: bytes) -> bytes:
        code, with_sessions, reader = _parse_header(command)
        shape = SHAPES[code]
        handles = [_handle(reader, needed, number) for number, needed in enumerate(shape.handles, 1)]
        self._check_presence(handles)
        authorizations: list[Authorization] = []
        if with_sessions:
            refuse(not shape.takes_sessions, ResponseCode.AUTH_CONTEXT)
            authorizations = parse_authorizations(reader)
        parameters = reader.rest()
        names = b"".join(map(self._commands.name, handles))
        command_hash = hashlib.sha256(u32(code) + names + parameters).digest()
        self._authorize(shape, handles, authorizations, command_hash)
        answer = shape.action(self._commands, *handles, *read_parameters(parameters, shape.parameters))
        body = b"" if answer.handle is None else u32(answer.handle)
        if not with_sessions:
            return _message(Tag.NO_SESSIONS, ResponseCode.SUCCESS, body + answer.parameters)
        body += u32(len(answer.parameters)) + answer.parameters
        response_hash = hashlib.sha256(u32(ResponseCode.SUCCESS) + u32(code) + answer.parameters).digest()
        for authorization in authorizations:
            body += self._session_answer(authorization, response_hash)
        return _message(Tag.SESSIONS, ResponseCode.SUCCESS, body)

    def _check_presence(self, handles: list[int]) -> None:
        """Make sure that every handle leads to something."""
        for number, handle in enumerate(handles, 1):
            if handle in PERSISTENT_HANDLES and self._commands.find(handle) is None:
                raise RefusedError(in_handle(ResponseCode.HANDLE, number))
            if (handle in TRANSIENT_HANDLES and self._commands.find(handle) is None) or (
                handle in POLICY_HANDLES and handle not in self._commands.working.sessions
            ):
                raise RefusedError(ResponseCode.REFERENCE_H0 + number - 1)

    def _authorize(
        self, shape: Shape, handles: list[int], authorizations: list[Authorization], command_hash: bytes
    ) -> None:
        sessions = self._commands.working.sessions
        roles = [needed.role for needed in shape.handles if needed.role is not None]
        for number, authorization in enumerate(authorizations, 1):
            if authorization.is_password:
                continue
            refuse(authorization.session not in sessions, ResponseCode.REFERENCE_S0 + number - 1)
            if any(other.session == authorization.session for other in authorizations[: number - 1]):
                raise RefusedError(in_session(ResponseCode.HANDLE, number))
        refuse(len(authorizations) < len(roles), ResponseCode.AUTH_MISSING)
        for number, authorization in enumerate(authorizations, 1):
            if number > len(roles):
                # a password without a handle it is for, and a session that would audit or encrypt
                code = ResponseCode.HANDLE if authorization.is_password else ResponseCode.ATTRIBUTES
                raise RefusedError(in_session(code, number))
            found = self._commands.find(handles[number - 1])
            role = roles[number - 1]
            if authorization.is_password:
                _check_password(found, authorization, role, number)
            else:
                self._check_policy(found, authorization, role, command_hash, number)

    def _check_policy(
        self,
        found: SoftObject | HmacSequence | None,
        authorization: Authorization,
        role: Role,
        command_hash: bytes,
        number: int,
    ) -> None:
        """Compare what a policy session was shown with what the key asks for."""
        if not isinstance(found, SoftObject):
            # a hierarchy or sequence
            raise RefusedError(ResponseCode.AUTH_UNAVAILABLE)
        session = self._commands.working.sessions[authorization.session]
        # to vouch for a key, the session would have to be bound to the command, by TPM2_PolicyCommandCode
        if role is Role.ADMIN or not hmac.compare_digest(session.digest, found.public.policy):
            raise RefusedError(in_session(ResponseCode.POLICY_FAIL, number))
        refuse(session.command and session.command != command_hash, in_session(ResponseCode.POLICY_FAIL, number))
        session.check_proof(authorization, command_hash, number)

    def _session_answer(self, authorization: Authorization, response_hash: bytes) -> bytes:
        if authorization.is_password:
            return password_answer()
        sessions = self._commands.working.sessions
        answer = sessions[authorization.session].answer(authorization, response_hash)
        if not authorization.attributes & CONTINUE_SESSION:
            del sessions[authorization.session]
        return answer


def _parse_header(command: bytes) -> tuple[CommandCode, bool, Bytes]:
    """Which command it is, whether authorizations follow, and the rest."""
    reader = Bytes(command)
    tag = reader.number(2)
    refuse(tag not in (Tag.NO_SESSIONS, Tag.SESSIONS), ResponseCode.BAD_TAG)
    refuse(reader.number(4) != len(command) or len(command) > MAX_MESSAGE_SIZE, ResponseCode.COMMAND_SIZE)
    number = reader.number(4)
    try:
        return CommandCode(number), tag == Tag.SESSIONS, reader
    except ValueError:
        raise RefusedError(ResponseCode.COMMAND_CODE) from None


def _handle(reader: Bytes, needed: Needed, number: int) -> int:
    """Read a handle and make sure that it is of the right kind."""
    try:
        handle = reader.number(4)
    except RefusedError as error:
        raise RefusedError(in_handle(error.code, number)) from error
    refuse(not any(handle in handles for handles in needed.handles), in_handle(ResponseCode.VALUE, number))
    return handle


def _check_password(
    found: SoftObject | HmacSequence | None, authorization: Authorization, role: Role, number: int
) -> None:
    """Check the password of a key or sequence; hierarchies have the empty one."""
    password, guarded = b"", False
    if isinstance(found, HmacSequence):
        password = found.password
    elif found is not None:
        refuse(role is Role.ADMIN and found.public.has(Attribute.ADMIN_WITH_POLICY), ResponseCode.AUTH_TYPE)
        refuse(role is Role.USER and not found.public.has(Attribute.USER_WITH_AUTH), ResponseCode.AUTH_UNAVAILABLE)
        password, guarded = found.sensitive.password, not found.public.has(Attribute.NO_DA)
    if not _equal(authorization.proof.rstrip(b"\0"), password):
        # a real TPM counts wrong guesses for keys without the attribute noDA, and answers differently
        raise RefusedError(in_session(ResponseCode.AUTH_FAIL if guarded else ResponseCode.BAD_AUTH, number))


def _equal(one: bytes, other: bytes) -> bool:
    # of different lengths, too, without telling by the time it takes
    return hashlib.sha256(one).digest() == hashlib.sha256(other).digest()


def _message(tag: int, code: int, body: bytes = b"") -> bytes:
    return struct.pack(">HII", tag, _HEADER_SIZE + len(body), code) + body
