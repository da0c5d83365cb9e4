"""Compares the answers of two services to the same calls.

A call is a request with the same method, path and service in the same notebook. It may have been made several times,
as whoever waits for something does, and how often depends on how fast the service is; so what is compared are the
different answers to a call, each with the nearest one of the other side. A list that is read again and again, as a live
table does, is seen in states that the other side was never caught in; then each thing in it is compared for itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Answer = Mapping[str, Any]
Key = tuple[str, str, str]


@dataclass(frozen=True, order=True)
class Difference:
    """One thing in which two answers differ.

    Attributes:
        kind: ``status``, ``error code``, ``header``, ``type``, ``shape``, ``value``, ``answer`` or ``call``.
        where: the header, or the path in the body, such as ``.twin.tags``.
        azure: what Azure answers there; empty when it has nothing there.
        simulator: what the simulator answers there; empty when it has nothing there.
    """

    kind: str
    where: str
    azure: str
    simulator: str


@dataclass
class Call:
    """A call, and how it was answered.

    Attributes:
        notebook: in which it was made.
        service: who answered.
        operation: what was asked.
        azure: the different answers of Azure, in order.
        simulator: those of the simulator.
        differences: in what they differ.
    """

    notebook: str
    service: str
    operation: str
    azure: list[Answer]
    simulator: list[Answer]
    differences: list[Difference] = field(default_factory=list)


def compare(notebook: str, azure: Iterable[Answer], simulator: Iterable[Answer]) -> list[Call]:
    """Compare what two services answered in one notebook.

    Arguments:
        notebook: its name.
        azure: entries of :mod:`.recording`.
        simulator: likewise.

    Returns:
        Every call, in the order in which Azure was asked.
    """
    here, there = _by_call(azure), _by_call(simulator)
    calls: list[Call] = []
    for key in [*here, *(key for key in there if key not in here)]:
        call = Call(notebook, key[1], f"{key[0]} {key[2]}", here.get(key, []), there.get(key, []))
        if key in here and key in there:
            call.differences = sorted(set(_differences(call.azure, call.simulator)))
        else:
            call.differences = [Difference("call", "", *_sides("made", first=key in here))]
        calls.append(call)
    return calls


def _by_call(answers: Iterable[Answer]) -> dict[Key, list[Answer]]:
    found: dict[Key, list[Answer]] = {}
    for answer in answers:
        key = (answer["channel"], answer["service"], answer["operation"])
        different = found.setdefault(key, [])
        if not _is_among(answer, different):
            different.append(answer)
    return found


def _differences(azure: Sequence[Answer], simulator: Sequence[Answer]) -> Iterator[Difference]:
    if max(len(azure), len(simulator)) > 1 and all(isinstance(each["body"], list) for each in (*azure, *simulator)):
        here, there = _by_items(azure), _by_items(simulator)
        # with nothing on one side there is nothing to compare for itself
        azure, simulator = (here, there) if here and there else (azure, simulator)
    left = [answer for answer in azure if not _is_among(answer, simulator)]
    right = [answer for answer in simulator if not _is_among(answer, azure)]
    if len(azure) == len(simulator) == 1 and left:
        # one question, one answer each: also when their statuses differ
        yield from answer_differences(azure[0], simulator[0])
        return
    for answer in left:
        yield from _nearest(answer, simulator, first=True)
    for answer in right:
        # what was compared from the other side already comes out the same, and counts once
        yield from _nearest(answer, azure, first=False)


def _by_items(answers: Iterable[Answer]) -> list[Answer]:
    """The different things in lists, each as an answer that lists it alone."""
    found: list[Answer] = []
    for answer in answers:
        for item in answer["body"]:
            alone = {**answer, "body": [item]}
            if not _is_among(alone, found):
                found.append(alone)
    return found


def _is_among(answer: Answer, others: Iterable[Answer]) -> bool:
    """Whether an answer is one of the others; for Python, ``true`` and 1 would be the same."""
    return json.dumps(answer, sort_keys=True) in (json.dumps(other, sort_keys=True) for other in others)


def _nearest(answer: Answer, others: Sequence[Answer], *, first: bool) -> Iterator[Difference]:
    """In what an answer differs from the other side's answer with the same status that is nearest to it."""
    same = [other for other in others if other["status"] == answer["status"]]
    if not same:
        yield Difference("answer", "", *_sides(f"status {answer['status']}", first=first))
        return
    found = [list(answer_differences(answer, other) if first else answer_differences(other, answer)) for other in same]
    yield from min(found, key=len)


def answer_differences(azure: Answer, simulator: Answer) -> Iterator[Difference]:
    """In what two answers differ."""
    if azure["status"] != simulator["status"]:
        yield Difference("status", "", str(azure["status"]), str(simulator["status"]))
    here, there = set(azure["headers"]), set(simulator["headers"])
    for name in sorted(here ^ there):
        yield Difference("header", name, *_sides("there", first=name in here))
    if azure["type"] != simulator["type"]:
        yield Difference("type", "content-type", azure["type"] or "none", simulator["type"] or "none")
    yield from _body("", azure["body"], simulator["body"])


def _body(where: str, azure: Any, simulator: Any) -> Iterator[Difference]:
    if isinstance(azure, dict) and isinstance(simulator, dict):
        for name in sorted({*azure, *simulator}):
            path = f"{where}.{name}"
            if name not in azure or name not in simulator:
                value = azure[name] if name in azure else simulator[name]
                yield Difference("shape", path, *_sides(_shown(value), first=name in azure))
            else:
                yield from _body(path, azure[name], simulator[name])
    elif isinstance(azure, list) and isinstance(simulator, list):
        if len(azure) != len(simulator):
            yield Difference("shape", where or ".", f"{len(azure)} items", f"{len(simulator)} items")
        for number, pair in enumerate(zip(azure, simulator, strict=False)):
            yield from _body(f"{where}[{number}]", *pair)
    elif type(azure) is not type(simulator):
        yield Difference("shape", where or ".", _shown(azure), _shown(simulator))
    elif azure != simulator:
        kind = "error code" if where.lower().endswith(("errorcode", ".code")) else "value"
        yield Difference(kind, where or ".", _shown(azure), _shown(simulator))


def _sides(text: str, *, first: bool) -> tuple[str, str]:
    return (text, "") if first else ("", text)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(value)) + "}"
    if isinstance(value, list):
        return f"[{len(value)} items]"
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


_LONGEST = 200
