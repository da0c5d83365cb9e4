"""The container file and its workflow, as far as they can be judged where no containers run."""

import json
import re
import shlex

import pytest
import yaml
from fresh_environments import Fresh, copy_of_simulator

from dps_simulator import __main__ as command_line
from dps_simulator.settings.settings import load


@pytest.fixture
def steps(repository):
    """The instructions of the container file, each with its rest."""
    text = (repository / "simulator" / "Containerfile").read_text(encoding="utf-8")
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def rest(steps, name):
    return [text for instruction, text in steps if instruction == name]


def command_of(text):
    """The words of a CMD in the form without a shell, which signals reach."""
    return json.loads(text[text.index("[") :])


def test_its_base_is_pinned_and_slim(steps):
    (base,) = rest(steps, "FROM")
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+\.\d+-slim-\w+", base)
    assert steps[0][0] == "FROM"


def test_it_runs_as_somebody_without_rights_who_owns_the_state(steps):
    (user,) = rest(steps, "USER")
    made = " ".join(rest(steps, "RUN"))
    assert user not in ("root", "0")
    assert re.search(rf"useradd .*\b{user}\b", made)
    (volume,) = rest(steps, "VOLUME")
    assert f"-o {user} -g {user} {volume}" in made
    assert f"DPS_SIMULATOR_STATE={volume}" in rest(steps, "ENV")
    names = [instruction for instruction, _ in steps]
    # the folder has its owner before it is a volume, and nothing is installed by somebody else than root
    assert max(place for place, name in enumerate(names) if name == "RUN") < names.index("USER") < names.index("CMD")


def test_its_commands_are_those_of_the_simulator(steps, monkeypatch):
    monkeypatch.setenv("DPS_SIMULATOR_STATE", "/state")
    parser = command_line._parser()
    (serve,) = rest(steps, "CMD")
    program, *arguments = command_of(serve)
    assert program == "dps-simulator"
    settings = load(flags=vars(parser.parse_args(arguments)))
    assert settings.standard_ports
    assert not settings.development
    (health,) = rest(steps, "HEALTHCHECK")
    assert command_of(health) == ["dps-simulator", "status"]
    assert set(rest(steps, "EXPOSE")[0].split()) == {"443", "8883"}


def test_everything_that_is_copied_is_there(steps, repository):
    for text in rest(steps, "COPY"):
        *sources, target = text.split()
        assert target.startswith("/source/")
        for source in sources:
            assert (repository / source).exists(), source


@pytest.mark.anywhere
def test_what_it_installs_can_be_installed(steps, repository, tmp_path):
    (install,) = [text.partition("&&")[0] for text in rest(steps, "RUN") if "pip install" in text]
    source = copy_of_simulator(repository, tmp_path)
    program, *arguments = shlex.split(install.replace("/source", str(source)))
    assert (program, arguments[:3]) == ("python", ["-m", "pip", "install"])
    fresh = Fresh(tmp_path / "environment")
    fresh.install(*arguments[3:])
    done = fresh.run("-m", "dps_simulator", "status", "--state", tmp_path / "state")
    assert (done.returncode, done.stderr) == (3, "")


def test_the_workflow_builds_this_file_and_asks_its_health(repository):
    text = (repository / ".github" / "workflows" / "container.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    # YAML 1.1 takes the word for a truth value
    assert set(workflow[True]) == {"push", "pull_request"}
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert job["timeout-minutes"] <= 15
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert any("--file simulator/Containerfile ." in run for run in runs)
    assert any("Health.Status" in run for run in runs)
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]) for step in job["steps"] if "uses" in step)
