"""Commands are shown, run only when asked, and never show a key."""

import re

import pytest

from helpers.checks import CheckFailed
from helpers.cloud import TAG, AzureCommandError, CommandLine, command_line, is_ours

KEY = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="


def test_nothing_runs_unless_asked(az, capsys):
    asked = az()
    azure = CommandLine(run=False)
    azure.az("group delete --name a --yes")
    assert azure.ask("group exists --name a") == ""
    assert azure.secret("iot hub policy show").reveal() == ""
    assert not azure.finds("iot hub show --name a")
    assert azure.python("-c 'raise SystemExit(3)'") == 0
    assert is_ours(azure, "a")
    azure.in_terminal("login")
    assert asked() == []
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == ["az group delete --name a --yes", "  not run"]
    assert shown[-2:] == ["az login", "  to be typed in a terminal"]
    assert shown.count("  not run") == 6
    assert azure.summary() == "7 commands were shown, none was run: nothing was made on Azure, nothing costs."


def test_what_azure_was_not_asked_is_not_said_to_be_so(capsys):
    for passed in (True, False):
        CommandLine(run=False).step("nothing is left", passed, hint="Look.")
    assert capsys.readouterr().out == "○ not checked, as no command ran: nothing is left\n" * 2
    CommandLine(run=True).step("nothing is left", True, hint="Look.")
    assert capsys.readouterr().out == "✓ passed: nothing is left\n"
    with pytest.raises(CheckFailed, match=r"nothing is left[\s\S]*Look\."):
        CommandLine(run=True).step("nothing is left", False, hint="Look.")


def test_what_is_asked_for_runs_as_it_is_shown(az, capsys):
    asked = az(group_exists=(0, "true\n", ""), iot_dps_create=(0, '{"key": "' + KEY + '"}', "WARNING: preview"))
    azure = CommandLine(run=True)
    assert azure.ask("group exists --name 'a b'") == "true"
    assert azure.az(f"iot dps create --name d --tags {TAG}") is None
    assert asked() == ["group exists --name a b", f"iot dps create --name d --tags {TAG}"]
    assert capsys.readouterr().out.splitlines() == [
        "az group exists --name 'a b'",
        "  true",
        f"az iot dps create --name d --tags {TAG}",
        "  done",
    ]
    assert azure.summary() == "2 commands were shown and run."


def test_a_key_is_never_shown(az, capsys):
    az(iot_hub_policy=(0, KEY + "\n", ""), iot_dps_policy=(1, "", f"ERROR: SharedAccessKey={KEY} is wrong"))
    azure = CommandLine(run=True)
    assert azure.secret("iot hub policy show").reveal() == KEY
    # somebody forgot to say that it is one
    azure.az("iot hub policy show")
    with pytest.raises(AzureCommandError) as failure:
        azure.secret("iot dps policy show")
    shown = capsys.readouterr().out
    assert KEY not in shown + str(failure.value)
    assert re.findall(r"\*{4}\S+", shown) == ["****WeJA", "****eJA="]


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("ERROR: Please run 'az login' to setup account.", "Log in"),
        ("(MissingSubscriptionRegistration) The subscription is not registered", "provider register"),
        ("(400019) Max number of Iot Hubs exceeded for sku = Free, Max Allowed = 1", "Set tier to 'S1'"),
        ("ERROR: The name contoso-dps is not available.", "Set prefix"),
        ("ERROR: (LocationNotAvailableForResourceType) no", "Set region"),
        ("ERROR: (AuthorizationFailed) The client does not have authorization", "Contributor"),
        ("ERROR: (RequestDisallowedByPolicy) Resource was disallowed", "organisation"),
        ("", "did not say why"),
    ],
)
def test_a_refusal_says_what_to_do(az, said, remedy):
    az(iot_hub_create=(1, "", said))
    with pytest.raises(AzureCommandError, match=remedy) as failure:
        CommandLine(run=True).az("iot hub create")
    assert said in str(failure.value)


def test_without_the_program_it_is_said_where_to_get_it(monkeypatch):
    monkeypatch.setattr(command_line.shutil, "which", lambda name: None)
    with pytest.raises(AzureCommandError, match="not on this machine"):
        CommandLine(run=True).az("version")


def test_what_never_ends_is_given_up(az, monkeypatch):
    az()
    monkeypatch.setattr(command_line, "COMMAND_SECONDS", 0.0)
    with pytest.raises(AzureCommandError, match="Azure may still be at it"):
        CommandLine(run=True).az("iot hub create")


@pytest.mark.parametrize(
    ("answer", "there"),
    [
        ((0, "{}", ""), True),
        ((3, "", "ERROR: (ResourceNotFound) The Resource was not found."), False),
        ((1, "", "ERROR: (ResourceGroupNotFound) Resource group 'a' could not be found."), False),
    ],
)
def test_what_is_gone_is_told_from_what_is_there(az, capsys, answer, there):
    az(iot_hub_show=answer)
    assert CommandLine(run=True).finds("iot hub show --name a") is there
    assert ("it is gone" in capsys.readouterr().out) is not there


def test_an_error_is_no_proof_that_something_is_gone(az):
    az(iot_hub_show=(1, "", "ERROR: AADSTS50076: log in"))
    with pytest.raises(AzureCommandError, match="Log in"):
        CommandLine(run=True).finds("iot hub show --name a")


@pytest.mark.parametrize(
    ("exists", "tag", "ours"),
    [("false", "", True), ("true", "azure-dps-notebooks", True), ("true", "", False), ("true", "payroll", False)],
)
def test_a_group_of_somebody_else_is_left_alone(az, exists, tag, ours):
    az(group_exists=(0, exists, ""), group_show=(0, tag, ""))
    assert is_ours(CommandLine(run=True), "a") is ours


def test_what_carries_no_tag_is_found():
    azure = CommandLine(run=False)
    azure.az(f"group create --name a --tags {TAG}")
    azure.az("iot dps linked-hub create --dps-name a")
    azure.az("iot hub create --name a")
    assert azure.untagged() == ["az iot hub create --name a"]


def test_a_program_of_this_project_runs_and_is_masked(capsys):
    azure = CommandLine(run=True)
    code = azure.python(f"-c 'print(\"SharedAccessKey={KEY}\"); raise SystemExit(4)'")
    assert code == 4
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1].startswith("  SharedAccessKey=****")
    assert KEY not in shown[-1]
