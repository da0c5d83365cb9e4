"""Runs notebooks on Azure and on the simulator, and writes how the answers differ: ``python -m helpers.comparison``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from helpers.errors import HelperError
from helpers.runner import cli
from helpers.target import azure_settings
from helpers.target.azure import of_settings

from .differences import Call, compare
from .normal_form import names_of
from .report import save

#: The tracks that need one hub only, and the notebook that removes what they leave.
TRACKS = ("0", "1", "2", "3", "9")
TARGETS = ("azure", "simulator")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when the report was written, whatever it says."""
    parser = argparse.ArgumentParser(prog="python -m helpers.comparison", description=__doc__)
    parser.add_argument("notebooks", nargs="*", default=list(TRACKS), help="how names start (default: 0 1 2 3 9)")
    parser.add_argument("--output", type=Path, default=Path("build/azure-report"), help="folder for the report")
    parser.add_argument("--pace", default="azure", help="of the simulator (default: azure)")
    parser.add_argument(
        "--webhook-url", default="", metavar="ADDRESS", help="of the published function that 41 has Azure ask"
    )
    parser.add_argument("--cell-timeout", default="600", metavar="SECONDS", help="for one cell (default: 600)")
    arguments = parser.parse_args(argv)
    try:
        settings = azure_settings()
        with of_settings(settings) as dps:
            hubs = len(dps.hubs)
            private = [*(name for name in names_of(dps) if "." in name), dps.id_scope]
        private.append(settings.get("AZURE_SUBSCRIPTION_ID", ""))
        private.append(urlsplit(arguments.webhook_url).hostname or "")
        # the answers are in normal form there already, and nobody needs them afterwards
        with tempfile.TemporaryDirectory(prefix="dps-answers-") as scratch:
            calls, outcomes = _compared(arguments, Path(scratch), hubs)
        if not any(call.azure for call in calls):
            print("error: Azure answered nothing. See the report of the notebooks.", file=sys.stderr)  # noqa: T201
            return 1
        file = save(calls, arguments.output, outcomes, private)
    except HelperError as problem:
        print(f"error: {problem}", file=sys.stderr)  # noqa: T201 - the command's own error stream
        return 2
    differing = sum(bool(call.differences) for call in calls)
    print(f"{len(calls)} calls compared, {differing} with differences.\nReport: {file}")  # noqa: T201
    return 0


def _compared(arguments: Any, scratch: Path, hubs: int) -> tuple[list[Call], dict[str, dict[str, str]]]:
    outcomes: dict[str, dict[str, str]] = {}
    # the kernels inherit it, and only the simulator reads it: as many hubs as there are on Azure
    os.environ["DPS_SIMULATOR_HUBS"] = " ".join(f"contoso-hub-{each}.azure-devices.test" for each in range(1, hubs + 1))
    for target in TARGETS:
        folder = scratch / target
        folder.mkdir()
        own = ["--pace", arguments.pace]
        if target == "azure":
            # the simulator asks the function in the notebook
            own = ["--parameter", f"webhook_url={arguments.webhook_url}"] if arguments.webhook_url else []
        options = ["--cell-timeout", arguments.cell_timeout, "--output", str(arguments.output / target), *own]
        junit = scratch / f"{target}.xml"
        cli.main(
            [
                "tutorial",
                "--target",
                target,
                "--record",
                str(folder),
                "--junit",
                str(junit),
                *options,
                *arguments.notebooks,
            ]
        )
        for name, status in _statuses(junit).items():
            outcomes.setdefault(name, dict.fromkeys(TARGETS, "not run"))[target] = status
    calls: list[Call] = []
    for name in sorted({path.name for path in scratch.glob("*/*.jsonl")}):
        here, there = (_read(scratch / target / name) for target in TARGETS)
        calls += compare(name.removesuffix(".jsonl"), here, there)
    return calls, outcomes


def _read(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _statuses(file: Path) -> dict[str, str]:
    """How notebooks ended, from the results for a CI service."""
    from xml.etree import ElementTree  # noqa: PLC0415

    found: dict[str, str] = {}
    if not file.exists():
        return found
    for case in ElementTree.parse(file).iter("testcase"):  # noqa: S314 - our own file
        problems = {child.tag for child in case} & {"failure", "error", "skipped"}
        found[case.get("name", "")] = {"failure": "failed", "error": "failed"}.get("".join(sorted(problems)), "") or (
            "not run" if problems else "passed"
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
