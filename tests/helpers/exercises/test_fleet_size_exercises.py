"""The exercises on a large fleet: no answer, every usual mistake, the right answer, and nonsense."""

import random

import pytest

from helpers.exercises import fleet_size

NONSENSE = [None, "x", "5", [], ["x"], {}, object, float("nan"), float("inf"), True, -3, 10**400]
NONSENSE_IDS = [
    "none", "text", "number as text", "empty", "list", "dictionary", "class",
    "not a number", "infinite", "true", "negative", "huge",
]  # fmt: skip
CHANCE = random.Random(3)  # noqa: S311  (no secret hangs on it)


def said(capsys, exercise, answer):
    exercise(answer)
    verdict, _, hint = capsys.readouterr().out.partition("\n  Hint: ")
    return verdict.strip(), hint.strip()


@pytest.mark.parametrize(
    "exercise", [fleet_size.hours, fleet_size.services, fleet_size.pause], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("answer", NONSENSE, ids=NONSENSE_IDS)
def test_nonsense_gets_a_hint(capsys, exercise, answer):
    verdict, hint = said(capsys, exercise, answer)
    assert verdict.startswith("○ not yet: ")
    assert hint.endswith((".", "?"))


@pytest.mark.parametrize("answer", [5, 5.0, 300_000 / 1_000 / 60], ids=["whole", "number", "computed"])
def test_the_right_hours(capsys, answer):
    assert said(capsys, fleet_size.hours, answer) == ("✓ solved: the hours that 300,000 scales need at one service", "")


@pytest.mark.parametrize(
    ("answer", "begins"),
    [
        (0, "It is still 0"),
        (300, "These are the minutes"),
        (18_000, "These are the seconds"),
        (300_000 / 1_000 / 3_600, "That is 1,000 registrations a second"),
        (5 / 24, "These are days"),
        (6, "One service registers 1,000 devices a minute"),
    ],
    ids=["unfilled", "minutes", "seconds", "per second", "days", "other"],
)
def test_hints_for_hours(capsys, answer, begins):
    verdict, hint = said(capsys, fleet_size.hours, answer)
    assert verdict.startswith("○ not yet")
    assert hint.startswith(begins)


def test_the_right_number_of_services(capsys):
    verdict, hint = said(capsys, fleet_size.services, 7)
    assert (verdict, hint) == ("✓ solved: the services that 400,000 scooters need for one hour", "")


@pytest.mark.parametrize(
    ("answer", "begins"),
    [
        (0, "It is still 0"),
        (400_000 / 60_000, "Nearly"),
        (6.67, "Nearly"),
        (6, "Rounded down"),
        (400, "That is for one minute"),
        (8, "That is enough"),
        (3, "That is too few"),
        (6.9, "What does one service register"),
    ],
    ids=["unfilled", "fraction", "rounded", "down", "minute", "more", "few", "other"],
)
def test_hints_for_services(capsys, answer, begins):
    assert said(capsys, fleet_size.services, answer)[1].startswith(begins)


def uniform(least, most):
    return lambda: CHANCE.uniform(least, most)


@pytest.mark.parametrize(
    "answer",
    [uniform(0, 1_200), uniform(0, 1_500), uniform(0, 2_300), lambda: CHANCE.randint(0, 1_200)],
    ids=["exactly", "some more", "much more", "whole seconds"],
)
def test_the_right_pause(capsys, answer):
    assert said(capsys, fleet_size.pause, answer)[0] == "✓ solved: a pause that spreads 20,000 pumps widely enough"


def fails():
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("answer", "begins"),
    [
        (lambda: 0, "It does not wait yet"),
        (lambda: None, "your_pause() has to return seconds"),
        (fails, "your_pause() has to return seconds"),
        (lambda name: 1, "your_pause() has to return seconds"),
        (lambda: 1_200, "Every pump waits equally long"),
        (uniform(-600, 1_200), "Nobody can wait for less"),
        (uniform(0, 20), "20 is right, in minutes"),
        (uniform(0, 60), "Spread like this"),
        (uniform(0, 10_000), "That works, and the last pumps"),
        (uniform(1_000, 2_000), "The pauses are not even"),
        (lambda: CHANCE.choice([0, 600, 1_200]), "random.uniform(0, seconds)"),
    ],
    ids=["unfilled", "nothing", "fails", "arguments", "equal", "negative", "minutes", "short", "long", "uneven", "few"],
)
def test_hints_for_pauses(capsys, answer, begins):
    verdict, hint = said(capsys, fleet_size.pause, answer)
    assert verdict.startswith("○ not yet")
    assert hint.startswith(begins)
