"""The committed notebooks have the form that CONTRIBUTING.md describes."""

import json

import papermill
import pytest

from helpers.runner.documents import NOTEBOOKS, code_cells, find, parameters, read, runs_on_azure
from helpers.runner.lint import problems
from helpers.runner.solutions import exercises

NAMES = [path.name for path in find()]


@pytest.mark.parametrize("name", NAMES)
def test_no_rule_is_broken(name):
    assert problems(NOTEBOOKS / name) == []


def test_names_give_the_order_and_every_track_has_a_first_notebook():
    assert NAMES[0] == "00_start_here.ipynb"
    assert NAMES[-1] == "90_clean_up.ipynb"
    numbers = [name.split("_")[0] for name in NAMES]
    assert all(number.isdigit() and len(number) == 2 for number in numbers)
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("name", [name for name in NAMES if name[0] in "12345"])
def test_a_lesson_ends_with_two_or_three_exercises(name):
    document = read(NOTEBOOKS / name)
    found = list(exercises(document))
    assert len(found) in (2, 3)
    check = next(number for number, cell in enumerate(document.cells) if cell.source.startswith("## Check yourself"))
    assert all(exercise.position > check for exercise in found)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_notebooks_that_exist(name):
    text = json.dumps(read(NOTEBOOKS / name))
    for other in {part.split('"')[0].split(")")[0] for part in text.split("](")[1:]}:
        if other.partition("#")[0].endswith(".ipynb"):
            assert (NOTEBOOKS / other.partition("#")[0]).is_file(), other


@pytest.mark.parametrize("name", [name for name in NAMES if code_cells(read(NOTEBOOKS / name))])
def test_papermill_understands_the_parameters(name):
    found = papermill.inspect_notebook(NOTEBOOKS / name)
    declared = {parameter: type(value).__name__ for parameter, value in parameters(read(NOTEBOOKS / name)).items()}
    assert {parameter: each["inferred_type_name"] for parameter, each in found.items()} == declared
    assert all(each["help"] for each in found.values())
    anywhere = runs_on_azure(read(NOTEBOOKS / name))
    assert found["target"]["help"] == ("simulator or azure" if anywhere else "simulator only")
