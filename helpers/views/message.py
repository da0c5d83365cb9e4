"""Views with controls, and what they tell while one works with them: sentences without secrets, also read aloud."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets

from helpers.masking import masked
from helpers.problems import causes

from .text import View


class Interactive(View):
    """A view whose form in the browser has controls.

    Attributes:
        widget: the interactive form; its parts are ordinary ipywidgets.
    """

    widget: Any
    #: From :func:`status`, where there is something to tell.
    _message: Any

    def _say(self, text: str) -> None:
        self._message.value = status_html(text)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return {**self.widget._repr_mimebundle_(), **super()._repr_mimebundle_()}, {}


def status(**layout: str) -> Any:
    """A place for messages, empty at first.

    Arguments:
        layout: CSS properties, e.g. ``max_width="27em"``.
    """
    return ipywidgets.HTML(value=status_html(""), layout=layout)


def button(description: str, tooltip: str, pressed: Callable[[Any], None], **options: Any) -> Any:
    """A button.

    Arguments:
        description: what stands on it.
        tooltip: what it does, in a sentence.
        pressed: called with the button; an exception in it is visible nowhere, so it must not raise.
        options: what else ``ipywidgets.Button`` takes.
    """
    made = ipywidgets.Button(description=description, tooltip=tooltip, **options)
    made.on_click(pressed)
    return made


def side_by_side(*parts: Any) -> Any:
    """Widgets in a line, which is broken where the page is narrow."""
    return ipywidgets.HBox(parts, layout={"flex_flow": "row wrap"})


def status_html(text: str) -> str:
    """A message as HTML. Its element is there from the start, so that screen readers notice when its text changes."""
    lines = "<br>".join(escape(line) for line in masked(text).splitlines())
    return f'<div role="status" aria-live="polite" style="line-height:1.5; overflow-wrap:anywhere">{lines}</div>'


def reason(problem: BaseException) -> str:
    """An error in words: its kind and text, and the innermost text where the outer one says less."""
    innermost = causes(problem)[-1]
    words = f"{type(problem).__name__}: {_first_line(problem)}"
    if innermost is not problem and _first_line(innermost) not in words:
        words += f" ({_first_line(innermost)})"
    return masked(words)


def _first_line(problem: BaseException) -> str:
    lines = str(problem).strip().splitlines()
    return lines[0] if lines else "no text"
