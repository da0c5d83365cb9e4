"""Sequence diagrams: who said what to whom, as a picture and as numbered lines of text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from . import picture as draw
from .picture import Drawing
from .tpm_lane import SIGN, acts_of

if TYPE_CHECKING:
    from helpers.tpm.commands import Exchange
    from helpers.tpm.device import TpmDevice

YOU, DEVICE, TPM, DPS, FUNCTION, HUB = "You", "Device", "TPM", "DPS", "Your function", "Hub"
_LANES = (YOU, DEVICE, TPM, DPS, FUNCTION, HUB)

#: Which two parties talk, by the service that an event belongs to: who asks, who answers.
_PARTIES: Mapping[str, tuple[str, str]] = {
    "enrollments": (YOU, DPS),
    "registry": (YOU, HUB),
    "provisioning": (DEVICE, DPS),
    "hub": (DEVICE, HUB),
    # what comes in is the answer here: it is DPS that asks
    "webhook": (FUNCTION, DPS),
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
    ("provisioning", "open", "in"): "open a connection",
    ("hub", "open", "in"): "open a connection",
    ("hub", "token", "in"): "here is my signed token",
    ("hub", "token", "out"): "answer to the token",
    ("hub", "twin", "in"): "tell me when it changes, or no more",
    ("hub", "twin", "out"): "answer to the wish",
    ("hub", "connect", "in"): "connect with a signed token",
    ("hub", "connect", "out"): "connection accepted",
    ("hub", "telemetry", "in"): "telemetry",
    ("hub", "telemetry", "out"): "telemetry received",
    ("hub", "receive message", "in"): "is there a message for me?",
    ("hub", "receive message", "out"): "answer to the question",
    ("hub", "complete or reject message", "in"): "done with the message",
    ("hub", "abandon message", "in"): "I give the message back",
    ("hub", "twin get", "in"): "what does my twin say?",
    ("hub", "twin get", "out"): "the twin",
    ("hub", "twin desired", "out"): "desired properties changed",
    ("hub", "twin reported", "in"): "reported properties",
    ("hub", "twin reported", "out"): "reported properties kept",
    ("hub", "method", "out"): "call of a method",
    ("hub", "method", "in"): "answer of the method",
    ("hub", "disconnect", "in"): "goodbye",
    ("registry", "update twin", "in"): "change the twin",
    ("webhook", "allocate", "out"): "which hub for this device?",
    ("webhook", "allocate", "in"): "this hub",
}

#: What a link over AMQP is for, by the end of its address.
_LINKS: Mapping[str, str] = {
    "$cbs": "tokens",
    "/messages/events": "telemetry",
    "/messages/devicebound": "messages from the cloud",
    "/twin": "the twin",
    "/methods/devicebound": "methods",
}

#: What the network does, by what the trace calls it. It is said by neither end.
_NETWORK: Mapping[str, str] = {
    "fault: cut": "the connection is cut",
    "fault: latency": "delayed",
    "connection refused": "no connection",
}
#: What a service does when it ends a connection.
_CLOSES = frozenset({"close", "disconnect"})
_LOST = "the connection is lost"
#: What stands beside a refusal that somebody switched on.
_SWITCHED_ON, _FAULT = "faultSwitchedOn", "a fault that is switched on"

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

_ON_AZURE = "Drawn from what the SDK in this notebook says. Azure does not show its side: no status codes, no polls."

#: Requests of yours that change nothing; a diagram of a device's day is clearer without them.
_READS = ("get ", "list ", "query ", "read ")

#: What the service says of itself, although nobody asked; everything else that it says is an answer.
_UNASKED = frozenset({"twin desired", "method", "message"})

#: Room left of the first lane, where the captions of the bands stand, and right of the last.
_LEFT, _RIGHT = 94, 94
#: From one lane to the next, and the box above each.
_CLOSEST, _WIDEST, _HEAD_HEIGHT = 172, 280, 28
_HEAD_GAP, _WIDEST_HEAD = 12, 174
_TOP, _EDGE, _AIR = 8, 6, 8
#: In the height of a step: from its top to the first line of words, from the last to the arrow, and to the end.
_TO_WORDS, _TO_ARROW, _TO_END = 20, 8, 9
_LEGEND = 40
_WITH_DPS, _WITH_HUB = "with DPS", "with its hub"


@dataclass(frozen=True)
class Step:
    """One arrow.

    Attributes:
        sender, receiver: names of lanes.
        label: what is said.
        failed: whether it is a refusal; drawn dashed with a cross, and the words say so too.
        answer: whether it answers; drawn with an open head.
        network: whether nobody said it: it happened on the way between the two. Drawn dotted, without a head.
    """

    sender: str
    receiver: str
    label: str
    failed: bool = False
    answer: bool = False
    network: bool = False

    def __str__(self) -> str:
        return self.told(self.sender, self.receiver)

    def told(self, sender: str, receiver: str) -> str:
        """The step in words.

        Arguments:
            sender: what to call who sends.
            receiver: what to call who receives.
        """
        if self.network:
            return f"Network between {sender} and {receiver}: {self.label}"
        return f"{sender} → {receiver}: {self.label}"


class SequenceDiagram(Drawing):
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

    def svg(self) -> str:
        """The picture alone; it takes its colour from the page around it."""
        described = " ".join(f"{number}. {self._sentence(step)}." for number, step in enumerate(self.steps, 1))
        layout = _Layout(self.steps, self._name)
        return draw.picture(self.title, described, layout.width, layout.height, layout.parts())

    def _name(self, lane: str) -> str:
        return self._names.get(lane, lane)

    def _sentence(self, step: Step) -> str:
        return step.told(self._name(step.sender), self._name(step.receiver))


@dataclass(frozen=True)
class _Row:
    """A step with its place.

    Attributes:
        step: what is drawn.
        lines: its words.
        top, arrow: heights.
    """

    step: Step
    lines: list[str]
    top: int
    arrow: int


class _Layout:
    """Where everything in a diagram stands.

    Arguments:
        steps: the arrows.
        name: gives the text for the head of a lane.
    """

    def __init__(self, steps: Sequence[Step], name: Callable[[str], str]) -> None:
        self._name = name
        lanes = [lane for lane in _LANES if any(lane in (step.sender, step.receiver) for step in steps)]
        between = max(len(lanes) - 1, 1)
        gap = min(max((draw.PAGE_WIDTH - _LEFT - _RIGHT) // between, _CLOSEST), _WIDEST)
        self._head_width = min(gap - _HEAD_GAP, _WIDEST_HEAD)
        self._place = {lane: _LEFT + index * gap for index, lane in enumerate(lanes)}
        self.width = _LEFT + between * gap + _RIGHT
        phases = _phases(steps)
        self._bands: list[tuple[str, int, int]] = []
        self._rows: list[_Row] = []
        y = _TOP + _HEAD_HEIGHT + _AIR
        for number, (step, phase) in enumerate(zip(steps, phases, strict=True), 1):
            begins = number == 1 or phase != phases[number - 2]
            y += _AIR if begins and number > 1 else 0
            reach = abs(self._place[step.receiver] - self._place[step.sender])
            lines = draw.wrapped(f"{number}. {step.label}", reach - 3 * _AIR)
            tip = y + _TO_WORDS + (len(lines) - 1) * draw.LINE_HEIGHT + _TO_ARROW
            self._rows.append(_Row(step, lines, y, tip))
            start = y if begins else self._bands.pop()[1]
            y = tip + _TO_END
            self._bands.append((phase, start, y))
        self._bottom = y + _AIR
        self.height = self._bottom + (_LEGEND if steps else 0)
        self._legend, needed = self._explained()
        self.width = max(self.width, needed)

    def parts(self) -> list[str]:
        """The SVG elements in the order in which they are drawn, what lies behind first."""
        parts = [*self._shades(), *(self._lane(lane) for lane in self._place)]
        for row in self._rows:
            start, end = self._place[row.step.sender], self._place[row.step.receiver]
            base = row.top + _TO_WORDS
            for number, text in enumerate(row.lines):
                parts.append(draw.words((start + end) // 2, base + number * draw.LINE_HEIGHT, text, anchor="middle"))
            tip = end if row.step.network else end - (2 if end > start else -2)
            parts.append(_drawn(row.step, start, row.arrow, tip))
        return parts + self._legend

    def _shades(self) -> Iterator[str]:
        """Bands behind what is said to DPS and behind what is said to the hub, where both occur."""
        if len(self._bands) < 2:
            return
        for phase, top, end in self._bands:
            yield draw.band(_EDGE, top, self.width - 2 * _EDGE, end - top)
            yield draw.words(2 * _EDGE, top + _TO_WORDS, phase, italic=True, small=True)

    def _lane(self, lane: str) -> str:
        x, y = self._place[lane], _TOP + _HEAD_HEIGHT
        name = draw.shortened(self._name(lane), self._head_width - _AIR, bold=True)
        parts = [
            draw.frame(x - self._head_width // 2, _TOP, self._head_width, _HEAD_HEIGHT),
            draw.words(x, _TOP + 19, name, bold=True, anchor="middle"),
        ]
        for row in self._rows:
            middle = (self._place[row.step.sender] + self._place[row.step.receiver]) // 2
            if abs(x - middle) < max(map(draw.width_of, row.lines)) // 2 + _AIR:
                # words stand here: the line makes room for them
                parts.append(draw.line(x, y, x, row.top + _TO_WORDS - draw.LINE_HEIGHT + 3, faint=True))
                y = row.arrow - _TO_ARROW + 4
        parts.append(draw.line(x, y, x, self._bottom, faint=True))
        return "".join(parts)

    def _explained(self) -> tuple[list[str], int]:
        """What the lines and the heads of the arrows mean, as far as they occur, and the width that this needs."""
        said = [row.step for row in self._rows if not row.step.network]
        happened = [row.step for row in self._rows if row.step.network]
        broken = all(step.failed for step in happened)
        kinds = [
            (any(not (step.answer or step.failed) for step in said), Step("", "", "asks or tells")),
            (any(step.answer and not step.failed for step in said), Step("", "", "answers", answer=True)),
            (any(step.failed for step in said), Step("", "", "refuses", failed=True, answer=True)),
            (bool(happened), Step("", "", "the network: nobody says it", failed=broken, network=True)),
        ]
        x, y = 2 * _EDGE, self._bottom + _LEGEND // 2
        parts: list[str] = []
        for occurs, sample in kinds:
            if occurs:
                parts += [_drawn(sample, x, y, x + 42), draw.words(x + 50, y + 4, sample.label, small=True)]
                x += 80 + draw.width_of(sample.label, small=True)
        return parts, x


def _drawn(step: Step, start: int, y: int, end: int) -> str:
    if step.network:
        return draw.interrupted(start, y, end, broken=step.failed)
    return draw.arrow(start, y, end, y, answer=step.answer, refused=step.failed)


def _phases(steps: Sequence[Step]) -> list[str]:
    """Whom the device deals with at each step.

    What its TPM does belongs to what came before, but a signature is for what comes next.
    """
    wire = [None if TPM in (step.sender, step.receiver) else _phase(step) for step in steps]
    phases: list[str] = []
    for number, (step, phase) in enumerate(zip(steps, wire, strict=True)):
        following = next((each for each in wire[number:] if each), None)
        before = phases[-1] if phases else following
        if step.label == SIGN:
            before = following or before
        phases.append(phase or before or _WITH_DPS)
    return phases


def _phase(step: Step) -> str:
    return _WITH_HUB if HUB in (step.sender, step.receiver) and step.sender != DPS else _WITH_DPS


def overview() -> SequenceDiagram:
    """The idea of DPS in five arrows, without any service behind it."""
    return SequenceDiagram(
        "How a device finds its hub",
        [
            Step(YOU, DPS, "enroll: this device may come"),
            Step(DEVICE, DPS, "register: it is me, here is proof"),
            Step(DPS, HUB, "create the device"),
            Step(DPS, DEVICE, "your hub and your device ID", answer=True),
            Step(DEVICE, HUB, "connect, send telemetry"),
        ],
    )


def sequence(
    dps: Any,
    *,
    after: int = 0,
    device: str | Sequence[str] = (),
    title: str,
    name: str = "",
    tpm: TpmDevice | None = None,
    since: float | None = None,
) -> SequenceDiagram:
    """What happened on the wire, drawn from the target's events.

    Arguments:
        dps: the target, from ``connect(...)``.
        after: number of the last event that is not shown, from ``dps.last_event()``.
        device: the registration ID and the device ID of the device to follow.
        title: what the picture shows.
        name: what to write above the device's line.
        tpm: the device's TPM. What it was asked gets a line of its own, from the first message in the picture on.
        since: the moment from which on the TPM counts instead, as ``time.time()`` gave it: for when a token is signed
            before the first message.
    """
    note = "" if dps.is_simulator else _ON_AZURE
    history = tpm.history if tpm is not None else ()
    steps = steps_of(dps.events(after=after, device=device), history, since=since)
    return SequenceDiagram(title, steps, note=note, names={DEVICE: name} if name else None)


def steps_of(
    events: Iterable[Mapping[str, Any]], exchanges: Iterable[Exchange] = (), *, since: float | None = None
) -> list[Step]:
    """Arrows for events.

    Left out is what would hide the story: answers to subscriptions, your own reading, and the answers to your requests
    unless they are refusals. Questions "am I assigned by now?" that came too early are drawn as one.

    Arguments:
        events: what was seen on the wire, oldest first.
        exchanges: what the device's TPM was asked, oldest first; what was asked before the first message is left out,
            because it belongs to something else.
        since: the moment before which it belongs to something else, instead of the first message.
    """
    shown = [event for event in events if _service_of(event) in _PARTIES and not _left_out(event)]
    before, *after = _by_message(shown, exchanges, since)
    steps = _with_tpm(before)
    said = Step("", "", "")  # the last step on the wire
    assigned = False
    for event, inside in zip(shown, after, strict=True):
        step = _step_of(event, challenged=said.label == _CHALLENGE)
        if step.network:
            # who loses a connection that was just cut tells nothing new
            if not (step.label == _LOST and steps and steps[-1].network and steps[-1].failed):
                steps.append(step)
            step = said
        # the SDK may say twice that it was assigned
        elif not (step.label == "assigned" and step == said):
            if event["operation"] == "poll" and steps[-2:-1] == [step]:
                # the same question, answered with "not yet": keep only the last question and the last answer
                del steps[-2:]
            steps.append(step)
            said = step
        # a new registration begins with another challenge
        assigned = step.label.startswith("assigned") or (assigned and event["operation"] not in {"register", "poll"})
        steps += _with_tpm(inside, assigned)
    return steps


def _with_tpm(exchanges: Iterable[Exchange], assigned: bool = False) -> list[Step]:
    steps: list[Step] = []
    for act in acts_of(exchanges, assigned=assigned):
        steps += [Step(DEVICE, TPM, act.asked), Step(TPM, DEVICE, act.answered, act.failed, answer=True)]
    return steps


def _by_message(
    events: Sequence[Mapping[str, Any]], exchanges: Iterable[Exchange], since: float | None
) -> list[list[Exchange]]:
    """What the TPM was asked before the first message, and after each of them."""
    moments = [moment_of(event) for event in events]
    begins = moments[0] if moments else None
    first = begins if since is None else since
    groups: list[list[Exchange]] = [[] for _ in range(len(events) + 1)]
    for each in exchanges:
        if first is None or each.time < first:
            continue
        later = (number for number, moment in enumerate(moments) if moment is not None and each.time < moment)
        groups[0 if begins is None else next(later, len(events))].append(each)
    return groups


def _step_of(event: Mapping[str, Any], *, challenged: bool) -> Step:
    """The arrow for an event; ``challenged`` says whether the last one was the challenge to a TPM."""
    service, comes_in = _service_of(event), event["direction"] == "in"
    parties = _PARTIES[service]
    network = _by_network(event)
    if network:
        return Step(*parties, network, failed=event["operation"] != "fault: latency", network=True)
    sender, receiver = parties if comes_in else parties[::-1]
    label = _ANSWERED if challenged and event["operation"] == "register" and comes_in else _label(event)
    # a method is called by the service, and what the device then says is the answer
    answer = comes_in == (service == "webhook" or event["operation"] in _UNASKED)
    answer = answer and event["operation"] not in _CLOSES
    return Step(sender, receiver, label, refused(event), answer)


def _service_of(event: Mapping[str, Any]) -> str:
    """The service of an event; where nothing got through, the one that was meant."""
    return str((event.get("detail") or {}).get("addressed") or event["service"])


def _by_network(event: Mapping[str, Any]) -> str:
    """What the network did, in words; empty for what one of the two ends says."""
    operation, detail = str(event["operation"]), event.get("detail") or {}
    reason = str(detail.get("reason") or "")
    if operation in _NETWORK:
        # the reason for a fault is a whole sentence
        told = "" if operation.startswith("fault") and reason else _NETWORK[operation]
        return ": ".join(filter(None, [told, reason]))
    if operation == "disconnect" and event["direction"] == "in":
        # an older trace only says whether the client took its leave
        ended = detail.get("ended") or ("client" if detail.get("clean", True) else "network")
        return _LOST if ended == "network" else ""
    if event["service"] == "webhook" and event["direction"] == "in" and event.get("status") is None and reason:
        return f"no answer: {reason}"
    return ""


def moment_of(event: Mapping[str, Any]) -> float | None:
    """When an event was seen, in seconds since 1970; ``None`` when it does not say."""
    found = _TIME.match(str(event.get("time", "")))
    if found is None:
        return None
    whole = datetime.fromisoformat(found[1]).replace(tzinfo=timezone.utc)
    return whole.timestamp() + float(f"0{found[2] or ''}")


_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(?:Z|\+00:00)$")


def refused(event: Mapping[str, Any]) -> bool:
    """Whether an event is a refusal: an HTTP or MQTT status from 300 on, or a connection that was not accepted.

    The challenge to a TPM is none, although it comes with 401.
    """
    status = event.get("status")
    if event.get("service") == "webhook" and (event.get("detail") or {}).get("reason"):
        # whatever its status, the answer was of no use
        return True
    if not isinstance(status, int) or is_challenge(event):
        return False
    return status >= 300 or (event["operation"] == "connect" and status != 0)


def is_challenge(event: Mapping[str, Any]) -> bool:
    """Whether DPS asks a TPM to prove itself: an answer with 401 that carries a challenge, and is no refusal."""
    return event.get("status") == 401 and bool((event.get("detail") or {}).get("challenge"))


def _left_out(event: Mapping[str, Any]) -> bool:
    detail = event.get("detail") or {}
    if refused(event) or _by_network(event):
        return False
    if event["operation"] == "disconnect" and detail.get("ended") == "service":
        # what made the service close is told already, unless it was silence
        return not detail.get("reason")
    if event["direction"] == "out":
        return event["operation"] == "subscribe" or event["service"] in {"registry", "enrollments"}
    return event["service"] in {"registry", "enrollments"} and str(event["operation"]).startswith(_READS)


def _attached(event: Mapping[str, Any]) -> str:
    """What a link is for, and which way messages go on it, as the client sees it; a refusal says neither."""
    detail = event.get("detail") or {}
    address = str(detail.get("address") or "")
    if not address:
        return "answer to the link"
    what = next((words for end, words in _LINKS.items() if address.endswith(end)), "")
    what = what or ("registering" if "/registrations/" in address else address)
    return f"a link for {what}: I {'send' if detail.get('link') == 'sender' else 'receive'}"


def _label(event: Mapping[str, Any]) -> str:
    service, operation, direction = str(event["service"]), str(event["operation"]), str(event["direction"])
    status, detail = event.get("status"), event.get("detail") or {}
    label = _WORDS.get((service, operation, direction), operation)
    if operation == "attach":
        label = _attached(event)
    shown = detail.get("certificates")
    if service == "webhook" and direction == "in":
        label = _allocation(event)
    elif operation in _CLOSES and direction == "out":
        label = _closing(detail)
    elif refused(event):
        label = f"refused, {'code' if operation == 'connect' else 'status'} {status}"
        if detail.get("finding") == _SWITCHED_ON:
            label += f" ({_FAULT})"
    elif is_challenge(event):
        label = _CHALLENGE
    elif operation == "subscribe":
        label = _subscription(detail)
    elif operation == "connect" and shown:
        label = "connect with a certificate" + (f" and {len(shown) - 1} more of its chain" if len(shown) > 1 else "")
    elif operation in {"register", "poll"} and status is not None:
        body = detail.get("body")
        outcome = str(body.get("status", "")) if isinstance(body, Mapping) else ""
        label = f"not yet, ask again ({status})" if status == 202 else f"{outcome or 'answer'} ({status})"
    return label


def _closing(detail: Mapping[str, Any]) -> str:
    """What a service does that ends a connection."""
    code, reason = detail.get("code"), str(detail.get("reason") or "")
    return ": ".join(filter(None, ["closes the connection" + (f", code {code}" if code else ""), reason]))


def _allocation(event: Mapping[str, Any]) -> str:
    """What the function of a custom allocation policy answered."""
    detail, status = event.get("detail") or {}, event.get("status")
    if refused(event):
        return "no answer that helps" + (f", status {status}" if status is not None else "")
    body = detail.get("body")
    host = str(body.get("iotHubHostName") or "") if isinstance(body, Mapping) else ""
    return f"take {host.partition('.')[0]}" if host else _WORDS["webhook", "allocate", "in"]


def _subscription(detail: Mapping[str, Any]) -> str:
    topics = str(detail.get("filters", ""))
    return next((words for part, words in _SUBSCRIPTIONS.items() if part in topics), "subscribe")
