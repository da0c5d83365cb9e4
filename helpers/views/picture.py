"""What all pictures have in common: they take their colours from the page, and say in words what they show."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from html import escape


def picture(title: str, described: str, width: int, height: int, parts: Iterable[str]) -> str:
    """An SVG picture.

    Arguments:
        title: its heading, for whoever cannot see it.
        described: what it shows, in sentences.
        width: in its own units; on the page it is at most so many pixels wide.
        height: in its own units.
        parts: the SVG elements in it.
    """
    mark = hashlib.sha256((title + described).encode()).hexdigest()[:8]
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title-{mark} text-{mark}" '
        f'viewBox="0 0 {width} {height}" style="width:100%; max-width:{width}px; color:inherit" '
        'font-family="sans-serif" font-size="13" fill="currentColor" stroke="none">'
    )
    words = f'<title id="title-{mark}">{escape(title)}</title><desc id="text-{mark}">{escape(described)}</desc>'
    return "".join([opening, words, *parts, "</svg>"])


def with_text(svg: str, text: str, note: str = "") -> str:
    """A picture, a note below it, and the same as text, folded away."""
    below = f"<p>{escape(note)}</p>" if note else ""
    return (
        f"{svg}{below}<details><summary>The same as text</summary>"
        f'<pre style="color:inherit; background:none">{escape(text)}</pre></details>'
    )
