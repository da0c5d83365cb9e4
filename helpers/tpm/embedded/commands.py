"""What each command of the embedded TPM does, after its authorizations were checked.

Each is described in front of the method that runs it: its handles, who has to authorize them, and its parameters. They
are all read before the method is called, so that a command with bytes left over changes nothing.

Source: TPM 2.0 Library, Part 3 "Commands". Where the specification leaves the order of checks open, it is swtpm's.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from enum import Enum

from helpers.tpm.response_codes import ResponseCode
from helpers.tpm.structures import (
    MAX_MESSAGE_SIZE,
    TPM_CAP_TPM_PROPERTIES,
    TPM_PT_INPUT_BUFFER,
    TPM_SE_POLICY,
    Algorithm,
    Attribute,
    CommandCode,
    Handle,
    sized,
    u16,
    u32,
)

from . import arguments
from .arguments import Bytes, Parameter, RefusedError, blamed_on_parameter, in_handle, in_parameter, refuse
from .memory import PermanentMemory, PrimaryKey
from .objects import (
    DIGEST_SIZE,
    MAX_DIGEST,
    MAX_ENCRYPTED_SECRET,
    MAX_PRIVATE,
    MAX_SENSITIVE_DATA,
    Public,
    Sensitive,
    SoftObject,
    check_binding,
    check_imported,
    check_policy,
    check_primary,
    check_private_half,
    check_scheme,
    make_rsa_key,
    parse_public,
    parse_sensitive,
    unwrap,
    unwrap_inner,
)
from .sessions import NONCE_SIZE, POLICY_HANDLES, PolicySession

#: As many as TPM chips have at least, and swtpm exactly.
OBJECT_SLOTS = 3
SESSION_SLOTS = 3
INPUT_BUFFER = 1_024
TRANSIENT_HANDLES = range(0x80000000, 0x80000000 + OBJECT_SLOTS)
PERSISTENT_HANDLES = range(0x81000000, 0x82000000)
#: Those above belong to the platform, that is the maker of the machine, who does not use this TPM.
_OWNER_HANDLES = range(0x81000000, 0x81800000)

_MAX_RANDOM = 32
_MAX_NONCE = 64
_MAX_DATA = 66
_SMALLEST_NONCE = 16
_SESSION_TYPES = (0x00, TPM_SE_POLICY, 0x03)  # with an HMAC, for a policy, and to try one
_OTHER_HASHES = (0x0004, 0x000C, 0x000D)  # SHA-1, SHA-384 and SHA-512, which real TPMs have
_TICKET_CREATION, _TICKET_AUTH_SECRET, _TICKET_HASH_CHECK = 0x8021, 0x8023, 0x8024
_HIERARCHIES = (Handle.OWNER, Handle.ENDORSEMENT)

#: What GetCapability tells (TPM_PT). The manufacturer is made up: four letters, as real ones register with the TCG.
_PROPERTIES = {
    0x00000100: int.from_bytes(b"2.0\0", "big"),
    0x00000105: int.from_bytes(b"SOFT", "big"),
    TPM_PT_INPUT_BUFFER: INPUT_BUFFER,
    0x0000010E: OBJECT_SLOTS,
    0x00000110: SESSION_SLOTS,
    0x0000011E: MAX_MESSAGE_SIZE,
    0x0000011F: MAX_MESSAGE_SIZE,
    0x00000120: DIGEST_SIZE,
}


class HmacSequence:
    """An HMAC that is calculated in pieces.

    Arguments:
        auth: password with which the sequence may be used; zeros at its end do not count.
        key: the key under which the HMAC is calculated.
    """

    def __init__(self, auth: bytes, key: bytes) -> None:
        self.password = auth.rstrip(b"\0")
        self.mac = hmac.new(key, digestmod="sha256")


Loaded = SoftObject | HmacSequence


@dataclass(repr=False)
class WorkingMemory:
    """What a TPM forgets when it is switched off."""

    objects: dict[int, Loaded] = field(default_factory=dict)
    sessions: dict[int, PolicySession] = field(default_factory=dict)

    def load(self, loaded: Loaded) -> int:
        """Put something into a free slot; gives its handle."""
        refuse(len(self.objects) == OBJECT_SLOTS, ResponseCode.OBJECT_MEMORY)
        handle = next(handle for handle in TRANSIENT_HANDLES if handle not in self.objects)
        self.objects[handle] = loaded
        return handle

    def start(self, session: PolicySession) -> int:
        """Put a session into a free slot; gives its handle."""
        refuse(len(self.sessions) == SESSION_SLOTS, ResponseCode.SESSION_MEMORY)
        handle = next(handle for handle in POLICY_HANDLES if handle not in self.sessions)
        self.sessions[handle] = session
        return handle


@dataclass(frozen=True, repr=False)
class Answer:
    """The answer to a command that worked.

    Attributes:
        parameters: of the response.
        handle: in front of them, ``None`` for most commands.
    """

    parameters: bytes = b""
    handle: int | None = None


class Role(Enum):
    """Why a handle needs an authorization: to use what it leads to, or to vouch for it."""

    USER = "user"
    ADMIN = "admin"


@dataclass(frozen=True)
class Needed:
    """What a handle of a command must lead to.

    Attributes:
        handles: ranges of handles, and single ones.
        role: why it needs an authorization; ``None`` for one that needs none. Those that do come first.
    """

    handles: tuple[Container[int], ...]
    role: Role | None = None


_OBJECTS, _NONE = (TRANSIENT_HANDLES, PERSISTENT_HANDLES), (Handle.NULL,)
_ENTITIES = (*_OBJECTS, (Handle.OWNER, Handle.ENDORSEMENT, Handle.LOCKOUT, Handle.PLATFORM))
_OBJECT, _USED, _VOUCHED = Needed(_OBJECTS), Needed(_OBJECTS, Role.USER), Needed(_OBJECTS, Role.ADMIN)
_HIERARCHY = Needed(((Handle.OWNER, Handle.ENDORSEMENT, Handle.NULL, Handle.PLATFORM),), Role.USER)
_PROVISION = Needed(((Handle.OWNER, Handle.PLATFORM),), Role.USER)

#: A method that runs a command: it gets the handles, then the parameters.
Action = Callable[..., Answer]


@dataclass(frozen=True)
class Shape:
    """What a command looks like.

    Attributes:
        action: what it does.
        handles: what they must lead to.
        parameters: what reads each of them.
        takes_sessions: whether there may be authorizations at all.
    """

    action: Action
    handles: Sequence[Needed]
    parameters: Sequence[Parameter]
    takes_sessions: bool


#: All commands of this TPM.
SHAPES: dict[CommandCode, Shape] = {}


def _command(
    code: CommandCode, handles: Sequence[Needed], parameters: Sequence[Parameter], *, takes_sessions: bool = True
) -> Callable[[Action], Action]:
    """Describe the command that a method runs; see :class:`Shape`."""

    def describe(action: Action) -> Action:
        SHAPES[code] = Shape(action, handles, parameters, takes_sessions)
        return action

    return describe


def _password_and_data(reader: Bytes) -> tuple[bytes, bytes]:
    """A TPMS_SENSITIVE_CREATE."""
    return reader.buffer(MAX_DIGEST), reader.buffer(MAX_SENSITIVE_DATA)


_SENSITIVE = arguments.structure(_password_and_data)
_NONCE, _DIGEST, _DATA = arguments.sized(_MAX_NONCE), arguments.sized(MAX_DIGEST), arguments.sized(_MAX_DATA)
_PRIVATE, _PUBLIC = arguments.sized(MAX_PRIVATE), arguments.structure(parse_public)
_SECRET, _INPUT = arguments.sized(MAX_ENCRYPTED_SECRET), arguments.sized(INPUT_BUFFER)
# the commands for HMACs also stand for MACs with block ciphers, whence the code
_HMAC_HASH = arguments.one_of((Algorithm.NULL, Algorithm.SHA256, *_OTHER_HASHES), 2, ResponseCode.SYMMETRIC)


class SoftCommands:
    """The commands. Handles were checked to be of the right kind and to lead to something.

    Arguments:
        permanent: the keys that survive.
    """

    def __init__(self, permanent: PermanentMemory) -> None:
        self.permanent = permanent
        self.working = WorkingMemory()

    def find(self, handle: int) -> Loaded | None:
        """What is under a handle of an object."""
        if handle in PERSISTENT_HANDLES:
            return self.permanent.keys.persistent.get(handle)
        return self.working.objects.get(handle)

    def name(self, handle: int) -> bytes:
        """The name of an object; of everything else the handle. A sequence has none."""
        if handle not in TRANSIENT_HANDLES and handle not in PERSISTENT_HANDLES:
            return u32(handle)
        found = self.find(handle)
        return found.public.name if isinstance(found, SoftObject) else b""

    def _key(self, handle: int, number: int, code_of_sequences: int = ResponseCode.TYPE) -> SoftObject:
        found = self.find(handle)
        if found is None:
            # another process removed it since the authorization was checked
            raise RefusedError(in_handle(ResponseCode.HANDLE, number))
        if not isinstance(found, SoftObject):
            raise RefusedError(in_handle(code_of_sequences, number))
        return found

    def _storage_key(self, handle: int, number: int) -> SoftObject:
        key = self._key(handle, number)
        refuse(not key.public.is_storage_key, in_handle(ResponseCode.TYPE, number))
        return key

    def _sequence(self, handle: int) -> HmacSequence:
        found = self.find(handle)
        if not isinstance(found, HmacSequence):
            raise RefusedError(in_handle(ResponseCode.MODE, 1))
        return found

    # --- the TPM itself -----------------------------------------------------------------------------------------

    @_command(CommandCode.Startup, [], [Bytes.rest], takes_sessions=False)
    def startup(self, parameters: bytes) -> Answer:
        """TPM2_Startup: too late, because this TPM starts by itself."""
        raise RefusedError(ResponseCode.INITIALIZE)

    @_command(CommandCode.GetRandom, [], [arguments.number(2)])
    def get_random(self, count: int) -> Answer:
        """TPM2_GetRandom: at most 32 bytes, as of a chip with SHA-256."""
        return Answer(sized(secrets.token_bytes(min(count, _MAX_RANDOM))))

    @_command(
        CommandCode.GetCapability,
        [],
        [arguments.one_of((TPM_CAP_TPM_PROPERTIES,), 4), arguments.number(4), arguments.number(4)],
    )
    def get_capability(self, capability: int, first: int, most: int) -> Answer:
        """TPM2_GetCapability: the properties, of all that real TPMs tell about themselves."""
        wanted = [number for number in _PROPERTIES if number >= first]
        told = wanted[:most]
        pairs = b"".join(u32(number) + u32(_PROPERTIES[number]) for number in told)
        return Answer(bytes([len(told) < len(wanted)]) + u32(capability) + u32(len(told)) + pairs)

    # --- keys ---------------------------------------------------------------------------------------------------

    @_command(CommandCode.ReadPublic, [_OBJECT], [])
    def read_public(self, handle: int) -> Answer:
        """TPM2_ReadPublic: public half, name and qualified name of a key."""
        refuse(isinstance(self.find(handle), HmacSequence), ResponseCode.SEQUENCE)
        key = self._key(handle, 1)
        return Answer(sized(key.public.area) + sized(key.public.name) + sized(key.qualified_name))

    @_command(CommandCode.CreatePrimary, [_HIERARCHY], [_SENSITIVE, _PUBLIC, _DATA, Bytes.registers])
    def create_primary(
        self, hierarchy: int, sensitive: tuple[bytes, bytes], template: Public, outside: bytes, banks: int
    ) -> Answer:
        """TPM2_CreatePrimary: a storage key, the same each time for the same template."""
        auth, data = sensitive
        refuse(hierarchy not in _HIERARCHIES, in_handle(ResponseCode.HIERARCHY, 1))
        with blamed_on_parameter(2):
            check_primary(template)
        refuse(len(auth.rstrip(b"\0")) > DIGEST_SIZE, in_parameter(ResponseCode.SIZE, 1))
        # the TPM makes the key; nobody brings one
        refuse(data, in_parameter(ResponseCode.VALUE, 1))
        # no PCRs here
        refuse(banks, in_parameter(ResponseCode.VALUE, 4))
        refuse(len(self.working.objects) == OBJECT_SLOTS, ResponseCode.OBJECT_MEMORY)
        primary = self._primary(hierarchy, template)
        public = template.with_unique(primary.modulus)
        key = SoftObject(public, Sensitive(Algorithm.RSA, auth, primary.seed, primary.key), u32(hierarchy))
        return Answer(
            sized(public.area) + self._creation(hierarchy, public, outside) + sized(public.name), self.working.load(key)
        )

    def _primary(self, hierarchy: int, template: Public) -> PrimaryKey:
        known = self.permanent.keys.primaries.get((hierarchy, template.area))
        if known is not None:
            return known
        with self.permanent.changing() as keys:
            known = keys.primaries.get((hierarchy, template.area))
            if known is None:
                # a chip would derive it from its seed; here it is made at random and remembered
                modulus, der = make_rsa_key()
                known = PrimaryKey(modulus, der, secrets.token_bytes(DIGEST_SIZE))
                keys.primaries[hierarchy, template.area] = known
        return known

    def _creation(self, hierarchy: int, public: Public, outside: bytes) -> bytes:
        """How a primary key came to be: creation data, their hash and a ticket for them."""
        no_registers = u32(0) + sized(hashlib.sha256().digest())
        locality_zero = b"\x01"
        parent = u16(Algorithm.NULL) + sized(u32(hierarchy)) + sized(u32(hierarchy))
        data = no_registers + locality_zero + parent + sized(outside)
        digest = hashlib.sha256(data).digest()
        proof = self.permanent.keys.proof
        ticket = hmac.digest(proof, u16(_TICKET_CREATION) + public.name + digest, "sha256")
        return sized(data) + sized(digest) + u16(_TICKET_CREATION) + u32(hierarchy) + sized(ticket)

    @_command(CommandCode.EvictControl, [_PROVISION, _OBJECT], [arguments.one_of(PERSISTENT_HANDLES, 4)])
    def evict_control(self, authority: int, handle: int, where: int) -> Answer:
        """TPM2_EvictControl: keep a loaded key, or forget a kept one."""
        key = self._key(handle, 2, ResponseCode.ATTRIBUTES)
        refuse(authority != Handle.OWNER, in_handle(ResponseCode.HIERARCHY, 1))
        # such a key is to be forgotten with the next start
        refuse(key.public.has(Attribute.ST_CLEAR), in_handle(ResponseCode.ATTRIBUTES, 2))
        refuse(where not in _OWNER_HANDLES, in_parameter(ResponseCode.RANGE, 1))
        refuse(handle in PERSISTENT_HANDLES and handle != where, in_handle(ResponseCode.HANDLE, 2))
        with self.permanent.changing() as keys:
            if handle in PERSISTENT_HANDLES:
                keys.persistent.pop(where, None)
            elif where in keys.persistent:
                raise RefusedError(ResponseCode.NV_DEFINED)
            else:
                keys.persistent[where] = key
        return Answer()

    @_command(
        CommandCode.FlushContext, [], [arguments.one_of((*TRANSIENT_HANDLES, *POLICY_HANDLES), 4)], takes_sessions=False
    )
    def flush_context(self, handle: int) -> Answer:
        """TPM2_FlushContext: unload a key, or end a session."""
        gone = self.working.objects.pop(handle, None) or self.working.sessions.pop(handle, None)
        refuse(gone is None, in_parameter(ResponseCode.HANDLE, 1))
        return Answer()

    # --- sessions -----------------------------------------------------------------------------------------------

    @_command(
        CommandCode.StartAuthSession,
        [Needed((*_OBJECTS, _NONE)), Needed((*_ENTITIES, _NONE))],
        [
            _NONCE,
            _SECRET,
            arguments.one_of(_SESSION_TYPES, 1),
            Bytes.symmetric,
            arguments.one_of((Algorithm.SHA256,), 2, ResponseCode.HASH),
        ],
    )
    def start_auth_session(
        self, salt_key: int, bound: int, nonce: bytes, salt: bytes, kind: int, *algorithms: int
    ) -> Answer:
        """TPM2_StartAuthSession: policy sessions without salt, bound to nothing, and without encrypted parameters."""
        refuse(salt_key != Handle.NULL, in_handle(ResponseCode.KEY, 1))
        refuse(bound != Handle.NULL, in_handle(ResponseCode.HANDLE, 2))
        refuse(kind != TPM_SE_POLICY, in_parameter(ResponseCode.VALUE, 3))
        refuse(not _SMALLEST_NONCE <= len(nonce) <= NONCE_SIZE, in_parameter(ResponseCode.SIZE, 1))
        refuse(salt, in_parameter(ResponseCode.VALUE, 2))
        session = PolicySession()
        return Answer(sized(session.nonce), self.working.start(session))

    @_command(
        CommandCode.PolicySecret,
        [Needed(_ENTITIES, Role.USER), Needed((POLICY_HANDLES,))],
        [_NONCE, _DIGEST, _NONCE, arguments.number(4)],
    )
    def policy_secret(
        self, entity: int, policy: int, nonce: bytes, command: bytes, reference: bytes, expiration: int
    ) -> Answer:
        """TPM2_PolicySecret: that the caller knows a password was checked; the session remembers it."""
        session = self.working.sessions[policy]
        refuse(nonce and not hmac.compare_digest(nonce, session.nonce), in_parameter(ResponseCode.NONCE, 1))
        # a session here ends when it is flushed, not by the clock
        refuse(expiration, in_parameter(ResponseCode.VALUE, 4))
        refuse(len(command) not in (0, NONCE_SIZE), in_parameter(ResponseCode.SIZE, 2))
        refuse(command and session.command and command != session.command, ResponseCode.CPHASH)
        session.command = command or session.command
        session.add_secret(self.name(entity), reference)
        no_timeout = sized(b"")
        return Answer(no_timeout + _empty_ticket(_TICKET_AUTH_SECRET))

    # --- opening a challenge ------------------------------------------------------------------------------------

    @_command(CommandCode.ActivateCredential, [_VOUCHED, _USED], [arguments.sized(2 * (2 + MAX_DIGEST)), _SECRET])
    def activate_credential(self, bound: int, protector: int, credential: bytes, secret: bytes) -> Answer:
        """TPM2_ActivateCredential: decrypt a credential that was made for this pair of keys."""
        activated, key = self._key(bound, 1), self._storage_key(protector, 2)
        with blamed_on_parameter(2):
            seed = key.decrypt_seed(secret, b"IDENTITY")
        with blamed_on_parameter(1):
            reader = Bytes(unwrap(seed, key.public.symmetric_bits, activated.public.name, credential))
            content = reader.buffer(MAX_DIGEST)
            reader.finish()
        return Answer(sized(content))

    @_command(CommandCode.Import, [_USED], [_DATA, _PUBLIC, _PRIVATE, _SECRET, Bytes.symmetric])
    def import_key(
        self, handle: int, inner_key: bytes, public: Public, duplicate: bytes, secret: bytes, inner_bits: int
    ) -> Answer:
        """TPM2_Import: take in an HMAC key that was made elsewhere."""
        parent = self._storage_key(handle, 1)
        refuse(len(inner_key) * 8 != inner_bits, in_parameter(ResponseCode.SIZE, 1))
        with blamed_on_parameter(2):
            check_imported(public)
        # a key with this attribute has to be wrapped twice
        once = public.has(Attribute.ENCRYPTED_DUPLICATION) and not (inner_bits and secret)
        refuse(once, in_parameter(ResponseCode.ATTRIBUTES, 4 if inner_bits else 1))
        if secret:
            with blamed_on_parameter(4):
                seed = parent.decrypt_seed(secret, b"DUPLICATE")
            with blamed_on_parameter(3):
                duplicate = unwrap(seed, parent.public.symmetric_bits, public.name, duplicate)
        with blamed_on_parameter(3):
            if inner_bits:
                duplicate = unwrap_inner(inner_key, public.name, duplicate)
            sensitive = parse_sensitive(duplicate)
        with blamed_on_parameter(2):
            check_policy(public)
            check_scheme(public)
        with blamed_on_parameter(3):
            check_private_half(sensitive)
        check_binding(public, sensitive)
        return Answer(sized(parent.wrap_child(public, sensitive)))

    @_command(CommandCode.Load, [_USED], [_PRIVATE, _PUBLIC])
    def load(self, storage_key: int, private: bytes, public: Public) -> Answer:
        """TPM2_Load: a key that this TPM wrapped before, into a free slot."""
        refuse(not private, in_parameter(ResponseCode.SIZE, 1))
        parent = self._storage_key(storage_key, 1)
        with blamed_on_parameter(1):
            sensitive = parent.unwrap_child(public, private)
        handle = self.working.load(SoftObject(public, sensitive, parent.qualified_name))
        return Answer(sized(public.name), handle)

    # --- signing ------------------------------------------------------------------------------------------------

    @_command(CommandCode.HMAC, [_USED], [_INPUT, _HMAC_HASH])
    def hmac(self, handle: int, data: bytes, algorithm: int) -> Answer:
        """TPM2_HMAC: of up to 1,024 bytes at once."""
        return Answer(sized(hmac.digest(self._hmac_key(handle, algorithm), data, "sha256")))

    @_command(CommandCode.HMAC_Start, [_USED], [_DIGEST, _HMAC_HASH])
    def hmac_start(self, handle: int, auth: bytes, algorithm: int) -> Answer:
        """TPM2_HMAC_Start: begin a sequence, for data of any size."""
        return Answer(handle=self.working.load(HmacSequence(auth, self._hmac_key(handle, algorithm))))

    @_command(CommandCode.SequenceUpdate, [_USED], [_INPUT])
    def sequence_update(self, handle: int, data: bytes) -> Answer:
        """TPM2_SequenceUpdate: the next piece of the data, up to 1,024 bytes."""
        self._sequence(handle).mac.update(data)
        return Answer()

    @_command(
        CommandCode.SequenceComplete,
        [_USED],
        [_INPUT, arguments.one_of((*_HIERARCHIES, Handle.PLATFORM, Handle.NULL), 4)],
    )
    def sequence_complete(self, handle: int, data: bytes, hierarchy: int) -> Answer:
        """TPM2_SequenceComplete: the last piece; the sequence is gone then. HMACs get no ticket of the hierarchy."""
        sequence = self._sequence(handle)
        sequence.mac.update(data)
        del self.working.objects[handle]
        return Answer(sized(sequence.mac.digest()) + _empty_ticket(_TICKET_HASH_CHECK))

    def _hmac_key(self, handle: int, algorithm: int) -> bytes:
        """The key under a handle, if it may be used with this hash algorithm, the second parameter of the command."""
        key = self._key(handle, 1)
        public = key.public
        refuse(public.algorithm != Algorithm.KEYEDHASH, in_handle(ResponseCode.TYPE, 1))
        refuse(public.has(Attribute.RESTRICTED), in_handle(ResponseCode.ATTRIBUTES, 1))
        refuse(not public.has(Attribute.SIGN), in_handle(ResponseCode.KEY, 1))
        if algorithm == Algorithm.NULL and public.scheme != Algorithm.NULL:
            algorithm = Algorithm.SHA256
        refuse(algorithm != Algorithm.SHA256, in_parameter(ResponseCode.VALUE, 2))
        return key.sensitive.key


def _empty_ticket(kind: int) -> bytes:
    return u16(kind) + u32(Handle.NULL) + sized(b"")
