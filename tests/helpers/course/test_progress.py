import json
import os
import stat

import pytest

from helpers import checks, workspace
from helpers.course import Lesson, progress
from helpers.course import outline as course
from helpers.course.progress import ProgressLineError, Standing
from helpers.views.progress_view import ProgressView, Sentence, Table

PLAN = [
    Lesson("00_start_here", "Start here", steps=2, exercises=1, minutes=5, whole=True),
    Lesson("11_enroll", "Enroll devices", steps=3, exercises=2, minutes=10, whole=True),
    Lesson("12_boot", "Boot devices", steps=4, exercises=2, minutes=10, whole=True),
    Lesson("13_verify", "Verify devices", steps=5, exercises=0, minutes=10, whole=True),
]
NAMES = [each.name for each in PLAN]


@pytest.fixture
def plan(own_workspace, monkeypatch):
    """A course of four lessons, and a kernel in which none of them runs."""
    lessons = list(PLAN)
    monkeypatch.setattr(course, "lessons", lambda: lessons)
    monkeypatch.setattr(course, "lesson", lambda name: next((each for each in lessons if each.name == name), None))
    monkeypatch.setattr(progress, "_recorder", progress._Recorder())
    return lessons


def file(name, root=None):
    return (root or workspace.root()) / "progress-lessons" / f"{name}.json"


def pass_steps(notebook, *sentences):
    checks.check_parameters(notebook)
    for sentence in sentences:
        checks.step(sentence, True, hint="")


def test_the_checks_of_a_notebook_note_what_passes(plan, capsys):
    pass_steps("11_enroll", "a", "b")
    checks.wait_until("c", lambda: True, hint="")
    checks.exercise("the key", True, hint="")
    checks.exercise("the name", False, hint="")
    with pytest.raises(checks.CheckFailed):
        checks.step("d", False, hint="")
    assert progress.standings() == {"11_enroll": Standing(3, frozenset({progress.progress_lines.mark("the key")}), 3)}
    assert "✓ solved: the key" in capsys.readouterr().out


def test_a_sentence_counts_once_and_the_best_run_counts(plan):
    pass_steps("11_enroll", "a", "a", "b")
    assert progress.standings()["11_enroll"].steps == 2
    pass_steps("11_enroll", "with another name", "b")
    assert progress.standings()["11_enroll"].steps == 2
    pass_steps("11_enroll", "a", "b", "c")
    checks.exercise("x", True, hint="")
    checks.exercise("x", True, hint="")
    pass_steps("11_enroll")
    assert progress.standings()["11_enroll"] == Standing(3, frozenset({progress.progress_lines.mark("x")}), 3)


def test_what_is_no_lesson_is_not_noted(plan):
    checks.step("before any notebook", True, hint="")
    checks.exercise("before any notebook", True, hint="")
    pass_steps("11_enroll", "a")
    pass_steps("99_elsewhere", "b", "c")
    checks.exercise("d", True, hint="")
    assert progress.standings() == {"11_enroll": Standing(1, frozenset(), 3)}
    # parameters that are wrong begin nothing
    with pytest.raises(checks.ParameterError):
        checks.check_parameters("12_boot", target="elsewhere")
    assert "12_boot" not in progress.standings()


def test_files_are_yours_alone_and_hold_numbers_only(plan):
    pass_steps("11_enroll", "thermostat-001 is enrolled")
    checks.exercise("the key", True, hint="")
    kept = json.loads(file("11_enroll").read_text())
    assert kept.keys() == {"steps", "solved", "total"}
    assert "thermostat" not in file("11_enroll").read_text()
    if os.name == "posix":
        assert stat.S_IMODE(file("11_enroll").stat().st_mode) == 0o600
        assert stat.S_IMODE(file("11_enroll").parent.stat().st_mode) == 0o700


def test_a_workspace_that_cannot_be_written_stops_no_notebook(plan, tmp_path, monkeypatch, capsys):
    blocked = tmp_path / "a file"
    blocked.write_text("")
    monkeypatch.setenv("DPS_WORKSPACE", str(blocked / "workspace"))
    pass_steps("11_enroll", "a")
    checks.exercise("b", True, hint="")
    assert capsys.readouterr().out == "Parameters: ok\n✓ passed: a\n✓ solved: b\n"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"steps": -1, "solved": [], "total": 0}',
        '{"steps": true, "solved": [], "total": 0}',
        '{"steps": "1", "solved": [], "total": 0}',
        '{"steps": 1, "solved": "y3", "total": 0}',
        '{"steps": 1, "solved": ["!!"], "total": 0}',
        '{"steps": 1, "solved": [7], "total": 0}',
        '{"steps": 1, "solved": [], "total": 12345}',
    ],
    ids=range(11),
)
def test_a_damaged_file_is_told_and_healed_by_the_next_run(plan, content):
    pass_steps("11_enroll", "a", "b")
    file("11_enroll").write_text(content)
    assert progress.standings() == {}
    assert "What was noted of 11_enroll is damaged. Run it again" in str(progress.summary())
    pass_steps("11_enroll", "a")
    assert progress.standings()["11_enroll"].steps == 1
    assert "damaged" not in str(progress.summary())


def test_the_summary_is_a_table_in_words_and_a_line(plan):
    pass_steps("00_start_here", "a", "b")
    checks.exercise("x", True, hint="")
    pass_steps("11_enroll", "a", "b", "c")
    checks.exercise("x", True, hint="")
    pass_steps("12_boot", "a")
    view = progress.summary()
    assert view.tables[0].rows == [
        ("00_start_here", "2 of 2", "1 of 1", "done"),
        ("11_enroll", "3 of 3", "1 of 2", "through, exercises open"),
        ("12_boot", "1 of 4", "0 of 2", "begun"),
        ("13_verify", "0 of 5", "0 of 0", "not begun"),
    ]
    lines = str(view).splitlines()
    assert "Through: 2 of 4 notebooks. Solved: 2 of 5 exercises." in lines
    assert lines[-1] == progress.line()
    assert lines[-1].startswith("dps-progress v1 00=2+")
    assert "<table>" in view.html()
    assert progress.line() in view.html()


def test_in_a_notebook_that_somebody_works_in_the_total_is_the_one_from_its_beginning(plan):
    pass_steps("12_boot", "a")
    # its outputs are gone now, and the checks in its code are fewer than what they print
    plan[2] = Lesson("12_boot", "Boot devices", steps=2, exercises=2, minutes=10, whole=False)
    pass_steps("12_boot", "a", "b")
    assert progress.summary().tables[0].rows[2][1:] == ("2 of 4", "0 of 2", "begun")
    # and a newer notebook, whole again, has fewer
    plan[2] = Lesson("12_boot", "Boot devices", steps=1, exercises=2, minutes=10, whole=True)
    assert progress.summary().tables[0].rows[2][1] == "1 of 1"


def test_progress_goes_on_elsewhere(plan, tmp_path, monkeypatch):
    pass_steps("00_start_here", "a", "b")
    pass_steps("11_enroll", "a", "b")
    checks.exercise("x", True, hint="")
    line = progress.line()
    monkeypatch.setenv("DPS_WORKSPACE", str(tmp_path / "new session"))
    assert progress.standings() == {}
    pass_steps("11_enroll", "a")
    checks.exercise("y", True, hint="")
    view = progress.restore(f"learner-01: {line} thanks!")
    assert view.tables[0].rows[:2] == [
        ("00_start_here", "2 of 2", "0 of 1", "through, exercises open"),
        ("11_enroll", "2 of 3", "2 of 2", "begun"),
    ]
    # once more changes nothing, and less takes nothing away
    better = progress.line()
    progress.restore(line)
    progress.restore(progress.line({}))
    assert progress.line() == better


@pytest.mark.parametrize(
    "wrong", ["", "dps-progress v1 11=3", None, 7, b"dps-progress", ["dps-progress"], "x" * 200_001]
)
def test_what_is_no_line_is_refused_and_changes_nothing(plan, wrong):
    pass_steps("11_enroll", "a")
    with pytest.raises(ProgressLineError, match=r"\.$|end=$"):
        progress.restore(wrong)
    assert progress.standings()["11_enroll"].steps == 1


def test_a_notebook_that_does_not_exist_here_is_passed_over(plan):
    progress.restore(progress.line({"77_later": Standing(3), "13_verify": Standing(9)}))
    assert progress.standings().keys() == {"13_verify"}
    assert progress.summary().tables[0].rows[3][1] == "5 of 5"


def test_everything_can_be_forgotten(plan):
    pass_steps("11_enroll", "a")
    progress.forget()
    checks.step("b", True, hint="")
    assert progress.standings() == {}
    progress.forget()


def room(*notebooks):
    """The lines of a room, in which everybody is through with the first so many notebooks."""
    return [f"learner-{n:02}: {progress.line(progress.through(NAMES[:many]))}" for n, many in enumerate(notebooks, 1)]


def test_a_room_of_more_than_thirty_is_one_table(plan):
    lines = room(*[3] * 20, *[2] * 11)
    view = progress.overview("\n\n".join(reversed(lines)))
    people, lessons = view.tables
    assert len(people.rows) == 31
    assert people.rows[0] == ("learner-01", "12_boot", "4 of 4", "3 of 4", "0 of 5", "no sign of it")
    assert people.rows[-1] == ("learner-31", "11_enroll", "3 of 3", "2 of 4", "0 of 5", "no sign of it")
    assert [row[:3] for row in lessons.rows] == [
        ("00_start_here", "31 of 31", "31 of 31"),
        ("11_enroll", "31 of 31", "31 of 31"),
        ("12_boot", "20 of 31", "20 of 31"),
        ("13_verify", "0 of 31", "0 of 31"),
    ]
    assert lessons.rows[3][3] == "(has none)"


def test_who_may_need_help_is_said_with_the_reason(plan):
    lines = room(3, 3, 3, 3, 1, 3)
    lines.append("learner-07: " + progress.line({**progress.through(NAMES[:1]), "11_enroll": Standing(1)}))
    lines.append("learner-08: " + progress.line({}))
    lines.append("learner-09: " + progress.line({**progress.through(NAMES[:3]), "13_verify": Standing(1)}))
    rows = {row[0]: row for row in progress.overview("\n".join(lines)).tables[0].rows}
    assert rows["learner-01"][-1] == "no sign of it"
    assert rows["learner-05"][-1] == "two notebooks or more behind the middle"
    assert rows["learner-07"][-1] == "not through with 11, as most are; two notebooks or more behind the middle"
    assert rows["learner-07"][1:3] == ("11_enroll", "1 of 3")
    assert rows["learner-08"][1:] == ("(none)", "", "0 of 4", "0 of 5", "has not begun")
    # nobody else is through with it, so it is no bad sign
    assert rows["learner-09"][-1] == "no sign of it"
    first = str(progress.overview("\n".join(lines))).splitlines()[0]
    assert first == "Read: 9 lines. Not read: 0. May need help: learner-05, learner-07, learner-08."


def test_bad_lines_are_listed_and_the_others_count(plan):
    good = room(2, 2, 2)
    view = progress.overview(
        "\n".join([good[0], "who wants coffee?", good[1][:-9], good[2], "LEARNER-01: " + good[1].partition(": ")[2]])
    )
    people, _, refused = view.tables
    assert [row[0] for row in people.rows] == ["LEARNER-01", "learner-03"]
    assert [row[0] for row in refused.rows] == ["2", "3"]
    assert "no progress line" in refused.rows[0][1]
    assert "end is missing" in refused.rows[1][1]
    assert refused.rows[1][2].startswith("learner-02: dps-progress")
    assert "Sent more than once, the last line counts: LEARNER-01." in str(view)
    assert "Read: 3 lines. Not read: 2. May need help: nobody, as far as the lines tell." in str(view)


def test_a_line_without_a_name_is_called_by_its_number(plan):
    bare = progress.line(progress.through(NAMES))
    view = progress.overview(f"\n{bare}\n{bare}")
    assert [row[0] for row in view.tables[0].rows] == ["(line 2)", "(line 3)"]


def test_exercises_are_counted_for_the_room(plan):
    solved = {"11_enroll": Standing(3, frozenset({"aa", "bb"})), "12_boot": Standing(4, frozenset({"aa"}))}
    lines = [*room(3), "learner-02: " + progress.line(solved)]
    people, lessons = progress.overview("\n".join(lines)).tables
    assert people.rows[1][4] == "3 of 5"
    assert [row[3] for row in lessons.rows] == ["0 of 2", "1 of 2", "0 of 2", "(has none)"]


@pytest.mark.parametrize("nothing", ["", "\n \n"])
def test_an_empty_room_is_said(plan, nothing):
    view = progress.overview(nothing)
    assert "(no progress line)" in str(view)
    assert "0 of 0" in str(view)


def test_a_chat_about_something_else_is_not_shown_whole(plan):
    view = progress.overview("hello\n" * 5000)
    assert len(view.tables[-1].rows) == progress.MOST_REFUSED
    assert "Not read: 5000." in str(view)


def test_an_overview_of_something_else_is_refused(plan):
    with pytest.raises(ProgressLineError, match="this is list"):
        progress.overview(["a line"])


def test_nothing_from_the_chat_becomes_part_of_the_page(plan):
    line = progress.line(progress.through(NAMES[:1]))
    shown = progress.overview(f"<script>alert(1)</script>: {line}\n<img src=x onerror=y> dps-progress v1").html()
    assert "<script" not in shown
    assert "<img" not in shown
    assert "&lt;script&gt;" in shown


def test_a_view_has_a_text_and_a_page():
    view = ProgressView(
        'all "of" it', [Table("T", ("a", "b"), [("1", "<2>")]), Sentence("Copy:", "x & y"), Sentence("End.")]
    )
    assert str(view) == "T\na  b\n-  ---\n1  <2>\n\nCopy:\nx & y\n\nEnd."
    assert repr(view) == str(view)
    bundle = view._repr_mimebundle_()
    assert bundle["text/plain"] == str(view)
    assert 'aria-label="all &quot;of&quot; it"' in bundle["text/html"]
    assert "&lt;2&gt;" in bundle["text/html"]
    assert "x &amp; y</pre>" in bundle["text/html"]
    assert bundle["text/html"].count("<pre") == 1
    assert [table.title for table in view.tables] == ["T"]


def test_without_notebooks_there_is_nothing_to_show(plan):
    plan.clear()
    assert "(there are no notebooks)" in str(progress.summary())
