"""Whether what somebody gave as a path is one, or rather what stands in a file, such as a private key."""

from __future__ import annotations

from pathlib import Path

from dps_simulator.rules import is_no_place


def is_text(place: Path) -> bool:
    """Whether a path that leads nowhere looks like the text of a file or like a key; no part of it is repeated then."""
    return is_no_place(place)


def is_folder(place: Path) -> bool:
    """Whether there is a folder; a path that cannot be one is none."""
    try:
        return place.is_dir()
    except (OSError, ValueError):
        return False
