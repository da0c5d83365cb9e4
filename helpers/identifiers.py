"""What is wrong with an identifier or a host name that somebody gave, in words, and what they probably meant.

The rules themselves stand in :mod:`dps_simulator.common.identifier_rules`. No text here repeats what was given, but
for one character of it: what stands in the wrong place may be a key.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit

from dps_simulator.rules import HOST, MAX_ID_LENGTH, REGISTRATION_ID

#: Characters of an ID scope at most; one that Azure makes is shorter.
_MAX_ID_SCOPE = 64
#: What both kinds of ID may consist of, one character at a time.
_IN_REGISTRATION_ID, _IN_DEVICE_ID = re.compile(r"[A-Za-z0-9._:-]"), re.compile(r"[A-Za-z0-9._:%+#*?!(),=@$'-]")
_IN_ID_SCOPE = re.compile(r"[0-9A-Za-z-]")
_IN_HOST = re.compile(r"[A-Za-z0-9.-]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,19}://")
_PORT = re.compile(r":[0-9]{1,5}")
_INVISIBLE = {"\r": "a line break", "\n": "a line break", "\t": "a tabulator", " ": "a blank"}
#: Quotation marks that stay around a value where a shell or a file was expected to take them off.
_QUOTES = "\"'“”„‘’`"


def registration_id_problem(value: object) -> str:
    """Why this is no registration ID (or name of an enrollment group), as a clause such as ``it ends in a line break``.

    Returns:
        The clause, empty when nothing is wrong.
    """
    problem = _text_problem(value, _IN_REGISTRATION_ID, MAX_ID_LENGTH)
    if problem or not isinstance(value, str) or REGISTRATION_ID.fullmatch(value):
        return problem
    return f"it ends in {value[-1]!r}, and must end in a letter, digit or -"


def device_id_problem(value: object) -> str:
    """Why this is no device ID of a hub; empty when nothing is wrong. See :func:`registration_id_problem`."""
    return _text_problem(value, _IN_DEVICE_ID, MAX_ID_LENGTH)


def id_scope_problem(value: object) -> str:
    """Why this cannot be an ID scope; empty when it could be one. See :func:`registration_id_problem`."""
    return _text_problem(value, _IN_ID_SCOPE, _MAX_ID_SCOPE)


def host_problem(value: object) -> str:
    """Why this is no bare host name; empty when it is one. See :func:`registration_id_problem`."""
    if not isinstance(value, str):
        return f"it is no text, but of type {type(value).__name__}"
    if HOST.fullmatch(value.lower().removesuffix(".")):
        return ""
    found = _SCHEME.match(value.strip())
    pasted = (
        (f"it has {found[0].lower()} in front" if found else "")
        or _blank_problem(value)
        or ("it has a slash or a path behind the name" if "/" in value else "")
        or ("it has a port behind the name" if _PORT.search(value) else "")
        or _character_problem(value, _IN_HOST)
    )
    return pasted or "it is not a name with dots, such as my-hub.azure-devices.net"


def words_problem(value: object) -> str:
    """Why this is no name at all, whatever the rules for its characters: no text, empty, or with blanks around it."""
    if not isinstance(value, str):
        return f"it is no text, but of type {type(value).__name__}"
    problem = _blank_problem(value)
    # a blank in the middle of a name is for somebody else to judge
    return "" if problem.endswith("a blank inside") else problem


def unquoted(text: str) -> str:
    """A value without the blanks and quotation marks around it, which shells and files were expected to take off."""
    return text.strip().strip(_QUOTES).strip()


def bare_host(text: str) -> str:
    """The host name in what people paste: without scheme, login, port, path, quotation marks, blanks and final dot.

    Returns:
        The rest in small letters, whatever it is; ask :func:`host_problem` whether it is a host name.
    """
    stripped = unquoted(text)
    if not _SCHEME.match(stripped):
        stripped = f"//{stripped}"
    try:
        place = urlsplit(stripped).netloc
    except ValueError:
        return ""
    host = place.rpartition("@")[2]
    return _PORT.sub("", host).lower().removesuffix(".")


def _text_problem(value: object, allowed: re.Pattern[str], longest: int) -> str:
    if not isinstance(value, str):
        return f"it is no text, but of type {type(value).__name__}"
    if problem := _blank_problem(value) or _character_problem(value, allowed):
        return problem
    return f"it has {len(value)} characters, and at most {longest} are possible" if len(value) > longest else ""


def _blank_problem(value: str) -> str:
    """What can be said of the blanks, which nobody sees."""
    if not value:
        return "it is empty"
    if not value.strip():
        return "it consists of blanks only"
    for text, where in ((value[::-1], "ends in"), (value, "begins with")):
        if text[0].isspace() or text[0] == "\ufeff":
            return f"it {where} {_called(text[0])}"
    return next((f"it has {_called(each)} inside" for each in value if each.isspace()), "")


def _character_problem(value: str, allowed: re.Pattern[str]) -> str:
    wrong = next((each for each in value if not allowed.fullmatch(each)), "")
    return f"it has {_called(wrong)} inside, which is not possible there" if wrong else ""


def _called(character: str) -> str:
    """A character by its name, where it has no shape of its own or one that is mistaken for another."""
    if character in _INVISIBLE:
        return _INVISIBLE[character]
    if character.isascii() and character.isprintable():
        return repr(character)
    name = unicodedata.name(character, "")
    return f"the character U+{ord(character):04X}{f' ({name.lower()})' if name else ''}"
