"""Writes the table of errors for people: ``python -m tools.errors_document [FILE]``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence

from helpers.diagnosis.causes import Cause
from helpers.diagnosis.kinds import Symptom
from helpers.diagnosis.lock_out import QUESTION
from helpers.diagnosis.table import SECTIONS
from tools.documents import write

_HEAD = """# What an error means

<!-- Made by `make errors` from helpers/diagnosis/table.py. Do not edit: a test compares it with the code. -->

Look up what you see. Faster: `explain(error, dps)` of `helpers.diagnosis`, which reads the whole chain of causes and,
against the simulator, asks it for the reason that Azure would keep to itself. It takes the first entry that fits, from
top to bottom.

A *code* has six digits, and a hub may give a name instead. The first three digits are the HTTP status. Codes with a 9
behind the status, such as 404900, are the simulator's own; Azure has nothing like them.
"""


def render() -> str:
    """``docs/errors.md`` in Markdown: every entry of the table in the order in which they are tried."""
    parts = [_HEAD]
    for title, symptoms in SECTIONS.items():
        parts.append(f"## {title}\n")
        parts += [_entry(symptom) for symptom in symptoms]
    return "\n".join(parts)


def _entry(symptom: Symptom) -> str:
    name = f"{symptom.name[0].upper()}{symptom.name[1:]}"
    lines = [f"### {name}\n", f"You see: {_marked(symptom.shown)}.\n", "| why | what to do | taught in | code |"]
    lines.append("| --- | --- | --- | --- |")
    for cause in [*symptom.causes, *(each for each in symptom.at_client if each not in symptom.causes)]:
        codes = _codes(cause.codes or (symptom.codes if len(symptom.causes) == 1 else ()))
        lines.append(f"| {_marked(cause.cause)} | {_remedy(cause)} | {_place(cause)} | {codes} |")
    return "\n".join(lines) + "\n"


def _remedy(cause: Cause) -> str:
    text = _marked(cause.remedy)
    return text.replace(QUESTION, f"**{QUESTION}**", 1) if cause.lock_out else text


def _codes(codes: Iterable[str]) -> str:
    # digits before names
    return ", ".join(sorted(codes))


def _place(cause: Cause) -> str:
    notebook, _, place = cause.taught.partition(", ")
    return f"[{notebook[:2]}](../notebooks/{notebook}.ipynb), {place}"


#: What is code in a sentence.
_CODE = re.compile(
    r"(az login|https://"
    r"|\*\*[\w.]+|\*\.[\w.-]*\w"  # arguments taken apart, host names with a star
    r"|[\w.]+\([^()]*\)"  # calls
    r"|HostName=\S*\w=…|\w+ ?= ?(?:'[^']*'|\w[\w.]*\w|\.{3})"  # connection strings, arguments
    r"|\.(?:pem|cer)\b|'\w+…'"
    r"|\b(?:provisioningserviceowner|iothubowner|provisioningStatus|SSLError|OSError)\b"
    r"|\b\w+(?:_\w+)+\b|\b\w{2,}(?:[./]\w{2,})+\b"  # names with _ or .
    r"|\b(?!IoT|WebSockets)[A-Z]?\w*[a-z][A-Z]\w*\b)"  # names with capitals inside
)


def _marked(text: str) -> str:
    """A sentence in Markdown, code marked as such."""
    parts = _CODE.split(text)
    return "".join(f"`{part}`" if number % 2 else _plain(part) for number, part in enumerate(parts))


def _plain(text: str) -> str:
    """Text that Markdown leaves as it is."""
    for character in "\\|*_<":
        text = text.replace(character, f"\\{character}")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the document.

    Arguments:
        arguments: of the command line, ``None`` for those of the process.

    Returns:
        The exit status: 1 when it cannot be written.
    """
    return write("tools.errors_document", "Write down what every known error means.", render, arguments)


if __name__ == "__main__":
    sys.exit(main())
