"""What the handout says can be typed."""

import re

import pytest

from dps_simulator.__main__ import main as simulator
from helpers.runner import cli as runner
from helpers.runner.documents import NOTEBOOKS


@pytest.fixture
def text(repository):
    return (repository / "docs" / "handout.md").read_text(encoding="utf-8")


def test_links_of_the_handout_lead_somewhere(repository, text):
    links = re.findall(r"\]\(([^)#]+)", text)
    assert links
    for link in links:
        assert (repository / "docs" / link).exists(), link


def test_make_knows_the_targets_of_the_handout(repository, text):
    phony = re.search(r"^\.PHONY: (.*)$", (repository / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[
        1
    ].split()
    named = re.findall(r"`make ([\w-]+)", text)
    assert named
    assert set(named) <= set(phony)


def test_notebooks_of_the_handout_exist(text):
    for name in re.findall(r"\b\d\d_[a-z0-9_]+\b", text):
        assert (NOTEBOOKS / f"{name}.ipynb").exists(), name


def test_the_runner_knows_the_options_of_the_handout(text, capsys):
    with pytest.raises(SystemExit):
        runner.main(["tutorial", "--help"])
    help_text = capsys.readouterr().out
    for arguments in re.findall(r'ARGUMENTS="([^"]+)"', text):
        for option in re.findall(r"--\w+", arguments):
            assert option in help_text


def test_the_simulator_knows_the_commands_of_the_handout(text, capsys):
    with pytest.raises(SystemExit):
        simulator(["--help"])
    help_text = capsys.readouterr().out
    commands = re.findall(r"dps-simulator (\w+)", text)
    assert commands
    assert all(command in help_text for command in commands)
