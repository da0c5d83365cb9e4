"""Each setting is looked at by itself; a file of somebody else is never touched."""

import os
import stat

import pytest

from helpers.cloud import check_settings, remove_settings, settings_file, write_settings
from helpers.cloud.settings_file import SettingsFileError
from helpers.target import azure_settings
from helpers.target import settings as azure_setting_rules

KEY = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="
RIGHT = {
    "PROVISIONING_HOST": "global.azure-devices-provisioning.net",
    "PROVISIONING_IDSCOPE": "0ne00000A01",
    "PROVISIONING_SERVICE_CONNECTION_STRING": "HostName=d.azure-devices-provisioning.net;"
    f"SharedAccessKeyName=provisioningserviceowner;SharedAccessKey={KEY}",
    "IOTHUB_CONNECTION_STRING": " ".join(
        f"HostName={hub}.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey={KEY}" for hub in "ab"
    ),
    "AZURE_SUBSCRIPTION_ID": "11111111-2222-3333-4444-555555555555",
    "AZURE_RESOURCE_GROUP": "contoso-group",
}


@pytest.fixture
def given(monkeypatch):
    found = dict(RIGHT)
    monkeypatch.setattr(settings_file, "azure_settings", lambda: found)
    return found


def test_right_settings_are_right(given, capsys):
    assert check_settings("azure")
    assert capsys.readouterr().out.splitlines() == [f"✓ set: {name}" for name in RIGHT]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PROVISIONING_HOST", "contoso.azure-devices.net", "no address of DPS"),
        ("PROVISIONING_IDSCOPE", "contoso-dps", "an ID scope looks like"),
        ("PROVISIONING_SERVICE_CONNECTION_STRING", RIGHT["IOTHUB_CONNECTION_STRING"].split()[0], "string of a hub"),
        ("IOTHUB_CONNECTION_STRING", RIGHT["PROVISIONING_SERVICE_CONNECTION_STRING"], "of a provisioning service"),
        ("AZURE_SUBSCRIPTION_ID", "Pay-As-You-Go", "not the name"),
        ("AZURE_RESOURCE_GROUP", "/subscriptions/1/resourceGroups/a", "not the whole ID"),
    ],
)
def test_a_wrong_setting_is_named_with_its_remedy_and_without_its_key(given, capsys, name, value, says):
    given[name] = value
    assert not check_settings("azure")
    shown = capsys.readouterr().out
    assert f"✗ wrong: {name}" in shown
    assert says in shown
    assert shown.count("Remedy: portal:") == 1
    assert shown.count("✓ set") == len(RIGHT) - 1
    assert KEY not in shown


@pytest.mark.parametrize("name", RIGHT)
def test_a_missing_setting_is_named_with_its_remedy(given, capsys, name):
    del given[name]
    assert check_settings("azure") is (name not in azure_setting_rules.REQUIRED)
    shown = capsys.readouterr().out
    assert f"○ not set: {name} (" in shown
    assert shown.count("Remedy: portal:") == 1


def test_on_the_simulator_nothing_of_this_machine_is_read(given, monkeypatch, capsys):
    def read():
        raise AssertionError("it was read")

    monkeypatch.setattr(settings_file, "azure_settings", read)
    assert not check_settings("simulator")
    assert capsys.readouterr().out.count("○ not set") == len(RIGHT)


def test_the_file_is_written_for_nobody_else_and_read_again(tmp_path, monkeypatch, capsys):
    file = tmp_path / ".env"
    write_settings(RIGHT, run=True, file=file)
    # a second run renews it
    write_settings(RIGHT, run=True, file=file)
    assert KEY not in capsys.readouterr().out
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for name in RIGHT:
        monkeypatch.delenv(name, raising=False)
    assert azure_setting_rules.read_file(file, RIGHT) == RIGHT
    remove_settings(run=True, file=file)
    remove_settings(run=True, file=file)
    assert not file.exists()
    assert capsys.readouterr().out.splitlines() == [".env: deleted", ".env: there is none"]


def test_a_file_of_somebody_else_stays(tmp_path, capsys):
    file = tmp_path / ".env"
    file.write_text("PROVISIONING_IDSCOPE=0ne00000B02\n")
    with pytest.raises(SettingsFileError, match="did not write it"):
        write_settings(RIGHT, run=True, file=file)
    remove_settings(run=True, file=file)
    assert file.read_text() == "PROVISIONING_IDSCOPE=0ne00000B02\n"
    assert "stays" in capsys.readouterr().out


def test_without_leave_nothing_is_written_or_removed(tmp_path):
    file = tmp_path / ".env"
    write_settings(RIGHT, run=False, file=file)
    assert not file.exists()
    write_settings(RIGHT, run=True, file=file)
    remove_settings(run=False, file=file)
    assert file.exists()


@pytest.mark.parametrize("values", [{"PROVISIONING_IDSCOPE": "a'b"}, {"PROVISIONING_IDSCOPE": "a\nB=c"}, {"PATH": "a"}])
def test_what_would_spoil_the_file_is_refused(tmp_path, values):
    with pytest.raises(SettingsFileError):
        write_settings(values, run=True, file=tmp_path / ".env")
    assert not list(tmp_path.iterdir())


def test_the_example_names_every_setting_and_changes_none(repository):
    file = repository / ".env.example"
    text = file.read_text(encoding="utf-8")
    named = [line.partition("=")[0] for line in text.splitlines() if "=" in line and not line.startswith("#")]
    assert named == list(RIGHT)
    table = (repository / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in table for name in named)
    # as it is, it says no more than what holds anyway
    filled = azure_setting_rules.read_file(file, RIGHT)
    assert filled == {"PROVISIONING_HOST": azure_setting_rules.global_host()}


def test_the_settings_of_this_machine_are_those_of_the_target():
    assert settings_file.azure_settings is azure_settings
