"""Allocation: which of the linked hubs gets a device.

Source: Microsoft documentation, iot-dps how-to-use-allocation-policies. The service's hash function is not published;
here any stable one does. Every latency is the same on one machine, so ``geoLatency`` chooses as ``hashed`` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

from ..errors import Dps, ServiceError
from .identifiers import lookup_key

#: What holds when neither the enrollment says otherwise.
DEFAULT_POLICY = "hashed"


def _hashed(registration_id: str, candidates: Sequence[str]) -> str:
    # the highest of one hash per hub: when a hub is added or removed, only the devices that it wins or loses move
    def weight(host: str) -> bytes:
        return hashlib.sha256(f"{lookup_key(registration_id)}\n{lookup_key(host)}".encode()).digest()

    return max(candidates, key=weight)


def _static(_: str, candidates: Sequence[str]) -> str:
    # recorded: static without iotHubs is accepted and assigns; with several linked hubs, the first one is inferred
    return candidates[0]


def _custom(_: str, __: Sequence[str]) -> str:
    raise ServiceError(Dps.NOT_SUPPORTED, "Custom allocation is not supported by this simulator.")


#: How each policy chooses among the candidates, of which there is at least one.
POLICIES: Mapping[str, Callable[[str, Sequence[str]], str]] = {
    "hashed": _hashed,
    "geoLatency": _hashed,
    "static": _static,
    "custom": _custom,
}


def allocate(policy: str | None, registration_id: str, chosen: Sequence[str], linked: Sequence[str]) -> str:
    """Choose the hub for a device.

    Arguments:
        policy: the enrollment's policy, ``None`` for the service's.
        registration_id: of the device.
        chosen: the hubs that the enrollment allows, empty for all.
        linked: host names of all linked hubs.

    Raises:
        ServiceError: no hub is linked, none of the enrollment's hubs is linked any more, or the policy is custom.
    """
    if not linked:
        raise ServiceError(Dps.NO_HUB)
    by_key = {lookup_key(host): host for host in linked}
    candidates = [by_key[lookup_key(host)] for host in chosen or linked if lookup_key(host) in by_key]
    if not candidates:
        raise ServiceError(Dps.HUB_NOT_FOUND, reason=f"none of {', '.join(chosen)} is linked to the service any more")
    return POLICIES[policy or DEFAULT_POLICY](registration_id, candidates)
