"""What a view tells while one works with it: sentences that screen readers read out, without secrets."""

from __future__ import annotations

from html import escape

from helpers.masking import masked
from helpers.problems import causes


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
