"""How devices are distributed over hubs: a bar chart, and the numbers in it as a table."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .picture import (
    LINE_HEIGHT,
    MARGIN,
    PAGE_WIDTH,
    Drawing,
    kind_of_bar,
    line,
    picture,
    shortened,
    width_of,
    words,
    wrapped,
)
from .text import text_table

#: The least width that the bars of a chart have between them, in units.
NARROWEST = 340
#: Height of a bar that reaches the last mark of the axis.
_HEIGHT = 200
#: All bars of a picture together take about so much, and none of them more than that.
_USUAL, _WIDEST_BAR = 520, 56
#: Between two bars of a group, and at least between two groups.
_GAP, _GROUP_GAP = 4, 24
#: A group has room for the longest word of its name, up to this; the name takes so many lines at most.
_WIDEST_NAME, _MOST_LINES = 150, 4
_KEY_WIDTH, _KEY_HEIGHT, _KEY_GAP = 26, 14, 24
#: From the axis to its numbers, and from a bar to its number.
_AWAY, _ABOVE = 8, 5


@dataclass(frozen=True)
class Bar:
    """A bar of a chart.

    Attributes:
        left: where it begins, in units from the axis.
        width: in units.
        value: how high it is, as the axis counts.
        number: what stands above it; nothing for an empty one.
        kind: bars of one kind look alike.
    """

    left: int
    width: int
    value: float
    number: str
    kind: int = 0


@dataclass(frozen=True)
class Plot:
    """What a chart shows, without its title.

    Attributes:
        width: room for the bars, in units.
        axis: what the axis counts.
        marks: the numbers at the axis, from 0 up to what is the full height.
        bars: the bars, from left to right.
        names: what stands below them: where its middle is, in units from the axis, and its lines.
        unit: what the names are counted in; stands below them.
        kinds: what bars of each kind are, for the legend.
        empty: what to say where there are no bars.
    """

    width: int
    axis: str
    marks: Sequence[int]
    bars: Sequence[Bar]
    names: Sequence[tuple[int, Sequence[str]]]
    unit: str = ""
    kinds: Sequence[str] = ()
    empty: str = ""

    def height(self, value: float) -> int:
        """Units from the base line; whatever is more than nothing is seen."""
        height = round(_HEIGHT * value / self.marks[-1])
        return max(height, 1) if value else 0

    def free(self, value: float) -> Iterator[tuple[int, int]]:
        """From where to where no bar is at this height, in units from the axis: a line would shine through them."""
        x = 0
        for bar in self.bars:
            if bar.value >= value:
                if x < bar.left:
                    yield x, bar.left
                x = bar.left + bar.width
        if x < self.width:
            yield x, self.width


class Chart(Drawing):
    """A chart of bars, in shades and hatchings of the page's own colour, so that it can be read without colours.

    Attributes:
        title: what it shows.
    """

    title: str

    @property
    @abstractmethod
    def described(self) -> str:
        """The picture in sentences, numbers included, for whoever cannot see it."""

    @abstractmethod
    def _plot(self) -> Plot:
        """What there is to draw."""

    def svg(self) -> str:
        """The picture alone; it takes its colour from the page around it."""
        plot = self._plot()
        left = MARGIN + max(width_of(str(mark)) for mark in plot.marks) + _AWAY
        # a name may be wider than what it stands below
        reach = [(middle, max(map(width_of, lines)) // 2) for middle, lines in plot.names]
        left = max(left, MARGIN + max((half - middle for middle, half in reach), default=0))
        right = left + plot.width
        end = max(right, *(left + middle + half for middle, half in reach), 0)
        # hubs may differ in the last letters of their names only, so the legend should not be cut
        keys = [MARGIN + _KEY_WIDTH + _AWAY + width_of(kind) for kind in plot.kinds]
        end = max(end, min(max(keys, default=0), PAGE_WIDTH - MARGIN))
        parts: list[str] = []
        y = MARGIN
        for each in wrapped(self.title, end - MARGIN, bold=True):
            parts.append(words(MARGIN, y + 12, each, bold=True))
            y += LINE_HEIGHT
        y = _legend(parts, plot.kinds, y + 6, end - MARGIN)
        parts.append(words(MARGIN, y + 12, plot.axis, small=True))
        # the number of a bar of full height has room below that
        base = y + 2 * LINE_HEIGHT + _HEIGHT
        for mark in plot.marks:
            height = base - plot.height(mark)
            parts.append(words(left - _AWAY, height + 5, str(mark), anchor="end"))
            if mark:
                parts += [line(left + x1, height, left + x2, height, guide=True) for x1, x2 in plot.free(mark)]
        for bar in plot.bars:
            parts += _standing(bar, left, base, plot.height(bar.value))
        parts.append(line(left, base, right, base))
        if not plot.bars:
            parts.append(words(left + plot.width // 2, base - _HEIGHT // 2, plot.empty, italic=True, anchor="middle"))
        for middle, lines in plot.names:
            for number, each in enumerate(lines):
                parts.append(words(left + middle, base + 18 + number * LINE_HEIGHT, each, anchor="middle"))
        y = base + 6 + max((len(lines) for _, lines in plot.names), default=0) * LINE_HEIGHT
        if plot.unit:
            y += LINE_HEIGHT
            parts.append(words(left + plot.width // 2, y, plot.unit, small=True, anchor="middle"))
        return picture(self.title, self.described, end + MARGIN, y + MARGIN, parts)


def _legend(parts: list[str], kinds: Sequence[str], y: int, width: int) -> int:
    """What bars of each kind are, in as many rows as that takes; returns where the last one ends."""
    x, end = MARGIN, y
    for kind, name in enumerate(kinds):
        said = shortened(name, width - _KEY_WIDTH - _AWAY)
        takes = _KEY_WIDTH + _AWAY + width_of(said)
        if x > MARGIN and x + takes > MARGIN + width:
            x, y = MARGIN, y + LINE_HEIGHT + 4
        parts.append(kind_of_bar(x, y, _KEY_WIDTH, _KEY_HEIGHT, kind))
        parts.append(words(x + _KEY_WIDTH + _AWAY, y + 12, said))
        x += takes + _KEY_GAP
        end = y + LINE_HEIGHT + 8
    return end


def _standing(bar: Bar, left: int, base: int, height: int) -> list[str]:
    """A bar on the base line, with its number."""
    x = left + bar.left
    parts = [kind_of_bar(x, base - height, bar.width, height, bar.kind)] if height else []
    if bar.number:
        parts.append(words(x + bar.width // 2, base - height - _ABOVE, bar.number, anchor="middle"))
    return parts


def bar_width(bars: int, numbers: Iterable[str]) -> int:
    """Units that each bar takes with the gap beside it: as much as there is room for, and no less than its number.

    Arguments:
        bars: how many there are, with what stands between them.
        numbers: what stands above each.
    """
    needed = max(map(width_of, numbers), default=0) + _GAP
    return max(min(_USUAL // max(bars, 1), _WIDEST_BAR), needed)


class Distribution(Chart):
    """How many devices each hub got, for one or more ways of allocating them.

    Arguments:
        assignments: for every way of allocating, in its words, the hub of each device, e.g.
            ``{"evenly weighted": ["hub-1", "hub-2", "hub-1"]}``.
        hubs: host names, in the order in which to show them, also those that got nothing; others that occur come
            behind them.
        title: what the picture shows.
    """

    def __init__(self, assignments: Mapping[str, Iterable[str]], hubs: Sequence[str] = (), title: str = "") -> None:
        self.title = title or "Devices per hub"
        self.counts = {way: Counter(hosts) for way, hosts in assignments.items()}
        others = sorted({host for counter in self.counts.values() for host in counter} - set(hubs))
        self.hubs = (*hubs, *others)

    def __str__(self) -> str:
        rows = [[hub, *(_said(counter, hub) for counter in self.counts.values())] for hub in self.hubs]
        return f"{self.title}\n{text_table(['hub', *self.counts], rows, empty='(no devices)')}"

    @property
    def described(self) -> str:
        """For each way, how many devices each hub got."""
        sentences = [
            f"{way}: {', '.join(f'{hub} {_said(counter, hub)}' for hub in self.hubs)}."
            for way, counter in self.counts.items()
        ]
        return " ".join([f"Bar chart: {self.title}.", *sentences])

    def _plot(self) -> Plot:
        counters = list(self.counts.values())
        bars = len(self.hubs)
        numbers = [str(counter[hub]) for counter in counters for hub in self.hubs]
        each = bar_width((bars + 1) * len(counters), numbers)
        names = [min(max(map(width_of, way.split(" "))), _WIDEST_NAME) for way in self.counts]
        group = max(bars * each + max(each, _GROUP_GAP), max(names, default=0) + _GAP)
        group = max(group, NARROWEST // max(len(counters), 1))
        drawn = [
            Bar(
                place * group + (group - bars * each) // 2 + kind * each,
                each - _GAP,
                100 * counter[hub] / max(counter.total(), 1),
                str(counter[hub]),
                kind,
            )
            for place, counter in enumerate(counters)
            for kind, hub in enumerate(self.hubs)
        ]
        return Plot(
            width=max(group * len(counters), NARROWEST),
            axis="share of the devices in % (numbers: devices)",
            marks=range(0, 101, 25),
            bars=drawn,
            names=[
                (place * group + group // 2, wrapped(way, group - _GAP, most=_MOST_LINES))
                for place, way in enumerate(self.counts)
            ],
            kinds=[hub.partition(".")[0] for hub in self.hubs],
            empty="(no devices)",
        )


distribution = Distribution


def _said(counter: Counter[str], hub: str) -> str:
    return f"{counter[hub]} of {counter.total()}"
