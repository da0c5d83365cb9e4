"""Response codes of a TPM: a number in, a name and a meaning out.

Source: TPM 2.0 Library, Part 2 "Structures", section 6.6 (TPM_RC). A code of *format one* (bit 7 is set) says in its
upper bits which handle, session or parameter is meant; its name is that of the code without these bits.
"""

from __future__ import annotations

from collections.abc import Mapping

TPM_RC_SUCCESS = 0x000
TPM_RC_BAD_TAG = 0x01E
TPM_RC_INITIALIZE = 0x100
TPM_RC_FAILURE = 0x101
TPM_RC_SEQUENCE = 0x103
TPM_RC_COMMAND_SIZE = 0x142
TPM_RC_COMMAND_CODE = 0x143
TPM_RC_AUTH_TYPE = 0x124
TPM_RC_AUTH_MISSING = 0x125
TPM_RC_AUTH_UNAVAILABLE = 0x12F
TPM_RC_AUTH_CONTEXT = 0x145
TPM_RC_NV_SPACE = 0x14B
TPM_RC_NV_DEFINED = 0x14C
TPM_RC_CPHASH = 0x151
TPM_RC_OBJECT_MEMORY = 0x902
TPM_RC_SESSION_MEMORY = 0x903
TPM_RC_REFERENCE_H0 = 0x910
TPM_RC_REFERENCE_S0 = 0x918
TPM_RC_RETRY = 0x922

# format one: without the bits of the position
TPM_RC_ATTRIBUTES = 0x082
TPM_RC_HASH = 0x083
TPM_RC_VALUE = 0x084
TPM_RC_HIERARCHY = 0x085
TPM_RC_KEY_SIZE = 0x087
TPM_RC_MODE = 0x089
TPM_RC_TYPE = 0x08A
TPM_RC_HANDLE = 0x08B
TPM_RC_RANGE = 0x08D
TPM_RC_AUTH_FAIL = 0x08E
TPM_RC_NONCE = 0x08F
TPM_RC_SCHEME = 0x092
TPM_RC_SIZE = 0x095
TPM_RC_SYMMETRIC = 0x096
TPM_RC_INSUFFICIENT = 0x09A
TPM_RC_KEY = 0x09C
TPM_RC_POLICY_FAIL = 0x09D
TPM_RC_INTEGRITY = 0x09F
TPM_RC_RESERVED_BITS = 0x0A1
TPM_RC_BAD_AUTH = 0x0A2
TPM_RC_BINDING = 0x0A5

#: Bits of a code: it is of format one; it is about a parameter; it is about a session and not a handle.
FORMAT_ONE, PARAMETER, SESSION = 0x080, 0x040, 0x800
_BASE_OF_FORMAT_ONE = 0x0BF

_MEANINGS: Mapping[int, tuple[str, str]] = {
    TPM_RC_SUCCESS: ("TPM_RC_SUCCESS", "it worked"),
    TPM_RC_INITIALIZE: ("TPM_RC_INITIALIZE", "it was started already, or not yet"),
    TPM_RC_FAILURE: ("TPM_RC_FAILURE", "a calculation failed, as when something was encrypted for another key"),
    TPM_RC_COMMAND_SIZE: ("TPM_RC_COMMAND_SIZE", "the command has another size than it says"),
    TPM_RC_COMMAND_CODE: ("TPM_RC_COMMAND_CODE", "it does not know this command"),
    TPM_RC_AUTH_TYPE: ("TPM_RC_AUTH_TYPE", "a password is not enough for this"),
    TPM_RC_AUTH_MISSING: ("TPM_RC_AUTH_MISSING", "the authorization is missing"),
    TPM_RC_AUTH_UNAVAILABLE: ("TPM_RC_AUTH_UNAVAILABLE", "the key may not be used this way, as it asks for a policy"),
    TPM_RC_BAD_TAG: ("TPM_RC_BAD_TAG", "it is no command of a TPM 2.0"),
    TPM_RC_SEQUENCE: ("TPM_RC_SEQUENCE", "a sequence cannot be used for this"),
    TPM_RC_AUTH_CONTEXT: ("TPM_RC_AUTH_CONTEXT", "the command takes no authorization"),
    TPM_RC_NV_SPACE: ("TPM_RC_NV_SPACE", "its permanent memory is full"),
    TPM_RC_CPHASH: ("TPM_RC_CPHASH", "the session was promised to another command"),
    TPM_RC_NV_DEFINED: ("TPM_RC_NV_DEFINED", "there is something under that handle already"),
    TPM_RC_OBJECT_MEMORY: ("TPM_RC_OBJECT_MEMORY", "too many keys are loaded"),
    TPM_RC_SESSION_MEMORY: ("TPM_RC_SESSION_MEMORY", "too many sessions are open"),
    TPM_RC_REFERENCE_H0: ("TPM_RC_REFERENCE_H0", "there is no such key loaded"),
    TPM_RC_REFERENCE_S0: ("TPM_RC_REFERENCE_S0", "there is no such session"),
    TPM_RC_RETRY: ("TPM_RC_RETRY", "it did nothing yet and wants to be asked again"),
    0x120: ("TPM_RC_DISABLED", "that command or hierarchy is switched off"),
    0x921: ("TPM_RC_LOCKOUT", "it is locked after too many failed authorizations; wait, or have its owner reset it"),
    0x923: ("TPM_RC_NV_UNAVAILABLE", "its permanent memory cannot be written now"),
    TPM_RC_ATTRIBUTES: ("TPM_RC_ATTRIBUTES", "the attributes of the key do not fit"),
    TPM_RC_VALUE: ("TPM_RC_VALUE", "a value is out of range"),
    TPM_RC_KEY_SIZE: ("TPM_RC_KEY_SIZE", "the key has the wrong size"),
    TPM_RC_TYPE: ("TPM_RC_TYPE", "the key is of the wrong type"),
    TPM_RC_HANDLE: ("TPM_RC_HANDLE", "there is nothing under that handle"),
    TPM_RC_AUTH_FAIL: ("TPM_RC_AUTH_FAIL", "the authorization is wrong"),
    TPM_RC_SCHEME: ("TPM_RC_SCHEME", "the key has no such scheme"),
    TPM_RC_SIZE: ("TPM_RC_SIZE", "a structure has the wrong size"),
    TPM_RC_SYMMETRIC: ("TPM_RC_SYMMETRIC", "the symmetric algorithm does not fit"),
    TPM_RC_INSUFFICIENT: ("TPM_RC_INSUFFICIENT", "the bytes end too early"),
    TPM_RC_KEY: ("TPM_RC_KEY", "the key is not good for this"),
    TPM_RC_POLICY_FAIL: ("TPM_RC_POLICY_FAIL", "the policy of the key is not fulfilled"),
    TPM_RC_INTEGRITY: ("TPM_RC_INTEGRITY", "the bytes were changed, or are meant for another key"),
    TPM_RC_BAD_AUTH: ("TPM_RC_BAD_AUTH", "the password is wrong"),
    TPM_RC_BINDING: ("TPM_RC_BINDING", "public and private half do not belong together"),
    TPM_RC_HIERARCHY: ("TPM_RC_HIERARCHY", "that hierarchy is switched off or wrong for this"),
    TPM_RC_HASH: ("TPM_RC_HASH", "it does not know this hash algorithm"),
    TPM_RC_MODE: ("TPM_RC_MODE", "it does not know this mode, or the object is of another kind"),
    TPM_RC_RANGE: ("TPM_RC_RANGE", "a number is out of range"),
    TPM_RC_NONCE: ("TPM_RC_NONCE", "the nonce is wrong"),
    TPM_RC_RESERVED_BITS: ("TPM_RC_RESERVED_BITS", "a bit is set that has no meaning"),
    0x0A6: ("TPM_RC_CURVE", "it does not know this curve"),
}


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
    return _MEANINGS.get(base(code), (f"TPM_RC_0x{code:03X}", ""))[0]


def meaning_of(code: int) -> str:
    """What it means, in a few words, with the argument that is meant where the code says so."""
    meaning = _MEANINGS.get(base(code), ("", "which is not in the table of this project"))[1]
    where = position(code)
    return f"{meaning} ({where})" if where else meaning
