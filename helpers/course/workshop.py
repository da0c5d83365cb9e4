"""What whoever teaches needs: the link that opens the notebooks, and a workspace as on the first day."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from helpers import workspace
from helpers.masking import shown

from . import progress

_GITHUB = re.compile(r"(?:https://)?github\.com/([A-Za-z0-9-]+)/([A-Za-z0-9._-]+?)(?:\.git)?/?")


def binder_link(repository: str, branch: str = "main", notebook: str = "00_start_here") -> str:
    """The link that opens a copy of the notebooks on mybinder.org, for anybody, without an account.

    Arguments:
        repository: the address of a public repository on GitHub.
        branch: a branch or, better for a course, a tag: then nothing changes under your feet.
        notebook: which one to open first.

    Raises:
        ValueError: the address or the branch cannot be right.
    """
    match = _GITHUB.fullmatch(str(repository).strip())
    if match is None:
        raise ValueError(
            f"{shown(repository)} is no repository on GitHub; it must be like 'https://github.com/OWNER/REPOSITORY'. "
            "For other places, mybinder.org makes the link itself."
        )
    if not str(branch).strip():
        raise ValueError("The branch is empty; it must be the name of a branch or a tag, such as 'main'.")
    path = quote(f"lab/tree/notebooks/{notebook}.ipynb", safe="/")
    return f"https://mybinder.org/v2/gh/{match[1]}/{match[2]}/{quote(str(branch).strip(), safe='')}?urlpath={path}"


def reset(dps: Any, answer: str) -> list[str]:
    """Take the workspace back to nothing: documents, keys and certificates, progress, and the simulator with its state.

    On Azure, enrollments and devices would outlive the list of them, so nothing is reset while there is such a list.

    Arguments:
        dps: the target, from ``connect(...)``. On the simulator it is of no use afterwards: connect again.
        answer: ``yes``, or nothing happens.

    Returns:
        What was done, as sentences.
    """
    if answer != "yes":
        return ["Nothing was reset: the parameter says no."]
    left = [] if dps.is_simulator else workspace.claimed(dps)
    if left:
        return [
            f"Nothing was reset: {len(left)} things that the notebooks made may still be on Azure.",
            "Run 90_clean_up with the same target first; it knows what they are.",
        ]
    dps.remove_simulator()
    workspace.clear(dps)
    progress.forget()
    return ["The workspace is empty, as on the first day."]
