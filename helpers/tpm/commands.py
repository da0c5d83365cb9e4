"""The commands of a TPM that attestation needs, over any transport.

A command is ``tag | size | code | handles | [authorization] | parameters``. Every authorization here is either the
empty password or a policy session without an HMAC, so no nonces have to be kept.

Source: TPM 2.0 Library, Part 1 "Architecture", section 18 (layout), and Part 3 "Commands".
"""

from __future__ import annotations

import secrets
import struct
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from helpers.tpm.transports.transport import Transport

from .errors import TpmError, TpmProtocolError, TpmResponseError
from .response_codes import ResponseCode, base, name_of
from .structures import (
    TPM_CAP_TPM_PROPERTIES,
    TPM_PT_INPUT_BUFFER,
    TPM_SE_POLICY,
    Algorithm,
    CommandCode,
    Handle,
    Reader,
    Tag,
    sized,
    u16,
    u32,
)

#: How often a command is repeated that the TPM put off, and the pause before each repetition in seconds.
RETRIES = 8
RETRY_PAUSE = 0.02

_HISTORY_SIZE = 1_000
_CONTINUE_SESSION = b"\x01"
#: Commands whose response begins with the handle of what they made.
_GIVE_A_HANDLE = (CommandCode.CreatePrimary, CommandCode.Load, CommandCode.HMAC_Start, CommandCode.StartAuthSession)


@dataclass(frozen=True)
class Exchange:
    """One command that was sent, without anything that was in it.

    Attributes:
        command: its name in the specification, e.g. ``TPM2_Import``.
        outcome: ``success``, the name of the response code, or ``no answer``.
        time: when it was sent, in seconds since 1970, so that it finds its place among the messages to DPS.
    """

    command: str
    outcome: str
    time: float = field(default=0.0, compare=False)


class Tpm:
    """A TPM, one method for each command. May be used by several threads.

    Arguments:
        transport: the way to it, which from now on belongs to this object.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._history: deque[Exchange] = deque(maxlen=_HISTORY_SIZE)
        self._input_buffer = 0
        #: Held while several commands must follow each other without another thread's between them.
        self.lock = threading.RLock()

    @property
    def history(self) -> list[Exchange]:
        """The newest 1,000 commands at most, oldest first, without what was in them."""
        with self.lock:
            return list(self._history)

    def close(self) -> None:
        """Let the TPM go. Closing twice is fine."""
        self._transport.close()

    # --- keys ---------------------------------------------------------------------------------------------------

    def read_public(self, handle: int) -> bytes | None:
        """The TPM2B_PUBLIC of a key, ``None`` when there is nothing under the handle."""
        try:
            return sized(self._run(CommandCode.ReadPublic, [handle]).sized())
        except TpmResponseError as error:
            if base(error.code) != ResponseCode.HANDLE:
                raise
            return None

    def create_primary(self, hierarchy: int, template: bytes) -> tuple[int, bytes]:
        """Make the primary key of a template.

        Arguments:
            hierarchy: to which it belongs, with an empty password.
            template: its TPMT_PUBLIC. The same template always gives the same key.

        Returns:
            The handle of the loaded key and its TPM2B_PUBLIC.
        """
        no_secret = sized(sized(b"") + sized(b""))
        no_registers = u32(0)
        parameters = no_secret + sized(template) + sized(b"") + no_registers
        handle, response = self._exchange(CommandCode.CreatePrimary, [hierarchy], parameters, [Handle.PASSWORD])
        return handle, sized(response.sized())

    def evict_control(self, hierarchy: int, handle: int, persistent_handle: int) -> None:
        """Keep a loaded key for good; given a key that is kept, forget it.

        Arguments:
            hierarchy: who decides, with an empty password.
            handle: the key.
            persistent_handle: where to keep it, or the same as ``handle``.
        """
        self._run(CommandCode.EvictControl, [hierarchy, handle], u32(persistent_handle), [Handle.PASSWORD])

    def flush_context(self, handle: int) -> None:
        """Unload a key, or end a session."""
        self._run(CommandCode.FlushContext, [], u32(handle))

    # --- opening a challenge ------------------------------------------------------------------------------------

    def start_policy_session(self) -> int:
        """Begin a policy session; gives its handle."""
        nonce, no_salt, no_encryption = sized(secrets.token_bytes(32)), sized(b""), u16(Algorithm.NULL)
        parameters = nonce + no_salt + bytes([TPM_SE_POLICY]) + no_encryption + u16(Algorithm.SHA256)
        handle, _ = self._exchange(CommandCode.StartAuthSession, [Handle.NULL, Handle.NULL], parameters)
        return handle

    def policy_secret(self, entity: int, session: int) -> None:
        """Show, with an empty password, that we may use something; the session remembers it."""
        no_nonce, no_command, no_reference, no_expiration = sized(b""), sized(b""), sized(b""), u32(0)
        parameters = no_nonce + no_command + no_reference + no_expiration
        self._run(CommandCode.PolicySecret, [entity, session], parameters, [Handle.PASSWORD])

    def activate_credential(
        self, activated: int, key: int, session: int, credential_blob: bytes, secret: bytes
    ) -> bytes:
        """Decrypt a credential, if it was made for this pair of keys.

        Arguments:
            activated: the key that the credential is bound to, used with an empty password.
            key: the key that it was encrypted for.
            session: policy session that allows to use ``key``.
            credential_blob: the credential, without its size.
            secret: what opens it, encrypted for ``key``, without its size.
        """
        response = self._run(
            CommandCode.ActivateCredential,
            [activated, key],
            sized(credential_blob) + sized(secret),
            [Handle.PASSWORD, session],
        )
        return response.sized()

    def import_key(
        self, parent: int, inner_key: bytes, public: bytes, duplicate: bytes, encrypted_seed: bytes
    ) -> bytes:
        """Take in a key that was made elsewhere; gives its private half, encrypted for this TPM alone.

        Arguments:
            parent: the storage key, used with an empty password.
            inner_key: AES key of the inner wrapping.
            public: public half of the new key, without its size.
            duplicate: its wrapped private half, without its size.
            encrypted_seed: what opens the outer wrapping, encrypted for ``parent``, without its size.
        """
        algorithm = u16(Algorithm.AES) + u16(len(inner_key) * 8) + u16(Algorithm.CFB)
        parameters = sized(inner_key) + sized(public) + sized(duplicate) + sized(encrypted_seed) + algorithm
        return self._run(CommandCode.Import, [parent], parameters, [Handle.PASSWORD]).sized()

    def load(self, parent: int, private: bytes, public: bytes) -> int:
        """Load a key; gives its handle.

        Arguments:
            parent: the storage key that protects it, used with an empty password.
            private: what :meth:`import_key` gave.
            public: its public half, without its size.
        """
        handle, _ = self._exchange(CommandCode.Load, [parent], sized(private) + sized(public), [Handle.PASSWORD])
        return handle

    # --- signing ------------------------------------------------------------------------------------------------

    def hmac(self, key: int, data: bytes) -> bytes:
        """HMAC-SHA256 of data of any size, under a key with an empty password."""
        with self.lock:
            limit = self.input_buffer()
            if len(data) <= limit:
                return self._run(
                    CommandCode.HMAC, [key], sized(data) + u16(Algorithm.SHA256), [Handle.PASSWORD]
                ).sized()
            no_password = sized(b"")
            sequence, _ = self._exchange(
                CommandCode.HMAC_Start, [key], no_password + u16(Algorithm.SHA256), [Handle.PASSWORD]
            )
            pieces = [data[start : start + limit] for start in range(0, len(data), limit)]
            try:
                for piece in pieces[:-1]:
                    self._run(CommandCode.SequenceUpdate, [sequence], sized(piece), [Handle.PASSWORD])
                last = sized(pieces[-1]) + u32(Handle.NULL)
                return self._run(CommandCode.SequenceComplete, [sequence], last, [Handle.PASSWORD]).sized()
            except TpmResponseError:
                self.flush_context(sequence)
                raise

    def input_buffer(self) -> int:
        """How many bytes it takes at once (TPM_PT_INPUT_BUFFER)."""
        if not self._input_buffer:
            parameters = u32(TPM_CAP_TPM_PROPERTIES) + u32(TPM_PT_INPUT_BUFFER) + u32(1)
            response = self._run(CommandCode.GetCapability, [], parameters)
            response.u8()  # whether there is more
            capability, count, tag, value = response.u32(), response.u32(), response.u32(), response.u32()
            if (capability, count, tag) != (TPM_CAP_TPM_PROPERTIES, 1, TPM_PT_INPUT_BUFFER) or not 0 < value <= 0xFFFF:
                raise TpmProtocolError("The TPM does not say how many bytes it takes at once.")
            self._input_buffer = value
        return self._input_buffer

    def random(self, count: int) -> bytes:
        """Random bytes from the TPM, at most 32."""
        return self._run(CommandCode.GetRandom, [], u16(count)).sized()

    # --- marshalling --------------------------------------------------------------------------------------------

    def _run(
        self, code: CommandCode, handles: Sequence[int], parameters: bytes = b"", sessions: Sequence[int] = ()
    ) -> Reader:
        """Run a command; gives the parameters of its response."""
        return self._exchange(code, handles, parameters, sessions)[1]

    def _exchange(
        self, code: CommandCode, handles: Sequence[int], parameters: bytes, sessions: Sequence[int] = ()
    ) -> tuple[int, Reader]:
        """Run a command; gives the handle in its response, 0 for a command whose response has none, and the rest."""
        name = f"TPM2_{code.name}"
        command = _command(code, handles, parameters, sessions)
        with self.lock:
            sent = time.time()
            try:
                tag, response_code, reader = self._answer(name, command)
            except TpmError:
                self._history.append(Exchange(name, "no answer", sent))
                raise
            outcome = "success" if response_code == ResponseCode.SUCCESS else name_of(response_code)
            self._history.append(Exchange(name, outcome, sent))
        if response_code != ResponseCode.SUCCESS:
            raise TpmResponseError(name, response_code)
        handle = reader.u32() if code in _GIVE_A_HANDLE else 0
        if tag == Tag.SESSIONS:
            reader = Reader(reader.take(reader.u32()), f"The response to {name}")
        return handle, reader

    def _answer(self, name: str, command: bytes) -> tuple[int, int, Reader]:
        """Tag, response code and the rest; a command that the TPM put off is sent again."""
        for attempt in range(RETRIES):
            if attempt:
                time.sleep(RETRY_PAUSE)
            reader = Reader(self._transport.exchange(command), f"The response to {name}")
            tag, size, response_code = reader.u16(), reader.u32(), reader.u32()
            if tag not in (Tag.NO_SESSIONS, Tag.SESSIONS) or size != reader.remaining + 10:
                raise TpmProtocolError(f"The response to {name} is none: tag 0x{tag:04X}, size {size}.")
            if response_code != ResponseCode.RETRY:
                break
        return tag, response_code, reader


def _command(code: CommandCode, handles: Sequence[int], parameters: bytes, sessions: Sequence[int]) -> bytes:
    body = b"".join(map(u32, handles))
    if sessions:
        # for each: handle, no nonce, the session lives on, no HMAC (which is the empty password)
        area = b"".join(u32(session) + sized(b"") + _CONTINUE_SESSION + sized(b"") for session in sessions)
        body += u32(len(area)) + area
    body += parameters
    tag = Tag.SESSIONS if sessions else Tag.NO_SESSIONS
    return struct.pack(">HII", tag, 10 + len(body), code) + body
