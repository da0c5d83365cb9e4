"""How devices are distributed over hubs: a bar chart, and the numbers in it as a table."""

from __future__ import annotations

import base64
import io
import textwrap
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from html import escape
from typing import Any

from .observation import quieten
from .text import View, text_table

#: Bars differ by their pattern as well as by their shade of grey; there are rarely more than four hubs.
_PATTERNS = ("", "//", "..", "xx", "--", "\\\\")
_SHADES = ("0.45", "0.85", "0.65", "0.95")
_WIDTH, _HEIGHT, _DOTS_PER_INCH = 8.0, 3.4, 80
_GROUP_WIDTH = 0.8
#: Letters of a label in one line, with five groups of bars.
_LETTERS = 13


class Chart(View):
    """A chart that matplotlib draws, in shades of grey and patterns, so that it can be read without colours.

    Attributes:
        title: what it shows.
    """

    title: str

    @property
    @abstractmethod
    def described(self) -> str:
        """The picture in sentences, numbers included, for whoever cannot see it."""

    @abstractmethod
    def _draw(self, axes: Any) -> None:
        """Draw it into axes that are empty."""

    def png(self) -> bytes:
        """The picture. It brings its own white background, so that it can be read on any page."""
        # it complains about the time that it takes to find its fonts, once for each machine
        quieten("matplotlib")
        # only who draws needs it, and it takes a moment to import
        from matplotlib.figure import Figure  # noqa: PLC0415

        # one that belongs to nobody: no window, no global state
        figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DOTS_PER_INCH, layout="constrained")
        axes = figure.add_subplot()
        self._draw(axes)
        axes.spines[["top", "right"]].set_visible(False)
        content = io.BytesIO()
        # without the name of the program, the same numbers give the same bytes for longer
        figure.savefig(content, format="png", facecolor="white", metadata={"Software": None})
        return content.getvalue()

    def html(self) -> str:
        """The picture with its description: JupyterLab shows a bare one without, and screen readers find nothing."""
        source = f"data:image/png;base64,{self._encoded}"
        return f'<img alt="{escape(self.described)}" src="{source}" style="max-width:100%"/>'

    @cached_property
    def _encoded(self) -> str:
        return base64.b64encode(self.png()).decode("ascii")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        data = {**super()._repr_mimebundle_(), "image/png": self._encoded}
        return data, {"image/png": {"alt": self.described}}


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

    def _draw(self, axes: Any) -> None:
        width = _GROUP_WIDTH / max(len(self.hubs), 1)
        for number, hub in enumerate(self.hubs):
            shares = [100 * counter[hub] / max(counter.total(), 1) for counter in self.counts.values()]
            begin = number * width - (_GROUP_WIDTH - width) / 2
            bars = axes.bar(
                [place + begin for place in range(len(shares))],
                shares,
                width,
                label=hub.partition(".")[0],
                color=_SHADES[number % len(_SHADES)],
                hatch=_PATTERNS[number % len(_PATTERNS)],
                edgecolor="black",
            )
            axes.bar_label(bars, labels=[str(counter[hub]) for counter in self.counts.values()], padding=2)
        axes.set_xticks(range(len(self.counts)), labels=[textwrap.fill(way, _LETTERS) for way in self.counts])
        axes.set_ylim(0, 112)
        axes.set_yticks(range(0, 101, 25))
        axes.set_ylabel("share of the devices in %")
        axes.set_title(f"{self.title} (numbers: devices)")
        if self.hubs:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


distribution = Distribution


def _said(counter: Counter[str], hub: str) -> str:
    return f"{counter[hub]} of {counter.total()}"
