"""The comparison as Markdown for people and JSON for programs. What could be a secret stops it."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from helpers.errors import HelperError
from helpers.runner import leaks

from .differences import Call, Difference

_NAME = "azure-report"
#: Calls that are named as examples of one difference.
_EXAMPLES = 3
_PACKAGES = (
    "azure-iot-device",
    "azure-iot-deviceprovisioning",
    "azure-iot-hub",
    "azure-mgmt-iothubprovisioningservices",
)
#: What the normal form leaves of none: whatever has this form is somebody's.
_PRIVATE: Mapping[str, re.Pattern[str]] = {
    "an ID such as that of a subscription": re.compile(r"(?i)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"),
    "the host name of a service": re.compile(r"(?i)[a-z0-9-]+\.azure-devices(?:-provisioning)?\.[a-z]+"),
    "a thumbprint": re.compile(r"(?i)(?<![0-9a-z])(?:[0-9a-f]{40}|[0-9a-f]{64})(?![0-9a-z])"),
    "a key": re.compile(r"[A-Za-z0-9+/]{40,88}="),
    "a connection string": re.compile(r"HostName=[^<\s]"),
}


class ReportError(HelperError):
    """The report would show something private. It is not written; the text says of what kind it is, not what."""


def save(calls: Sequence[Call], folder: Path, outcomes: Mapping[str, Mapping[str, str]], names: Iterable[str]) -> Path:
    """Write the report.

    Arguments:
        calls: what was compared.
        folder: where ``azure-report.md`` and ``azure-report.json`` go.
        outcomes: for each notebook, how it ended on ``azure`` and on ``simulator``.
        names: what must not stand in it, such as hosts and subscription of whoever ran it.

    Returns:
        The file in Markdown.

    Raises:
        ReportError: something private would stand in it.
    """
    facts = {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}
    document = {"facts": facts, "outcomes": outcomes, "calls": [asdict(call) for call in calls]}
    as_json = json.dumps(document, indent=1, sort_keys=True) + "\n"
    as_markdown = markdown(calls, facts, outcomes)
    for text in (as_json, as_markdown):
        if found := private(text, names):
            raise ReportError(f"The report is not written: {', '.join(found)} would stand in it. Please tell us.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{_NAME}.json").write_text(as_json, encoding="utf-8")
    file = folder / f"{_NAME}.md"
    file.write_text(as_markdown, encoding="utf-8")
    return file


def private(text: str, names: Iterable[str] = ()) -> list[str]:
    """What kinds of private things a text holds."""
    found = set(leaks.secrets(text)) | {kind for kind, pattern in _PRIVATE.items() if pattern.search(text)}
    if any(name and re.search(rf"(?i)(?<![\w-]){re.escape(name)}(?![\w-])", text) for name in names):
        found.add("a name of yours")
    return sorted(found)


def markdown(calls: Sequence[Call], facts: Mapping[str, str], outcomes: Mapping[str, Mapping[str, str]]) -> str:
    """The report for people."""
    differing = [call for call in calls if call.differences]
    lines = [
        "# How Azure's answers differ from the simulator's",
        "",
        f"{len(calls)} calls were compared; {len(calls) - len(differing)} were answered alike, {len(differing)} not.",
        "Keys, certificates, times, ETags, IDs and names of services are placeholders; versions and states of",
        "connections, which depend on the moment, are left out.",
        "",
        "| with | version |",
        "| --- | --- |",
        *(f"| {name} | {version} |" for name, version in facts.items()),
        "",
        "| notebook | on Azure | on the simulator |",
        "| --- | --- | --- |",
        *(f"| {name} | {each['azure']} | {each['simulator']} |" for name, each in outcomes.items()),
        "",
        "## Differences",
        "",
    ]
    if not differing:
        lines.append("None.")
    for difference, where in _grouped(differing).items():
        sides = f"Azure {_code(difference.azure)}, the simulator {_code(difference.simulator)}"
        lines.append(f"- **{difference.kind}** {_code(difference.where)}: {sides}")
        lines += [f"  - {call.notebook}: {_code(call.service)} {_code(call.operation)}" for call in where[:_EXAMPLES]]
        if len(where) > _EXAMPLES:
            lines.append(f"  - and {len(where) - _EXAMPLES} more")
    lines += ["", "## Answered alike", ""]
    lines += [
        f"- {call.notebook}: {_code(call.service)} {_code(call.operation)}" for call in calls if not call.differences
    ] or ["None."]
    return "\n".join(lines) + "\n"


def _grouped(calls: Sequence[Call]) -> dict[Difference, list[Call]]:
    """Which calls have which difference: one in every answer of a service is one line, not hundreds."""
    found: dict[Difference, list[Call]] = {}
    for call in calls:
        for difference in call.differences:
            found.setdefault(difference, []).append(call)
    return dict(sorted(found.items(), key=lambda each: (each[0].kind, -len(each[1]), each[0])))


def _code(text: str) -> str:
    return f"`{text}`" if text else "nothing"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
