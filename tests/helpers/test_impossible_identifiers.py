"""What is wrong with names and hosts, in words that repeat nothing that may be a key."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dps_simulator.common.identifier_rules import DEVICE_ID, HOST, REGISTRATION_ID
from helpers.credentials import new_key
from helpers.identifiers import (
    bare_host,
    device_id_problem,
    host_problem,
    id_scope_problem,
    registration_id_problem,
    words_problem,
)

KEY = new_key().reveal()


@given(st.one_of(st.text(max_size=140), st.text("aZ9._:-%+#é \n", max_size=6)))
@example("pump-1\n")
@example("a" * 129)
def test_problems_and_rules_agree(text):
    assert (registration_id_problem(text) == "") is bool(REGISTRATION_ID.fullmatch(text))
    assert (device_id_problem(text) == "") is bool(DEVICE_ID.fullmatch(text))
    assert (host_problem(text) == "") is bool(HOST.fullmatch(text.lower().removesuffix(".")))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        ("  ", "it consists of blanks only"),
        ("pump-1\r\n", "it ends in a line break"),
        ("\tpump-1", "it begins with a tabulator"),
        ("\ufeffpump-1", "begins with the character U+FEFF"),
        ("pump 1", "a blank inside"),
        ("pump/1", "'/' inside"),
        ("pümp", "U+00FC (latin small letter u with diaeresis)"),
        ("pump_", "it ends in '_'"),
        ("a" * 129, "129 characters"),
        (7, "of type int"),
        (None, "of type NoneType"),
    ],
)
def test_a_registration_id_that_cannot_be(text, says):
    assert says in registration_id_problem(text)


def test_what_stands_in_the_wrong_place_is_not_repeated():
    string = f"HostName=hub.test;SharedAccessKeyName=p;SharedAccessKey={KEY}"
    for problem in (registration_id_problem, device_id_problem, host_problem, id_scope_problem, words_problem):
        for text in (KEY, string, f"SharedAccessSignature sr=x&sig={KEY}"):
            assert KEY[:8] not in problem(text)
    assert id_scope_problem("0ne00000A01") == ""
    assert "':' inside" in id_scope_problem("https://x")
    assert words_problem("my policy") == ""
    assert "type int" in words_problem(7)


PASTED = [
    "https://{}",
    "HTTPS://{}/",
    "{}/",
    "{}:443",
    "mqtts://{}:8883/x?y#z",
    " {}\n",
    "'{}'",
    "“{}”",
    "{}.",
    "me@{}",
]


@pytest.mark.parametrize("pasted", PASTED)
def test_hosts_as_people_paste_them(pasted):
    text = pasted.format("My-Hub.azure-devices.net")
    assert bare_host(text) == "my-hub.azure-devices.net"
    assert host_problem(text) or pasted == "{}."


def test_what_is_no_address_at_all_is_no_host():
    assert bare_host("https://[") == ""
    assert host_problem(7) == "it is no text, but of type int"
    assert "with dots" in host_problem("localhost")
