"""Whether a background simulator of other code may be replaced, and which were, so that two checkouts never fight.

A checkout replaces a simulator of other code once. When another checkout that shares the workspace then replaces that
one, the first does not answer in kind, but says so.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dps_simulator.common.private_files import write_private

from . import fingerprint
from .address import RunningSimulator

FILE_NAME = "replaced.json"
#: As many are kept; who has more checkouts than this at once has lost the overview, too.
_MOST = 50


@dataclass(frozen=True, slots=True)
class Code:
    """Some code of the simulator.

    Attributes:
        folder: where it lies; empty for code that is too old to say.
        fingerprint: what it is; empty likewise.
    """

    folder: str
    fingerprint: str


def here() -> Code:
    """The code from which a simulator would be started now."""
    return Code(str(fingerprint.FOLDER), fingerprint.on_disk())


def of(running: RunningSimulator) -> Code:
    """The code that a simulator runs."""
    return Code(running.code_folder, running.code)


def is_background(running: RunningSimulator, log: Path) -> bool:
    """Whether a simulator was started in the background: only then its ready line stands in the log.

    Arguments:
        running: the simulator.
        log: the log of its state folder.
    """
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    told = [json.loads(line) for line in lines if line.startswith('{"ready"') and _is_json(line)]
    return any(
        each.get("process_id") == running.process_id and each.get("tls_port") == running.tls_port for each in told
    )


def replaced_by(state: Path, running: RunningSimulator) -> list[Code]:
    """The code of the simulators that a running one took the place of, the latest last.

    Arguments:
        state: the state folder.
        running: the simulator that runs there.
    """
    try:
        document = json.loads((state / FILE_NAME).read_text(encoding="utf-8"))
        if document["process_id"] != running.process_id:
            return []
        return [Code(str(each["folder"]), str(each["fingerprint"])) for each in document["replaced"]]
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return []


def note(state: Path, running: RunningSimulator, replaced: list[Code]) -> None:
    """Note which simulators a new one took the place of. It is noted for this process only, and so never too old.

    What cannot be written is not noted: the simulator runs all the same.
    """
    document = {
        "process_id": running.process_id,
        "replaced": [{"folder": code.folder, "fingerprint": code.fingerprint} for code in replaced[-_MOST:]],
    }
    with contextlib.suppress(OSError):
        write_private(state / FILE_NAME, json.dumps(document, indent=2) + "\n")


def _is_json(line: str) -> bool:
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict)
