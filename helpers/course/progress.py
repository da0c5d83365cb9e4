"""How far a learner is, and where a whole room stands.

The checks of the notebooks tell this module what passes (:func:`begin`, :func:`passed`, :func:`solved`). It keeps
numbers only, in the workspace, in files that only you can read: neither names nor keys nor times. It never stops a
notebook: what cannot be written is not counted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from helpers import workspace

from . import line as progress_lines
from . import outline as course
from .line import ProgressLineError, Standing
from .outline import Lesson

if TYPE_CHECKING:
    from helpers.views.progress_view import ProgressView

#: Longer than a thousand lines; whoever pastes more pasted something else.
LONGEST_TEXT = 200_000
#: As many lines that cannot be read are shown; more is another chat.
MOST_REFUSED = 100
_NO_TROUBLE = "no sign of it"


@dataclass(frozen=True)
class _Place:
    """Where the workspace keeps progress: beside the targets, since it belongs to none."""

    name: str = "progress"
    id_scope: str = "lessons"


_PLACE = _Place()


class _Recorder:
    """Knows which notebook runs in this kernel, and what passed in it since it began."""

    def __init__(self) -> None:
        self.lesson: Lesson | None = None
        self.sentences: set[str] = set()

    def begin(self, notebook: str) -> None:
        self.sentences = set()
        self.lesson = course.lesson(notebook)
        if self.lesson is None:
            return
        kept = _kept(notebook) or Standing()
        # in a file that somebody works in, outputs are missing; what was counted before knows better
        total = self.lesson.steps if self.lesson.whole else max(self.lesson.steps, kept.total)
        _keep(notebook, replace(kept, total=total))

    def passed(self, what: str) -> None:
        if self.lesson is None:
            return
        self.sentences.add(what)
        _better(self.lesson.name, Standing(len(self.sentences)))

    def solved(self, what: str) -> None:
        if self.lesson is not None:
            _better(self.lesson.name, Standing(solved=frozenset({progress_lines.mark(what)})))


_recorder = _Recorder()


def begin(notebook: str) -> None:
    """Note that a notebook begins. Anything that is no lesson is ignored, and so is every failure to write."""
    with contextlib.suppress(Exception):
        _recorder.begin(notebook)


def passed(what: str) -> None:
    """Note that a step of the notebook passed; in no lesson, and where nothing can be written, nothing happens.

    Arguments:
        what: the sentence of the step. The same one counts once in a run; the best run is kept.
    """
    with contextlib.suppress(Exception):
        _recorder.passed(what)


def solved(what: str) -> None:
    """Note that an exercise of the notebook is solved; in no lesson, and where nothing can be written, nothing happens.

    Arguments:
        what: the sentence of the exercise; two letters are kept of it, see :func:`helpers.course.line.mark`.
    """
    with contextlib.suppress(Exception):
        _recorder.solved(what)


def standings() -> dict[str, Standing]:
    """What is kept in this workspace, by the name of the notebook; a damaged file counts as nothing."""
    found = ((each.name, _kept(each.name)) for each in course.lessons())
    return {name: standing for name, standing in found if standing is not None}


def line(of: Mapping[str, Standing] | None = None) -> str:
    """One line that tells how far you are, to paste into a chat or to :func:`restore` somewhere else.

    Arguments:
        of: other standings than your own, by the name of the notebook.
    """
    return progress_lines.written(
        {name[:2]: standing for name, standing in (standings() if of is None else of).items()}
    )


def through(names: Iterable[str]) -> dict[str, Standing]:
    """The standings of somebody who is through with these notebooks, and solved no exercise.

    Arguments:
        names: of the notebooks, such as ``11_symmetric_key_enroll``; those that are no lesson are passed over.
    """
    wanted = set(names)
    return {each.name: Standing(each.steps) for each in course.lessons() if each.name in wanted}


def restore(text: str) -> ProgressView:
    """Take over what a progress line tells; what is kept here and is better stays.

    Arguments:
        text: the line, as :func:`line` made it. What stands before or after it does not matter.

    Raises:
        ProgressLineError: it is no whole progress line.
        WorkspaceError: the workspace cannot be written.
    """
    told = progress_lines.read(_text(text))
    for lesson in course.lessons():
        if lesson.number in told:
            _better(lesson.name, told[lesson.number])
    return summary()


def forget() -> None:
    """Forget all progress of this workspace; what passes counts again from the next notebook that begins."""
    _recorder.lesson = None
    workspace.clear(_PLACE)


def summary() -> ProgressView:
    """How far you are: a table, what is damaged of what was noted, and the line for your instructor."""
    from helpers.views.progress_view import ProgressView, Sentence, Table  # noqa: PLC0415 - checks must not need widgets

    plan, mine = course.lessons(), standings()
    rows = [(each.name, *_cells(each, mine.get(each.name))) for each in plan]
    columns = ("notebook", "steps passed", "exercises solved", "in a word")
    parts: list[Table | Sentence] = [
        Table("Your progress", columns, rows, empty="(there are no notebooks)"),
        Sentence(_totals(plan, mine)),
    ]
    unreadable = sorted(set(workspace.documents(_PLACE)) & {each.name for each in plan} - mine.keys())
    if unreadable:
        parts.append(Sentence(f"What was noted of {', '.join(unreadable)} is damaged. Run it again to count it."))
    parts.append(Sentence("Your progress in one line, to send or to keep:", line(mine)))
    return ProgressView("Your progress", parts)


def overview(text: str) -> ProgressView:
    """Where everybody stands.

    Arguments:
        text: what learners sent, one progress line each, with a name before it or above it. When a name
            occurs twice, the later line counts. Lines that cannot be read are listed with the reason.
    """
    from helpers.views.progress_view import ProgressView, Sentence, Table  # noqa: PLC0415 - checks must not need widgets

    sent = progress_lines.sent(_text(text))
    people, again = _people(sent)
    plan = course.lessons()
    rows = _standing_rows(plan, people)
    worried = ", ".join(row[0] for row in rows if row[-1] != _NO_TROUBLE) or "nobody, as far as the lines tell"
    parts: list[Table | Sentence] = [
        Sentence(f"Read: {len(sent.lines)} lines. Not read: {len(sent.refused)}. May need help: {worried}."),
        Table(
            "Who stands where",
            ("who", "last notebook", "its steps", "notebooks through", "exercises solved", "may need help"),
            rows,
            empty="(no progress line)",
        ),
        Table(
            "How far the room is",
            ("notebook", "begun", "through", "all exercises solved"),
            _lesson_rows(plan, people),
        ),
    ]
    if again:
        parts.append(Sentence(f"Sent more than once, the last line counts: {', '.join(again)}."))
    if sent.refused:
        refused = [(str(number), reason, begin) for number, reason, begin in sent.refused[:MOST_REFUSED]]
        parts.append(Table("Lines that could not be read", ("line", "why", "begins with"), refused))
    return ProgressView("Where everybody stands", parts)


#: What somebody sent: a name, and the standings by the numbers of the notebooks.
_Person = tuple[str, Mapping[str, Standing]]


def _people(sent: progress_lines.Sent) -> tuple[list[_Person], list[str]]:
    """Who sent a line, by name, and who sent more than one."""
    people: dict[str, _Person] = {}
    again: set[str] = set()
    for name, standings_of in sent.lines:
        if name.casefold() in people:
            again.add(name)
        people[name.casefold()] = name, standings_of
    return [people[name] for name in sorted(people)], sorted(again)


def _standing_rows(plan: Sequence[Lesson], people: Sequence[_Person]) -> list[tuple[str, ...]]:
    exercises = sum(lesson.exercises for lesson in plan)
    rows: list[tuple[str, ...]] = []
    for name, theirs in people:
        begun = [lesson for lesson in plan if lesson.number in theirs]
        last = (begun[-1].name, _steps(begun[-1], theirs[begun[-1].number])) if begun else ("(none)", "")
        solved_by = sum(len(each.solved) for each in theirs.values())
        numbers = (f"{_through(plan, theirs)} of {len(plan)}", f"{solved_by} of {exercises}")
        rows.append((name, *last, *numbers, _trouble(plan, people, theirs) or _NO_TROUBLE))
    return rows


def _trouble(plan: Sequence[Lesson], people: Sequence[_Person], theirs: Mapping[str, Standing]) -> str:
    """Why somebody may need help, in words; empty when nothing speaks for it."""
    if not theirs:
        return "has not begun"
    reasons: list[str] = []
    for lesson in plan:
        if lesson.number not in theirs or _is_through(lesson, theirs[lesson.number]):
            continue
        others = sum(_is_through(lesson, other.get(lesson.number)) for _, other in people)
        if 2 * others > len(people):
            reasons.append(f"not through with {lesson.number}, as most are")
    if median(_through(plan, other) for _, other in people) - _through(plan, theirs) >= 2:
        reasons.append("two notebooks or more behind the middle")
    return "; ".join(reasons)


def _lesson_rows(plan: Sequence[Lesson], people: Sequence[_Person]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for lesson in plan:
        found = [theirs[lesson.number] for _, theirs in people if lesson.number in theirs]
        ended = sum(_is_through(lesson, each) for each in found)
        solved_by = sum(len(each.solved) >= lesson.exercises for each in found)
        exercises = f"{solved_by} of {len(people)}" if lesson.exercises else "(has none)"
        rows.append((lesson.name, f"{len(found)} of {len(people)}", f"{ended} of {len(people)}", exercises))
    return rows


def _cells(lesson: Lesson, standing: Standing | None) -> tuple[str, str, str]:
    exercises = f"{min(len(standing.solved), lesson.exercises) if standing else 0} of {lesson.exercises}"
    if standing is None:
        return f"0 of {lesson.steps}", exercises, "not begun"
    if not _is_through(lesson, standing):
        word = "begun"
    elif len(standing.solved) < lesson.exercises:
        word = "through, exercises open"
    else:
        word = "done"
    return _steps(lesson, standing), exercises, word


def _totals(plan: Sequence[Lesson], mine: Mapping[str, Standing]) -> str:
    ended = sum(_is_through(lesson, mine.get(lesson.name)) for lesson in plan)
    solved_here = sum(min(len(mine[each.name].solved), each.exercises) for each in plan if each.name in mine)
    exercises = sum(lesson.exercises for lesson in plan)
    return f"Through: {ended} of {len(plan)} notebooks. Solved: {solved_here} of {exercises} exercises."


def _total(lesson: Lesson, standing: Standing) -> int:
    return lesson.steps if lesson.whole else max(lesson.steps, standing.total)


def _steps(lesson: Lesson, standing: Standing) -> str:
    total = _total(lesson, standing)
    return f"{min(standing.steps, total)} of {total}"


def _is_through(lesson: Lesson, standing: Standing | None) -> bool:
    return standing is not None and standing.steps >= _total(lesson, standing)


def _through(plan: Sequence[Lesson], theirs: Mapping[str, Standing]) -> int:
    return sum(_is_through(lesson, theirs.get(lesson.number)) for lesson in plan)


def _text(text: object) -> str:
    if not isinstance(text, str):
        raise ProgressLineError(f"A progress line is text, and this is {type(text).__name__}. Put it between quotes.")
    if len(text) > LONGEST_TEXT:
        raise ProgressLineError(f"This is too long ({len(text)} letters). Paste the progress lines only.")
    return text


def _better(name: str, other: Standing) -> None:
    """Keep the better of what is kept of a notebook and another standing."""
    kept = _kept(name)
    mine = kept or Standing()
    both = replace(mine, steps=max(mine.steps, other.steps), solved=mine.solved | other.solved)
    if both != kept:
        _keep(name, both)


def _keep(name: str, standing: Standing) -> None:
    document = {"steps": standing.steps, "solved": sorted(standing.solved), "total": standing.total}
    workspace.save(name, _PLACE, document)


def _kept(name: str) -> Standing | None:
    """What is kept of a notebook; ``None`` when there is nothing, or nothing that can be read."""
    try:
        document = workspace.load(name, _PLACE)
    except workspace.WorkspaceError:
        return None
    steps, marks, total = ((document or {}).get(each) for each in ("steps", "solved", "total"))
    if not (_is_number(steps) and _is_number(total) and isinstance(marks, list)):
        return None
    are_marks = all(progress_lines.is_mark(each) for each in marks)
    return Standing(int(str(steps)), frozenset(marks), int(str(total))) if are_marks else None


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= progress_lines.MOST_STEPS
