"""Secrets are masked wherever people put them, in every spelling; what is none stays."""

import base64
import hashlib
import json
from html import escape
from urllib.parse import quote

import pytest

from dps_simulator.common.clock import ManualClock
from dps_simulator.common.trace import Trace, redact
from dps_simulator.errors.masking import is_no_path, is_secret_name, mask, mask_in_name, mask_in_text
from dps_simulator.errors.table import Dps, ServiceError
from dps_simulator.settings.values import SettingsError, path
from helpers.masking import MaskedError

KEY = base64.b64encode(hashlib.sha256(b"nobody's key").digest()).decode()
PEM = f"-----BEGIN EC PRIVATE KEY-----\n{KEY}\n{KEY}\n-----END EC PRIVATE KEY-----\n"

#: Texts that people paste, with a key in them.
PASTED = {
    "connection string": f"HostName=h;DeviceId=d;SharedAccessKey={KEY}",
    "in small letters": f"hostname=h;sharedaccesskey={KEY}",
    "in capitals": f"HOSTNAME=H;SHAREDACCESSKEY={KEY}",
    "with blanks": f"HostName = h ; SharedAccessKey = {KEY}",
    "in words": f"Shared Access Key: {KEY}",
    "with underscores": f"shared_access_key={KEY}",
    "primary": f"primaryKey={KEY}",
    "secondary in words": f"Secondary Key: {KEY}",
    "quoted": f"SharedAccessKey='{KEY}'",
    "in double quotes": f'primary_key = "{KEY}"',
    "token": f"SharedAccessSignature sr=x&sig={KEY}&se=1",
    "token in other case": f"SharedAccessSignature sr=x&SIG={KEY}&se=1",
    "token in other order": f"sig={KEY}&sr=x",
    "address of a function": f"https://h/api?Code={KEY}",
    "JSON": json.dumps({"primaryKey": KEY}),
    "JSON with a blank in the name": json.dumps({"primaryKey ": KEY}),
    "JSON with spaces": json.dumps({"Secondary_Key": KEY}, indent=2),
    "JSON in JSON": json.dumps({"body": json.dumps({"primaryKey": KEY})}),
    "JSON with escapes": json.dumps({"primaryKey": KEY}).replace("primaryKey", "primary\\u004bey"),
    "private key": PEM,
    "private key in one line": PEM.replace("\n", "\\n"),
    "private key that is cut off": PEM[:-40],
    "bearer": f"Authorization: Bearer {KEY}",
    "password": f"password={KEY}",
}
ESCAPES = {
    "as it is": str,
    "percent": lambda text: quote(text, safe=""),
    "percent in small letters": lambda text: quote(text, safe="").lower() if text.islower() else quote(text),
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "JSON": json.dumps,
    "repr": repr,
}


@pytest.mark.parametrize("pasted", PASTED.values(), ids=PASTED)
def test_no_spelling_and_no_escape_hides_a_secret(pasted):
    for name, escaped in ESCAPES.items():
        for text in (escaped(pasted), f"before {escaped(pasted)} behind", f"devices/{escaped(pasted)}/x"):
            masked = mask_in_text(text)
            assert KEY[:12] not in masked, name
            assert quote(KEY, safe="")[:12] not in masked, name
            assert mask_in_text(masked) == masked, name


@pytest.mark.parametrize("pasted", PASTED.values(), ids=PASTED)
def test_no_field_of_the_trace_shows_a_secret(pasted):
    trace = Trace(ManualClock())
    trace.record(
        service="hub",
        host=pasted,
        device=pasted,
        direction="in",
        protocol="mqtt",
        operation=f"GET /{quote(pasted)}",
        detail={"clientId": pasted, "body": pasted.encode(), "nested": [{pasted: pasted}]},
    )
    assert KEY[:12] not in json.dumps([event.to_json() for event in trace.events()])


@pytest.mark.parametrize("pasted", PASTED.values(), ids=PASTED)
def test_no_error_shows_a_secret(pasted):
    for error in (
        ServiceError(Dps.INVALID_BODY, f"it is {pasted!r}", reason=pasted),
        SettingsError(f"hubs: {pasted!r}"),
        MaskedError(f"registration_id is {pasted!r:.200}"),
    ):
        assert KEY[:12] not in f"{error} {error!r} {error.args}"


def test_a_key_in_the_place_of_a_name_is_masked():
    for given in (
        KEY,
        f"the device {KEY!r} is not registered",
        quote(KEY, safe=""),
        base64.b64encode(b"k" * 64).decode(),
    ):
        assert KEY[:12] not in mask_in_name(given)
        assert "a2tra2tr" not in mask_in_name(given)


@pytest.mark.parametrize(
    "text",
    [
        "HostName=contoso.azure-devices.test;SharedAccessKeyName=owner",
        "signed=1&assigned=2&design=3",
        "the key of the group fits",
        "Custom allocation failed with status code: 404",
        "Primary key: This key has 3 bytes",
        "100 % of the keys",
        "a key: 'registration'",
        json.dumps({"keys": 3, "keyName": "registration", "type": "symmetricKey"}),
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "devices/d/messages/events/%24.ct=application%2Fjson&a=b",
        "thermostat-001",
        escape("<p>'keys' & \"codes\"</p>"),
    ],
)
def test_what_is_no_secret_stays(text):
    assert mask_in_text(text) == text
    assert redact({"text": text}) == {"text": text}


def test_the_last_line_of_a_certificate_is_no_key():
    certificate = f"-----BEGIN CERTIFICATE-----\n{'A' * 64}\n{KEY}\n-----END CERTIFICATE-----\n"
    for text in (certificate, repr(certificate)):
        assert mask_in_name(text) == text


def test_what_is_masked_stays_recognisable():
    assert mask_in_text("SharedAccessKey=abcdefghijkl1234;x=y") == "SharedAccessKey=****1234;x=y"
    assert mask(mask("abcdefghijkl1234")) == "****1234"
    assert is_secret_name(" Primary-Key ")
    assert not is_secret_name("keyName")


@pytest.mark.parametrize(
    "text", ["%25" * 20_000, "key" * 30_000, "primary key" + " " * 90_000, '"' * 90_000, "\\" * 90_000]
)
def test_long_texts_are_read_in_one_go(text):
    """A pattern that goes back and forth would take minutes for these; the whole file takes a second."""
    assert mask_in_text(text)


@pytest.mark.parametrize("text", [PEM, KEY + KEY, PEM.replace("\n", " "), "x" * 2_000, PEM.splitlines()[1] * 3])
def test_the_text_of_a_file_is_no_path(text):
    assert is_no_path(text)
    with pytest.raises(SettingsError, match="not its text") as caught:
        path(text)
    assert KEY[:8] not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["server.pem", "/home/contoso/.workspace/simulator-0ne00000A01/files/pump-001-certificate.pem", "~/a b/c"]
)
def test_paths_are_paths(text):
    assert not is_no_path(text)


def test_what_is_there_is_a_path(tmp_path):
    strange = tmp_path / "aAbBcC0123456789"
    strange.mkdir()
    assert path(str(strange)) == strange
