import json

import pytest

from helpers.course import Lesson
from helpers.course import outline as course
from helpers.runner.documents import find, read, tags


def cell(source, *, kind="code", count=1, printed=(), tags=()):
    made = {"cell_type": kind, "source": source, "metadata": {"tags": list(tags)} if tags else {}}
    if kind == "code":
        made["execution_count"] = count
        made["outputs"] = [{"output_type": "stream", "name": "stdout", "text": list(text)} for text in printed]
        made["outputs"].append({"output_type": "display_data", "data": {"text/plain": "✓ passed: not printed"}})
    return made


def put(folder, name, *cells):
    (folder / f"{name}.ipynb").write_text(json.dumps({"cells": list(cells)}), encoding="utf-8")


WHEELS = (
    cell(["# Make wheels\n", "\n", "Round."], kind="markdown"),
    cell("## You need\n\n- twenty-five minutes;", kind="markdown"),
    cell("checks.step('a', 1)\nchecks.wait_until('b', f)", printed=[["✓ passed: a\n", "✓ passed: b\n", "✓ passed: a"]]),
    cell("for x in y: checks.step(x, 1)", printed=[["✓ passed: c\n"], ["✓ passed: d\n"]]),
    cell("exercises.wheel(1)", printed=[["✓ solved: e\n"]], tags=["exercise"]),
    cell("exercises.spoke(1)", printed=[["○ not yet: f\n"]], tags=["exercise"]),
    cell("  ", count=None),
)


def test_a_lesson_is_read_from_its_notebook(tmp_path):
    put(tmp_path, "11_wheels", *WHEELS)
    found = course.lesson("11_wheels", tmp_path)
    assert found == Lesson("11_wheels", "Make wheels", steps=4, exercises=2, minutes=25, whole=True)
    assert found.number == "11"


def test_without_outputs_the_checks_in_the_code_are_counted(tmp_path):
    emptied = [{**each, "outputs": [], "execution_count": None} if "outputs" in each else each for each in WHEELS]
    put(tmp_path, "11_wheels", *emptied)
    found = course.lesson("11_wheels", tmp_path)
    assert (found.steps, found.exercises, found.whole) == (3, 2, False)
    # half run: what was printed counts when it is more
    put(tmp_path, "11_wheels", *WHEELS, cell("print()", count=None))
    assert course.lesson("11_wheels", tmp_path).steps == 4


def test_a_page_with_nothing_to_check_is_no_lesson(tmp_path):
    put(tmp_path, "01_words", cell("# Look up a word", kind="markdown"))
    put(tmp_path, "02_run_a_workshop", *WHEELS)
    put(tmp_path, "11_wheels", *WHEELS)
    assert [each.name for each in course.lessons(tmp_path)] == ["11_wheels"]
    assert course.lesson("02_run_a_workshop", tmp_path) is None


@pytest.mark.parametrize("name", ["12_missing", "../11_wheels", "11_Wheels", "", "11"])
def test_what_is_not_there_is_no_lesson(tmp_path, name):
    assert course.lesson(name, tmp_path) is None


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"cells": 7}', '{"cells": [{}]}', '{"cells": [7]}', "\ufffe", "[" * 100_000],
    ids=["empty", "cut short", "list", "no cells", "bare cell", "number", "binary", "deep"],
)
def test_a_damaged_notebook_is_left_out(tmp_path, content):
    (tmp_path / "11_wheels.ipynb").write_text(content, encoding="utf-8")
    assert course.lesson("11_wheels", tmp_path) is None
    assert course.lessons(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "minutes"),
    [
        ("- two minutes;", 2),
        ("- about fifteen minutes", 15),
        ("- 45 minutes", 45),
        ("- twelve minutes", 12),
        ("- one minute", 1),
        ("- half an hour;", 30),
        ("- about an hour", 60),
        ("- some minutes", 0),
        ("it takes ten minutes", 0),
    ],
)
def test_minutes_are_read_from_words(tmp_path, words, minutes):
    put(tmp_path, "11_wheels", *WHEELS[2:], cell(words, kind="markdown"))
    found = course.lesson("11_wheels", tmp_path)
    assert (found.minutes, found.title) == (minutes, "11_wheels")


def test_the_course_is_what_lies_in_the_folder_of_notebooks():
    lessons = {each.name: each for each in course.lessons()}
    for path in find():
        if path.stem in lessons:
            document = read(path)
            assert lessons[path.stem].exercises == sum("exercise" in tags(each) for each in document.cells)
            assert document.cells[0].source.startswith(f"# {lessons[path.stem].title}")
    assert "00_start_here" in lessons
    assert not course.FOR_INSTRUCTORS & lessons.keys()
    assert all(each.steps and each.minutes for each in lessons.values()), "a notebook has no checks, or no minutes"
    assert len({each.number for each in lessons.values()}) == len(lessons), "progress lines know notebooks by number"
