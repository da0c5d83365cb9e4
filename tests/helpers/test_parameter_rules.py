"""What a notebook accepts as a parameter is what the service accepts, now and in every later cell."""

import ast
import json
import re
from pathlib import Path

import pytest
from azure.core.exceptions import HttpResponseError

from dps_simulator.common.identifier_rules import MAX_COMMON_NAME, MAX_ID_LENGTH
from dps_simulator.settings.values import host_name
from helpers import certificates, checks
from helpers.certificates import authority
from helpers.checks import ParameterError, check_parameters
from helpers.credentials import new_key, parse_connection_string
from helpers.parameter_rules import AUTHORITIES, MADE
from helpers.recipes import failures as failure_lessons
from helpers.recipes import x509 as x509_lessons
from helpers.target import normalised_host
from helpers.views.enrollment_document import FormError, build

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
PRINTABLE = [chr(code) for code in range(0x20, 0x7F)]
TEXTS = [
    *(f"a{character}b" for character in PRINTABLE),
    *(f"ab{character}" for character in PRINTABLE),
    *(f"{character}ab" for character in PRINTABLE),
    *PRINTABLE,
    *(f"ab{ending}" for ending in ("\n", "\r", "\r\n", "\t", "\0", "\x7f", "\u2028", "\u00a0")),
    *("käfer", "ß", "а-kyrillisch", "１２", "²", "\N{KELVIN SIGN}", "e\u0301", "🐝"),
    *("x" * length for length in (63, 64, 65, 127, 128, 129, 256)),
    *(f"{'x' * 127}{ending}" for ending in "-._:;é\n"),
]


def accepts(call, *arguments, errors=(ParameterError, FormError, HttpResponseError), **options):
    try:
        call(*arguments, **options)
    except errors:
        return False
    return True


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setattr(checks, "_say", lambda text: None)
    monkeypatch.setattr(checks.progress, "begin", lambda notebook: None)


def form(**fields):
    kind = "group" if "group_id" in fields else "individual"
    empty = {"registration_id": "", "device_id": "", "group_id": "", "primary_key": "", "secondary_key": ""}
    build(kind, "symmetricKey", {**empty, "allocation": "", "desired": "", "enabled": True, **fields})


@pytest.mark.sdk
@pytest.mark.parametrize("name", ["registration_id", "device_id", "group_id"])
def test_notebook_form_and_service_agree(dps, quiet, name):
    service = dps.service_client()
    proof = {"attestation": {"type": "symmetricKey"}}

    def send(text):
        if name == "group_id":
            service.enrollment_group.create_or_update(text, {"enrollmentGroupId": text, **proof})
            service.enrollment_group.delete(text)
            return
        registration_id = "d" if name == "device_id" else text
        given = {"deviceId": text} if name == "device_id" else {}
        service.enrollment.create_or_update(registration_id, {"registrationId": registration_id, **given, **proof})
        service.enrollment.delete(registration_id)

    for text in TEXTS:
        sent = accepts(send, text)
        accepted = accepts(check_parameters, "12_symmetric_key_start", **{name: text})
        if name == "device_id" and sent and re.search("[+#]", text):
            # the service takes them, and the device could never send a message
            assert not accepted
        else:
            assert accepted is sent, text
        if text == text.strip():
            # the form takes blanks off both ends, which people paste along
            fields = {"registration_id": "d", name: text} if name == "device_id" else {name: text}
            assert accepts(form, **fields) is sent, text


@pytest.mark.sdk
def test_notebook_and_service_agree_on_the_name_of_a_certificate(dps, quiet):
    root = certificates.create_root("Root")
    for text in ("a", "a.b_c-D9", "-", ".a", "a" * 64, "a" * 65, "a b", "a:b", "ä", "a\n", "a;b"):
        sent = accepts(x509_lessons.upload_authority, dps, text, root)
        assert accepts(check_parameters, "12_symmetric_key_start", authority_name=text) is sent, text


@pytest.mark.parametrize(
    "host",
    [
        *("my-hub.azure-devices.net", "MY-HUB.azure-devices.net", "1.2", f"{'a' * 63}.net", "a" * 63 + ".b" * 95),
        *(f"{'a' * 64}.net", "a" * 63 + ".b" * 96, "my_hub.azure-devices.net", "-a.net", "a-.net", "a..net", "hub"),
        *("a b.net", "ä.net", "a.net\n", "a.net:443", "a;b.net", ""),
    ],
)
def test_all_who_take_host_names_agree(host):
    def linked(text):
        parse_connection_string(f"HostName={text};SharedAccessKeyName=p;SharedAccessKey={new_key().reveal()}")

    known = accepts(host_name, host, errors=Exception)
    if host.endswith(("\n", ":443")):
        # what people paste along is taken off
        assert normalised_host(host) == "a.net"
        assert not known
    else:
        assert accepts(normalised_host, host, errors=Exception) is known
        assert accepts(linked, host, errors=Exception) is known


def code_of(notebook):
    cells = json.loads((NOTEBOOKS / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            yield ast.parse("".join(cell["source"]))


def parameters_of(notebook):
    return next(
        [statement.target.id for statement in code.body if isinstance(statement, ast.AnnAssign)]
        for code in code_of(notebook)
        if any(isinstance(statement, ast.AnnAssign) for statement in code.body)
    )


def template(node, names):
    """What an expression makes of one of these names: ``("group_id", "spare-{}")``; nothing when it makes no name."""
    if isinstance(node, ast.JoinedStr):
        parts = node.values
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [node.left, node.right]
    else:
        return None
    used, text = [], ""
    for part in parts:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            text += part.value
            continue
        inner = part.value if isinstance(part, ast.FormattedValue) else part
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
            inner = inner.func.value
        if isinstance(inner, ast.Name) and inner.id in names:
            used.append(inner.id)
            text += "{}"
        elif isinstance(inner, ast.Name) and inner.id == "number":
            text += "001"
        else:
            return None
    is_name = len(used) == 1 and re.fullmatch(r"[A-Za-z0-9._:-]*\{\}[A-Za-z0-9._:-]*", text)
    return (used[0], text) if is_name and re.search(r"[a-z0-9]", text) else None


PARAMETERS = [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb")) if "check_parameters" in path.read_text("utf-8")]


@pytest.mark.parametrize("notebook", PARAMETERS)
def test_what_a_notebook_makes_of_its_parameters_is_known(notebook):
    names = parameters_of(notebook)
    # services are called after the prefix, whose own rule leaves room for what follows
    names = [name for name in names if name != "prefix"]
    made = {found for code in code_of(notebook) for node in ast.walk(code) if (found := template(node, names))}
    known = {(each.parameter, each.template) for each in MADE.get(notebook, ()) if each.template != "{}"}
    in_helpers = {("member_id", "{}-certified"), ("group_id", "{}-certified")} if notebook.startswith("51") else set()
    assert made | in_helpers == known
    assert failure_lessons.WITH_CERTIFICATE == "-certified"


def test_the_authorities_are_those_of_the_lessons():
    for notebook in ("21_x509_enroll", "22_x509_start", "23_x509_verify"):
        assert AUTHORITIES[notebook] == (x509_lessons.ROOT_NAME, x509_lessons.LINE_NAME)
    assert AUTHORITIES["51_when_it_fails"] == (failure_lessons.ROOT_NAME, failure_lessons.LINE_NAME)
    assert authority.MAX_COMMON_NAME == MAX_COMMON_NAME


@pytest.mark.parametrize(
    ("notebook", "name", "most"),
    [
        ("00_start_here", "registration_id", 125),
        ("11_symmetric_key_enroll", "registration_id", 128),
        ("11_symmetric_key_enroll", "group_id", 122),
        ("12_symmetric_key_start", "group_id", 128),
        ("21_x509_enroll", "registration_id", 64),
        ("23_x509_verify", "member_id", 64),
        ("21_x509_enroll", "group_id", 128),
        ("31_tpm_enroll", "registration_id", 128),
        ("41_load_balanced_hubs", "group_id", 124),
        ("42_reprovision_and_retire", "registration_id", 59),
        ("42_reprovision_and_retire", "member_id", 118),
        ("51_when_it_fails", "member_id", 54),
        ("51_when_it_fails", "group_id", 118),
        ("52_provision_a_fleet", "group_id", 124),
    ],
)
def test_a_name_leaves_room_for_what_is_made_of_it(quiet, notebook, name, most):
    values = {"registration_id": "r", "member_id": "m", "group_id": "g"}
    check_parameters(notebook, **{**values, name: "x" * most})
    with pytest.raises(ParameterError) as problem:
        check_parameters(notebook, **{**values, name: "x" * (most + 1)})
    assert f"{name} is 'xxx" in str(problem.value)
    assert f"({most + 1} characters)" in str(problem.value)
    if most < MAX_ID_LENGTH:
        assert f"Use at most {most} characters here." in str(problem.value)


def test_the_first_notebook_takes_off_what_it_replaces(quiet):
    check_parameters("00_start_here", registration_id="first-" + "x" * 122)
    check_parameters("00_start_here", registration_id="first-")


@pytest.mark.parametrize(
    ("notebook", "values", "says"),
    [
        ("12_symmetric_key_start", {"registration_id": "a", "member_id": "A"}, "are both 'A'; two devices need two"),
        ("12_symmetric_key_start", {"device_id": "m", "member_id": "m"}, "device_id and member_id are both 'm'"),
        ("42_reprovision_and_retire", {"registration_id": "k", "member_id": "K-chip"}, "calls two devices 'k-chip'"),
        (
            "42_reprovision_and_retire",
            {"registration_id": "k-neighbour", "member_id": "k"},
            "two devices 'k-neighbour'",
        ),
        ("51_when_it_fails", {"registration_id": "m-hurried", "member_id": "m"}, "two devices 'm-hurried'"),
        ("21_x509_enroll", {"registration_id": "a:b", "member_id": "a-b"}, "kept in the same file, 'a-b.pem'"),
        ("21_x509_enroll", {"registration_id": "a", "member_id": "a-chain"}, "kept in the same file, 'a-chain.pem'"),
        ("22_x509_start", {"registration_id": "contoso-pumps-root", "member_id": "a"}, "'Contoso-Pumps-Root.pem'"),
    ],
)
def test_names_that_do_not_go_together(quiet, notebook, values, says):
    with pytest.raises(ParameterError) as problem:
        check_parameters(notebook, **values)
    assert says in str(problem.value)


def test_names_that_only_look_alike_go_together(quiet):
    check_parameters("12_symmetric_key_start", device_id="M", member_id="m", registration_id="a", group_id="a")
    check_parameters("31_tpm_enroll", tpm_kind="embedded", registration_id="", device_id="")


@pytest.mark.parametrize(
    "value", [None, True, False, 0, -1, 7, 1.5, float("nan"), b"a", ["a"], {}, Path("a")], ids=repr
)
@pytest.mark.parametrize("name", ["target", "registration_id", "device_id", "tpm_kind", "webhook_url", "reset"])
def test_what_is_no_text_is_refused_with_its_type(quiet, name, value):
    with pytest.raises(ParameterError, match=rf"{name} is .*of type {type(value).__name__}; it must be text"):
        check_parameters("12_symmetric_key_start", **{name: value})


AZURE = {"target": "azure", "run_commands": True, "prefix": "contoso", "region": "westeurope", "tier": "F1", "hubs": 1}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"target": "simulator"}, "set target to 'azure', too"),
        ({"run_commands": "yes"}, "must be True or False"),
        ({"run_commands": 1}, "must be True or False"),
        ({"hubs": 3}, "must be 1 or 2"),
        ({"hubs": True}, "must be 1 or 2"),
        ({"prefix": "Contoso"}, "small letters"),
        ({"prefix": "contoso-"}, "no hyphen at the end"),
        ({"prefix": "a--b"}, "single hyphens"),
        ({"prefix": "a; rm"}, "small letters"),
        ({"region": "West Europe"}, "in one word"),
        ({"tier": "B1"}, "'F1'"),
    ],
)
def test_what_azure_would_refuse_is_refused_before(quiet, changed, says):
    check_parameters("61_run_on_azure", **AZURE)
    with pytest.raises(ParameterError, match=re.escape(says)):
        check_parameters("61_run_on_azure", **{**AZURE, **changed})


def test_names_of_services_fit_with_what_follows_the_prefix(quiet):
    longest = {**AZURE, "prefix": "a" * 40}
    check_parameters("61_run_on_azure", **longest)
    # a hub has at most 50 characters
    assert len(f"{longest['prefix']}-hub-2") <= 50
