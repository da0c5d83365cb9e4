"""The pictures of a TPM, and the same as text."""

import base64
from dataclasses import dataclass
from xml.etree import ElementTree

import pytest

from helpers.tpm import ActivationBlob
from helpers.tpm.activation import FIELDS
from helpers.tpm.structures import EK_TEMPLATE, SRK_TEMPLATE, Attribute, CommandCode, sized
from helpers.views.picture import width_of
from helpers.views.sequence import refused, steps_of
from helpers.views.tpm import COMMANDS, PARTS, challenge_parts, command_table, inside_the_tpm, key_table

CHALLENGE = ActivationBlob(*(bytes([number]) * (number + 7) for number in range(6)))


@dataclass
class Exchange:
    command: str
    outcome: str = "success"


@dataclass
class Keys:
    endorsement_key: str = base64.b64encode(sized(EK_TEMPLATE)).decode()
    storage_root_key: str = base64.b64encode(sized(SRK_TEMPLATE)).decode()


def drawn(view):
    html = view.html()
    return ElementTree.fromstring(html[: html.index("</svg>") + 6])  # noqa: S314


PICTURES = [inside_the_tpm(), challenge_parts(CHALLENGE)]


@pytest.mark.parametrize("view", PICTURES, ids=["inside", "challenge"])
def test_pictures_are_readable_on_light_and_dark_pages_and_have_a_description(view):
    picture = drawn(view)
    assert picture.get("role") == "img"
    identifiers = [element.get("id") for element in picture.iter() if element.get("id")]
    assert picture.get("aria-labelledby").split() == identifiers
    colours = {element.get(kind) for element in picture.iter() for kind in ("fill", "stroke")}
    assert colours <= {None, "none", "currentColor"}


@pytest.mark.parametrize("view", PICTURES, ids=["inside", "challenge"])
def test_nothing_sticks_out_of_a_picture(view):
    picture = drawn(view)
    _, _, width, height = map(int, picture.get("viewBox").split())
    for element in picture.iter():
        if element.tag.endswith("text"):
            room = width_of(element.text, bold=element.get("font-weight") == "bold")
            assert int(element.get("x")) + room <= width, element.text
            assert int(element.get("y")) <= height
        if element.tag.endswith("rect"):
            assert int(element.get("x")) + int(element.get("width")) <= width
            assert int(element.get("y")) + int(element.get("height")) <= height


@pytest.mark.parametrize("view", PICTURES, ids=["inside", "challenge"])
def test_both_forms_are_offered_to_the_notebook(view):
    bundle = view._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/plain"] == str(view) == repr(view)
    assert "The same as text" in bundle["text/html"]


def test_what_is_inside_says_what_never_comes_out():
    text = str(inside_the_tpm()).splitlines()
    assert text[0] == "What is inside a TPM"
    assert "  └─ Key from DPS: arrives encrypted, is opened inside" in text
    assert "       comes out: signatures; never comes out: the key itself" in text
    assert sum("never comes out" in line for line in text) == 3
    said = [element.text for element in drawn(inside_the_tpm()).iter() if element.text]
    assert sum(each.startswith("never comes out") for each in said) == 3


def test_a_challenge_shows_sizes_and_never_contents():
    view = challenge_parts(CHALLENGE)
    lines = str(view).splitlines()
    assert lines[1].split("  ")[0] == "part"
    assert [line.split()[:3] for line in lines[3:]] == [
        [f"{number}.", name, str(number + 6)] for number, name in enumerate(FIELDS, 1)
    ]
    for part in ("0202020202", "AgICAg"):
        assert part not in view.html()


def test_every_part_of_a_challenge_has_its_words():
    assert list(PARTS) == list(FIELDS)


def test_the_keys_are_read_from_their_public_halves():
    lines = str(key_table(Keys())).splitlines()
    assert lines[0] == "Keys of this TPM"
    assert lines[3].split("  ")[0] == "endorsement key (EK)"
    for line in lines[3:]:
        assert line.split()[-6:] == ["yes", "no", "TPM", "structures", "only", "no"]
    signing = bytearray(SRK_TEMPLATE)
    signing[0:2] = b"\x00\x23"
    signing[4:8] = Attribute.SIGN.to_bytes(4, "big")
    other = Keys(storage_root_key=base64.b64encode(sized(bytes(signing))).decode())
    assert str(key_table(other)).splitlines()[4].split()[-5:] == ["0x0023", "no", "yes", "no", "yes"]
    signing[4:8] = (0x00020000).to_bytes(4, "big")
    other = Keys(storage_root_key=base64.b64encode(sized(bytes(signing))).decode())
    assert str(key_table(other)).splitlines()[4].split()[-2:] == ["yes", "no"]


def test_commands_in_their_order_with_their_outcome():
    view = command_table([Exchange("TPM2_ReadPublic", "TPM_RC_HANDLE"), Exchange("TPM2_Import"), Exchange("TPM2_New")])
    lines = str(view).splitlines()
    assert lines[0] == "What the TPM was asked to do"
    assert lines[3].split() == [
        "1",
        "TPM2_ReadPublic",
        "show",
        "the",
        "public",
        "half",
        "of",
        "a",
        "key",
        "TPM_RC_HANDLE",
    ]
    assert lines[5].split() == ["3", "TPM2_New", "success"]
    assert view.html().startswith("<table>")
    assert "(nothing)" in str(command_table([], title="Nothing happened"))


def test_every_command_that_we_send_has_its_words():
    missing = {f"TPM2_{code.name}" for code in CommandCode} - set(COMMANDS)
    assert missing <= {"TPM2_Startup"}


def event(operation, direction, status=None, **detail):
    return {
        "service": "provisioning",
        "operation": operation,
        "direction": direction,
        "status": status,
        "detail": detail,
        "device": "gateway",
    }


def test_a_challenge_is_drawn_as_a_question_and_a_refusal_as_one():
    challenge = event("register", "out", 401, challenge=True)
    no = event("register", "out", 401, reason="another TPM")
    assert not refused(challenge)
    assert refused(no)
    shown = steps_of([event("register", "in"), challenge, event("register", "in"), no])
    assert [str(step) for step in shown] == [
        "Device → DPS: register me",
        "DPS → Device: prove it: open this (401)",
        "Device → DPS: register me, the TPM has signed",
        "DPS → Device: refused, status 401",
    ]
    assert [step.failed for step in shown] == [False, False, False, True]
