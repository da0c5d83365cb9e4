"""The dev container: its file has the form that the specification of such files gives it, and does what it says."""

import json
import re
import shlex

import jsonschema
import pytest

COMMAND = {
    "type": ["string", "array", "object"],
    "items": {"type": "string"},
    "additionalProperties": {"type": ["string", "array"], "items": {"type": "string"}},
}
#: What the specification says about the members that we use; it has more. Its own schema is on another machine.
FORM = {
    "$schema": "https://json-schema.org/draft/2019-09/schema",
    "type": "object",
    "required": ["image"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "image": {"type": "string"},
        "hostRequirements": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "cpus": {"type": "integer", "minimum": 1},
                "memory": {"type": "string", "pattern": "^\\d+([tgmk]b)?$"},
                "storage": {"type": "string", "pattern": "^\\d+([tgmk]b)?$"},
            },
        },
        "onCreateCommand": COMMAND,
        "updateContentCommand": COMMAND,
        "customizations": {"type": "object"},
    },
}


@pytest.fixture
def container(repository):
    return json.loads((repository / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))


def test_it_has_the_form_of_the_specification(container):
    jsonschema.Draft201909Validator.check_schema(FORM)
    jsonschema.Draft201909Validator(FORM).validate(container)


@pytest.mark.parametrize(
    "spoilt", [{"imagee": "a"}, {"hostRequirements": {"cpus": "2"}}, {"onCreateCommand": 1}, {"image": None}]
)
def test_another_form_is_told(container, spoilt):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft201909Validator(FORM).validate({**container, **spoilt})


def test_its_python_is_one_that_does(container):
    from helpers import python_versions

    found = re.fullmatch(r"mcr\.microsoft\.com/devcontainers/python:(\d+)\.(\d+)", container["image"])
    assert not python_versions.problem((int(found[1]), int(found[2])))


def test_it_makes_the_environment_that_its_kernel_comes_from(container, repository):
    from helpers import installation

    words = shlex.split(container["updateContentCommand"])
    assert words[:3] == ["python", "-m", "helpers.installation"]
    folder, audience = words[3:]
    assert audience in installation.LISTS
    assert container["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"].endswith(
        f"/{folder}/bin/python"
    )
    for name in container["customizations"]["codespaces"]["openFiles"]:
        assert (repository / name).exists()
    binder = (repository / "binder" / "apt.txt").read_text(encoding="utf-8").split()
    assert set(binder) <= set(shlex.split(container["onCreateCommand"]))
