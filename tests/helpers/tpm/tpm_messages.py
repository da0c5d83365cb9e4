"""Commands as bytes, for tests that send what no client of this project would."""

import struct

from helpers.tpm.structures import SRK_HANDLE, SRK_TEMPLATE, Algorithm, CommandCode, Handle, Tag, sized, u16, u32

EMPTY = sized(b"")
NONE = bytes.fromhex("0010")
AES_128 = bytes.fromhex("0006 0080 0043")
SHA256 = u16(Algorithm.SHA256)
NO_SECRET = sized(EMPTY + EMPTY)


def authorization(session=Handle.PASSWORD, proof=b"", nonce=b"", attributes=1):
    return u32(session) + sized(nonce) + bytes([attributes]) + sized(proof)


def message(code, handles=(), parameters=b"", authorizations=None):
    """A command; ``authorizations`` are session handles, or bytes for unusual ones, and ``None`` is none."""
    body = b"".join(map(u32, handles))
    if authorizations is not None:
        area = b"".join(one if isinstance(one, bytes) else authorization(one) for one in authorizations)
        body += u32(len(area)) + area
    tag = Tag.NO_SESSIONS if authorizations is None else Tag.SESSIONS
    return struct.pack(">HII", tag, 10 + len(body) + len(parameters), code) + body + parameters


def response_code(transport, command):
    """What a TPM says to a command, which is sent again as long as it asks for that."""
    return int.from_bytes(answer(transport, command)[6:10], "big")


def answer(transport, command):
    for _ in range(8):
        response = transport.exchange(command)
        assert int.from_bytes(response[2:6], "big") == len(response)
        if response[6:10] != bytes.fromhex("00000922"):
            break
    return response


def handle_from(transport, command):
    """The handle that a command gives."""
    response = answer(transport, command)
    assert response[6:10] == bytes(4), response[6:10].hex()
    return int.from_bytes(response[10:14], "big")


def template(
    attributes=0x00030472,
    *,
    algorithm=1,
    name_algorithm=Algorithm.SHA256,
    policy=b"",
    symmetric=AES_128,
    scheme=NONE,
    bits=2048,
    exponent=0,
    unique=b"",
):
    """The TPMT_PUBLIC of a storage key."""
    return (
        u16(algorithm)
        + u16(name_algorithm)
        + u32(attributes)
        + sized(policy)
        + symmetric
        + scheme
        + u16(bits)
        + u32(exponent)
        + sized(unique)
    )


def create_primary(
    public=SRK_TEMPLATE, hierarchy=Handle.OWNER, *, secret=NO_SECRET, outside=EMPTY, registers=None, authorizations=None
):
    parameters = secret + sized(public) + outside + (u32(0) if registers is None else registers)
    return message(CommandCode.CreatePrimary, [hierarchy], parameters, authorizations or [Handle.PASSWORD])


def evict(handle, where, hierarchy=Handle.OWNER):
    return message(CommandCode.EvictControl, [hierarchy, handle], u32(where), [Handle.PASSWORD])


def flush(handle):
    return message(CommandCode.FlushContext, [], u32(handle))


def hmac_of(key, data=b"text", algorithm=SHA256, authorizations=(Handle.PASSWORD,)):
    return message(CommandCode.HMAC, [key], sized(data) + algorithm, authorizations)


def start_hmac(key, password=b""):
    return message(CommandCode.HMAC_Start, [key], sized(password) + SHA256, [Handle.PASSWORD])


def update(sequence, data=b"text", authorizations=(Handle.PASSWORD,)):
    return message(CommandCode.SequenceUpdate, [sequence], sized(data), authorizations)


def complete(sequence, data=b"text", hierarchy=Handle.NULL):
    return message(CommandCode.SequenceComplete, [sequence], sized(data) + u32(hierarchy), [Handle.PASSWORD])


def start_session(
    *, nonce=bytes(32), salt=b"", kind=1, symmetric=None, hash_algorithm=SHA256, key=Handle.NULL, bound=Handle.NULL
):
    parameters = sized(nonce) + sized(salt) + bytes([kind]) + (symmetric or NONE) + hash_algorithm
    return message(CommandCode.StartAuthSession, [key, bound], parameters)


def policy_secret(session, entity=Handle.ENDORSEMENT, *, nonce=b"", command=b"", reference=b"", expiration=0):
    parameters = sized(nonce) + sized(command) + sized(reference) + u32(expiration)
    return message(CommandCode.PolicySecret, [entity, session], parameters, [Handle.PASSWORD])


def load(private, public, parent=SRK_HANDLE, authorizations=(Handle.PASSWORD,)):
    return message(CommandCode.Load, [parent], sized(private) + sized(public), authorizations)
