"""A hub that is linked to the provisioning service, and how the service may be told to choose among such hubs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .identifiers import lookup_key

#: Source: Microsoft documentation, iot-dps how-to-use-allocation-policies.
LOWEST_WEIGHT, HIGHEST_WEIGHT = 1, 1_000

#: An hour: nobody waits longer (simulator-only limit).
MAX_LATENCY = 3_600_000

#: What the service itself may be set to: ``custom`` needs the webhook of an enrollment.
SERVICE_POLICIES = ("hashed", "geoLatency", "static")

DEFAULT_POLICY = SERVICE_POLICIES[0]


@dataclass(frozen=True, slots=True)
class HubLink:
    """One linked hub.

    Attributes:
        host: the hub's host name, in lower case.
        apply_allocation_policy: whether it takes part when a hub is chosen; a static enrollment may name it anyhow.
        allocation_weight: its share of the devices, relative to the other hubs; 1 to 1000.
        latency: milliseconds from the devices to it; ``None`` when nobody set any.

    Raises:
        ValueError: a value is not possible.
    """

    host: str
    apply_allocation_policy: bool = True
    allocation_weight: int = 1
    latency: float | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        object.__setattr__(self, "host", lookup_key(self.host))
        weight, latency = self.allocation_weight, self.latency
        if not isinstance(self.apply_allocation_policy, bool):
            raise ValueError(
                f"applyAllocationPolicy is {self.apply_allocation_policy!r:.80}; it must be true or false."
            )
        if isinstance(weight, bool) or not isinstance(weight, int) or not LOWEST_WEIGHT <= weight <= HIGHEST_WEIGHT:
            raise ValueError(
                f"allocationWeight is {weight!r:.80}; it must be a whole number from {LOWEST_WEIGHT} to "
                f"{HIGHEST_WEIGHT}. A hub that shall get no devices is unlinked, or has applyAllocationPolicy false."
            )
        if latency is not None and (
            isinstance(latency, bool)
            or not isinstance(latency, (int, float))
            or not math.isfinite(latency)
            or not 0 <= latency <= MAX_LATENCY
        ):
            raise ValueError(
                f"latency is {latency!r:.80}; it must be a number of milliseconds from 0 to {MAX_LATENCY}, or null."
            )
