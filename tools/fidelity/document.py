"""Puts what was measured and what is known into one document."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from dps_simulator.common.throttling import LIMITS, Limit
from dps_simulator.errors.table import ErrorKind, Provenance
from dps_simulator.simulator import Simulator
from tools.fidelity.behaviour import RULES
from tools.fidelity.hub_operations import AREAS as HUB_AREAS
from tools.fidelity.management_operations import AREAS as MANAGEMENT_AREAS
from tools.fidelity.management_operations import SERVICES
from tools.fidelity.numbers import NUMBERS, Number
from tools.fidelity.operations import Area, Operation, Support
from tools.fidelity.probes import Prober, error_tables, key
from tools.fidelity.provisioning_operations import AREAS as PROVISIONING_AREAS

AREAS: tuple[Area, ...] = (*PROVISIONING_AREAS, *HUB_AREAS, *MANAGEMENT_AREAS)

_MEANINGS: Mapping[Provenance, str] = {
    Provenance.RECORDED: "seen in a recording of the real service, or in a capture that somebody published",
    Provenance.DOCUMENTED: "stated by Microsoft's documentation or by a published API description",
    Provenance.SDK_OBSERVED: "what the official SDKs require, send or accept",
    Provenance.INFERRED: "reasoned from neighbouring facts; nobody saw it",
    Provenance.SIMULATOR_ONLY: "exists here alone; Azure has nothing like it",
}
_HEAD = """# How true the simulator is

<!-- Made by `make fidelity` from simulator/dps_simulator. Do not edit: a test compares it with the code. -->

Whether you can rely on the simulator depends on what you test. This page says, operation by operation, what it has of
what Microsoft publishes for DPS, IoT Hub and their management plane, and where each answer comes from. The column
"here" is measured: when this page is made, a simulator is asked every operation over the wire, and "yes" means that a
good request succeeded. "Partly" names what is missing; "no" means that the simulator says "not supported by this
simulator", refuses the subscription or closes the connection.
"""
_TRUST = """Rely on *recorded*, *documented* and *SDK-observed* as far as you rely on their sources: the first two were
true when somebody looked, and the third is what makes the official SDKs work. Do not build on *inferred* texts, codes
and timings: a device that treats every 4xx alike, waits as `Retry-After` says and tries again later will do on both;
one that compares texts may not.
"""
_ERRORS = """## Errors

Every error of the table in `simulator/dps_simulator/errors/table.py`, most trusted first. Texts that say what is
wrong with which value are the simulator's own even where the code is not. "Over MQTT" is what a client there meets: an
answer topic with the status, a CONNACK code, or the end of the connection.
"""
_LIMITS = """## Limits that can be switched on

Off unless `limits` is set; see [The simulator](simulator.md#limits). The numbers are published, how the services count
is not.

"""


def measure() -> dict[str, Support]:
    """Ask a simulator of one's own everything.

    Raises:
        FidelityError: an operation was neither done nor refused.
    """
    with Simulator(pace="instant") as simulator:
        return Prober(simulator.running).areas(AREAS)


def render(found: Mapping[str, Support]) -> str:
    """The document.

    Arguments:
        found: what :func:`measure` found.
    """
    parts = [_HEAD, _provenances(), _TRUST, _summary(found)]
    parts += [_area(area, found) for area in AREAS]
    parts += [_behaviour(), _errors(), _numbers(), _limits()]
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _provenances() -> str:
    return "## Where answers come from\n\n" + _table(
        ["word", "meaning"], [[provenance.value, text] for provenance, text in _MEANINGS.items()]
    )


def _summary(found: Mapping[str, Support]) -> str:
    rows = []
    for area in AREAS:
        supports = [found[key(area, operation)] for operation in area.operations]
        counts = [str(supports.count(support)) for support in Support]
        rows.append([f"[{area.title}](#{_anchor(area.title)})", *counts])
    return "## Summary\n\n" + _table(["operations", *(support.value for support in Support)], rows)


def _anchor(title: str) -> str:
    """The anchor that GitHub gives to a heading."""
    kept = [sign for sign in title.lower() if sign.isalnum() or sign in " -_"]
    return "".join(kept).replace(" ", "-")


def _area(area: Area, found: Mapping[str, Support]) -> str:
    rows = [_operation(operation, found[key(area, operation)]) for operation in area.operations]
    shortened = any(SERVICES in operation.question.shown() for operation in area.operations)
    where = f" In the addresses, … stands for `{SERVICES}`." if shortened else ""
    return f"## {area.title}\n\n{_paragraph(f'List: {area.source}. {area.notes}{where}')}\n" + _table(
        ["operation", "request", "here", "answers are", "known differences"], rows
    )


def _operation(operation: Operation, support: Support) -> list[str]:
    missing = support is Support.NOT
    note = operation.instead if missing else operation.missing or operation.differences
    asked = operation.question.shown().replace(SERVICES, "…")
    return [operation.name, asked, support.value, "-" if missing else operation.provenance.value, note]


def _behaviour() -> str:
    return (
        "## Rules that no single operation shows\n\nWritten down by hand; the tests of the rules are in "
        "`tests/simulator/domain/`.\n\n"
        + _table(
            ["subject", "here", "from", "differences"],
            [[rule.subject, rule.text, rule.provenance.value, rule.differences] for rule in RULES],
        )
    )


def _errors() -> str:
    parts = [_ERRORS]
    rows = [(owner, kind) for owner, kinds in error_tables().items() for kind in kinds.values()]
    for provenance in Provenance:
        chosen = [(owner, kind) for owner, kind in rows if kind.provenance is provenance]
        parts.append(f"### {provenance.value[:1].upper()}{provenance.value[1:]}: {len(chosen)}\n")
        parts.append(_table(["code", "name", "service", "over MQTT", "source"], map(_error, chosen)))
    return "\n".join(parts)


def _error(row: tuple[str, ErrorKind]) -> list[str]:
    owner, kind = row
    # Event Hubs has conditions of AMQP instead of codes
    code = f"`{kind.amqp}`" if kind.amqp else str(kind.code)
    return [code, kind.name, _OWNERS.get(owner, owner), kind.mqtt, kind.source]


_OWNERS = {
    "Dps": "DPS",
    "EventHubs": "Event Hubs",
    "Hub": "hub",
    "ResourceManager": "management plane",
    "Transport": "HTTP server",
}


def _numbers() -> str:
    def row(number: Number) -> list[str]:
        return [number.meaning, number.value, number.provenance.value, number.source]

    ordered = sorted(NUMBERS, key=lambda number: list(Provenance).index(number.provenance))
    return "## Numbers that always hold\n\n" + _table(["what", "number", "from", "source"], map(row, ordered))


def _limits() -> str:
    def row(limit: Limit) -> list[str]:
        number = f"{limit.published:,}"
        if limit.per_unit:
            more = f"{limit.per_unit:,} per unit"
            number = more if limit.per_unit == limit.published else f"{number}, or {more}"
        return [f"`{limit.name}`", number, limit.meaning, Provenance.DOCUMENTED.value, limit.source]

    return _LIMITS + _table(["limit", "number", "what it limits", "from", "source"], map(row, LIMITS))
