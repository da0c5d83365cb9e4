"""Secrets in texts: found wherever they stand and however they are spelled, and masked. The one place that does so.

A secret is the value behind one of the names below, a private key in PEM, the token behind ``Bearer``, or, where a name
was expected, what looks like a key. Case, blanks and signs between the words of a name do not count, and a text is also
read as it is without its escapes: a connection string may stand in a URL, a token in JSON in JSON.
"""

from __future__ import annotations

import itertools
import re
from html import unescape
from html.entities import html5
from urllib.parse import unquote

#: Names of fields whose value is a secret, as :func:`is_secret_name` reads them: small letters and digits only.
SECRET_NAMES = frozenset(
    {
        "primarykey",
        "secondarykey",
        "authenticationkey",
        "sharedaccesskey",
        "connectionstring",
        "passphrase",
        "password",
        "authorization",
        "sig",
        "key",
    }
)
#: Between the words of a name, and between a name and its value. Bounded, because somebody may send a million blanks.
_GAP = r"[\s_.-]{0,8}"
_QUOTE = r"(?:\\{0,4}[\"'`]|&(?:quot|apos|#x?[0-9a-f]{2});)"
_QUOTES = rf"{_QUOTE}?"
_END = rf"\s{{0,8}}{_QUOTES}[\])]?\s{{0,8}}"
#: Before a value: brackets, the letter of a Python or YAML literal, quotes.
_YAML = r"(?:[>|][+-]?(?:\s|\\{1,4}[rn]){1,12}|!!\w{1,8}\s{1,8})?"
_BEGIN = rf"\s{{0,8}}{_YAML}[\[(]?(?:[bur](?={_QUOTE}))?{_QUOTES}"
#: Names that stand in running text only for their value. "code" is the key in the address of an Azure function, which
#: custom allocation calls; like "sig" it is also a part of other words. Behind a colon, other texts may follow as well.
_NAME = (
    rf"(?:shared{_GAP}access|primary|secondary|authentication|account|access|api){_GAP}key|client{_GAP}secret"
    rf"|pass{_GAP}(?:word|phrase)|(?<![a-z0-9_])sig"
)
#: Names that often mean something else, and so count only before what looks like a key. The keys of a TPM are public.
_PERHAPS = r"(?<!endorsement)(?<!endorsement.)(?<!root)(?<!root.)(?<!public)(?<!public.)(?:key|secret|pwd|signature)"
#: What looks like a key: 16 bytes or more in either alphabet of base64, with letters of both cases and a digit.
_LIKE_A_KEY = (
    r"(?=[a-z0-9+/_%-]{22})(?=[a-z0-9+/_%=-]{0,90}(?-i:[a-z]))"
    r"(?=[a-z0-9+/_%=-]{0,90}(?-i:[A-Z]))(?=[a-z0-9+/_%=-]{0,90}[0-9])"
)
#: A value; that of a key may be wrapped.
_VALUE = (
    r"([a-z0-9+/_-]{20,88}(?:(?:\\{1,4}[rn]|\s){1,6}[a-z0-9+/_-]{1,80}){1,2}={1,2}(?![\w+/=])"
    r"|(?=[^&;\s\"'\\<]{0,200}\w)[^&;\s\"'\\<]+)"
)
_PAIR = re.compile(
    rf"((?:{_NAME}|(?<=[?&; ])code){_END}(?:=>|:=|={{1,2}}){_BEGIN}"
    rf"|(?:{_NAME}){_END}:{_BEGIN}(?=[\w+/%.-]{{16}})"
    rf"|(?:{_NAME}|{_PERHAPS}){_END}(?:=>|:=|[=:,>]|</t[dh]>\s{{0,8}}<t[dh]>|(?<=[\s\"'])){_BEGIN}{_LIKE_A_KEY}"
    rf"|\bauthorization{_END}[:=]{_BEGIN}(?!sharedaccesssignature|bearer|basic)(?=\S{{16}}))"
    rf"{_VALUE}"
    r"|(-{2,5}\s?BEGIN[A-Z0-9\s+]{0,40}PRIVATE[\s+]{1,8}KEY(?:[\s+]BLOCK)?\s?-{2,5}+)"
    r"(?!\*{4}).*?(?=-{2,5}\s?END|$)"
    r"|(\b(?:bearer|basic)[\s:=]{1,8})((?=[^\s\"',;]{20}|[^\s\"',;]*[0-9.=])[^\s\"',;]{8,})"
    # the head of a token in JSON, and of a private key in DER, in base64
    r"|(?<![\w+/-])(eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"
    r"|(?-i:MHcCAQEE|MIGHAgEA|MC4CAQAw|MI[A-Za-z0-9+/]{4}IBA[AD])(?:[a-z0-9+/=]|\\{1,4}[rn]|\s){20,})",
    re.DOTALL | re.IGNORECASE,
)
# the text may have been cut off in the middle of the value
_JSON_MEMBER = re.compile(r'("([^"\\]{1,80})"\s{0,8}:\s{0,8}")((?:[^"\\]|\\.)*)')
#: 32 to 64 bytes in base64, as symmetric keys are. The last line of a certificate in PEM is none.
_KEY = re.compile(r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/]{42,87}={1,2}(?![A-Za-z0-9+/=]|(?:\s|\\[rn])*-----END)")
#: Without any of these in it, no text holds one of the secrets above.
_MARKS = (
    *(
        "key",
        "sig",
        "code",
        "pass",
        "pwd",
        "secret",
        "bearer",
        "basic",
        "authorization",
        "connection",
        "private",
        "eyj",
    ),
    *("mhccaqee", "mighagea", "mc4caqaw", "iba", "%", "\\u", "\\x", "&#"),
)
#: The same for letters and digits only, in small letters, where "key", "sig" and "code" are asked for more exactly. A
#: part that is rare stands for those that have it: each of these is looked for in every message.
_SQUEEZED_MARKS = (
    "pass",
    "pwd",
    "secret",
    "bearer",
    "basic",
    "authorization",
    "connectionstring",
    "eyj",
    "caq",
    "mighagea",
    "iba",
)
#: What stands in those three for nothing: "assigned", "errorCode", and how the simulator itself names a key.
_SIG = re.compile(r"s(?:ig(?<![a-z0-9]sig)(?![a-z0-9])|ignature|i[^a-z0-9]+g|[^a-z0-9]+i[^a-z0-9]*g)")
_KEY_WORD = re.compile(r"k[^a-z0-9]*e[^a-z0-9]*y(?! of [a-z]{1,20} )")
_CODE = re.compile(r"[?&; ]code")
_SIGNS = bytes(sign for sign in range(128) if not chr(sign).isalnum())
_SMALL = bytes(range(256)).lower()
#: What HTML understands, the old names also without a semicolon. Other words behind "&" are those of a query.
_ENTITY = re.compile("&(?:#|[A-Za-z0-9]{2,32};|" + "|".join(name for name in html5 if not name.endswith(";")) + ")")
_ESCAPED = re.compile(r"\\{1,8}(?:u00|x)([2-7][0-9a-f])", re.IGNORECASE)
#: What a secret can be made of without a blank, and the words, numbers and single letters in it.
_TOKEN = re.compile(r"[A-Za-z0-9+/=_~.%-]{16,}")
_PIECE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
#: So many pieces begin within so many characters of random text; words, numbers and names have fewer.
_MANY_PIECES, _STRETCH = 6, 16
#: Names of serial numbers and addresses have many pieces, too, in groups that are short.
_LONGEST_GROUP = 9
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
#: Bytes that are no text, as Python shows them.
_BYTES = re.compile(r"(?:[^\s\\]{0,8}\\x[0-9a-f]{2}){4}.*", re.DOTALL)
_MOST_UNPRINTABLE = 8
#: Base64 with its filling, of 16 bytes or 32, or more.
_FILLED = re.compile(r"[A-Za-z0-9+/_-]{20,}==|[A-Za-z0-9+/_-]{43}=")
#: A part of a path, as people call it.
_WORD = re.compile(r"(?:\.?(?:[A-Z]?[a-z]+[0-9]*|[A-Z]+|[0-9]+)(?:[._-](?:[A-Z]?[a-z]+[0-9]*|[0-9]+))*)?")
#: How often a text is escaped, at most.
_READINGS = 3


#: More characters than any path of a file has that a person gives.
_LONGEST_PATH = 1_000
#: What a key or a certificate is without its first and last line: a path of that length has a dot, a blank or a hyphen.
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]{60,}")


def mask(secret: str) -> str:
    """``****`` and the last four characters, or only ``****`` when the secret is short. Masked twice, it stays so."""
    if re.fullmatch(r"\*{4}.{0,4}", secret):
        return secret
    return "****" + (secret[-4:] if len(secret) >= 12 else "")


def is_secret_name(name: str) -> bool:
    """Whether the value of a field with this name is a secret."""
    return re.sub(r"[^a-z0-9]", "", _unescaped(name[:200]).lower()) in SECRET_NAMES


def mask_in_text(text: str) -> str:
    """The text with every secret masked. Where one stands behind escapes only, the escapes are gone afterwards."""
    lowered = text.lower()
    # what follows is slow, and most texts hold nothing of the kind
    if not any(mark in lowered for mark in _MARKS):
        return text
    masked = _masked(text)
    plain = _unescaped(masked)
    if plain != masked:
        found = _masked(plain)
        if found != plain:
            return found
    return masked


def may_hold_secret(text: str) -> bool:
    """Whether a secret may stand in JSON, under a name or within a text: quick, and wrong only in saying so.

    Where this is ``False``, :func:`is_secret_name` is so for every name in it, and :func:`mask_in_text` leaves every
    text in it alone.

    Arguments:
        text: JSON in ASCII. With any escape of JSON in it, the answer is "perhaps".
    """
    if "\\" in text or _has_mark(text):
        return True
    # an "&" that begins no entity, as between the parts of a query, escapes nothing
    if "%" not in text and ("&" not in text or _ENTITY.search(text) is None):
        return False
    plain = _unescaped(text)
    # a name is read without its escapes, and so is the text that it stands in
    may_be_escaped = "\\" in plain or "%" in plain or ("&" in plain and _ENTITY.search(plain) is not None)
    return may_be_escaped or _has_mark(plain)


def _has_mark(text: str) -> bool:
    if not text.isascii():
        return True
    # a name is also read without the signs in it
    squeezed = text.encode().translate(_SMALL, _SIGNS).decode()
    # a loop, as every message on the wire takes this way
    for mark in _SQUEEZED_MARKS:
        if mark in squeezed:
            return True
    return bool(
        ("sig" in squeezed and _has_sig(text.lower(), squeezed))
        or ("key" in squeezed and _KEY_WORD.search(text.lower()))
        or ("code" in squeezed and _CODE.search(text.lower()))
    )


def _has_sig(small: str, squeezed: str) -> bool:
    # quicker than the pattern, and true of every answer to a device: all of them are those of "assigned" and the like
    if small.count("assign") == squeezed.count("sig") and "signature" not in squeezed:
        return False
    return _SIG.search(small) is not None


def values(text: str) -> list[str]:
    """The secrets behind names that :func:`mask_in_text` masks in a text without escapes."""
    return [found[2] or found[5] for found in _PAIR.finditer(text) if found[2] or found[5]]


def mask_in_name(text: str) -> str:
    """A text that should be a name, with every secret masked, and also a key that stands there by itself."""
    text = mask_in_text(text)
    found = _KEY.sub(lambda key: mask(key[0]), text)
    if found == text and ("%" in text or "&" in text):
        plain = _unescaped(text)
        decoded = _KEY.sub(lambda key: mask(key[0]), plain)
        return decoded if decoded != plain else text
    return found


def mask_in_input(text: str) -> str:
    """A text with what somebody gave in it, with every secret masked, and also whatever looks random.

    Half a key, a key of another service or a line of a PEM file has nothing else that it could be known by.
    """
    return _TOKEN.sub(lambda found: _without_random(found[0]), _BYTES.sub(mask(""), mask_in_name(text)))


def looks_random(text: str) -> bool:
    """Whether a text holds a stretch that nobody would think of as a name."""
    # what cannot be printed comes out of a file that holds no text
    if _BYTES.search(text) or sum(not character.isprintable() for character in text) > _MOST_UNPRINTABLE:
        return True
    return any(_without_random(found[0]) != found[0] for found in _TOKEN.finditer(text))


def _without_random(token: str) -> str:
    """A token up to where it looks random. Base64 has slashes as well: parts that are no words are taken together."""
    if filled := _FILLED.search(token):
        return token[: filled.start()] + mask("")
    kept: list[str] = []
    for is_word, parts in itertools.groupby(token.split("/"), lambda part: _WORD.fullmatch(part) is not None):
        together = list(parts)
        if any(map(_is_random, together)) or (not is_word and _is_random("".join(together))):
            # what stands in front is of the same secret, unless it leads to it
            words = list(itertools.takewhile(_WORD.fullmatch, kept)) if token.startswith("/") else []
            return "/".join([*words, mask("")])
        kept += together
    return token


def _is_random(part: str) -> bool:
    if _GUID.search(part) or max(map(len, re.split("[-_.~]", part))) <= _LONGEST_GROUP:
        return False
    plain = re.sub(r"%2[0-9A-Fa-f]|[^A-Za-z0-9]", "", part)
    # folders that a program made have one case
    if len(plain) < _STRETCH and not all(re.search(kind, plain) for kind in ("[a-z]", "[A-Z]", "[0-9]")):
        return False
    begins = [found.start() for found in _PIECE.finditer(plain)]
    return any(end - begin < _STRETCH for begin, end in zip(begins, begins[_MANY_PIECES - 1 :], strict=False))


def _masked(text: str) -> str:
    return _JSON_MEMBER.sub(_mask_member, _PAIR.sub(_mask_pair, text))


def _mask_pair(found: re.Match[str]) -> str:
    name, value, pem, scheme, token, alone = found.groups()
    if pem:
        return str(pem) + mask("")
    if alone:
        # a private key shows nothing of itself
        return mask(alone if alone.startswith("eyJ") else "")
    return f"{name}{mask(value)}" if name else f"{scheme}{mask(token)}"


def _mask_member(found: re.Match[str]) -> str:
    return found[1] + mask(found[3]) if is_secret_name(found[2]) else found[0]


def _unescaped(text: str) -> str:
    """The text without escapes of URLs, JSON and HTML, also where they are escaped themselves."""
    for _ in range(_READINGS):
        if "%" not in text and "\\" not in text and "&" not in text:
            break
        before = text
        text = unquote(text)
        if "\\" in text:
            text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text).replace('\\"', '"')
        text = unescape(text)
        if text == before:
            break
    return text


def is_no_path(text: str) -> bool:
    """Whether a text that was given as the path of a file is rather what stands in one, such as a private key.

    What is there is a path, whatever this says.
    """
    if "-----BEGIN" in text or len(text) > _LONGEST_PATH or any(character in text for character in "\0\r\n"):
        return True
    if looks_random(text) or mask_in_name(text) != text or text.lstrip()[:1] in ("{", "["):
        return True
    # folders are called in one case or with few digits; random bytes have all of them
    kinds = ("[a-z]", "[A-Z]", "[0-9]")
    return _BASE64.fullmatch(text) is not None and all(len(re.findall(kind, text)) > 4 for kind in kinds)
