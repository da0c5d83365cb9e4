"""How often which value occurs: a histogram, and the numbers in it as a table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from .distribution import NARROWEST, Bar, Chart, Plot, bar_width
from .picture import spacing, width_of
from .text import text_table

#: A picture with more bars cannot be read, and with fewer says little.
_MOST_BARS = 12
#: Widths that people count in, and ten times as much, a tenth of it, and so on.
_STEPS = (1.0, 2.0, 5.0, 10.0)
_LONGEST = 30
#: Most spaces between the marks of the axis, and how bars look: light, with lines in them.
_SPACES, _KIND = 5, 1


class Histogram(Chart):
    """How many of the values lie in which range.

    Arguments:
        values: numbers; those that are not finite count for nothing.
        title: what the picture shows.
        unit: what the values are counted in, e.g. ``"seconds"``.
    """

    def __init__(self, values: Iterable[float], title: str = "", unit: str = "") -> None:
        self.title = title or "How often which value occurs"
        self.unit = unit
        self.values = sorted(value for value in map(float, values) if math.isfinite(value))
        self.width, self.edges = _ranges(self.values)
        self.counts = [0] * max(len(self.edges) - 1, 0)
        for value in self.values:
            self.counts[min(int((value - self.edges[0]) / self.width + 1e-9), len(self.counts) - 1)] += 1

    def __str__(self) -> str:
        longest = max(self.counts, default=0)
        rows = [
            (self._range(number), str(count), "#" * _length(count, longest)) for number, count in enumerate(self.counts)
        ]
        columns = (self.unit or "value", "how many", "")
        lines = [self.title, text_table(columns, rows, empty="(no values)").replace(" \n", "\n")]
        return "\n".join(lines + ([self.numbers] if self.values else []))

    @property
    def numbers(self) -> str:
        """The least, the middle and the greatest value, in words."""
        if not self.values:
            return "no values"
        digits = _digits(self.width) + 1
        found = (self.values[0], statistics.median(self.values), self.values[-1])
        least, middle, greatest = (f"{value:.{digits}f}" for value in found)
        return f"least {least}, median {middle}, greatest {greatest}{f' {self.unit}' if self.unit else ''}"

    @property
    def described(self) -> str:
        """How many values lie in each range that has any, and the least, the middle and the greatest."""
        bars = "; ".join(f"{self._range(number)}: {count}" for number, count in enumerate(self.counts) if count)
        unit = f" in {self.unit}" if self.unit else ""
        return f"Histogram: {self.title}{unit}. {bars or 'No values'}. {self.numbers.capitalize()}."

    def _plot(self) -> Plot:
        each = bar_width(len(self.counts), map(str, self.counts))
        width = max(each * len(self.counts), NARROWEST)
        first = (width - each * len(self.counts)) // 2
        greatest = max(self.counts, default=1)
        step = spacing(greatest, _SPACES)
        digits = _digits(self.width)
        said = [f"{edge:.{digits}f}" for edge in self.edges]
        # where they would touch, only every second edge is named, or every third
        named = -(-(max(map(width_of, said), default=0) + 4) // each)
        return Plot(
            width=width,
            axis="how many",
            marks=range(0, greatest + step, step),
            bars=[
                Bar(first + number * each, each, count, str(count or ""), _KIND)
                for number, count in enumerate(self.counts)
            ],
            names=[(first + number * each, [edge]) for number, edge in enumerate(said) if number % named == 0],
            unit=self.unit,
            empty="(no values)",
        )

    def _range(self, number: int) -> str:
        digits = _digits(self.width)
        return f"{self.edges[number]:.{digits}f} to {self.edges[number + 1]:.{digits}f}"


histogram = Histogram


def _ranges(values: list[float]) -> tuple[float, list[float]]:
    """A width that people count in, and the edges of ranges that hold all values."""
    if not values:
        return 1.0, []
    least, greatest = values[0], values[-1]
    # ranges begin at multiples of their width, which can take one bar more than the values fill
    rough = (greatest - least) / (_MOST_BARS - 1) or max(abs(least), 1.0) / 10
    scale = 10.0 ** math.floor(math.log10(rough))
    width = next((step * scale for step in _STEPS if step * scale >= rough * (1 - 1e-9)), 10 * scale)
    first = math.floor(least / width + 1e-9)
    bars = max(math.ceil(greatest / width - 1e-9), first + 1) - first
    return width, [(first + number) * width for number in range(bars + 1)]


def _digits(width: float) -> int:
    """Digits behind the point that tell ranges of this width apart."""
    return max(-math.floor(math.log10(width)), 0)


def _length(count: int, longest: int) -> int:
    """Letters of a bar made of them; whatever occurs is seen."""
    return max(round(_LONGEST * count / longest), int(count > 0)) if longest else 0
