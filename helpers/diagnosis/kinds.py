"""What an entry of the table of symptoms is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .causes import Cause

#: Who can refuse something: DPS and a hub to a device, and what you manage them with.
PROVISIONING, HUB, ENROLLMENTS, REGISTRY, MANAGEMENT = "provisioning", "hub", "enrollments", "registry", "management"
#: What the simulator itself reports: connections that never reached a service.
SIMULATOR = "simulator"
#: What you manage them with.
SERVICES = f"{ENROLLMENTS} {REGISTRY} {MANAGEMENT}"


@dataclass(frozen=True)
class Symptom:
    """An error as one meets it, and what may be behind it. Every condition that is not empty must be met.

    Attributes:
        name: short and unique.
        shown: what the learner sees.
        classes: names of exception classes, one of which is in the chain; empty: any.
        statuses: statuses of the service, one of which is in the chain; empty: any.
        codes: error codes of the service, as six digits or as the name that a hub gives; empty: any.
        text: regular expression that the chain's text must contain; empty: any.
        at: who refused, one of :data:`PROVISIONING` and the others; empty: anybody, or nobody.
        inside: packages in one of which an exception of the chain came up, such as ``azure.iot.device``; empty: any.
        asks: services of the simulator whose trace knows more; empty: the error arose before anything was sent.
        causes: most frequent first.
        at_client: causes that show in what the client was given, and are told only where they do; first one first.
    """

    name: str
    shown: str
    classes: frozenset[str]
    statuses: frozenset[int]
    codes: frozenset[str]
    text: str
    at: frozenset[str]
    inside: frozenset[str]
    asks: frozenset[str]
    causes: tuple[Cause, ...]
    at_client: tuple[Cause, ...]


def symptom(
    name: str,
    shown: str,
    found: str | Sequence[Cause],
    remedy: str = "",
    taught: str = "",
    *,
    classes: str = "",
    statuses: Iterable[int] = (),
    codes: str = "",
    text: str = "",
    at: str = "",
    inside: str = "",
    asks: str = "",
    at_client: Sequence[Cause] = (),
) -> Symptom:
    """An entry; words in one text are separated by spaces. Without ``asks``, those in ``at`` are asked.

    What is ``found`` are causes, most frequent first, or the text of the only one, with its remedy and where it is
    taught. Causes that show in what the client was given need not be repeated in ``at_client``.
    """
    causes = [Cause(found, remedy, taught)] if isinstance(found, str) else found
    return Symptom(
        name=name,
        shown=shown,
        classes=frozenset(classes.split()),
        statuses=frozenset(statuses),
        codes=frozenset(codes.split()),
        text=text,
        at=frozenset(at.split()),
        inside=frozenset(inside.split()),
        asks=frozenset((asks or at).split()),
        causes=tuple(causes),
        at_client=(*at_client, *(each for each in causes if each.fault and each not in at_client)),
    )
