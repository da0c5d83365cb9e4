import sys
import types

import pytest

from helpers import checks, workspace
from helpers.checks import CheckFailed, ParameterError, check_parameters, exercise, expect_failure, step, wait_until

GOOD = {
    "target": "simulator",
    "registration_id": "thermostat-001",
    "device_id": "",
    "group_id": "thermostats",
    "member_id": "thermostat-101",
}


@pytest.fixture
def cells(monkeypatch):
    """The inputs of a notebook so far, as IPython keeps them."""
    main = types.ModuleType("__main__")
    main.In = [""]
    monkeypatch.setitem(sys.modules, "__main__", main)
    return main.In


def test_good_parameters_are_ok(cells, capsys):
    check_parameters("11_name", **GOOD)
    check_parameters("11_name", target="azure")
    assert capsys.readouterr().out == "Parameters: ok\nParameters: ok\n"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("target", "aws", "'simulator' or 'azure'"),
        ("target", None, "NoneType; it must be text."),
        ("registration_id", 7, "-r registration_id VALUE"),
        ("registration_id", "", "up to 128 letters"),
        ("registration_id", "ends with.", "up to 128 letters"),
        ("registration_id", "x" * 129, "up to 128 letters"),
        ("device_id", "a b", "up to 128 letters"),
        ("device_id", True, "of type bool"),
        ("member_id", "Thermostat-001", "two devices need two names"),
        ("speed", "1", "no rule is known"),
        ("reset", "maybe", "'yes' or 'no'"),
        ("webhook_url", "http://contoso.net/api", "begins with https://"),
        ("webhook_url", "https://contoso.net/a b", "begins with https://"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_right(cells, name, value, says):
    with pytest.raises(ParameterError) as problem:
        check_parameters("11_name", **{**GOOD, name: value})
    assert name in str(problem.value)
    assert says in str(problem.value)


def test_the_key_in_an_address_is_not_shown(cells, capsys):
    with pytest.raises(ParameterError, match=r"webhook_url is 'contoso.net/api\?\*\*\*\*'") as problem:
        check_parameters("11_name", webhook_url="contoso.net/api?code=secret")
    assert "secret" not in str(problem.value)
    check_parameters("11_name", webhook_url="")
    check_parameters("11_name", webhook_url="https://contoso.azurewebsites.net/api/choose-hub?code=abc==")
    assert capsys.readouterr().out == "Parameters: ok\n" * 2


def test_all_wrong_parameters_are_named_at_once(cells):
    with pytest.raises(ParameterError) as problem:
        check_parameters("11_name", target="x", registration_id=1)
    assert len(str(problem.value).splitlines()) == 2


def test_a_parameter_that_papermill_invented_is_refused(cells, capsys):
    cells += ["# Parameters\ntarget = 'azure'\nregistration = 'x'\n", "check_parameters(...)"]
    with pytest.raises(ParameterError, match=r"registration: this notebook has no such parameter\. It has target"):
        check_parameters("11_name", target="azure")
    cells[1] = "# Parameters\ntarget = 'azure'\nprint(1)\na.b = 2\n"
    check_parameters("11_name", target="azure")
    cells[1] = "registration = 'a cell of the learner'"
    check_parameters("11_name", target="azure")


def test_a_step_passes_or_raises_with_a_hint(capsys):
    step("it works", 1, hint="h")
    assert capsys.readouterr().out == "✓ passed: it works\n"
    with pytest.raises(CheckFailed, match="Not so: it works") as problem:
        step("it works", [], hint="look there")
    assert "Hint: look there" in str(problem.value)
    assert isinstance(problem.value, AssertionError)


def test_an_exercise_never_raises(capsys):
    exercise("the key", False, hint="try HMAC")
    exercise("the key", True, hint="try HMAC")
    assert capsys.readouterr().out == "○ not yet: the key\n  Hint: try HMAC\n✓ solved: the key\n"


def test_waiting_ends_when_it_is_true_or_the_time_is_up():
    answers = iter([False, False, True])
    wait_until("it comes", lambda: next(answers), hint="h", pause=0)
    with pytest.raises(CheckFailed, match="it comes"):
        wait_until("it comes", lambda: 0, hint="h", seconds=0.02, pause=0.01)


def test_the_expected_failure_passes_and_is_kept(capsys):
    with expect_failure(ValueError, containing="401") as failure:
        try:
            raise KeyError("status 401")
        except KeyError as cause:
            raise ValueError("outer") from cause
    assert str(failure.error) == "outer"
    assert capsys.readouterr().out == "✓ failed as expected: ValueError\n"


def test_no_failure_fails():
    with pytest.raises(CheckFailed, match="should have failed with ValueError"), expect_failure(ValueError):
        pass


def test_another_failure_stays_what_it_is():
    with pytest.raises(KeyError), expect_failure(ValueError):
        raise KeyError("x")


def test_the_right_class_with_the_wrong_words_fails():
    with pytest.raises(CheckFailed, match="'401' stands nowhere"), expect_failure(ValueError, containing="401"):
        raise ValueError("404")


def test_the_environment_is_ready(own_workspace, capsys):
    checks.environment()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(checks._PARTS)
    assert all(line.startswith("✓ ready: ") for line in lines)


def test_what_is_missing_gets_a_remedy(monkeypatch, capsys):
    def refuse():
        raise workspace.WorkspaceError("no room")

    parts = (
        checks._Part("a", checks._imports("a_module_that_nobody_has"), "install it"),
        checks._Part("b", lambda: False, "update it"),
        checks._Part("c", refuse, "move it"),
    )
    monkeypatch.setattr(checks, "_PARTS", parts)
    with pytest.raises(CheckFailed, match="Not ready yet: a, b, c"):
        checks.environment()
    out = capsys.readouterr().out
    for expected in ("✗ missing: a (No module", "Remedy: install it", "✗ missing: b\n", "✗ missing: c (no room)"):
        assert expected in out


def test_a_name_for_a_ca_certificate(capsys):
    checks.check_parameters("11_name", authority_name="contoso-pumps_root.1")
    with pytest.raises(ParameterError, match="authority_name is 'a b'; it must be up to 64 letters"):
        checks.check_parameters("11_name", authority_name="a b")
    with pytest.raises(ParameterError, match="authority_name"):
        checks.check_parameters("11_name", authority_name="")


class RefusedError(Exception):
    """Carries a status in one of the ways in which service clients do."""

    def __init__(self, **fields):
        super().__init__("refused")
        vars(self).update(fields)


@pytest.mark.parametrize(
    "fields", [{"status_code": 404}, {"status": 404}, {"response": types.SimpleNamespace(status_code=404)}], ids=str
)
def test_what_is_gone_may_be_removed_again(fields):
    with checks.gone_is_fine():
        raise RefusedError(**fields)


@pytest.mark.parametrize("problem", [RefusedError(status_code=409), RefusedError(), KeyError("x")], ids=repr)
def test_no_other_error_is_overlooked(problem):
    with pytest.raises(type(problem)), checks.gone_is_fine():
        raise problem
