"""Response codes of a TPM: a number in, a name and a meaning out.

Source: TPM 2.0 Library, Part 2 "Structures", section 6.6 (TPM_RC). A code of *format one* (bit 7 is set) says in its
upper bits which handle, session or parameter is meant; its name is that of the code without these bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

#: Bits of a code: it is of format one; it is about a parameter; it is about a session and not a handle.
FORMAT_ONE, PARAMETER, SESSION = 0x080, 0x040, 0x800
_BASE_OF_FORMAT_ONE = 0x0BF


class ResponseCode(IntEnum):
    """The codes that are told apart here, by their names in the specification without ``TPM_RC_``.

    Attributes:
        meaning: what the TPM says with it, as the rest of a sentence.
    """

    meaning: str

    def __new__(cls, code: int, meaning: str = "") -> ResponseCode:
        """One code with its meaning."""
        member = int.__new__(cls, code)
        member._value_, member.meaning = code, meaning
        return member

    SUCCESS = 0x000, "it worked"
    BAD_TAG = 0x01E, "it is no command of a TPM 2.0"
    INITIALIZE = 0x100, "it was started already, or not yet"
    FAILURE = 0x101, "a calculation failed, as when something was encrypted for another key"
    SEQUENCE = 0x103, "a sequence cannot be used for this"
    DISABLED = 0x120, "that command or hierarchy is switched off"
    AUTH_TYPE = 0x124, "a password is not enough for this"
    AUTH_MISSING = 0x125, "the authorization is missing"
    AUTH_UNAVAILABLE = 0x12F, "the key may not be used this way, as it asks for a policy"
    COMMAND_SIZE = 0x142, "the command has another size than it says"
    COMMAND_CODE = 0x143, "it does not know this command"
    AUTH_CONTEXT = 0x145, "the command takes no authorization"
    NV_SPACE = 0x14B, "its permanent memory is full"
    NV_DEFINED = 0x14C, "there is something under that handle already"
    CPHASH = 0x151, "the session was promised to another command"
    OBJECT_MEMORY = 0x902, "too many keys are loaded"
    SESSION_MEMORY = 0x903, "too many sessions are open"
    REFERENCE_H0 = 0x910, "there is no such key loaded"
    REFERENCE_S0 = 0x918, "there is no such session"
    LOCKOUT = 0x921, "it is locked after too many failed authorizations; wait, or have its owner reset it"
    RETRY = 0x922, "it did nothing yet and wants to be asked again"
    NV_UNAVAILABLE = 0x923, "its permanent memory cannot be written now"
    # format one: without the bits of the position
    ATTRIBUTES = 0x082, "the attributes of the key do not fit"
    HASH = 0x083, "it does not know this hash algorithm"
    VALUE = 0x084, "a value is out of range"
    HIERARCHY = 0x085, "that hierarchy is switched off or wrong for this"
    KEY_SIZE = 0x087, "the key has the wrong size"
    MODE = 0x089, "it does not know this mode, or the object is of another kind"
    TYPE = 0x08A, "the key is of the wrong type"
    HANDLE = 0x08B, "there is nothing under that handle"
    RANGE = 0x08D, "a number is out of range"
    AUTH_FAIL = 0x08E, "the authorization is wrong"
    NONCE = 0x08F, "the nonce is wrong"
    SCHEME = 0x092, "the key has no such scheme"
    SIZE = 0x095, "a structure has the wrong size"
    SYMMETRIC = 0x096, "the symmetric algorithm does not fit"
    INSUFFICIENT = 0x09A, "the bytes end too early"
    KEY = 0x09C, "the key is not good for this"
    POLICY_FAIL = 0x09D, "the policy of the key is not fulfilled"
    INTEGRITY = 0x09F, "the bytes were changed, or are meant for another key"
    RESERVED_BITS = 0x0A1, "a bit is set that has no meaning"
    BAD_AUTH = 0x0A2, "the password is wrong"
    BINDING = 0x0A5, "public and private half do not belong together"
    CURVE = 0x0A6, "it does not know this curve"


_KNOWN: Mapping[int, ResponseCode] = {code: code for code in ResponseCode}


def base(code: int) -> int:
    """The code without the position of the wrong handle, session or parameter.

    >>> hex(base(0x3DF))
    '0x9f'
    """
    return code & _BASE_OF_FORMAT_ONE if code & FORMAT_ONE else code


def position(code: int) -> str:
    """Which argument is meant, e.g. ``parameter 3``; empty when the code does not say.

    Source: the same section, figure "Format-One Response Codes": bit 6 tells parameters, bit 11 sessions from handles.
    """
    if not code & FORMAT_ONE:
        return ""
    if code & PARAMETER:
        return f"parameter {(code >> 8) & 0xF}"
    return f"{'session' if code & SESSION else 'handle'} {(code >> 8) & 0x7}"


def name_of(code: int) -> str:
    """The name of a response code, e.g. ``TPM_RC_INTEGRITY``; ``TPM_RC_0x1FF`` for one that is not in the table."""
    known = _KNOWN.get(base(code))
    return f"TPM_RC_0x{code:03X}" if known is None else f"TPM_RC_{known.name}"


def meaning_of(code: int) -> str:
    """What it means, in a few words, with the argument that is meant where the code says so."""
    known, where = _KNOWN.get(base(code)), position(code)
    meaning = "which is not in the table of this project" if known is None else known.meaning
    return f"{meaning} ({where})" if where else meaning
