"""What a file is that was given as a certificate or a key and holds none in PEM, and how one makes PEM of it.

The SDK gives files to OpenSSL, which reads PEM and nothing else. Programs hand out a dozen other formats, and text
programs change PEM. Nothing of a file is quoted here: it may be a private key.

Source: RFC 7468 (PEM), RFC 7292 (PKCS #12), RFC 5652 (PKCS #7), RFC 7517 (JWK).
"""

from __future__ import annotations

import re
import shlex

from dps_simulator.certificates import wide_encoding

#: Labels of PEM that are neither a certificate nor a private key, with what to do.
_OTHER_LABELS = {
    "CERTIFICATE REQUEST": "It holds a request for a certificate; give what the authority made of it.",
    "NEW CERTIFICATE REQUEST": "It holds a request for a certificate; give what the authority made of it.",
    "PKCS7": "It holds PKCS #7; take it apart with: openssl pkcs7 -print_certs -in {name}",
    "CMS": "It holds CMS, which is PKCS #7; take it apart with: openssl cms -verify -noverify -certsout NEW -in {name}",
    "PUBLIC KEY": "It holds a public key, which is not enough.",
    "RSA PUBLIC KEY": "It holds a public key, which is not enough.",
    "SSH2 PUBLIC KEY": "It holds a public key of SSH, which is not enough.",
    "X509 CRL": "It holds a list of revoked certificates.",
}
_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
#: The lines of the frame, as text programs leave them: other dashes, fewer of them, small letters.
_FRAME = re.compile(
    r"(?<![a-z])begin ((x509 |trusted )?certificate|([a-z0-9]+ )*private key)(?![a-z])", re.IGNORECASE | re.ASCII
)
#: In front of the content: a PKCS #12 has version 3, a PKCS #7 its number.
_PKCS12 = re.compile(rb"\x30[\x80-\x84].{0,4}\x02\x01\x03\x30", re.DOTALL)
_PKCS7 = bytes.fromhex("06092a864886f70d0107")
_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]{40,}={0,2}\s*")
_BEGINNINGS = (
    (b"PuTTY-User-Key-File", "It is a key of PuTTY; export it with PuTTYgen (Conversions), and make PEM of that."),
    (b"ssh-", "It holds a public key of SSH, which is not enough."),
    (b"ecdsa-sha2-", "It holds a public key of SSH, which is not enough."),
    (
        b"\xfe\xed\xfe\xed",
        "It is a key store of Java; first make PKCS #12 of it: keytool -importkeystore -deststoretype PKCS12",
    ),
    (b"PK\x03\x04", "It is a ZIP archive; unpack it, and give the file in it."),
    (b"\x1f\x8b", "It is compressed with gzip; unpack it, and give the file in it."),
    (b"{", "It is JSON; where that has a certificate or a key, save that alone, each \\n as a line end."),
    (b"<", "It is HTML or XML, as when a page was saved instead of the file behind it."),
)


def instead_of_pem(name: str, data: bytes) -> str:
    """What a file seems to be, and what to do about it.

    Arguments:
        name: how it is called; it stands in commands.
        data: what is in it.

    Returns:
        Sentences with a blank in front; empty when nothing is known.
    """
    quoted = shlex.quote(name)
    text, start = data.decode("latin-1"), data.lstrip(b"\xef\xbb\xbf \t\r\n")
    wide = wide_encoding(data)
    label = _LABEL.search(data)
    known = _OTHER_LABELS.get(label[1].decode("ascii"), "") if label else ""
    hints = (
        (not data.strip(b"\0 \t\r\n\xef\xbb\xbf"), "It is empty."),
        (
            bool(wide),
            (
                f"It is text in {wide}, as Windows PowerShell's > writes it, and OpenSSL reads ASCII. Save it again "
                f"with this encoding: Get-Content {name} | Set-Content -Encoding ascii NEW"
            ),
        ),
        (bool(known), known.format(name=quoted)),
        (
            name.lower().endswith((".pfx", ".p12")) or _PKCS12.match(data) is not None,
            f"It is a PKCS #12 file; take it apart with: openssl pkcs12 -in {quoted} -nodes",
        ),
        (
            data[:1] == b"\x30" and _PKCS7 in data[:40],
            f"It is a PKCS #7 file; take it apart with: openssl pkcs7 -print_certs -inform DER -in {quoted}",
        ),
        (data[:1] == b"\x30", "It looks like DER (.cer); the SDK wants PEM (.pem)."),
        (
            _FRAME.search(text) is not None,
            (
                "The lines BEGIN and END are there, but not as they were: each has five hyphens (-) on both sides and "
                "capital letters. A text program may have changed them; copy the file itself."
            ),
        ),
        (
            _BASE64.fullmatch(data.strip()) is not None,
            "It may be base64 without its frame; put the lines BEGIN and END around it, as PEM has them.",
        ),
        *((start.startswith(beginning), hint) for beginning, hint in _BEGINNINGS),
    )
    found = next((hint for fits, hint in hints if fits), "")
    return f" {found}" if found else ""
