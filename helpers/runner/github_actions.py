"""What a run says to GitHub Actions: an annotation at each cell that failed, and a table on the page of the run.

Workflow commands and the file of the summary are described in GitHub's "Workflow commands for GitHub Actions".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .execution import Outcome
from .junit import details
from .report import place, summary

#: Bytes that GitHub keeps of the summary of one step.
_LIMIT = 1024 * 1024


def annotate(outcomes: Sequence[Outcome], variables: Mapping[str, str], write: Callable[[str], object]) -> None:
    """Tell GitHub Actions how a run went; elsewhere, do nothing.

    Arguments:
        outcomes: the notebooks of the run, in order.
        variables: the environment, in which GitHub Actions says that it is there, and where the summary stands.
        write: takes one line at a time for the log of the job.
    """
    if variables.get("GITHUB_ACTIONS") != "true":
        return
    for outcome in outcomes:
        if outcome.status in ("failed", "interrupted"):
            file = _property(_below(outcome.notebook, variables.get("GITHUB_WORKSPACE", "")))
            title = _property(f"{outcome.name}, In [{outcome.cell}]" if outcome.cell else outcome.name)
            write(f"::error file={file},title={title}::{_value(details(outcome) or outcome.status)}")
    if path := variables.get("GITHUB_STEP_SUMMARY"):
        with Path(path).open("a", encoding="utf-8") as page:
            page.write(_page(outcomes))


def _below(notebook: Path, root: str) -> str:
    """The path of a notebook within the repository, which is what GitHub finds a file by."""
    path = notebook.resolve()
    try:
        return path.relative_to(Path(root).resolve()).as_posix() if root else notebook.as_posix()
    except ValueError:
        return path.as_posix()


def _value(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _value(text).replace(":", "%3A").replace(",", "%2C")


def _page(outcomes: Sequence[Outcome]) -> str:
    """The summary as Markdown: all notebooks in a table, and below it each cell that failed."""
    lines = ["## Notebooks", "", summary(outcomes), "", "| notebook | | seconds | |", "| --- | --- | ---: | --- |"]
    for outcome in outcomes:
        why = place(outcome).replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| {outcome.name} | {outcome.status} | {outcome.seconds:.1f} | {why} |")
    for outcome in outcomes:
        if outcome.status == "failed":
            text = details(outcome)
            # longer than any fence within
            fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
            lines += ["", f"### {outcome.name}", "", f"{fence}text", text, fence]
    page = "\n".join(lines) + "\n"
    kept = page.encode()[: _LIMIT // 2].decode("utf-8", "ignore")
    return page if kept == page else kept + "\n\nThe rest stands in the report.\n"
