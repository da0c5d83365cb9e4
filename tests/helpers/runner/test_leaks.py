import base64
import hashlib

import pytest

from helpers.runner import leaks

KEY = base64.b64encode(hashlib.sha256(b"made up").digest()).decode()
LONG_KEY = base64.b64encode(hashlib.sha512(b"made up").digest()).decode()

SECRETS = {
    "connection string": (f"HostName=h.test;SharedAccessKeyName=o;SharedAccessKey={KEY}", "a shared access key"),
    "token": (f"SharedAccessSignature sr=h.test&sig={KEY}&se=1", "a shared access signature"),
    "signature": ("/x?sig=abcdefgh%2Bijkl", "a signature"),
    "private key": ("-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----", "a private key"),
    "plain private key": ("-----BEGIN PRIVATE KEY-----\nMHcC", "a private key"),
    "key": (f"the key {KEY}", "a base64 key"),
    "long key": (f"'{LONG_KEY}'", "a base64 key"),
    "unpadded key": (KEY.rstrip("="), "a base64 key"),
    "escaped for HTML": ("Shared&#65;ccessKey=abcdefghijkl", "a shared access key"),
    "escaped for URLs": ("SharedAccessKey%3Dabcdefghijkl", "a shared access key"),
}
HARMLESS = [
    "SharedAccessKey=****abcd",
    "SharedAccessSignature sr=****&sig=****abcd",
    "SharedAccessKey=…",
    "A token begins with 'SharedAccessSignature sr='. <code>SharedAccessSignature sr=&#x27;</code>",
    hashlib.sha256(b"thumbprint").hexdigest(),
    "a" * 64,
    "PRIVATE KEY",
    "iVBORw0KGgo" + "A1b2" * 60,
    "https://learn.microsoft.com/azure/iot-dps/concepts-symmetric-key-attestation",
    "/dps/registrations/res/200/and/more/segments/of/a/path/that/is/long",
]


@pytest.mark.parametrize(("text", "kind"), SECRETS.values(), ids=SECRETS)
def test_secrets_are_found(text, kind):
    assert kind in leaks.secrets(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_is_left_alone(text):
    assert leaks.secrets(text) == []
    assert leaks.masked(text) == text


@pytest.mark.parametrize("text", [text for name, (text, _) in SECRETS.items() if not name.startswith("escaped")])
def test_masked_text_holds_no_secret(text):
    masked = leaks.masked(text)
    assert leaks.secrets(masked) == []
    assert "****" in masked


def test_a_mask_keeps_what_surrounds_the_secret_and_its_last_four_characters():
    text = f"a SharedAccessKey={KEY};b sig={KEY} c"
    assert leaks.masked(text) == f"a SharedAccessKey=****{KEY[-4:]};b sig=****{KEY[-4:]} c"
    assert leaks.masked("-----BEGIN PRIVATE KEY-----abcd-----END") == "-----BEGIN PRIVATE KEY-----****-----END"


def test_paths_of_one_machine_are_found():
    assert leaks.machine_paths("see /home/ada/x.pem and C:\\Users, /Users/y") == ["/home/ada", "C:\\Users", "/Users/y"]
    assert leaks.machine_paths("https://host/home/x ./tmp/x /dps/registrations docs/home/x") == []
