"""Errors as one meets them, and what may be behind each: the table that :mod:`helpers.diagnosis` looks things up in.

The first entry that fits counts, so the order matters: what a service answered comes before what happened on the way
to it, and the special before the general.
"""

from __future__ import annotations

from . import (
    client as symptoms_client,
)
from . import (
    here as symptoms_here,
)
from . import (
    hub as symptoms_hub,
)
from . import (
    provisioning as symptoms_provisioning,
)
from . import (
    service as symptoms_service,
)
from .causes import FAILS, Cause
from .kinds import Symptom, symptom

#: The table by what one was doing.
SECTIONS: dict[str, tuple[Symptom, ...]] = {
    "A device registers with DPS": symptoms_provisioning.SYMPTOMS,
    "A device talks to its hub": symptoms_hub.REFUSALS,
    "You manage enrollments, hubs and DPS itself": symptoms_service.SYMPTOMS,
    "Your program, and what it gives to the clients": symptoms_client.SYMPTOMS,
    "Files, and the way to a service": (*symptoms_here.ON_THE_WAY, *symptoms_client.HANDSHAKE),
    "Connections that end or never begin": symptoms_hub.LOST,
    "Clients, settings and the simulator": symptoms_here.ON_THIS_SIDE,
}

SYMPTOMS: tuple[Symptom, ...] = tuple(each for section in SECTIONS.values() for each in section)

UNKNOWN = symptom(
    "not in the table",
    "another error",
    [
        Cause(
            "This table has no entry for it.",
            "Read the chain of causes from below: the last line is where it began.",
            f"{FAILS}, In practice",
        )
    ],
)
