"""Sequence diagrams: who said what to whom, as a picture and as numbered lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from helpers.views.picture import picture, with_text

YOU, DEVICE, DPS, HUB = "You", "Device", "DPS", "Hub"
_LANES = (YOU, DEVICE, DPS, HUB)

#: Which two parties talk, by the service that an event belongs to: who asks, who answers.
_PARTIES: Mapping[str, tuple[str, str]] = {
    "enrollments": (YOU, DPS),
    "registry": (YOU, HUB),
    "provisioning": (DEVICE, DPS),
    "hub": (DEVICE, HUB),
}

#: (service, operation, direction) → words. What is not listed keeps the operation's own name.
_WORDS: Mapping[tuple[str, str, str], str] = {
    ("provisioning", "connect", "in"): "connect with a signed token",
    ("provisioning", "connect", "out"): "connection accepted",
    ("provisioning", "subscribe", "in"): "subscribe to answers",
    ("provisioning", "register", "in"): "register me",
    ("provisioning", "register", "out"): "answer to the registration",
    ("provisioning", "poll", "in"): "am I assigned by now?",
    ("provisioning", "poll", "out"): "answer to the question",
    ("provisioning", "assigned", "out"): "assigned",
    ("provisioning", "not assigned", "out"): "not assigned",
    ("provisioning", "disconnect", "in"): "goodbye",
    ("hub", "connect", "in"): "connect with a signed token",
    ("hub", "connect", "out"): "connection accepted",
    ("hub", "telemetry", "in"): "telemetry",
    ("hub", "telemetry", "out"): "telemetry received",
    ("hub", "twin get", "in"): "what does my twin say?",
    ("hub", "twin get", "out"): "the twin",
    ("hub", "twin desired", "out"): "desired properties changed",
    ("hub", "twin reported", "in"): "reported properties",
    ("hub", "twin reported", "out"): "reported properties kept",
    ("hub", "method", "out"): "call of a method",
    ("hub", "method", "in"): "answer of the method",
    ("hub", "disconnect", "in"): "goodbye",
    ("registry", "update twin", "in"): "change the twin",
}

#: What a device subscribes to: part of the topic → words.
_SUBSCRIPTIONS: Mapping[str, str] = {
    "$dps/registrations/res": "subscribe to answers",
    "$iothub/twin/res": "subscribe to twin answers",
    "$iothub/twin/PATCH": "subscribe to twin changes",
    "$iothub/methods": "subscribe to method calls",
    "/messages/devicebound": "subscribe to messages",
}

#: What DPS says to a TPM, and what the device answers.
_CHALLENGE, _ANSWERED = "prove it: open this (401)", "register me, the TPM has signed"

#: Requests of yours that change nothing; a diagram of a device's day is clearer without them.
_READS = ("get ", "list ", "query ", "read ")

_LANE_WIDTH = 235
_MARGIN = 90
_HEAD_LETTERS = 20
_HEAD = 50
_STEP = 42


@dataclass(frozen=True)
class Step:
    """One arrow.

    Attributes:
        sender, receiver: names of lanes.
        label: what is said.
        failed: whether it is a refusal; drawn dashed, and the words say so too.
    """

    sender: str
    receiver: str
    label: str
    failed: bool = False

    def __str__(self) -> str:
        return f"{self.sender} → {self.receiver}: {self.label}"


class SequenceDiagram:
    """A diagram of steps between parties.

    Arguments:
        title: what it shows.
        steps: the arrows, in order.
        note: a sentence below it.
        names: other texts for the heads of the lanes, e.g. the device's name.
    """

    def __init__(
        self, title: str, steps: Iterable[Step], *, note: str = "", names: Mapping[str, str] | None = None
    ) -> None:
        self.title = title
        self.steps = list(steps)
        self.note = note
        self._names = dict(names or {})

    def __str__(self) -> str:
        lines = [self.title]
        lines += [f"{number:>3}. {self._sentence(step)}" for number, step in enumerate(self.steps, 1)]
        if not self.steps:
            lines.append("     (nothing was seen)")
        return "\n".join([*lines, self.note] if self.note else lines)

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.html()}

    def html(self) -> str:
        """The picture, and below it the same as text, folded away."""
        return with_text(self.svg(), str(self), self.note)

    def svg(self) -> str:
        """The picture alone; it takes its colour from the page around it."""
        lanes = [lane for lane in _LANES if any(lane in (step.sender, step.receiver) for step in self.steps)]
        place = {lane: _MARGIN + index * _LANE_WIDTH for index, lane in enumerate(lanes)}
        width = 2 * _MARGIN + max(len(lanes) - 1, 1) * _LANE_WIDTH
        height = _HEAD + (len(self.steps) + 1) * _STEP
        described = " ".join(f"{number}. {self._sentence(step)}." for number, step in enumerate(self.steps, 1))
        parts: list[str] = []
        for lane in lanes:
            parts.append(self._lane(lane, place[lane], height))
        for number, step in enumerate(self.steps, 1):
            parts.append(_arrow(number, step, place[step.sender], place[step.receiver]))
        return picture(self.title, described, width, height, parts)

    def _lane(self, lane: str, x: int, height: int) -> str:
        name = self._name(lane)
        if len(name) > _HEAD_LETTERS:
            name = name[: _HEAD_LETTERS - 1] + "…"
        return (
            f'<rect x="{x - 82}" y="6" width="164" height="28" rx="5" fill="none" stroke="currentColor"/>'
            f'<text x="{x}" y="25" text-anchor="middle" font-weight="bold">{escape(name)}</text>'
            f'<line x1="{x}" y1="34" x2="{x}" y2="{height - 6}" stroke="currentColor" stroke-opacity="0.45"/>'
        )

    def _name(self, lane: str) -> str:
        return self._names.get(lane, lane)

    def _sentence(self, step: Step) -> str:
        return f"{self._name(step.sender)} → {self._name(step.receiver)}: {step.label}"


def _arrow(number: int, step: Step, start: int, end: int) -> str:
    y = _HEAD + number * _STEP - 4
    way = 1 if end > start else -1
    tip = end - way * 2
    # on the stretch next to the sender, so that a long arrow's words do not lie on the lines that it crosses
    middle = start + way * _LANE_WIDTH // 2
    dashes = ' stroke-dasharray="6 4"' if step.failed else ""
    return (
        f'<text x="{middle}" y="{y - 7}" text-anchor="middle">{number}. {escape(step.label)}</text>'
        f'<line x1="{start}" y1="{y}" x2="{tip}" y2="{y}" stroke="currentColor" stroke-width="1.5"{dashes}/>'
        f'<polygon points="{tip},{y} {tip - way * 9},{y - 5} {tip - way * 9},{y + 5}"/>'
    )


def overview() -> SequenceDiagram:
    """The idea of DPS in five arrows, without any service behind it."""
    return SequenceDiagram(
        "How a device finds its hub",
        [
            Step(YOU, DPS, "enroll: this device may come"),
            Step(DEVICE, DPS, "register: it is me, here is proof"),
            Step(DPS, HUB, "create the device"),
            Step(DPS, DEVICE, "your hub and your device ID"),
            Step(DEVICE, HUB, "connect, send telemetry"),
        ],
    )


def sequence(
    dps: Any, *, after: int = 0, device: str | Sequence[str] = (), title: str, name: str = ""
) -> SequenceDiagram:
    """What happened on the wire, drawn from the target's events.

    Arguments:
        dps: the target, from ``connect(...)``.
        after: number of the last event that is not shown, from ``dps.last_event()``.
        device: the registration ID and the device ID of the device to follow.
        title: what the picture shows.
        name: what to write above the device's line.
    """
    note = (
        ""
        if dps.is_simulator
        else "Drawn from what the SDK in this notebook says. Azure does not show its side: no status codes, no polls."
    )
    steps = steps_of(dps.events(after=after, device=device))
    return SequenceDiagram(title, steps, note=note, names={DEVICE: name} if name else None)


def steps_of(events: Iterable[Mapping[str, Any]]) -> list[Step]:
    """Arrows for events.

    Left out is what would hide the story: answers to subscriptions, your own reading, and the answers to your requests
    unless they are refusals. Questions "am I assigned by now?" that came too early are drawn as one.
    """
    steps: list[Step] = []
    for event in events:
        parties = _PARTIES.get(str(event["service"]))
        if parties is None or _left_out(event):
            continue
        sender, receiver = parties if event["direction"] == "in" else parties[::-1]
        label = _label(event)
        if event["operation"] == "register" and steps and steps[-1].label == _CHALLENGE:
            label = _ANSWERED
        step = Step(sender, receiver, label, refused(event))
        if event["operation"] == "poll" and steps[-2:-1] == [step]:
            # the same question, answered with "not yet": keep only the last question and the last answer
            del steps[-2:]
        steps.append(step)
    return steps


def refused(event: Mapping[str, Any]) -> bool:
    """Whether an event is a refusal: an HTTP or MQTT status from 300 on, or a connection that was not accepted.

    The challenge to a TPM is none, although it comes with 401.
    """
    status = event.get("status")
    if not isinstance(status, int) or _is_challenge(event):
        return False
    return status >= 300 or (event["operation"] == "connect" and status != 0)


def _is_challenge(event: Mapping[str, Any]) -> bool:
    """Whether DPS asks a TPM to prove itself."""
    return event.get("status") == 401 and bool((event.get("detail") or {}).get("challenge"))


def _left_out(event: Mapping[str, Any]) -> bool:
    if refused(event):
        return False
    if event["direction"] == "out":
        return event["operation"] == "subscribe" or event["service"] in {"registry", "enrollments"}
    return event["service"] in {"registry", "enrollments"} and str(event["operation"]).startswith(_READS)


def _label(event: Mapping[str, Any]) -> str:
    service, operation, direction = str(event["service"]), str(event["operation"]), str(event["direction"])
    status, detail = event.get("status"), event.get("detail") or {}
    if refused(event):
        return f"refused, {'code' if operation == 'connect' else 'status'} {status}"
    if _is_challenge(event):
        return _CHALLENGE
    if operation == "subscribe":
        return _subscription(detail)
    shown = detail.get("certificates")
    if operation == "connect" and shown:
        return "connect with a certificate" + (f" and {len(shown) - 1} more of its chain" if len(shown) > 1 else "")
    if operation in {"register", "poll"} and status is not None:
        body = detail.get("body")
        outcome = str(body.get("status", "")) if isinstance(body, Mapping) else ""
        return f"not yet, ask again ({status})" if status == 202 else f"{outcome or 'answer'} ({status})"
    return _WORDS.get((service, operation, direction), operation)


def _subscription(detail: Mapping[str, Any]) -> str:
    topics = str(detail.get("filters", ""))
    return next((words for part, words in _SUBSCRIPTIONS.items() if part in topics), "subscribe")
