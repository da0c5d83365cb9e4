"""Allocation: which of the linked hubs gets a device.

Source: Microsoft documentation, iot-dps how-to-use-allocation-policies. The service's hash function is not published;
here any stable one does, and latencies are those that were set for the links.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence

from dps_simulator.common.hub_links import HubLink
from dps_simulator.common.identifiers import lookup_key
from dps_simulator.errors.table import Dps, ServiceError

#: Asks a webhook, see :mod:`dps_simulator.provisioning.registration.custom_allocation`.
CUSTOM = "custom"
STATIC = "static"
#: Bits of a hash. With a half added, a double still holds them exactly, so that what is drawn stays between 0 and 1.
_HASH_BITS = 52


def _hashed(registration_id: str, candidates: Sequence[HubLink]) -> HubLink:
    # Weighted rendezvous hashing: every hub draws a number that only it, its weight and the device decide, and the
    # highest wins. When a hub comes, goes or changes its weight, only the devices that it wins or loses move.
    def score(link: HubLink) -> tuple[float, str]:
        digest = hashlib.sha256(f"{lookup_key(registration_id)}\n{link.host}".encode()).digest()
        drawn = (int.from_bytes(digest[:8], "big") >> (64 - _HASH_BITS)) + 0.5
        return -link.allocation_weight / math.log(drawn / 2**_HASH_BITS), link.host

    return candidates[0] if len(candidates) == 1 else max(candidates, key=score)


def _nearest(registration_id: str, candidates: Sequence[HubLink]) -> HubLink:
    # whoever has no latency is farther away than everybody else (simulator-only, as Azure measures them all)
    latencies = [math.inf if link.latency is None else link.latency for link in candidates]
    lowest = min(latencies)
    nearest = [link for link, latency in zip(candidates, latencies, strict=True) if latency == lowest]
    return _hashed(registration_id, nearest)


def _static(_: str, candidates: Sequence[HubLink]) -> HubLink:
    # recorded: static without iotHubs is accepted and assigns; with several linked hubs, the first one is inferred
    return candidates[0]


#: How each policy that needs no webhook chooses among the candidates, of which there is at least one.
POLICIES: Mapping[str, Callable[[str, Sequence[HubLink]], HubLink]] = {
    "hashed": _hashed,
    "geoLatency": _nearest,
    STATIC: _static,
}


def allowed(chosen: Sequence[str], linked: Sequence[HubLink]) -> list[HubLink]:
    """The hubs to which an enrollment lets its devices go, in the order in which it names them.

    Arguments:
        chosen: the hubs that the enrollment names, empty for all.
        linked: all linked hubs.

    Raises:
        ServiceError: no hub is linked, or none of the enrollment's hubs is linked any more.
    """
    if not linked:
        raise ServiceError(Dps.NO_HUB)
    if not chosen:
        return list(linked)
    by_host = {link.host: link for link in linked}
    found = [by_host[lookup_key(host)] for host in chosen if lookup_key(host) in by_host]
    if not found:
        raise ServiceError(Dps.HUB_NOT_FOUND, reason=f"none of {', '.join(chosen)} is linked to the service any more")
    return found


def allocate(policy: str, registration_id: str, chosen: Sequence[str], linked: Sequence[HubLink]) -> str:
    """Choose the hub for a device.

    A hub without ``applyAllocationPolicy`` is passed over, also when the enrollment lists it; only a static
    enrollment that names it gets it (documented: "can still be selected on an enrollment, but it doesn't participate
    in allocation"; that this means the static one is inferred).

    Arguments:
        policy: one of :data:`POLICIES`.
        registration_id: the ID that is hashed, so that the device comes to the same hub again.
        chosen: the hubs that the enrollment names, empty for all.
        linked: all linked hubs.

    Raises:
        ServiceError: there is no hub to choose.
    """
    candidates = allowed(chosen, linked)
    if policy != STATIC or not chosen:
        candidates = [link for link in candidates if link.apply_allocation_policy]
    if not candidates:
        raise ServiceError(Dps.NO_HUB, reason="every hub that the enrollment allows has applyAllocationPolicy false")
    return POLICIES[policy](registration_id, candidates).host
