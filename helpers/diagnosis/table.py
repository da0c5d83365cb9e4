"""Errors as one meets them, and what may be behind each: the table that :mod:`helpers.diagnosis` looks things up in.

The first entry that fits counts, so the order matters: what a service answered comes before what happened on the way
to it, and the special before the general.
"""

from __future__ import annotations

from . import client, here, hub, provisioning, service
from .causes import FAILS
from .kinds import Symptom, symptom

#: The table by what one was doing.
SECTIONS: dict[str, tuple[Symptom, ...]] = {
    "A device registers with DPS": provisioning.SYMPTOMS,
    "A device talks to its hub": hub.REFUSALS,
    "You manage enrollments, hubs and DPS itself": service.SYMPTOMS,
    "Your program, and what it gives to the clients": client.SYMPTOMS,
    "Files, and the way to a service": (*here.ON_THE_WAY, *client.HANDSHAKE),
    "Connections that end or never begin": hub.LOST,
    "Clients, settings and the simulator": here.ON_THIS_SIDE,
}

SYMPTOMS: tuple[Symptom, ...] = tuple(each for section in SECTIONS.values() for each in section)

UNKNOWN = symptom(
    "not in the table",
    "another error",
    "This table has no entry for it.",
    "Read the chain of causes from below: the last line is where it began.",
    f"{FAILS}, In practice",
)
