import re

import pytest

from helpers.course import NOTEBOOKS
from helpers.course import line as progress_lines
from helpers.course.line import ProgressLineError, Standing, is_in, mark, name_before, sent, written
from helpers.course.line import read as read_line
from helpers.runner.documents import find, read

STANDINGS = {
    "13": Standing(14),
    "00": Standing(2),
    "11": Standing(3, frozenset({"y3", "0a"})),
    "12": Standing(0),
}
LINE = written(STANDINGS)


def test_a_line_is_short_and_tells_the_same_when_it_is_read():
    assert re.fullmatch(r"dps-progress v1 00=2 11=3\+0ay3 12=0 13=14 end=[0-9a-z]{5}", LINE)
    assert read_line(LINE) == STANDINGS


def test_the_line_of_somebody_who_did_everything_fits_into_a_message():
    everything = {f"{number:02}": Standing(14, frozenset({"aa", "bb", "cc"})) for number in range(18)}
    assert len(written(everything)) < 280
    assert read_line(written(everything)) == everything


def test_nothing_done_is_a_line_as_well():
    assert read_line(written({})) == {}
    assert written({"11": Standing(5000)}).startswith("dps-progress v1 11=999 ")


@pytest.mark.parametrize(
    "pasted",
    [
        "learner-01: {}",
        "[10:32] learner-01 {} :)",
        "  `{}`  ",
        "{} ten people liked this",
        "LOUD",
        "dashes",
        "spaces",
        "tabs",
    ],
)
def test_what_chats_do_to_a_line_does_not_hurt_it(pasted):
    changed = {
        "LOUD": LINE.upper(),
        "dashes": LINE.replace("-", "\u2011"),
        "spaces": LINE.replace(" ", "\u00a0"),
        "tabs": LINE.replace(" ", "\t"),
    }
    assert read_line(changed.get(pasted, pasted.format(LINE))) == STANDINGS


@pytest.mark.parametrize(
    ("pasted", "reason"),
    [
        ("", "There is no progress line"),
        ("I am done!", "There is no progress line"),
        ("dps-progress", "it has no version"),
        (LINE.replace("v1", "v9"), "its version is 'v9'"),
        (LINE.replace("v1 ", ""), "it has no version"),
        (LINE[:-10], "Its end is missing"),
        (LINE[: len(LINE) // 2], "Its end is missing"),
        (LINE[:-1], "was changed or left out"),
        (LINE.replace("13=14", "13=15"), "was changed or left out"),
        (LINE.replace(" 13=14", ""), "was changed or left out"),
        (LINE.replace("end=", "end= "), "was changed or left out"),
        (LINE + "a", "was changed or left out"),
        ("dps-progress v1 " + "00=1 " * 1000 + "end=aaaaa", "Its end is missing"),
    ],
    ids=range(13),
)
def test_a_broken_line_is_told_with_the_reason(pasted, reason):
    with pytest.raises(ProgressLineError, match=re.escape(reason)):
        read_line(pasted)


@pytest.mark.parametrize("entry", ["11=x", "11=1+a", "11=1+", "1=1", "11=1 11=2", "wheels"])
def test_a_line_that_nobody_made_here_is_told_even_when_its_end_fits(entry):
    entries = entry.split()
    forged = " ".join(["dps-progress", "v1", *entries, "end=" + progress_lines._sum(entries)])
    with pytest.raises(ProgressLineError, match="not made by these notebooks"):
        read_line(forged)


@pytest.mark.parametrize(
    ("pasted", "name"),
    [
        (LINE, ""),
        (f"learner-01: {LINE}", "learner-01"),
        (f"  <learner 02>\t{LINE}", "<learner 02"),
        (f"learner-03 - `{LINE}`", "learner-03"),
        (f"learner\u200b-04; {LINE}", "learner-04"),
        ("n" * 90 + f" {LINE}", "n" * 40),
        (f"[10:32] learner-05: {LINE}", "learner-05"),
        (f"10:32:11 PM From learner-06 to Everyone: {LINE}", "learner-06"),
        (f"10:32 {LINE}", ""),
        ("nothing here", ""),
    ],
    ids=range(10),
)
def test_a_name_may_stand_before_the_line(pasted, name):
    assert name_before(pasted) == name
    assert is_in(pasted) == ("dps-progress" in pasted)


@pytest.mark.parametrize(
    ("above", "name"),
    [
        ("learner-01", "learner-01"),
        ("learner-01  10:32 AM", "learner-01"),
        ("10:32:11 From learner-01 to Everyone:", "learner-01"),
        ("***", "(line 2)"),
    ],
)
def test_a_name_may_stand_above_the_line(above, name):
    found = sent(f"{above}\n\t{LINE}\nlearner-02: {LINE}")
    assert found.lines == [(name, STANDINGS), ("learner-02", STANDINGS)]
    assert found.refused == []


def test_a_name_is_not_taken_from_an_earlier_message():
    found = sent(f"learner-01\n{LINE}\n{LINE}\nlearner-03: done!\nlearner-04: {LINE}")
    assert [name for name, _ in found.lines] == ["learner-01", "(line 3)", "learner-04"]
    assert [(number, begin) for number, _, begin in found.refused] == [(4, "learner-03: done!")]


@pytest.mark.parametrize("parts", [2, 3])
def test_a_line_that_the_chat_broke_is_put_together(parts):
    words = f"learner-01: {LINE}".split()
    broken = "\n".join(
        " ".join(words[part::1][: 3 if part < 3 * (parts - 1) else None]) for part in range(0, 3 * parts, 3)
    )
    assert len(broken.splitlines()) == parts
    found = sent(f"{broken}\nlearner-02: {LINE}")
    assert found.lines == [("learner-01", STANDINGS), ("learner-02", STANDINGS)]
    assert found.refused == []


def test_a_line_that_cannot_be_put_together_leaves_the_next_ones_alone():
    half = LINE[:20]
    found = sent(f"learner-01: {half}\nlearner-02: {LINE}\n{half}\none\ntwo\nthree")
    assert [name for name, _ in found.lines] == ["learner-02"]
    assert [number for number, _, _ in found.refused] == [1, 3, 4, 5, 6]
    assert "Its end is missing" in found.refused[0][1]
    assert "no progress line" in found.refused[2][1]


def test_an_empty_chat_holds_nothing():
    assert sent(" \n") == progress_lines.Sent()


def test_every_exercise_of_the_course_has_a_mark_of_its_own_within_its_notebook():
    counted = 0
    for path in find(NOTEBOOKS):
        printed = [
            line
            for each in read(path).cells
            if "exercise" in each.metadata.get("tags", [])
            for output in each.outputs
            for line in output.get("text", "").splitlines()
        ]
        asked = [line.split(": ", 1)[1] for line in printed if line.startswith(("○ not yet: ", "✓ solved: "))]
        assert len({mark(what) for what in asked}) == len(set(asked)), path.name
        counted += len(asked)
    assert counted


@pytest.mark.parametrize(("text", "expected"), [("y3", True), ("Y3", False), ("y", False), ("io", False), (7, False)])
def test_marks_are_told_from_other_things(text, expected):
    assert progress_lines.is_mark(text) is expected
    assert progress_lines.is_mark(mark("anything"))
