from pathlib import Path
from types import SimpleNamespace

import cryptography_vectors
import pytest
from azure.iot.device import X509
from azure.iot.device.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from helpers import certificates, workspace
from helpers.certificates import mistakes
from helpers.exercises import x509 as exercises
from helpers.recipes import x509 as x509_lessons

CODE = "A-CODE"
NONSENSE = [None, 7, "x", [], [7], {}, True, object(), b"bytes", len, "-----BEGIN CERTIFICATE-----"]


@pytest.fixture(scope="module")
def pumps():
    """The certificates of the notebooks."""
    root = certificates.create_root("Contoso Pumps Root")
    line = root.issue_intermediate("Contoso Pumps Line 1")
    return SimpleNamespace(root=root, line=line, member=line.issue_device("pump-101"))


MEMBERS = {
    "by the line": (lambda p: p.line.issue_device("pump-102"), "solved"),
    "only its text": (lambda p: p.line.issue_device("pump-102").certificate, "the text of a certificate"),
    "by the root": (lambda p: p.root.issue_device("pump-102"), "signed by Contoso Pumps Root"),
    "by itself": (lambda p: certificates.create_self_signed("pump-102"), "It signs itself"),
    "of the first member": (lambda p: p.member, "It is for pump-101"),
    "upper case": (lambda p: p.line.issue_device("PUMP-102"), "wrong case"),
    "an authority": (lambda p: p.line.issue_intermediate("pump-102"), "may sign others"),
    "the line itself": (lambda p: p.line, "That is the line itself"),
    "by a namesake of the line": (
        lambda p: certificates.create_root(p.line.common_name).issue_device("pump-102"),
        "another key",
    ),
}


@pytest.mark.parametrize(("make", "says"), MEMBERS.values(), ids=MEMBERS)
def test_member_certificate(said, pumps, make, says):
    assert says in said(exercises.member_certificate, make(pumps), pumps.line, "pump-102")


def _self_signed(name):
    key = certificates.new_key("ec")
    built = certificates.build(name, key.public_key(), key, days=1, extensions=[])
    return built.public_bytes(serialization.Encoding.PEM).decode()


STRANGE = Path(cryptography_vectors.__file__).parent / "x509" / "custom" / "invalid_version.pem"
PROOFS = {
    "right": (lambda p: p.root.prove_possession(CODE), "solved"),
    "nothing": (lambda p: "", "in one line"),
    "the code": (lambda p: CODE, "the code itself"),
    "no certificate": (lambda p: "proof", "not a certificate"),
    "the root": (lambda p: p.root.certificate, "to show it proves nothing"),
    "of a version that nobody knows": (lambda p: STRANGE.read_text(), "not a certificate"),
    "by the line": (lambda p: p.line.prove_possession(CODE), "The line signed this"),
    "by itself": (lambda p: _self_signed(CODE), "It signs itself"),
    "by a stranger": (lambda p: mistakes_root(p).prove_possession(CODE), "signature does not fit"),
    "named like the root": (lambda p: p.root.prove_possession(p.root.common_name), "not the name of the authority"),
    "for another code": (lambda p: p.root.prove_possession("EARLIER"), "another code"),
    "with the key": (lambda p: p.root.prove_possession(CODE) + p.root.key.reveal(), "private key in it"),
    "with the root": (lambda p: p.root.prove_possession(CODE) + p.root.certificate, "One certificate is enough"),
}


def mistakes_root(pumps):
    return certificates.create_root(pumps.root.common_name)


@pytest.mark.parametrize(("make", "says"), PROOFS.values(), ids=PROOFS)
def test_possession(said, pumps, make, says):
    assert says in said(exercises.possession, make(pumps), pumps.root, pumps.line, CODE)


CHAINS = {
    "right": (lambda m, i, r: m + i, "solved"),
    "nothing": (lambda m, i, r: "", "First whose key"),
    "a list of nothing": (lambda m, i, r: [], "First whose key"),
    "only the leaf": (lambda m, i, r: m, "Only the device's own"),
    "root sent along": (lambda m, i, r: m + i + r, "not the shortest"),
    "the line first": (lambda m, i, r: i + m, "the device comes first"),
    "the root second": (lambda m, i, r: m + r + i, "the line signed the device"),
    "a gap": (lambda m, i, r: m + r, "There is a gap"),
    "without the device": (lambda m, i, r: i + r, "pump-101 itself is missing"),
    "twice": (lambda m, i, r: m + i + i, "twice"),
    "a list": (lambda m, i, r: [m, i], "is one text"),
    "glued together": (lambda m, i, r: m.strip()[:-3] + i, "cannot be read"),
}


@pytest.mark.parametrize(("join", "says"), CHAINS.values(), ids=CHAINS)
def test_chain(said, pumps, join, says):
    parts = [each.certificate for each in (pumps.member, pumps.line, pumps.root)]
    assert says in said(exercises.chain, join(*parts), pumps.member, pumps.line, pumps.root)


def test_a_chain_with_the_private_key_in_it(said, pumps):
    answer = pumps.member.certificate + pumps.line.certificate + pumps.member.key.reveal()
    hint = said(exercises.chain, answer, pumps.member, pumps.line, pumps.root)
    assert "private key" in hint
    assert pumps.member.key.reveal() not in hint


@pytest.mark.parametrize(
    ("letter", "says"),
    [
        ("D", "solved"),
        (" d ", "solved"),
        ("", "one letter"),
        ("F", "one letter"),
        ("A", "Check the signature"),
        ("B", "not_valid_after_utc"),
        ("C", "CA:TRUE"),
        ("E", "not the registration ID"),
    ],
)
def test_good_suspect(said, letter, says):
    assert says in said(exercises.good_suspect, letter)


def test_the_suspects_are_what_the_hints_say(pumps):
    suspects = exercises.suspects(pumps.line, "pump-101")
    assert list(suspects) == ["A", "B", "C", "D", "E"]
    signed = {letter for letter, each in suspects.items() if exercises.is_signed_by(each.parsed, pumps.line.parsed)}
    assert signed == {"B", "C", "D", "E"}
    now = pumps.member.parsed.not_valid_before_utc
    assert {letter for letter, each in suspects.items() if each.parsed.not_valid_after_utc < now} == {"B"}
    assert {letter for letter, each in suspects.items() if each.common_name != "pump-101"} == {"E"}
    assert {letter for letter, each in suspects.items() if "authority" in repr(each)} == {"C"}
    assert suspects["A"].parsed.issuer == pumps.line.parsed.subject


class Hub:
    """A target whose hub knows one thumbprint of one device."""

    def __init__(self, thumbprint):
        self.thumbprint = thumbprint

    def registry(self, hub):
        assert hub == "hub-1"
        return self

    def get_device(self, device_id):
        if not self.thumbprint:
            raise ConnectionError(device_id)
        prints = SimpleNamespace(primary_thumbprint=self.thumbprint.lower(), secondary_thumbprint=None)
        return SimpleNamespace(authentication=SimpleNamespace(x509_thumbprint=prints))


def _result(device_id="pump-101"):
    return SimpleNamespace(registration_state=SimpleNamespace(assigned_hub="hub-1", device_id=device_id))


RENEWED = {
    "right": (lambda p, new: (new, _result(), new.thumbprint), "solved"),
    "hub with SHA-1": (lambda p, new: (new, _result(), new.sha1_thumbprint), "solved"),
    "nothing": (lambda p, new: (None, None, ""), "member.renew()"),
    "the same": (lambda p, new: (p.member, _result(), p.member.thumbprint), "had already"),
    "another device": (lambda p, new: (p.line.issue_device("pump-001"), None, ""), "This one is for pump-001"),
    "by itself": (lambda p, new: (certificates.create_self_signed("pump-101"), None, ""), "It signs itself"),
    "by the root": (lambda p, new: (p.root.issue_device("pump-101"), None, ""), "Somebody else"),
    "not booted": (lambda p, new: (new, None, ""), "let the device boot"),
    "another device booted": (lambda p, new: (new, _result("cellar-pump"), new.thumbprint), "Another device"),
    "booted with the old one": (lambda p, new: (new, _result(), p.member.thumbprint), "its old certificate"),
    "hub away": (lambda p, new: (new, _result(), ""), "could not be asked"),
    "hub knows a third one": (lambda p, new: (new, _result(), "AB" * 32), "learns of it"),
}


@pytest.mark.parametrize(("make", "says"), RENEWED.values(), ids=RENEWED)
def test_renewed_member(said, pumps, make, says):
    new, result, known = make(pumps, pumps.line.issue_device("pump-101"))
    hint = said(exercises.renewed_member, new, result, pumps.member, Hub(known))
    assert says in hint


def test_a_member_whose_chain_is_not_at_hand_is_not_solved(said, pumps):
    alone = mistakes.leaf_only(pumps.member)
    new = pumps.line.issue_device("pump-101")
    assert "Somebody else" in said(exercises.renewed_member, new, _result(), alone, Hub(new.thumbprint))


def _colons(digits):
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


THUMBPRINTS = {
    "right": (lambda new, old: new.thumbprint, "solved"),
    "colons": (lambda new, old: _colons(new.thumbprint), "Take out the colons"),
    "small": (lambda new, old: new.thumbprint.lower(), "in capitals"),
    "spaces": (lambda new, old: new.thumbprint[:8] + " " + new.thumbprint[8:], "Only the digits"),
    "SHA-1": (lambda new, old: new.sha1_thumbprint, "That is SHA-1"),
    "SHA-1 with colons": (lambda new, old: _colons(new.sha1_thumbprint), "That is SHA-1"),
    "of the old one": (lambda new, old: old.thumbprint, "the old certificate"),
    "of the text": (lambda new, old: exercises._of_text(new), "hashed the text"),
    "too short": (lambda new, old: new.thumbprint[:-1], "63 digits"),
    "bytes": (lambda new, old: bytes.fromhex(new.thumbprint), "Those are bytes"),
    "another": (lambda new, old: "AB" * 32, "Load the file"),
    "nothing": (lambda new, old: "", "Load the file"),
}


@pytest.mark.parametrize(("make", "says"), THUMBPRINTS.values(), ids=THUMBPRINTS)
def test_thumbprint(said, pumps, make, says):
    old, new = pumps.member, pumps.line.issue_device("pump-101")
    assert says in said(exercises.thumbprint, make(new, old), new, old)


@pytest.mark.parametrize("answer", NONSENSE, ids=lambda answer: type(answer).__name__)
def test_nonsense_gets_a_hint(said, pumps, answer):
    member, line, root = pumps.member, pumps.line, pumps.root
    hints = [
        said(exercises.member_certificate, answer, line, "pump-102"),
        said(exercises.possession, answer, root, line, CODE),
        said(exercises.chain, answer, member, line, root),
        said(exercises.good_suspect, answer),
        said(exercises.renewed_member, answer, answer, member, Hub("")),
        said(exercises.renewed_member, line.issue_device("pump-101"), answer, member, Hub("")),
        said(exercises.thumbprint, answer, member, line.issue_device("pump-101")),
    ]
    assert all(hint not in ("", "solved") for hint in hints)


def test_a_certificate_without_a_common_name_is_nobodys():
    assert exercises._name(x509.Name([])) == "nobody"


@pytest.mark.sdk
def test_dps_judges_suspects_and_chain_as_the_exercises_do(dps):
    names = {"registration_id": "pump-001", "device_id": "", "group_id": "pumps", "member_id": "pump-101"}
    workspace.need(x509_lessons.ENROLLMENTS, dps, **names, authority_name="contoso-pumps-root")
    folder = workspace.folder(x509_lessons.FILES, dps)
    line = certificates.load(folder, x509_lessons.LINE_NAME)
    tries = workspace.folder(x509_lessons.TRIES, dps)
    let_in = set()
    for letter, each in exercises.suspects(line, "pump-101").items():
        files = each.save(tries / letter)
        if letter == "D":
            # the shortest chain: without the root
            files.chain_file.write_text(each.certificate + line.certificate, encoding="ascii")
        try:
            x509_lessons.register_device(dps, "pump-101", X509(str(files.chain_file), str(files.key_file)))
        except ClientError:
            continue
        let_in.add(letter)
    assert let_in == {"D"}
