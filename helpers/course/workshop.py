"""What whoever teaches needs: the link that opens the notebooks, and a workspace as on the first day."""

from __future__ import annotations

from typing import Any

from helpers import workspace

from . import addresses, progress


def binder_link(repository: str, branch: str = "main", notebook: str = "") -> str:
    """The link that opens a copy of the notebooks on mybinder.org, for anybody, without an account.

    Arguments:
        repository: the address of a public repository on GitHub, GitLab or another server with git over HTTPS.
        branch: a branch or, better for a course, a tag: then nothing changes under your feet.
        notebook: which one to open; by default the first, with its table of contents beside it.

    Raises:
        ValueError: the address or the branch cannot be right.
    """
    return addresses.Repository.parse(repository).binder_link(branch, notebook)


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
