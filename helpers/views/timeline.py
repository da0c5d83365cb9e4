"""How long a device takes from its first word to DPS until its hub lets it in, as a picture and as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .observation import device_of
from .picture import MARGIN, PAGE_WIDTH, Drawing, band, bar, line, picture, shortened, spacing, width_of, words
from .sequence import is_challenge, moment_of, refused
from .text import text_table

CONNECTS, REGISTERS, PROVES, WAITS, GOES, ENTERS = (
    "connects to DPS",
    "registers",
    "proves itself in its TPM",
    "waits for its hub",
    "goes to its hub",
    "connects to its hub",
)

_COLUMNS = ("device", "phase", "begins at", "takes", "ends with")
_COLUMNS_OF_MANY = ("device", "assigned after", "in its hub after", "ends with")
#: Each phase of more devices than these would make a picture that nobody reads: then a device is one line.
_DETAILED = 4
#: With even more, the rest is in the table only.
_MOST_ROWS = 40

_ROW, _BAR, _AFTER = 24, 12, 10
_NAMES_WIDTH, _NUMBERS_WIDTH = 178, 120
_AXIS = 30
_DONE, _THERE = "assigned", "connected"
#: Fewer milliseconds than these are told with a digit behind the point.
_FEW = 9.95


@dataclass
class Phase:
    """A part of the way.

    Attributes:
        name: what the device does.
        begin: when, in milliseconds after its first word.
        end: when that ended; ``None`` as long as it goes on.
        outcome: how it ended.
        failed: whether it ended with a refusal.
    """

    name: str
    begin: float
    end: float | None = None
    outcome: str = "nothing yet"
    failed: bool = False

    @property
    def takes(self) -> float:
        """Milliseconds from its begin to its end, 0 for what goes on."""
        return 0.0 if self.end is None else self.end - self.begin

    @property
    def told(self) -> str:
        """How long it took, in words; that it goes on, where it does."""
        return "goes on" if self.end is None else _ms(self.takes)


@dataclass
class Way:
    """The way of one device from its first word to its hub.

    Attributes:
        registration_id: who it says that it is; empty on Azure, where nobody tells.
        begin: when it began, in seconds since 1970.
        device_id: its name in the hub, once it has one.
        phases: in their order.
    """

    registration_id: str
    begin: float
    device_id: str = ""
    phases: list[Phase] = field(default_factory=list)

    @property
    def assigned(self) -> bool:
        """Whether DPS gave it a hub, whatever became of it there."""
        return self.answered is not None

    @property
    def answered(self) -> float | None:
        """When DPS gave it a hub, in milliseconds after its first word; ``None`` before that."""
        return next((phase.end for phase in self.phases if phase.outcome == _DONE), None)

    @property
    def over(self) -> bool:
        """Whether nothing more comes: it is in its hub, or it was refused."""
        return bool(self.phases) and (self.phases[-1].failed or self.phases[-1].outcome == _THERE)

    @property
    def total(self) -> float:
        """Milliseconds from the first word to the end of what has ended."""
        return max((phase.end for phase in self.phases if phase.end is not None), default=0.0)

    @property
    def outcome(self) -> str:
        """How its last phase ended, in words."""
        return self.phases[-1].outcome if self.phases else "nothing yet"

    def begins(self, name: str, moment: float) -> None:
        """The next phase; one that goes on is not begun again, another one was broken off.

        Arguments:
            name: what the device does.
            moment: when, in seconds since 1970.
        """
        if self.phases and self.phases[-1].end is None:
            if self.phases[-1].name == name:
                return
            self.ends(moment, "broken off")
        self.phases.append(Phase(name, self._milliseconds(moment)))

    def ends(self, moment: float, outcome: str, *, failed: bool = False) -> None:
        """The phase that goes on is over; when none goes on, nothing happens.

        Arguments:
            moment: when, in seconds since 1970.
            outcome: how it ended, in words.
            failed: whether that was a refusal.
        """
        if self.phases and self.phases[-1].end is None:
            phase = self.phases[-1]
            phase.end, phase.outcome, phase.failed = self._milliseconds(moment), outcome, failed

    def _milliseconds(self, moment: float) -> float:
        return (moment - self.begin) * 1000


class Timeline(Drawing):
    """Ways of devices over time.

    Arguments:
        title: what it shows.
        ways: one for each device and boot.
        note: a sentence below it.
    """

    def __init__(self, title: str, ways: Sequence[Way], *, note: str = "") -> None:
        self.title = title
        self.ways = list(ways)
        self.note = note

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The table: a line for each phase and one for the whole way; of many devices, a line for each of them."""
        rows: list[tuple[str, ...]] = []
        for way, name in zip(self.ways, self._names(), strict=True):
            if not self._detailed:
                answered = "" if way.answered is None else _ms(way.answered)
                rows.append((name, answered, _ms(way.total) if way.outcome == _THERE else "", way.outcome))
                continue
            for phase in way.phases:
                rows.append((name, phase.name, _ms(phase.begin), phase.told, phase.outcome))
            rows.append((name, "all of it", _ms(0), _ms(way.total), way.outcome))
        return rows

    @property
    def _detailed(self) -> bool:
        return len(self.ways) <= _DETAILED

    def __str__(self) -> str:
        columns = _COLUMNS if self._detailed else _COLUMNS_OF_MANY
        lines = [self.title, text_table(columns, self.rows, empty="(no device was seen)")]
        return "\n".join([*lines, self.note] if self.note else lines)

    def svg(self) -> str:
        """The picture alone; it takes its colour from the page around it."""
        described = " ".join(
            f"{name}: {', '.join(f'{phase.name} {_ms(phase.takes)}' for phase in way.phases)}; "
            f"{way.outcome} after {_ms(way.total)}."
            for way, name in zip(self.ways, self._names(), strict=True)
        )
        longest = max((way.total for way in self.ways), default=0.0)
        step = spacing(longest, _SPACES)
        detailed = self._detailed

        def scale(milliseconds: float) -> int:
            return MARGIN + _NAMES_WIDTH + round(_ROOM * milliseconds / (step * _SPACES))

        parts: list[str] = []
        y = MARGIN + _AXIS
        for way, name in list(zip(self.ways, self._names(), strict=True))[:_MOST_ROWS]:
            y = (_detailed if detailed else _compact)(parts, way, name, scale, y)
        left_out = len(self.ways) - _MOST_ROWS
        if left_out > 0:
            parts.append(words(MARGIN, y + 16, f"and {left_out} more, in the table", italic=True))
            y += _ROW
        bottom = y if detailed else _legend(parts, y + _AFTER)
        guides = [part for number in range(_SPACES + 1) for part in _mark(scale, number * step, y)]
        return picture(self.title, described, PAGE_WIDTH, bottom + MARGIN, [*guides, *parts])

    def _names(self) -> list[str]:
        """What to call each; a device that came more than once is numbered."""
        seen: dict[str, int] = {}
        names: list[str] = []
        for way in self.ways:
            name = way.registration_id or "the device"
            seen[name] = seen.get(name, 0) + 1
            names.append(name if seen[name] == 1 else f"{name}, boot {seen[name]}")
        return names


# --- the picture ------------------------------------------------------------------------------------------------------

_SPACES = 4


#: From milliseconds to units from the left.
_Scale = Callable[[float], int]
_ROOM = PAGE_WIDTH - 2 * MARGIN - _NAMES_WIDTH - _NUMBERS_WIDTH


def _mark(scale: _Scale, milliseconds: float, bottom: int) -> list[str]:
    x = scale(milliseconds)
    return [
        words(x, MARGIN + 12, _ms(milliseconds), small=True, anchor="middle"),
        line(x, MARGIN + 18, x, bottom, guide=True),
    ]


def _detailed(parts: list[str], way: Way, name: str, scale: _Scale, y: int) -> int:
    """The phases of a way, one below the other."""
    height = _ROW * (len(way.phases) + 1)
    parts.append(band(MARGIN // 2, y, PAGE_WIDTH - MARGIN, height))
    head = f"{way.outcome} after {_ms(way.total)}"
    parts.append(words(PAGE_WIDTH - MARGIN, y + 17, head, bold=True, anchor="end"))
    room = PAGE_WIDTH - 3 * MARGIN - width_of(head, bold=True)
    parts.append(words(MARGIN, y + 17, shortened(name, room, bold=True), bold=True))
    for phase in way.phases:
        y += _ROW
        parts.append(words(MARGIN, y + 16, phase.name))
        begin, end = scale(phase.begin), scale(phase.end if phase.end is not None else way.total)
        parts.append(_bar(begin, end, y, dashed=phase.failed))
        takes = phase.told + (f", {phase.outcome}" if phase.failed else "")
        if end + 8 + width_of(takes) <= PAGE_WIDTH - MARGIN:
            parts.append(words(end + 8, y + 16, takes))
        else:
            parts.append(words(begin - 8, y + 16, takes, anchor="end"))
    return y + _ROW + _AFTER


def _compact(parts: list[str], way: Way, name: str, scale: _Scale, y: int) -> int:
    """A way in one line: until DPS has answered, and from there to the hub."""
    parts.append(words(MARGIN, y + 16, shortened(name, _NAMES_WIDTH - 8)))
    middle = scale(way.total if way.answered is None else way.answered)
    parts.append(_bar(scale(0), middle, y, dashed=way.phases[-1].failed and not way.assigned))
    end = scale(way.total)
    if end > middle:
        parts.append(_bar(middle, end, y, filled=False, dashed=way.phases[-1].failed))
    parts.append(words(end + 8, y + 16, _ms(way.total) + (", refused" if way.phases[-1].failed else "")))
    return y + _ROW


def _bar(begin: int, end: int, y: int, *, filled: bool = True, dashed: bool = False) -> str:
    return bar(begin, y + (_ROW - _BAR) // 2, end - begin, _BAR, filled=filled, dashed=dashed)


def _legend(parts: list[str], y: int) -> int:
    x = MARGIN + _NAMES_WIDTH
    for meaning, filled in (("with DPS", True), ("on to its hub", False)):
        parts += [_bar(x, x + 30, y, filled=filled), words(x + 38, y + 16, meaning, small=True)]
        x += 64 + width_of(meaning, small=True)
    return y + _ROW


def _ms(milliseconds: float) -> str:
    """Milliseconds in words, with a digit behind the point where there would be little else."""
    return f"{milliseconds:.0f} ms" if milliseconds >= _FEW or not milliseconds else f"{milliseconds:.1f} ms"


# --- from events to ways ----------------------------------------------------------------------------------------------


def timeline(dps: Any, *, after: int = 0, device: str | Sequence[str] = (), title: str) -> Timeline:
    """How long each device took from its first word to DPS until its hub let it in.

    Arguments:
        dps: the target, from ``connect(...)``.
        after: number of the last event that does not count, from ``dps.last_event()``.
        device: registration IDs or device IDs of the devices to show; none: all of them.
        title: what the picture shows.
    """
    note = (
        "Times are the simulator's: a round trip to Azure takes longer."
        if dps.is_simulator
        else "Times are those at which the SDK in this notebook said something. It names no device: "
        "when several boot at once, their times run into each other."
    )
    wanted = {device} - {""} if isinstance(device, str) else set(device)
    ways = [
        way
        for way in ways_of(dps.events(after=after))
        if not (wanted and way.registration_id) or wanted & {way.registration_id, way.device_id}
    ]
    return Timeline(title, ways, note=note)


def ways_of(events: Iterable[Mapping[str, Any]]) -> list[Way]:
    """Put the events of each device together.

    Arguments:
        events: the trace, oldest first. Those without a time are passed over, and those of other services.

    Returns:
        A way for each boot, in the order in which they began.
    """
    ways: list[Way] = []
    for event in events:
        moment = moment_of(event)
        if moment is None:
            continue
        if event["service"] == "provisioning":
            _with_dps(ways, event, device_of(event), moment)
        elif event["service"] == "hub" and event["operation"] == "connect":
            _with_hub(ways, event, device_of(event), moment)
    return ways


def _with_dps(ways: list[Way], event: Mapping[str, Any], who: str, moment: float) -> None:
    operation, comes_in = event["operation"], event["direction"] == "in"
    way = next((each for each in reversed(ways) if each.registration_id == who), None)
    if comes_in and operation in {"connect", "register"}:
        # a device that was refused may try again on the same connection; over HTTPS there is none to speak of
        again = operation == "connect" or event.get("protocol") == "https"
        if way is None or way.assigned or (way.over and again):
            way = Way(who, moment)
            ways.append(way)
        if operation == "connect":
            way.begins(CONNECTS, moment)
            return
        way.ends(moment, "proof sent")  # only the second word of a device with a TPM ends something
        way.begins(REGISTERS, moment)
    elif way is not None and comes_in and operation == "poll" and way.over and not way.assigned:
        way.begins(WAITS, moment)
    elif way is not None and not comes_in:
        _answer(way, event, moment)


def _answer(way: Way, event: Mapping[str, Any], moment: float) -> None:
    """What DPS said."""
    operation, status = event["operation"], event.get("status")
    if refused(event) or operation == "not assigned":
        way.ends(moment, "refused" + (f", {status}" if status is not None else ""), failed=True)
    elif operation == "connect":
        way.ends(moment, "accepted")
    elif is_challenge(event):
        way.ends(moment, "challenge")
        way.begins(PROVES, moment)
    elif status == 202:
        if way.phases[-1].name != WAITS:
            way.ends(moment, "not yet")
        way.begins(WAITS, moment)
    elif operation in {"register", "poll", "assigned"} and not way.assigned:
        body = (event.get("detail") or {}).get("body")
        state = body.get("registrationState") if isinstance(body, Mapping) else None
        outcome = str(body.get("status") or _DONE) if isinstance(body, Mapping) else _DONE
        way.device_id = str(state.get("deviceId") or "") if isinstance(state, Mapping) else ""
        way.ends(moment, outcome, failed=outcome != _DONE)
        if outcome == _DONE:
            way.begins(GOES, moment)


def _with_hub(ways: list[Way], event: Mapping[str, Any], who: str, moment: float) -> None:
    way = next((each for each in reversed(ways) if who == (each.device_id or each.registration_id)), None)
    if way is None or not way.assigned or way.over:
        return
    if event["direction"] == "in":
        way.ends(moment, "hub reached")
        way.begins(ENTERS, moment)
    elif refused(event):
        way.ends(moment, f"refused, code {event.get('status')}", failed=True)
    else:
        way.ends(moment, _THERE)
