"""What each command of the embedded TPM does, after its authorizations were checked.

Every command first reads all its parameters, so that one with bytes left over changes nothing.

Source: TPM 2.0 Library, Part 3 "Commands". Where the specification leaves the order of checks open, it is swtpm's.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from helpers.tpm.response_codes import ResponseCode
from helpers.tpm.structures import (
    MAX_MESSAGE_SIZE,
    TPM_CAP_TPM_PROPERTIES,
    TPM_PT_INPUT_BUFFER,
    TPM_SE_POLICY,
    Algorithm,
    Attribute,
    Handle,
    sized,
    u16,
    u32,
)

from .arguments import Arguments, Bytes, RefusedError, blamed_on_parameter, handle_error, parameter_error
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


class Sequence:
    """An HMAC that is calculated in pieces.

    Arguments:
        auth: password of the sequence.
        key: the HMAC key.
    """

    def __init__(self, auth: bytes, key: bytes) -> None:
        self.password = auth.rstrip(b"\0")
        self.mac = hmac.new(key, digestmod="sha256")


Loaded = SoftObject | Sequence


@dataclass(repr=False)
class WorkingMemory:
    """What a TPM forgets when it is switched off."""

    objects: dict[int, Loaded] = field(default_factory=dict)
    sessions: dict[int, PolicySession] = field(default_factory=dict)

    def load(self, loaded: Loaded) -> int:
        """Put something into a free slot; gives its handle."""
        if len(self.objects) == OBJECT_SLOTS:
            raise RefusedError(ResponseCode.OBJECT_MEMORY)
        handle = next(handle for handle in TRANSIENT_HANDLES if handle not in self.objects)
        self.objects[handle] = loaded
        return handle

    def start(self, session: PolicySession) -> int:
        """Put a session into a free slot; gives its handle."""
        if len(self.sessions) == SESSION_SLOTS:
            raise RefusedError(ResponseCode.SESSION_MEMORY)
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
            raise handle_error(ResponseCode.HANDLE, number)
        if not isinstance(found, SoftObject):
            raise handle_error(code_of_sequences, number)
        return found

    def _storage_key(self, handle: int, number: int) -> SoftObject:
        key = self._key(handle, number)
        if not key.public.is_storage_key:
            raise handle_error(ResponseCode.TYPE, number)
        return key

    def _sequence(self, handle: int) -> Sequence:
        found = self.find(handle)
        if not isinstance(found, Sequence):
            raise handle_error(ResponseCode.MODE, 1)
        return found

    # --- the TPM itself -----------------------------------------------------------------------------------------

    def startup(self, handles: list[int], arguments: Arguments) -> Answer:
        """TPM2_Startup: too late, because this TPM starts by itself."""
        raise RefusedError(ResponseCode.INITIALIZE)

    def get_random(self, handles: list[int], arguments: Arguments) -> Answer:
        """TPM2_GetRandom."""
        count = arguments.number(2)
        arguments.finish()
        return Answer(sized(secrets.token_bytes(min(count, _MAX_RANDOM))))

    def get_capability(self, handles: list[int], arguments: Arguments) -> Answer:
        """TPM2_GetCapability: the properties, of all that real TPMs tell about themselves."""
        capability = arguments.one_of((TPM_CAP_TPM_PROPERTIES,), 4)
        first, most = arguments.number(4), arguments.number(4)
        arguments.finish()
        wanted = [number for number in _PROPERTIES if number >= first]
        told = wanted[:most]
        pairs = b"".join(u32(number) + u32(_PROPERTIES[number]) for number in told)
        return Answer(bytes([len(told) < len(wanted)]) + u32(capability) + u32(len(told)) + pairs)

    # --- keys ---------------------------------------------------------------------------------------------------

    def read_public(self, handles: list[int], arguments: Arguments) -> Answer:
        """TPM2_ReadPublic."""
        arguments.finish()
        found = self.find(handles[0])
        if isinstance(found, Sequence):
            raise RefusedError(ResponseCode.SEQUENCE)
        key = self._key(handles[0], 1)
        return Answer(sized(key.public.area) + sized(key.public.name) + sized(key.qualified_name))

    def create_primary(self, handles: list[int], arguments: Arguments) -> Answer:
        """TPM2_CreatePrimary: a storage key, the same each time for the same template."""
        hierarchy = handles[0]
        auth, data = arguments.structure(_password_and_data)
        template = arguments.structure(parse_public)
        outside, banks = arguments.sized(_MAX_DATA), arguments.registers()
        arguments.finish()
        if hierarchy not in _HIERARCHIES:
            raise handle_error(ResponseCode.HIERARCHY, 1)
        with blamed_on_parameter(2):
            check_primary(template)
        if len(auth.rstrip(b"\0")) > DIGEST_SIZE:
            raise parameter_error(ResponseCode.SIZE, 1)
        if data:
            # the TPM makes the key; nobody brings one
            raise parameter_error(ResponseCode.VALUE, 1)
        if banks:
            # no PCRs here
            raise parameter_error(ResponseCode.VALUE, 4)
        if len(self.working.objects) == OBJECT_SLOTS:
            raise RefusedError(ResponseCode.OBJECT_MEMORY)
        primary = self._primary(hierarchy, template)
        public = template.with_unique(primary.modulus)
        key = SoftObject(public, Sensitive(Algorithm.RSA, auth, primary.seed, primary.der), u32(hierarchy))
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

    def evict_control(self, handles: list[int], arguments: Arguments) -> Answer:
        """TPM2_EvictControl: keep a loaded key, or forget a kept one."""
        authority, handle = handles
        where = arguments.one_of(PERSISTENT_HANDLES, 4)
        arguments.finish()
        key = self._key(handle, 2, ResponseCode.ATTRIBUTES)
        if authority != Handle.OWNER:
            raise handle_error(ResponseCode.HIERARCHY, 1)
        if key.public.has(Attribute.ST_CLEAR):
            # such a key is to be forgotten with the next start
            raise handle_error(ResponseCode.ATTRIBUTES, 2)
        if where not in _OWNER_HANDLES:
            raise parameter_error(ResponseCode.RANGE, 1)
        if handle in PERSISTENT_HANDLES and handle != where:
            raise handle_error(ResponseCode.HANDLE, 2)
        with self.permanent.changing() as keys:
            if handle in PERSISTENT_HANDLES:
                keys.persistent.pop(where, None)
            elif where in keys.persistent:
                raise RefusedError(ResponseCode.NV_DEFINED)
            else:
                keys.persistent[where] = key
        return Answer()

    def flush_context(self, handles: list[int], arguments: Arguments) -> Answer:
        """TPM2_FlushContext: unload a key, or end a session."""
        handle = arguments.one_of((*TRANSIENT_HANDLES, *POLICY_HANDLES), 4)
        arguments.finish()
        if self.working.objects.pop(handle, None) is None and self.working.sessions.pop(handle, None) is None:
            raise parameter_error(ResponseCode.HANDLE, 1)
        return Answer()

    # --- sessions -----------------------------------------------------------------------------------------------

    def start_auth_session(self, handles: list[int], arguments: Arguments) -> Answer:
        """TPM2_StartAuthSession: policy sessions without salt, and bound to nothing."""
        salt_key, bound = handles
        nonce, salt = arguments.sized(_MAX_NONCE), arguments.sized(MAX_ENCRYPTED_SECRET)
        kind = arguments.one_of(_SESSION_TYPES, 1)
        arguments.symmetric()  # for encrypted parameters, which no command here takes
        arguments.one_of((Algorithm.SHA256,), 2, ResponseCode.HASH)
        arguments.finish()
        if salt_key != Handle.NULL:
            raise handle_error(ResponseCode.KEY, 1)
        if bound != Handle.NULL:
            raise handle_error(ResponseCode.HANDLE, 2)
        if kind != TPM_SE_POLICY:
            raise parameter_error(ResponseCode.VALUE, 3)
        if not _SMALLEST_NONCE <= len(nonce) <= NONCE_SIZE:
            raise parameter_error(ResponseCode.SIZE, 1)
        if salt:
            raise parameter_error(ResponseCode.VALUE, 2)
        session = PolicySession()
        return Answer(sized(session.nonce), self.working.start(session))

    def policy_secret(self, handles: list[int], arguments: Arguments) -> Answer:
        """TPM2_PolicySecret: that the caller knows a password was checked; the session remembers it."""
        entity, session = handles[0], self.working.sessions[handles[1]]
        nonce, command = arguments.sized(_MAX_NONCE), arguments.sized(MAX_DIGEST)
        reference, expiration = arguments.sized(_MAX_NONCE), arguments.number(4)
        arguments.finish()
        if nonce and not hmac.compare_digest(nonce, session.nonce):
            raise parameter_error(ResponseCode.NONCE, 1)
        if expiration:
            # a session here ends when it is flushed, not by the clock
            raise parameter_error(ResponseCode.VALUE, 4)
        if len(command) not in (0, NONCE_SIZE):
            raise parameter_error(ResponseCode.SIZE, 2)
        if command and session.command and command != session.command:
            raise RefusedError(ResponseCode.CPHASH)
        session.command = command or session.command
        session.add_secret(self.name(entity), reference)
        no_timeout = sized(b"")
        return Answer(no_timeout + _empty_ticket(_TICKET_AUTH_SECRET))

    # --- opening a challenge ------------------------------------------------------------------------------------

    def activate_credential(self, handles: list[int], arguments: Arguments) -> Answer:
        """TPM2_ActivateCredential: decrypt a credential that was made for this pair of keys."""
        credential, secret = arguments.sized(2 * (2 + MAX_DIGEST)), arguments.sized(MAX_ENCRYPTED_SECRET)
        arguments.finish()
        activated = self._key(handles[0], 1)
        key = self._storage_key(handles[1], 2)
        with blamed_on_parameter(2):
            seed = key.decrypt_seed(secret, b"IDENTITY")
        with blamed_on_parameter(1):
            reader = Bytes(unwrap(seed, key.public.symmetric_bits, activated.public.name, credential))
            content = reader.sized(MAX_DIGEST)
            reader.finish()
        return Answer(sized(content))

    def import_key(self, handles: list[int], arguments: Arguments) -> Answer:
        """TPM2_Import: take in an HMAC key that was made elsewhere."""
        inner_key, public = arguments.sized(_MAX_DATA), arguments.structure(parse_public)
        duplicate, secret = arguments.sized(MAX_PRIVATE), arguments.sized(MAX_ENCRYPTED_SECRET)
        inner_bits = arguments.symmetric()
        arguments.finish()
        parent = self._storage_key(handles[0], 1)
        if len(inner_key) * 8 != inner_bits:
            raise parameter_error(ResponseCode.SIZE, 1)
        with blamed_on_parameter(2):
            check_imported(public)
        if public.has(Attribute.ENCRYPTED_DUPLICATION) and not (inner_bits and secret):
            # such a key has to be wrapped twice
            raise parameter_error(ResponseCode.ATTRIBUTES, 4 if inner_bits else 1)
        if secret:
            with blamed_on_parameter(4):
                seed = parent.decrypt_seed(secret, b"DUPLICATE")
            with blamed_on_parameter(3):
                duplicate = unwrap(seed, parent.public.symmetric_bits, public.name, duplicate)
        with blamed_on_parameter(3):
            if inner_bits:
                duplicate = unwrap_inner(inner_key, public.name, duplicate)
            sensitive = parse_sensitive(duplicate)
        _check_halves(public, sensitive, public_number=2, private_number=3)
        return Answer(sized(parent.wrap_child(public, sensitive)))

    def load(self, handles: list[int], arguments: Arguments) -> Answer:
        """TPM2_Load."""
        private, public = arguments.sized(MAX_PRIVATE), arguments.structure(parse_public)
        arguments.finish()
        if not private:
            raise parameter_error(ResponseCode.SIZE, 1)
        parent = self._storage_key(handles[0], 1)
        with blamed_on_parameter(1):
            sensitive = parent.unwrap_child(public, private)
        handle = self.working.load(SoftObject(public, sensitive, parent.qualified_name))
        return Answer(sized(public.name), handle)

    # --- signing ------------------------------------------------------------------------------------------------

    def hmac(self, handles: list[int], arguments: Arguments) -> Answer:
        """TPM2_HMAC."""
        data = arguments.sized(INPUT_BUFFER)
        key = self._hmac_key(handles[0], arguments)
        return Answer(sized(hmac.digest(key, data, "sha256")))

    def hmac_start(self, handles: list[int], arguments: Arguments) -> Answer:
        """TPM2_HMAC_Start."""
        auth = arguments.sized(MAX_DIGEST)
        key = self._hmac_key(handles[0], arguments)
        return Answer(handle=self.working.load(Sequence(auth, key)))

    def sequence_update(self, handles: list[int], arguments: Arguments) -> Answer:
        """TPM2_SequenceUpdate."""
        data = arguments.sized(INPUT_BUFFER)
        arguments.finish()
        self._sequence(handles[0]).mac.update(data)
        return Answer()

    def sequence_complete(self, handles: list[int], arguments: Arguments) -> Answer:
        """TPM2_SequenceComplete: the last piece; the sequence is gone then."""
        data = arguments.sized(INPUT_BUFFER)
        arguments.one_of((*_HIERARCHIES, Handle.PLATFORM, Handle.NULL), 4)  # for a ticket, which an HMAC does not get
        arguments.finish()
        sequence = self._sequence(handles[0])
        sequence.mac.update(data)
        del self.working.objects[handles[0]]
        return Answer(sized(sequence.mac.digest()) + _empty_ticket(_TICKET_HASH_CHECK))

    def _hmac_key(self, handle: int, arguments: Arguments) -> bytes:
        """Read the second and last parameter, the hash algorithm, and find the key that may be used with it."""
        # the command also stands for MACs with block ciphers, whence the code
        algorithm = arguments.one_of((Algorithm.NULL, Algorithm.SHA256, *_OTHER_HASHES), 2, ResponseCode.SYMMETRIC)
        arguments.finish()
        key = self._key(handle, 1)
        public = key.public
        if public.algorithm != Algorithm.KEYEDHASH:
            raise handle_error(ResponseCode.TYPE, 1)
        if public.has(Attribute.RESTRICTED):
            raise handle_error(ResponseCode.ATTRIBUTES, 1)
        if not public.has(Attribute.SIGN):
            raise handle_error(ResponseCode.KEY, 1)
        chosen = Algorithm.SHA256 if algorithm == Algorithm.NULL and public.scheme != Algorithm.NULL else algorithm
        if chosen != Algorithm.SHA256:
            raise parameter_error(ResponseCode.VALUE, 2)
        return key.sensitive.key


def _check_halves(public: Public, sensitive: Sensitive, *, public_number: int, private_number: int) -> None:
    """Make sure that the halves of an HMAC key are good and belong together; blames the parameter they came in."""
    with blamed_on_parameter(public_number):
        check_policy(public)
        check_scheme(public)
    with blamed_on_parameter(private_number):
        check_private_half(sensitive)
    check_binding(public, sensitive)


def _password_and_data(reader: Bytes) -> tuple[bytes, bytes]:
    """A TPMS_SENSITIVE_CREATE."""
    return reader.sized(MAX_DIGEST), reader.sized(MAX_SENSITIVE_DATA)


def _empty_ticket(kind: int) -> bytes:
    return u16(kind) + u32(Handle.NULL) + sized(b"")
