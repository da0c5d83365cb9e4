"""The banner that says where a notebook runs."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

SIMULATOR = "Simulator on this machine — not Azure"
# nbconvert's style sheet lets the terms of a list float
_INLINE = "display:inline; float:none; margin:0; width:auto"
AZURE = "Azure — your own resources, at their real price"


def banner_bundle(*, is_simulator: bool, facts: Mapping[str, str]) -> dict[str, str]:
    """The banner for every kind of reader.

    Arguments:
        is_simulator: which of the two targets it is.
        facts: what else to show, name to value; nothing secret.
    """
    title = SIMULATOR if is_simulator else AZURE
    width = max(len(name) for name in facts)
    lines = [title, *(f"  {name.ljust(width)}  {value}" for name, value in facts.items())]
    cells = "".join(
        f'<div><dt style="{_INLINE}; font-weight:normal">{escape(name)}: </dt>'
        f'<dd style="{_INLINE}"><code>{escape(value)}</code></dd></div>'
        for name, value in facts.items()
    )
    border = "solid" if is_simulator else "double"
    html = (
        f'<section aria-label="Target" style="border:3px {border} currentColor; border-radius:6px; padding:8px 14px">'
        f'<strong>{escape(title)}</strong><dl style="margin:6px 0 0 0">{cells}</dl></section>'
    )
    return {"text/plain": "\n".join(lines), "text/html": html}
