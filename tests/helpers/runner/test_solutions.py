"""Exercises are found with their checks and solutions, and a solution takes the place of the learner's lines."""

import pytest
from nbformat.v4 import new_markdown_cell
from notebook_samples import code, good, notebook, saved

from helpers.runner import cli as runner
from helpers.runner.documents import NotebookError
from helpers.runner.solutions import exercises, with_solutions

CHECK = 'checks.exercise(\n    "two",\n    answer == 2,\n    hint="Count.",\n)'
SOLUTION = """\
You should see `not yet`.

<details>
<summary>Solution</summary>

```python
one = 1
answer = one + one
```

One and one.

</details>"""


def exercise(source=f"answer = 0  # a number\n\n{CHECK}"):
    return code(source, tags=["exercise"])


def test_the_solution_takes_the_place_of_the_learners_lines():
    document = notebook(exercise(), new_markdown_cell(SOLUTION), code("print(answer)"))
    solved = with_solutions(document)
    assert solved.cells[0].source == f"one = 1\nanswer = one + one\n\n{CHECK}"
    assert solved.cells[1:] == document.cells[1:]
    assert document.cells[0].source.startswith("answer = 0")


def test_an_exercise_may_be_checked_by_a_function_for_it():
    document = notebook(exercise("answer = 0\nexercises.two(answer)"), new_markdown_cell(SOLUTION))
    assert [each.check for each in exercises(document)] == ["exercises.two(answer)"]


def test_a_notebook_without_exercises_stays_as_it_is():
    document = notebook(code("1"))
    assert with_solutions(document) == document


@pytest.mark.parametrize(
    "source", ["answer = 0", "print(answer)", "answer = (", "", "checks.exercise('x', True, hint='')\nanswer = 1"]
)
def test_a_cell_that_does_not_end_with_a_check_is_refused(source):
    with pytest.raises(NotebookError, match="Cell 1 is an exercise"):
        list(exercises(notebook(exercise(source), new_markdown_cell(SOLUTION))))


@pytest.mark.parametrize(
    "after",
    [
        [],
        [code("1")],
        [new_markdown_cell("Nothing folded.")],
        [new_markdown_cell(SOLUTION.replace("Solution", "More"))],
        [new_markdown_cell(SOLUTION.replace("```python", "```"))],
        [new_markdown_cell(SOLUTION.replace("One and one.", "```python\n2\n```"))],
    ],
    ids=["nothing", "code", "no details", "another summary", "not Python", "two blocks"],
)
def test_an_exercise_without_a_solution_is_refused(after):
    with pytest.raises(NotebookError, match="the next cell must be text with its solution"):
        list(exercises(notebook(exercise(), *after)))


@pytest.mark.notebooks
@pytest.mark.parametrize(("number", "passes"), [("2", True), ("3", False)])
def test_the_runner_sees_whether_solutions_solve(tmp_path, capsys, number, passes):
    cells = [
        code("from helpers import checks\ncheck_parameters = print"),
        exercise(),
        new_markdown_cell(SOLUTION.replace("answer = one + one", f"answer = {number}")),
    ]
    path = saved(good(*cells), tmp_path / "11_sample.ipynb")
    document = saved(good(), tmp_path / "12_sample.ipynb")
    for each in (path, document):
        each.write_text(each.read_text().replace("check_parameters(globals())", "check_parameters = print"))
    arguments = ["tutorial", "--solutions", "--output", str(tmp_path / "build"), str(path), str(document)]
    code_of_exit = runner.main(arguments)
    shown = capsys.readouterr().out
    assert code_of_exit == (0 if passes else 1), shown
    assert ("The solution does not solve the exercise: ○ not yet: two Hint: Count." in shown) is not passes
