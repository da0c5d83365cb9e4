"""Whether what somebody gave as a path is one, or rather what stands in a file, such as a private key."""

from __future__ import annotations

from pathlib import Path

from helpers.masking import is_no_path


def is_text(place: Path) -> bool:
    """Whether a path that leads nowhere looks like the text of a file or like a key; no part of it is repeated then.

    A folder that is there may be called as it likes, so only the last part of a path into such a folder counts.
    """
    try:
        is_in_folder = place.parent != Path() and place.parent.is_dir()
    except (OSError, ValueError):
        # such as a name that is too long for the system
        is_in_folder = False
    return is_no_path(place.name if is_in_folder else str(place))


def is_folder(place: Path) -> bool:
    """Whether there is a folder; a path that cannot be one is none."""
    try:
        return place.is_dir()
    except (OSError, ValueError):
        return False
